"""Flows: where bytes come from and go to, connections that close, and who may send us where."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gateway.sip.core import MAX_CLOSED, EndpointOptions, contact_of
from gateway.sip.endpoint import Endpoint
from gateway.sip.event import EndCause, Ended, Event, Gone, Incoming
from gateway.sip.flow import Destination, Flow, Hop, Send
from gateway.sip.header import parse_address
from gateway.sip.inspection import Refusal
from gateway.sip.invite import InviteRequest
from gateway.sip.message import Request, Response, build_response, parse_message
from gateway.sip.request import OutgoingRequest
from gateway.sip.uri import Uri, parse_uri
from tests.support.sip import ANSWER, OFFER, tokens

OURS = ("192.0.2.1", 5060)
PEER = ("198.51.100.7", 40_000)
TRANSPORTS = ["udp", "tcp", "tls", "ws", "wss"]


@dataclass
class Desk:
    """Our endpoint alone: what is put in comes in on whatever flow the test says."""

    options: EndpointOptions | None = None

    def __post_init__(self) -> None:
        names = tokens("t")
        self.now = 100.0
        self.endpoint = Endpoint(self.options or EndpointOptions(), new_token=lambda: next(names))
        self.events: list[Event] = []

    def receive(self, text: str, flow: Flow) -> list[Send]:
        self.endpoint.receive(text.encode(), flow, self.now)
        return self.sent()

    def sent(self) -> list[Send]:
        self.events += self.endpoint.take_events()
        return [each for each in self.endpoint.take_output() if isinstance(each, Send)]

    def run(self, seconds: float) -> list[Send]:
        end = self.now + seconds
        sent = []
        while (at := self.endpoint.next_timer()) is not None and at <= end:
            self.now = at
            self.endpoint.handle_timer(at)
            sent += self.sent()
        self.now = end
        return sent


def connection(transport: str, number: int = 1) -> Flow:
    return Flow(transport, OURS, PEER, 0 if transport == "udp" else number)


def request(method: str, via: str, call_id: str = "call") -> str:
    return (
        f"{method} sip:bob@192.0.2.1 SIP/2.0\r\nVia: {via};branch=z9hG4bK{call_id}\r\n"
        "From: <sip:a@a.example>;tag=a\r\nTo: <sip:bob@192.0.2.1>\r\n"
        f"Call-ID: {call_id}\r\nCSeq: 1 {method}\r\nContact: <sip:a@198.51.100.7>\r\n\r\n"
    )


def status_of(sent: Send) -> int:
    message = parse_message(sent.data)
    assert isinstance(message, Response)
    return message.status


@pytest.mark.rfc(3261, "18.2.2")
@pytest.mark.rfc(3581, "4")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_response_goes_back_on_the_flow_and_names_the_source(transport: str) -> None:
    desk = Desk()
    flow = connection(transport)

    (sent,) = desk.receive(
        request("OPTIONS", f"SIP/2.0/{transport.upper()} 10.0.0.5:5066;rport"), flow
    )

    assert sent.flow == flow
    via = parse_message(sent.data).via
    assert (via.received, via.rport) == PEER
    assert (via.host, via.port) == ("10.0.0.5", 5066)


@pytest.mark.rfc(7118, "5.2")
def test_via_of_a_websocket_peer_names_no_host() -> None:
    desk = Desk()

    (sent,) = desk.receive(
        request("OPTIONS", "SIP/2.0/WSS df7jal23ls0d.invalid;rport"), connection("wss")
    )

    assert status_of(sent) == 200
    assert parse_message(sent.data).via.received == PEER[0]


@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "wss"])
def test_responses_to_a_closed_connection_are_dropped_and_counted(transport: str) -> None:
    desk = Desk()
    flow = connection(transport)
    desk.receive(request("INVITE", f"SIP/2.0/{transport.upper()} a.invalid"), flow)
    event = desk.events[0]
    assert isinstance(event, Incoming)

    desk.endpoint.flow_failed(flow, desk.now)
    event.session.reject(486, desk.now)

    assert desk.run(40) == []
    assert desk.endpoint.undelivered == 1
    assert desk.endpoint.is_idle


def test_call_answered_on_a_closed_connection_ends_for_want_of_an_ack() -> None:
    desk = Desk()
    flow = connection("wss")
    text = request("INVITE", "SIP/2.0/WSS a.invalid")
    desk.receive(text.replace("<sip:a@198.51.100.7>", "<sip:a@a.invalid;transport=ws>"), flow)
    event = desk.events[0]
    assert isinstance(event, Incoming)
    desk.endpoint.flow_failed(flow, desk.now)

    event.session.answer(ANSWER, desk.now)

    assert desk.run(80) == []
    assert [each.cause for each in desk.events if isinstance(each, Ended)] == [EndCause.NO_ACK]
    assert isinstance(desk.events[-1], Gone)
    assert desk.endpoint.is_idle


class Phone:
    """A softphone on a WebSocket that we call; it may connect anew."""

    contact = parse_uri("sip:a@a.invalid;transport=ws")

    def __init__(self) -> None:
        self.flow = connection("wss")
        self.is_back: Flow | None = None
        self.desk = Desk(EndpointOptions(successor=self._successor))
        self.session = self.desk.endpoint.invite(
            InviteRequest(
                target=self.contact,
                from_=parse_address("<sip:b@b.example>"),
                to=parse_address("<sip:a@b.example>"),
                flow=self.flow,
                offer=OFFER,
            ),
            self.desk.now,
        )
        (self.invite,) = self.desk.sent()

    def answer(self, invite: Send, flow: Flow, status: int = 200) -> list[Send]:
        """It answers an INVITE; what we send for it."""
        message = parse_message(invite.data)
        assert isinstance(message, Request)
        headers = [("Contact", f"<{self.contact}>"), ("Content-Type", "application/sdp")]
        response = build_response(message, status, to_tag="p", headers=headers, body=ANSWER)
        return self.desk.receive(bytes(response).decode(), flow)

    def close(self) -> None:
        """Its connection is gone."""
        self.desk.endpoint.flow_failed(self.flow, self.desk.now)

    def _successor(self, uri: Uri, flow: Flow) -> Flow | None:
        assert (uri, flow) == (self.contact, self.flow)
        return self.is_back


@pytest.mark.rfc(5626, "4.4")
@pytest.mark.parametrize("is_answered", [True, False])
def test_phone_is_cut_off_until_it_is_back(is_answered: bool) -> None:
    phone = Phone()
    phone.answer(phone.invite, phone.flow, status=200 if is_answered else 180)
    before = phone.session.is_cut_off
    phone.close()
    meanwhile = phone.session.is_cut_off
    phone.is_back = connection("wss", 2)

    assert (before, meanwhile, phone.session.is_cut_off) == (False, True, False)


def test_peer_that_can_be_connected_to_is_not_cut_off() -> None:
    phone = Phone()
    phone.contact = parse_uri("sip:a@198.51.100.7;transport=tcp")
    phone.answer(phone.invite, phone.flow)

    phone.close()

    assert not phone.session.is_cut_off


@pytest.mark.rfc(5626, "4.4")
def test_requests_and_acks_go_where_a_phone_is_back() -> None:
    phone = Phone()
    phone.answer(phone.invite, phone.flow)
    phone.close()
    phone.is_back = connection("wss", 2)

    phone.session.reoffer(OFFER, phone.desk.now)
    (invite,) = phone.desk.sent()
    (ack,) = phone.answer(invite, phone.is_back)
    phone.session.bye(phone.desk.now)
    (bye,) = phone.desk.sent()

    assert [parse_message(each.data).cseq.method for each in (invite, ack, bye)] == [
        "INVITE",
        "ACK",
        "BYE",
    ]
    assert {each.flow for each in (invite, ack, bye)} == {phone.is_back}


def test_bounced_datagram_closes_nothing() -> None:
    desk = Desk()
    flow = connection("udp")

    desk.endpoint.flow_failed(flow, desk.now)

    assert desk.receive(request("OPTIONS", "SIP/2.0/UDP 198.51.100.7"), flow)
    assert desk.endpoint.undelivered == 0


def test_closed_connections_are_remembered_up_to_a_limit() -> None:
    desk = Desk()

    for number in range(1, MAX_CLOSED + 10):
        desk.endpoint.flow_failed(connection("tcp", number), desk.now)

    oldest, newest = connection("tcp", 1), connection("tcp", MAX_CLOSED)
    assert desk.receive(request("OPTIONS", "SIP/2.0/TCP h"), oldest)
    assert desk.receive(request("OPTIONS", "SIP/2.0/TCP h", "c"), newest) == []


def test_answers_nobody_waits_for_change_nothing() -> None:
    desk = Desk()

    desk.endpoint.resolved(Destination("a.example"), [Hop("udp", "192.0.2.9", 5060)], desk.now)
    desk.endpoint.flow_opened(Hop("tcp", "192.0.2.9", 5060), connection("tcp"), desk.now)
    desk.endpoint.hop_failed(Hop("tcp", "192.0.2.9", 5060), desk.now)

    assert desk.sent() == []
    assert desk.endpoint.is_idle


@pytest.mark.parametrize(
    ("transport", "contact"),
    [
        ("udp", "sip:192.0.2.1:5060"),
        ("tcp", "sip:192.0.2.1:5060;transport=tcp"),
        ("tls", "sip:192.0.2.1:5060;transport=tls"),
        ("ws", "sip:192.0.2.1:5060;transport=ws"),
    ],
)
def test_contact_says_how_we_are_reached(transport: str, contact: str) -> None:
    assert str(contact_of(connection(transport))) == contact


SIPS = "<sips:192.0.2.1:5060>"


@pytest.mark.rfc(3261, "8.1.1.8")
@pytest.mark.rfc(5630, "3.1")
@pytest.mark.parametrize(
    ("target", "route", "transport", "contact"),
    [
        ("sips:bob@a.example", None, "tls", SIPS),
        ("sip:bob@a.example", "<sips:edge.example;lr>", "tls", SIPS),
        ("sip:bob@a.example", "<sip:edge.example;lr>", "tls", "<sip:192.0.2.1:5060;transport=tls>"),
        ("sips:bob@a.example", None, "tcp", "<sip:192.0.2.1:5060;transport=tcp>"),
    ],
)
def test_who_asks_for_sips_is_reached_by_sips(
    target: str, route: str | None, transport: str, contact: str
) -> None:
    desk = Desk()

    desk.endpoint.invite(
        InviteRequest(
            target=parse_uri(target),
            from_=parse_address("<sip:a@a.example>"),
            to=parse_address("<sip:bob@a.example>"),
            flow=connection(transport),
            offer=OFFER,
            route=() if route is None else (parse_address(route),),
        ),
        desk.now,
    )

    (invite,) = desk.sent()
    message = parse_message(invite.data)
    assert isinstance(message, Request)
    assert message.headers.get("Contact") == contact


@pytest.mark.rfc(3261, "12.1.1")
@pytest.mark.parametrize(
    ("uri", "record_route", "transport", "contact"),
    [
        ("SIPS:bob@192.0.2.1", "", "tls", SIPS),
        ("sip:bob@192.0.2.1", "Record-Route: <sips:edge.example;lr>\r\n", "tls", SIPS),
        ("sip:bob@192.0.2.1", "", "tls", "<sip:192.0.2.1:5060;transport=tls>"),
        ("sips:bob@192.0.2.1", "", "udp", "<sip:192.0.2.1:5060>"),
    ],
)
def test_who_is_asked_for_by_sips_is_reached_by_sips(
    uri: str, record_route: str, transport: str, contact: str
) -> None:
    desk = Desk()
    text = request("INVITE", "SIP/2.0/TLS 198.51.100.7").replace("sip:bob@192.0.2.1 ", f"{uri} ")
    desk.receive(text.replace("Contact:", f"{record_route}Contact:"), connection(transport))

    (incoming,) = [event for event in desk.events if isinstance(event, Incoming)]
    incoming.session.answer(ANSWER, desk.now)

    answered = parse_message(desk.sent()[-1].data)
    assert isinstance(answered, Response)
    assert answered.headers.get("Contact") == contact


@pytest.mark.rfc(3261, "8.1.1.8")
def test_who_registers_by_sips_is_reached_by_sips() -> None:
    desk = Desk()

    desk.endpoint.request(
        OutgoingRequest(
            method="REGISTER",
            target=parse_uri("sips:a.example"),
            from_=parse_address("<sip:a@a.example>"),
            to=parse_address("<sip:a@a.example>"),
            flow=connection("tls"),
            contact_user="us",
        ),
        desk.now,
    )

    (register,) = desk.sent()
    assert b"\r\nContact: <sips:us@192.0.2.1:5060>\r\n" in register.data


@pytest.mark.rfc(3263, "4")
@pytest.mark.parametrize(
    ("uri", "destination", "text"),
    [
        ("sip:a@Trunk.example", Destination("trunk.example"), "sip:trunk.example"),
        ("sip:trunk.example:5070", Destination("trunk.example", 5070), "sip:trunk.example:5070"),
        (
            "sip:trunk.example;transport=TCP",
            Destination("trunk.example", None, "tcp"),
            "sip:trunk.example;transport=tcp",
        ),
        ("sips:[2001:db8::1]", Destination("2001:db8::1", secure=True), "sips:[2001:db8::1]"),
        ("sip:a.example;maddr=192.0.2.5", Destination("192.0.2.5"), "sip:192.0.2.5"),
    ],
)
def test_destination_is_what_a_uri_says(uri: str, destination: Destination, text: str) -> None:
    assert Destination.of(parse_uri(uri)) == destination
    assert str(destination) == text


def test_silence_is_kept_over_connections_too() -> None:
    desk = Desk(EndpointOptions(admit=lambda request, flow: Refusal(0)))

    assert desk.receive(request("INVITE", "SIP/2.0/TCP h"), connection("tcp")) == []
    assert desk.endpoint.is_idle
