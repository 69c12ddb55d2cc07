"""What an agent may have done to whom it talks with: hold, transfer, and silence on the wire.

From the agent's own words to what a phone is sent; only the sockets are of paper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.agents.agent import AgentCall
from gateway.call.call import CallState
from gateway.call.events import TransferEnded
from gateway.leg.leg import EndReason
from gateway.leg.sip import SipLegOptions
from gateway.media.tone import MELODY_HZ, tone_level_dbfs
from gateway.sdp.description import Direction, parse_sdp
from gateway.sip import event as sip
from tests.media.sound import Pcm, tone
from tests.support.scene import AGENT_HZ, PHONE_HZ, Scene, scene
from tests.support.sip_legs import sdp

Work = Callable[[AgentCall], Awaitable[None]]


def take(at: Scene, *, refers: bool = True) -> None:
    """The phone calls the agent, which answers; by `refers` the phone may be sent a REFER."""
    at.bench.given["options"] = SipLegOptions(sends_refer=refers, signals_hold=True)
    at.call()
    at.run(0.1)


def listen(at: Scene, seconds: float) -> Pcm:
    """What the phone is sent while that much time passes."""
    at.heard("phone")
    at.run(seconds)
    return at.heard("phone")


def has_music(pcm: Pcm) -> bool:
    pieces = [pcm[at : at + 800] for at in range(0, len(pcm), 800)]
    return any(tone_level_dbfs(piece, 8000, hz) > -35 for piece in pieces for hz in MELODY_HZ)


async def measure(call: AgentCall, heard: list[float]) -> None:
    """How loud the agent hears the phone's tone, frame by frame."""
    async for frame in call.hear():
        level = tone_level_dbfs(frame.pcm(8000), 8000, PHONE_HZ)
        heard.append(level)


def directions(at: Scene) -> list[Direction]:
    """What the phone was offered anew."""
    offers = [event.sdp or b"" for event in at.bench.phone.all(sip.Reoffered)]
    return [parse_sdp(offer).media[0].direction for offer in offers]


def agree(at: Scene, more: str = "") -> None:
    """The phone answers the last offer."""
    at.bench.phone_session.accept_reoffer(sdp(30_000, more=more), at.bench.wire.now)
    at.run(0.1)


# ---- hold


def test_agent_holds_whom_it_talks_with_and_resumes() -> None:
    heard: list[float] = []

    async def work(call: AgentCall) -> None:
        await call.hold()
        await asyncio.sleep(2)
        await call.hold(on=False)
        await measure(call, heard)

    with scene(["agent:desk"], agent=work) as at:
        take(at)
        agree(at, "a=recvonly\r\n")
        music = listen(at, 1.5)
        at.run(0.5)
        agree(at)
        at.speak(0.4, phone=PHONE_HZ)

        assert directions(at) == [Direction.SENDONLY, Direction.SENDRECV]
        assert has_music(music)
        assert not has_music(listen(at, 1))
        assert max(heard) > -20


def test_neither_hears_the_other_while_an_agent_holds() -> None:
    heard: list[float] = []

    async def work(call: AgentCall) -> None:
        await call.hold()
        await call.say(tone(AGENT_HZ, 3, 8000), 8000)
        await measure(call, heard)

    with scene(["agent:desk"], agent=work) as at:
        take(at)
        agree(at, "a=recvonly\r\n")
        at.heard("phone")
        at.speak(0.4, phone=PHONE_HZ)

        assert AGENT_HZ not in at.hears("phone")
        assert max(heard, default=-100.0) < -40


# ---- transfer


def test_party_that_takes_refer_is_asked_to_call_and_the_agent_is_let_go() -> None:
    failed: list[int] = []

    async def work(call: AgentCall) -> None:
        failed.append(await call.refer("bob"))

    with scene(["agent:desk"], agent=work) as at:
        take(at)
        asked = at.bench.phone.one(sip.ReferAsked)
        asked.session.accept_refer(at.bench.wire.now)
        asked.session.notify_refer(180, "Ringing", at.bench.wire.now)
        at.run(0.5)
        assert len(at.registry.calls()) == 1
        asked.session.notify_refer(200, "OK", at.bench.wire.now)
        at.run(1.5)

        assert asked.target.user == "bob"
        assert "bob" not in at.peers
        assert at.bench.phone.one(sip.Ended).cause is sip.EndCause.BYE
        assert at.ended().reason is EndReason.TRANSFERRED
        assert failed == []


def test_for_a_party_that_takes_none_we_call_and_the_agent_is_let_go() -> None:
    failed: list[int] = []

    async def work(call: AgentCall) -> None:
        failed.append(await call.refer("b"))

    with scene(["agent:desk"], agent=work) as at:
        take(at, refers=False)
        at.respond("b", 180)
        at.respond("b", 200, body=sdp(44_000))
        at.run(0.2)
        at.heard("phone")
        at.speak(0.4, phone=PHONE_HZ, b=AGENT_HZ)

        assert at.hears("phone") == {AGENT_HZ}
        assert at.hears("b") == {PHONE_HZ}
        assert at.registry.calls()[0].state is CallState.UP
        assert failed == []


@pytest.mark.parametrize("refers", [True, False])
def test_transfer_that_fails_is_told_to_the_agent_which_goes_on(refers: bool) -> None:
    failed: list[int] = []

    async def work(call: AgentCall) -> None:
        failed.append(await call.refer("b"))
        failed.append(await call.refer("b"))

    with scene(["agent:desk"], agent=work) as at:
        take(at, refers=refers)
        if refers:
            asked = at.bench.phone.one(sip.ReferAsked)
            asked.session.refuse_refer(603, at.bench.wire.now)
        else:
            at.respond("b", 603)
        at.run(0.2)
        first = list(failed)
        transfers = [e.status for e in at.events if isinstance(e, TransferEnded)]

        assert first == [603]
        assert transfers == [603]
        assert len(at.registry.calls()) == 1


def test_routes_decide_where_an_agent_may_send_somebody() -> None:
    failed: list[int] = []
    asked: list[tuple[str, str]] = []

    async def work(call: AgentCall) -> None:
        failed.append(await call.refer("+1900555"))
        await call.say(tone(AGENT_HZ, 3, 8000), 8000)

    with scene(["agent:desk"], agent=work) as at:
        at.refuses = asked
        take(at)
        at.heard("phone")
        at.run(0.4)

        assert asked == [("agent:desk", "+1900555")]
        assert failed == [404]
        assert not at.bench.phone.all(sip.ReferAsked)
        assert at.hears("phone") == {AGENT_HZ}


def test_second_transfer_at_the_same_time_is_refused() -> None:
    failed: list[int] = []

    async def work(call: AgentCall) -> None:
        first = asyncio.ensure_future(call.refer("b"))
        await asyncio.sleep(0.01)
        failed.append(await call.refer("c"))
        failed.append(await first)

    with scene(["agent:desk"], agent=work) as at:
        take(at, refers=False)
        at.run(0.1)
        before = list(failed)
        at.respond("b", 486)
        at.run(0.1)

        assert before == [491]
        assert failed == [491, 486]
        assert "c" not in at.peers


def test_agent_that_leaves_while_it_transfers_does_not_end_the_transfer() -> None:
    async def work(call: AgentCall) -> None:
        asyncio.get_running_loop().call_later(0.2, gone.set)
        transfer = asyncio.ensure_future(call.refer("b"))
        await gone.wait()
        transfer.cancel()

    with scene(["agent:desk"], agent=work) as at:
        gone = asyncio.Event()
        take(at, refers=False)
        at.run(0.5)
        at.respond("b", 200, body=sdp(44_000))
        at.run(0.2)
        at.heard("phone")
        at.speak(0.4, phone=PHONE_HZ, b=AGENT_HZ)

        assert at.hears("phone") == {AGENT_HZ}


# ---- silence on the wire


def test_party_whose_media_an_agent_stops_gets_no_packet_and_is_still_heard() -> None:
    heard: list[float] = []

    async def work(call: AgentCall) -> None:
        await call.stop_media()
        await call.say(tone(AGENT_HZ, 30, 8000), 8000)
        await measure(call, heard)

    with scene(["agent:desk"], agent=work) as at:
        take(at)
        transport = at.boxes["phone"].transport
        before = len(transport.sent)
        at.speak(12, phone=PHONE_HZ)  # RTCP is due by then
        at.bench.calling.reoffer(sdp(32_000), at.bench.wire.now)
        at.speak(1, phone=PHONE_HZ)
        at.hang_up()

        assert len(transport.sent) == before
        assert max(heard) > -20
