"""Mixes: sums, gains, cuts and ramps, at whatever rate the listener asks for."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.media.frame import AudioFrame, Voice
from gateway.media.mix import MixedFrame, Part
from gateway.media.tone import level_dbfs, tone_level_dbfs
from tests.media.parties import START
from tests.media.sound import Pcm, steepest_step, tone


def frame_of(pcm: Pcm, rate: int = 8000) -> AudioFrame:
    return Voice().frame_of_pcm(pcm, rate, START)


def mix(*parts: Part, duration: int = 960) -> MixedFrame:
    return MixedFrame(0, duration, START, parts)


def constant(value: int, samples: int = 160) -> AudioFrame:
    return frame_of(np.full(samples, value, np.int16))


def test_parts_add_up() -> None:
    mixed = mix(Part(constant(1000)), Part(constant(-300)), Part(constant(7)))

    assert (mixed.pcm(8000) == 707).all()


@pytest.mark.parametrize(("value", "limit"), [(20_000, 32_767), (-20_000, -32_768)])
def test_too_loud_a_sum_stops_at_full_scale(value: int, limit: int) -> None:
    mixed = mix(*(Part(constant(value)) for _ in range(3)))

    assert (mixed.pcm(8000) == limit).all()


def test_opposites_beyond_full_scale_cancel_out() -> None:
    loud, quiet = constant(30_000), constant(-30_000)

    assert not mix(Part(loud), Part(loud), Part(quiet), Part(quiet)).pcm(8000).any()


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000])
def test_speakers_of_different_rates_meet_at_the_rate_of_the_listener(rate: int) -> None:
    low = frame_of(tone(500, 0.5, 8000, -12), 8000)
    high = frame_of(tone(1500, 0.5, 24_000, -18), 24_000)

    pcm = mix(Part(low), Part(high), duration=24_000).pcm(rate)[rate // 10 :]

    assert tone_level_dbfs(pcm, rate, 500) == pytest.approx(-12, abs=0.3)
    assert tone_level_dbfs(pcm, rate, 1500) == pytest.approx(-18, abs=0.3)


def test_a_gain_of_a_half_is_6_db_less() -> None:
    loud = tone(500, 0.02, 8000, -10)

    whispered = mix(Part(frame_of(loud), gain=0.5)).pcm(8000)

    assert level_dbfs(whispered) == pytest.approx(level_dbfs(loud) - 6.02, abs=0.05)


def test_a_change_of_gain_takes_5_ms_and_stays() -> None:
    pcm = mix(Part(constant(8000), gain=0.5, from_gain=1.0)).pcm(8000)

    assert pcm[0] == 8000
    assert (np.diff(pcm[:41]) <= 0).all()
    assert steepest_step(pcm) <= 101
    assert (pcm[40:] == 4000).all()


def test_parts_lie_where_they_are_put() -> None:
    ramp = frame_of(np.arange(160).astype(np.int16))

    pcm = mix(Part(ramp, start=480, at=240, duration=300)).pcm(8000)

    assert not pcm[:40].any()
    assert pcm[40:90].tolist() == list(range(80, 130))
    assert not pcm[90:].any()


def test_a_timeline_cut_anywhere_is_joined_without_a_seam() -> None:
    voice = Voice()
    sent = tone(440, 0.04, 8000)
    one, other = (voice.frame_of_pcm(piece, 8000, START) for piece in np.split(sent, [160]))

    pcm = mix(Part(one, start=606), Part(other, at=354, duration=606)).pcm(8000)

    assert (pcm == sent[101:261]).all()


def test_nothing_is_silence() -> None:
    assert not mix().pcm(16_000).any()
    assert len(mix().pcm(16_000)) == 320


def test_a_mix_has_no_payload_to_relay() -> None:
    mixed = mix(Part(constant(5)))

    assert (mixed.codec, mixed.payload) == (None, None)


def test_its_natural_rate_is_that_of_the_best_part() -> None:
    low, high = frame_of(np.zeros(160, np.int16)), frame_of(np.zeros(480, np.int16), 24_000)

    assert mix(Part(low), Part(high)).natural_rate == 24_000
