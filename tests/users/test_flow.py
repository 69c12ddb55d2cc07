"""Phones and a gateway on a wire: they register, call and are called, over the whole SIP stack."""

from __future__ import annotations

import pytest

from gateway.private import Secret
from gateway.sip.authenticator import Credentials
from gateway.sip.challenge import Challenger
from gateway.sip.endpoint import EndpointOptions
from gateway.sip.event import Answered, EndCause, Ended, Incoming, IncomingRequest, Responded
from gateway.sip.header import Address
from gateway.sip.invite import InviteRequest
from gateway.sip.invite_client import InviteClient
from gateway.sip.message import Response
from gateway.sip.request import OutgoingRequest
from gateway.sip.uri import Uri, parse_uri
from gateway.users.domain import Domains
from gateway.users.gate import Gate
from gateway.users.registrar import EXTENSIONS, Registrar
from tests.support.sip import ANSWER, OFFER, Station, Wire
from tests.users.site import ANN, BOB, PASSWORDS

US = ("192.0.2.1", 5060)
US_URI = Uri("sip", None, host=US[0])


class Gateway(Station):
    """Our endpoint with gate and registrar, wired as a node wires them."""

    def __init__(self, wire: Wire, transport: str = "udp") -> None:
        domains = Domains([US[0]])
        self.registrar = Registrar((ANN, BOB), domains)
        self.gate = Gate(
            (ANN, BOB), domains, Challenger(b"key", "us"), self.registrar, source_of=lambda _: None
        )
        options = EndpointOptions(
            admit=lambda request, flow: self.gate.admit(request, flow, wire.now),
            may_follow=self.registrar.may_follow,
            methods=frozenset({"REGISTER"}),
            extensions=frozenset(EXTENSIONS),
        )
        super().__init__(wire, US, options, transport)

    def flush(self) -> None:
        seen = len(self.events)
        super().flush()
        for _, event in self.events[seen:]:
            if isinstance(event, IncomingRequest):
                who = self.gate.identity_of(event.request, event.flow) or ""
                name = who.removeprefix("user:")
                reply = self.registrar.receive(event.request, event.flow, name, self.wire.now)
                self.endpoint.respond(event.id, reply.status, self.wire.now, headers=reply.headers)
        super().flush()

    def call(self, name: str) -> list[InviteClient]:
        """Ring every phone of a user."""
        return [
            self.endpoint.invite(
                InviteRequest(
                    target=contact.uri,
                    from_=Address("", Uri("sip", "carol", host=US[0])),
                    to=Address("", Uri("sip", name, host=US[0])),
                    flow=contact.flow,
                    route=contact.path,
                    offer=OFFER,
                ),
                self.wire.now,
            )
            for contact in self.registrar.contacts_of(name)
        ]


class Handset(Station):
    """A phone with an endpoint of its own."""

    def __init__(
        self,
        wire: Wire,
        host: str = "203.0.113.7",
        *,
        name: str = "ann",
        password: str | None = None,
        private: str | None = None,
        transport: str = "udp",
    ) -> None:
        self.name = name
        self.credentials = Credentials(name, Secret(password or PASSWORDS[name]))
        options = EndpointOptions()
        if private is not None:
            options = EndpointOptions(contact=lambda _: Uri("sip", name, host=private, port=5060))
        super().__init__(wire, (host, 5060), options, transport)

    def register(self, *headers: tuple[str, str]) -> Response | None:
        """Register; what came of it within a second."""
        address = Address("", Uri("sip", self.name, host=US[0]))
        before = len(self.all(Responded))
        self.send(
            OutgoingRequest(
                "REGISTER",
                US_URI,
                address,
                address,
                flow=self.flow_to(US),
                headers=headers,
                credentials=self.credentials,
                contact_user=self.name,
            )
        )
        self.wire.run(1)
        return next((each.response for each in self.all(Responded)[before:]), None)

    def dial(self, user: str) -> InviteClient:
        """Call somebody through the gateway."""
        target = Uri("sip", user, host=US[0])
        request = InviteRequest(
            target=target,
            from_=Address("", Uri("sip", self.name, host=US[0])),
            to=Address("", target),
            flow=self.flow_to(US),
            offer=OFFER,
            credentials=self.credentials,
        )
        session = self.endpoint.invite(request, self.wire.now)
        self.wire.run(0.1)
        return session


def test_phone_registers_over_the_wire() -> None:
    wire = Wire()
    gateway, phone = Gateway(wire), Handset(wire)

    response = phone.register(("Expires", "600"))

    assert response is not None
    assert response.status == 200
    assert [str(address.uri) for address in response.contacts] == ["sip:ann@203.0.113.7:5060"]
    assert [each.message.cseq.number for each in wire.sent("REGISTER")] == [1, 2]
    assert len(gateway.registrar.contacts_of("ann")) == 1


def test_lost_200_is_resent_and_the_answer_is_no_replay() -> None:
    wire = Wire()
    gateway, phone = Gateway(wire), Handset(wire)
    wire.drop_next(1, "200 REGISTER")

    response = phone.register()

    assert response is not None
    assert response.status == 200
    assert len(wire.sent("200 REGISTER")) == 2
    assert len(wire.sent("401")) == 1
    assert gateway.gate.counts.failed == 0


def test_wrong_password_is_refused_and_then_silenced() -> None:
    wire = Wire()
    gateway, phone = Gateway(wire), Handset(wire, password="guess")

    statuses = [r.status if (r := phone.register()) else None for _ in range(6)]
    phone.dial("bob")

    assert statuses == [401, 401, 401, 401, None, None]
    assert gateway.registrar.contacts_of("ann") == ()
    assert not gateway.all(Incoming)


def test_user_calls_and_the_node_knows_who_it_is() -> None:
    wire = Wire()
    gateway, phone = Gateway(wire), Handset(wire)
    phone.dial("bob")

    (incoming,) = gateway.all(Incoming)
    flow = incoming.session.flow
    incoming.session.answer(ANSWER, wire.now)
    wire.run(0.1)

    assert gateway.gate.identity_of(incoming.request, flow) == "user:ann"
    assert len(phone.all(Answered)) == 1


@pytest.mark.parametrize(("transport", "invites"), [("udp", 2), ("wss", 1)])
def test_only_calls_over_datagrams_are_challenged(transport: str, invites: int) -> None:
    wire = Wire()
    gateway, phone = Gateway(wire, transport), Handset(wire, transport=transport)
    phone.register()

    phone.dial("bob")

    assert len(gateway.all(Incoming)) == 1
    assert len(wire.sent("INVITE")) == invites


def test_first_phone_that_answers_wins_and_the_rest_are_cancelled() -> None:
    wire = Wire()
    gateway = Gateway(wire)
    desk, mobile = Handset(wire, "203.0.113.7"), Handset(wire, "203.0.113.8")
    desk.register()
    mobile.register()
    sessions = gateway.call("ann")
    wire.run(0.1)

    mobile.called.answer(ANSWER, wire.now)
    wire.run(0.1)
    (answered,) = gateway.all(Answered)
    for session in sessions:
        if session is not answered.session:
            session.cancel(wire.now)
    wire.run(1)

    assert desk.one(Ended).cause is EndCause.CANCELLED
    assert not mobile.all(Ended)


def test_phone_behind_nat_is_reached_and_hung_up_through_it() -> None:
    wire = Wire()
    gateway = Gateway(wire)
    phone = Handset(wire, private="192.168.1.5")
    phone.register()
    (session,) = gateway.call("ann")
    wire.run(0.1)

    phone.called.answer(ANSWER, wire.now)
    wire.run(0.1)
    session.bye(wire.now)
    wire.run(1)

    assert phone.one(Ended).cause is EndCause.BYE
    assert {each.target for each in wire.sent(by=gateway)} == {phone.address}
    assert phone.one(Incoming).request.uri == "sip:ann@192.168.1.5:5060"


def test_path_is_the_route_of_calls_to_a_phone() -> None:
    wire = Wire()
    gateway, phone = Gateway(wire), Handset(wire)
    phone.register(("Path", "<sip:edge.example.com;lr>"), ("Supported", "path"))

    gateway.call("ann")
    wire.run(0.1)

    (route,) = phone.one(Incoming).request.routes
    assert route.uri == parse_uri("sip:edge.example.com;lr")


def test_stranger_hears_nothing_at_all() -> None:
    wire = Wire()
    gateway, stranger = Gateway(wire), Station(wire, ("198.51.100.66", 5060))
    stranger.send(
        OutgoingRequest(
            "OPTIONS",
            US_URI,
            Address("", US_URI),
            Address("", US_URI),
            flow=stranger.flow_to(US),
        )
    )
    elsewhere = Address("", Uri("sip", "+15550100", host="example.com"))
    stranger.endpoint.invite(
        InviteRequest(elsewhere.uri, elsewhere, elsewhere, stranger.flow_to(US)), wire.now
    )
    wire.run(40)

    assert wire.sent(by=gateway) == []
    assert gateway.endpoint.is_idle
