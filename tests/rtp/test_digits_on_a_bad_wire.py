"""Keys over a lossy network: each press arrives once, in order, about as long as it was."""

from __future__ import annotations

import random
from heapq import heappop, heappush

import pytest

from gateway.codec import OPUS, PCMU, TELEPHONE_EVENT, TELEPHONE_EVENT_48K, Codec
from gateway.rtp.dtmf import DIGITS, DigitEvent
from gateway.rtp.session import RtpSession
from tests.support.impair import Impairer

FRAME_S = 0.02
SPEECH = b"\xf8" * 160
"20 ms of either codec (for Opus: RFC 6716 §3.1)."


class Line:
    """Two sessions, audio and keys from one to the other, and what the other heard."""

    def __init__(self, impairer: Impairer, speech: Codec, events: Codec) -> None:
        self.now = 100.0
        self.heard: list[DigitEvent] = []
        self._impairer = impairer
        self._speech = speech
        self._wire: list[tuple[float, int, bytes]] = []
        self._count = 0
        self._ours = self._new_session(1, speech, events)
        self._theirs = self._new_session(2, speech, events)

    def press(self, digit: str, ms: int, gap_ms: int) -> None:
        self._ours.start_digit(digit, self.now)
        self.run(ms / 1000)
        self._ours.end_digit(digit, self.now, ms)
        self.run(gap_ms / 1000)

    def run(self, seconds: float) -> None:
        """Speech goes on, in frames of 20 ms; so does the wire."""
        until = self.now + seconds
        while self.now < until - 1e-9:
            self._send(self._ours.send(SPEECH, self._speech.clock_rate // 50, self.now))
            self._ours.handle_timer(self.now)
            for packet in self._ours.take_output():
                self._send(packet)
            self.now += FRAME_S
            while self._wire and self._wire[0][0] <= self.now:
                due_at, _, packet = heappop(self._wire)
                self._hear(self._theirs.receive(packet, due_at))
            self._theirs.handle_timer(self.now)
            self._hear(self._theirs.take_events())

    def _send(self, packet: bytes) -> None:
        if packet and not 192 <= packet[1] <= 223:
            for due_at, data in self._impairer.send(packet, self.now):
                self._count += 1
                heappush(self._wire, (due_at, self._count, data))

    def _hear(self, items: object) -> None:
        assert isinstance(items, list | tuple)
        self.heard += [item for item in items if isinstance(item, DigitEvent)]

    def _new_session(self, ssrc: int, speech: Codec, events: Codec) -> RtpSession:
        session = RtpSession(
            ssrc=ssrc, sequence=65_500, timestamp=0xFFFF_F000, cname="test", now=self.now
        )
        session.configure(receive=(speech, events), send=speech, send_digits=events)
        return session


CLOCKS = [(PCMU, TELEPHONE_EVENT), (OPUS, TELEPHONE_EVENT_48K), (OPUS, TELEPHONE_EVENT)]
each_clock = pytest.mark.parametrize(
    ("speech", "events"), CLOCKS, ids=["8000", "48000", "8000 beside 48000"]
)


@each_clock
@pytest.mark.parametrize("seed", range(4))
def test_each_of_200_presses_is_heard_once_under_5_percent_loss(
    seed: int, speech: Codec, events: Codec
) -> None:
    chance = random.Random(seed)
    bad = Impairer(seed, loss=0.05, burst=1.5, jitter_ms=30, reorder=0.03, duplicate=0.03)
    line = Line(bad, speech, events)
    presses = [(chance.choice(DIGITS), chance.choice((60, 100, 240, 400))) for _ in range(200)]

    for digit, ms in presses:
        line.press(digit, ms, gap_ms=chance.choice((60, 120, 300)))
    line.run(2)

    assert bad.lost > 50
    starts = [event.digit for event in line.heard if event.phase == "start"]
    ends = [event for event in line.heard if event.phase == "end"]
    assert starts == [event.digit for event in ends] == [digit for digit, _ in presses]
    assert [event.phase for event in line.heard] == ["start", "end"] * len(presses)
    exact = [
        abs(end.duration_ms - max(ms, 100)) <= 20
        for (_, ms), end in zip(presses, ends, strict=True)
    ]
    assert exact.count(False) <= 2


@each_clock
def test_long_press_is_one_under_5_percent_loss(speech: Codec, events: Codec) -> None:
    """At 48 kHz a segment is full after 1.4 s: the press has ten and more (RFC 4733 §2.5.1.3)."""
    for seed in range(20):
        line = Line(Impairer(seed, loss=0.05, burst=1.5), speech, events)

        line.press("5", 15_000, gap_ms=400)

        start, end = line.heard
        assert (start.phase, end.phase, end.digit) == ("start", "end", "5")
        assert end.duration_ms == pytest.approx(15_000, abs=40)


def test_press_of_which_only_the_end_is_lost_ends_all_the_same() -> None:
    line = Line(Impairer(1), PCMU, TELEPHONE_EVENT)
    line.press("5", 200, gap_ms=0)
    line._impairer = Impairer(1, loss=0.999)

    line.run(0.5)

    assert [event.phase for event in line.heard] == ["start", "end"]
