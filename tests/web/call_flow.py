"""The first steps of a call, for tests of what follows them."""

from __future__ import annotations

from playwright.async_api import Locator, Page, expect

from tests.web.fake_gateway import FakeGateway, Message
from tests.web.far_end import FarEnd


def state_of(page: Page) -> Locator:
    """Where the page says in words how it goes."""
    return page.locator("#state")


def button(page: Page, name: str) -> Locator:
    """Find a button by the name that a screen reader says."""
    return page.get_by_role("button", name=name, exact=True)


def destination(page: Page) -> Locator:
    """Find the field for the number or name."""
    return page.get_by_role("combobox", name="Number or name")


async def connected(page: Page) -> None:
    """Wait until the page speaks with its gateway."""
    await expect(page.locator("#link-words")).to_have_text("connected")


async def dial(page: Page, gateway: FakeGateway, to: str = "+15550100") -> Message:
    """Enter a number and press Call; return the page's `call` message."""
    await destination(page).fill(to)
    await button(page, "Call").click()
    return await gateway.hear("call")


async def talk(page: Page, gateway: FakeGateway, far_end: FarEnd, *, digits: bool = True) -> str:
    """Place a call and have it answered; return its id."""
    offer = await dial(page, gateway)
    await far_end.answer(gateway, offer, digits=digits)
    call: str = offer["call"]
    await gateway.say("answered", call=call, codec={"browser": "opus", "peer": "PCMU"})
    await expect(state_of(page)).to_have_text("In call")
    return call


async def say_ended(
    gateway: FakeGateway,
    call: str,
    reason: str = "hangup",
    *,
    status: int = 0,
    text: str = "",
    fault: str = "callee",
) -> None:
    """End the call from the gateway's side."""
    await gateway.say("ended", call=call, reason=reason, status=status, text=text, fault=fault)
