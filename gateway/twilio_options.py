"""What [twilio], and agents of protocol twiml, say, made into options."""

from __future__ import annotations

import re
import shlex
from urllib.parse import urlsplit

from gateway.agents.twiml.options import Settings
from gateway.api.twilio_calls import TwilioOptions
from gateway.document import AgentSection, TwilioSection, nearest
from gateway.errors import GatewayError
from gateway.net.destination import check_url
from gateway.reader import Reader

ACCOUNT = re.compile(r"AC[0-9a-f]{32}")


def read_twilio(
    reader: Reader, twilio: TwilioSection | None, agents: tuple[AgentSection, ...], has_http: bool
) -> TwilioOptions | None:
    """The section, checked; None: there is none.

    Raises:
        ConfigError: naming file, key, value and remedy.
    """
    if twilio is None:
        return None
    where = "[twilio]"
    if not has_http:
        raise reader.wrong(where, "account_sid", twilio.account_sid, "it needs [http] listen")
    if not ACCOUNT.fullmatch(twilio.account_sid):
        remedy = "write AC and 32 digits of 0-9 and a-f, as your agents know it, or any"
        raise reader.wrong(where, "account_sid", twilio.account_sid, remedy)
    token = reader.secret(where, "auth_token_env", twilio.auth_token_env)
    assert token is not None, "the key is needed"
    names = [agent.name for agent in agents if agent.protocol == "twiml"]
    if twilio.agent is not None and twilio.agent not in names:
        remedy = f'there is no such agent of protocol = "twiml"{nearest(twilio.agent, names)}'
        raise reader.wrong(where, "agent", twilio.agent, remedy)
    if twilio.agent is None and len(names) > 1:
        remedy = f"name one of {', '.join(names)}: it attends the calls that are placed here"
        raise reader.wrong(where, "agent", None, remedy)
    return TwilioOptions(twilio.account_sid, token, twilio.agent or next(iter(names), ""))


def check_twiml_agent(reader: Reader, where: str, agent: AgentSection, settings: Settings) -> None:
    """Refuse what cannot be asked, or run.

    Raises:
        ConfigError: naming file, key, value and remedy.
    """
    urls = [("url", agent.url), ("fallback_url", settings.fallback_url)]
    urls += [("status_callback", settings.status_callback)]
    for key, url in urls:
        if url:
            _check_web_url(reader, where, key, url)
    for url in settings.trusted_urls:
        try:
            check_url(url)
        except GatewayError as error:
            raise reader.wrong(where, "trusted_urls", url, str(error)) from None
    try:
        shlex.split(settings.say_command)
    except ValueError as error:
        raise reader.wrong(where, "say_command", settings.say_command, str(error)) from None


def _check_web_url(reader: Reader, where: str, key: str, url: str) -> None:
    remedy = "write https://HOST/PATH, with no name or password in it"
    try:
        check_url(url)
    except GatewayError as error:
        raise reader.wrong(where, key, url, f"{error}; {remedy}") from None
    if urlsplit(url).scheme not in ("https", "http"):
        raise reader.wrong(where, key, url, remedy)
