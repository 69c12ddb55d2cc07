"""What reads bytes of strangers, each as a target: a value, or the documented error, and no more.

A target takes any bytes. It raises AssertionError where a value does not survive being written
and read again; whatever else it raises is a bug. How much work it may take is in `test_contract`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from gateway.agents.twiml.document import TwimlError, parse_twiml
from gateway.agents.twiml.program import Fetch, Finish, Program
from gateway.errors import GatewayError, RemoteProtocolError
from gateway.leg.info import read_press
from gateway.leg.leg import Ended
from gateway.leg.meaning import told_end
from gateway.private import Secret
from gateway.sdp.description import parse_sdp
from gateway.sdp.negotiation import accept_answer, answer_offer, build_offer
from gateway.sip.auth import choose_challenge, parse_challenges
from gateway.sip.challenge import Challenger
from gateway.sip.endpoint import Endpoint, EndpointOptions
from gateway.sip.event import EndCause
from gateway.sip.event import Ended as SessionEnded
from gateway.sip.flow import Flow
from gateway.sip.framing import KeepAlive, StreamFramer
from gateway.sip.grammar import decode
from gateway.sip.header import parse_addresses
from gateway.sip.inspection import inspect_request
from gateway.sip.invite_client import InviteClient
from gateway.sip.message import MessageError, Request, Response, build_response, parse_message
from gateway.sip.refer import read_refer_to, read_sipfrag
from gateway.sip.reliable import rseq_of
from gateway.sip.replaces import parse_replaces, read_replaces
from gateway.sip.session_timer import DEFAULT_SESSION_TIMER, inspect_interval
from gateway.sip.uri import parse_uri
from gateway.trunk.headers import HeaderOptions, take_attributes
from gateway.trunk.identity import read_identity
from gateway.trunk.numbers import NumberFormat, NumberOptions, called_of
from gateway.users.domain import Domains
from gateway.users.registrar import Registrar
from gateway.users.user import User
from tests.fuzz.wire_targets import WIRES
from tests.sdp.media import BROWSER_CODECS, ORIGIN, udp_media, webrtc_media
from tests.sip.samples import SDP, request_bytes
from tests.sip.test_torture import check_contract

VECTORS = Path(__file__).parents[1] / "vectors"

GERMANY = NumberOptions(NumberFormat.E164, country_code="49", national_prefix="0")
PHONE = Flow("udp", ("192.0.2.1", 5060), ("203.0.113.7", 5060))


@dataclass(frozen=True, slots=True)
class Target:
    """One reader, and bytes to begin with."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    steps_per_byte: int
    "Calls of functions, Python's and C's, that each byte may cost."


def read_message(data: bytes) -> None:
    """One datagram, every view of it, an answer to it, and the round trip."""
    check_contract(data)


def read_stream(data: bytes) -> None:
    """The same bytes on a stream are the same messages, however they are cut."""
    whole, cut = StreamFramer(), StreamFramer()
    whole.feed(data)
    found = list(take(whole))
    pieces: list[bytes | KeepAlive | None] = []
    for start in range(0, len(data), 61):
        cut.feed(data[start : start + 61])
        pieces += take(cut)
        if pieces[-1:] == [None]:
            break
    assert pieces == found


def take(framer: StreamFramer) -> Iterable[bytes | KeepAlive | None]:
    """What is complete; None at the end of a stream that nothing more is read of."""
    try:
        while (item := framer.next()) is not None:
            yield item
    except MessageError as error:
        if error.request is not None:
            bytes(build_response(error.request, error.status, to_tag="ours"))
        yield None


def read_uri(data: bytes) -> None:
    """A URI is what it is written as; so is whom it dials."""
    try:
        uri = parse_uri(decode(data))
    except RemoteProtocolError:
        return
    assert parse_uri(str(uri)) == uri
    called_of(uri, GERMANY)


def read_sdp(data: bytes) -> None:
    """A description is a fixed point; as an offer and as an answer it is taken or refused."""
    try:
        description = parse_sdp(data)
    except RemoteProtocolError:
        return
    assert parse_sdp(bytes(description)) == description
    for media in (udp_media(), webrtc_media()):
        with suppress(GatewayError):
            answer, _ = answer_offer(description, media=media, codecs=BROWSER_CODECS, origin=ORIGIN)
            assert len(answer.media) == len(description.media)
            again = parse_sdp(bytes(answer))
            assert [(m.kind, m.port) for m in again.media] == [
                (m.kind, m.port) for m in answer.media
            ]
        with suppress(GatewayError):
            accept_answer(build_offer(media, codecs=BROWSER_CODECS, origin=ORIGIN), description)


def read_invite(data: bytes) -> None:
    """Header lines of a call: who calls, whom, in whose place, for how long."""
    request = in_request("INVITE", data)
    if request is None:
        return
    read_identity(request, GERMANY, trusted=True)
    take_attributes(request.headers, HeaderOptions(taken=("X-*", "Subject")))
    inspect_request(request, is_initial=True)
    with suppress(RemoteProtocolError):
        inspect_interval(request, DEFAULT_SESSION_TIMER)
    with suppress(RemoteProtocolError):
        replaces = read_replaces(request)
        assert replaces is None or parse_replaces(str(replaces)) == replaces


def read_refer(data: bytes) -> None:
    """Header lines of a REFER."""
    request = in_request("REFER", data)
    if request is not None:
        with suppress(RemoteProtocolError):
            target, _ = read_refer_to(request)
            assert target.headers == ()


def read_register(data: bytes) -> None:
    """Header lines of a REGISTER: an answer, whatever they are, and no more than 10 phones."""
    request = in_request("REGISTER", data)
    if request is None:
        return
    registrar = Registrar([User("ann", Secret("secret"))], Domains(["192.0.2.1"]))
    reply = registrar.receive(request, PHONE, "ann", 0.0)
    bytes(build_response(request, reply.status, to_tag="ours", headers=reply.headers))
    assert len(registrar.contacts_of("ann")) <= 10
    Challenger(b"key", "voice", ("SHA-256", "MD5")).verify(
        request, lambda name, algorithm: Secret("secret"), 0.0
    )


def read_response(data: bytes) -> None:
    """Header lines of a refusal: challenges, contacts, how long to wait."""
    lines = b"SIP/2.0 302 Moved\r\n" + request_bytes().partition(b"\r\n")[2][:-2]
    try:
        response = parse_message(lines.replace(b"Contact: ", b"X: ") + data + b"\r\n\r\n")
    except MessageError:
        return
    assert isinstance(response, Response)
    with suppress(RemoteProtocolError):
        choose_challenge(parse_challenges(response.headers.get_all("WWW-Authenticate")))
    with suppress(RemoteProtocolError):
        assert (response.retry_after_s or 0) >= 0
    rseq_of(response)
    ended = SessionEnded(
        session_of_nobody(), EndCause.REJECTED, 302, response.reason, headers=response.headers
    )
    told = told_end(ended, may_redirect=True)
    assert isinstance(told, Ended)
    assert len(told.contacts) <= 5


def read_body(data: bytes) -> None:
    """What NOTIFY and INFO bring."""
    head = request_bytes(f"Content-Length: {len(data)}", method="NOTIFY")
    if len(data) < 20_000:
        notify = parse_message(head + data)
        assert isinstance(notify, Request)
        status, reason = read_sipfrag(notify)
        assert status == 0 or 100 <= status < 700
        assert "\n" not in reason
    for kind in ("application/dtmf-relay", "application/dtmf"):
        press = read_press(kind, data)
        assert press is None or 40 <= press[1] <= 10_000


def read_addresses(data: bytes) -> None:
    """Names and addresses, as From, Contact and Route have them."""
    with suppress(RemoteProtocolError):
        addresses = parse_addresses(decode(data))
        again = parse_addresses(", ".join(map(str, addresses)))
        assert [each.uri for each in again] == [each.uri for each in addresses]


def receive(data: bytes) -> None:
    """A whole endpoint takes it, says nothing that is no response, and is done in 40 s."""
    tokens = (f"t0ken{number:04}" for number in count())
    endpoint = Endpoint(EndpointOptions(), new_token=lambda: next(tokens))
    endpoint.receive(data, PHONE, 0.0)
    now = 0.0
    while (due := endpoint.next_timer()) is not None and due < 40:
        now = max(now, due)
        endpoint.handle_timer(now)
    for output in endpoint.take_output():
        assert getattr(output, "data", b"").startswith(b"SIP/2.0 ")


def in_request(method: str, lines: bytes) -> Request | None:
    """A request with these header lines beside the usual; None if it is not accepted."""
    head = request_bytes(method=method, uri="sip:192.0.2.1" if method == "REGISTER" else "sip:a@b")
    try:
        message = parse_message(head[:-2] + lines + b"\r\n\r\n")
    except MessageError:
        return None
    assert isinstance(message, Request)
    return message


def session_of_nobody() -> InviteClient:
    """A session for events that name one."""
    return object.__new__(InviteClient)


def files(*patterns: str) -> tuple[bytes, ...]:
    """Recorded messages."""
    found = [path for pattern in patterns for path in sorted(VECTORS.glob(pattern))]
    assert found
    return tuple(path.read_bytes() for path in found)


def read_twiml(data: bytes) -> None:
    """A document, and what it has done, one step after the other, to its end."""
    try:
        document = parse_twiml(data)
    except TwimlError:
        return
    program = Program()
    program.load(document, "https://a.example/voice")
    for _ in document.verbs:
        step = program.step()
        if isinstance(step, Fetch | Finish):
            break
        program.done(step, {"Digits": "1"})


MESSAGES = files("rfc4475/*.dat", "rfc5118/*.dat")

CALLER_LINES = (
    b'P-Asserted-Identity: "Ann" <sip:+4930123@h>, <tel:+4930123>\r\nPrivacy: id;critical',
    b'Remote-Party-ID: "Ann" <sip:030123@h>;party=calling;privacy=full;screen=yes',
    b"Diversion: <sip:1@h>;reason=user-busy;counter=1, <tel:2>;reason=unconditional",
    b"History-Info: <sip:1@h?Reason=SIP%3Bcause%3D302>;index=1, <sip:2@h;cause=486>;index=1.1",
    b"Session-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\nSupported: timer, 100rel",
    b"Replaces: a@b;to-tag=1;from-tag=2;early-only\r\nRequire: replaces",
    b"X-Account: 42\r\nX-Account: 43\r\nSubject: =?utf-8?q?=41?=",
    b"Max-Breadth: 60\r\nAccept: application/sdp;level=1, */*\r\nContent-Disposition: session",
)

REFER_LINES = (
    b"Refer-To: <sip:+15550100@h;method=INVITE?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>",
    b"Refer-To: tel:+15550100;phone-context=+1\r\nReferred-By: <sip:a@h>",
)

REGISTER_LINES = (
    b'Expires: 60\r\nContact: <sip:a@203.0.113.7:5060>;q=0.5;expires=60;+sip.instance="<urn:x>"',
    b"Contact: *\r\nExpires: 0",
    b"Supported: path, outbound, gruu\r\nPath: <sip:p.example;lr;ob>\r\nContact: <sip:a@h;ob>",
    b'Authorization: Digest username="ann", realm="voice", nonce="1-1-x", uri="sip:h",'
    b' response="00", algorithm=MD5, qop=auth, nc=00000001, cnonce="c"',
)

RESPONSE_LINES = (
    b'WWW-Authenticate: Digest realm="a", nonce="b", qop="auth,auth-int", algorithm=SHA-256, x=y',
    b"WWW-Authenticate: Negotiate, Digest realm=a, nonce=b, Basic realm=c\r\nRetry-After: 5 (s)",
    b"Contact: <sip:1@h>;q=0.7, sip:2@h, <tel:+3>;q=1\r\nRSeq: 1\r\nRequire: 100rel",
)

TWIML = (
    b'<?xml version="1.0"?><Response><Gather numDigits="1" action="/k"><Say loop="2">Hi</Say>'
    b'<Play>a.wav</Play></Gather><Redirect method="GET">b?x=1&amp;y</Redirect></Response>',
    b'<Response><Connect action="/c"><Stream url="wss://a/b" statusCallback="/s"><Parameter'
    b' name="k" value="&#65;"/></Stream></Connect><Start><Stream url="wss://a" name="x"/></Start>'
    b'<Stop><Stream name="x"/></Stop></Response>',
    b'<Response><Dial timeout="9" callerId="+1"><Number sendDigits="w1">+2</Number></Dial>'
    b'<Refer><Sip>sip:a@b</Sip></Refer><Reject reason="busy"/><Dance/></Response>',
)

TARGETS = {
    "message": Target(read_message, MESSAGES, 4),
    "stream": Target(read_stream, (*MESSAGES, b"\r\n\r\n" + MESSAGES[0] + b"\r\n"), 4),
    "uri": Target(
        read_uri,
        (
            b"sip:a%20b;x=1:secret@[2001:db8::1]:5060;transport=tcp;lr?Subject=x&Route=%3Csip:b%3E",
            b"tel:+49-30-123;phone-context=+49;isub=1",
            b"sips:+15550100@192.0.2.1;user=phone",
        ),
        4,
    ),
    "sdp": Target(read_sdp, files("sdp/*.sdp"), 6),
    "invite": Target(read_invite, CALLER_LINES, 6),
    "refer": Target(read_refer, REFER_LINES, 4),
    "register": Target(read_register, REGISTER_LINES, 6),
    "response": Target(read_response, RESPONSE_LINES, 4),
    "body": Target(
        read_body,
        (b"SIP/2.0 200 OK\r\nTo: <sip:a@h>", b"Signal=5\r\nDuration=160", b"#", b" 11 "),
        4,
    ),
    "addresses": Target(
        read_addresses,
        (b'"J \\" R" <sip:a@h;x>;tag=1, sip:b@h;tag=2, Name of many <tel:+1>;q=0.1', b"*"),
        4,
    ),
    "twiml": Target(read_twiml, TWIML, 4),
    "endpoint": Target(receive, (*MESSAGES, request_bytes(body=SDP)), 6),
    **{name: Target(run, seeds, 12) for name, (run, seeds) in WIRES.items()},
}
