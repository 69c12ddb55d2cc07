"""The documents say what the code says."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from gateway.agents.protocols import find_wire
from gateway.config import parse_config
from gateway.lab.lab import LAB_PASSWORD, LAB_SECRETS, LAB_USER

ROOT = Path(__file__).parents[1]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_configuration_reference_is_fresh() -> None:
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")

    assert page == load(ROOT / "docs/make_reference.py").render()


def test_configuration_in_the_readme_can_be_used() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    example = readme.partition("```toml\n")[2].partition("```")[0]

    config = parse_config(tomllib.loads(example), ROOT / "x.toml", {"CARRIER_PASSWORD": "secret"})

    assert [trunk.name for trunk in config.trunks] == ["carrier"]


def test_registration_with_the_lab_can_be_tried_as_it_is_described() -> None:
    page = (ROOT / "docs/trunks.md").read_text(encoding="utf-8")
    chapter = page.partition("## Trying a registration\n")[2].partition("\n## ")[0]
    example = chapter.partition("```toml\n")[2].partition("```")[0]

    config = parse_config(tomllib.loads(example), ROOT / "x.toml", LAB_SECRETS)

    (registration,) = config.trunks[0].registrations
    assert registration.user == LAB_USER
    assert LAB_PASSWORD in chapter
    assert config.lab is not None


OTHERS = """
[[user]]
name = "bob"
password_env = "BOB_PASSWORD"

[[trunk]]
name = "carrier"
uri = "sip:198.51.100.20"

[[agent]]
name = "front-desk"
protocol = "echo"
"""


def test_users_can_be_configured_as_it_is_described() -> None:
    page = (ROOT / "docs/users.md").read_text(encoding="utf-8")
    example = page.partition("```toml\n")[2].partition("```")[0]
    passwords = {"ANN_PASSWORD": "apple", "BOB_PASSWORD": "berry"}

    config = parse_config(tomllib.loads(example + OTHERS), ROOT / "x.toml", passwords)

    plan = config.router.plan("trunk:carrier", "+4930123456")
    groups = [[str(target) for target in group] for group in plan.groups]
    assert groups == [["user:ann", "user:bob"], ["agent:front-desk"]]
    assert config.router.plan("api", "user:ann").groups == config.router.plan("api", "ann").groups


def test_layout_in_the_design_is_there() -> None:
    design = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    tree = design.partition("```\ngateway/\n")[2].partition("```")[0]

    for line in tree.splitlines():
        name = line.split()[0]
        assert (ROOT / "gateway" / name).exists(), name


def test_what_is_shown_of_pbxs_and_agents_that_dial_us_can_be_used() -> None:
    page = (ROOT / "docs/agents-servers.md").read_text(encoding="utf-8")
    example = page.partition("```toml\n")[2].partition("```")[0]
    secrets = {"PBX_PASSWORD": "a", "HELPER_TOKEN": "b"}

    config = parse_config(tomllib.loads(example), ROOT / "x.toml", secrets)

    assert config.lines.audiosocket == (("127.0.0.1", 9092),)
    for to in (config.lines.audiosocket_to, config.lines.asterisk_calls["support"]):
        assert to is not None
        assert config.router.plan("audiosocket", to).groups


@pytest.mark.parametrize("name", ["jambonz", "asterisk", "audiosocket"])
def test_settings_of_pbx_protocols_are_described_and_can_be_used(name: str) -> None:
    page = (ROOT / "docs/pbx-protocols.md").read_text(encoding="utf-8")
    (chapter,) = (text for text in page.split("\n## ") if f'protocol = "{name}"' in text)
    example = chapter.partition("```toml\n")[2].partition("```")[0]
    module = find_wire(name)
    assert module is not None

    config = parse_config(tomllib.loads(example), ROOT / "x.toml", {"LISTEN_PASSWORD": "a"})

    described = re.findall(r"^\| `(\w+)` \|", chapter, re.MULTILINE)
    assert described == [each.name for each in fields(module.Settings)]
    assert config.agents[0].protocol == name
