"""Agents of people's own: how a class is found, what is said of a wrong one, what is watched."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.agents.agent import AgentCall
from gateway.agents.python import QUIET_S, AgentCodeError, WatchedAgent, load_agent
from gateway.errors import ConfigError

NOBODY = cast(AgentCall, None)

GREETER = """
class Greeter:
    def __init__(self, *, voice, speed=1.0):
        self.voice, self.speed = voice, speed

    async def on_call(self, call):
        pass

class Mute:
    def on_call(self, call):
        pass

class Broken(Greeter):
    def __init__(self):
        raise RuntimeError("no model")

NUMBER = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A configuration with a module beside it."""
    (tmp_path / "own_agents.py").write_text(GREETER)
    (tmp_path / "own_broken.py").write_text("1 / 0\n")
    (tmp_path / "own_needy.py").write_text("import own_missing\n")
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path / "gateway.toml"
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_class_beside_the_configuration_is_made_with_its_settings(file: Path) -> None:
    agent = load_agent("greeter", "own_agents:Greeter", {"voice": "anna"}, file)

    made = cast(Any, agent.agent)
    assert (made.voice, made.speed) == ("anna", 1.0)


def test_module_beside_the_configuration_hides_none_that_is_installed(file: Path) -> None:
    load_agent("greeter", "own_agents:Greeter", {"voice": "anna"}, file)

    assert sys.path[-1] == str(file.parent)


def test_class_of_an_installed_package_is_found_by_its_entry_point(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("parrot", "gateway.agents.echo:Echo", "voice_gateway.agents")
    monkeypatch.setattr(
        "gateway.agents.python.entry_points", lambda group: EntryPoints([point]).select(group=group)
    )

    agent = load_agent("echo", "parrot", {}, file)

    assert type(agent.agent).__name__ == "Echo"
    with pytest.raises(ConfigError, match="did you mean 'parrot'"):
        load_agent("echo", "parot", {}, file)


@pytest.mark.parametrize(
    ("class_", "settings", "says"),
    [
        (None, {}, "class is missing: write"),
        ("own_agents", {}, "is not installed"),
        ("own_agents:", {}, 'write "module:Class"'),
        ("own/agents:Greeter", {}, 'write "module:Class"'),
        ("own_nowhere:Greeter", {}, "put own_nowhere.py beside gateway.toml"),
        ("own_agents:Greater", {}, "did you mean 'Greeter'"),
        ("own_agents:NUMBER", {}, "is a int, not a class"),
        ("own_agents:Mute", {}, "async def on_call"),
        ("own_agents:Broken", {}, "RuntimeError: no model"),
        ("own_broken:Greeter", {}, "ZeroDivisionError"),
        ("own_needy:Greeter", {}, "needs 'own_missing', which is not installed"),
        ("own_agents:Greeter", {}, "settings: voice is missing"),
        ("own_agents:Greeter", {"voise": "x"}, "voise = 'x'.*did you mean 'voice'"),
    ],
)
def test_wrong_class_is_named_with_its_remedy(
    file: Path, class_: str | None, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load_agent("greeter", class_, settings, file)

    assert str(caught.value).startswith(f'{file}: [[agent]] "greeter": ')


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Sleeper:
    """Holds the loop up for so long before each time it waits."""

    def __init__(self, clock: Clock, *seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    async def on_call(self, call: AgentCall) -> str:
        for seconds in self._seconds:
            self._clock.now += seconds
            await asyncio.sleep(0)
        return "done"


async def test_agent_that_holds_up_the_loop_is_named_with_its_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    watched = WatchedAgent("slow", Sleeper(clock, 0.01, 0.2), clock=clock)

    await watched.on_call(NOBODY)

    assert watched.slow_steps == 1
    assert "agent=slow held up all calls for 200 ms, before test_python.py:" in caplog.text


async def test_agent_that_holds_up_the_loop_again_and_again_is_told_of_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    watched = WatchedAgent("slow", Sleeper(clock, *[0.1] * 10, QUIET_S), clock=clock)

    await watched.on_call(NOBODY)

    assert watched.slow_steps == 11
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


async def test_agent_that_awaits_is_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()

    class Waits:
        async def on_call(self, call: AgentCall) -> None:
            asyncio.get_running_loop().call_soon(setattr, clock, "now", 200.0)
            await asyncio.sleep(0.001)

    watched = WatchedAgent("good", Waits(), clock=clock)
    await watched.on_call(NOBODY)

    assert (watched.slow_steps, caplog.text) == (0, "")


async def test_cancelling_reaches_the_agent_and_what_it_cleans_up() -> None:
    said: list[str] = []

    class Tidy:
        async def on_call(self, call: AgentCall) -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(0)
                said.append("tidied")
                raise

    task = asyncio.ensure_future(WatchedAgent("tidy", Tidy()).on_call(NOBODY))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert said == ["tidied"]


async def test_agent_that_exits_ends_its_call_and_not_the_process() -> None:
    class Exits:
        async def on_call(self, call: AgentCall) -> None:
            sys.exit(3)

    with pytest.raises(AgentCodeError, match=r"sys\.exit\(3\)"):
        await WatchedAgent("exits", Exits()).on_call(NOBODY)
