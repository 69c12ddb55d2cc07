"""What a party says over a bad path: one timeline, without gaps, pops and growing delay."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.codec import COMFORT_NOISE, PCMU
from gateway.media.g711 import MU_LAW
from gateway.media.tone import level_dbfs
from tests.leg.peer import StreamBench
from tests.media.sound import speechlike, steepest_step
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

CN = 13


async def speak(bench: StreamBench, seconds: float) -> None:
    """The party says something, 20 ms at a time."""
    payload = MU_LAW.encode(speechlike(seconds, 8000))
    for start in range(0, len(payload), 160):
        bench.arrive(payload[start : start + 160])
        await elapse(0.02)


# ---- pauses


@pytest.mark.rfc(3389, "3")
@pytest.mark.parametrize("asked", [True, False])
@in_virtual_time
async def test_pause_sounds_as_the_party_says(loop: VirtualLoop, asked: bool) -> None:
    bench = StreamBench(loop)
    if asked:
        bench.configure(PCMU, receive=(COMFORT_NOISE,))
    await elapse(0.005)
    await speak(bench, 0.5)
    begin = len(bench.pcm)

    bench.arrive(bytes((50,)), step=0, payload_type=CN)
    bench.timestamp += 16_000
    await elapse(2.0)
    during = bench.pcm[begin:]
    await speak(bench, 0.5)

    rms = float(np.sqrt(np.mean(during[40:].astype(np.float64) ** 2)))
    assert rms == pytest.approx(32768 * 10 ** (-50 / 20), rel=0.1)
    # Nothing is waited for, and nothing is missing when speech returns.
    assert len(during) / 8 == pytest.approx(2000, abs=40)
    assert bench.spoken == 50
    assert bench.heard_ms == 3000
    assert steepest_step(bench.pcm) < 1.6 * steepest_step(bench.pcm[:begin])
    await bench.close()


@in_virtual_time
async def test_pause_that_timestamps_do_not_count_costs_no_word(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    await speak(bench, 0.2)

    bench.arrive(bytes((60,)), step=0, payload_type=CN)
    await elapse(2.0)
    await speak(bench, 0.2)

    assert bench.spoken == 20
    await bench.close()


@in_virtual_time
async def test_noise_is_believed_only_so_far(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    await speak(bench, 0.2)
    begin = len(bench.pcm)

    bench.arrive(b"\x00", step=0, payload_type=CN)
    await elapse(0.5)

    assert level_dbfs(bench.pcm[begin + 40 :]) < -25
    await bench.close()
