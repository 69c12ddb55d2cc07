"""A registration of ours with a carrier or PBX, kept up for ever (RFC 3261 §10.2, RFC 3608).

TRYING ──200──▸ REGISTERED ──refresh fails──▸ WAITING ──▸ TRYING …
   └──anything else──▸ WAITING (5 s … 300 s for a network, 30 s … 1 h for a refusal)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from gateway.errors import RemoteProtocolError
from gateway.private import Private
from gateway.sip.authenticator import Credentials
from gateway.sip.flow import Destination, Flow
from gateway.sip.grammar import parse_number
from gateway.sip.header import Address, parse_addresses
from gateway.sip.message import Response
from gateway.sip.request import OutgoingRequest
from gateway.sip.uri import Uri
from gateway.trunk.event import TrunkEvent, TrunkRegistered, TrunkRegistrationFailed

EARLIEST_REFRESH, LATEST_REFRESH = 0.5, 0.8
"Which part of what was granted may pass before the refresh; where between is chance (F8)."
SHORTEST_REFRESH_S = 5.0
"A registrar that grants less is not asked more often."
LONGEST_EXPIRES_S = 86_400
"Longest that is asked for or believed: who grants a year forgets us much sooner."
FIRST_REFUSED_S, LONGEST_REFUSED_S = 30.0, 3600.0
"Wait after a refusal, doubled each time: a wrong password does not mend in a minute."
FIRST_LOST_S, LONGEST_LOST_S = 5.0, 300.0
"Wait after silence or an error of the network or server, doubled each time."
BACKOFF_SPREAD = 0.1
"By which part a wait may be shorter: those that failed together do not come back together."
START_WITHIN_S = 1.0
"A first registration begins within this, by chance: a node may have many."
FLOW_RETRY_WITHIN_S = 2.0
"A registration whose connection has closed is made anew within this, by chance."
STABLE_S = 30.0
"A connection closed sooner after its registration counts as a failure, with its wait."
TIMEOUT_S = 32.0
"How long a REGISTER may stay unanswered (Timer F)."
GRACE_S = 1.0
"Past its time-out by this, the endpoint will say nothing more, and that counts as silence."
LEAVE_WITHIN_S = 2.0
"How long taking a registration back may last: nobody waits for it at the end."
MAX_LENGTHENED = 2
"Times that a 423 is believed in a row; one that always wants a little more would be a loop."
MAX_WORDS = 80
"Characters of a registrar's refusal that are shown and logged."
MAX_ROUTES = 8
"URIs of a Service-Route or Path that are kept; real ones have one or two."

_LOST = frozenset({408, 480, 500, 502, 503, 504})
"What a server says that cannot now; everything else above 299 is a refusal."


@dataclass(frozen=True, slots=True)
class RegistrationOptions:
    """What to register where."""

    registrar: Uri
    "Request-URI: no user."
    user: str
    "Whom the calls are for: the user of the address of record."
    credentials: Credentials | None = None
    domain: str | None = None
    "Host of the address of record; None: the registrar's."
    proxy: Uri | None = None
    "Where the request is sent instead of to the registrar itself."
    expires_s: int = 600
    "What is asked for."

    @property
    def destination(self) -> Destination:
        """Where the request goes."""
        return Destination.of(self.proxy or self.registrar)

    @property
    def address(self) -> Address:
        """The address of record, for From and To."""
        host = self.domain or self.registrar.host
        return Address("", Uri(self.registrar.scheme, self.user, host=host))


class RegistrationState(Enum):
    """Where a registration is."""

    TRYING = "trying"
    "Asked for, or about to be."
    REGISTERED = "registered"
    WAITING = "waiting"
    "Failed; it will be tried again. What was granted before may still hold."
    OFF = "off"
    "Taken back, at the end."


class Registration:
    """One registration. A Machine: its outputs are REGISTERs, one at a time.

    `answered` or `failed` must be told once about each of them.
    """

    def __init__(
        self,
        trunk: str,
        options: RegistrationOptions,
        *,
        new_token: Callable[[], str],
        spread: Callable[[], float],
        now: float,
    ) -> None:
        """
        Args:
            trunk: its name, for the events.
            new_token: gives unguessable token characters.
            spread: gives 0 ≤ x < 1.
        """
        self.trunk = trunk
        self.options = options
        self.contact_user = new_token()
        "The user part of our Contact, which nobody but the registrar knows: calls come in for it."
        self.state = RegistrationState.TRYING
        self.expires_at: float | None = None
        "Until when the registrar knows us, loop seconds; None: it does not."
        self.flow: Flow | None = None
        "The way it was made; None: none, or that way is in doubt."
        self.service_route: tuple[Address, ...] = ()
        "What calls to the trunk are to be routed through (RFC 3608)."
        self.path: tuple[Address, ...] = ()
        "What calls from it come through (RFC 3327)."
        self.received: tuple[str, int | None] | None = None
        "Our address and port as the registrar saw them; None: it did not say."
        self.last_status: int | None = None
        "Of the last final response; None: none yet."
        self.last_error = ""
        "Why the last try failed; empty if it did not."
        self._user = Private(options.user)
        self._call_id = new_token()
        self._spread = spread
        self._cseq = 0
        self._expires_s = options.expires_s
        self._registered_at = float("-inf")
        self._refused = 0
        self._lost = 0
        self._ask_at: float | None = now + START_WITHIN_S * spread()
        self._answer_by: float | None = None
        "While a request is under way."
        self._lengthened = 0
        self._is_leaving = False
        self._is_unbinding = False
        "Whether the request under way is the last, that takes the registration back."
        self._output: list[OutgoingRequest] = []
        self._events: list[TrunkEvent] = []

    # ---- what is told

    def answered(self, response: Response, now: float, *, cseq: int, flow: Flow | None) -> None:
        """The request had a final response, challenges apart, which were met if they could be.

        Args:
            cseq: of the request that was answered, the last of those the challenges took.
            flow: the way it took.
        """
        if self._answer_by is None:
            return
        self._answer_by = None
        self._cseq = max(self._cseq, cseq)
        self.last_status = response.status
        if response.status != 423:
            self._lengthened = 0
        if self._is_leaving:
            self._go_on_leaving(response.status, now)
        elif response.status < 300:
            self._accept(response, flow, now)
        elif response.status == 423:
            self._lengthen(response, now)
        elif response.status in _LOST:
            self._lose(_words(response), now, response)
        else:
            self._refuse(_words(response), now, response)

    def failed(self, reason: str, now: float) -> None:
        """The request had no response, or could not be sent."""
        if self._answer_by is None:
            return
        self._answer_by = None
        if self._is_leaving:
            self._off()
        else:
            self._lose(reason, now)

    def flow_failed(self, flow: Flow, now: float) -> None:
        """A connection has closed; if it was ours, no call can come in until we register anew."""
        if flow != self.flow or self._is_leaving:
            return
        self.flow, self.expires_at = None, None
        self.state = RegistrationState.TRYING
        if self._answer_by is not None:
            return  # the request under way fails with it, or tells better
        if now - self._registered_at < STABLE_S:
            self._lose("connection closed", now)
            return
        self._fail("connection closed", now, FLOW_RETRY_WITHIN_S * self._spread())

    def leave(self, now: float) -> None:
        """Take the registration back, and make no other (F20)."""
        if self._is_leaving:
            return
        self._is_leaving = True
        self._ask_at = None
        if self._answer_by is not None:
            # RFC 3261 §10.2: one at a time. What is under way may still bind us: its answer shows.
            self._answer_by = min(self._answer_by, now + LEAVE_WITHIN_S)
        elif self.expires_at is not None:
            self._ask(now, expires_s=0)
        else:
            self._off()

    # ---- what can be asked

    def is_registered(self, now: float) -> bool:
        """Whether the registrar knows us, as far as we know."""
        return self.expires_at is not None and now < self.expires_at

    # ---- the machine

    def handle_timer(self, now: float) -> None:
        """A refresh or another try is due, or an answer overdue."""
        if self._answer_by is not None and self._answer_by <= now:
            self.failed("no answer", now)
        if self._ask_at is not None and self._ask_at <= now:
            self._ask(now, expires_s=self._expires_s)

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called (loop seconds)."""
        return self._ask_at if self._answer_by is None else self._answer_by

    def take_output(self) -> Sequence[OutgoingRequest]:
        """The REGISTERs to send, each handed out once."""
        output, self._output = self._output, []
        return output

    def take_events(self) -> Sequence[TrunkEvent]:
        """What changed, in order, each handed out once."""
        events, self._events = self._events, []
        return events

    # ---- rules

    def _ask(self, now: float, *, expires_s: int) -> None:
        self._ask_at = None
        self._is_unbinding = expires_s == 0
        timeout_s = LEAVE_WITHIN_S if self._is_unbinding else TIMEOUT_S
        self._answer_by = now + timeout_s + GRACE_S
        self._cseq += 1
        options = self.options
        self._output.append(
            OutgoingRequest(
                method="REGISTER",
                target=options.registrar,
                from_=options.address,
                to=options.address,
                # The same way again while it is good: the binding is for it (RFC 5626 §4.3).
                destination=None if self.flow is not None else options.destination,
                flow=self.flow,
                headers=(("Expires", str(expires_s)), ("Supported", "path")),
                credentials=options.credentials,
                call_id=self._call_id,  # §10.2.4: the same for all of them
                cseq=self._cseq,
                contact_user=self.contact_user,
                timeout_s=timeout_s,
                route=() if options.proxy is None else (Address("", options.proxy),),
            )
        )

    def _accept(self, response: Response, flow: Flow | None, now: float) -> None:
        granted = min(self._granted(response), LONGEST_EXPIRES_S)
        if granted <= 0:
            self.expires_at = None
            self._refuse("not bound by its 200", now)
            return
        is_news = not self.is_registered(now) or bool(self.last_error)
        self.state = RegistrationState.REGISTERED
        self.expires_at, self.flow = now + granted, flow
        self._registered_at = now
        self._refused = self._lost = 0
        self.last_error = ""
        self.service_route = _addresses(response, "Service-Route")
        self.path = _addresses(response, "Path")
        self._note_received(response)
        share = EARLIEST_REFRESH + (LATEST_REFRESH - EARLIEST_REFRESH) * self._spread()
        self._ask_at = now + max(SHORTEST_REFRESH_S, granted * share)
        if is_news:
            self._events.append(TrunkRegistered(self.trunk, now, self._user, granted))

    def _granted(self, response: Response) -> int:
        """For how long, by our own Contact among those listed, or else by Expires (§10.2.4)."""
        contacts = [c for c in response.contacts if c.uri.user == self.contact_user]
        if not contacts and len(response.contacts) == 1:
            contacts = list(response.contacts)  # rewritten on the way, as a border element does
        for contact in contacts:
            expires = contact.parameters.get("expires")
            if expires is not None:
                return _seconds(expires) or 0
        expires_s = response.expires_s
        return self._expires_s if expires_s is None else expires_s

    def _note_received(self, response: Response) -> None:
        via = response.via
        self.received = None if via.received is None else (via.received, via.rport)

    def _lengthen(self, response: Response, now: float) -> None:
        """Ask again at once for what a 423 wants at least; each time it must want more."""
        wanted = _seconds(response.headers.get("Min-Expires") or "")
        is_more = wanted is not None and self._expires_s < wanted <= LONGEST_EXPIRES_S
        if wanted is None or not is_more or self._lengthened >= MAX_LENGTHENED:
            self._refuse(_words(response), now, response)
            return
        self._lengthened += 1
        self._expires_s = wanted
        self._ask(now, expires_s=wanted)

    def _refuse(self, reason: str, now: float, response: Response | None = None) -> None:
        wait_s = min(FIRST_REFUSED_S * 2 ** min(self._refused, 30), LONGEST_REFUSED_S)
        self._refused += 1
        self._fail(reason, now, self._shortened(wait_s, response), response)

    def _lose(self, reason: str, now: float, response: Response | None = None) -> None:
        wait_s = min(FIRST_LOST_S * 2 ** min(self._lost, 30), LONGEST_LOST_S)
        self._lost += 1
        self.flow = None
        self._fail(reason, now, self._shortened(wait_s, response), response)

    def _shortened(self, wait_s: float, response: Response | None) -> float:
        """A wait by chance a little shorter, but never than the registrar asks for."""
        wait_s *= 1 - BACKOFF_SPREAD * self._spread()
        asked = None if response is None else response.retry_after_s
        return wait_s if asked is None else max(wait_s, min(asked, LONGEST_LOST_S))

    def _fail(
        self, reason: str, now: float, wait_s: float, response: Response | None = None
    ) -> None:
        self.state = RegistrationState.WAITING
        self.last_error = reason
        self._ask_at = now + wait_s
        status = None if response is None else response.status
        self._events.append(
            TrunkRegistrationFailed(self.trunk, now, self._user, status, reason, wait_s)
        )

    def _go_on_leaving(self, status: int, now: float) -> None:
        """What was under way when we were told to leave is answered, or the last request is."""
        may_be_bound = status < 300 or self.expires_at is not None
        if may_be_bound and not self._is_unbinding:
            self._ask(now, expires_s=0)
        else:
            self._off()

    def _off(self) -> None:
        self.state = RegistrationState.OFF
        self.expires_at = None


def _addresses(response: Response, name: str) -> tuple[Address, ...]:
    """A list of routes in a response; none if it is malformed, or longer than any is."""
    try:
        found = [a for value in response.headers.get_all(name) for a in parse_addresses(value)]
    except RemoteProtocolError:
        return ()
    return tuple(found) if len(found) <= MAX_ROUTES else ()


def _seconds(text: str) -> int | None:
    try:
        return parse_number(text.strip())
    except RemoteProtocolError:
        return None


def _words(response: Response) -> str:
    """Its status and reason, for people: whoever writes a novel there is cut short."""
    return f"{response.status} {response.reason}"[:MAX_WORDS].strip()
