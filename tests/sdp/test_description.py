"""Session descriptions as text and values."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.codec import PCMA, PCMU, Codec
from gateway.errors import RemoteProtocolError
from gateway.sdp.description import (
    Direction,
    Fingerprint,
    Group,
    Keying,
    MediaDescription,
    Origin,
    SessionDescription,
    parse_sdp,
)
from gateway.sdp.grammar import MAX_SDP_BYTES
from tests.sdp.media import VECTORS, load

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
FINGERPRINT = ":".join(["0F"] * 32)


def parse_audio(*lines: str, head: str = HEAD) -> MediaDescription:
    """The section that some lines make; the first is its m= line."""
    return parse_sdp(head + "".join(f"{line}\r\n" for line in lines)).media[0]


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.sdp")), ids=lambda path: path.stem)
def test_recorded_offers_are_a_fixed_point(path: Path) -> None:
    first = parse_sdp(path.read_bytes())

    second = parse_sdp(str(first))

    assert second == first
    assert str(second) == str(first)


def test_chromium_audio_is_understood() -> None:
    media = load("chromium-audio").media[0]

    assert [(c.payload_type, c.name, c.clock_rate, c.channels) for c in media.codecs] == [
        (111, "opus", 48000, 2),
        (63, "red", 48000, 2),
        (9, "G722", 8000, 1),
        (0, "PCMU", 8000, 1),
        (8, "PCMA", 8000, 1),
        (13, "CN", 8000, 1),
        (110, "telephone-event", 48000, 1),
        (126, "telephone-event", 8000, 1),
    ]
    assert media.codecs[0].fmtp == "minptime=10;useinbandfec=1"
    assert (media.mid, media.setup, media.rtcp_mux, media.rtcp_rsize) == (
        "0",
        "actpass",
        True,
        True,
    )
    assert media.candidates[0].startswith("candidate:1894864749 1 udp ")
    assert media.keying is Keying.DTLS
    assert ("extmap", "4 urn:ietf:params:rtp-hdrext:sdes:mid") in media.attributes


def test_firefox_says_fingerprint_direction_and_options_for_the_session() -> None:
    media = load("firefox-audio").media[0]

    assert media.fingerprints[0].algorithm == "sha-256"
    assert media.ice_options == ("trickle",)
    assert media.direction is Direction.SENDRECV
    assert media.codecs[1] == Codec("G722", 9, clock_rate=8000, sample_rate=16000)
    assert media.codecs[-1].fmtp == "0-15"


def test_a_section_says_otherwise_than_the_session() -> None:
    head = HEAD + "a=inactive\r\na=setup:active\r\na=ice-ufrag:session\r\n"

    media = parse_audio(
        "m=audio 9 RTP/AVP 0", "a=sendonly", "a=ice-ufrag:own", "c=IN IP6 2001:db8::1", head=head
    )

    assert media.direction is Direction.SENDONLY
    assert (media.ice_ufrag, media.setup, media.address) == ("own", "active", "2001:db8::1")


def test_static_payload_types_need_no_rtpmap() -> None:
    media = parse_audio("m=audio 4000 RTP/AVP 0 8 9 13 96", "a=fmtp:0 x=1")

    assert [codec.name for codec in media.codecs] == ["PCMU", "PCMA", "G722", "CN"]
    assert media.codecs[0].fmtp == "x=1"
    assert media.codecs[1] == PCMA
    assert media.codecs[2].sample_rate == 16000
    assert media.formats == ("0", "8", "9", "13", "96")


def test_encoding_names_are_read_without_case() -> None:
    media = parse_audio(
        "m=audio 4000 RTP/AVP 96 97", "a=rtpmap:96 OPUS/48000/2", "a=rtpmap:97 pcmu/8000"
    )

    assert [codec.name for codec in media.codecs] == ["opus", "PCMU"]


@pytest.mark.parametrize(
    "line",
    [
        "a=rtpmap:96",
        "a=rtpmap:96 opus",
        "a=rtpmap:96 opus/0",
        "a=rtpmap:96 opus/1000000",
        "a=rtpmap:96 opus/48000/0",
        "a=rtpmap:96 opus/48000/2/3",
        "a=rtpmap:96 opus/٤٨٠٠٠/2",
        f"a=rtpmap:96 opus/{'9' * 5000}",
        f"a=rtpmap:96 {'x' * 65}/48000",
        "a=rtpmap:96 o pus/48000",
        "a=rtpmap:224 opus/48000",
        "a=rtpmap:97 opus/48000",
        "a=fmtp:96 useinbandfec=1",
        "a=fmtp",
        "a=ptime:x",
        "a=setup:later",
        "a=rtcp:99999",
        "a=extmap:3 urn:x y",
        "a=ice-ufrag:",
        "a=fingerprint:sha-256 xy",
        "a=fingerprint",
        "a=candidate",
        "a=mid:a b",
        "a=sendrecv:x",
        "a=ice-lite",
        "a=",
        "a=:",
    ],
)
def test_an_attribute_without_sense_has_no_effect(line: str) -> None:
    plain = parse_audio("m=audio 4000 RTP/AVP 0 96 200")

    media = parse_audio("m=audio 4000 RTP/AVP 0 96 200", line)

    assert len(media.attributes) == 1
    media.attributes = ()
    assert media == plain


@pytest.mark.parametrize(
    ("text", "ptime_ms"), [("0", 10), ("30", 30), ("1000000000", 60), ("20.0", 20)]
)
def test_ptime_is_clamped(text: str, ptime_ms: int) -> None:
    media = parse_audio("m=audio 4000 RTP/AVP 0", f"a=ptime:{text}", f"a=maxptime:{text}")

    assert (media.ptime_ms, media.maxptime_ms) == (ptime_ms, ptime_ms)


def test_the_first_of_two_attributes_counts() -> None:
    media = parse_audio(
        "m=audio 4000 RTP/AVP 96",
        "a=ptime:none",
        "a=ptime:30",
        "a=ptime:40",
        "a=sendonly",
        "a=inactive",
        "a=rtpmap:96 opus/48000/2",
        "a=rtpmap:96 PCMU/8000",
        "a=fmtp:96 first=1",
        "a=fmtp:96 second=1",
    )

    assert (media.ptime_ms, media.direction) == (30, Direction.SENDONLY)
    assert media.codecs == (Codec("opus", 96, 48000, 48000, 2, "first=1"),)


def test_unknown_attributes_are_kept_in_order() -> None:
    media = parse_audio("m=audio 4000 RTP/AVP 0", "a=zebra:1", "a=flag", "a=apple:x:y", "a=empty:")

    assert media.attributes == (("zebra", "1"), ("flag", None), ("apple", "x:y"), ("empty", ""))


def test_holdconn_bundle_only_and_a_video_at_port_0_are_read() -> None:
    description = parse_sdp(
        HEAD + "m=audio 0 UDP/TLS/RTP/SAVPF 0\r\na=bundle-only\r\na=setup:holdconn\r\n"
        "m=video 0 RTP/AVP 31\r\n"
    )

    audio, video = description.media

    assert (audio.setup, audio.bundle_only, audio.is_rejected) == ("holdconn", True, False)
    assert video.is_rejected


def test_candidates_beyond_fifty_are_ignored() -> None:
    lines = [f"a=candidate:{n} 1 udp 1 192.0.2.1 {5000 + n} typ host" for n in range(60)]

    media = parse_audio("m=audio 9 RTP/AVP 0", *lines)

    assert len(media.candidates) == 50
    assert media.attributes == ()


def test_the_ttl_of_a_multicast_address_is_left_out() -> None:
    media = parse_audio("m=audio 4000/2 RTP/AVP 0", "c=IN IP4 233.252.0.1/127")

    assert (media.address, media.port) == ("233.252.0.1", 4000)


def test_groups_and_origin_are_read() -> None:
    description = load("chromium-audio-video-data")

    assert description.groups == (Group("BUNDLE", ("0", "1", "2")),)
    assert description.origin.address == "127.0.0.1"
    assert [media.kind for media in description.media] == ["audio", "video", "application"]


def test_a_username_may_have_spaces() -> None:
    description = parse_sdp(HEAD.replace("o=-", "o=My Phone"))

    assert description.origin == Origin("1", 1, "192.0.2.1", "My Phone")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "m=audio 1 RTP/AVP 0",
        "v=1\r\n" + HEAD[5:],
        HEAD.replace("o=- 1 1 IN IP4 192.0.2.1\r\n", ""),
        HEAD.replace("o=- 1 1", "o=- 1 x"),
        HEAD.replace("o=- 1 1", "o=- 1 " + "9" * 5000),
        HEAD.replace("c=IN IP4 192.0.2.1", "c=IN IP4"),
        HEAD.replace("c=IN IP4 192.0.2.1", "c=ATM NSAP 47.0091"),
        HEAD.replace("c=IN IP4 192.0.2.1", "c=IN IP4 192.0.2.1<script>"),
        HEAD + "nonsense\r\n",
        HEAD + "a=x\0y\r\n",
        HEAD + "a=x\ry\r\n",
        HEAD + "m=audio 492170 RTP/AVP 0\r\n",
        HEAD + "m=audio -1 RTP/AVP 0\r\n",
        HEAD + "m=audio ٤ RTP/AVP 0\r\n",
        HEAD + "m=audio 4000 RTP/AVP\r\n",
        HEAD + "m=audio 4000 RTP//AVP 0\r\n",
        HEAD + "m=audio 4000 RTP/AVP (0)\r\n",
        HEAD + "m=audio 4000 RTP/AVP 0\r\na=mid:x\r\nm=audio 4002 RTP/AVP 0\r\na=mid:x\r\n",
        HEAD + "m=audio 4000 RTP/AVP 0\r\n" * 17,
        HEAD + "m=audio 4000 RTP/AVP" + " 0" * 129 + "\r\n",
        HEAD + "a=x\r\n" * MAX_SDP_BYTES,
        HEAD + "a=\ud800\r\n",
    ],
)
def test_what_is_no_description_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_sdp(text)

    assert caught.value.status == 400


def test_a_value_with_a_line_break_is_not_written() -> None:
    description = SessionDescription(Origin("1", 1, "192.0.2.1"), name="call\r\na=inactive")

    with pytest.raises(ValueError, match="line break"):
        str(description)


def test_the_session_address_is_written_once() -> None:
    media = [
        MediaDescription(port=4000, address="192.0.2.1", codecs=(PCMU,)),
        MediaDescription(port=4002, address="2001:db8::1", codecs=(PCMU,)),
    ]

    text = str(SessionDescription(Origin("7", 2, "192.0.2.1"), media, address="192.0.2.1"))

    assert text.split("\r\n") == [
        "v=0",
        "o=- 7 2 IN IP4 192.0.2.1",
        "s=-",
        "c=IN IP4 192.0.2.1",
        "t=0 0",
        "m=audio 4000 RTP/AVP 0",
        "a=sendrecv",
        "a=rtpmap:0 PCMU/8000",
        "m=audio 4002 RTP/AVP 0",
        "c=IN IP6 2001:db8::1",
        "a=sendrecv",
        "a=rtpmap:0 PCMU/8000",
        "",
    ]


def test_bytes_that_are_no_text_survive() -> None:
    data = HEAD.encode() + b"m=audio 4000 RTP/AVP 0\r\na=label:na\xefve\r\n"

    assert b"a=label:na\xefve\r\n" in bytes(parse_sdp(data))


def test_keys_do_not_show_in_a_log() -> None:
    media = load("zoiper-sdes").media[0]
    media.ice_pwd = "open-sesame"

    assert media.keying is Keying.SDES
    assert "inline" not in repr(media)
    assert "sesame" not in repr(media)


@pytest.mark.parametrize("first", Direction)
@pytest.mark.parametrize("second", Direction)
def test_directions_intersect_and_turn_round(first: Direction, second: Direction) -> None:
    both = first & second

    assert (both.sends, both.receives) == (
        first.sends and second.sends,
        first.receives and second.receives,
    )
    assert (first.reversed.sends, first.reversed.receives) == (first.receives, first.sends)


def test_a_fingerprint_is_normalized() -> None:
    media = parse_audio("m=audio 9 RTP/SAVPF 0", f"a=fingerprint:SHA-256 {FINGERPRINT.lower()}")

    assert media.fingerprints == (Fingerprint("sha-256", FINGERPRINT),)


def test_twice_the_description_is_at_most_twice_the_work() -> None:
    line = "a=rtpmap:96 opus/48000/2\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=x:y\r\n"
    text = HEAD + "m=audio 4000 RTP/AVP 96\r\n"

    once, twice = (_bytecodes_of_parsing(text + line * lines) for lines in (150, 300))

    assert twice <= 2 * once


def _bytecodes_of_parsing(text: str) -> int:
    """The work as a number that no other load on the machine changes."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        parse_sdp(text)
    finally:
        sys.settrace(before)
    return count


LINES = st.one_of(
    st.sampled_from(
        [line for path in sorted(VECTORS.glob("*.sdp")) for line in path.read_text().splitlines()]
    ),
    st.tuples(
        st.sampled_from(["a=", "c=", "m=", "o=", "a=rtpmap:", "a=fmtp:0 ", "a=group:", "a=setup:"]),
        st.text(max_size=30),
    ).map("".join),
    st.builds(
        "a={}{}".format,
        st.sampled_from(["ptime", "mid", "rtcp", "sendonly", "rtcp-mux", "ice-lite", "fmtp"]),
        st.sampled_from(["", ":", ":0", ":8", ":0 x", ": 8 PCMA/8000", ":8 x/1"]),
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, max_size=25), st.sampled_from([HEAD, HEAD + "m=audio 4000 RTP/AVP 0 8\r\n"]))
def test_any_lines_give_a_fixed_point_or_the_documented_error(lines: list[str], head: str) -> None:
    try:
        first = parse_sdp(head + "\r\n".join(lines))
    except RemoteProtocolError:
        return

    second = parse_sdp(str(first))

    assert second == first
    assert str(second) == str(first)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", HEAD.encode()]))
@example(b"\xff\xfe", HEAD.encode())
def test_any_bytes_give_a_value_or_the_documented_error(data: bytes, head: bytes) -> None:
    try:
        description = parse_sdp(head + data)
    except RemoteProtocolError:
        return

    assert parse_sdp(bytes(description)) == description
