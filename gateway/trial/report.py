"""What came of trials: as a table for people, as JSON for programs, as JUnit for CI. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any
from xml.etree import ElementTree

from gateway.trial.judge import Check, Measures, Told

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd]")
"Characters that XML 1.0 cannot hold, of a far end's own words."


@dataclass(frozen=True, slots=True)
class Trial:
    """One call of one script, with what was found."""

    script: str
    number: int
    "1 is the first of `--repeat`."
    agent: str
    told: Told
    measures: Measures
    checks: tuple[Check, ...]
    recording: str = ""
    "The file of what was heard and said, where one is kept."

    @property
    def is_passed(self) -> bool:
        """Whether everything is as expected."""
        return all(check.is_passed for check in self.checks)


def render_table(trials: Sequence[Trial]) -> str:
    """For people: each check in a line, then the figures of scripts that were repeated."""
    lines: list[str] = []
    for trial in trials:
        fate = "passed" if trial.is_passed else "FAILED"
        turn = f" #{trial.number}" if trial.number > 1 else ""
        seconds = f"{trial.measures.duration_s:.1f} s"
        lines.append(f"{trial.script}{turn}: {fate} ({seconds}, agent {trial.agent})")
        width = max(len(check.name) for check in trial.checks)
        for check in trial.checks:
            mark = "ok  " if check.is_passed else "FAIL"
            wanted = "" if check.name == "call" else f"   ({check.wanted})"
            lines.append(f"  {mark}  {check.name:<{width}}  {check.measured}{wanted}")
        lines += [f"        {name:<{width}}  {value}" for name, value in _others(trial)]
    lines += _repeated(trials)
    passed = sum(trial.is_passed for trial in trials)
    lines.append(f"{passed} of {len(trials)} passed")
    return "\n".join(lines)


def to_json(trials: Sequence[Trial]) -> dict[str, Any]:
    """For programs."""
    return {
        "passed": bool(trials) and all(trial.is_passed for trial in trials),
        "trials": [_to_json(trial) for trial in trials],
    }


def to_junit(trials: Sequence[Trial]) -> str:
    """For CI: a test suite, with a test case for each call."""
    failed = sum(not trial.is_passed for trial in trials)
    suite = ElementTree.Element(
        "testsuite",
        name="gateway call",
        tests=str(len(trials)),
        failures=str(failed),
        errors="0",
        skipped="0",
        time=f"{sum(trial.measures.duration_s for trial in trials):.3f}",
    )
    for trial in trials:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=_xml(f"agent.{trial.agent}"),
            name=_xml(f"{trial.script} #{trial.number}"),
            time=f"{trial.measures.duration_s:.3f}",
        )
        wrong = [check for check in trial.checks if not check.is_passed]
        if wrong:
            words = [f"{c.name}: {c.measured} (wanted: {c.wanted})" for c in wrong]
            message = _xml("; ".join(words))
            failure = ElementTree.SubElement(case, "failure", type="expectation", message=message)
            failure.text = _xml("\n".join(words))
        out = ElementTree.SubElement(case, "system-out")
        out.text = _xml("\n".join(f"{c.name}: {c.measured}" for c in trial.checks))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _to_json(trial: Trial) -> dict[str, Any]:
    found = trial.measures
    return {
        "script": trial.script,
        "number": trial.number,
        "agent": trial.agent,
        "passed": trial.is_passed,
        "checks": [
            {
                "name": check.name,
                "passed": check.is_passed,
                "measured": check.measured,
                "wanted": check.wanted,
            }
            for check in trial.checks
        ],
        "measures": {
            "answer_ms": _rounded(found.answer_ms),
            "first_audio_ms": _rounded(found.first_audio_ms),
            "response_ms": [_rounded(each) for each in found.response_ms],
            "unanswered": found.unanswered,
            "barge_in_ms": [_rounded(each) for each in found.barge_in_ms],
            "max_silence_s": _rounded(found.max_silence_s, 3),
            "quiet_before_end_ms": _rounded(found.quiet_before_end_ms),
            "agent_spoke_s": _rounded(found.agent_spoke_s, 3),
            "duration_s": _rounded(found.duration_s, 3),
        },
        "digits": trial.told.digits,
        "digits_back": trial.told.digits_back,
        "ended_by": trial.told.ended_by,
        "lost_packets": trial.told.lost_packets,
        "recording": trial.recording,
    }


def _others(trial: Trial) -> list[tuple[str, str]]:
    """Figures that nothing is expected of."""
    found, named = trial.measures, {check.name for check in trial.checks}
    rows = [
        ("first audio", _ms(found.first_audio_ms)),
        ("response", ", ".join(_ms(each) for each in found.response_ms)),
        ("barge-in", ", ".join(_ms(each) for each in found.barge_in_ms)),
        ("recording", trial.recording),
    ]
    return [(name, value) for name, value in rows if value and name not in named]


def _repeated(trials: Sequence[Trial]) -> list[str]:
    """The spread of the figures of each script that was called several times."""
    lines = []
    for script in dict.fromkeys(trial.script for trial in trials):
        found = [trial.measures for trial in trials if trial.script == script]
        if len(found) < 2:
            continue
        for name, values in (
            ("first audio", [m.first_audio_ms for m in found if m.first_audio_ms is not None]),
            ("response", [each for m in found for each in m.response_ms]),
            ("barge-in", [each for m in found for each in m.barge_in_ms]),
        ):
            if values:
                spread = f"median {median(values):.0f}, {min(values):.0f} to {max(values):.0f} ms"
                lines.append(f"{script}: {name} of {len(values)}: {spread}")
    return lines


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} ms"


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)


def _xml(text: str) -> str:
    return _NOT_XML.sub("?", text)
