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
from gateway.agents.tool import TOOLS
from gateway.call.hunt import Errand
from gateway.codec import Codec
from gateway.errors import ConfigError, NegotiationError, RoutingError
from gateway.leg.agent import AgentLeg
from gateway.leg.browser import BrowserLeg, Send
from gateway.leg.leg import Leg, LegId
from gateway.leg.negotiator import MediaRules, offered_keying
from gateway.leg.sip import SipLeg, SipLegOptions
from gateway.leg.stream import AudioStream
from gateway.leg.watch import WatchOptions
from gateway.media.effort import Workload
from gateway.media.file import read_sound
from gateway.media.sound import Sound
from gateway.net.chance import spread
from gateway.net.interface import is_loopback
from gateway.net.media import MediaTransport
from gateway.net.pacer import Pacer
from gateway.net.ports import PortPool, open_rtp_socket
from gateway.net.sdes import SdesMediaTransport
from gateway.net.udp_media import UdpMediaTransport
from gateway.options import AgentOptions, Config
from gateway.rtp.session import RtpSession
from gateway.sdp.crypto import SrtpPolicy
from gateway.sdp.description import Keying
from gateway.sip.flow import Flow
from gateway.sip.invite import InviteRequest
from gateway.sip.invite_server import InviteServer
from gateway.sip.uri import Uri
from gateway.spoken import Codecs, keying_toward, spoken_by
from gateway.telephony import Arrival, Telephony
from gateway.trunk.codecs import (
    ANY,
    OF_BROWSERS,
    Allowed,
    CodecRules,
)
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
        workload: Workload,
        new_id: Callable[[], LegId],
    ) -> None:
        """
        Args:
            workload: says what encoding may cost.
            ports: of plain RTP.
            webrtc: carries the media of browsers; None: none is taken.
        """
        self.agents = dict(agents)
        self.ports = ports
        self.webrtc = webrtc
        self.carry: Callable[[MediaTransport], MediaTransport] | None = None
        "Puts something before what carries plain RTP, as trials do; None: nothing."
        self._telephony = telephony
        self._trunks = {trunk.name: trunk for trunk in config.trunks}
        self._sip_agents = config.sip_agents
        self._agents = {options.name: options for options in config.agents}
        self._users = {user.name: user for user in config.users}
        self._loop = loop
        self._pacer = pacer
        self._workload = workload
        self._codecs = Codecs(config, telephony.contact)
        self._new_id = new_id
        self._patience = WatchOptions(
            hold_timeout_s=config.media.hold_timeout_s,
            early_media_timeout_s=config.media.early_media_timeout_s,
        )

    # ---- who calls

    def page(self, plan: Plan, send: Send) -> BrowserLeg:
        """The leg of a page, which is to be called along the plan.

        Raises:
            RoutingError: 503, no browser is taken here.
            NegotiationError: the route lets nothing be transcoded, and it would have to be.
        """
        if self.webrtc is None:
            raise RoutingError("this node takes no browsers", status=503)
        rules = plan.options.codecs
        allowed = self._codecs.of_caller(OF_BROWSERS, plan)
        return BrowserLeg(
            self._new_id(),
            codecs=allowed.codecs,
            stream=self._new_stream(self.webrtc.new_transport(), rules),
            session_id=_session_id(),
            send=send,
            new_transport=self.webrtc.new_transport,
            loop=self._loop,
        )

    def arrival(
        self, leg_id: LegId, session: InviteServer, arrival: Arrival, plan: Plan | None
    ) -> SipLeg:
        """The leg of an INVITE that is let in.

        Args:
            plan: along which it is to be called; None: it takes the place of another party.

        Raises:
            GatewayError: it offers what cannot be used, or no ports are left.
        """
        party = arrival.trunk or arrival.user
        keying = keying_of(session.offer, session.flow)
        rules = ANY if plan is None else plan.options.codecs
        return self._sip_leg(
            leg_id,
            party,
            keying,
            session.flow,
            self._codecs.of_caller(spoken_by(party, keying), plan),
            rules,
            session=session,
        )

    # ---- who is called

    def called(
        self,
        target: Target,
        errand: Errand,
        caller: Caller,
        *,
        onward: Plan | None = None,
        agent: Agent | None = None,
    ) -> Leg:
        """The leg of a target, not yet dialled.

        Args:
            onward: it is rung first, and is then in the place of who calls along this.
            agent: who attends for it, where the target is an agent; None: as configured.

        Raises:
            GatewayError: it cannot be dialled now, or there is no room.
        """
        leg_id = self._new_id()
        match target.kind:
            case TargetKind.AGENT if target.name in self._sip_agents:
                trunk = self._sip_agents[target.name]
                codecs = self._codecs.of_called(trunk.codecs, errand, onward)
                return self._trunk(leg_id, trunk, errand, caller, codecs)
            case TargetKind.AGENT:
                return self._agent(leg_id, target.name, errand, caller, onward, agent)
            case TargetKind.TRUNK:
                trunk = self._trunks[target.name]
                codecs = self._codecs.of_called(trunk.codecs, errand, onward)
                return self._trunk(leg_id, trunk, errand, caller, codecs)
            case TargetKind.USER:
                return self._phone(leg_id, target, errand, caller, onward)
        raise RoutingError(f"{target.kind.value} targets cannot be dialled", status=501)

    def _agent(
        self,
        leg_id: LegId,
        name: str,
        errand: Errand,
        caller: Caller,
        onward: Plan | None,
        agent: Agent | None,
    ) -> AgentLeg:
        """The leg of an agent in this process, or at the end of a wire."""
        shown, called = (number.value for number in errand.numbers)
        options = self._agents.get(name)
        leg = AgentLeg(
            leg_id,
            agent or self.agents[name],
            call_id=errand.id,
            caller=shown,
            called=called,
            loop=self._loop,
            is_caller=onward is not None,
            name=name,
            attributes=caller.attributes,
            codec=errand.heard or "",
            tools=_tools_of(options),
            speech=None if options is None else options.speech,
        )
        if onward is not None:
            asked = onward.options.answering_machine
            leg.expect_machine(asked or (options.answering_machine if options else "off"))
        return leg

    def _trunk(
        self,
        leg_id: LegId,
        trunk: Trunk,
        errand: Errand,
        caller: Caller,
        codecs: tuple[Codec, ...],
    ) -> SipLeg:
        telephony = self._telephony
        request = telephony.request_to_trunk(trunk, errand, caller.identity, caller.attributes)
        destination = request.destination or trunk.destination
        placed = media_rules(trunk, is_private=destination.is_over_tls)
        telephony.limits.enter(trunk.name, leg_id, Direction.OUT, self._loop.time())
        try:  # without a leg nobody would give its place among the trunk's calls back
            return SipLeg(
                leg_id,
                legs=telephony.legs,
                codecs=codecs,
                session_id=_session_id(),
                allow_local_media=telephony.is_on_this_machine(destination),
                options=_leg_options(trunk, placed, self._patience),
                request=request,
                stream=self._new_stream(
                    self._udp_media(
                        telephony.address_of(destination), self._origin_of(trunk), placed
                    ),
                    errand.codecs,
                ),
            )
        except Exception:
            telephony.limits.leave(leg_id)
            raise

    def _origin_of(self, trunk: Trunk) -> str | None:
        """Where the SIP of a trunk comes from that may be behind NAT; None for all others."""
        return self._telephony.peers.address_of(trunk)[0] if trunk.symmetric_rtp else None

    def _phone(
        self, leg_id: LegId, target: Target, errand: Errand, caller: Caller, onward: Plan | None
    ) -> SipLeg:
        """The leg of one device of a user."""
        user = self._users[target.name]
        contact = self._telephony.contact(target.name, target.contact)
        request = self._telephony.request_to_contact(user, contact, errand, caller.identity)
        keying = keying_toward(contact)
        codecs = self._codecs.of_called(spoken_by(user, keying), errand, onward)
        return self._sip_leg(
            leg_id,
            user,
            keying,
            contact.flow,
            Allowed(codecs),
            errand.codecs,
            request=request,
        )

    def _sip_leg(
        self,
        leg_id: LegId,
        party: Trunk | User | None,
        keying: Keying,
        flow: Flow,
        allowed: Allowed,
        rules: CodecRules,
        *,
        request: InviteRequest | None = None,
        session: InviteServer | None = None,
    ) -> SipLeg:
        """The leg of who is at the end of a flow and calls (`session`) or is called (`request`)."""
        media: MediaTransport
        peer, placed = flow.remote[0], MediaRules()
        if keying is Keying.DTLS:
            media = self._browser_media()
        else:
            placed = media_rules(party, is_private=flow.is_secure)
            media = self._udp_media(peer, peer if placed.is_symmetric else None, placed)
        return SipLeg(
            leg_id,
            legs=self._telephony.legs,
            codecs=allowed.codecs,
            prefer=allowed.prefer,
            session_id=_session_id(),
            allow_local_media=is_loopback(peer),
            keying=keying,
            options=_leg_options(party, placed, self._patience),
            request=request,
            session=session,
            stream=self._new_stream(media, rules),
        )

    # ---- their media

    def _new_stream(self, transport: MediaTransport, rules: CodecRules) -> AudioStream:
        now, drawn = self._loop.time(), secrets.randbits(79)
        session = RtpSession(
            ssrc=drawn & 0xFFFFFFFF,
            sequence=drawn >> 32 & 0x7FFF,
            timestamp=drawn >> 47,
            cname=secrets.token_hex(8),
            now=now,
            ntp_offset=time.time() - now,
            spread=spread,
        )
        return AudioStream(
            transport,
            session,
            pacer=self._pacer,
            clock=self._loop.time,
            may_relay=rules.relays,
            workload=self._workload,
        )

    def _browser_media(self) -> MediaTransport:
        """What carries the media of a softphone in a browser.

        Raises:
            RoutingError: no browser is taken here.
        """
        if self.webrtc is None:
            raise RoutingError("this node takes no browsers: [webrtc] is empty", status=488)
        return self.webrtc.new_transport()

    def _udp_media(
        self, peer: str | None, symmetric: str | None, rules: MediaRules
    ) -> MediaTransport:
        if rules.srtp is SrtpPolicy.OFF:
            make: Callable[..., MediaTransport] = UdpMediaTransport
        else:
            make = partial(SdesMediaTransport, policy=rules.srtp)
        made = make(
            self.ports, loop=self._loop, peer=peer, symmetric=symmetric, media_allow=rules.allow
        )
        return made if self.carry is None else self.carry(made)


def _tools_of(options: AgentOptions | None) -> tuple[str, ...]:
    """The names of the tools that an agent may use."""
    allowed = None if options is None else options.tools
    return tuple(name for name in TOOLS if allowed is None or name in allowed)


def keying_of(offer: bytes | None, flow: Flow) -> Keying:
    """How the media of an INVITE is to be protected.

    Whoever is at the end of a WebSocket has DTLS, whatever is offered: it is not made plain (A34).

    Raises:
        RemoteProtocolError: the offer speaks of protection, and is no SDP.
        NegotiationError: likewise, and it has no audio.
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


def read_music(config: Config) -> Sound | None:
    """What is played on hold; None: the configuration names nothing.

    Raises:
        ConfigError: the file cannot be used.
    """
    if config.media.music is None:
        return None
    try:
        return read_sound(config.media.music)
    except ConfigError as error:
        raise ConfigError(f"{config.file}: [media] music = {error}") from None


def media_rules(party: Trunk | User | None, *, is_private: bool) -> MediaRules:
    """How the media of a party is protected, and where it may be.

    Args:
        is_private: whether nobody on the way can read its SIP, and the keys in it (A34).

    Raises:
        NegotiationError: its media is to be protected, and everybody could read the keys.
    """
    if party is None:
        return MediaRules()
    srtp = party.srtp
    if not (is_private or party.srtp_without_tls):
        if srtp is SrtpPolicy.REQUIRED:
            raise NegotiationError(f"{party.name}: srtp is required, and its SIP is not over TLS")
        srtp = SrtpPolicy.OFF
    return MediaRules(
        srtp=srtp,
        is_symmetric=party.symmetric_rtp,
        allow=party.media_allow if isinstance(party, Trunk) else (),
        offers_mux=party.rtcp_mux,
    )


def _leg_options(
    party: Trunk | User | None, media: MediaRules, patience: WatchOptions
) -> SipLegOptions:
    """What a trunk, or one of a user's phones, may do in a call; strangers may do nothing."""
    if party is None:
        return SipLegOptions(watch=patience)
    return SipLegOptions(
        allow_transfer=party.allow_transfer,
        allow_redirect=party.allow_redirect,
        sends_refer=party.takes_refer,
        signals_hold=party.signals_hold,
        plays_on_hold=isinstance(party, Trunk),
        dtmf=party.dtmf,
        watch=replace(patience, media_timeout_s=party.media_timeout_s),
        media=media,
        refer_to=partial(_refer_to, party) if isinstance(party, Trunk) else None,
    )


def _refer_to(trunk: Trunk, number: str) -> Uri:
    """A number as a trunk is asked to call it by itself."""
    with suppress(RoutingError):  # it has no way to write it: as it is, then
        number = write_called(number, trunk.numbers)
    return number_uri(number, trunk.numbers, trunk.uri.host, trunk.uri.port)


def _session_id() -> str:
    return str(secrets.randbits(SIP_SESSION_BITS))
