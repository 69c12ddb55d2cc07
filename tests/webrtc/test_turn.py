"""TURN: which servers may be named, and credentials that run out."""

from __future__ import annotations

import base64
import hashlib
import hmac
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway.config import parse_config
from gateway.errors import ConfigError
from gateway.options import Config
from gateway.private import Secret
from gateway.webrtc.turn import MAX_TTL_S, TurnOptions, is_turn_uri, make_credentials

URL = "turn:turn.example.com:3478?transport=udp"


def configured(**keys: Any) -> Config:
    return parse_config({"webrtc": keys}, Path("gateway.toml"), {"TURN_SECRET": "s3cret"})


def test_credentials_are_what_coturn_computes_and_good_for_an_hour() -> None:
    options = TurnOptions((URL,), Secret("north"))

    made = make_credentials(options, "4f1c", 1_700_000_000.9)

    assert made.username == "1700003600:4f1c"
    digest = hmac.digest(b"north", b"1700003600:4f1c", hashlib.sha1)
    assert base64.b64decode(made.credential) == digest


def test_servers_are_configured_with_a_secret_of_the_environment() -> None:
    config = configured(turn=(URL,), turn_secret_env="TURN_SECRET", turn_ttl_s=600)

    assert config.turn == TurnOptions((URL,), Secret("s3cret"), 600)
    assert "s3cret" not in repr(config.turn)


def test_nothing_is_told_of_turn_unless_it_is_configured() -> None:
    assert configured().turn is None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"turn": ("stun:stun.example.com",)}, r"turn = 'stun:stun\.example\.com': write"),
        ({"turn": ("turn:a b",)}, "write"),
        ({"turn": (URL,)}, "turn_secret_env is missing"),
        ({"turn": (URL,), "turn_secret_env": "NOT_SET"}, "NOT_SET"),
        ({"turn_ttl_s": MAX_TTL_S + 1}, "turn_ttl_s"),
        ({"deny": ("10.0.0.0/8",)}, "ice_deny"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        configured(**keys)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("turn:turn.example.com", True),
        ("turns:turn.example.com:443?transport=tcp", True),
        ("turn:[2001:db8::1]:3478", True),
        ("turn:192.0.2.1?transport=sctp", False),
        ("turn:", False),
        ("http://turn.example.com", False),
    ],
)
def test_turn_uris_are_those_of_browsers(text: str, is_one: bool) -> None:
    assert is_turn_uri(text) is is_one


def test_networks_can_be_configured_as_it_is_described() -> None:
    page = (Path(__file__).parents[2] / "docs/browsers.md").read_text(encoding="utf-8")
    examples = [part.partition("```")[0] for part in page.split("```toml\n")[1:]]
    sections = [tomllib.loads(example)["webrtc"] for example in examples]

    config = configured(**{key: value for section in sections for key, value in section.items()})

    assert config.webrtc is not None
    assert config.webrtc.advertise == ("203.0.113.7", "2001:db8::7")
    assert config.webrtc.ice_deny == ("10.0.0.0/8", "fd00::/8")
    assert config.turn is not None
    assert len(config.turn.urls) == 2
