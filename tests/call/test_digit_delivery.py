"""Keys across the bridge: each side in the way it takes them, counted on both."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.call.call import Call
from gateway.leg.leg import MediaQuality
from gateway.media.g711 import MU_LAW
from gateway.media.tone import dtmf
from gateway.media.touchtone import KeyDetector
from tests.media.sound import Pcm, frames_of, tone
from tests.support.scene import Scene, scene
from tests.support.sip_legs import sdp

WITHOUT_EVENTS = sdp(40_000, codecs="0")


def connected(at: Scene, answer: bytes) -> Call:
    call = at.call()
    at.respond("a", 200, body=answer)
    return call


def qualities(call: Call) -> list[MediaQuality]:
    """Of the phone, and of the trunk."""
    return [party.leg.quality() for party in call.parties.values()]


def tones(pcm: Pcm) -> str:
    detector = KeyDetector()
    found = [edge for piece in frames_of(pcm, 160) for edge in detector.push(piece)]
    return "".join(edge.digit for edge in found if not edge.is_end)


def events(at: Scene, name: str) -> str:
    packets = [p for p in at.boxes[name].transport.packets if p.payload_type == 101]
    return "".join("0123456789*#ABCD"[p.payload[0]] for p in packets if p.marker)


def say(at: Scene, name: str, pcm: Pcm) -> None:
    for piece in frames_of(pcm, 160):
        at.packet(name, 0, MU_LAW.encode(piece))
        at.run(0.02)


def test_keys_by_events_are_keys_by_events_and_counted_on_both_sides() -> None:
    with scene(["trunk:a"]) as at:
        call = connected(at, sdp(40_000))

        for digit in "0815*":
            at.press("phone", digit)
            at.run(0.2)

        assert events(at, "a") == "0815*"
        phone, trunk = qualities(call)
        assert (phone.digits_received, trunk.digits_sent, trunk.digits_unsent) == (5, 5, 0)
        assert (trunk.digits_received, phone.digits_sent) == (0, 0)


def test_keys_by_events_are_tones_for_who_takes_nothing_else() -> None:
    with scene(["trunk:a"]) as at:
        call = connected(at, WITHOUT_EVENTS)
        at.speak(0.3, phone=500)
        at.heard("a")

        for digit in "15#":
            at.press("phone", digit)
            say(at, "phone", np.zeros(2400, np.int16))

        assert tones(at.heard("a")) == "15#"
        phone, trunk = qualities(call)
        assert (phone.digits_received, trunk.digits_sent) == (3, 3)


def test_tones_are_keys_by_events_for_who_takes_those() -> None:
    with scene(["trunk:a"]) as at:
        call = connected(at, WITHOUT_EVENTS)
        rest = tone(300, 0.3, 8000, -30)

        say(
            at, "a", np.concatenate([rest, *(p for d in "42D" for p in (dtmf(d, 0.1, 8000), rest))])
        )

        assert events(at, "phone") == "42D"
        assert tones(at.heard("phone")) == ""
        phone, trunk = qualities(call)
        assert (trunk.digits_received, phone.digits_sent) == (3, 3)


@pytest.mark.parametrize("answer", [sdp(40_000), WITHOUT_EVENTS], ids=["events", "tones"])
def test_key_that_is_held_for_long_is_one_key(answer: bytes) -> None:
    with scene(["trunk:a"]) as at:
        call = connected(at, answer)

        at.press("phone", "5", ms=8000)
        say(at, "phone", np.zeros(4000, np.int16))

        assert events(at, "a") + tones(at.heard("a")) == "5"
        assert qualities(call)[1].digits_sent == 1
