"""Hold, by either side and by both: who hears what, and what is told of it."""

from __future__ import annotations

import pytest

from gateway.call.call import CallState
from gateway.call.events import LegHeld
from gateway.call.hearing import MUSIC
from gateway.call.room import MEASURE_S
from gateway.errors import RoutingError
from gateway.leg.leg import Answered, DigitPressed, Ended, EndReason, Held, LegKind, Phase, Resumed
from gateway.media.tone import level_dbfs
from gateway.sdp.description import Direction
from tests.media.parties import Ear
from tests.support.legs import CallBench, FakeLeg

CALLEE = "trunk:lab"


@pytest.fixture
def bench() -> CallBench:
    """A call that is up."""
    made = CallBench([CALLEE])
    made.start()
    made.tell(made.legs[CALLEE], Answered())
    return made


def told(bench: CallBench) -> list[tuple[str, bool, Direction]]:
    events = [event for event in bench.events if isinstance(event, LegHeld)]
    return [(event.leg, event.by_us, event.direction) for event in events]


def test_party_that_holds_silently_is_replaced_by_music(bench: CallBench) -> None:
    bench.tell(bench.legs[CALLEE], Held(Direction.INACTIVE))
    on_hold = bench.hears("caller")
    bench.tell(bench.legs[CALLEE], Resumed())

    assert on_hold == {MUSIC}
    assert bench.hears("caller") == {CALLEE}
    assert told(bench) == [
        (CALLEE, False, Direction.INACTIVE),
        (CALLEE, False, Direction.SENDRECV),
    ]


def test_music_of_the_party_that_holds_goes_through(bench: CallBench) -> None:
    bench.tell(bench.legs[CALLEE], Held(Direction.SENDONLY))

    assert bench.hears("caller") == {CALLEE}


def test_party_that_says_nothing_but_listens_goes_on_hearing(bench: CallBench) -> None:
    bench.tell(bench.legs[CALLEE], Held(Direction.RECVONLY))

    assert bench.hears("caller") == {MUSIC}
    assert bench.hears(CALLEE) == {"caller"}


def test_hold_is_not_passed_on(bench: CallBench) -> None:
    before = list(bench.caller.did)

    bench.tell(bench.legs[CALLEE], Held(Direction.INACTIVE))

    assert bench.caller.did == before


def test_nobody_plays_to_nobody_when_both_hold(bench: CallBench) -> None:
    bench.tell(bench.caller, Held(Direction.INACTIVE))
    bench.tell(bench.legs[CALLEE], Held(Direction.INACTIVE))

    assert bench.hears("caller") == bench.hears(CALLEE) == set()
    assert bench.call.next_timer() == MEASURE_S  # no sound wants more


def test_party_we_hold_hears_music_and_is_heard_by_nobody(bench: CallBench) -> None:
    bench.call.hold("caller", bench.now)

    assert bench.caller.did[-1] == "hold sendonly"
    assert bench.hears("caller") == {MUSIC}
    assert bench.hears(CALLEE) == set()

    bench.call.hold("caller", bench.now, on=False)

    assert bench.caller.did[-1] == "hold sendrecv"
    assert bench.hears("caller") == {CALLEE}
    bench.tell(bench.caller, Ended(EndReason.HANGUP))
    assert told(bench) == [
        ("caller", True, Direction.RECVONLY),
        ("caller", True, Direction.SENDRECV),
    ]


def test_party_is_held_while_either_flag_stands(bench: CallBench) -> None:
    bench.call.hold(CALLEE, bench.now)
    bench.tell(bench.legs[CALLEE], Held(Direction.SENDONLY))

    bench.call.hold(CALLEE, bench.now, on=False)
    still = bench.call.summary(bench.now).legs[1]
    bench.tell(bench.legs[CALLEE], Resumed())

    assert (still.on_hold, still.holds) == (False, True)
    assert not bench.call.summary(bench.now).legs[1].holds


def test_hold_that_is_on_already_changes_nothing(bench: CallBench) -> None:
    bench.call.hold("caller", bench.now)
    bench.call.hold("caller", bench.now)

    assert bench.caller.did.count("hold sendonly") == 1


def test_nobody_can_be_held_who_is_not_there(bench: CallBench) -> None:
    with pytest.raises(RoutingError) as unknown:
        bench.call.hold("nobody", bench.now)
    bench.call.end(bench.now, EndReason.HANGUP)
    with pytest.raises(RoutingError):
        bench.call.hold("caller", bench.now)

    assert unknown.value.status == 404


def test_keys_of_a_party_on_hold_reach_nobody(bench: CallBench) -> None:
    bench.call.hold("caller", bench.now)

    bench.tell(bench.caller, DigitPressed("5", Phase.START))
    bench.tell(bench.legs[CALLEE], DigitPressed("6", Phase.START))

    assert not [d for d in bench.legs[CALLEE].did + bench.caller.did if d.startswith("digit")]


def test_music_goes_on_for_as_long_as_the_hold() -> None:
    ear = Ear()
    bench = CallBench([CALLEE])
    bench.caller.listener = ear
    bench.start()
    bench.tell(bench.legs[CALLEE], Answered())
    bench.tell(bench.legs[CALLEE], Held(Direction.INACTIVE))

    for _ in range(90):
        for _ in range(50):
            bench.hub.tick(bench.now)
            bench.advance(0.02)

    last = ear.pcm[-10 * 8000 :]
    assert -40 < level_dbfs(last) < -20
    bench.tell(bench.caller, Ended(EndReason.HANGUP))
    assert bench.call.state is CallState.ENDED
    assert bench.call.next_timer() is None


def test_agent_hears_silence_instead_of_music() -> None:
    bench = CallBench([CALLEE], caller_kind=LegKind.AGENT)
    bench.start()
    bench.tell(bench.legs[CALLEE], Answered())

    bench.tell(bench.legs[CALLEE], Held(Direction.INACTIVE))

    assert bench.hears("caller") == set()
    assert bench.call.next_timer() == MEASURE_S  # no sound wants more


def test_leg_keeps_its_hold_before_the_answer() -> None:
    bench = CallBench([CALLEE])
    bench.start()
    callee: FakeLeg = bench.legs[CALLEE]

    bench.tell(callee, Held(Direction.INACTIVE))
    bench.tell(callee, Answered())

    assert bench.hears("caller") == {MUSIC}
