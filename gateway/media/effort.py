"""How Opus is encoded: what sounds best, what the receiver asks for, what the machine can bear.

Measured (`python -m bench.modes`: eight voices, libopus 1.6.1; PESQ, and at 3 % loss; µs a frame):

     8 kHz   CELT 48 kb/s, complexity 0   4.45 3.60  18 µs     SILK 32 kb/s, 0  4.44 3.46   25 µs
    16 kHz   CELT 64 kb/s, complexity 0   4.04 3.03  26 µs     SILK 32 kb/s, 5  3.86 2.70  125 µs
    24 kHz   CELT 64 kb/s, complexity 0   3.71       31 µs     SILK 32 kb/s, 5  3.38       152 µs

CELT costs bits and nothing else: less time, 4 ms less delay, and no frame leans on the one before.
Where the receiver wants few bits, or none for pauses, SILK is the better of the two; and it alone
has FEC, for who loses packets.
"""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum
from functools import lru_cache
from typing import Protocol
from weakref import WeakSet

from gateway.codec import OPUS, Codec, read_parameter
from gateway.media.opus import Application, OpusOptions

NARROW_RATE = 8000
"Hz. An encoder at a higher rate is one for wideband."

MIN_CELT_BITRATE = 40_000
"Below it CELT sounds worse than SILK does, at any rate."

MAX_REMEMBERED = 64
"Ways to encode that are not worked out anew: makes of peers, times rates, times efforts."

MIN_BITRATE = 6000
"Bits per second: libopus takes no less (RFC 7587 §6.1)."


class Effort(IntEnum):
    """What the encoders of a process may spend."""

    FULL = 0
    LEAN = 1
    "Complexity 0 where it is not anyway: SILK at 12 kHz and above takes a third of the time."
    FRUGAL = 2
    "A third less bits too, which take less time to code, to encrypt and to send."


CELT_NARROW = OpusOptions(bitrate=48_000, application=Application.LOW_DELAY)
CELT_WIDE = OpusOptions(bitrate=64_000, application=Application.LOW_DELAY)
SILK_NARROW = OpusOptions(bitrate=32_000)
SILK_WIDE = OpusOptions(bitrate=32_000, complexity=5)
# FEC takes a third of the bits. PESQ at 5 % of loss: 4.08 at 8 kHz (CELT 3.40), 4.05 at 16 (3.12).
SILK_NARROW_FEC = OpusOptions(bitrate=48_000)
SILK_WIDE_FEC = OpusOptions(bitrate=64_000, complexity=5)


@lru_cache(maxsize=MAX_REMEMBERED)
def opus_options(
    rate: int, codec: Codec = OPUS, effort: Effort = Effort.FULL, *, loss_percent: int = 0
) -> OpusOptions:
    """How to encode what is heard at `rate` Hz for one receiver.

    Args:
        codec: with the receiver's fmtp: maxaveragebitrate, usedtx, cbr, useinbandfec are obeyed.
        loss_percent: what the receiver loses; above 0 it is sent FEC, if it wants any.
    """
    limit = max(read_parameter(codec, "maxaveragebitrate", CELT_WIDE.bitrate), MIN_BITRATE)
    wants_dtx = read_parameter(codec, "usedtx", 0) == 1
    has_fec = loss_percent > 0 and read_parameter(codec, "useinbandfec", 0) == 1
    is_narrow = rate <= NARROW_RATE
    # CELT has no FEC, and hardly knows a pause.
    if has_fec:
        options = SILK_NARROW_FEC if is_narrow else SILK_WIDE_FEC
    elif limit < MIN_CELT_BITRATE or wants_dtx:
        options = SILK_NARROW if is_narrow else SILK_WIDE
    else:
        options = CELT_NARROW if is_narrow else CELT_WIDE
    bitrate = min(options.bitrate, limit)
    return replace(
        options,
        bitrate=max(bitrate * 2 // 3, MIN_BITRATE) if effort >= Effort.FRUGAL else bitrate,
        complexity=0 if effort >= Effort.LEAN else options.complexity,
        fec=has_fec,
        loss_percent=loss_percent if has_fec else 0,
        dtx=wants_dtx,
        cbr=read_parameter(codec, "cbr", 0) == 1,
    )


class Adjustable(Protocol):
    """An encoder that can spend less."""

    def spend(self, effort: Effort) -> None:
        """Go on with that effort, from the next frame on."""


class Workload:
    """The Opus encoders of a process, which spend less together when there is too much to do."""

    def __init__(self) -> None:
        self._effort = Effort.FULL
        self._encoders: WeakSet[Adjustable] = WeakSet()

    @property
    def effort(self) -> Effort:
        """What they spend now."""
        return self._effort

    @property
    def count(self) -> int:
        """Encoders in use."""
        return len(self._encoders)

    def add(self, encoder: Adjustable) -> None:
        """Tell this encoder too; it is forgotten when it goes."""
        self._encoders.add(encoder)

    def discard(self, encoder: Adjustable) -> None:
        """Tell it no more: it is closed."""
        self._encoders.discard(encoder)

    def change(self, effort: Effort) -> None:
        """Spend that much from now on: some µs for each encoder, once."""
        self._effort = effort
        for encoder in tuple(self._encoders):
            encoder.spend(effort)
