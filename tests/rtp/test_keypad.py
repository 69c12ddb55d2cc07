"""Pressing keys: paced packets, long enough, one after another."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.rtp.dtmf import MAX_DURATION, DigitEvent, DigitReceiver, parse_events
from gateway.rtp.keypad import DigitOptions, DigitSender, later
from gateway.rtp.packet import RtpPacket


@dataclass
class Sent:
    """One packet as it went out."""

    at: float
    timestamp: int
    marker: bool
    event: int
    end: bool
    duration: int


class Keypad:
    """A `DigitSender` in a stream whose timestamps run with time, and what it sent."""

    def __init__(self, clock_rate: int = 8000, timestamp_rate: int = 8000) -> None:
        self.sender = DigitSender()
        self.sender.configure(clock_rate, timestamp_rate)
        self.timestamp_rate = timestamp_rate
        self.sent: list[Sent] = []

    def press(self, digit: str, at: float) -> bool:
        accepted = self.sender.start(digit, at)
        self.run(at)
        return accepted

    def release(self, digit: str, at: float, duration_ms: int = 0) -> None:
        self.run(at)
        self.sender.end(digit, at, duration_ms)

    def run(self, until: float) -> None:
        """Let time pass from timer to timer."""
        while (due := self.sender.next_timer()) is not None and due <= until:
            self.poll(due)

    def poll(self, now: float) -> None:
        for packet in self.sender.handle_timer(now, int(now * self.timestamp_rate)):
            (report,) = parse_events(packet.payload)
            self.sent.append(
                Sent(
                    now,
                    packet.timestamp,
                    packet.marker,
                    report.event,
                    report.end,
                    report.duration,
                )
            )

    def heard(self, clock_rate: int = 8000) -> list[DigitEvent]:
        """What a receiver makes of it."""
        receiver = DigitReceiver()
        events: list[DigitEvent] = []
        for sent in self.sent:
            payload = bytes((sent.event, 0x80 * sent.end)) + sent.duration.to_bytes(2, "big")
            packet = RtpPacket(101, sent.marker, 0, sent.timestamp, 7, payload)
            events += receiver.receive(packet, clock_rate, self.timestamp_rate, sent.at)
        return events


@pytest.mark.rfc(4733, "2.5.1.2")
def test_a_press_is_sent_every_20_ms_with_rising_duration() -> None:
    keypad = Keypad()

    keypad.press("5", at=1.0)
    keypad.release("5", at=1.13)
    keypad.run(2.0)

    updates = [sent for sent in keypad.sent if not sent.end]
    assert [sent.duration for sent in updates] == [160, 320, 480, 640, 800, 960, 1120][
        : len(updates)
    ]
    assert [sent.at for sent in keypad.sent] == pytest.approx(
        [1.0 + 0.02 * count for count in range(len(keypad.sent))]
    )
    assert [sent.marker for sent in keypad.sent] == [True] + [False] * (len(keypad.sent) - 1)
    assert {sent.timestamp for sent in keypad.sent} == {8000}
    assert keypad.heard() == [DigitEvent("5", "start", 0), DigitEvent("5", "end", 140)]


@pytest.mark.rfc(4733, "2.5.1.4")
def test_the_end_is_said_three_times_with_one_duration() -> None:
    keypad = Keypad()

    keypad.press("*", at=1.0)
    keypad.release("*", at=1.2)
    keypad.run(2.0)

    ends = [sent for sent in keypad.sent if sent.end]
    assert len(ends) == 3
    assert {sent.duration for sent in ends} == {1600}
    assert keypad.sent[-3:] == ends


@pytest.mark.parametrize(("clock", "timestamp_rate"), [(8000, 8000), (48000, 48000), (8000, 48000)])
def test_a_press_that_is_released_at_once_lasts_100_ms(clock: int, timestamp_rate: int) -> None:
    keypad = Keypad(clock, timestamp_rate)

    keypad.press("1", at=1.0)
    keypad.release("1", at=1.0)
    keypad.run(2.0)

    assert keypad.sent[-1].duration == clock // 10
    assert len(keypad.sent) == 4 + 3
    assert keypad.sender.reach == timestamp_rate + timestamp_rate // 10


def test_a_press_lasts_as_long_as_it_was_where_that_is_known() -> None:
    # Firefox tells of a press when it is over: start and end come together.
    keypad = Keypad()

    keypad.press("1", at=1.0)
    keypad.release("1", at=1.0, duration_ms=180)
    keypad.run(2.0)

    assert keypad.heard()[-1] == DigitEvent("1", "end", 180)


def test_digits_dialled_at_once_are_sent_one_after_another() -> None:
    keypad = Keypad()

    for digit in "1w2#".replace("w", ""):
        keypad.press(digit, at=1.0)
        keypad.release(digit, at=1.0)
    keypad.run(3.0)

    ends = [event for event in keypad.heard() if event.phase == "end"]
    assert [(event.digit, event.duration_ms) for event in ends] == [
        ("1", 100),
        ("2", 100),
        ("#", 100),
    ]
    starts = [sent.at for sent in keypad.sent if sent.marker]
    gaps = [after - before - 0.1 for before, after in pairwise(starts)]
    assert gaps == pytest.approx([0.05, 0.05])


def test_a_key_held_while_others_wait_ends_when_it_is_released() -> None:
    keypad = Keypad()
    keypad.press("1", at=1.0)
    keypad.press("2", at=1.01)  # one finger: releases the 1

    keypad.run(1.5)
    during = keypad.heard()
    keypad.release("2", at=1.5)
    keypad.run(2.5)

    assert during[-1] == DigitEvent("2", "start", 0)
    assert [
        (event.digit, event.duration_ms) for event in keypad.heard() if event.phase == "end"
    ] == [
        ("1", 100),
        ("2", 490),
    ]


@pytest.mark.parametrize("digit", ["", "E", "10", "w", "a", "٣"])
def test_what_is_no_digit_cannot_be_pressed(digit: str) -> None:
    with pytest.raises(ValueError, match="is not a DTMF digit"):
        DigitSender().start(digit, 1.0)


def test_releasing_a_key_that_is_not_down_does_nothing() -> None:
    keypad = Keypad()
    keypad.press("1", at=1.0)

    keypad.release("2", at=1.1)
    keypad.run(1.5)

    assert [event.phase for event in keypad.heard()] == ["start"]


def test_a_press_cut_off_in_its_end_leaves_the_next_whole() -> None:
    keypad = Keypad()
    keypad.press("1", at=1.0)
    keypad.release("1", at=1.0)
    keypad.run(1.09)

    keypad.sender.clear()
    keypad.sent.clear()
    keypad.press("2", at=2.0)
    keypad.release("2", at=2.0)
    keypad.run(3.0)

    assert keypad.heard() == [DigitEvent("2", "start", 0), DigitEvent("2", "end", 100)]
    assert len(keypad.sent) == 7


def test_more_presses_than_can_wait_are_refused() -> None:
    keypad = Keypad()
    accepted = [keypad.press("1", at=1.0) for _ in range(40)]

    assert accepted == [True] * 33 + [False] * 7  # one sounds, 32 wait
    assert keypad.sender.dropped == 7


@pytest.mark.rfc(4733, "2.5.1.3")
@pytest.mark.parametrize(("clock", "timestamp_rate"), [(8000, 8000), (48000, 48000), (8000, 48000)])
def test_a_press_longer_than_the_duration_field_is_sent_in_segments(
    clock: int, timestamp_rate: int
) -> None:
    keypad = Keypad(clock, timestamp_rate)

    keypad.press("9", at=1.0)
    keypad.release("9", at=20.99)
    keypad.run(22.0)

    full = [sent for sent in keypad.sent if sent.duration == MAX_DURATION]
    segments = sorted({sent.timestamp for sent in keypad.sent})
    step = MAX_DURATION * timestamp_rate // clock
    assert segments == [timestamp_rate + count * step for count in range(len(segments))]
    assert len(full) == 3 * (len(segments) - 1)
    assert not any(sent.end for sent in full)
    assert [sent.marker for sent in keypad.sent].count(True) == 1
    assert keypad.heard(clock) == [DigitEvent("9", "start", 0), DigitEvent("9", "end", 20_000)]


def test_a_key_that_is_never_released_is_released_after_a_minute() -> None:
    keypad = Keypad()

    keypad.press("0", at=1.0)
    keypad.run(100.0)

    assert keypad.heard()[-1] == DigitEvent("0", "end", DigitOptions().max_press_ms)


def test_a_stall_is_not_made_up_for_by_a_burst() -> None:
    keypad = Keypad()
    keypad.press("1", at=1.0)

    keypad.poll(1.9)
    burst = len(keypad.sent)
    keypad.poll(1.9)
    keypad.poll(1.905)

    assert burst == len(keypad.sent) == 2
    assert keypad.sent[-1].duration == round(0.92 * 8000)


def test_after_a_long_stall_segments_follow_one_by_one() -> None:
    keypad = Keypad(48000, 48000)
    keypad.press("1", at=1.0)
    bursts = []

    for turn in range(8):
        before = len(keypad.sent)
        keypad.poll(6.0 + turn * 0.02)
        bursts.append(len(keypad.sent) - before)
    keypad.release("1", at=6.2)
    keypad.run(7.0)

    assert max(bursts) == 4
    assert keypad.heard(48000)[-1].duration_ms == pytest.approx(5200, abs=20)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from("0123456789*#ABCD"), st.floats(0, 0.5), st.floats(0, 0.5)),
        min_size=1,
        max_size=12,
    ),
    st.floats(0, 0.02),
)
def test_whatever_is_pressed_is_heard(
    presses: list[tuple[str, float, float]], late_s: float
) -> None:
    keypad = Keypad()
    now = 1.0
    for digit, held_s, pause_s in presses:
        keypad.press(digit, at=now)
        now += held_s
        keypad.release(digit, at=now)
        now += pause_s
    while (due := keypad.sender.next_timer()) is not None:
        keypad.poll(max(due + late_s, keypad.sent[-1].at if keypad.sent else 0.0))

    events = keypad.heard()
    assert [event.digit for event in events if event.phase == "start"] == [
        digit for digit, *_ in presses
    ]
    for (_, held_s, _), event in zip(presses, events[1::2], strict=True):
        assert event.duration_ms >= max(99, held_s * 1000 - 1)


@pytest.mark.parametrize(
    ("timestamp", "other", "result"),
    [(5, 9, 9), (9, 5, 9), (0xFFFF_FFF0, 4, 4), (4, 0xFFFF_FFF0, 4), (7, 7, 7)],
)
def test_the_later_of_two_timestamps(timestamp: int, other: int, result: int) -> None:
    assert later(timestamp, other) == result
