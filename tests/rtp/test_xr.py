"""Extended reports: bytes to values and back, what is skipped, and what is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.rtp.rtcp import ReceiverReport, build_rtcp, parse_rtcp
from gateway.rtp.xr import (
    MAX_BLOCKS,
    MAX_SUB_BLOCKS,
    ExtendedReport,
    LastReference,
    ReferenceTime,
    VoiceMetrics,
    XrBlock,
    read_extended_report,
)

words = st.integers(0, 0xFFFF_FFFF)
halves = st.integers(0, 0xFFFF)
octets = st.integers(0, 0xFF)
levels = st.integers(-128, 127)
voices = st.builds(
    VoiceMetrics,
    words,
    *(octets,) * 4,
    *(halves,) * 4,
    levels,
    levels,
    *(octets,) * 7,
    *(halves,) * 3,
)
answers = st.lists(st.builds(LastReference, words, words, words), max_size=MAX_SUB_BLOCKS)
references = st.builds(ReferenceTime, st.integers(0, 2**64 - 1))
others = st.lists(voices | references, min_size=1, max_size=4)

WORDS = bytes.fromhex(
    "07000008 00000007"  # voice metrics about 7
    "0c0c540a 00780208"  # loss 5 %, discards 5 %, densities 33 and 4 %; 120 and 520 ms
    "00640032 ebc62d10"  # round trip 100 ms, end system 50 ms; -21 dBm0, -58 dBm0, RERL 45, Gmin
    "4e7f2725 e000001e"  # R 78, MOS 3.9 and 3.7; jitter buffer 30 ms
    "00500078"
)


@settings(deadline=None)
@given(words, others, answers)
def test_a_report_survives_the_wire(
    ssrc: int, some: list[XrBlock], answered: list[LastReference]
) -> None:
    report = ExtendedReport(ssrc, (*some, *answered))

    assert parse_rtcp(build_rtcp([ReceiverReport(1), report])) == [ReceiverReport(1), report]


@pytest.mark.rfc(3611, "4.7")
def test_voice_metrics_are_read_from_the_wire() -> None:
    report = read_extended_report(b"\0\0\0\x09" + WORDS)

    (voice,) = report.blocks
    assert isinstance(voice, VoiceMetrics)
    assert (report.ssrc, voice.ssrc) == (9, 7)
    assert (voice.loss_rate, voice.discard_rate) == (12, 12)
    assert (voice.burst_density, voice.gap_density) == (84, 10)
    assert (voice.burst_ms, voice.gap_ms) == (120, 520)
    assert (voice.round_trip_ms, voice.end_system_ms) == (100, 50)
    assert (voice.signal_level, voice.noise_level, voice.rerl, voice.g_min) == (-21, -58, 45, 16)
    assert (voice.r, voice.mos) == (78, 3.7)
    assert (voice.nominal_ms, voice.maximum_ms, voice.absolute_ms) == (30, 80, 120)


@pytest.mark.rfc(3611, "4.7.5")
@pytest.mark.parametrize("mos", [0, 9, 51, 127, 255])
def test_an_opinion_beyond_the_scale_is_ignored(mos: int) -> None:
    assert VoiceMetrics(7, mos_lq=mos, mos_cq=mos).mos is None
    assert VoiceMetrics(7, mos_lq=38, mos_cq=mos).mos == 3.8
    assert VoiceMetrics(7, r_factor=101).r is None


@pytest.mark.rfc(3611, "3")
def test_blocks_that_are_not_known_are_passed_over() -> None:
    unknown = bytes.fromhex("63000001 deadbeef")
    loss_rle = bytes.fromhex("01000003 00000007 00010002 40000000")

    report = read_extended_report(b"\0\0\0\x09" + unknown + loss_rle + WORDS)

    assert len(report.blocks) == 1


@pytest.mark.rfc(3611, "4.7")
@pytest.mark.parametrize(
    "block", ["07000000", "07000001 00000007", "04000000", "04000001 00000000", "05000001 00000007"]
)
def test_a29_a_block_of_a_wrong_length_is_passed_over(block: str) -> None:
    report = read_extended_report(b"\0\0\0\x09" + bytes.fromhex(block) + WORDS)

    assert [type(each) for each in report.blocks] == [VoiceMetrics]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0\0\0", id="less than a source"),
        pytest.param(b"\0\0\0\x09\x07\x00\xff\xff", id="block of 65535 words"),
        pytest.param(b"\0\0\0\x09" + WORDS[:-4], id="cut off"),
        pytest.param(b"\0\0\0\x09" + b"\x63\0\0\0" * (MAX_BLOCKS + 1), id="too many blocks"),
    ],
)
def test_a29_what_does_not_add_up_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_extended_report(body)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_a29_any_bytes_give_a_report_or_the_documented_error(data: bytes) -> None:
    data = data[: len(data) // 4 * 4]
    try:
        report = read_extended_report(data)
    except RemoteProtocolError:
        return

    assert len(report.blocks) <= MAX_BLOCKS * MAX_SUB_BLOCKS


def test_a29_more_answers_than_sources_are_not_kept() -> None:
    flood = struct.pack("!BBH", 5, 0, 3 * 1000) + bytes(12 * 1000)

    report = read_extended_report(b"\0\0\0\x09" + flood)

    assert len(report.blocks) == MAX_SUB_BLOCKS
