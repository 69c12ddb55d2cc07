"""How TwiML is run: `[agent.settings]` of an agent with protocol = "twiml"."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gateway.private import Private

NO_ACCOUNT = "AC" + 32 * "0"


@dataclass(frozen=True, slots=True)
class Settings:
    """`[agent.settings]`."""

    account_sid: str = NO_ACCOUNT
    "Told to the web server as AccountSid."
    method: Literal["POST", "GET"] = "POST"
    "How the agent's url is asked."
    fallback_url: str = ""
    "Asked where `url` fails, or what it answers is no TwiML."
    status_callback: str = ""
    "URL that is told when a call has ended."
    trusted_urls: tuple[str, ...] = ()
    """Where TwiML and the REST interface may lead though it is not a public place, or without TLS,
    by host and port: "ws://10.0.0.5:9000". The agent's own url is such a place."""
    say_command: str = ""
    """Speaks <Say>: a command that reads text and writes a WAV file, such as
    "espeak-ng -v {language} --stdin --stdout"; without it <Say> is skipped."""


@dataclass(frozen=True, slots=True)
class TwimlOptions:
    """One agent that TwiML directs."""

    name: str
    url: str = ""
    "Asked what to do with a call; empty: only those placed by the REST interface are attended."
    token: Private | None = None
    "Signs what is asked; None: it is not signed."
    settings: Settings = field(default_factory=Settings)
