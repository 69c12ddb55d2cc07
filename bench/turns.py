"""How soon a caller silences the agent, and what silences it that is no caller.

Virtual time over the gateway's own objects (`bench.phone_line`): the same figures on every machine,
but for those of CPU.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, product
from typing import Any

import numpy as np

from bench.answering import all_judged
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
from gateway.agents.event import Interrupted, SpeechStarted
from gateway.leg.turns import TurnsOptions
from gateway.media import silero
from gateway.media.tone import dtmf, melody, ringback

Row = dict[str, Any]

DETECTORS = ("energy", "model")

ECHOES = tuple(
    EchoPath(loss, delay, kind)
    for loss, delay, kind in product(
        (10.0, 15.0, 20.0, 28.0), (20, 120, 260, 480), ("hybrid", "flat", "room")
    )
)
"Of lines: from a bad hybrid without a canceller to what a canceller leaves."

NOISES = (
    ("hiss", -60.0),
    ("hiss", -50.0),
    ("hiss", -42.0),
    ("pink", -50.0),
    ("pink", -40.0),
    ("hum", -45.0),
    ("crackle", -50.0),
    ("crackle", -42.0),
)
"Kinds and levels (dBFS) of what a line sounds like with nobody on it."

SILENT_AGAIN_S = 1.0
"How long the agent stays silent after it was cut, before it goes on."


@dataclass(frozen=True, slots=True)
class Reaction:
    """Callers who interrupt the agent."""

    detector: str
    line: str
    policy: str
    interruptions: int
    missed: int
    "Not silenced within the 2 s that the caller speaks."
    p50_ms: float
    "From the first packet of the caller's speech that reaches our socket to our last packet."
    p95_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Falsely:
    """The agent speaks, and nobody interrupts it."""

    detector: str
    line: str
    minutes: float
    cuts: int
    cpu_ms_per_call_second: float


@dataclass(frozen=True, slots=True)
class Taken:
    """How often a sound that is nobody's is taken for speech."""

    detector: str
    sound: str
    seconds: float
    starts: int


def reaction(
    detector: str,
    line: str,
    *,
    policy: str = "clear",
    level_dbfs: float = -22.0,
    background: Sound | None = None,
    echo: EchoPath | None = None,
    count: int = 36,
) -> Reaction:
    """Interrupt the agent `count` times: it speaks for 3 s, then somebody does, for 2 s."""
    delays: list[float] = []
    missed = 0
    for number, voice in zip(range(count), cycle(caller_voices()), strict=False):
        begins = 3.0 + 0.0137 * number
        call = Line(TurnsOptions(detector, policy), 6.0, echo=echo, phase_ms=number * 7 % 20)
        caller = np.zeros(6 * RATE, np.float32)
        said = at_level(voice, level_dbfs)[: 2 * RATE]
        first = round(begins * RATE)
        caller[first : first + len(said)] = said
        if background is not None:
            caller += np.roll(background[: len(caller)], number * 991)
        heard_at = _arrival(call, first, number)
        call.mouth.playout.say_pcm(np.tile(agent_words(), 2)[number * 2900 :], RATE)
        for start in range(0, len(caller), FRAME):
            call.step(caller[start : start + FRAME])
        cut = [at for at, event in call.mouth.events if isinstance(event, Interrupted)]
        if not cut or not heard_at <= cut[0] <= heard_at + 2.0:
            missed += 1
        else:
            last = _last_sound(call, cut[0])
            delays.append((last - heard_at) * 1000)
        call.close()
    at = np.percentile(delays, (50, 95, 100)) if delays else (0.0, 0.0, 0.0)
    return Reaction(detector, line, policy, count, missed, *(round(float(p)) for p in at))


def _arrival(call: Line, first: int, number: int) -> float:
    """When the packet reaches us that holds the first sample of speech."""
    return call.now + 0.02 * (first // FRAME + 1) + number * 7 % 20 / 1000


def _last_sound(call: Line, cut: float) -> float:
    """When our last packet went that was not silence: the one in which it fades."""
    sent = call.far.sent
    frames = np.abs(sent[: len(sent) // FRAME * FRAME].reshape(-1, FRAME)).max(axis=1)
    until = round((cut + 0.1 - 1000.0) / 0.02)
    return 1000.0 + 0.02 * (int(np.flatnonzero(frames[:until] > 8)[-1]) + 1)


def false_cuts(
    detector: str,
    line: str,
    *,
    minutes: float = 10.0,
    echoes: tuple[EchoPath, ...] = (),
    noises: tuple[tuple[str, float], ...] = (),
) -> Falsely:
    """Let the agent speak over many lines, one after another, each as long as the others."""
    kinds = [(path, ("hiss", -62.0)) for path in echoes] + [(None, kind) for kind in noises]
    seconds = minutes * 60 / len(kinds)
    cuts = 0
    cpu_s = 0.0
    for number, (path, (kind, level)) in enumerate(kinds):
        call = Line(TurnsOptions(detector, "clear"), seconds, echo=path)
        cuts += sum(_speak_on(call, noise(kind, seconds, level, number)))
        cpu_s += call.mouth.cpu_s
        call.close()
    return Falsely(detector, line, minutes, cuts, round(1000 * cpu_s / (minutes * 60), 2))


def _speak_on(call: Line, background: Sound) -> Iterator[int]:
    """The agent says its words for as long as there is background; tells of each cut."""
    playout, events = call.mouth.playout, call.mouth.events
    silent_until = 0.0
    seen = 0
    for start in range(0, len(background) - FRAME + 1, FRAME):
        if playout.queued_ms < 1000 and call.now >= silent_until:
            playout.say_pcm(agent_words(), RATE)
        call.step(background[start : start + FRAME])
        for _, event in events[seen:]:
            if isinstance(event, Interrupted):
                silent_until = call.now + SILENT_AGAIN_S
                yield 1
        seen = len(events)


def taken(detector: str, sound: str, seconds: float = 60.0) -> Taken:
    """Let the agent hear something that nobody says, and say nothing."""
    heard = _sound_of(sound, seconds)
    call = Line(TurnsOptions(detector, "off"), seconds)
    for start in range(0, len(heard) - FRAME + 1, FRAME):
        call.step(heard[start : start + FRAME])
    starts = sum(isinstance(event, SpeechStarted) for _, event in call.mouth.events)
    call.close()
    return Taken(detector, sound, seconds, starts)


def _sound_of(name: str, seconds: float) -> Sound:
    size = round(seconds * RATE)
    gap = np.zeros(RATE // 2, np.int16)
    if name == "keys":
        made = np.concatenate([np.concatenate([dtmf(k, 0.12, RATE), gap]) for k in "159#0846"])
    elif name == "ringing":
        made = ringback(RATE)
    elif name == "music":
        made = melody(RATE, -20.0)
    else:
        kind, _, level = name.partition(" ")
        return noise(kind, seconds, float(level))
    return np.resize(made, size).astype(np.float32)


def all_reactions(detector: str) -> Iterator[Reaction]:
    """The lines that a caller interrupts over."""
    hiss = noise("hiss", 6.0, -62.0)
    yield reaction(detector, "quiet line", background=hiss)
    yield reaction(detector, "quiet line", policy="pause", background=hiss)
    yield reaction(detector, "soft caller, -34 dBFS", background=hiss, level_dbfs=-34.0)
    for snr in (20, 10, 5):
        loud = noise("pink", 6.0, -22.0 - snr)
        yield reaction(detector, f"noise, SNR {snr} dB", background=loud)
    for loss in (10.0, 20.0):
        path = EchoPath(loss, 260)
        yield reaction(detector, f"echo {loss:.0f} dB down", background=hiss, echo=path)
        yield reaction(
            detector,
            "the same, caller -30 dBFS",
            background=hiss,
            echo=path,
            level_dbfs=-30.0,
        )


def all_false(detector: str, minutes: float = 10.0) -> Iterator[Falsely]:
    """So many minutes of each."""
    yield false_cuts(detector, "quiet", minutes=minutes, noises=(("hiss", -62.0),))
    yield false_cuts(detector, "noise", minutes=minutes, noises=NOISES)
    for kind, name in (("flat", "plain"), ("hybrid", "of a hybrid"), ("room", "of a room")):
        paths = tuple(path for path in ECHOES if path.kind == kind)
        yield false_cuts(detector, f"echo {name}", minutes=minutes, echoes=paths)


def all_taken(detector: str) -> Iterator[Taken]:
    """A minute of each."""
    for sound in ("keys", "ringing", "music", "hiss -45", "pink -35", "crackle -35"):
        yield taken(detector, sound)


def report(detectors: Sequence[str], minutes: float = 10.0) -> dict[str, list[Row]]:
    """All figures, as JSON has them."""
    found: dict[str, list[Row]] = {"reaction": [], "false_cuts": [], "taken": []}
    for detector in detectors:
        found["reaction"] += [asdict(each) for each in all_reactions(detector)]
        found["false_cuts"] += [asdict(each) for each in all_false(detector, minutes)]
        found["taken"] += [asdict(each) for each in all_taken(detector)]
    found["answering"] = [asdict(each) for each in all_judged()]
    return found


def turns(detectors: Sequence[str], minutes: float, *, as_json: bool) -> int:
    """Print them; returns the exit status."""
    if "model" in detectors and not silero.load_model():
        print('bench: no model here; pip install "voice-gateway[vad]"', file=sys.stderr)
        detectors = [name for name in detectors if name != "model"]
    found = report(detectors, minutes)
    if as_json:
        print(json.dumps(found))
        return 0
    for title, rows in found.items():
        print(f"\n{title}\n")
        print(table(rows))
    return 0


def table(rows: Sequence[Row]) -> str:
    """As Markdown has it."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([_shown(row[name]) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} × {name or 'nothing'}" for name, count in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
