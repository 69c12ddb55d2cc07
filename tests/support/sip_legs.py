"""SIP legs on a loop with virtual time, and the far end on the wire of `support.sip`."""

from __future__ import annotations

from typing import TypeVar

from gateway.codec import PCMA, PCMU, TELEPHONE_EVENT
from gateway.errors import GatewayError
from gateway.leg.leg import Ended, EndReason, Gone, LegEvent, Signalled
from gateway.leg.quality import QualityAlert
from gateway.leg.sip import SipLeg, SipLegs
from gateway.net.driver import Driver
from gateway.net.pacer import Pacer
from gateway.sip import event as sip
from gateway.sip.endpoint import Endpoint, EndpointOptions
from gateway.sip.flow import Flow, Output
from gateway.sip.header import parse_address
from gateway.sip.invite import InviteRequest
from gateway.sip.invite_client import InviteClient
from gateway.sip.session import Session
from gateway.sip.uri import parse_uri
from tests.support.loop import VirtualLoop
from tests.support.media import FakeTransport, new_stream
from tests.support.sip import Address, Peer, Station, Ways, Wire, tokens

E = TypeVar("E", bound=LegEvent)

GATEWAY = ("192.0.2.1", 5060)
FAR = ("192.0.2.2", 5060)
STEP_S = 0.01


def sdp(
    port: int = 30_000, codecs: str = "0 101", address: str = "192.0.2.2", more: str = ""
) -> bytes:
    """What a far end says of its media."""
    return (
        f"v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP {codecs}\r\na=rtpmap:101 telephone-event/8000\r\n{more}"
    ).encode()


class _Driven(Station):
    """The gateway's end of the wire: its endpoint is driven by a loop."""

    def __init__(self, wire: Wire, loop: VirtualLoop, options: EndpointOptions) -> None:
        self.wire = wire
        self.address = GATEWAY
        self.transport = "udp"
        self.ways = Ways()
        self.flows = {}
        names = tokens("gw")
        self.endpoint = Endpoint(options, new_token=lambda: next(names))
        self.legs = SipLegs(self.endpoint, loop=loop)
        self.driver: Driver[Output, sip.Event] = Driver(
            self.endpoint, loop=loop, send=self._send, on_event=self.legs.on_event
        )
        self.legs.driver = self.driver
        self._loop = loop
        wire.attach(self)

    def receive(self, data: bytes, source: Address, now: float) -> None:
        flow = self.flow_to(source)
        self.driver.change(self.endpoint.receive, data, flow, self._loop.time())

    def handle_timer(self, now: float) -> None:
        """The loop does that."""

    def next_timer(self) -> float | None:
        return None

    def flush(self) -> None:
        """The driver does that."""

    def _send(self, output: Output) -> None:
        self.carry(output)


class LegBox:
    """A SIP leg, its transport, and what it told."""

    def __init__(self, transport: FakeTransport) -> None:
        self.transport = transport
        self.leg: SipLeg
        self.told: list[LegEvent] = []

    def heard(self, kind: type[E]) -> list[E]:
        return [event for event in self.told if isinstance(event, kind)]

    def news(self) -> list[LegEvent]:
        """Events other than arrows of the ladder, and what is measured."""
        return [event for event in self.told if not isinstance(event, Signalled | QualityAlert)]

    @property
    def ladder(self) -> list[str]:
        """`>` is from us to the peer."""
        return [(">" if e.sent else "<") + e.text for e in self.heard(Signalled)]


class SipBench:
    """The gateway's SIP legs, the wire, and two far ends: a scripted one and a real endpoint."""

    def __init__(self, options: EndpointOptions | None = None) -> None:
        self.loop = VirtualLoop()
        self.wire = Wire()
        self.wire.now = self.loop.time()
        self.pacer = Pacer(self.loop)
        self.station = _Driven(self.wire, self.loop, options or EndpointOptions())
        self.legs = self.station.legs
        self.peer = Peer(self.wire, FAR)
        self.phone = Station(self.wire, ("192.0.2.3", 5060))
        self.boxes: list[LegBox] = []
        self.legs.on_incoming = self._on_incoming
        self.refused: list[int] = []
        self.given: dict[str, object] = {}
        "What every leg is made with besides."
        self.calling: InviteClient
        "The phone's own end of its call."

    def run(self, seconds: float) -> None:
        """Let that much time pass for everybody."""
        for _ in range(round(seconds / STEP_S)):
            self.wire.run(STEP_S)
            self.loop.advance(STEP_S)
            self.wire.now = self.loop.time()

    def dial(self) -> LegBox:
        """Call the scripted far end, and let the INVITE arrive."""
        request = InviteRequest(
            target=parse_uri(f"sip:+15550100@{FAR[0]}:{FAR[1]}"),
            from_=parse_address("<sip:+15550001@192.0.2.1>"),
            to=parse_address("<sip:+15550100@192.0.2.2>"),
            flow=Flow("udp", GATEWAY, FAR),
            offer=None,
        )
        box = self.new_box(request=request)
        box.leg.dial()
        self.run(0.02)
        return box

    def answer(self, status: int, tag: str | None = "a", body: bytes = b"") -> None:
        """The scripted far end responds to the last INVITE."""
        headers = [("Content-Type", "application/sdp")] if body else []
        invite = self.peer.request("INVITE")
        self.peer.respond(self.station, invite, status, tag, body=body, headers=headers)
        self.run(0.02)

    def called(self, offer: bytes | None) -> LegBox:
        """The phone calls the gateway."""
        self.calling = self.phone.invite(GATEWAY, offer=offer)
        self.run(0.03)
        return self.boxes[-1]

    @property
    def phone_session(self) -> Session:
        """The phone's end of what it was asked last."""
        return self.phone.all(sip.Reoffered)[-1].session

    def close(self) -> None:
        """Let everything end; nothing may be left, and every leg has told its end as promised."""
        for box in self.boxes:
            box.leg.end(EndReason.SHUTDOWN)
        self.settle()
        for box in self.boxes:
            assert len(box.heard(Ended)) <= 1
            assert len(box.heard(Gone)) == 1
            assert type(box.told[-1]) is Gone

    def settle(self) -> None:
        """Let the last transactions end: nothing is left of them, and nothing was contained."""
        self.run(40)
        assert not len(self.legs)
        assert self.station.endpoint.is_idle
        assert self.pacer.count == 0
        assert all(box.transport.is_closed for box in self.boxes)
        assert self.station.driver.failures == 0
        self.station.driver.close()
        self.loop.finish()

    def _on_incoming(self, event: sip.Incoming) -> None:
        """As a node would, in short."""
        box = self.new_box(session=event.session)
        try:
            box.leg.take_offer()
        except GatewayError as error:
            self.refused.append(error.status)
            box.leg.end(EndReason.REJECTED, error.status)

    def new_box(self, **given: object) -> LegBox:
        """A leg of a `request` to send, or of a `session` that came."""
        given = {"codecs": (PCMU, PCMA, TELEPHONE_EVENT), **self.given, **given}
        may_relay = bool(given.pop("may_relay", True))
        transport = FakeTransport(loop=self.loop)
        box = LegBox(transport)
        box.leg = SipLeg(
            f"leg-{len(self.boxes)}",
            legs=self.legs,
            stream=new_stream(self.loop, self.pacer, transport, may_relay=may_relay),
            session_id="123",
            allow_local_media=False,
            **given,  # type: ignore[arg-type]
        )
        box.leg.on_event = box.told.append
        self.boxes.append(box)
        return box
