"""JsSIP and SIP.js in a real browser: softphones that speak SIP over WebSocket."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page

from tests.support.browser import WAIT_AT_MOST_MS
from tests.support.gateway import Gateway

FOLDER = Path(__file__).parents[1] / "softphone"
BUNDLES = FOLDER / ".made"
MAKES = ("jssip", "sipjs")


@cache
def bundle(make: str) -> str:
    """The script of one make, in one file."""
    target = BUNDLES / f"{make}.js"
    subprocess.run(
        [
            str(FOLDER / "node_modules/.bin/esbuild"),
            str(FOLDER / f"{make}.js"),
            "--bundle",
            "--log-level=error",
            f"--outfile={target}",
        ],
        check=True,
        timeout=60,
    )
    return target.read_text(encoding="utf-8")


class Softphone:
    """One browser softphone."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def register(
        self, gateway: Gateway, user: str, password: str, *, expect: str = "registered"
    ) -> None:
        """Register over the gateway's WebSocket, and wait for the outcome."""
        await self.page.evaluate(
            "(options) => void window.phone.start(options)",
            {
                "socket": gateway.url.replace("http", "ws") + "/v1/sip",
                "uri": f"sip:{user}@localhost",
                "password": password,
            },
        )
        await self.wait_for(expect)

    async def dial(self, to: str) -> None:
        """Call; returns at once."""
        await self.page.evaluate("(to) => void window.phone.dial(to)", f"sip:{to}@localhost")

    async def do(self, command: str) -> None:
        """One of answer, hold, resume, hangUp, stop; waits for what it promises."""
        await self.page.evaluate(f"async () => void (await window.phone.{command}())")

    async def wait_for(self, state: str) -> None:
        """Until the phone is there, or 8 s."""
        try:
            await self.page.wait_for_function(
                "(state) => window.phone.state === state", arg=state, timeout=WAIT_AT_MOST_MS
            )
        except Exception as error:
            now = await self.read("[phone.state, phone.failures.map(String)]")
            raise AssertionError(f"the softphone is {now}, not {state}") from error

    async def read(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        return await self.page.evaluate(expression)


@asynccontextmanager
async def open_softphone(browser: Browser, gateway: Gateway, make: str) -> AsyncIterator[Softphone]:
    """A softphone in a page of the gateway's own origin, not yet registered."""
    context = await browser.new_context()
    try:
        page = await context.new_page()
        # A document that really came from this machine: one that the test makes up counts as of
        # the public Internet, which may open no socket to loopback.
        await page.goto(f"{gateway.url}/healthz")
        await page.evaluate(bundle(make))
        yield Softphone(page)
    finally:
        await context.close()
