"""How loud a party is heard: muted, and with a gain."""

from __future__ import annotations

import pytest

from gateway.call.events import LegAmplified, LegMuted
from gateway.errors import RoutingError
from gateway.leg.leg import Answered, DigitPressed, Phase
from tests.support.legs import CallBench

CALLEE = "trunk:lab"


@pytest.fixture
def bench() -> CallBench:
    """A call that is up."""
    made = CallBench([CALLEE])
    made.start()
    made.tell(made.legs[CALLEE], Answered())
    return made


def told(bench: CallBench) -> list[object]:
    bench.advance(0)
    return [event for event in bench.events if isinstance(event, LegMuted | LegAmplified)]


def test_muted_party_is_heard_by_nobody_and_hears_the_others(bench: CallBench) -> None:
    bench.call.mute("caller", bench.now)
    muted = (bench.hears(CALLEE), bench.hears("caller"))
    bench.call.mute("caller", bench.now, on=False)

    assert muted == (set(), {CALLEE})
    assert bench.hears(CALLEE) == {"caller"}
    assert told(bench) == [
        LegMuted("gw-1", bench.now, "caller", True),
        LegMuted("gw-1", bench.now, "caller", False),
    ]


def test_muting_twice_is_told_once(bench: CallBench) -> None:
    bench.call.mute("caller", bench.now)
    bench.call.mute("caller", bench.now)

    assert len(told(bench)) == 1


def test_silence_of_a_muted_party_is_no_hold(bench: CallBench) -> None:
    bench.call.mute(CALLEE, bench.now)

    assert bench.hears("caller") == set()  # silence, and no music
    assert "caller" in bench.hub.hears


def test_keys_of_a_muted_party_still_count(bench: CallBench) -> None:
    bench.call.mute("caller", bench.now)

    bench.tell(bench.caller, DigitPressed("5", Phase.START))

    assert "digit 5 start" in bench.legs[CALLEE].did


def test_gain_is_for_all_who_hear_the_party(bench: CallBench) -> None:
    bench.call.amplify("caller", -6, bench.now)
    bench.call.amplify("caller", -6, bench.now)

    assert bench.hub.hears[CALLEE] == {"caller": pytest.approx(0.501, abs=0.001)}
    assert bench.hub.hears["caller"] == {CALLEE: 1.0}
    assert told(bench) == [LegAmplified("gw-1", bench.now, "caller", -6)]
    assert bench.call.summary(bench.now).legs[0].gain_db == -6


def test_mute_and_hold_are_two_things(bench: CallBench) -> None:
    bench.call.mute("caller", bench.now)
    bench.call.hold("caller", bench.now)
    bench.call.hold("caller", bench.now, on=False)

    assert bench.hears(CALLEE) == set()
    assert bench.call.summary(bench.now).legs[0].muted


@pytest.mark.parametrize("leg", ["nobody", ""])
def test_nobody_can_be_muted_who_is_not_there(bench: CallBench, leg: str) -> None:
    with pytest.raises(RoutingError) as muted:
        bench.call.mute(leg, bench.now)
    with pytest.raises(RoutingError) as amplified:
        bench.call.amplify(leg, 3, bench.now)

    assert (muted.value.status, amplified.value.status) == (404, 404)
