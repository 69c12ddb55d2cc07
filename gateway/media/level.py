"""How loud a voice is, whether it is clipped, and how much of it is silence: by samples of it.

Levels are in dBov: 0 is a square wave at full scale, a sine at full scale is -3.01 (RFC 6465).
G.711 is measured by table, undecoded; other codecs only where somebody had their PCM made.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from math import log10

import numpy as np
from numpy.typing import NDArray

from gateway.media.frame import AudioFrame
from gateway.media.g711 import LAWS

FULL_SCALE = 32768.0**2

SILENT_DBOV = -60.0
"What is not louder is silence: a quiet line is at -65, a whisper at -45."

QUIETEST_DBOV = -127.0
"As RFC 6464 ends its scale."


class LevelMeter:
    """Sums up looks at one voice."""

    __slots__ = ("_power", "_voiced", "clipped", "looks", "samples", "silent")

    def __init__(self) -> None:
        self.looks = 0
        self.silent = 0
        "Looks that found nothing above `SILENT_DBOV`."
        self.samples = 0
        self.clipped = 0
        "Samples at the end of the scale."
        self._power = 0.0
        self._voiced = 0

    @property
    def level_dbov(self) -> float | None:
        """The mean level of what was no silence; None where there was nothing else."""
        return _dbov(self._power / self._voiced) if self._voiced else None

    @property
    def silence_percent(self) -> float | None:
        """Looks that found silence; None before the first."""
        return 100 * self.silent / self.looks if self.looks else None

    @property
    def clipping_percent(self) -> float | None:
        """Samples at the end of the scale; None before the first look."""
        return 100 * self.clipped / self.samples if self.samples else None

    def look_at_frames(self, frames: Iterable[AudioFrame]) -> None:
        """Look at some frames of one voice: those that can be measured without a decoder."""
        payloads: dict[str, list[bytes]] = {}
        pieces: list[NDArray[np.int16]] = []
        for frame in frames:
            codec, payload, pcm = frame.codec, frame.payload, frame.rendered
            if codec is None or payload is None:
                continue
            if codec.name in LAWS:
                payloads.setdefault(codec.name, []).append(payload)
            elif pcm is not None:
                pieces.append(pcm)
        for name, found in payloads.items():
            self.look_at_payload(name, b"".join(found))
        if pieces:
            self.look_at_pcm(np.concatenate(pieces))

    def look_at_payload(self, codec: str, payload: bytes) -> None:
        """Look at G.711 as it was received; other codecs are passed over."""
        if codec not in LAWS or not payload:
            return
        linear, ends = _table(codec)
        samples = linear.take(np.frombuffer(payload, np.uint8), mode="wrap")
        clipped = payload.count(ends[0]) + payload.count(ends[1])
        self._add(len(payload), float(samples.dot(samples)), clipped)

    def look_at_pcm(self, pcm: NDArray[np.int16]) -> None:
        """Look at linear audio of any rate, full scale ±32768."""
        if not len(pcm):
            return
        samples = pcm.astype(np.float32)
        clipped = np.count_nonzero(np.abs(samples) >= 32767)
        self._add(len(pcm), float(samples.dot(samples)), int(clipped))

    def _add(self, samples: int, power: float, clipped: int) -> None:
        self.looks += 1
        self.samples += samples
        self.clipped += clipped
        if _dbov(power / samples) <= SILENT_DBOV:
            self.silent += 1
        else:
            self._power += power
            self._voiced += samples


@lru_cache(maxsize=2)
def _table(codec: str) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Samples by code, and the codes at both ends of the scale."""
    linear = LAWS[codec].decode(bytes(range(256))).astype(np.float32)
    return linear, (int(linear.argmin()), int(linear.argmax()))


def _dbov(power: float) -> float:
    return max(QUIETEST_DBOV, 10 * log10(power / FULL_SCALE)) if power > 0 else QUIETEST_DBOV
