"""Transfers within one call: asked for with REFER, or commanded; by us, or by the party."""

from __future__ import annotations

import pytest

from gateway.call.call import CallOptions, CallState, TransferMode
from gateway.call.events import CallEnded, TransferEnded, TransferStarted
from gateway.call.hearing import RINGBACK
from gateway.call.transfer import REFER_TIMEOUT_S
from gateway.errors import RoutingError
from gateway.leg.leg import (
    Answered,
    DigitPressed,
    Ended,
    EndReason,
    Held,
    Phase,
    Progressed,
    Resumed,
    TransferAsked,
    TransferProgress,
)
from gateway.sdp.description import Direction
from gateway.sip.uri import parse_uri
from gateway.trunk.route import Plan, RouteOptions
from tests.support.legs import CallBench, FakeLeg, plan

OLD, NEW = "trunk:lab", "trunk:bob"
RINGING = Progressed(180, "Ringing")
HANG_UP = Ended(EndReason.HANGUP)


class Office(CallBench):
    """A call that is up; a dialled name leads to the trunk of that name, `two` to two in turn."""

    def __init__(self, route: RouteOptions | None = None) -> None:
        self.asked: list[tuple[str, str]] = []
        super().__init__([OLD], options=CallOptions(plan_for=self._plan_for), route=route)
        self.start()
        self.tell(self.old, Answered())
        self.caller.did.clear()
        self.old.did.clear()

    @property
    def old(self) -> FakeLeg:
        return self.legs[OLD]

    def refer(self, to: str = "sip:bob@example.com", replaces: str | None = None) -> None:
        """The callee sends a REFER."""
        self.tell(self.old, TransferAsked(parse_uri(to), replaces))

    def ended(self) -> list[int]:
        """Statuses of the transfers that are over."""
        return [event.status for event in self.events if isinstance(event, TransferEnded)]

    def _plan_for(self, source: str, dialled: str) -> Plan:
        self.asked.append((source, dialled))
        if dialled == "two":
            return plan(["trunk:bob"], ["trunk:eve"])
        if not dialled.isalpha():
            raise RoutingError("no such route", status=404)
        return plan([f"trunk:{dialled}"], route=RouteOptions(max_call_duration_s=100))


@pytest.fixture
def bench() -> Office:
    return Office()


# ---- REFER


def test_transfer_that_is_asked_for_brings_the_two_together(bench: Office) -> None:
    bench.refer()
    bench.tell(bench.legs[NEW], RINGING)
    rings = bench.hears("caller"), bench.hears(OLD)
    bench.tell(bench.legs[NEW], Answered())

    assert rings == ({RINGBACK}, set())
    assert bench.old.did == ["transfer 100", "transfer 180", "transfer 200", "end transferred"]
    assert bench.hears("caller") == {NEW}
    assert bench.hears(NEW) == {"caller"}
    assert bench.call.state is CallState.UP
    assert bench.caller.did == []
    assert bench.ended() == [200]
    assert len(bench.happened(TransferStarted)) == 1


def test_a37_target_of_a_transfer_is_asked_of_the_routes_in_the_name_of_who_asks(
    bench: Office,
) -> None:
    bench.refer("tel:+1-900-555")

    assert bench.asked == [(OLD, "+1900555")]
    assert bench.old.did == ["transfer 404"]
    assert bench.ended() == []
    assert bench.hears("caller") == {OLD}


def test_new_party_is_called_in_the_name_of_the_one_that_is_transferred(bench: Office) -> None:
    bench.refer(replaces="abc;to-tag=1;from-tag=2")

    errand = bench.errands[NEW]
    assert errand.numbers[0].value == "+15550001"
    assert errand.numbers[1].value == "bob"
    assert errand.headers == (("Replaces", "abc;to-tag=1;from-tag=2"),)
    assert errand.max_forwards == bench.errands[OLD].max_forwards - 1


def test_early_media_of_the_new_party_is_heard_instead_of_our_ringing(bench: Office) -> None:
    bench.refer()

    bench.tell(bench.legs[NEW], Progressed(183, "Session Progress", early_media=True))

    assert bench.hears("caller") == {NEW}
    assert bench.old.did[-1] == "transfer 183"


def test_s20_transfer_that_fails_leaves_the_call_as_it_was(bench: Office) -> None:
    bench.refer()
    bench.tell(bench.legs[NEW], Ended(EndReason.BUSY, 486, "Busy Here"))

    assert bench.old.did[-1] == "transfer 486"
    assert bench.hears("caller") == {OLD}
    assert bench.ended() == [486]
    bench.tell(bench.caller, HANG_UP)
    assert bench.old.did[-1] == "end hangup"


def test_transfer_tries_one_after_the_other(bench: Office) -> None:
    bench.refer("sip:two@example.com")
    bench.tell(bench.legs[NEW], Ended(EndReason.UNREACHABLE, 503))
    bench.tell(bench.legs["trunk:eve"], Answered())

    assert bench.hears("caller") == {"trunk:eve"}
    assert bench.ended() == [200]


def test_transfer_nobody_answers_is_over_in_time(bench: Office) -> None:
    bench.refer()

    bench.advance(60)

    assert bench.legs[NEW].did == ["dial", "end no-answer"]
    assert bench.old.did[-1] == "transfer 480"
    assert bench.hears(OLD) == {"caller"}


def test_s20_who_asked_may_hang_up_before_it_is_told_more(bench: Office) -> None:
    bench.refer()
    bench.tell(bench.old, HANG_UP)
    assert bench.call.state is CallState.UP
    assert bench.hears("caller") == {RINGBACK}

    bench.tell(bench.legs[NEW], Answered())

    assert bench.old.did == ["transfer 100", "transfer 200"]
    assert bench.hears("caller") == {NEW}


def test_transfer_that_fails_after_who_asked_has_gone_ends_the_call(bench: Office) -> None:
    bench.refer()
    bench.tell(bench.old, HANG_UP)

    bench.tell(bench.legs[NEW], Ended(EndReason.BUSY, 486))

    (ended,) = bench.happened(CallEnded)
    assert isinstance(ended, CallEnded)
    assert ended.reason is EndReason.BUSY
    assert bench.caller.did[-1] == "end busy"
    assert bench.old.did[-1] == "transfer 486"


def test_transferred_party_that_hangs_up_meanwhile_stops_it(bench: Office) -> None:
    bench.refer()

    bench.tell(bench.caller, HANG_UP)
    bench.advance(200)

    assert bench.legs[NEW].did == ["dial", "end cancelled"]
    assert bench.old.did == ["transfer 100", "transfer 487", "end hangup"]
    assert bench.call.state is CallState.ENDED
    assert bench.call.next_timer() is None


def test_call_that_is_ended_during_a_transfer_lets_everybody_go(bench: Office) -> None:
    bench.refer()

    bench.call.end(bench.now, EndReason.SHUTDOWN)

    assert bench.legs[NEW].did[-1] == "end cancelled"
    assert bench.old.did[-2:] == ["transfer 487", "end shutdown"]
    assert bench.caller.did == ["end shutdown"]


def test_one_transfer_at_a_time(bench: Office) -> None:
    bench.refer()
    bench.tell(bench.caller, TransferAsked(parse_uri("sip:eve@example.com")))

    assert bench.caller.did == ["transfer 491"]
    assert "trunk:eve" not in bench.legs


def test_nobody_is_transferred_before_the_answer() -> None:
    bench = CallBench([OLD], options=CallOptions(plan_for=lambda _source, _to: plan([NEW])))
    bench.start()

    bench.tell(bench.caller, TransferAsked(parse_uri("sip:bob@example.com")))

    assert bench.caller.did == ["transfer 403"]


def test_a37_nobody_may_transfer_where_there_are_no_routes_for_it() -> None:
    bench = CallBench([OLD])
    bench.start()
    bench.tell(bench.legs[OLD], Answered())

    bench.tell(bench.legs[OLD], TransferAsked(parse_uri("sip:bob@example.com")))

    assert bench.legs[OLD].did[-1] == "transfer 403"


def test_caller_may_transfer_too(bench: Office) -> None:
    bench.tell(bench.caller, TransferAsked(parse_uri("sip:bob@example.com")))
    bench.tell(bench.legs[NEW], Answered())

    assert bench.asked == [("browser", "bob")]
    assert bench.caller.did[-1] == "end transferred"
    assert bench.hears(OLD) == {NEW}
    bench.tell(bench.legs[NEW], HANG_UP)
    assert bench.old.did[-1] == "end hangup"


def test_party_on_hold_is_off_it_when_it_is_transferred(bench: Office) -> None:
    bench.tell(bench.old, Held(Direction.INACTIVE))
    bench.refer()
    rings = bench.hears("caller")
    bench.tell(bench.legs[NEW], Answered())

    assert rings == {RINGBACK}
    assert bench.hears("caller") == {NEW}


def test_transfer_that_fails_goes_back_to_the_hold(bench: Office) -> None:
    bench.tell(bench.old, Held(Direction.INACTIVE))
    bench.refer()
    bench.tell(bench.legs[NEW], Ended(EndReason.BUSY, 486))
    music = bench.hears("caller")
    bench.tell(bench.old, Resumed())

    assert music == {"music"}
    assert bench.hears("caller") == {OLD}


def test_keys_go_to_nobody_while_it_rings(bench: Office) -> None:
    bench.refer()

    bench.tell(bench.old, DigitPressed("5", Phase.START))

    assert bench.caller.did == []


def test_transferred_call_has_the_time_of_its_new_route(bench: Office) -> None:
    bench.refer()
    bench.tell(bench.legs[NEW], Answered())

    bench.advance(101)

    assert bench.call.state is CallState.ENDED


def test_s20_transfer_that_fails_leaves_the_call_its_time(bench: Office) -> None:
    bench.refer()
    bench.tell(bench.legs[NEW], Ended(EndReason.BUSY, 486))

    bench.advance(101)

    assert bench.call.state is CallState.UP


def test_a38_call_that_is_passed_on_for_ever_is_stopped(bench: Office) -> None:
    legs = [bench.old]
    while legs[-1].did[-1:] != ["transfer 483"] and len(legs) < 100:
        bench.tell(legs[-1], TransferAsked(parse_uri("sip:bob@example.com")))
        legs.append(bench.legs[NEW])
        bench.tell(legs[-1], Answered())

    assert legs[-2].did[-1] == "transfer 483"
    assert len(legs) < 75


# ---- commanded


def test_commanded_transfer_lets_the_others_go_when_the_new_one_answers(bench: Office) -> None:
    bench.call.transfer("caller", "bob", plan([NEW]), bench.now)
    waiting = bench.hears("caller")
    bench.tell(bench.legs[NEW], Answered())

    assert waiting == {RINGBACK}
    assert bench.old.did == ["end transferred"]
    assert bench.hears("caller") == {NEW}


def test_party_that_takes_refer_is_sent_by_itself(bench: Office) -> None:
    bench.caller.can_refer = True

    bench.call.transfer("caller", "bob", plan([NEW]), bench.now)
    bench.tell(bench.caller, TransferProgress(180))
    meanwhile = bench.call.state, bench.hears("caller")
    bench.tell(bench.caller, TransferProgress(200))

    assert bench.caller.did == ["refer bob", "end transferred"]
    assert NEW not in bench.legs
    assert meanwhile == (CallState.UP, {OLD})
    assert bench.old.did == ["end transferred"]
    assert bench.ended() == [200]


def test_party_is_not_sent_to_what_only_we_can_call(bench: Office) -> None:
    bench.caller.can_refer = True

    bench.call.transfer("caller", "agent:desk", plan(["agent:desk"]), bench.now)

    assert bench.caller.did == []
    assert bench.legs["agent:desk"].did == ["dial"]
    with pytest.raises(RoutingError) as refused:
        bench.call.transfer(
            "caller", "agent:desk", plan(["agent:desk"]), bench.now, mode=TransferMode.REFER
        )
    assert refused.value.status == 409


def test_party_that_was_sent_and_hangs_up_is_on_its_way(bench: Office) -> None:
    bench.caller.can_refer = True
    bench.call.transfer("caller", "bob", plan([NEW]), bench.now)

    bench.tell(bench.caller, HANG_UP)

    (ended,) = bench.happened(CallEnded)
    assert isinstance(ended, CallEnded)
    assert ended.reason is EndReason.TRANSFERRED
    assert bench.old.did == ["end transferred"]


def test_party_that_does_not_get_there_comes_back(bench: Office) -> None:
    bench.caller.can_refer = True
    bench.call.transfer("caller", "bob", plan([NEW]), bench.now)

    bench.tell(bench.caller, TransferProgress(486))

    assert bench.ended() == [486]
    assert bench.call.state is CallState.UP
    assert bench.hears("caller") == {OLD}


def test_party_that_never_tells_how_it_went_comes_back(bench: Office) -> None:
    bench.caller.can_refer = True
    bench.call.transfer("caller", "bob", plan([NEW]), bench.now)

    bench.advance(REFER_TIMEOUT_S)

    assert bench.ended() == [408]
    assert bench.call.state is CallState.UP


def test_agent_may_leave_once_it_has_sent_the_caller_elsewhere(bench: Office) -> None:
    bench.caller.can_refer = True
    bench.call.transfer("caller", "bob", plan([NEW]), bench.now)

    bench.tell(bench.old, HANG_UP)
    stayed = list(bench.caller.did)
    bench.tell(bench.caller, TransferProgress(200))

    assert stayed == ["refer bob"]
    assert bench.call.state is CallState.ENDED


def test_we_dial_where_that_is_wanted(bench: Office) -> None:
    bench.caller.can_refer = True

    bench.call.transfer("caller", "bob", plan([NEW]), bench.now, mode=TransferMode.DIAL)

    assert bench.legs[NEW].did == ["dial"]
    assert bench.caller.did == []


def test_party_that_takes_no_refer_cannot_be_sent(bench: Office) -> None:
    with pytest.raises(RoutingError) as refusal:
        bench.call.transfer("caller", "bob", plan([NEW]), bench.now, mode=TransferMode.REFER)

    assert refusal.value.status == 409
    assert not bench.happened(TransferStarted)


def test_commanded_transfer_that_fails_brings_all_back(bench: Office) -> None:
    bench.call.transfer("caller", "bob", plan([NEW]), bench.now)

    bench.tell(bench.legs[NEW], Ended(EndReason.DECLINED, 603))

    assert bench.hears("caller") == {OLD}
    assert bench.hears(OLD) == {"caller"}
    assert bench.ended() == [603]
