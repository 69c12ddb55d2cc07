"""A piece of one speaker's timeline, lazily decoded, and the decoding state of one speaker.

payload ▸ Voice.frame ▸ AudioFrame ▸ relayed as it came, or pcm(rate): decoded once per rate
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache

import numpy as np

from gateway.codec import TICK_RATE, Codec
from gateway.media.branch import PLC_TICKS, RECENT_FRAMES, Branch, Pcm, fit
from gateway.media.opus import RATES

__all__ = [
    "RECENT_FRAMES",
    "AudioFrame",
    "BornFrame",
    "ConcealedFrame",
    "PastFrame",
    "Pcm",
    "Voice",
]

_OPUS = "opus"


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

    @property
    def is_missing(self) -> bool:
        """Whether it was lost, and is made up."""
        return False

    @property
    def is_past(self) -> bool:
        """Whether its time has gone by: it is there for who keeps a timeline, and never sent."""
        return False

    def pcm(self, rate: int) -> Pcm:
        """The audio at `rate` Hz, up to 48000; shape (samples(rate),). Shared: never write to it.

        Frames of a voice are asked in order. One that is asked for the first time after later
        ones were, and more than `RECENT_FRAMES` late, is silent.
        """
        pcm = self._pcm
        if pcm is None:
            voice = self._voice
            pcm = self._render(rate) if voice is None else voice.render(self, rate)
            if self._pcm is None:
                self._rate, self._pcm = rate, pcm
            else:
                # It was made of that at another rate, which cannot be made twice.
                self._others = {rate: pcm, **(self._others or {})}
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
    def is_noise(self) -> bool:
        """Whether nothing is said in it: silence that is nobody's, or comfort noise."""
        return self.codec is None and self._voice is None

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

    def sound(self, branch: Branch, wanted: int) -> Pcm:
        """For `Branch.render`: `wanted` samples at its rate, or what it makes so many of."""
        return branch.decode(self, wanted)

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

    def sound(self, branch: Branch, wanted: int) -> Pcm:
        return branch.take(self.born)


class PastFrame(AudioFrame):
    """Silence that nobody is to hear: time that went by while we could do nothing."""

    __slots__ = ()

    @property
    def is_past(self) -> bool:
        return True


class ConcealedFrame(AudioFrame):
    """A piece that was lost, or never sent."""

    __slots__ = ("_is_past", "_origin", "following", "follows", "noise_rms", "run")

    def __init__(
        self,
        position: int,
        duration: int,
        heard_at: float,
        voice: Voice,
        before: AudioFrame | None,
        is_past: bool = False,
    ) -> None:
        """`before` is the piece that it follows."""
        super().__init__(position, duration, heard_at, voice=voice)
        self._origin = before.origin if before is not None else 8000
        self.run: int = duration + (before.run if isinstance(before, ConcealedFrame) else 0)
        "Ticks concealed in a row, up to its end."
        self.following: bytes | None = None
        "The payload after it: for its FEC, or to lead over to."
        self.follows: Codec | None = None
        "Of that."
        self._is_past = is_past
        self.noise_rms: float | None = None
        "How loud the speaker says that its silence is; None if it does not say."

    @property
    def origin(self) -> int:
        return self._origin

    @property
    def natural_rate(self) -> int:
        return self._origin or 16_000

    @property
    def is_missing(self) -> bool:
        return not self.is_noise

    @property
    def is_past(self) -> bool:
        return self._is_past

    @property
    def is_noise(self) -> bool:
        return self.noise_rms is not None or self.run > PLC_TICKS

    def sound(self, branch: Branch, wanted: int) -> Pcm:
        if self.noise_rms is not None:
            return branch.rest(self.noise_rms, wanted)
        if self.following is None or self.follows is None:
            return branch.conceal(self, wanted)
        return branch.lead_over(self, self.follows, self.following, wanted)


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
        self._branches: dict[int, Branch] = {}

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
        PLC, for 60 ms in a row, which leads over to `following` where that is G.711; from then on
        it is comfort noise, as loud as the background was.
        """
        frame = self._missing(duration, heard_at)
        if following is not None:
            spoken = (past.codec for past in reversed(self._recent) if past.codec is not None)
            frame.following, frame.follows = following, next(spoken, None)
        self._recent.append(frame)
        return frame

    def pause(self, duration: int, heard_at: float, rms: float) -> AudioFrame:
        """The speaker says nothing, and told how that sounds: noise as loud as `rms` (RFC 3389)."""
        frame = self._missing(duration, heard_at)
        frame.noise_rms = rms
        self._recent.append(frame)
        return frame

    def leave_out(self, duration: int, heard_at: float) -> AudioFrame:
        """The next piece came too late for whoever hears it now; to others it is missing."""
        frame = self._missing(duration, heard_at, is_past=True)
        self._recent.append(frame)
        return frame

    def _missing(self, duration: int, heard_at: float, *, is_past: bool = False) -> ConcealedFrame:
        before = self._recent[-1] if self._recent else None
        position = self.position
        self.position = position + duration
        return ConcealedFrame(position, duration, heard_at, self, before, is_past)

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
            branch = self._branches[rate] = Branch(rate)
        position = frame.position
        if branch.position == position:
            # Nearly every frame is the next of its codec, at a rate that it is decoded at.
            payload = frame.payload
            if payload and frame.codec is branch.codec and branch.direct is not None:
                pcm = branch.direct(payload)
                if len(pcm) * TICK_RATE != frame.duration * rate:
                    pcm = fit(pcm, frame.samples(rate))
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


@lru_cache(maxsize=32)
def _silence(samples: int) -> Pcm:
    silence = np.zeros(samples, np.int16)
    silence.flags.writeable = False
    return silence
