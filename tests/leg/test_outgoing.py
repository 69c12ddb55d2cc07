"""What a party is sent: repaired, rested, cut to its packets, and never in a burst."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest

from gateway.codec import COMFORT_NOISE, OPUS, PCMA, PCMU
from gateway.leg.leg import Phase
from gateway.media.conceal import QUIETEST_LEVEL
from gateway.media.frame import AudioFrame, Voice
from gateway.media.g711 import A_LAW
from gateway.media.opus import OpusDecoder
from gateway.media.tone import level_dbfs
from tests.leg.peer import StreamBench, said
from tests.media.sound import Pcm, frames_of, recorded_speech, speechlike
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

REPAIRABLE = replace(OPUS, fmtp="minptime=10;useinbandfec=1")
FIRST_CELT = 16
"The first configuration number of Opus that is CELT alone (RFC 6716 §3.1, table 2)."


def report_loss(bench: StreamBench, fraction_lost: float) -> None:
    """The party says how much of what it was sent it has lost lately."""
    block = struct.pack("!IIIIII", 0x1111, int(fraction_lost * 256) << 24, 0, 0, 0, 0)
    head = struct.pack("!BBHI", 0x81, 201, 7, 0x2222)
    bench.transport.on_packet(head + block, bench.loop.time())


async def tell(bench: StreamBench, pcm: Pcm, *, loss: float | None = None) -> list[bytes]:
    """The party hears a phone, and reports once a second; the payloads that went out."""
    before = len(bench.transport.packets)
    for number, frame in enumerate(said(PCMU, pcm)):
        frame.heard_at = bench.loop.time()
        bench.stream.hear(frame)
        if loss is not None and number % 50 == 49:
            report_loss(bench, loss)
        await elapse(0.02)
    return [packet.payload for packet in bench.transport.packets[before:]]


def is_celt(payload: bytes) -> bool:
    return payload[0] >> 3 >= FIRST_CELT


# ---- FEC


@in_virtual_time
async def test_party_that_loses_packets_is_sent_fec_until_it_loses_none(loop: VirtualLoop) -> None:
    bench = StreamBench(loop, REPAIRABLE)
    speech = speechlike(6.0, 8000)

    clean = await tell(bench, speech, loss=0.0)
    lossy = await tell(bench, speech, loss=0.05)
    mended = await tell(bench, speech, loss=0.0)

    assert all(map(is_celt, clean))
    # The report is looked at within a second of its coming.
    assert not any(map(is_celt, lossy[100:]))
    assert all(map(is_celt, mended[-30:]))
    packets = bench.transport.packets
    assert [packet.sequence for packet in packets] == [1000 + n for n in range(900)]
    assert [packet.timestamp for packet in packets] == [5000 + n * 960 for n in range(900)]
    await bench.close()


@in_virtual_time
async def test_fec_brings_back_what_was_lost(loop: VirtualLoop) -> None:
    bench = StreamBench(loop, REPAIRABLE)
    payloads = await tell(bench, recorded_speech(8000), loss=0.05)
    whole, repaired, guessed = (OpusDecoder(8000) for _ in range(3))
    errors: dict[OpusDecoder, list[Pcm]] = {repaired: [], guessed: []}

    for number in range(100, len(payloads) - 1):
        payload, following = payloads[number], payloads[number + 1]
        heard = whole.decode(payload)
        if number % 20:
            repaired.decode(payload)
            guessed.decode(payload)
        else:
            errors[repaired].append(repaired.decode_fec(following, 160) // 2 - heard // 2)
            errors[guessed].append(guessed.conceal(160) // 2 - heard // 2)

    levels = {decoder: level_dbfs(np.concatenate(each)) for decoder, each in errors.items()}
    assert levels[repaired] < levels[guessed] - 4
    await bench.close()


@in_virtual_time
async def test_party_that_wants_no_fec_is_sent_none(loop: VirtualLoop) -> None:
    bench = StreamBench(loop, OPUS)

    payloads = await tell(bench, speechlike(4.0, 8000), loss=0.2)

    assert all(map(is_celt, payloads))
    await bench.close()


# ---- comfort noise


def pauses(count: int) -> list[AudioFrame]:
    """Silence that is nobody's, as the tick feeds it."""
    return [AudioFrame(number * 960, 960, 1000.0) for number in range(count)]


@pytest.mark.rfc(3389, "4")
@in_virtual_time
async def test_party_that_takes_cn_is_told_of_a_pause_and_sent_no_silence(
    loop: VirtualLoop,
) -> None:
    bench = StreamBench(loop)
    bench.configure(PCMU, send_noise=COMFORT_NOISE)
    hiss = (np.random.default_rng(1).standard_normal(8000) * 40).astype(np.int16)
    page = Voice()
    spoken = [page.frame_of_pcm(piece, 8000, 1000.0) for piece in frames_of(hiss, 160)]
    silent = [page.conceal(960, 1000.0) for _ in range(100)]
    back = [page.frame_of_pcm(piece, 8000, 1000.0) for piece in frames_of(hiss, 160)]

    for frame in (*spoken, *silent, *back):
        bench.stream.hear(frame)

    packets = bench.transport.packets
    told = [packet for packet in packets if packet.payload_type == 13]
    speech = [packet for packet in packets if packet.payload_type == 0]
    # PLC is speech for 60 ms; then one in 400 ms.
    assert (len(speech), len(told)) == (50 + 3 + 50, 5)
    assert [len(packet.payload) for packet in told] == [1] * 5
    assert told[0].payload[0] == pytest.approx(-20 * np.log10(40 / 32768), abs=3)
    assert [packet.sequence for packet in packets] == [1000 + n for n in range(108)]
    assert told[0].timestamp == 5000 + 53 * 160
    assert not told[0].marker
    assert speech[53].marker
    assert speech[53].timestamp == 5000 + 150 * 160
    await bench.close()


@in_virtual_time
async def test_silence_itself_is_told_as_a_little_noise(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    bench.configure(PCMU, send_noise=COMFORT_NOISE)

    for frame in pauses(1):
        bench.stream.hear(frame)
    bench.configure(PCMU, send_noise=COMFORT_NOISE)
    for frame in said(PCMU, speechlike(0.02, 8000)) + pauses(1):
        bench.stream.hear(frame)

    assert [packet.payload for packet in bench.transport.packets if packet.payload_type == 13] == [
        bytes((QUIETEST_LEVEL,))
    ]
    await bench.close()


@in_virtual_time
async def test_party_that_takes_no_cn_is_sent_quiet_that_does_not_pop(loop: VirtualLoop) -> None:
    bench = StreamBench(loop, PCMA)

    for frame in pauses(20):
        bench.stream.hear(frame)

    payloads = [packet.payload for packet in bench.transport.packets]
    assert len(payloads) == 20
    assert max(abs(int(sample)) for sample in A_LAW.decode(b"".join(payloads))) <= 8
    await bench.close()


@in_virtual_time
async def test_digit_is_not_disturbed_by_a_pause(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    bench.configure(PCMU, send_noise=COMFORT_NOISE)
    for frame in said(PCMU, speechlike(0.1, 8000)):
        bench.stream.hear(frame)

    bench.stream.digit("5", Phase.START)
    for frame in pauses(10):
        bench.stream.hear(frame)

    assert {packet.payload_type for packet in bench.transport.packets[5:]} == {101}
    await bench.close()
