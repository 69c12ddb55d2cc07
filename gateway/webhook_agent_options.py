"""Agents behind a webhook in OpenAI's shape: what their [[agent]] sections have to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from gateway.agents.incoming import Settings, read_secret
from gateway.document import AgentSection, nearest
from gateway.private import Secret
from gateway.reader import Reader


def check_webhook_agent(
    reader: Reader,
    where: str,
    agent: AgentSection,
    settings: Settings,
    secret: Secret | None,
    others: Sequence[AgentSection],
) -> Settings:
    """Its settings, with the agent named that takes what the program accepts.

    Raises:
        ConfigError: naming file, key, value and remedy.
    """
    parts = urlsplit(agent.url)
    if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc:
        raise reader.wrong(where, "url", agent.url, "write https://HOST/PATH of the webhook")
    if secret is None:
        remedy = "name the variable that holds whsec_… and a key in base64: it signs the webhooks"
        raise reader.wrong(where, "token_env", None, remedy)
    reader.check(where, "token_env", agent.token_env or "", lambda _: _check(secret))
    models = [other.name for other in others if other.protocol == "openai"]
    name = settings.agent or (models[0] if len(models) == 1 else "")
    if name not in models:
        at = f"{where}: [agent.settings]"
        remedy = f"name an agent of protocol openai{nearest(name, models)}"
        raise reader.wrong(at, "agent", settings.agent, remedy)
    return replace(settings, agent=name)


def _check(secret: Secret) -> None:
    read_secret(secret.value)
