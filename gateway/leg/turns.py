"""Who speaks when, seen from the agent: when a caller begins and stops, and what that stops.

frame heard ▸ loud, or like speech ▸ Gate ▸ began ▸ no echo, no tone ▸ SpeechStarted ▸ barge-in

What goes out of the agent's playout is remembered for as long as an echo of it may come back. It is
compared with what is heard only when that is about to count as speech: nothing of it costs anything
per frame but two references.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.agents.event import AgentEvent, Continued, Interrupted, SpeechStarted, SpeechStopped
from gateway.codec import TICK_RATE
from gateway.media import silero
from gateway.media.echo import RATE, EchoWatch
from gateway.media.frame import AudioFrame
from gateway.media.playout import Cleared, Playout
from gateway.media.pure import is_clicks, is_tone
from gateway.media.vad import FULL_SCALE, DetectorOptions, Gate, Loudness, power_of
from gateway.media.vad import SpeechStarted as Began

RECHECK_MS = 160.0
"How often speech that goes on while the agent speaks is looked at again."

JUDGE_MS = 700.0
"How long past `min_ms` an agent that was paused may take to judge; then it was an interruption."

ENERGY_ONSET = DetectorOptions(above_floor_db=8.0, first_floor_dbfs=-26.0)
"Whoever interrupts is heard over noise; noise that is there from the start is no interruption."

MODEL_ONSET = DetectorOptions(onset_ms=50.0, onset_window_ms=140.0)
"For the network, which looks at 32 ms at a time and has no doubt to be waited for."

_TICKS_PER_MS = TICK_RATE / 1000


@dataclass(frozen=True, slots=True)
class TurnsOptions:
    """What the gateway does about speech for one agent."""

    vad: str = "energy"
    "energy or model."
    barge_in: str = "off"
    "off: the agent is told, and no more. clear, pause: what it says is dropped, or waits."
    min_ms: float = 200.0
    "Shorter speech clears nothing, and what it has paused goes on."
    detector: DetectorOptions | None = None
    "None: what suits `vad`."


class Speaker(Protocol):
    """What is asked of the agent's leg."""

    @property
    def playout(self) -> Playout: ...
    def clear(self) -> Cleared: ...
    def pause(self, *, on: bool) -> None: ...
    def inform(self, event: AgentEvent) -> None: ...
    def note(self, kind: str, data: Mapping[str, Any]) -> None: ...


class Turns:
    """Watches over speech in one call, for one agent."""

    def __init__(self, options: TurnsOptions, speaker: Speaker) -> None:
        self._options = options
        self._speaker = speaker
        self._playout = speaker.playout
        self._model = silero.VoiceModel() if options.vad == "model" else None
        detector = options.detector or (ENERGY_ONSET if self._model is None else MODEL_ONSET)
        self._gate = Gate(detector)
        self._loudness = Loudness(detector)
        self._quietest = FULL_SCALE * 10 ** (detector.quietest_dbfs / 10)
        self._echo = EchoWatch(RATE if self._model is None else silero.RATE)
        self._playout.overhear = self._echo.say
        self._told_at_ms = 0.0
        self._recheck_ms = 0.0
        self._is_echo = False
        "Whether speech that goes on was an echo when it was looked at last."
        self._is_cutting = False
        "Whether the speech that goes on came while the agent spoke, and has stopped nothing yet."
        self._is_pausing = False
        "Whether it has paused what the agent says."

    def hear(self, frame: AudioFrame) -> None:
        """The agent hears this."""
        duration_ms = frame.duration / _TICKS_PER_MS
        if frame.is_noise or frame.is_past:
            is_loud = False
            self._echo.hear_nothing()
        else:
            is_loud = self._is_loud(frame, duration_ms)
        gate = self._gate
        if gate.is_speech:
            is_loud = is_loud and not self._is_echo_still(frame, duration_ms)
        event = gate.push(duration_ms, is_loud=is_loud)
        if isinstance(event, Began):
            heard = self._echo.heard()
            if is_tone(heard) or is_clicks(heard) or self._echo.is_heard(frame.heard_at):
                gate.cancel()
            else:
                self._on_started(event.at_ms)
        elif event is not None:
            self._on_stopped(event.at_ms)
        elif gate.is_speech and (self._is_cutting or self._is_pausing):
            self._on_more_speech(gate.speech_ms)

    def judge(self, *, is_real: bool) -> None:
        """The agent's word on the speech that paused it: clear the rest, or go on."""
        if not self._is_pausing:
            return
        if is_real:
            self._drop()
        else:
            self._go_on()

    def let_go(self) -> None:
        """The agent has cleared its words, or goes on, by itself."""
        self._is_cutting = False
        if self._is_pausing:
            self._is_pausing = False
            self._speaker.pause(on=False)

    def close(self) -> None:
        """The agent's call is over."""
        self._playout.overhear = None
        if self._model is not None:
            self._model.close()
            self._model = None

    # ---- is it speech

    def _is_loud(self, frame: AudioFrame, duration_ms: float) -> bool:
        if self._model is None:
            pcm = frame.pcm(RATE)
            power = power_of(pcm)
            is_loud = self._loudness.push(power, duration_ms)
            is_loud = is_loud and power > self._echo.threshold(frame.heard_at)
        else:
            pcm = frame.pcm(silero.RATE)
            power = power_of(pcm)
            is_silent = power <= max(self._quietest, self._echo.threshold(frame.heard_at))
            is_loud = self._model.push(pcm, duration_ms, is_silent=is_silent) and not is_silent
        self._echo.hear(pcm)
        return is_loud

    def _is_echo_still(self, frame: AudioFrame, duration_ms: float) -> bool:
        """Of speech that goes on: it may have ended, and what is heard be the agent's answer."""
        self._recheck_ms -= duration_ms
        if self._recheck_ms <= 0:
            self._recheck_ms = RECHECK_MS
            self._is_echo = self._echo.is_heard(frame.heard_at)
        return self._is_echo

    # ---- what it stops

    def _on_started(self, at_ms: float) -> None:
        self._recheck_ms, self._is_echo = RECHECK_MS, False
        self._told_at_ms = at_ms
        self._speaker.inform(SpeechStarted(at_ms))
        self._speaker.note("speech", {"started": True, "at_ms": round(at_ms)})
        is_interrupting = self._playout.queued_ms > 0 and not self._playout.is_paused
        policy = self._options.barge_in if is_interrupting else "off"
        self._is_cutting = policy == "clear"
        if policy == "pause":
            self._is_pausing = True
            self._speaker.pause(on=True)
            self._tell_interrupted("pause", None)
        elif self._is_cutting:
            self._on_more_speech(self._gate.speech_ms)

    def _on_more_speech(self, speech_ms: float) -> None:
        if speech_ms >= self._options.min_ms + (0.0 if self._is_cutting else JUDGE_MS):
            self._drop()

    def _on_stopped(self, at_ms: float) -> None:
        self._speaker.inform(SpeechStopped(at_ms))
        self._speaker.note("speech", {"started": False, "at_ms": round(at_ms)})
        self._is_cutting = False
        if not self._is_pausing:
            return
        if at_ms - self._told_at_ms >= self._options.min_ms:
            self._drop()
        else:
            self._go_on()

    def _drop(self) -> None:
        cleared = self._speaker.clear()
        self.let_go()
        self._tell_interrupted("clear", cleared)

    def _go_on(self) -> None:
        self.let_go()
        self._speaker.inform(Continued())
        self._speaker.note("continued", {})

    def _tell_interrupted(self, policy: str, cleared: Cleared | None) -> None:
        self._speaker.inform(Interrupted(policy, cleared))
        data: dict[str, Any] = {"policy": policy}
        if cleared is not None:
            data |= {"played_ms": round(cleared.played_ms), "dropped_ms": round(cleared.dropped_ms)}
        self._speaker.note("interrupted", data)
