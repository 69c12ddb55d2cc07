"""Parties for hubs and voices: who speaks, who listens, and what they have heard."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gateway.codec import OPUS, PCMU, Codec
from gateway.media.effort import opus_options
from gateway.media.frame import AudioFrame, Voice
from gateway.media.g711 import MU_LAW
from gateway.media.hub import Hub, PartyId
from gateway.media.opus import OpusEncoder
from tests.media.sound import Pcm, frames_of

START = 1000.0
"Loop seconds at which a test begins."


class Talker:
    """Somebody whose own clock says when: pieces of a recording, as frames of a codec."""

    def __init__(self, pcm: Pcm, rate: int = 8000, codec: Codec = PCMU, ptime_ms: int = 20) -> None:
        self.voice = Voice()
        self._ticks = 48 * ptime_ms
        self._codec = codec
        pieces = frames_of(pcm, rate * ptime_ms // 1000)
        if codec.name == OPUS.name:
            encoder = OpusEncoder(rate, opus_options(rate))
            self.payloads = [encoder.encode(piece) for piece in pieces]
        else:
            self.payloads = [MU_LAW.encode(piece) for piece in pieces]
        self._at = 0

    def next(self) -> AudioFrame:
        """The next frame; the recording is repeated for ever."""
        return self.voice.frame(self._codec, self.payload(), self._ticks, START)

    def lose(self) -> AudioFrame:
        """The next frame, whose payload got lost."""
        self.payload()
        return self.voice.conceal(self._ticks, START)

    def payload(self) -> bytes:
        """The next payload."""
        self._at += 1
        return self.payloads[(self._at - 1) % len(self.payloads)]


class Ear:
    """Hears at one rate: keeps the frames, and the audio in one piece."""

    def __init__(self, rate: int = 8000) -> None:
        self.rate = rate
        self.frames: list[AudioFrame] = []
        self.is_connected = True
        self._pieces: list[Pcm] = []

    def hear(self, frame: AudioFrame) -> None:
        """At once, as an encoder would."""
        self.frames.append(frame)
        self._pieces.append(frame.pcm(self.rate))

    @property
    def pcm(self) -> Pcm:
        """All that was heard."""
        return np.concatenate([np.zeros(0, np.int16), *self._pieces])

    @property
    def is_silent(self) -> bool:
        """Whether it heard frames, and nothing in them."""
        return bool(self.frames) and not self.pcm.any()

    def forget(self) -> None:
        """Begin anew."""
        self.frames.clear()
        self._pieces.clear()


class Relay:
    """Takes payloads as they come, and never decodes."""

    def __init__(self) -> None:
        self.payloads: list[bytes | None] = []
        self.frames: list[AudioFrame] = []
        self.is_connected = True

    def hear(self, frame: AudioFrame) -> None:
        """Without looking inside."""
        self.frames.append(frame)
        self.payloads.append(frame.payload)


class Broken:
    """A listener with a bug."""

    is_connected = True

    def hear(self, frame: AudioFrame) -> None:
        """Raises, as none should."""
        raise RuntimeError("bug")


class Clock:
    """20 ms at a time: live speakers speak, then the pacer ticks."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.now = START
        self.talkers: dict[PartyId, Talker] = {}

    def run(self, ms: int, talkers: Mapping[PartyId, Talker] | None = None) -> None:
        """Let `ms` pass; those who talk are `talkers`, or the same as before."""
        if talkers is not None:
            self.talkers = dict(talkers)
        for _ in range(ms // 20):
            self.now += 0.02
            for party, talker in self.talkers.items():
                self.hub.push(party, talker.next())
            self.hub.tick(self.now)
