"""The page on TwiML says what the tests show."""

from __future__ import annotations

import tomllib

from gateway.config import parse_config
from tests.test_docs import ROOT, load

OTHERS = """
[[trunk]]
name = "carrier"
uri = "sip:198.51.100.20"
"""


def test_page_on_twiml_is_fresh() -> None:
    page = (ROOT / "docs/twiml.md").read_text(encoding="utf-8")

    assert page == load(ROOT / "docs/make_twiml.py").render()


def test_twiml_can_be_configured_as_it_is_described() -> None:
    page = (ROOT / "docs/twiml.md").read_text(encoding="utf-8")
    first, second = (part.partition("```")[0] for part in page.split("```toml\n")[1:3])

    config = parse_config(
        tomllib.loads(first + second + OTHERS), ROOT / "x.toml", {"TWILIO_AUTH_TOKEN": "secret"}
    )

    assert config.twilio is not None
    assert config.twilio.agent == "ivr"
    assert config.agents[0].settings.say_command.startswith("espeak-ng")
