"""A telephone line in virtual time around the gateway's own hub, playout and turns.

    agent's words ▸ Playout ▸ Hub tick ▸ μ-law ▸ far end
                                                  └ echo (late, weaker, smeared) + noise + caller
    Turns ◂ Hub wire ◂ Voice ◂ μ-law ◂────────────┘

Ten minutes of it take some seconds. The far end's packets come at a phase of their own.
"""

from __future__ import annotations

import time
import wave
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.agents.event import AgentEvent
from gateway.codec import PCMU
from gateway.leg.turns import Turns, TurnsOptions
from gateway.media.frame import AudioFrame, Voice
from gateway.media.g711 import MU_LAW
from gateway.media.hub import Hub
from gateway.media.playout import Cleared, Playout
from gateway.media.resample import resample

RATE = 8000
FRAME = 160
TICKS = 960

Pcm = NDArray[np.int16]
Sound = NDArray[np.float32]

AGENT_DBFS = -20.0
"How loud the agent speaks, as an active level."


@dataclass(frozen=True, slots=True)
class EchoPath:
    """How what we send comes back."""

    loss_db: float
    delay_ms: int
    kind: str = "hybrid"
    "flat; hybrid: smeared over 6 ms; room: over 60 ms."

    def response(self) -> Sound:
        """Its impulse response, without the delay."""
        chance = np.random.default_rng(5)
        if self.kind == "flat":
            taps = np.ones(1)
        else:
            length, fading = {"hybrid": (48, 12.0), "room": (480, 160.0)}[self.kind]
            taps = chance.standard_normal(length) * np.exp(-np.arange(length) / fading)
            taps /= np.sqrt(np.sum(taps**2))
        scaled: Sound = (taps * 10 ** (-self.loss_db / 20)).astype(np.float32)
        return scaled


class Mouth:
    """The agent's side, as an AgentLeg is it: does what the turns want, and notes the events."""

    def __init__(self) -> None:
        self.playout = Playout()
        self.turns: Turns | None = None
        self.events: list[tuple[float, AgentEvent]] = []
        self.now = 0.0
        self.cpu_s = 0.0

    def clear(self) -> Cleared:
        return self.playout.clear()

    def pause(self, *, on: bool) -> None:
        if on:
            self.playout.pause()
        else:
            self.playout.resume()

    def inform(self, event: AgentEvent) -> None:
        self.events.append((self.now, event))

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        """Nobody watches."""

    # ---- Listener of the hub

    @property
    def is_connected(self) -> bool:
        return True

    def hear(self, frame: AudioFrame) -> None:
        if self.turns is None:
            return
        began = time.thread_time()
        self.turns.hear(frame)
        self.cpu_s += time.thread_time() - began


@dataclass(slots=True)
class FarEnd:
    """Who listens at the other end of the line: keeps what is sent there."""

    sent: Sound
    at: int = 0
    is_connected: bool = True
    last_sound_at: float = field(default=-1.0)
    "When the last packet went out that was not silent."
    now: float = 0.0

    def hear(self, frame: AudioFrame) -> None:
        pcm = MU_LAW.decode(MU_LAW.encode(frame.pcm(RATE)))
        if self.at + len(pcm) <= len(self.sent):
            self.sent[self.at : self.at + len(pcm)] = pcm
            if frame.rendered is not None and np.abs(pcm).max(initial=0) > 8:
                self.last_sound_at = self.now
        self.at += len(pcm)


class Line:
    """One call of one agent over one line."""

    def __init__(
        self,
        options: TurnsOptions | None,
        seconds: float,
        *,
        echo: EchoPath | None = None,
        phase_ms: float = 7.0,
    ) -> None:
        self.mouth = Mouth()
        self.far = FarEnd(np.zeros(round(seconds * RATE), np.float32))
        if options is not None:
            self.mouth.turns = Turns(options, self.mouth)
        self.now = 1000.0
        self.at = 0
        "Samples gone by."
        self._voice = Voice()
        self._phase_s = phase_ms / 1000
        self._echo = echo
        self._response = echo.response() if echo is not None else None
        self._hub = Hub()
        self._hub.join("agent", listener=self.mouth, playout=self.mouth.playout)
        self._hub.join("far", listener=self.far)
        self._hub.route({"agent": {"far": 1.0}, "far": {"agent": 1.0}})

    def step(self, caller: Sound) -> None:
        """20 ms go by, in which the line carries this besides its echo."""
        self.now += 0.02
        self.mouth.now = self.far.now = self.now
        self._hub.tick(self.now)
        heard = caller
        if self._echo is not None and self._response is not None:
            heard = caller + self._coming_back(self._echo.delay_ms * RATE // 1000, self._response)
        pcm = np.clip(np.rint(heard), -32768, 32767).astype(np.int16)
        self.mouth.now = self.now + self._phase_s
        frame = self._voice.frame(PCMU, MU_LAW.encode(pcm), TICKS, self.now + self._phase_s)
        self._hub.push("far", frame)
        self.at += FRAME

    def hang_on_hold(self) -> None:
        """From now on the agent hears silence, as who talks with somebody on hold does."""
        self._hub.route({"agent": {}, "far": {}})

    def close(self) -> None:
        """Free what is in use."""
        if self.mouth.turns is not None:
            self.mouth.turns.close()
        self._voice.close()

    def _coming_back(self, delay: int, response: Sound) -> Sound:
        reach = len(response) - 1
        first = self.at - delay - reach
        piece = self.far.sent[max(0, first) : max(0, self.at - delay + FRAME)]
        missing = FRAME + reach - len(piece)
        if missing:
            piece = np.concatenate((np.zeros(missing, np.float32), piece))
        back: Sound = np.convolve(piece, response, "valid").astype(np.float32)
        return back


# ---- what is on it


@cache
def prompt(island: str, name: str) -> Pcm:
    """One of the recorded prompts, at 8 kHz."""
    path = files(island).joinpath(*name.split("/"))
    with path.open("rb") as opened, wave.open(opened) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return resample(pcm, file.getframerate(), RATE)


@cache
def agent_words() -> Pcm:
    """What the agent says over and over: 15 s, then a pause."""
    speech = at_level(prompt("gateway.lab", "prompts/speech.wav"), AGENT_DBFS)
    return np.concatenate([to_pcm(speech), np.zeros(RATE, np.int16)])


@cache
def caller_voices() -> tuple[Sound, ...]:
    """The other prompts, each as it is, as a deeper and as a higher voice; at full level."""
    names = ("yourself", "hours", "again", "anything-else", "welcome", "goodbye")
    voices = []
    for name in names:
        pcm = prompt("gateway.agents", f"receptionist/{name}.wav").astype(np.float32)
        loud = np.flatnonzero(np.abs(pcm) > 600)
        pcm = pcm[loud[0] : loud[-1]]
        for factor in (1.0, 0.82, 1.25):
            at = np.arange(0, len(pcm) - 1, factor)
            voices.append(np.interp(at, np.arange(len(pcm)), pcm).astype(np.float32))
    return tuple(voices)


def at_level(sound: NDArray[Any], dbfs: float) -> Sound:
    """Speech at an active level: its pauses do not count."""
    samples = sound.astype(np.float32)
    pieces = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    powers = (pieces * pieces).mean(axis=1)
    active = powers[powers > powers.max() / 1000].mean()
    wanted = 32768.0**2 / 2 * 10 ** (dbfs / 10)
    scaled: Sound = samples * np.float32(np.sqrt(wanted / active))
    return scaled


def to_pcm(sound: Sound) -> Pcm:
    """As samples."""
    pcm: Pcm = np.clip(np.rint(sound), -32768, 32767).astype(np.int16)
    return pcm


def noise(kind: str, seconds: float, dbfs: float, seed: int = 1) -> Sound:
    """Noise of a line: hiss, pink, hum (with harmonics) or crackle (clicks over hiss)."""
    chance = np.random.default_rng(seed)
    size = round(seconds * RATE)
    white = chance.standard_normal(size)
    at = np.arange(size) / RATE
    if kind == "pink":
        spectrum = np.fft.rfft(white)
        spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 30 * seconds))
        made = np.fft.irfft(spectrum, size)
    elif kind == "hum":
        waves = [np.sin(2 * np.pi * 50 * n * at + n) / n for n in (1, 2, 3, 5, 7, 9)]
        made = np.sum(waves, axis=0) * (1 + 0.3 * np.sin(2 * np.pi * 0.4 * at)) + 0.1 * white
    elif kind == "crackle":
        clicks = (chance.random(size) < 6 / RATE) * chance.standard_normal(size) * 60
        made = white + np.convolve(clicks, np.exp(-np.arange(24) / 6), "same")
    else:
        made = white
    scaled: Sound = made / np.sqrt(np.mean(made**2)) * 32768 / 2**0.5 * 10 ** (dbfs / 20)
    return scaled.astype(np.float32)
