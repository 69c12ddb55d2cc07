"""A folder of sounds is read at the start, and found by names alone."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.media.folder import read_folder
from gateway.media.tone import beep


def write(file: Path, seconds: float = 0.5) -> None:
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(beep(8000, seconds).tobytes())


def test_files_are_found_with_and_without_their_ending(tmp_path: Path) -> None:
    write(tmp_path / "welcome.wav")
    (tmp_path / "readme.txt").write_text("not a sound")

    sounds = read_folder(tmp_path)

    assert sounds.names == ("welcome.wav",)
    assert sounds.find("welcome") is sounds.find("welcome.wav") is not None


@pytest.mark.parametrize("name", ["", ".", "../welcome.wav", "/etc/passwd", "readme.txt", "x\0"])
def test_nothing_else_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "welcome.wav")
    write(tmp_path / "in/welcome.wav")

    assert read_folder(tmp_path / "in").find(name) is None


def test_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name a folder of WAV files"):
        read_folder(tmp_path / "nowhere")


def test_file_that_is_no_sound_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF")

    with pytest.raises(ConfigError, match=r"bad\.wav"):
        read_folder(tmp_path)
