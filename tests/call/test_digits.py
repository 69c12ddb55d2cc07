"""Keys in a call: passed on, pressed by command, and told to one party alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.call.call import Party, PartyState
from gateway.call.events import CallDigit, LegSecured
from gateway.errors import RoutingError
from gateway.leg.leg import Answered, DigitPressed, Ended, EndReason, LegKind, Phase, Role
from gateway.private import Private
from gateway.sdp.description import Direction
from tests.support.legs import CallBench, FakeLeg

CALLER, A, TAP = "caller", "trunk:a", "tap"


class Bench(CallBench):
    """A call of a caller and `trunk:a`, and who listens besides."""

    def __init__(self, digits: str = "") -> None:
        super().__init__(["trunk:a"])
        self.call._plan = replace(self.call._plan, digits=digits)
        self.start()
        self.tap = FakeLeg(TAP, LegKind.AGENT)
        self.tell(self.legs[A], Answered())

    def let_in_tap(self) -> None:
        self.call.adopt(Party(self.tap, Role.AI, "agent:tap", PartyState.UP), Role.AI, self.now)

    def press(self, leg: FakeLeg, digit: str, ms: int = 100) -> None:
        self.tell(leg, DigitPressed(digit, Phase.START))
        self.advance(ms / 1000)
        self.tell(leg, DigitPressed(digit, Phase.END, ms))

    def secure(self, leg: str, to: str | None) -> None:
        self.call.secure(leg, to, self.now)
        self._collect()

    def digits(self) -> list[tuple[str, Private | None]]:
        """Who was told to have pressed what."""
        told = [e for e in self.events if isinstance(e, CallDigit) and e.phase is Phase.START]
        return [(event.leg, event.digit) for event in told]


def keys(leg: FakeLeg) -> list[str]:
    """What was pressed toward a party, as `5 start`."""
    return [did.removeprefix("digit ") for did in leg.did if did.startswith("digit ")]


# ---- pressed by command


def test_dial_string_is_pressed_with_its_pauses() -> None:
    bench = Bench()

    bench.call.press(A, "1w2#", bench.now, press_ms=200, gap_ms=100)
    pressed = [(0.0, *keys(bench.legs[A]))]
    while (due := bench.call.next_timer()) is not None and due < 3:
        before = len(keys(bench.legs[A]))
        bench.advance(due - bench.now)
        pressed.append((round(due, 3), *keys(bench.legs[A])[before:]))

    steps = [step for step in pressed if len(step) > 1]
    assert steps == [
        (0.0, "1 start"),
        (0.2, "1 end"),
        (0.8, "2 start"),
        (1.0, "2 end"),
        (1.1, "# start"),
        (1.3, "# end"),
    ]
    assert keys(bench.caller) == []


def test_keys_behind_a_number_are_pressed_toward_who_answers() -> None:
    bench = Bench(digits=",5")
    before = keys(bench.legs[A])

    bench.advance(1.9)
    waiting = keys(bench.legs[A])
    bench.advance(0.5)

    assert before == waiting == []
    assert keys(bench.legs[A]) == ["5 start", "5 end"]


def test_second_string_waits_for_its_caller_to_try_again() -> None:
    bench = Bench()
    bench.call.press(A, "123", bench.now)

    with pytest.raises(RoutingError) as refused:
        bench.call.press(A, "4", bench.now)
    bench.advance(2)
    bench.call.press(A, "4", bench.now)
    bench.advance(2)

    assert refused.value.status == 409
    assert keys(bench.legs[A])[::2] == ["1 start", "2 start", "3 start", "4 start"]


def test_nothing_is_pressed_toward_who_has_left() -> None:
    bench = Bench()
    bench.call.press(A, "12", bench.now)
    bench.advance(0.05)

    bench.tell(bench.legs[A], Ended(EndReason.HANGUP))
    bench.advance(5)

    assert keys(bench.legs[A]) == ["1 start"]


def test_what_is_no_dial_string_is_refused() -> None:
    bench = Bench()

    with pytest.raises(RoutingError) as refused:
        bench.call.press(A, "12x", bench.now)

    assert refused.value.status == 484
    assert keys(bench.legs[A]) == []


@pytest.mark.parametrize(("leg", "status"), [("nobody", 404), (A, 409)])
def test_only_who_has_answered_can_be_sent_keys(leg: str, status: int) -> None:
    bench = CallBench(["trunk:a"])
    bench.start()

    with pytest.raises(RoutingError) as refused:
        bench.call.press(leg, "1", bench.now)

    assert refused.value.status == status


def test_key_of_who_leaves_is_released_where_the_call_goes_on() -> None:
    bench = Bench()
    bench.let_in_tap()
    bench.tell(bench.caller, DigitPressed("7", Phase.START))

    bench.tell(bench.caller, Ended(EndReason.HANGUP))

    assert keys(bench.legs[A]) == keys(bench.tap) == ["7 start", "7 end"]


# ---- secure input


def test_a31_keys_go_to_one_party_and_others_learn_only_that_there_was_one() -> None:
    bench = Bench()
    bench.let_in_tap()
    bench.press(bench.caller, "1")

    bench.secure(CALLER, A)
    for digit in "4242":
        bench.press(bench.caller, digit)
    bench.secure(CALLER, None)
    bench.press(bench.caller, "2")

    assert keys(bench.legs[A])[::2] == [f"{digit} start" for digit in "142422"]
    assert keys(bench.tap) == ["1 start", "1 end", "2 start", "2 end"]
    secret = (CALLER, None)
    open_ = [(CALLER, Private("1")), (CALLER, Private("2"))]
    assert bench.digits() == [open_[0], *[secret] * 4, open_[1]]
    told = [e for e in bench.events if isinstance(e, LegSecured)]
    assert [(event.leg, event.to) for event in told] == [(CALLER, A), (CALLER, None)]


def test_a31_only_the_named_party_hears_and_the_speaker_hears_all() -> None:
    bench = Bench()
    bench.let_in_tap()

    bench.secure(CALLER, A)

    assert bench.hears(A) == {CALLER, TAP}
    assert bench.hears(TAP) == {A}
    assert bench.hears(CALLER) == {A, TAP}
    bench.secure(CALLER, None)
    assert bench.hears(TAP) == {A, CALLER}


def test_a31_who_may_hear_nothing_is_sent_silence() -> None:
    """A listener named with no speakers is fed silence by the hub; unnamed it gets nothing."""
    bench = Bench()
    bench.let_in_tap()
    bench.secure(CALLER, TAP)

    assert bench.hub.hears[A] == {TAP: 1.0}
    bench.call.hold(TAP, bench.now)
    assert bench.hub.hears[A] == {}


def test_a31_press_ends_as_it_began() -> None:
    bench = Bench()
    bench.let_in_tap()

    bench.tell(bench.caller, DigitPressed("1", Phase.START))
    bench.secure(CALLER, A)
    bench.tell(bench.caller, DigitPressed("1", Phase.END, 100))
    bench.tell(bench.caller, DigitPressed("2", Phase.START))
    bench.secure(CALLER, None)
    bench.tell(bench.caller, DigitPressed("2", Phase.END, 100))

    assert keys(bench.tap) == ["1 start", "1 end"]
    assert keys(bench.legs[A]) == ["1 start", "1 end", "2 start", "2 end"]
    events = [e.digit for e in bench.events if isinstance(e, CallDigit)]
    assert events == [Private("1"), Private("1"), None, None]


def test_a31_nobody_hears_more_when_the_named_party_leaves() -> None:
    bench = Bench()
    bench.let_in_tap()
    bench.secure(CALLER, TAP)

    bench.tell(bench.tap, Ended(EndReason.HANGUP))
    bench.press(bench.caller, "9")

    assert bench.hears(A) == set()
    assert keys(bench.legs[A]) == []
    assert bench.call.summary(bench.now).legs[0].secure_to == TAP


def test_a31_held_party_stays_unheard_in_secure_input() -> None:
    bench = Bench()
    bench.secure(CALLER, A)

    bench.call.hold(CALLER, bench.now)
    bench.press(bench.caller, "5")

    assert bench.hears(A) == set()
    assert keys(bench.legs[A]) == []


def test_secure_input_ends_where_its_party_goes_on_in_another_call() -> None:
    bench = Bench()
    bench.let_in_tap()
    bench.secure(CALLER, A)

    party = bench.call.release(CALLER, "gw-2", bench.now)
    bench._collect()

    assert party.secure_to is None
    assert [e.to for e in bench.events if isinstance(e, LegSecured)] == [A, None]


@pytest.mark.parametrize(("leg", "to"), [("nobody", A), (CALLER, "nobody"), (CALLER, CALLER)])
def test_secure_input_is_between_two_parties_of_the_call(leg: str, to: str) -> None:
    bench = Bench()

    with pytest.raises(RoutingError):
        bench.secure(leg, to)

    assert bench.hears(A) == {CALLER}


def test_hold_of_the_peer_still_brings_music() -> None:
    bench = Bench()
    bench.secure(CALLER, A)

    bench.call.hold(A, bench.now)

    assert bench.hears(A) == {"music"}
    assert Direction.SENDONLY.value in bench.legs[A].did[-1]
