"""RTP packets: bytes to values and back, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.rtp.packet import RtpPacket, build_rtp, is_rtcp, parse_rtp

words = st.integers(0, 0xFFFF_FFFF)
packets = st.builds(
    RtpPacket,
    payload_type=st.integers(0, 127),
    marker=st.booleans(),
    sequence=st.integers(0, 0xFFFF),
    timestamp=words,
    ssrc=words,
    payload=st.binary(max_size=300),
)

PLAIN = bytes.fromhex("80 00 0064 0000c350 12345678") + b"audio"


@settings(deadline=None)
@given(packets)
def test_a_packet_survives_the_wire(packet: RtpPacket) -> None:
    assert parse_rtp(build_rtp(packet)) == packet


@settings(deadline=None)
@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda tail: b"\xbf\x00" + tail))
def test_any_bytes_give_a_packet_or_the_documented_error(data: bytes) -> None:
    try:
        packet = parse_rtp(data)
    except RemoteProtocolError:
        return

    assert parse_rtp(build_rtp(packet)) == packet


@pytest.mark.rfc(3550, "5.1")
def test_csrcs_extension_and_padding_are_stepped_over() -> None:
    header = bytes.fromhex("b2 80 0064 0000c350 12345678")
    csrcs = bytes(8)
    extension = bytes.fromhex("bede 0001 10ff0000")
    padding = bytes.fromhex("000003")

    packet = parse_rtp(header + csrcs + extension + b"audio" + padding)

    assert packet == RtpPacket(0, True, 100, 50_000, 0x12345678, b"audio")


@pytest.mark.rfc(3550, "A.1")
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(PLAIN[:11], id="short"),
        pytest.param(b"\x40" + PLAIN[1:], id="version 1"),
        pytest.param(b"\x8f" + PLAIN[1:], id="15 CSRCs that are not there"),
        pytest.param(b"\x90" + PLAIN[1:12] + b"\xbe\xde\xff\xff", id="extension of 65535 words"),
        pytest.param(b"\x90" + PLAIN[1:12] + b"\xbe\xde", id="extension cut off in its header"),
        pytest.param(b"\x90" + PLAIN[1:12], id="extension that is not there"),
        pytest.param(b"\xa0" + PLAIN[1:] + b"\xff", id="padding of 255 bytes"),
        pytest.param(b"\xa0" + PLAIN[1:] + b"\x00", id="padding of nothing"),
        pytest.param(b"\xa0" + PLAIN[1:12], id="padding into the header"),
    ],
)
def test_junk_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_rtp(data)


@pytest.mark.rfc(5761, "4")
@pytest.mark.parametrize(
    ("second", "verdict"),
    [(0, False), (0x80, False), (127, False), (0x80 | 63, False), (192, True), (200, True),
     (206, True), (223, True), (0x80 | 96, False), (255, False)],
)  # fmt: skip
def test_the_second_byte_tells_rtcp_from_rtp(second: int, verdict: bool) -> None:
    assert is_rtcp(bytes((0x80, second)) + bytes(10)) is verdict


def test_a_byte_is_no_rtcp() -> None:
    assert not is_rtcp(b"\x80")
