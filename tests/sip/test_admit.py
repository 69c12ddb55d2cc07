"""Who is let in: the question that is asked before anything is kept of a request."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gateway.errors import RemoteProtocolError
from gateway.sip.core import EndpointOptions
from gateway.sip.event import Incoming, IncomingRequest
from gateway.sip.flow import Flow
from gateway.sip.inspection import Refusal
from gateway.sip.message import Request
from tests.support.sip import Line, Peer, Station, Wire

CHALLENGE = ("WWW-Authenticate", 'Digest realm="gw", nonce="n"')


def request(method: str = "INVITE", *headers: str, to: str = "<sip:bob@192.0.2.1>") -> str:
    lines = [
        f"{method} sip:bob@192.0.2.1 SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx",
        "From: <sip:alice@192.0.2.9>;tag=a",
        f"To: {to}",
        "Call-ID: call",
        f"CSeq: 1 {method}",
        "Contact: <sip:alice@192.0.2.9>",
        *headers,
    ]
    return "\r\n".join(lines) + "\r\n\r\n"


@dataclass
class Gate:
    """Our endpoint behind a gate that says one thing, and a stranger in front of it."""

    verdict: Refusal | Exception | None
    asked: list[Request] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.wire = Wire()
        options = EndpointOptions(admit=self.admit, methods=frozenset({"REGISTER"}))
        self.us = Station(self.wire, ("192.0.2.1", 5060), options)
        self.stranger = Peer(self.wire, ("192.0.2.9", 5060))

    def admit(self, request: Request, flow: Flow) -> Refusal | None:
        self.asked.append(request)
        self.flows.append(flow)
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict

    def statuses(self, text: str) -> list[int]:
        """What is answered to a message at once."""
        self.stranger.datagrams.clear()
        self.stranger.send(self.us, text)
        self.wire.run(0.1)
        return [int(data.split()[1]) for data in self.stranger.datagrams]


METHODS = ["INVITE", "OPTIONS", "REGISTER", "MESSAGE", "SUBSCRIBE", "BYE", "FLY"]


@pytest.mark.parametrize("method", METHODS)
def test_a1_who_is_to_get_silence_gets_it(method: str) -> None:
    gate = Gate(Refusal(0))

    assert gate.statuses(request(method)) == []

    assert gate.us.endpoint.is_idle
    assert gate.us.events == []


@pytest.mark.parametrize("method", METHODS)
def test_refusal_is_answered_as_it_is_and_nothing_is_kept(method: str) -> None:
    gate = Gate(Refusal(401, (CHALLENGE,)))

    assert gate.statuses(request(method)) == [401]

    response = gate.stranger.response("401")
    assert response.headers.get(CHALLENGE[0]) == CHALLENGE[1]
    assert gate.us.endpoint.is_idle
    assert gate.us.events == []


def test_ack_to_a_refusal_is_absorbed() -> None:
    gate = Gate(Refusal(401, (CHALLENGE,)))
    gate.statuses(request())

    assert gate.statuses(request("ACK")) == []
    assert len(gate.asked) == 1


@pytest.mark.parametrize(
    ("method", "reported"), [("INVITE", Incoming), ("REGISTER", IncomingRequest)]
)
def test_who_is_let_in_is_asked_about_once(
    method: str, reported: type[Incoming] | type[IncomingRequest]
) -> None:
    gate = Gate(None)

    gate.statuses(request(method))
    gate.statuses(request(method))

    assert len(gate.us.all(reported)) == 1
    assert len(gate.asked) == 1
    assert gate.asked[0].via.received is None  # its host is the source
    assert gate.flows[0].remote == gate.stranger.address


def test_gate_is_asked_before_the_request_is_judged() -> None:
    gate = Gate(Refusal(0))

    assert gate.statuses(request("INVITE", "Require: x")) == []

    assert len(gate.asked) == 1


@pytest.mark.parametrize(
    "text",
    [
        request("CANCEL"),
        request("BYE", to="<sip:bob@192.0.2.1>;tag=x"),
        request("INVITE", to="<sip:bob@192.0.2.1>;tag=x"),
        request().replace("CSeq: 1 INVITE", "CSeq: 1 BYE"),
        request().replace("CSeq: 1", "CSeq: x"),
        request().replace("SIP/2.0\r\n", "SIP/7.0\r\n", 1),
    ],
)
@pytest.mark.parametrize("admitted", [False, True])
def test_strays_and_rubbish_are_answered_only_to_whom_we_speak(text: str, admitted: bool) -> None:
    gate = Gate(None if admitted else Refusal(0))

    assert len(gate.statuses(text)) == admitted


def test_strays_are_not_challenged() -> None:
    gate = Gate(Refusal(401, (CHALLENGE,)))

    assert gate.statuses(request("CANCEL")) == [481]
    assert gate.statuses(request("BYE", to="<sip:bob@192.0.2.1>;tag=x")) == [481]


def test_what_the_gate_cannot_read_gets_400() -> None:
    gate = Gate(RemoteProtocolError("two realms"))

    assert gate.statuses(request()) == [400]
    assert gate.us.endpoint.is_idle


def test_requests_within_a_dialog_are_not_asked_about() -> None:
    asked: list[str] = []

    def admit(request: Request, flow: Flow) -> Refusal | None:
        asked.append(request.method)
        return None

    line = Line(options=EndpointOptions(admit=admit))

    session, _ = line.connect()
    session.bye(line.wire.now)
    line.run(1)

    assert asked == ["INVITE"]


@pytest.mark.rfc(3261, "11.2")
def test_f20_options_is_answered_503_while_no_calls_are_taken() -> None:
    state = Refusal(200)
    wire = Wire()
    options = EndpointOptions(availability=lambda: state, methods=frozenset({"REGISTER"}))
    us = Station(wire, ("192.0.2.1", 5060), options)
    stranger = Peer(wire, ("192.0.2.9", 5060))

    stranger.send(us, request("OPTIONS"))
    wire.run(0.1)
    state = Refusal(503, (("Retry-After", "30"),))
    stranger.send(us, request("OPTIONS"))
    wire.run(0.1)

    up, draining = stranger.response("200"), stranger.response("503")
    assert up.allow[-1] == "REGISTER"
    assert up.headers.get("Accept") == "application/sdp"
    assert (draining.retry_after_s, "Allow" in draining.headers) == (30, False)
    assert us.endpoint.is_idle


@pytest.mark.rfc(5393, "5.3.3")
@pytest.mark.parametrize(
    ("value", "read", "status"),
    [
        ("7", 7, None),
        ("0", 0, 440),
        ("60", 60, None),
        ("9999999999999", 60, None),
        ("x", None, None),
    ],
)
def test_a38_max_breadth_is_read(value: str, read: int | None, status: int | None) -> None:
    gate = Gate(None)

    statuses = gate.statuses(request("INVITE", f"Max-Breadth: {value}"))

    assert gate.asked[0].max_breadth == read
    assert statuses == ([] if status is None else [status])
    assert len(gate.us.all(Incoming)) == (status is None)
