"""The four transactions: every pair of their tables, and every timer by name."""

from __future__ import annotations

from itertools import product

import pytest

from gateway.sip.event import EndCause, Ended, Gone, Progressed
from gateway.sip.flow import Flow
from gateway.sip.message import Message, Request, Response, build_response, parse_message
from gateway.sip.timers import Timers
from gateway.sip.transaction import (
    INVITE_CLIENT,
    INVITE_SERVER,
    NON_INVITE_CLIENT,
    NON_INVITE_SERVER,
    ClientTransaction,
    Failure,
    Input,
    ServerTransaction,
    State,
    Timer,
    Transaction,
    build_hop_request,
)
from tests.support.sip import ANSWER, LATENCY_S, OFFER, Line, Peer, Station, Wire, label

UDP = Flow("udp", ("192.0.2.1", 5060), ("192.0.2.2", 5060))
TCP = Flow("tcp", ("192.0.2.1", 5060), ("192.0.2.2", 5060))

C, T, P = State.CALLING, State.TRYING, State.PROCEEDING
D, A, N, X = State.COMPLETED, State.ACCEPTED, State.CONFIRMED, State.TERMINATED
L = State.LEFT

# What the figures say: (state, input) → next state, what is done, timers that run after it.
# Done: s sends the message, a an ACK, u tells the user, ! tells it of a failure. A pair that is
# not here changes nothing and does nothing.
FIGURE_5 = {
    (C, Timer.A): (C, "s", "AB"),
    (C, Timer.B): (X, "!", ""),
    (C, Input.PROVISIONAL): (P, "u", ""),
    (C, Input.SUCCESS): (A, "u", "M"),
    (C, Input.FAILURE): (D, "au", "D"),
    (C, Input.ABANDON): (X, "", ""),
    (C, Input.LEAVE): (L, "", "B"),
    (C, Input.TRANSPORT_ERROR): (X, "!", ""),
    (L, Timer.B): (X, "", ""),
    (L, Input.PROVISIONAL): (P, "u", ""),
    (L, Input.SUCCESS): (A, "u", "M"),
    (L, Input.FAILURE): (D, "au", "D"),
    (L, Input.ABANDON): (X, "", ""),
    (L, Input.TRANSPORT_ERROR): (X, "", ""),
    (P, Input.PROVISIONAL): (P, "u", ""),
    (P, Input.SUCCESS): (A, "u", "M"),
    (P, Input.FAILURE): (D, "au", "D"),
    (P, Input.ABANDON): (X, "", ""),
    (D, Input.FAILURE): (D, "a", "D"),
    (D, Timer.D): (X, "", ""),
    (D, Input.TRANSPORT_ERROR): (X, "!", ""),
    (A, Input.SUCCESS): (A, "u", "M"),
    (A, Timer.M): (X, "", ""),
}
FIGURE_6 = {
    (T, Timer.E): (T, "s", "EF"),
    (T, Timer.F): (X, "!", ""),
    (T, Input.PROVISIONAL): (P, "u", "EF"),
    (T, Input.SUCCESS): (D, "u", "K"),
    (T, Input.FAILURE): (D, "u", "K"),
    (T, Input.LEAVE): (X, "", ""),
    (T, Input.TRANSPORT_ERROR): (X, "!", ""),
    (P, Timer.E): (P, "s", "EF"),
    (P, Timer.F): (X, "!", ""),
    (P, Input.PROVISIONAL): (P, "u", "EF"),
    (P, Input.SUCCESS): (D, "u", "K"),
    (P, Input.FAILURE): (D, "u", "K"),
    (P, Input.LEAVE): (X, "", ""),
    (P, Input.TRANSPORT_ERROR): (X, "!", ""),
    (D, Timer.K): (X, "", ""),
}
FIGURE_7 = {
    (P, Timer.TRYING): (P, "s", "100"),
    (P, Input.REQUEST): (P, "", "100"),
    (P, Input.SEND_PROVISIONAL): (P, "s", ""),
    (P, Input.SEND_SUCCESS): (A, "s", "L"),
    (P, Input.SEND_FAILURE): (D, "s", "GH"),
    (P, Input.DROP): (A, "", "L"),
    (D, Input.REQUEST): (D, "s", "GH"),
    (D, Timer.G): (D, "s", "GH"),
    (D, Timer.H): (X, "", ""),
    (D, Input.ACK): (N, "", "I"),
    (N, Timer.I): (X, "", ""),
    (A, Input.SEND_SUCCESS): (A, "s", "L"),
    (A, Input.ACK): (A, "u", "L"),
    (A, Timer.L): (X, "", ""),
}
FIGURE_8 = {
    (T, Input.SEND_PROVISIONAL): (P, "s", ""),
    (T, Input.SEND_SUCCESS): (D, "s", "J"),
    (T, Input.SEND_FAILURE): (D, "s", "J"),
    (T, Input.DROP): (X, "", ""),
    (P, Input.REQUEST): (P, "s", ""),
    (P, Input.SEND_PROVISIONAL): (P, "s", ""),
    (P, Input.SEND_SUCCESS): (D, "s", "J"),
    (P, Input.SEND_FAILURE): (D, "s", "J"),
    (P, Input.DROP): (X, "", ""),
    (D, Input.REQUEST): (D, "s", "J"),
    (D, Timer.J): (X, "", ""),
}
# Where nothing is left but to answer what comes once more, and to time out.
RESTING = {"5": {D, A, X}, "6": {D, X}, "7": {A, N, X}, "8": {D, X}}
PATHS: dict[str, dict[State, list[Input | Timer]]] = {
    "5": {
        C: [],
        P: [Input.PROVISIONAL],
        D: [Input.FAILURE],
        A: [Input.SUCCESS],
        L: [Input.LEAVE],
        X: [Timer.B],
    },
    "6": {T: [], P: [Input.PROVISIONAL], D: [Input.SUCCESS], X: [Timer.F]},
    "7": {
        P: [],
        D: [Input.SEND_FAILURE],
        N: [Input.SEND_FAILURE, Input.ACK],
        A: [Input.SEND_SUCCESS],
        X: [Input.SEND_SUCCESS, Timer.L],
    },
    "8": {
        T: [],
        P: [Input.SEND_PROVISIONAL],
        D: [Input.SEND_SUCCESS],
        X: [Input.SEND_SUCCESS, Timer.J],
    },
}
FIGURES = {
    "5": ("INVITE", FIGURE_5, INVITE_CLIENT),
    "6": ("BYE", FIGURE_6, NON_INVITE_CLIENT),
    "7": ("INVITE", FIGURE_7, INVITE_SERVER),
    "8": ("BYE", FIGURE_8, NON_INVITE_SERVER),
}
STATUS = {
    Input.PROVISIONAL: 180,
    Input.SUCCESS: 200,
    Input.FAILURE: 486,
    Input.SEND_PROVISIONAL: 180,
    Input.SEND_SUCCESS: 200,
    Input.SEND_FAILURE: 486,
}


def make_request(method: str) -> Request:
    message = parse_message(
        f"{method} sip:bob@192.0.2.2 SIP/2.0\r\n"
        "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKabc\r\n"
        "Route: <sip:p1.example.com;lr>\r\n"
        "From: <sip:alice@example.com>;tag=a\r\n"
        "To: <sip:bob@example.com>\r\n"
        "Call-ID: call\r\n"
        f"CSeq: 7 {method}\r\n"
        "Max-Forwards: 70\r\n"
        "Contact: <sip:192.0.2.1>\r\n\r\n".encode()
    )
    assert isinstance(message, Request)
    return message


class Bench:
    """One transaction with its surroundings, which write down what it does."""

    def __init__(self, figure: str, flow: Flow = UDP) -> None:
        self.timers = Timers()
        self.done = ""
        self.open = self.pending = 0
        self.is_forgotten = False
        method = FIGURES[figure][0]
        self.request = make_request(method)
        self.transaction: ClientTransaction | ServerTransaction
        if figure in "56":
            self.transaction = ClientTransaction(
                self.request, flow, self, self, on_response=self.on_user, on_failure=self.on_failure
            )
        else:
            self.transaction = ServerTransaction(
                self.request, flow, self, self, on_ack=self.on_user
            )
        self.transaction.feed(Input.START, 0.0)
        self.done = ""

    def feed(self, what: Input | Timer, now: float = 0.0) -> None:
        """Put an input in, with the message that belongs to it."""
        if what in STATUS:
            self.transaction.message = build_response(self.request, STATUS[what], to_tag="b")
        elif what is Input.ACK:
            self.transaction.message = build_hop_request("ACK", self.request)
        elif what is Input.REQUEST:
            self.transaction.message = self.request
        self.transaction.feed(what, now)

    def send(self, data: bytes, flow: Flow) -> None:
        self.done += "a" if label(data) == "ACK" else "s"

    def forget(self, transaction: Transaction) -> None:
        self.is_forgotten = True

    def on_user(self, message: Message, now: float) -> None:
        self.done += "u"

    def on_failure(self, failure: Failure, now: float) -> None:
        self.done += "!"

    def acquire(self) -> None:
        self.open += 1
        self.pending += 1

    def rest(self, now: float) -> None:
        self.pending -= 1

    def release(self, now: float) -> None:
        self.open -= 1

    def note(self, sent: bool, message: Message, now: float) -> None:
        """Not looked at here."""

    def receive_cancel(self, request: Request, flow: Flow, now: float) -> None:
        """Not looked at here."""


PAIRS = [
    pytest.param(figure, state, what, id=f"figure {figure}: {state.value}, {what.value}")
    for figure, paths in PATHS.items()
    for state, what in product(paths, [*Input, *Timer])
    if what is not Input.START
]


@pytest.mark.rfc(3261, "17")
@pytest.mark.rfc(6026, "7")
@pytest.mark.parametrize(("figure", "state", "what"), PAIRS)
def test_every_pair_does_what_the_figure_says(
    figure: str, state: State, what: Input | Timer
) -> None:
    bench = Bench(figure)
    for step in PATHS[figure][state]:
        bench.feed(step)
    before = bench.transaction.running()
    bench.done = ""

    bench.feed(what)

    expected = FIGURES[figure][1].get((state, what))
    assert bench.transaction.state is (state if expected is None else expected[0])
    assert sorted(bench.done) == sorted("" if expected is None else expected[1])
    if expected is None:
        assert bench.transaction.running() == before
    else:
        assert {timer.value for timer in bench.transaction.running()} == timers_of(expected[2])
    is_over = bench.transaction.state is X
    assert (bench.is_forgotten, bench.open) == (is_over, 0 if is_over else 1)
    assert bench.pending == (0 if bench.transaction.state in RESTING[figure] else 1)
    assert bool(len(bench.timers)) is bool(bench.transaction.running())


def timers_of(names: str) -> set[str]:
    return {"100"} if names == "100" else set(names)


@pytest.mark.parametrize("figure", FIGURES)
def test_no_state_is_left_out_of_a_table(figure: str) -> None:
    assert set(FIGURES[figure][2]) == set(PATHS[figure])


@pytest.mark.parametrize(
    ("figure", "what", "timers"),
    [
        ("5", [], {"B"}),
        ("6", [], {"F"}),
        ("7", [Input.SEND_FAILURE], {"H"}),
        ("7", [Input.SEND_SUCCESS], {"L"}),
        ("5", [Input.SUCCESS], {"M"}),
    ],
)
@pytest.mark.rfc(3261, "17")
def test_reliable_transport_resends_nothing(
    figure: str, what: list[Input], timers: set[str]
) -> None:
    bench = Bench(figure, TCP)

    for step in what:
        bench.feed(step)

    assert {timer.value for timer in bench.transaction.running()} == timers


@pytest.mark.parametrize(
    ("figure", "what"),
    [
        ("5", [Input.FAILURE]),  # Timer D
        ("7", [Input.SEND_FAILURE, Input.ACK]),  # Timer I
        ("8", [Input.SEND_SUCCESS]),  # Timer J
        ("6", [Input.SUCCESS]),  # Timer K
    ],
)
@pytest.mark.rfc(3261, "17")
def test_reliable_transport_waits_for_no_stragglers(figure: str, what: list[Input]) -> None:
    bench = Bench(figure, TCP)
    for step in what:
        bench.feed(step)

    bench.timers.fire_due(0.0)

    assert bench.is_forgotten


@pytest.mark.rfc(3261, "17.1.1.3")
def test_ack_to_a_failure_is_made_of_the_invite() -> None:
    bench = Bench("5")
    assert isinstance(bench.transaction, ClientTransaction)

    bench.transaction.receive(build_response(bench.request, 486, to_tag="b"), 0.0)

    ack = parse_message(bench.transaction.ack)
    assert isinstance(ack, Request)
    assert (ack.method, ack.uri) == ("ACK", bench.request.uri)
    assert str(ack.cseq) == "7 ACK"
    assert ack.vias == bench.request.vias
    assert ack.routes == bench.request.routes
    assert (ack.from_.tag, ack.to.tag, ack.call_id) == ("a", "b", "call")


@pytest.mark.rfc(4320, "4.2")
def test_408_to_a_non_invite_request_is_never_sent() -> None:
    bench = Bench("8")
    assert isinstance(bench.transaction, ServerTransaction)

    with pytest.raises(AssertionError):
        bench.transaction.respond(build_response(bench.request, 408), 0.0)


def bad_line() -> tuple[Line, Peer]:
    """A caller and a peer that answers only what the test says."""
    line = Line()
    return line, Peer(line.wire, ("192.0.2.9", 5060))


def test_timer_a_doubles_until_timer_b_ends_the_call() -> None:
    line, peer = bad_line()
    session = line.caller.invite(peer.address)

    line.run(33)

    assert line.wire.times("INVITE") == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    ended = line.caller.one(Ended)
    assert (ended.session, ended.cause, ended.status) == (session, EndCause.TIMEOUT, 408)
    assert line.caller.at(Ended) == 132.0
    assert line.caller.endpoint.is_idle


def test_timer_b_stops_with_the_first_provisional_response() -> None:
    line, peer = bad_line()
    line.caller.invite(peer.address)
    line.run(0.1)

    peer.respond(line.caller, peer.request("INVITE"), 100)
    line.run(600)

    assert len(line.wire.sent("INVITE")) == 1
    assert line.caller.all(Ended) == []


def test_lost_invite_is_resent() -> None:
    line = Line()
    line.wire.drop_next(2)

    line.dial()
    line.run(1.6)

    assert line.wire.times("INVITE") == [0, 0.5, 1.5]
    assert line.callee.called.offer == OFFER


def test_timer_d_acknowledges_each_resent_failure_for_32_s() -> None:
    line, peer = bad_line()
    line.caller.invite(peer.address)
    line.run(0.1)
    busy = peer.respond(line.caller, peer.request("INVITE"), 486, "b")
    line.run(31)

    peer.send(line.caller, busy)
    line.run(0.5)
    assert len(peer.got("ACK")) == 2
    line.run(1)
    peer.send(line.caller, busy)
    line.run(1)

    assert len(peer.got("ACK")) == 2
    assert line.caller.at(Gone) - line.caller.at(Ended) == pytest.approx(32)


def test_timer_e_doubles_up_to_t2_until_timer_f() -> None:
    line = Line()
    session, _ = line.connect()
    line.wire.drop_next(100, "BYE")
    at = line.wire.now

    session.bye(at)
    line.run(33)

    assert line.wire.times("BYE") == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert line.caller.at(Ended) == at
    assert line.caller.at(Gone) - at == 32


def test_timer_e_slows_to_t2_after_a_provisional_response() -> None:
    line, peer = bad_line()
    session = line.caller.invite(peer.address)
    line.run(0.1)
    peer.respond(line.caller, peer.request("INVITE"), 200, "b", body=ANSWER)
    line.run(0.1)
    session.bye(line.wire.now)
    line.run(0.1)

    peer.respond(line.caller, peer.request("BYE"), 100)
    line.run(10)

    assert line.wire.times("BYE") == [0, 0.5, 4.5, 8.5]


def test_lost_bye_is_resent_and_ends_the_call_once() -> None:
    line = Line()
    session, _ = line.connect()
    line.wire.drop_next(1, "BYE")

    session.bye(line.wire.now)
    line.run(1)

    assert line.wire.times("BYE") == [0, 0.5]
    assert line.callee.one(Ended).cause is EndCause.BYE


def test_timer_k_takes_late_responses_for_5_s() -> None:
    line = Line()
    session, _ = line.connect()
    line.run(60)
    at = line.wire.now
    line.wire.drop_next(1, "200 BYE")

    session.bye(at)
    line.run(20)

    answered_at = at + 0.5 + 2 * LATENCY_S
    assert line.caller.at(Gone) == pytest.approx(answered_at + 5)
    assert line.caller.endpoint.strays == 0


def test_timer_j_answers_a_resent_bye_for_32_s() -> None:
    line = Line()
    session, _ = line.connect()
    line.run(60)
    line.wire.drop_next(3, "200 BYE")

    session.bye(line.wire.now)
    line.run(60)

    assert line.wire.times("200 BYE") == [0, 0.5, 1.5, 3.5]
    assert line.callee.at(Gone) - line.callee.at(Ended) == pytest.approx(32)


def test_timer_g_resends_a_failure_until_timer_h() -> None:
    line = Line()
    line.wire.drop_next(100, "ACK")
    line.dial()

    line.callee.called.reject(486, line.wire.now)
    line.run(40)

    assert line.wire.times("486") == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert line.callee.at(Gone) - line.callee.at(Ended) == pytest.approx(32)
    assert line.is_idle


def test_lost_failure_is_resent_with_the_same_bytes() -> None:
    line = Line()
    line.wire.drop_next(2, "486")
    line.dial()
    line.callee.called.progress(180, None, line.wire.now)
    line.run(0.1)

    line.callee.called.reject(486, line.wire.now)
    line.run(2)

    assert line.wire.times("486") == [0, 0.5, 1.5]
    assert len({each.data for each in line.wire.sent("486")}) == 1
    assert line.caller.one(Ended).status == 486


def test_timer_i_absorbs_resent_acks_for_5_s() -> None:
    line = Line()
    line.wire.duplicate_next(1, "ACK")
    line.dial()

    line.callee.called.reject(486, line.wire.now)
    line.run(10)

    acked_at = line.callee.at(Ended) + 2 * LATENCY_S
    assert line.callee.at(Gone) == pytest.approx(acked_at + 5)
    assert line.callee.endpoint.strays == 0


def test_timer_l_absorbs_a_late_invite_for_32_s() -> None:
    line = Line()
    _, called = line.connect()
    invite = line.wire.sent("INVITE")[0].data
    line.run(30)

    line.callee.receive(invite, line.caller.address, line.wire.now)
    line.run(1)

    assert line.callee.called is called
    assert len(line.wire.sent("200")) == 1
    line.run(2)
    assert line.callee.endpoint._core.servers == {}


def test_timer_m_takes_2xx_for_32_s() -> None:
    line, peer = bad_line()
    line.caller.invite(peer.address)
    line.run(0.1)
    invite = peer.request("INVITE")
    peer.respond(line.caller, invite, 200, "b", body=ANSWER)
    line.run(31)

    peer.respond(line.caller, invite, 200, "c", body=ANSWER)
    line.run(0.5)
    assert [bye.to.tag for bye in peer.got("BYE")] == ["c"]
    line.run(1)
    peer.respond(line.caller, invite, 200, "d", body=ANSWER)
    line.run(1)

    assert line.caller.endpoint.strays == 1


def test_100_is_sent_after_200_ms() -> None:
    line = Line()

    line.dial()
    line.run(1)

    assert line.wire.sent("100")[0].at - line.wire.sent("INVITE")[0].at == pytest.approx(0.21)
    assert line.wire.sent("100")[0].message.to.tag is None
    assert [event.status for event in line.caller.all(Progressed)] == [100]


def test_100_is_not_sent_when_something_better_was() -> None:
    line = Line()
    line.dial()

    line.callee.called.progress(180, None, line.wire.now)
    line.run(1)

    assert line.wire.sent("100") == []


def test_resent_invite_gets_the_last_provisional_response_again() -> None:
    line = Line()
    line.dial()
    line.wire.drop_next(1, "180")

    line.callee.called.progress(180, None, line.wire.now)
    line.run(1)

    assert line.wire.times("INVITE") == [0, 0.5]
    assert len({each.data for each in line.wire.sent("180")}) == 1
    assert [event.status for event in line.caller.all(Progressed)] == [180]


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_call_over_a_reliable_transport_leaves_nothing_behind(transport: str) -> None:
    line = Line(transport=transport)
    session, _ = line.connect()

    session.bye(line.wire.now)
    line.run(33)

    assert [label(each.data) for each in line.wire.log] == [
        "INVITE", "200 INVITE", "ACK", "BYE", "200 BYE",
    ]  # fmt: skip
    assert line.is_idle


def test_unreachable_peer_ends_the_call_at_once() -> None:
    wire = Wire()
    station = Station(wire, ("192.0.2.1", 5060))
    flow = station.flow_to(("192.0.2.9", 5060))
    station.invite(flow.remote)
    wire.flush()

    station.endpoint.flow_failed(flow, wire.now)
    wire.flush()

    ended = station.one(Ended)
    assert (ended.cause, ended.status) == (EndCause.TRANSPORT, 503)
    assert station.endpoint.is_idle


def test_responses_are_delivered_as_received() -> None:
    line, peer = bad_line()
    line.caller.invite(peer.address)
    line.run(0.1)

    sent = peer.respond(line.caller, peer.request("INVITE"), 183, "b", body=ANSWER)
    line.run(0.1)

    progressed = line.caller.one(Progressed)
    assert isinstance(sent, Response)
    assert (progressed.status, progressed.body) == (183, ANSWER)
