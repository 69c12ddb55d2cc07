"""What we write: nothing ends its line early, and answers are made as RFC 3261 §8.2.6 says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sip.field import header_key
from gateway.sip.grammar import TOKEN
from gateway.sip.header import Address, Via, parse_address
from gateway.sip.message import (
    Headers,
    MessageError,
    Request,
    build_request,
    build_response,
    parse_message,
)
from gateway.sip.uri import Parameters, parse_uri
from gateway.sip.view import HANDLED_BY
from tests.sip.samples import SDP, read_request, read_response, request_bytes

BREAKERS = ["\r", "\n", "\r\nX-Evil: 1", "\0", "\u2028", "\u2029", "\x85", "\udce2\udc80\udca8"]
CALLER = parse_address("sip:a@h;tag=1")


def is_unknown(name: str) -> bool:
    """Whether the codec has no opinion of a header."""
    return header_key(name) not in {*HANDLED_BY, "content-length"}


@pytest.mark.parametrize("breaker", BREAKERS)
def test_a_value_cannot_end_its_line(breaker: str) -> None:
    text = f"a{breaker}b"
    request = read_request(request_bytes())

    for write in (
        lambda: Headers([("X", text)]),
        lambda: Headers().add("X", text),
        lambda: Headers().set("X", text),
        lambda: Headers().insert_first("X", text),
        lambda: build_response(request, 403, text),
        lambda: build_response(request, 403, headers=[("Warning", text)]),
        lambda: build_response(request, 403, to_tag=text),
        lambda: build(from_=Address(text, parse_uri("sip:a@h"))),
        lambda: build(call_id=text),
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - two wordings, one rule
            write()


@pytest.mark.parametrize("name", ["", "X Y", "X:", "X\r\nY", "X\x0b", "é", "Content-Length", "l"])
def test_a_header_name_is_a_token_and_not_the_length(name: str) -> None:
    with pytest.raises(ValueError, match=r"header name|Content-Length"):
        Headers().add(name, "1")


@pytest.mark.parametrize(
    "request_",
    [Request("INVITE", "sip:h\r\nX: y"), Request("A\nB", "sip:h"), Request("INVITE", "sip:h\0")],
)
def test_a_start_line_cannot_end_early(request_: Request) -> None:
    with pytest.raises(ValueError, match="start line"):
        bytes(request_)


def build(*, from_: Address = CALLER, call_id: str = "c", body: bytes = b"") -> Request:
    """A request of our own."""
    return build_request(
        "INVITE",
        parse_uri("sip:+15550100@trunk.example"),
        via=Via("UDP", "192.0.2.1", 5060, Parameters([("branch", "z9hG4bK1")])),
        from_=from_,
        to=parse_address("sip:+15550100@trunk.example"),
        call_id=call_id,
        cseq=1,
        headers=[("Contact", "<sip:gw@192.0.2.1>")],
        body=body,
    )


def test_a_built_request_is_read_back() -> None:
    request = build(body=SDP)

    assert parse_message(bytes(request)) == request
    assert bytes(request).endswith(b"Content-Length: %d\r\n\r\n" % len(SDP) + SDP)
    assert request.headers.get("Content-Type") == "application/sdp"


def test_a_request_without_a_body_has_no_content_type() -> None:
    assert "Content-Type" not in build().headers
    assert bytes(build()).endswith(b"\r\nContent-Length: 0\r\n\r\n")


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(TOKEN.decode(), min_size=1, max_size=12).filter(is_unknown),
            st.text(max_size=30),
        ),
        max_size=8,
    ),
    st.binary(max_size=100),
)
def test_unknown_headers_are_written_as_given_or_not_at_all(
    extra: list[tuple[str, str]], body: bytes
) -> None:
    request = build(body=body)
    for name, value in extra:
        try:
            request.headers.add(name, value)
        except ValueError:
            assert set(value) & set("\r\n\0\u2028\u2029\x85") or not is_encodable(value)

    assert parse_message(bytes(request)) == request


def is_encodable(text: str) -> bool:
    """Whether there are bytes for the text."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


@pytest.mark.rfc(3261, "8.2.6")
def test_an_answer_copies_what_names_the_transaction() -> None:
    request = read_request(
        request_bytes(
            "v: SIP/2.0/TCP two;branch=z9hG4bK2, SIP/2.0/TCP three;branch=z9hG4bK3",
            "Record-Route: <sip:p2;lr>",
            "Record-Route: <sip:p1;lr>",
            "Timestamp: 54.2",
            "X-Private: 1",
        )
    )

    response = build_response(request, 180, to_tag="ours", headers=[("Contact", "<sip:gw@h>")])

    assert [via.host for via in response.vias] == ["198.51.100.1", "two", "three"]
    for name in ("From", "Call-ID", "CSeq", "Timestamp", "Record-Route"):
        assert response.headers.get_all(name) == request.headers.get_all(name)
    assert response.to == request.to.with_tag("ours")
    assert "X-Private" not in response.headers
    assert (response.status, response.reason) == (180, "Ringing")
    assert parse_message(bytes(response)) == response


@pytest.mark.rfc(3261, "12.1.1")
@pytest.mark.parametrize(
    ("method", "status", "is_copied"),
    [
        ("INVITE", 100, False),
        ("INVITE", 183, True),
        ("INVITE", 200, True),
        ("INVITE", 486, False),
        ("BYE", 200, False),
        ("OPTIONS", 200, False),
    ],
)
def test_record_route_is_copied_where_a_dialog_may_form(
    method: str, status: int, is_copied: bool
) -> None:
    request = read_request(request_bytes("Record-Route: <sip:p1;lr>", method=method))

    response = build_response(request, status)

    assert ("Record-Route" in response.headers) is is_copied


def test_a_tag_that_is_there_stays() -> None:
    request = read_request(request_bytes(to="<sip:b@h>;TAG=theirs"))

    assert build_response(request, 200, to_tag="ours").to.tag == "theirs"


def test_a_nul_between_quotes_is_echoed() -> None:
    request = read_request(request_bytes(to='"\\\0" <sip:b@h>'))

    assert b'To: "\\\0" <sip:b@h>;tag=ours\r\n' in bytes(
        build_response(request, 200, to_tag="ours")
    )


def test_a_broken_to_is_echoed_with_a_tag() -> None:
    with pytest.raises(MessageError) as caught:
        parse_message(request_bytes(to='"open <sip:b@h>'))

    assert caught.value.request is not None
    response = build_response(caught.value.request, 400, to_tag="ours")
    assert b'\r\nTo: "open <sip:b@h>;tag=ours\r\n' in bytes(response)


def test_a_reason_of_a_peer_can_be_passed_on() -> None:
    data = request_bytes().replace(
        b"INVITE sip:+15550100@192.0.2.1 SIP/2.0", "SIP/2.0 486 Busy\u2028\0".encode()
    )

    reason = read_response(data).reason

    assert build_response(read_request(request_bytes()), 486, reason).reason == reason


def test_a_broken_request_is_answered_with_all_of_a_continued_header() -> None:
    with pytest.raises(MessageError) as caught:
        parse_message(request_bytes("Broken", to="<sip:b@h>\r\n  ;tag=theirs"))

    assert caught.value.request is not None
    assert build_response(caught.value.request, 400, to_tag="ours").to.tag == "theirs"
