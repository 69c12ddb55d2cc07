"""Key presses of a party: each is told once, whichever way it came, and sent the way it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codec import PCMU, TICK_RATE
from gateway.leg.info import read_press
from gateway.leg.keys import SAME_PRESS_S, KeyReceiver, KeySource
from gateway.leg.leg import DigitPressed, MediaChanged, Phase
from gateway.leg.sip import SipLegOptions
from gateway.media.frame import AudioFrame, Voice
from gateway.media.g711 import MU_LAW
from gateway.media.tone import dtmf, level_dbfs
from gateway.media.touchtone import KeyDetector
from gateway.rtp.dtmf import DIGITS, MAX_DIGITS_PER_S, DtmfMode, parse_events
from gateway.rtp.packet import RtpPacket, build_rtp
from gateway.sdp.description import parse_sdp
from gateway.sip import event as sip
from tests.media.sound import Pcm, frames_of, tone
from tests.support.impair import Impairer
from tests.support.sip_legs import FAR, LegBox, SipBench, sdp

EVENT, INFO, TONE = KeySource.EVENT, KeySource.INFO, KeySource.TONE
WITHOUT_EVENTS = sdp(30_000, codecs="0")


def edges(digit: str, ms: int) -> list[DigitPressed]:
    return [DigitPressed(digit, Phase.START), DigitPressed(digit, Phase.END, ms)]


class Ears:
    """A `KeyReceiver` and what it told."""

    def __init__(self) -> None:
        self.receiver = KeyReceiver()
        self.told: list[DigitPressed] = []

    def start(self, source: KeySource, digit: str, at: float) -> None:
        self.told += self.receiver.hear(source, DigitPressed(digit, Phase.START), at)

    def end(self, source: KeySource, digit: str, at: float, ms: int) -> None:
        self.told += self.receiver.hear(source, DigitPressed(digit, Phase.END, ms), at)

    def info(self, digit: str, at: float, ms: int = 160) -> None:
        self.told += self.receiver.hear_whole(INFO, digit, ms, at)

    def run(self, until: float) -> None:
        while (due := self.receiver.next_timer()) is not None and due <= until:
            self.told += self.receiver.handle_timer(due)

    @property
    def digits(self) -> str:
        return "".join(edge.digit for edge in self.told if edge.phase is Phase.START)


# ---- each press once


@pytest.mark.parametrize("info_at", [0.99, 1.05, 1.3, 2.6])
def test_press_by_packets_and_by_info_is_one(info_at: float) -> None:
    ears = Ears()
    steps: list[tuple[float, Callable[[], None]]] = [
        (1.0, lambda: ears.start(EVENT, "5", 1.0)),
        (1.2, lambda: ears.end(EVENT, "5", 1.2, 200)),
        (info_at, lambda: ears.info("5", info_at)),
    ]

    for at, step in sorted(steps, key=lambda each: each[0]):
        ears.run(at)
        step()
    ears.run(10.0)

    assert ears.told == edges("5", 200)
    assert ears.receiver.duplicates == 1


def test_press_told_in_three_ways_is_one() -> None:
    ears = Ears()

    ears.start(TONE, "8", 1.0)
    ears.start(EVENT, "8", 1.02)
    ears.end(TONE, "8", 1.2, 180)
    ears.end(EVENT, "8", 1.21, 200)
    ears.info("8", 1.25)
    ears.run(9.0)

    assert ears.told == edges("8", 200)
    assert (ears.receiver.received, ears.receiver.duplicates) == (1, 2)


def test_one_key_pressed_twice_is_two_presses_however_the_ways_interleave() -> None:
    ears = Ears()

    ears.start(EVENT, "5", 1.0)
    ears.end(EVENT, "5", 1.1, 100)
    ears.start(EVENT, "5", 1.2)
    ears.info("5", 1.25)
    ears.end(EVENT, "5", 1.3, 100)
    ears.info("5", 1.4)

    assert ears.digits == "55"


def test_press_that_one_way_lost_is_told_by_the_other() -> None:
    ears = Ears()

    ears.start(EVENT, "1", 1.0)
    ears.end(EVENT, "1", 1.1, 100)
    ears.info("1", 1.1)
    ears.info("2", 1.3)  # its packets were lost
    ears.run(1.5)
    ears.start(EVENT, "3", 1.6)
    ears.end(EVENT, "3", 1.7, 100)
    ears.info("3", 1.7)

    assert ears.digits == "123"


def test_same_key_long_after_is_another_press() -> None:
    ears = Ears()

    ears.start(EVENT, "5", 1.0)
    ears.end(EVENT, "5", 1.1, 100)
    ears.info("5", 1.1 + SAME_PRESS_S + 0.1)

    assert ears.digits == "55"


def test_next_key_ends_the_one_before() -> None:
    ears = Ears()

    ears.info("1", 1.0, ms=500)
    ears.info("2", 1.2, ms=100)
    ears.run(5.0)

    assert ears.told == [*edges("1", 200), *edges("2", 100)]


@given(
    st.lists(
        st.tuples(st.sampled_from([EVENT, INFO, TONE]), st.sampled_from("12"), st.floats(0, 1.5)),
        max_size=18,
    )
)
def test_each_key_is_told_as_often_as_the_way_that_told_it_most(
    presses: list[tuple[KeySource, str, float]],
) -> None:
    ears = Ears()

    for source, digit, at in sorted(presses, key=lambda press: press[2]):
        ears.run(at)
        if source is INFO:
            ears.info(digit, at, ms=40)
        else:
            ears.start(source, digit, at)
            ears.end(source, digit, at, 40)
    ears.run(9.0)

    counts = Counter((source, digit) for source, digit, _ in presses)
    for digit in "12":
        most = max(counts[source, digit] for source in KeySource)
        assert ears.digits.count(digit) == most
    phases = [edge.phase for edge in ears.told]
    assert phases == [Phase.START, Phase.END] * len(ears.digits)


def test_a29_flood_of_keys_is_cut_to_twenty_a_second() -> None:
    ears = Ears()

    for number in range(300):
        at = 1.0 + number / 100
        ears.run(at)
        ears.info("0123456789"[number % 10], at, ms=40)

    assert len(ears.digits) <= 3 * MAX_DIGITS_PER_S + 1
    assert ears.receiver.refused == 300 - len(ears.digits)


# ---- a leg


@pytest.fixture
def bench() -> Iterator[SipBench]:
    bench = SipBench()
    yield bench
    bench.close()


def up(bench: SipBench, mode: DtmfMode, body: bytes = WITHOUT_EVENTS, allow: str = "") -> LegBox:
    """A leg that we called, of a party that takes keys in this way."""
    bench.given = {"options": SipLegOptions(dtmf=mode)}
    box = bench.dial()
    headers = [("Content-Type", "application/sdp")] + ([("Allow", allow)] if allow else [])
    invite = bench.peer.request("INVITE")
    bench.peer.respond(bench.station, invite, 200, "a", body=body, headers=headers)
    bench.run(0.03)
    return box


def press(bench: SipBench, box: LegBox, digit: str, ms: int = 100) -> None:
    """The other side of the call presses a key; the leg hears silence meanwhile, as of a hub."""
    box.leg.digit(digit, Phase.START)
    listen(bench, box, ms / 1000)
    box.leg.digit(digit, Phase.END, ms)
    listen(bench, box, 0.2)


def listen(bench: SipBench, box: LegBox, seconds: float, pcm: Pcm | None = None) -> None:
    """The party is sent something, silence if nothing is given."""
    voice = Voice()
    heard = np.zeros(round(seconds * 8000), np.int16) if pcm is None else pcm
    for piece in frames_of(heard, 160):
        box.leg.listener.hear(voice.frame_of_pcm(piece, 8000, bench.loop.time()))
        bench.run(0.02)


def sent(box: LegBox) -> Pcm:
    """What the party was sent as audio."""
    audio = [p.payload for p in box.transport.packets if p.payload_type == PCMU.payload_type]
    return np.concatenate([np.zeros(0, np.int16), *map(MU_LAW.decode, audio)])


def tones(pcm: Pcm) -> str:
    detector = KeyDetector()
    found = [edge for piece in frames_of(pcm, 160) for edge in detector.push(piece)]
    return "".join(edge.digit for edge in found if not edge.is_end)


def events(box: LegBox) -> str:
    """Presses that the party was sent as event packets."""
    packets = [packet for packet in box.transport.packets if packet.payload_type == 101]
    return "".join(DIGITS[parse_events(p.payload)[0].event] for p in packets if p.marker)


def answer_infos(bench: SipBench, status: int = 200) -> list[tuple[str, bytes]]:
    """The peer answers the INFOs that it got, and goes on as long as there are more."""
    answered: list[tuple[str, bytes]] = []
    seen: set[str | None] = set()
    while True:
        news = [m for m in bench.peer.got("INFO") if m.via.branch not in seen]
        if not news:
            return answered
        for info in news:
            seen.add(info.via.branch)
            answered.append((info.headers.get("Content-Type") or "", info.body))
            bench.peer.respond(bench.station, info, status)  # type: ignore[arg-type]
        bench.run(0.05)


@pytest.mark.parametrize(
    ("mode", "has_events"),
    [
        (DtmfMode.AUTO, True),
        (DtmfMode.RFC4733, True),
        (DtmfMode.INFO, False),
        (DtmfMode.INBAND, False),
    ],
)
def test_events_are_offered_where_they_are_wanted(
    bench: SipBench, mode: DtmfMode, has_events: bool
) -> None:
    bench.given = {"options": SipLegOptions(dtmf=mode)}
    bench.dial()

    offer = parse_sdp(bench.peer.request("INVITE").body).media[0]

    assert ("telephone-event" in [codec.name for codec in offer.codecs]) is has_events
    bench.answer(486)


@pytest.mark.parametrize("mode", [DtmfMode.AUTO, DtmfMode.RFC4733])
def test_negotiated_events_are_used(bench: SipBench, mode: DtmfMode) -> None:
    box = up(bench, mode, sdp(30_000), allow="INVITE, ACK, BYE, INFO")

    press(bench, box, "5")

    assert events(box) == "5"
    assert bench.peer.got("INFO") == []
    assert tones(sent(box)) == ""
    assert box.leg.quality().digits_sent == 1


def test_info_is_used_where_the_peer_allows_it_and_has_no_events(bench: SipBench) -> None:
    box = up(bench, DtmfMode.AUTO, allow="INVITE, ACK, BYE, INFO")

    press(bench, box, "#", ms=250)

    ((kind, body),) = answer_infos(bench)
    assert kind == "application/dtmf-relay"
    assert read_press(kind, body) == ("#", 250)
    assert tones(sent(box)) == ""
    assert box.leg.quality().digits_sent == 1


def test_peer_that_takes_the_other_kind_of_info_gets_that(bench: SipBench) -> None:
    box = up(bench, DtmfMode.INFO)
    press(bench, box, "1")

    answer_infos(bench, 415)
    press(bench, box, "2")
    bodies = [(m.headers.get("Content-Type"), m.body) for m in bench.peer.got("INFO")]

    assert bodies[:2] == [
        ("application/dtmf-relay", b"Signal=1\r\nDuration=100\r\n"),
        ("application/dtmf", b"1\r\n"),
    ]
    assert bodies[2] == ("application/dtmf", b"2\r\n")
    assert box.leg.quality().digits_unsent == 1


def test_peer_is_answered_in_the_kind_of_info_that_it_sends(bench: SipBench) -> None:
    box = bench.called(WITHOUT_EVENTS)
    box.leg.answer()
    bench.run(0.05)

    bench.calling.info("application/dtmf", b"7", bench.wire.now)
    bench.run(0.3)
    press(bench, box, "9")

    assert box.heard(DigitPressed) == edges("7", 160)
    (informed,) = bench.phone.all(sip.Informed)
    assert (informed.content_type, informed.body) == ("application/dtmf", b"9\r\n")


def test_peer_with_neither_events_nor_info_hears_tones(bench: SipBench) -> None:
    box = up(bench, DtmfMode.AUTO)
    assert MediaChanged() in box.told

    listen(bench, box, 0.5, tone(440, 0.5, 8000))
    for digit in "12#":
        press(bench, box, digit)

    pcm = sent(box)
    assert tones(pcm) == "12#"
    assert level_dbfs(pcm[:3200]) == pytest.approx(-10, abs=0.5)
    assert box.leg.quality().digits_sent == 3


def test_press_that_info_could_not_bring_is_heard_as_tone(bench: SipBench) -> None:
    box = up(bench, DtmfMode.AUTO, allow="INVITE, INFO")
    press(bench, box, "4")

    answer_infos(bench, 405)
    listen(bench, box, 0.3)
    press(bench, box, "5")

    assert tones(sent(box)) == "45"
    assert len(bench.peer.got("INFO")) == 1
    assert (box.leg.quality().digits_sent, box.leg.quality().digits_unsent) == (2, 0)


def test_press_toward_who_takes_none_is_counted_as_unsent(bench: SipBench) -> None:
    box = up(bench, DtmfMode.RFC4733)

    press(bench, box, "5")

    assert (box.leg.quality().digits_sent, box.leg.quality().digits_unsent) == (0, 1)


def speak(bench: SipBench, box: LegBox, pcm: Pcm) -> list[AudioFrame]:
    """The party says something; what the hub is given of it."""
    frames: list[AudioFrame] = []
    box.leg.on_frame = frames.append
    for number, piece in enumerate(frames_of(pcm, 160)):
        packet = RtpPacket(0, False, number, number * 160, 7, MU_LAW.encode(piece))
        box.transport.on_packet(build_rtp(packet), bench.loop.time())
        bench.run(0.02)
    return frames


def dialled(digits: str, ms: int = 100) -> Pcm:
    """A sound, and keys as tones in it."""
    rest = tone(300, 0.2, 8000)
    return np.concatenate([rest, *(p for d in digits for p in (dtmf(d, ms / 1000, 8000), rest))])


@pytest.mark.parametrize("mode", [DtmfMode.AUTO, DtmfMode.INBAND])
def test_tones_are_heard_as_keys_and_no_longer_as_sound(bench: SipBench, mode: DtmfMode) -> None:
    box = up(bench, mode)

    frames = speak(bench, box, dialled("159D"))

    pressed = [e.digit for e in box.heard(DigitPressed) if e.phase is Phase.START]
    assert pressed == ["1", "5", "9", "D"]
    assert all(e.duration_ms == pytest.approx(100, abs=20) for e in box.heard(DigitPressed)[1::2])
    assert box.leg.quality().digits_received == 4
    heard = np.concatenate([frame.pcm(8000) for frame in frames])
    assert sum(frame.duration for frame in frames) == 1.4 * TICK_RATE
    assert tones(heard) == ""
    assert level_dbfs(heard[:1600]) == pytest.approx(-10, abs=0.5)


def test_who_has_another_way_is_not_listened_to(bench: SipBench) -> None:
    box = up(bench, DtmfMode.AUTO, sdp(30_000))

    frames = speak(bench, box, dialled("159D"))

    assert box.heard(DigitPressed) == []
    assert all(frame.payload is not None for frame in frames)


def test_key_by_info_and_in_the_audio_is_one(bench: SipBench) -> None:
    box = up(bench, DtmfMode.INBAND)

    bench.peer.send(bench.station, info_of(bench, b"Signal=5\r\nDuration=100\r\n"))
    speak(bench, box, dialled("5"))

    assert box.heard(DigitPressed) == edges("5", 100)
    assert box.leg.quality().digits_received == 1


def info_of(bench: SipBench, body: bytes) -> str:
    """An INFO of the party that we called."""
    ack = bench.peer.request("ACK")
    return (
        "INFO sip:gw@192.0.2.1 SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {FAR[0]}:{FAR[1]};branch=z9hG4bKinfo\r\n"
        f"From: {ack.headers.get('To')}\r\nTo: {ack.headers.get('From')}\r\n"
        f"Call-ID: {ack.call_id}\r\nCSeq: 7 INFO\r\nMax-Forwards: 70\r\n"
        "Content-Type: application/dtmf-relay\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body.decode()}"
    )


def test_keys_change_their_way_with_what_is_negotiated(bench: SipBench) -> None:
    box = bench.called(WITHOUT_EVENTS)
    box.leg.answer()
    bench.run(0.05)
    press(bench, box, "1")

    bench.calling.reoffer(sdp(30_000), bench.wire.now)
    bench.run(0.1)
    press(bench, box, "2")

    assert [event.body for event in bench.phone.all(sip.Informed)] == [
        b"Signal=1\r\nDuration=100\r\n"
    ]
    assert events(box) == "2"


@pytest.mark.parametrize("ms", [100, 400])
@pytest.mark.parametrize("seed", range(3))
def test_each_press_as_tone_is_heard_once_under_5_percent_loss(
    bench: SipBench, seed: int, ms: int
) -> None:
    box = up(bench, DtmfMode.INBAND)
    bad = Impairer(seed, loss=0.05, burst=1.5, jitter_ms=15, duplicate=0.02)
    keys = "159D6*" * 4
    wire: list[tuple[float, bytes]] = []

    for number, piece in enumerate(frames_of(dialled(keys, ms), 160)):
        packet = RtpPacket(0, False, number, number * 160, 7, MU_LAW.encode(piece))
        wire += bad.send(build_rtp(packet), bench.loop.time())
        for _ in range(2):
            bench.run(0.01)
            for due in sorted(each for each in wire if each[0] <= bench.loop.time()):
                wire.remove(due)
                box.transport.on_packet(due[1], bench.loop.time())

    assert bad.lost > 8
    pressed = [e.digit for e in box.heard(DigitPressed) if e.phase is Phase.START]
    assert "".join(pressed) == keys
    assert len(box.heard(DigitPressed)) == 2 * len(keys)


def test_key_as_tone_is_released_when_nothing_more_comes(bench: SipBench) -> None:
    box = up(bench, DtmfMode.INBAND)

    speak(bench, box, dtmf("5", 0.2, 8000))
    bench.run(0.5)

    assert [e.phase for e in box.heard(DigitPressed)] == [Phase.START, Phase.END]


def test_info_that_failed_once_is_tried_again_with_the_next_key(bench: SipBench) -> None:
    box = up(bench, DtmfMode.AUTO, allow="INVITE, INFO")
    press(bench, box, "4")
    answer_infos(bench, 503)

    press(bench, box, "5")

    assert len(bench.peer.got("INFO")) == 2
    assert tones(sent(box)) == ""
    assert box.leg.quality().digits_unsent == 1
