"""Signalling under load: what SIPp's logs say, and what is reported of the rounds."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from bench.flood import stranger_invite
from bench.signalling_load import SignallingRound, line_of, percentile, summarize
from bench.sipp import CallTimes, Load, read_calls, read_failed
from gateway.sip.message import Request, parse_message


def line(at: float, direction: str, call: int, cseq: str, first: str) -> str:
    """One line of SIPp's short message log."""
    return f"2026-11-21\t15:50:37.588146\t{at:.6f}\t{direction}\t{call}-7@h\tCSeq:{cseq}\t{first}\n"


LOG = [
    line(1.0, "S", 1, "1 INVITE", "INVITE sip:b@h SIP/2.0"),
    line(1.1, "S", 2, "1 INVITE", "INVITE sip:b@h SIP/2.0"),
    line(1.2, "R", 1, "1 INVITE", "SIP/2.0 180 Ringing"),
    line(1.25, "R", 1, "1 INVITE", "SIP/2.0 200 OK"),
    line(1.25, "S", 1, "1 ACK", "ACK sip:b@h SIP/2.0"),
    line(1.26, "S", 1, "2 BYE", "BYE sip:b@h SIP/2.0"),
    line(1.4, "R", 1, "2 BYE", "SIP/2.0 200 OK"),
    line(1.5, "R", 1, "1 INVITE", "SIP/2.0 200 OK"),
    line(1.6, "S", 2, "1 INVITE", "INVITE sip:b@h SIP/2.0"),
    line(1.7, "R", 2, "1 INVITE", "SIP/2.0 200 OK"),
    line(1.8, "S", 3, "1 INVITE", "INVITE sip:b@h SIP/2.0"),
    line(1.9, "R", 9, "1 OPTIONS", "SIP/2.0 200 OK"),
    "a line that was cut",
]


def test_a_call_runs_from_its_first_invite_to_its_first_answers() -> None:
    calls = read_calls(LOG)

    assert calls == [CallTimes(1.0, 1.25, 1.4), CallTimes(1.1, 1.7), CallTimes(1.8)]


def test_a_load_knows_what_was_late_and_what_ended_when() -> None:
    load = Load(read_calls(LOG), failed=0)

    assert load.late == 2
    assert (load.ended_between(1.0, 1.4), load.ended_between(1.4, 2.0)) == (0, 1)
    assert load.setups_ms(1.0, 1.1) == [pytest.approx(250.0)]


def test_failures_are_those_of_the_last_row() -> None:
    assert read_failed("A;FailedCall(C);B;\n1;0;2;\n1;3;2;\n") == 3
    assert read_failed("A;FailedCall(C);B;\n") == 0


def measured(**changes: float) -> SignallingRound:
    """A round as it should be, but for `changes`."""
    good = SignallingRound(**{field.name: 1.0 for field in fields(SignallingRound)})  # type: ignore[arg-type]
    return replace(good, **changes)  # type: ignore[arg-type]


def test_the_median_and_the_range_of_the_rounds_that_count_are_given() -> None:
    rounds = [measured(calls_per_second=value) for value in (300.0, 100.0, 200.0)]
    rounds.append(measured(calls_per_second=999.0, generator_core_percent=99.0))

    summary = json.loads(json.dumps(summarize("gateway", rounds)))

    assert summary["calls_per_second"] == 200.0
    assert summary["range"]["calls_per_second"] == [100.0, 300.0]
    assert summary["rounds"] == 3
    assert summary["discarded"] == ["generator core 99 %"]
    assert {"cpu_ms_per_call", "setup_ms_p50", "setup_ms_p99", "late", "failed"} <= summary.keys()
    assert "200 calls/s" in line_of(summary)


def test_without_a_round_that_counts_all_are_shown_with_a_warning() -> None:
    assert "warning" in summarize("gateway", [measured(steal_percent=5.0)])
    assert "error" in summarize("gateway", [])


def test_percentiles_are_values_that_occurred() -> None:
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile(list(map(float, range(100))), 99) == 99.0
    assert percentile([5.0], 99) == 5.0


def test_the_flood_is_of_requests_that_can_be_read() -> None:
    request = parse_message(stranger_invite(("127.66.1.1", 4000), 5060))

    assert isinstance(request, Request)
    assert request.method == "INVITE"
    assert request.via.port == 4000
