"""A real Firefox, driven by WebDriver BiDi over a WebSocket: one page in one window."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

EXECUTABLE = "/usr/bin/firefox-esr"
START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 30.0
WAIT_AT_MOST_S = 20.0

PREFERENCES: dict[str, bool | int | str] = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "permissions.default.microphone": 1,
    "media.autoplay.default": 0,
    # The microphone's tone, in Hz.
    "media.navigator.audio.fake_frequency": 440,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "toolkit.telemetry.enabled": False,
    "extensions.update.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
}
"A microphone that beeps without a question, and no word to anybody."


class Firefox:
    """One page."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.ensure_future(self._read())
        self._context = ""

    async def begin(self) -> None:
        """Start a session, and use its window."""
        await self.command("session.new", capabilities={})
        tree = await self.command("browsingContext.getTree", maxDepth=0)
        self._context = tree["contexts"][0]["context"]

    async def goto(self, url: str) -> None:
        """Load a page."""
        await self.command(
            "browsingContext.navigate", context=self._context, url=url, wait="complete"
        )

    async def reload(self) -> None:
        await self.command("browsingContext.reload", context=self._context, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        """What an expression comes to, a promise awaited; it counts as said by a person's click.

        Raises:
            AssertionError: it threw.
        """
        told = await self.command(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})) ?? 'null')()",
            target={"context": self._context},
            awaitPromise=True,
            userActivation=True,
        )
        assert told["type"] == "success", told
        return json.loads(told["result"]["value"])

    async def click(self, selector: str) -> None:
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    async def wait_for(self, expression: str) -> None:
        """Until an expression is true."""
        waiting = f"""(async () => {{
          const end = performance.now() + {1000 * WAIT_AT_MOST_S};
          while (!(await ({expression}))) {{
            if (performance.now() > end) return false;
            await new Promise((resolve) => setTimeout(resolve, 50));
          }}
          return true;
        }})()"""
        if not await self.evaluate(waiting):
            text = await self.evaluate("document.querySelector('main')?.innerText ?? ''")
            raise AssertionError(f"never came true: {expression}; the page says:\n{text}")

    async def command(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol, and its result."""
        number = next(self._ids)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send(json.dumps(message))
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            answer = await future
        assert answer["type"] == "success", answer
        return answer["result"]

    async def close(self) -> None:
        """End the session."""
        self._reader.cancel()
        with suppress(asyncio.CancelledError):
            await self._reader

    async def _read(self) -> None:
        with suppress(ConnectionClosed):
            async for text in self._socket:
                message = json.loads(text)
                future = self._waiting.pop(message.get("id"), None)
                if future is not None and not future.done():
                    future.set_result(message)


@asynccontextmanager
async def open_firefox(
    directory: Path,
    *,
    executable: str = EXECUTABLE,
    dial: Callable[[int], socket.socket | None] = lambda port: None,
) -> AsyncIterator[Firefox]:
    """Start one with a profile of its own; it is ended with everything in it.

    Args:
        executable: what starts it, e.g. on another machine.
        dial: a socket that is connected to a port of its loopback, if that is not ours.
    """
    profile = directory / "firefox"
    profile.mkdir()
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines) + "\n")
    process = await asyncio.create_subprocess_exec(
        executable,
        *("--headless", "--no-remote", "--profile", str(profile)),
        *("--remote-debugging-port", "0"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={"HOME": str(directory), "PATH": "/usr/bin:/bin", "MOZ_CRASHREPORTER_DISABLE": "1"},
        start_new_session=True,
    )
    draining: asyncio.Future[None] | None = None
    try:
        url = await _find_bidi(process)
        draining = asyncio.ensure_future(_drain(process))
        dialled = dial(int(url.rpartition(":")[2]))
        async with connect(f"{url}/session", max_size=None, proxy=None, sock=dialled) as page:
            firefox = Firefox(page)
            await firefox.begin()
            try:
                yield firefox
            finally:
                await firefox.close()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if draining is not None:
            await draining


async def _find_bidi(process: asyncio.subprocess.Process) -> str:
    """Where it listens, as it says itself."""
    assert process.stderr is not None
    async with asyncio.timeout(START_TIMEOUT_S):
        while line := (await process.stderr.readline()).decode(errors="replace"):
            if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", line):
                return found[1]
    raise AssertionError("Firefox ended before it listened")


async def _drain(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    while await process.stderr.read(65_536):
        pass
