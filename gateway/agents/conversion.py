"""From frames to an agent's bytes and back: relayed as they are where that can be.

hear: AudioFrame ▸ payload as it came, or PCM at the wanted rate ▸ `packet_ms` of bytes
say:  bytes of any length ▸ whole samples ▸ the playout, resampled where it does not take the rate
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from gateway.agents.agent import AgentCall
from gateway.agents.protocol import AudioFormat
from gateway.codec import TICK_RATE, Codec
from gateway.errors import RemoteProtocolError
from gateway.media.coding import Encoder, make_encoder
from gateway.media.frame import AudioFrame
from gateway.media.g711 import LAWS
from gateway.media.opus import RATES, opus_duration
from gateway.media.resample import Resampler

MAX_PIECE_S = 1
"What is queued at once: of a longer chunk as much is taken as there is room for."

MAX_RATE = 192_000
"Hz that an agent may speak at: the highest that a protocol names."

TICKS_PER_MS = TICK_RATE // 1000


class Ear:
    """What an agent hears, in its format, in packets of its length."""

    __slots__ = ("_carry", "_encoder", "_rate", "_resampler", "_size", "_ticks", "format")

    def __init__(self, format: AudioFormat) -> None:
        self.format = format
        self._ticks = format.packet_ms * TICKS_PER_MS
        self._encoder: Encoder | None = None
        self._resampler: Resampler | None = None
        codec = format.codec
        wanted = format.rate
        if codec is not None:
            self._encoder = make_encoder(codec, rate=_coded_rate(codec, format.rate))
            wanted = self._encoder.sample_rate
        self._rate = native_rate(wanted)
        if self._rate != wanted:
            self._resampler = Resampler(self._rate, wanted)
        self._size = wanted * format.packet_ms // 1000
        self._carry: list[NDArray[np.int16]] = []

    def hear(self, frame: AudioFrame) -> Iterator[bytes] | tuple[bytes, ...]:
        """The packets that are whole with this frame: one, nearly always."""
        if frame.is_past:
            return ()  # its time has gone by
        codec = self.format.codec
        if (
            codec is not None
            and frame.payload is not None
            and frame.codec is not None
            and frame.duration == self._ticks
            and not self._carry
            and frame.codec.is_same_format(codec)
        ):
            return (frame.payload,)
        pcm = frame.pcm(self._rate)
        if self._resampler is not None:
            pcm = self._resampler.process(pcm)
        if len(pcm) == self._size and not self._carry:
            return (self._write(pcm),)
        return self._cut(pcm)

    def _cut(self, pcm: NDArray[np.int16]) -> Iterator[bytes]:
        """Packets out of frames of another length than theirs."""
        self._carry.append(pcm)
        if sum(map(len, self._carry)) < self._size:
            return
        whole = np.concatenate(self._carry)
        at = 0
        while len(whole) - at >= self._size:
            yield self._write(whole[at : at + self._size])
            at += self._size
        self._carry = [whole[at:]] if at < len(whole) else []

    def _write(self, pcm: NDArray[np.int16]) -> bytes:
        if self._encoder is None:
            return pcm.astype("<i2", copy=False).tobytes()
        return self._encoder.encode(np.ascontiguousarray(pcm))

    def close(self) -> None:
        """Free its encoder."""
        if self._encoder is not None:
            self._encoder.close()


class Mouth:
    """What an agent says in one format, of any chunk size, into its call."""

    __slots__ = ("_call", "_odd", "_piece", "_resampler", "_say", "format")

    def __init__(self, call: AgentCall, format: AudioFormat) -> None:
        """
        Raises:
            RemoteProtocolError: nothing of that format can be said.
        """
        self.format = format
        self._call = call
        self._odd = b""
        self._resampler: Resampler | None = None
        codec = format.codec
        if codec is not None and codec.name not in (*LAWS, "G722", "opus"):
            raise RemoteProtocolError("an agent speaks in a codec that is not known")
        self._say: Callable[[bytes, str], float]
        if codec is None:
            if not 8000 <= format.rate <= MAX_RATE:
                raise RemoteProtocolError("an agent speaks at a rate that is none of speech")
            native = native_rate(format.rate)
            if native != format.rate:
                self._resampler = _resampler(format.rate, native)
            self._piece = 2 * format.rate * MAX_PIECE_S
            self._say = self._say_pcm
        elif codec.name == "opus":
            self._piece = 0
            self._say = self._say_packet
        else:
            self._piece = 8000 * MAX_PIECE_S  # 64 kbit/s each
            self._say = self._say_coded

    def say(self, audio: bytes, item: str) -> float:
        """Queue it; the ms of it that there was no room for.

        Raises:
            RemoteProtocolError: it is no packet of its codec.
        """
        if not self._piece or len(audio) <= self._piece:
            return self._say(audio, item)
        pieces = range(0, len(audio), self._piece)
        return sum(self._say(audio[at : at + self._piece], item) for at in pieces)

    def cut_off(self) -> None:
        """What was said before was cleared: what comes next has nothing to do with it."""
        self._odd = b""
        if self._resampler is not None:
            self._resampler = _resampler(self._resampler.from_rate, self._resampler.to_rate)

    def _say_pcm(self, audio: bytes, item: str) -> float:
        if self._odd:
            audio, self._odd = self._odd + audio, b""
        if len(audio) % 2:
            audio, self._odd = audio[:-1], audio[-1:]
        pcm = np.frombuffer(audio, "<i2")
        rate = self.format.rate
        if self._resampler is not None:
            pcm, rate = self._resampler.process(pcm), self._resampler.to_rate
            if len(rest := self._resampler.drain()):
                pcm = np.concatenate((pcm, rest))  # nobody knows whether more will follow
        if not len(pcm) or self._call.say_now(pcm, rate, item):
            return 0.0
        return len(pcm) * 1000 / rate

    def _say_coded(self, audio: bytes, item: str) -> float:
        assert self.format.codec is not None
        ms = len(audio) / 8
        taken = self._call.say_payload(self.format.codec, audio, int(ms * TICKS_PER_MS), item)
        return 0.0 if taken else ms

    def _say_packet(self, audio: bytes, item: str) -> float:
        assert self.format.codec is not None
        duration = opus_duration(audio)
        if self._call.say_payload(self.format.codec, audio, duration, item):
            return 0.0
        return duration / TICKS_PER_MS


def native_rate(rate: int) -> int:
    """The lowest rate of ours that loses nothing of `rate`; 48 kHz where none does."""
    return next((native for native in RATES if native >= rate), RATES[-1])


def _coded_rate(codec: Codec, rate: int) -> int:
    """What an encoder of Opus is to be given, of 8, 12, 16, 24 or 48 kHz."""
    return native_rate(rate) if codec.name == "opus" else codec.sample_rate


def _resampler(from_rate: int, to_rate: int) -> Resampler:
    try:
        return Resampler(from_rate, to_rate)
    except ValueError:
        raise RemoteProtocolError("an agent speaks at a rate that is none of speech") from None
