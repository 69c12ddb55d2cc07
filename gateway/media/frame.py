"""A piece of one speaker's timeline, lazily decoded, and the decoding state of one speaker.

payload ▸ Voice.frame ▸ AudioFrame ▸ relayed as it came, or pcm(rate): decoded once per rate
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gateway.codec import TICK_RATE, Codec
from gateway.media.conceal import PLC_MS, ComfortNoise, Concealment, background_rms
from gateway.media.g711 import LAWS
from gateway.media.g722 import G722_RATE, G722Decoder
from gateway.media.opus import RATES, OpusDecoder
from gateway.media.resample import Resampler

Pcm = NDArray[np.int16]
"Mono, full scale ±32768."

RECENT_FRAMES = 8
"""Frames a voice remembers: 160 ms at 20 ms. A decoder opened late is warmed on them (a cold one
starts 12 dB low for 100 ms), and a listener that lags behind still finds its frame in order."""

_OPUS = "opus"
_G722 = "G722"
_PLC_TICKS = PLC_MS * TICK_RATE // 1000
_SMOOTH_MS = 5


class AudioFrame:
    """A piece of one speaker's timeline; consecutive frames of one Voice are contiguous."""

    __slots__ = (
        "_others",
        "_pcm",
        "_rate",
        "_voice",
        "codec",
        "duration",
        "heard_at",
        "payload",
        "position",
    )

    def __init__(
        self,
        position: int,
        duration: int,
        heard_at: float,
        codec: Codec | None = None,
        payload: bytes | None = None,
        voice: Voice | None = None,
    ) -> None:
        self.position = position
        "48 kHz ticks of the speaker's clock (not of the listener's: never make RTP time of it)."
        self.duration = duration
        "48 kHz ticks."
        self.heard_at = heard_at
        "Loop seconds."
        self.codec = codec
        "None if concealed, silenced, mixed or born as PCM; then `payload` is None too."
        self.payload = payload
        self._voice = voice
        # Nearly every frame is asked for at one rate, and needs no dict.
        self._rate = 0
        self._pcm: Pcm | None = None
        self._others: dict[int, Pcm] | None = None

    def pcm(self, rate: int) -> Pcm:
        """The audio at `rate` Hz, up to 48000; shape (samples(rate),). Shared: never write to it.

        Frames of a voice are asked in order. One that is asked for the first time after later
        ones were, and more than `RECENT_FRAMES` late, is silent.
        """
        pcm = self._pcm
        if pcm is None:
            voice = self._voice
            pcm = self._render(rate) if voice is None else voice.render(self, rate)
            self._rate, self._pcm = rate, pcm
        elif rate != self._rate:
            if self._others is None:
                self._others = {}
            found = self._others.get(rate)
            if found is None:
                voice = self._voice
                found = self._render(rate) if voice is None else voice.render(self, rate)
                self._others[rate] = found
            return found
        return pcm

    @property
    def rendered(self) -> Pcm | None:
        """The audio at the rate that it was asked for first; None if nobody has."""
        return self._pcm

    def samples(self, rate: int) -> int:
        """How many samples it has at `rate`: over consecutive frames nothing is lost or gained."""
        position = self.position
        return (position + self.duration) * rate // TICK_RATE - position * rate // TICK_RATE

    @property
    def natural_rate(self) -> int:
        """A rate in Hz that loses little of it: to copy it, or to choose an encoder by."""
        return self.origin or RATES[-1]

    @property
    def origin(self) -> int:
        """The rate it is decoded at; 0 for Opus, which decodes at any of its own."""
        codec = self.codec
        if codec is None:
            return 8000
        return 0 if codec.name == _OPUS else codec.sample_rate

    def _render(self, rate: int) -> Pcm:
        """What is nobody's voice."""
        return _silence(self.samples(rate))


class BornFrame(AudioFrame):
    """A piece that was PCM from the start."""

    __slots__ = ("born", "rate")

    def __init__(
        self, position: int, duration: int, heard_at: float, voice: Voice, born: Pcm, rate: int
    ) -> None:
        super().__init__(position, duration, heard_at, voice=voice)
        self.born = born
        self.rate = rate

    @property
    def origin(self) -> int:
        return self.rate


class ConcealedFrame(AudioFrame):
    """A piece that was lost."""

    __slots__ = ("_origin", "following")

    def __init__(
        self,
        position: int,
        duration: int,
        heard_at: float,
        voice: Voice,
        origin: int,
        following: bytes | None,
    ) -> None:
        super().__init__(position, duration, heard_at, voice=voice)
        self.following = following
        "The payload after it, for its FEC."
        self._origin = origin

    @property
    def origin(self) -> int:
        return self._origin

    @property
    def natural_rate(self) -> int:
        return self._origin or 16_000


class Voice:
    """One speaker's decoding state. All durations are 48 kHz ticks.

    There is a decoder or resampler per rate in use, opened when that rate is first asked for, and
    never re-rated. The codec may change from one frame to the next.
    """

    __slots__ = ("_branches", "_recent", "position")

    def __init__(self) -> None:
        self.position = 0
        "Where the next frame begins."
        self._recent: deque[AudioFrame] = deque(maxlen=RECENT_FRAMES)
        self._branches: dict[int, _Branch] = {}

    def frame(self, codec: Codec, payload: bytes, duration: int, heard_at: float) -> AudioFrame:
        """The next piece, as received. Whatever the payload decodes to, it lasts `duration`."""
        position = self.position
        self.position = position + duration
        frame = AudioFrame(position, duration, heard_at, codec, payload, self)
        self._recent.append(frame)
        return frame

    def conceal(self, duration: int, heard_at: float, following: bytes | None = None) -> AudioFrame:
        """The next piece is missing.

        It is made of the FEC in the `following` payload if that is given and carries any; else by
        PLC, for 60 ms in a row; from then on it is comfort noise, as loud as the background was.
        """
        origin = self._recent[-1].origin if self._recent else 8000
        position = self.position
        frame = ConcealedFrame(position, duration, heard_at, self, origin, following)
        self.position = position + duration
        self._recent.append(frame)
        return frame

    def frame_of_pcm(self, pcm: Pcm, rate: int, heard_at: float) -> AudioFrame:
        """The next piece, born as mono PCM. It is not copied: do not write to it any more.

        Raises:
            ValueError: `rate` is not 8, 12, 16, 24 or 48 kHz.
        """
        if rate not in RATES:
            raise ValueError(f"a voice speaks at {RATES} Hz, not {rate}: use a Resampler")
        duration = len(pcm) * (TICK_RATE // rate)
        position = self.position
        frame = BornFrame(position, duration, heard_at, self, pcm, rate)
        self.position = position + duration
        self._recent.append(frame)
        return frame

    @property
    def recent(self) -> tuple[AudioFrame, ...]:
        """The last frames, oldest first: `RECENT_FRAMES` of them at most."""
        return tuple(self._recent)

    @property
    def junk(self) -> int:
        """Payloads that could not be decoded, and were concealed."""
        return max((branch.junk for branch in self._branches.values()), default=0)

    def render(self, frame: AudioFrame, rate: int) -> Pcm:
        """For `AudioFrame.pcm`: the audio of one of this voice's frames, after those before it."""
        branch = self._branches.get(rate)
        if branch is None:
            branch = self._branches[rate] = _Branch(rate)
        position = frame.position
        if branch.position == position:
            # Nearly every frame is the next of its codec, at a rate that it is decoded at.
            payload = frame.payload
            if payload and frame.codec is branch.codec and branch.direct is not None:
                pcm = branch.direct(payload)
                if len(pcm) * TICK_RATE != frame.duration * rate:
                    pcm = _fit(pcm, frame.samples(rate))
                branch.past.append(pcm)
                branch.position = position + frame.duration
                return pcm
        else:
            if branch.position > position:
                return np.zeros(frame.samples(rate), np.int16)
            for past in tuple(self._recent):
                if branch.position <= past.position < position:
                    past.pcm(rate)
        pcm = branch.render(frame)
        branch.position = position + frame.duration
        return pcm

    def close(self) -> None:
        """Free the decoders, and let go of the frames (which know their voice)."""
        for branch in self._branches.values():
            branch.close()
        self._branches.clear()
        self._recent.clear()


class _Branch:
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
        if source != self._rate:
            pcm = self._resample(frame, source)
        elif isinstance(frame, ConcealedFrame):
            pcm = self._conceal(frame, wanted)
        else:
            pcm = self._decode(frame, wanted)
        if len(pcm) != wanted:
            pcm = _fit(pcm, wanted)
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

    def _decode(self, frame: AudioFrame, wanted: int) -> Pcm:
        codec, payload = frame.codec, frame.payload
        if codec is None or payload is None:
            pcm = frame.born if isinstance(frame, BornFrame) else np.zeros(wanted, np.int16)
        elif codec.name == _OPUS:
            pcm = self._opus_decoder().decode(payload)
        elif codec.name in LAWS and payload:
            pcm = LAWS[codec.name].decode(payload)
        elif codec.name == _G722 and payload:
            pcm = self._g722_decoder().decode(payload)
        else:
            self._unknown += 1
            return self._invent(frame, wanted)
        if self._concealed:
            pcm = self._end_gap(pcm)
        return pcm

    def _conceal(self, frame: ConcealedFrame, wanted: int) -> Pcm:
        if frame.following is not None and frame.origin == 0:
            pcm = self._opus_decoder().decode_fec(frame.following, wanted)
            return self._end_gap(pcm) if self._concealed else pcm
        return self._invent(frame, wanted)

    def _invent(self, frame: AudioFrame, wanted: int) -> Pcm:
        """PLC for 60 ms, then comfort noise."""
        if self._concealed == 0:
            self._begin_gap(is_opus=frame.origin == 0)
        self._concealed += frame.duration
        if self._concealed > _PLC_TICKS:
            self._concealment = None
            return self._noise.fill(wanted, self._noise_rms)
        if self._concealment is not None:
            return self._concealment.fill(wanted)
        return self._opus_decoder().conceal(wanted)

    def _begin_gap(self, *, is_opus: bool) -> None:
        history = np.concatenate(self.past) if self.past else np.zeros(0, np.int16)
        self._noise_rms = background_rms(history, self._rate)
        if not is_opus:
            self._concealment = Concealment(history, self._rate)

    def _end_gap(self, pcm: Pcm) -> Pcm:
        if self._concealment is not None:
            pcm = self._concealment.join(pcm)
            self._concealment = None
        elif self._concealed > _PLC_TICKS:
            pcm = _smooth(pcm, self.past, self._rate)
        self._concealed = 0
        return pcm

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


@lru_cache(maxsize=32)
def _silence(samples: int) -> Pcm:
    silence = np.zeros(samples, np.int16)
    silence.flags.writeable = False
    return silence


def _opus_rate(rate: int) -> int:
    """The rate to decode Opus at for `rate`: the same, or the next higher one to resample from."""
    if rate in RATES:
        return rate
    return next((native for native in RATES if native > rate), RATES[-1])


def _fit(pcm: Pcm, wanted: int) -> Pcm:
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
