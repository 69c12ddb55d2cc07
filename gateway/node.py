"""A node: one gateway, built of its configuration and wired. Here everybody meets."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial

from gateway.agents.agent import Agent
from gateway.agents.echo import Echo
from gateway.agents.script import ScriptedAgent, load_script, parse_script
from gateway.call.call import Call, CallSummary
from gateway.call.events import CallEvent
from gateway.call.registry import Registry
from gateway.codec import (
    OPUS,
    PCMA,
    PCMU,
    TELEPHONE_EVENT,
    TELEPHONE_EVENT_48K,
    Codec,
)
from gateway.config import AgentOptions, Config, Listen
from gateway.errors import ConfigError, GatewayError, RoutingError
from gateway.leg.agent import AgentLeg
from gateway.leg.browser import BrowserLeg, Send
from gateway.leg.leg import EndReason, Leg
from gateway.leg.sip import SipLeg, SipLegs
from gateway.leg.stream import AudioStream
from gateway.net.driver import Driver
from gateway.net.media import MediaTransport, PortPool, UdpMediaTransport
from gateway.net.pacer import Pacer
from gateway.net.udp import UdpTransport, open_udp_sockets
from gateway.private import Private
from gateway.rtp.session import RtpSession
from gateway.sdp.negotiation import OPUS_FMTP, OPUS_NARROWBAND_FMTP
from gateway.sip import event as sip
from gateway.sip.authenticator import Credentials
from gateway.sip.endpoint import Endpoint, EndpointOptions
from gateway.sip.flow import Flow
from gateway.sip.flow import Send as SipSend
from gateway.sip.header import Address
from gateway.sip.invite import InviteRequest
from gateway.sip.uri import Uri, parse_uri
from gateway.trunk.route import Plan, Router, Target, TargetKind
from gateway.trunk.trunk import Peers, Trunk
from gateway.webrtc.certificate import Certificate
from gateway.webrtc.port import WebRtcPort

log = logging.getLogger(__name__)

GOODBYE_S = 0.7
"How long BYEs may take to be answered at the end: one retransmission (T1) included."

SIP_SESSION_BITS = 62
"An o= line's session id is a number that fits a signed 64-bit integer (RFC 8866 §5.2)."


class Node:
    """One gateway: what a configuration describes, wired and listening."""

    def __init__(
        self,
        config: Config,
        *,
        version: str,
        loop: asyncio.AbstractEventLoop,
        pacer: Pacer,
        certificate: Certificate | None,
    ) -> None:
        """Open everything.

        Raises:
            ConfigError: an address cannot be listened on, or a script is wrong.
        """
        self.version = version
        self.config = config
        self._loop = loop
        self.pacer = pacer
        self._name = config.name
        self._is_closed = False
        self._router = Router(config.routes)
        self._trunks = {trunk.name: trunk for trunk in config.trunks}
        self._agents = {agent.name: _make_agent(agent) for agent in config.agents}
        self._peers = Peers(config.trunks, config.sip.allow)
        self.registry = Registry(loop=loop, pacer=pacer, new_id=self._new_id, dial=self._dial)
        self._ports = PortPool(config.rtp)
        self._webrtc = (
            None
            if config.webrtc is None or certificate is None
            else WebRtcPort.open(config.webrtc, certificate, loop=loop)
        )
        self._open_sip()

    def _open_sip(self) -> None:
        loop = self._loop
        endpoint = Endpoint(
            EndpointOptions(user_agent=f"voice-gateway/{self.version}"),
            new_token=partial(secrets.token_hex, 10),
        )
        self._legs = SipLegs(endpoint, loop=loop)
        self._legs.on_incoming = self._on_invite
        self.driver: Driver[SipSend, sip.Event] = Driver(
            endpoint, loop=loop, send=self._send_sip, on_event=self._legs.on_event
        )
        self._legs.driver = self.driver
        sockets = [each for listen in self.config.sip.listen for each in _listen(listen)]
        self._udp = UdpTransport(
            sockets,
            loop=loop,
            receive=self._receive_sip,
            admit=lambda source: self._peers.is_admitted(source[0]),
        )

    @property
    def sip_addresses(self) -> tuple[tuple[str, int], ...]:
        """Where SIP is listened on."""
        return self._udp.locals

    @property
    def webrtc_port(self) -> int | None:
        """The UDP port of browsers' media; None where no browser is taken."""
        return None if self._webrtc is None else self._webrtc.port

    @property
    def rtp_ports_in_use(self) -> int:
        """Pairs of RTP ports that calls hold now."""
        return self._ports.in_use

    # ---- SIP bytes

    def _receive_sip(self, data: bytes, flow: Flow) -> None:
        self.driver.change(self._legs.endpoint.receive, data, flow, self._loop.time())

    def _send_sip(self, output: SipSend) -> None:
        if not self._udp.send(output.data, output.flow):
            self._legs.endpoint.flow_failed(output.flow, self._loop.time())

    # ---- calls in

    def call_from_page(self, to: str, offer: str, name: str, send: Send) -> tuple[BrowserLeg, Call]:
        """Place a call for a page; see `gateway.api.signalling.PageNode`."""
        if self._webrtc is None:
            raise RoutingError("this node takes no browsers", status=503)
        plan = self._router.plan("browser", to)
        leg = BrowserLeg(
            self._new_id(),
            stream=self._new_stream(self._webrtc.new_transport()),
            codecs=self._codecs_for_browser(plan),
            session_id=_session_id(),
            send=send,
            loop=self._loop,
        )
        try:
            leg.take_offer(offer)
            call = self._place(leg, plan, "browser", ("", to))
        except GatewayError:
            leg.end(EndReason.REJECTED)
            raise
        if call.outcome is None:
            leg.announce(call.id)
        return leg, call

    def _on_invite(self, event: sip.Incoming) -> None:
        session, request = event.session, event.request
        now = self._loop.time()
        try:
            source = self._peers.source_of(session.flow.remote)
            dialled = parse_uri(request.uri).user or ""
            plan = self._router.plan(source, dialled)
            if any(t.kind is TargetKind.IGNORE for group in plan.groups for t in group):
                session.drop(now)
                return
            leg = SipLeg(
                self._new_id(),
                legs=self._legs,
                stream=self._new_stream(UdpMediaTransport(self._ports, loop=self._loop)),
                codecs=self._codecs_for_source(source),
                session_id=_session_id(),
                allow_local_media=_is_loopback(session.flow.remote[0]),
                session=session,
            )
        except GatewayError as error:
            log.info("refused an INVITE with %d: %s", error.status, type(error).__name__)
            session.reject(error.status, now)
            return
        try:
            leg.take_offer()
            caller = request.from_.uri.user or ""
            self._place(leg, plan, source, (caller, dialled))
        except GatewayError as error:
            leg.end(EndReason.REJECTED, error.status)

    def originate(self, from_: str, to: str) -> CallSummary:
        """Ring `from_`, and when it answers call `to`; see `gateway.api.calls.CallControl`."""
        first = self._router.plan("api", from_).groups[0][0]
        plan = self._router.plan("api", to)
        numbers = (Private(from_), Private(to))
        leg = self._make_leg(first, self._new_id(), caller="", called=from_)
        call = self.registry.place(
            leg, plan, caller_target=str(first), numbers=numbers, dial_caller=True
        )
        return call.summary(self._loop.time())

    def _place(self, leg: Leg, plan: Plan, source: str, numbers: tuple[str, str]) -> Call:
        caller, called = numbers
        return self.registry.place(
            leg, plan, caller_target=source, numbers=(Private(caller), Private(called))
        )

    # ---- calls out

    def _dial(self, target: Target, call: Call) -> Leg:
        caller, called = (number.value for number in call.numbers)
        return self._make_leg(target, call.id, caller=caller, called=called)

    def _make_leg(self, target: Target, call_id: str, *, caller: str, called: str) -> Leg:
        match target.kind:
            case TargetKind.AGENT:
                return AgentLeg(
                    self._new_id(),
                    self._agents[target.name],
                    call_id=call_id,
                    caller=caller,
                    called=called,
                    loop=self._loop,
                )
            case TargetKind.TRUNK:
                return self._trunk_leg(self._trunks[target.name], caller, called)
            case _:
                raise RoutingError(f"{target.kind.value} targets cannot be dialled", status=501)

    def _trunk_leg(self, trunk: Trunk, caller: str, called: str) -> SipLeg:
        remote = self._peers.address_of(trunk)
        flow = self._udp.flow_to(remote)
        target = Uri("sip", user=called, host=trunk.uri.host, port=trunk.uri.port)
        from_user = trunk.caller_id or caller or "anonymous"
        request = InviteRequest(
            target=target,
            from_=Address("", Uri("sip", user=from_user, host=flow.local[0])),
            to=Address("", target),
            flow=flow,
            offer=None,
            credentials=_credentials(trunk),
        )
        return SipLeg(
            self._new_id(),
            legs=self._legs,
            stream=self._new_stream(UdpMediaTransport(self._ports, loop=self._loop)),
            codecs=_with_digits(trunk.codecs),
            session_id=_session_id(),
            allow_local_media=_is_loopback(remote[0]),
            request=request,
        )

    # ---- what the API asks

    def calls(self) -> Sequence[CallSummary]:
        now = self._loop.time()
        return [call.summary(now) for call in self.registry.calls()]

    def summary(self, call_id: str) -> CallSummary | None:
        return self.registry.summary(call_id)

    def hang_up(self, call_id: str) -> bool:
        return self.registry.end(call_id, EndReason.HANGUP)

    def find(self, call_id: str) -> Call | None:
        return self.registry.find(call_id)

    def observe(self, observer: Callable[[CallEvent], None]) -> Callable[[], None]:
        return self.registry.observe(observer)

    def end(self, call_id: str, reason: EndReason) -> None:
        self.registry.end(call_id, reason)

    # ---- the end

    async def drain(self, seconds: float) -> None:
        """Take no new calls; let those there are go on, `seconds` at most; then hang up."""
        self.registry.drain()
        try:
            async with asyncio.timeout(seconds):
                await self.registry.emptied()
        except TimeoutError:
            for call in self.registry.calls():
                self.registry.end(call.id, EndReason.SHUTDOWN)

    async def close(self) -> None:
        """End what is left and give everything back. A BYE that goes out now may be lost once."""
        if self._is_closed:
            return
        self._is_closed = True
        leaving = False
        for call in self.registry.calls():
            self.registry.end(call.id, EndReason.SHUTDOWN)
            leaving = True
        if leaving:
            await asyncio.sleep(GOODBYE_S)
        self.driver.close()
        self._udp.close()
        if self._webrtc is not None:
            await self._webrtc.close()

    # ---- small makers

    def _new_id(self) -> str:
        return f"{self._name}-{secrets.token_hex(8)}"

    def _new_stream(self, transport: MediaTransport) -> AudioStream:
        now = self._loop.time()
        session = RtpSession(
            ssrc=secrets.randbits(32),
            sequence=secrets.randbits(15),
            timestamp=secrets.randbits(32),
            cname=secrets.token_hex(8),
            now=now,
            ntp_offset=time.time() - now,
            spread=_spread,
        )
        return AudioStream(transport, session, pacer=self.pacer, clock=self._loop.time)

    def _codecs_for_browser(self, plan: Plan) -> tuple[Codec, ...]:
        """Opus first; told to stay narrowband where the far end is."""
        narrow = all(
            target.kind is TargetKind.TRUNK
            and all(codec.sample_rate <= 8000 for codec in self._trunks[target.name].codecs)
            for group in plan.groups
            for target in group
        )
        opus = Codec(
            OPUS.name,
            OPUS.payload_type,
            OPUS.clock_rate,
            OPUS.sample_rate,
            OPUS.channels,
            OPUS_NARROWBAND_FMTP if narrow else OPUS_FMTP,
        )
        return (opus, PCMU, PCMA, TELEPHONE_EVENT_48K, TELEPHONE_EVENT)

    def _codecs_for_source(self, source: str) -> tuple[Codec, ...]:
        trunk = self._trunks.get(source.removeprefix("trunk:"))
        return _with_digits((PCMU, PCMA) if trunk is None else trunk.codecs)


def _listen(listen: Listen) -> list[socket.socket]:
    try:
        return open_udp_sockets(listen.host, listen.port)
    except OSError as error:
        raise ConfigError(
            f"[sip] listen: udp:{listen.host}:{listen.port} cannot be listened on"
            f" ({error.strerror}); free the port or name another"
        ) from None


def _make_agent(options: AgentOptions) -> Agent:
    match options.protocol:
        case "echo":
            return Echo()
        case "script" if options.script is not None:
            return ScriptedAgent(load_script(options.script))
        case "script":
            return ScriptedAgent(parse_script({"step": list(options.step)}, options.file))
    raise ConfigError(f"agent {options.name}: protocol {options.protocol!r} is not known")


def _credentials(trunk: Trunk) -> Credentials | None:
    if trunk.username is None or trunk.password is None:
        return None
    return Credentials(trunk.username, trunk.password, trunk.realm)


def _with_digits(codecs: Sequence[Codec]) -> tuple[Codec, ...]:
    return (*codecs, TELEPHONE_EVENT)


def _session_id() -> str:
    return str(secrets.randbits(SIP_SESSION_BITS))


def _spread() -> float:
    return secrets.randbelow(1 << 20) / (1 << 20)


def _is_loopback(host: str) -> bool:
    return host.startswith("127.") or host == "::1"
