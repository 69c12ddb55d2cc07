"""The sounds of a folder, by the names of their files: what calls can be told to play."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway.errors import ConfigError
from gateway.media.file import MADE_AHEAD, MAX_SOUND_S, read_wav
from gateway.media.sound import Sound

MAX_SOUNDS = 200
"In a folder: all are held in memory, at every rate that they may be heard at."

MAX_TOTAL_S = 3600
"Of all of them: an hour is 430 MB, at all these rates."

SUFFIX = ".wav"


class Sounds:
    """Read once, at the start: nothing is read while calls go on."""

    def __init__(self, sounds: Mapping[str, Sound]) -> None:
        """`sounds` by file name."""
        self._sounds = dict(sounds)

    def find(self, name: str) -> Sound | None:
        """A sound by the name of its file, with or without .wav; None: there is none."""
        return self._sounds.get(name) or self._sounds.get(name + SUFFIX)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._sounds))


def read_folder(folder: Path) -> Sounds:
    """Read every WAV file of a folder, not of those in it.

    Raises:
        ConfigError: it is none, there is too much in it, or a file cannot be used.
    """
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() == SUFFIX)
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be read ({error.strerror}); name a folder of WAV files"
        ) from error
    if len(files) > MAX_SOUNDS:
        raise ConfigError(f"{folder}: has {len(files)} WAV files, {MAX_SOUNDS} are allowed")
    sounds = {}
    total_s = 0.0
    for file in files:
        pcm, rate = read_wav(file)
        seconds = len(pcm) / rate
        total_s += seconds
        if len(pcm) < rate // 1000 or seconds > MAX_SOUND_S or total_s > MAX_TOTAL_S:
            allowed = f"up to {MAX_SOUND_S} s are allowed, {MAX_TOTAL_S} s of all files"
            raise ConfigError(f"{file}: lasts {seconds:.3f} s; {allowed}; cut it, or leave it out")
        sounds[file.name] = sound = Sound(pcm, rate)
        for ahead in MADE_AHEAD:
            sound.pcm(ahead)
    return Sounds(sounds)
