"""Agents at a SIP URI: what their [[agent]] sections say, made into trunks of their own.

OpenAI's and LiveKit's SIP endpoints take calls as a carrier does: such an agent is a trunk that
every call asks for the same thing, and that routes call `agent:NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gateway.document import AgentSection, TrunkSection, nearest
from gateway.errors import RemoteProtocolError
from gateway.reader import Reader
from gateway.sip.uri import Uri, parse_uri
from gateway.trunk.trunk import Trunk
from gateway.trunk_options import read_trunk

ELSEWHERE = frozenset(
    {"name", "uri", "transport", "profile", "username", "password_env", "register"}
)
"Keys of a trunk that an agent has not, or has beside its settings."

DEFAULTS: Mapping[str, Any] = {"probe_s": 0}
"Where they differ from a trunk's: endpoints of agents need not answer OPTIONS."

_REMEDY = "write sip:USER@HOST, with ;transport=tls where it is spoken to over TLS"
_section = TypeAdapter(TrunkSection)


def read_sip_agent(reader: Reader, where: str, agent: AgentSection) -> Trunk:
    """The trunk that an agent of protocol sip is.

    Raises:
        ConfigError: naming file, key, value and remedy.
    """
    uri = _uri(reader, where, agent.uri)
    if agent.token_env is not None:
        raise reader.wrong(where, "token_env", agent.token_env, "SIP has passwords: password_env")
    place = replace(uri, user=None, password=None)
    settings = agent.settings or {}
    _check_keys(reader, where, settings)
    table = {
        **DEFAULTS,
        # Whoever speaks SIP over TLS is not to have its speech on the wire in the clear.
        "srtp": "optional" if _is_over_tls(place) else "off",
        **settings,
        "name": agent.name,
        "uri": str(place),
        "username": agent.username or None,
        "password_env": agent.password_env,
    }
    try:
        section = _section.validate_python(table)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        key = str(wrong["loc"][0]) if wrong["loc"] else "settings"
        raise reader.wrong(_table(where), key, settings.get(key), wrong["msg"]) from None
    trunk = read_trunk(reader, where, section)
    return replace(trunk, name=f"agent:{agent.name}", target=None if uri.user is None else uri)


def _uri(reader: Reader, where: str, text: str) -> Uri:
    if not text:
        raise reader.wrong(where, "uri", None, _REMEDY)
    try:
        uri = parse_uri(text)
    except RemoteProtocolError as error:
        raise reader.wrong(where, "uri", text, f"{_REMEDY} ({error})") from None
    if not uri.is_sip or uri.password is not None or uri.headers:
        raise reader.wrong(where, "uri", text, _REMEDY)
    reader.uri(where, "uri", str(replace(uri, user=None)))
    return uri


def _check_keys(reader: Reader, where: str, settings: Mapping[str, Any]) -> None:
    known = [each.name for each in fields(TrunkSection) if each.name not in ELSEWHERE]
    for key, value in settings.items():
        if key not in known:
            remedy = "is no key of an agent at a SIP URI" + nearest(key, known)
            raise reader.wrong(_table(where), key, value, remedy)


def _table(where: str) -> str:
    return f"{where}: [agent.settings]"


def _is_over_tls(uri: Uri) -> bool:
    return uri.scheme == "sips" or (uri.parameters.get("transport") or "").lower() == "tls"
