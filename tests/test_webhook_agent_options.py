"""Agents behind a webhook, and of OpenAI's protocol: what can be written of them."""

from __future__ import annotations

import base64
import dataclasses
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from gateway.agents import incoming
from gateway.agents.openai_session import Settings, ToolName
from gateway.agents.tool import TOOLS
from gateway.config import parse_config
from gateway.errors import ConfigError
from gateway.options import AgentOptions

FILE = Path("gateway.toml")
SECRETS = {
    "HOOK": "whsec_" + base64.b64encode(b"key of a webhook").decode(),
    "BAD": "whsec_#",
    "OPENAI_API_KEY": "sk-test",
}
MODEL = {
    "name": "model",
    "protocol": "openai",
    "url": "wss://api.openai.com/v1/realtime",
    "token_env": "OPENAI_API_KEY",
}


def options_of(*models: dict[str, Any], **front: Any) -> AgentOptions:
    hook = {
        "name": "front",
        "protocol": "realtime-webhook",
        "url": "https://app.example.com/hook",
        "token_env": "HOOK",
        **front,
    }
    config = parse_config({"agent": [hook, *models]}, FILE, SECRETS)
    return next(agent for agent in config.agents if agent.name == "front")


def model_settings(**settings: Any) -> Settings:
    config = parse_config({"agent": [{**MODEL, "settings": settings}]}, FILE, SECRETS)
    found: Settings = config.agents[0].settings
    return found


def test_only_model_takes_what_is_accepted() -> None:
    settings = options_of(MODEL).settings

    assert settings == incoming.Settings(agent="model", accept_timeout_s=10.0)


def test_model_that_takes_what_is_accepted_can_be_named() -> None:
    other = {**MODEL, "name": "other"}

    settings = options_of(MODEL, other, settings={"agent": "other"}).settings

    assert settings.agent == "other"


@pytest.mark.parametrize(
    ("front", "models", "key"),
    [
        ({}, (), "agent"),
        ({}, (MODEL, {**MODEL, "name": "other"}), "agent"),
        ({"settings": {"agent": "modle"}}, (MODEL,), "did you mean 'model'"),
        ({"settings": {"agnet": "model"}}, (MODEL,), "agnet"),
        ({"settings": {"accept_timeout_s": "soon"}}, (MODEL,), "accept_timeout_s"),
        ({"url": "wss://app.example.com/"}, (MODEL,), "url"),
        ({"url": ""}, (MODEL,), "url"),
        ({"token_env": None}, (MODEL,), "token_env"),
        ({"token_env": "BAD"}, (MODEL,), "whsec_"),
    ],
)
def test_what_is_wrong_is_named(
    front: dict[str, Any], models: tuple[dict[str, Any], ...], key: str
) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.toml.*front") as error:
        options_of(*models, **front)

    assert key in str(error.value)
    assert SECRETS["BAD"] not in str(error.value)


def test_settings_of_a_model_are_read() -> None:
    settings = model_settings(
        instructions="Help.",
        voice="marin",
        speed=1.2,
        greeting="Say hello.",
        interrupt=False,
        turn_detection={"type": "semantic_vad", "eagerness": "low"},
        session={"max_output_tokens": 500, "truncation": "auto"},
    )

    assert settings.greeting == "Say hello."
    assert settings.turn_detection == {"type": "semantic_vad", "eagerness": "low"}
    assert settings.session == {"max_output_tokens": 500, "truncation": "auto"}
    assert settings.audio == "auto"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tools", ["sing"]),
        ("audio", "opus"),
        ("packet_ms", 10),
        ("greeting", 7),
        ("turn_detection", "none"),
        ("x", 1),
    ],
)
def test_wrong_setting_of_a_model_is_named(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=key):
        model_settings(**{key: value})


# ---- the page


PAGE = (Path(__file__).parents[1] / "docs/openai.md").read_text(encoding="utf-8")


def test_page_shows_configurations_that_can_be_used() -> None:
    examples = [block.partition("```")[0] for block in PAGE.split("```toml\n")[1:]]
    secrets = {**SECRETS, "OPENAI_WEBHOOK_SECRET": SECRETS["HOOK"]}

    config = parse_config(tomllib.loads("\n".join(examples)), FILE, secrets)

    assert [agent.name for agent in config.agents] == ["helper", "front"]


def test_every_tool_can_be_named() -> None:
    assert set(get_args(ToolName)) == set(TOOLS)


def test_page_names_every_setting() -> None:
    table = PAGE.partition("| Setting |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]

    assert {name.strip(" `") for row in rows for name in row.split(",")} == {
        field.name for field in dataclasses.fields(Settings)
    }
