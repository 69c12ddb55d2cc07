"""Scripted agents: a short list of steps in TOML, done in order.

    [[step]]
    label = "menu"                      # any step may be named
    say = "welcome.wav"                 # interrupted by speech or a key, unless interrupt = false
    [[step]]
    menu = { 1 = "hours", 0 = "bye" }   # waits for a key and goes to that label
    timeout_s = 8
    otherwise = "menu"                  # on another key, or none in time
    [[step]]
    label = "bye"
    say = "goodbye.wav"
    interrupt = false
    [[step]]
    hang_up = true                      # once everything said has been played

One step is one verb: ring, progress, answer, say, tone, wait, listen, menu, echo, echo_digits,
send_digits, hold, refer, stop_media, goto, hang_up. The receptionist and the lab carrier's test
numbers are written in it.
"""

from __future__ import annotations

import asyncio
import math
import tomllib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.agents.agent import AgentCall
from gateway.agents.echo import say_back
from gateway.errors import ConfigError
from gateway.media.file import read_wav
from gateway.media.tone import sine
from gateway.media.vad import EnergyDetector, SpeechStarted
from gateway.rtp.dial_string import parse_dial_string

MAX_STEPS_DONE = 10_000
"Steps one call may do: a script that goes in circles without waiting ends here."

MAX_TONE_S = 60
"A longer tone is a script that repeats one."

TONE_RATE = 8000
TONE_LEVEL_DBFS = -12.0
KEYS = "0123456789*#ABCD"


@dataclass(frozen=True, slots=True)
class Clip:
    """Recorded speech: mono int16 PCM."""

    pcm: NDArray[np.int16]
    rate: int


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do."""

    verb: str
    value: Any
    label: str | None = None
    timeout_s: float = 8.0
    otherwise: str | None = None
    interrupt: bool = True
    times: int = 0
    "For goto: how often it is taken; 0 is always."
    for_s: float = 1.0
    "For tone: how long it sounds."


@dataclass(frozen=True, slots=True)
class Script:
    """Checked steps with the clips they speak."""

    steps: tuple[Step, ...]
    labels: Mapping[str, int]
    clips: Mapping[str, Clip]


def load_script(path: Path) -> Script:
    """Read a script and the clips beside it.

    Raises:
        ConfigError: naming file, step, value and remedy.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); name an existing file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from None
    return parse_script(document, path)


def parse_script(document: Mapping[str, Any], path: Path) -> Script:
    """Check a script that is already TOML; clips are looked for beside `path`."""
    rows = document.get("step")
    unknown = set(document) - {"step"}
    if unknown or not isinstance(rows, list) or not rows:
        raise ConfigError(f"{path}: wants a list of [[step]] and nothing else, has {[*document]}")
    steps = tuple(_parse_step(row, f"{path}: step {n}") for n, row in enumerate(rows, 1))
    labels: dict[str, int] = {}
    for number, step in enumerate(steps, 1):
        if step.label in labels:
            raise ConfigError(
                f"{path}: step {number}: label = {step.label!r} is taken by step"
                f" {labels[step.label] + 1}; name it otherwise"
            )
        if step.label is not None:
            labels[step.label] = number - 1
    for number, step in enumerate(steps, 1):
        for label in _targets(step):
            if label not in labels:
                raise ConfigError(
                    f"{path}: step {number}: no step is labelled {label!r};"
                    f" there are {sorted(labels)}"
                )
    clips: dict[str, Clip] = {}
    for number, step in enumerate(steps, 1):
        if step.verb == "say" and step.value not in clips:
            try:
                clips[step.value] = Clip(*read_wav(path.parent / step.value))
            except ConfigError as error:
                raise ConfigError(f"{path}: step {number}: say = {step.value!r}: {error}") from None
    return Script(steps, labels, clips)


class ScriptedAgent:
    """Does the steps of a script, one call at a time; calls share only the script."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def on_call(self, call: AgentCall) -> None:
        await _Run(self._script, call).run()


class _Run:
    """One call's way through a script."""

    def __init__(self, script: Script, call: AgentCall) -> None:
        self._script = script
        self._call = call
        self._taken: dict[int, int] = {}

    async def run(self) -> None:
        position = 0
        steps = self._script.steps
        for _ in range(MAX_STEPS_DONE):
            if position >= len(steps):
                return
            step = steps[position]
            label = await _DO[step.verb](self, step)
            if step.verb == "goto" and label is not None and step.times:
                taken = self._taken.get(position, 0)
                self._taken[position] = taken + 1
                label = label if taken < step.times else None
            position = position + 1 if label is None else self._script.labels[label]

    async def ring(self, step: Step) -> str | None:
        await self._call.ring()
        await _sleep(step.value)
        return None

    async def progress(self, step: Step) -> str | None:
        await self._call.progress()
        return None

    async def answer(self, step: Step) -> str | None:
        await self._call.answer()
        return None

    async def say(self, step: Step) -> str | None:
        clip = self._script.clips[step.value]
        await self._call.say(clip.pcm, clip.rate)
        await self._played(step.interrupt)
        return None

    async def tone(self, step: Step) -> str | None:
        tone = sine(step.value, step.for_s, TONE_RATE, TONE_LEVEL_DBFS)
        await self._call.say(tone, TONE_RATE)
        await self._played(interrupt=False)
        return None

    async def wait(self, step: Step) -> str | None:
        await _sleep(step.value)
        return None

    async def listen(self, step: Step) -> str | None:
        """Wait for speech, `value` seconds at most; `otherwise` when there was none."""
        heard = await _first(self._speech(), timeout_s=step.value)
        return None if heard else step.otherwise

    async def menu(self, step: Step) -> str | None:
        try:
            async with asyncio.timeout(_finite(step.timeout_s)):
                digit = await self._call.digit()
        except TimeoutError:
            return step.otherwise
        label: str | None = step.value.get(digit, step.otherwise)
        return label

    async def echo(self, step: Step) -> str | None:
        """Say back what is heard, until the time is over or, unless forbidden, a key is pressed."""
        keys = [self._call.digit_waiting()] if step.interrupt else []
        await _first(say_back(self._call), *keys, timeout_s=step.value)
        self._call.clear()
        return None

    async def echo_digits(self, step: Step) -> str | None:
        await _first(self._echo_digits(), timeout_s=step.value)
        return None

    async def send_digits(self, step: Step) -> str | None:
        await self._call.send_digits(step.value)
        return None

    async def hold(self, step: Step) -> str | None:
        """Hold whom it talks with, `value` seconds."""
        await self._call.hold()
        await _sleep(step.value)
        await self._call.hold(on=False)
        return None

    async def refer(self, step: Step) -> str | None:
        """Bring whom it talks with to a number; the script goes on only where that failed."""
        await self._call.refer(step.value)
        return step.otherwise

    async def stop_media(self, step: Step) -> str | None:
        await self._call.stop_media()
        return None

    async def goto(self, step: Step) -> str | None:
        label: str = step.value
        return label

    async def hang_up(self, step: Step) -> str | None:
        await self._call.hang_up()
        return None

    async def _played(self, interrupt: bool) -> None:
        if not interrupt:
            await self._call.played()
            return
        await _first(self._call.played(), self._speech(), self._call.digit_waiting())
        self._call.clear()

    async def _speech(self) -> None:
        detector = EnergyDetector()
        async with aclosing(self._call.hear()) as frames:
            async for frame in frames:
                event = detector.push(frame.pcm(8000), frame.duration / 48.0)
                if isinstance(event, SpeechStarted):
                    return

    async def _echo_digits(self) -> None:
        while True:
            await self._call.send_digits(await self._call.digit())


_DO: dict[str, Callable[[_Run, Step], Awaitable[str | None]]] = {
    "ring": _Run.ring,
    "progress": _Run.progress,
    "answer": _Run.answer,
    "say": _Run.say,
    "tone": _Run.tone,
    "wait": _Run.wait,
    "listen": _Run.listen,
    "menu": _Run.menu,
    "echo": _Run.echo,
    "echo_digits": _Run.echo_digits,
    "send_digits": _Run.send_digits,
    "hold": _Run.hold,
    "refer": _Run.refer,
    "stop_media": _Run.stop_media,
    "goto": _Run.goto,
    "hang_up": _Run.hang_up,
}


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_menu(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(len(key) == 1 and key in KEYS and _is_name(value[key]) for key in value)
    )


def _is_digits(value: Any) -> bool:
    if not isinstance(value, str) or not value:
        return False
    try:
        parse_dial_string(value)
    except ValueError:
        return False
    return True


def _is_true(value: Any) -> bool:
    return value is True


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


_WANTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "ring": (_is_seconds, "seconds (inf for ever)"),
    "progress": (_is_true, "true"),
    "answer": (_is_true, "true"),
    "say": (_is_name, "the name of a WAV file beside the script"),
    "tone": (lambda v: _is_seconds(v) and 20 <= v <= 3900, "a frequency in Hz, 20 to 3900"),
    "wait": (_is_seconds, "seconds (inf for ever)"),
    "listen": (_is_seconds, "seconds to wait for speech"),
    "menu": (_is_menu, 'a table of keys and labels: { 1 = "hours" }'),
    "echo": (_is_seconds, "seconds (inf for ever)"),
    "echo_digits": (_is_seconds, "seconds (inf for ever)"),
    "send_digits": (_is_digits, "keys 0-9 * # A-D, and w p , ; to wait 0.5, 1, 2 and 2 s"),
    "hold": (_is_seconds, "seconds (inf for ever)"),
    "refer": (_is_name, "a number or name"),
    "stop_media": (_is_true, "true"),
    "goto": (_is_name, "a label"),
    "hang_up": (_is_true, "true"),
}

_MODIFIERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "label": (_is_name, "a name"),
    "timeout_s": (_is_seconds, "seconds"),
    "otherwise": (_is_name, "a label"),
    "interrupt": (lambda v: isinstance(v, bool), "true or false"),
    "times": (lambda v: type(v) is int and v > 0, "a number above 0"),
    "for_s": (lambda v: _is_seconds(v) and v <= MAX_TONE_S, f"seconds, {MAX_TONE_S} at most"),
}

_FITS = {
    "timeout_s": ("menu",),
    "otherwise": ("menu", "listen", "refer"),
    "interrupt": ("say", "echo"),
    "times": ("goto",),
    "for_s": ("tone",),
}
"Which verbs a modifier says something to; a label fits them all."


def _parse_step(row: Any, where: str) -> Step:
    if not isinstance(row, dict):
        raise ConfigError(f"{where}: is not a table")
    verbs = [key for key in row if key in _DO]
    unknown = [key for key in row if key not in _DO and key not in _MODIFIERS]
    if unknown:
        raise ConfigError(
            f"{where}: does not know {unknown[0]!r}; verbs are {', '.join(_DO)};"
            f" beside them {', '.join(_MODIFIERS)}"
        )
    if len(verbs) != 1:
        raise ConfigError(f"{where}: wants exactly one verb of {', '.join(_DO)}, has {verbs}")
    for key, value in row.items():
        is_right, wanted = (_WANTS | _MODIFIERS)[key]
        if not is_right(value):
            raise ConfigError(f"{where}: {key} = {value!r} is not {wanted}")
    (verb,) = verbs
    modifiers = {key: value for key, value in row.items() if key in _MODIFIERS}
    for key in modifiers:
        if verb not in _FITS.get(key, (verb,)):
            raise ConfigError(
                f"{where}: {key} goes with {' or '.join(_FITS[key])}, not with {verb}"
            )
    return Step(verb, row[verb], **modifiers)


def _targets(step: Step) -> list[str]:
    targets = [step.otherwise] if step.otherwise is not None else []
    if step.verb == "goto":
        targets.append(step.value)
    if step.verb == "menu":
        targets.extend(step.value.values())
    return targets


def _finite(seconds: float) -> float | None:
    """None for ever, as asyncio writes it."""
    return None if math.isinf(seconds) else seconds


async def _sleep(seconds: float) -> None:
    if math.isinf(seconds):
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(seconds)


async def _first(*waits: Awaitable[None], timeout_s: float = math.inf) -> bool:
    """Wait for the first of several; the others are cancelled. False when none came in time."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(
            tasks,
            timeout=_finite(timeout_s),
            return_when=asyncio.FIRST_COMPLETED,
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
    return bool(done)
