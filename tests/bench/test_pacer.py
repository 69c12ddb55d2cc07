"""Senders go out at their phase of the 20 ms."""

from __future__ import annotations

from array import array

from bench.pacer import Pacer, Send

MS = 1_000_000


class Circle:
    """A pacer whose senders write down their names."""

    def __init__(self) -> None:
        self.pacer = Pacer(start_ns=0)
        self.sent: list[str] = []
        self.sends: dict[str, Send] = {}

    def add(self, name: str, phase_ms: float) -> None:
        """A sender of this name."""

        def send() -> None:
            self.sent.append(name)

        self.sends[name] = send
        self.pacer.add(round(phase_ms * MS), send)

    def run(self, from_ms: float, to_ms: float, step_ms: float = 0.25) -> str:
        """Let time pass; what was sent in it."""
        self.sent.clear()
        steps = round((to_ms - from_ms) / step_ms)
        for step in range(1, steps + 1):
            self.pacer.run(round((from_ms + step * step_ms) * MS))
        return "".join(self.sent)


def test_each_sender_goes_once_each_20_ms_in_the_order_of_the_phases() -> None:
    circle = Circle()
    circle.add("b", 12.0)
    circle.add("a", 3.0)

    assert circle.run(0, 80) == "abababab"


def test_nothing_goes_before_it_is_due() -> None:
    circle = Circle()
    circle.add("a", 3.0)

    assert circle.run(0, 2.75) == ""
    assert circle.run(2.75, 3.0) == "a"


def test_one_added_behind_the_hand_waits_for_the_next_circle() -> None:
    circle = Circle()
    circle.add("b", 12.0)
    circle.run(0, 15)
    circle.add("a", 3.0)

    assert circle.run(15, 22) == ""
    assert circle.run(22, 40) == "ab"


def test_removing_one_leaves_the_others_their_turn() -> None:
    circle = Circle()
    for name, phase in (("a", 1.0), ("b", 5.0), ("c", 9.0)):
        circle.add(name, phase)
    circle.run(0, 6)
    circle.pacer.remove(circle.sends["a"])

    assert circle.run(6, 40) == "cbc"


def test_a_short_delay_is_made_up_for() -> None:
    circle = Circle()
    circle.add("a", 1.0)

    assert circle.run(0, 45, step_ms=45) == "aaa"
    assert circle.pacer.frames_fallen == 0


def test_a_long_delay_lets_frames_fall_and_counts_them() -> None:
    circle = Circle()
    circle.add("a", 1.0)

    assert circle.run(0, 200, step_ms=200) == "a"
    assert circle.pacer.frames_fallen == 9
    assert circle.run(200, 220) == "a"


def test_lateness_is_from_when_it_was_due() -> None:
    circle = Circle()
    circle.add("a", 1.0)
    circle.pacer.lateness_ns = array("q")

    circle.run(0, 2, step_ms=2)

    assert list(circle.pacer.lateness_ns) == [1 * MS]
