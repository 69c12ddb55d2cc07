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
from gateway.call.call import Call, CallSummary, Errand
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
from gateway.config import AgentOptions, Config
from gateway.errors import CapacityError, ConfigError, GatewayError, RoutingError
from gateway.leg.agent import AgentLeg
from gateway.leg.browser import BrowserLeg, Send
from gateway.leg.leg import EndReason, Leg
from gateway.leg.sip import SipLeg, SipLegs
from gateway.leg.stream import AudioStream
from gateway.net.driver import Driver
from gateway.net.media import (
    MediaTransport,
    PortPool,
    UdpMediaTransport,
    open_rtp_socket,
)
from gateway.net.pacer import Pacer
from gateway.net.udp import UdpTransport, open_udp_sockets
from gateway.private import Private
from gateway.rtp.session import RtpSession
from gateway.sdp.negotiation import OPUS_FMTP, OPUS_NARROWBAND_FMTP
from gateway.sip import event as sip
from gateway.sip.authenticator import Credentials
from gateway.sip.endpoint import Endpoint, EndpointOptions
from gateway.sip.flow import Connect, Flow, Resolve
from gateway.sip.flow import Output as SipOutput
from gateway.sip.flow import Send as SipSend
from gateway.sip.header import Address
from gateway.sip.invite import MAX_FORWARDS, InviteRequest
from gateway.sip.invite_server import InviteServer
from gateway.sip.uri import Uri, parse_uri
from gateway.trunk.route import Plan, Router, Target, TargetKind, is_dialable
from gateway.trunk.trunk import Peers, Trunk
from gateway.webrtc.certificate import Certificate
from gateway.webrtc.port import WebRtcPort

log = logging.getLogger(__name__)

RETRY_AFTER = (("Retry-After", "5"),)
"Seconds that a caller is asked to wait whom we have no room for (RFC 3261 §21.5.4)."

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
        self._agents = {agent.name: make_agent(agent) for agent in config.agents}
        self._peers = Peers(config.trunks, config.sip.allow)
        self.registry = Registry(loop=loop, pacer=pacer, new_id=self._new_id, dial=self._dial)
        self._ports = _open_ports(config)
        self._webrtc: WebRtcPort | None = None
        self._open_sip()
        if config.webrtc is not None and certificate is not None:
            try:
                self._webrtc = WebRtcPort.open(config.webrtc, certificate, loop=loop)
            except ConfigError as error:
                self._udp.close()
                raise ConfigError(f"{config.file}: {error}") from None

    def _open_sip(self) -> None:
        loop = self._loop
        endpoint = Endpoint(
            EndpointOptions(user_agent=f"voice-gateway/{self.version}"),
            new_token=partial(secrets.token_hex, 10),
        )
        self._legs = SipLegs(endpoint, loop=loop)
        self._legs.on_incoming = self._on_invite
        self.driver: Driver[SipOutput, sip.Event] = Driver(
            endpoint, loop=loop, send=self._send_sip, on_event=self._legs.on_event
        )
        self._legs.driver = self.driver
        self._udp = UdpTransport(
            _open_sip_sockets(self.config),
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

    def _send_sip(self, output: SipOutput) -> None:
        endpoint, now = self._legs.endpoint, self._loop.time()
        match output:
            case SipSend(data, flow):
                if not self._udp.send(data, flow):
                    endpoint.flow_failed(flow, now)
            case Resolve(destination):
                endpoint.resolved(destination, (), now)
            case Connect(hop):
                endpoint.hop_failed(hop, now)

    # ---- calls in

    def call_from_page(self, to: str, offer: str, name: str, send: Send) -> tuple[BrowserLeg, Call]:
        """Place a call for a page; see `gateway.api.signalling.PageNode`."""
        if self._webrtc is None:
            raise RoutingError("this node takes no browsers", status=503)
        plan = self._router.plan("browser", to)
        leg = BrowserLeg(
            self._new_id(),
            codecs=self._codecs_for_browser(plan),
            stream=self._new_stream(self._webrtc.new_transport()),
            session_id=_session_id(),
            send=send,
            loop=self._loop,
        )
        try:
            leg.take_offer(offer)
            call = self._place(leg, plan, "browser", ("", to))
        except Exception:  # of a bug too: its port and its beat are given back
            leg.end(EndReason.REJECTED)
            raise
        if call.outcome is None:
            leg.announce(call.id)
        return leg, call

    def _on_invite(self, event: sip.Incoming) -> None:
        session, request = event.session, event.request
        leg = None
        try:
            source = self._peers.source_of(session.flow.remote)
            dialled = parse_uri(request.uri).user or ""
            plan = self._router.plan(source, dialled)
            first = {target.kind: target for target in plan.groups[0]}
            if TargetKind.IGNORE in first:
                session.drop(self._loop.time())
                return
            if TargetKind.REJECT in first:
                raise RoutingError("the route refuses", status=first[TargetKind.REJECT].status)
            leg = SipLeg(
                self._new_id(),
                legs=self._legs,
                codecs=self._codecs_for_source(source),
                session_id=_session_id(),
                allow_local_media=_is_loopback(session.flow.remote[0]),
                session=session,
                stream=self._new_stream(UdpMediaTransport(self._ports, loop=self._loop)),
            )
            leg.take_offer()
            self._place(
                leg,
                plan,
                source,
                (_number_of(request.from_.uri), dialled),
                # RFC 7332 §4: counted on through us, so that a loop over a trunk ends. At 0 the
                # request was refused with 483.
                max_forwards=(request.max_forwards or MAX_FORWARDS) - 1,
            )
        except Exception as error:
            self._refuse_invite(session, leg, error)

    def _refuse_invite(self, session: InviteServer, leg: SipLeg | None, error: Exception) -> None:
        """Answer an INVITE of which no call came, and give back what its leg took."""
        status = 500
        if isinstance(error, GatewayError):
            status = error.status
            log.info("refused an INVITE with %d: %s", status, type(error).__name__)
        else:
            log.error("an INVITE broke", exc_info=error)
        headers = RETRY_AFTER if isinstance(error, CapacityError) else ()
        session.reject(status, self._loop.time(), headers=headers)
        if leg is not None:
            leg.end(EndReason.REJECTED, status)

    def originate(self, from_: str, to: str) -> CallSummary:
        """Ring `from_`, and when it answers call `to`; see `gateway.api.calls.CallControl`."""
        first = self._router.plan("api", from_).groups[0][0]
        plan = self._router.plan("api", to)
        call_id = self._new_id()
        leg = self._make_leg(first, call_id, caller="", called=from_, is_caller=True)
        try:
            call = self.registry.place(
                leg,
                plan,
                caller_target=str(first),
                numbers=(Private(from_), Private(to)),
                dial_caller=True,
                call_id=call_id,
            )
        except GatewayError:
            leg.end(EndReason.REJECTED)
            raise
        return call.summary(self._loop.time())

    def _place(
        self,
        leg: Leg,
        plan: Plan,
        source: str,
        numbers: tuple[str, str],
        *,
        max_forwards: int = MAX_FORWARDS,
    ) -> Call:
        caller, called = numbers
        return self.registry.place(
            leg,
            plan,
            caller_target=source,
            numbers=(Private(caller), Private(called)),
            max_forwards=max_forwards,
        )

    # ---- calls out

    def _dial(self, target: Target, errand: Errand) -> Leg:
        caller, called = (number.value for number in errand.numbers)
        return self._make_leg(
            target, errand.id, caller=caller, called=called, max_forwards=errand.max_forwards
        )

    def _make_leg(
        self,
        target: Target,
        call_id: str,
        *,
        caller: str,
        called: str,
        max_forwards: int = MAX_FORWARDS,
        is_caller: bool = False,
    ) -> Leg:
        match target.kind:
            case TargetKind.AGENT:
                return AgentLeg(
                    self._new_id(),
                    self._agents[target.name],
                    call_id=call_id,
                    caller=caller,
                    called=called,
                    loop=self._loop,
                    is_caller=is_caller,
                )
            case TargetKind.TRUNK:
                return self._trunk_leg(self._trunks[target.name], caller, called, max_forwards)
            case _:
                raise RoutingError(f"{target.kind.value} targets cannot be dialled", status=501)

    def _trunk_leg(self, trunk: Trunk, caller: str, called: str, max_forwards: int) -> SipLeg:
        remote = self._peers.address_of(trunk)
        try:
            flow = self._udp.flow_to(remote)
        except OSError:
            raise RoutingError(
                f"no [sip] listen is of the address family of trunk {trunk.name}", status=503
            ) from None
        target = Uri("sip", user=called, host=trunk.uri.host, port=trunk.uri.port)
        from_user = trunk.caller_id or (caller if is_dialable(caller) else "anonymous")
        request = InviteRequest(
            target=target,
            from_=Address("", Uri("sip", user=from_user, host=flow.local[0])),
            to=Address("", target),
            flow=flow,
            offer=None,
            credentials=_credentials(trunk),
            max_forwards=max_forwards,
        )
        return SipLeg(
            self._new_id(),
            legs=self._legs,
            codecs=_with_digits(trunk.codecs),
            session_id=_session_id(),
            allow_local_media=_is_loopback(remote[0]),
            request=request,
            stream=self._new_stream(UdpMediaTransport(self._ports, loop=self._loop)),
        )

    # ---- what the API asks

    def calls(self) -> Sequence[CallSummary]:
        now = self._loop.time()
        return [call.summary(now) for call in self.registry.calls()]

    def summary(self, call_id: str) -> CallSummary | None:
        return self.registry.summary(call_id)

    def hang_up(self, call_id: str) -> bool:
        return self.registry.end(call_id, EndReason.HANGUP)

    def observe(self, observer: Callable[[CallEvent], None]) -> Callable[[], None]:
        return self.registry.observe(observer)

    # ---- the end

    async def drain(self, seconds: float) -> None:
        """Take no new calls; let those there are go on, `seconds` at most; then hang up."""
        self.registry.drain()
        try:
            async with asyncio.timeout(seconds):
                await self.registry.emptied()
        except TimeoutError:
            await self._hang_up_all()

    async def close(self) -> None:
        """End what is left and give everything back."""
        if self._is_closed:
            return
        self._is_closed = True
        await self._hang_up_all()
        self.driver.close()
        self._udp.close()
        if self._webrtc is not None:
            await self._webrtc.close()

    async def _hang_up_all(self) -> None:
        """End every call, and stay until a BYE that was lost once has been sent again."""
        calls = self.registry.calls()
        for call in calls:
            self.registry.end(call.id, EndReason.SHUTDOWN)
        if calls:
            await asyncio.sleep(GOODBYE_S)

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


def _open_sip_sockets(config: Config) -> list[socket.socket]:
    opened: list[socket.socket] = []
    for listen in config.sip.listen:
        try:
            opened += open_udp_sockets(listen.host, listen.port)
        except OSError as error:
            for each in opened:
                each.close()
            raise ConfigError(
                f"{config.file}: [sip] listen = '{listen}': cannot be listened on"
                f" ({error.strerror}); free the port or name another"
            ) from None
    return opened


def _open_ports(config: Config) -> PortPool:
    """The RTP ports; that their address is ours is better found out now than by a caller."""
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


def _credentials(trunk: Trunk) -> Credentials | None:
    if trunk.username is None or trunk.password is None:
        return None
    return Credentials(trunk.username, trunk.password, trunk.realm)


def _with_digits(codecs: Sequence[Codec]) -> tuple[Codec, ...]:
    return (*codecs, TELEPHONE_EVENT)


def _number_of(caller: Uri) -> str:
    """Whom an INVITE says it is from; empty where that is nothing that could be dialled (A14)."""
    user = caller.user or ""
    return user if is_dialable(user) else ""


def _session_id() -> str:
    return str(secrets.randbits(SIP_SESSION_BITS))


def _spread() -> float:
    return secrets.randbelow(1 << 20) / (1 << 20)


def _is_loopback(host: str) -> bool:
    return host.startswith("127.") or host == "::1"
