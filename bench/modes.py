"""How good and how dear each way to encode is: `python -m bench.modes [--loss 3]`.

Eight synthetic voices (espeak-ng) through one coder and decoder alone. PESQ (ITU-T P.862, of the
PyPI package `pesq`, which the tests need too) compares what comes out with what went in,
narrowband at 8 kHz, wideband (P.862.2) at 16 kHz; µs are those of one frame of 20 ms.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.media.file import read_wav
from gateway.media.g711 import A_LAW, MU_LAW
from gateway.media.g722 import G722Decoder, G722Encoder
from gateway.media.opus import Application, OpusDecoder, OpusEncoder, OpusOptions
from gateway.media.resample import resample

Pcm = NDArray[np.int16]

VOICES = tuple((voice, pitch) for voice in ("en-us", "en-gb", "de", "fr") for pitch in ("35", "60"))
TEXT = "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background."

APPLICATIONS = (Application.VOIP, Application.LOW_DELAY)
BITRATES = (16_000, 24_000, 32_000, 48_000, 64_000)


class Encodes(Protocol):
    def encode(self, pcm: Pcm) -> bytes: ...


class Decodes(Protocol):
    def decode(self, payload: bytes) -> Pcm: ...


@dataclass(frozen=True, slots=True)
class Row:
    """One way to code."""

    name: str
    rate: int
    options: OpusOptions | None = None
    "None: not Opus."

    def coder(self) -> tuple[Encodes, Decodes]:
        if self.options is not None:
            return OpusEncoder(self.rate, self.options), OpusDecoder(self.rate)
        if self.name == "G722":
            return G722Encoder(), G722Decoder()
        law = MU_LAW if self.name == "PCMU" else A_LAW
        return law, law


def rows() -> Iterator[Row]:
    """Everything that could be chosen."""
    yield from (Row("PCMU", 8000), Row("PCMA", 8000), Row("G722", 16_000))
    for rate, complexities in ((8000, (0, 5)), (16_000, (0, 3, 5)), (24_000, (0, 5))):
        for application, complexity, bitrate in product(APPLICATIONS, complexities, BITRATES):
            options = OpusOptions(bitrate, complexity, application)
            mode = "CELT" if application is Application.LOW_DELAY else "SILK"
            name = f"opus {mode} {rate // 1000} kHz, {bitrate // 1000} kb/s, c{complexity}"
            yield Row(name, rate, options)


@cache
def clips(rate: int) -> tuple[Pcm, ...]:
    """The voices, as long as whole frames; what is heard at 8 kHz came over G.711."""
    return tuple(_clip(voice, pitch, rate) for voice, pitch in VOICES)


def spoken(voice: str, pitch: str, rate: int) -> Pcm:
    """The text in one voice, whole frames of it. Needs espeak-ng."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.wav"
        command = ["espeak-ng", "-v", voice, "-p", pitch, "-s", "150", "-w", str(path), TEXT]
        subprocess.run(command, check=True)
        said, said_rate = read_wav(path)
    pcm = resample(said, said_rate, rate)
    return pcm[: len(pcm) // (rate // 50) * (rate // 50)]


def _clip(voice: str, pitch: str, rate: int) -> Pcm:
    pcm = spoken(voice, pitch, rate)
    return MU_LAW.decode(MU_LAW.encode(pcm)) if rate == 8000 else pcm


def through(row: Row, pcm: Pcm, loss: float) -> tuple[Pcm, float, float, int]:
    """What comes out, µs a frame to encode and to decode, and bytes."""
    encoder, decoder = row.coder()
    size, chance = row.rate // 50, np.random.default_rng(1876)
    heard, size_bytes = [], 0
    encoding, decoding = [], []
    for start in range(0, len(pcm), size):
        began = time.perf_counter()
        payload = encoder.encode(pcm[start : start + size])
        encoded = time.perf_counter()
        is_lost = chance.random() < loss and isinstance(decoder, OpusDecoder)
        if is_lost and isinstance(decoder, OpusDecoder):
            piece = decoder.conceal(size)
        else:
            piece = decoder.decode(payload)
        decoding.append(time.perf_counter() - encoded)
        encoding.append(encoded - began)
        size_bytes += len(payload)
        heard.append(piece)
    # The median: whatever else the machine does meanwhile is none of the coder's.
    spent = [1e6 * float(np.median(each)) for each in (encoding, decoding)]
    return np.concatenate(heard), spent[0], spent[1], size_bytes


def measure(row: Row, loss: float) -> str:
    """One line of the table."""
    pesq = importlib.import_module("pesq").pesq
    scored_rate = min(row.rate, 16_000)
    scores, spent, bits, seconds = [], [], 0, 0.0
    for pcm in clips(row.rate):
        heard, encoding, decoding, size = through(row, pcm, loss)
        reference = pcm
        if row.rate != scored_rate:
            heard, reference = (resample(each, row.rate, scored_rate) for each in (heard, pcm))
        scores.append(pesq(scored_rate, reference, heard, "nb" if scored_rate == 8000 else "wb"))
        spent.append((encoding, decoding))
        bits += 8 * size
        seconds += len(pcm) / row.rate
    encoding, decoding = np.median(np.array(spent), axis=0)
    return (
        f"{row.name:38} {np.mean(scores):5.2f} {min(scores):5.2f}"
        f" {bits / seconds / 1000:7.1f} {encoding:7.1f} {decoding:7.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loss", type=float, default=0.0, help="percent of packets, at random")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    arguments = parser.parse_args()
    print(f"{'coder':38}  PESQ worst    kb/s  µs enc  µs dec")
    for row in rows():
        if arguments.only in row.name:
            print(measure(row, arguments.loss / 100), flush=True)


if __name__ == "__main__":
    main()
