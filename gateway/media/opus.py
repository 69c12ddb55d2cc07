"""Opus by libopus itself, over ctypes (RFC 6716; RFC 7587 for RTP).

PyAV's encoder has no DTX and its decoder neither FEC nor PLC, at 48 kHz only; libopus codes at
8, 12, 16, 24 and 48 kHz, so that an Opus leg never needs a resampler.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from ctypes.util import find_library
from dataclasses import dataclass
from enum import Enum
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.codec import OPUS_RATES
from gateway.errors import ConfigError, RemoteProtocolError

LIBRARY_VARIABLE = "GATEWAY_LIBOPUS"
"Environment variable with the path of the libopus to use."

RATES = OPUS_RATES
"Rates libopus codes at."

MAX_PACKET_MS = 120
"Longest packet (RFC 6716 §3.2.5, R5)."

MAX_PAYLOAD_BYTES = 1275 * 6 + 7
"Largest meaningful payload of 120 ms (RFC 6716 §3.2: 1275 bytes a frame); more is junk."

MAX_ENCODED_BYTES = 1275
"One frame, as large as RFC 6716 allows: below any MTU."

FRAME_MS = 20
"The ptime we send."

MAX_FRAME_MS = 60
"The longest frame that is one Opus frame."

_MONO = 1
_SET_BITRATE = 4002
_SET_MAX_BANDWIDTH = 4004
_SET_VBR = 4006
_SET_COMPLEXITY = 4010
_SET_INBAND_FEC = 4012
_SET_PACKET_LOSS_PERC = 4014
_SET_DTX = 4016
_SET_SIGNAL = 4024


class Application(Enum):
    """What the encoder optimises for (opus_defines.h)."""

    VOIP = 2048
    AUDIO = 2049
    LOW_DELAY = 2051


class Signal(Enum):
    """What is being coded, where we know better than its guess."""

    AUTO = -1000
    VOICE = 3001
    MUSIC = 3002


class Bandwidth(Enum):
    """The highest audio band the encoder may use."""

    NARROW = 1101
    MEDIUM = 1102
    WIDE = 1103
    SUPERWIDE = 1104
    FULL = 1105


@dataclass(frozen=True, slots=True)
class OpusOptions:
    """How to encode."""

    bitrate: int = 32_000
    "Bits per second, 6000 to 510000."
    complexity: int = 0
    "0 to 10. From 7 on the tonality analyser runs: lower mean, four times the 95th percentile."
    application: Application = Application.VOIP
    fec: bool = False
    "In-band FEC costs 2 to 5 times the CPU: only toward lossy legs."
    loss_percent: int = 0
    "Expected loss; FEC is coded only when it is above 0."
    dtx: bool = False
    "Send nothing in silence, but for a refresh every 400 ms."
    signal: Signal = Signal.AUTO
    max_bandwidth: Bandwidth = Bandwidth.FULL
    cbr: bool = False
    "Packets of one size (RFC 7587 §6.1), for whom the sizes of packets could tell what is said."


DEFAULTS = OpusOptions()


# One scratch for all codecs: it stays in the cache, where one each for hundreds of calls would not.
# Everything here runs on one thread, and no call leaves anything in it.
_PCM = np.zeros(RATES[-1] * MAX_PACKET_MS // 1000, np.int16)
_PCM_BUFFER = ctypes.c_void_p(_PCM.ctypes.data)
_PAYLOAD = np.zeros(MAX_ENCODED_BYTES, np.uint8)
_PAYLOAD_BUFFER = ctypes.c_void_p(_PAYLOAD.ctypes.data)


class OpusDecoder:
    """One mono decoder. It never raises on what a peer sent: junk is concealed, and counted."""

    __slots__ = ("_decode", "_free", "_samples", "_size", "_state", "junk", "rate")

    def __init__(self, rate: int) -> None:
        """
        Raises:
            ConfigError: there is no libopus.
            ValueError: `rate` is not one of `RATES`.
        """
        if rate not in RATES:
            raise ValueError(f"Opus decodes at {RATES} Hz, not {rate}")
        library = load_library()
        error = ctypes.c_int()
        state = library.opus_decoder_create(rate, _MONO, ctypes.byref(error))
        _check(error.value, "opus_decoder_create")
        self.rate = rate
        self.junk = 0
        "Payloads that were no Opus."
        self._state = ctypes.c_void_p(state)
        self._decode = library.opus_decode
        self._free = library.opus_decoder_destroy
        self._size = rate * MAX_PACKET_MS // 1000
        self._samples = rate * FRAME_MS // 1000

    def decode(self, payload: bytes) -> NDArray[np.int16]:
        """Decode one payload: 2.5 to 120 ms at `rate`; as long as the last one if it is junk."""
        size = len(payload)
        # An empty payload would mean PLC to libopus.
        if 0 < size <= MAX_PAYLOAD_BYTES:
            samples = self._decode(self._state, payload, size, _PCM_BUFFER, self._size, 0)
            if samples > 0:
                self._samples = samples
                return _PCM[:samples].copy()
        self.junk += 1
        return self.conceal(self._samples)

    def conceal(self, samples: int) -> NDArray[np.int16]:
        """Invent `samples` that follow from what was heard (PLC)."""
        return self._fill(None, samples, 0)

    def decode_fec(self, following: bytes, samples: int) -> NDArray[np.int16]:
        """The lost `samples` before `following`, from its FEC; by PLC if it carries none."""
        if 0 < len(following) <= MAX_PAYLOAD_BYTES:
            return self._fill(following, samples, 1)
        return self.conceal(samples)

    def _fill(self, payload: bytes | None, samples: int, fec: int) -> NDArray[np.int16]:
        """Exactly `samples`: libopus conceals whole 2.5 ms only, and 120 ms at a time."""
        grain = self.rate // 400
        size = min(-(-samples // grain) * grain, self._size)
        length = 0 if payload is None else len(payload)
        got = self._decode(self._state, payload, length, _PCM_BUFFER, size, fec)
        if got < 0:
            self.junk += 1
            got = max(self._decode(self._state, None, 0, _PCM_BUFFER, size, 0), 0)
        pcm = np.zeros(samples, np.int16)
        pcm[:got] = _PCM[: min(got, samples)]
        return pcm

    def close(self) -> None:
        """Free it. It must not be used after; closing twice is harmless."""
        if self._state.value:
            self._free(self._state)
            self._state.value = None

    def __del__(self) -> None:
        if hasattr(self, "_state"):
            self.close()


class OpusEncoder:
    """One mono encoder for 20 ms frames (or others up to 60 ms, as given)."""

    __slots__ = ("_encode", "_free", "_settings", "_size", "_state", "rate")

    def __init__(self, rate: int, options: OpusOptions = DEFAULTS) -> None:
        """
        Raises:
            ConfigError: there is no libopus.
            ValueError: libopus refuses the rate or an option.
        """
        if rate not in RATES:
            raise ValueError(f"Opus encodes at {RATES} Hz, not {rate}")
        library = load_library()
        error = ctypes.c_int()
        state = library.opus_encoder_create(
            rate, _MONO, options.application.value, ctypes.byref(error)
        )
        _check(error.value, "opus_encoder_create")
        self.rate = rate
        self._state = ctypes.c_void_p(state)
        self._free = library.opus_encoder_destroy
        self._encode = library.opus_encode
        self._size = rate * MAX_FRAME_MS // 1000
        self._settings: frozenset[tuple[int, int]] = frozenset()
        self.configure(options)

    def configure(self, options: OpusOptions) -> None:
        """Change everything but the application, from the next frame on, without a click.

        Raises:
            ValueError: libopus refuses an option.
        """
        control = load_library().opus_encoder_ctl
        settings = _settings(options)
        # Each call takes a microsecond, and hundreds of encoders may be told at once.
        for request, value in settings - self._settings:
            _check(control(self._state, request, ctypes.c_int(value)), f"opus ctl {request}")
        self._settings = settings

    def encode(self, pcm: NDArray[np.int16]) -> bytes:
        """One payload for a frame of 2.5, 5, 10, 20, 40 or 60 ms.

        Returns:
            The payload; empty when DTX says that nothing need be sent.

        Raises:
            ValueError: a length that is no Opus frame.
        """
        samples = len(pcm)
        if samples > self._size:
            raise ValueError(f"an Opus frame has {self._size} samples at most, not {samples}")
        _PCM[:samples] = pcm
        size = self._encode(self._state, _PCM_BUFFER, samples, _PAYLOAD_BUFFER, MAX_ENCODED_BYTES)
        if size > 2:
            return _PAYLOAD[:size].tobytes()
        _check(size, f"opus_encode of {samples} samples at {self.rate} Hz")
        # opus_encode: a packet of two bytes or less need not be transmitted (DTX).
        return b""

    def close(self) -> None:
        """Free it. It must not be used after; closing twice is harmless."""
        if self._state.value:
            self._free(self._state)
            self._state.value = None

    def __del__(self) -> None:
        if hasattr(self, "_state"):
            self.close()


@lru_cache(maxsize=64)
def _settings(options: OpusOptions) -> frozenset[tuple[int, int]]:
    """What an encoder is told: requests and their values."""
    return frozenset(
        {
            (_SET_BITRATE, options.bitrate),
            (_SET_VBR, int(not options.cbr)),
            (_SET_COMPLEXITY, options.complexity),
            (_SET_INBAND_FEC, int(options.fec)),
            (_SET_PACKET_LOSS_PERC, options.loss_percent),
            (_SET_DTX, int(options.dtx)),
            (_SET_SIGNAL, options.signal.value),
            (_SET_MAX_BANDWIDTH, options.max_bandwidth.value),
        }
    )


def opus_duration(payload: bytes, rate: int = 48_000) -> int:
    """Samples at `rate` Hz in a payload, from its TOC byte (RFC 6716 §3.1, §3.2).

    Raises:
        RemoteProtocolError: empty, or over 120 ms, or without its frame count.
    """
    if not payload:
        raise RemoteProtocolError("empty Opus payload")
    toc = payload[0]
    code = toc & 3
    if code < 3:
        frames = _FRAMES_OF_CODE[code]
    elif len(payload) > 1:
        frames = payload[1] & 0x3F
    else:
        raise RemoteProtocolError("Opus payload without its frame count")
    half_ms = _HALF_MS_OF_CONFIG[toc >> 3] * frames
    if not 0 < half_ms <= 2 * MAX_PACKET_MS:
        raise RemoteProtocolError(f"Opus payload of {half_ms / 2:g} ms")
    return half_ms * rate // 2000


_FRAMES_OF_CODE = (1, 2, 2)
# RFC 6716 table 2: SILK 10 20 40 60 (12 configurations), hybrid 10 20 (4), CELT 2.5 5 10 20 (16).
_HALF_MS_OF_CONFIG = (20, 40, 80, 120) * 3 + (20, 40) * 2 + (5, 10, 20, 40) * 4


@cache
def load_library() -> Any:
    """The libopus of this process: the one configured, that of the av wheel, or the system's.

    Raises:
        ConfigError: there is none.
    """
    tried = []
    for name in _candidates():
        try:
            # PyDLL keeps the GIL: a frame takes 10 to 60 µs, and giving the GIL up for it lets a
            # computing thread stall the loop for 5 ms (measured).
            library = ctypes.PyDLL(name)
            _declare(library)
        except (OSError, AttributeError) as error:
            tried.append(f"{name} ({error})")
        else:
            return library
    raise ConfigError(
        f"libopus cannot be loaded; set {LIBRARY_VARIABLE} to its path, install the `av` package,"
        f" or install the system's (Debian: libopus0, macOS: brew install opus)."
        f" Tried: {'; '.join(tried) or 'nothing'}"
    )


def _candidates() -> Iterator[str]:
    configured = os.environ.get(LIBRARY_VARIABLE)
    if configured:
        yield configured
        return
    # The wheel's is newer than most systems', and is found without importing av and its FFmpeg.
    spec = find_spec("av")
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        yield from map(str, sorted(package.parent.glob("av.libs/libopus*")))
        yield from map(str, sorted(package.glob(".dylibs/libopus*")))
    yield from ("libopus.so.0", "libopus.0.dylib")
    found = find_library("opus")
    if found is not None:
        yield found


def _declare(library: ctypes.PyDLL) -> None:
    """Types of the calls at set-up. Those per frame go without: 0.2 instead of 0.4 µs.

    Their pointers are ready-made c_void_p and bytes, their integers fit C's int.
    """
    int_, pointer = ctypes.c_int, ctypes.c_void_p
    library.opus_decoder_create.restype = pointer
    library.opus_decoder_create.argtypes = [ctypes.c_int32, int_, pointer]
    library.opus_encoder_create.restype = pointer
    library.opus_encoder_create.argtypes = [ctypes.c_int32, int_, int_, pointer]
    for name in ("opus_decoder_destroy", "opus_encoder_destroy"):
        getattr(library, name).restype = None
        getattr(library, name).argtypes = [pointer]
    # Variadic: unless the fixed ones are declared, Apple Silicon passes the rest elsewhere.
    library.opus_encoder_ctl.argtypes = [pointer, int_]
    _ = library.opus_decode, library.opus_encode


def _check(status: int, what: str) -> None:
    if status < 0:
        raise ValueError(f"{what}: libopus says {_ERRORS.get(status, status)}")


_ERRORS = {-1: "bad argument", -2: "buffer too small", -3: "internal error", -5: "unimplemented"}
