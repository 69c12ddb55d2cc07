"""Sounds in memory: any stretch at any rate, resampled once, and played over and over."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from gateway.codec import TICK_RATE
from gateway.errors import ConfigError
from gateway.media.file import MADE_AHEAD, read_sound
from gateway.media.hub import Hub
from gateway.media.loop import AHEAD_MS, REFILL_S, Loop
from gateway.media.playout import Playout
from gateway.media.sound import MAX_RATE, Sound
from gateway.media.tone import tone_level_dbfs
from tests.media.parties import START, Clock, Ear, Relay, Talker
from tests.media.sound import Pcm, sine_fit, speechlike, tone


def write(path: Path, pcm: Pcm, rate: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.tobytes())
    return path


def test_stretches_one_after_another_are_the_whole() -> None:
    sent = speechlike(1.0, 24_000)
    sound = Sound(sent, 24_000)
    sizes = [960, 240, 12, 4800, 1920]

    pieces, at = list[Pcm](), 0
    while at < sound.duration:
        size = min(sizes[len(pieces) % len(sizes)], sound.duration - at)
        pieces.append(sound.frame(at, size, START).pcm(24_000))
        at += size

    assert (np.concatenate(pieces) == sent).all()


def test_it_is_resampled_once_for_all() -> None:
    sound = Sound(tone(1000, 2.0, 16_000), 16_000)

    frames = [sound.frame(960 * number, 960, START) for number in range(100)]
    heard = np.concatenate([frame.pcm(8000) for frame in frames])

    level, margin = sine_fit(heard[800:-800], 1000, 8000)
    assert level == pytest.approx(-10, abs=0.1)
    assert margin > 60
    assert all(np.shares_memory(frame.pcm(8000), sound.pcm(8000)) for frame in frames)


def test_48_khz_is_taken_down_to_24() -> None:
    sound = Sound(speechlike(0.5, 48_000), 48_000)

    assert (sound.rate, len(sound.pcm(24_000))) == (MAX_RATE, 12_000)


def test_what_is_left_over_of_a_millisecond_is_cut_off() -> None:
    sound = Sound(np.ones(8007, np.int16), 8000)

    assert (sound.duration, len(sound.pcm(24_000))) == (TICK_RATE, 24_000)


@pytest.mark.parametrize(("samples", "rate"), [(0, 8000), (7, 8000), (11_025, 11_025)])
def test_what_is_no_sound_is_refused(samples: int, rate: int) -> None:
    with pytest.raises(ValueError, match="sound"):
        Sound(np.zeros(samples, np.int16), rate)


def test_nobody_can_write_to_it() -> None:
    frame = Sound(speechlike(0.1, 8000), 8000).frame(0, 960, START)

    with pytest.raises(ValueError, match="read-only"):
        frame.pcm(8000)[0] = 1


def test_a_playout_plays_it_beside_what_it_says() -> None:
    said, sound = speechlike(0.05, 8000), Sound(tone(700, 0.1, 8000), 8000)
    hub, bob, agent = Hub(), Ear(), Playout()
    hub.join("bob", listener=bob)
    hub.join("agent", playout=agent)
    hub.route({"bob": {"agent": 1.0}})
    agent.say_pcm(said, 8000)
    agent.say_sound(sound, 960, 1920)
    agent.say_pcm(said, 8000)

    Clock(hub).run(140)

    expected = np.concatenate([said, sound.pcm(8000)[160:480], said])
    assert (bob.pcm == expected).all()


def test_more_than_a_queue_holds_is_refused() -> None:
    agent, sound = Playout(), Sound(np.ones(8000 * 61, np.int16), 8000)

    assert not agent.say_sound(sound, 0, sound.duration)
    assert agent.queued_ms == 0


def test_a_loop_goes_on_without_a_seam() -> None:
    # 1.01 s: no frame ends where the sound does.
    sent = tone(100, 1.01, 8000)
    loop = Loop(Sound(sent, 8000))
    hub, bob = Hub(), Ear()
    hub.join("bob", listener=bob)
    hub.join("music", playout=loop.playout)
    hub.route({"bob": {"music": 1.0}})
    clock = Clock(hub)

    for _ in range(5):
        loop.refill()
        clock.run(round(REFILL_S * 1000))
        assert loop.playout.queued_ms >= AHEAD_MS - REFILL_S * 1000

    assert (bob.pcm == np.resize(sent, len(bob.pcm))).all()
    assert len(bob.pcm) == 5 * REFILL_S * 8000


def test_music_is_mixed_into_a_wire_in_the_same_call() -> None:
    loop = Loop(Sound(tone(1500, 1.0, 16_000, -20), 16_000))
    loop.refill()
    hub, bob = Hub(), Ear()
    hub.join("ann")
    hub.join("bob", listener=bob)
    hub.join("music", playout=loop.playout)
    hub.route({"bob": {"ann": 1.0, "music": 0.5}})
    talker = Talker(tone(500, 0.2, 8000, -20))

    for _ in range(20):
        hub.push("ann", talker.next())

    assert tone_level_dbfs(bob.pcm[160:], 8000, 500) == pytest.approx(-20, abs=0.3)
    assert tone_level_dbfs(bob.pcm[160:], 8000, 1500) == pytest.approx(-26, abs=0.3)


def test_music_does_not_sound_like_a_pause() -> None:
    bob = Relay()
    hub = Hub()
    hub.join("bob", listener=bob)
    loop = Loop(Sound(tone(500, 1.0, 16_000), 16_000))
    loop.refill()
    hub.join("music", playout=loop.playout)
    hub.route({"bob": {"music": 1.0}})

    hub.tick(START)

    assert [(frame.is_noise, frame.natural_rate) for frame in bob.frames] == [(False, 16_000)]


@pytest.mark.parametrize("rate", [8000, 11_025, 44_100, 48_000])
def test_a_file_is_read_and_made_at_the_rates_it_is_heard_at(rate: int, tmp_path: Path) -> None:
    path = write(tmp_path / "music.wav", tone(440, 2.0, rate), rate)

    sound = read_sound(path)

    assert sound.duration == 2 * TICK_RATE
    for heard_rate in MADE_AHEAD:
        level, _ = sine_fit(sound.pcm(heard_rate)[800:-800], 440, heard_rate)
        assert level == pytest.approx(-10, abs=0.2)


@pytest.mark.parametrize("seconds", [0.5, 601])
def test_a_file_that_is_too_short_or_too_long_is_refused(seconds: float, tmp_path: Path) -> None:
    path = write(tmp_path / "music.wav", np.zeros(round(8000 * seconds), np.int16), 8000)

    with pytest.raises(ConfigError, match=rf"music.wav: lasts {seconds:.1f} s, 1 to 600 s"):
        read_sound(path)
