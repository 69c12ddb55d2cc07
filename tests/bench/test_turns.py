"""The figures of docs/turns.md, within bounds; a part of what `python -m bench turns` does."""

from __future__ import annotations

import time

import pytest

from bench.phone_line import EchoPath, noise
from bench.turns import NOISES, false_cuts, reaction, table, taken

HISS = noise("hiss", 6.0, -62.0)


@pytest.mark.parametrize(("detector", "p50_ms"), [("energy", 240), ("model", 290)])
def test_caller_silences_the_agent_soon(detector: str, p50_ms: float) -> None:
    found = reaction(detector, "quiet", background=HISS, count=18)

    assert found.missed == 0
    assert found.p50_ms <= p50_ms
    assert found.max_ms <= 450


@pytest.mark.parametrize(("detector", "p50_ms"), [("energy", 70), ("model", 110)])
def test_caller_pauses_the_agent_sooner(detector: str, p50_ms: float) -> None:
    found = reaction(detector, "quiet", policy="pause", background=HISS, count=18)

    assert found.missed == 0
    assert found.p50_ms <= p50_ms


def test_caller_is_heard_in_noise_and_over_an_echo() -> None:
    loud = reaction("energy", "noise", background=noise("pink", 6.0, -32.0), count=18)
    echo = reaction("energy", "echo", background=HISS, echo=EchoPath(20, 260), count=18)

    assert loud.missed == echo.missed == 0
    assert max(loud.max_ms, echo.max_ms) <= 700


@pytest.mark.parametrize("detector", ["energy", "model"])
def test_a_line_that_is_noisy_or_echoes_silences_nobody(detector: str) -> None:
    lines = tuple(EchoPath(loss, delay) for loss, delay in ((10, 480), (15, 20), (24, 200)))

    assert false_cuts(detector, "noise", minutes=0.8, noises=NOISES).cuts == 0
    assert false_cuts(detector, "echo", minutes=0.9, echoes=lines).cuts == 0


def test_keys_and_ringing_are_no_speech() -> None:
    for sound in ("keys", "ringing", "hiss -45"):
        assert taken("energy", sound, 20.0).starts == 0
    assert taken("model", "music", 20.0).starts == 0


def test_ten_minutes_take_seconds() -> None:
    began = time.process_time()

    false_cuts("energy", "quiet", minutes=1.0, noises=(("hiss", -62.0),))

    assert time.process_time() - began < 3


def test_figures_are_printed_for_people() -> None:
    row = {"name": "hello", "calls": 2, "found": {"machine": 1}, "share": 0.5}

    assert table([row]).splitlines() == [
        "| name | calls | found | share |",
        "| --- | --- | --- | --- |",
        "| hello | 2 | 1 × machine | 0.5 |",
    ]
