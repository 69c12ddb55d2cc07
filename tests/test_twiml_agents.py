"""How agents under TwiML are made of a configuration."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.agents.incoming import IncomingCalls
from gateway.agents.remote import RemoteAgent
from gateway.agents.twiml.agent import TwimlAgent, TwimlDesk
from gateway.agents.twiml.verbs import Stream
from gateway.agents.waiting import Lobby
from gateway.config import parse_config
from gateway.net.destination import DestinationError, Destinations
from gateway.options import Config
from gateway.roster import make_agents, make_destinations
from gateway.twiml_agents import TwimlAgents
from tests.support.site import Site

ACCOUNT = "AC" + 32 * "a"
TWILIO = f"""
[twilio]
account_sid = "{ACCOUNT}"
auth_token_env = "TOKEN"
"""
AGENTS = """
[[agent]]
name = "ivr"
protocol = "twiml"
url = "https://ivr.example.com/voice"

[[agent]]
name = "bot"
protocol = "twilio"
url = "wss://bot.example.com/ws"
"""


def config(text: str) -> Config:
    return parse_config(tomllib.loads(text), Path("/etc/gateway.toml"), {"TOKEN": "hush"})


async def nobody(*_: Any, **__: Any) -> Any:
    raise AssertionError


async def nowhere(host: str, port: int) -> Sequence[str]:
    return ()


def agents(text: str) -> dict[str, Any]:
    made = make_agents(
        config(text), TwimlDesk(Site()), Destinations(nowhere), IncomingCalls(), Lobby()
    )
    return dict(made)


def test_agents_of_media_streams_are_directed_only_where_the_interface_is_on() -> None:
    assert isinstance(agents(AGENTS)["bot"], RemoteAgent)
    assert isinstance(agents(TWILIO + AGENTS)["bot"], TwimlAgent)


@pytest.mark.twiml("Start Stream track: inbound, outbound, both")
@pytest.mark.parametrize("track", ["inbound_track", "outbound_track", "both_tracks"])
def test_streams_are_told_the_account_their_track_and_parameters(track: str) -> None:
    made = config(TWILIO + AGENTS)
    directed = TwimlAgents(made, TwimlDesk(Site()), nobody)
    agent: Any = directed.make(made.agents[0])
    stream = Stream("wss://site.test/ws", track=track, parameters=(("k", "v"),))

    listening = agent._tools.make_stream(stream, is_bidirectional=False)
    talking = agent._tools.make_stream(stream, is_bidirectional=True)

    assert listening.settings.account_sid == ACCOUNT
    assert listening.settings.track == track
    assert listening.settings.parameters == {"k": "v"}
    assert talking.settings.track == "bidirectional"
    assert talking.address.secret.value == "hush"


async def test_a21_twiml_leads_to_the_hosts_of_its_configuration_alone() -> None:
    text = AGENTS.replace(
        'url = "https://ivr',
        'settings = { trusted_urls = ["ws://10.0.0.5:9000"] }\nurl = "https://ivr',
    )
    destinations = make_destinations(config(text), asyncio.get_running_loop())

    assert (await destinations.pin("ws://10.0.0.5:9000/ws")).addresses == ("10.0.0.5",)
    for url in ("ws://10.0.0.5:9001/", "https://10.0.0.5/", "https://127.0.0.1/"):
        with pytest.raises(DestinationError):
            await destinations.pin(url)
