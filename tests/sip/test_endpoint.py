"""The endpoint: what it refuses, what it ignores, what it keeps, and what it forgets."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import CapacityError
from gateway.sip.core import follow_address
from gateway.sip.endpoint import EndpointOptions
from gateway.sip.event import Acked, Answered, EndCause, Ended, Gone, Incoming
from gateway.sip.flow import Flow
from gateway.sip.message import Response, parse_message
from gateway.sip.session import Session
from gateway.sip.uri import parse_uri
from tests.support.sip import ANSWER, OFFER, Line, Peer, Station, Wire

VECTORS = Path(__file__).parent.parent / "vectors" / "rfc4475"
SOURCE = ("198.51.100.1", 5060)
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY"


class Desk:
    """Our endpoint, and what it answers to text."""

    def __init__(self, options: EndpointOptions | None = None) -> None:
        self.wire = Wire()
        self.us = Station(self.wire, ("192.0.2.1", 5060), options)
        self.peer = Peer(self.wire, SOURCE)

    def ask(self, text: str | bytes) -> Response | None:
        """Send one datagram; the first answer, if there is one within 100 ms."""
        self.peer.inbox.clear()
        self.peer.send(self.us, text)
        self.wire.run(0.1)
        return next((m for m in self.peer.inbox if isinstance(m, Response)), None)

    def status(self, text: str | bytes) -> int | None:
        """Likewise, the status of the first answer, which may echo what no parser takes."""
        self.peer.datagrams.clear()
        self.ask(text)
        return next((int(data.split()[1]) for data in self.peer.datagrams), None)


def make(
    method: str = "INVITE",
    *headers: str,
    uri: str = "sip:bob@192.0.2.1",
    via: str = "SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKx",
    to: str = "<sip:bob@example.com>",
    call_id: str = "call",
    body: str = "",
) -> str:
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: {via}",
        "From: <sip:alice@example.com>;tag=a",
        f"To: {to}",
        f"Call-ID: {call_id}",
        f"CSeq: 1 {method}",
        "Contact: <sip:alice@198.51.100.1>",
        *([] if any(header.startswith("Max-Forwards") for header in headers) else ["MF: 70"]),
        *headers,
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines) + "\r\n\r\n" + body


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.mark.rfc(3261, "11.2")
def test_options_says_what_we_can_do(desk: Desk) -> None:
    response = desk.ask(make("OPTIONS"))

    assert response is not None
    assert response.status == 200
    assert ", ".join(response.allow) == ALLOW
    assert response.headers.get("Accept") == "application/sdp"
    assert response.headers.get("Supported") == "100rel, timer, replaces, norefersub"
    assert response.headers.get("Server") == "voice-gateway"
    assert desk.us.endpoint.is_idle


@pytest.mark.rfc(3261, "8.2")
@pytest.mark.parametrize(
    ("text", "status", "header", "value"),
    [
        (make("REGISTER"), 405, "Allow", ALLOW),
        (make("FLY"), 501, "Allow", ALLOW),
        (make(uri="nobody:knows"), 416, None, None),
        (make("INVITE", "Max-Forwards: 0"), 483, None, None),
        (make("INVITE", "Require: 100rel, y", "Require: x"), 420, "Unsupported", "y, x"),
        (make("INVITE", "Proxy-Require: y"), 420, "Unsupported", "y"),
        (make("INVITE", "Require: \x01"), 400, None, None),
        (make("INVITE", "Content-Type: text/plain", body="x"), 415, "Accept", "application/sdp"),
        (make("INVITE", body="x"), 415, "Accept", "application/sdp"),
        (
            make("INVITE", "Content-Type: application/sdp", "Content-Encoding: gzip", body="x"),
            415,
            "Accept-Encoding",
            "identity",
        ),
        (make("INVITE", "Accept: text/plain"), 406, "Accept", "application/sdp"),
        (make("BYE", to="<sip:bob@example.com>;tag=x"), 481, None, None),
        (make("BYE"), 481, None, None),
        (make("INFO"), 481, None, None),
        (make("CANCEL"), 481, None, None),
        (make("INVITE", to="<sip:bob@example.com>;tag=x"), 481, None, None),
        (make("OPTIONS", to="<sip:bob@example.com>;tag=x"), 481, None, None),
    ],
)
def test_s18_refusals_keep_nothing(
    desk: Desk, text: str, status: int, header: str | None, value: str | None
) -> None:
    response = desk.ask(text)

    assert response is not None
    assert response.status == status
    assert header is None or response.headers.get(header) == value
    assert response.to.tag
    assert desk.us.endpoint.is_idle
    assert desk.us.events == []


@pytest.mark.parametrize(
    "headers",
    [
        ("Accept: text/plain, application/*;q=0.3",),
        ("Accept: */*",),
        ("Content-Type: application/isup", "Content-Disposition: signal;handling=optional"),
        ("Supported: 100rel, timer",),
    ],
)
def test_what_can_be_lived_with_is_no_reason_to_refuse(
    desk: Desk, headers: tuple[str, ...]
) -> None:
    assert (
        desk.status(make("INVITE", *headers, body="x" if headers[0].startswith("C") else ""))
        is None
    )

    assert desk.us.called.offer is None


@pytest.mark.rfc(3261, "8.2.7")
def test_refusal_of_a_resent_request_is_the_same(desk: Desk) -> None:
    first = desk.ask(make("INVITE", "Require: x"))
    second = desk.ask(make("INVITE", "Require: x"))
    other = desk.ask(make("INVITE", "Require: x", call_id="other"))

    assert bytes(first or b"") == bytes(second or b"")
    assert first is not None
    assert other is not None
    assert first.to.tag != other.to.tag


@pytest.mark.parametrize(
    "text",
    [
        make("ACK"),
        make("ACK", to="<sip:bob@example.com>;tag=x"),
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKno\r\nFrom: <sip:a@b>;tag=a\r\n"
        "To: <sip:a@b>;tag=b\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n",
    ],
)
def test_s18_strays_are_never_answered(desk: Desk, text: str) -> None:
    assert desk.status(text) is None
    assert desk.us.endpoint.strays == 1
    assert desk.us.endpoint.is_idle


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (make().replace("SIP/2.0\r\n", "SIP/7.0\r\n", 1), 505),
        (make().replace("CSeq: 1 INVITE", "CSeq: 1 BYE"), 400),
        (make("ACK").replace("CSeq: 1 ACK", "CSeq: x"), None),
        ("rubbish", None),
        ("SIP/2.0 99999 Huge\r\n\r\n", None),
    ],
)
def test_malformed_requests_are_answered_and_all_else_dropped(
    desk: Desk, text: str, status: int | None
) -> None:
    assert desk.status(text) == status
    assert desk.us.endpoint.malformed == 1
    assert desk.us.endpoint.is_idle


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"\0\0\0\0"])
def test_keep_alives_are_no_faults(desk: Desk, data: bytes) -> None:
    assert desk.status(data) is None
    assert desk.us.endpoint.malformed == 0


@pytest.mark.rfc(3581, "4")
@pytest.mark.parametrize(
    ("via", "marked"),
    [
        (
            "SIP/2.0/UDP 10.0.0.1:5080;branch=z9hG4bKx;rport",
            "SIP/2.0/UDP 10.0.0.1:5080;branch=z9hG4bKx;rport=5060;received=198.51.100.1",
        ),
        (
            "SIP/2.0/UDP phone.example:5080;branch=z9hG4bKx",
            "SIP/2.0/UDP phone.example:5080;branch=z9hG4bKx;received=198.51.100.1",
        ),
        (
            "SIP/2.0/UDP 198.51.100.1:5080;branch=z9hG4bKx",
            "SIP/2.0/UDP 198.51.100.1:5080;branch=z9hG4bKx",
        ),
    ],
)
def test_responses_go_to_the_source_and_name_it(desk: Desk, via: str, marked: str) -> None:
    response = desk.ask(make("OPTIONS", via=via))

    assert response is not None
    assert str(response.via) == marked


@pytest.mark.parametrize(
    ("name", "status"),
    {
        "badbranch": 200, "badvers": 505, "bext01": 420, "cparam01": 405, "cparam02": 405,
        "dblreq": 405, "esc02": 501, "escnull": 405, "intmeth": 501, "invut": 415, "lwsdisp": 200,
        "mpart01": 405, "novelsc": 416, "regaut01": 405, "regescrt": 405, "sdp01": 406,
        "semiuri": 200, "transports": 200, "unkscm": 416, "unksm2": 405, "wsinv": 481,
        "zeromf": 483, "badinv01": 400, "clerr": 400, "mismatch01": 400, "ncl": 400,
        "unreason": None, "noreason": None, "bigcode": None, "scalarlg": None, "bcast": None,
    }.items(),
)  # fmt: skip
@pytest.mark.rfc(4475, "3")
def test_torture_messages_are_answered(desk: Desk, name: str, status: int | None) -> None:
    assert desk.status((VECTORS / f"{name}.dat").read_bytes()) == status
    assert desk.us.endpoint.is_idle


@pytest.mark.parametrize("name", ["baddate", "esc01", "inv2543", "longreq"])
@pytest.mark.rfc(4475, "3")
def test_torture_invites_are_calls(desk: Desk, name: str) -> None:
    assert desk.status((VECTORS / f"{name}.dat").read_bytes()) is None
    assert len(desk.us.all(Incoming)) == 1


def test_420_names_what_is_not_supported(desk: Desk) -> None:
    response = desk.ask((VECTORS / "bext01.dat").read_bytes())

    assert response is not None
    tags = "nothingSupportsThis, nothingSupportsThisEither"
    assert response.headers.get("Unsupported") == tags


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_mangled_messages_never_raise(data: st.DataObject) -> None:
    desk = Desk()
    original = data.draw(st.sampled_from(sorted(VECTORS.glob("*.dat")))).read_bytes()
    start = data.draw(st.integers(0, len(original)))
    end = data.draw(st.integers(start, min(len(original), start + 20)))
    junk = data.draw(st.binary(max_size=12) | st.sampled_from([b"\r\n", b";tag=x", b"<", b'"']))

    desk.us.receive(original[:start] + junk + original[end:], SOURCE, desk.wire.now)
    desk.wire.run(0.1)

    assert all(datagram.startswith(b"SIP/2.0 ") for datagram in desk.peer.datagrams)


def test_sessions_beyond_the_limit_get_503_with_retry_after() -> None:
    desk = Desk(EndpointOptions(max_sessions=2, retry_after_s=7))
    for number in range(2):
        via = f"SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKok{number}"
        assert desk.status(make("INVITE", via=via, call_id=f"c{number}")) is None

    response = desk.ask(make("INVITE", call_id="more"))

    assert response is not None
    assert (response.status, response.retry_after_s) == (503, 7)
    with pytest.raises(CapacityError):
        desk.us.invite(SOURCE)
    desk.us.all(Incoming)[0].session.reject(486, desk.wire.now)
    desk.wire.run(0.1)
    assert desk.status(make("INVITE", call_id="again")) is None
    assert len(desk.us.all(Incoming)) == 3


def test_transactions_are_bounded_and_bye_still_gets_through() -> None:
    wire = Wire()
    line = Line(wire, EndpointOptions(max_transactions=6))
    session, called = line.connect()
    peer = Peer(wire, SOURCE)
    for number in range(20):
        text = make("OPTIONS", to=f"<sip:bob@example.com>;tag={called.id}", call_id=called.call_id)
        text = text.replace("tag=a", f"tag={session.id}").replace("z9hG4bKx", f"z9hG4bKx{number}")
        peer.send(line.callee, text)
        wire.run(0.05)

    session.bye(wire.now)
    wire.run(1)

    assert (len(peer.got("200 OPTIONS")), len(peer.got("503 OPTIONS"))) == (5, 15)
    assert line.callee.one(Ended).cause is EndCause.BYE
    wire.run(40)
    assert line.is_idle


def test_flood_of_refused_invites_keeps_nothing(desk: Desk) -> None:
    for number in range(200):
        desk.us.receive(
            make("INVITE", "Require: x", call_id=f"f{number}").encode(), SOURCE, desk.wire.now
        )

    assert desk.us.endpoint.is_idle


def outcomes() -> dict[str, Callable[[Line], None]]:
    """Ways a call can go."""

    def answered(line: Line) -> None:
        session, _ = line.connect()
        line.run(1)
        session.bye(line.wire.now)

    def hung_up_by_callee(line: Line) -> None:
        line.connect()[1].bye(line.wire.now)

    def busy(line: Line) -> None:
        line.dial()
        line.callee.all(Incoming)[-1].session.reject(486, line.wire.now)

    def cancelled(line: Line) -> None:
        session = line.dial()
        line.callee.all(Incoming)[-1].session.progress(180, None, line.wire.now)
        line.run(0.1)
        session.cancel(line.wire.now)

    def unacknowledged(line: Line) -> None:
        line.dial()
        line.wire.drop_next(20, "200 INVITE")
        line.callee.all(Incoming)[-1].session.answer(ANSWER, line.wire.now)
        line.run(40)

    def unreachable(line: Line) -> None:
        line.wire.drop_next(7, "INVITE")
        line.dial()
        line.run(33)

    def dropped(line: Line) -> None:
        line.dial()
        line.callee.all(Incoming)[-1].session.drop(line.wire.now)
        line.run(33)

    return {call.__name__: call for call in (
        answered, hung_up_by_callee, busy, cancelled, unacknowledged, unreachable, dropped,
    )}  # fmt: skip


@pytest.mark.parametrize("outcome", outcomes())
def test_nothing_is_left_of_a_call(outcome: str) -> None:
    line = Line()
    # `connect` looks for the only call; each round has a line of events of its own.
    for _ in range(3):
        line.caller.events.clear()
        line.callee.events.clear()
        outcomes()[outcome](line)
        line.run(75)

        assert line.is_idle
        for station in (line.caller, line.callee):
            ended = {event.session.id for event in station.all(Ended)}
            assert {event.session.id for event in station.all(Gone)} == ended
    left = [weakref.ref(e.session) for s in (line.caller, line.callee) for e in s.all(Ended)]
    line.caller.events.clear()
    line.callee.events.clear()
    gc.collect()
    assert [each() for each in left if each() is not None] == []


def play(line: Line, dice: random.Random) -> None:
    """One call of random commands at random times over whatever wire there is."""
    session = line.caller.invite(line.callee.address, offer=dice.choice([OFFER, None]))
    for _ in range(dice.randrange(6)):
        line.run(dice.choice([0.0, 0.01, 0.3, 1.0, 3.0, 20.0]))
        act(line, session, dice)


def act(line: Line, session: Session, dice: random.Random) -> None:
    now = line.wire.now
    called = [event.session for event in line.callee.all(Incoming)]
    choice = dice.randrange(9)
    if choice == 0:
        session.bye(now)
    elif called and choice == 1:
        called[-1].bye(now)
    elif called and choice == 2:
        called[-1].reject(dice.choice([302, 404, 486, 503, 603]), now)
    elif called and choice == 3:
        called[-1].progress(183, ANSWER, now)
    elif called and choice == 4:
        called[-1].drop(now)
    elif called and choice < 8:
        called[-1].answer(ANSWER, now)
    settle_offers(line)


def settle_offers(line: Line) -> None:
    """Answer late offers, as a leg would."""
    for event in line.caller.all(Answered):
        event.session.ack(ANSWER, line.wire.now)


def is_up(station: Station) -> bool:
    return bool(station.all(Answered) or station.all(Acked)) and not station.all(Ended)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), loss=st.sampled_from([0.0, 0.1, 0.25]))
def test_bad_wire_leaves_both_up_or_both_gone(seed: int, loss: float) -> None:
    line = Line()
    line.wire.impair(seed, loss=loss, duplication=0.2, jitter_s=1.0)
    play(line, random.Random(seed))
    for _ in range(40):
        line.run(1)
        settle_offers(line)

    assert is_up(line.caller) == is_up(line.callee)
    for station in (line.caller, line.callee):
        for each in {id(e.session): e.session for e in station.all_of_sessions()}.values():
            each.bye(line.wire.now)
    line.run(32 + 40)

    assert line.is_idle
    for station in (line.caller, line.callee):
        started = {id(event.session) for event in station.all_of_sessions()}
        assert len(station.all(Ended)) == len(station.all(Gone)) == len(started) <= 1


@pytest.mark.parametrize(
    ("uri", "remote", "followed"),
    [
        ("sip:192.0.2.7:5070", "192.0.2.9", ("192.0.2.7", 5070)),
        ("sip:bob@192.0.2.7;lr", "192.0.2.9", ("192.0.2.7", 5060)),
        ("sip:192.0.2.7;transport=tcp", "192.0.2.9", None),
        ("sip:sbc.example.com", "192.0.2.9", None),
        ("tel:+15550100", "192.0.2.9", None),
        ("sip:[2001:db8::1]", "192.0.2.9", None),
        ("sip:0.0.0.0", "192.0.2.9", None),
        ("sip:224.0.0.1", "192.0.2.9", None),
        ("sip:127.0.0.1", "192.0.2.9", None),
        ("sip:127.0.0.1:5070", "127.0.0.1", ("127.0.0.1", 5070)),
        ("sip:10.0.0.1", "8.8.8.8", None),
        ("sip:10.0.0.1", "10.0.0.9", ("10.0.0.1", 5060)),
    ],
)
def test_next_hop_is_followed_where_it_can_be(
    uri: str, remote: str, followed: tuple[str, int] | None
) -> None:
    flow = Flow("udp", ("192.0.2.1", 5060), (remote, 5060))

    assert follow_address(parse_uri(uri), flow).remote == (followed or flow.remote)


def test_advertised_contact_is_in_via_and_contact() -> None:
    public = parse_uri("sip:gw@203.0.113.7:5080")
    desk = Desk(EndpointOptions(contact=lambda flow: public, user_agent=""))

    desk.us.invite(SOURCE)
    desk.wire.run(0.1)

    invite = desk.peer.request("INVITE")
    assert (invite.via.host, invite.via.port) == ("203.0.113.7", 5080)
    assert str(invite.contacts[0].uri) == str(public)
    assert invite.headers.get("User-Agent") is None


def test_tags_and_branches_come_from_new_token() -> None:
    desk = Desk()

    session = desk.us.invite(SOURCE)
    desk.wire.run(0.1)

    invite = desk.peer.request("INVITE")
    assert invite.from_.tag == session.id
    tokens = {invite.from_.tag, invite.call_id, (invite.via.branch or "").removeprefix("z9hG4bK")}
    assert len(tokens) == 3
    assert all(token is not None and token.startswith("t1x") for token in tokens)
    assert parse_message(bytes(invite)) == invite
