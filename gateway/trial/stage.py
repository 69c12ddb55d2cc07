"""Where trials happen: the gateway under test, the lab in place of its trunks, a caller's node.

All on loopback, whatever the configuration listens on; nothing reaches a carrier.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from gateway.agents.protocols import find_wire
from gateway.codec import SPEECH
from gateway.config import parse_config
from gateway.document import nearest
from gateway.errors import ConfigError
from gateway.lab.lab import CALLERS, LAB_FILE, LAB_SECRETS, lab_document
from gateway.net.interface import is_loopback
from gateway.net.pacer import Pacer
from gateway.net.ports import RtpPortOptions
from gateway.node import Node
from gateway.options import Config, LineOptions, Listen
from gateway.sdp.crypto import SrtpPolicy
from gateway.sip.uri import Uri
from gateway.trial.script import CODECS
from gateway.trunk.route import Route, Target, TargetKind
from gateway.trunk.trunk import Trunk

CALLER = "caller"
"The scripted caller, among the agents of its node and the trunks of the gateway."

DIALLED = "trial"
"What it dials."

LOOPBACK = "127.0.0.1"


def check_callable(config: Config, name: str) -> None:
    """Whether trials can call an agent.

    Raises:
        ConfigError: there is none of that name, or it needs a gateway that is served.
    """
    found = next((agent for agent in config.agents if agent.name == name), None)
    if found is None:
        near = nearest(name, [agent.name for agent in config.agents]) or "; it has none"
        raise ConfigError(f"{config.file}: there is no agent:{name}{near}")
    if found.protocol == "realtime-webhook":
        why, remedy = "accepts its calls over HTTP", f"call agent:{found.settings.agent}"
    elif find_wire(found.protocol) is not None and not found.url:
        why, remedy = "dials the gateway itself", "give it a url to be dialled at"
    else:
        return
    raise ConfigError(
        f"{config.file}: agent:{name} {why}, and nothing is served while agents are called;"
        f" {remedy}, or serve it and call it by telephone"
    )


@asynccontextmanager
async def open_gateway(
    config: Config, agent: str, version: str
) -> AsyncIterator[tuple[Node, Pacer]]:
    """The gateway under test, and the lab behind it."""
    loop = asyncio.get_running_loop()
    pacer = Pacer(loop)
    lab_port = _free_port()
    document = lab_document(f"udp:{LOOPBACK}:{lab_port}")
    # Whoever an agent transfers to is there, and says back what it hears.
    document["route"].append({"from": CALLERS, "match": "*", "to": ["agent:echo"]})
    lab = parse_config(document, LAB_FILE, LAB_SECRETS)
    async with (
        open_node(lab, version, pacer),
        open_node(_under_test(config, agent, lab_port), version, pacer) as node,
    ):
        yield node, pacer


def _under_test(config: Config, agent: str, lab_port: int) -> Config:
    """The configuration as it is, but on loopback, for the trial's caller, and with the lab."""
    lab = Uri("sip", None, host=LOOPBACK, port=lab_port)
    caller = Trunk(
        CALLER,
        Uri("sip", None, host=LOOPBACK, port=9),  # it is never called: "discard"
        allow=(ipaddress.ip_network("127.0.0.0/8"),),
        media_allow=(ipaddress.ip_network("127.0.0.0/8"),),
        codecs=tuple(SPEECH[name] for name in CODECS),
        probe_s=0,
    )
    listen, rtp = LOOPBACK, RtpPortOptions(LOOPBACK, first_port=40_000, last_port=44_999)
    called = config.sip_agents.get(agent)
    if called is not None and not is_loopback(called.uri.host):
        # What is elsewhere cannot be spoken to from loopback.
        listen, rtp = "0.0.0.0", config.rtp  # noqa: S104 - the caller alone is let in
    route = Route((f"trunk:{CALLER}",), DIALLED, ((Target(TargetKind.AGENT, agent),),))
    return replace(
        config,
        drain_s=0,
        max_cpu=0,
        http=None,
        webrtc=None,
        turn=None,
        lab=None,
        lines=LineOptions(),
        sip=replace(
            config.sip,
            listen=(Listen("udp", listen, 0),),
            allow=(),
            max_cps=None,
            domains=(),
        ),
        rtp=rtp,
        trunks=(caller, *(_in_the_lab(trunk, lab) for trunk in config.trunks)),
        routes=(route, *config.routes),
    )


def _in_the_lab(trunk: Trunk, lab: Uri) -> Trunk:
    return replace(
        trunk,
        uri=lab,
        proxy=None,
        registrations=(),
        username=None,
        password=None,
        srtp=SrtpPolicy.OFF,
        probe_s=0,
        allow=(),
    )


def caller_document(port: int, codec: str) -> dict[str, Any]:
    """The configuration of the caller's node."""
    return {
        "node": {"name": "caller", "max_cpu": 0, "drain_s": 0},
        "http": {"listen": ""},
        "webrtc": {"listen": ""},
        "sip": {"listen": [f"udp:{LOOPBACK}:0"]},
        "rtp": {"ports": "45000-49999"},
        "trunk": [
            {
                "name": "gateway",
                "uri": f"sip:{LOOPBACK}:{port}",
                "codecs": [codec],
                "media_allow": ["0.0.0.0/0"],
                "probe_s": 0,
            }
        ],
        "agent": [{"name": CALLER, "protocol": "echo"}],
        "route": [
            {"from": "api", "match": CALLER, "to": [f"agent:{CALLER}"]},
            {"from": "api", "match": DIALLED, "to": ["trunk:gateway"]},
        ],
    }


@asynccontextmanager
async def open_node(config: Config, version: str, pacer: Pacer) -> AsyncIterator[Node]:
    loop = asyncio.get_running_loop()
    node = Node(config, version=version, loop=loop, pacer=pacer, certificate=None)
    try:
        yield node
    finally:
        await node.close()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
