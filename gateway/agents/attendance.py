"""One agent in one call, over as many connections as it takes (F18).

connect (the call rings) ▸ ready ▸ answered ─ lost ▸ again after 0.1, 0.25, 0.5, 1, 2 s ▸ restored
                                                └ from 1 s on the waiting sound; given up after 5 s
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from gateway.agents.agent import AgentCall
from gateway.agents.event import AgentEvent, FarEndAnswered, ToolDone
from gateway.agents.patience import Patience
from gateway.agents.protocol import CallFacts, Use, WireProtocol
from gateway.agents.session import Ended, Ending, Session
from gateway.agents.tool import Dial, Transfer
from gateway.errors import GatewayError
from gateway.net.agent_connection import AgentConnection, ConnectError

log = logging.getLogger(__name__)

DELAYS_S = (0.1, 0.25, 0.5, 1.0, 2.0)
"Before each attempt to connect again (F18)."

OUTAGE_S = 5.0
"How long an outage is borne, before others take over (F18)."

ATTEMPT_S = 2.0
"How long one attempt may take, of those that there are."

STABLE_S = 10.0
"A connection that lasted so long makes the next loss an outage of its own."

MAX_TRANSFER_S = 90.0
"How long what a lost agent has begun may still ring, before its caller is told that it is lost."

Connect = Callable[[CallFacts], Awaitable[AgentConnection]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an agent's attendance ended."""

    is_finished: bool
    "It has done its work; else it was lost, or never there."
    hang_up: bool
    "Whether the call is over by that."
    detail: str


@dataclass(slots=True)
class _Outage:
    """An outage, which several losses may belong to."""

    until: float
    delays: list[float] = field(default_factory=lambda: list(reversed(DELAYS_S)))


class Attendance:
    """One agent in one call, over as many connections as it takes."""

    def __init__(
        self,
        call: AgentCall,
        patience: Patience,
        *,
        name: str,
        make: Callable[[], WireProtocol],
        connect: Connect,
        ready_timeout_s: float,
        answers_at_once: bool,
        hears_early_media: bool,
    ) -> None:
        """
        Args:
            name: the agent's.
            make: a new conversation in its protocol.
            connect: opens a connection; raises GatewayError.
        """
        self._call = call
        self._name = name
        self._make = make
        self._connect_to = connect
        self._ready_timeout_s = ready_timeout_s
        self._answers_at_once = answers_at_once
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._streams = 0
        self._sequence: int | None = None
        self._outage: _Outage | None = None
        self._ready_timer: asyncio.TimerHandle | None = None
        self._transfers: set[str] = set()
        self._settled = asyncio.Event()
        "Set while no transfer of the agent's is under way."
        self._settled.set()
        self._may_hear = hears_early_media or not call.facts.is_outbound

    async def run(self) -> Outcome:
        """Attend over connections of ours."""
        call = self._call
        call.watch(self._on_event)
        if self._answers_at_once:
            call.accept_now()
        elif not call.is_answered:
            call.ring_now()
        self._patience.begin()
        self._outage = _Outage(self._loop.time() + self._ready_timeout_s)
        self._ready_timer = self._loop.call_at(self._outage.until, self._on_ready)
        ended = await self._connect(first=True)
        while ended is None:
            assert self._session is not None
            ended = await asyncio.shield(self._session.ended)
            if ended.ending is Ending.LOST:
                ended = await self._reconnect(ended)
        if ended.ending is not Ending.FINISHED:
            self._drop_session()
            self._patience.begin()
        await self._let_transfers_end()
        return Outcome(ended.ending is Ending.FINISHED, ended.hang_up, ended.detail)

    async def run_over(self, connection: AgentConnection) -> Outcome:
        """Attend over one that is there."""
        self._call.watch(self._on_event)
        session = self._open(connection, self._call.facts)
        if not session.protocol.tells_ready:
            self._on_ready()
        ended = await asyncio.shield(session.ended)
        await self._let_transfers_end()
        return Outcome(ended.ending is Ending.FINISHED, ended.hang_up, ended.detail)

    def close(self) -> None:
        """It is over, in whatever way."""
        self._stop_waiting_for_ready()
        self._call.watch(None)
        self._call.listen(None)
        if self._session is not None:
            self._session.close("hangup")

    # ---- connections

    async def _reconnect(self, lost: Ended) -> Ended | None:
        """None: it is back. Else how the agent's attendance ended."""
        session = self._session
        assert session is not None
        log.info("call=%s agent=%s lost: %s", self._call.id, self._name, lost.detail)
        now = self._loop.time()
        self._drop_session()
        self._patience.begin()
        if self._outage is None or now - session.opened_at >= STABLE_S:
            self._outage = _Outage(now + OUTAGE_S)
        self._call.note("lost", why=lost.detail)
        if await self._connect(first=False) is not None:
            return lost
        self._call.note("restored", after_ms=round((self._loop.time() - now) * 1000))
        return None

    async def _connect(self, *, first: bool) -> Ended | None:
        """Try until it works, or until the outage has lasted too long; None: it did."""
        outage = self._outage
        assert outage is not None
        wait_s = 0.0 if first else self._next_delay()
        detail = "the agent cannot be reached"
        while wait_s is not None and self._loop.time() + wait_s < outage.until:
            await asyncio.sleep(wait_s)
            left_s = outage.until - self._loop.time()
            try:
                async with asyncio.timeout(left_s if first else min(ATTEMPT_S, left_s)):
                    facts = replace(
                        self._call.facts, stream=self._streams, last_sequence=self._sequence
                    )
                    connection = await self._connect_to(facts)
            except TimeoutError:
                detail = "the agent takes too long to connect"
            except GatewayError as error:
                detail = str(error)
                if isinstance(error, ConnectError) and error.is_final:
                    break
            else:
                self._begin(connection, facts)
                return None
            wait_s = self._next_delay()
        log.info("call=%s agent=%s: %s", self._call.id, self._name, detail)
        return Ended(Ending.LOST, detail)

    def _next_delay(self) -> float | None:
        assert self._outage is not None
        return self._outage.delays.pop() if self._outage.delays else None

    def _begin(self, connection: AgentConnection, facts: CallFacts) -> None:
        """A connection is there: nothing of before is heard over it, or in the call (F18)."""
        self._patience.stop()
        if not self._streams:
            self._outage = None  # that was the start, and no outage
        else:
            self._call.judge_barge_in(is_real=True)
            self._call.resume()
            self._call.clear()
        self._streams += 1
        session = self._open(connection, facts)
        if not session.protocol.tells_ready:
            self._on_ready()

    def _open(self, connection: AgentConnection, facts: CallFacts) -> Session:
        session = Session(
            self._call,
            self._make(),
            connection,
            on_ready=self._on_ready,
            on_use=self._on_use,
        )
        self._session = session
        session.open(facts)
        if self._may_hear:
            self._call.listen(session.hear)
        return session

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        self._call.listen(None)
        if session is not None:
            self._sequence = getattr(session.protocol, "sequence", None)
            session.close("lost")

    # ---- what happens meanwhile

    def _on_event(self, event: AgentEvent) -> None:
        session = self._session
        if isinstance(event, ToolDone):
            self._transfers.discard(event.id)
            if not self._transfers:
                self._settled.set()
        elif isinstance(event, FarEndAnswered) and not event.is_early:
            if not self._may_hear and session is not None:
                self._call.listen(session.hear)
            self._may_hear = True
        if session is not None:
            session.tell(event)

    def _on_ready(self) -> None:
        """The agent can take the call, or has had its time."""
        self._stop_waiting_for_ready()
        if self._session is not None:
            self._call.accept_now()

    def _stop_waiting_for_ready(self) -> None:
        if self._ready_timer is not None:
            self._ready_timer.cancel()
            self._ready_timer = None

    def _on_use(self, use: Use) -> None:
        if isinstance(use.tool, Transfer | Dial):
            self._transfers.add(use.id)
            self._settled.clear()

    async def _let_transfers_end(self) -> None:
        """What the agent has begun goes on without it: its caller may be ringing somewhere."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_TRANSFER_S):
                await self._settled.wait()
