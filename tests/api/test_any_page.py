"""Pages that say anything at any time, over sockets that come and go: nothing breaks or stays."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.leg.leg import Answered, Ended, EndReason, Gone
from gateway.net.media import TransportState
from tests.api.site import FakeNode, Page, new_app, open_page
from tests.leg.test_browser_leg import offer
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

LAB = "trunk:lab"
OFFERS = (offer(), offer("firefox-audio"), offer("sipp"), "v=0\r\n", "x")

names = st.sampled_from(["c1", "c2", "nobody"])
counts = st.none() | st.integers(1, 6)
sdps = st.sampled_from(OFFERS)
messages = st.one_of(
    st.tuples(
        st.sampled_from(["call", "accept", "offer", "answer", "resume"]), names, counts, sdps
    ),
    st.tuples(st.sampled_from(["bye", "decline", "candidate", "digit"]), names, counts),
    st.tuples(st.sampled_from(["leaving", "ping"]), counts),
)
happenings = st.sampled_from(["answered", "hung up", "connected", "disturbed", "closed", "wait"])
steps = st.lists(messages | happenings, max_size=8)
sockets = st.lists(st.tuples(st.sampled_from(["new", "moved", "reloaded"]), steps), max_size=5)


async def say(page: Page, message: tuple[Any, ...]) -> None:
    """One message, well-formed or not what is wanted now."""
    kind, *rest = message
    fields: dict[str, Any] = {}
    if kind not in ("leaving", "ping"):
        fields["call"], *rest = rest
    if rest[0] is not None:
        fields["n"] = rest[0]
    if len(rest) > 1:
        fields["sdp"] = rest[1]
    fields |= {
        "call": {"to": "+15550100"},
        "digit": {"digit": "5"},
        "candidate": {"candidate": "candidate:1 1 udp 1 192.0.2.9 9 typ host"},
    }.get(kind, {})
    await page.say(kind, **fields)


async def happen(node: FakeNode, what: str) -> None:
    """Something that is not the page's doing."""
    legs = [leg for name, leg in node.exchange.legs.items() if name == LAB]
    match what:
        case "wait":
            await elapse(4)
        case "answered" if legs:
            legs[-1].on_event(Answered())
        case "hung up" if legs and "end" not in " ".join(legs[-1].did):
            legs[-1].on_event(Ended(EndReason.HANGUP))
            legs[-1].on_event(Gone())
        case "connected" | "disturbed" | "closed" if node.transports:
            state = {
                "connected": TransportState.CONNECTED,
                "disturbed": TransportState.DISCONNECTED,
                "closed": TransportState.CLOSED,
            }[what]
            node.transports[-1].on_state(state)


def test_nothing_that_pages_say_breaks_or_stays(caplog: pytest.LogCaptureFixture) -> None:
    @given(sockets)
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def play(sockets: list[tuple[str, list[Any]]]) -> None:
        @in_virtual_time
        async def scenario(loop: VirtualLoop) -> None:
            node, app, token = FakeNode(loop), None, ""
            app = new_app(node)
            for how, said in sockets:
                async with open_page(app) as page:
                    if how != "new" and token:
                        seen = {"seen": 0} if how == "moved" else {}
                        await page.say("attach", token=token, **seen)
                    for step in said:
                        if isinstance(step, str):
                            await happen(node, step)
                        else:
                            await say(page, step)
                    await page.say("ping")
                    assert page.got[-1]["type"] == "pong"
                    token = next(m["page"] for m in reversed(page.got) if "page" in m)
            await node.close()

        scenario()

    caplog.set_level(logging.ERROR)
    play()
    assert not caplog.records
