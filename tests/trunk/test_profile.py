"""Profiles: defaults of carriers and PBXs, which the configuration overrules."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from gateway.config import parse_config
from gateway.errors import ConfigError
from gateway.trunk.numbers import NumberFormat
from gateway.trunk.profile import load_profile, profile_names
from gateway.trunk.trunk import Trunk
from tests.trunk.wire import send_invite

PROFILES = profile_names()
PAGE = Path(__file__).parents[2] / "docs/trunks.md"
ENVIRONMENT = {"TWILIO_PASSWORD": "secret", "LAB_PASSWORD": "secret"}


def make(**keys: object) -> Trunk:
    """A trunk as the configuration makes it."""
    document = {"trunk": [{"name": "carrier", "uri": "sip:198.51.100.1", **keys}]}
    return parse_config(document, Path("gateway.toml"), {}).trunks[0]


def test_the_profiles_that_are_promised_are_there() -> None:
    promised = {"twilio", "telnyx", "bandwidth", "asterisk", "freeswitch", "kamailio"}

    assert {*PROFILES} == promised


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_makes_a_trunk_that_can_be_called(profile: str) -> None:
    trunk = make(profile=profile)

    assert trunk.profile == profile
    assert send_invite(trunk, "+15550100").uri == "sip:+15550100@198.51.100.1"


@pytest.mark.parametrize("profile", PROFILES)
def test_no_profile_says_who_may_call_in(profile: str) -> None:
    assert "allow" not in load_profile(profile)
    assert make(profile=profile).allow == ()


@pytest.mark.parametrize("profile", ["twilio", "telnyx", "bandwidth"])
def test_a_carrier_is_called_in_e164_alone(profile: str) -> None:
    assert make(profile=profile).numbers.format is NumberFormat.E164


def test_the_configuration_overrules_its_profile_key_by_key() -> None:
    trunk = make(profile="telnyx", number_format="plain", trusted=False)

    assert str(trunk.uri) == "sip:198.51.100.1"
    assert trunk.numbers.format is NumberFormat.PLAIN
    assert trunk.headers.taken == ("X-Telnyx-*",)
    assert not trunk.trusted


def test_a_profile_may_know_the_address() -> None:
    document = {"trunk": [{"name": "carrier", "profile": "telnyx"}]}

    trunk = parse_config(document, Path("gateway.toml"), {}).trunks[0]

    assert str(trunk.uri) == "sip:sip.telnyx.com"


def test_a_profile_there_is_not_is_told_by_name() -> None:
    said = r"gateway.toml: \[\[trunk\]\] 1: profile = 'twillio': there is no such profile; "
    with pytest.raises(ConfigError, match=said + "did you mean 'twilio'"):
        make(profile="twillio")


@pytest.mark.parametrize("profile", [3, "../../default", "", ["twilio"]])
def test_a_profile_is_a_name_and_no_path(profile: object) -> None:
    with pytest.raises(ConfigError, match="profile = "):
        make(profile=profile)


def test_the_page_about_trunks_can_be_copied_from() -> None:
    examples = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)

    assert examples
    for example in examples:
        config = parse_config(tomllib.loads(example), PAGE, ENVIRONMENT)
        assert config.routes


def test_the_page_about_trunks_says_what_every_profile_sets() -> None:
    text = PAGE.read_text(encoding="utf-8")

    for profile in PROFILES:
        assert f"| `{profile}` |" in text
