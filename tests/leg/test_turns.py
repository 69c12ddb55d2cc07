"""What a caller's speech does to what the agent says: told, cleared, paused, and gone on with."""

from __future__ import annotations

import numpy as np
import pytest

from bench.phone_line import (
    FRAME,
    RATE,
    EchoPath,
    Line,
    Sound,
    agent_words,
    at_level,
    caller_voices,
    noise,
)
from gateway.agents.event import (
    AgentEvent,
    Interrupted,
    SpeechStarted,
    SpeechStopped,
)
from gateway.leg.turns import TurnsOptions

WORDS = at_level(caller_voices()[1], -22)
HEARD = {"energy": 150, "model": 220}
"ms within which speech is told."


class Scene:
    """An agent that speaks, over a line."""

    def __init__(
        self, policy: str, vad: str = "energy", *, min_ms: float = 200, echo: EchoPath | None = None
    ) -> None:
        self.line = Line(TurnsOptions(vad, policy, min_ms), 60.0, echo=echo)
        self.mouth = self.line.mouth
        self.mouth.playout.say_pcm(np.tile(agent_words(), 3), RATE)
        self._hiss = noise("hiss", 60, -62)
        self.run(2000)

    def run(self, ms: int, caller: Sound | None = None) -> None:
        """Let time pass; the caller says so much of its words as fits, or nothing."""
        sound = np.zeros(ms * RATE // 1000, np.float32)
        if caller is not None:
            sound[: len(caller)] = caller[: len(sound)]
        for start in range(0, len(sound), FRAME):
            at = self.line.at % len(self._hiss)
            self.line.step(sound[start : start + FRAME] + self._hiss[at : at + FRAME])

    @property
    def events(self) -> list[AgentEvent]:
        return [event for _, event in self.mouth.events]

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


@pytest.mark.parametrize("vad", ["energy", "model"])
def test_agent_is_told_when_somebody_speaks_and_stops(vad: str) -> None:
    scene = Scene("off", vad)

    scene.run(1000, WORDS[: RATE // 2])
    scene.run(1000)

    started, stopped = scene.events
    assert isinstance(started, SpeechStarted)
    assert isinstance(stopped, SpeechStopped)
    assert started.at_ms == pytest.approx(2000, abs=HEARD[vad])
    assert stopped.at_ms == pytest.approx(2500, abs=150)
    assert scene.mouth.playout.queued_ms > 0
    assert not scene.mouth.playout.is_paused


@pytest.mark.parametrize("vad", ["energy", "model"])
def test_clear_drops_the_words_and_tells_what_was_played(vad: str) -> None:
    scene = Scene("clear", vad)

    scene.run(600, WORDS)

    assert scene.kinds[:2] == ["SpeechStarted", "Interrupted"]
    cut = scene.events[1]
    assert isinstance(cut, Interrupted)
    assert cut.cleared is not None
    assert cut.policy == "clear"
    assert cut.cleared.played_ms == pytest.approx(2000 + 200, abs=HEARD[vad])
    assert cut.cleared.played_ms + cut.cleared.dropped_ms == pytest.approx(48_000, abs=1000)
    assert scene.mouth.playout.queued_ms == 0
    assert not scene.line.far.sent[scene.line.at - 800 : scene.line.at].any(), "silent by then"


def test_clear_lets_a_short_sound_pass() -> None:
    scene = Scene("clear", min_ms=500)

    scene.run(1500, WORDS[: RATE // 4])

    assert scene.kinds == ["SpeechStarted", "SpeechStopped"]
    assert scene.mouth.playout.queued_ms > 0


def test_pause_goes_on_after_a_short_sound() -> None:
    scene = Scene("pause", min_ms=500)
    queued_ms = scene.mouth.playout.queued_ms

    scene.run(200, WORDS[: RATE // 4])
    paused = scene.mouth.playout.is_paused
    scene.run(1500)

    assert paused
    assert scene.kinds == ["SpeechStarted", "Interrupted", "SpeechStopped", "Continued"]
    assert not scene.mouth.playout.is_paused
    spoken_ms = queued_ms - scene.mouth.playout.queued_ms
    assert 700 <= spoken_ms <= 1400, "it waited, and went on where it was"


def test_pause_clears_after_real_speech() -> None:
    scene = Scene("pause")

    scene.run(600, WORDS[: RATE // 2])
    scene.run(1000)

    assert scene.kinds == ["SpeechStarted", "Interrupted", "SpeechStopped", "Interrupted"]
    last = scene.events[-1]
    assert isinstance(last, Interrupted)
    assert last.cleared is not None
    assert scene.mouth.playout.queued_ms == 0
    assert not scene.mouth.playout.is_paused, "what it says next is heard"


def test_pause_waits_for_no_judgement_for_ever() -> None:
    scene = Scene("pause")

    scene.run(1800, np.concatenate((WORDS, WORDS)))

    assert scene.kinds[:3] == ["SpeechStarted", "Interrupted", "Interrupted"]
    assert not scene.mouth.playout.is_paused


def test_agent_may_say_that_it_was_no_interruption() -> None:
    scene = Scene("pause")
    scene.run(300, WORDS)
    assert scene.mouth.turns is not None

    scene.mouth.turns.judge(is_real=False)
    scene.run(2000)

    assert scene.kinds == ["SpeechStarted", "Interrupted", "Continued", "SpeechStopped"]
    assert scene.mouth.playout.queued_ms > 0
    assert not scene.mouth.playout.is_paused


def test_agent_may_say_that_it_was_one() -> None:
    scene = Scene("pause")
    scene.run(300, WORDS)
    assert scene.mouth.turns is not None

    scene.mouth.turns.judge(is_real=True)

    assert scene.kinds == ["SpeechStarted", "Interrupted", "Interrupted"]
    assert scene.mouth.playout.queued_ms == 0
    assert not scene.mouth.playout.is_paused


def test_words_that_the_agent_begins_while_the_caller_ends_are_not_cut() -> None:
    """An agent that answers sooner than we know that the caller is silent is no interruption."""
    scene = Scene("clear")
    scene.mouth.playout.clear()
    scene.run(700, WORDS[: RATE // 2])
    scene.mouth.playout.say_pcm(agent_words(), RATE)

    scene.run(1000)

    assert scene.kinds == ["SpeechStarted", "SpeechStopped"]
    assert scene.mouth.playout.queued_ms > 0


def test_silence_in_the_place_of_a_caller_ends_its_speech() -> None:
    """On hold, and in secure input, an agent hears silence: it neither starts nor keeps a turn."""
    scene = Scene("clear")
    scene.mouth.playout.clear()
    scene.run(400, WORDS)

    scene.line.hang_on_hold()
    scene.run(1000, WORDS)

    assert scene.kinds == ["SpeechStarted", "SpeechStopped"]


@pytest.mark.parametrize(("loss_db", "kind"), [(10, "hybrid"), (20, "flat"), (28, "hybrid")])
@pytest.mark.parametrize("delay_ms", [20, 480])
def test_agent_does_not_interrupt_itself(loss_db: float, delay_ms: int, kind: str) -> None:
    scene = Scene("clear", echo=EchoPath(loss_db, delay_ms, kind))

    scene.run(15_000)

    assert scene.kinds == []


def test_caller_is_heard_over_an_echo() -> None:
    scene = Scene("clear", echo=EchoPath(12, 200))
    scene.run(3000)

    scene.run(1200, WORDS)

    assert "Interrupted" in scene.kinds


def test_nothing_is_kept_once_the_call_is_over() -> None:
    scene = Scene("clear")
    assert scene.mouth.turns is not None

    scene.mouth.turns.close()

    assert scene.mouth.playout.overhear is None
