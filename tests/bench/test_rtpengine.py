"""What the bench says to rtpengine."""

from __future__ import annotations

from bench.rtpengine import bdecode, bencode, only_first_codec

OFFER = (
    "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 9 0 126\r\na=rtpmap:111 opus/48000/2\r\n"
    "a=fmtp:111 minptime=10\r\na=rtpmap:9 G722/8000\r\n"
    "a=rtpmap:126 telephone-event/8000\r\na=mid:0\r\n"
)


def test_commands_are_bencoded() -> None:
    assert bencode({"command": "ping", "codec": {"mask": ["opus"]}, "n": 3}) == (
        b"d7:command4:ping5:codecd4:maskl4:opusee1:ni3ee"
    )


def test_answers_are_read_back() -> None:
    said = {"result": "ok", "sdp": "v=0\r\n", "tags": ["a", "b"], "n": 12}

    assert bdecode(bencode(said)) == said


def test_offer_of_one_codec_keeps_what_is_of_no_codec() -> None:
    assert only_first_codec(OFFER) == (
        "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n"
        "a=fmtp:111 minptime=10\r\na=mid:0\r\n"
    )
