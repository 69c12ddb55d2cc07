"""A page as a party: offer and answer, what it is told, and how it leaves."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.codec import OPUS, PCMA, PCMU, TELEPHONE_EVENT, TELEPHONE_EVENT_48K
from gateway.errors import NegotiationError, RemoteProtocolError
from gateway.leg.browser import LAST_WORD_S, BrowserLeg
from gateway.leg.leg import (
    Answered,
    DigitPressed,
    Disturbed,
    Ended,
    EndReason,
    Established,
    Gone,
    LegEvent,
    Phase,
    Progressed,
    Restored,
    Signalled,
)
from gateway.net.media import TransportState
from gateway.net.pacer import Pacer
from gateway.sdp.description import parse_sdp
from tests.sdp.media import VECTORS
from tests.support.loop import VirtualLoop, elapse, in_virtual_time
from tests.support.media import FakeTransport, new_stream

CODECS = (OPUS, PCMU, PCMA, TELEPHONE_EVENT_48K, TELEPHONE_EVENT)
OFFERS = ("chromium-audio", "firefox-audio", "chromium-audio-video-data")


def offer(name: str = "chromium-audio") -> str:
    """What a browser offers, as recorded."""
    return (VECTORS / f"{name}.sdp").read_text(encoding="utf-8")


class PageBench:
    """A page's leg, what it told, and what the page was told."""

    def __init__(self, loop: VirtualLoop, *, listens: bool = True) -> None:
        self.loop = loop
        self.pacer = Pacer(loop)
        self.transport = FakeTransport(is_webrtc=True)
        self.sent: list[dict[str, Any]] = []
        self.told: list[LegEvent] = []
        self.leg = BrowserLeg(
            "leg-1",
            stream=new_stream(loop, self.pacer, self.transport),
            codecs=CODECS,
            session_id="123",
            send=self.sent.append,
            new_transport=self._new_transport,
            loop=loop,
        )
        if listens:
            self.leg.on_event = self.told.append

    def _new_transport(self) -> FakeTransport:
        """What a page that was reloaded talks over from then on."""
        self.transport = FakeTransport(is_webrtc=True)
        return self.transport

    def calling(self) -> PageBench:
        """The page has offered and was answered."""
        self.leg.take_offer(offer())
        self.leg.announce("call-1")
        return self

    def connected(self) -> PageBench:
        self.calling()
        self.transport.on_state(TransportState.CONNECTED)
        return self

    def heard(self, *kinds: type[LegEvent]) -> list[LegEvent]:
        """Events other than arrows of the ladder; of some kinds, if named."""
        return [e for e in self.told if isinstance(e, kinds or object) and type(e) is not Signalled]

    @property
    def ladder(self) -> list[tuple[bool, str]]:
        return [(event.sent, event.text) for event in self.told if isinstance(event, Signalled)]

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.sent]

    async def close(self) -> None:
        """It ends if it has not; all of it is given back, and nothing comes after `Gone`."""
        self.leg.end(EndReason.HANGUP)
        await elapse(20)
        assert self.transport.is_closed
        assert self.pacer.count == 0
        assert [type(event) for event in self.told].count(Gone) == 1
        assert type(self.told[-1]) is Gone
        assert len(self.heard(Ended)) <= 1


# ---- offer and answer


@pytest.mark.parametrize("name", OFFERS)
@in_virtual_time
async def test_offer_is_answered_at_once_and_whole(loop: VirtualLoop, name: str) -> None:
    bench = PageBench(loop)

    bench.leg.take_offer(offer(name))
    bench.leg.announce("call-1")

    assert bench.kinds() == ["answer"]
    assert bench.sent[0]["id"] == "call-1"
    answer = parse_sdp(bench.sent[0]["sdp"])
    assert [section.port > 0 for section in answer.media].count(True) == 1
    live = next(section for section in answer.media if section.port)
    assert live.codecs[0].name == "opus"
    assert live.end_of_candidates
    assert bench.transport.accepted[0].ice_ufrag is not None
    assert bench.ladder == [(False, "offer"), (True, "answer")]
    await bench.close()


@in_virtual_time
async def test_what_was_told_before_there_was_a_call_is_told_to_it_first(
    loop: VirtualLoop,
) -> None:
    bench = PageBench(loop, listens=False)
    bench.leg.take_offer(offer())

    bench.leg.on_event = bench.told.append

    assert bench.ladder == [(False, "offer"), (True, "answer")]
    await bench.close()


@pytest.mark.parametrize("text", ["", "hello", "v=0\r\n", "v=0\r\nm=audio x\r\n"])
@in_virtual_time
async def test_offer_that_is_no_sdp_is_refused(loop: VirtualLoop, text: str) -> None:
    bench = PageBench(loop)

    with pytest.raises((RemoteProtocolError, NegotiationError)):
        bench.leg.take_offer(text)

    assert not bench.sent
    await bench.close()


@in_virtual_time
async def test_offer_without_a_common_codec_is_refused_with_488(loop: VirtualLoop) -> None:
    bench = PageBench(loop)
    text = re.sub(r"a=rtpmap:(\d+) \S+", r"a=rtpmap:\1 nobody/48000", offer())
    text = re.sub(r"(m=audio \d+ \S+) .*", r"\1 111", text)

    with pytest.raises(NegotiationError) as caught:
        bench.leg.take_offer(text)

    assert caught.value.status == 488
    await bench.close()


@in_virtual_time
async def test_offer_of_plain_rtp_is_refused(loop: VirtualLoop) -> None:
    bench = PageBench(loop)

    with pytest.raises(NegotiationError):
        bench.leg.take_offer(offer("sipp"))

    await bench.close()


@in_virtual_time
async def test_candidates_go_to_the_transport_and_the_last_is_no_candidate(
    loop: VirtualLoop,
) -> None:
    bench = PageBench(loop).calling()

    bench.leg.add_candidate("candidate:1 1 udp 1 192.0.2.9 9 typ host", "uf")
    bench.leg.add_candidate("", None)

    assert bench.transport.candidates == [("candidate:1 1 udp 1 192.0.2.9 9 typ host", "uf")]
    await bench.close()


# ---- what the page is told


@in_virtual_time
async def test_page_is_told_how_far_its_call_has_got(loop: VirtualLoop) -> None:
    bench = PageBench(loop).calling()

    bench.leg.progress(ringing=True, early_media=False)
    bench.leg.progress(ringing=False, early_media=True)
    bench.leg.answer()

    assert bench.sent[1:] == [
        {"type": "progress", "status": 180, "reason": "Ringing", "early_media": False},
        {"type": "progress", "status": 183, "reason": "Session Progress", "early_media": True},
        {"type": "answered", "codec": {"browser": "opus"}},
    ]
    assert bench.ladder[2:] == [(True, "progress 180"), (True, "progress 183"), (True, "answered")]
    await bench.close()


@in_virtual_time
async def test_key_of_the_other_side_goes_to_the_page_both_ways(loop: VirtualLoop) -> None:
    bench = PageBench(loop).connected()

    bench.leg.digit("5", Phase.START)
    await elapse(0.2)
    bench.leg.digit("5", Phase.END, 200)
    await elapse(0.2)

    assert bench.sent[1:] == [
        {"type": "digit", "digit": "5", "phase": "start"},
        {"type": "digit", "digit": "5", "phase": "end"},
    ]
    assert len(bench.transport.packets) > 8
    await bench.close()


@in_virtual_time
async def test_page_is_told_why_it_ended_and_whose_doing_it_was(loop: VirtualLoop) -> None:
    bench = PageBench(loop).calling()

    bench.leg.end(EndReason.BUSY, 486, "Busy Here")

    assert bench.sent[-1] == {
        "type": "ended",
        "reason": "busy",
        "status": 486,
        "text": "Busy Here",
        "fault": "callee",
    }
    assert bench.ladder[-1] == (True, "ended")
    await bench.close()


@in_virtual_time
async def test_ladder_names_nobody(loop: VirtualLoop) -> None:
    bench = PageBench(loop).connected()
    bench.leg.progress(ringing=True, early_media=False)
    bench.leg.answer()
    bench.leg.hang_up()

    assert not [text for _, text in bench.ladder if re.search(r"\d{4,}|@|sip:", text)]
    await bench.close()


# ---- the media path


@in_virtual_time
async def test_path_that_comes_goes_and_comes_back_is_told(loop: VirtualLoop) -> None:
    bench = PageBench(loop).calling()

    for state in ("CONNECTED", "DISCONNECTED", "CONNECTED"):
        bench.transport.on_state(TransportState[state])

    assert bench.heard() == [Established(), Disturbed(), Restored()]
    assert bench.leg.listener.is_connected
    await bench.close()


@pytest.mark.parametrize(
    ("state", "reason"), [("FAILED", EndReason.ICE_CONSENT), ("CLOSED", EndReason.LEFT)]
)
@in_virtual_time
async def test_path_that_is_lost_ends_the_leg_once(
    loop: VirtualLoop, state: str, reason: EndReason
) -> None:
    bench = PageBench(loop).connected()

    bench.transport.on_state(TransportState[state])
    await elapse(LAST_WORD_S)

    assert bench.heard(Ended) == [Ended(reason)]
    assert bench.sent[-1]["reason"] == reason.value
    await bench.close()


@in_virtual_time
async def test_bye_counts_though_the_connection_was_closed_before_it_came(
    loop: VirtualLoop,
) -> None:
    bench = PageBench(loop).connected()

    bench.transport.on_state(TransportState.CLOSED)
    await elapse(LAST_WORD_S / 2)
    bench.leg.hang_up()
    await elapse(LAST_WORD_S)

    assert bench.heard(Ended) == [Ended(EndReason.HANGUP)]
    assert bench.kinds().count("ended") == 1
    await bench.close()


# ---- keys by message


@in_virtual_time
async def test_key_press_by_message_has_two_edges(loop: VirtualLoop) -> None:
    bench = PageBench(loop).connected()

    bench.leg.press("7", 150)
    await elapse(0.14)
    assert bench.heard(DigitPressed) == [DigitPressed("7", Phase.START)]
    await elapse(0.02)

    assert bench.heard(DigitPressed)[1:] == [DigitPressed("7", Phase.END, 150)]
    await bench.close()


@in_virtual_time
async def test_key_that_is_down_at_the_end_says_no_more(loop: VirtualLoop) -> None:
    bench = PageBench(loop).connected()
    bench.leg.press("7", 5000)

    bench.leg.hang_up()
    await elapse(10)

    assert len(bench.heard(DigitPressed)) == 1
    await bench.close()


# ---- leaving, in every state


@pytest.mark.parametrize("state", ["new", "calling", "connected", "answered"])
@pytest.mark.parametrize(
    ("leave", "reason"), [("hang_up", EndReason.HANGUP), ("leave", EndReason.LEFT)]
)
@in_virtual_time
async def test_page_that_leaves_is_ended_once_and_then_gone(
    loop: VirtualLoop, state: str, leave: str, reason: EndReason
) -> None:
    bench = PageBench(loop)
    if state != "new":
        bench.calling()
    if state in ("connected", "answered"):
        bench.transport.on_state(TransportState.CONNECTED)
    if state == "answered":
        bench.leg.answer()

    getattr(bench.leg, leave)()
    getattr(bench.leg, leave)()
    bench.transport.on_state(TransportState.CLOSED)

    assert bench.heard(Ended) == [Ended(reason)]
    assert bench.kinds().count("ended") == 1
    await bench.close()


@pytest.mark.parametrize("state", ["new", "calling", "connected"])
@in_virtual_time
async def test_page_that_is_let_go_is_gone_and_says_nothing_of_an_end(
    loop: VirtualLoop, state: str
) -> None:
    bench = PageBench(loop)
    if state != "new":
        bench.calling()
    if state == "connected":
        bench.transport.on_state(TransportState.CONNECTED)

    bench.leg.end(EndReason.DECLINED, 603)
    bench.leg.hang_up()

    assert not bench.heard(Ended)
    assert bench.kinds().count("ended") == 1
    assert bench.transport.is_closed
    await bench.close()


@in_virtual_time
async def test_end_that_nobody_listened_to_is_told_when_somebody_does(loop: VirtualLoop) -> None:
    bench = PageBench(loop, listens=False)
    bench.leg.take_offer(offer())
    bench.leg.hang_up()

    bench.leg.on_event = bench.told.append

    assert bench.heard(Ended) == [Ended(EndReason.HANGUP)]
    await bench.close()


# ---- the page is called


@in_virtual_time
async def test_called_page_rings_offers_and_has_answered(loop: VirtualLoop) -> None:
    bench = PageBench(loop)
    bench.leg.dial()
    await elapse(0.1)
    assert bench.heard() == [Progressed(180, "Ringing")]

    bench.leg.accept(offer())

    assert bench.kinds() == ["incoming", "answer"]
    assert bench.heard(Answered) == [Answered()]
    await bench.close()


@in_virtual_time
async def test_called_page_that_declines_says_603(loop: VirtualLoop) -> None:
    bench = PageBench(loop)
    bench.leg.dial()

    bench.leg.decline()

    assert bench.heard(Ended) == [Ended(EndReason.DECLINED, 603)]
    await bench.close()


@in_virtual_time
async def test_accepting_twice_or_what_does_not_ring_is_refused(loop: VirtualLoop) -> None:
    bench = PageBench(loop).calling()
    called = PageBench(loop)
    called.leg.dial()
    called.leg.accept(offer())

    for leg in (bench.leg, called.leg):
        with pytest.raises(RemoteProtocolError):
            leg.accept(offer())

    await bench.close()
    await called.close()
