"""Whether a trunk can be used: probes and calls, hysteresis and waits, in virtual time (F7)."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from gateway.sip.flow import Hop
from gateway.trunk.event import TrunkDown, TrunkEvent, TrunkUp
from gateway.trunk.health import (
    MAX_HOPS,
    MAX_RETRY_AFTER_S,
    DownReason,
    Probe,
    TrunkHealth,
    TrunkState,
)

START = 1000.0
HOP = Hop("udp", "198.51.100.1", 5060)
OTHER = Hop("udp", "198.51.100.2", 5060)
ROUND_TRIP_S = 0.05

Reply = int | tuple[int, float] | None
"A status, a status with Retry-After, or silence."


class Watcher:
    """One trunk's health over a network that answers as it is told; time goes on in `run` only."""

    def __init__(
        self,
        *hops: Hop,
        probe_s: float = 30.0,
        spread: Callable[[], float] = lambda: 0.5,
    ) -> None:
        self.now = START
        self.health = TrunkHealth("carrier", probe_s=probe_s, spread=spread, now=START)
        self.replies: dict[Hop, Callable[[], Reply]] = {}
        self.asked: list[tuple[float, Hop]] = []
        self.events: list[TrunkEvent] = []
        self._flying: list[tuple[float, Probe, int, float | None]] = []
        if hops:
            self.health.set_hops(hops, START)

    def reply(self, *replies: Reply, hop: Hop = HOP) -> None:
        """Answer the next probes so, and all after them like the last."""
        left = list(replies)
        self.replies[hop] = lambda: left.pop(0) if len(left) > 1 else left[0]

    def run(self, seconds: float) -> None:
        """Let that much time pass."""
        end = self.now + seconds
        while (at := self._next()) <= end:
            self.now = max(self.now, at)
            self._step()
        self.now = end
        self.events += self.health.take_events()

    @property
    def intervals(self) -> list[float]:
        """Between the probes of the first hop."""
        times = [at for at, hop in self.asked if hop == HOP]
        return [round(later - earlier, 3) for earlier, later in pairwise(times)]

    @property
    def transitions(self) -> list[tuple[float, type]]:
        """What happened, and when since the start."""
        self.events += self.health.take_events()
        return [(round(event.at - START, 2), type(event)) for event in self.events]

    def _next(self) -> float:
        times = [at for at, *_ in self._flying]
        timer = self.health.next_timer()
        return min([*times, *([] if timer is None else [timer])], default=float("inf"))

    def _step(self) -> None:
        for flying in [each for each in self._flying if each[0] <= self.now]:
            self._flying.remove(flying)
            _, probe, status, retry_after_s = flying
            self.health.answered(probe, status, self.now, retry_after_s=retry_after_s)
        timer = self.health.next_timer()
        if timer is not None and timer <= self.now:
            self.health.handle_timer(self.now)
        for probe in self.health.take_output():
            self.asked.append((self.now, probe.hop))
            reply = self.replies.get(probe.hop, lambda: 200)()
            if reply is not None:
                status, retry_after_s = reply if isinstance(reply, tuple) else (reply, None)
                self._flying.append((self.now + ROUND_TRIP_S, probe, status, retry_after_s))


def down() -> Watcher:
    """A trunk that was up and is down for want of answers."""
    watcher = Watcher(HOP)
    watcher.run(10)
    watcher.reply(None)
    watcher.run(100)
    assert watcher.health.state is TrunkState.DOWN
    return watcher


# ---- the figures


def test_a_trunk_that_is_up_is_asked_every_30_seconds_give_or_take_a_tenth() -> None:
    chance = random.Random(1)
    watcher = Watcher(HOP, spread=chance.random)

    watcher.run(3000)

    assert 27.0 <= min(watcher.intervals) < 28.5
    assert 31.5 < max(watcher.intervals) <= 33.0
    assert len(watcher.intervals) == pytest.approx(100, abs=3)


def test_an_answer_brings_it_up_the_first_time() -> None:
    watcher = Watcher(HOP)
    assert watcher.health.state is TrunkState.UNKNOWN

    watcher.run(1)

    assert watcher.transitions == [(0.55, TrunkUp)]


def test_an_answer_after_2_seconds_comes_too_late() -> None:
    watcher = Watcher(HOP)
    watcher.reply(None)
    watcher.run(0.5)
    ((asked_at, _),) = watcher.asked

    timer = watcher.health.next_timer()
    watcher.run(3)
    watcher.health.answered(Probe(HOP, 1), 200, watcher.now)

    assert timer == asked_at + 2.0
    assert watcher.health.state is TrunkState.UNKNOWN


def test_three_misses_in_a_row_take_it_down() -> None:
    watcher = Watcher(HOP)
    watcher.run(1)

    watcher.reply(None)
    watcher.run(90)
    assert watcher.health.state is TrunkState.UP
    watcher.run(4)

    assert watcher.transitions == [(0.55, TrunkUp), (92.55, TrunkDown)]
    assert watcher.health.reason is DownReason.NO_ANSWER
    assert watcher.health.since == pytest.approx(START + 92.55)


@pytest.mark.parametrize("pattern", [[None, 200], [None, None, 200], [None, 200, None, None, 200]])
def test_fewer_misses_in_a_row_change_nothing(pattern: list[Reply]) -> None:
    watcher = Watcher(HOP)
    watcher.run(1)

    watcher.reply(*pattern)
    watcher.run(300)

    assert watcher.transitions == [(0.55, TrunkUp)]


def test_it_is_up_again_after_two_answers() -> None:
    watcher = down()
    before = len(watcher.asked)

    watcher.reply(200)
    while watcher.health.state is TrunkState.DOWN:
        watcher.run(0.1)

    assert len(watcher.asked) - before == 2
    assert watcher.health.is_usable(watcher.now)
    assert watcher.health.reason is None


def test_one_answer_does_not_bring_it_up_again() -> None:
    watcher = down()

    watcher.reply(200, None)
    watcher.run(300)

    assert watcher.health.state is TrunkState.DOWN
    assert [kind for _, kind in watcher.transitions] == [TrunkUp, TrunkDown]


def test_while_down_it_is_asked_after_5_seconds_then_ever_more_rarely_up_to_30() -> None:
    watcher = Watcher(HOP)
    watcher.run(1)
    watcher.reply(None)

    watcher.run(92)
    asked = len(watcher.asked)
    watcher.run(200)

    # From when it was found to be down, 2 s after the third miss was asked for.
    at, _ = watcher.asked[asked]
    assert at == pytest.approx(START + 92.55 + 5)
    assert watcher.intervals[asked : asked + 5] == [10.0, 20.0, 30.0, 30.0, 30.0]


def test_the_second_answer_is_asked_for_soon_however_long_it_was_down() -> None:
    watcher = down()
    watcher.run(600)

    watcher.reply(200)
    watcher.run(60)

    first, second = watcher.intervals[-3:-1]
    assert first == 30.0
    assert second == pytest.approx(5.05)
    assert watcher.health.state is TrunkState.UP


def test_what_is_not_known_yet_is_found_out_soon() -> None:
    watcher = Watcher(HOP)
    watcher.reply(None)

    watcher.run(20)

    assert watcher.transitions == [(12.5, TrunkDown)]


def test_one_loss_in_ten_for_ten_minutes_changes_nothing() -> None:
    watcher = Watcher(HOP)
    watcher.run(1)

    watcher.reply(*[None if number % 10 == 4 else 200 for number in range(30)])
    watcher.run(600)

    assert watcher.transitions == [(0.55, TrunkUp)]


@pytest.mark.parametrize("seed", range(20))
def test_a_tenth_lost_at_random_for_ten_minutes_changes_nothing(seed: int) -> None:
    """Each probe is sent three times in its 2 s (T1 apart, then twice that), and lost each way."""
    chance = random.Random(seed)
    watcher = Watcher(HOP, spread=chance.random)
    watcher.run(2)
    watcher.transitions.clear()

    def reply() -> Reply:
        arrives = [chance.random() > 0.1 and chance.random() > 0.1 for _ in range(3)]
        return 200 if any(arrives) else None

    watcher.replies[HOP] = reply
    watcher.run(600)

    assert [kind for _, kind in watcher.transitions] == [TrunkUp]


# ---- what counts as an answer


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 405, 407, 481, 486, 500, 501, 603])
def test_any_final_response_says_that_it_is_there(status: int) -> None:
    watcher = Watcher(HOP)
    watcher.reply(status)

    watcher.run(1)

    assert watcher.health.state is TrunkState.UP
    assert watcher.health.last_status == status


@pytest.mark.parametrize("status", [408, 503])
def test_408_and_503_do_not(status: int) -> None:
    watcher = Watcher(HOP)
    watcher.reply(status)

    watcher.run(20)

    assert watcher.health.state is TrunkState.DOWN
    assert watcher.health.reason is DownReason.UNAVAILABLE
    assert watcher.health.last_status == status


def test_what_cannot_be_reached_is_missed_at_once() -> None:
    watcher = Watcher(HOP)
    watcher.reply(None)
    for _ in range(3):
        asked = len(watcher.asked)
        while len(watcher.asked) == asked:
            watcher.run(0.1)
        watcher.health.missed(Probe(HOP, len(watcher.asked)), DownReason.UNREACHABLE, watcher.now)

    assert watcher.health.reason is DownReason.UNREACHABLE


def test_a_probe_that_we_could_not_send_says_nothing() -> None:
    watcher = Watcher(HOP)
    watcher.reply(None)
    for number in range(1, 10):
        while len(watcher.asked) < number:
            watcher.run(0.1)
        watcher.health.withdraw(Probe(HOP, number))

    assert watcher.health.state is TrunkState.UNKNOWN


# ---- calls


def test_a_call_that_is_answered_stands_for_a_probe() -> None:
    watcher = Watcher(HOP)
    watcher.run(1)

    for _ in range(20):
        watcher.run(20)
        watcher.health.call_answered(HOP, watcher.now)

    assert len(watcher.asked) == 1


def test_a_call_that_is_answered_is_one_of_the_two_answers() -> None:
    watcher = down()
    asked = len(watcher.asked)

    watcher.health.call_answered(HOP, watcher.now)
    watcher.run(1)
    watcher.health.call_answered(HOP, watcher.now)

    assert watcher.health.state is TrunkState.UP
    assert len(watcher.asked) == asked


@pytest.mark.parametrize("reason", [DownReason.NO_ANSWER, DownReason.UNREACHABLE])
def test_calls_that_fail_take_it_down_before_any_probe_does(reason: DownReason) -> None:
    watcher = Watcher(HOP)
    watcher.run(1)

    for _ in range(3):
        watcher.run(1)
        watcher.health.call_missed(HOP, reason, watcher.now)

    assert watcher.health.state is TrunkState.DOWN
    assert watcher.health.reason is reason
    assert len(watcher.asked) == 1


def test_calls_that_fail_all_at_once_failed_of_one_thing() -> None:
    watcher = Watcher(HOP)
    watcher.run(1)

    for _ in range(100):
        watcher.health.call_missed(HOP, DownReason.NO_ANSWER, watcher.now)
        watcher.run(0.005)

    assert watcher.health.state is TrunkState.UP


def test_a_503_of_one_call_without_retry_after_says_nothing_of_the_next() -> None:
    watcher = Watcher(HOP)
    watcher.run(1)

    for _ in range(5):
        watcher.run(2)
        watcher.health.call_refused(HOP, None, watcher.now)

    assert watcher.health.is_usable(watcher.now)
    assert watcher.health.state is TrunkState.UP


def test_a_hop_that_is_not_this_trunks_says_nothing() -> None:
    watcher = Watcher(HOP)
    watcher.run(1)

    for _ in range(5):
        watcher.run(2)
        watcher.health.call_missed(OTHER, DownReason.NO_ANSWER, watcher.now)
        watcher.health.call_refused(OTHER, 60, watcher.now)

    assert watcher.health.is_usable(watcher.now)


# ---- Retry-After


def test_a_trunk_that_asks_to_be_left_alone_is() -> None:
    watcher = Watcher(HOP)
    watcher.run(1)

    watcher.health.call_refused(HOP, 120, watcher.now)
    asked = len(watcher.asked)
    watcher.run(119)

    assert not watcher.health.is_usable(watcher.now)
    assert watcher.health.wait_s(watcher.now) == pytest.approx(1)
    assert len(watcher.asked) == asked
    watcher.run(1.1)
    assert watcher.health.is_usable(watcher.now)
    assert watcher.health.wait_s(watcher.now) == 0
    assert len(watcher.asked) == asked + 1


def test_no_trunk_is_left_alone_for_more_than_300_seconds() -> None:
    watcher = Watcher(HOP)
    watcher.run(1)

    watcher.health.call_refused(HOP, 86_400, watcher.now)

    assert watcher.health.wait_s(watcher.now) == MAX_RETRY_AFTER_S == 300
    watcher.run(301)
    assert watcher.health.is_usable(watcher.now)


def test_an_options_that_is_answered_503_may_ask_to_wait_too() -> None:
    watcher = Watcher(HOP)
    watcher.reply((503, 60), 200)

    watcher.run(2)

    assert watcher.health.wait_s(watcher.now) == pytest.approx(58.55)


# ---- several hops


def test_a_trunk_is_up_while_one_of_its_hops_is() -> None:
    watcher = Watcher(HOP, OTHER)
    watcher.run(1)

    watcher.reply(None, hop=HOP)
    watcher.run(300)

    assert [kind for _, kind in watcher.transitions] == [TrunkUp]
    assert watcher.health.hops() == ((HOP, TrunkState.DOWN), (OTHER, TrunkState.UP))
    assert watcher.health.is_usable(watcher.now)


def test_a_trunk_is_down_when_all_of_its_hops_are() -> None:
    watcher = Watcher(HOP, OTHER)
    watcher.run(1)

    watcher.reply(None, hop=HOP)
    watcher.reply(None, hop=OTHER)
    watcher.run(300)

    assert [kind for _, kind in watcher.transitions] == [TrunkUp, TrunkDown]


def test_hops_that_are_down_are_tried_last() -> None:
    watcher = Watcher(HOP, OTHER)
    watcher.run(1)
    watcher.reply(None, hop=HOP)
    watcher.run(100)

    assert watcher.health.order((HOP, OTHER), watcher.now) == (OTHER, HOP)
    assert watcher.health.order((HOP,), watcher.now) == (HOP,)


def test_hops_that_asked_to_be_left_alone_are_not_tried_while_there_are_others() -> None:
    watcher = Watcher(HOP, OTHER)
    watcher.run(1)

    watcher.health.call_refused(HOP, 60, watcher.now)

    assert watcher.health.order((HOP, OTHER), watcher.now) == (OTHER,)
    assert watcher.health.order((HOP,), watcher.now) == (HOP,)
    assert watcher.health.is_usable(watcher.now)


def test_of_hops_that_stay_nothing_is_forgotten() -> None:
    watcher = Watcher(HOP)
    watcher.run(1)
    watcher.reply(None)
    watcher.run(100)

    watcher.health.set_hops([OTHER, HOP], watcher.now)

    assert watcher.health.hops() == ((OTHER, TrunkState.UNKNOWN), (HOP, TrunkState.DOWN))
    assert watcher.health.is_usable(watcher.now)


def test_a_trunk_that_moves_stays_up_until_its_new_hop_is_known() -> None:
    watcher = Watcher(HOP)
    watcher.run(1)

    watcher.health.set_hops([OTHER], watcher.now)
    watcher.run(5)

    assert [kind for _, kind in watcher.transitions] == [TrunkUp]


def test_a_trunk_without_an_address_is_down_until_it_has_one() -> None:
    watcher = Watcher()
    assert watcher.health.is_usable(watcher.now), "nothing is known of it yet"

    watcher.health.set_hops([], watcher.now)
    assert watcher.health.reason is DownReason.NO_ADDRESS
    assert not watcher.health.is_usable(watcher.now)

    watcher.health.set_hops([HOP], watcher.now)
    assert watcher.health.is_usable(watcher.now)
    watcher.run(1)
    assert [kind for _, kind in watcher.transitions] == [TrunkDown, TrunkUp]


def test_a_name_of_a_thousand_hosts_is_not_watched_whole() -> None:
    watcher = Watcher(*(Hop("udp", f"198.51.100.{n}", 5060) for n in range(200)))

    watcher.run(2)

    assert len(watcher.asked) == MAX_HOPS


# ---- without probes


def test_a_trunk_that_is_not_to_be_asked_is_not() -> None:
    watcher = Watcher(HOP, probe_s=0)

    watcher.run(1000)
    watcher.health.call_answered(HOP, watcher.now)
    watcher.run(1000)

    assert watcher.asked == []
    assert watcher.health.next_timer() is None
    assert watcher.health.state is TrunkState.UP


def test_a_trunk_that_is_not_asked_may_be_tried_again_by_a_call() -> None:
    watcher = Watcher(HOP, probe_s=0)
    for _ in range(3):
        watcher.health.call_missed(HOP, DownReason.NO_ANSWER, watcher.now)
        watcher.run(1)
    assert not watcher.health.is_usable(watcher.now)

    watcher.run(5)
    assert watcher.health.is_usable(watcher.now)
    watcher.health.call_missed(HOP, DownReason.NO_ANSWER, watcher.now)

    assert not watcher.health.is_usable(watcher.now), "one more is enough"
