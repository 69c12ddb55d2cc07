"""What [[agent]] sections say, made into the options of agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from gateway.agents import incoming
from gateway.agents.protocol import WireModule
from gateway.agents.protocols import IN_PROCESS, find_wire, wire_names
from gateway.agents.tool import TOOLS
from gateway.agents.twiml import options as twiml
from gateway.document import AgentSection, nearest
from gateway.leg.turns import TurnsOptions
from gateway.media import silero
from gateway.options import AgentOptions
from gateway.private import Secret
from gateway.reader import Reader
from gateway.sip_agent_options import read_sip_agent
from gateway.trunk.route import is_dialable
from gateway.twilio_options import check_twiml_agent
from gateway.webhook_agent_options import check_webhook_agent

SCHEMES = {False: ("wss", "ws"), True: ("tcp",)}
"Of a URL, by whether the protocol is a TCP stream."


def read_agent(
    reader: Reader, where: str, agent: AgentSection, others: Sequence[AgentSection] = ()
) -> AgentOptions:
    """One agent.

    Args:
        others: all agents: those that it names must be there.

    Raises:
        ConfigError: naming file, key, value and remedy.
    """
    module = find_wire(agent.protocol)
    if module is None and agent.protocol not in IN_PROCESS:
        known = (*IN_PROCESS, *wire_names())
        raise reader.wrong(
            where, "protocol", agent.protocol, f"is none{nearest(agent.protocol, known)}"
        )
    if agent.protocol == "script" and (agent.script is None) == (not agent.step):
        raise reader.wrong(
            where,
            "script",
            agent.script,
            "a scripted agent wants either `script`, a file, or `step`, a list",
        )
    settings: Any = agent.settings
    if module is not None:
        settings = _settings(reader, where, module.Settings, agent.settings or {})
        _check_url(reader, where, agent, module)
    secret = _secret(reader, where, agent)
    if agent.protocol == "realtime-webhook":
        settings = _settings(reader, where, incoming.Settings, agent.settings or {})
        settings = check_webhook_agent(reader, where, agent, settings, secret, others)
    if agent.protocol == "twiml":
        settings = _settings(reader, where, twiml.Settings, agent.settings or {})
        check_twiml_agent(reader, where, agent, settings)
    for target in agent.fallback:
        _check_fallback(reader, where, target, agent, others)
    return AgentOptions(
        agent.name,
        agent.protocol,
        agent.about,
        reader.path(agent.script),
        agent.step,
        reader.file,
        url=agent.url,
        username=agent.username,
        secret=secret,
        settings=settings,
        answers_at_once=agent.answer == "at-once",
        ready_timeout_s=agent.ready_timeout_s,
        hears_early_media=agent.hear_early_media,
        fallback=agent.fallback,
        apology=_sound(reader, where, "apology", agent.apology),
        wait_sound=_sound(reader, where, "wait_sound", agent.wait_sound),
        tools=_tools(reader, where, agent.tools),
        max_transfers=agent.max_transfers,
        class_name=agent.class_,
        speech=_speech(reader, where, agent),
        answering_machine=agent.answering_machine,
        trunk=read_sip_agent(reader, where, agent) if agent.protocol == "sip" else None,
    )


def _tools(reader: Reader, where: str, names: tuple[str, ...] | None) -> frozenset[str] | None:
    for name in names or ():
        if name not in TOOLS:
            raise reader.wrong(where, "tools", name, f"is no tool{nearest(name, TOOLS)}")
    return None if names is None else frozenset(names)


def _speech(reader: Reader, where: str, agent: AgentSection) -> TurnsOptions | None:
    if agent.vad == "off":
        if agent.barge_in != "off":
            remedy = 'needs vad = "energy" or "model", to know that somebody speaks'
            raise reader.wrong(where, "barge_in", agent.barge_in, remedy)
        return None
    if agent.vad == "model" and not silero.load_model():
        remedy = 'needs a library that is not here: pip install "voice-gateway[vad]"'
        raise reader.wrong(where, "vad", agent.vad, remedy)
    return TurnsOptions(agent.vad, agent.barge_in, agent.barge_in_min_ms)


def _settings(reader: Reader, where: str, kind: type[Any], table: Mapping[str, Any]) -> Any:
    """The protocol's own settings, checked by the types that it names."""
    known = [each.name for each in fields(kind)]
    at = f"{where}: [agent.settings]"
    for key, value in table.items():
        if key not in known:
            raise reader.wrong(at, key, value, f"is no key{nearest(key, known)}")
    try:
        return TypeAdapter(kind).validate_python(dict(table))
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        key = str(wrong["loc"][0]) if wrong["loc"] else "settings"
        raise reader.wrong(at, key, table.get(key), wrong["msg"]) from None


def _check_url(reader: Reader, where: str, agent: AgentSection, module: WireModule) -> None:
    url = agent.url
    schemes = SCHEMES[module.IS_STREAM]
    shape = " or ".join(f"{scheme}://HOST:PORT" for scheme in schemes)
    if not url:
        if getattr(module, "NEEDS_URL", True):
            raise reader.wrong(where, "url", None, f"write {shape}")
        if agent.protocol == "gateway" and not (agent.token_env or agent.password_env):
            remedy = "an agent without url dials us: name what holds the token that it shows"
            raise reader.wrong(where, "token_env", None, remedy)
        return
    remedy = f"write {shape}, with a path where the agent has one, and no name or password in it"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise reader.wrong(where, "url", url, remedy) from None
    if parts.scheme not in schemes or not parts.hostname or "@" in parts.netloc:
        raise reader.wrong(where, "url", url, remedy)
    if module.IS_STREAM and port is None:
        raise reader.wrong(where, "url", url, remedy)


def _check_fallback(
    reader: Reader, where: str, target: str, agent: AgentSection, others: Sequence[AgentSection]
) -> None:
    kind, colon, name = target.partition(":")
    if not colon and is_dialable(target):
        return
    if kind == "agent" and name == agent.name:
        raise reader.wrong(where, "fallback", target, "name another agent: this one is lost then")
    names = [other.name for other in others if other.name != agent.name]
    if kind != "agent":
        raise reader.wrong(where, "fallback", target, "write agent:NAME, or a number as +15550100")
    if name not in names:
        raise reader.wrong(
            where, "fallback", target, f"there is no such agent{nearest(name, names)}"
        )


def _secret(reader: Reader, where: str, agent: AgentSection) -> Secret | None:
    if agent.password_env and agent.token_env:
        raise reader.wrong(
            where, "token_env", agent.token_env, "name a password or a token, not both"
        )
    if agent.token_env:
        return reader.secret(where, "token_env", agent.token_env)
    return reader.secret(where, "password_env", agent.password_env)


def _sound(reader: Reader, where: str, key: str, path: Path | None) -> Path | None:
    found = reader.path(path)
    if found is not None and not found.is_file():
        raise reader.wrong(where, key, str(path), "name an existing WAV file")
    return found
