"""Keys as sound: pressed toward who takes them no other way, and heard (ITU-T Q.23, Q.24)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.codec import TICK_RATE
from gateway.media.frame import AudioFrame, Voice
from gateway.media.tone import DTMF_HZ

RATE = 8000
"Hz: the tones of keys are made and heard at it."

LOW_DBFS, HIGH_DBFS = -11.0, -9.0
"Of the two tones we make: lines weaken the higher one more (Q.24 allows 4 dB this way)."

MAX_WAITING = 32
"Presses that wait for their turn: 5 s of them."

WINDOW = 205
"""Samples looked at together: 25.6 ms tell two tones of a column apart, and still fit into the
shortest press that is to be heard, of 40 ms."""

HOP = 102
"Samples from one look to the next: 12.75 ms."

MIN_LOOKS = 2
"Looks in a row that find a key before it counts. One of 40 ms fills two, one of 23 ms none or one."

MAX_BLIND_LOOKS = 2
"Looks in a row that a press may miss: a break of 10 ms is none, one of 30 ms ends it (Q.24)."

MIN_DBFS = -33.0
"Of each tone: -30 dBm0. What is weaker is an echo or crosstalk; -25 dBm0 has to be heard."

MAX_TWIST_DB, MAX_REVERSE_TWIST_DB = 9.0, 6.0
"By how much the low tone may be the stronger (Q.24: 8), and the high one (Q.24: 4)."

MIN_SHARE = 0.75
"Of the energy, in the two tones together. Speech has more beside them: this is what tells it."

_PASS = (-0.015, -0.0075, 0.0, 0.0075, 0.015)
"Deviations at which a tone has to be taken for itself: 1.5 % (Q.24)."

_STOP = (-0.0375, 0.0375)
"One that is nearer to these than to the others is no tone of a key: beyond 3.5 % none may be."

_ROWS = tuple(dict.fromkeys(low for low, _ in DTMF_HZ.values()))
_COLUMNS = tuple(sorted({high for _, high in DTMF_HZ.values()}))
_KEYS = {pair: digit for digit, pair in DTMF_HZ.items()}
_MIN_POWER = (WINDOW / 2 * 32768 * 10 ** (MIN_DBFS / 20)) ** 2
_MAX_TWIST, _MAX_REVERSE_TWIST = 10 ** (MAX_TWIST_DB / 10), 10 ** (MAX_REVERSE_TWIST_DB / 10)

_LOOKED_MS = 1000 * (WINDOW * (2 * MIN_SHARE - 1) + HOP) / RATE
"By how much a press lasts longer than from the first look that finds it to the last."


def _turns(deviations: tuple[float, ...]) -> NDArray[np.float32]:
    """What a window is multiplied with: a row each for the cosine and sine of each tone."""
    tones = np.array([hz * (1 + by) for hz in (*_ROWS, *_COLUMNS) for by in deviations])
    angles = 2 * np.pi / RATE * tones[:, None] * np.arange(WINDOW)
    turns: NDArray[np.float32] = np.concatenate([np.cos(angles), np.sin(angles)]).astype(np.float32)
    return turns


_COARSE, _FINE, _BESIDE = _turns((0.0,)), _turns(_PASS), _turns(_STOP)


@dataclass(frozen=True, slots=True)
class KeyHeard:
    """One edge of a key press."""

    digit: str
    "One of 0-9 * # A-D."
    is_end: bool
    duration_ms: int = 0
    "How long it sounded; 0 at the start."


class KeyDetector:
    """Hears keys in what a party says. Each press gives exactly one start and one end."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.int16)
        self._candidate: str | None = None
        self._found = 0  # looks in a row
        self._sounding: str | None = None
        self._first = self._last = 0  # looks that found the key that sounds
        self._blind = 0
        self._doubtful = 0  # samples to come that a guess is among, or near
        self._looks = 0

    @property
    def is_sounding(self) -> bool:
        """Whether a key is down."""
        return self._sounding is not None

    @property
    def is_suspected(self) -> bool:
        """Whether the last look found a key, be it down or not: it may be about to be."""
        return self._candidate is not None or self._sounding is not None

    def push(self, pcm: NDArray[np.int16], *, is_guess: bool = False) -> list[KeyHeard]:
        """Hear what is said next, at 8 kHz, in pieces of any length.

        Args:
            is_guess: it stands in for what was lost: a key that is not in it may be down still.
        """
        edges: list[KeyHeard] = []
        if is_guess:
            self._doubtful = len(self._rest) + len(pcm) + WINDOW
        samples = np.concatenate((self._rest, pcm)) if len(self._rest) else pcm
        start = 0
        while start + WINDOW <= len(samples):
            self._look(key_in(samples[start : start + WINDOW]), edges)
            self._doubtful -= HOP
            start += HOP
        self._rest = samples[start:]
        return edges

    def release(self) -> list[KeyHeard]:
        """Nothing more is heard: whatever sounds is over."""
        edges: list[KeyHeard] = []
        self._end(edges)
        self._rest, self._candidate = self._rest[:0], None
        return edges

    def _look(self, key: str | None, edges: list[KeyHeard]) -> None:
        self._looks += 1
        self._found = self._found + 1 if key == self._candidate else 1
        self._candidate = key
        if key is not None and key == self._sounding:
            self._last, self._blind = self._looks, 0
            return
        self._blind += self._doubtful <= 0
        is_new = key is not None and self._found >= MIN_LOOKS
        if is_new or self._blind > MAX_BLIND_LOOKS:
            self._end(edges)
        if key is not None and is_new:
            self._sounding, self._blind = key, 0
            self._first, self._last = self._looks - self._found + 1, self._looks
            edges.append(KeyHeard(key, is_end=False))

    def _end(self, edges: list[KeyHeard]) -> None:
        digit, self._sounding = self._sounding, None
        if digit is not None:
            sounded_ms = (self._last - self._first) * HOP * 1000 / RATE + _LOOKED_MS
            edges.append(KeyHeard(digit, is_end=True, duration_ms=round(sounded_ms)))


def key_in(window: NDArray[np.int16]) -> str | None:
    """The key that sounds throughout `WINDOW` samples at 8 kHz; None where none does."""
    samples = window.astype(np.float32)
    energy = float(samples @ samples)
    if energy * WINDOW < 4 * _MIN_POWER:
        return None
    # Nearly everything ends here: speech is not as narrow as two tones.
    coarse = _powers(_COARSE, samples).tolist()  # of so few numbers Python's max is the quicker
    if 2 * (max(coarse[:4]) + max(coarse[4:])) < 0.2 * energy * WINDOW:
        return None
    powers = _powers(_FINE, samples).reshape(8, -1).max(axis=1)
    row, column = int(powers[:4].argmax()), 4 + int(powers[4:].argmax())
    low, high = float(powers[row]), float(powers[column])
    if min(low, high) < _MIN_POWER or 2 * (low + high) < MIN_SHARE * energy * WINDOW:
        return None
    if low > high * _MAX_TWIST or high > low * _MAX_REVERSE_TWIST:
        return None
    beside = _powers(_BESIDE, samples).reshape(8, -1).max(axis=1)
    if beside[row] > low or beside[column] > high:
        return None
    return _KEYS[_ROWS[row], _COLUMNS[column - 4]]


def _powers(turns: NDArray[np.float32], samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Goertzel's measure of each tone."""
    parts = turns @ samples
    squares: NDArray[np.float32] = parts * parts
    half = len(squares) // 2
    return squares[:half] + squares[half:]


@dataclass(slots=True)
class _Press:
    """A press that waits or sounds; all in ticks."""

    digit: str
    length: int | None = None
    "None while the key is down."
    sounded: int = 0


@dataclass(frozen=True, slots=True)
class ToneOptions:
    """How keys are pressed as sound."""

    min_press_ms: int = 100
    "Q.24 asks for 40 to be heard; answering machines and loss ask for more."
    gap_ms: int = 100
    "Between two presses: Q.24 asks for 40, and jitter buffers shorten silence."
    max_press_ms: int = 60_000
    "A key that nobody releases is released."


class TonePad:
    """Puts key presses in the place of what a party hears, frame by frame."""

    def __init__(self, options: ToneOptions | None = None) -> None:
        self._options = options or ToneOptions()
        self._waiting: deque[_Press] = deque()
        self._press: _Press | None = None
        self._gap = 0  # ticks of silence still owed
        self._voice = Voice()
        self.dropped = 0
        "Presses that found no room."

    @property
    def is_active(self) -> bool:
        """Whether what the party hears now is ours."""
        return bool(self._waiting) or self._press is not None or self._gap > 0

    def start(self, digit: str) -> bool:
        """Press a key. False if too many presses wait."""
        if digit not in DTMF_HZ:
            raise ValueError(f"{digit!r} is not a DTMF digit")
        self._release(0)  # one finger: the key before is up
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            return False
        self._waiting.append(_Press(digit))
        return True

    def end(self, digit: str, duration_ms: int) -> None:
        """Release a key, which then has sounded so long; one that is not down is ignored."""
        press = self._down()
        if press is not None and press.digit == digit:
            self._release(duration_ms)

    def close(self) -> None:
        """Nothing more is pressed."""
        self._waiting.clear()
        self._voice.close()

    def replace(self, frame: AudioFrame) -> AudioFrame:
        """What is heard instead of a frame: as long, but a key or the gap after it."""
        ticks = TICK_RATE // RATE
        pcm = np.zeros(frame.samples(RATE), np.int16)
        at = 0
        while at < len(pcm):
            if self._gap:
                size = min(self._gap // ticks, len(pcm) - at)
                self._gap -= size * ticks
                at += size
                continue
            press = self._press = self._press or (
                self._waiting.popleft() if self._waiting else None
            )
            if press is None:
                break
            size = self._sound(press, pcm[at:])
            at += size
        return self._voice.frame_of_pcm(pcm, RATE, frame.heard_at)

    def _sound(self, press: _Press, into: NDArray[np.int16]) -> int:
        """Write the next piece of a press, and see whether it is over; samples written."""
        options, ticks = self._options, TICK_RATE // RATE
        length = press.length
        if length is None:
            length = options.max_press_ms * TICK_RATE // 1000
        size = min(len(into), max(0, -(-(length - press.sounded) // ticks)))
        into[:size] = _tone_of(press.digit, press.sounded // ticks, size)
        press.sounded += size * ticks
        if press.sounded >= length:
            self._press = None
            self._gap = options.gap_ms * TICK_RATE // 1000
        return size

    def _down(self) -> _Press | None:
        newest = self._waiting[-1] if self._waiting else self._press
        return newest if newest is not None and newest.length is None else None

    def _release(self, duration_ms: int) -> None:
        press = self._down()
        if press is not None:
            shortest = max(duration_ms, self._options.min_press_ms)
            longest = self._options.max_press_ms * TICK_RATE // 1000
            press.length = min(max(shortest * TICK_RATE // 1000, press.sounded), longest)


def _tone_of(digit: str, start: int, size: int) -> NDArray[np.int16]:
    """Samples `start` to `start + size` of a press, without a break to those before."""
    at = np.arange(start, start + size)
    wave = np.zeros(size)
    for hz, dbfs in zip(DTMF_HZ[digit], (LOW_DBFS, HIGH_DBFS), strict=True):
        wave += 32767 * 10 ** (dbfs / 20) * np.sin(2 * np.pi * hz / RATE * at)
    pcm: NDArray[np.int16] = np.rint(wave).astype(np.int16)
    return pcm
