"""<Stream>: an agent that has the call, and others that listen beside it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from gateway.agents.agent import AgentCall
from gateway.agents.twiml.callbacks import Callbacks
from gateway.agents.twiml.verbs import Stream
from gateway.agents.twiml.view import Switchboard
from gateway.agents.wire.twilio import stream_sid

log = logging.getLogger(__name__)

MAX_LISTENING = 4
"Streams that one call may have started, as Twilio has it."


class Outcome(Protocol):
    """How a stream ended."""

    @property
    def is_finished(self) -> bool:
        """It has done its work; else it was lost, or never there."""

    @property
    def detail(self) -> str: ...


class StreamAgent(Protocol):
    """Who is at the other end of a <Stream>."""

    async def serve(self, call: AgentCall) -> Outcome:
        """Attend the call, until it is over for it."""


class MakeStream(Protocol):
    """Makes the agent at the other end of a <Stream>."""

    def __call__(self, stream: Stream, *, is_bidirectional: bool) -> StreamAgent: ...


class Streams:
    """The streams of one call."""

    def __init__(
        self,
        board: Switchboard,
        make: MakeStream,
        callbacks: Callbacks,
        fields: Callable[[], Mapping[str, str]],
        secret: str,
    ) -> None:
        self._board = board
        self._make = make
        self._callbacks = callbacks
        self._fields = fields
        self._secret = secret
        self._listening: dict[str, asyncio.Task[None]] = {}
        self._started = 0

    async def connect(self, stream: Stream) -> Mapping[str, str]:
        """Let the agent have the call until it or the caller has enough; what is told of it."""
        return await self._serve(stream, may_act=True)

    def start(self, stream: Stream) -> None:
        """Let it listen from now on."""
        self._forget_ended()
        self._started += 1
        name = stream.name or f"stream-{self._started}"
        if name in self._listening:
            self._warn("a <Stream> of this name is running: skipped")
            return
        if len(self._listening) >= MAX_LISTENING:
            self._warn(f"a call has {MAX_LISTENING} streams at most: skipped")
            return
        self._listening[name] = asyncio.ensure_future(self._listen(stream))

    def stop(self, name: str) -> None:
        """Let it listen no more; without a name, the first."""
        self._forget_ended()
        chosen = name or next(iter(self._listening), "")
        task = self._listening.pop(chosen, None)
        if task is None:
            self._warn("<Stop> names no <Stream> that is running")
        else:
            task.cancel()

    async def close(self) -> None:
        """The call is over: what is told of its streams is told before what is told of that."""
        for task in self._listening.values():
            task.cancel()
        await asyncio.gather(*self._listening.values(), return_exceptions=True)

    def _forget_ended(self) -> None:
        self._listening = {name: task for name, task in self._listening.items() if not task.done()}

    async def _listen(self, stream: Stream) -> None:
        try:
            await self._serve(stream, may_act=False)
        except Exception:
            # It only listens: what breaks there breaks no call.
            log.exception("call=%s a stream broke", self._board.call.id)

    async def _serve(self, stream: Stream, *, may_act: bool) -> Mapping[str, str]:
        view = self._board.view(may_act=may_act)
        sid = stream_sid(view.facts.token, view.facts.stream)
        told = {"StreamSid": sid, **({"StreamName": stream.name} if stream.name else {})}
        agent = self._make(stream, is_bidirectional=may_act)
        self._tell(stream, told, "stream-started")
        try:
            outcome = await agent.serve(view.as_call())
            if not outcome.is_finished:
                self._tell(stream, {**told, "StreamError": outcome.detail}, "stream-error")
                self._warn(f"<Stream> ended: {outcome.detail}")
        finally:
            self._board.leave(view)
            self._tell(stream, told, "stream-stopped")
        return told

    def _tell(self, stream: Stream, told: Mapping[str, str], event: str) -> None:
        if stream.status_callback is not None:
            fields = {**self._fields(), **told, "StreamEvent": event}
            self._callbacks.post(self._board.call.id, stream.status_callback, fields, self._secret)

    def _warn(self, text: str) -> None:
        call = self._board.call
        log.warning("call=%s TwiML: %s", call.id, text)
        call.note("twiml", warning=text)
