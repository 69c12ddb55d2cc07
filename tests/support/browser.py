"""A real Chromium, driven by playwright: one browser for many tests, a fresh context for each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

EXECUTABLE = "/usr/bin/chromium"
"Debian's; playwright's own download is not needed."

CLOSE_WITHIN_S = 10.0
"A browser that does not close by then is left to the end of playwright's own process."

WAIT_AT_MOST_MS = 8_000
"How long a locator or an expectation waits before the test fails."

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(frozen=True, slots=True)
class BrowserOptions:
    """What kind of machine the person sits at."""

    microphone: bool = True
    "Chromium's fake one: a beep each second, or `speaks`. Without it there is none at all."
    refuses: bool = False
    "Whether the question for the microphone is answered with no."
    speaks: Path | None = None
    "A WAV file that the microphone hears instead of the beeps."
    repeats: bool = False
    "Whether that file starts again at its end; otherwise silence follows it."
    hosts: tuple[tuple[str, str], ...] = ()
    "Names and the addresses they stand for."
    executable: str = EXECUTABLE
    "What starts Chromium, e.g. on another machine."

    def arguments(self) -> list[str]:
        """Chromium's command line."""
        arguments = list(ARGUMENTS)
        if self.microphone:
            arguments.append("--use-fake-device-for-media-stream")
        answer = "=deny" if self.refuses else ""
        arguments.append(f"--use-fake-ui-for-media-stream{answer}")
        if self.speaks is not None:
            loop = "" if self.repeats else "%noloop"
            arguments.append(f"--use-file-for-fake-audio-capture={self.speaks}{loop}")
        if self.hosts:
            rules = ",".join(f"MAP {name} {address}" for name, address in self.hosts)
            arguments.append(f"--host-resolver-rules={rules}")
        return arguments


@asynccontextmanager
async def open_browser(options: BrowserOptions = BrowserOptions()) -> AsyncIterator[Browser]:
    """Start Chromium; it is closed with everything in it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=options.executable, args=options.arguments()
        )
        try:
            yield browser
        finally:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await browser.close()


class Browsers:
    """Browsers for many tests: one for each kind of machine, started when it is first asked for."""

    def __init__(self, stack: AsyncExitStack) -> None:
        """`stack`: closes them."""
        self._stack = stack
        self._open: dict[BrowserOptions, Browser] = {}

    async def get(self, options: BrowserOptions = BrowserOptions()) -> Browser:
        """The browser of such a machine."""
        if options not in self._open:
            opened = open_browser(options)
            self._open[options] = await self._stack.enter_async_context(opened)
        return self._open[options]


@asynccontextmanager
async def open_page(
    browser: Browser,
    url: str,
    *,
    width: int = 1280,
    height: int = 900,
    permissions: Sequence[str] = (),
    watch: Callable[[Page], object] = lambda _: None,
) -> AsyncIterator[Page]:
    """Open a page in a context of its own: no storage, permission or cookie of another test.

    Args:
        watch: what is to be done with the page before it is loaded.
    """
    context = await browser.new_context(
        viewport={"width": width, "height": height}, permissions=list(permissions)
    )
    context.set_default_timeout(WAIT_AT_MOST_MS)
    try:
        page = await context.new_page()
        watch(page)
        await page.goto(url)
        yield page
    finally:
        async with asyncio.timeout(CLOSE_WITHIN_S):
            await context.close()
