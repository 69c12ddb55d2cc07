"""Our key presses, as the paced event packets that trunks and browsers recognise (RFC 4733)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from gateway.rtp.dtmf import DIGITS, MAX_DURATION, EventReport, build_events

VOLUME = 10
"-10 dBm0: what telephone networks expect of a tone (RFC 4733 §2.3.3, ITU-T Q.24)."

FINAL_PACKETS = 3
"How often the end of a press or of a segment is said (RFC 4733 §2.5.1.4)."


@dataclass(frozen=True, slots=True)
class DigitOptions:
    """How we press keys."""

    update_ms: int = 20
    "Between two packets of a press."
    min_press_ms: int = 100
    "What is shorter may not be recognised (ITU-T Q.24 asks for 40; trunks differ)."
    gap_ms: int = 50
    "Between two presses."
    max_press_ms: int = 60_000
    "A key that nobody releases is released."
    max_waiting: int = 32
    "Presses that wait for their turn: 5 s of them."


@dataclass(slots=True)
class EventPacket:
    """One event packet to be sent; the session adds sequence number and SSRC."""

    timestamp: int
    marker: bool
    payload: bytes


@dataclass(slots=True)
class _Press:
    """A press of ours that waits or sounds."""

    digit: str
    pressed_at: float
    length_s: float | None = None
    "None while the key is down."


class DigitSender:
    """Paces our presses: an update every 20 ms, three ends, a gap, the next."""

    def __init__(self, options: DigitOptions | None = None) -> None:
        self._options = options or DigitOptions()
        self._update_s = self._options.update_ms / 1000
        self._clock_rate = self._timestamp_rate = 8000
        self._waiting: deque[_Press] = deque()
        self._press: _Press | None = None
        self._started_at = 0.0
        self._due_at = 0.0
        self._timestamp = 0  # of the present segment
        self._reported = 0  # of the present press, in units of the event's clock
        self._before = 0  # the part of that in earlier segments
        self._finals = 0  # end packets still to be sent; 0 while it sounds
        self.reach = 0
        "The RTP timestamp up to which the last press has used the timeline, once it has begun."
        self.dropped = 0
        "Presses that found no room."

    @property
    def is_active(self) -> bool:
        """Whether a press is being sent, which then takes the place of audio."""
        return self._press is not None

    def configure(self, clock_rate: int, timestamp_rate: int) -> None:
        """Set the clock of the events' durations and that of the stream's timestamps."""
        self._clock_rate = clock_rate
        self._timestamp_rate = timestamp_rate

    def clear(self) -> None:
        """Forget every press, the present one too."""
        self._waiting.clear()
        self._press = None

    def start(self, digit: str, now: float) -> bool:
        """Press a key; `handle_timer` may then be due. False if too many presses wait."""
        if len(digit) != 1 or digit not in DIGITS:
            raise ValueError(f"{digit!r} is not a DTMF digit")
        self._release(now, 0.0)  # one finger: the key before is up
        if len(self._waiting) >= self._options.max_waiting:
            self.dropped += 1
            return False
        if self.next_timer() is None:
            self._due_at = max(self._due_at, now)
        self._waiting.append(_Press(digit, now))
        return True

    def end(self, digit: str, now: float, duration_ms: int) -> None:
        """Release a key; one that is not down is ignored."""
        press = self._down()
        if press is not None and press.digit == digit:
            self._release(now, duration_ms / 1000)

    def handle_timer(self, now: float, timestamp: int) -> list[EventPacket]:
        """The packets that are due.

        Args:
            timestamp: the stream's next RTP timestamp; a press that begins now begins there.
        """
        due_at = self.next_timer()
        if due_at is None or now < due_at:
            return []
        packets: list[EventPacket] = []
        if self._press is None:
            self._press = self._begin(now, timestamp)
        # By deadline; after a stall go on from now, without a burst.
        self._due_at = max(self._due_at + self._update_s, now + self._update_s / 2)
        first = not self._reported
        if not self._finals:
            packets += self._sound(self._press, now)
        duration, end = self._reported - self._before, bool(self._finals)
        packets.append(self._report(self._press, duration, marker=first, end=end))
        if end:
            self._finals -= 1
            if not self._finals:
                self._finish()
        return packets

    def next_timer(self) -> float | None:
        """When the next packet is due; None while there is nothing to send."""
        return self._due_at if self._waiting or self._press else None

    def _down(self) -> _Press | None:
        """The press whose key is down: only the newest can be."""
        newest = self._waiting[-1] if self._waiting else self._press
        return newest if newest is not None and newest.length_s is None else None

    def _release(self, now: float, at_least_s: float) -> None:
        press = self._down()
        if press is not None:
            length_s = max(now - press.pressed_at, at_least_s, self._options.min_press_ms / 1000)
            press.length_s = min(length_s, self._options.max_press_ms / 1000)

    def _begin(self, now: float, timestamp: int) -> _Press:
        self._timestamp = self.reach = timestamp
        self._started_at = self._due_at = now
        self._reported = self._before = self._finals = 0
        return self._waiting.popleft()

    def _sound(self, press: _Press, now: float) -> list[EventPacket]:
        """Note how far the press will have gone when the next packet is due, and if it ends.

        Returns:
            The last packets of a segment that is full.
        """
        length_s = press.length_s
        if length_s is None:
            length_s = self._options.max_press_ms / 1000
        sounded_s = min(now - self._started_at + self._update_s, length_s)
        reported = max(self._reported, round(sounded_s * self._clock_rate))
        packets: list[EventPacket] = []
        if reported - self._before > MAX_DURATION:
            # RFC 4733 §2.5.1.3: the full segment without E, then a new one without the marker.
            packets = [self._report(press, MAX_DURATION)] * FINAL_PACKETS
            step = MAX_DURATION * self._timestamp_rate // self._clock_rate
            self._timestamp = (self._timestamp + step) & 0xFFFF_FFFF
            self._before += MAX_DURATION
            # One segment at a time: after a stall the others follow, each in its turn.
            reported = min(reported, self._before + MAX_DURATION)
        self._reported = reported
        if reported >= round(length_s * self._clock_rate):
            self._finals = FINAL_PACKETS
        return packets

    def _finish(self) -> None:
        duration = (self._reported - self._before) * self._timestamp_rate // self._clock_rate
        self.reach = (self._timestamp + duration) & 0xFFFF_FFFF
        over_at = self._started_at + self._reported / self._clock_rate
        self._due_at = max(self._due_at, over_at + self._options.gap_ms / 1000)
        self._press = None

    def _report(
        self, press: _Press, duration: int, *, marker: bool = False, end: bool = False
    ) -> EventPacket:
        report = EventReport(DIGITS.index(press.digit), end, VOLUME, duration)
        return EventPacket(self._timestamp, marker, build_events([report]))


def later(timestamp: int, other: int) -> int:
    """The later of two RTP timestamps, modulo 2^32."""
    return other if (other - timestamp) & 0xFFFF_FFFF < 0x8000_0000 else timestamp
