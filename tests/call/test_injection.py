"""Agents and supervisors in a call of others: who hears whom, and with whom the call ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.agents.event import AudienceChanged, DigitHidden, Told
from gateway.call.call import CallState
from gateway.call.events import GuestFailed, LegRouted
from gateway.call.hearing import MUSIC, RINGBACK
from gateway.call.policy import Policy, Preset
from gateway.errors import RoutingError
from gateway.leg.leg import Answered, DigitPressed, Ended, EndReason, Phase, Progressed, Role
from gateway.media.tone import tone_level_dbfs
from gateway.trunk.route import Guest, RouteOptions, parse_target
from tests.media.parties import Ear, Talker
from tests.media.sound import Pcm, tone
from tests.support.legs import CallBench, FakeLeg, plan

HUMAN, AI, COACH, BOSS = "trunk:lab", "agent:bot", "agent:coach", "trunk:boss"
HZ = {"caller": 500, HUMAN: 1100, AI: 1100, COACH: 1900, BOSS: 2500}
HUNG_UP = Ended(EndReason.HANGUP)


class Talk:
    """A call that is up: the caller with a person or an AI. All say a tone of their own."""

    def __init__(self, callee: str = HUMAN, route: RouteOptions | None = None) -> None:
        self.bench = CallBench([callee], route=route)
        self.call = self.bench.call
        self.callee = callee
        self.ears: dict[str, Ear] = {}
        self.talkers: dict[str, Talker] = {}
        self.bench.start()
        self.bench.tell(self.leg(callee), Answered())
        self.listen("caller", callee)

    def leg(self, name: str) -> FakeLeg:
        return self.bench.caller if name == "caller" else self.bench.legs[name]

    def listen(self, *names: str) -> None:
        """Give somebody ears, and a voice."""
        for name in names:
            self.ears[name] = self.leg(name).listener = Ear()
            self.talkers[name] = Talker(tone(HZ[name], 0.2, 8000, -20))
            self.bench.hub.join(name, listener=self.ears[name])
        self.call.route([], self.bench.now)

    def invite(self, name: str, policy: Policy, role: Role | None = None) -> FakeLeg:
        """Somebody is let in, and answers."""
        (leg,) = self.call.invite(name, plan([name]), role, policy, self.bench.now)
        assert leg == name
        self.bench.tell(self.leg(name), Answered())
        self.listen(name)
        return self.leg(name)

    def lay(self, name: str, policy: Policy) -> None:
        self.call.route([(name, policy)], self.bench.now)
        self.bench._collect()

    def leave(self, name: str) -> None:
        self.bench.tell(self.leg(name), HUNG_UP)

    def speak(self, seconds: float = 0.4) -> None:
        """Everybody who is there speaks."""
        for _ in range(round(seconds / 0.02)):
            self.bench.advance(0.02)
            for name, talker in self.talkers.items():
                frame = talker.next()
                frame.heard_at = self.bench.now
                self.bench.hub.push(name, frame)
            self.bench.hub.tick(self.bench.now)

    def who_hears_whom(self) -> dict[str, set[str]]:
        """By their tones, from now on."""
        for ear in self.ears.values():
            ear.forget()
        self.speak()
        return {name: self.voices_in(ear.pcm) for name, ear in self.ears.items()}

    def voices_in(self, pcm: Pcm) -> set[str]:
        there = self.talkers.keys()
        loud = {n for n in there if len(pcm) and tone_level_dbfs(pcm, 8000, HZ[n]) > -30}
        return {"callee" if name == self.callee else name for name in loud}

    @property
    def is_up(self) -> bool:
        return self.call.state is CallState.UP


# ---- the presets


@pytest.mark.parametrize(
    ("policy", "hears", "caller_hears", "callee_hears"),
    [
        (Policy(Preset.LISTEN), {"caller", "callee"}, {"callee"}, {"caller"}),
        (Policy(Preset.WHISPER, "callee"), {"caller", "callee"}, {"callee"}, {"caller", COACH}),
        (Policy(Preset.WHISPER, "caller"), {"caller", "callee"}, {"callee", COACH}, {"caller"}),
        (Policy(Preset.SPEAK), {"caller", "callee"}, {"callee", COACH}, {"caller", COACH}),
        (Policy(Preset.BARGE), {"caller", "callee"}, {"callee", COACH}, {"caller", COACH}),
        (Policy(Preset.ALONE, "caller"), {"caller"}, {COACH}, set()),
        (Policy(Preset.ALONE, "callee"), {"callee"}, set(), {COACH}),
        (Policy(Preset.MUTE), {"caller", "callee"}, {"callee"}, {"caller"}),
        (Policy(Preset.ASIDE), set(), {"callee"}, {"caller"}),
        (
            Policy(hears=frozenset({"caller"}), heard_by=frozenset({"callee"})),
            {"caller"},
            {"callee"},
            {"caller", COACH},
        ),
    ],
)
def test_guest_hears_and_is_heard_by_those_named(
    policy: Policy, hears: set[str], caller_hears: set[str], callee_hears: set[str]
) -> None:
    talk = Talk()

    talk.invite(COACH, policy)
    heard = talk.who_hears_whom()

    assert heard == {"caller": caller_hears, HUMAN: callee_hears, COACH: hears}


def test_one_preset_after_the_other_and_then_as_before() -> None:
    talk = Talk()
    talk.invite(COACH, Policy(Preset.LISTEN))

    for preset, to in [("alone", "caller"), ("whisper", "callee"), ("speak", None)]:
        talk.lay(COACH, Policy(Preset(preset), to))
    speaking = talk.who_hears_whom()
    talk.leave(COACH)
    after = talk.who_hears_whom()

    assert speaking["caller"] == {"callee", COACH}
    assert after["caller"] == {"callee"}
    assert after[HUMAN] == {"caller"}


def test_change_is_heard_within_one_frame() -> None:
    talk = Talk()
    talk.invite(COACH, Policy(Preset.ALONE, "caller"))
    talk.speak()
    for ear in talk.ears.values():
        ear.forget()

    talk.lay(COACH, Policy(Preset.ALONE, "callee"))
    talk.speak(0.06)
    first = {name: [frame.pcm(8000) for frame in ear.frames] for name, ear in talk.ears.items()}

    def tone_in(name: str, number: int, hz: int) -> float:
        return tone_level_dbfs(first[name][number], 8000, hz)

    assert all(tone_in("caller", n, HZ[COACH]) < -40 for n in range(1, 3))
    assert all(tone_in("caller", n, HZ[HUMAN]) < -40 for n in range(1, 3))
    assert tone_in(HUMAN, 1, HZ[COACH]) > -30
    assert tone_in(HUMAN, 1, HZ["caller"]) < -40
    assert all(len(frames) == 3 for frames in first.values())


def test_several_policies_are_one_change_of_routes() -> None:
    talk = Talk()
    talk.invite(COACH, Policy(Preset.LISTEN))
    before = talk.bench.hub.count

    talk.call.route(
        [(COACH, Policy(Preset.SPEAK, gain_db=-3)), ("caller", Policy(hears=frozenset({COACH})))],
        0.0,
    )

    assert talk.bench.hub.count == before + 1
    assert talk.bench.hears("caller") == {COACH}


def test_of_several_policies_all_are_laid_or_none() -> None:
    talk = Talk()
    talk.invite(COACH, Policy(Preset.LISTEN))

    with pytest.raises(RoutingError) as refused:
        talk.call.route([(COACH, Policy(Preset.SPEAK)), ("nobody", Policy(Preset.MUTE))], 0.0)
    heard = talk.who_hears_whom()

    assert refused.value.status == 404
    assert heard["caller"] == {"callee"}


def test_policy_of_a_side_holds_for_who_comes_there_later() -> None:
    talk = Talk()
    talk.invite(COACH, Policy(Preset.WHISPER, "callee"))

    talk.call.transfer("caller", "eve", plan(["trunk:boss"]), talk.bench.now)
    talk.bench.tell(talk.leg(BOSS), Answered())
    talk.listen(BOSS)
    talk.talkers.pop(HUMAN)
    heard = talk.who_hears_whom()

    assert heard[BOSS] == {"caller", COACH}
    assert heard["caller"] == {BOSS}
    assert heard[COACH] == {"caller", BOSS}


def test_gain_of_a_guest_is_heard() -> None:
    talk = Talk()

    talk.invite(COACH, Policy(Preset.SPEAK, gain_db=-20))
    talk.speak()
    quiet = tone_level_dbfs(talk.ears["caller"].pcm, 8000, HZ[COACH])
    loud = tone_level_dbfs(talk.ears["caller"].pcm, 8000, HZ[HUMAN])

    assert loud - quiet == pytest.approx(20, abs=2)


def test_agent_is_told_of_its_audience() -> None:
    talk = Talk()
    coach = talk.invite(COACH, Policy(Preset.LISTEN))

    talk.lay(COACH, Policy(Preset.WHISPER, "callee"))

    assert coach.informed == [AudienceChanged(("callee", "caller"), ("callee",))]


# ---- take-over and hand-back


def test_human_takes_over_from_the_ai_and_hands_back_with_a_summary() -> None:
    talk = Talk(AI)
    talk.invite(BOSS, Policy(Preset.LISTEN))
    listening = talk.who_hears_whom()

    talk.lay(BOSS, Policy(Preset.TAKE_OVER))
    taken = talk.who_hears_whom()
    talk.lay(BOSS, Policy(Preset.HAND_BACK, summary={"text": "a refund was agreed"}))
    back = talk.who_hears_whom()

    assert listening == {"caller": {"callee"}, AI: {"caller"}, BOSS: {"caller", "callee"}}
    assert taken == {"caller": {BOSS}, AI: {"caller", BOSS}, BOSS: {"caller"}}
    assert back == listening
    told = [event for event in talk.leg(AI).informed if isinstance(event, Told)]
    assert [event.kind for event in told] == ["taken-over", "handed-back"]
    assert told[1].data == {"text": "a refund was agreed"}


def test_take_over_at_the_answer_leaves_no_gap() -> None:
    talk = Talk(AI)
    talk.call.invite(BOSS, plan([BOSS]), None, Policy(Preset.TAKE_OVER), talk.bench.now)
    talk.bench.tell(talk.leg(BOSS), Progressed(180))
    talk.ears["caller"].forget()

    talk.speak(0.2)
    talk.bench.tell(talk.leg(BOSS), Answered())
    talk.listen(BOSS)
    talk.speak(0.2)
    heard = [frame.pcm(8000) for frame in talk.ears["caller"].frames]

    voices = [talk.voices_in(pcm) for pcm in heard]
    assert len(heard) == 20
    assert all(voices)
    assert voices[0] == {"callee"}
    assert voices[-1] == {BOSS}


def test_who_took_over_leaves_and_the_ai_speaks_again() -> None:
    talk = Talk(AI)
    talk.invite(BOSS, Policy(Preset.TAKE_OVER))

    talk.leave(BOSS)

    assert talk.is_up
    assert talk.who_hears_whom()["caller"] == {"callee"}


def test_ai_that_was_taken_over_from_leaves_and_the_people_talk_on() -> None:
    talk = Talk(AI)
    talk.invite(BOSS, Policy(Preset.TAKE_OVER))

    talk.bench.tell(talk.leg(AI), Ended(EndReason.AGENT_FAILED, 500))
    heard = talk.who_hears_whom()

    assert talk.is_up
    assert heard["caller"] == {BOSS}
    assert heard[BOSS] == {"caller"}


def test_caller_leaves_whom_a_human_took_over() -> None:
    talk = Talk(AI)
    talk.invite(BOSS, Policy(Preset.TAKE_OVER))

    talk.leave("caller")

    assert not talk.is_up


# ---- with whom the call ends


@pytest.mark.parametrize("how", [HUNG_UP, Ended(EndReason.AGENT_FAILED, 500)])
@pytest.mark.parametrize(
    "preset",
    [Policy(Preset.LISTEN), Policy(Preset.SPEAK), Policy(Preset.ALONE, "caller")],
    ids=["listen", "speak", "alone"],
)
def test_guest_that_leaves_ends_nobodys_call(how: Ended, preset: Policy) -> None:
    talk = Talk()
    talk.invite(COACH, preset)

    talk.bench.tell(talk.leg(COACH), how)
    heard = talk.who_hears_whom()

    assert talk.is_up
    assert heard["caller"] == {"callee"}
    assert heard[HUMAN] == {"caller"}


@pytest.mark.parametrize("leaver", ["caller", HUMAN])
@pytest.mark.parametrize("preset", [Policy(Preset.LISTEN), Policy(Preset.SPEAK)])
def test_call_of_two_ends_with_one_of_them_whatever_agents_listen(
    leaver: str, preset: Policy
) -> None:
    talk = Talk()
    coach = talk.invite(COACH, preset)

    talk.leave(leaver)

    assert not talk.is_up
    assert coach.did[-1] == "end hangup"


def test_supervisor_who_speaks_stays_with_the_caller_when_the_ai_fails() -> None:
    talk = Talk(AI)
    talk.invite(BOSS, Policy(Preset.BARGE))

    talk.bench.tell(talk.leg(AI), Ended(EndReason.AGENT_FAILED, 500))

    assert talk.is_up
    assert talk.who_hears_whom()["caller"] == {BOSS}


def test_supervisor_who_listens_does_not_keep_a_call() -> None:
    talk = Talk(AI)
    talk.invite(BOSS, Policy(Preset.LISTEN))

    talk.bench.tell(talk.leg(AI), HUNG_UP)

    assert not talk.is_up


def test_last_person_ends_a_call_of_agents() -> None:
    talk = Talk(AI)
    talk.invite(COACH, Policy(Preset.TAKE_OVER))

    talk.leave("caller")

    assert not talk.is_up


def test_agent_alone_with_the_caller_goes_on_when_the_other_side_leaves() -> None:
    talk = Talk()
    talk.invite(COACH, Policy(Preset.ALONE, "caller"))

    talk.leave(HUMAN)
    alone = talk.is_up
    talk.leave(COACH)

    assert alone
    assert not talk.is_up


# ---- letting somebody in


def test_guest_that_does_not_come_changes_nothing() -> None:
    talk = Talk()
    talk.call.invite(BOSS, plan([BOSS]), None, Policy(Preset.SPEAK), talk.bench.now)

    talk.bench.tell(talk.leg(BOSS), Progressed(183, early_media=True))
    early = talk.bench.hears("caller")
    talk.bench.tell(talk.leg(BOSS), Ended(EndReason.BUSY, 486))

    assert early == {HUMAN}
    assert talk.is_up
    (failed,) = talk.bench.happened(GuestFailed)
    assert isinstance(failed, GuestFailed)
    assert failed.status == 486


def test_guest_is_let_go_by_its_name() -> None:
    talk = Talk()
    coach = talk.invite(COACH, Policy(Preset.SPEAK))

    talk.call.dismiss("ai", talk.bench.now)

    assert coach.did[-1] == "end hangup"
    assert talk.is_up


def test_guest_that_rings_is_let_go_with_the_call() -> None:
    talk = Talk()
    talk.call.invite(BOSS, plan([BOSS]), None, Policy(Preset.SPEAK), talk.bench.now)

    talk.leave("caller")

    assert talk.leg(BOSS).did[-1].startswith("end")
    assert not talk.is_up


def test_guest_comes_only_into_a_call_that_is_up() -> None:
    bench = CallBench([HUMAN])
    bench.start()

    with pytest.raises(RoutingError) as refused:
        bench.call.invite(COACH, plan([COACH]), None, Policy(Preset.LISTEN), 0.0)

    assert refused.value.status == 409


def test_too_many_guests_are_refused() -> None:
    talk = Talk()
    for _ in range(8):
        talk.call.invite(COACH, plan([COACH]), None, Policy(Preset.LISTEN), 0.0)

    with pytest.raises(RoutingError) as refused:
        talk.call.invite(COACH, plan([COACH]), None, Policy(Preset.LISTEN), 0.0)

    assert refused.value.status == 503


def test_route_lets_its_agents_into_its_calls() -> None:
    guest = Guest(parse_target(COACH), "whisper", "callee")

    talk = Talk(route=RouteOptions(guests=(guest,)))
    talk.bench.tell(talk.leg(COACH), Answered())
    talk.listen(COACH)
    heard = talk.who_hears_whom()

    assert talk.call.parties[COACH].role is Role.AI
    assert heard == {"caller": {"callee"}, HUMAN: {"caller", COACH}, COACH: {"caller", "callee"}}


def test_transfer_brings_two_together_and_its_listener_stays() -> None:
    talk = Talk()
    talk.invite(BOSS, Policy(Preset.LISTEN))

    talk.call.transfer("caller", "eve", plan([AI]), talk.bench.now)
    ringing = talk.bench.hears("caller")
    talk.bench.tell(talk.leg(AI), Answered())

    assert ringing == {RINGBACK}
    assert talk.bench.hears("caller") == {AI}
    assert talk.bench.hears(BOSS) == {"caller", AI}
    assert talk.leg(HUMAN).did[-1] == "end transferred"


def test_who_is_on_hold_hears_music_and_no_guest() -> None:
    talk = Talk()
    talk.invite(COACH, Policy(Preset.SPEAK))

    talk.call.hold("caller", talk.bench.now)

    assert talk.bench.hears("caller") == {MUSIC}
    assert talk.bench.hears(COACH) == {HUMAN}


def test_message_reaches_the_agent_alone() -> None:
    talk = Talk(AI)

    talk.call.message("ai", Told("hint", {"text": "offer a discount"}))
    with pytest.raises(RoutingError) as refused:
        talk.call.message("caller", Told("hint", {}))

    assert talk.leg(AI).informed == [Told("hint", {"text": "offer a discount"})]
    assert refused.value.status == 409


def test_parties_are_commanded_by_name() -> None:
    talk = Talk(AI)
    now = talk.bench.now

    talk.call.mute("ai", now)
    talk.call.secure("caller", "callee", now)
    with pytest.raises(RoutingError) as refused:
        talk.call.hold("all", now)

    assert talk.call.parties[AI].is_muted
    assert talk.call.parties["caller"].secure_to == AI
    assert refused.value.status == 409


def test_a31_guest_learns_that_there_was_a_key_and_not_which() -> None:
    talk = Talk()
    coach = talk.invite(COACH, Policy(Preset.LISTEN))
    talk.call.secure("caller", "callee", talk.bench.now)
    coach.informed.clear()

    talk.bench.tell(talk.bench.caller, DigitPressed("4", Phase.START))
    talk.bench.tell(talk.bench.caller, DigitPressed("4", Phase.END, 100))

    assert coach.informed == [DigitHidden()]
    assert talk.leg(HUMAN).did[-2:] == ["digit 4 start", "digit 4 end"]
    assert not any(did.startswith("digit") for did in coach.did)


def test_each_policy_is_told() -> None:
    talk = Talk()
    talk.invite(COACH, Policy(Preset.WHISPER, "callee"))

    (told,) = talk.bench.happened(LegRouted)

    assert isinstance(told, LegRouted)
    assert (told.leg, told.preset) == (COACH, "whisper")
    assert told.heard_by == frozenset({"callee"})


# ---- who is bound to whom


def test_supervisor_takes_over_though_another_agent_listens() -> None:
    talk = Talk(AI)
    talk.invite(COACH, Policy(Preset.LISTEN))

    talk.invite(BOSS, Policy(Preset.TAKE_OVER))

    assert talk.bench.hears("caller") == {BOSS}
    assert talk.call.parties[AI].yields_to == BOSS


def test_place_that_was_taken_twice_stays_taken_when_the_first_leaves() -> None:
    talk = Talk(AI)
    talk.invite(BOSS, Policy(Preset.TAKE_OVER))
    talk.invite(HUMAN, Policy(Preset.TAKE_OVER, BOSS))

    talk.leave(BOSS)

    assert talk.bench.hears("caller") == {HUMAN}
    talk.lay(HUMAN, Policy(Preset.HAND_BACK))
    assert talk.bench.hears("caller") == {AI}


@pytest.mark.parametrize("preset", [Preset.TAKE_OVER, Preset.ALONE])
def test_nobody_is_alone_with_itself(preset: Preset) -> None:
    talk = Talk()

    with pytest.raises(RoutingError) as refusal:
        talk.lay(HUMAN, Policy(preset, HUMAN))

    assert refusal.value.status == 409
    assert talk.bench.hears("caller") == {HUMAN}


def test_who_was_alone_with_somebody_is_free_when_another_is() -> None:
    talk = Talk()
    talk.invite(COACH, Policy(Preset.ALONE, "caller"))

    talk.invite(BOSS, Policy(Preset.ALONE, "caller"))

    assert talk.call.parties[COACH].alone_with is None
    assert talk.bench.hears("caller") == {BOSS}


def test_nobody_is_let_into_an_emergency_call() -> None:
    talk = Talk()
    talk.call._plan = replace(talk.call._plan, called="112")

    with pytest.raises(RoutingError) as refusal:
        talk.invite(COACH, Policy(Preset.LISTEN))

    assert refusal.value.status == 403
