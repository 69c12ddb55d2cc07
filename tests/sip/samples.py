"""Messages to take apart, and how to make more of them."""

from __future__ import annotations

from gateway.sip.message import MessageError, Request, Response, parse_message

SDP = (
    b"v=0\r\no=- 20518 0 IN IP4 203.0.113.1\r\ns=-\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\n"
    b"m=audio 54400 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)

HEADERS = {
    "Via": "SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK74bf9;rport",
    "Max-Forwards": "70",
    "From": '"Alice" <sip:+15551234567@198.51.100.1>;tag=9fxced76sl',
    "To": "<sip:+15550100@192.0.2.1>",
    "Call-ID": "3848276298220188511@198.51.100.1",
    "CSeq": "1 INVITE",
    "Contact": "<sip:+15551234567@198.51.100.1:5060;transport=udp>",
}


def request_bytes(
    *extra: str,
    method: str = "INVITE",
    uri: str = "sip:+15550100@192.0.2.1",
    body: bytes = b"",
    **changes: str | None,
) -> bytes:
    """A request with the usual headers; changes replace (`call_id="x"`) or drop (None) them."""
    headers: dict[str, str | None] = {**HEADERS, "CSeq": f"1 {method}"}
    names = {name.lower().replace("-", "_"): name for name in HEADERS}
    headers |= {names[key]: value for key, value in changes.items()}
    lines = [f"{method} {uri} SIP/2.0"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
    lines += extra
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


def read_request(data: bytes) -> Request:
    """Parse what must be a request."""
    message = parse_message(data)
    assert isinstance(message, Request)
    return message


def read_response(data: bytes) -> Response:
    """Parse what must be a response."""
    message = parse_message(data)
    assert isinstance(message, Response)
    return message


def judge(data: bytes) -> tuple[int, bool]:
    """What comes of a message: (200 if it is taken or the status that refuses it, answerable)."""
    try:
        message = parse_message(data)
    except MessageError as error:
        return error.status, error.request is not None
    return 200, isinstance(message, Request)
