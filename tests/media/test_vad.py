"""When somebody is taken to speak, in silence, in noise and through clicks."""

from __future__ import annotations

import wave
from importlib.resources import files

import numpy as np
import pytest

from gateway.media.resample import resample
from gateway.media.vad import DetectorOptions, EnergyDetector, SpeechStarted, SpeechStopped
from tests.media.sound import Pcm, frames_of, speechlike

Event = SpeechStarted | SpeechStopped


def noise(seconds: float, level_dbfs: float) -> Pcm:
    rms = 32_768 / 2**0.5 * 10 ** (level_dbfs / 20)
    samples = np.random.default_rng(7).standard_normal(int(seconds * 8000)) * rms
    hiss: Pcm = samples.clip(-32_768, 32_767).astype(np.int16)
    return hiss


def silence(seconds: float) -> Pcm:
    return np.zeros(int(seconds * 8000), np.int16)


def events_of(*pieces: Pcm, options: DetectorOptions | None = None) -> list[Event]:
    detector = EnergyDetector(options)
    found = [detector.push(frame) for frame in frames_of(np.concatenate(pieces), 160)]
    return [event for event in found if event is not None]


def test_speech_begins_and_ends_where_it_does() -> None:
    events = events_of(silence(1), speechlike(1, 8000), silence(1))

    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped]
    assert [event.at_ms for event in events] == pytest.approx([1000, 2000], abs=40)


def test_silence_and_steady_noise_are_no_speech() -> None:
    for sound in (silence(3), noise(3, -60), noise(3, -45), noise(3, -40)):
        assert events_of(sound) == []


def test_loud_noise_is_not_speech_for_long() -> None:
    events = events_of(noise(10, -20))

    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped]
    assert events[1].at_ms <= 2040


@pytest.mark.parametrize("level", [-60, -50, -40])
def test_speech_is_found_in_noise(level: float) -> None:
    voice = speechlike(1, 8000)
    speech = silence(3)
    speech[8000:16_000] = voice

    events = events_of(noise(3, level) + speech)

    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped]
    assert events[0].at_ms == pytest.approx(1000, abs=80)
    assert events[1].at_ms == pytest.approx(2000, abs=150)


def test_noise_that_grows_is_got_used_to() -> None:
    events = events_of(silence(1), noise(20, -40), speechlike(1, 8000), noise(1, -40))

    started = [event.at_ms for event in events if isinstance(event, SpeechStarted)]
    stopped = [event.at_ms for event in events if isinstance(event, SpeechStopped)]
    assert started[-1] == pytest.approx(21_000, abs=80)
    assert stopped[-1] == pytest.approx(22_000, abs=150)


def test_a_click_is_no_speech() -> None:
    click = silence(1)
    click[400:480] = 20_000

    assert events_of(silence(1), click, click) == []


def test_a_pause_between_words_ends_nothing() -> None:
    word, pause = speechlike(0.4, 8000), silence(0.3)

    events = events_of(silence(0.5), word, pause, word, pause, word, silence(1))

    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped]


def test_speech_from_the_first_frame_is_speech() -> None:
    assert events_of(speechlike(0.5, 8000)) == [SpeechStarted(0)]


def test_onset_is_reported_within_80_ms() -> None:
    detector = EnergyDetector()
    found = [detector.push(frame) for frame in frames_of(speechlike(0.2, 8000), 160)]

    assert next(n for n, event in enumerate(found) if event) < 4


def test_frames_may_be_of_any_length_and_rate() -> None:
    detector = EnergyDetector()
    speech = np.concatenate([np.zeros(24_000, np.int16), speechlike(1, 24_000)])

    found = [detector.push(frame, 30) for frame in frames_of(speech, 720)]

    (event,) = [event for event in found if event]
    assert event.at_ms == pytest.approx(1000, abs=30)
    assert detector.push(np.zeros(0, np.int16), 20) is None


def test_options_are_obeyed() -> None:
    sound = (silence(0.5), speechlike(1, 8000, -30), silence(1))

    deaf = DetectorOptions(quietest_dbfs=-20)

    assert events_of(*sound)
    assert events_of(*sound, options=deaf) == []


def test_a_spoken_clip_is_found_once() -> None:
    path = files("gateway.lab") / "prompts" / "speech.wav"
    with path.open("rb") as opened, wave.open(opened) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        rate = file.getframerate()
    speech = resample(pcm, rate, 8000)

    events = events_of(silence(1), speech, silence(1))

    assert isinstance(events[0], SpeechStarted)
    assert isinstance(events[-1], SpeechStopped)
    assert 1000 <= events[0].at_ms <= 1400
    assert events[-1].at_ms <= 2000 + len(speech) / 8
