"""docs/media-streams.md says what the wire protocols do."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from gateway.agents.protocol import Mark, Use
from gateway.agents.wire import exotel, pipecat, plivo, telnyx, twilio, vonage
from gateway.agents.wire.telnyx import MAX_WAITING
from gateway.agents.wire_json import MAX_NAME_CHARS, MAX_TEXT_CHARS
from gateway.agents.wire_protobuf import read_fields, write_bytes
from gateway.config import parse_config
from gateway.media.playout import MAX_QUEUED_S
from tests.agents.wire.facts import FACTS, Queue

PAGE = (Path(__file__).parents[1] / "docs/media-streams.md").read_text(encoding="utf-8")

FIRST = {
    "twilio": ("connected", "start"),
    "telnyx": ("connected", "start"),
    "vonage": ("websocket:connected",),
    "plivo": ("start",),
    "exotel": ("connected", "start"),
}
MODULES = (twilio, telnyx, vonage, plivo, exotel)


def test_its_configuration_can_be_used() -> None:
    example = PAGE.partition("```toml\n")[2].partition("```")[0]

    config = parse_config(tomllib.loads(example), Path("x.toml"), {"TWILIO_AUTH_TOKEN": "secret"})

    assert [agent.protocol for agent in config.agents] == ["twilio", "telnyx", "vonage", "pipecat"]


@pytest.mark.parametrize("module", MODULES, ids=list(FIRST))
def test_its_table_names_the_first_messages(module: object) -> None:
    name = str(getattr(module, "__name__", "")).rpartition(".")[2]
    column = 2 + [*FIRST].index(name)
    cell = next(line for line in PAGE.splitlines() if line.startswith("| first |")).split("|")
    stream = module.make(module.Settings())  # type: ignore[attr-defined]

    told = [json.loads(message)["event"] for message in stream.open(FACTS, Queue())]

    assert tuple(told) == FIRST[name]
    assert tuple(re.findall(r"`(\S+)`", cell[column])) == FIRST[name]


def test_its_limits_are_those_of_the_code() -> None:
    assert f"{MAX_NAME_CHARS} characters at most" in PAGE
    assert f"{MAX_TEXT_CHARS:,}".replace(",", " ") in PAGE
    assert f"up to {MAX_WAITING} chunks ahead" in PAGE
    assert f"| {MAX_QUEUED_S:.0f} s, as of all agents" in PAGE


def test_its_messages_of_pipecat_are_those_that_are_sent() -> None:
    block = (
        PAGE.partition("## Messages of pipecat")[2].partition("```json\n")[2].partition("```")[0]
    )
    written = [json.loads(line) for line in block.splitlines()]
    socket = pipecat.make(pipecat.Settings())

    ((start,), (stop,)) = socket.open(FACTS, Queue()), socket.close("hangup")

    for told, example in ((start, written[0]), (stop, written[-1])):
        assert isinstance(told, bytes)
        part = read_fields(read_fields(told)[4])  # type: ignore[index, arg-type]
        sent = json.loads(part[1])  # type: ignore[index, arg-type]
        assert sent.keys() == example.keys()
        assert sent["type"] == example["type"]
        assert sent["data"].keys() == example["data"].keys()


@pytest.mark.parametrize(("kind", "wish"), [("mark", Mark), ("tool", Use)])
def test_what_a_pipeline_may_send_is_taken(kind: str, wish: type) -> None:
    last = PAGE.rpartition("A pipeline may send")[2]
    found = re.search(rf"`{kind}` \(`(.*?)`\)", last)
    assert found is not None
    message = {"label": "gateway", "type": kind, "data": json.loads(found[1])}

    (taken,) = pipecat.make(pipecat.Settings()).receive(
        write_bytes(4, write_bytes(1, json.dumps(message).encode()))
    )

    assert type(taken) is wish
