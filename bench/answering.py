"""Who answered: how often the detection of answering machines is right, on calls made of clips.

Greetings of machines are whole prompts, hellos of people their first words, each in three voices,
over quiet and noisy lines, late and at once; beeps, faxes and silence are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np

from bench.phone_line import FRAME, RATE, Sound, at_level, noise, prompt
from gateway.media.answering import AnsweringDetector, Verdict
from gateway.media.g711 import MU_LAW
from gateway.media.tone import sine

VOICES = (1.0, 0.82, 1.25)
"By how much a prompt is sped up: the same words in the mouths of three."

LINES = (("quiet", "hiss", -62.0), ("noisy", "pink", -40.0), ("loud", "pink", -32.0))
"Name, kind of noise, dBFS; people and machines speak at -22."

SPEECH_DBFS = -22.0

GREETINGS = ("welcome", "again", "hours", "yourself")
"Of 4 to 10 s."

BEEPS = ((1000.0, 0.4), (440.0, 0.6), (1400.0, 0.2), (850.0, 1.0))
"Hz and s."

PATIENCE_S = 9.0
"How long there is silence after what is said."


@dataclass(frozen=True, slots=True)
class Answer:
    """One call that was answered."""

    name: str
    line: str
    is_right: tuple[str, ...]
    "What is to be found, in this order."
    sound: Sound


@dataclass(frozen=True, slots=True)
class Judged:
    """How it was judged."""

    name: str
    line: str
    calls: int
    right: int
    found: dict[str, int]
    "What was found instead, and how often."
    p50_ms: float
    "From the answer to the first verdict."


def answers(*names: str, every: int = 1) -> Iterator[Answer]:
    """All calls; or those of these names, and of them each so many's."""
    for line, kind, level in LINES:
        wanted = [each for each in _said() if not names or each[0] in names]
        for number, (name, is_right, said) in enumerate(wanted[::every]):
            size = len(said) + round(PATIENCE_S * RATE)
            sound = noise(kind, size / RATE, level, number)[:size]
            sound[: len(said)] += said
            yield Answer(name, line, is_right, sound)


def _said() -> Iterator[tuple[str, tuple[str, ...], Sound]]:
    for factor in VOICES:
        for late_s in (0.3, 1.2):
            before = np.zeros(round(late_s * RATE), np.float32)
            for hello in _hellos(factor):
                yield "hello", ("human",), np.concatenate((before, hello))
            for greeting, (hz, seconds) in zip(GREETINGS, BEEPS, strict=True):
                words = _voice(greeting, factor)
                gap = np.zeros(RATE // 2, np.float32)
                beep = sine(hz, seconds, RATE, -16.0).astype(np.float32)
                said = np.concatenate((before, words, gap, beep))
                yield "machine with a beep", ("machine", "beep"), said
                yield "machine without", ("machine", "unknown"), np.concatenate((before, words))
            yield "business hello", ("human",), np.concatenate((before, _voice("goodbye", factor)))
            yield (
                "person who talks on",
                ("human",),
                np.concatenate((before, _voice("hours", factor))),
            )
            short = np.concatenate(
                (before, _voice("goodbye", factor), np.zeros(RATE // 2, np.float32))
            )
            beep = sine(1000.0, 0.5, RATE, -16.0).astype(np.float32)
            yield "short greeting, beep", ("beep",), np.concatenate((short, beep))
    for hz, on_s, off_s in ((1100.0, 0.5, 3.0), (2100.0, 3.0, 1.0)):
        tone = sine(hz, on_s, RATE, -18.0).astype(np.float32)
        rest = np.zeros(round(off_s * RATE), np.float32)
        for late_s in (0.2, 1.0, 1.8):
            before = np.zeros(round(late_s * RATE), np.float32)
            yield "fax", ("fax",), np.concatenate((before, tone, rest, tone))
    for seconds in (0.1, 1.0):
        yield "silence", ("unknown",), np.zeros(round(seconds * RATE), np.float32)


@cache
def _voice(name: str, factor: float) -> Sound:
    pcm = prompt("gateway.agents", f"receptionist/{name}.wav").astype(np.float32)
    at = np.arange(0, len(pcm) - 1, factor)
    return at_level(np.interp(at, np.arange(len(pcm)), pcm), SPEECH_DBFS)


def _hellos(factor: float) -> Iterator[Sound]:
    """First words: "Hello", "I did not get that", "Say something", "Is there anything else?"."""
    for name, seconds in (("welcome", 0.55), ("again", 1.2), ("yourself", 0.8)):
        yield _voice(name, factor)[: round(seconds * RATE / factor)]
    yield _voice("anything-else", factor)[: round(1.35 * RATE / factor)]


def judge(answer: Answer) -> list[Verdict]:
    """What the detector finds in one call."""
    detector = AnsweringDetector()
    pcm = np.clip(np.rint(answer.sound), -32768, 32767).astype(np.int16)
    heard = MU_LAW.decode(MU_LAW.encode(pcm))
    found = (detector.push(heard[at : at + FRAME]) for at in range(0, len(heard) - FRAME, FRAME))
    return [verdict for verdict in found if verdict is not None]


def all_judged() -> list[Judged]:
    """By kind and line."""
    kinds: dict[tuple[str, str], list[tuple[tuple[str, ...], list[Verdict]]]] = {}
    for answer in answers():
        verdicts = judge(answer)
        kinds.setdefault((answer.name, answer.line), []).append((answer.is_right, verdicts))
    judged = []
    for (name, line), calls in kinds.items():
        wrong: dict[str, int] = {}
        for is_right, verdicts in calls:
            found = tuple(verdict.kind for verdict in verdicts)
            if found not in (is_right, ("machine", *is_right)):
                wrong[" ".join(found)] = wrong.get(" ".join(found), 0) + 1
        first = [verdicts[0].after_ms for _, verdicts in calls if verdicts]
        right = len(calls) - sum(wrong.values())
        p50 = round(float(np.median(first))) if first else 0
        judged.append(Judged(name, line, len(calls), right, wrong, p50))
    return judged


def report() -> list[dict[str, object]]:
    """All figures, as JSON has them."""
    return [asdict(each) for each in all_judged()]
