"""One speaker at one rate: the decoding state of a Voice, one for each rate that is asked for.

frame ▸ decode, or recover what is missing ▸ fit ▸ smooth a change of source ▸ PCM
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gateway.codec import TICK_RATE, Codec
from gateway.media.conceal import PLC_MS, ComfortNoise, Concealment, background_rms
from gateway.media.g711 import LAWS
from gateway.media.g722 import G722_RATE, G722Decoder
from gateway.media.opus import RATES, OpusDecoder
from gateway.media.resample import Resampler

if TYPE_CHECKING:
    from gateway.media.frame import AudioFrame

Pcm = NDArray[np.int16]
"Mono, full scale ±32768."

RECENT_FRAMES = 8
"""Frames a voice remembers: 160 ms at 20 ms. A decoder opened late is warmed on them (a cold one
starts 12 dB low for 100 ms), and a listener that lags behind still finds its frame in order."""

PLC_TICKS = PLC_MS * TICK_RATE // 1000
"What is missing for longer is comfort noise."

_OPUS = "opus"
_G722 = "G722"
_SMOOTH_MS = 5


class Branch:
    """One speaker at one rate: what has to be remembered between frames."""

    __slots__ = (
        "_concealed",
        "_concealment",
        "_g722",
        "_noise",
        "_noise_rms",
        "_opus",
        "_origin",
        "_rate",
        "_resampler",
        "_unknown",
        "codec",
        "direct",
        "past",
        "position",
    )

    def __init__(self, rate: int) -> None:
        self.position = 0
        "Ticks: where the next frame to be rendered begins."
        self._rate = rate
        self._opus: OpusDecoder | None = None
        self._g722: G722Decoder | None = None
        self._resampler: Resampler | None = None
        self._origin: int | None = None
        self.past: deque[Pcm] = deque(maxlen=RECENT_FRAMES)
        self._concealed = 0
        self._concealment: Concealment | None = None
        self._noise = ComfortNoise()
        self._noise_rms = 0.0
        self._unknown = 0
        self.codec: Codec | None = None
        self.direct: Callable[[bytes], Pcm] | None = None

    @property
    def junk(self) -> int:
        return self._unknown + (self._opus.junk if self._opus is not None else 0)

    def render(self, frame: AudioFrame) -> Pcm:
        pcm = self._render_anew(frame)
        self._learn(frame)
        return pcm

    def _learn(self, frame: AudioFrame) -> None:
        """Whether frames like this one can be decoded directly, and by what."""
        codec = frame.codec
        self.codec, self.direct = codec, None
        if codec is None or self._concealed:
            return
        if codec.name == _OPUS and self._rate in RATES:
            self.direct = self._opus_decoder().decode
        elif codec.name in LAWS and codec.sample_rate == self._rate:
            self.direct = LAWS[codec.name].decode
        elif codec.name == _G722 and self._rate == G722_RATE:
            self.direct = self._g722_decoder().decode

    def _render_anew(self, frame: AudioFrame) -> Pcm:
        origin = frame.origin
        source = origin or _opus_rate(self._rate)
        wanted = frame.samples(self._rate)
        pcm = frame.sound(self, wanted) if source == self._rate else self._resample(frame, source)
        if len(pcm) != wanted:
            pcm = fit(pcm, wanted)
        if origin != self._origin:
            if self._origin is not None:
                pcm = _smooth(pcm, self.past, self._rate)
            self._origin = origin
        self.past.append(pcm)
        return pcm

    def _resample(self, frame: AudioFrame, source: int) -> Pcm:
        """From the branch of this voice that decodes it, in order there as here."""
        resampler = self._resampler
        if resampler is None or resampler.from_rate != source:
            resampler = self._resampler = Resampler(source, self._rate)
        return resampler.process(frame.pcm(source))

    # ---- what frames ask for, each of its kind

    def decode(self, frame: AudioFrame, wanted: int) -> Pcm:
        """What a payload says; what cannot be read is concealed."""
        codec, payload = frame.codec, frame.payload
        if codec is None or payload is None:
            return self.take(np.zeros(wanted, np.int16))
        if codec.name == _OPUS:
            return self.take(self._opus_decoder().decode(payload))
        if codec.name in LAWS and payload:
            return self.take(LAWS[codec.name].decode(payload))
        if codec.name == _G722 and payload:
            return self.take(self._g722_decoder().decode(payload))
        self._unknown += 1
        return self.conceal(frame, wanted)

    def take(self, pcm: Pcm) -> Pcm:
        """What was said, joined to what was made up before."""
        if not self._concealed:
            return pcm
        if self._concealment is not None:
            pcm = self._concealment.join(pcm)
            self._concealment = None
        elif self._concealed > PLC_TICKS:
            pcm = _smooth(pcm, self.past, self._rate)
        self._concealed = 0
        return pcm

    def conceal(self, frame: AudioFrame, wanted: int) -> Pcm:
        """PLC for 60 ms, then comfort noise."""
        if self._concealed == 0:
            self._begin_gap(is_opus=frame.origin == 0)
        was_noise = self._concealed > PLC_TICKS
        self._concealed += frame.duration
        if self._concealed > PLC_TICKS:
            self._concealment = None
            noise = self._noise.fill(wanted, self._noise_rms)
            return noise if was_noise else _smooth(noise, self.past, self._rate)
        if self._concealment is not None:
            return self._concealment.fill(wanted)
        return self._opus_decoder().conceal(wanted)

    def lead_over(self, frame: AudioFrame, codec: Codec, following: bytes, wanted: int) -> Pcm:
        """What is missing before a payload: from its FEC, or grown out of both sides of the gap."""
        if codec.name == _OPUS:
            return self.take(self._opus_decoder().decode_fec(following, wanted))
        if codec.name not in LAWS or self._concealed + frame.duration > PLC_TICKS:
            return self.conceal(frame, wanted)
        if self._concealment is None:
            self._begin_gap(is_opus=False)
        concealment, self._concealment, self._concealed = self._concealment, None, 0
        assert concealment is not None, "Opus alone conceals by itself"
        return concealment.fill_toward(wanted, LAWS[codec.name].decode(following))

    def rest(self, rms: float, wanted: int) -> Pcm:
        """Noise at once: nothing is missing."""
        noise = self._noise.fill(wanted, rms)
        if self._concealed > PLC_TICKS:
            return noise
        # Also makes the speech that ends it grow out of it.
        self._concealed, self._concealment = PLC_TICKS + 1, None
        return _smooth(noise, self.past, self._rate)

    def _begin_gap(self, *, is_opus: bool) -> None:
        history = np.concatenate(self.past) if self.past else np.zeros(0, np.int16)
        self._noise_rms = background_rms(history, self._rate)
        if not is_opus:
            self._concealment = Concealment(history, self._rate)

    def _opus_decoder(self) -> OpusDecoder:
        if self._opus is None:
            self._opus = OpusDecoder(self._rate)
        return self._opus

    def _g722_decoder(self) -> G722Decoder:
        if self._g722 is None:
            self._g722 = G722Decoder()
        return self._g722

    def close(self) -> None:
        if self._opus is not None:
            self._opus.close()


def _opus_rate(rate: int) -> int:
    """The rate to decode Opus at for `rate`: the same, or the next higher one to resample from."""
    if rate in RATES:
        return rate
    return next((native for native in RATES if native > rate), RATES[-1])


def fit(pcm: Pcm, wanted: int) -> Pcm:
    """Exactly `wanted` samples: a peer whose payload and timestamps disagree shifts no timeline."""
    fitted = np.zeros(wanted, np.int16)
    fitted[: len(pcm)] = pcm[:wanted]
    return fitted


def _smooth(pcm: Pcm, past: deque[Pcm], rate: int) -> Pcm:
    """The same audio without the step from what was last played: it fades within 5 ms."""
    if not past or not len(past[-1]) or not len(pcm):
        return pcm
    size = min(_SMOOTH_MS * rate // 1000, len(pcm))
    step = float(past[-1][-1]) - float(pcm[0])
    fade = step * (1 - np.arange(1, size + 1, dtype=np.float32) / (size + 1))
    smooth = pcm.copy()
    smooth[:size] = np.clip(pcm[:size] + fade, -32768, 32767)
    return smooth
