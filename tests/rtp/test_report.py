"""Our RTCP reports, and what the peer's tell."""

from __future__ import annotations

import pytest

from gateway.rtp.report import NTP_OF_UNIX, Reporter
from gateway.rtp.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    build_rtcp,
    parse_rtcp,
)
from gateway.rtp.stats import Reception, RemoteStats
from gateway.rtp.xr import ExtendedReport, LastReference, ReferenceTime, VoiceMetrics

OURS, THEIRS = 7, 9
OFFSET = 1_750_000_000.0
"Unix time of loop time 0."


def reporter() -> Reporter:
    return Reporter(OURS, "cname", OFFSET)


def reception(**changes: float) -> Reception:
    values = {"ssrc": THEIRS, "sequence": 300, "lost": 2, "fraction_lost": 0.25, "jitter": 12.7}
    return Reception(**{**values, **changes})  # type: ignore[arg-type]


def block(**changes: int) -> ReportBlock:
    values = {"fraction_lost": 0, "lost": 0, "sequence": 0, "jitter": 0, "last_sr": 0, "delay": 0}
    return ReportBlock(ssrc=OURS, **{**values, **changes})


@pytest.mark.rfc(3550, "6.4.1")
def test_who_sends_writes_a_sender_report_with_the_time() -> None:
    data = reporter().build((4000, 50, 8000), None, 10.5)

    assert parse_rtcp(data) == [
        SenderReport(OURS, (1_750_000_010 + NTP_OF_UNIX << 32) + (1 << 31), 4000, 50, 8000),
        SourceDescription(OURS, "cname"),
    ]


@pytest.mark.rfc(3550, "6.4.2")
def test_who_only_listens_writes_a_receiver_report() -> None:
    data = reporter().build(None, reception(), 10.0)

    assert parse_rtcp(data) == [
        ReceiverReport(OURS, (ReportBlock(THEIRS, 64, 2, 300, 12, 0, 0),)),
        SourceDescription(OURS, "cname"),
    ]


@pytest.mark.parametrize(("lost", "told"), [(1 << 30, 0x7F_FFFF), (-(1 << 30), -0x80_0000)])
@pytest.mark.rfc(3550, "A.3")
def test_cumulative_loss_is_clamped_not_wrapped(lost: int, told: int) -> None:
    data = reporter().build(None, reception(lost=lost, fraction_lost=1.0), 10.0)

    (report, _) = parse_rtcp(data)
    assert isinstance(report, ReceiverReport)
    assert (report.reports[0].lost, report.reports[0].fraction_lost) == (told, 255)


@pytest.mark.rfc(3550, "6.6")
def test_a_goodbye_comes_last() -> None:
    assert parse_rtcp(reporter().build(None, None, 1.0, bye=True))[-1] == Goodbye((OURS,))


@pytest.mark.rfc(3550, "6.4.1")
def test_the_peers_sender_report_is_echoed_with_its_age() -> None:
    ours = reporter()
    ours.receive(build_rtcp([SenderReport(THEIRS, 0x11112222_33334444, 0, 0, 0)]), 8000, 10.0)

    (report, _) = parse_rtcp(ours.build(None, reception(), 12.5))

    assert isinstance(report, ReceiverReport)
    assert (report.reports[0].last_sr, report.reports[0].delay) == (0x22223333, 5 << 15)


def test_a_sender_report_of_another_source_is_not_echoed() -> None:
    ours = reporter()
    ours.receive(build_rtcp([SenderReport(55, 0x11112222_33334444, 0, 0, 0)]), 8000, 10.0)

    (report, _) = parse_rtcp(ours.build(None, reception(), 12.5))

    assert isinstance(report, ReceiverReport)
    assert (report.reports[0].last_sr, report.reports[0].delay) == (0, 0)


@pytest.mark.rfc(3550, "6.4.1")
def test_two_reporters_measure_the_round_trip() -> None:
    ours, theirs = reporter(), Reporter(THEIRS, "their", OFFSET - 1234.5)
    theirs.receive(ours.build((0, 1, 160), None, 10.0), 8000, 20.03)

    answer = theirs.build(None, Reception(OURS, 1, 0, 0.0, 0.0), 22.0)
    ours.receive(answer, 8000, 12.02)  # 30 ms there, 1.97 s of waiting, 20 ms back

    assert ours.rtt_ms == pytest.approx(50, abs=0.05)


@pytest.mark.parametrize(
    ("age_s", "delay", "rtt_ms"),
    [
        pytest.param(1.0, 65536 + 655, 0.0, id="rounded below zero"),
        pytest.param(1.0, 3 * 65536, None, id="waited longer than it was on the way"),
        pytest.param(100.0, 0, None, id="from another time"),
    ],
)
def test_a_round_trip_that_cannot_be_is_not_believed(
    age_s: float, delay: int, rtt_ms: float | None
) -> None:
    ours = reporter()
    (sent, _) = parse_rtcp(ours.build((0, 1, 160), None, 10.0))
    assert isinstance(sent, SenderReport)

    told = block(last_sr=sent.ntp >> 16 & 0xFFFF_FFFF, delay=delay)
    ours.receive(build_rtcp([ReceiverReport(THEIRS, (told,))]), 8000, 10.0 + age_s)

    assert ours.rtt_ms == rtt_ms


def test_what_the_peer_says_about_us_is_kept() -> None:
    ours = reporter()
    others = ReportBlock(1234, 255, 1000, 0, 99_999, 0, 0)

    ours.receive(
        build_rtcp(
            [ReceiverReport(THEIRS, (block(lost=-3, fraction_lost=64, jitter=480), others))]
        ),
        48_000,
        10.0,
    )

    assert ours.remote == RemoteStats(10.0, -3, 0.25, 10.0)
    assert ours.rtt_ms is None


def test_malformed_reports_are_counted() -> None:
    ours = reporter()

    for junk in (b"", b"\x80\xc8\x00", b"\x80\xc8\xff\xff" + bytes(40)):
        ours.receive(junk, 8000, 1.0)

    assert (ours.malformed, ours.remote) == (3, None)


# ---- extended reports


@pytest.mark.rfc(3611, "4.5")
def test_a_reference_time_is_answered_once_with_its_age() -> None:
    ours = reporter()
    ours.answers_references = True
    asked = ExtendedReport(THEIRS, (ReferenceTime(0x11112222_33334444),))
    ours.receive(build_rtcp([ReceiverReport(THEIRS), asked]), 8000, 10.0)

    first, second = (parse_rtcp(ours.build((0, 1, 1), None, now)) for now in (12.5, 13.0))

    assert first[-1] == ExtendedReport(OURS, (LastReference(THEIRS, 0x22223333, 163_840),))
    assert not any(isinstance(packet, ExtendedReport) for packet in second)


@pytest.mark.rfc(3611, "4.4")
def test_who_only_listens_sends_a_reference_time_and_learns_its_round_trip() -> None:
    ours = reporter()
    ours.answers_references = True

    *_, asked = parse_rtcp(ours.build(None, None, 10.0))
    assert isinstance(asked, ExtendedReport)
    (reference,) = asked.blocks
    assert isinstance(reference, ReferenceTime)
    answer = LastReference(OURS, reference.ntp >> 16 & 0xFFFF_FFFF, 65536)
    ours.receive(build_rtcp([ExtendedReport(THEIRS, (answer,))]), 8000, 11.08)

    assert ours.rtt_ms == pytest.approx(80, abs=0.1)


@pytest.mark.rfc(3611, "5.1")
def test_nothing_is_extended_that_was_not_agreed_upon() -> None:
    ours = reporter()
    asked = ExtendedReport(THEIRS, (ReferenceTime(1 << 32),))
    ours.receive(build_rtcp([asked]), 8000, 10.0)

    assert [type(packet) for packet in parse_rtcp(ours.build(None, None, 11.0))] == [
        ReceiverReport,
        SourceDescription,
    ]


@pytest.mark.rfc(3611, "4.7")
def test_voice_metrics_count_only_where_they_are_about_us() -> None:
    ours = reporter()
    others, mine = (VoiceMetrics(ssrc, r_factor=80) for ssrc in (THEIRS, OURS))

    ours.receive(build_rtcp([ExtendedReport(THEIRS, (others,))]), 8000, 10.0)
    assert ours.voice is None
    ours.receive(build_rtcp([ExtendedReport(THEIRS, (mine,))]), 8000, 10.0)
    assert ours.voice == mine


def test_a_report_is_one_whomever_it_is_about() -> None:
    ours = reporter()

    assert ours.receive(build_rtcp([ReceiverReport(THEIRS)]), 8000, 10.0)
    assert not ours.receive(build_rtcp([SourceDescription(THEIRS, "x")]), 8000, 11.0)
    assert not ours.receive(b"\x80\xc9", 8000, 12.0)
    assert (ours.reported_at, ours.malformed) == (10.0, 1)
