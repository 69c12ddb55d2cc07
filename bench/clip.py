"""What the calls say: a loop of synthetic speech, encoded once before anything is measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import av
import numpy as np
from numpy.typing import NDArray

from bench.content import FRAME_SAMPLES, best_offset

Floats = NDArray[np.float64]

LOOP_FRAMES = 200
"4 s: longer than any delay that is measured, so that a position in it names one packet."

RATE = 48000
COMPARED_RATE = 8000
FULL_SCALE = 32767.0

SYLLABLES_PER_S = 4
FORMANTS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480))
"Of the vowels /ɑ i u ɛ/ (Peterson and Barney 1952), Hz."


@dataclass(frozen=True, slots=True)
class Clip:
    """A loop of packets and what a decoder makes of them."""

    mode: str
    "Codec, rate and bit rate, for the report."
    packets: tuple[bytes, ...]
    "20 ms each."
    sound: Floats
    "PCM at 8 kHz, the loop decoded."
    frame_ticks: int
    "RTP timestamp units of one packet."
    payload_type: int


@cache
def speech() -> Floats:
    """Synthetic speech at 48 kHz, ±1, cyclic: voiced syllables over formants, hiss between them.

    Always the same: its noise is seeded.
    """
    size = LOOP_FRAMES * RATE // 50
    noise = np.random.default_rng(1876)
    t = np.arange(size) / RATE
    syllables = size * SYLLABLES_PER_S // RATE
    length = size // syllables
    pitch = np.repeat(noise.uniform(95, 185, syllables), length)
    vowels = noise.integers(0, len(FORMANTS), syllables)
    loudness = np.repeat(noise.uniform(0.4, 1.0, syllables), length)
    phase = 2 * np.pi * np.cumsum(_smooth(pitch, RATE // 20) / RATE)
    within = (t * SYLLABLES_PER_S) % 1.0
    voiced = np.clip(np.sin(np.pi * within / 0.75), 0.0, None) ** 0.7 * (within < 0.75)
    formants = np.repeat(np.array(FORMANTS)[vowels], length, axis=0)
    sound = np.zeros(size)
    for harmonic in range(1, 40):
        frequency = harmonic * pitch
        gain = sum(1.0 / (1.0 + ((frequency - formants[:, n]) / 90.0) ** 2) for n in range(3))
        sound += gain / harmonic**0.3 * np.sin(harmonic * phase)
    sound *= voiced * loudness
    hiss = _band(noise.standard_normal(size), 3000, 12000) * (within >= 0.78) * loudness
    sound = 0.5 * sound / np.abs(sound).max() + 0.08 * hiss / np.abs(hiss).max()
    said: Floats = sound + 1e-4 * noise.standard_normal(size)
    return said


@cache
def opus_clip(*, narrowband: bool, payload_type: int) -> Clip:
    """The speech as a browser sends it: mono, VoIP mode.

    `narrowband` is what browsers make of `maxplaybackrate=8000;maxaveragebitrate=24000` in the
    answer (8 kHz SILK, 24 kb/s); otherwise it is their default, fullband at 32 kb/s.
    """
    rate, bit_rate = (8000, 24000) if narrowband else (48000, 32000)
    # The second time round the codec's memory is what it will be at each later wrap.
    pcm = np.tile(_to_int16(_resample_loop(speech(), RATE, rate)), 3)
    packets = encode_opus(pcm, rate, bit_rate)[LOOP_FRAMES : 2 * LOOP_FRAMES]
    sound = decode_opus([*packets, *packets])[LOOP_FRAMES * FRAME_SAMPLES :]
    kind = "narrowband" if narrowband else "fullband"
    mode = f"opus {kind} mono {bit_rate // 1000} kb/s"
    return Clip(mode, tuple(packets), sound, RATE // 50, payload_type)


@cache
def pcmu_clip() -> Clip:
    """The speech as a phone sends it."""
    pcm = _to_int16(_resample_loop(speech(), RATE, COMPARED_RATE))
    data = encode_pcmu(pcm)
    packets = tuple(data[n : n + FRAME_SAMPLES] for n in range(0, len(data), FRAME_SAMPLES))
    return Clip("PCMU", packets, decode_pcmu(data), FRAME_SAMPLES, 0)


@cache
def opus_delay(*, rate: int, bit_rate: int, application: str = "voip") -> int:
    """By how many samples at 8 kHz Opus itself shifts the sound of `pcmu_clip`."""
    loop = pcmu_clip().sound
    pcm = np.tile(_to_int16(_resample_loop(loop / FULL_SCALE, COMPARED_RATE, rate)), 2)
    heard = decode_opus(encode_opus(pcm, rate, bit_rate, application))
    offset, _ = best_offset(heard[len(loop) : 2 * len(loop)], loop)
    return -offset % len(loop)  # what comes late begins before the loop's start: at its end


def encode_opus(
    pcm: NDArray[np.int16], rate: int, bit_rate: int, application: str = "voip"
) -> list[bytes]:
    """Encode mono PCM to Opus packets of 20 ms; `application` as FFmpeg names libopus's."""
    codec = av.CodecContext.create("libopus", "w")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate = rate
    codec.layout = "mono"
    codec.format = "s16"
    codec.bit_rate = bit_rate
    codec.options = {"application": application, "frame_duration": "20"}
    step = rate // 50
    packets: list[bytes] = []
    for start in range(0, len(pcm), step):
        frame = av.AudioFrame.from_ndarray(
            pcm[start : start + step].reshape(1, -1), format="s16", layout="mono"
        )
        frame.sample_rate = rate
        frame.pts = start
        packets += [bytes(packet) for packet in codec.encode(frame)]
    return packets


def decode_opus(packets: list[bytes]) -> Floats:
    """Decode Opus packets of 20 ms to mono PCM at 8 kHz; an empty or bad one becomes silence."""
    codec = av.CodecContext.create("libopus", "r")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate = RATE
    codec.layout = "mono"
    pieces: list[Floats] = []
    for packet in packets:
        piece = np.zeros(FRAME_SAMPLES)
        try:
            frames = codec.decode(av.Packet(packet)) if packet else []
        except av.FFmpegError:
            frames = []
        if frames and frames[0].samples == FRAME_SAMPLES * 6:
            # A mean of six is filter enough to compare sounds by.
            piece = frames[0].to_ndarray().reshape(FRAME_SAMPLES, 6).mean(axis=1)
        pieces.append(piece)
    return np.concatenate(pieces) if pieces else np.zeros(0)


def _pcmu_levels() -> NDArray[np.int16]:
    """What each μ-law byte means (ITU-T G.711 table 2a)."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


PCMU_LEVELS = _pcmu_levels()


@cache
def _pcmu_codes() -> NDArray[np.uint8]:
    """The μ-law byte nearest to each int16, by its value modulo 2^16."""
    order = np.argsort(PCMU_LEVELS, kind="stable")
    levels = PCMU_LEVELS[order].astype(np.float64)
    values = np.arange(65536).astype(np.uint16).view(np.int16)
    nearest = np.searchsorted((levels[1:] + levels[:-1]) / 2, values)
    return order[nearest].astype(np.uint8)


def encode_pcmu(pcm: NDArray[np.int16]) -> bytes:
    """μ-law bytes of 8 kHz PCM."""
    return _pcmu_codes()[pcm.view(np.uint16)].tobytes()


def decode_pcmu(data: bytes) -> Floats:
    """8 kHz PCM of μ-law bytes."""
    return PCMU_LEVELS[np.frombuffer(data, np.uint8)].astype(np.float64)


def _resample_loop(loop: Floats, rate: int, wanted: int) -> Floats:
    """A cyclic sound at another rate: exact, by its spectrum."""
    size = len(loop) * wanted // rate
    spectrum = np.fft.rfft(loop)
    resampled: Floats = np.fft.irfft(spectrum[: size // 2 + 1], size) * (size / len(loop))
    return resampled


def _to_int16(sound: Floats) -> NDArray[np.int16]:
    scaled = np.clip(np.rint(sound * FULL_SCALE), -32768, 32767)
    return scaled.astype(np.int16)


def _smooth(values: Floats, width: int) -> Floats:
    """A cyclic moving average."""
    kernel = np.zeros(len(values))
    kernel[:width] = 1.0 / width
    smooth: Floats = np.fft.irfft(np.fft.rfft(values) * np.fft.rfft(kernel), len(values))
    return smooth


def _band(values: Floats, low: float, high: float) -> Floats:
    """What of a 48 kHz sound lies between two frequencies in Hz."""
    spectrum = np.fft.rfft(values)
    frequency = np.fft.rfftfreq(len(values), 1 / RATE)
    spectrum[(frequency < low) | (frequency > high)] = 0.0
    band: Floats = np.fft.irfft(spectrum, len(values))
    return band
