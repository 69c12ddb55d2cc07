"""The four transactions as tables (RFC 3261 §17 as amended by RFC 6026 and RFC 4320).

A row is a state, an entry what happens on one input there: the next state and what to do.
A missing pair is ignored, as the figures mean it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NamedTuple, Protocol

from gateway.sip.flow import Flow
from gateway.sip.header import CSeq
from gateway.sip.message import Headers, Message, Request, Response, build_response
from gateway.sip.timers import Alarm, Timers

T1 = 0.5
"Round-trip estimate, seconds."
T2 = 4.0
"Longest interval between retransmissions of a non-INVITE request or a response, seconds."
T4 = 5.0
"Longest time a message stays in the network, seconds."
TIMER_D = 32.0
"At least 32 s, whatever T1 is (§17.1.1.2)."
TRYING_AFTER = 0.2
"A 100 goes out if the user has sent nothing by then (§17.2.1), seconds."


class State(Enum):
    """Where a transaction is."""

    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"
    LEFT = "left"
    "Of an INVITE: another way is tried. Ours, for RFC 3263 §4.3: late answers are still heard."
    TERMINATED = "terminated"


class Input(Enum):
    """What comes to a transaction, other than its timers."""

    START = "start"
    "The transaction begins with its request."
    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "300-699"
    REQUEST = "request"
    "The request once more."
    ACK = "ack"
    SEND_PROVISIONAL = "1xx from user"
    SEND_SUCCESS = "2xx from user"
    SEND_FAILURE = "300-699 from user"
    ABANDON = "abandon"
    "The user gives up on a cancelled INVITE (§9.1)."
    LEAVE = "leave"
    "The user tries another way, or wants no response any more."
    DROP = "drop"
    "The user will not answer at all, and wants to hear no more."
    TRANSPORT_ERROR = "transport error"


class Timer(Enum):
    """The timers of RFC 3261 table 4, those of RFC 6026, and the 200 ms of §17.2.1."""

    A = "A"
    B = "B"
    D = "D"
    E = "E"
    F = "F"
    G = "G"
    H = "H"
    I = "I"  # noqa: E741 - its name in the RFC
    J = "J"
    K = "K"
    L = "L"
    M = "M"
    TRYING = "100"


class Failure(Enum):
    """Why a transaction gave up."""

    TIMEOUT = "timeout"
    TRANSPORT = "transport"


# Actions: what a step does to its transaction. Any: each table serves one class of them.
Action = Callable[[Any, float], None]


class Step(NamedTuple):
    """Where an input leads, and what is done on the way."""

    state: State
    actions: tuple[Action, ...]


Table = Mapping[State, Mapping[Input | Timer, Step]]


def to(state: State, *actions: Action) -> Step:
    """An entry of a table."""
    return Step(state, actions)


def start(timer: Timer, seconds: float) -> Action:
    """Start a timer on every transport."""
    return lambda transaction, now: transaction.start_timer(timer, seconds, now)


def repeat(timer: Timer, seconds: float) -> Action:
    """Start a timer of retransmission: none runs over a transport that resends by itself."""

    def action(transaction: Transaction, now: float) -> None:
        if not transaction.flow.is_reliable:
            transaction.start_timer(timer, seconds, now)

    return action


def linger(timer: Timer, seconds: float) -> Action:
    """Start a timer that waits for stragglers: there are none over a reliable transport."""

    def action(transaction: Transaction, now: float) -> None:
        transaction.start_timer(timer, 0.0 if transaction.flow.is_reliable else seconds, now)

    return action


def double(timer: Timer, longest: float) -> Action:
    """Start the timer that fired once more, for twice the time but no longer than `longest`."""
    return lambda transaction, now: transaction.double_timer(timer, longest, now)


def stop_all(transaction: Transaction, now: float) -> None:
    """Stop every timer."""
    transaction.stop_timers()


def send(transaction: Transaction, now: float) -> None:
    """Send the request, or the response in hand, for the first time."""
    message = transaction.message
    transaction.data = bytes(message)
    transaction.note(True, message, now)
    transaction.outlet.send(transaction.data, transaction.flow)


def resend(transaction: Transaction, now: float) -> None:
    """Send the same bytes once more: the request, or the last response if there is one."""
    if transaction.data:
        transaction.outlet.send(transaction.data, transaction.flow)


def send_trying(transaction: ServerTransaction, now: float) -> None:
    """Send the 100 that stops retransmissions; it has no To tag (§17.2.1)."""
    transaction.message = build_response(transaction.request, 100)
    send(transaction, now)


def send_ack(transaction: ClientTransaction, now: float) -> None:
    """Acknowledge a final response other than 2xx (§17.1.1.3)."""
    ack = build_hop_request("ACK", transaction.request, transaction.message.headers)
    transaction.ack = bytes(ack)
    transaction.note(True, ack, now)
    transaction.outlet.send(transaction.ack, transaction.flow)


def resend_ack(transaction: ClientTransaction, now: float) -> None:
    """Acknowledge the final response once more."""
    transaction.outlet.send(transaction.ack, transaction.flow)


def deliver(transaction: ClientTransaction, now: float) -> None:
    """Bring a response to the user."""
    assert isinstance(transaction.message, Response)
    transaction.on_response(transaction.message, now)


def deliver_ack(transaction: ServerTransaction, now: float) -> None:
    """Bring an ACK to the user (RFC 6026 §6)."""
    assert isinstance(transaction.message, Request)
    if transaction.on_ack is not None:
        transaction.on_ack(transaction.message, now)


def note_ack(transaction: ServerTransaction, now: float) -> None:
    """Tell the owner that its final response was acknowledged."""
    transaction.note(False, transaction.message, now)


def report_timeout(transaction: ClientTransaction, now: float) -> None:
    """Tell the user that nothing came; it takes that for a 408 (§8.1.3.1)."""
    transaction.on_failure(Failure.TIMEOUT, now)


def report_transport_error(transaction: ClientTransaction, now: float) -> None:
    """Tell the user that the request cannot be sent; it takes that for a 503 (§8.1.3.1)."""
    transaction.on_failure(Failure.TRANSPORT, now)


_fail = to(State.TERMINATED, report_timeout)
_break = to(State.TERMINATED, report_transport_error)
_end = to(State.TERMINATED)

# RFC 3261 Figure 5 as replaced by RFC 6026 §8.4.
_accept = to(State.ACCEPTED, stop_all, start(Timer.M, 64 * T1), deliver)
_reject = to(State.COMPLETED, stop_all, send_ack, linger(Timer.D, TIMER_D), deliver)
INVITE_CLIENT: Table = {
    State.CALLING: {
        Input.START: to(State.CALLING, send, repeat(Timer.A, T1), start(Timer.B, 64 * T1)),
        Timer.A: to(State.CALLING, resend, double(Timer.A, 64 * T1)),
        Timer.B: _fail,
        Input.PROVISIONAL: to(State.PROCEEDING, stop_all, deliver),
        Input.SUCCESS: _accept,
        Input.FAILURE: _reject,
        Input.ABANDON: _end,
        Input.LEAVE: to(State.LEFT, stop_all, start(Timer.B, 64 * T1)),
        Input.TRANSPORT_ERROR: _break,
    },
    State.LEFT: {
        Timer.B: _end,
        Input.PROVISIONAL: to(State.PROCEEDING, stop_all, deliver),
        Input.SUCCESS: _accept,
        Input.FAILURE: _reject,
        Input.ABANDON: _end,
        Input.TRANSPORT_ERROR: _end,
    },
    State.PROCEEDING: {
        Input.PROVISIONAL: to(State.PROCEEDING, deliver),
        Input.SUCCESS: _accept,
        Input.FAILURE: _reject,
        Input.ABANDON: _end,
    },
    State.COMPLETED: {
        Input.FAILURE: to(State.COMPLETED, resend_ack),
        Timer.D: _end,
        Input.TRANSPORT_ERROR: _break,
    },
    State.ACCEPTED: {
        Input.SUCCESS: to(State.ACCEPTED, deliver),
        Timer.M: _end,
    },
    State.TERMINATED: {},
}

# RFC 3261 Figure 6. A reliable transport resends nothing, so that Timer E never runs there.
_finish = to(State.COMPLETED, stop_all, linger(Timer.K, T4), deliver)
NON_INVITE_CLIENT: Table = {
    State.TRYING: {
        Input.START: to(State.TRYING, send, repeat(Timer.E, T1), start(Timer.F, 64 * T1)),
        Timer.E: to(State.TRYING, resend, double(Timer.E, T2)),
        Timer.F: _fail,
        Input.PROVISIONAL: to(State.PROCEEDING, deliver),
        Input.SUCCESS: _finish,
        Input.FAILURE: _finish,
        Input.LEAVE: _end,
        Input.TRANSPORT_ERROR: _break,
    },
    State.PROCEEDING: {
        Timer.E: to(State.PROCEEDING, resend, start(Timer.E, T2)),
        Timer.F: _fail,
        Input.PROVISIONAL: to(State.PROCEEDING, deliver),
        Input.SUCCESS: _finish,
        Input.FAILURE: _finish,
        Input.LEAVE: _end,
        Input.TRANSPORT_ERROR: _break,
    },
    State.COMPLETED: {Timer.K: _end},
    State.TERMINATED: {},
}

# RFC 3261 Figure 7 as replaced by RFC 6026 §8.6. A transport error changes no state (§8.8 there).
INVITE_SERVER: Table = {
    State.PROCEEDING: {
        Input.START: to(State.PROCEEDING, start(Timer.TRYING, TRYING_AFTER)),
        Timer.TRYING: to(State.PROCEEDING, send_trying),
        Input.REQUEST: to(State.PROCEEDING, resend),
        Input.SEND_PROVISIONAL: to(State.PROCEEDING, stop_all, send),
        Input.SEND_SUCCESS: to(State.ACCEPTED, stop_all, start(Timer.L, 64 * T1), send),
        Input.SEND_FAILURE: to(
            State.COMPLETED, stop_all, send, repeat(Timer.G, T1), start(Timer.H, 64 * T1)
        ),
        # An INVITE that gets no answer is sent for 64*T1, and a while under way.
        Input.DROP: to(State.ACCEPTED, stop_all, start(Timer.L, 64 * T1 + T4)),
    },
    State.COMPLETED: {
        Input.REQUEST: to(State.COMPLETED, resend),
        Timer.G: to(State.COMPLETED, resend, double(Timer.G, T2)),
        Timer.H: _end,
        Input.ACK: to(State.CONFIRMED, note_ack, stop_all, linger(Timer.I, T4)),
    },
    State.CONFIRMED: {Timer.I: _end},
    State.ACCEPTED: {
        # The user resends its 2xx; the INVITE is absorbed without an answer.
        Input.SEND_SUCCESS: to(State.ACCEPTED, resend),
        Input.ACK: to(State.ACCEPTED, deliver_ack),
        Timer.L: _end,
    },
    State.TERMINATED: {},
}

# RFC 3261 Figure 8.
_complete = to(State.COMPLETED, send, linger(Timer.J, 64 * T1))
NON_INVITE_SERVER: Table = {
    State.TRYING: {
        Input.SEND_PROVISIONAL: to(State.PROCEEDING, send),
        Input.SEND_SUCCESS: _complete,
        Input.SEND_FAILURE: _complete,
        Input.DROP: _end,
    },
    State.PROCEEDING: {
        Input.REQUEST: to(State.PROCEEDING, resend),
        Input.SEND_PROVISIONAL: to(State.PROCEEDING, send),
        Input.SEND_SUCCESS: _complete,
        Input.SEND_FAILURE: _complete,
        Input.DROP: _end,
    },
    State.COMPLETED: {
        Input.REQUEST: to(State.COMPLETED, resend),
        Timer.J: _end,
    },
    State.TERMINATED: {},
}


class Owner(Protocol):
    """Whoever answers for a transaction: a session."""

    def acquire(self) -> None:
        """A transaction has begun."""

    def note(self, sent: bool, message: Message, now: float) -> None:
        """A message of the transaction went out or was taken in; not its retransmissions."""

    def release(self, now: float) -> None:
        """The transaction has terminated."""

    def receive_cancel(self, request: Request, flow: Flow, now: float) -> None:
        """A CANCEL came that means the transaction."""


class Outlet(Protocol):
    """Where transactions are kept and what sends for them."""

    timers: Timers

    def send(self, data: bytes, flow: Flow) -> None:
        """Put bytes on a flow."""

    def forget(self, transaction: Transaction) -> None:
        """Take a terminated transaction out of the table."""


class Transaction:
    """What the four machines share: a state, a request, a flow and named timers."""

    table: Table

    def __init__(self, request: Request, flow: Flow, outlet: Outlet, owner: Owner | None) -> None:
        self.request = request
        self.flow = flow
        self.outlet = outlet
        self.owner = owner
        self.state = next(iter(self.table))
        self.message: Message = request
        "What the input in hand brought, from the network or from the user."
        self.data = b""
        "What was sent last, for it to be sent again to the byte."
        self._alarms: dict[Timer, tuple[Alarm, float]] = {}
        if owner is not None:
            owner.acquire()

    def feed(self, what: Input | Timer, now: float) -> None:
        """Take one step of the table."""
        step = self.table[self.state].get(what)
        if step is None:
            return
        # The state changes first: an action may reach the user, who may send at once.
        self.state = step.state
        if step.state is State.TERMINATED:
            self.stop_timers()
            self.outlet.forget(self)
        for action in step.actions:
            action(self, now)
        if step.state is State.TERMINATED and self.owner is not None:
            self.owner.release(now)

    def start_timer(self, timer: Timer, seconds: float, now: float) -> None:
        """Let a timer fire once, `seconds` from now."""
        alarm = self.outlet.timers.start(now + seconds, lambda at: self.feed(timer, at))
        self._alarms[timer] = (alarm, seconds)

    def double_timer(self, timer: Timer, longest: float, now: float) -> None:
        """Start a timer that has just fired once more, for twice the time."""
        self.start_timer(timer, min(2 * self._alarms[timer][1], longest), now)

    def stop_timers(self) -> None:
        """Forget all timers."""
        for alarm, _ in self._alarms.values():
            self.outlet.timers.stop(alarm)
        self._alarms.clear()

    def running(self) -> dict[Timer, float]:
        """The timers that run, and when each is due, loop seconds."""
        return {t: alarm.at for t, (alarm, _) in self._alarms.items() if alarm.fire is not None}

    def note(self, sent: bool, message: Message, now: float) -> None:
        """Tell the owner of a message that is not a retransmission."""
        if self.owner is not None:
            self.owner.note(sent, message, now)


class ClientTransaction(Transaction):
    """Sends a request until a response is there, and brings the responses up."""

    def __init__(
        self,
        request: Request,
        flow: Flow,
        outlet: Outlet,
        owner: Owner | None,
        *,
        on_response: Callable[[Response, float], None],
        on_failure: Callable[[Failure, float], None],
    ) -> None:
        self.table = INVITE_CLIENT if request.method == "INVITE" else NON_INVITE_CLIENT
        super().__init__(request, flow, outlet, owner)
        self.on_response = on_response
        self.on_failure = on_failure
        self.ack = b""
        "The ACK to a final response other than 2xx, once there is one."

    def receive(self, response: Response, now: float) -> None:
        """Take a response that matches (§17.1.3)."""
        self.message = response
        if response.status < 200:
            self.feed(Input.PROVISIONAL, now)
        else:
            self.feed(Input.SUCCESS if response.status < 300 else Input.FAILURE, now)


class ServerTransaction(Transaction):
    """Sends responses to a request, again as often as it comes again."""

    def __init__(
        self,
        request: Request,
        flow: Flow,
        outlet: Outlet,
        owner: Owner | None,
        *,
        on_ack: Callable[[Request, float], None] | None = None,
    ) -> None:
        """`on_ack` gets the ACK to a 2xx, if that matches by RFC 2543 rules (RFC 6026 §6)."""
        self.table = INVITE_SERVER if request.method == "INVITE" else NON_INVITE_SERVER
        super().__init__(request, flow, outlet, owner)
        self.on_ack = on_ack

    def receive(self, request: Request, now: float) -> None:
        """Take a request that matches (§17.2.3): a retransmission, or the ACK."""
        self.message = request
        self.feed(Input.ACK if request.method == "ACK" else Input.REQUEST, now)

    def respond(self, response: Response, now: float) -> None:
        """Send a response; a 2xx to an INVITE once more to resend it (RFC 6026 §8.5)."""
        # RFC 4320 §4.2: a 408 to a non-INVITE request always comes too late to be of use.
        assert response.status != 408 or self.request.method == "INVITE"
        self.message = response
        if response.status < 200:
            self.feed(Input.SEND_PROVISIONAL, now)
        else:
            self.feed(Input.SEND_SUCCESS if response.status < 300 else Input.SEND_FAILURE, now)


def build_hop_request(method: str, request: Request, to: Headers | None = None) -> Request:
    """The ACK to a final response other than 2xx, or the CANCEL, of a request of ours.

    It has the request's topmost Via, Route, From, Call-ID and CSeq number (§9.1, §17.1.1.3).

    Args:
        to: headers of the response to acknowledge, with its To; None takes that of the request.
    """
    headers = Headers()
    headers.copy_from(request.headers, "Via", "Route", "From")
    headers.copy_from(request.headers if to is None else to, "To")
    headers.copy_from(request.headers, "Call-ID")
    headers.add("CSeq", str(CSeq(request.cseq.number, method)))
    headers.add("Max-Forwards", "70")
    return Request(method, request.uri, headers)
