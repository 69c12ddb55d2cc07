"""Trunks: carriers and PBXs, and who a SIP source is."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from gateway.codec import PCMA, PCMU, Codec
from gateway.errors import RoutingError
from gateway.private import Secret
from gateway.rtp.dtmf import DtmfMode
from gateway.sdp.crypto import SrtpPolicy
from gateway.sip.flow import Destination
from gateway.sip.hunt import NO_RESPONSE_S
from gateway.sip.session_timer import SessionTimerOptions
from gateway.sip.uri import Uri
from gateway.trunk.headers import NO_HEADERS, HeaderOptions
from gateway.trunk.identity import CALLERS_AS_THEY_ARE, IdentityOptions
from gateway.trunk.numbers import UNCHANGED, NumberOptions
from gateway.trunk.registration import RegistrationOptions

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SIP_PORT = 5060
SIPS_PORT = 5061

MAX_REMEMBERED_SOURCES = 4096
"Verdicts kept on source addresses: a flood from forged ones must not grow it."

USUAL_TIMER = SessionTimerOptions()

MAX_PLACE_ADDRESSES = 64
"Addresses that one name of a trunk may stand for."


@dataclass(frozen=True, slots=True)
class Trunk:
    """One carrier or PBX."""

    name: str
    uri: Uri
    "Where calls to it go: sip:HOST or sip:HOST:PORT, with ;transport=, or sips:HOST."
    username: str | None = None
    "Answers its challenges (401, 407)."
    password: Secret | None = None
    realm: str | None = None
    "The only realm that is answered; None: the first that asks."
    caller_id: str | None = None
    "The number shown on calls to it; None: the caller's own."
    allow: tuple[Network, ...] = ()
    "Who may call in as this trunk, beside the addresses of its uri."
    dtmf: DtmfMode = DtmfMode.AUTO
    "How keys are pressed toward it, and looked for in what it sends."
    codecs: tuple[Codec, ...] = (PCMU, PCMA)
    "What it is offered and may use, in this order."
    proxy: Uri | None = None
    "Where what is sent to it goes first; `uri` stays what is asked for."
    probe_s: float = 30.0
    "How often it is asked whether it is there; 0: never."
    max_calls: int | None = None
    "Calls in and out at a time; None: as many as the node takes."
    max_cps: float | None = None
    "New calls a second, in and out; None: no limit."
    trusted: bool = False
    "Whether what it asserts of callers is believed (RFC 3325): P-Asserted-Identity, Diversion."
    registrations: tuple[RegistrationOptions, ...] = ()
    "Where we tell it that we can be called."
    numbers: NumberOptions = UNCHANGED
    "How it writes telephone numbers."
    identity: IdentityOptions = CALLERS_AS_THEY_ARE
    "What it is told of callers."
    headers: HeaderOptions = NO_HEADERS
    "Headers of the users' own, from it and for it."
    no_response_timeout_s: float = NO_RESPONSE_S
    "How long one of its hosts may be silent while there is another to try."
    offer_100rel: bool = True
    "Whether it may send its provisional responses reliably (RFC 3262)."
    session_timer: SessionTimerOptions | None = USUAL_TIMER
    "The session timer to ask for (RFC 4028); None: none is asked for."
    allow_transfer: bool = False
    "Whether it may transfer: its REFER goes through the routes like a number it dials (A37)."
    allow_redirect: bool = False
    "Whether its 3xx are followed, through the routes of who calls it."
    takes_refer: bool = False
    "Whether it is asked by REFER to call who a party of its is transferred to; else we call."
    signals_hold: bool = False
    "Whether it is told by re-INVITE that we hold it."
    srtp: SrtpPolicy = SrtpPolicy.OFF
    "Whether its media is protected by keys in the SDP (RFC 4568)."
    srtp_without_tls: bool = False
    "Whether these keys may be sent where everybody on the way can read them."
    media_allow: tuple[Network, ...] = ()
    "Where its media is, beside where its SIP comes from: private addresses too."
    rtcp_mux: bool = False
    "Whether it is offered RTP and RTCP on one port (RFC 5761)."
    media_timeout_s: float = 30.0
    "How long it may send neither RTP nor RTCP in a call; 0: for ever."
    symmetric_rtp: bool = False
    "Send media to where its media comes from (RFC 7362), for one behind NAT."
    profile: str | None = None
    "Whose defaults its settings began with."
    target: Uri | None = None
    "What every call to it asks for, of an agent at a SIP URI; None: the number that is called."

    @property
    def destination(self) -> Destination:
        """Where requests to it are sent."""
        return Destination.of(self.proxy or self.uri)

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """Every place that is part of it: calls may come from each."""
        registrars = (options.destination for options in self.registrations)
        return tuple(dict.fromkeys((self.destination, Destination.of(self.uri), *registrars)))


class Peers:
    """Says of a source address who it is: a trunk, an allowed stranger, or nobody.

    What the names of trunks stand for is told from outside, by `set_addresses`: nothing here asks
    the DNS. A trunk that is written with an address is known by that from the start.
    """

    def __init__(
        self,
        trunks: Sequence[Trunk],
        allow: Sequence[Network],
        *,
        called_at: Callable[[str], str | None] = lambda user: None,
    ) -> None:
        """
        Args:
            allow: who may call in without being a trunk: their routes are `from = "sip"`.
            called_at: the name of the trunk that was given the user part of this Request-URI for
                a Contact; None: it is nobody's.
        """
        self._trunks = {trunk.name: trunk for trunk in trunks}
        self._allow = tuple(allow)
        self._called_at = called_at
        self._fixed = {trunk.name: _written(trunk) for trunk in trunks}
        self._told: dict[str, dict[str, tuple[tuple[str, int], ...]]] = {
            n: {} for n in self._trunks
        }
        self._addresses = {name: list(written) for name, written in self._fixed.items()}
        self._admitted: dict[str, bool] = {}

    @property
    def destinations(self) -> Mapping[str, Destination]:
        """Whose addresses are to be found: what `set_addresses` calls each, and what it is."""
        return {
            f"{name}/{number}": destination
            for name, trunk in self._trunks.items()
            for number, destination in enumerate(trunk.destinations)
        }

    def set_addresses(self, place: str, hosts: Collection[str]) -> None:
        """Know a trunk by the addresses of one of `destinations`, and no longer by those before.

        Beyond `MAX_PLACE_ADDRESSES` none is taken.
        """
        name, _, number = place.rpartition("/")
        port = _port_of(self._trunks[name].destinations[int(number)])
        told = tuple((str(ipaddress.ip_address(host)), port) for host in sorted(hosts))
        places = self._told[name]
        if told[:MAX_PLACE_ADDRESSES] == places.get(place):
            return
        places[place] = told[:MAX_PLACE_ADDRESSES]
        addresses = (address for each in places.values() for address in each)
        self._addresses[name] = list(dict.fromkeys((*self._fixed[name], *addresses)))
        self._admitted.clear()

    def address_of(self, trunk: Trunk) -> tuple[str, int]:
        """The first address at which a trunk takes calls.

        Raises:
            RoutingError: 503, none is known.
        """
        known = self._addresses[trunk.name]
        if not known:
            raise RoutingError(f"trunk {trunk.name} has no address", status=503)
        return known[0]

    def is_admitted(self, host: str) -> bool:
        """Whether an address may send us SIP at all; asked for every datagram."""
        admitted = self._admitted.get(host)
        if admitted is None:
            if len(self._admitted) >= MAX_REMEMBERED_SOURCES:
                self._admitted.clear()
            admitted = self._admitted[host] = self._decide(host)
        return admitted

    def source_of(self, remote: tuple[str, int], called: str | None = None) -> str:
        """Who an admitted address is, in a route's words: `trunk:NAME`, `agent:NAME` or `sip`.

        What was called beats where it comes from: the user part of a Contact of ours, which
        nobody can guess, is known to the trunk alone that we registered it with (A18). Then the
        very address of a trunk beats a network; a network of a trunk beats `allow`.

        Args:
            called: the user part of the Request-URI.

        Raises:
            RoutingError: 403, it is nobody.
        """
        name = self._called_at(called) if called else None
        if name is None:
            name = self._name_of(remote)
        if name is not None:
            return _source(name)
        if self._is_allowed(remote[0]):
            return "sip"
        name = self._name_of_host(remote[0])
        if name is not None:
            return _source(name)
        raise RoutingError("this source may not call", status=403)

    def is_at(self, remote: tuple[str, int]) -> bool:
        """Whether a trunk takes calls at this very address and port."""
        return any(remote in known for known in self._addresses.values())

    def _name_of(self, remote: tuple[str, int]) -> str | None:
        """The trunk that has this very address and port, else the one that has it in `allow`."""
        for name, known in self._addresses.items():
            if remote in known:
                return name
        address = ipaddress.ip_address(remote[0])
        for name, trunk in self._trunks.items():
            if any(address in network for network in trunk.allow):
                return name
        return None

    def _name_of_host(self, host: str) -> str | None:
        for name, known in self._addresses.items():
            if any(address == host for address, _ in known):
                return name
        return None

    def _is_allowed(self, host: str) -> bool:
        address = ipaddress.ip_address(host)
        return any(address in network for network in self._allow)

    def _decide(self, host: str) -> bool:
        if self._name_of_host(host) is not None or self._is_allowed(host):
            return True
        address = ipaddress.ip_address(host)
        return any(address in network for each in self._trunks.values() for network in each.allow)


def _source(name: str) -> str:
    """A trunk in a route's words; an agent at a SIP URI is called by its name already."""
    return name if name.startswith("agent:") else f"trunk:{name}"


def _written(trunk: Trunk) -> tuple[tuple[str, int], ...]:
    """The addresses that stand in the configuration itself."""
    found = []
    for destination in trunk.destinations:
        try:
            host = str(ipaddress.ip_address(destination.host))
        except ValueError:
            continue
        found.append((host, _port_of(destination)))
    return tuple(found)


def _port_of(destination: Destination) -> int:
    """The port it is at, unless the DNS says another."""
    is_tls = destination.secure or destination.transport == "tls"
    return destination.port or (SIPS_PORT if is_tls else SIP_PORT)
