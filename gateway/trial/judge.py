"""What a call was like, in figures, and whether that is what its script expects. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.trial.ear import GAP_S, Span
from gateway.trial.script import WHOLE, Expectations

QUIET_BEFORE_END_MS = 40.0
"Where the agent's queue is not known: speech that goes on to within this of the end was cut off."

MAX_UNSAID_MS = 40.0
"What may be left in the agent's queue at the end: what was on its way."


@dataclass(slots=True)
class Told:
    """What happened in a call, in loop seconds; filled in while it goes on."""

    called_at: float
    answered_at: float | None = None
    ended_at: float = 0.0
    ended_by: str = ""
    "agent or caller; empty: neither, the call broke."
    failure: str = ""
    "What the caller waited for in vain, or why there was no call; empty: nothing went wrong."
    agent: list[Span] = field(default_factory=list)
    "When the agent spoke."
    says: list[Span] = field(default_factory=list)
    "What the caller said, and let the agent answer."
    interrupts: list[Span] = field(default_factory=list)
    "What the caller said over the agent."
    sounds: list[Span] = field(default_factory=list)
    "Tones and beeps."
    digits: str = ""
    "The keys that the agent was told of."
    digits_back: str = ""
    "The keys that the agent pressed."
    goodbye_share: float | None = None
    "How much of the known last words was heard; None: they are not known."
    last_words_share: float | None = None
    "How much of what the agent said last was heard; None: not known, or others spoke after it."
    unsaid_ms: float | None = None
    "What the agent had said to the gateway, and nobody heard, as it left; None: not known."
    lost_packets: int = 0
    "By the line, both ways."


@dataclass(frozen=True, slots=True)
class Measures:
    """The figures of a call; None: there was nothing to measure."""

    answer_ms: float | None = None
    first_audio_ms: float | None = None
    response_ms: tuple[float, ...] = ()
    "Of each thing said that was answered."
    unanswered: int = 0
    "Things said after which the agent never spoke."
    barge_in_ms: tuple[float, ...] = ()
    max_silence_s: float | None = None
    quiet_before_end_ms: float | None = None
    agent_spoke_s: float = 0.0
    duration_s: float = 0.0
    "From the answer."


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is expected."""

    name: str
    is_passed: bool
    measured: str
    wanted: str


def measure(told: Told) -> Measures:
    """The figures of what happened."""
    if told.answered_at is None:
        return Measures()
    answered, agent = told.answered_at, told.agent
    responses = [_response_ms(agent, said) for said in told.says]
    ended = max(told.ended_at, answered)
    last = agent[-1].ended_at if agent else None
    return Measures(
        answer_ms=1000 * (answered - told.called_at),
        first_audio_ms=1000 * (agent[0].started_at - answered) if agent else None,
        response_ms=tuple(each for each in responses if each is not None),
        unanswered=responses.count(None),
        barge_in_ms=tuple(_barge_in_ms(agent, said) for said in told.interrupts),
        max_silence_s=_longest_silence_s(told, answered, ended),
        quiet_before_end_ms=None if last is None else max(0.0, 1000 * (ended - last)),
        agent_spoke_s=sum(span.seconds for span in agent),
        duration_s=ended - answered,
    )


def judge(expect: Expectations, told: Told, found: Measures) -> tuple[Check, ...]:
    """What is expected, each with whether it is so."""
    checks = [Check("call", not told.failure, told.failure or "as scripted", "as scripted")]
    for name, limit, value in (
        ("answer", expect.answer_ms, found.answer_ms),
        ("first audio", expect.first_audio_ms, found.first_audio_ms),
        ("response", expect.response_ms, _worst_response(told, found)),
        ("barge-in", expect.barge_in_ms, max(found.barge_in_ms, default=None)),
    ):
        if limit is not None:
            shown = "none" if value is None else f"{value:.0f} ms"
            passed = value is not None and value <= limit
            checks.append(Check(name, passed, shown, f"at most {limit:.0f} ms"))
    if expect.max_silence_s is not None:
        silence = found.max_silence_s
        checks.append(
            Check(
                "silence",
                silence is not None and silence <= expect.max_silence_s,
                "no call" if silence is None else f"{silence:.1f} s",
                f"at most {expect.max_silence_s:.1f} s",
            )
        )
    for name, wanted, got in (
        ("digits", expect.digits, told.digits),
        ("digits back", expect.digits_back, told.digits_back),
        ("ended by", expect.ended_by, told.ended_by),
    ):
        if wanted is not None:
            checks.append(Check(name, got == wanted, got or "none", wanted or "none"))
    if expect.goodbye is not None:
        checks.append(_goodbye(expect.goodbye, told, found))
    return tuple(checks)


def _worst_response(told: Told, found: Measures) -> float | None:
    """None where something said was never answered: no limit is kept then."""
    return None if found.unanswered or not told.says else max(found.response_ms)


def _response_ms(agent: Sequence[Span], said: Span) -> float | None:
    """From the end of what was said to the agent's next sound."""
    after = [span.started_at for span in agent if span.started_at >= said.ended_at]
    if after:
        return 1000 * (after[0] - said.ended_at)
    # It began before the caller had ended, and goes on.
    overlaps = any(span.started_at > said.started_at for span in agent)
    return 0.0 if overlaps else None


def _barge_in_ms(agent: Sequence[Span], said: Span) -> float:
    """How long the agent went on speaking after it was interrupted."""
    ends = [
        span.ended_at
        for span in agent
        if span.started_at <= said.started_at <= span.ended_at + GAP_S
    ]
    return max(0.0, 1000 * (max(ends) - said.started_at)) if ends else 0.0


def _longest_silence_s(told: Told, answered: float, ended: float) -> float:
    spans = [*told.agent, *told.says, *told.interrupts, *told.sounds]
    longest, at = 0.0, answered
    for span in sorted(spans, key=lambda each: each.started_at):
        longest = max(longest, span.started_at - at)
        at = max(at, span.ended_at)
    return max(longest, ended - at)


def _goodbye(wanted: str, told: Told, found: Measures) -> Check:
    if wanted != WHOLE:
        share = told.goodbye_share or 0.0
        shown = f"{100 * share:.0f} % of its end heard"
        return Check("goodbye", share >= 1.0, shown, f"{wanted}, whole")
    if found.quiet_before_end_ms is None:
        return Check("goodbye", False, "nothing was said", "whole")
    if told.ended_by == "caller":
        # Who leaves while the other speaks has cut nothing off of its own.
        return Check("goodbye", True, "the caller left", "whole")
    missing = _missing(told, found.quiet_before_end_ms)
    return Check("goodbye", not missing, f"cut off: {missing}" if missing else "whole", "whole")


def _missing(told: Told, quiet_ms: float) -> str:
    """What is not there of the agent's last words; empty: they are whole."""
    share, unsaid_ms = told.last_words_share, told.unsaid_ms
    if unsaid_ms is None:
        return "" if quiet_ms >= QUIET_BEFORE_END_MS else "it spoke to the very end"
    if unsaid_ms > MAX_UNSAID_MS:
        return f"{unsaid_ms:.0f} ms were not heard"
    return "" if share is None or share >= 1.0 else f"{100 * share:.0f} % of its end heard"
