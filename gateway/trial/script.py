"""A scripted caller, as its file describes it: what it does, over what line, and what it expects.

    about = "Asks for the hours, interrupts the answer, and leaves."
    [line]
    codec = "PCMU"
    loss = 0.02                         # of the packets, each way
    [[step]]
    wait_for_speech = 5                 # the greeting, within 5 s
    [[step]]
    say = "question.wav"                # beside this file
    [[step]]
    interrupt = "stop.wav"              # spoken over the agent …
    after_s = 1.5                       # … when it has spoken for so long
    [[step]]
    hang_up = true
    [expect]
    first_audio_ms = 1500
    barge_in_ms = 500

One step is one verb: wait, wait_for_speech, wait_for_silence, say, interrupt, tone, beep, digits,
wait_for_end, hang_up.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.errors import ConfigError
from gateway.media.branch import Pcm
from gateway.media.file import read_wav
from gateway.media.resample import resample
from gateway.rtp.dial_string import parse_dial_string

RATE = 16_000
"Hz at which the caller speaks and hears; the line's codec takes away what it cannot carry."

MAX_STEPS = 1000
"More is a machine's idea of a script."

MAX_DURATION_S = 3600.0
"Longest call: what was heard in it is kept, 115 MB."

CODECS = ("PCMU", "PCMA", "G722", "opus")
SOUNDS = ("say", "interrupt")
"Verbs whose value is a WAV file."

WHOLE = "whole"
"`goodbye` that asks for all that the agent said, instead of for words that are known."


@dataclass(frozen=True, slots=True)
class Line:
    """What is between the caller and the gateway. Impairments are the same each way."""

    codec: str = "PCMU"
    loss: float = 0.0
    "Share of the packets that is lost: 0 to 0.5."
    burst: float = 1.0
    "How many are lost in a row, on average."
    jitter_ms: float = 0.0
    "Each packet is late by 0 to this."
    reorder: float = 0.0
    "Share of the packets that the next one overtakes."
    echo_db: float | None = None
    "How much louder the agent comes back from the caller's phone than it was: -20; None: no echo."
    echo_delay_ms: float = 60.0
    noise_dbfs: float | None = None
    "How loud it is where the caller is: -50; None: silent."
    seed: int = 1
    "The same one, the same losses and noise."


@dataclass(frozen=True, slots=True)
class CallerStep:
    """One thing the caller does."""

    verb: str
    value: Any
    sound: Pcm | None = None
    "What `say` and `interrupt` speak, at `RATE`."
    after_s: float = 1.0
    "For interrupt: how long the agent has spoken by then."
    quiet_s: float = 0.5
    "For wait_for_silence: how long nothing is heard."
    for_s: float = 1.0
    "For tone."
    timeout_s: float = 15.0
    "For interrupt: how long the agent may take to speak."


@dataclass(frozen=True, slots=True)
class Expectations:
    """What must be true of the call; None: it does not matter."""

    answer_ms: float | None = None
    "From the INVITE to the answer, at most."
    first_audio_ms: float | None = None
    "From the answer to the agent's first sound, at most."
    response_ms: float | None = None
    "From the end of what the caller says to the agent's next sound, at most, each time."
    barge_in_ms: float | None = None
    "From the moment the caller interrupts to the agent's last sound, at most, each time."
    max_silence_s: float | None = None
    "The longest that nobody speaks."
    digits: str | None = None
    "The keys that the agent is told of."
    digits_back: str | None = None
    "The keys that the agent presses."
    goodbye: str | None = None
    "whole: all that the agent said was heard; or a WAV file whose last words are, to their end."
    ended_by: str | None = None
    "agent or caller."


@dataclass(frozen=True, slots=True)
class CallerScript:
    """A checked script with what it speaks."""

    name: str
    steps: tuple[CallerStep, ...]
    about: str = ""
    line: Line = field(default_factory=Line)
    expect: Expectations = field(default_factory=Expectations)
    goodbye: Pcm | None = None
    "The words that `expect.goodbye` names, at `RATE`."
    max_duration_s: float = 120.0
    "A call that lasts longer has failed, and is ended."


def load_caller(path: Path) -> CallerScript:
    """Read a script and the WAV files beside it.

    Raises:
        ConfigError: naming file, step, key, value and remedy.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); name an existing file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}; mend that line") from None
    return parse_caller(document, path)


def parse_caller(document: Mapping[str, Any], path: Path) -> CallerScript:
    """Check a script that is already TOML.

    Raises:
        ConfigError: as `load_caller`.
    """
    _known(document, ("about", "max_duration_s", "line", "step", "expect"), f"{path}", "key")
    rows = document.get("step")
    if not isinstance(rows, list) or not 0 < len(rows) <= MAX_STEPS:
        raise ConfigError(f"{path}: wants 1 to {MAX_STEPS} [[step]] sections; write one")
    steps = tuple(_step(row, f"{path}: step {n}", path) for n, row in enumerate(rows, 1))
    line = Line(**_section(document, "line", _LINE, path))
    expect = Expectations(**_section(document, "expect", _EXPECT, path))
    goodbye = None
    if expect.goodbye not in (None, WHOLE):
        goodbye = _sound(expect.goodbye, f"{path}: [expect]: goodbye", path)
    head = {key: document[key] for key in ("about", "max_duration_s") if key in document}
    _check(head, _HEAD, f"{path}")
    return CallerScript(
        name=path.stem, steps=steps, line=line, expect=expect, goodbye=goodbye, **head
    )


def _section(
    document: Mapping[str, Any], name: str, wants: _Wants, path: Path
) -> Mapping[str, Any]:
    section = document.get(name, {})
    where = f"{path}: [{name}]"
    if not isinstance(section, dict):
        raise ConfigError(f"{where} = {section!r}: write it as a section")
    _check(section, wants, where)
    return section


def _step(row: Any, where: str, path: Path) -> CallerStep:
    if not isinstance(row, dict):
        raise ConfigError(f"{where}: is not a table; write it as [[step]]")
    _known(row, (*_VERBS, *_MODIFIERS), where, "verb")
    verbs = [key for key in row if key in _VERBS]
    if len(verbs) != 1:
        raise ConfigError(f"{where}: wants exactly one verb of {', '.join(_VERBS)}; has {verbs}")
    (verb,) = verbs
    modifiers = {key: value for key, value in row.items() if key != verb}
    for key in modifiers:
        if verb not in _FITS[key]:
            raise ConfigError(f"{where}: {key} goes with {' or '.join(_FITS[key])}, not {verb}")
    _check(row, {**_VERBS, **_MODIFIERS}, where)
    sound = _sound(row[verb], f"{where}: {verb}", path) if verb in SOUNDS else None
    return CallerStep(verb, row[verb], sound, **modifiers)


def _sound(name: str, where: str, path: Path) -> Pcm:
    """A WAV file beside the script, at `RATE`."""
    try:
        pcm, rate = read_wav(path.parent / name)
    except ConfigError as error:
        raise ConfigError(f"{where} = {name!r}: {error}") from None
    return pcm if rate == RATE else resample(pcm, rate, RATE)


def _known(row: Mapping[str, Any], known: Iterable[str], where: str, what: str) -> None:
    names = list(known)
    for key in row:
        if key not in names:
            close = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
            near = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}"
            raise ConfigError(f"{where}: {key} is no {what}; {near}")


def _check(row: Mapping[str, Any], wants: _Wants, where: str) -> None:
    _known(row, wants, where, "key")
    for key, value in row.items():
        is_right, wanted = wants[key]
        if not is_right(value):
            raise ConfigError(f"{where}: {key} = {value!r}: write {wanted}")


_Wants = Mapping[str, tuple[Callable[[Any], bool], str]]


def _is_number(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high


def _between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: _is_number(value, low, high)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_keys(value: Any) -> bool:
    return isinstance(value, str) and not set(value) - set("0123456789*#ABCD")


def _is_dial_string(value: Any) -> bool:
    if not _is_text(value):
        return False
    try:
        parse_dial_string(value)
    except ValueError:
        return False
    return True


def _one_of(*values: Any) -> tuple[Callable[[Any], bool], str]:
    # By identity of type too: 1 is no `true`.
    return lambda value: value in values and type(value) is type(values[0]), " or ".join(
        "true" if each is True else f'"{each}"' for each in values
    )


_SECONDS = (_between(0, MAX_DURATION_S), f"seconds, 0 to {MAX_DURATION_S:.0f}")
_LIMIT_MS = (_between(0, 1000 * MAX_DURATION_S), "milliseconds")
_SHARE = (_between(0, 0.5), "a share, 0 to 0.5")
_FILE = (_is_text, "the name of a WAV file beside the script")

_HEAD: _Wants = {
    "about": (lambda value: isinstance(value, str), "text, in quotes"),
    "max_duration_s": (_between(1, MAX_DURATION_S), f"seconds, 1 to {MAX_DURATION_S:.0f}"),
}

_LINE: _Wants = {
    "codec": _one_of(*CODECS),
    "loss": _SHARE,
    "burst": (_between(1, 100), "packets, 1 to 100"),
    "jitter_ms": (_between(0, 1000), "milliseconds, 0 to 1000"),
    "reorder": _SHARE,
    "echo_db": (_between(-90, 0), "decibels, -90 to 0"),
    "echo_delay_ms": (_between(20, 2000), "milliseconds, 20 to 2000"),
    "noise_dbfs": (_between(-90, -10), "a level, -90 to -10"),
    "seed": (lambda value: type(value) is int, "a whole number"),
}

_EXPECT: _Wants = {
    "answer_ms": _LIMIT_MS,
    "first_audio_ms": _LIMIT_MS,
    "response_ms": _LIMIT_MS,
    "barge_in_ms": _LIMIT_MS,
    "max_silence_s": _SECONDS,
    "digits": (_is_keys, "keys of 0-9 * # A-D, in quotes"),
    "digits_back": (_is_keys, "keys of 0-9 * # A-D, in quotes"),
    "goodbye": (_is_text, f'"{WHOLE}", or the name of a WAV file beside the script'),
    "ended_by": _one_of("agent", "caller"),
}

_VERBS: _Wants = {
    "wait": _SECONDS,
    "wait_for_speech": _SECONDS,
    "wait_for_silence": _SECONDS,
    "say": _FILE,
    "interrupt": _FILE,
    "tone": (_between(20, RATE / 2 - 1), f"a frequency in Hz, 20 to {RATE // 2 - 1}"),
    "beep": (_between(0.05, 10), "seconds, 0.05 to 10"),
    "digits": (_is_dial_string, "keys 0-9 * # A-D, and w p , ; to wait 0.5, 1, 2 and 2 s"),
    "wait_for_end": _SECONDS,
    "hang_up": _one_of(True),
}

_MODIFIERS: _Wants = {
    "after_s": _SECONDS,
    "quiet_s": (_between(0.1, 60), "seconds, 0.1 to 60"),
    "for_s": (_between(0.05, 60), "seconds, 0.05 to 60"),
    "timeout_s": _SECONDS,
}

_FITS: Mapping[str, tuple[str, ...]] = {
    "after_s": ("interrupt",),
    "quiet_s": ("wait_for_silence",),
    "for_s": ("tone",),
    "timeout_s": ("interrupt",),
}
"Which verbs a modifier says something to."
