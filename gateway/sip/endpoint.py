"""The SIP user agent core: one machine that a driver feeds with datagrams and time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.sip.event import Event
from gateway.sip.flow import Flow, Send
from gateway.sip.invite import InviteRequest
from gateway.sip.invite_client import InviteClient
from gateway.sip.uri import Uri

Output = Send


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """How the endpoint presents itself, and its limits."""

    user_agent: str = "voice-gateway"
    "User-Agent and Server header; empty sends neither."
    contact: Callable[[Flow], Uri] | None = None
    "Our Contact on a flow; its host and port go in Via too. None: the flow's local address."
    max_sessions: int = 1000
    "Sessions not yet ended; above it a new INVITE gets 503 with Retry-After."
    max_transactions: int = 20_000
    "Transactions kept, those of ended sessions included; above it the same."
    retry_after_s: int = 5


class Endpoint:
    """A Machine: datagrams and time in; datagrams, events and the next timer out."""

    def __init__(self, options: EndpointOptions, *, new_token: Callable[[], str]) -> None:
        """`new_token` gives unguessable token characters of at least 64 bits: tags, branches."""

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """Take one datagram from an admitted source. Never raises for what is in it."""
        raise NotImplementedError

    def invite(self, request: InviteRequest, now: float) -> InviteClient:
        """Place a call.

        Raises:
            CapacityError: a limit of the options is reached.
            ValueError: a header of the request is structural or holds control characters.
        """
        raise NotImplementedError

    def flow_failed(self, flow: Flow, now: float) -> None:
        """The driver could not send on the flow: requests waiting there fail at once."""
        raise NotImplementedError

    def handle_timer(self, now: float) -> None:
        """Fire what is due."""
        raise NotImplementedError

    def next_timer(self) -> float | None:
        """When to call `handle_timer`; None: nothing waits."""
        raise NotImplementedError

    def take_output(self) -> Sequence[Send]:
        """Datagrams to send, in order; each is handed out once."""
        raise NotImplementedError

    def take_events(self) -> Sequence[Event]:
        """What happened, in order; each is handed out once."""
        raise NotImplementedError
