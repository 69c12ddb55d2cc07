"""Hearing key presses: one start and one end each, whatever packets come."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.rtp.dtmf import (
    DIGITS,
    MAX_DIGITS_PER_S,
    MAX_EVENTS_IN_PACKET,
    DigitEvent,
    DigitReceiver,
    EventReport,
    build_events,
    parse_events,
)
from gateway.rtp.packet import RtpPacket

reports = st.builds(
    EventReport,
    event=st.integers(0, 255),
    end=st.booleans(),
    volume=st.integers(0, 63),
    duration=st.integers(0, 0xFFFF),
)


class Ear:
    """A `DigitReceiver` and what it said."""

    def __init__(self, clock_rate: int = 8000, timestamp_rate: int = 8000) -> None:
        self.receiver = DigitReceiver()
        self.rates = (clock_rate, timestamp_rate)
        self.events: list[DigitEvent] = []

    def hear(
        self,
        duration: int,
        now: float,
        *,
        digit: str = "5",
        end: bool = False,
        timestamp: int = 1000,
        marker: bool = False,
    ) -> None:
        report = EventReport(DIGITS.index(digit), end, 10, duration)
        self.hear_payload(build_events([report]), now, timestamp=timestamp, marker=marker)

    def hear_payload(
        self, payload: bytes, now: float, *, timestamp: int = 1000, marker: bool = False
    ) -> None:
        packet = RtpPacket(101, marker, 1, timestamp, 7, payload)
        self.events += self.receiver.receive(packet, *self.rates, now)

    def wait(self, now: float) -> None:
        self.events += self.receiver.handle_timer(now)


def press(digit: str, duration_ms: int) -> list[DigitEvent]:
    return [DigitEvent(digit, "start", 0), DigitEvent(digit, "end", duration_ms)]


@pytest.mark.rfc(4733, "2.3")
@settings(deadline=None)
@given(st.lists(reports, min_size=1, max_size=MAX_EVENTS_IN_PACKET))
def test_events_survive_the_wire(events: list[EventReport]) -> None:
    assert parse_events(build_events(events)) == events


@settings(deadline=None)
@given(st.binary(max_size=24))
def test_any_payload_gives_events_or_the_documented_error(payload: bytes) -> None:
    try:
        events = parse_events(payload)
    except RemoteProtocolError:
        return

    assert parse_events(build_events(events)) == events


@pytest.mark.rfc(4733, "2.5.2.2")
def test_a_press_with_updates_starts_and_ends_once() -> None:
    ear = Ear()

    for count in range(1, 6):
        ear.hear(count * 160, now=count * 0.02)
    started = list(ear.events)
    for count in range(3):
        ear.hear(800, now=0.12 + count * 0.02, end=True)

    assert started == [DigitEvent("5", "start", 0)]
    assert ear.events == press("5", 100)


def test_three_end_packets_as_firefox_sends_them_are_one_press() -> None:
    # Measured: timestamps count at 48 kHz, the duration at the event's 8 kHz.
    ear = Ear(clock_rate=8000, timestamp_rate=48000)

    for _ in range(3):
        ear.hear_payload(bytes.fromhex("058a03c0"), now=1.0)

    assert ear.events == press("5", 120)


def test_a_chromium_press_is_measured_by_its_48_khz_clock() -> None:
    ear = Ear(clock_rate=48000, timestamp_rate=48000)

    ear.hear(960, now=1.0, digit="#")
    ear.hear(5760, now=1.1, digit="#", end=True)

    assert ear.events == press("#", 120)


@pytest.mark.rfc(4733, "2.5.2.2")
def test_a_press_whose_first_packets_are_lost_starts_late() -> None:
    ear = Ear()

    ear.hear(480, now=1.06)
    ear.hear(800, now=1.12, end=True)

    assert ear.events == press("5", 100)


def test_a_press_whose_end_is_lost_ends_after_200_ms_of_silence() -> None:
    ear = Ear()
    ear.hear(160, now=1.0)
    ear.hear(320, now=1.02)

    ear.wait(now=1.21)
    early = list(ear.events)
    ear.wait(now=1.2201)

    assert early == [DigitEvent("5", "start", 0)]
    assert ear.events == press("5", 40)
    assert ear.receiver.next_timer() is None


def test_a_press_that_timed_out_is_not_pressed_again_by_its_late_end() -> None:
    ear = Ear()
    ear.hear(160, now=1.0)
    ear.wait(now=1.3)

    ear.hear(800, now=1.4, end=True)

    assert ear.events == press("5", 20)


def test_reports_that_overtake_each_other_never_shorten_a_press() -> None:
    ear = Ear()

    for duration in (160, 480, 320):
        ear.hear(duration, now=1.0)
    ear.wait(now=2.0)

    assert ear.events == press("5", 60)


@pytest.mark.rfc(4733, "2.5.2.2")
def test_the_next_press_ends_one_whose_end_is_lost() -> None:
    ear = Ear()
    ear.hear(800, now=1.0, digit="1")

    ear.hear(160, now=1.1, digit="2", timestamp=1900)

    assert ear.events == [*press("1", 100), DigitEvent("2", "start", 0)]


def test_the_same_digit_twice_is_two_presses() -> None:
    ear = Ear()

    ear.hear(800, now=1.0, end=True)
    ear.hear(800, now=1.2, end=True, timestamp=2600)

    assert ear.events == press("5", 100) * 2


def test_another_digit_with_the_same_timestamp_is_another_press() -> None:
    ear = Ear()

    ear.hear(800, now=1.0, digit="1", end=True)
    ear.hear(800, now=1.2, digit="2")
    ear.hear(800, now=1.4, digit="3", end=True)

    assert ear.events == press("1", 100) + press("2", 100) + press("3", 100)


def test_a_recorded_press_that_is_played_again_is_pressed_again() -> None:
    ear = Ear()

    for again_at in (1.0, 3.0):
        ear.hear(160, now=again_at, marker=True)
        for _ in range(3):
            ear.hear(800, now=again_at + 0.1, end=True)
    ear.hear(160, now=3.15, marker=True)  # the wire doubled it

    assert ear.events == press("5", 100) * 2


def test_a_press_that_was_overtaken_by_the_next_is_not_heard_in_its_midst() -> None:
    ear = Ear()
    ear.hear(160, now=1.0, digit="2", timestamp=5000)

    ear.hear(800, now=1.01, digit="1", timestamp=4000, end=True)
    ear.hear(800, now=1.1, digit="2", timestamp=5000, end=True)

    assert ear.events == press("2", 100)


@pytest.mark.rfc(4733, "2.5.2.3")
@pytest.mark.parametrize(("clock", "timestamp_rate"), [(8000, 8000), (48000, 48000), (8000, 48000)])
def test_a_long_press_in_segments_is_one_press(clock: int, timestamp_rate: int) -> None:
    ear = Ear(clock, timestamp_rate)
    step = 0xFFFF * timestamp_rate // clock

    ear.hear(0xFFFF, now=1.0)
    ear.hear(160, now=1.02, timestamp=1000 + step)
    ear.hear(0xFFFF, now=1.1, timestamp=1000 + step)
    ear.hear(clock, now=1.2, timestamp=1000 + 2 * step, end=True)

    ear.hear(0xFFFF, now=1.21)  # said three times, and come late

    assert ear.events == press("5", (2 * 0xFFFF + clock) * 1000 // clock)


@pytest.mark.rfc(4733, "2.5.2.4")
def test_two_presses_in_one_packet_are_both_heard() -> None:
    ear = Ear()
    both = build_events([EventReport(1, True, 10, 400), EventReport(2, False, 10, 80)])

    ear.hear_payload(both, now=1.0)
    ear.hear_payload(build_events([EventReport(2, True, 10, 400)]), now=1.05, timestamp=1400)

    assert ear.events == press("1", 50) + press("2", 50)


def test_a_flood_is_cut_to_20_digits_a_second() -> None:
    ear = Ear()

    for count in range(500):
        ear.hear(800, now=1.0 + count * 0.002, end=True, timestamp=count * 1000)

    assert len(ear.events) == 2 * MAX_DIGITS_PER_S
    assert ear.receiver.refused == 500 - MAX_DIGITS_PER_S
    ear.hear(800, now=2.5, end=True, timestamp=499_000)  # a repeat of what was refused
    assert len(ear.events) == 2 * MAX_DIGITS_PER_S
    ear.hear(800, now=2.5, end=True, timestamp=999_000)
    assert len(ear.events) == 2 * MAX_DIGITS_PER_S + 2


@pytest.mark.parametrize("payload", [b"", b"\x05\x0a\x03", b"\x05\x0a\x03\xc0" * 5])
def test_a_payload_that_is_no_event_is_counted(payload: bytes) -> None:
    ear = Ear()

    ear.hear_payload(payload, now=1.0)

    assert (ear.events, ear.receiver.junk) == ([], 1)


def test_an_event_that_is_no_digit_is_counted() -> None:
    ear = Ear()

    ear.hear_payload(build_events([EventReport(16, True, 10, 800)]), now=1.0)  # hook flash

    assert (ear.events, ear.receiver.refused) == ([], 1)


@pytest.mark.parametrize("seed", range(20))
def test_lost_repeated_and_reordered_packets_never_add_or_lose_a_press(seed: int) -> None:
    chance = random.Random(seed)
    ear = Ear()
    wire: list[tuple[Any, ...]] = []
    for index, digit in enumerate("1159#"):
        begin = index * 0.3
        wire += [(begin + n * 0.02, digit, n * 160, False, index * 2400) for n in range(1, 6)]
        wire += [(begin + 0.12 + n * 0.02, digit, 800, True, index * 2400) for n in range(3)]
    damaged = [item for item in wire if chance.random() > 0.3]
    damaged += [item for item in damaged if chance.random() < 0.3]
    damaged = sorted((at + chance.uniform(0, 0.04), *rest) for at, *rest in damaged)
    heard = {item[4] for item in damaged}

    for at, digit, duration, end, timestamp in damaged:
        ear.wait(now=at)
        ear.hear(duration, now=at, digit=digit, end=end, timestamp=timestamp)
    ear.wait(now=9.0)

    phases = [(event.digit, event.phase) for event in ear.events]
    digits = [digit for index, digit in enumerate("1159#") if index * 2400 in heard]
    assert phases == [(digit, phase) for digit in digits for phase in ("start", "end")]
