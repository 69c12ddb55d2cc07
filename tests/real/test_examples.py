"""The agents of examples/, run and called as their READMEs say."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.config import load_config
from gateway.media.file import read_wav
from gateway.media.resample import resample
from gateway.media.vad import EnergyDetector, SpeechStarted, SpeechStopped
from tests.agents.wire.peer_openai import OpenAiPeer
from tests.support.gateway import ROOT, free_port

# What is judged in them is judged in seconds.
pytestmark = [pytest.mark.real, pytest.mark.beside]

EXAMPLES = ROOT / "examples"
PIPECAT = ROOT / ".venv-pipecat/bin/python"


def command_of(example: str) -> list[str]:
    """What the README of an example says to call its agent by, with the Python of the tests."""
    text = (EXAMPLES / example / "README.md").read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if " -m gateway call " in line)
    words = [word for word in shlex.split(line) if not word.startswith("OPENAI_API_KEY=")]
    assert words[0] == ".venv/bin/python"
    return [sys.executable, *words[1:]]


async def call(command: list[str], folder: Path = ROOT) -> list[dict[str, Any]]:
    """Run it; the checks that failed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        "--json",
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await asyncio.wait_for(process.communicate(), 50)
    assert said, complained.decode()
    trials = json.loads(said)["trials"]
    assert "Traceback" not in complained.decode()
    return [check for trial in trials for check in trial["checks"] if not check["passed"]]


@asynccontextmanager
async def running(python: Path | str, code: str, port: int) -> AsyncIterator[None]:
    """An agent in a process of its own, until it can be called at its port."""
    process = await asyncio.create_subprocess_exec(
        str(python),
        "-c",
        code,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30):
            while True:
                assert process.returncode is None, "the agent has ended by itself"
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                except OSError:
                    await asyncio.sleep(0.05)
        writer.close()
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def code_of(example: str, script: str, usual: int, port: int) -> str:
    """An agent's code, with another port in it."""
    code = (EXAMPLES / example / script).read_text(encoding="utf-8")
    assert str(usual) in code
    return code.replace(str(usual), str(port))


def elsewhere(example: str, folder: Path, url: str) -> list[str]:
    """The README's command, with a copy of the configuration that has another URL."""
    text = (EXAMPLES / example / "gateway.toml").read_text(encoding="utf-8")
    copy = folder / "gateway.toml"
    copy.write_text(re.sub(r'^url = ".*"$', f'url = "{url}"', text, flags=re.MULTILINE))
    command = command_of(example)
    command[command.index("--config") + 1] = str(copy)
    return command


@pytest.mark.parametrize("example", ["echo", "ivr"])
async def test_agent_in_python_does_what_its_callers_expect(example: str) -> None:
    assert await call(command_of(example)) == []


async def test_agent_over_a_websocket_does_what_its_caller_expects(tmp_path: Path) -> None:
    port = free_port()
    async with running(sys.executable, code_of("websocket", "agent.py", 8765, port), port):
        failed = await call(elsewhere("websocket", tmp_path, f"ws://127.0.0.1:{port}"))

    assert failed == []


def test_agent_over_a_websocket_has_forty_lines() -> None:
    lines = (EXAMPLES / "websocket/agent.py").read_text(encoding="utf-8").splitlines()

    assert len(lines) <= 40


async def test_pipecat_bot_does_what_its_caller_expects(tmp_path: Path) -> None:
    assert PIPECAT.exists(), "make .venv-pipecat/pipecat.stamp"
    port = free_port()
    async with running(PIPECAT, code_of("pipecat", "bot.py", 8766, port), port):
        failed = await call(elsewhere("pipecat", tmp_path, f"ws://127.0.0.1:{port}/ws"))

    assert failed == []


class Model(OpenAiPeer):
    """Stands for OpenAI's: greets when it is asked to, answers what it hears."""

    def __init__(self) -> None:
        super().__init__("pcmu")
        self._detector = EnergyDetector()

    async def on_message(self, message: str | bytes) -> None:
        before = self.appended
        await super().on_message(message)
        if self.asked.is_set():
            self.asked.clear()
            await self.say(prompt("goodbye"))
        if self.appended > before:
            pcm = self.heard()[-160:]
            match self._detector.push(pcm, len(pcm) / 8):
                case SpeechStarted():
                    await self.hear_speech()
                case SpeechStopped():
                    await self.say(prompt("welcome"))


def prompt(name: str) -> NDArray[np.int16]:
    """Something to say, at 8 kHz."""
    pcm, rate = read_wav(ROOT / f"gateway/agents/receptionist/{name}.wav")
    return resample(pcm, rate, 8000)


async def test_openai_model_does_what_its_caller_expects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    model = Model()
    async with model.running() as url:
        failed = await call(elsewhere("openai-realtime", tmp_path, url))

    assert failed == []
    assert model.session["instructions"].startswith("You answer the telephone")
    assert len(model.truncated) == 1


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*/gateway.toml")), ids=lambda p: p.parent.name
)
def test_configuration_can_be_used(path: Path) -> None:
    secrets = dict.fromkeys(("ANN_PASSWORD", "BOB_PASSWORD", "OPENAI_API_KEY"), "secret")

    config = load_config(path, secrets)

    assert config.agents
    assert config.routes
