"""Messages on a stream: whole however it is cut, and nothing read after a doubtful length."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.framing import KeepAlive, StreamFramer
from gateway.sip.message import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_LINE_BYTES,
    MessageError,
    parse_message,
)
from tests.sip.samples import SDP, request_bytes
from tests.sip.test_linear import count_calls

VECTORS = Path(__file__).parents[1] / "vectors/rfc4475"
PING, PONG = KeepAlive.PING, KeepAlive.PONG

OPTIONS = request_bytes("Content-Length: 0", method="OPTIONS")
INVITE = request_bytes(f"Content-Length: {len(SDP)}", body=SDP)
OK = INVITE.replace(b"INVITE sip:+15550100@192.0.2.1 SIP/2.0", b"SIP/2.0 200 OK", 1)

Seen = list[bytes | KeepAlive]


def take_all(framer: StreamFramer) -> Seen:
    """Everything that is complete."""
    seen: Seen = []
    while (item := framer.next()) is not None:
        seen.append(item)
    return seen


def frame(*chunks: bytes) -> tuple[Seen, MessageError | None]:
    """What comes of some chunks, and what ended the stream."""
    return frame_each(chunks)


def frame_each(chunks: Iterable[bytes]) -> tuple[Seen, MessageError | None]:
    """The same; nothing is fetched behind what ends the stream."""
    framer, seen = StreamFramer(), list[bytes | KeepAlive]()
    for chunk in chunks:
        framer.feed(chunk)
        try:
            while (item := framer.next()) is not None:
                seen.append(item)
        except MessageError as error:
            framer.feed(OPTIONS)
            assert framer.next() is None, "read on behind an error"
            return seen, error
    return seen, None


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def test_two_requests_in_one_segment_are_two() -> None:
    assert frame(INVITE + OPTIONS) == ([INVITE, OPTIONS], None)


def test_a_message_may_come_byte_by_byte() -> None:
    assert frame(*bytewise(INVITE + OK)) == ([INVITE, OK], None)


def test_a_message_is_whole_only_with_its_last_byte() -> None:
    framer = StreamFramer()

    framer.feed(INVITE[:-1])
    assert framer.next() is None
    assert framer.is_within_message
    framer.feed(INVITE[-1:])

    assert framer.next() == INVITE
    assert not framer.is_within_message


@pytest.mark.parametrize(
    "header",
    [
        "Content-Length: {}",
        "content-length:{}",
        "l: {}",
        "L :\t {} ",
        "Content-Length: 00000{}",
        "Content-Length:\r\n {}",
        "Content-Length: {}\r\n ",
    ],
)
def test_every_spelling_of_the_length_is_read(header: str) -> None:
    message = request_bytes(header.format(len(SDP)), body=SDP)

    assert frame(message + OPTIONS) == ([message, OPTIONS], None)


def test_a_header_that_only_looks_like_a_length_is_none() -> None:
    message = request_bytes("X-Content-Length: 9", "Subject: Content-Length: 9\r\n l: 9", "l: 0")

    assert frame(message + OPTIONS) == ([message, OPTIONS], None)


HIDDEN = request_bytes("Content-Length: 0", method="BYE")


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="missing"),
        pytest.param(["Content-Length: 5", "Content-Length: 9"], id="twice"),
        pytest.param(["Content-Length: 5", "l: 5"], id="twice, once short"),
        pytest.param(["Content-Length: 5, 9"], id="list"),
        pytest.param(["Content-Length: +5"], id="signed"),
        pytest.param(["Content-Length: -1"], id="negative"),
        pytest.param(["Content-Length: 0x5"], id="hexadecimal"),
        pytest.param(["Content-Length: ５"], id="other digits"),
        pytest.param(["Content-Length: 5 5"], id="two numbers"),
        pytest.param(["Content-Length:"], id="empty"),
        pytest.param(["Content-Length: 5\r\n 5"], id="folded digits"),
        pytest.param(["Content-Length: 99999999999"], id="beyond all numbers"),
        pytest.param(["Content-Length\x0b: 5", "Content-Length: 0"], id="no token"),
        pytest.param(["Subject: a\nContent-Length: 5", "Content-Length: 0"], id="lone LF"),
        pytest.param(["Subject: a\rContent-Length: 5", "Content-Length: 0"], id="lone CR"),
        pytest.param(["no header at all", "Content-Length: 0"], id="no colon"),
    ],
)
def test_a25_a_doubtful_length_is_answered_and_ends_the_stream(lines: list[str]) -> None:
    data = request_bytes(*lines, body=HIDDEN)

    for chunks in ([data], bytewise(data)):
        seen, error = frame(*chunks)

        assert seen == []
        assert error is not None
        assert error.status == 400
        assert error.request is not None
        assert error.request.method == "INVITE"


def test_a_broken_response_or_ack_has_nobody_to_answer() -> None:
    for data in (OK, request_bytes(method="ACK")):
        _, error = frame(re.sub(rb"Content-Length: \d+\r\n", b"", data))

        assert error is not None
        assert error.request is None


def test_a25_what_follows_a_body_that_was_declared_too_short_is_no_request() -> None:
    data = request_bytes("Content-Length: 5", body=SDP + b"\r\n\r\n" + HIDDEN)

    seen, error = frame(data)

    assert seen == [data[: data.index(SDP) + 5]]
    assert error is not None
    assert error.request is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n",
        b"x" * (MAX_LINE_BYTES + 9),
    ],
)
def test_what_is_no_sip_is_not_waited_for(data: bytes) -> None:
    seen, error = frame(data)

    assert seen == []
    assert error is not None
    assert error.request is None


# ---- limits


def test_a24_first_line_without_an_end_is_refused_however_it_is_cut() -> None:
    data = request_bytes(uri=f"sip:SIP/{'9' * MAX_LINE_BYTES}@h")

    for chunks in ([data], bytewise(data)):
        seen, error = frame(*chunks)

        assert seen == []
        assert error is not None
        assert error.status == 513


def test_a24_a_body_over_the_limit_is_refused_before_it_comes() -> None:
    seen, error = frame(request_bytes(f"Content-Length: {MAX_BODY_BYTES + 1}"))

    assert seen == []
    assert error is not None
    assert (error.status, error.request is not None) == (413, True)


def test_a_body_at_the_limit_is_taken() -> None:
    message = request_bytes(f"Content-Length: {MAX_BODY_BYTES}", body=bytes(MAX_BODY_BYTES))

    assert frame(message) == ([message], None)


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param([f"Subject: {'x' * MAX_LINE_BYTES}"], id="line"),
        pytest.param(["Subject: x"] * MAX_HEADERS, id="headers"),
        pytest.param([f"Subject: {'x' * 8000}"] * 3, id="head"),
    ],
)
def test_a24_headers_over_a_limit_are_answered_with_513(extra: list[str]) -> None:
    data = request_bytes(*extra, "Content-Length: 0")

    seen, error = frame(data)

    assert seen == []
    assert error is not None
    assert (error.status, error.request is not None) == (513, True)


def test_a24_headers_without_an_end_are_kept_up_to_the_limit_only() -> None:
    endless = [b"Subject: xxxxxxxxxxxx\r\n" * 20] * 1000
    taken: list[bytes] = []

    def chunks() -> Iterator[bytes]:
        yield request_bytes()[:-2]
        for chunk in endless:
            taken.append(chunk)
            yield chunk

    seen, error = frame_each(chunks())

    assert seen == []
    assert error is not None
    assert (error.status, error.request is not None) == (513, True)
    assert sum(map(len, taken)) < MAX_HEAD_BYTES + 1000


# ---- pings


def test_a_ping_between_messages_is_told() -> None:
    assert frame(OPTIONS + b"\r\n\r\n" + INVITE) == ([OPTIONS, PING, INVITE], None)


def test_empty_lines_before_a_message_are_nothing() -> None:
    assert frame(b"\r\n" + OPTIONS + b"\r\n" + OPTIONS) == ([OPTIONS, OPTIONS], None)


def test_the_answer_to_our_ping_is_no_half_of_theirs() -> None:
    framer = StreamFramer()
    framer.expect_pong()

    framer.feed(b"\r\n")
    first = take_all(framer)
    framer.feed(b"\r\n\r\n")

    assert (first, take_all(framer)) == ([PONG], [PING])


def test_a_ping_of_theirs_is_no_answer_to_ours() -> None:
    framer = StreamFramer()
    framer.expect_pong()

    framer.feed(b"\r\n\r\n")
    first = take_all(framer)
    framer.feed(b"\r\n")

    assert (first, take_all(framer)) == ([PING], [PONG])


def test_pongs_that_were_not_asked_for_are_pings_two_by_two() -> None:
    assert frame(b"\r\n", b"\r\n", b"\r\n") == ([PING], None)


def test_a_keep_alive_in_the_middle_of_a_body_belongs_to_it() -> None:
    message = request_bytes("Content-Length: 8", body=b"\r\n\r\n" * 2)

    assert frame(*bytewise(message)) == ([message], None)


# ---- properties


@st.composite
def cut(draw: st.DrawFn) -> tuple[Seen, list[bytes]]:
    """Some of everything, cut anywhere."""
    items: Seen = draw(st.lists(st.sampled_from([OPTIONS, INVITE, OK, PING]), max_size=6))
    data = b"".join(item.value if isinstance(item, KeepAlive) else item for item in items)
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    chunks = [data[i:j] for i, j in zip([0, *places], [*places, len(data)], strict=True)]
    return items, chunks


@given(cut())
def test_any_cutting_gives_the_same_messages(case: tuple[Seen, list[bytes]]) -> None:
    items, chunks = case

    assert frame(*chunks) == (items, None)


@given(st.binary(max_size=2000), st.binary(max_size=200), st.integers(0, 700))
def test_bytes_of_any_kind_give_messages_or_the_documented_error(
    noise: bytes, inside: bytes, at: int
) -> None:
    mangled = INVITE[:at] + inside + INVITE[at:]

    for data in (noise, mangled, mangled + noise):
        whole, bitwise = frame(data), frame(*bytewise(data))

        assert whole[0] == bitwise[0]
        assert (whole[1] is None) == (bitwise[1] is None)


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.dat")), ids=lambda path: path.stem)
def test_torture_messages_have_the_same_length_for_framer_and_parser(path: Path) -> None:
    seen, _ = frame(path.read_bytes())

    for message in seen:
        assert isinstance(message, bytes)
        _, _, body = message.partition(b"\r\n\r\n")
        with suppress(MessageError):  # refused for something else, and then the stream goes on
            assert parse_message(message).body == body


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"", b"\r\n"),
        (b"", b"x"),
        (b"INVITE sip:a SIP/2.0\r\n", b"a"),
        (b"INVITE sip:a SIP/2.0\r\n", b"a: b\r\n"),
        (INVITE[: -len(SDP)].replace(b"Length: ", b"Length: 9"), b"\r"),
    ],
    ids=["empty lines", "no line", "one line", "many lines", "body"],
)
def test_twice_the_pieces_is_at_most_twice_the_work(start: bytes, piece: bytes) -> None:
    def work(pieces: int) -> int:
        return count_calls(lambda: frame(start, *[piece] * pieces))

    once, twice = work(500), work(1000)

    assert twice <= 2 * once + 10
