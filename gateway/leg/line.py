"""LineLeg: a call that a PBX hands us over a socket of audio, as a party that calls.

    socket ▸ line protocol ▸ 20 ms ▸ the hub
    socket ◂ line protocol ◂ Ear ◂ keys ◂ the hub

A person speaks there, in time: it is a live speaker, without a queue, and what comes goes on at
once. What comes faster than time goes by is dropped, after a stall as in a flood.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import numpy as np

from gateway.agents.conversion import Ear
from gateway.agents.event import AgentEvent, ToolDone
from gateway.agents.lines.line import (
    Begun,
    Broken,
    Flow,
    HungUp,
    LineEvent,
    LineProtocol,
    Pressed,
    Said,
)
from gateway.agents.protocol import AudioFormat
from gateway.codec import TICK_RATE
from gateway.leg.leg import (
    DigitPressed,
    Ended,
    EndReason,
    Gone,
    LegEvent,
    LegId,
    LegKind,
    MediaQuality,
    Phase,
)
from gateway.media.frame import AudioFrame, Voice
from gateway.media.opus import RATES, opus_duration
from gateway.media.resample import Resampler
from gateway.media.tone import ringback
from gateway.media.touchtone import TonePad
from gateway.net.agent_connection import AgentConnection, Lost, Message
from gateway.sdp.description import Direction
from gateway.sip.uri import Uri

log = logging.getLogger(__name__)

BEGIN_S = 5.0
"Until when a line has said which call it is: Asterisk says it at once."

SILENT_S = 30.0
"Without a word for so long a line is dead: Asterisk sends audio all the time (behaviour F10)."

MAX_BURST = TICK_RATE // 10
"Ticks said at once after a stall: 100 ms, as for RTP; the rest is time gone by."

PACE = 1.005
"How much faster than ours a line's clock may go: ten times the drift of a bad crystal."

MAX_BROKEN = 3
"What is not in the protocol may come so often, and the line is given up (F19)."

DIGIT_MS = 100
"How long a key counts as pressed: we are told when it is over, not for how long it was."

TICK_S = 0.02

_RING_RATE = 8000
_PIECE_TICKS = TICK_RATE // 50


class LineLeg:
    """One line in one call. It calls; it is never dialled."""

    kind = LegKind.LINE
    can_refer = False
    dialog = None
    playout = None

    def __init__(
        self,
        leg_id: LegId,
        protocol: LineProtocol,
        connection: AgentConnection,
        *,
        begin: Callable[[LineLeg, Begun], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """
        Args:
            begin: places the call, once the line has said which it is.
        """
        self.id = leg_id
        self.listener = self
        self.on_event: Callable[[LegEvent], None] = _nobody
        self.on_frame: Callable[[AudioFrame], None] = _silent
        self._protocol = protocol
        self._connection = connection
        self._begin = begin
        self._loop = loop
        self._mouth = _Mouth(loop.time())
        self._ear = Ear(protocol.heard)
        self._pad = TonePad()
        self._ring: _Ring | None = None
        self._has_begun = False
        self._has_ended = False
        self._is_open = True  # the other side has room for audio
        self._is_stopped = False
        self._broken = 0
        self._digits_received = self._digits_sent = 0
        self._heard_at = loop.time()
        self._patience = loop.call_later(BEGIN_S, self._look)
        connection.start(self._receive, self._on_lost)

    # ---- commands

    def dial(self) -> None:
        """A line calls; nobody can call it."""

    def progress(self, *, ringing: bool, early_media: bool) -> None:
        """Its PBX has answered it long ago: so that it hears that it rings, we play that."""
        if early_media:
            self._stop_ringing()
        elif ringing and self._ring is None and not self._has_ended:
            self._ring = _Ring(self._say_to_it, self._loop)

    def answer(self) -> None:
        """The call is answered."""
        self._stop_ringing()
        if not self._has_ended:
            self._send(self._protocol.answer())

    def digit(self, digit: str, phase: Phase, duration_ms: int = 0) -> None:
        """A key is played as sound: no line has a word for keys toward it."""
        if phase is Phase.END:
            self._pad.end(digit, duration_ms)
        elif self._pad.start(digit):
            self._digits_sent += 1

    def hold(self, direction: Direction) -> None:
        """It hears that it is on hold."""

    def refer(self, target: Uri, replaces: str | None = None) -> None:
        """A line cannot be asked: see `can_refer`."""

    def transfer_progress(self, status: int) -> None:
        """A line asks for no transfer."""

    def tool_done(self, done: ToolDone) -> None:
        """A line uses no tools."""

    def inform(self, event: AgentEvent) -> None:
        """A line is told nothing that it cannot hear."""

    def stop_media(self) -> None:
        """Send it nothing any more."""
        self._is_stopped = True

    def end(self, reason: EndReason, status: int = 0, text: str = "") -> None:
        """Hang up."""
        if not self._has_ended:
            self._has_ended = True
            self._send(self._protocol.hang_up())
            self._close()

    def quality(self) -> MediaQuality:
        """TCP loses nothing, and tells nobody how long it took."""
        codec = self._protocol.heard.codec
        return MediaQuality(
            codec="L16" if codec is None else codec.name,
            digits_received=self._digits_received,
            digits_sent=self._digits_sent,
            digits_unsent=self._pad.dropped,
        )

    @property
    def dropped_ms(self) -> float:
        """What it said faster than time goes by, and nobody heard."""
        return self._mouth.dropped * 1000 / TICK_RATE

    # ---- Listener

    @property
    def is_connected(self) -> bool:
        """Whether what it hears goes out."""
        return not self._has_ended

    def hear(self, frame: AudioFrame) -> None:
        if self._ring is None and not frame.is_past:
            self._say_to_it(frame)

    def _say_to_it(self, frame: AudioFrame) -> None:
        if self._has_ended or self._is_stopped:
            return
        if self._pad.is_active:
            frame = self._pad.replace(frame)
        if self._ear.format != self._protocol.heard:
            self._ear.close()
            self._ear = Ear(self._protocol.heard)
        for audio in self._ear.hear(frame):
            if self._is_open:
                self._connection.send_audio(self._protocol.hear(audio))

    # ---- what comes

    def _receive(self, message: Message) -> None:
        self._heard_at = self._loop.time()
        for event in self._protocol.receive(message):
            if self._has_ended:
                return
            self._on_line_event(event)

    def _on_line_event(self, event: LineEvent) -> None:
        match event:
            case Said(audio, format_):
                for frame in self._mouth.say(audio, format_, self._heard_at):
                    self.on_frame(frame)
            case Pressed(digit):
                self._digits_received += 1
                self.on_event(DigitPressed(digit, Phase.START))
                self.on_event(DigitPressed(digit, Phase.END, DIGIT_MS))
            case Begun():
                self._has_begun = True
                self._begin(self, event)
            case Flow(is_open):
                self._is_open = is_open
            case HungUp():
                self._stop(Ended(EndReason.HANGUP))
            case Broken(why):
                self._broken += 1
                if not self._has_begun or self._broken >= MAX_BROKEN:
                    log.info("leg=%s a line is given up: %s", self.id, why)
                    self._give_up(Ended(EndReason.PATH_LOST, text=why))

    def _on_lost(self, lost: Lost) -> None:
        # Asterisk closes the socket of a channel that was hung up, often without a word.
        reason = EndReason.HANGUP if lost.is_finished else EndReason.PATH_LOST
        self._stop(Ended(reason))

    def _look(self) -> None:
        """Is somebody there still?"""
        now = self._loop.time()
        until = self._heard_at + SILENT_S
        if not self._has_begun or now >= until:
            self._give_up(Ended(EndReason.MEDIA_TIMEOUT))
        else:
            self._patience = self._loop.call_at(until, self._look)

    # ---- the end

    def _give_up(self, ended: Ended) -> None:
        self._send(self._protocol.hang_up())
        self._stop(ended)

    def _stop(self, ended: Ended) -> None:
        """It is out of the call, not by our doing."""
        if not self._has_ended:
            self._has_ended = True
            self.on_event(ended)
            self._close()

    def _stop_ringing(self) -> None:
        if self._ring is not None:
            self._ring.stop()
            self._ring = None

    def _close(self) -> None:
        self._stop_ringing()
        self._patience.cancel()
        self._connection.close()
        self._pad.close()
        self._ear.close()
        self._mouth.close()
        self._loop.call_soon(self.on_event, Gone())

    def _send(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self._connection.send(message)


class _Mouth:
    """What a line says, in any pieces, as frames of 20 ms that come no faster than time."""

    def __init__(self, now: float) -> None:
        self.dropped = 0
        "Ticks."
        self._voice = Voice()
        self._format: AudioFormat | None = None
        self._resampler: Resampler | None = None
        self._size = 0
        self._rest = b""
        self._budget = float(MAX_BURST)
        "Ticks that may be said now."
        self._at = now

    def say(self, audio: bytes, format_: AudioFormat, now: float) -> Iterable[AudioFrame]:
        """The frames that are whole with this, and may be said."""
        if format_ != self._format:
            self._change(format_)
        self._budget = min(MAX_BURST, self._budget + (now - self._at) * TICK_RATE * PACE)
        self._at = now
        size = self._size
        if not size:
            duration = opus_duration(audio)
            return (self._frame(audio, duration, now),) if self._admit(duration) else ()
        if self._rest:
            audio = self._rest + audio
        whole = len(audio) // size * size
        self._rest = audio[whole:]
        return [
            self._frame(audio[at : at + size], _PIECE_TICKS, now)
            for at in range(0, whole, size)
            if self._admit(_PIECE_TICKS)
        ]

    def close(self) -> None:
        """Free the decoders."""
        self._voice.close()

    def _change(self, format_: AudioFormat) -> None:
        self._format, self._rest, self._resampler = format_, b"", None
        codec = format_.codec
        if codec is None:
            self._size = format_.rate // 50 * 2
            if format_.rate not in RATES:
                native = next((rate for rate in RATES if rate >= format_.rate), RATES[-1])
                self._resampler = Resampler(format_.rate, native)
        else:
            self._size = 0 if codec.name == "opus" else 160  # G.711 and G.722: 64 kbit/s

    def _admit(self, duration: int) -> bool:
        if not duration or duration > self._budget:
            self.dropped += duration
            return False
        self._budget -= duration
        return True

    def _frame(self, audio: bytes, duration: int, now: float) -> AudioFrame:
        format_ = self._format
        assert format_ is not None
        if format_.codec is not None:
            return self._voice.frame(format_.codec, audio, duration, now)
        pcm, rate = np.frombuffer(audio, "<i2"), format_.rate
        if self._resampler is not None:
            pcm, rate = self._resampler.process(pcm), self._resampler.to_rate
        return self._voice.frame_of_pcm(pcm, rate, now)


class _Ring:
    """The ringing tone, at its own pace: before the answer nobody else clocks a line."""

    def __init__(self, hear: Callable[[AudioFrame], None], loop: asyncio.AbstractEventLoop) -> None:
        self._hear = hear
        self._loop = loop
        self._voice = Voice()
        self._tone = ringback(_RING_RATE)
        self._at = 0
        self._due_at = loop.time()
        self._timer: asyncio.Handle = loop.call_soon(self._tick)

    def stop(self) -> None:
        """No more of it."""
        self._timer.cancel()

    def _tick(self) -> None:
        now, size = self._loop.time(), _RING_RATE // 50
        piece = self._tone[self._at : self._at + size]
        self._at = (self._at + size) % len(self._tone)
        # After a stall it goes on from now: nobody misses a piece of it.
        self._due_at = max(self._due_at + TICK_S, now)
        self._timer = self._loop.call_at(self._due_at, self._tick)
        self._hear(self._voice.frame_of_pcm(piece, _RING_RATE, now))


def _nobody(event: LegEvent) -> None:
    """The leg has no call yet."""


def _silent(frame: AudioFrame) -> None:
    """Nobody hears it yet."""
