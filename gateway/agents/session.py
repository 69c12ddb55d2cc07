"""One connection to an agent: its protocol, what it hears and says over it, and how it ends.

frame ▸ Ear ▸ protocol.hear ▸ connection.send_audio            in the frame's own callback
message ▸ protocol.receive ▸ wishes ▸ the call's playout       in the message's own callback
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from gateway.agents.agent import AgentCall
from gateway.agents.conversion import Ear, Mouth
from gateway.agents.event import AgentEvent, QueueState, SpeechDropped
from gateway.agents.protocol import (
    Answer,
    AudioFormat,
    CallFacts,
    Clear,
    Done,
    JudgeBargeIn,
    Mark,
    Message,
    Note,
    Pause,
    Ready,
    Reply,
    Resume,
    Say,
    SayAs,
    Use,
    WireProtocol,
    Wish,
    Wrong,
)
from gateway.errors import RemoteProtocolError
from gateway.media.frame import AudioFrame
from gateway.media.playout import MAX_QUEUED_S, Cleared
from gateway.net.agent_connection import AgentConnection, Lost

log = logging.getLogger(__name__)

MAX_WRONG = 3
"Messages that are not of the protocol, before an agent is given up (F19)."

MAX_UNHEARD_MS = 2000
"How much of what an agent is to hear may wait for a slow reader (F18)."

FULL, ROOM = 0.9, 0.8
"Of the queue: where it counts as full, and as having room again (chan_websocket's levels)."

CHECK_BYTES = 8000
"Said before the queue is looked at: a second at most. From 90 % of it to its end are six."

TELL_EVERY_S = 1.0
"Between two events of one kind about what was dropped: a flood is no flood of events."

MAX_NOTES_PER_S = 100
"Of an agent, for who watches: transcripts come word by word; more is a flood."

MAX_NOTE_DEPTH = 20
"Of objects and lists in a note: whoever shows it walks them by recursion (A19)."

MAX_MOUTHS = 4
"Formats spoken at the same time, beside the protocol's own: each has state of its own."


class Ending(Enum):
    """How a session ended."""

    FINISHED = "finished"
    "The agent has done its work."
    LOST = "lost"
    "The connection broke: it may be made anew."
    BROKEN = "broken"
    "The agent cannot be talked with: to connect again is of no use."


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a session."""

    ending: Ending
    detail: str
    hang_up: bool = True
    "Whether the agent's part in the call is over, where it has finished."


class Session:
    """One conversation with an agent over one connection."""

    def __init__(
        self,
        call: AgentCall,
        protocol: WireProtocol,
        connection: AgentConnection,
        *,
        on_ready: Callable[[], None],
        on_use: Callable[[Use], None],
    ) -> None:
        """
        Args:
            on_ready: told when the agent can take the call, whenever it says so.
            on_use: told of each tool that the agent uses, before it is used.
        """
        self.protocol = protocol
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Ended] = self._loop.create_future()
        self.opened_at = self._loop.time()
        self._call = call
        self._connection = connection
        self._on_ready = on_ready
        self._on_use = on_use
        self._ear: Ear | None = None
        self._other_ear: Ear | None = None
        self._hear_other_side: Callable[[bytes], Message | None] = _say_nothing
        self._stop_overhearing: Callable[[], None] = _do_nothing
        self._mouth: Mouth | None = None
        self._others: dict[AudioFormat, Mouth] = {}
        self._wrong = 0
        self._max_queued_ms = MAX_QUEUED_S * 1000
        self._is_full = False
        self._unchecked_bytes = 0
        self._refused_ms = 0.0
        self._refusal_told_at = float("-inf")
        self._missed = 0
        self._miss_told_at = float("-inf")
        self._notes = 0
        self._notes_since = float("-inf")

    @property
    def is_over(self) -> bool:
        return self.ended.done()

    def open(self, facts: CallFacts) -> None:
        """Say the first words, and read."""
        self._send(self.protocol.open(facts, self._call))
        if (max_queued_s := getattr(self.protocol, "max_queued_s", None)) is not None:
            self._call.allow_queue(max_queued_s)
            self._max_queued_ms = max_queued_s * 1000
        packet_ms = self.protocol.heard.packet_ms
        waiting = max(1, MAX_UNHEARD_MS // packet_ms)
        if getattr(self.protocol, "hears_other_side", False):
            protocol: Any = self.protocol
            self._other_ear = Ear(protocol.heard)
            self._hear_other_side = protocol.hear_other_side
            self._stop_overhearing = self._call.overhear(self._overhear)
            waiting *= 2
        self._connection.max_audio_waiting = waiting
        self._connection.start(self._on_message, self._on_lost)

    def close(self, reason: str) -> None:
        """Say goodbye; nothing is heard or said over it any more."""
        if not self.ended.done():
            self.ended.cancel()
            self._send(self.protocol.close(reason))
        self._connection.close()
        self._stop_overhearing()
        self._stop_overhearing = _do_nothing
        for ear in (self._ear, self._other_ear):
            if ear is not None:
                ear.close()
        self._ear = self._other_ear = None

    # ---- toward the agent

    def hear(self, frame: AudioFrame) -> None:
        """The agent is to hear this."""
        if self.ended.done():
            return
        try:
            ear = self._ear
            if ear is None or ear.format is not self.protocol.heard:
                ear = self._new_ear()
            for audio in ear.hear(frame):
                message = self.protocol.hear(audio)
                if message is not None:
                    self._connection.send_audio(message)
        except Exception:
            self._give_up("what the agent hears")
        if self._connection.dropped != self._missed:
            self._tell_missed()
        if self._is_full and self._call.queued_ms < ROOM * self._max_queued_ms:
            self._tell_full(is_full=False)

    def _overhear(self, frame: AudioFrame) -> None:
        """The agent is to hear this apart: it was said to whom it hears."""
        ear = self._other_ear
        if ear is None or self.ended.done():
            return
        try:
            for audio in ear.hear(frame):
                message = self._hear_other_side(audio)
                if message is not None:
                    self._connection.send_audio(message)
        except Exception:
            self._give_up("what the agent overhears")

    def tell(self, event: AgentEvent) -> None:
        """The agent is to know this."""
        if self.ended.done():
            return
        try:
            self._send(self.protocol.notice(event))
        except Exception:
            self._give_up("what the agent is told")

    def _send(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self._connection.send(message)

    def _new_ear(self) -> Ear:
        if self._ear is not None:
            self._ear.close()
        self._ear = Ear(self.protocol.heard)
        return self._ear

    def _tell_missed(self) -> None:
        """It reads too slowly, and has missed something."""
        now = self._loop.time()
        if now - self._miss_told_at < TELL_EVERY_S:
            return
        missed = self._connection.dropped - self._missed
        self._missed, self._miss_told_at = self._connection.dropped, now
        self._call.note("slow", missed_ms=missed * self.protocol.heard.packet_ms)

    # ---- from the agent

    def _on_message(self, message: Message) -> None:
        try:
            for wish in self.protocol.receive(message):
                if self.ended.done():
                    return
                if type(wish) is Say:
                    self._say(wish)
                else:
                    _ACTS[type(wish)](self, wish)
        except Exception:
            self._give_up("what the agent says")

    def _on_lost(self, lost: Lost) -> None:
        is_finished = lost.is_finished and getattr(self.protocol, "ends_by_closing", True)
        is_finished |= lost.is_leaving and getattr(self.protocol, "ends_by_leaving", False)
        self._end(Ended(Ending.FINISHED if is_finished else Ending.LOST, lost.detail))

    def _end(self, ended: Ended) -> None:
        if not self.ended.done():
            self.ended.set_result(ended)

    def _give_up(self, doing: str) -> None:
        """A bug of ours, or of the protocol's: it costs this session, and no more."""
        log.exception("call=%s %s broke", self._call.id, doing)
        self._end(Ended(Ending.BROKEN, "its protocol broke"))

    def _say(self, wish: Say) -> None:
        mouth, said = self._mouth, self.protocol.said
        try:
            if mouth is None or mouth.format is not said:
                mouth = self._mouth = Mouth(self._call, said)
            self._say_by(mouth, wish.audio, wish.item)
        except RemoteProtocolError as error:
            self._strike(str(error))

    def _say_as(self, wish: SayAs) -> None:
        mouth = self._others.get(wish.format)
        try:
            if mouth is None:
                if len(self._others) >= MAX_MOUTHS:
                    self._others.clear()
                mouth = self._others[wish.format] = Mouth(self._call, wish.format)
            self._say_by(mouth, wish.audio, wish.item)
        except RemoteProtocolError as error:
            self._strike(str(error))

    def _say_by(self, mouth: Mouth, audio: bytes, item: str) -> None:
        if not self._call.is_answered:
            self._on_ready()  # who speaks can
        refused_ms = mouth.say(audio, item)
        if refused_ms:
            self._refused_ms += refused_ms
            self._tell_refused()
        self._unchecked_bytes += len(audio)
        if self._unchecked_bytes >= CHECK_BYTES:
            self._unchecked_bytes = 0
            if not self._is_full and self._call.queued_ms > FULL * self._max_queued_ms:
                self._tell_full(is_full=True)

    def _tell_full(self, *, is_full: bool) -> None:
        self._is_full = is_full
        self.tell(QueueState(is_full, self._call.queued_ms))
        if not is_full and self._refused_ms:
            self._refusal_told_at = float("-inf")
            self._tell_refused()

    def _tell_refused(self) -> None:
        """Speech came faster than it can be said, and the newest of it was left out (F19)."""
        now = self._loop.time()
        if now - self._refusal_told_at < TELL_EVERY_S:
            return
        refused_ms, self._refused_ms = self._refused_ms, 0.0
        self._refusal_told_at = now
        self._call.note("flood", dropped_ms=round(refused_ms))
        self.tell(SpeechDropped(refused_ms))

    def _mark(self, wish: Mark) -> None:
        if not self._call.mark(wish.name):
            self.tell(Cleared(0.0, 0.0, (wish.name,)))

    def _clear(self, wish: Clear) -> None:
        for mouth in (self._mouth, *self._others.values()):
            if mouth is not None:
                mouth.cut_off()
        self.tell(self._call.clear())
        if self._is_full:
            self._tell_full(is_full=False)

    def _pause(self, wish: Pause) -> None:
        self._call.pause()

    def _resume(self, wish: Resume) -> None:
        self._call.resume()

    def _use(self, wish: Use) -> None:
        self._on_use(wish)
        self._call.use(wish.tool, wish.id)

    def _ready(self, wish: Ready) -> None:
        self._on_ready()

    def _answer(self, wish: Answer) -> None:
        self._call.accept_now()

    def _reply(self, wish: Reply) -> None:
        self._connection.send(wish.message)

    def _note(self, wish: Note) -> None:
        if _is_deeper(wish.data, MAX_NOTE_DEPTH):
            self._strike("a note is nested too deeply")
            return
        now = self._loop.time()
        if now - self._notes_since >= 1.0:
            self._notes, self._notes_since = 0, now
        self._notes += 1
        if self._notes > MAX_NOTES_PER_S:
            return
        self._call.note(wish.kind, **wish.data)

    def _judge(self, wish: JudgeBargeIn) -> None:
        self._call.judge_barge_in(is_real=wish.is_real)

    def _on_wrong(self, wish: Wrong) -> None:
        self._strike(wish.why)

    def _strike(self, why: str) -> None:
        self._wrong += 1
        self._call.note("wrong", why=why)
        if self._wrong >= MAX_WRONG:
            self._send(self.protocol.close("wrong"))
            self._end(Ended(Ending.BROKEN, f"it does not keep to its protocol: {why}"))

    def _done(self, wish: Done) -> None:
        self._end(Ended(Ending.FINISHED, "the agent has finished", wish.hang_up))


_ACTS: dict[type[Wish], Callable[[Session, Any], None]] = {
    Say: Session._say,
    SayAs: Session._say_as,
    Mark: Session._mark,
    Clear: Session._clear,
    Pause: Session._pause,
    Resume: Session._resume,
    Use: Session._use,
    Ready: Session._ready,
    Answer: Session._answer,
    Reply: Session._reply,
    Note: Session._note,
    JudgeBargeIn: Session._judge,
    Wrong: Session._on_wrong,
    Done: Session._done,
}


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether JSON has objects and lists in more levels than that."""
    if not isinstance(value, Mapping | list):
        return False
    parts = value.values() if isinstance(value, Mapping) else value
    return not levels or any(_is_deeper(part, levels - 1) for part in parts)


def _do_nothing() -> None:
    """Where nothing has to be ended."""


def _say_nothing(audio: bytes) -> None:
    """Where the agent hears one side only."""
