"""The addresses of one stream's peer that have proven themselves, and which of them carries media.

Media goes where a pair was nominated, until something better is known: where the peer's own media
comes from now, or, when that has fallen silent, whichever address answers first. Nothing is sent
anywhere that has not answered a check of ours (RFC 7675 §5.1), and no signalling is needed.
"""

from __future__ import annotations

import random
from itertools import islice
from typing import TYPE_CHECKING

from gateway.webrtc.liveness import NEVER, SEARCH_S, SUSPECT_S, Liveness
from gateway.webrtc.mux import Route

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import Callable

    from gateway.webrtc.mux import Mux, MuxSocket, Stream, StunServer
    from gateway.webrtc.udp import Address

    Key = tuple[MuxSocket, Address]

MAX_ROUTES = 16
"Validated addresses of one stream: a phone has two links, and NATs rebind."

MAX_UNPROVEN = 16
"Addresses of a stream that were told, or sent authentic media, and are yet to answer a check."

MAX_ASKS_UNPROVEN = 8
"""So often an address that was only told of is asked in searches: a page may name those of others,
and then fall silent."""

LINGER_S = 1.0
"An address that carried media within this time is kept, whatever became of its generation."

PATIENCE_S = 0.05
"So long at least the address in use has to answer before every other is asked."

FOLLOW_EVERY_S = 0.1
"Between checks of an address that media comes from, but that does not answer."

SUSPECT_EVERY_S = 0.5
"Between checks made because of a sign that the path may have changed."

SETTLE_S = 1.0
"""So long a path that was just taken has to bring media. Until then only a newer generation is
preferred to it: what is still under way on the old path would lead back."""


class Paths:
    """Validated routes of one stream, and the one in use."""

    def __init__(self, mux: Mux, stream: Stream, *, on_target: Callable[[], None]) -> None:
        """
        Args:
            mux: the shared port.
            stream: what media and DTLS go to.
            on_target: is called whenever `target` has changed.
        """
        self.liveness = Liveness()
        self.target: Route | None = None
        "Where to send."
        self.active: StunServer | None = None
        "The generation by which `target` is asked for consent."
        self.has_orphans = False
        "Whether a route may outlive its generation."
        self._mux = mux
        self._stream = stream
        self._on_target = on_target
        self._routes: dict[Key, Route] = {}
        self._unproven: dict[Key, Route] = {}
        self._targeted_at = NEVER
        self._suspected_at = NEVER
        self._is_searching = False
        self._timer: TimerHandle | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing is searched for, nor waits to be forgotten."""
        return not self._is_searching and not self.has_orphans

    # What was heard.

    def validate(
        self, server: StunServer, socket: MuxSocket, address: Address, now: float
    ) -> Route | None:
        """The route to an address that has proven itself; None if it is another stream's."""
        route = self._routes.get((socket, address))
        if route is None:
            route = self._unproven.pop((socket, address), None)
            route = route or Route(socket, address, self._stream, server)
            is_new_address = all(known.address != address for known in self._routes.values())
            if not self._admit(route, now):
                return None
            if is_new_address and not self.liveness.is_flowing(now):
                # Without media nothing else tells that a NAT has given the peer another port.
                self.suspect(now)
        elif not self._hold(route, now):
            return None
        route.validated_at = now
        if route.server.is_over or server.number >= route.server.number:
            route.server = server
        return route

    def consent(self, route: Route, now: float) -> None:
        """An address answered a check of ours."""
        self.liveness.consent(now)
        route.consented_at = now
        route.asks = 0
        if route is self.target:
            self._is_searching = False
        elif self.target is not None and self._is_better(route, self.target, now):
            self._unproven.pop((route.socket, route.address), None)
            if self._is_known(route) or self._admit(route, now):
                self.use(route, route.server, now)
                self._ask(route, now, nominate=True)

    def follow(self, route: Route, now: float) -> None:
        """Authentic media came from elsewhere than we send to: see whether that can be used."""
        if now - route.asked_at > FOLLOW_EVERY_S and not route.server.is_over:
            self._ask(route, now)

    def find(self, socket: MuxSocket, address: Address, now: float) -> None:
        """Authentic media came from an address that nobody knows: a NAT has moved the peer."""
        if self.active is not None:
            route = self._look_up(self.active, socket, address)
            route.media_at = now
            self.follow(route, now)

    def suspect(self, now: float, *, search_at: float = NEVER) -> None:
        """The path may have changed: ask whether it still answers, and if not, whether any does.

        Args:
            search_at: not before this are the others asked.
        """
        if self.target is None or now - self._suspected_at < SUSPECT_EVERY_S:
            return
        self._suspected_at = now
        self._ask_target(now)
        self._wake_at(max(search_at, now + PATIENCE_S))

    # What is done.

    def use(self, route: Route, server: StunServer, now: float) -> None:
        """Send there from now on."""
        self.target, self.active = route, server
        self._targeted_at = now
        self.liveness.checked(now, random.random())  # noqa: S311 - spreads load, hides nothing
        self._is_searching = False
        self._on_target()

    def sweep(self, now: float) -> None:
        """Ask for consent where it is due, and see whether media has stopped."""
        target, liveness = self.target, self.liveness
        if target is None:
            return
        liveness.note(now)
        if self._suspected_at <= liveness.media_at:
            self._is_searching = False
            if self._timer is None and liveness.is_breaking(now):
                self._wake_at(liveness.media_at + SUSPECT_S)
        if liveness.is_check_due(now):
            self._is_searching |= liveness.is_doubtful(now)
            self._ask_target(now)
            if self._is_searching:
                self._search(now)

    def let_go(self, now: float) -> None:
        """Forget addresses that were known by generations past only, and carry nothing."""
        self.has_orphans = False
        for key, route in list(self._routes.items()):
            if not route.server.is_over or route is self.target:
                continue
            if now - route.media_at > LINGER_S:
                self._forget(key)
            else:
                self.has_orphans = True

    def rest(self) -> None:
        """Ask nobody anything any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def detach(self) -> None:
        """Be found by nobody any more."""
        self.rest()
        for key in list(self._routes):
            self._forget(key)
        self._unproven.clear()

    def close(self) -> None:
        """Break the cycles."""
        self.detach()
        self.target = self.active = None
        del self._stream, self._on_target

    # Silence.

    def _wake(self, now: float) -> None:
        """Media has stopped, or the target was asked whether it is still there."""
        self._timer = None
        target = self.target
        if target is None:
            return
        if self._suspected_at > max(self.liveness.media_at, target.consented_at):
            # Neither its media nor its answer has come since.
            self._is_searching = True
            self._search(now)
        elif self.liveness.is_broken(now):
            self.suspect(now, search_at=self.liveness.media_at + SEARCH_S)

    def _search(self, now: float) -> None:
        for route in self._routes.values():
            if route is not self.target and not route.server.is_over:
                self._ask(route, now)
        assert self.active is not None
        for key in islice(self.active.told_paths(), MAX_UNPROVEN):
            if key in self._routes:
                continue
            route = self._look_up(self.active, *key)
            if route.asks < MAX_ASKS_UNPROVEN:
                self._ask(route, now)

    def _is_better(self, route: Route, target: Route, now: float) -> bool:
        """Whether media should move to an address that has just answered."""
        if self._is_searching:
            return True
        if target.media_at < self._targeted_at and now - self._targeted_at < SETTLE_S:
            # Both paths of a restart may answer a search; the browser keeps the newer.
            assert self.active is not None
            return route.server.number > self.active.number
        return route.media_at > target.media_at

    def _ask_target(self, now: float) -> None:
        assert self.target is not None
        self.liveness.checked(now, random.random())  # noqa: S311 - spreads load, hides nothing
        self._ask(self.target, now, nominate=True)

    def _ask(self, route: Route, now: float, *, nominate: bool = False) -> None:
        """Check an address. With USE-CANDIDATE where media goes: some ICE-lite peers want it."""
        route.asked_at = now
        route.asks += 1
        server = self.active if route is self.target else route.server
        assert server is not None
        server.ask(route, nominate=nominate)

    def _wake_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._mux.call_at(when, self._wake)

    # The tables.

    def _look_up(self, server: StunServer, socket: MuxSocket, address: Address) -> Route:
        """What is kept of an address that has proven nothing yet."""
        route = self._unproven.get((socket, address))
        if route is None:
            if len(self._unproven) >= MAX_UNPROVEN:
                del self._unproven[next(iter(self._unproven))]
            route = Route(socket, address, self._stream, server)
            self._unproven[socket, address] = route
        return route

    def _is_known(self, route: Route) -> bool:
        return self._routes.get((route.socket, route.address)) is route

    def _admit(self, route: Route, now: float) -> bool:
        """Take up a route, the stalest making room; False if its address is another stream's."""
        if not self._hold(route, now):
            return False
        if len(self._routes) >= MAX_ROUTES:
            self._forget(self._stalest())
        self._routes[route.socket, route.address] = route
        return True

    def _hold(self, route: Route, now: float) -> bool:
        """Have the socket give us what comes from there, unless it is rightly another's."""
        holder = route.socket.routes.get(route.address)
        # A NAT may give a port to another browser, but not while media flows through it: then
        # somebody forges a source address.
        if (
            holder is not None
            and holder.stream is not self._stream
            and now - holder.media_at < LINGER_S
        ):
            return False
        route.socket.routes[route.address] = route
        return True

    def _stalest(self) -> Key:
        unused = (key for key, route in self._routes.items() if route is not self.target)
        return min(unused, key=lambda key: self._routes[key].validated_at)

    def _forget(self, key: Key) -> None:
        route = self._routes.pop(key)
        if route.socket.routes.get(route.address) is route:
            del route.socket.routes[route.address]
