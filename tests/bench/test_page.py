"""What the page makes of an answer, and of RTP packets."""

from __future__ import annotations

import pytest

from bench.page import ConnectError, parse_answer
from bench.stream import payload_of

ANSWER = "\r\n".join(
    (
        "v=0",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 110",
        "a=candidate:1 1 udp 2130706431 192.0.2.1 10000 typ host",
        "a=candidate:2 1 UDP 2130706430 127.0.0.1 10000 typ host",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:secretsecretsecretsecret",
        "a=fingerprint:sha-256 AA:BB",
        "a=setup:passive",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 useinbandfec=1;maxplaybackrate=8000;maxaveragebitrate=24000",
        "",
    )
)


def test_an_answer_is_read() -> None:
    answer = parse_answer(ANSWER)

    assert answer.remote == ("127.0.0.1", 10000)
    assert (answer.ufrag, answer.payload_type) == ("abcd", 111)
    assert answer.is_client
    assert answer.narrowband


def test_without_maxplaybackrate_the_page_speaks_fullband() -> None:
    assert not parse_answer(ANSWER.replace("maxplaybackrate=8000;", "")).narrowband


def test_an_answer_without_a_codec_of_ours_is_told() -> None:
    with pytest.raises(ConnectError, match="lacks a codec"):
        parse_answer(ANSWER.replace("opus", "PCMU"))


def test_the_payload_lies_behind_sources_and_extensions_and_before_padding() -> None:
    header = bytes([0x80 | 0x20 | 0x10 | 1, 111]) + bytes(10) + bytes(4)
    extension = b"\xbe\xde\x00\x01" + bytes(4)

    assert payload_of(header + extension + b"sound" + b"\0\0\3") == b"sound"
