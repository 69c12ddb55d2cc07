"""Who has answered: a person, a machine, a fax, nobody; by how long, how loud and how pure."""

from __future__ import annotations

import numpy as np
import pytest

from bench.answering import Answer, answers, judge
from bench.phone_line import RATE, Sound, at_level, noise, prompt
from gateway.media.answering import ANSWERED_BY, AnsweringDetector, AnsweringOptions
from gateway.media.tone import dtmf, sine

GREETING = at_level(prompt("gateway.agents", "receptionist/welcome.wav"), -22)
HELLO = GREETING[: round(0.55 * RATE)]


def gap(seconds: float) -> Sound:
    return np.zeros(round(seconds * RATE), np.float32)


def found(*pieces: Sound, seconds: float = 6.0) -> list[tuple[str, float]]:
    sound = np.concatenate((*pieces, gap(seconds)))
    sound += noise("hiss", len(sound) / RATE, -60)[: len(sound)]
    return [(v.kind, v.after_ms) for v in judge(Answer("", "", (), sound))]


def test_who_says_hello_and_waits_is_a_person() -> None:
    ((kind, after_ms),) = found(gap(0.5), HELLO)

    assert kind == "human"
    assert after_ms == pytest.approx(500 + 550 + 800, abs=150)


def test_who_talks_on_is_a_machine_and_its_beep_is_waited_for() -> None:
    beep = sine(1000, 0.4, RATE, -16).astype(np.float32)
    spoken = gap(0.5), GREETING, gap(0.4), beep

    (machine, beeped) = found(*spoken)

    assert machine[0] == "machine"
    assert machine[1] == pytest.approx(500 + 2400, abs=300)
    assert beeped[0] == "beep"
    end_ms = sum(len(piece) for piece in spoken) / 8
    assert end_ms - 20 <= beeped[1] <= end_ms + 60, "words begin behind the beep, at once"


def test_machine_that_never_beeps_is_given_up() -> None:
    kinds = [kind for kind, _ in found(GREETING)]

    assert kinds == ["machine", "unknown"]


@pytest.mark.parametrize(("hz", "seconds"), [(1100, 0.5), (2100, 3.0)])
def test_fax_is_known_by_its_tone(hz: int, seconds: float) -> None:
    tone = sine(hz, seconds, RATE, -18).astype(np.float32)

    assert [kind for kind, _ in found(gap(1), tone, gap(3), tone)] == ["fax"]


def test_silence_is_nobody_known() -> None:
    assert found(gap(1)) == [("unknown", 5000)]


def test_keys_are_neither_words_nor_beeps() -> None:
    keys = [np.concatenate((dtmf(k, 0.3, RATE).astype(np.float32), gap(0.3))) for k in "1590"]

    assert [kind for kind, _ in found(*keys)] == ["unknown"]


def test_noise_that_goes_on_is_no_machine() -> None:
    hiss = noise("pink", 8, -32)

    assert [kind for kind, _ in found(hiss)] == ["unknown"]


def test_nothing_is_found_out_after_the_end() -> None:
    detector = AnsweringDetector(AnsweringOptions(limit_ms=1000, silence_ms=9000))
    silence = np.zeros(160, np.int16)

    verdicts = [detector.push(silence) for _ in range(100)]

    assert [verdict.kind for verdict in verdicts if verdict] == ["unknown"]
    assert detector.is_done


def test_most_calls_are_judged_right_on_quiet_and_on_loud_lines() -> None:
    """The clips of the bench; people who talk on are wrong by design, and left out."""
    tried = list(answers("hello", "machine with a beep", every=8))
    wrong = [a.name for a in tried if tuple(v.kind for v in judge(a)) != a.is_right]

    assert len(tried) == 18
    assert len(wrong) <= 1


def test_every_verdict_has_a_word_of_twilios() -> None:
    assert set(ANSWERED_BY) == {"human", "machine", "beep", "fax", "unknown"}
