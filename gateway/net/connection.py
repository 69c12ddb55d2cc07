"""What connections of every kind have in common: their limits, their clock, and one table."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from gateway.net.interface import neighbourhood
from gateway.sip.flow import Flow

log = logging.getLogger(__name__)

SWEEP_S = 0.25
"How often every connection looks at its clocks: 1 µs each."

PING_FROM_S, PING_TO_S = 95.0, 120.0
"Between two pings of ours on a connection that we opened (RFC 5626 §4.4.1)."


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a peer may take of us by connecting (behaviour A23)."""

    handshake_s: float = 5.0
    "For TLS, from the accepted connection on."
    first_message_s: float = 10.0
    "From the open connection to the end of the first message: who connects has something to say."
    message_s: float = 20.0
    "From the first byte of a message to its last."
    idle_s: float = 120.0
    "Without a message, on a connection that nothing holds, such as a registration or a call."
    opened_idle_s: float = 600.0
    "The same on a connection of ours, which is kept for the next request to the same hop."
    connect_s: float = 4.0
    "For a connection of ours, with its handshake: longer, and the next hop is tried."
    pong_s: float = 10.0
    "For the answer to our ping (RFC 5626 §4.4.1), from a peer that has answered one before."
    per_address: int = 16
    "Accepted connections of one address; of IPv6 one network of 64 bits."
    total: int = 2048
    "Accepted connections of all peers."
    opened: int = 512
    "Connections of ours; one for each hop in use."
    queue_bytes: int = 256 * 1024
    "Waiting to be sent to a peer that does not read; then it is cut off."


class Closing(Enum):
    """Why a connection ended."""

    PEER = "peer"
    "The peer closed or broke it."
    NO_HANDSHAKE = "no-handshake"
    NO_MESSAGE = "no-message"
    SLOW_MESSAGE = "slow-message"
    IDLE = "idle"
    NO_PONG = "no-pong"
    MALFORMED = "malformed"
    TLS = "tls"
    TOO_SLOW = "too-slow"
    "It did not read what we sent."
    REFUSED = "refused"
    "Its source is not admitted, or not any more."
    STOPPED = "stopped"
    "By us, at the end."
    BUG = "bug"
    "Ours."


class Patience:
    """How long one open connection is waited for."""

    def __init__(self, limits: ConnectionLimits, now: float, *, is_ours: bool) -> None:
        """`is_ours`: we opened it, so the peer need not speak first, nor at all."""
        self._limits = limits
        self._is_ours = is_ours
        self._opened_at = self._used_at = now
        self._begun_at: float | None = None
        self._was_heard = False

    def heard(self, now: float) -> None:
        """A whole message came."""
        self._used_at = now
        self._was_heard = True
        self._begun_at = None

    def used(self, now: float) -> None:
        """Something was sent."""
        self._used_at = now

    def waits(self, now: float, *, within_message: bool) -> None:
        """All that came was read; whether a message has begun and goes on."""
        if not within_message:
            self._begun_at = None
        elif self._begun_at is None:
            self._begun_at = now

    def overdue(self, now: float, is_held: Callable[[], bool]) -> Closing | None:
        """Why it is not to be waited for any longer; None: it is."""
        limits = self._limits
        if self._begun_at is not None and now >= self._begun_at + limits.message_s:
            return Closing.SLOW_MESSAGE
        is_mute = not self._was_heard and not self._is_ours
        if is_mute and now >= self._opened_at + limits.first_message_s:
            return Closing.NO_MESSAGE
        if now >= self._used_at + (limits.opened_idle_s if self._is_ours else limits.idle_s):
            if not is_held():
                return Closing.IDLE
            self._used_at = now  # asked again when it would be idle next
        return None


class Connection(Protocol):
    """One connection, whatever carries it."""

    @property
    def flow(self) -> Flow:
        """Which one it is."""

    @property
    def is_counted(self) -> bool:
        """Whether it counts against the limits of accepted connections."""

    def send(self, data: bytes) -> bool:
        """Send one message; whether it was taken. Never raises."""

    def sweep(self, now: float) -> None:
        """Do what is due."""

    def close(self, why: Closing) -> None:
        """End it, after what waits to be sent."""


class ConnectionTable:
    """Every connection: those in use by their flow, and the rest until they are gone."""

    numbers = itertools.count(1)
    "What tells the connections of this process apart, also those of several tables."

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        receive: Callable[[bytes, Flow], object],
        on_closed: Callable[[Flow], object],
        admit: Callable[[tuple[str, int]], bool],
        is_held: Callable[[Flow], bool],
        limits: ConnectionLimits,
    ) -> None:
        """
        Args:
            receive: takes one message.
            on_closed: is told once of each flow that was open and is so no longer.
            admit: whether a source may be heard at all.
            is_held: whether a flow is needed, although nothing comes: a phone is registered on
                it, or a call runs over it.
        """
        self.limits = limits
        self.receive = receive
        self.admit = admit
        self.is_held = is_held
        self.closings: Counter[Closing] = Counter()
        "How connections that were open ended."
        self.refused = 0
        "Connections not taken: their source is not admitted, or a limit is reached."
        self.crowded = 0
        "Of those, the ones for a limit."
        self._loop = loop
        self._on_closed = on_closed
        self._open: dict[Flow, Connection] = {}
        self._all: set[Connection] = set()
        self._accepted: Counter[str] = Counter()
        self._accepted_total = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._all)

    def get(self, flow: Flow) -> Connection | None:
        """The open connection of a flow."""
        return self._open.get(flow)

    def admits(self, remote: tuple[str, int]) -> bool:
        """Whether one more connection is taken from there; counts those that are not."""
        if not self.admit(remote):
            self.refused += 1
            return False
        place = neighbourhood(remote[0])
        limits = self.limits
        if self._accepted_total < limits.total and self._accepted[place] < limits.per_address:
            return True
        self.refused += 1
        self.crowded += 1
        if self.crowded == 1:
            log.warning(
                "sip: a connection is refused, %d are open from there and %d in all; more from an"
                " address are taken by [sip] connections_per_address; counted from now on",
                self._accepted[place],
                self._accepted_total,
            )
        return False

    def add(self, connection: Connection) -> None:
        """It exists: from now on it is swept, and counts until `remove`."""
        self._all.add(connection)
        if connection.is_counted:
            self._accepted[neighbourhood(connection.flow.remote[0])] += 1
            self._accepted_total += 1
        if self._timer is None:
            self._timer = self._loop.call_later(SWEEP_S, self._sweep)

    def open(self, connection: Connection) -> None:
        """It can be used."""
        self._open[connection.flow] = connection

    def end(self, connection: Connection, why: Closing) -> None:
        """It cannot be used any more, or never could."""
        self.closings[why] += 1
        log.debug("%s connection closed: %s", connection.flow.transport, why.value)
        if self._open.pop(connection.flow, None) is not None:
            self._on_closed(connection.flow)

    def remove(self, connection: Connection) -> None:
        """It is gone."""
        if connection not in self._all:
            return
        self._all.discard(connection)
        if connection.is_counted:
            self._accepted_total -= 1
            place = neighbourhood(connection.flow.remote[0])
            self._accepted[place] -= 1
            if not self._accepted[place]:
                del self._accepted[place]

    def close(self) -> None:
        """End every connection."""
        for connection in list(self._all):
            connection.close(Closing.STOPPED)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        self._timer = None
        now = self._loop.time()
        for connection in list(self._all):
            try:
                connection.sweep(now)
            except Exception:
                # Of one connection: the others' clocks go on.
                log.exception("a connection is given up for a bug")
                self.end(connection, Closing.BUG)
                self.remove(connection)
        if self._all and self._timer is None:
            self._timer = self._loop.call_later(SWEEP_S, self._sweep)
