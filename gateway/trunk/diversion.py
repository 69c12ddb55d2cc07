"""Who a call was meant for before it was forwarded: Diversion (RFC 5806), History-Info (RFC 7044).

The two say the same in two ways; RFC 7544 has the mapping.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from gateway.errors import RemoteProtocolError
from gateway.private import Private
from gateway.sip.field import Headers
from gateway.sip.grammar import parse_number
from gateway.sip.header import Address, parse_addresses
from gateway.sip.uri import Parameters, Uri
from gateway.trunk.numbers import ANONYMOUS, NumberOptions, caller_of, is_anonymous
from gateway.trunk.route import is_dialable

MAX_DIVERSIONS = 5
"A call forwarded more often goes in circles; networks count to five (ITU-T Q.732.2 §2.5)."

UNKNOWN = "unknown"

_REASONS = {
    UNKNOWN: 404,
    "unconditional": 302,
    "user-busy": 486,
    "no-answer": 408,
    "deflection": 480,
    "unavailable": 503,
    "time-of-day": 404,
    "do-not-disturb": 404,
    "follow-me": 404,
    "out-of-service": 404,
    "away": 404,
}
"Reasons of RFC 5806 and the causes they become (RFC 7544 §5)."

_REASON_OF_CAUSE = {
    "404": UNKNOWN,
    "302": "unconditional",
    "486": "user-busy",
    "408": "no-answer",
    "480": "deflection",
    "487": "deflection",
    "503": "unavailable",
}
"RFC 7544 §6."


class DiversionStyle(Enum):
    """How a trunk is told."""

    OFF = "off"
    DIVERSION = "diversion"
    HISTORY_INFO = "history-info"


@dataclass(frozen=True, slots=True)
class Diversion:
    """One forwarding of a call."""

    number: Private
    "Who forwarded it; empty if that is not told."
    reason: str = UNKNOWN
    "One of RFC 5806: user-busy, no-answer, unconditional, …"
    is_private: bool = False
    "It asked not to be shown."
    counter: int = 1
    "How many forwardings this one stands for."


def read_diversions(headers: Headers, options: NumberOptions) -> tuple[Diversion, ...]:
    """What a trusted peer says of forwardings, the latest first; nothing where it makes no sense.

    Diversion wins over History-Info: who sends both says the same in both.
    """
    try:
        found = _read_diversion(headers, options) or _read_history(headers, options)
    except RemoteProtocolError:
        return ()
    return tuple(found[:MAX_DIVERSIONS])


def write_diversions(
    diversions: Sequence[Diversion],
    style: DiversionStyle,
    target: Uri,
    uri_of: Callable[[str], Uri],
) -> tuple[tuple[str, str], ...]:
    """The headers that tell a trunk.

    Args:
        target: whom the call is for now.
        uri_of: the URI of a number of ours as the trunk writes it.
    """
    named = [(_shown(diversion, uri_of), diversion) for diversion in diversions[:MAX_DIVERSIONS]]
    if style is DiversionStyle.OFF or not named:
        return ()
    if style is DiversionStyle.DIVERSION:
        return tuple(
            ("Diversion", str(Address("", uri, _diversion_parameters(diversion))))
            for uri, diversion in named
        )
    return tuple(_history(named[::-1], target))


def _shown(diversion: Diversion, uri_of: Callable[[str], Uri]) -> Uri:
    # RFC 7544 §3.2: what leaves our domain has to be made anonymous by us.
    number = diversion.number.value
    return ANONYMOUS if diversion.is_private or not is_dialable(number) else uri_of(number)


def _diversion_parameters(diversion: Diversion) -> Parameters:
    known = diversion.reason if diversion.reason in _REASONS else UNKNOWN
    counter = str(max(1, diversion.counter))
    privacy = "full" if diversion.is_private else "off"
    return Parameters([("reason", known), ("counter", counter), ("privacy", privacy)])


def _history(oldest_first: list[tuple[Uri, Diversion]], target: Uri) -> list[tuple[str, str]]:
    """RFC 7544 §5: each entry has the cause for which the one before it was left."""
    index = "1"
    cause = None
    entries = []
    for uri, diversion in [*oldest_first, (target, None)]:
        parameters = [("index", index)]
        if cause is not None:
            uri = Uri(
                uri.scheme,
                uri.user,
                host=uri.host,
                port=uri.port,
                parameters=uri.parameters.replace("cause", str(cause)),
            )
            parameters.append(("mp", index.rpartition(".")[0]))
        entries.append(("History-Info", str(Address("", uri, Parameters(parameters)))))
        index += ".1"
        if diversion is not None:
            cause = _REASONS.get(diversion.reason, _REASONS[UNKNOWN])
    return entries


def _read_diversion(headers: Headers, options: NumberOptions) -> list[Diversion]:
    found = []
    for address in _addresses(headers, "Diversion"):
        parameters = address.parameters
        privacy = (parameters.get("privacy") or "off").lower()
        reason = (parameters.get("reason") or UNKNOWN).lower()
        found.append(
            Diversion(
                caller_of(address.uri, options),
                reason if reason in _REASONS else UNKNOWN,
                privacy in ("full", "uri", "name") or is_anonymous(address.uri),
                _counter(parameters.get("counter")),
            )
        )
    return found


def _read_history(headers: Headers, options: NumberOptions) -> list[Diversion]:
    """RFC 7544 §6: a cause says why the entry that `mp` names, or the one before, was left."""
    entries = _addresses(headers, "History-Info")
    by_index = {entry.parameters.get("index"): entry for entry in entries}
    is_private = {"history", "header"} & {*_privacy(headers.get_all("Privacy"))}
    found = []
    for before, entry in pairwise(entries):
        reason = _REASON_OF_CAUSE.get(entry.uri.parameters.get("cause") or "")
        if reason is not None:
            left = by_index.get(entry.parameters.get("mp") or "", before)
            asked = _privacy([value for name, value in left.uri.headers if name == "Privacy"])
            found.append(
                Diversion(
                    caller_of(left.uri, options),
                    reason,
                    bool(is_private) or "history" in asked or is_anonymous(left.uri),
                )
            )
    return found[::-1]


def _privacy(values: Sequence[str]) -> list[str]:
    return [word.strip().lower() for value in values for word in value.split(";")]


def _addresses(headers: Headers, name: str) -> list[Address]:
    return [address for value in headers.get_all(name) for address in parse_addresses(value)]


def _counter(text: str | None) -> int:
    try:
        return max(1, parse_number(text or "1", 99))
    except RemoteProtocolError:
        return 1
