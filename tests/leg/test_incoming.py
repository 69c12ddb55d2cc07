"""What a party says over a bad path: one timeline, without gaps, pops and growing delay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gateway.codec import COMFORT_NOISE, OPUS, PCMA, PCMU, Codec
from gateway.media.g711 import MU_LAW
from gateway.media.opus import OpusEncoder
from gateway.media.tone import level_dbfs
from tests.leg.peer import Bridge, StreamBench
from tests.media.sound import frames_of, speechlike, steepest_step, tone
from tests.support.impair import Impairer
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


# ---- changes of the source


def change_source(bench: StreamBench) -> None:
    bench.ssrc, bench.sequence, bench.timestamp = 0x7777, 60_000, 3_000_000_000


def jump_sequence(bench: StreamBench) -> None:
    bench.sequence = bench.sequence + 20_000 & 0xFFFF


def start_sequence_over(bench: StreamBench) -> None:
    bench.sequence -= 20


def reset_timestamp(bench: StreamBench) -> None:
    bench.timestamp = 0


def jump_timestamp(bench: StreamBench) -> None:
    bench.timestamp += 5_000_000


def start_all_over(bench: StreamBench) -> None:
    bench.sequence, bench.timestamp = 0, 0


@pytest.mark.parametrize("codec", [PCMU, OPUS], ids=lambda codec: codec.name)
@pytest.mark.parametrize(
    "change",
    [
        change_source,
        jump_sequence,
        start_sequence_over,
        reset_timestamp,
        jump_timestamp,
        start_all_over,
    ],
)
@in_virtual_time
async def test_f11_change_is_followed_within_100_ms_and_without_a_pop(
    loop: VirtualLoop, change: Callable[[StreamBench], None], codec: Codec
) -> None:
    bench = StreamBench(loop, codec)
    step = codec.clock_rate // 50
    pieces = frames_of(tone(300, 2.0, 8000, -16), 160)
    opus = OpusEncoder(8000)
    payloads = [MU_LAW.encode(each) if codec is PCMU else opus.encode(each) for each in pieces]
    await elapse(0.003)
    for payload in payloads[:50]:
        bench.arrive(payload, step=step, payload_type=codec.payload_type)
        await elapse(0.02)
    before = bench.spoken

    change(bench)
    for payload in payloads[50:]:
        bench.arrive(payload, step=step, payload_type=codec.payload_type)
        await elapse(0.02)

    assert bench.spoken - before >= len(payloads) - 50 - 5
    assert bench.heard_ms == pytest.approx(2000, abs=100)
    pop = steepest_step(bench.pcm) - steepest_step(bench.pcm[: 8000 * 9 // 10])
    assert pop < 32768 * 10 ** (-30 / 20)
    await bench.close()


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 50, 60])
@in_virtual_time
async def test_f11_packets_of_other_lengths_are_one_timeline(
    loop: VirtualLoop, ptime_ms: int
) -> None:
    bench = StreamBench(loop)
    await speak(bench, 0.4)
    payload = MU_LAW.encode(speechlike(1.2, 8000))
    size = ptime_ms * 8

    for at in range(0, len(payload), size):
        bench.arrive(payload[at : at + size], step=size)
        await elapse(ptime_ms / 1000)

    assert bench.heard_ms == 1600
    assert all(frame.payload for frame in bench.frames)
    await bench.close()


@in_virtual_time
async def test_f11_payload_of_another_type_is_not_heard(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    await speak(bench, 0.2)

    for _ in range(10):
        bench.arrive(b"\x00" * 160, payload_type=98)
        await elapse(0.02)
    await speak(bench, 0.2)

    assert bench.spoken == 20
    assert level_dbfs(bench.pcm[1600 + 800 : 3200]) < -40
    await bench.close()


@pytest.mark.parametrize("codec", [PCMU, PCMA], ids=lambda codec: codec.name)
@in_virtual_time
async def test_f11_silence_of_eight_bits_and_gaps_of_5_s_are_quiet_and_no_loss(
    loop: VirtualLoop, codec: Codec
) -> None:
    bench = StreamBench(loop, codec)
    silence = (b"\xff" if codec is PCMU else b"\xd5") * 160
    for _ in range(3):
        for _ in range(25):
            bench.arrive(silence, payload_type=codec.payload_type)
            await elapse(0.02)
        bench.timestamp += 5 * 8000
        await elapse(5)

    assert np.abs(bench.pcm.astype(np.int32)).max() < 32768 * 10 ** (-50 / 20)
    assert bench.stream.session.stats.received.lost == 0
    assert bench.heard_ms == pytest.approx(3 * 5500, abs=60)
    await bench.close()


# ---- clocks


@pytest.mark.parametrize("ppm", [-3000, 3000])
@in_virtual_time
async def test_f13_drift_adds_nothing_on_the_wire(loop: VirtualLoop, ppm: int) -> None:
    # As far apart after six minutes as at 300 ppm after an hour: 1.08 s.
    bridge = Bridge(loop, PCMU, PCMU)
    count = 6 * 60 * 50
    heard = bridge.sides[1].transport

    packets = await bridge.carry([b"\x31" * 160] * count, Impairer(1, rate_ppm=ppm))

    # All that was said goes out as it came, in the same turn of the loop: nothing is waited for,
    # left out or filled in until the party falls silent.
    said = [packet for packet in packets if packet.payload == b"\x31" * 160]
    assert len(said) == count
    assert [packet.timestamp for packet in said] == [5000 + n * 160 for n in range(count)]
    assert len(heard.packets) - count <= (1.3 if ppm > 0 else 0.2) / 0.02
    await bridge.close()
