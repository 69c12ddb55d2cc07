"""Guests of routes, tools of agents and sounds, as a configuration says them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import load_config, parse_config
from gateway.errors import ConfigError
from gateway.options import Config
from gateway.trunk.route import Guest, Router, parse_target

AGENTS = """
[[agent]]
name = "bot"
protocol = "echo"
{agent}

[[agent]]
name = "coach"
protocol = "echo"

[[trunk]]
name = "carrier"
uri = "sip:198.51.100.1"

[[route]]
from = "browser"
match = "{match}"
to = ["trunk:carrier"]
{route}
"""


def load(tmp_path: Path, *, agent: str = "", route: str = "", match: str = "sales") -> Config:
    file = tmp_path / "gateway.toml"
    file.write_text(AGENTS.format(agent=agent, route=route, match=match), encoding="utf-8")
    return load_config(file, {})


def refusal(tmp_path: Path, *, agent: str = "", route: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, agent=agent, route=route)
    return str(caught.value)


def test_route_names_who_joins_its_calls(tmp_path: Path) -> None:
    guests = 'with = ["agent:bot", {agent="agent:coach", preset="whisper", side="callee"}]'

    (route,) = load(tmp_path, route=guests).routes

    assert route.options.guests == (
        Guest(parse_target("agent:bot")),
        Guest(parse_target("agent:coach"), "whisper", "callee"),
    )


@pytest.mark.parametrize(
    ("guests", "said"),
    [
        ('["agent:coahc"]', "agent:coach"),
        ('["trunk:carrier"]', "agents alone join"),
        ('[{agent="agent:bot", preset="whisper"}]', "side"),
        ('[{agent="agent:bot", preset="whisper", side="nobody"}]', "caller, callee"),
        ('[{agent="agent:bot", preset="shout"}]', "with"),
    ],
)
def test_guest_that_makes_no_sense_is_refused(tmp_path: Path, guests: str, said: str) -> None:
    message = refusal(tmp_path, route=f"with = {guests}")

    assert "route" in message
    assert said in message


def test_nobody_joins_an_emergency_call(tmp_path: Path) -> None:
    config = load(tmp_path, match="112", route='with = ["agent:bot"]')

    plan = Router(config.routes, config.emergency).plan("browser", "112")

    assert plan.called == "112"
    assert not plan.options.guests


def test_tools_of_an_agent(tmp_path: Path) -> None:
    bot, coach = load(tmp_path, agent='tools = ["hang_up"]\nmax_transfers = 3').agents

    assert (bot.tools, bot.max_transfers) == (frozenset({"hang_up"}), 3)
    assert (coach.tools, coach.max_transfers) == (None, 1)


def test_tool_that_is_none_is_refused_with_the_nearest(tmp_path: Path) -> None:
    message = refusal(tmp_path, agent='tools = ["hangup"]')

    assert "hang_up" in message


def test_sounds_are_beside_the_file(tmp_path: Path) -> None:
    config = parse_config({"media": {"sounds": "prompts"}}, tmp_path / "x.toml", {})

    assert config.media.sounds == tmp_path / "prompts"
