"""Lines: calls that PBXs hand us over sockets of audio, from the socket to the routes."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway.agents.lines.asterisk import AsteriskLine
from gateway.agents.lines.audiosocket import AudioSocketLine
from gateway.agents.lines.line import Begun
from gateway.call.expected import EXPIRES_S, ExpectedCall, ExpectedCalls
from gateway.errors import ConfigError, GatewayError, RoutingError
from gateway.leg.leg import EndReason, LegId, reason_of_error
from gateway.leg.line import LineLeg
from gateway.net.agent_connection import AgentConnection
from gateway.net.audiosocket import AudioSocketServer
from gateway.net.interface import is_loopback
from gateway.net.tcp import open_tcp_socket
from gateway.net.udp import Address
from gateway.options import Config
from gateway.private import Secret
from gateway.sip.uri import format_host_port
from gateway.trunk.route import is_dialable

log = logging.getLogger(__name__)

AUDIOSOCKET, ASTERISK = "audiosocket", "asterisk"
"Who calls, in a route's `from`."


@dataclass(frozen=True, slots=True)
class LineCall:
    """A call as a line brings it."""

    source: str
    "As in a route's `from`."
    to: str
    caller: str
    "A number or name; empty: nobody knows."
    attributes: Mapping[str, str] = field(default_factory=dict)


class PlaceCall(Protocol):
    """What is asked of the node."""

    def __call__(self, leg: LineLeg, call: LineCall) -> object:
        """Place it.

        Raises:
            GatewayError: it leads nowhere, or there is no room.
        """


class Lines:
    """The doors by which PBXs come, and the calls that are expected there."""

    def __init__(
        self,
        config: Config,
        *,
        loop: asyncio.AbstractEventLoop,
        new_id: Callable[[], LegId],
        place: PlaceCall,
    ) -> None:
        """Listen, where it is configured.

        Raises:
            ConfigError: an address cannot be listened on.
        """
        self._options = config.lines
        self._loop = loop
        self._new_id = new_id
        self._place = place
        self.expected = ExpectedCalls()
        self._server = AudioSocketServer(loop=loop, admit=self._admits, take=self._on_audiosocket)
        try:
            for host, port in self._options.audiosocket:
                self._listen(config, host, port)
        except ConfigError:
            self.close()
            raise

    @property
    def credentials(self) -> tuple[str, Secret] | None:
        """Name and password of an Asterisk that brings calls; None: it needs none of its own."""
        password = self._options.asterisk_password
        return None if password is None else (self._options.asterisk_username, password)

    @property
    def audiosocket_addresses(self) -> tuple[Address, ...]:
        """Where AudioSocket is listened for."""
        return self._server.addresses

    def close(self) -> None:
        """Take no more connections; calls that go on are ended with the node's."""
        self._server.close()

    # ---- what is expected

    def expect(self, call: ExpectedCall, expires_s: float = EXPIRES_S) -> None:
        """A PBX is to hand us this call.

        Raises:
            CapacityError: too many are expected.
        """
        self.expected.tell(call, self._loop.time(), expires_s)

    def is_media_id(self, id_: str) -> bool:
        """Whether an Asterisk may hand us a call at /media/ID."""
        return id_ in self._options.asterisk_calls or self.expected.is_known(
            _plain(id_), self._loop.time()
        )

    # ---- what comes

    def take_asterisk(self, id_: str, connection: AgentConnection, caller: str) -> None:
        """An Asterisk is connected to /media/ID."""
        to = self._options.asterisk_calls.get(id_)
        leg_id = self._new_id()

        def begin(leg: LineLeg, begun: Begun) -> None:
            attributes = {**begun.variables, "channel_id": begun.id}
            known = caller if is_dialable(caller) else ""
            self._begin(leg, _plain(id_), LineCall(ASTERISK, to or "", known, attributes))

        LineLeg(leg_id, AsteriskLine(), connection, begin=begin, loop=self._loop)

    def _on_audiosocket(self, connection: AgentConnection) -> None:
        def begin(leg: LineLeg, begun: Begun) -> None:
            call = LineCall(AUDIOSOCKET, self._options.audiosocket_to or "", "")
            self._begin(leg, begun.id, call)

        LineLeg(self._new_id(), AudioSocketLine(), connection, begin=begin, loop=self._loop)

    def _begin(self, leg: LineLeg, id_: str, call: LineCall) -> None:
        """Where does it go? What was told of it beforehand goes before the configuration."""
        attributes = {**call.attributes, "id": id_}
        told = self.expected.take(id_, self._loop.time())
        if told is not None:
            attributes |= told.attributes
            call = LineCall(call.source, told.to, told.caller or call.caller, attributes)
        else:
            call = LineCall(call.source, call.to, call.caller, attributes)
        try:
            if not call.to:
                raise RoutingError("nothing was said of this id")
            self._place(leg, call)
        except GatewayError as error:
            log.info("refused a line of %s with %d: %s", call.source, error.status, error)
            leg.end(reason_of_error(error), error.status)
        except Exception:
            log.exception("a line broke")
            leg.end(EndReason.GATEWAY_ERROR)

    # ---- the door of AudioSocket

    def _admits(self, remote: Address) -> bool:
        host = remote[0]
        return is_loopback(host) or any(
            ipaddress.ip_address(host) in network for network in self._options.audiosocket_allow
        )

    def _listen(self, config: Config, host: str, port: int) -> None:
        try:
            self._server.listen(open_tcp_socket(host, port))
        except OSError as error:
            raise ConfigError(
                f"{config.file}: [audiosocket] listen = '{format_host_port(host, port)}': cannot be"
                f" listened on ({error.strerror}); free the port or name another"
            ) from None


def _plain(id_: str) -> str:
    """A UUID as it is kept: however it is written."""
    return id_.replace("-", "").lower()
