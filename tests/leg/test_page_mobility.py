"""A page whose network changes or which is reloaded: its call goes on, and the trunk hears it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from gateway.codec import OPUS, PCMU, TELEPHONE_EVENT_48K
from gateway.errors import GatewayError, RemoteProtocolError
from gateway.leg.browser import LAST_WORD_S, BrowserLeg
from gateway.leg.leg import (
    Disturbed,
    Ended,
    EndReason,
    Established,
    Gone,
    LegEvent,
    MediaChanged,
    Restored,
)
from gateway.leg.path_state import RESTART_EVERY_S
from gateway.net.media import TransportState
from gateway.net.pacer import Pacer
from gateway.sdp.description import Direction, Origin, SessionDescription, parse_sdp
from gateway.sdp.negotiation import Agreement, answer_offer, build_offer
from gateway.webrtc.transport import WebRtcTransport
from tests.media.parties import Talker
from tests.media.sound import tone
from tests.support.loop import VirtualLoop, elapse, in_virtual_time, until
from tests.support.media import FakeTransport, new_stream
from tests.webrtc.peers import new_end, open_browser, open_gateway, rtp

CODECS = (OPUS, TELEPHONE_EVENT_48K)
SILENCE = b"\xf8\xff\xfe"
"Opus."


class Page:
    """A peer connection, as a page has one until it is reloaded."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.end = new_end(open_browser(loop))
        self._local: SessionDescription | None = None
        self._sequence = 0

    def offer(self, *, restart: bool = False) -> str:
        self._local = build_offer(
            self.end.offer(restart=restart),
            codecs=CODECS,
            origin=Origin("77", 1, "127.0.0.1"),
            previous=self._local,
        )
        return str(self._local)

    def take(self, answer: str) -> str:
        """Take our answer; our ufrag in it."""
        section = parse_sdp(answer).media[0]
        self.end.transport.accept(section)
        return section.ice_ufrag or ""

    def answer(self, offer: str) -> str:
        """Answer an offer of ours."""
        described = parse_sdp(offer)
        self.end.transport.accept(described.media[0])
        self._local, _ = answer_offer(
            described,
            media=self.end.offer(),
            codecs=CODECS,
            origin=Origin("77", 1, "127.0.0.1"),
            previous=self._local,
        )
        return str(self._local)

    @property
    def heard(self) -> list[bytes]:
        """The audio that came."""
        return [packet for packet in self.end.packets if packet[1] & 0x7F == OPUS.payload_type]

    def speak(self) -> None:
        self.end.transport.send(rtp(self._sequence, SILENCE))
        self._sequence += 1

    async def close(self) -> None:
        await self.end.port.close()


class Bench:
    """A page's leg over real WebRTC, and a trunk that hears what the page says."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.pacer = Pacer(loop)
        self.port = open_gateway(loop)
        self.pages: list[Page] = []
        self.page = self.new_page()
        self.sent: list[dict[str, Any]] = []
        self.told: list[LegEvent] = []
        transport = self.port.new_transport()
        self.leg = BrowserLeg(
            "leg-1",
            stream=new_stream(loop, self.pacer, transport),  # type: ignore[arg-type]
            codecs=CODECS,
            session_id="123",
            send=self.sent.append,
            new_transport=self.port.new_transport,
            loop=loop,
        )
        self.leg.on_event = self.told.append
        self.trunk = FakeTransport()
        self._to_trunk = new_stream(loop, self.pacer, self.trunk)
        self._to_trunk.configure(Agreement(0, PCMU, (PCMU,), None, Direction.SENDRECV, 20))
        self._to_trunk.on_state(TransportState.CONNECTED)
        self.leg.on_frame = self._to_trunk.hear
        self._talker = Talker(tone(500, 1.0, 8000))

    async def call(self) -> Bench:
        """The page has called, and is heard."""
        self.leg.take_offer(self.page.offer())
        self.leg.announce("call-1")
        self.page.take(self.sent[-1]["sdp"])
        await until(lambda: Established() in self.told, within=2)
        await self.talk(1)
        return self

    @property
    def transport(self) -> WebRtcTransport:
        transport = self.leg.listener.transport
        assert isinstance(transport, WebRtcTransport)
        return transport

    async def talk(self, seconds: float) -> None:
        """The page speaks and is spoken to, 50 packets a second."""
        for _ in range(round(seconds * 50)):
            self.page.speak()
            self.leg.listener.hear(self._talker.next())
            await elapse(0.02)

    async def reload(self) -> str:
        """The page goes with its peer connection and comes back with another: its offer."""
        self.page.end.transport.close()
        await elapse(0.1)
        self.page = self.new_page()
        return self.page.offer()

    def new_page(self) -> Page:
        """One more peer connection."""
        self.pages.append(Page(self.loop))
        return self.pages[-1]

    def news(self) -> list[LegEvent]:
        """What was told of the path, and of the end."""
        kinds = (Established, Disturbed, Restored, MediaChanged, Ended, Gone)
        return [event for event in self.told if isinstance(event, kinds)]

    def offers(self) -> list[str]:
        return [message["sdp"] for message in self.sent if message["type"] == "offer"]

    def cut(self) -> None:
        self.loop.network.passes = lambda _datagram: False

    def mend(self) -> None:
        self.loop.network.passes = lambda _datagram: True

    def assert_trunk_heard_all(self, seconds: float) -> None:
        """Toward the trunk nothing broke: one stream, every 20 ms of so many seconds."""
        packets = self.trunk.packets
        assert len({packet.ssrc for packet in packets}) == 1
        for earlier, later in itertools.pairwise(packets):
            assert (later.sequence - earlier.sequence) & 0xFFFF == 1
            assert later.timestamp - earlier.timestamp == 160
        assert len(packets) >= 50 * seconds - 5

    async def close(self) -> None:
        self.leg.end(EndReason.HANGUP)
        self._to_trunk.close()
        await elapse(1)
        assert [type(event) for event in self.told].count(Gone) == 1
        assert self.pacer.count == 0
        assert self.port.transports == 0
        assert self.port.counters.faults == 0
        await self.port.close()
        for page in self.pages:
            await page.close()


# ---- the page restarts


@in_virtual_time
async def test_restart_of_the_page_is_not_noticed_by_the_trunk(loop: VirtualLoop) -> None:
    bench = await Bench(loop).call()
    dtls = bench.transport._dtls
    ufrags = {bench.transport._ice.ufrag}

    for _ in range(3):
        ufrags.add(bench.page.take(bench.leg.reoffer(bench.page.offer(restart=True))))
        await bench.talk(2)

    assert len(ufrags) == 4
    assert bench.transport._dtls is dtls
    assert bench.news() == [Established()]
    bench.assert_trunk_heard_all(7)
    await bench.close()


@in_virtual_time
async def test_offer_that_is_repeated_gets_the_same_answer(loop: VirtualLoop) -> None:
    bench = await Bench(loop).call()
    offer = bench.page.offer(restart=True)
    answer = bench.leg.reoffer(offer)
    await elapse(0.4)

    again = bench.leg.reoffer(offer)

    assert again == answer
    assert len(bench.port.mux.by_ufrag) == 2
    await bench.close()


@in_virtual_time
async def test_restart_in_early_media_keeps_it(loop: VirtualLoop) -> None:
    bench = await Bench(loop).call()
    bench.leg.progress(ringing=False, early_media=True)
    heard = len(bench.page.heard)

    bench.page.take(bench.leg.reoffer(bench.page.offer(restart=True)))
    await bench.talk(1)

    assert len(bench.page.heard) == heard + 50
    assert bench.news() == [Established()]
    await bench.close()


@in_virtual_time
async def test_restart_whose_answer_is_lost_leaves_all_as_it_was(loop: VirtualLoop) -> None:
    bench = await Bench(loop).call()

    bench.leg.reoffer(bench.page.offer(restart=True))
    newest = bench.transport._ice.ufrag.encode()
    loop.network.passes = lambda datagram: newest not in datagram.data
    await bench.talk(15)

    assert bench.news() == [Established()]
    assert len(bench.port.mux.by_ufrag) == 1
    bench.assert_trunk_heard_all(16)
    await bench.close()


@pytest.mark.parametrize("text", ["", "v=0\r\n", "hello"])
@in_virtual_time
async def test_offer_that_is_none_changes_nothing(loop: VirtualLoop, text: str) -> None:
    bench = await Bench(loop).call()

    with pytest.raises(GatewayError):
        bench.leg.reoffer(text)
    await bench.talk(1)

    assert bench.news() == [Established()]
    bench.assert_trunk_heard_all(2)
    await bench.close()


# ---- we restart


@in_virtual_time
async def test_restart_that_we_offer_is_not_noticed_by_the_trunk(loop: VirtualLoop) -> None:
    bench = await Bench(loop).call()
    before = bench.transport._ice.ufrag

    bench.leg.restart()
    bench.leg.restart()
    await bench.talk(0.2)
    bench.leg.take_answer(bench.page.answer(bench.offers()[-1]))
    await bench.talk(5)

    assert len(set(bench.offers())) == 1
    assert bench.transport._ice.ufrag != before
    assert len(bench.port.mux.by_ufrag) == 1
    assert bench.news() == [Established()]
    bench.assert_trunk_heard_all(6)
    await bench.close()


@in_virtual_time
async def test_offer_of_the_page_withdraws_ours(loop: VirtualLoop) -> None:
    bench = await Bench(loop).call()
    bench.leg.restart()
    late = bench.new_page().answer(bench.offers()[0])

    bench.page.take(bench.leg.reoffer(bench.page.offer()))
    bench.leg.take_answer(late)
    await bench.talk(1)

    assert bench.news() == [Established()]
    assert len(bench.port.mux.by_ufrag) == 1
    bench.assert_trunk_heard_all(2)
    await bench.close()


@in_virtual_time
async def test_answer_to_nothing_is_ignored(loop: VirtualLoop) -> None:
    bench = await Bench(loop).call()

    bench.leg.take_answer("whatever this is")

    assert bench.news() == [Established()]
    await bench.close()


# ---- the path is lost (F16)


@in_virtual_time
async def test_f16_lost_path_is_told_restarted_and_filled_with_noise(loop: VirtualLoop) -> None:
    bench = await Bench(loop).call()

    bench.cut()
    await bench.talk(1.9)
    assert bench.news() == [Established()]
    await bench.talk(0.3)
    assert bench.news() == [Established(), Disturbed()]
    assert len(bench.offers()) == 1
    await bench.talk(RESTART_EVERY_S)
    assert len(bench.offers()) == 2
    bench.mend()
    bench.leg.take_answer(bench.page.answer(bench.offers()[-1]))
    await bench.talk(1)

    assert bench.news() == [Established(), Disturbed(), Restored()]
    bench.assert_trunk_heard_all(9)
    await bench.talk(RESTART_EVERY_S)
    assert len(bench.offers()) == 2
    await bench.close()


@in_virtual_time
async def test_f16_path_that_stays_lost_ends_the_call_for_want_of_consent(
    loop: VirtualLoop,
) -> None:
    bench = await Bench(loop).call()
    checked_at = bench.transport._liveness.consented_at

    bench.cut()
    await until(lambda: any(isinstance(event, Ended) for event in bench.told), within=40)

    assert loop.time() == pytest.approx(checked_at + 30, abs=0.3)
    assert [e for e in bench.told if isinstance(e, Ended)] == [Ended(EndReason.ICE_CONSENT)]
    assert bench.sent[-1]["reason"] == "ice-consent"
    bench.assert_trunk_heard_all(29)
    await bench.close()


# ---- the page goes, and comes back


@in_virtual_time
async def test_page_that_is_away_too_long_has_left(loop: VirtualLoop) -> None:
    bench = await Bench(loop).call()

    bench.leg.await_return(5)
    bench.leg.await_return(30)  # the socket closes after the word
    await bench.talk(4.9)
    assert bench.news() == [Established()]
    await bench.talk(0.2)

    assert Ended(EndReason.LEFT) in bench.told
    await bench.close()


@in_virtual_time
async def test_page_that_is_back_with_its_media_goes_on(loop: VirtualLoop) -> None:
    bench = await Bench(loop).call()
    again: list[dict[str, Any]] = []

    bench.leg.await_return(5)
    await bench.talk(4)
    bench.leg.rebind(again.append)
    await bench.talk(4)
    bench.leg.answer()

    assert bench.news() == [Established()]
    assert [message["type"] for message in again] == ["answered"]
    bench.assert_trunk_heard_all(9)
    await bench.close()


@in_virtual_time
async def test_page_that_is_back_on_another_network_is_offered_a_restart(
    loop: VirtualLoop,
) -> None:
    bench = await Bench(loop).call()
    again: list[dict[str, Any]] = []
    bench.cut()
    bench.leg.await_return(30)
    await bench.talk(3)

    bench.leg.rebind(again.append)

    assert [message["type"] for message in again] == ["offer"]
    await bench.close()


@in_virtual_time
async def test_reloaded_page_takes_its_call_over(loop: VirtualLoop) -> None:
    bench = await Bench(loop).call()
    again: list[dict[str, Any]] = []
    ssrc = bench.page.heard[-1][8:12]
    last = int.from_bytes(bench.page.heard[-1][2:4], "big")

    bench.leg.await_return(5)
    offer = await bench.reload()
    await elapse(LAST_WORD_S)
    assert bench.news() == [Established(), Disturbed()]
    await bench.talk(1)
    bench.page.take(bench.leg.resume(offer, again.append))
    await bench.talk(7)

    assert bench.news() == [Established(), Disturbed(), Restored()]
    assert bench.port.transports == 1
    first = bench.page.heard[0]
    assert first[8:12] == ssrc
    assert last < int.from_bytes(first[2:4], "big") < last + 200
    assert len(bench.page.heard) > 340
    bench.assert_trunk_heard_all(9)
    bench.leg.end(EndReason.HANGUP)
    assert [message["type"] for message in again] == ["ended"]
    await bench.close()


@in_virtual_time
async def test_page_may_take_over_before_it_was_missed(loop: VirtualLoop) -> None:
    bench = await Bench(loop).call()
    old, bench.page = bench.page, bench.new_page()

    bench.page.take(bench.leg.resume(bench.page.offer(), bench.sent.append))
    await bench.talk(3)

    assert bench.news() == [Established(), Disturbed(), Restored()]
    assert old.end.states[-1] is TransportState.CLOSED
    bench.assert_trunk_heard_all(4)
    await bench.close()


@in_virtual_time
async def test_resumption_that_cannot_be_leaves_all_as_it_was(loop: VirtualLoop) -> None:
    bench = await Bench(loop).call()
    described = bench.leg.reoffer(bench.page.offer())

    with pytest.raises(GatewayError):
        bench.leg.resume(bench.new_page().offer().replace("opus/48000", "nobody/48000"), print)
    await bench.talk(1)

    assert bench.news() == [Established()]
    assert bench.port.transports == 1
    assert bench.leg.reoffer(bench.page.offer()) == described
    bench.assert_trunk_heard_all(2)
    await bench.close()


@in_virtual_time
async def test_ended_call_cannot_be_resumed(loop: VirtualLoop) -> None:
    bench = await Bench(loop).call()
    offer = bench.page.offer()
    bench.leg.hang_up()

    for take in (bench.leg.reoffer, lambda sdp: bench.leg.resume(sdp, print)):
        with pytest.raises(RemoteProtocolError):
            take(offer)
    bench.leg.await_return(5)
    bench.leg.rebind(print)
    bench.leg.restart()
    await elapse(10)

    assert bench.offers() == []
    await bench.close()
