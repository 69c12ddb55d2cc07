"""What a party is sent: repaired, rested, cut to its packets, and never in a burst."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np

from gateway.codec import OPUS, PCMU
from gateway.media.opus import OpusDecoder
from gateway.media.tone import level_dbfs
from tests.leg.peer import StreamBench, said
from tests.media.sound import Pcm, recorded_speech, speechlike
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
