"""WAV files: what is read, and what is said about those that are not."""

from __future__ import annotations

import wave
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.media import file as file_module
from gateway.media.file import parse_wav, read_wav
from gateway.media.tone import level_dbfs
from tests.media.sound import frequency_of, tone


def wav(data: bytes, *, rate: int = 8000, channels: int = 1, width: int = 2) -> bytes:
    content = BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return content.getvalue()


@pytest.mark.parametrize("rate", [8000, 12_000, 16_000, 24_000, 48_000])
def test_16_bit_mono_is_read_as_it_is(rate: int, tmp_path: Path) -> None:
    sent = tone(440, 0.3, rate)
    path = tmp_path / "prompt.wav"
    path.write_bytes(wav(sent.tobytes(), rate=rate))

    pcm, read_rate = read_wav(path)

    assert read_rate == rate
    assert (pcm == sent).all()


@pytest.mark.parametrize(("rate", "native"), [(44_100, 48_000), (22_050, 24_000), (96_000, 48_000)])
def test_other_rates_are_resampled(rate: int, native: int) -> None:
    pcm, read_rate = parse_wav(wav(tone(440, 1.0, rate).tobytes(), rate=rate))

    assert read_rate == native
    assert len(pcm) == native
    assert frequency_of(pcm, native) == pytest.approx(440, rel=0.002)


def test_stereo_becomes_the_middle_of_both() -> None:
    left, right = tone(440, 0.1, 8000, -6), tone(440, 0.1, 8000, -12)
    both = np.stack([left, right], axis=1)

    pcm, _ = parse_wav(wav(both.tobytes(), channels=2))

    middle = (left.astype(int) + right) // 2
    assert (pcm == middle).all()


def test_8_bits_are_unsigned() -> None:
    wave_8_bit = (tone(440, 1.0, 8000, -6) // 256 + 128).astype(np.uint8)

    pcm, _ = parse_wav(wav(wave_8_bit.tobytes(), width=1))

    assert level_dbfs(pcm) == pytest.approx(-6, abs=0.2)
    assert abs(pcm.astype(int).mean()) < 200


def test_a_file_cut_short_is_read_as_far_as_it_goes() -> None:
    content = wav(tone(440, 0.3, 8000).tobytes())

    pcm, _ = parse_wav(content[:-1001])

    assert 0 < len(pcm) < 2400


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no PCM WAV"),
        (b"ID3\x04 this is an mp3", "no PCM WAV"),
        (wav(b"\0" * 60, channels=3), "3 channels"),
        (wav(b"\0" * 60, width=3), "24 bits"),
        (wav(b"\0" * 60, rate=4000), "4000 Hz"),
        (wav(b"\0" * 60, rate=192_000), "192000 Hz"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_remedy(
    content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "prompt.wav"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=words) as raised:
        read_wav(path)

    assert str(path) in str(raised.value)
    assert "sox" in str(raised.value)


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.wav: cannot be read"):
        read_wav(tmp_path / "gone.wav")


def test_a_file_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "MAX_FILE_BYTES", 100)
    path = tmp_path / "long.wav"
    path.write_bytes(wav(bytes(100)))

    with pytest.raises(ConfigError, match="144 bytes, 100 are allowed"):
        read_wav(path)


@given(st.binary(max_size=80), st.integers(0, 43))
def test_damaged_files_are_read_or_refused(junk: bytes, at: int) -> None:
    content = bytearray(wav(bytes(200)))
    content[at : at + len(junk)] = junk

    try:
        pcm, _ = parse_wav(bytes(content))
    except ValueError:
        return

    assert pcm.dtype == np.int16
