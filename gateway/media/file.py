"""Prompts and music from WAV files, by the library's `wave`: PCM, 8 or 16 bits, mono or stereo."""

from __future__ import annotations

import wave
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.errors import ConfigError
from gateway.media.opus import RATES
from gateway.media.resample import resample
from gateway.media.sound import Sound

MAX_FILE_BYTES = 64 * 1024 * 1024
"Largest file read: 5.8 minutes of 48 kHz stereo. Prompts are held in memory as they are."

MIN_SOUND_S, MAX_SOUND_S = 1, 600
"What is played over and over: 10 minutes are 72 MB, at all the rates below."

MADE_AHEAD = (8000, 12_000, 16_000, 24_000)
"Hz at which people hear: made in the middle of calls, minutes of sound would stop them all."

MIN_RATE, MAX_RATE = 8000, 96_000
"Hz. Nothing else is speech."


def read_wav(path: Path) -> tuple[NDArray[np.int16], int]:
    """Read a WAV file as mono int16 PCM.

    Returns:
        The samples, and their rate: 8, 12, 16, 24 or 48 kHz. A file at another rate is resampled
        to the next higher of these (44.1 to 48, 22.05 to 24), or down to 48.

    Raises:
        ConfigError: naming the file, what is wrong with it, and the remedy.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: has {size} bytes, {MAX_FILE_BYTES} are allowed; shorten it")
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); name an existing file"
        ) from error
    try:
        return parse_wav(content)
    except ValueError as error:
        raise ConfigError(
            f"{path}: {error}; convert it, as with: sox {path.name} -b 16 -c 1 -r 16k new.wav"
        ) from error


def read_sound(path: Path) -> Sound:
    """Read a WAV file to be played over and over, at the rates that it will be heard at.

    Raises:
        ConfigError: as `read_wav`; or it is too short, or too long.
    """
    pcm, rate = read_wav(path)
    seconds = len(pcm) / rate
    if not MIN_SOUND_S <= seconds <= MAX_SOUND_S:
        allowed = f"{MIN_SOUND_S} to {MAX_SOUND_S} s are allowed"
        raise ConfigError(f"{path}: lasts {seconds:.1f} s, {allowed}; cut it, or repeat it")
    sound = Sound(pcm, rate)
    for ahead in MADE_AHEAD:
        sound.pcm(ahead)
    return sound


def parse_wav(content: bytes) -> tuple[NDArray[np.int16], int]:
    """As `read_wav`, from memory.

    Raises:
        ValueError: it is no WAV file of a kind that we read.
    """
    try:
        with wave.open(BytesIO(content)) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError, RuntimeError) as error:
        # RuntimeError is what `wave` says to chunks that end where they cannot.
        raise ValueError(f"is no PCM WAV file ({error or 'it ends too early'})") from error
    if channels not in (1, 2):
        raise ValueError(f"has {channels} channels, not 1 or 2")
    if width not in (1, 2):
        raise ValueError(f"has {8 * width} bits a sample, not 8 or 16")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(f"is at {rate} Hz, not {MIN_RATE} to {MAX_RATE}")
    return _to_native(_to_mono(data, channels, width), rate)


def _to_mono(data: bytes, channels: int, width: int) -> NDArray[np.int16]:
    whole = len(data) // (channels * width) * channels
    if width == 1:
        # 8-bit WAV is unsigned, 128 is silence.
        samples = (np.frombuffer(data, np.uint8, whole).astype(np.int16) - 128) * 256
    else:
        samples = np.frombuffer(data, "<i2", whole).astype(np.int16)
    if channels == 1:
        return samples
    mono: NDArray[np.int16] = (samples.reshape(-1, 2).sum(axis=1, dtype=np.int32) // 2).astype(
        np.int16
    )
    return mono


def _to_native(pcm: NDArray[np.int16], rate: int) -> tuple[NDArray[np.int16], int]:
    native = next((native for native in RATES if native >= rate), RATES[-1])
    return resample(pcm, rate, native), native
