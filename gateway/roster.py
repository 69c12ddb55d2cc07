"""The agents that a configuration names: each is made here, once, when the node is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.agents.agent import Agent
from gateway.agents.dialler import Dialler
from gateway.agents.echo import Echo
from gateway.agents.incoming import IncomingCalls, WebhookAgent
from gateway.agents.incoming import Settings as WebhookSettings
from gateway.agents.openai_session import with_session
from gateway.agents.protocol import AgentAddress, Opening
from gateway.agents.protocols import find_wire
from gateway.agents.python import load_agent
from gateway.agents.remote import Clip, Dial, RemoteAgent, RemoteOptions
from gateway.agents.script import ScriptedAgent, load_script, parse_script
from gateway.agents.sideband import Sideband
from gateway.agents.twiml import options as twiml
from gateway.agents.twiml.agent import TwimlDesk
from gateway.agents.waiting import AwaitedAgent, Lobby
from gateway.errors import ConfigError
from gateway.media.file import read_wav
from gateway.net.agent_connection import AgentConnection, ConnectError
from gateway.net.agent_dial import prepare
from gateway.net.destination import Destinations, look_up_by
from gateway.net.dns import Resolver
from gateway.net.interface import listening_addresses
from gateway.net.webhook import Web
from gateway.options import AgentOptions, Config
from gateway.twiml_agents import TwimlAgents

SOUNDS = Path(__file__).with_name("agents") / "sounds"
APOLOGY, WAIT_SOUND = SOUNDS / "apology.wav", SOUNDS / "wait.wav"
"What callers of a lost agent hear, where the configuration names nothing else."


def make_destinations(config: Config, loop: asyncio.AbstractEventLoop) -> Destinations:
    """Where agents and web servers may be: what is configured, and public places (A21)."""
    look_up = look_up_by(Resolver(config.sip.resolver, loop=loop))
    trusted = [agent.url for agent in config.agents if agent.url]
    for agent in config.agents:
        if isinstance(agent.settings, twiml.Settings):
            trusted += agent.settings.trusted_urls
            trusted += filter(None, (agent.settings.fallback_url, agent.settings.status_callback))
    own = (*listening_addresses("::", loopback=True), *config.sip.reachable.advertise)
    return Destinations(look_up, trusted=trusted, own=own)


def make_agents(
    config: Config,
    desk: TwimlDesk,
    destinations: Destinations,
    incoming: IncomingCalls,
    lobby: Lobby,
) -> dict[str, Agent]:
    """All agents of a configuration.

    Args:
        desk: where the calls are found that TwiML directs.
        incoming: where calls are kept that programs are offered.
        lobby: where agents wait that dial us.

    Raises:
        ConfigError: as `make_agent`.
    """
    dial, web = Dialler(destinations), desk.web
    directed = TwimlAgents(config, desk, dial)
    if any(options.url.startswith("wss:") for options in config.agents):
        prepare()
    agents: dict[str, Agent] = {}
    for options in config.agents:
        if options.trunk is not None:
            continue  # one at a SIP URI is no object of ours
        if options.protocol == "realtime-webhook":
            agents[options.name] = _webhook_agent(options, dial, agents, web, incoming)
            continue
        if options.protocol == "twiml":
            agents[options.name] = directed.make(options)
            continue
        known = directed.with_account(options)
        agent = make_agent(known, dial=dial, agents=agents, lobby=lobby)
        if directed.may_direct(known):
            agent = directed.direct(known, agent)
        agents[options.name] = agent
    return agents


def check_agents(config: Config) -> None:
    """Read the scripts, classes and recordings of all agents, without a node.

    Raises:
        ConfigError: as `make_agent`.
    """
    for options in config.agents:
        # At a SIP URI nothing is to be read; what leads to a web server was read with its keys.
        if options.trunk is None and options.protocol not in ("twiml", "realtime-webhook"):
            make_agent(options)


def make_agent(
    options: AgentOptions,
    *,
    dial: Dial | None = None,
    agents: Mapping[str, Agent] | None = None,
    lobby: Lobby | None = None,
) -> Agent:
    """The agent that a configuration describes.

    Args:
        dial: opens connections to agents over a wire; None: nobody is connected.
        lobby: where it waits, if it dials us; None: nobody does.
        agents: all agents, by name, as they are made: of them one may take over for another.

    Raises:
        ConfigError: its script, its class, or a recording, is wrong.
    """
    match options.protocol:
        case "echo":
            return Echo()
        case "script" if options.script is not None:
            return ScriptedAgent(load_script(options.script))
        case "script":
            return ScriptedAgent(parse_script({"step": list(options.step)}, options.file))
        case "python":
            settings = options.settings or {}
            return load_agent(options.name, options.class_name, settings, options.file)
    module = find_wire(options.protocol)
    if module is None:
        raise ConfigError(f"agent {options.name}: protocol {options.protocol!r} is not known")
    address = AgentAddress(options.name, options.url, options.username, options.secret)
    kind = RemoteAgent
    if not options.url and lobby is not None:
        kind, dial = AwaitedAgent, lobby.dial_for(options.name, options.protocol)
    return kind(
        address,
        module,
        options.settings,
        _remote_options(options),
        dial=dial or _connect_nobody,
        agents=agents,
    )


def _remote_options(options: AgentOptions) -> RemoteOptions:
    return RemoteOptions(
        ready_timeout_s=options.ready_timeout_s,
        answers_at_once=options.answers_at_once,
        hears_early_media=options.hears_early_media,
        fallback=options.fallback,
        apology=Clip(*read_wav(options.apology or APOLOGY)),
        wait_sound=Clip(*read_wav(options.wait_sound or WAIT_SOUND)),
    )


def _webhook_agent(
    options: AgentOptions,
    dial: Dial,
    agents: Mapping[str, Agent],
    web: Web,
    incoming: IncomingCalls,
) -> WebhookAgent:
    """One that offers calls to a program; what it accepts is taken by another agent."""
    settings: WebhookSettings = options.settings

    def taker(session: Mapping[str, Any], sideband: Sideband | None = None) -> RemoteAgent:
        agent = agents[settings.agent]
        assert isinstance(agent, RemoteAgent)
        fallback = options.fallback or agent.options.fallback
        return RemoteAgent(
            agent.address,
            agent.module if sideband is None else sideband.tap(agent.module),
            with_session(agent.settings, session, settings.greeting),
            replace(agent.options, fallback=fallback),
            dial=dial,
            agents=agents,
        )

    return WebhookAgent(
        AgentAddress(options.name, options.url, secret=options.secret),
        settings,
        calls=incoming,
        web=web,
        answerer=taker,
        give_up=lambda call, detail: taker({}).give_up(call, detail),
    )


async def _connect_nobody(opening: Opening, *, is_stream: bool) -> AgentConnection:
    raise ConnectError("agents are not connected here")
