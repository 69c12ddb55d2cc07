"""Calls that a program is offered by a signed webhook, as OpenAI's SIP interface offers them.

webhook ▸ the program accepts, with a session ▸ a model of the configuration takes the call with it
          or rejects; later it may refer the call, or hang it up
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from gateway.agents.agent import Agent, AgentCall
from gateway.agents.protocol import AgentAddress, CallFacts
from gateway.agents.sideband import Sideband
from gateway.agents.tool import HangUp, Transfer
from gateway.errors import GatewayError, RoutingError
from gateway.net.signature import standard_signature
from gateway.net.webhook import Web, WebRequest

log = logging.getLogger(__name__)

KEY_PREFIX = "whsec_"
"What Standard Webhooks write before the key, which is base64."

EVENT = "realtime.call.incoming"

DECLINE = 603
"What a caller is told whom the program rejects without saying how, as with OpenAI."

USER = "!*'()&=+$,;?/"
"In the user of a SIP URI without an escape, beside letters, digits and -_.~ (RFC 3261 §25.1)."

HEADERS = ("From", "To", "Call-ID")
"Told of the INVITE, beside the attributes that the configuration lets through."


@dataclass(frozen=True, slots=True)
class Settings:
    """[agent.settings] of `protocol = "realtime-webhook"`."""

    agent: str = ""
    "The agent, of protocol openai, that takes accepted calls; where left out, the only one."
    accept_timeout_s: float = 10.0
    "How long the program may take to accept a call, or to reject it."
    greeting: bool | str = False
    "Whether the model speaks first, unasked by the program; a text: what it is told for that."


class IncomingCall:
    """One call that a program was offered."""

    def __init__(self, call: AgentCall) -> None:
        self.id = f"rtc_{call.facts.token}"
        self.session: asyncio.Future[Mapping[str, Any]] = asyncio.Future()
        "With what it was accepted."
        self._sideband: Sideband | None = None
        self._call = call
        self._is_over = False

    def accept(self, session: Mapping[str, Any]) -> None:
        """Let a model take the call.

        Raises:
            RoutingError: 409, the program has decided already.
        """
        self._decide()
        self._sideband = Sideband(self._call, session)
        self.session.set_result(session)

    @property
    def sideband(self) -> Sideband:
        """The program's own way into the session.

        Raises:
            RoutingError: 409, the call was not accepted.
        """
        if self._sideband is None:
            raise RoutingError("the call was not accepted", status=409)
        return self._sideband

    def close(self) -> None:
        """The call is over."""
        self._is_over = True
        if self._sideband is not None:
            self._sideband.publish(None)

    def reject(self, status: int = DECLINE) -> None:
        """Refuse it.

        Raises:
            RoutingError: 409, the program has decided already.
        """
        self._decide()
        self._is_over = True
        self._call.use(HangUp(after_speech=False, reason="rejected", status=status))

    def refer(self, to: str) -> None:
        """Bring the caller to a number or name that the routes let the agent dial.

        Raises:
            RoutingError: 409, the call was not accepted.
        """
        if not self.session.done() or self._is_over:
            raise RoutingError("the call was not accepted", status=409)
        self._call.accept_now()  # who still hears it ring cannot be transferred
        self._call.use(Transfer(to), f"refer-{secrets.token_hex(4)}")

    def hang_up(self) -> None:
        """End it, once what is said was heard; one that was not accepted is refused."""
        if not self._is_over:
            self._is_over = True
            self._call.use(HangUp(after_speech=self.session.done(), reason="hung up"))

    def _decide(self) -> None:
        if self.session.done() or self._is_over:
            raise RoutingError("this call was accepted or rejected before", status=409)


class IncomingCalls:
    """Those that programs were offered, and that are not over. As many as there are calls."""

    def __init__(self) -> None:
        self._calls: dict[str, IncomingCall] = {}

    def find(self, call_id: str) -> IncomingCall:
        """One by its id, `rtc_…`.

        Raises:
            RoutingError: 404, there is none.
        """
        call = self._calls.get(call_id)
        if call is None:
            raise RoutingError("there is no such call, or it is over")
        return call

    def enter(self, call: IncomingCall) -> None:
        """It is offered from now on."""
        self._calls[call.id] = call

    def leave(self, call: IncomingCall) -> None:
        """It is over; another program may have been offered the same call since."""
        if self._calls.get(call.id) is call:
            del self._calls[call.id]


class WebhookAgent:
    """Offers each call to a program; one that it accepts is taken by a model."""

    def __init__(
        self,
        address: AgentAddress,
        settings: Settings,
        *,
        calls: IncomingCalls,
        web: Web,
        answerer: Callable[[Mapping[str, Any], Sideband], Agent],
        give_up: Callable[[AgentCall, str], Any] | None = None,
    ) -> None:
        """
        Args:
            address: of the webhook, with the secret that signs it.
            answerer: who takes a call with this session, of which the program hears.
            give_up: awaited where the program fails; None: the agent has failed.

        Raises:
            ValueError: the secret is none.
        """
        self._address = address
        self._settings = settings
        self._calls = calls
        self._web = web
        self._answerer = answerer
        self._give_up = give_up
        self._key = b"" if address.secret is None else read_secret(address.secret.value)

    async def on_call(self, call: AgentCall) -> None:
        incoming = IncomingCall(call)
        self._calls.enter(incoming)
        offer = asyncio.ensure_future(self._offer(incoming.id, call.facts))
        try:
            call.ring_now()
            session = await self._accepted(incoming, offer)
            sideband = incoming.sideband
            await self._answerer(session, sideband).on_call(sideband.view(call))
        except _Failed as failed:
            log.info("call=%s agent=%s: %s", call.id, self._address.name, failed)
            self._calls.leave(incoming)  # the program has no more say in it
            if self._give_up is None:
                call.fail(str(failed))
            else:
                await self._give_up(call, str(failed))
        finally:
            self._calls.leave(incoming)
            incoming.close()
            # The program may still be answering the webhook of a call that it has accepted.
            offer.cancel()
            await asyncio.gather(offer, return_exceptions=True)

    async def _accepted(
        self, incoming: IncomingCall, offer: asyncio.Future[None]
    ) -> Mapping[str, Any]:
        """The session it is accepted with. One that is rejected ends, and this with it.

        Raises:
            _Failed: the program cannot be asked, or does not decide.
        """
        try:
            async with asyncio.timeout(self._settings.accept_timeout_s):
                await asyncio.wait((offer, incoming.session), return_when=asyncio.FIRST_COMPLETED)
                if not incoming.session.done():
                    offer.result()
                return await incoming.session
        except TimeoutError:
            raise _Failed("nobody accepted the call in time") from None
        except GatewayError as error:
            raise _Failed(str(error)) from None

    async def _offer(self, call_id: str, facts: CallFacts) -> None:
        """Send the webhook.

        Raises:
            GatewayError: it cannot be sent, or is not taken.
        """
        body = json.dumps(describe_offer(call_id, facts, at=int(time.time()))).encode()
        request = sign(self._address.url, body, self._key, at=int(time.time()))
        answer = await self._web.ask(request)
        if not answer.is_good:
            raise _Failed(f"its webhook says {answer.status}")


class _Failed(GatewayError):
    """A call found nobody. The message is fixed words of ours."""


def describe_offer(call_id: str, facts: CallFacts, *, at: int) -> dict[str, Any]:
    """What the webhook says.

    Args:
        at: Unix seconds.
    """
    node = facts.id.rpartition("-")[0] or "gateway"
    caller, called = (_user(each) for each in (facts.caller, facts.called))
    values = (f"<sip:{caller or 'anonymous'}@{node}>", f"<sip:{called}@{node}>", facts.id)
    headers = (*zip(HEADERS, values, strict=True), *facts.attributes.items())
    return {
        "id": f"evt_{secrets.token_hex(16)}",
        "object": "event",
        "created_at": at,
        "type": EVENT,
        "data": {
            "call_id": call_id,
            "sip_headers": [{"name": name, "value": value} for name, value in headers],
        },
    }


def _user(text: str) -> str:
    """As it stands in a SIP URI; what was no UTF-8 is a question mark."""
    return quote(text, safe=USER, errors="replace")


def sign(url: str, body: bytes, key: bytes, *, at: int) -> WebRequest:
    """A webhook, signed as Standard Webhooks are, and so OpenAI's (A22); unsigned without a key."""
    message_id = f"wh_{secrets.token_hex(16)}"
    headers: tuple[tuple[str, str], ...] = (
        ("Content-Type", "application/json"),
        ("webhook-id", message_id),
        ("webhook-timestamp", str(at)),
    )
    if key:
        headers += (("webhook-signature", standard_signature(key, message_id, at, body)),)
    return WebRequest(url, headers=headers, body=body)


def read_secret(text: str) -> bytes:
    """The key in `whsec_…`.

    Raises:
        ValueError: what follows is no base64, or there is nothing.
    """
    try:
        key = base64.b64decode(text.removeprefix(KEY_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise ValueError("a webhook's secret is whsec_ and a key in base64")
    return key
