"""The walk-through of the design, as far as it is calls: SIP, agents and media together.

A phone calls the gateway, which calls trunks and agents. Only the sockets are of paper. What is
media alone has its own walk-through, beside the hub's tests.
"""

from __future__ import annotations

import pytest

from gateway.agents.agent import AgentCall
from gateway.call.call import CallState
from gateway.call.events import CallAnswered, CallDigit
from gateway.errors import Fault
from gateway.leg.leg import EndReason
from gateway.observe.ladder import Ladder
from gateway.rtp.dtmf import DIGITS
from gateway.sip import event as sip
from tests.media.sound import tone
from tests.support.scene import AGENT_HZ, PHONE_HZ, TRUNK_HZ, scene
from tests.support.sip_legs import sdp


def test_plain_bridge() -> None:
    with scene(["trunk:a"]) as at:
        call = at.call()
        at.respond("a", 180)
        at.respond("a", 200, body=sdp(40_000))
        at.speak(0.4, phone=PHONE_HZ, a=TRUNK_HZ)

        assert call.state is CallState.UP
        assert at.phone_got() == [180, 200]
        assert at.hears("phone") == {TRUNK_HZ}
        assert at.hears("a") == {PHONE_HZ}

        at.hang_up()
        assert at.peers["a"].got("BYE")
        assert (at.ended().reason, at.ended().fault) == (EndReason.HANGUP, Fault.CALLER)


def test_bridge_of_one_codec_relays_payloads_untouched() -> None:
    with scene(["trunk:a"]) as at:
        at.call()
        at.respond("a", 200, body=sdp(40_000))
        payload = bytes(range(160))
        at.packet("phone", 0, payload)

        assert at.boxes["a"].transport.packets[-1].payload == payload


def test_bridge_of_two_codecs_is_transcoded() -> None:
    with scene(["trunk:a"]) as at:
        at.call()
        at.respond("a", 200, body=sdp(40_000, codecs="8 101"))
        at.boxes["a"].transport.sent.clear()
        at.speak(0.4, phone=PHONE_HZ)

        sent = at.boxes["a"].transport.packets
        assert {packet.payload_type for packet in sent} == {8}
        assert len(sent) == 20


def test_fork_rings_together_and_the_first_answer_wins() -> None:
    with scene(["trunk:a", "trunk:b"]) as at:
        at.call()
        at.respond("a", 180)
        at.respond("b", 180)
        at.respond("b", 200, body=sdp(40_000))
        at.respond("a", 487)
        at.speak(0.2, phone=PHONE_HZ)

        assert at.peers["a"].got("CANCEL")
        assert at.hears("b") == {PHONE_HZ}
        assert at.hears("a") == set()


def test_two_who_give_early_media_are_heard_and_do_not_hear_each_other() -> None:
    with scene(["trunk:a", "trunk:b"]) as at:
        at.call()
        at.respond("a", 183, body=sdp(40_000))
        at.respond("b", 183, body=sdp(42_000))
        at.speak(0.4, a=TRUNK_HZ, b=AGENT_HZ)

        assert at.hears("phone") == {TRUNK_HZ, AGENT_HZ}
        assert at.hears("a") == at.hears("b") == set()


def test_several_early_dialogs_of_one_target() -> None:
    with scene(["trunk:a"]) as at:
        at.call()
        at.respond("a", 183, "x", sdp(40_000))
        at.respond("a", 183, "y", sdp(42_000))
        at.respond("a", 200, "x", sdp(40_000))

        assert [media.port for media in at.boxes["a"].transport.accepted] == [
            40_000,
            42_000,
            40_000,
        ]
        assert at.phone_got()[-1] == 200


@pytest.mark.parametrize("status", [408, 500, 503])
def test_failover_before_the_answer(status: int) -> None:
    with scene(["trunk:a"], ["trunk:b"]) as at:
        at.call()
        at.respond("a", status)
        at.respond("b", 200, body=sdp(40_000))
        at.speak(0.2, phone=PHONE_HZ)

        assert at.phone_got() == [200]
        assert at.hears("b") == {PHONE_HZ}


def test_f2_failover_of_a_target_that_is_silent_for_4_s() -> None:
    with scene(["trunk:a"], ["trunk:b"]) as at:
        at.call()
        at.run(3.8)
        assert "b" not in at.peers

        at.run(0.2)
        at.respond("b", 200, body=sdp(40_000))

        assert at.phone_got()[-1] == 200


def test_f2_last_target_that_is_silent_has_more_time() -> None:
    with scene(["trunk:a"], ["trunk:b"]) as at:
        at.call()
        at.run(4 + 25)
        assert not at.phone_got()

        at.respond("b", 200, body=sdp(40_000))

        assert at.phone_got() == [200]


def test_no_failover_once_early_media_was_heard() -> None:
    with scene(["trunk:a"], ["trunk:b"]) as at:
        at.call()
        at.respond("a", 183, body=sdp(40_000))
        at.respond("a", 503)

        assert "b" not in at.peers
        assert at.phone_got() == [183, 503]


def test_gravest_word_decides_whatever_came_last() -> None:
    with scene(["trunk:a", "trunk:b"], ["trunk:c"]) as at:
        at.call()
        at.respond("a", 486)
        at.respond("b", 503)

        assert "c" not in at.peers
        assert at.phone_got() == [486]


def test_caller_that_hangs_up_during_failover_stops_the_hunt() -> None:
    with scene(["trunk:a"], ["trunk:b"], ["trunk:c"]) as at:
        at.call()
        at.respond("a", 503)
        at.hang_up()
        at.respond("b", 487)

        assert at.peers["b"].got("INVITE")
        assert "c" not in at.peers
        assert at.ended().reason is EndReason.CANCELLED


def test_late_offer() -> None:
    with scene(["trunk:a"]) as at:
        at.call(offer=None)
        at.respond("a", 200, body=sdp(40_000))
        at.bench.calling.ack(sdp(30_000), at.bench.wire.now)
        at.run(0.06)
        at.speak(0.2, phone=PHONE_HZ, a=TRUNK_HZ)

        assert at.hears("phone") == {TRUNK_HZ}
        assert at.hears("a") == {PHONE_HZ}


def test_agent_answers_speaks_is_interrupted_and_says_goodbye() -> None:
    async def attend(call: AgentCall) -> None:
        await call.say(tone(AGENT_HZ, 5.0, 8000), 8000)
        key = await call.digit()
        cleared = call.clear()
        seen.append((key, round(cleared.played_ms, -2)))
        await call.say(tone(AGENT_HZ, 0.4, 8000), 8000)
        await call.hang_up()

    seen: list[tuple[str, float]] = []
    with scene(["agent:sales"], agent=attend) as at:
        at.call()
        at.run(1)
        assert at.hears("phone") == {AGENT_HZ}
        at.press("phone", "1")
        at.run(1)

        assert seen[0][0] == "1"
        assert 1000 <= seen[0][1] <= 1400
        assert len(at.boxes["phone"].transport.packets) >= 19
        assert at.bench.phone.all(sip.Ended)
        assert (at.ended().reason, at.ended().fault) == (EndReason.HANGUP, Fault.CALLEE)


def test_agent_that_breaks_before_it_answers_fails_over() -> None:
    async def attend(call: AgentCall) -> None:
        raise RuntimeError("bug")

    with scene(["agent:sales"], ["trunk:b"], agent=attend) as at:
        at.call()
        at.respond("b", 200, body=sdp(40_000))

        assert at.phone_got() == [200]


def test_agent_that_breaks_in_the_call_ends_it_and_no_other() -> None:
    async def attend(call: AgentCall) -> None:
        await call.answer()
        await call.digit()
        raise RuntimeError("bug")

    with scene(["agent:sales"], agent=attend) as at:
        at.call()
        at.press("phone", "1")
        at.run(0.2)

        assert (at.ended().reason, at.ended().fault) == (EndReason.AGENT_FAILED, Fault.AGENT)
        assert at.bench.phone.all(sip.Ended)


def test_long_press_goes_through_as_long_as_it_is() -> None:
    with scene(["trunk:a"]) as at:
        at.call()
        at.respond("a", 200, body=sdp(40_000))
        at.press("phone", "5", ms=1000)
        at.run(0.3)

        events = [p.payload for p in at.boxes["a"].transport.packets if p.payload_type == 101]
        assert {payload[0] for payload in events} == {5}
        duration_ms = int.from_bytes(events[-1][2:], "big") / 8
        assert duration_ms == pytest.approx(1000, abs=61)
        assert [e.phase.value for e in at.events if isinstance(e, CallDigit)] == ["start", "end"]


def test_keys_with_a_pause_between_them() -> None:
    async def attend(call: AgentCall) -> None:
        await call.answer()
        await call.send_digits("1w2#")
        await call.digit()

    with scene(["agent:sales"], agent=attend) as at:
        at.call()
        at.run(3)

        payloads = [p.payload for p in at.boxes["phone"].transport.packets if p.payload_type == 101]
        keys = [DIGITS[payload[0]] for payload in payloads if payload[1] & 0x80]
        assert keys == list("111222###")


def test_drain_lets_calls_go_on_and_takes_no_more() -> None:
    with scene(["trunk:a"]) as at:
        at.call()
        at.respond("a", 200, body=sdp(40_000))
        at.registry.drain()
        at.run(5)
        at.heard("a")
        at.speak(0.2, phone=PHONE_HZ)

        assert at.hears("a") == {PHONE_HZ}
        assert [call.state for call in at.registry.calls()] == [CallState.UP]


def test_ladder_has_one_arrow_for_each_message_as_either_side_sees_it() -> None:
    with scene(["trunk:a"]) as at:
        call = at.call()
        at.respond("a", 200, body=sdp(40_000))
        at.hang_up()
        caller, callee = call.parties
        ladders = [Ladder(caller), Ladder(callee)]

        rungs = [[r for e in at.events if (r := ladder.fold(e))] for ladder in ladders]

        near = [(r.sent, r.text) for r in rungs[0] if r.lane == "browser"]
        far = [(r.sent, r.text) for r in rungs[0] if r.lane == "peer"]
        assert near[0] == (False, "INVITE")
        assert far[0] == (True, "INVITE")
        assert (False, "BYE") in near
        assert (True, "BYE") in far
        assert [(r.sent, r.text) for r in rungs[1] if r.lane == "browser"] == far
        assert [r.at_ms for r in rungs[0]] == sorted(r.at_ms for r in rungs[0])
        assert [e.leg for e in at.events if isinstance(e, CallAnswered)] == [callee]
