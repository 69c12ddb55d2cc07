"""The four transactions as tables (RFC 3261 §17 as amended by RFC 6026 and RFC 4320).

A row is a state, an entry what happens on one input there: the next state and what to do.
A missing pair is ignored, as the figures mean it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
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

    # These three are looked up dozens of times in a call: by identity, for Enum's own is in Python.
    __hash__ = object.__hash__

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

    __hash__ = object.__hash__

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

    __hash__ = object.__hash__

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

TransactionKey = tuple[str | int | None, ...]
"""What a transaction is found by."""


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
            transaction.interval = seconds
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


def rest(transaction: Transaction, now: float) -> None:
    """Nothing is left but to answer what comes once more, and to time out."""
    transaction.rest(now)


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
_accept = to(State.ACCEPTED, stop_all, start(Timer.M, 64 * T1), deliver, rest)
_reject = to(State.COMPLETED, stop_all, send_ack, linger(Timer.D, TIMER_D), deliver, rest)
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
_finish = to(State.COMPLETED, stop_all, linger(Timer.K, T4), deliver, rest)
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
        Input.SEND_SUCCESS: to(State.ACCEPTED, stop_all, start(Timer.L, 64 * T1), send, rest),
        Input.SEND_FAILURE: to(
            State.COMPLETED, stop_all, send, repeat(Timer.G, T1), start(Timer.H, 64 * T1)
        ),
        # An INVITE that gets no answer is sent for 64*T1, and a while under way.
        Input.DROP: to(State.ACCEPTED, stop_all, start(Timer.L, 64 * T1 + T4), rest),
    },
    State.COMPLETED: {
        Input.REQUEST: to(State.COMPLETED, resend),
        Timer.G: to(State.COMPLETED, resend, double(Timer.G, T2)),
        Timer.H: _end,
        Input.ACK: to(State.CONFIRMED, note_ack, stop_all, linger(Timer.I, T4), rest),
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
_complete = to(State.COMPLETED, send, linger(Timer.J, 64 * T1), rest)
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

    def rest(self, now: float) -> None:
        """The transaction only answers what comes once more, if anything; each does so once."""

    def release(self, now: float) -> None:
        """The transaction, which rested, has terminated."""

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
    """What the four machines share: a state, a request, a flow and named timers.

    Most of its time it only waits for retransmissions. Thousands of calls that have ended do, so
    that it then lets go of everything but what these need.
    """

    __slots__ = (
        "_alarms",
        "data",
        "flow",
        "interval",
        "is_resting",
        "key",
        "message",
        "outlet",
        "owner",
        "request",
        "state",
        "table",
    )

    table: Table

    def __init__(
        self,
        request: Request,
        flow: Flow,
        outlet: Outlet,
        owner: Owner | None,
        key: TransactionKey = (),
    ) -> None:
        """`key`: what the outlet knows it by."""
        self.request = request
        "Until it rests."
        self.flow = flow
        self.outlet = outlet
        self.owner = owner
        self.key = key
        self.state = next(iter(self.table))
        self.message: Message = request
        "What the input in hand brought, from the network or from the user. Until it rests."
        self.data = b""
        "What was sent last, for it to be sent again to the byte."
        self.interval = 0.0
        "Of the timer that retransmits, seconds."
        self.is_resting = False
        "Whether it only answers what comes once more."
        self._alarms: list[Alarm] = []
        if owner is not None:
            owner.acquire()

    def feed(self, what: Input | Timer, now: float) -> None:
        """Take one step of the table."""
        step = self.table[self.state].get(what)
        if step is None:
            return
        # The state changes first: an action may reach the user, who may send at once.
        state, actions = step
        self.state = state
        if state is State.TERMINATED:
            self.stop_timers()
            self.outlet.forget(self)
        for action in actions:
            action(self, now)
        if state is State.TERMINATED:
            self.rest(now)
            self._leave(now)

    def rest(self, now: float) -> None:
        """Let go of what is no longer needed, and tell the owner; once."""
        if self.is_resting:
            return
        self.is_resting = True
        del self.request, self.message
        if self.owner is not None:
            self.owner.rest(now)

    def start_timer(self, timer: Timer, seconds: float, now: float) -> None:
        """Let a timer fire once, `seconds` from now."""
        alarms = self._alarms
        if alarms:
            alarms = self._alarms = [alarm for alarm in alarms if alarm.is_pending]
        alarms.append(self.outlet.timers.start(now + seconds, Transaction.feed, self, timer))

    def double_timer(self, timer: Timer, longest: float, now: float) -> None:
        """Start a timer that has just fired once more, for twice the time."""
        self.interval = min(2 * self.interval, longest)
        self.start_timer(timer, self.interval, now)

    def stop_timers(self) -> None:
        """Forget all timers."""
        for alarm in self._alarms:
            self.outlet.timers.stop(alarm)
        self._alarms.clear()

    def running(self) -> dict[Timer, float]:
        """The timers that run, and when each is due, loop seconds."""
        return {alarm.given[1]: alarm.at for alarm in self._alarms if alarm.is_pending}

    def note(self, sent: bool, message: Message, now: float) -> None:
        """Tell the owner of a message that is not a retransmission."""
        if self.owner is not None:
            self.owner.note(sent, message, now)

    def _leave(self, now: float) -> None:
        """It has terminated: nobody owns it any more."""
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.release(now)


class ClientTransaction(Transaction):
    """Sends a request until a response is there, and brings the responses up."""

    __slots__ = ("ack", "on_failure", "on_response")

    def __init__(
        self,
        request: Request,
        flow: Flow,
        outlet: Outlet,
        owner: Owner | None,
        key: TransactionKey = (),
        *,
        on_response: Callable[[Response, float], None],
        on_failure: Callable[[Failure, float], None],
    ) -> None:
        self.table = INVITE_CLIENT if request.method == "INVITE" else NON_INVITE_CLIENT
        super().__init__(request, flow, outlet, owner, key)
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

    def wait_for_stragglers(
        self, on_response: Callable[[ClientTransaction, Response, float], None]
    ) -> None:
        """Bring late responses to somebody else, who knows nothing of the request but this."""
        if self.table is INVITE_CLIENT and self.owner is not None:
            self.on_response = partial(on_response, self)
            self.on_failure = _ignore_failure

    def rest(self, now: float) -> None:
        """After a final response nobody waits any more, but for late ones to an INVITE."""
        if self.table is NON_INVITE_CLIENT:
            self._forget_user()
        super().rest(now)

    def _leave(self, now: float) -> None:
        self._forget_user()
        super()._leave(now)

    def _forget_user(self) -> None:
        self.on_response, self.on_failure = _ignore_response, _ignore_failure


class ServerTransaction(Transaction):
    """Sends responses to a request, again as often as it comes again."""

    __slots__ = ("merge_key", "on_ack")

    def __init__(
        self,
        request: Request,
        flow: Flow,
        outlet: Outlet,
        owner: Owner | None,
        key: TransactionKey = (),
        *,
        merge_key: TransactionKey = (),
        on_ack: Callable[[Request, float], None] | None = None,
    ) -> None:
        """
        Args:
            merge_key: of an INVITE: what the outlet knows it by on another path.
            on_ack: gets the ACK to a 2xx, if that matches by RFC 2543 rules (RFC 6026 §6).
        """
        self.table = INVITE_SERVER if request.method == "INVITE" else NON_INVITE_SERVER
        super().__init__(request, flow, outlet, owner, key)
        self.merge_key = merge_key
        self.on_ack = on_ack

    def receive(self, request: Request, now: float) -> None:
        """Take a request that matches (§17.2.3): a retransmission, or the ACK."""
        self.message = request
        self.feed(Input.ACK if request.method == "ACK" else Input.REQUEST, now)

    def respond(self, response: Response, now: float) -> None:
        """Send a response; a 2xx to an INVITE once more to resend it (RFC 6026 §8.5)."""
        # RFC 4320 §4.2: a 408 to a non-INVITE request always comes too late to be of use.
        assert response.status != 408 or self.table is INVITE_SERVER
        self.message = response
        if response.status < 200:
            self.feed(Input.SEND_PROVISIONAL, now)
        else:
            self.feed(Input.SEND_SUCCESS if response.status < 300 else Input.SEND_FAILURE, now)

    def _leave(self, now: float) -> None:
        self.on_ack = None
        super()._leave(now)


def _ignore_response(response: Response, now: float) -> None:
    """Nobody waits for it."""


def _ignore_failure(failure: Failure, now: float) -> None:
    """Nobody is told."""


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
