"""All trunks of a node watched: their hops found and probed, their registrations kept up.

One Machine over the healths and registrations. It asks for what it needs in the endpoint's own
words (`Resolve`, `Connect`) and gives requests to send (`Ask`); what becomes of them is told back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from gateway.errors import RemoteProtocolError
from gateway.sip.authenticator import Credentials
from gateway.sip.core import contact_of
from gateway.sip.event import HopAnswered, HopFailed, HopTrouble, Responded
from gateway.sip.flow import Connect, Destination, Flow, Hop, Resolve
from gateway.sip.header import Address, parse_address
from gateway.sip.message import Request
from gateway.sip.request import OutgoingRequest, RequestId
from gateway.sip.transaction import Failure
from gateway.sip.uri import Uri, parse_uri
from gateway.trunk.event import TrunkEvent
from gateway.trunk.health import (
    PROBE_TIMEOUT_S,
    DownReason,
    Probe,
    TrunkHealth,
)
from gateway.trunk.invite import credentials_of
from gateway.trunk.limits import CallLimits, LimitError
from gateway.trunk.registration import Registration, RegistrationState
from gateway.trunk.route import Plan, Target, TargetKind, is_dialable
from gateway.trunk.status import TrunkStatus, describe_trunk
from gateway.trunk.trunk import Trunk

RESOLVE_EVERY_S = 30.0
"How often the hops of a trunk are asked for: the resolver answers from memory while it may."
RESOLVE_SPREAD = 0.1
PROBE_USER = "gateway"
"User part of the From of OPTIONS, which is nobody's number."


@dataclass(frozen=True, slots=True)
class Ask:
    """Output: hand the request to the endpoint; tell `asked` its id, or `refused`."""

    number: int
    "Tells it apart from any other."
    request: OutgoingRequest


Output = Ask | Resolve | Connect


@dataclass(frozen=True, slots=True)
class CallPath:
    """How calls to a trunk go, besides by its uri."""

    destination: Destination
    "Where the first hop is to be found."
    route: tuple[Address, ...]
    "Route set: its proxy, and the service route that its registrar told."
    contact_user: str | None
    "User part of our Contact, where we are registered: calls back are known by it."
    credentials: Credentials | None
    "What answers its challenges."


@dataclass(frozen=True, slots=True)
class _Probing:
    """Who wants an answer: a health, about one probe."""

    watched: _Watched
    probe: Probe

    def answered(self, event: Responded, now: float) -> None:
        health = self.watched.health
        if event.response is not None:
            status, retry_after_s = event.response.status, event.response.retry_after_s
            health.answered(self.probe, status, now, retry_after_s=retry_after_s)
        elif event.failure is Failure.TIMEOUT:
            health.missed(self.probe, DownReason.NO_ANSWER, now)
        else:
            health.missed(self.probe, DownReason.UNREACHABLE, now)

    def refused(self, now: float) -> None:
        self.watched.health.withdraw(self.probe)


@dataclass(frozen=True, slots=True)
class _Registering:
    """Who wants an answer: a registration, about its one request."""

    registration: Registration

    def answered(self, event: Responded, now: float) -> None:
        if event.response is not None:
            self.registration.answered(event.response, now, cseq=event.cseq, flow=event.flow)
        else:
            silent = event.failure is Failure.TIMEOUT
            self.registration.failed("no answer" if silent else "cannot be reached", now)

    def refused(self, now: float) -> None:
        self.registration.failed("the gateway has no room", now)


@dataclass(frozen=True, slots=True)
class _Watched:
    """One trunk and all that is kept of it."""

    trunk: Trunk
    health: TrunkHealth
    registrations: tuple[Registration, ...]

    @property
    def machines(self) -> Iterator[TrunkHealth | Registration]:
        yield self.health
        yield from self.registrations


class TrunkWatch:
    """Every trunk of a node. A Machine; calls ask it which way to go, and tell it what they met."""

    def __init__(
        self,
        trunks: Sequence[Trunk],
        *,
        new_token: Callable[[], str],
        spread: Callable[[], float],
        now: float,
        contact: Callable[[Flow], Uri] = contact_of,
    ) -> None:
        """
        Args:
            new_token: gives unguessable token characters of at least 64 bits.
            spread: gives 0 ≤ x < 1.
            contact: our own address on a flow, for the From of OPTIONS.
        """
        self._contact = contact
        self._spread = spread
        self._watched = {
            trunk.name: _Watched(
                trunk,
                TrunkHealth(trunk.name, probe_s=trunk.probe_s, spread=spread, now=now),
                tuple(
                    Registration(trunk.name, options, new_token=new_token, spread=spread, now=now)
                    for options in trunk.registrations
                ),
            )
            for trunk in trunks
        }
        self._by_contact = {
            registration.contact_user: registration
            for watched in self._watched.values()
            for registration in watched.registrations
        }
        self._resolve_at = {watched.trunk.destination: now for watched in self._watched.values()}
        self._connecting: dict[Hop, list[_Probing]] = {}
        self._asking: dict[int, _Probing | _Registering] = {}
        self._asked: dict[RequestId, _Probing | _Registering] = {}
        self._asks = 0
        self._is_leaving = False
        self._output: list[Output] = []

    # ---- what is told of our requests

    def resolved(self, destination: Destination, hops: Sequence[Hop], now: float) -> None:
        """A `Resolve` is answered.

        Args:
            hops: best first; none: the DNS knows nothing of it.
        """
        for watched in self._watched.values():
            if watched.trunk.destination == destination:
                watched.health.set_hops(hops, now)

    def flow_opened(self, hop: Hop, flow: Flow, now: float) -> None:
        """A `Connect` is answered: there is a way to the hop, opened now or before."""
        for probing in self._connecting.pop(hop, ()):
            if probing.watched.health.is_waiting_for(probing.probe):
                self._ask(self._options_to(probing.watched.trunk, flow), probing)

    def hop_failed(self, hop: Hop, now: float) -> None:
        """A `Connect` is answered: there is none."""
        for probing in self._connecting.pop(hop, ()):
            probing.watched.health.missed(probing.probe, DownReason.UNREACHABLE, now)

    def asked(self, ask: Ask, request: RequestId) -> None:
        """The endpoint has taken a request, and will tell `responded` by this id."""
        self._asked[request] = self._asking.pop(ask.number)

    def refused(self, ask: Ask, now: float) -> None:
        """The endpoint has not taken a request: it is full."""
        self._asking.pop(ask.number).refused(now)

    def responded(self, event: Responded, now: float) -> bool:
        """Take what became of a request; False: it was not ours."""
        asker = self._asked.pop(event.id, None)
        if asker is None:
            return False
        asker.answered(event, now)
        return True

    # ---- what is told of others' requests, calls above all

    def hop_was_tried(self, event: HopAnswered | HopFailed, now: float) -> None:
        """A request went to some hop. Every trunk that has it learns from that."""
        if event.hop is None:
            return
        for watched in self._watched.values():
            health = watched.health
            if isinstance(event, HopAnswered):
                health.call_answered(event.hop, now)
            elif event.why is HopTrouble.SILENT:
                health.call_missed(event.hop, DownReason.NO_ANSWER, now)
            elif event.why is HopTrouble.UNREACHABLE:
                health.call_missed(event.hop, DownReason.UNREACHABLE, now)
            elif event.why is HopTrouble.OVERLOADED:
                health.call_refused(event.hop, event.retry_after_s, now)

    def flow_failed(self, flow: Flow, now: float) -> None:
        """A connection has closed, or a socket cannot send any more."""
        for watched in self._watched.values():
            for registration in watched.registrations:
                registration.flow_failed(flow, now)

    def holds(self, flow: Flow) -> bool:
        """Whether a registration of ours came over the flow: calls come in by it."""
        return any(
            registration.flow == flow
            for watched in self._watched.values()
            for registration in watched.registrations
        )

    # ---- what calls ask

    def choose(self, plan: Plan, now: float) -> Plan:
        """A plan without the trunks that are down, or have asked to be left alone for a while.

        If nothing else is in it, those that are down are the last resort; those that asked are
        not (RFC 3261 §21.5.4).

        Raises:
            LimitError: all of them have asked to be left alone.
        """
        chosen = _without(plan, lambda target: self._is_usable(target, now))
        if not chosen.groups:
            chosen = _without(plan, lambda target: self.takes_calls(target, now))
        if not chosen.groups:
            waits = [self._wait_s(target, now) for group in plan.groups for target in group]
            raise LimitError("every trunk of the route asks to wait", min(waits, default=0.0))
        return chosen

    def takes_calls(self, target: Target, now: float) -> bool:
        """Whether a target of a plan chosen a while ago has not asked meanwhile to be left alone.

        One that went down meanwhile is tried: nobody knows any more if it is the last resort.
        """
        return not self._wait_s(target, now)

    def order(self, hops: Sequence[Hop], destination: Destination, now: float) -> tuple[Hop, ...]:
        """In which order to try the hops of a destination; see `TrunkHealth.order`."""
        for watched in self._watched.values():
            if watched.trunk.destination == destination:
                return watched.health.order(hops, now)
        return tuple(hops)

    def path_to(self, trunk: str, now: float) -> CallPath:
        """How a call to a trunk goes now."""
        watched = self._watched[trunk]
        proxy = watched.trunk.proxy
        registered = next((r for r in watched.registrations if r.is_registered(now)), None)
        route = () if registered is None else registered.service_route
        if proxy is not None and not (route and route[0].uri.host == proxy.host):
            route = (Address("", proxy), *route)
        return CallPath(
            Destination.of(route[0].uri) if route else watched.trunk.destination,
            route,
            None if registered is None else registered.contact_user,
            _credentials(watched.trunk, registered),
        )

    def called_at(self, contact_user: str) -> str | None:
        """The name of the trunk that a Request-URI with a Contact of ours is from: for `Peers`."""
        registration = self._by_contact.get(contact_user)
        return None if registration is None else registration.trunk

    def dialled(self, request: Request) -> str:
        """What an INVITE dials: the user of its Request-URI, unless that is a Contact of ours.

        Then it is whom the trunk was called for (P-Called-Party-ID of RFC 7315, To), or else the
        user that was registered. Nothing is promised of its characters: the routes judge.

        Raises:
            RemoteProtocolError: the Request-URI is malformed.
        """
        user = parse_uri(request.uri).user or ""
        registration = self._by_contact.get(user)
        if registration is None:
            return user
        named = (_called_party(request), request.to.uri.user or "")
        found = (name for name in named if is_dialable(name) and name != user)
        return next(found, registration.options.user)

    # ---- what the API asks

    def statuses(self, limits: CallLimits, now: float) -> list[TrunkStatus]:
        """Every trunk, in the order of the configuration."""
        return [self._describe(watched, limits, now) for watched in self._watched.values()]

    def status(self, trunk: str, limits: CallLimits, now: float) -> TrunkStatus | None:
        """One trunk; None: there is none of that name."""
        watched = self._watched.get(trunk)
        return None if watched is None else self._describe(watched, limits, now)

    def _describe(self, watched: _Watched, limits: CallLimits, now: float) -> TrunkStatus:
        return describe_trunk(watched.trunk, watched.health, watched.registrations, limits, now)

    # ---- the end

    def leave(self, now: float) -> None:
        """Take all registrations back, and ask nobody anything from now on (F20)."""
        self._is_leaving = True
        for watched in self._watched.values():
            for registration in watched.registrations:
                registration.leave(now)

    @property
    def has_left(self) -> bool:
        """Whether every registration is taken back, or given up."""
        return all(r.state is RegistrationState.OFF for r in self._by_contact.values())

    # ---- the machine

    def handle_timer(self, now: float) -> None:
        """Whatever is due: names, probes, refreshes, overdue answers."""
        for machine in self._machines():
            at = machine.next_timer()
            if at is not None and at <= now:
                machine.handle_timer(now)
        for destination, at in self._resolve_at.items():
            if at <= now and not self._is_leaving:
                varied = 1 + RESOLVE_SPREAD * (2 * self._spread() - 1)
                self._resolve_at[destination] = now + RESOLVE_EVERY_S * varied
                self._output.append(Resolve(destination))

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called (loop seconds)."""
        times = [machine.next_timer() for machine in self._machines()]
        if not self._is_leaving:
            times += self._resolve_at.values()
        return min((at for at in times if at is not None), default=None)

    def take_output(self) -> Sequence[Output]:
        """What is to be found, connected and sent, in order; each is handed out once."""
        for watched in self._watched.values():
            for probe in watched.health.take_output():
                self._connect(_Probing(watched, probe))
            for registration in watched.registrations:
                for request in registration.take_output():
                    self._ask(request, _Registering(registration))
        output, self._output = self._output, []
        return output

    def take_events(self) -> Sequence[TrunkEvent]:
        """What happened, each handed out once."""
        return [
            event
            for watched in self._watched.values()
            for machine in watched.machines
            for event in machine.take_events()
        ]

    def _machines(self) -> Iterator[TrunkHealth | Registration]:
        for watched in self._watched.values():
            if not self._is_leaving:
                yield watched.health
            yield from watched.registrations

    def _connect(self, probing: _Probing) -> None:
        hop = probing.probe.hop
        before = self._connecting.get(hop, ())
        # A connection may take longer than a probe waits: those that have given up are let go.
        waiting = [each for each in before if each.watched.health.is_waiting_for(each.probe)]
        self._connecting[hop] = [*waiting, probing]
        self._output.append(Connect(hop))

    def _ask(self, request: OutgoingRequest, asker: _Probing | _Registering) -> None:
        self._asks += 1
        self._asking[self._asks] = asker
        self._output.append(Ask(self._asks, request))

    def _options_to(self, trunk: Trunk, flow: Flow) -> OutgoingRequest:
        ours = Uri("sip", PROBE_USER, host=self._contact(flow).host)
        return OutgoingRequest(
            method="OPTIONS",
            target=trunk.uri,
            from_=Address("", ours),
            to=Address("", trunk.uri),
            flow=flow,
            headers=(("Accept", "application/sdp"),),
            contact_user=PROBE_USER,
            route=() if trunk.proxy is None else (Address("", trunk.proxy),),
            timeout_s=PROBE_TIMEOUT_S,
        )

    def _is_usable(self, target: Target, now: float) -> bool:
        watched = self._watched.get(target.name)
        if target.kind is not TargetKind.TRUNK or watched is None:
            return True
        return watched.health.is_usable(now)

    def _wait_s(self, target: Target, now: float) -> float:
        watched = self._watched.get(target.name)
        if target.kind is not TargetKind.TRUNK or watched is None:
            return 0.0
        return watched.health.wait_s(now)


def _without(plan: Plan, may: Callable[[Target], bool]) -> Plan:
    groups = (tuple(target for target in group if may(target)) for group in plan.groups)
    return replace(plan, groups=tuple(group for group in groups if group))


def _called_party(request: Request) -> str:
    try:
        return parse_address(request.headers.get("P-Called-Party-ID") or "").uri.user or ""
    except RemoteProtocolError:
        return ""


def _credentials(trunk: Trunk, registered: Registration | None) -> Credentials | None:
    own = credentials_of(trunk)
    return registered.options.credentials if own is None and registered is not None else own
