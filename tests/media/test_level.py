"""Levels, clipping and silence, of payloads that nobody decodes and of PCM that is there."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.codec import OPUS, PCMA, PCMU, Codec
from gateway.media.effort import opus_options
from gateway.media.frame import Voice
from gateway.media.g711 import LAWS
from gateway.media.level import LevelMeter
from gateway.media.opus import OpusEncoder
from tests.media.sound import Pcm, frames_of, tone

MS = 48
"Ticks."


def measured(codec: Codec, pcm: Pcm) -> LevelMeter:
    meter = LevelMeter()
    meter.look_at_payload(codec.name, LAWS[codec.name].encode(pcm))
    return meter


def sine(dbov: float, seconds: float = 0.2) -> Pcm:
    return tone(1000, seconds, 8000, dbov + 3.01)


@pytest.mark.parametrize("codec", [PCMU, PCMA])
@pytest.mark.parametrize("dbov", [-6.0, -20.0, -40.0])
def test_the_level_of_g711_is_read_off_its_bytes(codec: Codec, dbov: float) -> None:
    meter = measured(codec, sine(dbov))

    assert meter.level_dbov == pytest.approx(dbov, abs=0.2)
    assert meter.silence_percent == 0


@pytest.mark.parametrize("codec", [PCMU, PCMA])
def test_what_is_too_loud_is_seen_to_be_clipped(codec: Codec) -> None:
    fine = tone(997, 0.2, 8000, -3)
    loud = np.clip(fine.astype(np.int32) * 3, -32768, 32767)

    clipping = measured(codec, loud.astype(np.int16)).clipping_percent

    assert clipping is not None
    assert clipping > 30
    assert measured(codec, fine).clipping_percent == 0


def test_silence_is_counted_and_does_not_lower_the_level() -> None:
    meter = measured(PCMU, sine(-20))

    meter.look_at_payload("PCMU", b"\xff" * 800)

    assert meter.silence_percent == 50
    assert meter.level_dbov == pytest.approx(-20, abs=0.2)


def test_nothing_was_measured_before_the_first_look() -> None:
    meter = LevelMeter()

    meter.look_at_payload("PCMU", b"")
    meter.look_at_payload("G722", bytes(160))
    meter.look_at_pcm(np.zeros(0, np.int16))

    assert (meter.level_dbov, meter.silence_percent, meter.clipping_percent) == (None, None, None)


def test_opus_is_measured_only_where_somebody_decoded_it() -> None:
    encoder, voice = OpusEncoder(8000, opus_options(8000)), Voice()
    pieces = frames_of(sine(-20, 0.4), 160)
    frames = [voice.frame(OPUS, encoder.encode(piece), 20 * MS, 0.0) for piece in pieces]
    unheard, heard = LevelMeter(), LevelMeter()

    unheard.look_at_frames(voice.recent)
    for frame in frames:
        frame.pcm(8000)
    heard.look_at_frames(voice.recent)

    assert unheard.level_dbov is None
    assert heard.level_dbov == pytest.approx(-20, abs=1)
    voice.close()
