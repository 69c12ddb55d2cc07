"""What [twilio] and agents of protocol twiml may say, and what is said about one that is wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gateway.agents.twiml.options import NO_ACCOUNT, Settings
from gateway.config import parse_config
from gateway.errors import ConfigError
from gateway.options import Config

ACCOUNT = "AC" + 32 * "a"
TWILIO = f"""
[twilio]
account_sid = "{ACCOUNT}"
auth_token_env = "TOKEN"
"""
IVR = """
[[agent]]
name = "ivr"
protocol = "twiml"
url = "https://ivr.example.com/voice"
"""


def config(text: str) -> Config:
    return parse_config(tomllib.loads(text), Path("/etc/gateway.toml"), {"TOKEN": "hush-hush"})


def test_without_the_section_the_interface_is_off() -> None:
    made = config(IVR)

    assert made.twilio is None
    assert made.agents[0].settings == Settings(account_sid=NO_ACCOUNT)


def test_the_only_agent_attends_what_is_placed() -> None:
    made = config(TWILIO + IVR)

    assert made.twilio is not None
    assert (made.twilio.account_sid, made.twilio.agent) == (ACCOUNT, "ivr")
    assert made.twilio.auth_token.value == "hush-hush"
    assert "hush-hush" not in repr(made)


SECOND = IVR.replace("ivr", "shop")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (TWILIO.replace(ACCOUNT, "ac1"), "[twilio]: account_sid = 'ac1'"),
        (TWILIO.replace('"TOKEN"', '"NONE"'), "[twilio]: auth_token_env"),
        (TWILIO.replace('auth_token_env = "TOKEN"', ""), "auth_token_env is missing"),
        (TWILIO + 'agent = "irv"\n' + IVR, "did you mean 'ivr'?"),
        (TWILIO + IVR + SECOND, "name one of ivr, shop"),
        (TWILIO + '[http]\nlisten = ""\n', "it needs [http] listen"),
        (IVR.replace("https://", "wss://"), "url = 'wss://ivr.example.com/voice'"),
        (IVR.replace("ivr.example", "me:secret@ivr.example"), "must name no user"),
        (IVR + '[agent.settings]\nfallback_url = "/x"\n', "fallback_url = '/x'"),
        (IVR + '[agent.settings]\ntrusted_urls = ["10.0.0.1"]\n', "trusted_urls = '10.0.0.1'"),
        (IVR + '[agent.settings]\nsay_command = "espeak \\"x"\n', "say_command"),
        (IVR + '[agent.settings]\nmethod = "PUT"\n', "method = 'PUT'"),
        (IVR + '[agent.settings]\nacount_sid = "x"\n', "did you mean 'account_sid'?"),
    ],
)
def test_what_is_wrong_is_named_with_a_remedy(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config(text)

    assert why in str(raised.value)
