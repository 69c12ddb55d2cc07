"""From what happened to figures, and from figures to verdicts and reports."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from gateway.trial.ear import Span
from gateway.trial.judge import Told, judge, measure
from gateway.trial.report import Trial, render_table, to_json, to_junit
from gateway.trial.script import Expectations

CALL = Told(
    called_at=10.0,
    answered_at=10.2,
    ended_at=20.0,
    ended_by="agent",
    agent=[Span(10.9, 13.0), Span(14.8, 17.1), Span(18.0, 19.5)],
    says=[Span(13.5, 14.0)],
    interrupts=[Span(16.9, 17.6)],
    digits="12",
)
"A greeting, a question, an answer that is interrupted, a goodbye."


def checks(told: Told = CALL, **expect: Any) -> dict[str, tuple[bool, str]]:
    found = judge(Expectations(**expect), told, measure(told))
    return {check.name: (check.is_passed, check.measured) for check in found}


def test_figures_of_a_call() -> None:
    found = measure(CALL)

    assert found.answer_ms == pytest.approx(200)
    assert found.first_audio_ms == pytest.approx(700)
    assert found.response_ms == pytest.approx((800,))
    assert found.barge_in_ms == pytest.approx((200,))
    assert found.max_silence_s == pytest.approx(0.8)
    assert found.quiet_before_end_ms == pytest.approx(500)
    assert found.duration_s == pytest.approx(9.8)


def test_call_that_was_never_answered_has_no_figures() -> None:
    told = Told(called_at=10.0, failure="486 Busy Here")

    found = checks(told, first_audio_ms=1000, max_silence_s=3, goodbye="whole")

    assert [passed for passed, _ in found.values()] == [False] * 4
    assert found["call"] == (False, "486 Busy Here")


@pytest.mark.parametrize(
    ("key", "keeps", "breaks", "name"),
    [
        ("answer_ms", 200.1, 199, "answer"),
        ("first_audio_ms", 701, 699, "first audio"),
        ("response_ms", 801, 799, "response"),
        ("barge_in_ms", 201, 199, "barge-in"),
        ("max_silence_s", 0.81, 0.79, "silence"),
        ("digits", "12", "13", "digits"),
        ("digits_back", "", "1", "digits back"),
        ("ended_by", "agent", "caller", "ended by"),
    ],
)
def test_limits_are_kept_or_broken(key: str, keeps: Any, breaks: Any, name: str) -> None:
    assert checks(**{key: keeps})[name][0]
    assert not checks(**{key: breaks})[name][0]


def test_question_that_is_never_answered_breaks_every_limit() -> None:
    told = replace(CALL, says=[Span(13.5, 14.0), Span(19.6, 19.8)])

    assert measure(told).unanswered == 1
    assert not checks(told, response_ms=10_000)["response"][0]


def test_agent_that_stopped_before_it_was_interrupted_stopped_at_once() -> None:
    told = replace(CALL, interrupts=[Span(17.5, 17.9)])

    assert measure(told).barge_in_ms == (0.0,)


def test_agent_that_goes_on_speaking_is_measured_to_its_end() -> None:
    told = replace(CALL, interrupts=[Span(15.0, 15.5)])

    assert measure(told).barge_in_ms == pytest.approx((2100,))


def test_goodbye_is_cut_off_where_the_agent_leaves_something_unsaid() -> None:
    cut, whole = replace(CALL, unsaid_ms=300.0), replace(CALL, unsaid_ms=20.0)

    assert checks(cut, goodbye="whole")["goodbye"] == (False, "cut off: 300 ms were not heard")
    assert checks(whole, goodbye="whole")["goodbye"][0]
    assert checks(replace(cut, ended_by="caller"), goodbye="whole")["goodbye"][0]


def test_goodbye_is_cut_off_where_its_end_was_not_heard_though_it_was_sent() -> None:
    cut = replace(CALL, unsaid_ms=0.0, last_words_share=0.4)

    assert checks(cut, goodbye="whole")["goodbye"] == (False, "cut off: 40 % of its end heard")
    assert checks(replace(cut, last_words_share=1.0), goodbye="whole")["goodbye"][0]


def test_goodbye_of_whom_nothing_else_is_known_ends_in_silence() -> None:
    assert checks(goodbye="whole")["goodbye"] == (True, "whole")
    assert checks(replace(CALL, ended_at=19.51), goodbye="whole")["goodbye"] == (
        False,
        "cut off: it spoke to the very end",
    )
    assert not checks(replace(CALL, agent=[]), goodbye="whole")["goodbye"][0]


def test_known_goodbye_must_be_heard_to_its_end() -> None:
    assert checks(replace(CALL, goodbye_share=1.0), goodbye="bye.wav")["goodbye"][0]
    assert checks(replace(CALL, goodbye_share=0.8), goodbye="bye.wav")["goodbye"] == (
        False,
        "80 % of its end heard",
    )


def trial(told: Told = CALL, number: int = 1, **expect: Any) -> Trial:
    found = measure(told)
    return Trial("hours", number, "desk", told, found, judge(Expectations(**expect), told, found))


def test_table_tells_what_failed_and_by_how_much() -> None:
    good, bad = trial(first_audio_ms=1000), trial(number=2, first_audio_ms=500)

    lines = render_table([good, bad]).splitlines()

    assert lines[0] == "hours: passed (9.8 s, agent desk)"
    assert "  ok    first audio  700 ms   (at most 1000 ms)" in lines
    assert "hours #2: FAILED (9.8 s, agent desk)" in lines
    assert "  FAIL  first audio  700 ms   (at most 500 ms)" in lines
    assert "hours: barge-in of 2: median 200, 200 to 200 ms" in lines
    assert lines[-1] == "1 of 2 passed"


def test_json_has_every_figure() -> None:
    told = json.loads(json.dumps(to_json([trial(first_audio_ms=500)])))

    assert told["passed"] is False
    (one,) = told["trials"]
    assert one["measures"]["first_audio_ms"] == 700.0
    assert one["measures"]["barge_in_ms"] == [200.0]
    assert [c["name"] for c in one["checks"] if not c["passed"]] == ["first audio"]


def test_junit_is_xml_whatever_a_far_end_says() -> None:
    told = Told(called_at=0.0, failure='486 <Busy> & "\x00\x1b[31m"')

    suite = ElementTree.fromstring(to_junit([trial(), trial(told, number=2)]))

    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.get("name") for case in suite] == ["hours #1", "hours #2"]
    failure = suite[1].find("failure")
    assert failure is not None
    assert "486 <Busy>" in str(failure.get("message"))
    # Ant's schema of such files wants a type with every failure.
    assert failure.get("type")


def test_junit_of_no_calls_can_be_read_too() -> None:
    assert ElementTree.fromstring(to_junit([])).get("tests") == "0"
