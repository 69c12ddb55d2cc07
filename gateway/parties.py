"""The parties of a node's calls: makes the leg of each of them, and what carries its media."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from gateway.agents.agent import Agent
from gateway.agents.echo import Echo
from gateway.agents.script import ScriptedAgent, load_script, parse_script
from gateway.call.hunt import Errand
from gateway.codec import (
    OPUS,
    PCMA,
    PCMU,
    TELEPHONE_EVENT,
    TELEPHONE_EVENT_48K,
    Codec,
)
from gateway.errors import ConfigError, RoutingError
from gateway.leg.agent import AgentLeg
from gateway.leg.browser import BrowserLeg, Send
from gateway.leg.leg import Leg, LegId
from gateway.leg.negotiator import offered_keying
from gateway.leg.sip import SipLeg, SipLegOptions
from gateway.leg.stream import AudioStream
from gateway.leg.watch import WatchOptions
from gateway.net.chance import spread
from gateway.net.interface import is_loopback
from gateway.net.media import MediaTransport, UdpMediaTransport
from gateway.net.pacer import Pacer
from gateway.net.ports import PortPool, open_rtp_socket
from gateway.options import AgentOptions, Config
from gateway.rtp.session import RtpSession
from gateway.sdp.description import Keying
from gateway.sdp.negotiation import OPUS_FMTP, OPUS_NARROWBAND_FMTP
from gateway.sip.flow import Flow
from gateway.sip.invite import InviteRequest
from gateway.sip.invite_server import InviteServer
from gateway.sip.uri import Uri
from gateway.telephony import Arrival, Telephony
from gateway.trunk.identity import CallerIdentity
from gateway.trunk.limits import Direction
from gateway.trunk.numbers import number_uri, write_called
from gateway.trunk.route import Plan, Target, TargetKind
from gateway.trunk.trunk import Trunk
from gateway.users.user import User
from gateway.webrtc.port import WebRtcPort

SIP_SESSION_BITS = 62
"An o= line's session id is a number that fits a signed 64-bit integer (RFC 8866 §5.2)."


@dataclass(frozen=True, slots=True)
class Caller:
    """Who placed a call, and the headers that came with it."""

    identity: CallerIdentity
    attributes: Mapping[str, str]

    @property
    def number(self) -> str:
        """Whom people, agents and the API are told; empty: nobody they may know."""
        return "" if self.identity.is_withheld else self.identity.number.value


class Parties:
    """Makes the legs of one node."""

    def __init__(
        self,
        telephony: Telephony,
        *,
        config: Config,
        agents: Mapping[str, Agent],
        ports: PortPool,
        webrtc: WebRtcPort | None,
        loop: asyncio.AbstractEventLoop,
        pacer: Pacer,
        new_id: Callable[[], LegId],
    ) -> None:
        """
        Args:
            ports: of plain RTP.
            webrtc: carries the media of browsers; None: none is taken.
        """
        self.agents = dict(agents)
        self.ports = ports
        self.webrtc = webrtc
        self._telephony = telephony
        self._trunks = {trunk.name: trunk for trunk in config.trunks}
        self._users = {user.name: user for user in config.users}
        self._loop = loop
        self._pacer = pacer
        self._new_id = new_id

    # ---- who calls

    def page(self, plan: Plan, send: Send) -> BrowserLeg:
        """The leg of a page, which is to be called along the plan.

        Raises:
            RoutingError: 503, no browser is taken here.
        """
        if self.webrtc is None:
            raise RoutingError("this node takes no browsers", status=503)
        return BrowserLeg(
            self._new_id(),
            codecs=self._codecs_for_page(plan),
            stream=self._new_stream(self.webrtc.new_transport()),
            session_id=_session_id(),
            send=send,
            new_transport=self.webrtc.new_transport,
            loop=self._loop,
        )

    def arrival(self, leg_id: LegId, session: InviteServer, arrival: Arrival) -> SipLeg:
        """The leg of an INVITE that is let in.

        Raises:
            GatewayError: it offers what cannot be used, or no ports are left.
        """
        return self._sip_leg(
            leg_id,
            arrival.trunk or arrival.user,
            keying_of(session.offer, session.flow),
            session.flow.remote[0],
            session=session,
        )

    # ---- who is called

    def called(
        self, target: Target, errand: Errand, caller: Caller, *, is_caller: bool = False
    ) -> Leg:
        """The leg of a target, not yet dialled.

        Args:
            is_caller: it is rung first, and is then in the place of who calls.

        Raises:
            GatewayError: it cannot be dialled now, or there is no room.
        """
        leg_id = self._new_id()
        match target.kind:
            case TargetKind.AGENT:
                shown, called = (number.value for number in errand.numbers)
                return AgentLeg(
                    leg_id,
                    self.agents[target.name],
                    call_id=errand.id,
                    caller=shown,
                    called=called,
                    loop=self._loop,
                    is_caller=is_caller,
                )
            case TargetKind.TRUNK:
                return self._trunk(leg_id, self._trunks[target.name], errand, caller)
            case TargetKind.USER:
                return self._phone(leg_id, target, errand, caller)
        raise RoutingError(f"{target.kind.value} targets cannot be dialled", status=501)

    def _trunk(self, leg_id: LegId, trunk: Trunk, errand: Errand, caller: Caller) -> SipLeg:
        telephony = self._telephony
        request = telephony.request_to_trunk(trunk, errand, caller.identity, caller.attributes)
        destination = request.destination or trunk.destination
        telephony.limits.enter(trunk.name, leg_id, Direction.OUT, self._loop.time())
        try:
            return SipLeg(
                leg_id,
                legs=telephony.legs,
                codecs=_codecs_of(trunk, Keying.NONE),
                session_id=_session_id(),
                allow_local_media=telephony.is_on_this_machine(destination),
                options=_leg_options(trunk),
                request=request,
                stream=self._new_stream(
                    self._udp_media(telephony.address_of(destination), self._origin_of(trunk))
                ),
            )
        except Exception:
            telephony.limits.leave(leg_id)
            raise

    def _origin_of(self, trunk: Trunk) -> str | None:
        """Where the SIP of a trunk comes from that may be behind NAT; None for all others."""
        return self._telephony.peers.address_of(trunk)[0] if trunk.symmetric_rtp else None

    def _phone(self, leg_id: LegId, target: Target, errand: Errand, caller: Caller) -> SipLeg:
        """The leg of one device of a user."""
        user = self._users[target.name]
        contact = self._telephony.contact(target.name, target.contact)
        request = self._telephony.request_to_contact(user, contact, errand, caller.identity)
        is_browser = contact.uri.parameters.get("transport") in ("ws", "wss")
        is_browser = is_browser or contact.flow.is_websocket
        keying = Keying.DTLS if is_browser else Keying.NONE
        return self._sip_leg(leg_id, user, keying, contact.flow.remote[0], request=request)

    def _sip_leg(
        self,
        leg_id: LegId,
        party: Trunk | User | None,
        keying: Keying,
        peer: str,
        *,
        request: InviteRequest | None = None,
        session: InviteServer | None = None,
    ) -> SipLeg:
        """The leg of who is at a known address and calls (`session`) or is called (`request`)."""
        media: MediaTransport
        if keying is Keying.DTLS:
            media = self._browser_media()
        else:
            is_symmetric = party is not None and party.symmetric_rtp
            media = self._udp_media(peer, peer if is_symmetric else None)
        return SipLeg(
            leg_id,
            legs=self._telephony.legs,
            codecs=_codecs_of(party, keying),
            session_id=_session_id(),
            allow_local_media=is_loopback(peer),
            keying=keying,
            options=_leg_options(party),
            request=request,
            session=session,
            stream=self._new_stream(media),
        )

    # ---- their media

    def _new_stream(self, transport: MediaTransport) -> AudioStream:
        now = self._loop.time()
        session = RtpSession(
            ssrc=secrets.randbits(32),
            sequence=secrets.randbits(15),
            timestamp=secrets.randbits(32),
            cname=secrets.token_hex(8),
            now=now,
            ntp_offset=time.time() - now,
            spread=spread,
        )
        return AudioStream(transport, session, pacer=self._pacer, clock=self._loop.time)

    def _browser_media(self) -> MediaTransport:
        """What carries the media of a softphone in a browser.

        Raises:
            RoutingError: no browser is taken here.
        """
        if self.webrtc is None:
            raise RoutingError("this node takes no browsers: [webrtc] is empty", status=488)
        return self.webrtc.new_transport()

    def _udp_media(self, peer: str | None, symmetric: str | None) -> MediaTransport:
        return UdpMediaTransport(self.ports, loop=self._loop, peer=peer, symmetric=symmetric)

    def _codecs_for_page(self, plan: Plan) -> tuple[Codec, ...]:
        """Opus first; told to stay narrowband where the far end is."""
        narrow = all(
            target.kind is TargetKind.TRUNK
            and all(codec.sample_rate <= 8000 for codec in self._trunks[target.name].codecs)
            for group in plan.groups
            for target in group
        )
        return _browser_codecs(OPUS_NARROWBAND_FMTP if narrow else OPUS_FMTP)


def keying_of(offer: bytes | None, flow: Flow) -> Keying:
    """How the media of an INVITE is to be protected.

    Whoever is at the end of a WebSocket has DTLS, whatever is offered: it is not made plain (A34).

    Raises:
        RemoteProtocolError: the offer is no SDP.
        NegotiationError: it has no audio.
    """
    otherwise = Keying.DTLS if flow.is_websocket else Keying.NONE
    wants_dtls = offered_keying(offer, otherwise) is Keying.DTLS
    return Keying.DTLS if wants_dtls else otherwise


def open_ports(config: Config) -> PortPool:
    """The RTP ports; that their address is ours is better found out now than by a caller.

    Raises:
        ConfigError: it is not.
    """
    pool = PortPool(config.rtp)
    try:
        open_rtp_socket(pool.host, 0).close()
    except OSError as error:
        raise ConfigError(
            f"{config.file}: [rtp] address = {config.rtp.address!r}: cannot be bound"
            f" ({error.strerror}); name an address of this machine"
        ) from None
    return pool


def make_agent(options: AgentOptions) -> Agent:
    """The agent that a configuration describes.

    Raises:
        ConfigError: its script, or a recording of that, is wrong.
    """
    match options.protocol:
        case "echo":
            return Echo()
        case "script" if options.script is not None:
            return ScriptedAgent(load_script(options.script))
        case "script":
            return ScriptedAgent(parse_script({"step": list(options.step)}, options.file))
    raise ConfigError(f"agent {options.name}: protocol {options.protocol!r} is not known")


def _codecs_of(party: Trunk | User | None, keying: Keying) -> tuple[Codec, ...]:
    if keying is Keying.DTLS:
        return _browser_codecs(OPUS_FMTP)
    return (*((PCMU, PCMA) if party is None else party.codecs), TELEPHONE_EVENT)


def _browser_codecs(fmtp: str) -> tuple[Codec, ...]:
    opus = replace(OPUS, fmtp=fmtp)
    return (opus, PCMU, PCMA, TELEPHONE_EVENT_48K, TELEPHONE_EVENT)


def _leg_options(party: Trunk | User | None) -> SipLegOptions:
    """What a trunk, or one of a user's phones, may do in a call; strangers may do nothing."""
    if party is None:
        return SipLegOptions()
    return SipLegOptions(
        allow_transfer=party.allow_transfer,
        allow_redirect=party.allow_redirect,
        sends_refer=party.takes_refer,
        signals_hold=party.signals_hold,
        plays_on_hold=isinstance(party, Trunk),
        watch=WatchOptions(media_timeout_s=party.media_timeout_s),
        refer_to=partial(_refer_to, party) if isinstance(party, Trunk) else None,
    )


def _refer_to(trunk: Trunk, number: str) -> Uri:
    """A number as a trunk is asked to call it by itself."""
    with suppress(RoutingError):  # it has no way to write it: as it is, then
        number = write_called(number, trunk.numbers)
    return number_uri(number, trunk.numbers, trunk.uri.host, trunk.uri.port)


def _session_id() -> str:
    return str(secrets.randbits(SIP_SESSION_BITS))
