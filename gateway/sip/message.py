"""SIP messages: bytes to values and back (RFC 3261 §7).

`parse_message` and `bytes` are inverses but for what carries no meaning: folding, white space
around values, and Content-Length, which is checked on the way in and made anew on the way out.
Names and values of headers, known or not, come out as they came in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gateway.errors import RemoteProtocolError
from gateway.sip.field import Headers as Headers
from gateway.sip.field import header_key
from gateway.sip.grammar import check_text, clean, decode, encode, is_token, parse_number
from gateway.sip.header import (
    Address,
    CSeq,
    Via,
    parse_address,
    scan_via,
)
from gateway.sip.reason import REASONS
from gateway.sip.uri import MAX_URI_BYTES, Uri, parse_uri
from gateway.sip.view import HANDLED_BY, MessageViews

MAX_MESSAGE_BYTES = 64 * 1024
"Largest message: what a datagram can carry; a 2 KiB INVITE is large."
MAX_HEAD_BYTES = 16 * 1024
"Largest start line and headers together; 70 long Vias fit."
MAX_LINE_BYTES = 8 * 1024
"Longest header once unfolded: an Identity with its certificate chain fits."
MAX_HEADERS = 256
"Most header fields; each costs an object."
MAX_VIAS = 70
"Most hops: Max-Forwards begins at 70, so a longer path was never allowed (RFC 3261 §8.1.1.6)."
MAX_BODY_BYTES = 32 * 1024
"Largest body: an SDP with 16 m-lines and every codec stays far below."

_MANDATORY = ("via", "from", "to", "call-id", "cseq")
_SINGLE = ("from", "to", "call-id", "cseq", "max-forwards", "content-length")
_ECHOED = frozenset((*_MANDATORY, "timestamp", "record-route"))
_FORMS_DIALOG = frozenset(("INVITE", "SUBSCRIBE", "REFER"))


class MessageError(RemoteProtocolError):
    """A message that cannot be accepted.

    `request` is what could be read of a request that is still to be answered: all its Vias, From,
    To, Call-ID and CSeq, as they came. Only `build_response` may be trusted with it: typed views
    of it may raise. None: there is nobody to answer (a response, an ACK, or no such headers).
    """

    def __init__(self, message: str, *, status: int = 400, request: Request | None = None) -> None:
        super().__init__(message, status=status)
        self.request = request


@dataclass(slots=True)
class Request(MessageViews):
    """A request; `uri` is the Request-URI as written."""

    method: str
    uri: str
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""

    def __bytes__(self) -> bytes:
        return _write(f"{self.method} {self.uri} SIP/2.0", self)


@dataclass(slots=True)
class Response(MessageViews):
    """A response."""

    status: int
    reason: str
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""

    def __bytes__(self) -> bytes:
        return _write(f"SIP/2.0 {self.status} {self.reason}", self)


Message = Request | Response


def parse_message(data: bytes) -> Message:
    """Read one datagram. Bytes beyond Content-Length are ignored (RFC 3261 §18.3).

    Raises:
        MessageError: it cannot be accepted; with the request to answer, if there is one.
    """
    if data[:1] in (b"\r", b"\n"):
        data = data.lstrip(b"\r\n")  # RFC 3261 §7.5
    too_large = len(data) > MAX_MESSAGE_BYTES
    head, blank, body = (data[:MAX_MESSAGE_BYTES] if too_large else data).partition(b"\r\n\r\n")
    message, length = parse_head(head)
    request = _answerable(message)
    if too_large:
        raise MessageError(f"message of {len(data)} bytes", status=513, request=request)
    if not blank:
        raise MessageError("no empty line after the headers", request=request)
    if length is not None:
        if length > len(body):
            raise MessageError(f"body of {len(body)} bytes, not {length}", request=request)
        body = body[:length]
    if len(body) > MAX_BODY_BYTES:
        raise MessageError(f"body of {len(body)} bytes", status=413, request=request)
    message.body = body
    return message


def parse_head(head: bytes) -> tuple[Message, int | None]:
    """Read a start line and headers, without the empty line after them.

    Returns:
        The message with an empty body, and its Content-Length or None.

    Raises:
        MessageError: it cannot be accepted; with the request to answer, if there is one.
    """
    try:
        if len(head) > MAX_HEAD_BYTES:
            raise RemoteProtocolError(f"headers of {len(head)} bytes", status=513)
        return _read_head(decode(head))
    except RemoteProtocolError as error:
        request = _salvage(decode(head[:MAX_HEAD_BYTES]))
        raise MessageError(str(error), status=error.status, request=request) from None


def build_request(
    method: str,
    uri: Uri,
    *,
    via: Via,
    from_: Address,
    to: Address,
    call_id: str,
    cseq: int,
    max_forwards: int = 70,
    headers: Iterable[tuple[str, str]] = (),
    content_type: str = "application/sdp",
    body: bytes = b"",
) -> Request:
    """Make a request (RFC 3261 §8.1.1). Content-Type is set when there is a body.

    Raises:
        ValueError: a value that may not be written (A15).
    """
    fields = [
        ("Via", str(via)),
        ("Max-Forwards", str(max_forwards)),
        ("From", str(from_)),
        ("To", str(to)),
        ("Call-ID", call_id),
        ("CSeq", str(CSeq(cseq, method))),
        *headers,
    ]
    if body:
        fields.append(("Content-Type", content_type))
    return Request(method, str(uri), Headers(fields), body)


def build_response(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    to_tag: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    content_type: str = "application/sdp",
    body: bytes = b"",
) -> Response:
    """Answer a request (RFC 3261 §8.2.6), also one that came with a MessageError.

    Via, From, Call-ID, CSeq and Timestamp are copied as they came; To likewise, with `to_tag`
    added if it has none; Record-Route where the response may form a dialog (§12.1.1).

    Raises:
        ValueError: a value that may not be written (A15).
    """
    copied = Headers()
    copied.copy_from(request.headers, "Via")
    copied.copy_from(request.headers, "From", "To", "Call-ID", "CSeq", "Timestamp")
    if 100 < status < 300 and request.method in _FORMS_DIALOG:
        copied.copy_from(request.headers, "Record-Route")
    if to_tag is not None:
        _add_to_tag(copied, to_tag)
    for name, value in headers:
        copied.add(name, value)
    if body:
        copied.add("Content-Type", content_type)
    if reason is None:
        reason = REASONS.get(status, "")
    return Response(status, check_text(reason), copied, body)


def mark_source(request: Request, host: str, port: int) -> None:
    """Write into the topmost Via where the request came from (RFC 3261 §18.2.1, RFC 3581 §4)."""
    text = request.headers.get_all("Via")[0]
    top, position = request.via, None
    if "," in text:
        top, position = scan_via(text, 0)
    parameters = top.parameters
    if parameters.has("rport"):
        parameters = parameters.replace("rport", str(port))
    elif top.host == host:
        return
    marked = replace(top, parameters=parameters.replace("received", host))
    others = "" if position is None else "," + text[position:]
    request.headers.rewrite_first("Via", f"{marked}{others}")


def _read_head(text: str) -> tuple[Message, int | None]:
    start, _, rest = text.partition("\r\n")
    if not text.count("\n") == text.count("\r") == text.count("\r\n"):
        # A lone CR or LF ends a line for some readers and not for others: smuggling (A16).
        raise RemoteProtocolError("CR or LF that ends no line")
    message = _read_start_line(start)
    lines = rest.split("\r\n") if rest else []
    fields = _read_fields(_unfold(lines) if _is_folded(text) else lines)
    values: dict[str, list[str]] = {}
    for key, _, value in fields:
        values.setdefault(key, []).append(value)
    _check_counts(values)
    views = {key: read(values.get(key, [])) for key, read in HANDLED_BY.items()}
    length = None
    if "content-length" in values:
        length = parse_number(values["content-length"][0])
        fields = [each for each in fields if each[0] != "content-length"]
    message.headers = Headers.trusted(fields, views)
    if len(message.vias) > MAX_VIAS:
        raise RemoteProtocolError(f"{len(message.vias)} Vias", status=513)
    method = message.cseq.method
    if isinstance(message, Request) and method != message.method:
        raise RemoteProtocolError(f"CSeq of {method[:20]!r} in {message.method[:20]!r}")
    return message, length


def _read_start_line(line: str) -> Message:
    if line[:4].upper() == "SIP/":
        return _read_status_line(line)
    words = line.split(" ")
    if len(words) != 3 or not is_token(words[0]):
        raise RemoteProtocolError(f"bad request line: {line[:60]!r}")
    method, uri, version = words
    if version.upper() != "SIP/2.0":
        is_version = version[:4].upper() == "SIP/"
        raise RemoteProtocolError(f"version {version[:20]!r}", status=505 if is_version else 400)
    if len(uri) > MAX_URI_BYTES:
        raise RemoteProtocolError(f"Request-URI of {len(uri)} bytes", status=414)
    target = parse_uri(uri)
    if target.headers:
        raise RemoteProtocolError("headers in the Request-URI")  # RFC 3261 §19.1.1, table 1
    return Request(method, uri)


def _read_status_line(line: str) -> Response:
    version, _, rest = line.partition(" ")
    status, _, reason = rest.partition(" ")
    if version.upper() != "SIP/2.0" or len(status) != 3:
        raise RemoteProtocolError(f"bad status line: {line[:60]!r}")
    number = parse_number(status, 699)
    if number < 100:
        raise RemoteProtocolError(f"status {status}")
    return Response(number, clean(reason))


def _read_fields(lines: list[str]) -> list[tuple[str, str, str]]:
    if len(lines) > MAX_HEADERS:
        raise RemoteProtocolError(f"{len(lines)} headers", status=513)
    fields = []
    for line in lines:
        if len(line) > MAX_LINE_BYTES:
            raise RemoteProtocolError(f"header of {len(line)} bytes", status=513)
        name, colon, value = line.partition(":")
        name = name.rstrip(" \t")  # RFC 3261 §7.3.1 allows it; anything else before ":" is no token
        if not colon:
            raise RemoteProtocolError(f"header without a colon: {line[:40]!r}")
        try:
            fields.append((header_key(name), name, value.strip(" \t")))
        except ValueError as error:
            raise RemoteProtocolError(str(error)) from None
    return fields


def _is_folded(text: str) -> bool:
    return "\r\n " in text or "\r\n\t" in text


def _unfold(lines: list[str]) -> list[str]:
    """Join continuation lines to what they continue, with one space (RFC 3261 §7.3.1)."""
    unfolded: list[list[str]] = []
    for line in lines:
        if line[:1] not in (" ", "\t"):
            unfolded.append([line])
        elif not unfolded:
            raise RemoteProtocolError("white space before the first header")
        elif part := line.strip(" \t"):
            unfolded[-1].append(part)
    return [" ".join((first.rstrip(" \t"), *parts)) for first, *parts in unfolded]


def _check_counts(values: Mapping[str, list[str]]) -> None:
    for key in _MANDATORY:
        if key not in values:
            raise RemoteProtocolError(f"no {key}")
    for key in _SINGLE:
        if len(values.get(key, ())) > 1:
            raise RemoteProtocolError(f"{key} given twice")


def _salvage(text: str) -> Request | None:
    """Whatever of a broken request is needed to answer it; None when it cannot be answered."""
    start, _, rest = text.replace("\r\n ", " ").replace("\r\n\t", " ").partition("\r\n")
    method, _, uri = start.partition(" ")
    if not is_token(method) or not uri or method == "ACK":
        return None
    fields = []
    seen = set()
    for line in rest.split("\r\n")[:MAX_HEADERS]:
        name, colon, value = line.partition(":")
        name = name.rstrip(" \t")
        if not colon or not is_token(name) or "\r" in value or "\n" in value:
            continue
        key = header_key(name)
        if key in _ECHOED and (key in ("via", "record-route") or key not in seen):
            fields.append((key, name, value.strip(" \t")))
            seen.add(key)
    if not all(key in seen for key in _MANDATORY):
        return None
    return Request(method, uri, Headers.trusted(fields))


def _answerable(message: Message) -> Request | None:
    return message if isinstance(message, Request) and message.method != "ACK" else None


def _write(start: str, message: Message) -> bytes:
    if "\r" in start or "\n" in start or "\0" in start:
        raise ValueError("line break or NUL in the start line")
    lines = [start]
    lines += [f"{name}: {value}" for _, name, value in message.headers.fields()]
    lines.append(f"Content-Length: {len(message.body)}\r\n\r\n")
    return encode("\r\n".join(lines)) + message.body


def _add_to_tag(headers: Headers, tag: str) -> None:
    text = headers.get("to") or ""
    try:
        if parse_address(text).tag is not None:
            return
    except RemoteProtocolError:
        pass  # broken, and still answered
    if not is_token(tag):
        raise ValueError(f"not a tag: {tag[:40]!r}")
    headers.rewrite_first("To", f"{text};tag={tag}")
