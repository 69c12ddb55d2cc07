"""The walk-through with agents: tools and guests, from an agent's own words to the packets.

Signalling, media and the agents' own legs together; only the sockets are of paper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.agents.agent import AgentCall
from gateway.agents.event import AgentEvent, DigitHeard, DigitHidden, Told, ToolDone
from gateway.agents.tool import AskDigits, Dial, HangUp, Tool, Transfer
from gateway.call.call import Call, CallState, PartyState
from gateway.call.events import ToolEnded
from gateway.call.policy import Policy, Preset
from gateway.leg.leg import EndReason
from gateway.media.playout import Cleared
from gateway.media.tone import MELODY_HZ, tone_level_dbfs
from gateway.private import Private
from tests.media.parties import Broken
from tests.media.sound import Pcm, tone
from tests.support.legs import plan
from tests.support.scene import AGENT_HZ, PHONE_HZ, TRUNK_HZ, Scene, scene
from tests.support.sip_legs import sdp

Work = Callable[[AgentCall], Awaitable[None]]


class Bot:
    """Says its tone all the time, and keeps what it is told; a test has it use tools."""

    def __init__(self) -> None:
        self.told: list[AgentEvent] = []
        self.call: AgentCall | None = None

    async def __call__(self, call: AgentCall) -> None:
        self.call = call
        call.watch(self.told.append)
        await call.answer()
        piece = tone(AGENT_HZ, 0.2, 8000)
        while True:
            while call.queued_ms < 400:
                await call.say(piece, 8000)
            await asyncio.sleep(0.1)

    def use(self, tool: Tool) -> None:
        assert self.call is not None
        self.call.use(tool, "1")

    @property
    def done(self) -> list[ToolDone]:
        return [event for event in self.told if isinstance(event, ToolDone)]


def has_music(pcm: Pcm) -> bool:
    pieces = [pcm[at : at + 800] for at in range(0, len(pcm), 800)]
    return any(tone_level_dbfs(piece, 8000, hz) > -35 for piece in pieces for hz in MELODY_HZ)


def talk(at: Scene, seconds: float = 0.5, **tones: float) -> None:
    """Everybody speaks, after what was on its way has passed."""
    at.speak(0.2, **tones)
    for name in tones:
        at.heard(name)
    at.speak(seconds, **tones)


def begin(at: Scene) -> Call:
    """The phone has called the agent."""
    call = at.call()
    at.run(0.3)
    return call


def test_warm_transfer_to_a_target_that_is_briefed() -> None:
    bot = Bot()
    with scene(["agent:bot"], agent=bot) as at:
        begin(at)

        bot.use(Transfer("b", "warm", "wants a refund", after_speech=False))
        at.run(0.1)
        at.respond("b", 180)
        at.heard("phone")
        at.run(2)
        ringing = at.heard("phone")
        at.respond("b", 200, body=sdp(40_000))
        talk(at, phone=PHONE_HZ, b=TRUNK_HZ)
        target_hears = at.hears("b")
        waiting = at.heard("phone")
        bot.use(HangUp(after_speech=False))
        talk(at, phone=PHONE_HZ, b=TRUNK_HZ)

        assert has_music(ringing)
        assert tone_level_dbfs(ringing, 8000, AGENT_HZ) < -40
        assert target_hears == {AGENT_HZ}
        assert tone_level_dbfs(waiting, 8000, TRUNK_HZ) < -40
        (told,) = [event for event in bot.told if isinstance(event, Told)]
        assert (told.data["state"], told.data["brief"]) == ("answered", "wants a refund")
        assert at.hears("phone") == {TRUNK_HZ}
        assert at.hears("b") == {PHONE_HZ}


@pytest.mark.parametrize(
    ("status", "detail"), [(486, "busy"), (603, "declined"), (408, "no answer")]
)
def test_warm_transfer_that_fails_is_told_to_the_agent_which_speaks_on(
    status: int, detail: str
) -> None:
    bot = Bot()
    with scene(["agent:bot"], agent=bot) as at:
        begin(at)

        bot.use(Transfer("b", "warm", after_speech=False))
        at.run(0.1)
        at.respond("b", status)
        talk(at, phone=PHONE_HZ)

        (done,) = bot.done
        assert (done.is_done, done.status, done.detail) == (False, status, detail)
        assert at.hears("phone") == {AGENT_HZ}


def test_blind_transfer_lets_the_agent_go() -> None:
    bot = Bot()
    with scene(["agent:bot"], agent=bot) as at:
        call = begin(at)

        bot.use(Transfer("b", after_speech=False))
        at.run(0.1)
        at.respond("b", 200, body=sdp(40_000))
        talk(at, phone=PHONE_HZ, b=TRUNK_HZ)

        assert at.hears("phone") == {TRUNK_HZ}
        assert at.hears("b") == {PHONE_HZ}
        (ended,) = [event for event in at.events if isinstance(event, ToolEnded)]
        assert (ended.tool, ended.status) == ("transfer", 200)
        assert call.state is CallState.UP


def test_agent_is_back_after_it_has_dialled_another() -> None:
    bot = Bot()
    with scene(["agent:bot"], agent=bot) as at:
        begin(at)

        bot.use(Dial("b", time_limit_s=3))
        at.run(0.1)
        at.respond("b", 200, body=sdp(40_000))
        talk(at, phone=PHONE_HZ, b=TRUNK_HZ)
        together = at.hears("phone"), at.hears("b")
        at.run(3)
        talk(at, phone=PHONE_HZ)

        assert together == ({TRUNK_HZ}, {PHONE_HZ})
        (done,) = bot.done
        assert done.result["ended_by"] == "time-limit"
        assert at.peers["b"].got("BYE")
        assert at.hears("phone") == {AGENT_HZ}


def test_a31_secure_digits_reach_no_agent() -> None:
    bot = Bot()
    with scene(["agent:bot"], agent=bot) as at:
        call = begin(at)

        bot.use(AskDigits(max_digits=4, secure=True))
        for digit in "4111":
            at.press("phone", digit)
            at.run(0.1)

        (done,) = bot.done
        assert done.result["count"] == 4
        assert call.fetch_keys(done.result["token"]) == Private("4111")
        assert not [event for event in bot.told if isinstance(event, DigitHeard)]
        assert bot.told.count(DigitHidden()) == 4


def test_agent_whispers_to_one_side_of_two_phones() -> None:
    bot = Bot()
    with scene(["trunk:a"], agent=bot) as at:
        call = at.call()
        at.respond("a", 200, body=sdp(40_000))

        def invite(policy: Policy) -> Callable[[Call, float], object]:
            return lambda call, now: call.invite("coach", plan(["agent:bot"]), None, policy, now)

        at.registry.command(call.id, invite(Policy(Preset.WHISPER, "callee")))
        talk(at, phone=PHONE_HZ, a=TRUNK_HZ)

        assert at.hears("phone") == {TRUNK_HZ}
        assert at.hears("a") == {PHONE_HZ, AGENT_HZ}
        at.hang_up()
        assert at.ended().reason is EndReason.HANGUP


def test_human_takes_over_from_an_agent_in_the_same_stream_and_hands_back() -> None:
    bot = Bot()
    with scene(["agent:bot"], agent=bot) as at:
        call = begin(at)
        at.heard("phone")

        at.registry.command(
            call.id,
            lambda call, now: call.invite(
                "b", plan(["trunk:b"]), None, Policy(Preset.TAKE_OVER), now
            ),
        )
        at.run(0.1)
        at.respond("b", 200, body=sdp(40_000))
        at.speak(0.84, phone=PHONE_HZ, b=TRUNK_HZ)
        heard = at.heard("phone")
        packets = len(heard) // 160
        at.heard("b")
        at.speak(0.4, phone=PHONE_HZ, b=TRUNK_HZ)
        taken = at.hears("phone"), at.hears("b")
        hand_back = Policy(Preset.HAND_BACK, summary={"text": "sorted out"})
        at.registry.command(call.id, lambda call, now: call.route([("supervisor", hand_back)], now))
        talk(at, phone=PHONE_HZ, b=TRUNK_HZ)

        assert packets == pytest.approx(50, abs=1)
        assert taken == ({TRUNK_HZ}, {PHONE_HZ})
        assert at.hears("phone") == {AGENT_HZ}
        assert at.hears("b") == {PHONE_HZ, AGENT_HZ}
        kinds = [event.kind for event in bot.told if isinstance(event, Told)]
        assert kinds == ["taken-over", "handed-back"]
        assert [event for event in bot.told if isinstance(event, Cleared)]


def test_who_listens_in_cuts_no_agent_short() -> None:
    bot = Bot()
    with scene(["agent:bot"], agent=bot) as at:
        call = begin(at)
        at.heard("phone")

        at.registry.command(
            call.id,
            lambda call, now: call.invite("b", plan(["trunk:b"]), None, Policy(Preset.LISTEN), now),
        )
        at.run(0.1)
        at.respond("b", 200, body=sdp(40_000))
        at.run(0.3)
        heard = at.heard("phone")

        pieces = [heard[at : at + 160] for at in range(0, len(heard) - 159, 160)]
        assert all(tone_level_dbfs(piece, 8000, AGENT_HZ) > -25 for piece in pieces)
        assert AGENT_HZ in at.hears("b")


def test_guest_whose_ears_break_ends_nobodys_call() -> None:
    bot = Bot()
    with scene(["trunk:a"], agent=bot) as at:
        call = at.call()
        at.respond("a", 200, body=sdp(40_000))
        (leg,) = at.registry.command(
            call.id,
            lambda call, now: call.invite(
                "coach", plan(["agent:bot"]), None, Policy(Preset.LISTEN), now
            ),
        )
        at.run(0.2)
        call.hub.join(leg, listener=Broken())

        talk(at, phone=PHONE_HZ, a=TRUNK_HZ)

        assert call.parties[leg].state is PartyState.ENDED
        assert at.hears("phone") == {TRUNK_HZ}
        assert at.hears("a") == {PHONE_HZ}
