"""How many calls keep a core at the wanted load. Pure."""

from __future__ import annotations

from dataclasses import dataclass

MAX_STEP = 2.0
"The next trial has at most this many times the calls: cost per call is not known so far ahead."

SATURATED_PERCENT = 97.0
"A core this busy tells only that the calls are too many, not by how much."

CLOSE_PERCENT = 2.0
"A trial this near to the wanted load is taken."


@dataclass(frozen=True, slots=True)
class Trial:
    """What a number of calls did to the core."""

    calls: int
    core_percent: float


def next_calls(trials: list[Trial], load: float) -> int | None:
    """The number of calls to try next for a core at `load` percent; None when the last one will do.

    The load is taken to be a straight line through the two trials nearest to it (through zero and
    the only one, at first): cost per call falls as the load rises, so proportion alone falls short.
    """
    last = trials[-1]
    if abs(last.core_percent - load) <= CLOSE_PERCENT:
        return None
    if last.core_percent >= SATURATED_PERCENT:
        wanted = last.calls * load / 110.0
    else:
        honest = [trial for trial in trials if trial.core_percent < SATURATED_PERCENT]
        near = sorted(honest, key=lambda trial: abs(trial.core_percent - load))[:2]
        wanted = _on_line(near, load)
    wanted = min(wanted, last.calls * MAX_STEP)
    calls = max(1, round(wanted))
    return None if any(trial.calls == calls for trial in trials) else calls


def best_calls(trials: list[Trial], load: float) -> int:
    """The number of calls that came nearest to `load` percent."""
    return min(trials, key=lambda trial: abs(trial.core_percent - load)).calls


def _on_line(trials: list[Trial], load: float) -> float:
    near = trials[0]
    other = trials[1] if len(trials) > 1 else Trial(0, 0.0)
    if near.calls == other.calls or near.core_percent <= 0.0:
        return near.calls * MAX_STEP
    slope = (near.core_percent - other.core_percent) / (near.calls - other.calls)
    if slope <= 0.0:  # noise: two trials too near to each other
        slope = near.core_percent / near.calls
    return near.calls + (load - near.core_percent) / slope
