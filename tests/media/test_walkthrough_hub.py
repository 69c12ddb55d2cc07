"""The walk-through of the design, as far as it is media: each of these is one mapping."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.codec import OPUS, PCMU
from gateway.media.hub import Hub
from gateway.media.playout import Playout
from gateway.media.tone import tone_level_dbfs
from tests.media.parties import Clock, Ear, Relay, Talker
from tests.media.sound import Pcm, speechlike, steepest_step, tone

CALLER_HZ, CALLEE_HZ, AGENT_HZ = 500, 1100, 1900


def says(frequency: float) -> Talker:
    """A person who is heard as one frequency, at -20 dBFS."""
    return Talker(tone(frequency, 0.2, 8000, -20))


def heard(ear: Ear) -> dict[int, bool]:
    """Which of the three somebody heard, since last asked."""
    levels = {hz: tone_level_dbfs(ear.pcm, 8000, hz) for hz in (CALLER_HZ, CALLEE_HZ, AGENT_HZ)}
    ear.forget()
    return {hz: level > -40 for hz, level in levels.items()}


def only(*frequencies: int) -> dict[int, bool]:
    return {hz: hz in frequencies for hz in (CALLER_HZ, CALLEE_HZ, AGENT_HZ)}


class Scene:
    """A caller and a callee who speak live, and an agent between them."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.clock = Clock(self.hub)
        self.caller, self.callee, self.agent = Ear(), Ear(), Ear()
        self.mouth = Playout()
        self.hub.join("caller", listener=self.caller)
        self.hub.join("callee", listener=self.callee)
        self.clock.talkers = {"caller": says(CALLER_HZ), "callee": says(CALLEE_HZ)}

    def agent_joins(self) -> None:
        self.hub.join("agent", listener=self.agent, playout=self.mouth)

    def agent_says(self, ms: int = 1000, level_dbfs: float = -20) -> None:
        self.mouth.say_pcm(tone(AGENT_HZ, ms / 1000, 24_000, level_dbfs), 24_000)

    def run(self, ms: int) -> None:
        self.clock.run(ms)

    def forget(self) -> None:
        for ear in (self.caller, self.callee, self.agent):
            ear.forget()


def test_plain_bridge() -> None:
    scene = Scene()
    scene.hub.route({"caller": {"callee": 1.0}, "callee": {"caller": 1.0}})

    scene.run(400)

    assert len(scene.caller.frames) == len(scene.callee.frames) == 20
    assert heard(scene.caller) == only(CALLEE_HZ)
    assert heard(scene.callee) == only(CALLER_HZ)


def test_payload_relay_with_an_agent_listening() -> None:
    hub = Hub()
    clock = Clock(hub)
    relay, agent = Relay(), Ear(rate=24_000)
    hub.join("caller", listener=Ear())
    hub.join("callee", listener=relay)
    hub.join("agent", listener=agent, playout=Playout())
    caller = Talker(tone(CALLER_HZ, 0.4, 8000, -20), codec=OPUS)
    hub.route({"callee": {"caller": 1.0}, "agent": {"caller": 1.0}})

    clock.run(400, {"caller": caller})

    assert relay.payloads == caller.payloads
    assert tone_level_dbfs(agent.pcm[4800:], 24_000, CALLER_HZ) == pytest.approx(-20, abs=1)


def test_an_agent_joins_speaks_is_cleared_and_leaves() -> None:
    scene = Scene()
    bridge = {"caller": {"callee": 1.0}, "callee": {"caller": 1.0}}
    scene.hub.route(bridge)
    scene.run(200)
    scene.forget()

    scene.agent_joins()
    scene.hub.route(
        {
            "caller": {"callee": 1.0, "agent": 1.0},
            "callee": {"caller": 1.0, "agent": 1.0},
            "agent": {"caller": 1.0, "callee": 1.0},
        }
    )
    scene.agent_says(1000)
    scene.run(400)
    assert heard(scene.caller) == only(CALLEE_HZ, AGENT_HZ)
    assert heard(scene.callee) == only(CALLER_HZ, AGENT_HZ)
    assert heard(scene.agent) == only(CALLER_HZ, CALLEE_HZ)

    cleared = scene.mouth.clear()
    scene.run(20)
    scene.forget()
    scene.run(400)
    assert (cleared.played_ms, cleared.dropped_ms) == (400, 600)
    assert heard(scene.caller) == only(CALLEE_HZ)

    scene.hub.leave("agent")
    scene.hub.route(bridge)
    scene.run(400)
    assert heard(scene.caller) == only(CALLEE_HZ)
    assert heard(scene.callee) == only(CALLER_HZ)


def test_an_agent_in_the_bridge_takes_nothing_from_it() -> None:
    scene = Scene()
    sent = tone(200, 0.2, 8000, -12)
    scene.clock.talkers["caller"] = Talker(sent)
    scene.hub.route({"callee": {"caller": 1.0}})

    for number in range(60):
        if number == 20:
            scene.agent_joins()
            scene.hub.route({"callee": {"caller": 1.0, "agent": 1.0}})
        if number == 40:
            scene.hub.leave("agent")
        scene.run(20)

    assert len(scene.callee.frames) == 60
    assert steepest_step(scene.callee.pcm) < 1.3 * steepest_step(sent)


def test_whisper_with_gain() -> None:
    scene = Scene()
    scene.agent_joins()
    scene.hub.route(
        {"caller": {"callee": 1.0}, "callee": {"caller": 1.0, "agent": 0.5}, "agent": {}}
    )
    scene.agent_says(500, level_dbfs=-20)

    scene.run(400)

    settled = scene.callee.pcm[800:]
    assert tone_level_dbfs(settled, 8000, AGENT_HZ) == pytest.approx(-26, abs=0.3)
    assert tone_level_dbfs(settled, 8000, CALLER_HZ) == pytest.approx(-20, abs=0.3)
    assert heard(scene.caller) == only(CALLEE_HZ)


def test_stereo_tap() -> None:
    scene = Scene()
    left, right = Ear(), Ear()
    scene.hub.join("tap.left", listener=left, counts=False)
    scene.hub.join("tap.right", listener=right, counts=False)
    scene.hub.route(
        {
            "caller": {"callee": 1.0},
            "callee": {"caller": 1.0},
            "tap.left": {"caller": 1.0},
            "tap.right": {"callee": 1.0},
        }
    )

    scene.run(400)

    assert len(left.pcm) == len(right.pcm) == 3200
    assert heard(left) == only(CALLER_HZ)
    assert heard(right) == only(CALLEE_HZ)


def test_a_tap_hears_the_agent_just_as_the_person_does() -> None:
    scene = Scene()
    scene.agent_joins()
    tap = Ear(rate=8000)
    scene.hub.join("tap", listener=tap, counts=False)
    scene.hub.route({"caller": {"agent": 1.0}, "tap": {"agent": 1.0}})
    scene.agent_says(300)

    scene.run(400)

    assert (tap.pcm == scene.caller.pcm).all()


def test_take_over_and_hand_back() -> None:
    scene = Scene()
    scene.agent_joins()
    by_agent = {"caller": {"agent": 1.0}, "agent": {"caller": 1.0}, "callee": {}}
    by_person = {"caller": {"callee": 1.0}, "callee": {"caller": 1.0}, "agent": {}}
    scene.hub.route(by_agent)
    scene.agent_says(200)
    scene.run(400)
    assert heard(scene.caller) == only(AGENT_HZ)
    assert heard(scene.agent) == only(CALLER_HZ)
    assert scene.callee.is_silent

    scene.agent_says(1000)
    scene.run(100)
    scene.hub.route(by_person)
    scene.forget()
    scene.run(400)
    assert heard(scene.caller) == only(CALLEE_HZ)
    assert heard(scene.callee) == only(CALLER_HZ)
    assert scene.agent.is_silent

    scene.hub.route(by_agent)
    scene.mouth.clear()
    scene.agent_says(400)
    scene.forget()
    scene.run(400)
    assert heard(scene.caller) == only(AGENT_HZ)
    assert scene.callee.is_silent


def test_secure_input() -> None:
    scene = Scene()
    scene.agent_joins()
    tape, sink = Ear(), Ear()
    scene.hub.join("tape", listener=tape, counts=False)
    scene.hub.join("sink", listener=sink)

    scene.hub.route(
        {
            "sink": {"caller": 1.0},
            "caller": {"callee": 1.0},
            "callee": {},
            "agent": {"callee": 1.0},
            "tape": {"callee": 1.0},
        }
    )
    scene.run(400)

    assert heard(sink) == only(CALLER_HZ)
    for ear in (scene.agent, tape):
        assert len(ear.pcm) == 3200
        assert heard(ear) == only(CALLEE_HZ)
    assert scene.callee.is_silent
    assert len(scene.callee.pcm) == 3200


def test_conference_of_three() -> None:
    scene = Scene()
    third = Ear()
    scene.hub.join("third", listener=third)
    scene.clock.talkers["third"] = says(AGENT_HZ)
    names = ("caller", "callee", "third")
    scene.hub.route({a: {b: 1.0 for b in names if b != a} for a in names})

    scene.run(600)

    assert heard(scene.caller) == only(CALLEE_HZ, AGENT_HZ)
    assert heard(scene.callee) == only(CALLER_HZ, AGENT_HZ)
    assert heard(third) == only(CALLER_HZ, CALLEE_HZ)


def test_a_conference_that_one_leaves_is_a_bridge_again() -> None:
    scene = Scene()
    scene.hub.join("third", listener=Ear())
    names = ("caller", "callee", "third")
    scene.hub.route({a: {b: 1.0 for b in names if b != a} for a in names})
    scene.run(200)

    scene.hub.leave("third")
    scene.forget()
    caller = Talker(tone(CALLER_HZ, 0.2, 8000, -20))
    frame = caller.next()
    scene.hub.push("caller", frame)

    assert scene.callee.frames[-1] is frame


def test_hold_with_music() -> None:
    scene = Scene()
    music = Playout()
    scene.hub.join("music", playout=music)
    music.say_pcm(tone(AGENT_HZ, 1.0, 8000, -20), 8000)

    scene.hub.route({"caller": {"music": 1.0}, "callee": {}})
    scene.run(400)

    assert heard(scene.caller) == only(AGENT_HZ)
    assert scene.callee.is_silent


def test_one_person_of_each_codec_hears_the_others() -> None:
    hub = Hub()
    clock = Clock(hub)
    ears = {name: Ear(rate) for name, rate in (("page", 48_000), ("phone", 8000), ("ai", 24_000))}
    for name, ear in ears.items():
        hub.join(name, listener=ear)
    talkers = {
        "page": Talker(_speech(48_000), 48_000, OPUS),
        "phone": Talker(_speech(8000), 8000, PCMU),
    }
    hub.route({"page": {"phone": 1.0}, "phone": {"page": 1.0}, "ai": {"page": 1.0, "phone": 1.0}})

    clock.run(1000, talkers)

    for name, ear in ears.items():
        assert len(ear.pcm) >= 0.96 * ear.rate, name
        assert np.abs(ear.pcm[ear.rate // 2 :].astype(int)).max() > 3000, name


def _speech(rate: int) -> Pcm:
    return speechlike(0.4, rate)
