"""What loss costs whoever listens: PESQ (ITU-T P.862) beside the same call without any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from pesq import pesq

from gateway.codec import OPUS, PCMU, Codec
from gateway.media.g711 import MU_LAW
from gateway.media.opus import OpusDecoder, OpusEncoder, OpusOptions
from gateway.rtp.packet import RtpPacket
from tests.leg.peer import Bridge
from tests.media.sound import Pcm, frames_of, recorded_speech
from tests.support.impair import Impairer
from tests.support.loop import VirtualLoop

MAX_COST = 0.6
"Of 5 % random loss (F12)."

CLIP = recorded_speech(8000)[: 8000 * 15]
BROWSER = OpusOptions(bitrate=24_000, complexity=5, fec=True, loss_percent=10)
"As a browser codes for who reports loss and asks for narrowband and FEC."


def payloads_of(codec: Codec) -> list[bytes]:
    pieces = frames_of(CLIP, 160)
    if codec.name == "PCMU":
        return [MU_LAW.encode(piece) for piece in pieces]
    encoder = OpusEncoder(8000, BROWSER)
    return [encoder.encode(piece) for piece in pieces]


def heard_of(packets: Sequence[RtpPacket], codec: Codec) -> Pcm:
    """What the far end makes of it, by timestamps, with all the time in the world."""
    begin, step = packets[0].timestamp, codec.clock_rate // 50
    by_place = {(p.timestamp - begin & 0xFFFF_FFFF) // step: p.payload for p in packets}
    decoder = OpusDecoder(8000)
    pieces = []
    for place in range(len(CLIP) // 160):
        payload, following = by_place.get(place), by_place.get(place + 1)
        if codec.name == "PCMU":
            pieces.append(MU_LAW.decode(payload) if payload else np.zeros(160, np.int16))
        elif payload:
            pieces.append(decoder.decode(payload))
        else:
            pieces.append(decoder.decode_fec(following or b"", 160))
    return np.concatenate(pieces)


def score(first: Codec, second: Codec, loss: float, seed: int = 0) -> float:
    """What the second party hears of the first over a path that loses so much before us."""
    loop = VirtualLoop()

    async def call() -> list[RtpPacket]:
        bridge = Bridge(loop, first, second)
        packets = await bridge.carry(payloads_of(first), Impairer(seed, loss=loss))
        await bridge.close()
        return packets

    packets = loop.run_until_complete(call())
    loop.finish()
    heard = heard_of(packets, second)
    return float(pesq(8000, CLIP[: len(heard)], heard, "nb"))


@pytest.mark.parametrize(
    ("first", "second"),
    [(PCMU, OPUS), (OPUS, PCMU), (PCMU, PCMU)],
    ids=["phone to page", "page to phone", "phone to phone"],
)
def test_f12_loss_before_us_costs_at_most_so_much(first: Codec, second: Codec) -> None:
    alone = score(first, second, 0.0)

    def cost(loss: float, paths: int) -> float:
        heard = [score(first, second, loss, seed) for seed in range(paths)]
        return alone - sum(heard) / paths

    assert alone > 3.5
    assert cost(0.01, 2) <= 0.3
    assert cost(0.03, 2) <= 0.5
    assert cost(0.05, 4) <= MAX_COST


def test_f12_loss_after_us_costs_a_page_at_most_so_much() -> None:
    loop = VirtualLoop()
    page_codec = replace(OPUS, fmtp="minptime=10;useinbandfec=1")

    async def call() -> list[RtpPacket]:
        bridge = Bridge(loop, PCMU, page_codec)
        # The page has reported loss before.
        bridge.sides[1].report_loss(0.05)
        await bridge.carry(payloads_of(PCMU)[:60], Impairer(0))
        packets = await bridge.carry(payloads_of(PCMU), Impairer(0))
        await bridge.close()
        return packets

    packets = loop.run_until_complete(call())
    loop.finish()
    path = Impairer(4, loss=0.05)
    left = [packet for packet in packets if packet is packets[0] or path.send(b"", 0.0)]

    whole, holed = (
        float(pesq(8000, CLIP, heard_of(each, page_codec), "nb")) for each in (packets, left)
    )

    assert len(left) < 0.97 * len(packets)
    assert whole - holed <= MAX_COST
