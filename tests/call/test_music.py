"""Music on hold: whose it is, who shares it, and that it never falls silent."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.call.call import CallOptions
from gateway.leg.leg import Answered, Held
from gateway.media.sound import Sound
from gateway.media.tone import level_dbfs, tone_level_dbfs
from gateway.sdp.description import Direction
from tests.media.parties import Ear
from tests.media.sound import frames_of, tone
from tests.support.legs import CallBench

CALLEE = "trunk:lab"
MUSIC_HZ = 700


def talking(music: Sound | None = None) -> tuple[CallBench, Ear, Ear]:
    """A call that is up, and the ears of both."""
    bench = CallBench([CALLEE], options=CallOptions(music=music))
    caller, callee = Ear(), Ear(16_000)
    bench.caller.listener = caller
    bench.start()
    bench.legs[CALLEE].listener = callee
    bench.tell(bench.legs[CALLEE], Answered())
    bench.hub.join(CALLEE, listener=callee)
    return bench, caller, callee


def run(bench: CallBench, seconds: float) -> None:
    for _ in range(round(seconds / 0.02)):
        bench.hub.tick(bench.now)
        bench.advance(0.02)


def test_music_is_what_the_node_was_given() -> None:
    bench, caller, _ = talking(Sound(tone(MUSIC_HZ, 1.0, 16_000, -20), 16_000))

    bench.tell(bench.legs[CALLEE], Held(Direction.INACTIVE))
    run(bench, 3)

    assert tone_level_dbfs(caller.pcm, 8000, MUSIC_HZ) == pytest.approx(-20, abs=0.5)


def test_without_any_there_are_a_few_notes_of_our_own() -> None:
    bench, caller, _ = talking()

    bench.tell(bench.legs[CALLEE], Held(Direction.INACTIVE))
    run(bench, 3)

    assert -40 < level_dbfs(caller.pcm) < -20


def test_music_goes_on_for_who_hears_it_when_another_does_too() -> None:
    bench, caller, callee = talking(Sound(tone(MUSIC_HZ, 1.0, 16_000, -20), 16_000))

    bench.call.hold("caller", bench.now)
    run(bench, 2)
    bench.call.hold(CALLEE, bench.now)
    run(bench, 15)
    bench.call.hold("caller", bench.now, on=False)
    callee.forget()
    run(bench, 2)

    for piece in frames_of(caller.pcm[: 16 * 8000], 8000):
        assert tone_level_dbfs(piece, 8000, MUSIC_HZ) == pytest.approx(-20, abs=0.5)
    assert tone_level_dbfs(callee.pcm, 16_000, MUSIC_HZ) == pytest.approx(-20, abs=0.5)


def test_two_calls_share_the_music_and_not_its_place() -> None:
    music = Sound(np.arange(8000).astype(np.int16), 8000)
    first, heard, _ = talking(music)
    second, heard_later, _ = talking(music)

    first.call.hold("caller", first.now)
    run(first, 0.5)
    second.call.hold("caller", second.now)
    run(second, 0.5)

    assert (heard.pcm == heard_later.pcm).all()
    assert (heard.pcm == np.arange(4000)).all()
