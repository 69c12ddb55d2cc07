"""What one may know is not learnt by another, whatever agents and operators do at once (A31)."""

from __future__ import annotations

import pytest

from gateway.agents.tool import AskDigits, SendDigits
from gateway.call.dial import AgentRules
from gateway.call.policy import Policy, Preset
from gateway.leg.leg import DigitPressed, OtherSideAsked, Phase
from gateway.media.playout import Playout
from tests.call.test_injection import COACH, HUMAN, Talk
from tests.call.test_tools import Desk
from tests.media.parties import Ear
from tests.media.sound import tone
from tests.support.legs import FakeLeg, plan

CLERK = "trunk:clerk"


def let_in(desk: Desk, preset: Policy, name: str = CLERK) -> FakeLeg:
    desk.call.invite(name, plan([name]), None, preset, desk.bench.now)
    return desk.answer(name)


def test_a31_keys_for_another_are_no_answer_to_an_agent() -> None:
    desk = Desk()
    clerk = let_in(desk, Policy(Preset.SPEAK))
    desk.use(AskDigits(max_digits=4, timeout_s=5))

    desk.call.secure("caller", clerk.id, desk.bench.now)
    desk.press("4111")
    desk.bench.advance(6)

    assert desk.done.result == {"digits": "", "count": 0, "ended_by": "timeout"}


def test_a31_key_pressed_for_another_is_not_the_agents_when_it_is_let_go() -> None:
    desk = Desk()
    clerk = let_in(desk, Policy(Preset.SPEAK))
    desk.use(AskDigits(max_digits=1, timeout_s=5))
    desk.call.secure("caller", clerk.id, desk.bench.now)
    desk.bench.tell(desk.bench.caller, DigitPressed("4", Phase.START))

    desk.call.secure("caller", None, desk.bench.now)
    desk.bench.tell(desk.bench.caller, DigitPressed("4", Phase.END, 100))

    assert desk.ai.done == []


@pytest.mark.parametrize("is_secure", [True, False])
def test_a31_agent_does_not_end_the_secure_input_of_another(is_secure: bool) -> None:
    desk = Desk()
    clerk = let_in(desk, Policy(Preset.SPEAK))
    desk.call.secure("caller", clerk.id, desk.bench.now)

    desk.use(AskDigits(max_digits=1, secure=is_secure))
    desk.press("4")

    assert desk.outcome[0] == 409
    assert desk.call.parties["caller"].secure_to == clerk.id


def test_a31_secure_input_goes_on_with_who_takes_the_callers_place() -> None:
    desk = Desk()
    desk.use(AskDigits(max_digits=2, secure=True))
    desk.press("4")
    new = FakeLeg("desk-phone")

    desk.call.replace("caller", new, "user:ann", desk.bench.now)
    during = desk.bench.hears(desk.ai.id)
    desk.bench.tell(new, DigitPressed("1", Phase.START))
    desk.bench.tell(new, DigitPressed("1", Phase.END, 100))

    assert during == set()
    assert desk.done.result["count"] == 2
    assert desk.bench.hears(desk.ai.id) == {"desk-phone"}


def test_agent_that_hears_the_caller_no_more_gets_no_answer_of_it() -> None:
    desk = Desk()
    desk.use(AskDigits(max_digits=1, timeout_s=5))

    let_in(desk, Policy(Preset.ALONE, "caller"))
    desk.press("4")

    assert desk.ai.done == []


def test_agent_that_may_press_no_keys_presses_none() -> None:
    desk = Desk(AgentRules(frozenset({"hang_up"})))

    desk.use(SendDigits("1"))
    desk.bench.tell(desk.ai, DigitPressed("1", Phase.START))
    desk.bench.tell(desk.ai, DigitPressed("1", Phase.END, 100))

    assert desk.outcome[0] == 403
    assert not any(did.startswith("digit") for did in desk.bench.caller.did)


def test_a31_secure_speaker_is_not_overheard_through_its_sink() -> None:
    talk, ear = Talk(), Ear()
    coach = talk.invite(COACH, Policy(Preset.LISTEN))
    talk.bench.tell(coach, OtherSideAsked(ear))

    talk.call.secure("caller", HUMAN, talk.bench.now)
    talk.speak(0.2)
    ear.forget()
    talk.speak()

    assert "caller" not in talk.voices_in(ear.pcm)


def test_whisper_is_not_overheard() -> None:
    talk, ear = Talk(), Ear()
    coach = talk.invite(COACH, Policy(Preset.LISTEN))
    talk.bench.tell(coach, OtherSideAsked(ear))
    talk.invite("trunk:boss", Policy(Preset.WHISPER, "callee"))

    talk.speak(0.2)
    ear.forget()
    talk.speak()

    assert "trunk:boss" not in talk.voices_in(ear.pcm)


@pytest.mark.parametrize(
    "before", [Policy(Preset.WHISPER, "callee"), Policy(Preset.ALONE, "callee")]
)
def test_rest_of_what_was_said_to_one_is_not_heard_by_the_others(before: Policy) -> None:
    talk = Talk()
    coach = talk.invite(COACH, before)
    playout = Playout()
    coach.playout = playout
    talk.bench.hub.join(COACH, listener=talk.ears[COACH], playout=playout)
    talk.call.route([], talk.bench.now)
    del talk.talkers[COACH]
    playout.say_pcm(tone(1900, 5.0, 8000), 8000)
    talk.speak(0.2)

    talk.lay(COACH, Policy(Preset.SPEAK))

    assert playout.queued_ms == 0


def test_agent_that_presses_nothing_has_done_so() -> None:
    desk = Desk()

    desk.use(SendDigits(""))

    assert desk.outcome[0] == 200
