"""The agent that TwiML directs, and where the calls are found that it attends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from gateway.agents.agent import Agent, AgentCall
from gateway.agents.twiml.callbacks import Callbacks
from gateway.agents.twiml.dates import rfc_2822
from gateway.agents.twiml.document import Document
from gateway.agents.twiml.options import TwimlOptions
from gateway.agents.twiml.session import Instructions, Session, Tools
from gateway.agents.twiml.sound import FindSound, no_sound
from gateway.agents.twiml.verbs import Action
from gateway.net.webhook import Web

MAX_PLACED = 10_000
"Calls placed by the REST interface that have not begun yet."


class TwimlDesk:
    """The calls under TwiML now, and what those are to do that have only been placed."""

    def __init__(self, web: Web, *, find_sound: FindSound = no_sound) -> None:
        """`find_sound`: finds what <Play>file:NAME</Play> names."""
        self.web = web
        self.find_sound = find_sound
        self.callbacks = Callbacks(web)
        self._sessions: dict[str, list[Session]] = {}
        "By call, those that came last behind: an agent may be a guest beside another."
        self._placed: dict[str, Instructions] = {}

    def instruct(self, call: str, instructions: Instructions) -> None:
        """Say what a call is to do, before its agent attends it."""
        if len(self._placed) >= MAX_PLACED:
            self._placed.pop(next(iter(self._placed)))
        self._placed[call] = instructions

    def forget(self, call: str) -> None:
        """The call is over."""
        self._placed.pop(call, None)

    def redirect(self, call: str, wish: Document | Action) -> bool:
        """Let a call go on with other TwiML, whatever it does now; False: nobody could."""
        sessions = self._sessions.get(call)
        if sessions is None:
            return False
        sessions[-1].redirect(wish)
        return True

    async def attend(self, session: Session, call: str) -> None:
        """Run a session, where it can be found."""
        sessions = self._sessions.setdefault(call, [])
        sessions.append(session)
        try:
            await session.run()
        finally:
            sessions.remove(session)
            if not sessions:
                del self._sessions[call]

    def instructions_of(self, call: str) -> Instructions | None:
        """What a call is to do; None: what its agent's URL says."""
        return self._placed.pop(call, None)

    async def close(self) -> None:
        """Give up what is not told yet."""
        await self.callbacks.close()


class TwimlAgent:
    """Does in each call what a web server says."""

    def __init__(
        self, options: TwimlOptions, desk: TwimlDesk, tools: Tools, first: Agent | None = None
    ) -> None:
        """`first`: attends each call, until it is told by the REST interface what else to do."""
        self._options = options
        self._desk = desk
        self._tools = tools
        self._first = first

    async def on_call(self, call: AgentCall) -> None:
        instructions = self._desk.instructions_of(call.id)
        if instructions is None and self._first is None and not self._options.url:
            call.fail("it has no URL to ask what to do")
            return
        first = self._first if instructions is None else None
        session = Session(call, self._options, self._tools, instructions=instructions, first=first)
        try:
            await self._desk.attend(session, call.id)
        finally:
            told = self._options.settings.status_callback
            if told and instructions is None:
                fields = _ended(session.fields(), call.answered_at)
                token = "" if self._options.token is None else self._options.token.value
                self._tools.callbacks.post(call.id, Action(told), fields, token)


def _ended(fields: Mapping[str, str], answered_at: float | None) -> dict[str, str]:
    told = {
        **fields,
        "CallStatus": "no-answer" if answered_at is None else "completed",
        "CallbackSource": "call-progress-events",
        "SequenceNumber": "0",
        "Timestamp": rfc_2822(time.time()),
    }
    if answered_at is not None:
        told["CallDuration"] = str(round(asyncio.get_running_loop().time() - answered_at))
    return told
