"""[[agent]] sections: what they mean, and what is said of one that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.agents.protocols import IN_PROCESS, find_wire, wire_names
from gateway.agents.remote import RemoteAgent
from gateway.agents.wire import gateway as own
from gateway.errors import ConfigError
from gateway.options import AgentOptions
from gateway.private import Secret
from gateway.roster import APOLOGY, WAIT_SOUND, make_agent
from tests.test_config import load, refuse

SALES = """
[[agent]]
name = "sales"
protocol = "gateway"
url = "wss://agents.example/sales"
"""

BACKUP = '[[agent]]\nname = "backup"\nprotocol = "echo"\n'

AUDIOSOCKET = '[[agent]]\nname = "a"\nprotocol = "audiosocket"\n'


def only(tmp_path: Path, text: str, environment: Mapping[str, str] | None = None) -> AgentOptions:
    """The first agent of a configuration."""
    return load(tmp_path, text, environment).agents[0]


def test_agent_over_a_wire_needs_a_name_a_protocol_and_a_url(tmp_path: Path) -> None:
    options = only(tmp_path, SALES)

    agent = make_agent(options)

    assert isinstance(agent, RemoteAgent)
    assert agent.address.url == "wss://agents.example/sales"
    assert agent.module is find_wire("gateway")
    assert agent.settings == own.Settings()
    assert agent.options.ready_timeout_s == 5.0
    assert not agent.options.answers_at_once


def test_sounds_of_ours_are_there_where_none_is_named(tmp_path: Path) -> None:
    agent = make_agent(only(tmp_path, SALES))

    assert isinstance(agent, RemoteAgent)
    assert 1 < agent.options.wait_sound.seconds < 3
    assert 3 < agent.options.apology.seconds < 10
    assert APOLOGY.is_file()
    assert WAIT_SOUND.is_file()


def test_everything_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "sorry.wav").write_bytes(APOLOGY.read_bytes())
    text = f"""
{SALES}username = "gw"
password_env = "SALES_PASSWORD"
answer = "at-once"
ready_timeout_s = 2.5
hear_early_media = true
fallback = ["agent:backup", "+15550100"]
apology = "sorry.wav"
[agent.settings]
rate = 24000
{BACKUP}"""

    options = only(tmp_path, text, {"SALES_PASSWORD": "hunter2"})

    assert options.secret == Secret("hunter2")
    assert "hunter2" not in repr(options)
    assert options.settings == own.Settings(rate=24000)
    assert options.answers_at_once
    assert options.hears_early_media
    assert options.ready_timeout_s == 2.5
    assert options.fallback == ("agent:backup", "+15550100")
    assert options.apology == tmp_path / "sorry.wav"


@pytest.mark.parametrize("name", wire_names())
def test_every_file_of_wire_is_a_protocol(name: str) -> None:
    module: Any = find_wire(name)

    assert isinstance(module.IS_STREAM, bool)
    assert callable(module.opening)
    protocol = module.make(module.Settings())
    assert isinstance(protocol.tells_ready, bool)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('protocol = "gatway"\nurl = "ws://a/"', "did you mean 'gateway'?"),
        ('protocol = "wire"', "protocol = 'wire': is none; there are echo, script"),
        ('protocol = "__init__"', "protocol = '__init__': is none"),
        ('protocol = "twilio"', "url is missing: write wss://HOST:PORT or ws://HOST:PORT"),
        (
            'protocol = "twilio"\nurl = "https://a.example/"',
            "url = 'https://a.example/': write wss",
        ),
        ('protocol = "twilio"\nurl = "wss:///x"', "url = 'wss:///x': write wss://HOST:PORT"),
        ('protocol = "twilio"\nurl = "wss://a:b@c/"', "no name or password in it"),
        ('protocol = "twilio"\nurl = "wss://a:99999/"', "url = 'wss://a:99999/': write"),
        ('protocol = "audiosocket"\nurl = "ws://a:9/"', "url = 'ws://a:9/': write tcp://HOST"),
        ('protocol = "audiosocket"\nurl = "tcp://a"', "url = 'tcp://a': write tcp://HOST:PORT"),
        ('protocol = "echo"\nanswer = "soon"', "answer = 'soon': "),
        ('protocol = "echo"\nready_timeout_s = 0', "ready_timeout_s = 0: "),
        ('protocol = "echo"\nfallback = ["agent:b"]', "there is no such agent"),
        ('protocol = "echo"\nfallback = ["agent:a"]', "name another agent"),
        ('protocol = "echo"\nfallback = ["trunk:b"]', "write agent:NAME, or a number"),
        ('protocol = "echo"\nfallback = ["a b"]', "write agent:NAME, or a number"),
        ('protocol = "echo"\napology = "no.wav"', "apology = 'no.wav': name an existing WAV file"),
        ('protocol = "echo"\npassword_env = "NO"', "set the environment variable NO"),
        ('protocol = "echo"\npassword_env = "A"\ntoken_env = "B"', "a password or a token, not"),
        (
            'protocol = "gateway"\nurl = "ws://a/"\n[agent.settings]\nrat = 8000',
            "[agent.settings]: rat = 8000: is no key; did you mean 'rate'?",
        ),
        (
            'protocol = "gateway"\nurl = "ws://a/"\n[agent.settings]\nrate = 8001',
            "[agent.settings]: rate = 8001: ",
        ),
    ],
)
def test_mistake_is_named_with_its_place_and_a_remedy(
    tmp_path: Path, lines: str, said: str
) -> None:
    text = f'[[agent]]\nname = "a"\n{lines}\n'

    message = refuse(tmp_path, text, {"A": "x", "B": "y"})

    assert said in message
    assert message.startswith('[[agent]] 1 "a"')


def test_recording_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(b"RIFF")
    options = only(tmp_path, f'{SALES}wait_sound = "noise.wav"\n')

    with pytest.raises(ConfigError, match=r"noise\.wav: is no PCM WAV file"):
        make_agent(options)


def test_agents_can_be_configured_as_it_is_described(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs/agents.md").read_text(encoding="utf-8")
    example = page.partition("```toml\n")[2].partition("```")[0]
    trunk = '[[trunk]]\nname = "carrier"\nuri = "sip:198.51.100.1"\n'

    config = load(tmp_path, example + trunk, {"TWILIO_AUTH_TOKEN": "hunter2"})

    sales, backup = config.agents
    assert sales.fallback == ("agent:backup", "+15550100")
    assert backup.protocol == "script"
    assert config.router.plan("agent:sales", "+15550100")


def test_every_protocol_is_described() -> None:
    page = (Path(__file__).parents[1] / "docs/agents.md").read_text(encoding="utf-8")
    table = page.partition("## Protocols")[2].partition("\n## ")[0]

    assert [name for name in (*IN_PROCESS, *wire_names()) if f"`{name}`" not in table] == []
