"""Requests outside of dialogs: ours, and those the node wants to have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.errors import CapacityError
from gateway.private import Secret
from gateway.sip.authenticator import Credentials
from gateway.sip.core import EndpointOptions
from gateway.sip.event import (
    HopAnswered,
    HopFailed,
    HopTrouble,
    IncomingRequest,
    Responded,
)
from gateway.sip.flow import Destination, Hop
from gateway.sip.header import parse_address
from gateway.sip.message import Request
from gateway.sip.request import OutgoingRequest
from gateway.sip.transaction import Failure
from gateway.sip.uri import Parameters, parse_uri
from tests.support.sip import LATENCY_S, Peer, Station, Wire

TRUNK = Destination("trunk.example")
NONCE = 'Digest realm="trunk", nonce="n1", algorithm=SHA-256, qop="auth"'
REGISTER = OutgoingRequest(
    method="REGISTER",
    target=parse_uri("sip:trunk.example"),
    from_=parse_address("<sip:alice@trunk.example>"),
    to=parse_address("<sip:alice@trunk.example>"),
    destination=TRUNK,
    headers=(("Expires", "3600"),),
    credentials=Credentials("alice", Secret("secret")),
    contact_user="t0k3n",
    contact_parameters=Parameters((("expires", "3600"),)),
)
OPTIONS = OutgoingRequest(
    method="OPTIONS",
    target=parse_uri("sip:trunk.example"),
    from_=parse_address("<sip:gateway@example.com>"),
    to=parse_address("<sip:trunk.example>"),
    destination=TRUNK,
)


class Desk:
    """Our endpoint, and the two hosts of a trunk."""

    def __init__(self, transport: str = "udp", options: EndpointOptions | None = None) -> None:
        self.wire = Wire()
        self.us = Station(self.wire, ("192.0.2.1", 5060), options)
        self.hosts = [Peer(self.wire, (f"192.0.2.{11 + n}", 5060)) for n in range(2)]
        self.hops = [Hop(transport, *host.address) for host in self.hosts]
        self.us.ways.names[TRUNK.host] = self.hops

    def send(self, request: OutgoingRequest) -> str:
        name = self.us.send(request)
        self.wire.run(2 * LATENCY_S)
        return name

    def last(self, host: int = 0) -> Request:
        message = self.hosts[host].inbox[-1]
        assert isinstance(message, Request)
        return message

    def say(self, status: int, *headers: tuple[str, str], host: int = 0) -> None:
        """Answer the last request that a host got."""
        self.hosts[host].respond(self.us, self.last(host), status, "t", headers=headers)
        self.wire.run(3 * LATENCY_S)

    def ask(self, text: str) -> None:
        self.hosts[0].send(self.us, text)
        self.wire.run(3 * LATENCY_S)

    @property
    def responded(self) -> Responded:
        return self.us.one(Responded)

    def statuses(self) -> list[int]:
        """What the first host was answered, in order."""
        return [int(data.split()[1]) for data in self.hosts[0].datagrams]


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ---- ours


@pytest.mark.rfc(3261, "11.1")
def test_answer_is_reported_with_the_hop_it_came_from(desk: Desk) -> None:
    name = desk.send(OPTIONS)

    desk.say(200)

    event = desk.responded
    assert event.id == name
    assert event.response is not None
    assert (event.response.status, event.failure) == (200, None)
    assert (event.hop, event.cseq) == (desk.hops[0], 1)
    assert event.flow == desk.us.open_flow(desk.hops[0])
    assert desk.us.one(HopAnswered).hop == desk.hops[0]
    desk.wire.run(10)
    assert desk.us.endpoint.is_idle


@pytest.mark.parametrize("status", [302, 404, 423, 500])
def test_any_final_response_is_an_answer(desk: Desk, status: int) -> None:
    desk.send(OPTIONS)

    desk.say(100)
    desk.say(status)
    desk.say(status)

    response = desk.responded.response
    assert response is not None
    assert response.status == status


@pytest.mark.rfc(3261, "10.2")
def test_request_says_what_it_was_given(desk: Desk) -> None:
    desk.send(
        replace(
            REGISTER,
            call_id="reg",
            cseq=17,
            from_tag="ft",
            route=(parse_address("<sip:edge.example;lr>"),),
            body=b"hello",
        )
    )

    request = desk.last()
    assert (request.call_id, str(request.cseq), request.from_.tag) == ("reg", "17 REGISTER", "ft")
    assert [str(route) for route in request.routes] == ["<sip:edge.example;lr>"]
    assert request.headers.get("Contact") == "<sip:t0k3n@192.0.2.1:5060>;expires=3600"
    assert (request.headers.get("Expires"), request.body) == ("3600", b"hello")
    assert str(request.content_type) == "text/plain"
    assert request.headers.get("User-Agent") == "voice-gateway"


def test_request_has_no_contact_unless_asked(desk: Desk) -> None:
    desk.send(OPTIONS)

    assert "Contact" not in desk.last().headers
    assert desk.last().max_forwards == 70


@pytest.mark.rfc(3261, "22.2")
def test_a9_challenge_is_answered_inside(desk: Desk) -> None:
    desk.send(REGISTER)
    first = desk.last()

    desk.say(401, ("WWW-Authenticate", NONCE))
    second = desk.last()
    desk.say(200)

    assert (first.call_id, first.from_) == (second.call_id, second.from_)
    assert first.via.branch != second.via.branch
    assert "SHA-256" in (second.headers.get("Authorization") or "")
    assert desk.responded.response is not None
    assert (desk.responded.response.status, desk.responded.cseq) == (200, 2)
    assert len(desk.us.all(HopAnswered)) == 1


def test_a9_wrong_password_is_tried_once(desk: Desk) -> None:
    desk.send(REGISTER)

    for number in (1, 2, 3):
        desk.say(401, ("WWW-Authenticate", NONCE.replace("n1", f"n{number}")))

    assert len(desk.hosts[0].inbox) == 2
    assert desk.responded.response is not None
    assert desk.responded.response.status == 401


def test_a9_stale_nonces_are_answered_twice_at_most(desk: Desk) -> None:
    desk.send(REGISTER)

    for number in range(5):
        challenge = f'Digest realm="trunk", nonce="s{number}", stale=true, qop="auth"'
        desk.say(401, ("WWW-Authenticate", challenge))

    assert len(desk.hosts[0].inbox) == 3
    assert desk.responded.cseq == 3


@pytest.mark.parametrize(
    "credentials", [None, Credentials("alice", Secret("secret"), "another realm")]
)
def test_a9_challenge_without_credentials_for_it_stays_final(
    desk: Desk, credentials: Credentials | None
) -> None:
    desk.send(replace(REGISTER, credentials=credentials))

    desk.say(401, ("WWW-Authenticate", NONCE))

    assert len(desk.hosts[0].inbox) == 1
    assert desk.responded.response is not None
    assert desk.responded.response.status == 401


@pytest.mark.rfc(3263, "4.3")
@pytest.mark.parametrize("fault", ["503", "silent", "dead"])
def test_next_hop_is_tried_with_the_same_number(desk: Desk, fault: str) -> None:
    if fault == "dead":
        desk.us.ways.dead.add(desk.hosts[0].address)
    desk.send(REGISTER)
    if fault == "503":
        desk.say(503, ("Retry-After", "9"))
    elif fault == "silent":
        desk.wire.run(4.1)
    sent = desk.wire.sent("REGISTER")
    first, second = sent[0].message, sent[-1].message

    desk.say(200, host=1)

    assert (first.call_id, first.from_, first.cseq) == (
        second.call_id, second.from_, second.cseq,
    )  # fmt: skip
    assert (desk.responded.hop, desk.responded.cseq) == (desk.hops[1], 1)
    failed = desk.us.one(HopFailed)
    assert (failed.hop, failed.why, failed.retry_after_s) == {
        "503": (desk.hops[0], HopTrouble.OVERLOADED, 9),
        "silent": (desk.hops[0], HopTrouble.SILENT, None),
        "dead": (desk.hops[0], HopTrouble.UNREACHABLE, None),
    }[fault]


def test_hop_that_was_left_is_not_listened_to(desk: Desk) -> None:
    desk.send(OPTIONS)
    desk.wire.run(4.1)

    desk.say(200, host=0)

    assert desk.us.all(Responded) == []
    assert desk.us.endpoint.strays == 1
    desk.say(404, host=1)
    assert desk.responded.response is not None
    assert desk.responded.response.status == 404


def test_no_hop_at_all_is_a_transport_failure(desk: Desk) -> None:
    desk.us.ways.names[TRUNK.host] = []

    desk.send(OPTIONS)

    event = desk.responded
    assert (event.response, event.failure) == (None, Failure.TRANSPORT)
    assert (event.hop, event.flow) == (None, None)
    assert desk.us.endpoint.is_idle


def test_time_out_is_over_all_hops(desk: Desk) -> None:
    desk.send(replace(OPTIONS, timeout_s=5.0))
    desk.wire.run(4.9)
    assert desk.us.all(Responded) == []

    desk.wire.run(0.2)
    sent = len(desk.wire.log)
    desk.wire.run(40)

    assert (desk.responded.failure, desk.responded.hop) == (Failure.TIMEOUT, desk.hops[1])
    assert [event.hop for event in desk.us.all(HopFailed)] == desk.hops
    assert len(desk.wire.log) == sent
    assert desk.us.endpoint.is_idle


def test_silence_ends_after_32_s(desk: Desk) -> None:
    desk.send(OPTIONS)

    desk.wire.run(33)

    assert desk.responded.failure is Failure.TIMEOUT
    assert desk.us.at(Responded) == pytest.approx(desk.wire.log[0].at + 32)
    assert desk.us.endpoint.is_idle


def test_request_on_a_flow_stays_on_it(desk: Desk) -> None:
    flow = desk.us.open_flow(Hop("tcp", *desk.hosts[1].address))

    desk.send(replace(OPTIONS, destination=None, flow=flow))
    desk.say(200, host=1)

    assert (desk.responded.flow, desk.responded.hop) == (flow, None)
    assert desk.us.all(HopAnswered) == []


def test_request_on_a_closed_flow_fails_at_once(desk: Desk) -> None:
    flow = desk.us.open_flow(Hop("tcp", *desk.hosts[1].address))
    desk.us.close_flow(desk.hosts[1].address)

    desk.send(replace(OPTIONS, destination=None, flow=flow))

    assert desk.responded.failure is Failure.TRANSPORT
    assert desk.wire.log == []


def test_request_on_a_flow_that_closes_fails_at_once(desk: Desk) -> None:
    flow = desk.us.open_flow(Hop("tcp", *desk.hosts[1].address))
    desk.send(replace(OPTIONS, destination=None, flow=flow))

    desk.us.close_flow(desk.hosts[1].address)
    desk.wire.run(0)

    assert desk.responded.failure is Failure.TRANSPORT
    assert desk.us.endpoint.is_idle


@pytest.mark.parametrize("name", ["Via", "f", "CSEQ", "Authorization", "Content-Type"])
def test_a14_structural_headers_cannot_be_chosen(name: str) -> None:
    with pytest.raises(ValueError, match="not a header to choose"):
        replace(OPTIONS, headers=((name, "x"),))


def test_a15_control_characters_are_refused(desk: Desk) -> None:
    with pytest.raises(ValueError, match="line break"):
        desk.us.send(replace(OPTIONS, headers=(("X-Name", "a\r\nb: c"),)))

    assert desk.us.endpoint.is_idle


def test_request_goes_either_on_a_flow_or_to_a_destination() -> None:
    with pytest.raises(ValueError, match="either"):
        replace(OPTIONS, destination=None)


def test_requests_are_bounded() -> None:
    desk = Desk(options=EndpointOptions(max_transactions=3))
    for _ in range(3):
        desk.us.send(OPTIONS)

    with pytest.raises(CapacityError):
        desk.us.send(OPTIONS)


# ---- theirs


def register(*headers: str, branch: str = "r1", method: str = "REGISTER") -> str:
    lines = [
        f"{method} sip:192.0.2.1 SIP/2.0",
        f"Via: SIP/2.0/UDP 10.0.0.5;branch=z9hG4bK{branch};rport",
        "From: <sip:ann@192.0.2.1>;tag=a",
        "To: <sip:ann@192.0.2.1>",
        "Call-ID: reg",
        f"CSeq: 1 {method}",
        "Contact: <sip:ann@10.0.0.5>",
        *headers,
    ]
    return "\r\n".join(lines) + "\r\n\r\n"


@pytest.fixture
def registrar() -> Desk:
    options = EndpointOptions(methods=frozenset({"REGISTER"}), extensions=frozenset({"path"}))
    return Desk(options=options)


@pytest.mark.rfc(3261, "10.3")
def test_request_of_a_wanted_method_is_reported_and_answered(registrar: Desk) -> None:
    registrar.ask(register())
    event = registrar.us.one(IncomingRequest)

    registrar.us.endpoint.respond(
        event.id, 200, registrar.wire.now, headers=(("Contact", "<sip:ann@10.0.0.5>;expires=60"),)
    )
    registrar.ask(register())

    assert event.request.via.received == "192.0.2.11"
    assert event.flow.remote == registrar.hosts[0].address
    first, again = registrar.hosts[0].got("200 REGISTER")
    assert bytes(first) == bytes(again)
    assert first.headers.get("Contact") == "<sip:ann@10.0.0.5>;expires=60"
    assert first.to.tag
    assert len(registrar.us.all(IncomingRequest)) == 1
    registrar.wire.run(33)
    assert registrar.us.endpoint.is_idle


def test_request_is_answered_once(registrar: Desk) -> None:
    registrar.ask(register())
    name = registrar.us.one(IncomingRequest).id

    for status in (100, 401, 200):
        registrar.us.endpoint.respond(name, status, registrar.wire.now)
    registrar.us.endpoint.respond("another", 200, registrar.wire.now)
    registrar.wire.run(0.1)

    assert registrar.statuses() == [100, 401]


@pytest.mark.rfc(4320, "4.2")
def test_request_that_nobody_answers_is_forgotten(registrar: Desk) -> None:
    registrar.ask(register())
    name = registrar.us.one(IncomingRequest).id

    registrar.wire.run(32)
    registrar.us.endpoint.respond(name, 200, registrar.wire.now)
    registrar.wire.run(1)

    assert registrar.statuses() == []
    assert registrar.us.endpoint.is_idle


@pytest.mark.rfc(3261, "8.2.1")
def test_methods_that_nobody_wants_are_refused_with_those_that_are(registrar: Desk) -> None:
    registrar.ask(register(method="PUBLISH"))

    allow = registrar.hosts[0].response("405 PUBLISH").allow
    assert allow[:3] == ("INVITE", "ACK", "CANCEL")
    assert allow[-1] == "REGISTER"
    assert registrar.us.endpoint.is_idle


@pytest.mark.parametrize(("tag", "status"), [("path", None), ("gruu", 420)])
def test_extensions_may_be_required_where_the_node_has_them(
    registrar: Desk, tag: str, status: int | None
) -> None:
    registrar.ask(register(f"Require: {tag}"))

    assert registrar.statuses() == ([] if status is None else [status])
    assert len(registrar.us.all(IncomingRequest)) == (status is None)


def test_extensions_of_these_methods_are_none_of_an_invite(registrar: Desk) -> None:
    registrar.ask(register("Require: path", method="INVITE"))

    assert registrar.statuses() == [420]


def test_requests_beyond_the_limit_get_503_with_retry_after() -> None:
    options = EndpointOptions(methods=frozenset({"REGISTER"}), max_transactions=2, retry_after_s=7)
    desk = Desk(options=options)

    for number in range(3):
        desk.ask(register(branch=f"b{number}"))

    assert desk.statuses() == [503]
    assert desk.hosts[0].response("503").retry_after_s == 7
    assert len(desk.us.all(IncomingRequest)) == 2
