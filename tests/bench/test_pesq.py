"""Voices that went through a system are found again and scored, and a lost one is noticed."""

from __future__ import annotations

import numpy as np
import pytest

from bench.batching import measure
from bench.pesq import FRAME, PAUSE_FRAMES, _cut, _in_order

RATE = 8000


def test_a_voice_is_cut_out_where_it_is() -> None:
    voice = np.random.default_rng(7).integers(-9000, 9000, RATE).astype(np.int16)
    late = np.concatenate([np.zeros(PAUSE_FRAMES * FRAME + 333, np.int16), voice, voice[:0]])
    heard = np.concatenate([late, np.zeros(RATE, np.int16)])

    found = _cut(heard, voice, PAUSE_FRAMES * FRAME)

    assert np.array_equal(found, voice)


def test_a_voice_that_is_missing_is_told() -> None:
    voice = np.full(RATE, 1000, np.int16)

    with pytest.raises(ValueError, match="not heard whole"):
        _cut(np.zeros(3 * RATE, np.int16), voice, 0)


def test_packets_are_laid_out_by_their_timestamps() -> None:
    def packet(stamp: int) -> bytes:
        return b"\x80\x00\x00\x01" + stamp.to_bytes(4, "big") + b"ssrc" + bytes([stamp // 160])

    captured = [(n, packet(stamp)) for n, stamp in enumerate((0, 320, 160, 640))]

    payloads = _in_order(captured, 160, lambda each: each)

    assert payloads == [b"\0", b"\1", b"\2", b""]


@pytest.mark.real
@pytest.mark.beside
def test_batches_of_packets_come_through_whole() -> None:
    row = measure(8)

    assert set(row) == {"sendto", "recvfrom", "sendmmsg", "recvmmsg"}
