"""Who is attached to a call: listens, whispers and barges in, and is no party of it."""

from __future__ import annotations

import pytest

from gateway.call.call import CallState
from gateway.call.events import LegStarted
from gateway.call.hearing import MUSIC
from gateway.call.monitor import MAX_MONITORS, Monitor
from gateway.errors import RoutingError
from gateway.leg.leg import Answered, Ended, EndReason, Held
from gateway.media.playout import Playout, PlayoutEvent
from gateway.media.stereo import StereoTap
from gateway.media.tone import tone_level_dbfs
from gateway.sdp.description import Direction
from tests.media.parties import Broken, Ear, Talker
from tests.media.sound import Pcm, tone
from tests.support.legs import CallBench
from tests.support.scene import PHONE_HZ, TRUNK_HZ, scene
from tests.support.sip_legs import sdp

CALLEE = "trunk:lab"
CALLER_HZ, CALLEE_HZ, COACH_HZ = 500, 1100, 1900


class Talk:
    """A call that is up; both say a tone, and what they hear is kept."""

    def __init__(self) -> None:
        self.bench = bench = CallBench([CALLEE])
        self.ears = {"caller": Ear(), CALLEE: Ear()}
        bench.caller.listener = self.ears["caller"]
        bench.start()
        bench.legs[CALLEE].listener = self.ears[CALLEE]
        bench.hub.join(CALLEE, listener=self.ears[CALLEE])
        bench.tell(bench.legs[CALLEE], Answered())
        self.call = bench.call
        self.talkers = {
            "caller": Talker(tone(CALLER_HZ, 0.2, 8000, -20)),
            CALLEE: Talker(tone(CALLEE_HZ, 0.2, 8000, -20)),
        }

    def run(self, seconds: float = 0.4) -> None:
        for _ in range(round(seconds / 0.02)):
            self.bench.advance(0.02)
            for name, talker in self.talkers.items():
                frame = talker.next()
                frame.heard_at = self.bench.now
                self.bench.hub.push(name, frame)
            self.bench.hub.tick(self.bench.now)

    def heard(self, name: str) -> set[int]:
        """Which tones a party heard since last asked."""
        heard = tones_in(self.ears[name].pcm)
        self.ears[name].forget()
        return heard


def tones_in(pcm: Pcm) -> set[int]:
    tones = (CALLER_HZ, CALLEE_HZ, COACH_HZ)
    return {hz for hz in tones if len(pcm) and tone_level_dbfs(pcm, 8000, hz) > -35}


def coach(talk: Talk, *, heard_by: frozenset[str] | None, ear: Ear | None = None) -> Monitor:
    """Somebody who speaks live, beside the call."""
    talk.talkers["coach"] = Talker(tone(COACH_HZ, 0.2, 8000, -20))
    return Monitor("coach", ear or Ear(), heard_by=heard_by)


def test_who_listens_hears_both_and_is_heard_by_nobody() -> None:
    talk, ear = Talk(), Ear()

    talk.call.attach(coach(talk, heard_by=frozenset(), ear=ear), talk.bench.now)
    talk.run()

    assert tones_in(ear.pcm) == {CALLER_HZ, CALLEE_HZ}
    assert talk.heard("caller") == {CALLEE_HZ}
    assert talk.heard(CALLEE) == {CALLER_HZ}


def test_who_whispers_is_heard_by_one() -> None:
    talk = Talk()

    talk.call.attach(coach(talk, heard_by=frozenset({CALLEE})), talk.bench.now)
    talk.run()

    assert talk.heard("caller") == {CALLEE_HZ}
    assert talk.heard(CALLEE) == {CALLER_HZ, COACH_HZ}


def test_who_barges_in_is_heard_by_all() -> None:
    talk = Talk()

    talk.call.attach(coach(talk, heard_by=None), talk.bench.now)
    talk.run()

    assert talk.heard("caller") == {CALLEE_HZ, COACH_HZ}
    assert talk.heard(CALLEE) == {CALLER_HZ, COACH_HZ}


def test_going_from_one_to_the_next_keeps_the_ears_open() -> None:
    talk, ear = Talk(), Ear()

    for heard_by in (frozenset[str](), frozenset({CALLEE}), None, frozenset[str]()):
        talk.call.attach(coach(talk, heard_by=heard_by, ear=ear), talk.bench.now)
        talk.run(0.2)

    assert len(ear.frames) == pytest.approx(40, abs=2)
    assert tones_in(ear.pcm) == {CALLER_HZ, CALLEE_HZ}


def test_whispering_of_a_queue_adds_no_delay_to_the_call() -> None:
    talk, mouth = Talk(), Playout()
    mouth.say_pcm(tone(COACH_HZ, 0.3, 24_000, -20), 24_000)

    talk.call.attach(Monitor("helper", playout=mouth, heard_by=frozenset({CALLEE})), 0.0)
    talk.run(0.2)

    assert len(talk.ears[CALLEE].frames) == 10
    assert talk.heard(CALLEE) == {CALLER_HZ, COACH_HZ}
    assert talk.heard("caller") == {CALLEE_HZ}


def test_parties_are_told_nothing_and_no_party_is_added() -> None:
    talk = Talk()
    before = list(talk.bench.caller.did)

    talk.call.attach(Monitor("tape", Ear()), talk.bench.now)
    talk.run()
    talk.call.detach("tape", talk.bench.now)
    talk.call.detach("tape", talk.bench.now)

    assert talk.bench.caller.did == before
    assert len(talk.bench.happened(LegStarted)) == len(talk.call.parties) == 2
    assert talk.call.summary(talk.bench.now).legs[0].id == "caller"


def test_who_is_detached_hears_no_more_and_the_wire_is_as_before() -> None:
    talk, ear = Talk(), Ear()
    talk.call.attach(coach(talk, heard_by=None, ear=ear), talk.bench.now)
    talk.run()

    talk.call.detach("coach", talk.bench.now)
    ear.forget()
    talk.heard("caller")
    talk.run()

    assert ear.frames == []
    assert talk.heard("caller") == {CALLEE_HZ}
    assert talk.ears[CALLEE].frames[-1].payload is not None


def test_what_an_agent_says_does_not_wait_for_a_recorder() -> None:
    talk, tape, mouth = Talk(), Ear(), Playout()
    events: list[PlayoutEvent] = []
    mouth.on_event = events.append
    tape.is_connected = False
    talk.call.attach(Monitor("helper", playout=mouth, heard_by=None), talk.bench.now)
    mouth.say_pcm(tone(COACH_HZ, 0.2, 8000, -20), 8000)
    mouth.mark("end")

    talk.call.attach(Monitor("tape", tape), talk.bench.now)
    talk.run(0.3)

    assert [type(event).__name__ for event in events] == ["MarkReached"]


def test_party_on_hold_hears_music_and_no_whisper() -> None:
    talk, ear = Talk(), Ear()
    talk.call.attach(coach(talk, heard_by=None, ear=ear), talk.bench.now)

    talk.call.hold("caller", talk.bench.now)
    talk.run()

    assert talk.bench.hears("caller") == {MUSIC}
    assert tones_in(ear.pcm) == {CALLEE_HZ}


def test_who_holds_silently_is_not_listened_to() -> None:
    talk, ear = Talk(), Ear()
    talk.call.attach(Monitor("tape", ear), talk.bench.now)

    talk.bench.tell(talk.bench.legs[CALLEE], Held(Direction.INACTIVE))
    talk.run()

    assert tones_in(ear.pcm) == {CALLER_HZ}


def test_a31_monitor_hears_silence_of_the_same_length_in_secure_input() -> None:
    talk, ear = Talk(), Ear()
    talk.call.attach(Monitor("tape", ear, hears=frozenset({"caller"})), talk.bench.now)

    talk.call.secure("caller", CALLEE, talk.bench.now)
    talk.run()

    assert ear.is_silent
    assert len(ear.pcm) == 0.4 * 8000


def test_stereo_tap_of_a_call_has_each_side_on_its_channel() -> None:
    talk = Talk()
    tap = StereoTap(8000, talk.bench.now)
    left = Monitor("tap.left", tap.left, hears=frozenset({"caller"}))
    right = Monitor("tap.right", tap.right, hears=frozenset({CALLEE}))

    talk.call.attach(left, talk.bench.now)
    talk.call.attach(right, talk.bench.now)
    talk.run(2)
    pcm = tap.take(talk.bench.now)[1600:]

    assert tones_in(pcm[:, 0]) == {CALLER_HZ}
    assert tones_in(pcm[:, 1]) == {CALLEE_HZ}
    assert talk.ears["caller"].frames[-1].payload is not None  # still on the wire


@pytest.mark.parametrize("name", ["caller", CALLEE, MUSIC])
def test_monitor_cannot_be_named_as_a_party_is(name: str) -> None:
    talk = Talk()

    with pytest.raises(RoutingError) as refused:
        talk.call.attach(Monitor(name, Ear()), talk.bench.now)

    assert refused.value.status == 409


def test_only_so_many_may_listen() -> None:
    talk = Talk()
    for number in range(MAX_MONITORS):
        talk.call.attach(Monitor(f"tape-{number}", Ear()), talk.bench.now)

    with pytest.raises(RoutingError) as refused:
        talk.call.attach(Monitor("one-more", Ear()), talk.bench.now)

    assert refused.value.status == 503


def test_monitor_neither_keeps_a_call_nor_outlives_it() -> None:
    talk, ear = Talk(), Ear()
    talk.call.attach(Monitor("tape", ear), talk.bench.now)

    talk.bench.tell(talk.bench.caller, Ended(EndReason.HANGUP))
    ear.forget()
    talk.run()

    assert talk.call.state is CallState.ENDED
    assert (ear.frames, list(talk.call.monitors)) == ([], [])
    with pytest.raises(RoutingError):
        talk.call.attach(Monitor("tape", ear), talk.bench.now)


def test_monitor_of_a_running_call_hears_what_is_on_the_wire_and_may_break() -> None:
    with scene(["trunk:a"]) as made:
        call = made.call()
        made.respond("a", 200, body=sdp(40_000))
        ear = Ear()
        made.registry.attach(call.id, Monitor("tape", ear))
        made.registry.attach(call.id, Monitor("broken", Broken()))

        made.speak(0.4, phone=PHONE_HZ, a=TRUNK_HZ)

        levels = [tone_level_dbfs(ear.pcm, 8000, hz) for hz in (PHONE_HZ, TRUNK_HZ)]
        assert min(levels) > -20
        assert (list(call.monitors), call.state) == (["tape"], CallState.UP)
        made.registry.detach(call.id, "tape")
        made.registry.detach("no such call", "tape")
        assert not call.monitors
