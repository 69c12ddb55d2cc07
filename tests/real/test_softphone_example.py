"""The softphone of examples/: its page on a site of its own, its users, its configuration."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from gateway.config import load_config
from tests.support.browser import open_page
from tests.support.gateway import Gateway, free_port, running_gateway
from tests.support.softphone import FOLDER as MODULES

pytestmark = pytest.mark.real

FOLDER = Path(__file__).parents[2] / "examples/softphone"
PASSWORDS = {"ANN_PASSWORD": "apple", "BOB_PASSWORD": "berry"}


@asynccontextmanager
async def serving_page() -> AsyncIterator[str]:
    """The page as `npm start` serves it, with the modules that the tests have; its address."""
    port = free_port(socket.SOCK_STREAM)
    process = await asyncio.create_subprocess_exec(
        str(MODULES / "node_modules/.bin/esbuild"),
        *("softphone.js", "--bundle", "--outdir=made", "--servedir=."),
        f"--serve=127.0.0.1:{port}",
        f"--alias:jssip={MODULES / 'node_modules/jssip'}",
        cwd=FOLDER,
        stdin=asyncio.subprocess.PIPE,  # at its end it would be over
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                except OSError:
                    await asyncio.sleep(0.05)
        writer.close()
        await writer.wait_closed()
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def registered(
    browser: Browser, site: str, gateway: Gateway, user: str, password: str
) -> AsyncIterator[Page]:
    """Somebody's window."""
    url = f"{site}/?gateway={gateway.url.replace('http', 'ws')}"
    async with open_page(browser, url) as page:
        await page.get_by_placeholder("user").fill(user)
        await page.get_by_placeholder("password").fill(password)
        await page.get_by_role("button", name="Register").click()
        await expect(page.locator("#phone")).to_have_text("registered")
        yield page


@pytest.mark.asyncio(loop_scope="session")
async def test_ann_calls_bob_from_a_page_of_another_site(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, password in PASSWORDS.items():
        monkeypatch.setenv(name, password)
    text = (FOLDER / "gateway.toml").read_text(encoding="utf-8")
    users_and_routes = text[text.index("[[user]]") :]
    async with serving_page() as site:
        monkeypatch.setenv("GATEWAY_HTTP_ORIGINS", site)
        async with (
            running_gateway(tmp_path, users_and_routes) as gateway,
            registered(browser, site, gateway, "ann", "apple") as ann,
            registered(browser, site, gateway, "bob", "berry") as bob,
        ):
            await ann.get_by_placeholder("number").fill("bob")
            await ann.get_by_role("button", name="Call").click()
            await expect(bob.locator("#call")).to_have_text("ann rings")
            await bob.get_by_role("button", name="Answer").click()
            await expect(ann.locator("#call")).to_have_text("with bob")
            await ann.get_by_role("button", name="Hold").click()
            await expect(ann.locator("#call")).to_have_text("on hold")
            await ann.get_by_role("button", name="Hold").click()
            await expect(ann.locator("#call")).to_have_text("goes on")
            await bob.wait_for_function("() => document.querySelector('audio').currentTime > 0")
            await bob.get_by_role("button", name="Hang up").click()
            await expect(ann.locator("#call")).to_have_text("Terminated")


def test_its_configuration_can_be_used() -> None:
    config = load_config(FOLDER / "gateway.toml", PASSWORDS)

    text = (FOLDER / "package.json").read_text(encoding="utf-8")
    port = re.search(r"--serve=127\.0\.0\.1:(\d+)", text)
    assert port is not None
    assert config.http is not None
    assert config.http.origins == (f"http://localhost:{port[1]}",)
