"""What agents have done in their calls: how it goes, and what they are told of it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway.agents.event import DigitHidden, HoldChanged, Told, ToolDone
from gateway.agents.tool import (
    AskDigits,
    Dial,
    HangUp,
    Hold,
    Mute,
    Play,
    Record,
    SendDigits,
    SetMetadata,
    Tool,
    Transfer,
)
from gateway.call.call import CallOptions, CallState
from gateway.call.collect import VAULT
from gateway.call.dial import AgentRules
from gateway.call.events import (
    CallDigit,
    CallNoted,
    LegSecured,
    PlayEnded,
    RecordAsked,
    ToolEnded,
    ToolStarted,
    TransferEnded,
)
from gateway.call.hearing import MUSIC, RINGBACK
from gateway.call.ledger import MAX_DIALS, MAX_TOOLS_AT_ONCE
from gateway.call.policy import Policy, Preset
from gateway.errors import RoutingError
from gateway.leg.leg import (
    Answered,
    DigitPressed,
    Ended,
    EndReason,
    LegKind,
    Phase,
    Progressed,
    ToolAsked,
    TransferAsked,
)
from gateway.media.playout import Playout
from gateway.media.sound import Sound
from gateway.media.tone import beep
from gateway.private import Private
from gateway.sip.uri import parse_uri
from gateway.trunk.route import Plan
from tests.media.sound import tone
from tests.support.legs import CallBench, FakeLeg, plan

AI, TARGET = "agent:bot", "trunk:sales"
HUNG_UP = Ended(EndReason.HANGUP)
BRIEF = Sound(beep(8000, 1.5), 8000)


class Desk:
    """An AI that the caller talks with; what it dials leads to a trunk of that name."""

    def __init__(
        self, rules: AgentRules | None = None, caller_kind: LegKind = LegKind.BROWSER
    ) -> None:
        self.asked: list[tuple[str, str]] = []
        options = CallOptions(
            plan_for=self._plan_for,
            rules_of=lambda target: rules or AgentRules(),
            find_sound={"brief.wav": BRIEF}.get,
        )
        self.bench = bench = CallBench([AI], options=options, caller_kind=caller_kind)
        bench.start()
        self.ai = bench.legs[AI]
        bench.tell(self.ai, Answered())
        self.call = bench.call
        self._count = 0

    def use(self, tool: Tool, leg: FakeLeg | None = None) -> None:
        self._count += 1
        self.bench.tell(leg or self.ai, ToolAsked(str(self._count), tool))

    def answer(self, name: str = TARGET) -> FakeLeg:
        self.bench.tell(self.bench.legs[name], Answered())
        return self.bench.legs[name]

    def end(self, leg: FakeLeg, why: Ended = HUNG_UP) -> None:
        self.bench.tell(leg, why)

    def press(self, digits: str) -> None:
        for digit in digits:
            self.bench.tell(self.bench.caller, DigitPressed(digit, Phase.START))
            self.bench.tell(self.bench.caller, DigitPressed(digit, Phase.END, 100))

    def speaks(self, seconds: float) -> Playout:
        """The AI has so much to say; only the test lets it be played."""
        playout = self.ai.playout = Playout()
        playout.say_pcm(tone(400, seconds, 8000), 8000)
        return playout

    @property
    def done(self) -> ToolDone:
        """The one tool that was answered last."""
        return self.ai.done[-1]

    @property
    def outcome(self) -> tuple[int, str]:
        return self.done.status, self.done.detail

    @property
    def hears(self) -> Mapping[str, set[str]]:
        return {name: self.bench.hears(name) for name in ("caller", AI, TARGET)}

    @property
    def is_up(self) -> bool:
        return self.call.state is CallState.UP

    def _plan_for(self, source: str, dialled: str) -> Plan:
        self.asked.append((source, dialled))
        if dialled == "premium":
            raise RoutingError("no route leads there", status=403)
        return plan([f"trunk:{dialled}"])


# ---- leaving


def test_hang_up_ends_the_call_at_once_where_nothing_was_said() -> None:
    desk = Desk()

    desk.use(HangUp(reason="all is\r\nsaid"))

    assert not desk.is_up
    assert desk.done.is_done
    assert desk.bench.caller.did[-1] == "end hangup"
    assert desk.call.outcome is not None
    assert desk.call.outcome.text == "all issaid"


def test_hang_up_waits_until_what_was_said_was_played() -> None:
    desk = Desk()
    playout = desk.speaks(2.0)

    desk.use(HangUp())
    desk.bench.advance(1.0)
    while_speaking = desk.is_up
    playout.clear()
    desk.bench.advance(1.1)

    assert while_speaking
    assert not desk.is_up


def test_hang_up_waits_no_longer_than_its_cap() -> None:
    desk = Desk()
    desk.speaks(30.0)

    desk.use(HangUp(max_wait_s=3.0))
    desk.bench.advance(2.9)
    before = desk.is_up
    desk.bench.advance(0.2)

    assert before
    assert not desk.is_up


def test_guest_that_hangs_up_leaves_alone() -> None:
    desk = Desk()
    desk.call.invite("coach", plan(["agent:coach"]), None, Policy(Preset.LISTEN), 0.0)
    coach = desk.answer("agent:coach")

    desk.use(HangUp(), coach)

    assert desk.is_up
    assert coach.did[-1] == "end hangup"


# ---- blind transfer


def test_blind_transfer_by_an_agent() -> None:
    desk = Desk()

    desk.use(Transfer("sales"))
    ringing = desk.hears["caller"]
    desk.answer()

    assert desk.asked == [(AI, "sales")]
    assert ringing == {RINGBACK}
    assert desk.outcome == (200, "transferred")
    assert desk.ai.did[-1] == "end transferred"
    assert desk.hears["caller"] == {TARGET}
    assert desk.is_up


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [
        (Ended(EndReason.BUSY, 486), (486, "busy")),
        (Ended(EndReason.DECLINED, 603), (603, "declined")),
        (Ended(EndReason.UNREACHABLE, 503), (503, "cannot be reached")),
    ],
)
@pytest.mark.parametrize("mode", ["blind", "warm"])
def test_transfer_that_fails_brings_the_agent_back(
    mode: str, ended: Ended, outcome: tuple[int, str]
) -> None:
    desk = Desk()

    desk.use(Transfer("sales", mode))
    desk.end(desk.bench.legs[TARGET], ended)

    assert desk.outcome == outcome
    assert not desk.done.is_done
    assert desk.hears["caller"] == {AI}
    assert desk.hears[AI] == {"caller"}


@pytest.mark.parametrize("mode", ["blind", "warm"])
def test_transfer_that_nobody_answers_brings_the_agent_back(mode: str) -> None:
    desk = Desk()

    desk.use(Transfer("sales", mode, timeout_s=10))
    desk.bench.advance(9.9)
    before = list(desk.ai.done)
    desk.bench.advance(0.2)

    assert not before
    assert desk.outcome == (480, "no answer")
    assert desk.hears["caller"] == {AI}


def test_transfer_waits_until_what_was_said_was_played() -> None:
    desk = Desk()
    playout = desk.speaks(1.0)

    desk.use(Transfer("sales"))
    before = TARGET in desk.bench.legs
    playout.clear()
    desk.bench.advance(1.1)

    assert not before
    assert TARGET in desk.bench.legs


# ---- warm transfer


def test_warm_transfer_with_a_brief_that_the_agent_tells() -> None:
    desk = Desk()

    desk.use(Transfer("sales", "warm", "wants a refund"))
    desk.bench.tell(desk.bench.legs[TARGET], Progressed(180))
    ringing = desk.hears
    target = desk.answer()
    consulting = desk.hears
    desk.use(HangUp())

    assert ringing["caller"] == {MUSIC}
    assert consulting == {"caller": {MUSIC}, AI: {TARGET}, TARGET: {AI}}
    told = [event for event in desk.ai.informed if isinstance(event, Told)]
    assert [(event.kind, event.data["brief"]) for event in told] == [("transfer", "wants a refund")]
    assert Told("brief", {"brief": "wants a refund"}) in target.informed
    assert desk.hears["caller"] == {TARGET}
    assert desk.hears[TARGET] == {"caller"}
    assert desk.ai.did[-1] == "end transferred"
    assert [done.status for done in desk.ai.done] == [200, 200]
    assert desk.is_up


def test_warm_transfer_with_a_brief_that_is_played() -> None:
    desk = Desk()

    desk.use(Transfer("sales", "warm", "brief.wav"))
    desk.answer()
    playing = desk.hears
    desk.bench.advance(10)

    assert playing["caller"] == {MUSIC}
    assert playing[TARGET] == {"play-1"}
    assert playing[AI] == set()
    assert desk.hears["caller"] == {TARGET}
    assert desk.done.is_done
    assert desk.ai.did[-1] == "end transferred"


def test_target_of_a_warm_transfer_that_hangs_up_has_declined() -> None:
    desk = Desk()

    desk.use(Transfer("sales", "warm"))
    target = desk.answer()
    desk.end(target)

    assert desk.outcome == (603, "declined")
    assert desk.is_up
    assert desk.hears["caller"] == {AI}


def test_agent_calls_a_warm_transfer_off() -> None:
    desk = Desk()

    desk.use(Transfer("sales", "warm"))
    target = desk.answer()
    desk.use(Transfer("", "cancel"))

    assert [done.status for done in desk.ai.done] == [200, 487]
    assert target.did[-1] == "end cancelled"
    assert desk.hears["caller"] == {AI}
    assert desk.is_up


def test_agent_that_never_ends_its_brief_is_made_to() -> None:
    desk = Desk()

    desk.use(Transfer("sales", "warm"))
    desk.answer()
    desk.bench.advance(200)

    assert desk.hears["caller"] == {TARGET}
    assert desk.ai.did[-1] == "end transferred"


def test_f18_agent_that_fails_during_a_warm_transfer_leaves_it_to_the_people() -> None:
    desk = Desk()
    desk.use(Transfer("sales", "warm"))

    desk.end(desk.ai, Ended(EndReason.AGENT_FAILED, 500))
    waiting = desk.hears["caller"]
    desk.answer()

    assert waiting == {MUSIC}
    assert desk.hears["caller"] == {TARGET}
    assert desk.is_up


def test_f18_agent_that_fails_and_whose_target_is_busy_leaves_nobody_behind() -> None:
    desk = Desk()
    desk.use(Transfer("sales", "warm"))

    desk.end(desk.ai, Ended(EndReason.AGENT_FAILED, 500))
    desk.end(desk.bench.legs[TARGET], Ended(EndReason.BUSY, 486))

    assert not desk.is_up


@pytest.mark.parametrize("is_there", [False, True])
def test_caller_who_leaves_during_a_warm_transfer_ends_it_all(is_there: bool) -> None:
    desk = Desk()
    desk.use(Transfer("sales", "warm"))
    if is_there:
        desk.answer()

    desk.end(desk.bench.caller)

    assert not desk.is_up
    assert desk.bench.legs[TARGET].did[-1].startswith("end")
    assert len(desk.bench.happened(TransferEnded)) == 1


# ---- dial


def test_agent_steps_aside_and_is_back_when_the_other_has_left() -> None:
    desk = Desk()

    desk.use(Dial("sales"))
    ringing = desk.hears
    target = desk.answer()
    aside = desk.hears
    desk.bench.advance(12)
    desk.end(target)

    assert ringing["caller"] == {RINGBACK}
    assert aside == {"caller": {TARGET}, AI: set(), TARGET: {"caller"}}
    assert desk.done.is_done
    assert desk.done.result == {"duration_s": 12.0, "ended_by": "hangup"}
    assert desk.hears["caller"] == {AI}
    assert desk.is_up


def test_agent_is_back_when_the_others_time_is_up() -> None:
    desk = Desk()

    desk.use(Dial("sales", time_limit_s=30))
    target = desk.answer()
    desk.bench.advance(31)

    assert target.did[-1] == "end time-limit"
    assert desk.done.result["ended_by"] == "time-limit"
    assert desk.hears["caller"] == {AI}


@pytest.mark.parametrize("is_there", [False, True])
def test_agent_lets_whom_it_dialled_go(is_there: bool) -> None:
    desk = Desk()
    desk.use(Dial("sales"))
    if is_there:
        desk.answer()

    desk.use(Dial(""))

    assert [done.status for done in desk.ai.done] == [200, 487]
    assert desk.bench.legs[TARGET].did[-1].startswith("end")
    assert desk.hears["caller"] == {AI}


def test_agent_is_back_when_the_other_is_busy() -> None:
    desk = Desk()

    desk.use(Dial("sales"))
    desk.end(desk.bench.legs[TARGET], Ended(EndReason.BUSY, 486))

    assert desk.outcome == (486, "busy")
    assert desk.hears["caller"] == {AI}


def test_caller_who_leaves_takes_the_other_along() -> None:
    desk = Desk()
    desk.use(Dial("sales"))
    target = desk.answer()

    desk.end(desk.bench.caller)

    assert not desk.is_up
    assert target.did[-1].startswith("end")


def test_people_talk_on_when_the_agent_aside_fails() -> None:
    desk = Desk()
    desk.use(Dial("sales"))
    target = desk.answer()

    desk.end(desk.ai, Ended(EndReason.AGENT_FAILED, 500))
    talking = desk.hears["caller"]
    desk.end(target)

    assert talking == {TARGET}
    assert not desk.is_up


@pytest.mark.parametrize(("number", "status"), [("+15550100", None), ("+15559999", 403)])
def test_agent_shows_numbers_of_its_call_only(number: str, status: int | None) -> None:
    desk = Desk()

    desk.use(Dial("sales", caller_id=number))

    if status is None:
        assert desk.bench.errands[TARGET].numbers[0] == Private(number)
    else:
        assert desk.done.status == status


# ---- what an agent may not


@pytest.mark.parametrize(
    "tool", [Transfer("premium"), Transfer("premium", "warm"), Dial("premium")]
)
def test_a39_agent_dials_only_where_a_route_leads_it(tool: Tool) -> None:
    desk = Desk()

    desk.use(tool)

    assert desk.asked == [(AI, "premium")]
    assert desk.done.status == 403
    assert desk.hears["caller"] == {AI}
    (started,), (ended,) = desk.bench.happened(ToolStarted), desk.bench.happened(ToolEnded)
    assert isinstance(started, ToolStarted)
    assert isinstance(ended, ToolEnded)
    assert started.to == Private("premium")
    assert "premium" not in repr(desk.bench.events)
    assert ended.status == 403


def test_a39_agent_uses_only_tools_it_was_given() -> None:
    desk = Desk(AgentRules(frozenset({"mute"})))

    desk.use(Transfer("sales"))
    refused = desk.done
    desk.use(HangUp())

    assert refused.status == 403
    assert not desk.asked
    assert not desk.is_up


def test_a39_agent_brings_one_other_into_a_call_and_no_more() -> None:
    desk = Desk()
    desk.use(Dial("sales"))
    desk.end(desk.answer())

    desk.use(Dial("support"))

    assert desk.done.status == 403
    assert "trunk:support" not in desk.bench.legs


def test_agent_that_may_transfer_twice_does() -> None:
    desk = Desk(AgentRules(max_transfers=2))
    desk.use(Dial("sales"))
    desk.end(desk.answer())

    desk.use(Transfer("support"))
    desk.answer("trunk:support")

    assert desk.outcome == (200, "transferred")


def test_a39_agent_that_tries_number_after_number_is_stopped() -> None:
    desk = Desk()

    for number in range(11):
        desk.use(Dial(f"n{number}"))
        if f"trunk:n{number}" in desk.bench.legs:
            desk.end(desk.bench.legs[f"trunk:n{number}"], Ended(EndReason.BUSY, 486))

    assert len(desk.asked) == 10
    assert desk.done.status == 403


def test_guest_transfers_nobody() -> None:
    desk = Desk()
    desk.call.invite("coach", plan(["agent:coach"]), None, Policy(Preset.SPEAK), 0.0)
    coach = desk.answer("agent:coach")

    desk.use(Transfer("sales"), coach)

    assert coach.done[-1].status in (403, 409)
    assert TARGET not in desk.bench.legs


def test_second_transfer_while_one_is_under_way_is_refused() -> None:
    desk = Desk()
    desk.use(Transfer("sales", "warm"))

    desk.use(Transfer("support"))

    assert desk.done.status in (409, 491)
    assert "trunk:support" not in desk.bench.legs


# ---- what is done at once


def test_agent_holds_the_caller_and_resumes() -> None:
    desk = Desk()

    desk.use(Hold(on=True))
    held = desk.hears["caller"]
    desk.use(Hold(on=False))

    assert held == {MUSIC}
    assert desk.hears["caller"] == {AI}
    assert desk.ai.informed == [HoldChanged(on=True), HoldChanged(on=False)]


def test_agent_presses_keys_toward_the_caller() -> None:
    desk = Desk()

    desk.use(SendDigits("12"))
    at_once = list(desk.ai.done)
    desk.bench.advance(2)

    assert not at_once
    assert desk.done.is_done
    keys = [did for did in desk.bench.caller.did if did.startswith("digit")]
    assert keys == ["digit 1 start", "digit 1 end", "digit 2 start", "digit 2 end"]


def test_agent_plays_a_file_and_learns_when_it_is_over() -> None:
    desk = Desk()

    desk.use(Play("brief.wav"))
    playing, at_once = desk.hears["caller"], list(desk.ai.done)
    desk.bench.advance(10)

    assert playing == {AI, "play-1"}
    assert not at_once
    assert desk.done.is_done
    assert desk.hears["caller"] == {AI}
    assert len(desk.bench.happened(PlayEnded)) == 1


def test_file_that_is_not_among_the_sounds_is_not_played() -> None:
    desk = Desk()

    desk.use(Play("../secret.wav"))

    assert desk.done.status == 404


def test_agent_mutes_itself() -> None:
    desk = Desk()

    desk.use(Mute(on=True))

    assert desk.hears["caller"] == set()
    assert desk.hears[AI] == {"caller"}


def test_recording_is_told() -> None:
    desk = Desk()

    desk.use(Record(on=True))

    (told,) = desk.bench.happened(RecordAsked)
    assert isinstance(told, RecordAsked)
    assert told.on


def test_metadata_is_told_and_in_the_summary() -> None:
    desk = Desk()

    desk.use(SetMetadata({"order": "17"}))
    desk.use(SetMetadata({"order": "18", "vip": "yes"}))

    assert len(desk.bench.happened(CallNoted)) == 2
    assert desk.call.summary(0.0).metadata == {"order": "18", "vip": "yes"}


def test_metadata_has_bounds() -> None:
    desk = Desk()

    desk.use(SetMetadata({str(n): "" for n in range(65)}))
    too_many = desk.done.status
    desk.use(SetMetadata({"k": "v" * 2000}))

    assert (too_many, desk.done.status) == (413, 413)
    assert not desk.call.summary(0.0).metadata


# ---- asking for digits


@pytest.mark.parametrize(
    ("keys", "digits", "ended_by"),
    [("12#9", "12", "key"), ("1234", "1234", "max"), ("1", "1", "timeout"), ("", "", "timeout")],
)
def test_agent_asks_for_digits(keys: str, digits: str, ended_by: str) -> None:
    desk = Desk()

    desk.use(AskDigits(max_digits=4, timeout_s=5))
    desk.press(keys)
    desk.bench.advance(6)

    assert desk.done.result == {"digits": digits, "count": len(digits), "ended_by": ended_by}


def test_a31_secure_digits_are_known_to_nobody_but_how_many() -> None:
    desk = Desk()

    desk.use(AskDigits(max_digits=16, secure=True))
    heard = desk.hears[AI]
    desk.press("4111#")

    assert heard == set()
    assert desk.ai.informed.count(DigitHidden()) == 5
    assert not any(did.startswith("digit") for did in desk.ai.did)
    assert desk.done.result["count"] == 4
    assert "digits" not in desk.done.result
    told = [event for event in desk.bench.events if isinstance(event, CallDigit)]
    assert {event.digit for event in told} == {None}
    assert "4111" not in repr(desk.bench.events)
    assert desk.hears[AI] == {"caller"}
    secured = desk.bench.happened(LegSecured)
    assert [event.to for event in secured if isinstance(event, LegSecured)] == [VAULT, None]


def test_a31_secure_digits_are_fetched_once() -> None:
    desk = Desk()
    desk.use(AskDigits(max_digits=4, secure=True))
    desk.press("4111")

    token = desk.done.result["token"]
    fetched = desk.call.fetch_keys(token)
    with pytest.raises(RoutingError) as again:
        desk.call.fetch_keys(token)

    assert fetched.value == "4111"
    assert "4111" not in repr(fetched)
    assert again.value.status == 404


def test_caller_who_leaves_while_digits_are_asked_for() -> None:
    desk = Desk()
    desk.use(AskDigits(secure=True))

    desk.press("41")
    desk.end(desk.bench.caller)

    assert not desk.is_up
    assert desk.call.next_timer() is None


# ---- what agents may not, by whatever way they ask


def refer_of(leg: FakeLeg, desk: Desk, to: str = "sales") -> list[str]:
    """What a party is told of a REFER that it sends."""
    desk.bench.tell(leg, TransferAsked(parse_uri(f"sip:{to}@example.com")))
    return [did for did in leg.did if did.startswith("transfer")]


def test_a39_refer_of_an_agent_counts_as_its_tool_does() -> None:
    desk = Desk(AgentRules(max_transfers=0))

    assert refer_of(desk.ai, desk) == ["transfer 403"]
    assert TARGET not in desk.bench.legs


def test_a39_agent_that_tries_number_after_number_by_refer_is_stopped() -> None:
    desk = Desk()

    for _ in range(MAX_DIALS + 1):
        told = refer_of(desk.ai, desk)
        leg = desk.bench.legs[TARGET]
        if not any(did.startswith("end") for did in leg.did):
            desk.end(leg, Ended(EndReason.BUSY, 486))

    assert told[-1] == "transfer 403"


@pytest.mark.parametrize("preset", [Preset.LISTEN, Preset.ASIDE])
def test_a39_agent_that_only_listens_transfers_nobody(preset: Preset) -> None:
    desk = Desk()
    desk.call.route([("ai", Policy(preset))], desk.bench.now)

    assert refer_of(desk.ai, desk) == ["transfer 403"]
    desk.use(Transfer("sales"))
    assert desk.outcome[0] == 409
    assert TARGET not in desk.bench.legs


def test_who_took_over_transfers_the_caller_and_the_agent_does_not() -> None:
    desk = Desk()
    desk.call.invite("clerk", plan(["trunk:clerk"]), None, Policy(Preset.TAKE_OVER), 0.0)
    clerk = desk.answer("trunk:clerk")

    assert refer_of(desk.ai, desk) == ["transfer 403"]
    assert refer_of(clerk, desk)[0] == "transfer 100"
    desk.answer()

    assert desk.hears["caller"] == {TARGET}


def test_a39_agent_that_asks_without_end_is_not_told_of_without_end() -> None:
    desk = Desk()

    for _ in range(500):
        desk.use(Mute(on=True))

    assert len(desk.bench.happened(ToolEnded)) == MAX_TOOLS_AT_ONCE
    assert desk.outcome[0] == 429
    desk.bench.advance(1)
    desk.use(Mute(on=False))
    assert desk.outcome[0] == 200


# ---- what is left of what agents did


@pytest.mark.parametrize("mode", ["blind", "warm"])
def test_nobody_stays_on_hold_for_an_agent_that_has_left(mode: str) -> None:
    desk = Desk()
    desk.use(Hold(on=True))

    desk.use(Transfer("sales", mode=mode))
    target = desk.answer()
    desk.use(Transfer("", mode="complete"))

    assert desk.hears["caller"] == {TARGET}
    assert desk.bench.hears(target.id) == {"caller"}


def test_who_was_held_hears_whom_the_agent_dials() -> None:
    desk = Desk()
    desk.use(Hold(on=True))

    desk.use(Dial("sales"))
    desk.answer()

    assert desk.hears["caller"] == {TARGET}


def test_human_who_takes_over_takes_the_caller_off_the_agents_hold() -> None:
    desk = Desk()
    desk.use(Hold(on=True))

    desk.call.invite("clerk", plan(["trunk:clerk"]), None, Policy(Preset.TAKE_OVER), 0.0)
    desk.answer("trunk:clerk")

    assert desk.hears["caller"] == {"trunk:clerk"}


def test_hold_of_who_is_in_charge_outlasts_the_agent() -> None:
    desk = Desk()
    desk.call.hold("caller", desk.bench.now)

    desk.use(Transfer("sales"))
    desk.answer()

    assert desk.hears["caller"] == {MUSIC}


def test_loop_of_an_agent_ends_when_it_leaves() -> None:
    desk = Desk()
    desk.use(Play("brief.wav", loop=True))

    desk.use(Transfer("sales"))
    desk.answer()

    assert desk.hears["caller"] == {TARGET}


def test_secure_digits_end_with_a_transfer() -> None:
    desk = Desk()
    desk.use(AskDigits(timeout_s=100, secure=True))

    desk.use(Transfer("sales"))
    target = desk.answer()

    assert desk.bench.hears(target.id) == {"caller"}


@pytest.mark.parametrize("tool", [Transfer("sales", mode="warm"), Dial("sales")])
@pytest.mark.parametrize("is_there", [True, False])
def test_others_transfer_nobody_while_an_agent_brings_somebody_in(
    tool: Tool, is_there: bool
) -> None:
    desk = Desk()
    desk.use(tool)
    if is_there:
        desk.answer()

    with pytest.raises(RoutingError) as refusal:
        desk.call.transfer("caller", "eve", plan(["trunk:eve"]), desk.bench.now)

    assert refusal.value.status == 491


def test_attended_transfer_ends_what_an_agent_has_under_way() -> None:
    desk, other = Desk(), Desk()
    desk.use(Transfer("sales", mode="warm"))
    desk.answer()
    moved = other.call.release("caller", "call-2", other.bench.now)
    other.bench.caller.id = "moved"

    desk.call.exchange("caller", moved, desk.bench.now)

    assert desk.bench.hears("caller") == {"moved"}
    assert desk.outcome[0] == 487


def test_phone_takes_the_place_of_another_while_the_agent_is_aside() -> None:
    desk = Desk()
    desk.use(Dial("sales"))
    desk.answer()
    new = FakeLeg("desk-phone")

    desk.call.replace("caller", new, "user:ann", desk.bench.now)
    desk.end(desk.bench.legs[TARGET])

    assert desk.bench.hears("desk-phone") == {AI}


@pytest.mark.parametrize(
    "tool",
    [
        Dial("sales"),
        Transfer("sales"),
        Transfer("sales", mode="warm"),
        AskDigits(),
        Play("brief.wav"),
        SendDigits("1,,,,2"),
    ],
)
def test_every_use_is_answered_by_the_end_of_its_call(tool: Tool) -> None:
    desk = Desk()
    desk.use(tool)

    desk.call.end(desk.bench.now, EndReason.SHUTDOWN)
    desk.bench._collect()

    assert len(desk.bench.happened(ToolStarted)) == len(desk.bench.happened(ToolEnded)) == 1
    assert desk.outcome[0] == 487


# ---- a human takes over meanwhile


@pytest.mark.parametrize("is_there", [True, False])
def test_human_who_takes_over_ends_the_agents_warm_transfer(is_there: bool) -> None:
    desk = Desk()
    desk.use(Transfer("sales", mode="warm"))
    if is_there:
        desk.answer()

    desk.call.invite("clerk", plan(["trunk:clerk"]), None, Policy(Preset.TAKE_OVER), 0.0)
    desk.answer("trunk:clerk")

    assert desk.hears["caller"] == {"trunk:clerk"}
    assert any(did.startswith("end") for did in desk.bench.legs[TARGET].did)
    assert desk.outcome[0] == 487


def test_human_who_takes_over_joins_whom_the_agent_has_brought_in() -> None:
    desk = Desk()
    desk.use(Dial("sales"))
    desk.answer()

    desk.call.invite("clerk", plan(["trunk:clerk"]), None, Policy(Preset.TAKE_OVER), 0.0)
    desk.answer("trunk:clerk")
    together = desk.hears["caller"]
    desk.end(desk.bench.legs[TARGET])

    assert together == {"trunk:clerk", TARGET}
    assert desk.hears["caller"] == {"trunk:clerk"}


def test_transfer_that_waits_for_speech_is_not_made_by_an_agent_set_aside() -> None:
    desk = Desk()
    desk.speaks(5.0)
    desk.use(Transfer("sales", max_wait_s=8))

    desk.call.invite("clerk", plan(["trunk:clerk"]), None, Policy(Preset.TAKE_OVER), 0.0)
    desk.answer("trunk:clerk")
    desk.bench.advance(10)

    assert TARGET not in desk.bench.legs
    assert desk.outcome[0] == 409
