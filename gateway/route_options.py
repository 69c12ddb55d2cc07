"""What [[route]] sections say, made into routes."""

from __future__ import annotations

from dataclasses import replace

from gateway.call.policy import Policy, Preset, check
from gateway.document import GuestSection, RouteSection, nearest
from gateway.errors import RoutingError
from gateway.reader import Reader
from gateway.trunk.codecs import CodecRules, Transcode
from gateway.trunk.emergency import EmergencyNumbers
from gateway.trunk.route import (
    Guest,
    Route,
    RouteOptions,
    Target,
    TargetKind,
    check_pattern,
    parse_target,
)

SIDES = ("caller", "callee", "agent", "ai", "supervisor")
"Whom a guest may be told to talk with, in a route's `with`."

SOURCES = ("browser", "sip", "user", "api", "audiosocket", "asterisk", "*")
"Who calls, in a route's `from`, beside each trunk, user and agent."

_WAITING = {"browser", "api", "audiosocket", "asterisk", "*"}
"Those of them who wait for an answer over a connection of theirs."


def read_route(
    reader: Reader,
    where: str,
    route: RouteSection,
    parties: list[str],
    emergency: EmergencyNumbers,
) -> Route:
    """One route.

    Args:
        where: what its section is called in errors.
        parties: the trunks, users and agents there are, in a route's words.

    Raises:
        ConfigError: it names what there is not, or could never be used.
    """
    sources = (route.from_,) if isinstance(route.from_, str) else route.from_
    known = [*SOURCES, *parties]
    for source in sources:
        if source not in known:
            near = nearest(source, known)
            raise reader.wrong(where, "from", source, f"nobody calls from there{near}")
    reader.check(where, "match", route.match, check_pattern)
    groups = tuple(
        tuple(
            _target(reader, where, text, parties)
            for text in ((group,) if isinstance(group, str) else group)
        )
        for group in route.to
    )
    _check_groups(reader, where, route, groups, sources)
    if emergency.find(route.match) is not None:
        _check_emergency(reader, where, groups)
    guests = tuple(_guest(reader, where, guest, parties) for guest in route.with_)
    return Route(sources, route.match, groups, replace(_read_options(route), guests=guests))


def _guest(reader: Reader, where: str, guest: str | GuestSection, known: list[str]) -> Guest:
    """Who joins the calls of a route."""
    told = GuestSection(agent=guest) if isinstance(guest, str) else guest
    target = _target(reader, where, told.agent, known, key="with")
    if target.kind is not TargetKind.AGENT:
        raise reader.wrong(where, "with", told.agent, "agents alone join by a route: agent:NAME")
    try:
        check(Policy(Preset(told.preset), told.side))
    except RoutingError as error:
        raise reader.wrong(where, "with", told.preset, str(error)) from None
    if told.side is not None and told.side not in SIDES:
        raise reader.wrong(where, "with", told.side, f"a side is one of {', '.join(SIDES)}")
    return Guest(target, told.preset, told.side, told.role, told.gain_db)


def _check_emergency(reader: Reader, where: str, groups: tuple[tuple[Target, ...], ...]) -> None:
    for group in groups:
        for target in group:
            if target.kind is TargetKind.AGENT:
                raise reader.wrong(
                    where, "to", str(target), "no emergency number leads to an agent"
                )


def _target(reader: Reader, where: str, text: str, known: list[str], *, key: str = "to") -> Target:
    try:
        target = parse_target(text)
    except ValueError as error:
        raise reader.wrong(where, key, text, str(error)) from None
    names = (TargetKind.AGENT, TargetKind.TRUNK, TargetKind.USER)
    if target.kind in names and text not in known:
        near = nearest(text, known)
        raise reader.wrong(where, key, text, f"there is no such {target.kind.value}{near}")
    return target


def _check_groups(
    reader: Reader,
    where: str,
    route: RouteSection,
    groups: tuple[tuple[Target, ...], ...],
    sources: tuple[str, ...],
) -> None:
    kinds = [target.kind for group in groups for target in group]
    if not all(groups) or not sources:
        raise reader.wrong(where, "to", route.to, "an empty list leads nowhere: leave it out")
    if TargetKind.IGNORE in kinds and len(kinds) > 1:
        raise reader.wrong(where, "to", route.to, "ignore: stands alone")
    if TargetKind.IGNORE in kinds and _WAITING & {*sources}:
        raise reader.wrong(where, "to", route.to, 'ignore: is for from = "sip" and trunks only')


def _read_options(route: RouteSection) -> RouteOptions:
    """How the calls of a route are made and ended."""
    return RouteOptions(
        ringing_timeout_s=route.ringing_timeout_s,
        max_call_duration_s=route.max_call_duration_s,
        failover_on=frozenset(route.failover_on),
        failover_after_progress=route.failover_after_progress,
        answering_machine=route.answering_machine,
        codecs=CodecRules(Transcode(route.transcode), route.codecs),
    )
