"""One stream, both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.codec import OPUS, PCMU, TELEPHONE_EVENT, TELEPHONE_EVENT_48K, Codec
from gateway.rtp.dtmf import DigitEvent, parse_events
from gateway.rtp.packet import RtpPacket, is_rtcp, parse_rtp
from gateway.rtp.received import Hole, Packet
from gateway.rtp.rtcp import Goodbye, ReceiverReport, SenderReport, build_rtcp, parse_rtcp
from gateway.rtp.session import RtpSession
from tests.rtp.source import Source, packets_of

if TYPE_CHECKING:
    from gateway.rtp.received import Received

AUDIO = bytes(160)


def make_session(
    *,
    send: Codec = PCMU,
    send_digits: Codec | None = TELEPHONE_EVENT,
    ssrc: int = 7,
    sequence: int = 0xFFFE,
    timestamp: int = 0xFFFF_FF00,
) -> RtpSession:
    session = RtpSession(
        ssrc=ssrc, sequence=sequence, timestamp=timestamp, cname="us", now=100.0, ntp_offset=1e9
    )
    session.configure(receive=[PCMU, TELEPHONE_EVENT], send=send, send_digits=send_digits)
    return session


class Clock:
    """Runs a session's timers; what came out of it is kept with its time."""

    def __init__(self, session: RtpSession, now: float = 100.0) -> None:
        self.session = session
        self.now = now
        self.output: list[tuple[float, bytes]] = []
        self.events: list[Received] = []

    def run(self, until: float) -> None:
        self.flush()
        while (due := self.session.next_timer()) is not None and due <= until:
            self.now = max(self.now, due)
            self.session.handle_timer(self.now)
            self.flush()
        self.now = until

    def flush(self) -> None:
        self.output += [(self.now, data) for data in self.session.take_output()]
        self.events += self.session.take_events()

    @property
    def reports(self) -> list[tuple[float, bytes]]:
        return [(at, data) for at, data in self.output if is_rtcp(data)]

    @property
    def rtp(self) -> list[RtpPacket]:
        return [parse_rtp(data) for _, data in self.output if not is_rtcp(data)]


# ---- sending


def test_packets_are_numbered_and_wrap() -> None:
    session = make_session()

    packets = [parse_rtp(session.send(AUDIO, 160, 100.0 + n * 0.02)) for n in range(4)]

    assert [packet.sequence for packet in packets] == [0xFFFE, 0xFFFF, 0, 1]
    assert [packet.timestamp for packet in packets] == [0xFFFF_FF00, 0xFFFF_FFA0, 64, 224]
    assert {(packet.ssrc, packet.payload_type, packet.payload) for packet in packets} == {
        (7, 0, AUDIO)
    }


@pytest.mark.rfc(3551, "4.1")
def test_the_marker_is_on_the_first_packet_and_after_silence() -> None:
    session = make_session()
    sent = [session.send(AUDIO, 160, 100.0), session.send(AUDIO, 160, 100.02)]

    session.skip(1600)
    sent += [session.send(AUDIO, 160, 100.24), session.send(AUDIO, 160, 100.26)]

    packets = [parse_rtp(data) for data in sent]
    assert [packet.marker for packet in packets] == [True, False, True, False]
    assert (packets[2].timestamp - packets[1].timestamp) & 0xFFFF_FFFF == 160 + 1600


def test_another_codec_goes_on_with_the_numbers() -> None:
    session = make_session(sequence=5, timestamp=1000)
    session.send(AUDIO, 160, 100.0)

    session.configure(receive=[OPUS], send=OPUS, send_digits=None)
    packet = parse_rtp(session.send(b"\x78", 960, 100.02))

    assert (packet.sequence, packet.timestamp, packet.payload_type) == (6, 1160, 111)


# ---- digits


def test_a_press_replaces_the_audio_on_the_same_numbers() -> None:
    session = make_session(sequence=10, timestamp=1000)
    clock = Clock(session)
    heard: list[bytes] = []
    session.send(AUDIO, 160, 100.0)

    assert session.start_digit("5", 100.02)
    session.end_digit("5", 100.02)
    for n in range(1, 12):
        clock.run(100.0 + n * 0.02)
        heard.append(session.send(AUDIO, 160, clock.now))
    after = [parse_rtp(data) for data in heard if data]

    assert {packet.timestamp for packet in clock.rtp} == {1160}
    assert [packet.sequence for packet in clock.rtp] == list(range(11, 18))
    assert [packet.marker for packet in clock.rtp] == [True] + [False] * 6
    assert {packet.payload_type for packet in clock.rtp} == {101}
    assert heard[:6] == [b""] * 6  # 100 ms of press, two repeats of its end
    # Audio goes on in step with time, as if it had been sent all along.
    assert [packet.sequence for packet in after] == list(range(18, 23))
    assert [packet.timestamp for packet in after] == [1000 + 160 * n for n in range(7, 12)]
    assert [packet.marker for packet in after] == [True] + [False] * 4
    assert (session.stats.sent.packets, session.stats.sent.bytes) == (13, 6 * 160 + 7 * 4)


def test_a_press_takes_its_time_also_where_no_audio_is_sent() -> None:
    session = make_session(sequence=10, timestamp=1000)
    clock = Clock(session)

    session.start_digit("5", 100.0)
    session.end_digit("5", 100.0, duration_ms=200)
    clock.run(101.0)
    packet = parse_rtp(session.send(AUDIO, 160, 101.0))

    assert (packet.timestamp, packet.marker) == (1000 + 1600, True)


def test_timestamps_run_by_the_audio_clock_and_durations_by_that_of_the_events() -> None:
    # What Firefox negotiates: opus beside telephone-event/8000.
    session = make_session(send=OPUS, send_digits=TELEPHONE_EVENT, timestamp=0)
    clock = Clock(session)

    session.start_digit("5", 100.0)
    session.end_digit("5", 100.0)
    clock.run(100.9)
    packet = parse_rtp(session.send(b"\x78", 960, 100.9))

    (report,) = parse_events(clock.rtp[-1].payload)
    assert (report.duration, packet.timestamp) == (800, 4800)


def test_a_press_at_48_khz_counts_at_48_khz() -> None:
    session = make_session(send=OPUS, send_digits=TELEPHONE_EVENT_48K)
    clock = Clock(session)

    session.start_digit("5", 100.0)
    session.end_digit("5", 100.0)
    clock.run(100.9)

    (report,) = parse_events(clock.rtp[-1].payload)
    assert (clock.rtp[-1].payload_type, report.duration) == (110, 4800)


def test_a_peer_that_takes_no_events_gets_none() -> None:
    session = make_session(send_digits=None)

    assert not session.start_digit("5", 100.0)
    assert session.send(AUDIO, 160, 100.0)
    assert session.take_output() == []


def test_presses_are_dropped_when_events_are_negotiated_away() -> None:
    session = make_session()
    clock = Clock(session)
    session.start_digit("5", 100.0)
    session.start_digit("6", 100.0)
    clock.run(100.05)

    session.configure(receive=[PCMU], send=PCMU, send_digits=None)
    sent = len(clock.rtp)
    clock.run(101.0)

    assert len(clock.rtp) == sent
    assert session.send(AUDIO, 160, 101.0)


def test_a_press_goes_on_when_the_same_is_negotiated_again() -> None:
    session = make_session()
    clock = Clock(session)
    session.start_digit("5", 100.0)
    clock.run(100.05)

    session.configure(receive=[PCMU], send=PCMU, send_digits=TELEPHONE_EVENT)
    session.end_digit("5", 100.15)
    clock.run(101.0)

    reports = [parse_events(packet.payload)[0] for packet in clock.rtp]
    assert [report.end for report in reports].count(True) == 3


def test_a_press_from_end_to_end() -> None:
    here, there = make_session(ssrc=1), make_session(ssrc=2)
    clock = Clock(here)

    here.start_digit("#", 100.0)
    here.end_digit("#", 100.0)
    clock.run(100.9)
    heard = [event for at, data in clock.output for event in there.receive(data, at)]

    assert heard == [DigitEvent("#", "start", 0), DigitEvent("#", "end", 100)]


def test_audio_of_days_after_a_press_is_not_thrown_back_to_it() -> None:
    session = make_session(timestamp=0)
    clock = Clock(session)
    session.start_digit("1", 100.0)
    session.end_digit("1", 100.0)
    clock.run(100.5)

    session.skip(3 << 30)
    session.handle_timer(101.0)

    assert parse_rtp(session.send(AUDIO, 160, 101.0)).timestamp == 800 + (3 << 30)


# ---- receiving


def test_what_waited_comes_out_as_events_of_the_timer() -> None:
    session, source = make_session(), Source()
    clock = Clock(session)
    first = session.receive(source.next(), 100.0)
    source.skip(1)

    waiting = session.receive(source.next(), 100.04)
    clock.run(100.1)

    assert (len(first), list(waiting)) == (1, [])
    assert [type(event) for event in clock.events] == [Hole, Packet]


def test_a_timer_that_comes_early_does_nothing() -> None:
    session = make_session()
    session.handle_timer(100.2)

    assert (session.take_output(), session.take_events()) == ([], [])


def test_a_packet_in_order_moves_no_timer() -> None:
    session, source = make_session(), Source()
    session.receive(source.next(), 100.0)
    before = session.next_timer()

    session.receive(source.next(), 100.02)

    assert session.next_timer() == before


def test_audio_from_end_to_end() -> None:
    here, there = make_session(ssrc=1), make_session(ssrc=2)

    received = [
        item
        for n in range(5)
        for item in there.receive(here.send(bytes((n,)) * 160, 160, 100.0), 100.0 + n * 0.02)
    ]

    assert [packet.payload[0] for packet in packets_of(received)] == [0, 1, 2, 3, 4]
    assert [packet.timestamp for packet in packets_of(received)] == [0, 160, 320, 480, 640]


# ---- reports


def test_the_first_report_comes_after_a_second_and_then_every_five() -> None:
    session = make_session()
    clock = Clock(session)
    for n in range(1000):
        clock.run(100.0 + n * 0.02)
        session.send(AUDIO, 160, clock.now)

    assert [at for at, _ in clock.reports] == pytest.approx([101.0, 106.0, 111.0, 116.0], abs=0.01)


@pytest.mark.rfc(3550, "6.2")
@pytest.mark.parametrize(
    ("chance", "first", "second"), [(0.0, 100.5, 103.0), (0.999, 101.5, 109.0)]
)
def test_reports_are_spread_by_half_of_the_interval(
    chance: float, first: float, second: float
) -> None:
    session = RtpSession(
        ssrc=7, sequence=0, timestamp=0, cname="us", now=100.0, spread=lambda: chance
    )
    session.configure(receive=[PCMU], send=PCMU, send_digits=None)
    session.send(AUDIO, 160, 100.0)
    clock = Clock(session)

    clock.run(110.0)

    assert [at for at, _ in clock.reports][:2] == pytest.approx([first, second], abs=0.01)


def test_nothing_is_reported_before_anything_was_sent_or_heard() -> None:
    session = make_session()
    clock = Clock(session)

    clock.run(130.0)

    assert clock.output == []
    assert session.goodbye(130.0) == b""


@pytest.mark.rfc(3550, "6.4.1")
def test_a_sender_report_tells_the_time_of_the_stream() -> None:
    session = make_session(timestamp=5000)
    clock = Clock(session)
    session.send(AUDIO, 160, 100.5)

    clock.run(101.0)

    (report, _) = parse_rtcp(clock.reports[0][1])
    assert isinstance(report, SenderReport)
    assert (report.timestamp, report.packets, report.bytes) == (5000 + 160 + 4000, 1, 160)
    assert report.ntp >> 32 == int(1e9 + 101) + 2_208_988_800


def test_who_has_fallen_silent_reports_as_a_receiver() -> None:
    session = make_session()
    clock = Clock(session)
    session.send(AUDIO, 160, 100.5)
    session.receive(Source().next(), 100.5)

    clock.run(110.0)

    kinds = [type(parse_rtcp(data)[0]) for _, data in clock.reports]
    assert kinds == [SenderReport, ReceiverReport]


def test_two_sessions_learn_round_trip_loss_and_jitter_of_each_other() -> None:
    here, there = make_session(ssrc=1), make_session(ssrc=2)
    at_here, at_there = Clock(here), Clock(there)
    for n in range(350):
        now = 100.0 + n * 0.02
        at_here.run(now)
        at_there.run(now)
        out = here.send(AUDIO, 160, now)
        if n % 10:
            there.receive(out, now + 0.02)
        here.receive(there.send(AUDIO, 160, now), now + 0.02)
        for at, data in at_here.reports:
            there.receive_rtcp(data, at + 0.02)
        for at, data in at_there.reports:
            here.receive_rtcp(data, at + 0.02)
        at_here.output.clear()
        at_there.output.clear()

    stats = here.stats
    assert stats.rtt_ms == pytest.approx(40, abs=2)
    assert stats.remote is not None
    assert stats.remote.fraction_lost == pytest.approx(0.1, abs=0.02)
    assert there.stats.received.fraction_lost == pytest.approx(0.1, abs=0.02)
    assert there.stats.received.lost in (33, 34)
    assert (stats.sent.packets, stats.sent.bytes) == (350, 350 * 160)
    assert (stats.received.packets, stats.received.lost) == (350, 0)


def test_a_goodbye_of_the_peer_ends_nothing() -> None:
    session, source = make_session(), Source()
    session.receive(source.next(), 100.0)

    session.receive_rtcp(build_rtcp([ReceiverReport(source.ssrc), Goodbye((source.ssrc,))]), 100.0)

    assert len(session.receive(source.next(), 100.02)) == 1
    assert session.send(AUDIO, 160, 100.02)


@pytest.mark.parametrize("junk", [b"", b"\x80\xc8\x00", b"\x81\xcb\x00\x04" + bytes(4)])
def test_malformed_rtcp_is_counted(junk: bytes) -> None:
    session = make_session()

    session.receive_rtcp(junk, 100.0)

    assert session.stats.received.bad_reports == 1


def test_our_goodbye_ends_with_bye() -> None:
    session = make_session()
    session.send(AUDIO, 160, 100.0)

    compound = parse_rtcp(session.goodbye(100.5))

    assert isinstance(compound[0], SenderReport)
    assert compound[-1] == Goodbye((7,))
