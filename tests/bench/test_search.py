"""The search for how many calls a core carries."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.search import Trial, best_calls, next_calls


def search(cost: Callable[[int], float], first: int, load: float = 70.0) -> list[Trial]:
    """Try until the search is content, against a system whose load is a function of the calls."""
    trials: list[Trial] = []
    wanted: int | None = first
    while wanted is not None and len(trials) < 12:
        trials.append(Trial(wanted, min(100.0, cost(wanted))))
        wanted = next_calls(trials, load)
    return trials


def test_a_system_of_constant_cost_is_found_at_the_second_trial() -> None:
    trials = search(lambda calls: 0.4 * calls, first=100)

    assert [trial.calls for trial in trials] == [100, 175]


def test_cost_that_falls_with_the_load_is_followed() -> None:
    trials = search(lambda calls: 8.0 + 0.25 * calls, first=100)

    assert trials[-1].core_percent == pytest.approx(70.0, abs=2.0)
    assert len(trials) <= 4


def test_a_saturated_core_is_backed_off_from() -> None:
    trials = search(lambda calls: 4.2 * calls, first=40)

    assert trials[-1].core_percent == pytest.approx(70.0, abs=4.2)
    assert len(trials) <= 4


def test_a_step_is_bounded() -> None:
    assert next_calls([Trial(10, 0.5)], 70.0) == 20


def test_a_load_near_enough_ends_the_search() -> None:
    assert next_calls([Trial(100, 69.0)], 70.0) is None


def test_a_number_is_not_tried_twice() -> None:
    assert next_calls([Trial(1, 30.0), Trial(2, 90.0), Trial(1, 60.0)], 65.0) is None


def test_the_best_trial_is_the_nearest() -> None:
    trials = [Trial(100, 40.0), Trial(175, 74.0), Trial(165, 68.0)]

    assert best_calls(trials, 70.0) == 165
