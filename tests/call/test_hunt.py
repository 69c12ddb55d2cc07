"""How a call looks for somebody who answers: failover, time-outs, redirections (F4, F5, S20)."""

from __future__ import annotations

import pytest

from gateway.call.call import CallOptions, CallState
from gateway.call.events import CallEnded
from gateway.call.hunt import MAX_REDIRECTS
from gateway.errors import CapacityError, Fault, RoutingError
from gateway.leg.leg import Answered, Ended, EndReason, LegKind, Progressed
from gateway.sip.uri import parse_uri
from gateway.trunk.route import FAILOVER_STATUSES, Plan, RouteOptions, Target
from tests.support.legs import CallBench, FakeLeg, plan

EARLY = Progressed(183, "Session Progress", early_media=True)


def failed(status: int, reason: EndReason = EndReason.UNREACHABLE) -> Ended:
    return Ended(reason, status)


def ended(bench: CallBench) -> CallEnded:
    (event,) = bench.happened(CallEnded)
    assert isinstance(event, CallEnded)
    return event


# ---- failover


def test_route_may_name_further_statuses_that_fail_over() -> None:
    route = RouteOptions(failover_on=FAILOVER_STATUSES | {480})
    bench = CallBench(["trunk:a"], ["trunk:b"], route=route)
    bench.start()

    bench.tell(bench.legs["trunk:a"], failed(480, EndReason.UNAVAILABLE))

    assert bench.legs["trunk:b"].did == ["dial"]


def test_what_is_not_named_is_final() -> None:
    bench = CallBench(["trunk:a"], ["trunk:b"])
    bench.start()

    bench.tell(bench.legs["trunk:a"], failed(480, EndReason.UNAVAILABLE))

    assert "trunk:b" not in bench.legs
    assert ended(bench).status == 480


@pytest.mark.parametrize("status", [404, 486, 600, 603, 604, 606])
def test_f4_no_setting_fails_over_on_what_the_callee_says(status: int) -> None:
    route = RouteOptions(failover_on=frozenset(range(300, 700)))
    bench = CallBench(["trunk:a"], ["trunk:b"], route=route)
    bench.start()

    bench.tell(bench.legs["trunk:a"], failed(status, EndReason.BUSY))

    assert "trunk:b" not in bench.legs


def test_silence_fails_over_whatever_is_named() -> None:
    bench = CallBench(["trunk:a"], ["trunk:b"], route=RouteOptions(failover_on=frozenset()))
    bench.start()

    bench.tell(bench.legs["trunk:a"], failed(408))

    assert "trunk:b" in bench.legs


def test_f4_early_media_that_was_heard_ends_the_hunt() -> None:
    bench = CallBench(["trunk:a"], ["trunk:b"])
    bench.start()
    bench.tell(bench.legs["trunk:a"], EARLY)

    bench.tell(bench.legs["trunk:a"], failed(503))

    assert "trunk:b" not in bench.legs
    assert ended(bench).status == 503


def test_route_may_go_on_after_early_media() -> None:
    route = RouteOptions(failover_after_progress=True)
    bench = CallBench(["trunk:a"], ["trunk:b"], route=route)
    bench.start()
    bench.tell(bench.legs["trunk:a"], EARLY)

    bench.tell(bench.legs["trunk:a"], failed(503))
    bench.tell(bench.legs["trunk:b"], Progressed(180, "Ringing"))
    bench.tell(bench.legs["trunk:b"], Answered())

    assert bench.caller.did == ["early media", "ringing", "answer"]


def test_ringing_alone_does_not_end_the_hunt() -> None:
    bench = CallBench(["trunk:a"], ["trunk:b"])
    bench.start()
    bench.tell(bench.legs["trunk:a"], Progressed(180, "Ringing"))

    bench.tell(bench.legs["trunk:a"], failed(503))

    assert "trunk:b" in bench.legs


def test_trunk_that_is_down_is_passed_over() -> None:
    options = CallOptions(is_available=lambda target: target.name != "a")
    bench = CallBench(["trunk:a", "trunk:c"], ["trunk:b"], options=options)

    bench.start()

    assert set(bench.legs) == {"trunk:c"}


def test_call_whose_trunks_are_all_down_fails_at_once_with_503() -> None:
    bench = CallBench(["trunk:a"], options=CallOptions(is_available=lambda _target: False))

    bench.start()

    assert not bench.legs
    assert (ended(bench).status, ended(bench).reason) == (503, EndReason.UNREACHABLE)


def test_target_for_which_there_is_no_room_is_passed_over() -> None:
    class Full(CallBench):
        def _dial(self, target: Target, errand: object) -> FakeLeg:
            if target.name == "a":
                raise CapacityError("full")
            return super()._dial(target, errand)  # type: ignore[arg-type]

    bench = Full(["trunk:a"], ["trunk:b"])

    bench.start()

    assert set(bench.legs) == {"trunk:b"}


# ---- time


def test_group_that_rings_too_long_gives_way_to_the_next() -> None:
    route = RouteOptions(ringing_timeout_s=20)
    bench = CallBench(["user:ann", "user:bob"], ["trunk:b"], route=route)
    bench.start()

    bench.advance(20)

    assert bench.legs["user:ann"].did == ["dial", "end no-answer"]
    assert bench.legs["user:bob"].did == ["dial", "end no-answer"]
    assert bench.legs["trunk:b"].did == ["dial"]


def test_word_of_one_outlasts_the_silence_of_the_other() -> None:
    bench = CallBench(["user:ann", "user:bob"], ["trunk:b"])
    bench.start()
    bench.tell(bench.legs["user:ann"], failed(486, EndReason.BUSY))

    bench.advance(60)

    assert "trunk:b" not in bench.legs
    assert ended(bench).status == 486


def test_f5_last_group_that_rings_too_long_ends_in_480() -> None:
    bench = CallBench(["trunk:a"], ["trunk:b"])
    bench.start()

    bench.advance(120)

    assert (ended(bench).status, ended(bench).reason) == (480, EndReason.NO_ANSWER)


def test_answered_call_has_its_longest_time() -> None:
    bench = CallBench(["trunk:a"], route=RouteOptions(max_call_duration_s=90))
    bench.start()
    bench.advance(5)
    bench.tell(bench.legs["trunk:a"], Answered())

    bench.advance(89)
    assert bench.call.state is CallState.UP
    bench.advance(1)

    assert bench.caller.did[-1] == bench.legs["trunk:a"].did[-1] == "end time-limit"
    assert (ended(bench).reason, ended(bench).fault) == (EndReason.TIME_LIMIT, Fault.GATEWAY)
    assert ended(bench).duration_s == 90
    assert bench.call.next_timer() is None


def test_s20_caller_that_gives_up_ends_the_hunt_at_once() -> None:
    bench = CallBench(["trunk:a"], ["trunk:b"])
    bench.start()
    bench.tell(bench.caller, Ended(EndReason.CANCELLED))

    bench.tell(bench.legs["trunk:a"], failed(503))
    bench.advance(100)

    assert bench.legs["trunk:a"].did == ["dial", "end cancelled"]
    assert "trunk:b" not in bench.legs


# ---- what the caller hears of it


def test_early_media_is_not_drowned_by_a_ringing_tone_that_comes_later() -> None:
    bench = CallBench(["trunk:a"])
    bench.start()

    bench.tell(bench.legs["trunk:a"], EARLY)
    bench.tell(bench.legs["trunk:a"], Progressed(180, "Ringing"))

    assert bench.caller.did == ["early media"]


def test_phones_that_ring_together_ring_once_for_the_caller() -> None:
    bench = CallBench(["user:ann", "user:bob"])
    bench.start()

    bench.tell(bench.legs["user:ann"], Progressed(180, "Ringing"))
    bench.tell(bench.legs["user:bob"], Progressed(180, "Ringing"))

    assert bench.caller.did == ["ringing"]


def test_phone_that_we_rang_first_hears_our_ringing_tone() -> None:
    bench = CallBench(["trunk:a"], caller_kind=LegKind.SIP)
    bench.start(dial_caller=True)

    bench.tell(bench.caller, Answered())
    rings = bench.hears("caller")
    bench.tell(bench.legs["trunk:a"], Answered())

    assert rings == {"ringback"}
    assert bench.hears("caller") == {"trunk:a"}


# ---- redirections


class Moved(CallBench):
    """Routes lead from a dialled number to the trunk of that name."""

    def __init__(self, *groups: list[str], route: RouteOptions | None = None) -> None:
        self.asked: list[tuple[str, str]] = []
        self.onward = RouteOptions()
        super().__init__(*groups, route=route, options=CallOptions(plan_for=self._plan_for))

    def moved(self, leg: str, *contacts: str) -> None:
        uris = tuple(parse_uri(contact) for contact in contacts)
        self.tell(self.legs[leg], Ended(EndReason.REJECTED, 302, contacts=uris))

    def _plan_for(self, source: str, dialled: str) -> Plan:
        self.asked.append((source, dialled))
        if not dialled.isalnum():
            raise RoutingError("no such route", status=404)
        return plan([f"trunk:{dialled}"], route=self.onward)


def test_redirection_is_dialled_like_a_number_of_the_caller() -> None:
    bench = Moved(["trunk:a"], ["trunk:z"])
    bench.start()

    bench.moved("trunk:a", "sip:bob@elsewhere.example")
    bench.tell(bench.legs["trunk:bob"], Answered())

    assert bench.asked == [("browser", "bob")]
    assert bench.errands["trunk:bob"].numbers[1].value == "bob"
    assert bench.errands["trunk:bob"].max_forwards == bench.errands["trunk:a"].max_forwards - 1
    assert "trunk:z" not in bench.legs
    assert bench.call.state is CallState.UP


@pytest.mark.parametrize(("first_s", "onward_s"), [(None, 50.0), (90.0, 50.0), (50.0, 90.0)])
def test_call_that_is_redirected_has_the_time_of_its_shortest_route(
    first_s: float | None, onward_s: float
) -> None:
    bench = Moved(["trunk:a"], route=RouteOptions(max_call_duration_s=first_s))
    bench.onward = RouteOptions(max_call_duration_s=onward_s)
    bench.start()
    bench.moved("trunk:a", "sip:bob@elsewhere.example")
    bench.tell(bench.legs["trunk:bob"], Answered())

    bench.advance(49)
    assert bench.call.state is CallState.UP
    bench.advance(1)

    assert ended(bench).reason is EndReason.TIME_LIMIT


def test_contacts_are_tried_in_order_and_then_the_rest_of_the_plan() -> None:
    bench = Moved(["trunk:a"], ["trunk:z"])
    bench.start()

    bench.moved("trunk:a", "sip:bob@x.example", "tel:+1-555")
    bench.tell(bench.legs["trunk:bob"], failed(503))

    assert list(bench.legs) == ["trunk:a", "trunk:bob", "trunk:z"]


def test_a37_redirection_that_no_route_allows_is_refused() -> None:
    bench = Moved(["trunk:a"])
    bench.start()

    bench.moved("trunk:a", "sip:+1900@premium.example")

    assert ended(bench).status == 404


def test_s20_redirection_in_a_circle_is_a_loop() -> None:
    bench = Moved(["trunk:a"])
    bench.start()
    bench.moved("trunk:a", "sip:bob@x.example")

    bench.moved("trunk:bob", "sip:bob@y.example")

    assert ended(bench).status == 482


def test_s20_redirections_have_a_limit() -> None:
    bench = Moved(["trunk:a"])
    bench.start()
    leg = "trunk:a"

    for number in range(MAX_REDIRECTS):
        bench.moved(leg, f"sip:n{number}@x.example")
        leg = f"trunk:n{number}"
    bench.moved(leg, "sip:more@x.example")

    assert "trunk:more" not in bench.legs
    assert ended(bench).status == 480


def test_redirection_that_nobody_may_give_ends_the_call_as_a_refusal() -> None:
    bench = CallBench(["trunk:a"])
    bench.start()

    bench.tell(bench.legs["trunk:a"], Ended(EndReason.REJECTED, 302))

    assert ended(bench).status == 302


def test_a38_group_shares_what_the_call_may_be_forked_into() -> None:
    bench = CallBench(["user:ann", "user:bob", "user:eve"], max_breadth=7)

    bench.start()

    assert {errand.max_breadth for errand in bench.errands.values()} == {2}
