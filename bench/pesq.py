"""How voices sound through whole systems: `python -m bench.pesq [--systems gateway,rtpengine]`.

One call a system, a page (Opus) and a phone (PCMU), as `python -m bench bridge` makes them. Each
end says eight synthetic voices (espeak-ng), one after the other; PESQ (ITU-T P.862, narrowband)
compares what the other end's decoder makes of the packets with what the voice was at 8 kHz before
any coder. The row `codecs` is the two coders in turn with no system between.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from statistics import fmean
from typing import Any, cast

import numpy as np
import uvloop
from numpy.typing import NDArray

from bench.clip import Clip, encode_opus, encode_pcmu, opus_clip
from bench.generator import BenchCall
from bench.modes import VOICES, spoken
from bench.page import Page
from bench.results import save
from bench.stream import payload_of
from bench.system import SYSTEMS, System
from bench.under_test import circumstances, under_test
from gateway.media.g711 import MU_LAW
from gateway.media.opus import Application, OpusDecoder, OpusEncoder, OpusOptions

Pcm = NDArray[np.int16]

COMMAND = {"command": "python -m bench.pesq"}

RATE = 8000
FRAME = RATE // 50
OPUS_PAYLOAD_TYPE = 111
PAUSE_FRAMES = 25
"Silence before each voice: encoders and decoders settle."

TAIL_FRAMES = 25
"Heard after the last voice: what the system holds back."

SETTLE_S = 2.0
MAX_SHIFT_S = 0.4
"A voice is looked for within so much of where it is due."


@cache
def voices() -> tuple[Pcm, ...]:
    """Each voice at 8 kHz, whole frames."""
    return tuple(spoken(voice, pitch, RATE) for voice, pitch in VOICES)


def whole(rate: int) -> Pcm:
    """All voices with their pauses, at a rate."""
    pause = np.zeros(PAUSE_FRAMES * rate // 50, np.int16)
    pieces: list[Pcm] = []
    for (voice, pitch), at_8k in zip(VOICES, voices(), strict=True):
        frames = len(at_8k) // FRAME
        said = spoken(voice, pitch, rate)[: frames * rate // 50]
        padded = np.zeros(frames * rate // 50, np.int16)
        padded[: len(said)] = said
        pieces += [pause, padded]
    return np.concatenate([*pieces, np.zeros(TAIL_FRAMES * rate // 50, np.int16)])


@dataclass(frozen=True, slots=True)
class Scores:
    """PESQ of one direction, over the voices."""

    mean: float
    lowest: float


def score(heard: Pcm) -> Scores:
    """Compare what was heard, which begins near the first pause, with what was said.

    Raises:
        ValueError: a voice is not in it.
    """
    pesq = importlib.import_module("pesq").pesq
    values: list[float] = []
    due = 0
    for voice in voices():
        due += PAUSE_FRAMES * FRAME
        found = _cut(heard, voice, due)
        values.append(float(pesq(RATE, voice, found, "nb")))
        due += len(voice)
    return Scores(round(fmean(values), 3), round(min(values), 3))


def _cut(heard: Pcm, voice: Pcm, due: int) -> Pcm:
    """The stretch of what was heard that is most like the voice."""
    reach = round(MAX_SHIFT_S * RATE)
    start = max(0, due - reach)
    stretch = heard[start : due + len(voice) + reach].astype(np.float64)
    size = 1 << (len(stretch) + len(voice)).bit_length()
    spectrum = np.fft.rfft(stretch, size) * np.conj(np.fft.rfft(voice.astype(np.float64), size))
    correlation = np.fft.irfft(spectrum, size)[: max(1, len(stretch) - len(voice) + 1)]
    at = start + int(correlation.argmax())
    found = heard[at : at + len(voice)]
    if len(found) < len(voice) or not found.any():
        raise ValueError("a voice was not heard whole: is the machine busy with something else?")
    return found


# ---- what each end says, and what its decoder makes of the packets


@cache
def opus_said(*, narrowband: bool, payload_type: int) -> Clip:
    """The voices as a page sends them, in the way the answer asks for."""
    like = opus_clip(narrowband=narrowband, payload_type=payload_type)
    rate, bit_rate = (8000, 24000) if narrowband else (48000, 32000)
    packets = tuple(encode_opus(whole(rate), rate, bit_rate))
    return replace(like, packets=packets, sound=np.zeros(0))


@cache
def pcmu_said() -> Clip:
    """The voices as a phone sends them."""
    data = encode_pcmu(whole(RATE))
    packets = tuple(data[n : n + FRAME] for n in range(0, len(data), FRAME))
    return Clip("PCMU", packets, np.zeros(0), FRAME, 0)


def opus_heard(payloads: list[bytes]) -> Pcm:
    """What a decoder at 8 kHz makes of them."""
    decoder = OpusDecoder(RATE)
    pieces = [decoder.decode(each) if each else decoder.conceal(FRAME) for each in payloads]
    return np.concatenate(pieces)


def pcmu_heard(payloads: list[bytes]) -> Pcm:
    """What a phone plays of them."""
    return MU_LAW.decode(b"".join(each or b"\xff" * FRAME for each in payloads))


def codecs_alone() -> dict[str, Any]:
    """The same voices through the coders in turn, and nothing between."""
    up = pcmu_heard([MU_LAW.encode(opus_heard([*encode_opus(whole(RATE), RATE, 24000)]))])
    encoder = OpusEncoder(RATE, OpusOptions(48_000, 0, Application.LOW_DELAY))
    phone = MU_LAW.decode(MU_LAW.encode(whole(RATE)))
    frames = [phone[n : n + FRAME] for n in range(0, len(phone), FRAME)]
    down = opus_heard([encoder.encode(frame) for frame in frames])
    return _row("codecs", score(up), score(down))


# ---- a system


async def measure(system: System) -> dict[str, Any]:
    """One call through it, all voices both ways at once."""
    for narrowband in (True, False):  # before the call, which must not wait for it
        opus_said(narrowband=narrowband, payload_type=OPUS_PAYLOAD_TYPE)
    said_down = pcmu_said()
    async with under_test(system) as at:
        await at.set_calls(1)
        await asyncio.sleep(SETTLE_S)
        call = at.generator.calls[0]
        page = cast(Page, call.page)
        assert page.said is not None
        assert page.clip is not None
        narrowband = "narrowband" in page.clip.mode
        said_up = opus_said(narrowband=narrowband, payload_type=page.clip.payload_type)
        frames = len(said_down.packets) + PAUSE_FRAMES
        for end in (call.page, call.phone):
            end.heard.record()
            end.heard.capture(frames)
        page.said.say(said_up)
        call.phone.said.say(said_down)
        await asyncio.sleep(frames / 50 + 0.5)
        up, down = _heard(call, page)
    return _row(system.name, up, down) | {"page": page.clip.mode} | circumstances(system) | COMMAND


def _heard(call: BenchCall, page: Page) -> tuple[Scores, Scores]:
    up = _in_order(call.phone.heard.captured, 160, lambda packet: packet)
    down = _in_order(page.heard.captured, 960, page.unprotect)
    return score(pcmu_heard(up)), score(opus_heard(down))


def _in_order(
    captured: list[tuple[int, bytes]], step: int, opened: Callable[[bytes], bytes | None]
) -> list[bytes]:
    """Payloads by their timestamps; b"" for one that did not come."""
    packets = [packet for packet in (opened(each) for _, each in captured) if packet]
    first = int.from_bytes(packets[0][4:8], "big")
    by_number = {
        (int.from_bytes(packet[4:8], "big") - first & 0xFFFFFFFF) // step: payload_of(packet)
        for packet in packets
    }
    return [by_number.get(number, b"") for number in range(len(packets))]


def _row(name: str, up: Scores, down: Scores) -> dict[str, Any]:
    return {
        "system": name,
        "pesq_toward_phone": up.mean,
        "pesq_toward_phone_lowest": up.lowest,
        "pesq_toward_page": down.mean,
        "pesq_toward_page_lowest": down.lowest,
    }


def _systems(text: str) -> list[System]:
    unknown = set(text.split(",")) - SYSTEMS.keys()
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return [SYSTEMS[name] for name in text.split(",")]


async def _run(systems: list[System], *, as_json: bool) -> None:
    rows = [codecs_alone()]
    for system in systems:
        print(f"{system.name} …", file=sys.stderr, flush=True)
        rows.append(await measure(system))
    save("pesq", rows)
    for row in rows:
        if as_json:
            print(json.dumps(row))
        else:
            print(
                f"{row['system']:14} toward the phone {row['pesq_toward_phone']:.2f}"
                f" (lowest {row['pesq_toward_phone_lowest']:.2f}), toward the page"
                f" {row['pesq_toward_page']:.2f} (lowest {row['pesq_toward_page_lowest']:.2f})"
            )


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.pesq", description=__doc__)
    parser.add_argument(
        "--systems",
        type=_systems,
        default=_systems("gateway,rtpengine,rtpengine-48k"),
        help=f"of {', '.join(SYSTEMS)}, with commas",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each row")
    arguments = parser.parse_args()
    uvloop.run(_run(arguments.systems, as_json=arguments.json))


if __name__ == "__main__":
    main()
