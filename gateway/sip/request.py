"""Requests outside of dialogs: those we send, and those the node wants to have (RFC 3261 §8)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sip.authenticator import Attempt, Authenticator, Credentials
from gateway.sip.core import Core, is_sips
from gateway.sip.event import IncomingRequest, Responded
from gateway.sip.field import header_key
from gateway.sip.flow import Destination, Flow
from gateway.sip.grammar import check_text
from gateway.sip.header import Address
from gateway.sip.hunt import Hunt
from gateway.sip.message import Headers, Message, Request, Response, build_request, build_response
from gateway.sip.timers import Alarm
from gateway.sip.transaction import T1, Failure, Input, ServerTransaction
from gateway.sip.trial import Trial
from gateway.sip.uri import NO_PARAMETERS, Parameters, Uri

RequestId = str
"""Names a request of ours, or one that came, until it is answered."""

STRUCTURAL = frozenset(
    """via route record-route from to call-id cseq max-forwards content-length content-type
    authorization proxy-authorization""".split()  # noqa: SIM905 - shorter than 11 strings
)
"Headers that only the stack writes (A14)."


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """A request of ours outside of any dialog: OPTIONS, REGISTER, MESSAGE."""

    method: str
    target: Uri
    "Request-URI."
    from_: Address
    "Its tag is `from_tag`."
    to: Address
    destination: Destination | None = None
    "Where the next hops are to be found (RFC 3263). Or:"
    flow: Flow | None = None
    "The way to the next hop."
    headers: tuple[tuple[str, str], ...] = ()
    "Further headers; structural ones (Via, Route, …) raise ValueError."
    body: bytes = b""
    content_type: str = "text/plain"
    "Of the body, if there is one."
    credentials: Credentials | None = None
    "Answer challenges; None leaves 401 and 407 final."
    call_id: str | None = None
    "That of the requests before it, for a registration (RFC 3261 §10.2.4); None: a new one."
    cseq: int | None = None
    "Number of the first try, those before it being lower; None: 1."
    from_tag: str | None = None
    "None: a new one."
    contact_user: str | None = None
    "User part of the Contact, whose host is that of the flow it takes; None: no Contact is added."
    contact_parameters: Parameters = NO_PARAMETERS
    "Of that Contact: expires, reg-id, +sip.instance."
    route: tuple[Address, ...] = ()
    "Route set."
    timeout_s: float = 32.0
    "From now to the final response, over all hops and challenges."

    def __post_init__(self) -> None:
        if (self.flow is None) == (self.destination is None):
            raise ValueError("either a flow or a destination")
        for name, _ in self.headers:
            if header_key(name) in STRUCTURAL:
                raise ValueError(f"{name} is not a header to choose")


class _Owner:
    """Answers for the transactions of one request outside of dialogs."""

    def acquire(self) -> None:
        """The table of requests keeps it."""

    def rest(self, now: float) -> None:
        """Who asked knows by the response."""

    def release(self, now: float) -> None:
        """Nothing is owed after it."""

    def note(self, sent: bool, message: Message, now: float) -> None:
        """There is no session to tell it of."""

    def receive_cancel(self, request: Request, flow: Flow, now: float) -> None:
        """Only an INVITE is ever cancelled (RFC 3261 §9.1)."""


class RequestClient(_Owner):
    """A request of ours, on its way until it is answered."""

    def __init__(self, core: Core, request: OutgoingRequest) -> None:
        self.id: RequestId = core.new_token()
        self._core = core
        self._request = request
        self._call_id = request.call_id or core.new_token()
        self._from_tag = request.from_tag or core.new_token()
        self._cseq = 1 if request.cseq is None else request.cseq
        self._attempt = Attempt()
        self._authenticator: Authenticator | None = None
        if request.credentials is not None:
            self._authenticator = Authenticator(request.credentials, core.new_token)
        self._hunt = Hunt(
            core,
            self,
            self._build,
            on_response=self._on_response,
            on_failure=self._on_failure,
            flow=request.flow,
            destination=request.destination,
        )
        self._alarm: Alarm | None = None
        # What cannot be written is found out now, not when there is a hop.
        Headers(request.headers)
        for value in (request.target, request.from_, request.to, *request.route):
            check_text(str(value))

    def start(self, now: float) -> None:
        """Send it."""
        self._core.requests[self.id] = self
        self._alarm = self._core.timers.start(now + self._request.timeout_s, self._on_timeout)
        self._hunt.start(now)

    def _build(self, flow: Flow) -> Request:
        request, core = self._request, self._core
        user = request.contact_user
        contact = (
            (
                core.contact_header(
                    flow,
                    user,
                    request.contact_parameters,
                    is_sips=is_sips(str(request.target), request.route),
                ),
            )
            if user is not None
            else ()
        )
        message = build_request(
            request.method,
            request.target,
            via=core.new_via(flow),
            from_=request.from_.with_tag(self._from_tag),
            to=request.to,
            call_id=self._call_id,
            cseq=self._cseq,
            headers=(
                *(("Route", str(route)) for route in request.route),
                *contact,
                *core.client_header,
                *request.headers,
            ),
            content_type=request.content_type,
            body=request.body,
        )
        if self._authenticator is not None:
            self._authenticator.authorize(self._attempt, message)
        return message

    def _on_response(self, response: Response, trial: Trial, now: float) -> None:
        if response.status < 200:
            return
        if self._authenticator is not None and self._authenticator.accept(response, self._attempt):
            self._cseq += 1
            self._hunt.again(now)
            return
        self._end(response, None, now)

    def _on_failure(self, failure: Failure, now: float) -> None:
        self._end(None, failure, now)

    def _on_timeout(self, now: float) -> None:
        self._hunt.give_up(now)
        self._end(None, Failure.TIMEOUT, now)

    def _end(self, response: Response | None, failure: Failure | None, now: float) -> None:
        hunt = self._hunt
        flow = None if hunt.trial is None else hunt.trial.flow
        self._core.timers.stop(self._alarm)
        self._core.requests.pop(self.id, None)
        self._hunt.cancel(now)
        event = Responded(self.id, response, failure, hunt.hop, flow, self._cseq)
        self._core.events.append(event)


class RequestServer(_Owner):
    """A peer's request, until it is answered."""

    def __init__(self, core: Core, request: Request, flow: Flow) -> None:
        self.id: RequestId = core.new_token()
        self._core = core
        self._request = request
        self._flow = flow
        self._transaction: ServerTransaction
        self._alarm: Alarm | None = None

    def start(self, now: float) -> None:
        """Begin the transaction, and report the request."""
        self._core.incoming[self.id] = self
        self._transaction = self._core.serve(self._request, self._flow, self, now)
        # The peer has given up by then (Timer F), and a late answer is of no use (RFC 4320 §4).
        self._alarm = self._core.timers.start(now + 64 * T1, self._drop)
        self._core.events.append(IncomingRequest(self.id, self._request, self._flow))

    def respond(
        self,
        status: int,
        now: float,
        reason: str | None,
        headers: tuple[tuple[str, str], ...],
        content_type: str,
        body: bytes,
    ) -> None:
        """Send a response; with a final one it is over."""
        response = build_response(
            self._request,
            status,
            reason,
            to_tag=self.id,
            headers=(*self._core.server_header, *headers),
            content_type=content_type,
            body=body,
        )
        if status >= 200:
            self._core.timers.stop(self._alarm)
            del self._core.incoming[self.id]
        self._transaction.respond(response, now)

    def _drop(self, now: float) -> None:
        del self._core.incoming[self.id]
        self._transaction.feed(Input.DROP, now)
