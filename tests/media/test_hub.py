"""Who hears whom: on the wire in the same call, else mixed by the tick; and what goes wrong."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.codec import OPUS
from gateway.media.frame import AudioFrame
from gateway.media.hub import Hub
from gateway.media.playout import Cleared, MarkReached, Playout, PlayoutEvent
from gateway.media.routing import PATIENCE_TICKS, STARVED_TICKS
from gateway.media.tone import level_dbfs, tone_level_dbfs
from tests.media.parties import START, Broken, Clock, Ear, Relay, Talker
from tests.media.sound import Pcm, speechlike, steepest_step, tone


def hub_of(**ears: Ear | Relay | Broken | None) -> Hub:
    hub = Hub()
    for party, ear in ears.items():
        hub.join(party, listener=ear)
    return hub


def levels(pcm: Pcm, *frequencies: float, rate: int = 8000) -> list[float]:
    return [tone_level_dbfs(pcm, rate, frequency) for frequency in frequencies]


# ---- the wire


def test_the_frame_itself_is_handed_on_in_the_same_call() -> None:
    bob = Relay()
    hub = hub_of(ann=Ear(), bob=bob)
    hub.route({"bob": {"ann": 1.0}})
    frame = Talker(speechlike(0.1, 8000)).next()

    hub.push("ann", frame)

    assert bob.frames == [frame]
    assert bob.frames[0] is frame


def test_a_relayed_frame_is_never_decoded() -> None:
    hub = hub_of(ann=None, bob=Relay())
    hub.route({"bob": {"ann": 1.0}})
    frame = Talker(speechlike(0.1, 8000), codec=OPUS).next()

    hub.push("ann", frame)

    assert frame._pcm is None


def test_several_listeners_hear_the_same_frame() -> None:
    ears = {name: Relay() for name in ("bob", "cid", "dan")}
    hub = hub_of(ann=None, **ears)
    hub.route({name: {"ann": 1.0} for name in ears})
    frame = Talker(speechlike(0.1, 8000)).next()

    hub.push("ann", frame)

    assert [ear.frames for ear in ears.values()] == [[frame]] * 3


def test_nobody_hears_who_is_not_routed() -> None:
    bob = Ear()
    hub = hub_of(ann=None, bob=bob, eve=None)
    hub.route({"bob": {"ann": 1.0}})

    hub.push("eve", Talker(speechlike(0.1, 8000)).next())
    hub.push("stranger", Talker(speechlike(0.1, 8000)).next())

    assert bob.frames == []


def test_the_tick_leaves_a_wire_alone_while_its_speaker_speaks() -> None:
    bob = Relay()
    clock = Clock(hub_of(ann=None, bob=bob))
    clock.hub.route({"bob": {"ann": 1.0}})

    clock.run(1000, {"ann": Talker(speechlike(0.2, 8000))})

    assert len(bob.frames) == 50
    assert all(bob.payloads)


def test_a_gain_scales_what_is_heard() -> None:
    bob = Ear()
    clock = Clock(hub_of(ann=None, bob=bob))
    clock.hub.route({"bob": {"ann": 0.25}})

    clock.run(400, {"ann": Talker(tone(500, 0.2, 8000, -10))})

    assert levels(bob.pcm, 500) == pytest.approx([-22], abs=0.3)


def test_a_gain_of_nothing_is_silence() -> None:
    bob = Ear()
    clock = Clock(hub_of(ann=None, bob=bob))
    clock.hub.route({"bob": {"ann": 0.0}})

    clock.run(200, {"ann": Talker(tone(500, 0.2, 8000, -10))})

    assert bob.is_silent


def test_a_change_of_gain_does_not_click() -> None:
    bob = Ear()
    clock = Clock(hub_of(ann=None, bob=bob))
    sent = tone(100, 0.2, 8000, -3)
    talker = Talker(sent)
    clock.hub.route({"bob": {"ann": 1.0}})
    clock.run(95, {"ann": talker})

    for gain in (0.2, 1.0, 0.5):
        clock.hub.route({"bob": {"ann": gain}})
        clock.run(100)

    assert steepest_step(bob.pcm) < 1.5 * steepest_step(sent)


def test_a_queued_speaker_is_pulled_into_the_live_frame_in_the_same_call() -> None:
    bob = Ear()
    hub = hub_of(ann=None, bob=bob)
    agent = Playout()
    hub.join("agent", playout=agent)
    hub.route({"bob": {"ann": 1.0, "agent": 1.0}})
    talker = Talker(tone(500, 0.2, 8000, -20))
    agent.say_pcm(tone(1500, 0.06, 8000, -20), 8000)

    for _ in range(4):
        hub.push("ann", talker.next())

    assert len(bob.frames) == 4
    assert levels(bob.pcm[:480], 500, 1500) == pytest.approx([-20, -20], abs=0.5)
    assert bob.frames[3].payload is not None  # the agent is done: relayed again


def test_what_an_agent_said_is_played_once_it_was_handed_on() -> None:
    events: list[tuple[int, PlayoutEvent]] = []
    ear = Ear()
    hub = hub_of(ann=None, bob=ear)
    agent = Playout()
    agent.on_event = lambda event: events.append((len(ear.frames), event))
    hub.join("agent", playout=agent)
    hub.route({"bob": {"ann": 1.0, "agent": 1.0}})
    agent.say_pcm(tone(1500, 0.02, 8000), 8000)
    agent.mark("end")

    hub.push("ann", Talker(speechlike(0.1, 8000)).next())

    assert events == [(1, MarkReached("end", 20, heard=True))]


# ---- a wire whose speaker says nothing


def test_a_wire_without_a_word_is_fed_silence() -> None:
    bob = Ear()
    clock = Clock(hub_of(ann=None, bob=bob))
    clock.hub.route({"bob": {"ann": 1.0}})

    clock.run(200)

    assert bob.is_silent
    assert len(bob.pcm) == 1600


def test_queued_speech_reaches_a_wire_whose_speaker_is_silent() -> None:
    bob = Ear()
    clock = Clock(hub_of(ann=None, bob=bob))
    music = Playout()
    clock.hub.join("music", playout=music)
    clock.hub.route({"bob": {"ann": 1.0, "music": 1.0}})
    music.say_pcm(tone(800, 1.0, 8000, -15), 8000)

    clock.run(1000)

    assert levels(bob.pcm, 800) == pytest.approx([-15], abs=0.2)


def test_a_speaker_that_stops_is_waited_for_and_comes_back_on_the_wire() -> None:
    bob = Relay()
    clock = Clock(hub_of(ann=None, bob=bob))
    clock.hub.route({"bob": {"ann": 1.0}})
    talker = Talker(speechlike(0.2, 8000))

    clock.run(100, {"ann": talker})
    clock.run(20 * STARVED_TICKS - 20, {})
    waited = len(bob.frames)
    clock.run(100)
    fed = len(bob.frames)
    clock.run(100, {"ann": talker})

    assert waited == 5
    assert fed - waited == 5
    assert all(bob.payloads[fed:])
    assert len(bob.frames) == fed + 5


# ---- the tick


def test_nobody_to_hear_is_silence_without_end() -> None:
    bob = Ear()
    clock = Clock(hub_of(bob=bob))
    clock.hub.route({"bob": {}})

    clock.run(500)

    assert bob.is_silent
    assert [frame.duration for frame in bob.frames] == [960] * 25
    assert np.diff([frame.heard_at for frame in bob.frames]) == pytest.approx([0.02] * 24)


def test_who_is_not_in_the_routes_hears_nothing_at_all() -> None:
    bob = Ear()
    clock = Clock(hub_of(ann=None, bob=bob))
    clock.hub.route({"ann": {}})

    clock.run(100, {"ann": Talker(speechlike(0.1, 8000))})

    assert bob.frames == []


def test_two_live_speakers_are_summed() -> None:
    cid = Ear()
    clock = Clock(hub_of(ann=None, bob=None, cid=cid))
    clock.hub.route({"cid": {"ann": 1.0, "bob": 1.0}})

    clock.run(
        600,
        {"ann": Talker(tone(500, 0.2, 8000, -20)), "bob": Talker(tone(1300, 0.2, 8000, -26))},
    )

    settled = cid.pcm[800:4000]
    assert len(cid.pcm) >= 29 * 160
    assert levels(settled, 500, 1300) == pytest.approx([-20, -26], abs=0.5)
    assert steepest_step(settled) < 2 * steepest_step(tone(1300, 0.1, 8000, -20))


def test_too_much_at_once_saturates() -> None:
    dan = Ear()
    clock = Clock(hub_of(ann=None, bob=None, cid=None, dan=dan))
    clock.hub.route({"dan": {"ann": 1.0, "bob": 1.0, "cid": 1.0}})
    loud = tone(400, 0.2, 8000, -1)

    clock.run(400, {name: Talker(loud) for name in ("ann", "bob", "cid")})

    assert dan.pcm.max() == 32_767
    assert dan.pcm.min() == -32_768
    assert tone_level_dbfs(dan.pcm[800:], 8000, 400) > -0.5


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 60])
def test_speakers_of_any_ptime_can_be_mixed(ptime_ms: int) -> None:
    cid = Ear()
    hub = hub_of(ann=None, bob=None, cid=cid)
    hub.route({"cid": {"ann": 1.0, "bob": 1.0}})
    ann = Talker(tone(500, 0.6, 8000, -20), ptime_ms=ptime_ms)
    bob = Talker(tone(1300, 0.6, 8000, -20))

    for ms in range(0, 1200, 10):
        if ms % ptime_ms == 0:
            hub.push("ann", ann.next())
        if ms % 20 == 0:
            hub.push("bob", bob.next())
            hub.tick(START + ms / 1000)

    settled = cid.pcm[1600:8000]
    assert levels(settled, 500, 1300) == pytest.approx([-20, -20], abs=0.5)


def test_a_queued_speaker_alone_keeps_its_payload() -> None:
    bob = Relay()
    clock = Clock(hub_of(bob=bob))
    echo = Playout()
    clock.hub.join("echo", playout=echo)
    clock.hub.route({"bob": {"echo": 1.0}})
    talker = Talker(speechlike(0.2, 8000), codec=OPUS)
    for _ in range(5):
        echo.say(talker.next())

    clock.run(160)

    assert bob.payloads == [*talker.payloads[:5], None, None, None]


def test_nobody_hears_oneself() -> None:
    ears = {name: Ear() for name in ("ann", "bob", "cid")}
    clock = Clock(hub_of(**ears))
    everybody = {a: {b: 1.0 for b in ears if b != a} for a in ears}
    clock.hub.route(everybody)
    own = {"ann": 500, "bob": 1000, "cid": 1500}

    clock.run(600, {name: Talker(tone(hz, 0.2, 8000, -20)) for name, hz in own.items()})

    for name, ear in ears.items():
        heard = dict(zip(own, levels(ear.pcm[800:4000], *own.values()), strict=True))
        assert heard.pop(name) < -60
        assert list(heard.values()) == pytest.approx([-20, -20], abs=0.5)


def test_one_hears_oneself_where_the_route_says_so() -> None:
    ann = Ear()
    hub = hub_of(ann=ann)
    hub.route({"ann": {"ann": 1.0}})
    frame = Talker(speechlike(0.1, 8000)).next()

    hub.push("ann", frame)

    assert ann.frames == [frame]


# ---- from one to the other


def continuous(pcm: Pcm, sent: Pcm) -> None:
    """The recording went on as if nothing had been, but for silence at the ends."""
    assert steepest_step(pcm) < 1.5 * steepest_step(sent)
    loud = np.abs(pcm.astype(int)) > 300
    inside = loud[np.argmax(loud) : len(loud) - np.argmax(loud[::-1])]
    gaps = np.diff(np.flatnonzero(inside))
    assert gaps.max() < 40


def test_a_listener_that_goes_to_the_mix_and_back_misses_nothing() -> None:
    cid = Ear()
    hub = hub_of(ann=None, bob=None, cid=cid)
    sent = tone(200, 0.2, 8000, -6)
    ann, bob = Talker(sent), Talker(np.zeros(1600, np.int16))
    now = START

    for number in range(90):
        if number % 30 == 0:
            both = number == 30
            hub.route({"cid": {"ann": 1.0, "bob": 1.0} if both else {"ann": 1.0}})
        now += 0.013
        hub.push("ann", ann.next())
        now += 0.007
        hub.push("bob", bob.next())
        hub.tick(now)

    continuous(cid.pcm, sent)
    assert len(cid.pcm) == 90 * 160


def test_going_to_the_mix_waits_for_its_first_frame_instead_of_making_a_gap() -> None:
    cid = Ear()
    hub = hub_of(ann=None, bob=None, cid=cid)
    ann = Talker(speechlike(0.2, 8000))
    hub.route({"cid": {"ann": 1.0}})
    hub.push("ann", ann.next())

    hub.route({"cid": {"ann": 1.0, "bob": 1.0}})
    hub.tick(START)
    assert len(cid.frames) == 1
    for _ in range(PATIENCE_TICKS):
        hub.tick(START)

    assert len(cid.frames) == 2


def test_what_the_mix_had_not_come_for_goes_out_when_the_wire_is_back() -> None:
    cid = Relay()
    hub = hub_of(ann=None, bob=None, cid=cid)
    hub.route({"cid": {"ann": 1.0, "bob": 1.0}})
    ann = Talker(speechlike(0.2, 8000))
    waiting = [ann.next() for _ in range(2)]
    for frame in waiting:
        hub.push("ann", frame)

    hub.route({"cid": {"ann": 1.0}})

    assert cid.frames == waiting


def test_routes_that_stay_keep_their_place() -> None:
    clock = Clock(hub_of(bob=Ear()))
    bob = Ear()
    clock.hub.join("bob", listener=bob)
    agent = Playout()
    clock.hub.join("agent", playout=agent)
    sent = speechlike(1.0, 8000)
    agent.say_pcm(sent, 8000)

    for number in range(50):
        clock.hub.route({"bob": {"agent": 1.0}})
        if number == 20:
            clock.hub.refresh("bob")
            clock.hub.refresh("stranger")
        clock.run(20)

    assert (bob.pcm == sent).all()


# ---- audiences


def agent_heard_by(*people: str) -> tuple[Hub, Playout, list[PlayoutEvent]]:
    hub = hub_of(**{name: Ear() for name in ("ann", "bob", "cid")})
    agent, events = Playout(), list[PlayoutEvent]()
    agent.on_event = events.append
    hub.join("agent", playout=agent)
    hub.route({name: {"agent": 1.0} for name in people})
    agent.say_pcm(speechlike(1.0, 8000), 8000)
    return hub, agent, events


def test_speech_is_cleared_when_others_would_hear_it() -> None:
    hub, agent, events = agent_heard_by("ann")
    hub.tick(START)

    hub.route({"bob": {"agent": 1.0}})
    hub.tick(START)

    assert events == [Cleared(20, 980, ())]
    assert agent.queued_ms == 0


def test_speech_is_kept_where_the_route_says_so() -> None:
    hub, agent, events = agent_heard_by("ann")

    hub.route({"bob": {"agent": 1.0}}, keep=("agent",))
    hub.tick(START)

    assert events == []
    assert agent.queued_ms == 980


def test_speech_to_nobody_yet_is_for_whoever_comes() -> None:
    hub, agent, events = agent_heard_by()

    hub.route({"bob": {"agent": 1.0}})
    hub.tick(START)

    assert (events, agent.queued_ms) == ([], 980)


def test_a_listener_put_aside_and_taken_back_hears_the_rest() -> None:
    hub, agent, events = agent_heard_by("ann")

    hub.route({"ann": {}})
    hub.tick(START)
    hub.route({"ann": {"agent": 1.0}})
    hub.tick(START)

    assert (events, agent.queued_ms) == ([], 980)


def test_one_of_two_who_leaves_takes_nothing_from_the_other() -> None:
    hub, agent, events = agent_heard_by("ann", "bob")

    hub.leave("ann")
    hub.route({"bob": {"agent": 1.0}})
    hub.tick(START)

    assert (events, agent.queued_ms) == ([], 980)


def test_what_was_said_to_one_who_left_is_for_nobody_else() -> None:
    hub, agent, events = agent_heard_by("ann")

    hub.leave("ann")
    hub.route({"bob": {"agent": 1.0}})
    hub.tick(START)

    assert events == [Cleared(0, 1000, ())]
    assert agent.queued_ms == 0


def test_a_recorder_that_joins_in_is_no_audience() -> None:
    hub, agent, events = agent_heard_by("ann")
    hub.join("tape", listener=Ear(), counts=False)

    hub.route({"ann": {"agent": 1.0}, "tape": {"agent": 1.0}})
    hub.tick(START)

    assert (events, agent.queued_ms) == ([], 980)


# ---- what goes wrong


def test_a_listener_that_raises_hurts_nobody_else() -> None:
    told: list[str] = []
    hub = Hub(on_fault=lambda party, error: told.append(f"{party}: {error}"))
    first, last = Ear(), Ear()
    for name, ear in {"ann": None, "a": first, "b": Broken(), "c": last}.items():
        hub.join(name, listener=ear)
    hub.route({name: {"ann": 1.0} for name in ("a", "b", "c")})

    hub.push("ann", Talker(speechlike(0.1, 8000)).next())

    assert (len(first.frames), len(last.frames)) == (1, 1)
    assert (hub.faults, told) == (1, ["b: bug"])


@pytest.mark.parametrize("speakers", [{}, {"x": 1.0, "y": 1.0}, {"agent": 1.0}, {"x": 0.5}])
def test_a_listener_that_raises_in_a_mix_hurts_nobody_else(speakers: dict[str, float]) -> None:
    ear = Ear()
    clock = Clock(hub_of(x=None, y=None, broken=Broken(), ear=ear))
    clock.hub.join("agent", playout=Playout())
    clock.hub.route({"broken": speakers, "ear": speakers})
    talkers = {name: Talker(speechlike(0.1, 8000)) for name in ("x", "y")}

    clock.run(200, talkers)

    assert len(ear.frames) >= 9
    assert clock.hub.faults >= 9


def test_a_playout_whose_listener_raises_is_counted() -> None:
    def on_event(_event: PlayoutEvent) -> None:
        raise RuntimeError("bug")

    bob = Ear()
    clock = Clock(hub_of(bob=bob))
    agent = Playout()
    agent.on_event = on_event
    clock.hub.join("agent", playout=agent)
    clock.hub.route({"bob": {"agent": 1.0}})
    agent.mark("x")

    clock.run(100)

    assert clock.hub.faults == 1
    assert len(bob.frames) == 5


def test_a_party_may_leave_while_it_hears() -> None:
    hub = Hub()
    last = Ear()

    class Leaver(Ear):
        def hear(self, frame: AudioFrame) -> None:
            super().hear(frame)
            hub.leave("leaver")

    leaver = Leaver()
    hub.join("ann")
    hub.join("leaver", listener=leaver)
    hub.join("last", listener=last)
    hub.route({"leaver": {"ann": 1.0}, "last": {"ann": 1.0}})
    talker = Talker(speechlike(0.1, 8000))

    for _ in range(2):
        hub.push("ann", talker.next())

    assert (len(leaver.frames), len(last.frames)) == (1, 2)


def test_a_speaker_that_left_is_heard_no_more() -> None:
    bob = Ear()
    hub = hub_of(ann=None, bob=bob)
    hub.route({"bob": {"ann": 1.0}})

    hub.leave("ann")
    hub.leave("ann")
    hub.push("ann", Talker(speechlike(0.1, 8000)).next())
    hub.tick(START)

    assert bob.is_silent


def test_all_who_left_leave_nothing_behind() -> None:
    hub = hub_of(ann=Ear(), bob=Ear())
    agent = Playout()
    hub.join("agent", listener=Ear(), playout=agent)
    hub.route({a: {b: 1.0 for b in ("ann", "bob", "agent") if b != a} for a in ("ann", "bob")})

    for party in ("ann", "bob", "agent"):
        hub.leave(party)

    assert not hub._links
    assert not hub._mouths
    assert not hub._ears
    assert not agent._readers


def test_a_party_may_get_other_ears() -> None:
    hub = hub_of(ann=None, bob=Ear())
    hub.route({"bob": {"ann": 1.0}})
    fresh = Ear()

    hub.join("bob", listener=fresh)
    hub.push("ann", Talker(speechlike(0.1, 8000)).next())

    assert len(fresh.frames) == 1


def test_strangers_in_a_route_are_left_out() -> None:
    bob = Ear()
    hub = hub_of(bob=bob)

    hub.route({"bob": {"stranger": 1.0}, "other": {"bob": 1.0}})
    hub.tick(START)

    assert level_dbfs(bob.pcm) == -120


def test_what_was_said_before_a_speaker_left_is_not_heard_where_it_goes() -> None:
    hub, agent, events = agent_heard_by("ann")
    other = hub_of(dan=Ear())

    hub.leave("agent")
    other.join("agent", playout=agent)
    other.route({"dan": {"agent": 1.0}})
    other.tick(START)

    assert events == [Cleared(0, 1000, ())]
    assert agent.queued_ms == 0


def test_ears_that_one_gets_later_do_not_hear_what_was_said_before() -> None:
    hub, _agent, events = agent_heard_by("ann")
    hub.join("dan")
    hub.route({"ann": {"agent": 1.0}, "dan": {"agent": 1.0}})

    hub.join("dan", listener=Ear())
    hub.tick(START)

    assert events == [Cleared(0, 1000, ())]


def test_routes_that_change_while_a_frame_is_handed_out_are_kept_to() -> None:
    hub = Hub()
    last = Ear()

    class Switcher(Ear):
        def hear(self, frame: AudioFrame) -> None:
            super().hear(frame)
            hub.route({"first": {"ann": 0.5}})

    hub.join("ann")
    hub.join("first", listener=Switcher())
    hub.join("last", listener=last)
    hub.route({"first": {"ann": 0.5}, "last": {"ann": 0.5}})
    hub.route({"first": {"ann": 0.6}, "last": {"ann": 0.6}})
    talker = Talker(speechlike(0.1, 8000))

    for _ in range(2):
        hub.push("ann", talker.next())
    hub.tick(START)

    assert (len(last.frames), hub.faults) == (0, 0)
