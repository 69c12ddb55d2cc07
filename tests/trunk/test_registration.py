"""A registration kept up: refresh, refusals, silence, closed connections; virtual time (F8)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.private import Secret
from gateway.sip.authenticator import Credentials
from gateway.sip.flow import Destination, Flow
from gateway.sip.header import parse_via
from gateway.sip.message import Response, build_request, build_response
from gateway.sip.request import OutgoingRequest
from gateway.sip.uri import parse_uri
from gateway.trunk.event import TrunkEvent, TrunkRegistered, TrunkRegistrationFailed
from gateway.trunk.registration import (
    Registration,
    RegistrationOptions,
    RegistrationState,
)

START = 1000.0
FLOW = Flow("tls", ("192.0.2.1", 40000), ("198.51.100.1", 5061), connection=7)
CONTACT = "<sip:k3w9@192.0.2.1:40000;transport=tls>"
OPTIONS = RegistrationOptions(
    parse_uri("sip:registrar.test"),
    "acme",
    Credentials("acme", Secret("hunter2"), "carrier"),
)

Headers = dict[str, str]
Reply = tuple[int, Headers] | None
"What the registrar says to a REGISTER: a status and headers, or nothing."


class Registrar:
    """The far end of one registration: answers at once, as it is told to."""

    def __init__(
        self,
        *replies: Reply,
        options: RegistrationOptions = OPTIONS,
        spread: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.now = START
        self.replies = list(replies)
        self.asked: list[tuple[float, OutgoingRequest]] = []
        self.events: list[TrunkEvent] = []
        tokens = iter(["k3w9", "call-1"])
        self.registration = Registration(
            "carrier", options, new_token=lambda: next(tokens), spread=spread, now=START
        )

    def run(self, seconds: float) -> None:
        """Let that much time pass."""
        end = self.now + seconds
        self._serve()
        while (at := self.registration.next_timer()) is not None and at <= end:
            self.now = max(self.now, at)
            self.registration.handle_timer(self.now)
            self._serve()
        self.now = end

    def next_after(self) -> float:
        """Seconds until the next REGISTER is due."""
        at = self.registration.next_timer()
        assert at is not None
        return round(at - self.now, 3)

    @property
    def last(self) -> OutgoingRequest:
        return self.asked[-1][1]

    @property
    def times(self) -> list[float]:
        """When it was asked, seconds since the start."""
        return [round(at - START, 3) for at, _ in self.asked]

    def _serve(self) -> None:
        while requests := self.registration.take_output():
            (request,) = requests
            self.asked.append((self.now, request))
            reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
            if reply is not None:
                self.answer(*reply)
        self.events += self.registration.take_events()

    def answer(self, status: int, headers: Headers) -> None:
        """Answer the last request."""
        cseq = self.last.cseq
        assert cseq is not None
        response = respond(self.last, status, headers)
        self.registration.answered(response, self.now, cseq=cseq + 1, flow=FLOW)


def respond(request: OutgoingRequest, status: int, headers: Headers) -> Response:
    """A response to a REGISTER, over a NAT."""
    made = build_request(
        request.method,
        request.target,
        via=parse_via(
            "SIP/2.0/TLS 192.0.2.1:40000;branch=z9hG4bKx;received=203.0.113.9;rport=61234"
        ),
        from_=request.from_.with_tag("a"),
        to=request.to,
        call_id=request.call_id or "",
        cseq=request.cseq or 0,
    )
    return build_response(made, status, to_tag="b", headers=headers.items())


def granted(seconds: int, **headers: str) -> Reply:
    """A 200 that binds us for some time."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return 200, {"Contact": f"{CONTACT};expires={seconds}", **named}


# ---- what is asked


def test_what_is_asked_binds_a_contact_that_nobody_can_guess() -> None:
    registrar = Registrar(granted(600))

    registrar.run(1)

    request = registrar.last
    assert (request.method, str(request.target)) == ("REGISTER", "sip:registrar.test")
    assert str(request.to) == str(request.from_) == "<sip:acme@registrar.test>"
    assert request.destination == Destination("registrar.test")
    assert request.contact_user == registrar.registration.contact_user == "k3w9"
    assert dict(request.headers)["Expires"] == "600"
    assert "path" in dict(request.headers)["Supported"]
    assert request.credentials == OPTIONS.credentials


def test_requests_of_one_registration_are_counted_on() -> None:
    registrar = Registrar(granted(600))

    registrar.run(700)

    first, second, third = [request for _, request in registrar.asked]
    assert first.call_id == second.call_id == third.call_id == "call-1"
    # Each took one number more, to answer a challenge.
    assert (first.cseq, second.cseq, third.cseq) == (1, 3, 5)


def test_what_is_registered_through_a_proxy_is_routed_there() -> None:
    options = replace(OPTIONS, proxy=parse_uri("sip:edge.test;lr"))
    registrar = Registrar(granted(600), options=options)

    registrar.run(1)

    assert registrar.last.destination == Destination("edge.test")
    assert [str(route) for route in registrar.last.route] == ["<sip:edge.test;lr>"]
    assert str(registrar.last.target) == "sip:registrar.test"


def test_it_is_refreshed_over_the_flow_that_it_was_made_on() -> None:
    registrar = Registrar(granted(600))

    registrar.run(301)

    assert registrar.last.flow == FLOW
    assert registrar.last.destination is None


# ---- what is granted


def test_it_is_refreshed_after_50_to_80_percent_of_what_was_granted() -> None:
    chance = random.Random(1)
    registrar = Registrar(granted(3600), spread=chance.random)

    registrar.run(3600 * 100)

    shares = [
        (later - earlier) / 3600
        for earlier, later in zip(registrar.times, registrar.times[1:], strict=False)
    ]
    assert 0.5 <= min(shares) < 0.52
    assert 0.78 < max(shares) <= 0.8


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Contact": f"{CONTACT};expires=120", "Expires": "3600"}, 120),
        ({"Contact": f"<sip:else@192.0.2.9>;expires=60, {CONTACT};expires=120"}, 120),
        ({"Contact": CONTACT, "Expires": "240"}, 240),
        ({"Contact": "<sip:rewritten@192.0.2.9>;expires=90"}, 90),
        ({"Expires": "240"}, 240),
        ({"Contact": CONTACT}, 600),
        ({"Contact": f"{CONTACT};expires=4294967295"}, 86_400),
    ],
)
def test_what_was_granted_is_found(headers: Headers, seconds: int) -> None:
    registrar = Registrar((200, headers))

    registrar.run(0)

    assert registrar.registration.state is RegistrationState.REGISTERED
    assert registrar.registration.expires_at == START + seconds
    assert registrar.events == [
        TrunkRegistered("carrier", START, registrar.events[0].registration, seconds)  # type: ignore[union-attr]
    ]


def test_a_registrar_that_grants_a_second_is_not_flooded() -> None:
    registrar = Registrar(granted(1))

    registrar.run(60)

    assert len(registrar.asked) <= 13


@pytest.mark.parametrize(
    "headers", [{"Contact": f"{CONTACT};expires=0"}, {"Contact": f"{CONTACT};expires=soon"}]
)
def test_a_200_that_binds_nothing_is_a_refusal(headers: Headers) -> None:
    registrar = Registrar((200, headers))

    registrar.run(0)

    assert registrar.registration.state is RegistrationState.WAITING
    assert registrar.next_after() == 30


def test_service_route_and_path_are_learned_and_forgotten() -> None:
    service_route = "<sip:orig@scscf.test;lr>, <sip:edge.test;lr>"
    registrar = Registrar(granted(600, Service_Route=service_route, Path="<sip:p.test;lr>"))
    registrar.run(0)
    registration = registrar.registration
    assert [str(route.uri) for route in registration.service_route] == [
        "sip:orig@scscf.test;lr",
        "sip:edge.test;lr",
    ]
    assert [str(route.uri) for route in registration.path] == ["sip:p.test;lr"]
    assert registration.received == ("203.0.113.9", 61234)

    registrar.replies = [granted(600)]
    registrar.run(301)

    assert registration.service_route == ()  # RFC 3608 §6.1: that of the last answer counts


@pytest.mark.parametrize("service_route", ["<sip:", ", ".join(["<sip:a.test;lr>"] * 9)])
def test_a_service_route_that_is_none_is_left_out(service_route: str) -> None:
    registrar = Registrar(granted(600, Service_Route=service_route))

    registrar.run(0)

    assert registrar.registration.state is RegistrationState.REGISTERED
    assert registrar.registration.service_route == ()


def test_a_refresh_is_no_news() -> None:
    registrar = Registrar(granted(600))

    registrar.run(6000)

    assert [type(event) for event in registrar.events] == [TrunkRegistered]


# ---- 423


def test_a_423_is_asked_again_at_once_for_what_it_wants() -> None:
    registrar = Registrar((423, {"Min-Expires": "1800"}), granted(1800))

    registrar.run(1000)

    assert registrar.times == [0, 0, 900]
    assert [dict(request.headers)["Expires"] for _, request in registrar.asked] == [
        "600",
        "1800",
        "1800",
    ]
    assert registrar.registration.is_registered(registrar.now)


@pytest.mark.parametrize("wanted", ["600", "10", "", "soon", "86401", "9" * 5000])
def test_a_423_that_makes_no_sense_is_a_refusal(wanted: str) -> None:
    headers = {"Min-Expires": wanted} if wanted else {}
    registrar = Registrar((423, headers))

    registrar.run(0)

    assert len(registrar.asked) == 1
    assert registrar.next_after() == 30


def test_a_423_that_always_wants_a_little_more_is_no_loop() -> None:
    registrar = Registrar(*[(423, {"Min-Expires": str(601 + number)}) for number in range(100)])

    registrar.run(0)

    assert len(registrar.asked) == 3
    assert registrar.next_after() == 30


# ---- refusals and losses


@pytest.mark.parametrize("status", [401, 403, 404, 407, 301, 603])
def test_a_refusal_is_met_with_waits_from_30_seconds_doubled_up_to_an_hour(status: int) -> None:
    registrar = Registrar((status, {}))

    registrar.run(30_000)

    waits = [
        later - earlier
        for earlier, later in zip(registrar.times, registrar.times[1:], strict=False)
    ]
    assert waits[:9] == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]


@pytest.mark.parametrize("reply", [(408, {}), (480, {}), (500, {}), (503, {}), (504, {})])
def test_an_error_is_met_with_waits_from_5_seconds_doubled_up_to_300(reply: Reply) -> None:
    registrar = Registrar(reply)

    registrar.run(2000)

    waits = [
        later - earlier
        for earlier, later in zip(registrar.times, registrar.times[1:], strict=False)
    ]
    assert waits[:8] == [5, 10, 20, 40, 80, 160, 300, 300]


def test_silence_is_an_error_too() -> None:
    registrar = Registrar(None)

    registrar.run(32)
    registrar.registration.failed("no answer", registrar.now)

    assert registrar.next_after() == 5
    assert registrar.registration.last_error == "no answer"


def test_an_answer_that_never_comes_is_not_waited_for() -> None:
    registrar = Registrar(None)

    registrar.run(33)

    assert registrar.registration.state is RegistrationState.WAITING
    assert registrar.next_after() == 5


def test_chance_makes_a_wait_shorter_by_a_tenth_at_most() -> None:
    registrar = Registrar((403, {}), spread=lambda: 0.999)

    registrar.run(1)

    assert registrar.next_after() + registrar.now - registrar.asked[0][0] == pytest.approx(27, 0.01)


def test_a_registrar_that_names_its_time_is_heard() -> None:
    registrar = Registrar((503, {"Retry-After": "120"}))

    registrar.run(0)

    assert registrar.next_after() == 120


def test_a_registrar_that_names_a_year_is_not() -> None:
    registrar = Registrar((503, {"Retry-After": "31536000"}))

    registrar.run(0)

    assert registrar.next_after() == 300


def test_success_forgets_the_failures() -> None:
    registrar = Registrar((403, {}), (403, {}), granted(100), (403, {}))

    registrar.run(30 + 60 + 50)

    assert registrar.next_after() == 30


def test_a_refresh_that_fails_leaves_what_was_granted() -> None:
    registrar = Registrar(granted(600), (503, {}))

    registrar.run(310)

    assert registrar.registration.is_registered(registrar.now)
    assert registrar.registration.state is RegistrationState.WAITING
    assert not registrar.registration.is_registered(START + 601)


def test_failures_are_told_and_the_end_of_them() -> None:
    registrar = Registrar((403, {}), (503, {}), granted(600))

    registrar.run(100)

    told = [
        (type(event), getattr(event, "status", None), getattr(event, "retry_s", None))
        for event in registrar.events
    ]
    assert told == [
        (TrunkRegistrationFailed, 403, 30),
        (TrunkRegistrationFailed, 503, 5),
        (TrunkRegistered, None, None),
    ]
    assert registrar.registration.last_error == ""


def test_a_registrars_novel_is_cut_short() -> None:
    registrar = Registrar(None)
    registrar.run(0)
    response = respond(registrar.last, 403, {})
    response.reason = "no " * 2000

    registrar.registration.answered(response, registrar.now, cseq=1, flow=FLOW)

    assert len(registrar.registration.last_error) <= 80


def test_an_answer_to_nothing_is_ignored() -> None:
    registrar = Registrar(granted(600))
    registrar.run(1)

    registrar.answer(403, {})

    assert registrar.registration.state is RegistrationState.REGISTERED


# ---- closed connections


def test_a_connection_that_closes_is_registered_anew() -> None:
    registrar = Registrar(granted(600), spread=lambda: 0.5)
    registrar.run(100)

    registrar.registration.flow_failed(FLOW, registrar.now)
    assert not registrar.registration.is_registered(registrar.now)
    registrar.run(2)

    assert registrar.times == [0.5, 101]
    assert registrar.last.destination == Destination("registrar.test")
    assert registrar.registration.is_registered(registrar.now)
    assert [type(event) for event in registrar.events] == [
        TrunkRegistered,
        TrunkRegistrationFailed,
        TrunkRegistered,
    ]


def test_the_connection_of_somebody_else_is_not_ours() -> None:
    registrar = Registrar(granted(600))
    registrar.run(100)

    registrar.registration.flow_failed(replace(FLOW, connection=8), registrar.now)

    assert registrar.registration.is_registered(registrar.now)


def test_a_connection_that_closes_each_time_is_no_loop() -> None:
    registrar = Registrar(granted(600))

    for _ in range(600):
        registrar.run(1)
        registrar.registration.flow_failed(FLOW, registrar.now)

    assert len(registrar.asked) < 125, "5 s apart at the least"


# ---- the end


def test_leaving_takes_the_registration_back() -> None:
    registrar = Registrar(granted(600), (200, {}))
    registrar.run(100)

    registrar.registration.leave(registrar.now)
    registrar.run(0.1)

    assert dict(registrar.last.headers)["Expires"] == "0"
    assert registrar.last.contact_user == "k3w9"
    assert registrar.last.timeout_s == 2
    assert registrar.registration.state is RegistrationState.OFF
    assert registrar.registration.next_timer() is None


def test_leaving_before_anything_was_asked_asks_nothing() -> None:
    registrar = Registrar(granted(600), spread=lambda: 0.9)

    registrar.registration.leave(START)
    registrar.run(100)

    assert registrar.asked == []
    assert registrar.registration.state is RegistrationState.OFF


def test_leaving_while_a_request_is_under_way_waits_for_it() -> None:
    registrar = Registrar(None)
    registrar.run(1)

    registrar.registration.leave(registrar.now)
    assert registrar.registration.take_output() == []
    registrar.answer(200, {"Contact": f"{CONTACT};expires=600"})
    registrar.run(0)

    assert dict(registrar.last.headers)["Expires"] == "0"
    registrar.answer(200, {})
    assert registrar.registration.state is RegistrationState.OFF


def test_leaving_waits_two_seconds_at_most() -> None:
    registrar = Registrar(granted(600), None)
    registrar.run(100)

    registrar.registration.leave(registrar.now)
    registrar.run(3)

    assert registrar.registration.state is RegistrationState.OFF
    assert len(registrar.asked) == 2
