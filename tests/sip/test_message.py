"""Messages: bytes in and out, limits, smuggling, and what an answer is made of."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.errors import RemoteProtocolError
from gateway.sip import grammar
from gateway.sip.header import CSeq, Via, parse_address
from gateway.sip.message import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_LINE_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_VIAS,
    Headers,
    MessageError,
    Response,
    build_response,
    mark_source,
    parse_message,
)
from gateway.sip.uri import MAX_URI_BYTES, Parameters
from tests.sip.samples import SDP, judge, read_request, read_response, request_bytes

TAKEN = (200, True)
BREAKERS = ["\r", "\n", "\r\nX-Evil: 1", "\0", "\u2028", "\u2029", "\x85", "\udce2\udc80\udca8"]


def test_an_invite_is_read() -> None:
    invite = read_request(request_bytes("Content-Type: application/sdp", body=SDP))

    assert (invite.method, invite.uri) == ("INVITE", "sip:+15550100@192.0.2.1")
    assert invite.via == Via(
        "UDP", "198.51.100.1", 5060, Parameters([("branch", "z9hG4bK74bf9"), ("rport", None)])
    )
    assert (invite.from_.display_name, invite.from_.tag) == ("Alice", "9fxced76sl")
    assert (invite.to.uri.user, invite.to.tag) == ("+15550100", None)
    assert invite.call_id == "3848276298220188511@198.51.100.1"
    assert invite.cseq == CSeq(1, "INVITE")
    assert invite.max_forwards == 70
    assert invite.contacts[0].uri.port == 5060
    assert invite.content_type is not None
    assert invite.content_type.name == "application/sdp"
    assert invite.body == SDP


def test_a_response_is_read() -> None:
    data = request_bytes().replace(
        b"INVITE sip:+15550100@192.0.2.1 SIP/2.0", b"SIP/2.0 180 Ringing"
    )

    response = read_response(data)

    assert (response.status, response.reason) == (180, "Ringing")


@pytest.mark.parametrize("line", [b"SIP/2.0 100", b"sip/2.0 100 ", b"SIP/2.0 100 Trying"])
def test_a_status_line_may_lack_its_reason(line: bytes) -> None:
    response = read_response(
        request_bytes().replace(b"INVITE sip:+15550100@192.0.2.1 SIP/2.0", line)
    )

    assert response.status == 100


def test_headers_come_out_as_they_came_in() -> None:
    extra = (
        "x-Odd:  a  b\t",
        "v: SIP/2.0/UDP h;branch=1",
        "X-Latin: na\udcefve",
        "X-Nul: \0",
        "X:",
    )

    written = bytes(parse_message(request_bytes(*extra)))

    assert b"\r\nx-Odd: a  b\r\nv: SIP/2.0/UDP h;branch=1\r\nX-Latin: na\xefve\r\n" in written
    assert b"\r\nX-Nul: \0\r\nX: \r\n" in written


def test_a_continued_header_is_one_line() -> None:
    request = read_request(request_bytes("Subject: one", "  two ", "\t", "\tthree"))

    assert request.headers.get("Subject") == "one two three"
    assert parse_message(bytes(request)) == request


def test_compact_names_are_the_same_names() -> None:
    request = read_request(request_bytes("k: timer", "Supported: 100rel", "s: hi"))

    assert request.headers.get("SUBJECT") == "hi"
    assert request.headers.get_all("supported") == ["timer", "100rel"]
    assert request.supported == ("timer", "100rel")


def test_empty_lines_before_a_message_are_skipped() -> None:
    assert judge(b"\r\n\r\n" + request_bytes()) == TAKEN


@pytest.mark.rfc(5626, "4.4.1")
def test_a_keep_alive_gets_no_answer() -> None:
    assert judge(b"\r\n\r\n") == (400, False)
    assert judge(b"") == (400, False)


@pytest.mark.rfc(3261, "18.3")
def test_a_body_without_a_length_is_the_rest_of_the_datagram() -> None:
    assert read_request(request_bytes(body=SDP)).body == SDP


@pytest.mark.rfc(3261, "18.3")
def test_bytes_beyond_the_body_are_ignored() -> None:
    hidden = request_bytes(method="BYE")

    request = read_request(request_bytes("Content-Length: 4", body=b"body" + hidden))

    assert request.body == b"body"
    assert hidden not in bytes(request)


@pytest.mark.parametrize(
    "length", ["5, 9", "+4", "0x4", "-1", "4 4", "٤", "9" * 5000, "", "4.0", "99", "4\x0b"]
)
def test_a_length_that_lies_is_refused(length: str) -> None:
    assert judge(request_bytes(f"Content-Length: {length}", body=b"body")) == (400, True)


def test_a_short_body_is_answered_with_the_request() -> None:
    with pytest.raises(MessageError) as caught:
        parse_message(request_bytes("Content-Length: 5", body=b"body"))

    assert caught.value.request is not None
    assert caught.value.request.cseq == CSeq(1, "INVITE")


@pytest.mark.parametrize("tag", ["tag", 'tag="a b"', 'tag="a;early-only"', "TAG", 'tag=""'])
@pytest.mark.parametrize("party", ["From", "To"])
def test_a_tag_is_a_token(party: str, tag: str) -> None:
    lines = request_bytes().decode().split("\r\n")
    changed = [f"{party}: <sip:a@h>;{tag}" if x.startswith(f"{party}:") else x for x in lines]

    assert judge("\r\n".join(changed).encode()) == (400, True)


@pytest.mark.parametrize(
    "line",
    [
        "From: <sip:b@h>;tag=2",
        "f: <sip:b@h>;tag=2",
        "t: <sip:b@h>",
        "CSEQ: 2 INVITE",
        "i: other",
        "Max-Forwards : 3",
    ],
)
def test_a_header_that_must_be_single_is_refused_twice(line: str) -> None:
    assert judge(request_bytes(line)) == (400, True)


@pytest.mark.parametrize("call_id", ["", "a b", "a\tb", "a\0b", "a\x7f", "é", "a\u2028"])
def test_a_call_id_is_one_printable_word(call_id: str) -> None:
    assert judge(request_bytes(call_id=call_id)) == (400, True)


def test_a_length_is_refused_twice_even_if_equal() -> None:
    assert judge(request_bytes("Content-Length: 0", "l: 0")) == (400, True)


@pytest.mark.parametrize("byte", range(256))
def test_no_byte_smuggles_a_header_past_its_name(byte: int) -> None:
    # A reader that takes `Max-Forwards<byte>:` for Max-Forwards sees another value than we do.
    data = request_bytes("X: 1").replace(b"X: 1", b"P-Asserted-Identity" + bytes([byte]) + b": x")

    status, _ = judge(data)

    if bytes([byte]) in (b" ", b"\t", b":"):
        assert read_request(data).headers.get("P-Asserted-Identity") is not None
    elif status == 200:
        assert bytes([byte]) in grammar.TOKEN
        assert read_request(data).headers.get("P-Asserted-Identity") is None
    else:
        assert status == 400


@pytest.mark.parametrize(
    "damage",
    [
        (b"\r\nCSeq", b"\nCSeq"),
        (b"\r\nCSeq", b"\rCSeq"),
        (b"\r\nCSeq", b"\r\r\nCSeq"),
        (b"\r\n", b"\n"),
        (b"tag=9fxced76sl", b"tag=9fxced76sl\nX-Evil: 1"),
        (b"Max-Forwards", b"X: 1\nP-Asserted-Identity: <sip:boss@h>\r\nMax-Forwards"),
        (b"Max-Forwards", b"X: 1\rP-Asserted-Identity: <sip:boss@h>\r\nMax-Forwards"),
        (b"INVITE sip", b"INVITE\nX sip"),
    ],
)
def test_lines_end_with_both_or_not_at_all(damage: tuple[bytes, bytes]) -> None:
    status, _ = judge(request_bytes().replace(*damage))

    assert status == 400


@pytest.mark.parametrize("missing", ["via", "from", "to", "call_id", "cseq"])
def test_without_what_an_answer_needs_there_is_none(missing: str) -> None:
    changes: dict[str, str | None] = {missing: None}

    assert judge(request_bytes(**changes)) == (400, False)  # type: ignore[arg-type]


def test_a_broken_ack_is_never_answered() -> None:
    assert judge(request_bytes("Broken", method="ACK")) == (400, False)


def test_a_broken_response_is_never_answered() -> None:
    data = request_bytes("Broken").replace(
        b"INVITE sip:+15550100@192.0.2.1 SIP/2.0", b"SIP/2.0 200 OK"
    )

    assert judge(data) == (400, False)


def test_a_request_of_another_version_is_told_so() -> None:
    assert judge(request_bytes().replace(b"SIP/2.0\r\nVia", b"SIP/3.0\r\nVia")) == (505, True)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (request_bytes(uri="sip:h;x=" + "a" * MAX_URI_BYTES), 414),
        (request_bytes("X: " + "a" * MAX_LINE_BYTES), 513),
        (request_bytes("X: " + "a" * 8000, " " + "a" * 8000), 513),
        (request_bytes(*["X: " + "a" * 5000] * 3), TAKEN[0]),
        (request_bytes(*["X: " + "a" * 5000] * 4), 513),
        (request_bytes(*["X:"] * (MAX_HEADERS - 7)), TAKEN[0]),
        (request_bytes(*["X:"] * (MAX_HEADERS - 6)), 513),
        (request_bytes(*["Via: SIP/2.0/UDP h"] * (MAX_VIAS - 1)), TAKEN[0]),
        (request_bytes(*["Via: SIP/2.0/UDP h"] * MAX_VIAS), 513),
        (request_bytes(*["v: " + ", ".join(["SIP/2.0/UDP h"] * 10)] * 8), 513),
        (request_bytes(body=b"a" * MAX_BODY_BYTES), TAKEN[0]),
        (request_bytes(body=b"a" * (MAX_BODY_BYTES + 1)), 413),
        (request_bytes(body=b"a" * MAX_MESSAGE_BYTES), 513),
        (request_bytes("X: " + "a" * MAX_MESSAGE_BYTES), 513),
    ],
)
def test_each_limit_has_its_answer(head: bytes, status: int) -> None:
    assert judge(head) == (status, True)


def test_what_is_too_much_is_not_copied_into_the_answer() -> None:
    with pytest.raises(MessageError) as caught:
        parse_message(request_bytes(*["X: " + "a" * 5000] * 4))

    assert caught.value.request is not None
    assert len(bytes(build_response(caught.value.request, 513))) < MAX_HEAD_BYTES / 8


@pytest.mark.rfc(3261, "18.2.1")
@pytest.mark.rfc(3581, "4")
@pytest.mark.parametrize(
    ("via", "source", "marked"),
    [
        ("SIP/2.0/UDP 192.0.2.9;branch=1", "192.0.2.9", "SIP/2.0/UDP 192.0.2.9;branch=1"),
        ("SIP/2.0/UDP h;branch=1", "192.0.2.9", "SIP/2.0/UDP h;branch=1;received=192.0.2.9"),
        (
            "SIP/2.0/UDP 192.0.2.9;rport;branch=1",
            "192.0.2.9",
            "SIP/2.0/UDP 192.0.2.9;rport=5099;branch=1;received=192.0.2.9",
        ),
        (
            "SIP/2.0/UDP h;received=10.0.0.1;branch=1, SIP/2.0/TCP next ;x",
            "2001:db8::1",
            "SIP/2.0/UDP h;received=2001:db8::1;branch=1, SIP/2.0/TCP next ;x",
        ),
    ],
)
def test_the_source_is_written_into_the_topmost_via(via: str, source: str, marked: str) -> None:
    request = read_request(request_bytes("Via: SIP/2.0/UDP other", via=via))

    mark_source(request, source, 5099)

    assert request.headers.get_all("Via") == [marked, "SIP/2.0/UDP other"]
    assert request.via.received in (source, None)


def test_a_change_of_headers_is_seen_by_the_views() -> None:
    request = read_request(request_bytes())
    assert len(request.vias) == 1

    request.headers.insert_first("Via", "SIP/2.0/UDP new;branch=z9hG4bK2")
    request.headers.set("Max-Forwards", "69")
    request.headers.remove("m")

    assert request.via.host == "new"
    assert request.max_forwards == 69
    assert request.contacts == ()


def test_setting_a_header_leaves_one_in_its_place() -> None:
    headers = Headers([("a", "1"), ("Supported", "x"), ("b", "2"), ("k", "y")])

    headers.set("supported", "z")
    headers.set("c", "3")

    assert headers.items() == [("a", "1"), ("supported", "z"), ("b", "2"), ("c", "3")]
    assert len(headers) == len(list(headers)) == 4
    assert headers.copy() == headers


def test_a_copy_of_headers_is_independent() -> None:
    headers = Headers([("a", "1")])

    headers.copy().add("b", "2")

    assert "b" not in headers


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("Retry-After: 5", 5),
        ("Retry-After: 18000;duration=3600", 18000),
        ("Retry-After: 120 (I'm in a meeting)", 120),
        ("Retry-After: 949302838503028349304023988", 2**32 - 1),
        ("Retry-After: soon", None),
        ("X: 1", None),
    ],
)
def test_retry_after_is_seconds_or_nothing(line: str, seconds: int | None) -> None:
    assert Response(503, "", read_request(request_bytes(line)).headers).retry_after_s == seconds


def test_a_contact_may_be_a_star() -> None:
    request = read_request(request_bytes(contact="*", method="REGISTER"))

    assert request.is_contact_star
    assert request.contacts == ()


CHANGES: list[Callable[[Headers], None]] = [
    lambda headers: headers.add("k", "new"),
    lambda headers: headers.insert_first("Supported", "new"),
    lambda headers: headers.set("supported", "new"),
    lambda headers: headers.rewrite_first("Supported", "new"),
    lambda headers: headers.copy_from(Headers([("Supported", "new")]), "k"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_header_is_read_anew_and_the_others_are_not(
    change: Callable[[Headers], None],
) -> None:
    request = read_request(request_bytes("Supported: old"))
    before, from_ = request.supported, request.from_

    change(request.headers)

    assert before == ("old",)
    assert "new" in request.supported
    assert request.from_ is from_


def test_a_header_taken_out_is_read_anew() -> None:
    request = read_request(request_bytes("Supported: old"))
    before = request.supported

    request.headers.remove("k")

    assert (before, request.supported) == (("old",), ())


def test_a_text_is_read_the_same_again_however_long() -> None:
    for text in ("<sip:a@b>;tag=1", f"<sip:{'a' * 300}@b>;tag=1"):
        assert parse_address(text) == parse_address(text)
        assert str(parse_address(text)) == text
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            parse_address("<sip:a@b>;tag=1;tag=2")
