"""One call under TwiML: asks web servers what to do, does it, and can be told otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.agents.agent import Agent, AgentCall
from gateway.agents.event import AgentEvent, DigitHeard, FarEndAnswered, MachineDetected, ToolDone
from gateway.agents.tool import Dial as DialTool
from gateway.agents.tool import HangUp
from gateway.agents.twiml.callbacks import Callbacks
from gateway.agents.twiml.dates import rfc_2822
from gateway.agents.twiml.document import Document, TwimlError, parse_twiml
from gateway.agents.twiml.options import TwimlOptions
from gateway.agents.twiml.program import Fetch, Finish, Program, ProgramError, Step, join_url
from gateway.agents.twiml.prompter import Prompter
from gateway.agents.twiml.sound import Engine, FindSound, no_sound
from gateway.agents.twiml.streams import MakeStream, Streams
from gateway.agents.twiml.verbs import (
    Action,
    Callee,
    Connect,
    Dial,
    Gather,
    Method,
    Noun,
    Pause,
    Play,
    Refer,
    Say,
    Start,
    Stop,
    Stream,
)
from gateway.agents.twiml.view import Switchboard
from gateway.agents.wire.twilio import call_sid
from gateway.errors import GatewayError
from gateway.media.answering import ANSWERED_BY, MACHINE, UNKNOWN
from gateway.net.destination import DestinationError
from gateway.net.webhook import Web, WebhookError, form_request

log = logging.getLogger(__name__)

API_VERSION = "2010-04-01"

_DIAL_STATUS = {486: "busy", 600: "busy", 603: "busy", 408: "no-answer", 480: "no-answer"}
_DIAL_STATUS[487] = "no-answer"
"DialCallStatus by the status that the far end refused with; others: failed."


@dataclass(frozen=True, slots=True)
class Instructions:
    """What a call is to do that the REST interface has placed."""

    first: Document | Action
    from_: str
    to: str
    account_sid: str = ""
    machine_wait: str = ""
    """start, end: what is asked waits until it is known who has answered, or, of a machine, until
    it has beeped or is silent; empty: it does not."""
    machine_timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Tools:
    """What sessions share."""

    web: Web
    callbacks: Callbacks
    make_stream: MakeStream
    engine: Engine | None = None
    "Speaks; None: <Say> is skipped."
    find_sound: FindSound = no_sound


class Session:
    """One call, from its first document to its end."""

    def __init__(
        self,
        call: AgentCall,
        options: TwimlOptions,
        tools: Tools,
        *,
        instructions: Instructions | None = None,
        first: Agent | None = None,
    ) -> None:
        """
        Args:
            instructions: what to begin with; None: with what the agent's URL says.
            first: attends the call until the session is told something; None: TwiML does.
        """
        self._call = call
        self._options = options
        self._tools = tools
        self._instructions = instructions
        self._first = first
        self._program = Program()
        self._board = Switchboard(call)
        self._board.watch(self._on_event)
        self._streams = Streams(
            self._board, tools.make_stream, tools.callbacks, self._stream_fields, self._secret
        )
        self._doing: asyncio.Future[Any] | None = None
        self._wish: Document | Action | None = None
        self._prompter = Prompter(
            call, tools.web, tools.engine, tools.find_sound, self._secret, self._warn
        )
        self._far_end = asyncio.Event()
        self._is_falling_back = False
        self._answered_by = ""
        self._knows_who = asyncio.Event()

    @property
    def _secret(self) -> str:
        return "" if self._options.token is None else self._options.token.value

    # ---- from outside

    def redirect(self, wish: Document | Action) -> None:
        """Stop what is done now, and go on with this."""
        self._wish = wish
        self._knows_who.set()
        if self._doing is not None:
            self._doing.cancel()

    # ---- its life

    async def run(self) -> None:
        """Attend the call to its end."""
        try:
            if self._first is not None:
                await self._doing_now(self._first.on_call(self._board.view(may_act=True).as_call()))
                if self._wish is None:
                    return
            else:
                await self._begin()
            await self._go_on()
        except ProgramError:
            self._call.fail("its TwiML goes in circles")
        finally:
            await self._streams.close()

    async def _begin(self) -> None:
        placed = self._instructions
        if placed is not None:
            self._wish = placed.first
        else:
            method = Method(self._options.settings.method)
            self._program.fetch(Action(self._options.url, method))
        if self._call.facts.is_outbound:
            self._call.accept_now()
            await self._far_end.wait()
        else:
            self._call.ring_now()
        if placed is not None and placed.machine_wait:
            await self._learn_who_answered(placed.machine_timeout_s)

    async def _learn_who_answered(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._knows_who.wait()
        self._answered_by = self._answered_by or ANSWERED_BY[UNKNOWN]

    async def _go_on(self) -> None:
        while True:
            wish, self._wish = self._wish, None
            if isinstance(wish, Document):
                self._load(wish, "")
            elif wish is not None:
                self._program.fetch(wish)
            step = self._program.step()
            if isinstance(step, Finish):
                status = step.status or 603
                self._call.use(HangUp(reason="TwiML", status=status))
                return
            await self._doing_now(self._do(step))

    async def _doing_now(self, doing: Coroutine[Any, Any, Any]) -> None:
        """Do it, unless the session is told to do something else."""
        self._doing = asyncio.ensure_future(doing)
        try:
            await self._doing
        except asyncio.CancelledError:
            this = asyncio.current_task()
            if self._wish is None or (this is not None and this.cancelling()):
                raise
            self._call.clear()
        finally:
            self._doing = None

    def _on_event(self, event: AgentEvent) -> None:
        match event:
            case DigitHeard():
                self._prompter.press(event.digit)
            case FarEndAnswered(is_early=False):
                self._far_end.set()
            case MachineDetected(kind=kind):
                self._answered_by = ANSWERED_BY.get(kind, kind)
                placed = self._instructions
                if kind != MACHINE or placed is None or placed.machine_wait != "end":
                    self._knows_who.set()

    # ---- documents

    async def _fetch(self, step: Fetch) -> None:
        fields = {**self.fields(), **step.parameters}
        request = form_request(
            step.url, list(fields.items()), secret=self._secret, method=step.method.value
        )
        try:
            answer = await self._tools.web.ask(request)
            if not answer.is_good:
                raise WebhookError(f"the web server says {answer.status}")
            document = parse_twiml(answer.body) if answer.body.strip() else Document(())
        except (WebhookError, DestinationError, TwimlError) as error:
            self._fall_back(step, error)
        else:
            self._load(document, answer.url)

    def _load(self, document: Document, url: str) -> None:
        for warning in document.warnings:
            self._warn(warning)
        self._program.load(document, url)

    def _fall_back(self, failed: Fetch, error: GatewayError) -> None:
        """No TwiML: the other URL is asked, once in a call; else it has failed."""
        self._warn(str(error))
        other = self._options.settings.fallback_url
        if not other or self._is_falling_back:
            self._call.fail("its web server gives no TwiML")
            return
        self._is_falling_back = True
        code = "12100" if isinstance(error, TwimlError) else "11200"
        told = {"ErrorCode": code, "ErrorUrl": failed.url}
        self._program.fetch(Action(other), told)

    def fields(self) -> dict[str, str]:
        """What every web server is told of the call."""
        facts, placed = self._call.facts, self._instructions
        from_ = facts.caller if placed is None else placed.from_
        to = facts.called if placed is None else placed.to
        account = self._options.settings.account_sid if placed is None else placed.account_sid
        headers = {f"SipHeader_{name}": value for name, value in facts.attributes.items()}
        return {
            "CallSid": call_sid(facts.token),
            "AccountSid": account,
            "From": from_,
            "To": to,
            "Caller": from_,
            "Called": to,
            "CallStatus": "in-progress" if self._call.is_answered else "ringing",
            "ApiVersion": API_VERSION,
            "Direction": "outbound-api" if facts.is_outbound else "inbound",
            **({"AnsweredBy": self._answered_by} if self._answered_by else {}),
            **headers,
        }

    def _stream_fields(self) -> dict[str, str]:
        fields = self.fields()
        told = {name: fields[name] for name in ("AccountSid", "CallSid")}
        return {**told, "Timestamp": rfc_2822(time.time())}

    # ---- verbs

    async def _do(self, step: Step) -> None:
        match step:
            case Fetch():
                await self._fetch(step)
            case Say() | Play():
                self._call.accept_now()
                await self._prompter.say(step, self._program.url)
            case Pause():
                await asyncio.sleep(step.length_s)
            case Gather():
                self._call.accept_now()
                keys = await self._prompter.gather(step, self._program.url)
                self._program.done(step, keys)
            case Dial():
                self._program.done(step, await self._dial(step))
            case Connect():
                self._call.accept_now()
                stream = self._absolute(step.stream)
                self._program.done(step, await self._streams.connect(stream))
            case Start():
                self._streams.start(self._absolute(step.stream))
            case Stop():
                self._streams.stop(step.name)
            case Refer():
                self._program.done(step, await self._refer(step))

    async def _dial(self, verb: Dial) -> Mapping[str, str]:
        """Try one after the other; back when who has answered has left."""
        self._call.accept_now()
        caller_id = verb.caller_id
        if caller_id and caller_id not in self._numbers():
            self._warn("callerId of <Dial> is no number of this call: the caller's is shown")
            caller_id = ""
        result = {"DialCallStatus": "failed"}
        for noun in verb.nouns:
            to = _dialled(noun)
            if to is None:
                self._warn(f"<Dial> to <{noun.kind.value}> is not possible here, and skipped")
                continue
            began_at = asyncio.get_running_loop().time()
            done = await self._let_in(
                DialTool(
                    to,
                    timeout_s=verb.timeout_s,
                    time_limit_s=verb.time_limit_s,
                    caller_id=caller_id,
                )
            )
            if done.is_done:
                lasted_s = done.result.get("duration_s")
                if not isinstance(lasted_s, int | float):
                    lasted_s = asyncio.get_running_loop().time() - began_at
                told = {"DialCallStatus": "completed", "DialCallDuration": str(round(lasted_s))}
                return {**told, "DialBridged": "true"}
            self._warn(f"<Dial> to <{noun.kind.value}> came to nothing: {done.status}")
            result = {"DialCallStatus": _DIAL_STATUS.get(done.status, "failed")}
        return {**result, "DialBridged": "false"}

    async def _let_in(self, tool: DialTool) -> ToolDone:
        try:
            return await self._call.do(tool)
        except asyncio.CancelledError:
            self._call.use(DialTool(""))  # who was let in goes, where the call itself goes on
            raise

    def _numbers(self) -> tuple[str, str]:
        fields = self.fields()
        return fields["From"], fields["To"]

    async def _refer(self, verb: Refer) -> Mapping[str, str]:
        """Only where it failed does the call go on here."""
        self._call.accept_now()
        to = _user_of(verb.to)
        status = 484 if to is None else await self._call.refer(to)
        return {
            "ReferCallStatus": "failed",
            "ReferSipResponseCode": str(status),
            "TransferTarget": verb.to,
        }

    def _absolute(self, stream: Stream) -> Stream:
        """A stream whose callback has a whole URL."""
        told = stream.status_callback
        if told is None:
            return stream
        url = join_url(self._program.url, told.url)
        return Stream(
            stream.url, stream.name, stream.track, Action(url, told.method), stream.parameters
        )

    def _warn(self, text: str) -> None:
        log.warning("call=%s TwiML: %s", self._call.id, text)
        self._call.note("twiml", warning=text)


def _dialled(noun: Noun) -> str | None:
    """What the routes are asked for; None: the call layer has no such thing."""
    match noun.kind:
        case Callee.NUMBER:
            return f"{noun.name},{noun.send_digits}" if noun.send_digits else noun.name
        case Callee.CLIENT:
            return f"user:{noun.name}"
        case Callee.SIP:
            return _user_of(noun.name)
    return None


def _user_of(uri: str) -> str | None:
    """Who is named by a SIP URI: the routes say where that leads, not a stranger's host."""
    scheme, _, rest = uri.partition(":")
    if scheme.lower() not in ("sip", "sips"):
        return None
    user, at, _ = rest.partition("@")
    return user if at and user else None
