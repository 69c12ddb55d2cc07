"""Twilio's REST interface for calls: create, list, fetch, update, so that its clients work here.

`/2010-04-01/Accounts/{AC}/Calls.json` and `/Calls/{CA}.json`, with Basic auth by account and token,
errors with Twilio's codes, and status callbacks. See docs/twiml.md for what is left out.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlencode

from quart import Quart, Response, jsonify, request

from gateway.agents.twiml.agent import TwimlDesk
from gateway.agents.twiml.document import Document, TwimlError, parse_twiml
from gateway.agents.twiml.session import Instructions
from gateway.agents.twiml.verbs import Action, Method
from gateway.api.twilio_form import (
    TwilioError,
    bad,
    dialled,
    flag,
    needed,
    not_found,
    number,
    read_form,
    refusal,
    refuse_unsupported,
    shown,
)
from gateway.api.twilio_record import (
    API_VERSION,
    EVENTS,
    STATUSES,
    Record,
    Records,
    StatusCallback,
    describe_record,
)
from gateway.call.call import CallSummary
from gateway.call.events import CallEnded, CallEvent
from gateway.errors import CapacityError, GatewayError
from gateway.net.destination import DestinationError
from gateway.private import Secret

log = logging.getLogger(__name__)

MAX_TWIML_CHARACTERS = 4000
"As Twilio has it, for TwiML that is given with a request."

PAGE_SIZE, MAX_PAGE_SIZE = 50, 1000
"Calls in a page of a list."

MAX_RINGING_S = 600

MACHINE_WAITS = {"Enable": "start", "DetectMessageEnd": "end"}
"MachineDetection, and what the first TwiML waits for."

MAX_MACHINE_S = 59


class TwilioControl(Protocol):
    """What the interface asks of the node."""

    def place(
        self, agent: str, to: str, *, caller_id: str, ringing_s: float | None, detects: bool
    ) -> CallSummary:
        """Ring `to`, with an agent as the caller.

        Args:
            ringing_s: None: as the route says.
            detects: whether it is found out if a machine answers.

        Raises:
            GatewayError: it cannot be dialled.
        """

    def hang_up(self, call_id: str) -> bool: ...
    def follow(self, observer: Callable[[CallEvent], None]) -> Callable[[], None]:
        """Hear every event of every call but its signalling; what is returned ends that."""

    def check_url(self, url: str) -> None:
        """
        Raises:
            DestinationError: nothing there will be asked.
        """


@dataclass(frozen=True, slots=True)
class TwilioOptions:
    """[twilio]: who may use the interface."""

    account_sid: str
    auth_token: Secret
    agent: str
    "Name of the agent that attends the calls placed here; its protocol is twiml."


class TwilioCalls:
    """The interface."""

    def __init__(
        self,
        options: TwilioOptions,
        control: TwilioControl,
        desk: TwimlDesk,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._options = options
        self._control = control
        self._desk = desk
        self.records = Records(options.account_sid, now=now, tell=self._tell)
        self._stop = control.follow(self._on_event)

    def close(self) -> None:
        """Follow calls no more."""
        self._stop()

    def serve_on(self, app: Quart) -> None:
        """Add the routes to an application."""
        base = f"/{API_VERSION}/Accounts/<account>/Calls"
        for path, method, handler in (
            (f"{base}.json", "POST", self._create),
            (f"{base}.json", "GET", self._list),
            (f"{base}/<sid>.json", "GET", self._fetch),
            (f"{base}/<sid>.json", "POST", self._update),
            (f"{base}/<sid>.json", "DELETE", self._delete),
        ):
            name = f"twilio-{handler.__name__}"
            app.add_url_rule(path, name, partial(self._answer, handler), methods=[method])

    async def _answer(
        self, handler: Callable[..., Awaitable[Response]], account: str, sid: str | None = None
    ) -> Response:
        try:
            if "Origin" in request.headers:
                # A browser adds credentials by itself, whichever site's page it is that asks.
                raise TwilioError(HTTPStatus.FORBIDDEN, 20403, "No page may ask this")
            self._check_credentials(request.headers.get("Authorization", ""))
            if account != self._options.account_sid:
                raise not_found(request.path)
            return await (handler() if sid is None else handler(sid))
        except TwilioError as error:
            return refusal(error)

    def _check_credentials(self, authorization: str) -> None:
        scheme, _, encoded = authorization.partition(" ")
        given = b""
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(encoded.strip(), validate=True)
            except (binascii.Error, ValueError):
                given = b""
        wanted = f"{self._options.account_sid}:{self._options.auth_token.value}".encode()
        if not hmac.compare_digest(given, wanted):
            raise TwilioError(HTTPStatus.UNAUTHORIZED, 20003, "Authenticate")

    # ---- operations

    async def _create(self) -> Response:
        form = await read_form()
        to = needed(form, "To", 21201, "No 'To' number is specified")
        from_ = needed(form, "From", 21213, "No 'From' number is specified")
        refuse_unsupported(form)
        if not self._options.agent:
            raise bad(20001, 'Calls are placed by an agent of protocol = "twiml": configure one')
        first = self._instruction(form)
        if first is None:
            raise bad(21205, "Either Url or Twiml is needed")
        callback = self._callback(form)
        timeout = number(form, "Timeout", MAX_RINGING_S)
        waits, machine_callback = self._machine(form)
        digits = form.get("SendDigits", "")
        summary = self._place(
            f"{dialled(to)},{digits}" if digits else dialled(to),
            shown(from_),
            ringing_s=timeout,
            detects=bool(waits),
        )
        placed = Instructions(
            first,
            from_,
            to,
            self._options.account_sid,
            machine_wait="" if flag(form, "AsyncAmd") else waits,
            machine_timeout_s=number(form, "MachineDetectionTimeout", MAX_MACHINE_S) or 30.0,
        )
        self._desk.instruct(summary.id, placed)
        record = self.records.place(summary.id, from_, to, callback, machine_callback)
        return self._told(record, HTTPStatus.CREATED)

    def _machine(self, form: Mapping[str, str]) -> tuple[str, Action | None]:
        """For what of answering machines it is waited, and who is told of them."""
        wanted = form.get("MachineDetection", "")
        if wanted not in ("", *MACHINE_WAITS):
            raise bad(20001, f"MachineDetection is one of {', '.join(MACHINE_WAITS)}")
        told = self._action(form, "AsyncAmdStatusCallback", "AsyncAmdStatusCallbackMethod")
        return MACHINE_WAITS.get(wanted, ""), told if flag(form, "AsyncAmd") else None

    def _place(
        self, to: str, caller_id: str, *, ringing_s: float | None, detects: bool
    ) -> CallSummary:
        try:
            return self._control.place(
                self._options.agent, to, caller_id=caller_id, ringing_s=ringing_s, detects=detects
            )
        except CapacityError as error:
            raise TwilioError(HTTPStatus.TOO_MANY_REQUESTS, 20429, str(error)) from None
        except GatewayError as error:
            if error.status == 484:
                raise bad(21211, "The 'To' number is not a valid phone number") from None
            raise bad(21215, "The routes do not permit calls to this number") from None

    async def _list(self) -> Response:
        query = request.args
        wanted = {"Status": query.get("Status"), "To": query.get("To"), "From": query.get("From")}
        if wanted["Status"] is not None and wanted["Status"] not in STATUSES:
            raise bad(20001, "Status is none of a call")
        found = [
            record
            for record in self.records.all()
            if wanted["Status"] in (None, record.status)
            and wanted["To"] in (None, record.to)
            and wanted["From"] in (None, record.from_)
        ]
        size = int(number(query, "PageSize", MAX_PAGE_SIZE) or PAGE_SIZE)
        page = int(number(query, "Page", 10**6) or 0)
        shown = found[page * size : (page + 1) * size]
        account = self._options.account_sid

        def uri(number: int) -> str:
            told = {k: v for k, v in wanted.items() if v is not None}
            return f"/{API_VERSION}/Accounts/{account}/Calls.json?" + urlencode(
                {**told, "PageSize": size, "Page": number}
            )

        response: Response = jsonify(
            calls=[describe_record(record, account) for record in shown],
            page=page,
            page_size=size,
            start=page * size,
            end=page * size + max(0, len(shown) - 1),
            uri=uri(page),
            first_page_uri=uri(0),
            previous_page_uri=uri(page - 1) if page else None,
            next_page_uri=uri(page + 1) if len(found) > (page + 1) * size else None,
        )
        return response

    async def _fetch(self, sid: str) -> Response:
        return self._told(self._record(sid))

    async def _update(self, sid: str) -> Response:
        form = await read_form()
        record = self._record(sid)
        status = form.get("Status")
        wish = self._instruction(form)
        if (status is None) == (wish is None) and not (
            status is None and wish is None and "StatusCallback" in form
        ):
            raise bad(20001, "Name either Status, or Twiml, or Url")
        if record.is_over:
            # As its clients expect of a call that has ended: pipecat takes it for success.
            raise not_found(request.path)
        if "StatusCallback" in form:
            record.callback = self._callback(form)
        if wish is not None:
            self._redirect(record, wish)
        elif status is not None:
            self._end(record, status)
        return self._told(record)

    def _redirect(self, record: Record, wish: Document | Action) -> None:
        if record.status != "in-progress" or not self._desk.redirect(record.call, wish):
            raise bad(21220, "The call is not in progress, or no agent of TwiML attends it")

    def _end(self, record: Record, status: str) -> None:
        if status not in ("completed", "canceled"):
            raise bad(20001, "Status is either completed or canceled")
        if status == "canceled" and record.status == "in-progress":
            raise bad(21220, "The call is in progress: it can only be completed")
        self._control.hang_up(record.call)

    async def _delete(self, sid: str) -> Response:
        self._record(sid)
        raise TwilioError(HTTPStatus.METHOD_NOT_ALLOWED, 20004, "Records are not deleted here")

    # ---- what they are made of

    def _record(self, sid: str) -> Record:
        record = self.records.find(sid)
        if record is None:
            raise not_found(request.path)
        return record

    def _told(self, record: Record, status: HTTPStatus = HTTPStatus.OK) -> Response:
        response: Response = jsonify(describe_record(record, self._options.account_sid))
        response.status_code = status
        return response

    def _instruction(self, form: Mapping[str, str]) -> Document | Action | None:
        """The TwiML that a form gives, or where it is; None: neither."""
        if "Twiml" in form and "Url" in form:
            raise bad(20001, "Name either Twiml or Url")
        if "Twiml" in form:
            if len(form["Twiml"]) > MAX_TWIML_CHARACTERS:
                raise bad(21623, f"Twiml has more than {MAX_TWIML_CHARACTERS} characters")
            try:
                return parse_twiml(form["Twiml"])
            except TwimlError as error:
                raise bad(12100, f"Twiml: {error}") from None
        return self._action(form, "Url", "Method")

    def _callback(self, form: Mapping[str, str]) -> StatusCallback | None:
        action = self._action(form, "StatusCallback", "StatusCallbackMethod")
        if action is None:
            return None
        events = frozenset(form.get("StatusCallbackEvent", "completed").split())
        if not events <= {*EVENTS}:
            raise bad(21626, f"StatusCallbackEvent is one of {', '.join(EVENTS)}")
        return StatusCallback(action, events)

    def _action(self, form: Mapping[str, str], name: str, method: str) -> Action | None:
        url = form.get(name)
        if not url:
            return None
        how = form.get(method, "POST").upper()
        if how not in ("GET", "POST"):
            raise bad(21403, f"{method} is either GET or POST")
        try:
            self._control.check_url(url)
            if not url.startswith(("https://", "http://")):
                raise DestinationError("a web server's URL begins with https:// or http://")
        except DestinationError as error:
            raise bad(21205, f"{name}: {error}") from None
        return Action(url, Method(how))

    def _on_event(self, event: CallEvent) -> None:
        self.records.on_event(event)
        if isinstance(event, CallEnded):
            self._desk.forget(event.call)

    def _tell(self, record: Record, action: Action, fields: Mapping[str, str]) -> None:
        token = self._options.auth_token.value
        self._desk.callbacks.post(record.call, action, fields, token)
