"""ICE of one stream: its generations, of which restarts begin more (RFC 8838, RFC 8839 §4.4)."""

from __future__ import annotations

import contextlib
import secrets
import string
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from aioice.candidate import Candidate, candidate_priority

from gateway.webrtc.candidate import ufrag_extension
from gateway.webrtc.generation import (
    COMPONENT,
    FOR_EVER,
    MAX_REMOTE_CANDIDATES,
    Generation,
    StunEnd,
)
from gateway.webrtc.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from aioice.ice import CandidatePair

    from gateway.webrtc.candidate import AddressPolicy
    from gateway.webrtc.mux import Mux, MuxSocket, Route, Stream
    from gateway.webrtc.udp import Address

UFRAG_CHARS = 8
"Twice what RFC 8445 §5.3 asks: it is also the key by which the port finds its owner."

MAX_GENERATIONS = 4
"At once, when restarts come faster than they complete."

RETIRE_S = 3.0
"How long a replaced generation still takes what is under way to it."

ICE_CHARS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class LocalCandidates:
    """Our candidates: the same for every stream on the port."""

    told: tuple[str, ...]
    "What SDP lists, best first."
    default: Address
    "The one named by m= and c=."
    by_socket: Mapping[MuxSocket, Candidate]
    "What each socket is known as to the checks."


@dataclass(frozen=True, slots=True)
class IceSettings:
    """What is the same for every stream on the port."""

    local: LocalCandidates
    policy: AddressPolicy
    "Where checks may go."
    controlling: bool
    "Our ICE role."
    timeout_s: float
    "How long a generation may take to have a pair nominated."


def local_candidates(
    advertised: Sequence[tuple[str, MuxSocket]], sockets: Sequence[MuxSocket]
) -> LocalCandidates:
    """Host candidates for the addresses to be told and the sockets behind them, best first.

    A socket that is not told of still answers, under its own address.
    """
    told: list[str] = []
    by_socket: dict[MuxSocket, Candidate] = {}
    known = {socket for _, socket in advertised}
    hidden = [(socket.host, socket) for socket in sockets if socket not in known]
    for index, (host, socket) in enumerate([*advertised, *hidden]):
        candidate = Candidate(
            foundation=str(index + 1),
            component=COMPONENT,
            transport="udp",
            priority=candidate_priority(COMPONENT, "host", 65535 - index),
            host=host,
            port=socket.port,
            type="host",
        )
        by_socket.setdefault(socket, candidate)
        if index < len(advertised):
            told.append(f"candidate:{candidate.to_sdp()}")
    default = advertised[0][0], advertised[0][1].port
    return LocalCandidates(tuple(told), default, MappingProxyType(by_socket))


class IceEndpoint:
    """All ICE of one stream: its generations, and the paths that they have found."""

    def __init__(
        self,
        mux: Mux,
        stream: Stream,
        settings: IceSettings,
        *,
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
        on_target: Callable[[], None],
    ) -> None:
        """Begin with one generation, so that it can be described at once.

        Args:
            mux: the shared port.
            stream: what media and DTLS go to.
            settings: the port's.
            spawn: starts a guarded task.
            on_target: is called whenever the target has changed.
        """
        self.mux = mux
        self.policy = settings.policy
        self.paths = Paths(mux, stream, on_target=self._on_move)
        self.has_failed = False
        "No pair was nominated in time, and none can be any more."
        self._settings = settings
        self._spawn = spawn
        self._on_target = on_target
        self._generations: list[Generation] = []
        self._begun = 0
        self._current = self.renew()
        "The one to be described: the last that was begun."

    @property
    def ufrag(self) -> str:
        """Ours, to be told to the peer."""
        return self._current.local_username

    @property
    def pwd(self) -> str:
        """Ours, to be told to the peer."""
        return self._current.local_password

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits to be given up, or is searched for."""
        return len(self._generations) == 1 and self.paths.is_settled

    def renew(self) -> Generation:
        """Begin a restart: one more generation. The old one carries media until this one can."""
        ufrag = _new_ufrag()
        while ufrag.encode() in self.mux.by_ufrag:
            ufrag = _new_ufrag()
        self._begun += 1
        self._current = Generation(
            self,
            ufrag,
            self._begun,
            controlling=self._settings.controlling,
            candidates=self._settings.local.by_socket,
        )
        self._generations.append(self._current)
        if len(self._generations) > MAX_GENERATIONS:
            active = self.paths.active
            self._drop(next(each for each in self._generations if each is not active))
        return self._current

    def accept(
        self, ufrag: str, pwd: str, candidates: Sequence[str], *, is_lite: bool = False
    ) -> None:
        """Take the peer's credentials and candidates; new credentials begin a restart.

        Whoever meets an ICE-lite peer controls, whatever is configured (RFC 8445 §6.1.1).
        """
        for generation in self._generations:
            # Only both changed together are a restart (RFC 8839 §4.4.1.1.1).
            if generation.remote_username == ufrag or generation.remote_password == pwd:
                self._settle_on(generation)
                self._add_candidates(generation, candidates)
                return
        if self._current.remote_username is not None:
            self.renew()
        current = self._current
        current.remote_username, current.remote_password = ufrag, pwd
        if is_lite:
            current.switch_role(ice_controlling=True)
        current.ends_at = self.mux.now() + self._settings.timeout_s
        self._add_candidates(current, candidates)
        self._spawn(_connect(current), "ice connect")

    def add_candidate(self, text: str, ufrag: str | None) -> None:
        """Take one trickled candidate for the generation of the peer's that it names."""
        ufrag = ufrag or ufrag_extension(text)
        for generation in reversed(self._generations):
            if ufrag in (None, generation.remote_username):
                generation.add_candidate(text)
                return

    def hear(self, end: StunEnd, address: Address) -> None:
        """An authentic request came: that address belongs to this stream."""
        now = self.mux.now()
        self.paths.liveness.stun_at = now
        self.paths.validate(end.generation, end.socket, address, now)

    def consent(self, route: Route, now: float) -> None:
        """An address answered a check of ours."""
        self.paths.consent(route, now)

    def find(self, socket: MuxSocket, address: Address, now: float) -> None:
        """Authentic media came from an unknown address."""
        if self.policy.allows(address[0]):
            self.paths.find(socket, address, now)

    def nominate(self, generation: Generation, pair: CandidatePair) -> None:
        """A pair is to carry media from now on, unless a newer generation has one already."""
        active = self.paths.active
        if active is not None and generation.number < active.number:
            return
        assert isinstance(pair.protocol, StunEnd)
        now = self.mux.now()
        self.paths.liveness.consent(now)
        route = self.paths.validate(generation, pair.protocol.socket, pair.remote_addr, now)
        if route is None:
            return
        for older in self._generations[: self._generations.index(generation)]:
            older.ends_at = min(older.ends_at, now + RETIRE_S)
        route.consented_at = now
        self.paths.use(route, generation, now)

    def sweep(self, now: float) -> None:
        """Ask for consent where it is due, and let go of what is past."""
        paths = self.paths
        if paths.target is None or len(self._generations) > 1 or paths.has_orphans:
            for generation in [each for each in self._generations if each.ends_at <= now]:
                self._drop(generation)
                self.has_failed = not self._generations
            paths.let_go(now)
        paths.sweep(now)

    def _on_move(self) -> None:
        """Media goes elsewhere now: the generation that found the way is to last."""
        for generation in self._generations:
            if generation is self.paths.active:
                generation.ends_at = FOR_EVER
        self._on_target()

    def detach(self) -> None:
        """Be found by nobody any more."""
        for generation in self._generations:
            generation.end()
        self.paths.detach()

    async def close(self) -> None:
        """Stop what runs, and break the cycles."""
        self.detach()
        for generation in self._generations:
            await generation.close()
        self._generations.clear()
        self.paths.close()
        del self._current, self._spawn, self._on_target

    def _settle_on(self, generation: Generation) -> None:
        """The peer stays with this one: a restart that we offered meanwhile is off."""
        offered = self._current
        self._current = generation
        if offered.remote_username is None:
            self._drop(offered)

    def _drop(self, generation: Generation) -> None:
        generation.end()
        self._generations.remove(generation)
        if generation is self._current and self._generations:
            active = self.paths.active
            self._current = next(
                (each for each in self._generations if each is active), self._generations[-1]
            )
        self.paths.has_orphans = True
        self._spawn(generation.close(), "ice close")

    def _add_candidates(self, generation: Generation, candidates: Sequence[str]) -> None:
        for text in candidates[:MAX_REMOTE_CANDIDATES]:
            generation.add_candidate(text)


async def _connect(generation: Generation) -> None:
    with contextlib.suppress(ConnectionError):  # closed before any pair was nominated
        await generation.connect()


def _new_ufrag() -> str:
    return "".join(secrets.choice(ICE_CHARS) for _ in range(UFRAG_CHARS))
