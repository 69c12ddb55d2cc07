"""A page whose network changes, or that is reloaded, and its calls (behaviour F16, F17)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.ice_servers import IceServers
from gateway.api.page import KEPT_MESSAGES, LEAVING_S, LOST_S, RELOADED_S
from gateway.api.signalling import Pages
from gateway.call.call import CallState
from gateway.call.events import CallEnded
from gateway.leg.leg import (
    Answered,
    DigitPressed,
    Ended,
    EndReason,
    Gone,
    Phase,
    Progressed,
)
from gateway.net.media import TransportState
from gateway.private import Secret
from gateway.webrtc.turn import TurnOptions
from tests.api.site import FakeNode, Page, new_app, open_page
from tests.leg.test_browser_leg import offer
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

LAB = "trunk:lab"


async def place(page: Page, name: str = "c1", n: int | None = None) -> None:
    count = {} if n is None else {"n": n}
    await page.say("call", call=name, to="+15550100", sdp=offer(), **count)


async def talk(node: FakeNode, page: Page) -> None:
    await place(page)
    node.exchange.tell(LAB, Answered())
    node.transports[0].on_state(TransportState.CONNECTED)
    await page.read()


def token_of(page: Page) -> str:
    """What the page would come back with."""
    greetings = [m for m in page.got if m["type"] in ("hello", "attached")]
    token: str = greetings[-1]["page"]
    return token


def seen_by(page: Page) -> int:
    return max((message.get("n", 0) for message in page.got if message["type"] != "ack"), default=0)


def told_to_the_far_end(node: FakeNode) -> list[str]:
    return list(node.exchange.legs[LAB].did)


def ended(node: FakeNode) -> list[EndReason]:
    return [event.reason for event in node.exchange.events if isinstance(event, CallEnded)]


@asynccontextmanager
async def coming_back(node: FakeNode, token: str, seen: int | None = None) -> AsyncIterator[Page]:
    """Another socket of the page with that token; without `seen` it was reloaded."""
    async with open_page(new_app(node)) as page:
        await page.say("attach", token=token, **({} if seen is None else {"seen": seen}))
        yield page


# ---- another socket


@in_virtual_time
async def test_f17_page_that_comes_back_hears_what_it_missed_once(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await place(page)
        seen = seen_by(page)
    node.exchange.tell(LAB, Progressed(180, "Ringing"))
    node.exchange.tell(LAB, Answered())
    await elapse(LOST_S - 1)

    async with coming_back(node, token_of(page), seen) as again:
        assert [m["type"] for m in again.got[1:] if m["type"] not in ("ladder", "quality")] == [
            "attached",
            "progress",
            "answered",
        ]
        await elapse(2 * LOST_S)
        (call,) = node.registry.calls()
        assert call.state is CallState.UP
        await again.say("bye", call="c1")
        assert again.last("ended")["reason"] == "hangup"

    assert [m["n"] for m in again.got if "n" in m] == list(range(seen + 1, seen_by(again) + 1))
    assert len(node.transports) == 1
    await node.close()


@in_virtual_time
async def test_newest_socket_counts_and_the_old_one_is_let_go(loop: VirtualLoop) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        await talk(node, page)
        async with coming_back(node, token_of(page), seen_by(page)) as again:
            node.exchange.tell(LAB, DigitPressed("5", Phase.START))
            await again.read()
            assert again.last("digit")["digit"] == "5"
            with pytest.raises(Exception, match="1000"):
                await page.say("ping")

    await elapse(1)
    assert node.registry.calls()[0].state is CallState.UP
    await node.close()


@in_virtual_time
async def test_what_is_said_twice_over_two_sockets_is_done_once(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await place(page, n=1)
        node.exchange.tell(LAB, Answered())
        await page.say("digit", call="c1", digit="5", n=2)
        assert [ack["n"] for ack in page.all("ack")] == [1, 2]

    async with coming_back(node, token_of(page), seen_by(page)) as again:
        assert again.last("attached")["seen"] == 2
        await place(again, n=1)
        await again.say("digit", call="c1", digit="5", n=2)
        await again.say("digit", call="c1", digit="6", n=3)
        await elapse(0.3)

    assert [ack["n"] for ack in again.all("ack")] == [1, 2, 3]
    assert len(node.registry.calls()) == 1
    digits = [did for did in told_to_the_far_end(node) if did.startswith("digit")]
    assert digits == ["digit 5 start", "digit 5 end", "digit 6 start", "digit 6 end"]
    await node.close()


@given(
    cuts=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans()), min_size=1, max_size=6
    )
)
@settings(max_examples=15, deadline=None)
def test_keys_arrive_once_and_in_order_however_often_sockets_are_lost(
    cuts: list[tuple[int, int, bool]],
) -> None:
    """Each cut: keys said on the socket, how many of them the page thinks lost, and whether the
    page hears that it was let in again."""

    @in_virtual_time
    async def scenario(loop: VirtualLoop) -> None:
        node = FakeNode(loop)
        async with open_page(new_app(node)) as page:
            await talk(node, page)
        said, token, seen = 0, token_of(page), seen_by(page)

        for more, lost, is_let_in in cuts:
            async with coming_back(node, token, seen) as again:
                if not is_let_in:
                    continue
                token = token_of(again)
                first = max(1, said + 1 - lost)
                said += more
                for n in range(first, said + 1):
                    await again.say("digit", call="c1", digit=str(n % 10), duration_ms=40, n=n)
                seen = max(seen, seen_by(again))
            await elapse(2)  # keys that come at once are pressed one after another

        pressed = [did for did in told_to_the_far_end(node) if did.endswith("start")]
        assert pressed == [f"digit {n % 10} start" for n in range(1, said + 1)]
        await node.close()

    scenario()


@in_virtual_time
async def test_call_that_is_said_again_without_a_count_is_answered_again(
    loop: VirtualLoop,
) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        await place(page)
        await place(page)

    first, second = page.all("answer")
    assert first["sdp"] == second["sdp"]
    assert len(node.registry.calls()) == 1
    await node.close()


@in_virtual_time
async def test_call_that_ended_meanwhile_is_told_to_who_comes_back(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await talk(node, page)
    node.exchange.tell(LAB, Ended(EndReason.HANGUP))
    node.exchange.tell(LAB, Gone())
    await elapse(LOST_S - 1)

    async with coming_back(node, token_of(page), seen_by(page)) as again:
        assert again.last("ended")["reason"] == "hangup"
        assert again.last("attached")["calls"] == []

    await node.close()


@in_virtual_time
async def test_end_that_a_dead_socket_swallowed_is_told_over_the_next(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await talk(node, page)
        seen = seen_by(page)
        node.exchange.tell(LAB, Ended(EndReason.HANGUP))
        node.exchange.tell(LAB, Gone())

    async with coming_back(node, token_of(page), seen) as again:
        assert again.last("ended")["reason"] == "hangup"
        await again.say("call", call="c2", to="+15550100", sdp=offer())
        await again.say("bye", call="c2")

    await elapse(0.1)
    assert len(node.pages) == 0  # what it ended itself it need not be told
    await node.close()


@in_virtual_time
async def test_bye_ends_the_call_at_once_however_late_it_is_heard(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await talk(node, page)
    await elapse(LOST_S - 1)

    async with coming_back(node, token_of(page), seen_by(page)) as again:
        await again.say("bye", call="c1")

        assert ended(node) == [EndReason.HANGUP]
        assert told_to_the_far_end(node)[-1] == "end hangup"
    await node.close()


@in_virtual_time
async def test_what_is_kept_for_a_page_that_is_away_has_an_end(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await talk(node, page)
    for _ in range(KEPT_MESSAGES):
        node.exchange.tell(LAB, DigitPressed("5", Phase.START))
        node.exchange.tell(LAB, DigitPressed("5", Phase.END, 100))

    async with coming_back(node, token_of(page), seen_by(page)) as again:
        assert len(again.all("digit")) == KEPT_MESSAGES

    await node.close()


# ---- tokens


@in_virtual_time
async def test_token_is_good_for_one_return(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await talk(node, page)
    first = token_of(page)
    async with coming_back(node, first, 0) as again:
        await again.say("ping")

    async with coming_back(node, first, 0) as thief:
        assert thief.last("error")["code"] == "unknown-page"
        assert not thief.all("attached")
    async with coming_back(node, token_of(again), 0) as owner:
        assert owner.last("attached")["calls"][0]["call"] == "c1"

    assert len({first, token_of(again), token_of(owner)}) == 3
    await node.close()


@in_virtual_time
async def test_return_whose_answer_was_lost_may_be_said_again(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await talk(node, page)

    async with coming_back(node, token_of(page), 0) as lost:
        pass
    async with coming_back(node, token_of(page), 0) as again:
        assert again.all("attached")
        await again.say("ping")
    async with coming_back(node, token_of(lost), 0) as late:
        assert late.last("error")["code"] == "unknown-page"

    await node.close()


@pytest.mark.parametrize("token", ["", "gw9-guess", "x" * 200])
@in_virtual_time
async def test_who_has_no_token_gets_no_page(loop: VirtualLoop, token: str) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        await page.say("attach", token=token)
        await place(page)

    assert page.all("error")
    assert page.all("answer")
    await node.close()


@in_virtual_time
async def test_page_that_has_spoken_is_no_other_any_more(loop: VirtualLoop) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as one, open_page(new_app(node)) as other:
        await place(one)
        await other.say("ping")
        await other.say("attach", token=token_of(one), seen=0)
        assert other.last("error")["code"] == "attach-late"

    await node.close()


@in_virtual_time
async def test_token_of_a_page_that_was_given_up_is_worth_nothing(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await talk(node, page)
    await elapse(LOST_S + 2)

    async with coming_back(node, token_of(page)) as again:
        assert again.last("error")["code"] == "unknown-page"

    assert ended(node) == [EndReason.LEFT]
    assert len(node.pages) == 0
    await node.close()


@in_virtual_time
async def test_page_without_a_call_is_forgotten_with_its_socket(loop: VirtualLoop) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        await page.say("ping")

    await elapse(0.1)
    assert len(node.pages) == 0
    await node.close()


# ---- a reload


@in_virtual_time
async def test_f16_reloaded_page_resumes_its_call_and_the_far_end_is_told_nothing(
    loop: VirtualLoop,
) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await talk(node, page)
        await page.say("leaving")
    before = told_to_the_far_end(node)
    await elapse(LEAVING_S - 1)

    async with coming_back(node, token_of(page)) as again:
        (call,) = again.last("attached")["calls"]
        await again.say("resume", call="c1", sdp=offer("firefox-audio"))
        answer = again.last("answer")
        node.transports[1].on_state(TransportState.CONNECTED)
        await elapse(LOST_S + RELOADED_S)

        assert node.registry.calls()[0].state is CallState.UP

    assert (call["call"], call["id"], call["to"]) == ("c1", answer["id"], "+15550100")
    assert (call["state"], call["held"]) == ("in-call", None)
    assert call["answered_ms"] == pytest.approx(1000 * (LEAVING_S - 1), abs=200)
    assert [m["text"] for m in again.all("ladder")][:3] == ["offer", "answer", "INVITE"]
    assert node.transports[0].is_closed
    assert node.transports[1].accepted[0].ice_ufrag != node.transports[0].accepted[0].ice_ufrag
    assert told_to_the_far_end(node) == before
    await node.close()


@in_virtual_time
async def test_resume_that_is_said_again_is_answered_again(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await talk(node, page)

    async with coming_back(node, token_of(page)) as again:
        for _ in range(3):
            await again.say("resume", call="c1", sdp=offer("firefox-audio"))

    assert len({answer["sdp"] for answer in again.all("answer")}) == 1
    assert len(again.all("answer")) == 3
    assert len(node.transports) == 2
    await node.close()


@in_virtual_time
async def test_resume_that_cannot_be_leaves_the_call_waiting(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await talk(node, page)

    async with coming_back(node, token_of(page)) as again:
        await again.say("resume", call="c1", sdp="v=0\r\n")
        assert again.last("error")["code"] == "refused"
        await again.say("resume", call="c1", sdp=offer("firefox-audio"))
        assert again.all("answer")

    await node.close()


@in_virtual_time
async def test_reloaded_page_that_never_offers_loses_its_call(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await talk(node, page)
        await page.say("leaving")

    async with coming_back(node, token_of(page)) as again:
        await elapse(RELOADED_S - 1)
        assert node.registry.calls()[0].state is CallState.UP
        await elapse(2)
        await again.read()

    assert ended(node) == [EndReason.LEFT]
    assert again.last("ended")["reason"] == "left"
    await node.close()


@in_virtual_time
async def test_call_that_rings_while_its_page_reloads_is_still_ringing(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await place(page)
        node.exchange.tell(LAB, Progressed(180, "Ringing"))

    async with coming_back(node, token_of(page)) as again:
        (call,) = again.last("attached")["calls"]
        await again.say("resume", call="c1", sdp=offer("firefox-audio"))
        node.exchange.tell(LAB, Answered())
        await again.read()

    assert (call["state"], call["status"], call["answered_ms"]) == ("ringing", 180, None)
    assert again.all("answered")
    await node.close()


@in_virtual_time
async def test_reloaded_page_counts_from_one_again(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await place(page, n=1)
        node.exchange.tell(LAB, Answered())
        await page.say("digit", call="c1", digit="5", n=2)

    async with coming_back(node, token_of(page)) as again:
        assert again.last("attached")["seen"] == 0
        await again.say("bye", call="c1", n=1)

    assert ended(node) == [EndReason.HANGUP]
    await node.close()


# ---- restarts


@in_virtual_time
async def test_restart_of_the_page_is_answered_and_the_far_end_is_told_nothing(
    loop: VirtualLoop,
) -> None:
    node = FakeNode(loop)
    restart = offer().replace("a=ice-ufrag:", "a=ice-ufrag:new")

    async with open_page(new_app(node)) as page:
        await talk(node, page)
        before = told_to_the_far_end(node)
        await page.say("offer", call="c1", sdp=restart)
        await page.say("offer", call="c1", sdp=restart)

    first, second, third = page.all("answer")
    assert second["id"] == first["id"]
    assert second["sdp"] == third["sdp"]
    assert [media.ice_ufrag for media in node.transports[0].accepted][1:] == [
        node.transports[0].accepted[1].ice_ufrag
    ]
    assert told_to_the_far_end(node) == before
    await node.close()


@in_virtual_time
async def test_restart_is_offered_over_the_socket_that_the_page_has_now(
    loop: VirtualLoop,
) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await talk(node, page)
    node.transports[0].on_state(TransportState.DISCONNECTED)

    async with coming_back(node, token_of(page), seen_by(page)) as again:
        assert len(again.all("offer")) == 1
        await again.say("answer", call="c1", sdp="v=0\r\n")
        assert again.last("error")["code"] == "refused"
        node.transports[0].on_state(TransportState.CONNECTED)

    assert node.registry.calls()[0].state is CallState.UP
    await node.close()


# ---- TURN


@in_virtual_time
async def test_credentials_for_turn_come_first_and_are_renewed_in_time(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    options = TurnOptions(("turn:turn.example.com",), Secret("s3cret"), ttl_s=600)
    node.pages = Pages(node, IceServers(options))

    async with open_page(new_app(node)) as page:
        await elapse(301)
        await page.read()
        await elapse(300)
        await page.read()

    told = [page.last("hello"), *page.all("ice-servers")]
    servers = [each["ice_servers"][0] for each in told]
    assert len(servers) == 3
    assert {server["urls"][0] for server in servers} == {"turn:turn.example.com"}
    assert len({server["username"] for server in servers}) == 3
    await node.close()


# ---- a call to the page


@in_virtual_time
async def test_page_that_accepts_a_call_is_told_that_it_talks(loop: VirtualLoop) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        node.ring("in-1")
        await page.read()
        assert page.last("incoming")["call"] == "in-1"
        await page.say("accept", call="in-1", sdp=offer())
        await page.say("accept", call="in-1", sdp=offer())

    kinds = [m["type"] for m in page.got if m["type"] not in ("ladder", "quality", "hello")]
    assert kinds == ["incoming", "answer", "answered", "answer"]
    assert node.exchange.legs["caller"].did[-1] == "answer"
    await node.close()


@in_virtual_time
async def test_page_that_reloads_while_it_is_called_is_still_called(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        node.ring("in-1")
        await page.read()

    async with coming_back(node, token_of(page)) as again:
        (call,) = again.last("attached")["calls"]
        await elapse(LOST_S + 5)
        await again.say("accept", call="in-1", sdp=offer())
        assert again.all("answered")

    assert (call["state"], call["direction"]) == ("incoming", "in")
    await node.close()
