"""[audiosocket], [asterisk], agents that dial us: what they mean, and what is wrong with some."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from gateway.options import Config, LineOptions
from gateway.private import Secret
from tests.test_config import load, refuse

HELPER = '[[agent]]\nname = "helper"\nprotocol = "gateway"\n'


def test_nothing_is_listened_for_unless_it_is_configured(tmp_path: Path) -> None:
    assert load(tmp_path, "").lines == LineOptions()


def test_audiosocket_beyond_loopback_has_its_pbxs_named(tmp_path: Path) -> None:
    text = '[audiosocket]\nlisten = ["0.0.0.0:9092"]\n'

    said = refuse(tmp_path, text)
    config = load(tmp_path, text + 'allow = ["192.0.2.0/24"]\nto = "agent:sales"')

    assert said == (
        "[audiosocket]: allow = []: 0.0.0.0:9092 is beyond loopback: name the networks of your PBXs"
        " in allow"
    )
    assert config.lines.audiosocket == (("0.0.0.0", 9092),)
    assert config.lines.audiosocket_allow == (ipaddress.ip_network("192.0.2.0/24"),)
    assert config.lines.audiosocket_to == "agent:sales"


def test_asterisk_brings_calls_by_name_and_password(tmp_path: Path) -> None:
    text = """
[asterisk]
calls = { support = "agent:sales", desk-1 = "+15550100,,1#" }
username = "pbx"
password_env = "PBX"
"""
    config: Config = load(tmp_path, text, {"PBX": "secret"})

    assert config.lines.asterisk_calls == {"support": "agent:sales", "desk-1": "+15550100,,1#"}
    assert config.lines.asterisk_username == "pbx"
    assert config.lines.asterisk_password == Secret("secret")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[audiosocket]\nlisten = ["here"]',
            '[audiosocket]: listen = \'here\': write IP:PORT, as "127.0.0.1:8080" or "[::1]:8080"',
        ),
        (
            '[audiosocket]\nto = "sip:a@b"',
            "[audiosocket]: to = 'sip:a@b': write a number, a name, agent:NAME or user:NAME (a"
            " destination has 1 to 64 letters, digits or ._~+-)",
        ),
        (
            '[asterisk.calls]\n"a/b" = "x"',
            "[asterisk]: calls = 'a/b': an id has 1 to 64 letters, digits, - or _",
        ),
        (
            '[asterisk.calls]\na = "x y"',
            "[asterisk]: calls.a = 'x y': write a number, a name, agent:NAME or user:NAME (a"
            " destination has 1 to 64 letters, digits or ._~+-)",
        ),
        (
            '[http]\nlisten = ""\n[asterisk.calls]\na = "x"',
            "[asterisk]: calls = {'a': 'x'}: they need [http] listen",
        ),
        (
            '[asterisk]\nusername = "pbx"',
            "[asterisk]: password_env is missing: username and password_env go together",
        ),
        (
            '[[route]]\nfrom = "audiosockets"\nmatch = "a"\nto = ["reject:404"]',
            "[[route]] 1: from = 'audiosockets': nobody calls from there; did you mean"
            " 'audiosocket'?",
        ),
        (
            HELPER,
            '[[agent]] 1 "helper": token_env is missing: an agent without url dials us: name what'
            " holds the token that it shows",
        ),
        (
            '[[agent]]\nname = "helper"\nprotocol = "audiosocket"\n',
            '[[agent]] 1 "helper": url is missing: write tcp://HOST:PORT',
        ),
    ],
)
def test_what_cannot_be_used_is_said_with_its_remedy(tmp_path: Path, text: str, said: str) -> None:
    assert refuse(tmp_path, text) == said


def test_agents_that_dial_us_need_no_url(tmp_path: Path) -> None:
    text = HELPER + 'token_env = "T"\n[[agent]]\nname = "app"\nprotocol = "asterisk"\n'

    config = load(tmp_path, text, {"T": "token"})

    assert [agent.url for agent in config.agents] == ["", ""]
    assert config.agents[0].secret == Secret("token")
