"""Secure input end to end on paper: a phone says its card number, and an agent taps the call."""

from __future__ import annotations

import asyncio
import json
import logging
import re

import numpy as np
import pytest

from gateway.agents.agent import AgentCall
from gateway.api.call_events import describe_call_event
from gateway.call.call import Call
from gateway.call.events import CallDigit
from gateway.leg.leg import LegKind, Role
from gateway.media.g711 import MU_LAW
from gateway.media.tone import dtmf, level_dbfs
from gateway.media.touchtone import KeyDetector
from tests.media.sound import Pcm, frames_of
from tests.support.legs import plan
from tests.support.scene import Scene, scene
from tests.support.sip_legs import sdp

CARD = "42#17"


class Tap:
    """An agent that hears all it may, and writes down each key."""

    def __init__(self) -> None:
        self.pieces: list[Pcm] = []
        self.keys = ""

    async def attend(self, call: AgentCall) -> None:
        listening = asyncio.create_task(self._listen(call))
        try:
            while True:
                self.keys += await call.digit()
        finally:
            listening.cancel()

    async def _listen(self, call: AgentCall) -> None:
        async for frame in call.hear():
            self.pieces.append(frame.pcm(8000))

    def take(self) -> Pcm:
        """What it has heard since last asked."""
        pieces, self.pieces = self.pieces, []
        return np.concatenate([np.zeros(0, np.int16), *pieces])


def tones(pcm: Pcm) -> str:
    """Keys that can be made out in it; a weaker copy of them too."""
    detector = KeyDetector()
    loud = pcm if not len(pcm) or not pcm.any() else normalised(pcm)
    found = [edge for piece in frames_of(loud, 160) for edge in detector.push(piece)]
    return "".join(edge.digit for edge in found if not edge.is_end)


def normalised(pcm: Pcm) -> Pcm:
    scaled: Pcm = (pcm * (16_000 / np.abs(pcm.astype(np.int32)).max())).astype(np.int16)
    return scaled


def tapped(at: Scene) -> tuple[Call, str, str]:
    """A call of phone and trunk that an agent is let into; the ids of phone and trunk."""
    call = at.call()
    at.respond("a", 200, body=sdp(40_000))
    at.plan = plan(["agent:tap"])
    other = at.call(name="second", offer=sdp(31_000))
    at.run(0.2)
    agent = next(p.leg.id for p in other.parties.values() if p.leg.kind is LegKind.AGENT)
    now = at.bench.loop.time()
    call.adopt(other.release(agent, call.id, now), Role.AI, now)
    at.registry._dispatcher.move(agent, at.registry._entry_of(call.id))
    at.run(0.1)
    phone, trunk = (p.leg.id for p in call.parties.values() if p.leg.kind is LegKind.SIP)
    return call, phone, trunk


def dictate(at: Scene, digits: str) -> None:
    """The phone presses keys that are heard as tones, and are told in event packets besides."""
    for digit in digits:
        for piece in frames_of(dtmf(digit, 0.1, 8000), 160):
            at.packet("phone", 0, MU_LAW.encode(piece))
            at.run(0.02)
        at.press("phone", digit)
        at.run(0.1)


def test_a31_tap_hears_no_digit_in_secure_input(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tap = Tap()
    with scene(["trunk:a"], agent=tap.attend) as at:
        call, phone, trunk = tapped(at)
        at.boxes["trunk"] = at.boxes["a"]
        dictate(at, "9")
        heard_before, keys_before = tap.take(), tap.keys
        caplog.clear()
        first = len(at.events)

        at.registry.secure(call.id, trunk, leg=phone)
        began_at = at.bench.loop.time()
        dictate(at, CARD)
        heard, lasted_s = tap.take(), at.bench.loop.time() - began_at
        at.registry.secure(call.id, None, leg=phone)
        secure_events, logged = at.events[first:], caplog.text
        dictate(at, "8")

        # The agent: nothing of the card, and neither less nor more time than passed.
        assert keys_before == "9"
        assert "9" in tones(heard_before)
        assert tones(heard) == ""
        assert len(heard) / 8000 == pytest.approx(lasted_s, abs=0.06)
        assert tap.keys == "98"
        # Events and log: that there were keys, not which.
        told = [describe_call_event(event) for event in secure_events]
        keys = [event for event in told if event["type"] == "call.digit"]
        assert len(keys) == 2 * len(CARD)
        assert {event["digit"] for event in keys} == {None}
        assert CARD not in json.dumps(told)
        assert [e for e in secure_events if isinstance(e, CallDigit) and e.digit] == []
        assert re.search(rf"digit|key|\b[{re.escape(CARD)}]\b", logged) is None
        # Who was named hears it all.
        assert events_to(at, "trunk") == "9" + CARD + "8"


def test_a31_only_the_speaker_is_silent_to_the_tap() -> None:
    tap = Tap()
    with scene(["trunk:a"], agent=tap.attend) as at:
        call, phone, trunk = tapped(at)
        at.boxes["trunk"] = at.boxes["a"]
        at.registry.secure(call.id, trunk, leg=phone)
        at.run(0.3)
        tap.take()

        at.speak(0.5, phone=500, trunk=1100)
        both = tap.take()
        at.registry.secure(call.id, None, leg=phone)
        at.run(0.1)
        at.speak(0.5, phone=500, trunk=1100)

        assert spectrum(both) == {1100}
        assert len(both) / 8000 == pytest.approx(0.5, abs=0.06)
        assert spectrum(tap.take()) == {500, 1100}
        assert level_dbfs(both) == pytest.approx(-10, abs=1.5)


def spectrum(pcm: Pcm) -> set[int]:
    """Which of the two tones are in it."""
    turns = {hz: np.exp(-2j * np.pi * hz / 8000 * np.arange(len(pcm))) for hz in (500, 1100)}
    levels = {hz: 2 * abs(np.dot(pcm.astype(np.float64), t)) / len(pcm) for hz, t in turns.items()}
    return {hz for hz, level in levels.items() if level > 300}


def events_to(at: Scene, name: str) -> str:
    """Presses that somebody was sent as event packets."""
    packets = [p for p in at.boxes[name].transport.packets if p.payload_type == 101]
    return "".join("0123456789*#ABCD"[p.payload[0]] for p in packets if p.marker)
