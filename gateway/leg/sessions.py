"""SipLegs: which leg each session of the SIP endpoint belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.errors import RemoteProtocolError
from gateway.leg.leg import LegId
from gateway.net.driver import Driver
from gateway.sip import event as sip
from gateway.sip.endpoint import Endpoint
from gateway.sip.flow import Output
from gateway.sip.replaces import parse_replaces
from gateway.sip.session import Session

if TYPE_CHECKING:
    from gateway.leg.sip import SipLeg


class SipLegs:
    """The legs of one endpoint: hands each session's events to its leg."""

    def __init__(self, endpoint: Endpoint, *, loop: asyncio.AbstractEventLoop) -> None:
        self.endpoint = endpoint
        self.loop = loop
        self.driver: Driver[Output, sip.Event]
        "Set by who makes the driver, which needs `on_event` first."
        self.on_incoming: Callable[[sip.Incoming], None] = _refuse
        self.on_endpoint_event: Callable[[sip.EndpointEvent], None] = _ignore
        "Gets what belongs to no session: requests outside of dialogs, and news of hops."
        self._legs: dict[Session, SipLeg] = {}

    def __len__(self) -> int:
        return len(self._legs)

    def add(self, session: Session, leg: SipLeg) -> None:
        """Events of the session go to the leg from now on."""
        self._legs[session] = leg

    def on_event(self, event: sip.Event) -> None:
        """Take one event of the endpoint."""
        if isinstance(event, sip.Incoming):
            self.on_incoming(event)
            return
        if isinstance(event, sip.EndpointEvent):
            self.on_endpoint_event(event)
            return
        session = event.session
        leg = self._legs.get(session)
        if leg is None:
            return
        leg.on_sip_event(event)
        if leg.has_ended and session.is_settled:
            # What is left is for the stack alone: it answers retransmissions for half a minute,
            # in which a busy node would keep thousands of calls with all that is theirs.
            del self._legs[session]
            leg.on_settled()

    def connection_closed(self) -> None:
        """A connection of a phone's is gone; whose it was, the sessions know."""
        for session, leg in list(self._legs.items()):
            if session.is_cut_off:
                leg.on_connection_closed()

    def leg_of(self, session: Session) -> SipLeg | None:
        """The leg of a session that is not settled."""
        return self._legs.get(session)

    def find_dialog(self, replaces: str) -> LegId | None:
        """The leg whose dialog the value of a Replaces header names; None: it is none of ours."""
        try:
            named = parse_replaces(replaces)
        except RemoteProtocolError:
            return None
        for session, leg in self._legs.items():
            # Our tag is unlike that of any other dialog, and nobody can guess it.
            if session.id == named.to_tag and session.call_id == named.call_id:
                return leg.id
        return None


def _refuse(event: sip.Incoming) -> None:
    """Nobody takes calls yet."""


def _ignore(event: sip.EndpointEvent) -> None:
    """Nobody asked for it."""
