"""`gateway route explain`: what would become of a call, rule by rule, down to the INVITE.

Nothing here decides: the router, the trunk's settings and the SIP stack are asked what they would
do, with made-up tokens and without a network. What only the network can say is called unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count
from typing import Any

from gateway.errors import RoutingError
from gateway.options import Config
from gateway.private import Private
from gateway.sdp.description import MediaDescription, Origin
from gateway.sdp.negotiation import build_offer
from gateway.sip.endpoint import Endpoint, EndpointOptions
from gateway.sip.flow import Connect, Destination, Flow, Hop, Resolve, Send
from gateway.sip.invite import InviteRequest
from gateway.sip.message import Request, parse_message
from gateway.trunk.codecs import Transcode, complete
from gateway.trunk.identity import CallerIdentity
from gateway.trunk.invite import NO_ATTRIBUTES, build_invite
from gateway.trunk.numbers import read_received
from gateway.trunk.route import (
    Judgement,
    Plan,
    RouteOptions,
    Router,
    Target,
    TargetKind,
    is_dialable,
)
from gateway.trunk.trunk import Trunk

NOT_LOOKED_AT = "not looked at"
"Of a rule behind the one that decides."

SECRET_WORDS = ("token", "secret", "password", "auth", "key")
"In the name of a header whose value is not shown."

MASK = "***"

_ANY_HOP = "192.0.2.1"
"Stands for an address that the DNS would give (RFC 5737)."


@dataclass(frozen=True, slots=True)
class Rule:
    """One route, and what it has to do with the call."""

    number: int
    "From 1, in the order of the file."
    match: str
    sources: tuple[str, ...]
    targets: tuple[tuple[str, ...], ...]
    judgement: str


@dataclass(frozen=True, slots=True)
class Dialling:
    """What is sent to one trunk."""

    destination: str
    "Where it goes, before the DNS is asked."
    state: str
    called: str
    "The number as it goes out."
    caller: str
    "The From, as it goes out."
    credentials: str
    "What would answer a challenge."
    invite: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One target of a group."""

    target: str
    note: str
    "In words; why it cannot be dialled, if so."
    dialling: Dialling | None
    "Of trunks that can be dialled."


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would become of one call."""

    source: str
    dialled: str
    "What is routed: as it was given, or read from what a trunk sends."
    emergency: str | None
    "The emergency number that it is."
    rules: tuple[Rule, ...]
    refusal: str | None
    "Status and words that the caller gets; None: it is dialled."
    groups: tuple[tuple[Attempt, ...], ...]
    options: RouteOptions

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        found = asdict(self)
        found["options"]["failover_on"] = sorted(self.options.failover_on)
        found["options"]["codecs"]["transcode"] = self.options.codecs.transcode.value
        return found


def explain(
    config: Config,
    source: str,
    dialled: str,
    caller: CallerIdentity,
    *,
    attributes: Mapping[str, str] = NO_ATTRIBUTES,
    version: str,
) -> Explanation:
    """What would become of a call.

    Args:
        source: who calls, in a route's words; it is one.
        caller: as it says of itself; a user is who it is, whatever it says.
        dialled: what the caller dials; of a trunk, what it writes into its Request-URI.
        attributes: headers of the call.
        version: of the gateway, for the User-Agent.
    """
    trunks = {trunk.name: trunk for trunk in config.trunks}
    if (peer := trunks.get(source.removeprefix("trunk:"))) is not None:
        dialled = read_received(dialled, peer.numbers)
    for user in config.users:
        if source == f"user:{user.name}":
            number, name = Private(user.caller_id or user.name), Private(user.display_name)
            caller = replace(caller, number=number, name=name)
    router = config.router
    plan, refusal = _plan(router, source, dialled)
    dial = partial(
        _attempt, config, caller=caller, dialled=dialled, attributes=attributes, version=version
    )
    return Explanation(
        source=source,
        dialled=dialled,
        emergency=router.emergency.find(dialled),
        rules=tuple(_rules(router, source, dialled)),
        refusal=refusal,
        groups=tuple(tuple(dial(target) for target in group) for group in plan.groups),
        options=plan.options,
    )


def render(explanation: Explanation) -> str:
    """For people."""
    lines = [f"{explanation.dialled} from {explanation.source}"]
    if explanation.emergency is not None:
        lines.append(
            f"is the emergency number {explanation.emergency}: only a route that names it"
            " counts, and no agent"
        )
    lines += ["", *map(_render_rule, explanation.rules)]
    if explanation.refusal is not None:
        lines += ["", f"refused: {explanation.refusal}"]
    for number, group in enumerate(explanation.groups, 1):
        lines += ["", f"group {number}: {_render_options(explanation, number)}"]
        for attempt in group:
            lines += _render_attempt(attempt)
    return "\n".join(lines)


# ---- what the parts say


def _plan(router: Router, source: str, dialled: str) -> tuple[Plan, str | None]:
    try:
        plan = router.plan(source, dialled)
    except RoutingError as error:
        return Plan(()), f"{error.status}: {error}"
    first = [target for target in plan.groups[0] if target.kind is TargetKind.REJECT]
    return plan, f"{first[0].status}: the route refuses" if first else None


def _rules(router: Router, source: str, dialled: str) -> list[Rule]:
    """What each route says; of what nobody can dial, nothing."""
    is_callable = ":" in dialled or is_dialable(dialled)
    rules = []
    is_decided = not is_callable
    for number, route in enumerate(router.routes, 1):
        judgement = NOT_LOOKED_AT
        if not is_decided:
            judged = router.judge(route, source, dialled)
            judgement, is_decided = judged.value, judged is Judgement.MATCHES
        targets = tuple(tuple(str(target) for target in group) for group in route.groups)
        rules.append(Rule(number, route.match, route.sources, targets, judgement))
    return rules


def _attempt(
    config: Config,
    target: Target,
    *,
    caller: CallerIdentity,
    dialled: str,
    attributes: Mapping[str, str],
    version: str,
) -> Attempt:
    trunk = _trunk_of(config, target)
    if trunk is None:
        return Attempt(str(target), _NOTES[target.kind], None)
    host = _local_host(config, trunk.destination)
    try:
        request = build_invite(
            trunk,
            caller=caller,
            called=dialled,
            local_host=host,
            emergency=config.emergency,
            attributes=attributes,
        )
    except RoutingError as error:
        return Attempt(str(target), f"cannot be dialled ({error.status}): {error}", None)
    return Attempt(str(target), _note(trunk), _dialling(config, trunk, request, host, version))


def _trunk_of(config: Config, target: Target) -> Trunk | None:
    """What an INVITE is sent to; None: the target is not called by one that is known here."""
    if target.kind is TargetKind.AGENT:
        return config.sip_agents.get(target.name)
    if target.kind is not TargetKind.TRUNK:
        return None
    return next(trunk for trunk in config.trunks if trunk.name == target.name)


_NOTES = {
    TargetKind.AGENT: "is started",
    TargetKind.USER: "rings where it is registered: not known offline",
    TargetKind.REJECT: "refuses the call",
    TargetKind.IGNORE: "gives no answer at all",
}


def _note(trunk: Trunk) -> str:
    profile = "" if trunk.profile is None else f", profile {trunk.profile}"
    return f"is sent an INVITE{profile}"


def _dialling(
    config: Config, trunk: Trunk, request: InviteRequest, host: str, version: str
) -> Dialling:
    invite = _write_invite(config, trunk, request, host, version)
    answer = "none: a challenge is final"
    if trunk.username is not None:
        realm = "the first realm that asks" if trunk.realm is None else f"realm {trunk.realm}"
        answer = f"{trunk.username}, password {MASK}, for {realm}"
    return Dialling(
        destination=str(trunk.destination),
        state="unknown: the network is not asked",
        called=request.target.user or "",
        caller=str(request.from_),
        credentials=answer,
        invite=_masked(invite),
    )


def _write_invite(
    config: Config, trunk: Trunk, request: InviteRequest, host: str, version: str
) -> bytes:
    """What the SIP stack puts on the wire, over whatever transport it chooses."""
    tokens = (f"example{number}" for number in count(1))
    endpoint = Endpoint(
        EndpointOptions(user_agent=f"voice-gateway/{version}"), new_token=lambda: next(tokens)
    )
    address = config.rtp.reachable.address_for("", config.rtp.address)
    media = MediaDescription(port=config.rtp.first_port, address=address)
    offer = build_offer(
        replace(media, ptime_ms=20),
        codecs=complete(trunk.codecs),
        origin=Origin("1", 1, media.address or host),
    )
    endpoint.invite(replace(request, offer=str(offer).encode()), 0.0)
    while True:
        for output in endpoint.take_output():
            match output:
                case Resolve(destination):
                    transport = destination.transport or ("tls" if destination.secure else "udp")
                    endpoint.resolved(destination, [_hop(destination, transport)], 0.0)
                case Connect(hop):
                    local = (host, _local_port(config, hop.transport))
                    endpoint.flow_opened(
                        hop, Flow(hop.transport, local, (hop.host, hop.port), 1), 0.0
                    )
                case Send(data):
                    return data


def _hop(destination: Destination, transport: str) -> Hop:
    return Hop(transport, _ANY_HOP, destination.port or 5060)


def _local_host(config: Config, destination: Destination) -> str:
    """Our address toward a trunk: that of the listen it leaves by, or where media is sent."""
    listens = config.sip.listen
    wanted = [listen for listen in listens if listen.transport == (destination.transport or "udp")]
    for listen in [*wanted, *listens]:
        if listen.host not in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            return listen.host
    return config.rtp.reachable.address_for("", config.rtp.address)


def _local_port(config: Config, transport: str) -> int:
    ports = [listen.port for listen in config.sip.listen if listen.transport == transport]
    return ports[0] if ports else 5060


def _masked(data: bytes) -> str:
    message = parse_message(data)
    assert isinstance(message, Request)
    for name in {name for name, _ in message.headers}:
        if any(word in name.lower() for word in SECRET_WORDS):
            message.headers.set(name, MASK)
    return bytes(message).decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n")


# ---- for people


def _render_rule(rule: Rule) -> str:
    sources = ", ".join(rule.sources)
    targets = ", ".join(
        group[0] if len(group) == 1 else f"[{', '.join(group)}]" for group in rule.targets
    )
    mark = ">" if rule.judgement == Judgement.MATCHES.value else " "
    return (
        f"{mark} rule {rule.number}: match {rule.match} from {sources} to {targets}"
        f"\n         {rule.judgement}"
    )


def _render_options(explanation: Explanation, number: int) -> str:
    options = explanation.options
    said = f"rings for {options.ringing_timeout_s:g} s at most"
    if number < len(explanation.groups):
        statuses = ", ".join(str(status) for status in sorted(options.failover_on))
        heard = "" if options.failover_after_progress else ", if the caller has heard nothing yet"
        said += f"; the next group on {statuses} or silence{heard}"
    if options.max_call_duration_s is not None:
        said += f"; ended after {options.max_call_duration_s:g} s"
    if options.codecs.preferred:
        said += f"; prefers {', '.join(options.codecs.preferred)}"
    if options.codecs.transcode is not Transcode.AUTO:
        said += f"; {options.codecs.transcode.value} transcodes"
    return said


def _render_attempt(attempt: Attempt) -> list[str]:
    lines = [f"  {attempt.target} {attempt.note}"]
    if (dialling := attempt.dialling) is not None:
        lines += [
            f"    sent to      {dialling.destination}",
            f"    state        {dialling.state}",
            f"    called       {dialling.called}",
            f"    caller       {dialling.caller}",
            f"    credentials  {dialling.credentials}",
            "",
            *(f"    {line}".rstrip() for line in dialling.invite.splitlines()),
        ]
    return lines
