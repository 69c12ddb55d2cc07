"""What a page may say, what it is told, and what becomes of its calls when it is gone."""

from __future__ import annotations

import pytest
from quart.testing.connections import WebsocketDisconnectError

from gateway.api.page import LEAVING_S, LOST_S, MAX_CALLS_PER_PAGE
from gateway.api.signalling import MAX_MESSAGE_CHARACTERS, MAX_MESSAGES_PER_S
from gateway.call.call import CallState
from gateway.call.events import CallEnded
from gateway.errors import Fault
from gateway.leg.leg import (
    Answered,
    Ended,
    EndReason,
    Gone,
    Held,
    Progressed,
    Resumed,
    Signalled,
)
from gateway.net.media import TransportState
from gateway.sdp.description import Direction
from tests.api.site import FakeNode, Page, new_app, open_page
from tests.leg.test_browser_leg import offer
from tests.support.legs import plan
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

LAB = "trunk:lab"


async def place(page: Page, name: str = "c1", to: str = "+15550100") -> None:
    await page.say("call", call=name, to=to, sdp=offer())


def ended(node: FakeNode) -> list[CallEnded]:
    return [event for event in node.exchange.events if isinstance(event, CallEnded)]


# ---- messages that are none


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad-json"),
        ("{", "bad-json"),
        ("[" * 10_000, "bad-json"),
        ("5", "bad-message"),
        ("[]", "bad-message"),
        ("{}", "bad-message"),
        ('{"type":"dance"}', "bad-message"),
        ('{"type":"ping","more":1}', "bad-message"),
        ('{"type":"call","call":"c 1","to":"x","sdp":"v=0"}', "bad-message"),
        ('{"type":"call","call":"' + "c" * 65 + '","to":"x","sdp":"v=0"}', "bad-message"),
        ('{"type":"call","call":"c","to":"","sdp":"v=0"}', "bad-message"),
        ('{"type":"call","call":"c","to":"x"}', "bad-message"),
        ('{"type":"call","call":"c","to":5,"sdp":"v=0"}', "bad-message"),
        ('{"type":"digit","call":"c","digit":"55"}', "bad-message"),
        ('{"type":"digit","call":"c","digit":"5","duration_ms":99999}', "bad-message"),
        ('{"type":"candidate","call":"c","candidate":"' + "x" * 600 + '"}', "bad-message"),
        ('{"type":"bye","call":"nobody"}', "unknown-call"),
        ('{"type":"accept","call":"nobody","sdp":"v=0"}', "unknown-call"),
        ("x" * (MAX_MESSAGE_CHARACTERS + 1), "too-long"),
        (b"\x00\x01", "not-text"),
        ('{"type":"ping"}'.encode("utf-16"), "not-text"),
    ],
)
@in_virtual_time
async def test_bad_message_gets_an_error_and_the_socket_stays(
    loop: VirtualLoop, text: str | bytes, code: str
) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        await page.say_text(text)
        await page.say("ping")

    assert [message["type"] for message in page.got] == ["hello", "error", "pong"]
    assert page.last("error")["code"] == code
    await node.close()


@in_virtual_time
async def test_flood_is_no_page_of_ours(loop: VirtualLoop) -> None:
    node = FakeNode(loop)

    async def flood() -> None:
        async with open_page(new_app(node)) as page:
            for _ in range(MAX_MESSAGES_PER_S + 1):
                await page._socket.send('{"type":"ping"}')
            await page.read()

    with pytest.raises(WebsocketDisconnectError) as caught:
        await flood()

    assert caught.value.args == (1008,)
    await node.close()


@in_virtual_time
async def test_as_many_messages_over_some_seconds_are_none(loop: VirtualLoop) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        for _ in range(3):
            for _ in range(MAX_MESSAGES_PER_S - 1):
                await page._socket.send('{"type":"ping"}')
            await elapse(1.1)
        await page.read()

    assert len(page.all("pong")) == 3 * (MAX_MESSAGES_PER_S - 1)
    await node.close()


# ---- a call


@in_virtual_time
async def test_call_is_answered_at_once_and_then_told_how_it_goes(loop: VirtualLoop) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        await place(page)
        assert page.got[1]["type"] == "answer"
        assert page.last("answer")["id"] == node.registry.calls()[0].id
        node.exchange.tell(LAB, Progressed(180, "Ringing"))
        node.exchange.tell(LAB, Answered())
        await page.read()
        node.exchange.tell(LAB, Ended(EndReason.HANGUP))
        node.exchange.tell(LAB, Gone())
        await page.read()

    assert page.last("progress")["status"] == 180
    assert page.all("answered")
    assert page.last("ended")["reason"] == "hangup"
    assert all(message.get("call", "c1") == "c1" for message in page.got)
    await node.close()


@in_virtual_time
async def test_ladder_begins_with_the_offer_and_has_both_lanes(loop: VirtualLoop) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        await place(page)
        await elapse(1.5)
        node.exchange.tell(LAB, Signalled(sent=False, text="180 Ringing"))
        await page.read()
        await page.say("bye", call="c1")
        await page.read()

    rungs = [(r["lane"], r["sent"], r["text"]) for r in page.all("ladder")]
    assert rungs[:4] == [
        ("browser", False, "offer"),
        ("browser", True, "answer"),
        ("peer", True, "INVITE"),
        ("peer", False, "180 Ringing"),
    ]
    assert ("browser", False, "bye") in rungs
    assert ("peer", True, "BYE") in rungs
    assert page.all("ladder")[3]["at_ms"] == pytest.approx(1500, abs=20)
    await node.close()


@in_virtual_time
async def test_quality_of_both_sides_is_told_every_two_seconds_until_the_end(
    loop: VirtualLoop,
) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        await place(page)
        node.exchange.tell(LAB, Answered())
        await elapse(9.9)
        await page.read()
        reports = page.all("quality")
        await page.say("bye", call="c1")
        page.got.clear()
        await elapse(10)
        await page.read()

    assert [set(report["legs"]) for report in reports[-4:]] == [{"browser", "peer"}] * 4
    assert len(reports) == 6  # at the offer, at the answer, and then four more
    assert not page.all("quality")
    await node.close()


@in_virtual_time
async def test_candidates_and_keys_reach_the_call(loop: VirtualLoop) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        await place(page)
        node.exchange.tell(LAB, Answered())
        line = "candidate:1 1 udp 1 192.0.2.9 9 typ host"
        await page.say("candidate", call="c1", candidate=line, ufrag="u")
        await page.say("candidate", call="c1", candidate="")
        await page.say("digit", call="c1", digit="5", duration_ms=120)
        await elapse(0.2)

    assert node.transports[0].candidates == [(line, "u")]
    assert node.exchange.legs[LAB].did[-2:] == ["digit 5 start", "digit 5 end"]
    await node.close()


@in_virtual_time
async def test_bye_ends_the_call_by_the_caller(loop: VirtualLoop) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        await place(page)
        node.exchange.tell(LAB, Answered())
        await page.say("bye", call="c1")
        await page.say("bye", call="c1")

    assert [(e.reason, e.fault) for e in ended(node)] == [(EndReason.HANGUP, Fault.CALLER)]
    assert len(page.all("ended")) == 1
    assert page.last("error")["code"] == "unknown-call"
    await node.close()


@in_virtual_time
async def test_page_has_a_few_calls_at_a_time_and_each_its_name(loop: VirtualLoop) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        for number in range(MAX_CALLS_PER_PAGE):
            await place(page, f"c{number}")
        await page.say("call", call="c0", to="+15550100", sdp=offer("firefox-audio"))
        assert page.last("error")["code"] == "call-exists"
        await place(page, "more")
        assert page.last("error")["code"] == "too-many-calls"
        await page.say("bye", call="c0")
        await place(page, "c0")

    assert len(page.all("answer")) == MAX_CALLS_PER_PAGE + 1
    await node.close()


# ---- hold


def holds(page: Page) -> list[str]:
    """What the page was told of holds, in order."""
    told = [message for message in page.got if message["type"] in ("held", "resumed")]
    return [" ".join([m["type"], m.get("who", ""), m.get("by", "")]).strip() for m in told]


@in_virtual_time
async def test_page_is_told_once_that_the_far_end_holds_and_that_it_no_longer_does(
    loop: VirtualLoop,
) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        await place(page)
        node.exchange.tell(LAB, Answered())
        node.exchange.tell(LAB, Held(Direction.SENDONLY))
        node.exchange.tell(LAB, Held(Direction.INACTIVE))
        node.exchange.tell(LAB, Resumed())
        await page.read()

    assert holds(page) == ["held you far-end", "resumed"]
    assert {message["call"] for message in page.all("held")} == {"c1"}
    await node.close()


@in_virtual_time
async def test_page_is_told_who_is_on_hold_and_by_whom(loop: VirtualLoop) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        await place(page)
        node.exchange.tell(LAB, Answered())
        (call,) = node.registry.calls()
        far = node.exchange.legs[LAB].id
        node.registry.hold(call.id)
        node.exchange.tell(LAB, Held(Direction.SENDONLY))
        node.registry.hold(call.id, on=False)
        node.exchange.tell(LAB, Resumed())
        node.registry.hold(call.id, leg=far)
        node.registry.hold(call.id, leg=far, on=False)
        await page.read()

    assert holds(page) == [
        "held you gateway",
        "held you far-end",
        "resumed",
        "held far-end gateway",
        "resumed",
    ]
    await node.close()


@in_virtual_time
async def test_hold_is_over_when_who_held_is_replaced(loop: VirtualLoop) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        await place(page)
        node.exchange.tell(LAB, Answered())
        node.exchange.tell(LAB, Held(Direction.INACTIVE))
        (call,) = node.registry.calls()
        node.registry.transfer(call.id, "+15550101", plan(["trunk:other"]))
        node.exchange.tell("trunk:other", Answered())
        await page.read()

    assert holds(page) == ["held you far-end", "resumed"]
    await node.close()


@in_virtual_time
async def test_page_that_hangs_up_on_hold_is_not_told_that_it_was_resumed(
    loop: VirtualLoop,
) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        await place(page)
        node.exchange.tell(LAB, Answered())
        node.exchange.tell(LAB, Held(Direction.INACTIVE))
        await page.say("bye", call="c1")
        await page.read()

    assert holds(page) == ["held you far-end"]
    assert page.all("ended")
    await node.close()


# ---- refused before it began


@in_virtual_time
async def test_call_that_leads_nowhere_ends_once_with_its_reason(loop: VirtualLoop) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        await place(page, to="nowhere")
        await place(page)

    (first,) = page.all("ended")
    assert (first["reason"], first["status"], first["fault"]) == ("not-found", 404, "caller")
    assert page.all("answer")
    await node.close()


@in_virtual_time
async def test_offer_without_a_use_ends_once_and_breaks_nothing(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        await page.say("call", call="c1", to="+15550100", sdp="v=0\r\n")
        await page.say("call", call="c1", to="+15550100", sdp=offer("sipp"))

    assert [message["type"] for message in page.got] == ["hello", "ended", "ended"]
    assert page.got[2]["reason"] == "no-common-codec"
    assert not [record for record in caplog.records if record.exc_info]
    await node.close()


@in_virtual_time
async def test_route_that_rejects_ends_the_call_before_any_answer(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    node = FakeNode(loop)
    node.plan = ["reject:486"]

    async with open_page(new_app(node)) as page:
        await place(page)

    assert not page.all("answer")
    assert [message["reason"] for message in page.all("ended")] == ["busy"]
    assert not page.all("quality")
    assert not [record for record in caplog.records if record.exc_info]
    assert [event.reason for event in ended(node)] == [EndReason.BUSY]
    await node.close()


@in_virtual_time
async def test_node_that_takes_no_more_calls_says_so(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    node.registry.drain()

    async with open_page(new_app(node)) as page:
        await place(page)

    (only,) = page.all("ended")
    assert (only["reason"], only["status"], only["fault"]) == ("overloaded", 503, "gateway")
    await node.close()


@in_virtual_time
async def test_bug_while_a_call_is_placed_ends_it_for_the_page(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node)) as page:
        node.breaks = True
        await place(page)
        node.breaks = False
        await place(page)

    assert [message["reason"] for message in page.all("ended")] == ["gateway-error"]
    assert page.all("answer")
    assert "could not be placed" in caplog.text
    await node.close()


# ---- the page is gone


@in_virtual_time
async def test_f16_page_that_leaves_has_a_few_seconds_to_come_back(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await place(page)
        node.exchange.tell(LAB, Answered())
        await page.say("leaving")
    call = node.registry.calls()[0]

    node.transports[0].on_state(TransportState.CLOSED)
    await elapse(LEAVING_S - 0.5)
    assert call.state is CallState.UP
    await elapse(1)

    assert [(e.reason, e.fault) for e in ended(node)] == [(EndReason.LEFT, Fault.CALLER)]
    await node.close()


@in_virtual_time
async def test_call_outlives_its_socket_for_a_while(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await place(page)
        node.exchange.tell(LAB, Answered())
    call = node.registry.calls()[0]

    await elapse(LOST_S - 1)
    assert call.state is CallState.UP
    await elapse(2)

    assert [(e.reason, e.fault) for e in ended(node)] == [(EndReason.LEFT, Fault.CALLER)]
    assert node.exchange.legs[LAB].did[-1] == "end left"
    assert node.transports[0].is_closed
    assert not [record for record in caplog.records if record.exc_info]
    await node.close()


@in_virtual_time
async def test_far_end_may_hang_up_after_the_socket_was_lost(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await place(page)
        node.exchange.tell(LAB, Answered())

    node.exchange.tell(LAB, Ended(EndReason.HANGUP))
    node.exchange.tell(LAB, Gone())
    await elapse(LOST_S + 1)

    assert [event.fault for event in ended(node)] == [Fault.CALLEE]
    assert node.transports[0].is_closed
    assert not [record for record in caplog.records if record.exc_info]
    await node.close()


@in_virtual_time
async def test_answer_after_the_socket_was_lost_does_not_lengthen_the_grace(
    loop: VirtualLoop,
) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await place(page)

    await elapse(1)
    node.exchange.tell(LAB, Answered())
    await elapse(LOST_S)

    assert [event.reason for event in ended(node)] == [EndReason.LEFT]
    await node.close()


@in_virtual_time
async def test_media_path_that_fails_after_the_socket_was_lost_ends_the_call(
    loop: VirtualLoop,
) -> None:
    node = FakeNode(loop)
    async with open_page(new_app(node)) as page:
        await place(page)
        node.exchange.tell(LAB, Answered())

    node.transports[0].on_state(TransportState.FAILED)

    assert [event.reason for event in ended(node)] == [EndReason.PATH_LOST]
    await node.close()


@in_virtual_time
async def test_pages_do_not_hear_of_each_others_calls(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)

    async with open_page(app) as one, open_page(app) as other:
        await place(one)
        await other.read()

    assert [message["type"] for message in other.got] == ["hello"]
    await node.close()
