"""What an agent's leg does about answering machines: listens once the far end has answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from gateway.agents.event import AgentEvent, MachineDetected
from gateway.agents.tool import HangUp, Tool
from gateway.codec import TICK_RATE
from gateway.media.answering import BEEP, FAX, MACHINE, AnsweringDetector, AnsweringPolicy
from gateway.media.frame import AudioFrame
from gateway.media.pure import RATE

_TICKS_PER_MS = TICK_RATE / 1000


class Caller(Protocol):
    """What is asked of the leg of an agent that calls."""

    def hold_back(self, *, on: bool) -> None: ...
    def inform(self, event: AgentEvent) -> None: ...
    def note(self, kind: str, data: Mapping[str, Any]) -> None: ...
    def use(self, tool: Tool, tool_id: str) -> None: ...


class Answering:
    """Finds out who has answered, in one call of one agent."""

    def __init__(self, policy: AnsweringPolicy, caller: Caller) -> None:
        self._policy = policy
        self._caller = caller
        self._detector: AnsweringDetector | None = None

    @property
    def is_listening(self) -> bool:
        """Whether it is still to find something out."""
        return self._detector is not None and not self._detector.is_done

    def start(self) -> None:
        """The far end has answered."""
        if self._detector is None:
            self._detector = AnsweringDetector()
            if self._policy == "wait-for-beep":
                self._caller.hold_back(on=True)

    def hear(self, frame: AudioFrame) -> None:
        """The agent hears this."""
        detector = self._detector
        if detector is None or detector.is_done:
            return
        verdict = detector.push(frame.pcm(RATE), frame.duration / _TICKS_PER_MS)
        if verdict is None:
            return
        kind, after_ms = verdict.kind, verdict.after_ms
        self._caller.note("answering_machine", {"kind": kind, "after_ms": round(after_ms)})
        self._caller.inform(MachineDetected(kind, after_ms))
        if self._policy == "wait-for-beep" and kind != MACHINE:
            self._caller.hold_back(on=False)
        elif self._policy == "hang-up" and kind in (MACHINE, BEEP, FAX):
            self._caller.use(HangUp(after_speech=False, reason="answering-machine"), "")
