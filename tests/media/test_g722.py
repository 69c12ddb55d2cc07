"""G.722: wideband in 64 kb/s, whatever the packets' length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.g722 import G722_RATE, G722Decoder, G722Encoder
from gateway.media.tone import level_dbfs
from tests.media.sound import delay_of, frames_of, frequency_of, snr_db, speechlike, tone

DELAY_SAMPLES = 22
"Of the two filter banks together, 24 taps each (G.722 §3.1)."


def coded(pcm: np.ndarray[tuple[int], np.dtype[np.int16]], size: int) -> bytes:
    encoder = G722Encoder()
    return b"".join(encoder.encode(piece) for piece in frames_of(pcm, size))


@pytest.mark.parametrize("frequency", [300, 1000, 3000, 5000, 6500])
def test_a_tone_of_either_band_comes_through(frequency: int) -> None:
    sent = tone(frequency, 1.0, G722_RATE, -15)

    heard = G722Decoder().decode(coded(sent, 320))[3200:]

    assert frequency_of(heard, G722_RATE) == pytest.approx(frequency, rel=0.002)
    assert level_dbfs(heard) == pytest.approx(-15, abs=1)


def test_speech_is_delayed_by_the_filters_alone() -> None:
    sent = speechlike(1.0, G722_RATE)

    heard = G722Decoder().decode(coded(sent, 320))

    assert delay_of(heard, sent, G722_RATE) == pytest.approx(1000 * DELAY_SAMPLES / G722_RATE, 0.1)
    assert snr_db(heard[DELAY_SAMPLES:], sent[:-DELAY_SAMPLES]) > 20


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
def test_packets_of_any_length_carry_the_same_bits(ptime_ms: int) -> None:
    sent = speechlike(0.6, G722_RATE)

    payload = coded(sent, ptime_ms * 16)

    assert payload == coded(sent, 320)
    assert len(payload) == len(sent) // 2


def test_a_length_that_is_no_packet_is_refused() -> None:
    with pytest.raises(ValueError, match="160 samples"):
        G722Encoder().encode(np.zeros(100, np.int16))


@given(st.lists(st.binary(max_size=500), max_size=5))
def test_any_bytes_are_two_samples_each(payloads: list[bytes]) -> None:
    decoder = G722Decoder()

    lengths = [len(decoder.decode(payload)) for payload in payloads]

    assert lengths == [2 * len(payload) for payload in payloads]
