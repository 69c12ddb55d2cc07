"""The encoder for a codec."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gateway.codec import G722, OPUS, PCMA, PCMU, TELEPHONE_EVENT, Codec
from gateway.errors import NegotiationError
from gateway.media.coding import make_encoder
from gateway.media.frame import Voice
from gateway.media.opus import opus_duration
from gateway.media.tone import level_dbfs
from tests.media.sound import frames_of, frequency_of, tone


@pytest.mark.parametrize(
    ("codec", "rate"),
    [(PCMU, 8000), (PCMA, 8000), (G722, 16_000)]
    + [(OPUS, rate) for rate in (8000, 16_000, 24_000, 48_000)],
)
def test_what_is_encoded_is_decoded_by_a_voice(codec: Codec, rate: int) -> None:
    encoder = make_encoder(codec, rate=rate)
    voice = Voice()

    pieces = frames_of(tone(440, 0.6, encoder.sample_rate, -10), encoder.frame_samples)
    frames = [voice.frame(codec, encoder.encode(piece), 960, 0.0) for piece in pieces]

    assert encoder.sample_rate == rate
    assert encoder.frame_samples == rate // 50
    heard = np.concatenate([frame.pcm(rate) for frame in frames])[rate // 5 :]
    assert frequency_of(heard, rate) == pytest.approx(440, rel=0.01)
    assert level_dbfs(heard) == pytest.approx(-10, abs=1)
    encoder.close()


def test_opus_is_narrowband_speech_unless_told_otherwise() -> None:
    encoder = make_encoder(OPUS)

    payloads = [encoder.encode(piece) for piece in frames_of(tone(440, 1, 8000), 160)]

    assert encoder.sample_rate == 8000
    assert {payload[0] >> 3 for payload in payloads} == {19}  # CELT, narrowband, 20 ms
    assert all(opus_duration(payload) == 960 for payload in payloads)


def test_the_receivers_bitrate_is_kept_to() -> None:
    hungry, modest = (
        make_encoder(replace(OPUS, fmtp=f"maxaveragebitrate={bitrate}"))
        for bitrate in (40_000, 8000)
    )
    pieces = frames_of(tone(440, 1, 8000), 160)

    sizes = [sum(len(encoder.encode(piece)) for piece in pieces) for encoder in (hungry, modest)]

    assert sizes[0] > 2 * sizes[1]


def test_codecs_we_do_not_encode_are_refused() -> None:
    with pytest.raises(NegotiationError, match="telephone-event"):
        make_encoder(TELEPHONE_EVENT)
