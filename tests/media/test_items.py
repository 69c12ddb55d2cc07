"""What becomes of speech that comes in pieces of any length: named, relayed, joined."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.codec import G722, PCMA, PCMU, Codec
from gateway.media.frame import Pcm
from gateway.media.g711 import MU_LAW
from gateway.media.hub import Hub
from gateway.media.playout import MAX_QUEUED_S, Playout, PlayoutEvent
from gateway.media.span import MAX_SPANS, ItemPlayed
from tests.media.parties import Clock, Ear, Relay
from tests.media.sound import speechlike, tone


class Scene:
    """An agent's playout, a person who decodes what it says, and one who relays it."""

    def __init__(self) -> None:
        self.playout = Playout()
        self.events: list[PlayoutEvent] = []
        self.playout.on_event = self.events.append
        self.person = Ear(rate=8000)
        self.phone = Relay()
        hub = Hub()
        hub.join("agent", playout=self.playout)
        hub.join("person", listener=self.person)
        hub.join("phone", listener=self.phone)
        hub.route({"person": {"agent": 1.0}, "phone": {"agent": 1.0}})
        self.run = Clock(hub).run

    @property
    def items(self) -> list[ItemPlayed]:
        return [event for event in self.events if isinstance(event, ItemPlayed)]

    @property
    def queue_length(self) -> int:
        number = first = self.playout.number_at(self.playout.settled)
        while self.playout.item(number) is not None:
            number += 1
        return number - first


def silence(ms: int) -> Pcm:
    return np.zeros(8 * ms, np.int16)


# ---- named items


def test_item_is_told_of_when_it_was_played_whole() -> None:
    scene = Scene()

    scene.playout.say_pcm(silence(100), 8000, "a")
    scene.playout.say_pcm(silence(100), 8000, "b")
    scene.run(80)
    assert scene.items == []
    scene.run(40)
    assert scene.items == [ItemPlayed("a", 100.0, 100.0)]
    scene.run(100)

    assert scene.items[1:] == [ItemPlayed("b", 100.0, 100.0)]


def test_clear_tells_how_much_was_played_of_each_item() -> None:
    scene = Scene()
    for name in "abc":
        scene.playout.say_pcm(silence(100), 8000, name)
    scene.run(160)

    scene.playout.clear()
    scene.playout.tell()

    assert scene.items == [
        ItemPlayed("a", 100.0, 100.0),
        ItemPlayed("b", 60.0, 100.0),
        ItemPlayed("c", 0.0, 100.0),
    ]


def test_pieces_of_one_item_are_counted_together() -> None:
    scene = Scene()
    for _ in range(5):
        scene.playout.say_pcm(silence(40), 8000, "a")

    scene.run(240)

    assert scene.items == [ItemPlayed("a", 200.0, 200.0)]


def test_item_that_goes_on_after_the_queue_ran_dry_counts_on() -> None:
    scene = Scene()
    scene.playout.say_pcm(silence(100), 8000, "a")
    scene.run(200)

    scene.playout.say_pcm(silence(100), 8000, "a")
    scene.run(60)
    scene.playout.clear()
    scene.playout.tell()

    assert scene.items == [ItemPlayed("a", 100.0, 100.0), ItemPlayed("a", 160.0, 200.0)]


def test_change_of_routes_tells_what_was_played() -> None:
    playout, told = Playout(), list[PlayoutEvent]()
    playout.on_event = told.append
    hub = Hub()
    hub.join("agent", playout=playout)
    hub.join("person", listener=Ear())
    hub.join("other", listener=Ear())
    hub.route({"person": {"agent": 1.0}})
    clock = Clock(hub)
    playout.say_pcm(silence(100), 8000, "a")
    clock.run(40)

    hub.route({"other": {"agent": 1.0}})
    clock.run(20)

    assert ItemPlayed("a", 40.0, 100.0) in told


def test_names_are_remembered_up_to_a_limit() -> None:
    scene = Scene()

    for number in range(MAX_SPANS + 50):
        assert scene.playout.say_pcm(silence(20), 8000, f"item-{number}")
    scene.playout.clear()
    scene.playout.tell()

    assert len(scene.items) == MAX_SPANS


# ---- coded speech


@pytest.mark.parametrize("codec", [PCMU, PCMA, G722])
@pytest.mark.parametrize("chunk", [1, 77, 160, 500, 3200])
def test_coded_speech_in_chunks_of_any_size_is_relayed(codec: Codec, chunk: int) -> None:
    scene = Scene()
    audio = bytes(range(256)) * 12 + bytes(128)

    for at in range(0, len(audio), chunk):
        assert scene.playout.say_payload(codec, audio[at : at + chunk], 0)
    scene.run(500)

    relayed = [payload for payload in scene.phone.payloads if payload]
    assert b"".join(relayed) == audio
    assert {len(payload) for payload in relayed} == {160}


def test_coded_speech_that_ends_with_half_a_packet_is_heard_to_its_end() -> None:
    scene = Scene()
    audio = MU_LAW.encode(tone(700, 0.13, 8000))

    scene.playout.say_payload(PCMU, audio, 0)
    scene.run(200)

    heard = scene.person.pcm[: len(audio)]
    assert np.array_equal(heard, MU_LAW.decode(audio))
    assert not scene.person.pcm[len(audio) :].any()


def test_coded_speech_beyond_the_queue_is_refused_whole() -> None:
    scene = Scene()
    assert scene.playout.say_payload(PCMU, bytes(8000 * 59), 0)

    assert not scene.playout.say_payload(PCMU, bytes(8000 * 2), 0)

    assert scene.playout.queued_ms == 59_000
    assert MAX_QUEUED_S == 60


# ---- pieces without a length of their own


def test_speech_sample_by_sample_makes_no_long_queue_and_sounds_the_same() -> None:
    scene = Scene()
    speech = speechlike(0.4, 8000)

    for at in range(len(speech)):
        scene.playout.say_pcm(speech[at : at + 1], 8000)
    length = scene.queue_length
    scene.run(500)

    assert length == 20
    assert np.array_equal(scene.person.pcm[: len(speech)], speech)


def test_piece_that_somebody_has_begun_to_hear_is_left_alone() -> None:
    scene = Scene()
    speech = speechlike(0.4, 8000)

    for at in range(0, len(speech), 40):  # 5 ms, as it is played
        scene.playout.say_pcm(speech[at : at + 40], 8000)
        if at % 160 == 120:
            scene.run(20)
    scene.run(100)

    assert np.array_equal(scene.person.pcm[: len(speech)], speech)
