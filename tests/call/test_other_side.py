"""An agent hears what is said to the caller, apart from what the caller says."""

from __future__ import annotations

from gateway.call.events import LegNoted
from gateway.call.monitor import MAX_MONITORS, Monitor
from gateway.leg.leg import Ended, EndReason, OtherSideAsked
from tests.call.test_monitor import CALLEE, CALLEE_HZ, CALLER_HZ, Talk, tones_in
from tests.media.parties import Ear


def overhearing() -> tuple[Talk, Ear]:
    """A call whose callee, as an agent would, hears what the caller hears."""
    talk, ear = Talk(), Ear()
    talk.bench.tell(talk.bench.legs[CALLEE], OtherSideAsked(ear))
    return talk, ear


def test_who_overhears_hears_what_the_other_hears() -> None:
    talk, ear = overhearing()

    talk.run()

    assert tones_in(ear.pcm) == {CALLEE_HZ}
    assert talk.heard(CALLEE) == {CALLER_HZ}
    assert talk.heard("caller") == {CALLEE_HZ}


def test_what_nobody_hears_is_not_overheard() -> None:
    talk, ear = overhearing()

    talk.call.mute(CALLEE, talk.bench.now)
    talk.run(0.2)
    ear.forget()
    talk.run()

    assert tones_in(ear.pcm) == set()


def test_who_asks_for_nobody_any_more_hears_no_more() -> None:
    talk, ear = overhearing()
    talk.run()

    talk.bench.tell(talk.bench.legs[CALLEE], OtherSideAsked(None))
    ear.forget()
    talk.run()

    assert len(ear.pcm) == 0
    assert list(talk.call.monitors) == []


def test_nothing_is_left_of_one_that_leaves() -> None:
    talk, _ = overhearing()

    talk.bench.tell(talk.bench.legs[CALLEE], Ended(EndReason.HANGUP))

    assert list(talk.call.monitors) == []


def test_no_more_overhear_than_may_listen() -> None:
    talk = Talk()
    for number in range(MAX_MONITORS):
        talk.call.attach(Monitor(f"ear-{number}", Ear()), talk.bench.now)

    talk.bench.tell(talk.bench.legs[CALLEE], OtherSideAsked(Ear()))

    noted = [event for event in talk.bench.events if isinstance(event, LegNoted)]
    assert [event.kind for event in noted] == ["other-side"]
