"""RTCP packets: bytes to values and back, and what is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.rtp.rtcp import (
    MAX_REPORTS,
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    build_rtcp,
    parse_rtcp,
)

words = st.integers(0, 0xFFFF_FFFF)
texts = st.text(max_size=60).filter(lambda text: "\0" not in text)
blocks = st.builds(
    ReportBlock,
    ssrc=words,
    fraction_lost=st.integers(0, 255),
    lost=st.integers(-0x80_0000, 0x7F_FFFF),
    sequence=words,
    jitter=words,
    last_sr=words,
    delay=words,
)
several = st.lists(blocks, max_size=3).map(tuple)
packets = st.lists(
    st.builds(
        SenderReport,
        ssrc=words,
        ntp=st.integers(0, 2**64 - 1),
        timestamp=words,
        packets=words,
        bytes=words,
        reports=several,
    )
    | st.builds(ReceiverReport, ssrc=words, reports=several)
    | st.builds(SourceDescription, ssrc=words, cname=texts)
    | st.builds(Goodbye, ssrcs=st.lists(words, max_size=MAX_REPORTS).map(tuple), reason=texts),
    min_size=1,
    max_size=4,
)

RR = bytes.fromhex("80c90001 00000007")
SDES = bytes.fromhex("81ca0003 00000007 01 02 6162 00000000")


@settings(deadline=None)
@given(packets)
def test_a_compound_survives_the_wire(compound: list[RtcpPacket]) -> None:
    assert parse_rtcp(build_rtcp(compound)) == compound


def headed(kind_and_body: tuple[int, int, bytes]) -> bytes:
    first, kind, body = kind_and_body
    body += bytes(-len(body) % 4)
    return struct.pack("!BBH", first, kind, len(body) // 4) + body


almost = st.lists(
    st.tuples(st.integers(0x80, 0xBF), st.integers(198, 208), st.binary(max_size=90)).map(headed),
    min_size=1,
    max_size=3,
).map(b"".join)


@settings(deadline=None)
@given(st.binary(max_size=120) | almost)
def test_any_bytes_give_packets_or_the_documented_error(data: bytes) -> None:
    try:
        compound = parse_rtcp(data)
    except RemoteProtocolError:
        return

    assert parse_rtcp(build_rtcp(compound)) == compound if compound else True


@pytest.mark.rfc(3550, "6.4.1")
def test_a_sender_report_is_read_from_the_wire() -> None:
    data = bytes.fromhex(
        "81c8000c 00000007 b44db705 20000000 0000c350 000003e8 00027100"
        "00000009 40fffffe 00010064 00000050 b7052000 00054000"
    )

    assert parse_rtcp(data) == [
        SenderReport(
            ssrc=7,
            ntp=0xB44DB705_20000000,
            timestamp=50_000,
            packets=1000,
            bytes=160_000,
            reports=(ReportBlock(9, 64, -2, 65_636, 80, 0xB7052000, 0x54000),),
        )
    ]


@pytest.mark.rfc(5506, "3")
def test_a_packet_of_reduced_size_need_not_begin_with_a_report() -> None:
    assert parse_rtcp(SDES) == [SourceDescription(7, "ab")]


def test_what_is_not_known_is_skipped() -> None:
    extended_report = bytes.fromhex("80cf0002 00000007 04000000")
    feedback = bytes.fromhex("81ce0002 00000007 00000009")
    extension_of_a_report = bytes.fromhex("80c90003 00000007 deadbeef deadbeef")

    assert parse_rtcp(extended_report + feedback + extension_of_a_report) == [ReceiverReport(7)]


@pytest.mark.rfc(3550, "6.5")
def test_all_chunks_of_a_description_are_read() -> None:
    chunks = bytes.fromhex("00000007 02 01 78 01 01 61 0000 00000008 00000000 00000009 01016200")

    assert parse_rtcp(b"\x83\xca\x00\x07" + chunks) == [
        SourceDescription(7, "a"),
        SourceDescription(9, "b"),
    ]


@pytest.mark.rfc(3550, "A.2")
def test_padding_of_the_last_packet_is_dropped() -> None:
    padded = bytes.fromhex("a0c90003 00000007 00000000 00000008")

    assert parse_rtcp(RR + padded) == [ReceiverReport(7), ReceiverReport(7)]


@pytest.mark.rfc(3550, "A.2")
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(RR[:3], id="four bytes wanted: ES2017-04"),
        pytest.param(RR[:4], id="cut off"),
        pytest.param(RR + RR[:6], id="second cut off"),
        pytest.param(b"\x40" + RR[1:], id="version 1"),
        pytest.param(b"\x80\x00" + RR[2:], id="RTP"),
        pytest.param(b"\x80\xc9\xff\xff" + RR[4:], id="length of 65535 words"),
        pytest.param(b"\x9f" + RR[1:], id="31 blocks that are not there"),
        pytest.param(b"\x80\xc8" + RR[2:], id="SR without sender"),
        pytest.param(b"\xa0\xc9\x00\x02" + RR[4:] + b"\0\0\0\xff", id="padding of 255 bytes"),
        pytest.param(b"\xa0\xc9\x00\x02" + RR[4:] + b"\0\0\0\0", id="padding of nothing"),
        pytest.param(b"\xa0\xc9\x00\x02" + RR[4:] + b"\0\0\0\x03", id="padding of three bytes"),
        pytest.param(b"\xa0\xc9\x00\x00", id="padding of an empty packet"),
        pytest.param(b"\xa0\xc9\x00\x02" + RR[4:] + b"\0\0\0\4" + RR, id="padding in the midst"),
        pytest.param(SDES[:-8] + b"\x01\xff\0\0" * 2, id="item of 255 bytes"),
        pytest.param(SDES[:8] + b"\x01\x06abcdef", id="chunk that nothing ends"),
        pytest.param(b"\x9f" + SDES[1:], id="31 chunks that are not there"),
        pytest.param(bytes.fromhex("9fcb0001 00000007"), id="31 sources that are not there"),
        pytest.param(bytes.fromhex("81cb0002 00000007 ff616263"), id="reason of 255 bytes"),
    ],
)
def test_junk_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_rtcp(data)
