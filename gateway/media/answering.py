"""Who has answered a call of ours: a person, an answering machine, a fax; and when it beeps.

A person says hello and waits. A machine talks on, then beeps, with a tone as pure and steady as no
voice is. That is all this goes by: how long, how loud, how pure. It needs nobody's service.

    answer ▸ silence ▸ speech ≤ 2.4 s ▸ 0.8 s of silence ▸ human
                       └ longer ▸ machine ▸ beep, or 4 s of silence
             1100 Hz, 2100 Hz ▸ fax
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway.media.pure import RATE, Tone, is_tone, tone_in
from gateway.media.vad import DetectorOptions, Gate, Loudness, SpeechStarted, power_of

AnsweringPolicy = Literal["off", "detect", "hang-up", "wait-for-beep"]
"""What is done about a machine that answers: nothing; the agent and who watches are told; the call
is ended; what the agent says waits until the machine has beeped, or a person has said hello."""

HUMAN, MACHINE, BEEP, FAX, UNKNOWN = "human", "machine", "beep", "fax", "unknown"

ANSWERED_BY = {
    HUMAN: "human",
    MACHINE: "machine_start",
    BEEP: "machine_end_beep",
    FAX: "fax",
    UNKNOWN: "unknown",
}
"The same in Twilio's words (AnsweredBy of an asynchronous detection)."

CALLING_FAX_HZ, ANSWERING_FAX_HZ = 1100.0, 2100.0
"CNG, 0.5 s of it every 3 s, and CED, 2.6 s or more (ITU-T T.30 §4)."

_FAX_OFF_HZ = 38.0

_VOICE = DetectorOptions(
    above_floor_db=8.0,
    onset_ms=80.0,
    onset_window_ms=160.0,
    hangover_ms=200.0,
    floor_window_ms=2000.0,
    first_floor_dbfs=-30.0,
)


@dataclass(frozen=True, slots=True)
class AnsweringOptions:
    """How long is what, in ms."""

    hello_ms: float = 2400.0
    "A greeting that goes on longer is a machine's."
    after_hello_ms: float = 800.0
    "Silence after which whoever spoke waits for an answer."
    silence_ms: float = 5000.0
    "Without a word so long after the answer it is not known who is there."
    beep_ms: float = 140.0
    "A tone that lasts so long is a beep."
    after_machine_ms: float = 4000.0
    "Silence after a machine's greeting: it has no beep, or it was not heard."
    limit_ms: float = 60_000.0
    "After the answer: nothing more is waited for."


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who it is. After `machine` comes a second one: `beep`, or `unknown` if it never does."""

    kind: str
    "human, machine, beep, fax or unknown."
    after_ms: float
    "Since the answer."


class AnsweringDetector:
    """Listens from the answer on, frame by frame, at 8 kHz."""

    def __init__(self, options: AnsweringOptions | None = None) -> None:
        self.is_done = False
        "Whether it has nothing more to find out."
        self._options = options or AnsweringOptions()
        self._gate = Gate(_VOICE)
        self._loudness = Loudness(_VOICE)
        self._last = np.zeros(0, np.float32)
        "40 ms of what was heard."
        self._clock_ms = 0.0
        self._first_voice_ms: float | None = None
        self._last_voice_ms = 0.0
        self._is_machine = False
        self._tone: Tone | None = None
        self._tone_ms = 0.0
        "How long that has sounded."

    def push(self, pcm: NDArray[np.int16], duration_ms: float = 20.0) -> Verdict | None:
        """What is heard next; of any length."""
        if self.is_done:
            return None
        self._clock_ms += duration_ms
        tone = self._listen_for_tone(pcm.astype(np.float32))
        verdict = self._follow_tone(tone, duration_ms)
        if verdict is None:
            self._follow_voice(power_of(pcm), duration_ms)
            verdict = self._judge()
        if verdict is None and self._clock_ms >= self._options.limit_ms:
            verdict = self._tell(UNKNOWN)
        return verdict

    # ---- tones

    def _listen_for_tone(self, samples: NDArray[np.float32]) -> Tone | None:
        self._last = np.concatenate((self._last, samples))[-RATE // 25 :]
        return tone_in(self._last)

    def _follow_tone(self, tone: Tone | None, duration_ms: float) -> Verdict | None:
        known = self._tone
        if tone is not None and known is not None and tone.is_like(known):
            self._tone_ms += duration_ms
            return self._tell(FAX) if self._is_fax(known) else None
        verdict = self._end_of_tone() if known is not None else None
        self._tone, self._tone_ms = tone, duration_ms
        return verdict

    def _is_fax(self, tone: Tone) -> bool:
        if tone.is_near(ANSWERING_FAX_HZ, _FAX_OFF_HZ):
            return self._tone_ms >= 800
        has_spoken = self._first_voice_ms is not None
        return tone.is_near(CALLING_FAX_HZ, _FAX_OFF_HZ) and self._tone_ms >= 400 and not has_spoken

    def _end_of_tone(self) -> Verdict | None:
        """A beep is one once it is over: nobody is to talk into it."""
        if self._tone_ms < self._options.beep_ms or self._first_voice_ms is None:
            return None
        return self._tell(BEEP)

    # ---- voices

    def _follow_voice(self, power: float, duration_ms: float) -> None:
        is_loud = self._loudness.push(power, duration_ms) and not is_tone(self._last)
        event = self._gate.push(duration_ms, is_loud=is_loud)
        if isinstance(event, SpeechStarted) and self._first_voice_ms is None:
            self._first_voice_ms = event.at_ms
        if is_loud and self._gate.is_speech:
            self._last_voice_ms = self._clock_ms

    def _judge(self) -> Verdict | None:
        options = self._options
        if self._first_voice_ms is None:
            return self._tell(UNKNOWN) if self._clock_ms >= options.silence_ms else None
        silent_ms = self._clock_ms - self._last_voice_ms
        if self._is_machine:
            return self._tell(UNKNOWN) if silent_ms >= options.after_machine_ms else None
        if self._last_voice_ms - self._first_voice_ms > options.hello_ms:
            self._is_machine = True
            return Verdict(MACHINE, self._clock_ms)
        # A tone that has begun may become a beep.
        is_over = silent_ms >= options.after_hello_ms and self._tone is None
        return self._tell(HUMAN) if is_over else None

    def _tell(self, kind: str) -> Verdict:
        self.is_done = True
        return Verdict(kind, self._clock_ms)
