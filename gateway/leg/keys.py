"""A party's key presses, both ways, whichever way they take: RFC 4733, SIP INFO, or as sound.

    event packets ─┐                                       ┌─▸ event packets
    INFO, a page ──┼─▸ KeyReceiver ─▸ DigitPressed    press ┼─▸ INFO
    tones ─────────┘   (each press once)                   └─▸ tones, in the place of what is heard

Only who has no other way is listened to for tones: that takes a look at each of its frames.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from math import inf

from gateway.leg.leg import DigitPressed, LegEvent, MediaChanged, MediaQuality, Phase
from gateway.leg.stream import AudioStream
from gateway.media.frame import AudioFrame
from gateway.media.hub import Listener
from gateway.media.touchtone import RATE, KeyDetector, TonePad
from gateway.rtp.dtmf import MAX_DIGITS_PER_S, DtmfMode

SAME_PRESS_S = 2.0
"""So long after its end a press may be told again in another way: an INFO that was lost twice
comes 1.5 s late (RFC 3261 §17.1.2.2)."""

TAKES_NO_INFO = frozenset({405, 415, 501})
"Statuses by which a party says that it takes no keys by INFO; any other is about that one."

MAX_LOST_FRAMES = 3
"Missing in a row: who sends nothing for longer has released its key."

TIMER_SLACK_S = 0.001
"Timers may fire a fraction of a millisecond early."


class KeySource(Enum):
    """How a press came."""

    EVENT = "event"
    INFO = "info"
    TONE = "tone"


@dataclass(slots=True)
class _Press:
    """A press that a party is at, or was lately."""

    digit: str
    started_at: float
    owner: KeySource
    "Who tells its end."
    told_by: set[KeySource] = field(default_factory=set)
    release_at: float = inf
    "When it is over, where that was told at its beginning."
    ended_at: float = inf


class KeyReceiver:
    """Makes one press of what is told in several ways. A Machine without I/O.

    As many presses of a key are told as came the way that told most of them: each way tells every
    press once at most, so that the second of a way is always a second press.
    """

    def __init__(self) -> None:
        self._presses: deque[_Press] = deque(maxlen=2 * MAX_DIGITS_PER_S)
        self._started_at: deque[float] = deque(maxlen=MAX_DIGITS_PER_S)
        self.received = 0
        "Presses."
        self.duplicates = 0
        "Presses that had come another way already."
        self.refused = 0
        "Presses beyond `MAX_DIGITS_PER_S`."

    def hear(self, source: KeySource, edge: DigitPressed, now: float) -> list[DigitPressed]:
        """Take one edge of a press; what is to be told of it."""
        if edge.phase is Phase.START:
            return self._start(source, edge.digit, now)
        press = self._down
        if press is None or press.owner is not source or press.digit != edge.digit:
            return []
        return [self._end(press, now, edge.duration_ms)]

    def hear_whole(
        self, source: KeySource, digit: str, duration_ms: int, now: float
    ) -> list[DigitPressed]:
        """Take a press whose length is told with it; `handle_timer` tells its end."""
        told = self._start(source, digit, now)
        if told:
            self._presses[-1].release_at = now + duration_ms / 1000
        return told

    def handle_timer(self, now: float) -> list[DigitPressed]:
        """End the press whose time is up."""
        press = self._down
        if press is None or now < press.release_at:
            return []
        return [self._end(press, now, round((press.release_at - press.started_at) * 1000))]

    def next_timer(self) -> float | None:
        """When the press is over that is under way."""
        press = self._down
        return None if press is None or press.release_at == inf else press.release_at

    @property
    def _down(self) -> _Press | None:
        """The press whose key is down: only the newest can be."""
        newest = self._presses[-1] if self._presses else None
        return newest if newest is not None and newest.ended_at == inf else None

    def _start(self, source: KeySource, digit: str, now: float) -> list[DigitPressed]:
        presses = self._presses
        while presses and now > presses[0].ended_at + SAME_PRESS_S:
            presses.popleft()
        for press in presses:
            if press.digit == digit and source not in press.told_by:
                self.duplicates += 1
                press.told_by.add(source)
                if source is KeySource.EVENT and press.ended_at == inf:
                    # Packets tell best how long a key is down.
                    press.owner, press.release_at = source, inf
                return []
        started_at = self._started_at
        if len(started_at) == MAX_DIGITS_PER_S and now - started_at[0] < 1.0:
            self.refused += 1
            return []
        started_at.append(now)
        told = []
        down = self._down
        if down is not None:
            # One finger: the key before is up.
            told.append(self._end(down, now, round((now - down.started_at) * 1000)))
        presses.append(_Press(digit, now, source, {source}))
        self.received += 1
        told.append(DigitPressed(digit, Phase.START))
        return told

    def _end(self, press: _Press, now: float, duration_ms: int) -> DigitPressed:
        press.ended_at = now
        return DigitPressed(press.digit, Phase.END, duration_ms)


class _KeyedEar:
    """A listener whose keys may be put in the place of what it hears."""

    def __init__(self, stream: AudioStream) -> None:
        self.pad: TonePad | None = None
        "Presses its keys; None: they take another way, and nothing is before the stream."
        self._stream = stream

    @property
    def is_connected(self) -> bool:
        return self._stream.is_connected

    @property
    def hear(self) -> Callable[[AudioFrame], None]:
        return self._stream.hear if self.pad is None else self._hear

    def switch(self, *, on: bool) -> bool:
        """Press keys as sound from now on, or no longer; whether that is a change."""
        is_change = on is (self.pad is None)
        if is_change and self.pad is not None:
            self.pad.close()
        if is_change:
            self.pad = TonePad() if on else None
        return is_change

    def _hear(self, frame: AudioFrame) -> None:
        pad = self.pad
        self._stream.hear(pad.replace(frame) if pad is not None and pad.is_active else frame)


class Keys:
    """One party's keys: what it presses, and what is pressed toward it."""

    def __init__(
        self,
        stream: AudioStream,
        *,
        tell: Callable[[LegEvent], None],
        loop: asyncio.AbstractEventLoop,
        mode: DtmfMode = DtmfMode.RFC4733,
        takes_info: Callable[[], bool] | None = None,
        send_info: Callable[[str, int], bool] | None = None,
    ) -> None:
        """
        Args:
            tell: takes the party's presses, and `MediaChanged` where the hub has to look again.
            takes_info: whether the party has said that it takes INFO.
            send_info: sends one press so, or returns False; `on_info_answered` is told what
                came of it.
        """
        self.receiver = KeyReceiver()
        self.sent = 0
        "Presses that went out to the party."
        self.unsent = 0
        "Presses that did not: it takes none this way, or too many waited."
        self._stream = stream
        self._tell = tell
        self._loop = loop
        self._mode = mode
        self._takes_info = takes_info or _never
        self._send_info = send_info or _not_sent
        self._informed: deque[tuple[str, int]] = deque()
        "Presses sent by INFO that are not answered yet."
        self._is_info_refused = False
        self._way = mode
        "Of the present press."
        self._timer: asyncio.TimerHandle | None = None
        self._ear = _KeyedEar(stream) if mode in (DtmfMode.AUTO, DtmfMode.INBAND) else None
        self.listener: Listener = self._ear or stream
        "What hears for the party."
        self._detector: KeyDetector | None = None
        self._lost = 0  # frames in a row
        self._push: Callable[[AudioFrame], None] = stream.on_frame
        stream.on_digit = self._on_event

    @property
    def way(self) -> DtmfMode:
        """How the party is sent keys now; never `AUTO`."""
        if self._mode is not DtmfMode.AUTO:
            return self._mode
        if self._stream.session.takes_digits:
            return DtmfMode.RFC4733
        if self._takes_info() and not self._is_info_refused:
            return DtmfMode.INFO
        return DtmfMode.INBAND

    @property
    def on_frame(self) -> Callable[[AudioFrame], None]:
        """Where what the party says goes; keys that are heard in it do not."""
        return self._push

    @on_frame.setter
    def on_frame(self, push: Callable[[AudioFrame], None]) -> None:
        self._push = push
        self._stream.on_frame = push if self._detector is None else self._listen

    def settle(self) -> None:
        """Look again at what was negotiated: after each offer and answer."""
        if self._stream.codec is None:
            return
        is_auto, has_events = self._mode is DtmfMode.AUTO, self._stream.session.takes_digits
        listens = self._mode is DtmfMode.INBAND or (is_auto and not has_events)
        if listens != (self._detector is not None):
            self._release_tone()
            self._detector = KeyDetector() if listens else None
            self.on_frame = self._push
        if self._ear is not None and self._ear.switch(on=self.way is DtmfMode.INBAND):
            self._tell(MediaChanged())

    def press(self, digit: str, phase: Phase, duration_ms: int = 0) -> None:
        """Send one edge of a key press to the party; at its end, how long it was."""
        if phase is Phase.START:
            self._way = self.way
        match self._way:
            case DtmfMode.RFC4733:
                is_sent = self._stream.digit(digit, phase, duration_ms)
                self._count(is_sent, phase)
            case DtmfMode.INFO if phase is Phase.END:
                if self._send_info(digit, duration_ms):
                    self._informed.append((digit, duration_ms))
                else:
                    self.unsent += 1
            case DtmfMode.INBAND:
                self._press_tone(digit, phase, duration_ms)

    def on_info(self, digit: str, duration_ms: int, now: float) -> None:
        """The party has told of a whole press: by INFO, or as a page does."""
        self._tell_all(self.receiver.hear_whole(KeySource.INFO, digit, duration_ms, now))
        self._set_timer()

    def close(self) -> None:
        """The party is gone: nothing is told of it any more, and nobody is held on to."""
        self._stop_timer()
        if self._ear is not None:
            self._ear.switch(on=False)
        self._tell, self._push = _nobody, _nobody
        self._takes_info, self._send_info = _never, _not_sent

    def on_info_answered(self, status: int) -> None:
        """The party has answered an INFO of ours."""
        if not self._informed:
            return
        digit, duration_ms = self._informed.popleft()
        if status < 300:
            self.sent += 1
            return
        self._is_info_refused = self._is_info_refused or status in TAKES_NO_INFO
        self.settle()
        for phase in (Phase.START, Phase.END):
            self._press_tone(digit, phase, duration_ms)

    def report(self, quality: MediaQuality) -> MediaQuality:
        """The figures of the media, with those of keys."""
        quality.digits_received = self.receiver.received
        quality.digits_sent = self.sent
        quality.digits_unsent = self.unsent
        return quality

    # ---- inside

    def _on_event(self, edge: DigitPressed) -> None:
        self._tell_all(self.receiver.hear(KeySource.EVENT, edge, self._loop.time()))

    def _listen(self, frame: AudioFrame) -> None:
        """Hear keys in what the party says: they are events then, and no longer audio."""
        detector = self._detector
        assert detector is not None
        self._lost = 0 if frame.codec is not None else self._lost + 1
        is_guess = 0 < self._lost <= MAX_LOST_FRAMES
        for heard in detector.push(frame.pcm(RATE), is_guess=is_guess):
            phase = Phase.END if heard.is_end else Phase.START
            edge = DigitPressed(heard.digit, phase, heard.duration_ms)
            self._tell_all(self.receiver.hear(KeySource.TONE, edge, self._loop.time()))
        if detector.is_suspected:
            # What has passed of the press by now is too short for anybody to take it for one.
            frame = AudioFrame(frame.position, frame.duration, frame.heard_at)
        self._push(frame)

    def _release_tone(self) -> None:
        for heard in self._detector.release() if self._detector is not None else ():
            edge = DigitPressed(heard.digit, Phase.END, heard.duration_ms)
            self._tell_all(self.receiver.hear(KeySource.TONE, edge, self._loop.time()))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self) -> None:
        self._stop_timer()
        release_at = self.receiver.next_timer()
        self._timer = None if release_at is None else self._loop.call_at(release_at, self._on_timer)

    def _on_timer(self) -> None:
        self._tell_all(self.receiver.handle_timer(self._loop.time() + TIMER_SLACK_S))
        self._set_timer()

    def _press_tone(self, digit: str, phase: Phase, duration_ms: int) -> None:
        pad = None if self._ear is None else self._ear.pad
        if phase is Phase.START:
            self._count(pad is not None and pad.start(digit), phase)
        elif pad is not None:
            pad.end(digit, duration_ms)

    def _count(self, is_sent: bool, phase: Phase) -> None:
        if phase is Phase.START:
            self.sent += is_sent
            self.unsent += not is_sent

    def _tell_all(self, edges: list[DigitPressed]) -> None:
        for edge in edges:
            self._tell(edge)


def _nobody(_told: LegEvent | AudioFrame) -> None:
    """The party is gone."""


def _never() -> bool:
    """The party knows no INFO."""
    return False


def _not_sent(_digit: str, _duration_ms: int) -> bool:
    return False
