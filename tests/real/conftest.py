"""A gateway for each test that asks, or for a whole file; browsers and sounds for all files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.support.audio import bursts, tone, write_wav
from tests.support.browser import BrowserOptions, Browsers
from tests.support.gateway import Gateway, running_gateway


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """The gateway with its lab, as `gateway serve` runs it, on free ports."""
    async with running_gateway(tmp_path) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway_of_file(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """The same for all tests of a file, whose loop is the session's."""
    async with running_gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browsers() -> AsyncIterator[Browsers]:
    """Browsers for all tests whose loop is the session's: each takes seconds to start."""
    async with AsyncExitStack() as stack:
        yield Browsers(stack)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(browsers: Browsers, sounds: Sounds) -> Browser:
    """The one whose microphone says a tone of 440 Hz."""
    return await browsers.get(BrowserOptions(speaks=sounds.tone, repeats=True))


@dataclass(frozen=True)
class Sounds:
    """WAV files that microphones say."""

    tone: Path
    "440 Hz."
    bursts: Path
    "1000 Hz, for 100 ms in each second."
    silence: Path


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Sounds:
    """The same files for all tests, so that they can share a browser that says one."""
    directory = tmp_path_factory.mktemp("sounds")
    return Sounds(
        tone=write_wav(directory / "tone.wav", tone(440, 10)),
        bursts=write_wav(directory / "bursts.wav", bursts(1000, 10)),
        silence=write_wav(directory / "silence.wav", tone(440, 2, level_dbfs=-120)),
    )
