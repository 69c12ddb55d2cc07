"""A softphone in a browser: SIP for its signalling, WebRTC for its media (RFC 7118)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import pytest

from gateway.codec import OPUS, PCMU, TELEPHONE_EVENT, TELEPHONE_EVENT_48K
from gateway.leg.leg import (
    Answered,
    Disturbed,
    Ended,
    EndReason,
    Established,
    Gone,
    Held,
    LegEvent,
    Restored,
    Resumed,
    Signalled,
)
from gateway.leg.negotiator import offered_keying
from gateway.leg.quality import QualityAlert
from gateway.leg.sip import SipLeg, SipLegOptions
from gateway.leg.watch import WatchOptions
from gateway.net.media import TransportState
from gateway.rtp.packet import RtpPacket, build_rtp
from gateway.sdp.description import (
    Direction,
    Keying,
    Origin,
    SessionDescription,
    parse_sdp,
)
from gateway.sdp.negotiation import answer_offer, build_offer
from gateway.sip import event as sip
from gateway.sip.flow import Flow
from gateway.sip.header import parse_address
from gateway.sip.invite import InviteRequest
from gateway.sip.invite_server import InviteServer
from gateway.sip.uri import parse_uri
from tests.media.parties import Talker
from tests.media.sound import tone
from tests.sdp.media import VECTORS
from tests.support.media import new_stream
from tests.support.sip_legs import GATEWAY, SipBench, sdp
from tests.webrtc.peers import new_end, open_browser, open_gateway

T = TypeVar("T")

CODECS = (OPUS, PCMU, TELEPHONE_EVENT_48K, TELEPHONE_EVENT)
PHONE = ("192.0.2.3", 5060)


class Softphone:
    """The phone of a bench with a real WebRTC stream, and a leg of ours with another."""

    def __init__(self) -> None:
        self.bench = bench = SipBench()
        bench.legs.on_incoming = self._on_incoming
        self.ours = self.inside(lambda: new_end(open_gateway(bench.loop)))
        self.theirs = self.inside(lambda: new_end(open_browser(bench.loop)))
        self.told: list[LegEvent] = []
        self.leg: SipLeg
        self._session: InviteServer | None = None
        self._local: SessionDescription | None = None
        self._talker = Talker(tone(500, 1.0, 8000))

    def inside(self, step: Callable[[], T]) -> T:
        """Do something as a callback of the loop would: what WebRTC is made of asks for that."""

        async def run() -> T:
            return step()

        return self.bench.loop.run_until_complete(run())

    # ---- the phone

    def offer(self, direction: Direction = Direction.SENDRECV, *, restart: bool = False) -> bytes:
        """What the phone offers, first or next; as JsSIP does, with all its candidates."""
        media = self.inside(lambda: self.theirs.offer(restart=restart))
        self._local = build_offer(
            replace(media, direction=direction, rtcp_mux=True),
            codecs=CODECS,
            origin=Origin("77", 1, "127.0.0.1"),
            previous=self._local,
        )
        return str(self._local).encode()

    def answer(self, body: bytes | None) -> bytes:
        """What the phone answers to an offer of ours."""
        offer = parse_sdp(body or b"")
        self.inside(lambda: self.theirs.transport.accept(offer.media[0]))
        self._local, _ = answer_offer(
            offer,
            media=self.inside(self.theirs.offer),
            codecs=CODECS,
            origin=Origin("77", 1, "127.0.0.1"),
            previous=self._local,
        )
        return str(self._local).encode()

    def take(self, body: bytes | None) -> SessionDescription:
        """The phone takes our answer."""
        answer = parse_sdp(body or b"")
        self.inside(lambda: self.theirs.transport.accept(answer.media[0]))
        return answer

    # ---- the flow of things

    def call(self) -> SessionDescription:
        """The phone calls, we answer: our answer, once both are connected."""
        self.bench.calling = self.bench.phone.invite(GATEWAY, offer=self.offer())
        self.bench.run(0.1)
        self.leg.answer()
        self.bench.run(0.1)
        answer = self.take(self.bench.phone.one(sip.Answered).body)
        self.bench.run(2)
        return answer

    def dial(self) -> None:
        """We call the phone, which answers."""
        request = InviteRequest(
            target=parse_uri("sip:ann@192.0.2.3"),
            from_=parse_address("<sip:+15550001@192.0.2.1>"),
            to=parse_address("<sip:ann@192.0.2.1>"),
            flow=Flow("udp", GATEWAY, PHONE),
        )
        self.leg = self.inside(lambda: self._new_leg(request=request))
        self.inside(self.leg.dial)
        self.bench.run(0.1)
        session = self.bench.phone.called
        session.answer(self.answer(session.offer), self.bench.wire.now)
        self.bench.run(2)

    def reoffer(
        self, direction: Direction = Direction.SENDRECV, *, restart: bool = False
    ) -> SessionDescription:
        """The phone changes what it does; our answer."""
        offer = self.offer(direction, restart=restart)
        self.bench.calling.reoffer(offer, self.bench.wire.now)
        self.bench.run(0.1)
        return self.take(self.bench.phone.all(sip.ReofferAnswered)[-1].sdp)

    def heard(self) -> int:
        """Packets that the phone gets of 100 ms of speech."""
        self.theirs.packets.clear()
        for _ in range(5):
            assert self.leg.listener is not None
            self.leg.listener.hear(self._talker.next())
        self.bench.run(0.1)
        return sum(packet[1] & 0x7F == OPUS.payload_type for packet in self.theirs.packets)

    def news(self) -> list[LegEvent]:
        return [event for event in self.told if not isinstance(event, Signalled | QualityAlert)]

    async def close(self) -> None:
        await self.ours.port.close()
        await self.theirs.port.close()

    def _on_incoming(self, event: sip.Incoming) -> None:
        assert offered_keying(event.session.offer, Keying.NONE) is Keying.DTLS
        self.leg = self._new_leg(session=event.session)
        self.leg.take_offer()

    def _new_leg(self, **given: object) -> SipLeg:
        bench = self.bench
        leg = SipLeg(
            "leg-1",
            legs=bench.legs,
            stream=new_stream(bench.loop, bench.pacer, self.ours.transport),  # type: ignore[arg-type]
            codecs=CODECS,
            session_id="123",
            allow_local_media=False,
            keying=Keying.DTLS,
            options=SipLegOptions(watch=WatchOptions(media_timeout_s=0)),
            **given,  # type: ignore[arg-type]
        )
        leg.on_event = self.told.append
        return leg


@pytest.fixture
def phone() -> Iterator[Softphone]:
    made = Softphone()
    # What the wire brings comes outside of the loop's callbacks, and may make futures.
    asyncio.set_event_loop(made.bench.loop)
    yield made
    asyncio.set_event_loop(None)
    made.inside(lambda: made.leg.end(EndReason.SHUTDOWN))
    made.bench.run(40)
    assert made.bench.pacer.count == 0
    assert made.bench.station.driver.failures == 0
    made.bench.loop.run_until_complete(made.close())
    made.bench.station.driver.close()
    made.bench.loop.finish()


def test_call_of_a_softphone_is_answered_with_webrtc(phone: Softphone) -> None:
    answer = phone.call()

    section = answer.media[0]
    assert (section.protocol, section.setup, section.rtcp_mux) == (
        "UDP/TLS/RTP/SAVPF",
        "passive",
        True,
    )
    assert section.candidates
    assert phone.ours.transport.state is TransportState.CONNECTED
    assert phone.news() == [Established()]
    assert phone.heard() == 5


def test_softphone_is_called_with_webrtc(phone: Softphone) -> None:
    phone.dial()

    offer = parse_sdp(phone.bench.phone.called.offer or b"").media[0]
    assert (offer.protocol, offer.setup, offer.mid) == ("UDP/TLS/RTP/SAVPF", "actpass", "0")
    assert phone.ours.transport.state is TransportState.CONNECTED
    assert phone.news() == [Answered()]
    assert phone.heard() == 5


def test_what_a_softphone_says_is_heard(phone: Softphone) -> None:
    phone.call()
    frames: list[object] = []
    phone.leg.on_frame = frames.append

    packet = RtpPacket(OPUS.payload_type, True, 1, 960, 5, bytes.fromhex("f8fffe"))
    phone.theirs.transport.send(build_rtp(packet))
    phone.bench.run(0.02)

    assert len(frames) == 1


def test_hold_and_resume_go_on_under_the_same_keys(phone: Softphone) -> None:
    first = phone.call()
    dtls = phone.ours.transport._dtls

    on_hold = phone.reoffer(Direction.SENDONLY)
    silent = phone.heard()
    resumed = phone.reoffer(Direction.SENDRECV)

    assert on_hold.media[0].direction is Direction.RECVONLY
    assert [silent, phone.heard()] == [0, 5]
    assert phone.news() == [Established(), Held(Direction.SENDONLY), Resumed()]
    for answer in (on_hold, resumed):
        assert answer.media[0].fingerprints == first.media[0].fingerprints
        assert answer.media[0].setup == first.media[0].setup
    assert phone.ours.transport._dtls is dtls
    assert [d.origin.version for d in (first, on_hold, resumed)] == [1, 2, 3]


def test_softphone_restarts_ice_by_a_re_invite(phone: Softphone) -> None:
    first = phone.call()
    dtls = phone.ours.transport._dtls

    restarted = phone.reoffer(restart=True)
    heard = phone.heard()
    phone.bench.run(5)

    assert restarted.media[0].ice_ufrag != first.media[0].ice_ufrag
    assert restarted.media[0].fingerprints == first.media[0].fingerprints
    assert phone.ours.transport._dtls is dtls
    assert heard == 5
    assert len(phone.ours.port.mux.by_ufrag) == 1
    assert phone.news() == [Established()]


def test_path_that_breaks_for_a_while_is_waited_for(phone: Softphone) -> None:
    phone.call()
    passes = phone.bench.loop.network.passes

    phone.bench.loop.network.passes = lambda _datagram: False
    phone.bench.run(15)
    phone.bench.loop.network.passes = passes
    phone.bench.run(8)

    assert phone.news() == [Established(), Disturbed(), Restored()]


def test_path_that_stays_broken_ends_the_call(phone: Softphone) -> None:
    phone.call()

    phone.bench.loop.network.passes = lambda _datagram: False
    phone.bench.run(45)

    (ended,) = [event for event in phone.news() if isinstance(event, Ended)]
    assert ended.reason is EndReason.ICE_CONSENT
    assert phone.bench.phone.all(sip.Ended)


def test_media_that_is_closed_without_a_bye_ends_the_call(phone: Softphone) -> None:
    phone.call()

    phone.inside(phone.theirs.transport.close)
    phone.bench.run(1)

    assert phone.news()[1:] == [Ended(EndReason.LEFT), Gone()]
    assert phone.bench.phone.all(sip.Ended)


@pytest.mark.parametrize(
    ("offer", "keying"),
    [
        ((VECTORS / "chromium-audio.sdp").read_bytes(), Keying.DTLS),
        ((VECTORS / "asterisk.sdp").read_bytes(), Keying.NONE),
        (sdp(), Keying.NONE),
        (None, Keying.DTLS),
    ],
)
def test_offer_says_which_transport_it_needs(offer: bytes | None, keying: Keying) -> None:
    assert offered_keying(offer, Keying.DTLS) is keying
