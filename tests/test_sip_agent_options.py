"""Agents at a SIP URI: what can be written of them, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.call.party import Party, PartyState
from gateway.config import parse_config
from gateway.errors import ConfigError
from gateway.explain import explain, render
from gateway.leg.leg import Role
from gateway.options import Config
from gateway.private import Private
from gateway.sdp.crypto import SrtpPolicy
from gateway.trunk.identity import CallerIdentity
from gateway.trunk.invite import build_invite
from gateway.trunk.trunk import Peers
from tests.support.legs import FakeLeg

FILE = Path("gateway.toml")
OPENAI = "sip:proj_x@sip.api.openai.com;transport=tls"


def config_with(**agent: Any) -> Config:
    section = {"name": "model", "protocol": "sip", "uri": OPENAI, **agent}
    route = {"from": "trunk:carrier", "match": "*", "to": ["agent:model"]}
    carrier = {"name": "carrier", "uri": "sip:198.51.100.20"}
    document = {"agent": [section], "trunk": [carrier], "route": [route]}
    return parse_config(document, FILE, {"MODEL_PASSWORD": "secret"})


def test_agent_at_a_sip_uri_is_a_trunk_that_every_call_asks_for_the_same() -> None:
    config = config_with(settings={"codecs": ["PCMU"], "headers": ["X-Account: 42"]})

    trunk = config.sip_agents["model"]
    invite = build_invite(
        trunk,
        caller=CallerIdentity(Private("+15550001")),
        called="+15550100",
        local_host="192.0.2.1",
    )

    assert (str(invite.target), str(invite.to.uri)) == (OPENAI, OPENAI)
    assert invite.destination is not None
    assert invite.destination.is_over_tls
    assert str(invite.from_.uri) == "sip:+15550001@192.0.2.1"
    assert ("X-Account", "42") in invite.headers
    assert [codec.name for codec in trunk.codecs] == ["PCMU"]


def test_uri_without_a_user_is_asked_for_the_number_that_was_called() -> None:
    config = config_with(uri="sip:project.sip.livekit.cloud")

    trunk = config.sip_agents["model"]
    caller = CallerIdentity(Private("+15550001"))
    invite = build_invite(trunk, caller=caller, called="+15550100", local_host="192.0.2.1")

    assert str(invite.target) == "sip:+15550100@project.sip.livekit.cloud"


@pytest.mark.parametrize(
    ("uri", "srtp"), [(OPENAI, SrtpPolicy.OPTIONAL), ("sip:x@192.0.2.7", SrtpPolicy.OFF)]
)
def test_media_is_protected_where_its_signalling_is(uri: str, srtp: SrtpPolicy) -> None:
    assert config_with(uri=uri).sip_agents["model"].srtp is srtp


def test_agent_at_a_sip_uri_is_not_asked_whether_it_is_there_unless_that_is_set() -> None:
    assert config_with().sip_agents["model"].probe_s == 0
    assert config_with(settings={"probe_s": 30}).sip_agents["model"].probe_s == 30


def test_agent_logs_in_by_its_own_password() -> None:
    trunk = config_with(username="us", password_env="MODEL_PASSWORD").sip_agents["model"]

    assert trunk.username == "us"
    assert trunk.password is not None
    assert trunk.password.value == "secret"


def test_explain_shows_the_invite_that_the_agent_would_get() -> None:
    explained = explain(
        config_with(),
        "trunk:carrier",
        "+15550100",
        CallerIdentity(Private("+15550001")),
        attributes={},
        version="1",
    )

    shown = render(explained)
    assert "agent:model" in shown
    assert "INVITE sip:proj_x@sip.api.openai.com;transport=tls SIP/2.0" in shown


def test_what_the_agent_calls_comes_from_it_in_the_words_of_routes() -> None:
    config = config_with(uri="sip:model@192.0.2.7:5080")
    peers = Peers(config.all_trunks, ())

    assert peers.source_of(("192.0.2.7", 5080)) == "agent:model"
    assert peers.source_of(("198.51.100.20", 5060)) == "trunk:carrier"


def test_agent_at_a_sip_uri_is_no_person_though_it_is_called_like_a_phone() -> None:
    names = Party(FakeLeg("leg-1"), Role.CALLEE, "agent:model", PartyState.UP).names

    assert "ai" in names
    assert not names & {"agent", "people"}


def test_trunks_are_as_many_as_before() -> None:
    config = config_with()

    assert [trunk.name for trunk in config.trunks] == ["carrier"]
    assert [trunk.name for trunk in config.all_trunks] == ["carrier", "agent:model"]


@pytest.mark.parametrize(
    ("agent", "says"),
    [
        ({"uri": ""}, "uri is missing: write sip:USER@HOST"),
        ({"uri": "tel:+15550100"}, "uri = 'tel:.15550100': write sip:USER@HOST"),
        ({"uri": "sip:a:b@host"}, "uri = 'sip:a:b@host': write sip:USER@HOST"),
        ({"uri": "sip:a@host;transport=sctp"}, "with ;transport=udp, tcp or tls"),
        ({"token_env": "MODEL_PASSWORD"}, "SIP has passwords: password_env"),
        ({"settings": {"srpt": "off"}}, r"\[agent.settings\]: srpt = 'off': .*did you mean 'srtp'"),
        ({"settings": {"srtp": "maybe"}}, r"\[agent.settings\]: srtp = 'maybe'"),
        ({"settings": {"uri": "sip:x"}}, "uri = 'sip:x': is no key of an agent at a SIP URI"),
        ({"settings": {"probe_s": 1}}, "probe_s = 1.0: write 0 for never"),
    ],
)
def test_what_is_wrong_is_named_with_its_remedy(agent: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        config_with(**agent)

    assert str(caught.value).startswith('gateway.toml: [[agent]] 1 "model": ')
