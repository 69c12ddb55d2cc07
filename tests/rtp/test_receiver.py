"""Order, loss, silence and change of one received stream."""

from __future__ import annotations

import random
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codec import OPUS, PCMA, PCMU, TELEPHONE_EVENT, Codec
from gateway.rtp.dtmf import DigitEvent
from gateway.rtp.order import MAX_WAITING, ORDERLY_PACKETS, ORDERLY_WAIT_S, ReceiverOptions
from gateway.rtp.received import MAX_HOLES, Hole, Packet
from gateway.rtp.receiver import Receiver
from tests.rtp.source import Source, assert_contiguous, holes_of, packets_of

if TYPE_CHECKING:
    from gateway.rtp.received import Received

CN = Codec("CN", payload_type=13, clock_rate=8000, sample_rate=8000)
UNKNOWN = 72


class Sink:
    """A receiver, what it yielded, and the time at which packets come."""

    def __init__(self, *codecs: Codec) -> None:
        self.receiver = Receiver()
        self.receiver.configure(codecs or (PCMU, PCMA, OPUS, CN, TELEPHONE_EVENT))
        self.received: list[Received] = []
        self.now = 1000.0

    def take(self, data: bytes, *, after: float = 0.02) -> list[Received]:
        self.now += after
        out = list(self.receiver.receive(data, self.now))
        self.received += out
        return out

    def wait(self, seconds: float) -> list[Received]:
        self.now += seconds
        out = list(self.receiver.handle_timer(self.now))
        self.received += out
        return out

    @property
    def sequences(self) -> list[int]:
        """The numbers that the sources wrote into the payloads."""
        return [int.from_bytes(p.payload[:2], "big") for p in packets_of(self.received)]


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def sink() -> Sink:
    return Sink()


# ---- in order


def test_packets_in_order_leave_at_once(source: Source, sink: Sink) -> None:
    out = [sink.take(source.next()) for _ in range(5)]

    assert [len(each) for each in out] == [1] * 5
    assert [p.timestamp for p in packets_of(sink.received)] == [0, 160, 320, 480, 640]
    assert [p.sequence for p in packets_of(sink.received)] == [0, 1, 2, 3, 4]
    assert sink.sequences == [100, 101, 102, 103, 104]


def test_a_packet_carries_codec_duration_payload_and_marker(source: Source, sink: Sink) -> None:
    (packet,) = sink.take(source.next(b"\xd5" * 240, marker=True))

    assert packet == Packet(PCMU, 0, 0, 240, b"\xd5" * 240, True)


@pytest.mark.parametrize(
    ("sequence", "timestamp"), [(0xFFFE, 7), (7, 0xFFFF_FFFF - 250), (0xFFFE, 0xFFFF_FFFF - 250)]
)
def test_numbers_wrap_without_a_seam(sink: Sink, sequence: int, timestamp: int) -> None:
    source = Source(sequence=sequence, timestamp=timestamp)

    for _ in range(6):
        sink.take(source.next())

    assert [p.timestamp for p in packets_of(sink.received)] == [n * 160 for n in range(6)]
    assert [p.sequence for p in packets_of(sink.received)] == list(range(6))
    assert (sink.receiver.stats.lost, sink.receiver.stats.resyncs) == (0, 0)


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
def test_every_packet_time_makes_one_timeline(sink: Sink, ptime_ms: int) -> None:
    source = Source(step=ptime_ms * 8)

    for _ in range(5):
        sink.take(source.next(), after=ptime_ms / 1000)

    assert_contiguous(sink.received)
    assert [p.duration for p in packets_of(sink.received)] == [ptime_ms * 8] * 5


def test_packets_with_header_extensions_and_markers_are_as_good(source: Source, sink: Sink) -> None:
    plain = source.next()
    extended = source.next()
    extended = b"\x90" + extended[1:12] + bytes.fromhex("bede0001 10ff0000") + extended[12:]

    sink.take(plain)
    sink.take(extended)
    sink.take(source.next(marker=True))

    assert sink.sequences == [100, 101, 102]
    assert_contiguous(sink.received)


def test_an_opus_stream_is_measured_by_its_packets(sink: Sink) -> None:
    source = Source(OPUS, step=960)

    for toc in (b"\x78", b"\x78", b"\x79", b"\x78"):
        source.step = 1920 if toc == b"\x79" else 960
        sink.take(source.next(toc + bytes(60)))

    assert [p.duration for p in packets_of(sink.received)] == [960, 960, 1920, 960]
    assert_contiguous(sink.received)


# ---- order and loss


def test_a_swapped_pair_is_put_in_order(source: Source, sink: Sink) -> None:
    first, second, third, fourth = (source.next() for _ in range(4))

    sink.take(first)
    waiting = sink.take(third)
    both = sink.take(second, after=0.001)
    sink.take(fourth)

    assert (waiting, len(both)) == ([], 2)
    assert sink.sequences == [100, 101, 102, 103]
    assert_contiguous(sink.received)
    assert (sink.receiver.stats.reordered, sink.receiver.stats.lost) == (1, 0)


def test_a_lost_packet_becomes_a_hole_after_40_ms(source: Source, sink: Sink) -> None:
    sink.take(source.next())
    source.skip(1)
    after = source.next()

    sink.take(after)
    sink.take(source.next())
    early = sink.wait(0.019)
    late = sink.wait(0.0011)

    assert early == []
    assert late[0] == Hole(PCMU, 160, 160, after[12:])
    assert sink.sequences == [100, 102, 103]
    assert_contiguous(sink.received)
    assert sink.receiver.stats.lost == 1


def test_the_receiver_asks_to_be_called_when_patience_ends(source: Source, sink: Sink) -> None:
    sink.take(source.next())
    assert sink.receiver.timer_at == float("inf")

    source.skip(1)
    sink.take(source.next())

    assert sink.receiver.timer_at == pytest.approx(sink.now + 0.04)


def keep_order(source: Source, sink: Sink) -> None:
    for _ in range(ORDERLY_PACKETS):
        sink.take(source.next())


def test_on_a_path_that_keeps_the_order_a_lost_packet_is_given_up_soon(
    source: Source, sink: Sink
) -> None:
    keep_order(source, sink)
    source.skip(1)

    assert sink.take(source.next()) == []
    assert sink.receiver.waits_until == pytest.approx(sink.now + ORDERLY_WAIT_S)
    assert [type(item) for item in sink.wait(0.0101)] == [Hole, Packet]


@pytest.mark.parametrize("late_s", [0.005, 0.03])
def test_a_path_that_disturbs_the_order_is_waited_for_from_then_on(
    source: Source, sink: Sink, late_s: float
) -> None:
    keep_order(source, sink)
    overtaken = source.next()
    sink.take(source.next())
    sink.wait(late_s)
    sink.take(overtaken, after=0)
    source.skip(1)

    sink.take(source.next())

    assert sink.receiver.waits_until == pytest.approx(sink.now + 0.04)
    stats = sink.receiver.stats
    assert (stats.reordered, stats.late) == ((1, 0) if late_s < ORDERLY_WAIT_S else (0, 1))


def test_patience_is_an_option(source: Source) -> None:
    receiver = Receiver(ReceiverOptions(reorder_ms=100))
    receiver.configure([PCMU])
    receiver.receive(source.next(), 1.0)
    source.skip(1)

    receiver.receive(source.next(), 1.0)

    assert receiver.timer_at == pytest.approx(1.1)


def test_packets_that_follow_a_loss_end_the_wait_without_a_timer(
    source: Source, sink: Sink
) -> None:
    sink.take(source.next())
    source.skip(1)

    for _ in range(4):
        sink.take(source.next())

    assert sink.sequences == [100, 102, 103, 104, 105]
    assert len(holes_of(sink.received)) == 1


def test_each_lost_packet_is_a_hole_and_the_last_knows_what_follows(
    source: Source, sink: Sink
) -> None:
    sink.take(source.next())
    source.skip(3)
    after = source.next()
    sink.take(after)

    sink.wait(0.05)

    assert holes_of(sink.received) == [
        Hole(PCMU, 160, 160, None),
        Hole(PCMU, 320, 160, None),
        Hole(PCMU, 480, 160, after[12:]),
    ]
    assert_contiguous(sink.received)


def test_a_long_loss_makes_few_holes(source: Source, sink: Sink) -> None:
    sink.take(source.next())
    source.skip(500)
    sink.take(source.next(), after=10.0)

    sink.wait(0.05)

    holes = holes_of(sink.received)
    assert len(holes) == MAX_HOLES
    assert sum(hole.duration for hole in holes) == 500 * 160
    assert [hole.duration for hole in holes[1:]] == [160] * (MAX_HOLES - 1)
    assert_contiguous(sink.received)
    assert sink.receiver.stats.lost == 500


def test_a_packet_that_comes_after_it_was_given_up_is_dropped(source: Source, sink: Sink) -> None:
    sink.take(source.next())
    missing, after = source.next(), source.next()
    sink.take(after)
    sink.wait(0.05)

    assert sink.take(missing) == []
    assert sink.take(missing) == []
    sink.take(source.next())

    assert sink.sequences == [100, 102, 103]
    stats = sink.receiver.stats
    assert (stats.late, stats.duplicates, stats.lost) == (1, 1, 0)  # late is not lost: A.3


def test_a_packet_that_the_first_overtook_is_late(source: Source, sink: Sink) -> None:
    before, first = source.next(), source.next()
    sink.take(first)

    assert sink.take(before, after=0.001) == []

    assert (sink.receiver.stats.late, sink.receiver.stats.duplicates) == (1, 0)


def test_a_packet_that_comes_twice_is_heard_once(source: Source, sink: Sink) -> None:
    first, _, third = source.next(), source.next(), source.next()

    for data in (first, first, third, third):
        sink.take(data, after=0.001)
    sink.wait(0.05)
    sink.take(third)

    assert sink.sequences == [100, 102]
    stats = sink.receiver.stats
    assert (stats.duplicates, stats.late, stats.lost) == (3, 0, 1)


def test_a_wire_that_doubles_everything_disturbs_nothing(source: Source, sink: Sink) -> None:
    before = source.next()
    sink.take(before)
    for _ in range(50):
        data = source.next()
        sink.take(data)
        sink.take(before, after=0.001)
        before = data

    assert len(sink.sequences) == 51
    stats = sink.receiver.stats
    assert (stats.duplicates, stats.resyncs, stats.lost) == (50, 0, 0)


def test_what_waits_is_bounded(source: Source, sink: Sink) -> None:
    sink.take(source.next())
    source.skip(1)

    for _ in range(MAX_WAITING + 1):
        sink.take(source.next(), after=0.0)

    assert len(sink.sequences) == MAX_WAITING + 2
    assert_contiguous(sink.received)


# ---- silence is not loss


def test_silence_is_no_hole(source: Source, sink: Sink) -> None:
    sink.take(source.next())
    source.pause(250)
    sink.take(source.next(marker=True), after=5.0)
    sink.take(source.next())

    assert [p.timestamp for p in packets_of(sink.received)] == [0, 251 * 160, 252 * 160]
    assert holes_of(sink.received) == []
    assert (sink.receiver.stats.lost, sink.receiver.stats.resyncs) == (0, 0)


def test_a_packet_lost_about_a_silence_is_a_hole_before_the_speech(
    source: Source, sink: Sink
) -> None:
    sink.take(source.next())
    source.pause(20)
    source.skip(1)
    after = source.next()
    sink.take(after, after=0.44)

    sink.wait(0.05)

    assert holes_of(sink.received) == [Hole(PCMU, 21 * 160, 160, after[12:])]


@pytest.mark.rfc(3389, "4")
def test_comfort_noise_is_given_to_the_consumer(source: Source, sink: Sink) -> None:
    sink.take(source.next())
    noise = sink.take(source.event(13, b"\x40"))
    source.pause(10)
    sink.take(source.next(marker=True), after=0.2)

    assert noise == [Packet(CN, 1, 160, 0, b"\x40", False)]
    assert [p.timestamp for p in packets_of(sink.received)] == [0, 160, 11 * 160]
    assert sink.receiver.stats.resyncs == 0


def test_a_sender_that_trims_its_clock_makes_no_gaps(source: Source, sink: Sink) -> None:
    for trim in (0, 1, -1, 2, 0, -2):
        source.timestamp += trim
        sink.take(source.next())

    assert_contiguous(sink.received)
    assert sink.receiver.stats.resyncs == 0


def test_a_keep_alive_without_payload_is_no_audio(source: Source, sink: Sink) -> None:
    sink.take(source.next())
    assert sink.take(source.event(0, b"")) == []
    sink.take(source.next())

    assert_contiguous(sink.received)
    assert (sink.receiver.stats.lost, sink.receiver.stats.unknown) == (0, 0)


# ---- a sender that changes


def test_another_ssrc_is_heard_at_once_and_the_timeline_goes_on(sink: Sink) -> None:
    old = Source(ssrc=1, sequence=500, timestamp=90_000)
    new = Source(ssrc=2, sequence=9, timestamp=4_000_000_000)
    for _ in range(3):
        sink.take(old.next())

    for _ in range(3):
        sink.take(new.next())

    assert sink.sequences == [500, 501, 502, 9, 10, 11]
    assert_contiguous(sink.received)
    assert [p.sequence for p in packets_of(sink.received)] == list(range(6))
    assert (sink.receiver.ssrc, sink.receiver.stats.resyncs) == (2, 1)


def test_last_packets_of_the_ssrc_that_was_left_are_dropped(sink: Sink) -> None:
    old, new = Source(ssrc=1), Source(ssrc=2, sequence=9)
    sink.take(old.next())
    sink.take(new.next())

    sink.take(old.next())
    sink.take(new.next())

    assert sink.sequences == [100, 9, 10]
    assert sink.receiver.stats.unknown == 1


def test_an_ssrc_that_was_left_may_come_back_after_silence(sink: Sink) -> None:
    old, new = Source(ssrc=1), Source(ssrc=2, sequence=9)
    sink.take(old.next())
    sink.take(new.next())

    sink.take(old.next(), after=0.3)

    assert sink.sequences == [100, 9, 101]
    assert_contiguous(sink.received)


def test_what_waits_is_delivered_when_the_ssrc_changes(sink: Sink) -> None:
    old, new = Source(ssrc=1), Source(ssrc=2, sequence=9)
    sink.take(old.next())
    old.skip(1)
    sink.take(old.next())

    sink.take(new.next())

    assert sink.sequences == [100, 102, 9]
    assert_contiguous(sink.received)


@pytest.mark.rfc(3550, "A.1")
@pytest.mark.parametrize("jump", [20_000, 40_000, 65_000])
def test_a_jump_of_the_sequence_is_followed_from_its_second_packet(
    source: Source, sink: Sink, jump: int
) -> None:
    for _ in range(3):
        sink.take(source.next())
    source.sequence = (source.sequence + jump) & 0xFFFF
    source.timestamp = 77

    first = sink.take(source.next())
    second = sink.take(source.next())
    sink.take(source.next())

    assert (len(first), len(second)) == (0, 2)  # the first was kept, not lost
    assert_contiguous(sink.received)
    assert len(sink.sequences) == 6
    assert (sink.receiver.stats.resyncs, sink.receiver.stats.lost) == (1, 0)


@pytest.mark.rfc(3550, "A.1")
def test_one_stray_sequence_number_changes_nothing(source: Source, sink: Sink) -> None:
    stray = Source(sequence=40_000)
    sink.take(source.next())

    sink.take(stray.next())
    sink.take(source.next())
    stray.skip(1)
    sink.take(stray.next())
    sink.take(source.next())

    assert sink.sequences == [100, 101, 102]
    assert sink.receiver.stats.resyncs == 0


@pytest.mark.parametrize("back", [30, 300])
def test_a_recording_in_a_loop_is_heard_again_within_100_ms(
    source: Source, sink: Sink, back: int
) -> None:
    for _ in range(400):
        sink.take(source.next())
    source.sequence -= back
    source.timestamp -= back * 160

    for _ in range(10):
        sink.take(source.next())

    assert len(sink.sequences) >= 400 + 10 - 4
    assert_contiguous(sink.received)
    assert sink.receiver.stats.resyncs == 1


def test_a_late_burst_is_no_new_beginning(source: Source, sink: Sink) -> None:
    sink.take(source.next())
    late = [source.next() for _ in range(8)]
    sink.take(source.next(), after=0.18)
    sink.wait(0.05)

    for data in late:
        sink.take(data, after=0.001)
    sink.take(source.next(), after=0.0)

    assert sink.sequences == [100, 109, 110]
    assert (sink.receiver.stats.late, sink.receiver.stats.resyncs) == (8, 0)


@pytest.mark.parametrize("timestamp", [0, 49_000, 3_000_000_000, 50_000 + 60 * 8000])
def test_a_jump_of_the_timestamp_alone_makes_no_gap(
    source: Source, sink: Sink, timestamp: int
) -> None:
    sink.take(source.next())
    source.timestamp = timestamp

    sink.take(source.next())
    sink.take(source.next())

    assert [p.timestamp for p in packets_of(sink.received)] == [0, 160, 320]
    assert sink.receiver.stats.resyncs == 1


def test_another_codec_of_the_same_clock_goes_on(sink: Sink) -> None:
    source = Source(PCMU)
    sink.take(source.next())
    source.codec = PCMA

    sink.take(source.next())
    sink.take(source.next())

    assert [p.codec for p in packets_of(sink.received)] == [PCMU, PCMA, PCMA]
    assert_contiguous(sink.received)
    assert sink.receiver.stats.resyncs == 0


@pytest.mark.rfc(7160, "4")
def test_a_codec_of_another_clock_goes_on_at_the_same_time(sink: Sink) -> None:
    source = Source(PCMU)
    for _ in range(3):
        sink.take(source.next())
    source.codec, source.step = OPUS, 960

    for _ in range(2):
        sink.take(source.next(b"\x78" + bytes(60)))

    opus = packets_of(sink.received)[3:]
    assert [(p.codec, p.timestamp, p.duration) for p in opus] == [
        (OPUS, 480 * 6, 960),
        (OPUS, 480 * 6 + 960, 960),
    ]


def test_a_payload_type_may_get_another_clock(sink: Sink) -> None:
    source = Source(OPUS, step=960)
    sink.take(source.next(b"\x78" + bytes(60)))
    wideband = Codec("L16", OPUS.payload_type, 16000, 16000)

    sink.receiver.configure([wideband])
    source.step = 320
    for _ in range(2):
        sink.take(source.next(bytes(640)))

    assert [(p.codec, p.timestamp, p.duration) for p in packets_of(sink.received)[1:]] == [
        (wideband, 320, 320),
        (wideband, 640, 320),
    ]


def test_no_fec_is_sought_in_a_payload_of_another_codec(sink: Sink) -> None:
    source = Source(PCMU)
    sink.take(source.next())
    source.skip(1)
    source.codec = PCMA
    sink.take(source.next())

    sink.wait(0.05)

    assert holes_of(sink.received) == [Hole(PCMU, 160, 160, None)]


def test_renegotiation_keeps_the_stream(source: Source, sink: Sink) -> None:
    sink.take(source.next())

    sink.receiver.configure([PCMA, Codec("PCMU", 96, 8000, 8000)])
    source.codec = Codec("PCMU", 96, 8000, 8000)
    sink.take(source.next())

    assert_contiguous(sink.received)
    assert sink.receiver.stats.resyncs == 0


def test_a_payload_type_that_is_taken_back_is_no_longer_heard(source: Source, sink: Sink) -> None:
    sink.take(source.next())
    sink.take(source.next())

    sink.receiver.configure([PCMA])
    out = sink.take(source.next())

    assert out == []
    assert sink.receiver.stats.unknown == 1


# ---- digits among audio


def event(digit: int, duration: int, *, end: bool = False) -> bytes:
    return bytes((digit, 0x8A if end else 0x0A)) + duration.to_bytes(2, "big")


def test_a_press_takes_places_in_the_sequence_but_no_time(source: Source, sink: Sink) -> None:
    sink.take(source.next())
    for count in range(1, 6):
        sink.take(source.event(101, event(5, 160 * count), marker=count == 1))
    for _ in range(3):
        sink.take(source.event(101, event(5, 800, end=True)))
    source.pause(7)
    sink.take(source.next(marker=True))

    digits = [item for item in sink.received if isinstance(item, DigitEvent)]
    assert digits == [DigitEvent("5", "start", 0), DigitEvent("5", "end", 100)]
    assert [p.timestamp for p in packets_of(sink.received)] == [0, 160 * 8]
    assert holes_of(sink.received) == []
    assert (sink.receiver.stats.lost, sink.receiver.stats.packets) == (0, 10)


def test_a_lost_event_packet_is_no_hole_in_the_audio(source: Source, sink: Sink) -> None:
    sink.take(source.next())
    sink.take(source.event(101, event(5, 160)))
    source.event(101, event(5, 320))
    sink.take(source.event(101, event(5, 480, end=True)))
    source.event(101, event(5, 480, end=True))
    source.pause(3)

    sink.take(source.next())
    sink.wait(0.05)

    assert holes_of(sink.received) == []
    assert [p.timestamp for p in packets_of(sink.received)] == [0, 640]
    assert sink.receiver.stats.lost == 2


def test_a_digit_is_heard_while_audio_waits_for_order(source: Source, sink: Sink) -> None:
    sink.take(source.next())
    source.skip(1)

    out = sink.take(source.event(101, event(1, 160)))

    assert out == [DigitEvent("1", "start", 0)]


def test_digits_may_come_on_an_ssrc_of_their_own(source: Source, sink: Sink) -> None:
    sink.take(source.next())
    other = Source(ssrc=99, sequence=5)

    out = sink.take(other.event(101, event(1, 800, end=True)))
    sink.take(source.next())

    assert [item.phase for item in out if isinstance(item, DigitEvent)] == ["start", "end"]
    assert (sink.receiver.ssrc, sink.receiver.stats.resyncs) == (source.ssrc, 0)
    assert_contiguous(sink.received)


def test_a_press_that_is_never_ended_times_out(source: Source, sink: Sink) -> None:
    sink.take(source.event(101, event(3, 800)))
    due = sink.receiver.timer_at

    out = sink.wait(0.21)

    assert due == pytest.approx(sink.now - 0.01)
    assert out == [DigitEvent("3", "end", 100)]


# ---- junk


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80", b"\x80" * 11, b"\x8f\x00" + bytes(10), b"\x90\x00" + bytes(10) + b"\0\0\xff\xff",
     b"\xa0\x00" + bytes(10) + b"\xff", b"\x00" * 200],
)  # fmt: skip
def test_junk_is_counted_and_disturbs_nothing(source: Source, sink: Sink, data: bytes) -> None:
    sink.take(source.next())

    assert sink.take(data, after=0.0) == []
    sink.take(source.next())

    assert_contiguous(sink.received)
    assert (sink.receiver.stats.junk, sink.receiver.stats.packets) == (1, 2)


def test_an_unknown_payload_type_is_counted_and_takes_only_its_place(
    source: Source, sink: Sink
) -> None:
    sink.take(source.next())
    assert sink.take(source.event(UNKNOWN, bytes(20))) == []
    sink.take(source.next())

    assert_contiguous(sink.received)
    assert (sink.receiver.stats.unknown, sink.receiver.stats.lost) == (1, 0)


def test_an_opus_packet_that_cannot_be_is_dropped(sink: Sink) -> None:
    source = Source(OPUS, step=960)
    sink.take(source.next(b"\x78" + bytes(60)))

    out = sink.take(source.next(b"\x7b\x3f" + bytes(60)))
    sink.take(source.next(b"\x78" + bytes(60)))

    assert out == []
    assert sink.receiver.stats.junk == 1
    assert len(packets_of(sink.received)) == 2


def test_nothing_is_heard_before_anything_is_negotiated(source: Source) -> None:
    receiver = Receiver()

    assert receiver.receive(source.next(), 1.0) == []
    assert receiver.stats.unknown == 1


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0x80, 0x90, 0xA0, 0x81, 0xBF, 0x00]),
            st.sampled_from([0, 0x80, 8, 13, 101, 111, 72, 200]),
            st.sampled_from([0, 1, 2, 3, 50, 99, 3000, 40_000, 65_535]) | st.integers(0, 0xFFFF),
            st.sampled_from([0, 160, 320, 0xFFFF_FF00]) | st.integers(0, 0xFFFF_FFFF),
            st.sampled_from([1, 2]),
            st.binary(max_size=8),
            st.floats(0, 3),
        ),
        max_size=60,
    )
)
def test_whatever_comes_the_timeline_only_moves_forward(
    wire: list[tuple[int, int, int, int, int, bytes, float]],
) -> None:
    sink = Sink(PCMU, PCMA, CN, TELEPHONE_EVENT)

    for first, second, sequence, timestamp, ssrc, tail, after in wire:
        header = bytes((first, second)) + sequence.to_bytes(2, "big")
        sink.take(
            header + timestamp.to_bytes(4, "big") + ssrc.to_bytes(4, "big") + tail, after=after
        )
    sink.wait(10.0)

    end = 0
    for item in sink.received:
        if isinstance(item, Packet | Hole):
            assert item.timestamp >= end
            end = item.timestamp + item.duration
    sequences = [p.sequence for p in packets_of(sink.received)]
    assert sequences == sorted(set(sequences))
    assert sink.receiver.waits_until == float("inf")


# ---- a bad wire


def play(sink: Sink, wire: list[tuple[float, bytes]]) -> None:
    """Let packets arrive at their times, with the timer's calls in between."""
    for at, data in sorted(wire, key=lambda item: item[0]):
        while (due := sink.receiver.timer_at) <= at:
            sink.wait(due - sink.now)
        sink.take(data, after=at - sink.now)
    sink.wait(1.0)


def damage(chance: random.Random, source: Source, count: int) -> list[tuple[float, bytes]]:
    """Random and bursty loss, jitter up to 39 ms that reorders, doubles."""
    wire: list[tuple[float, bytes]] = []
    lost_until = -1
    for number in range(count):
        at = 1001.0 + number * 0.02
        data = source.next()
        if chance.random() < 0.01:
            lost_until = number + chance.randint(1, 15)
        is_edge = number in (0, count - 1)
        if (chance.random() < 0.05 or number < lost_until) and not is_edge:
            continue
        late_s = 0.0 if is_edge else chance.uniform(0, 0.039)
        wire.append((at + late_s, data))
        if chance.random() < 0.05 and not is_edge:
            wire.append((at + chance.uniform(0, 0.2), data))
    return wire


@pytest.mark.parametrize("seed", range(15))
def test_a_bad_wire_gives_one_whole_timeline(seed: int) -> None:
    chance = random.Random(seed)
    source = Source(sequence=chance.randrange(1 << 16), timestamp=chance.randrange(1 << 32))
    sink, first = Sink(), source.sequence
    wire = damage(chance, source, 1000)
    arrived = {int.from_bytes(data[2:4], "big") for _, data in wire}

    play(sink, wire)

    assert_contiguous(sink.received)
    pieces = [item for item in sink.received if isinstance(item, Packet | Hole)]
    assert sum(piece.duration for piece in pieces) == 1000 * 160
    heard = [(number - first) & 0xFFFF for number in sink.sequences]
    assert heard == sorted(set(heard))
    # Reordering within the window costs nothing: what arrived in time is heard.
    assert {(number - first) & 0xFFFF for number in arrived} == set(heard)
    stats = sink.receiver.stats
    assert (stats.lost, stats.late, stats.resyncs) == (1000 - len(arrived), 0, 0)
    assert stats.packets == len(wire)


# ---- statistics


@pytest.mark.rfc(3550, "A.8")
def test_jitter_follows_the_formula(source: Source, sink: Sink) -> None:
    arrivals = [0.0, 0.021, 0.039, 0.065, 0.078, 0.101, 0.119, 0.145]
    expected, transits = 0.0, [at * 8000 - n * 160 for n, at in enumerate(arrivals)]
    for before, after in pairwise(transits):
        expected += (abs(after - before) - expected) / 16

    for before_at, at in pairwise([0.0, *arrivals]):
        sink.take(source.next(), after=at - before_at)

    assert sink.receiver.stats.jitter_ms == pytest.approx(expected / 8, rel=1e-6)


@pytest.mark.rfc(3550, "A.8")
def test_jitter_is_taken_in_the_order_of_arrival(source: Source, sink: Sink) -> None:
    one, two, three, four = (source.next() for _ in range(4))
    arrivals = [(one, 0, 0.0), (three, 320, 0.02), (two, 160, 0.021), (four, 480, 0.06)]
    expected = 0.0
    for (_, sent, at), (_, next_sent, next_at) in pairwise(arrivals):
        expected += (abs((next_at - at) * 8000 - (next_sent - sent)) - expected) / 16

    now = 0.0
    for data, _, at in arrivals:
        sink.take(data, after=at - now)
        now = at

    assert sink.receiver.stats.jitter_ms == pytest.approx(expected / 8, rel=1e-6)


def test_a_pause_or_a_new_timeline_is_no_jitter(source: Source, sink: Sink) -> None:
    for _ in range(3):
        sink.take(source.next())

    sink.take(source.next(), after=30.0)  # the sender stood still, its clock too
    source.timestamp = 5
    sink.take(source.next())
    sink.take(source.next())

    assert sink.receiver.stats.jitter_ms < 1.0


def test_a_short_jump_is_taken_for_jitter_once(source: Source, sink: Sink) -> None:
    for _ in range(3):
        sink.take(source.next())

    source.timestamp -= 4000
    for _ in range(2):
        sink.take(source.next())

    assert sink.receiver.stats.jitter_ms < 500 / 16 + 1


def test_jitter_means_the_same_under_another_clock(sink: Sink) -> None:
    source = Source(PCMU)
    for after in (0.02, 0.02, 0.05, 0.02, 0.04):
        sink.take(source.next(), after=after)
    before_ms = sink.receiver.stats.jitter_ms

    source.codec, source.step = OPUS, 960
    sink.take(source.next(b"\x78" + bytes(60)))

    assert before_ms > 1
    assert sink.receiver.stats.jitter_ms == pytest.approx(before_ms)


@pytest.mark.rfc(3550, "A.3")
def test_reports_tell_loss_by_interval_and_in_all(source: Source, sink: Sink) -> None:
    for _ in range(6):
        sink.take(source.next())
    source.skip(2)
    for _ in range(4):
        sink.take(source.next())

    first = sink.receiver.take_reception()
    for _ in range(5):
        sink.take(source.next())
    second = sink.receiver.take_reception()
    nothing_new = sink.receiver.take_reception()

    assert first is not None
    assert (first.ssrc, first.lost) == (source.ssrc, 2)
    assert first.fraction_lost == pytest.approx(2 / 12)
    assert second is not None
    assert (second.lost, second.fraction_lost, second.sequence) == (2, 0.0, 100 + 16)
    assert nothing_new is None


@pytest.mark.rfc(3550, "6.4.1")
def test_the_highest_sequence_number_is_extended_by_its_cycles(sink: Sink) -> None:
    source = Source(sequence=0xFFFE)

    for _ in range(4):
        sink.take(source.next())

    reception = sink.receiver.take_reception()
    assert reception is not None
    assert reception.sequence == 0x1_0001


def test_loss_is_counted_on_across_a_change_of_ssrc(sink: Sink) -> None:
    for ssrc in (1, 2):
        source = Source(ssrc=ssrc)
        sink.take(source.next())
        source.skip(3)
        for _ in range(4):
            sink.take(source.next())

    reception = sink.receiver.take_reception()
    assert sink.receiver.stats.lost == 6
    assert reception is not None
    assert reception.lost == 3  # of the present source


# ---- cost


def test_the_long_way_takes_linear_work() -> None:
    def work(count: int) -> int:
        sink, calls = Sink(), 0
        wire = damage(random.Random(1), Source(), count)

        def note(*_event: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(note)
        try:
            play(sink, wire)
        finally:
            sys.setprofile(None)
        return calls

    assert work(4000) < 2.2 * work(2000)
