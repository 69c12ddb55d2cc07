"""Whether a trunk can be used: what OPTIONS and real calls tell of it, with hysteresis.

Each hop of a trunk is UNKNOWN until something is heard of it, UP, or DOWN. The trunk is up while
one of its hops is, and down when all are.

UNKNOWN ──an answer──▸ UP ──3 misses in a row──▸ DOWN ──2 answers in a row──▸ UP
   └──────────────────3 misses in a row─────────▸
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from gateway.sip.flow import Hop
from gateway.trunk.event import TrunkDown, TrunkEvent, TrunkUp

PROBE_TIMEOUT_S = 2.0
"How long an OPTIONS may stay unanswered: UDP has resent it twice by then (T1, 2 T1)."
DOWN_AFTER = 3
"Misses in a row: with one in ten lost, a chance in a thousand."
UP_AFTER = 2
"Answers in a row, lest a host that restarts over and over takes calls in between."
PROBE_SPREAD = 0.1
"By which part an interval is longer or shorter: probes of many trunks do not keep step."
FIRST_DOWN_PROBE_S = 5.0
"How soon a hop that is not known yet is asked again; and one that is down, doubled each time."
LONGEST_DOWN_PROBE_S = 30.0
MAX_RETRY_AFTER_S = 300.0
"Longest Retry-After that is honoured: a wrong one must not cut a trunk off for a day."
MISS_SPACING_S = 1.0
"Calls that fail within this time of each other failed of one thing, and count once."
MAX_HOPS = 16
"Hops of one trunk that are watched; each costs an OPTIONS every 30 s."

UNANSWERING = frozenset({408, 503})
"Final responses that do not say that a trunk can take calls; any other does, 404 and 501 too."


class TrunkState(Enum):
    """Whether a trunk, or one hop of it, can be used."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class DownReason(Enum):
    """Why a trunk is down."""

    NO_ANSWER = "no-answer"
    UNREACHABLE = "unreachable"
    "Refused by the network: ICMP, TCP or TLS."
    UNAVAILABLE = "unavailable"
    "It says so itself: 503, or 408."
    NO_ADDRESS = "no-address"
    "The DNS knows nothing of it."


@dataclass(frozen=True, slots=True)
class Probe:
    """Output: ask this hop with an OPTIONS; tell `answered` or `missed` about this very value."""

    hop: Hop
    number: int


@dataclass(slots=True)
class _HopHealth:
    """What is known of one hop."""

    hop: Hop
    next_probe_at: float
    state: TrunkState = TrunkState.UNKNOWN
    misses: int = 0
    "In a row."
    answers: int = 0
    "In a row, while down."
    interval_s: float = FIRST_DOWN_PROBE_S
    "While down."
    missed_at: float = float("-inf")
    not_before: float = float("-inf")
    "Until then it has asked to be left alone (Retry-After)."
    reason: DownReason = DownReason.NO_ANSWER
    probe: Probe | None = None
    "The one under way."
    probe_until: float = 0.0


class TrunkHealth:
    """The health of one trunk. A Machine: its outputs are probes, its events TrunkUp, TrunkDown."""

    def __init__(
        self, trunk: str, *, probe_s: float, spread: Callable[[], float], now: float
    ) -> None:
        """
        Args:
            trunk: its name, for the events.
            probe_s: how often a hop that is up is asked; 0: never, only calls tell.
            spread: gives 0 ≤ x < 1.
        """
        self.state = TrunkState.UNKNOWN
        self.since = now
        "Since when it is so, loop seconds."
        self.reason: DownReason | None = None
        "Why it is down; None unless it is."
        self.last_status: int | None = None
        "Of the last final response to a probe; None: none yet."
        self._trunk = trunk
        self._probe_s = probe_s
        self._spread = spread
        self._hops: list[_HopHealth] = []
        self._is_resolved = False
        self._numbers = 0
        self._output: list[Probe] = []
        self._events: list[TrunkEvent] = []

    # ---- what is told

    def set_hops(self, hops: Sequence[Hop], now: float) -> None:
        """Know where the trunk is; of hops that were known already, nothing is forgotten.

        Args:
            hops: best first; none: the DNS knows nothing of the trunk.
        """
        before = {health.hop: health for health in self._hops}
        self._is_resolved = True
        self._hops = [
            before.get(hop) or _HopHealth(hop, now + self._spread())
            for hop in dict.fromkeys(hops[:MAX_HOPS])
        ]
        self._judge(now)

    def answered(
        self, probe: Probe, status: int, now: float, *, retry_after_s: float | None = None
    ) -> None:
        """A probe had a final response. One that comes after its time is ignored."""
        health = self._waiting_for(probe)
        if health is None:
            return
        health.probe = None
        self.last_status = status
        self._note_retry_after(health, retry_after_s if status == 503 else None, now)
        if status in UNANSWERING:
            self._miss(health, DownReason.UNAVAILABLE, now)
        else:
            self._answer(health, now)

    def missed(self, probe: Probe, reason: DownReason, now: float) -> None:
        """A probe had none."""
        health = self._waiting_for(probe)
        if health is not None:
            health.probe = None
            self._miss(health, reason, now)

    def withdraw(self, probe: Probe) -> None:
        """A probe was not sent, for a reason of our own: nothing is learned from it."""
        health = self._waiting_for(probe)
        if health is not None:
            health.probe = None

    def call_answered(self, hop: Hop, now: float) -> None:
        """A call had a response over a hop: as good as a probe, and the next can wait."""
        health = self._find(hop)
        if health is None:
            return
        self._answer(health, now)
        if health.state is TrunkState.UP and health.probe is None:
            health.next_probe_at = now + self._varied(self._probe_s)

    def call_refused(self, hop: Hop, retry_after_s: float | None, now: float) -> None:
        """A call had a 503 over a hop.

        Without Retry-After it is taken as a 500 of that one call (RFC 3261 §21.5.4): the hop is
        there, and may take the next.
        """
        health = self._find(hop)
        if health is None or retry_after_s is None:
            return
        self.last_status = 503
        self._note_retry_after(health, retry_after_s, now)
        self._miss_call(health, DownReason.UNAVAILABLE, now)

    def call_missed(self, hop: Hop, reason: DownReason, now: float) -> None:
        """A call had no response at all over a hop."""
        health = self._find(hop)
        if health is not None:
            self._miss_call(health, reason, now)

    # ---- what can be asked

    def is_usable(self, now: float) -> bool:
        """Whether a call is to be sent there while there are other ways."""
        if not self._is_resolved:
            return True
        return any(
            health.state is not TrunkState.DOWN and health.not_before <= now
            for health in self._hops
        )

    def is_waiting_for(self, probe: Probe) -> bool:
        """Whether an answer to a probe is still wanted."""
        return self._waiting_for(probe) is not None

    def wait_s(self, now: float) -> float:
        """For how long the trunk has asked to be sent nothing at all; 0: it has not."""
        return max(0.0, min((health.not_before - now for health in self._hops), default=0.0))

    def hops(self) -> tuple[tuple[Hop, TrunkState], ...]:
        """The hops that are watched, and how each is."""
        return tuple((health.hop, health.state) for health in self._hops)

    def order(self, hops: Sequence[Hop], now: float) -> tuple[Hop, ...]:
        """In which order to try some hops: those last that are down.

        One that has asked to be left alone is tried only if all have.
        """
        known = {health.hop: health for health in self._hops}
        waiting = {hop for hop in hops if hop in known and known[hop].not_before > now}
        left = [hop for hop in hops if hop not in waiting] or list(hops)
        down = {hop for hop in left if hop in known and known[hop].state is TrunkState.DOWN}
        return tuple(sorted(left, key=lambda hop: hop in down))

    # ---- the machine

    def handle_timer(self, now: float) -> None:
        """Probes whose time is over are missed; those that are due go out."""
        for health in self._hops:
            if health.probe is not None and health.probe_until <= now:
                self.missed(health.probe, DownReason.NO_ANSWER, now)
            if self._due_at(health) <= now:
                self._ask(health, now)

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called (loop seconds)."""
        times = [
            health.probe_until if health.probe is not None else self._due_at(health)
            for health in self._hops
        ]
        earliest = min(times, default=float("inf"))
        return None if earliest == float("inf") else earliest

    def take_output(self) -> Sequence[Probe]:
        """The probes to send, each handed out once."""
        output, self._output = self._output, []
        return output

    def take_events(self) -> Sequence[TrunkEvent]:
        """What changed, in order, each handed out once."""
        events, self._events = self._events, []
        return events

    # ---- rules

    def _due_at(self, health: _HopHealth) -> float:
        """When a hop is asked next, or, where probes are off, may be tried again by a call."""
        if health.probe is not None or (not self._probe_s and health.state is not TrunkState.DOWN):
            return float("inf")
        return max(health.next_probe_at, health.not_before)

    def _ask(self, health: _HopHealth, now: float) -> None:
        if not self._probe_s:
            # Nothing would ever tell that it is back but a call: the next may try, and if it
            # fails too, that is enough.
            health.state, health.misses = TrunkState.UNKNOWN, DOWN_AFTER - 1
            self._judge(now)
            return
        self._numbers += 1
        health.probe = Probe(health.hop, self._numbers)
        health.probe_until = now + PROBE_TIMEOUT_S
        health.next_probe_at = now + self._interval_of(health)
        self._output.append(health.probe)

    def _interval_of(self, health: _HopHealth) -> float:
        if health.state is TrunkState.UP:
            return self._varied(self._probe_s)
        if health.state is TrunkState.UNKNOWN:
            return self._varied(FIRST_DOWN_PROBE_S)
        interval = health.interval_s
        longest = min(LONGEST_DOWN_PROBE_S, max(self._probe_s, FIRST_DOWN_PROBE_S))
        health.interval_s = min(2 * interval, longest)
        return self._varied(interval)

    def _varied(self, interval_s: float) -> float:
        return interval_s * (1 + PROBE_SPREAD * (2 * self._spread() - 1))

    def _answer(self, health: _HopHealth, now: float) -> None:
        health.misses = 0
        if health.state is TrunkState.DOWN:
            health.answers += 1
            # The second answer is wanted soon, however long the hop was down.
            health.interval_s = FIRST_DOWN_PROBE_S
            health.next_probe_at = min(health.next_probe_at, now + self._varied(FIRST_DOWN_PROBE_S))
        if health.state is TrunkState.UNKNOWN or health.answers >= UP_AFTER:
            health.state, health.answers = TrunkState.UP, 0
            health.next_probe_at = now + self._varied(self._probe_s)
        self._judge(now)

    def _miss(self, health: _HopHealth, reason: DownReason, now: float) -> None:
        health.misses += 1
        health.answers = 0
        health.missed_at = now
        health.reason = reason
        if health.state is not TrunkState.DOWN and health.misses >= DOWN_AFTER:
            health.state = TrunkState.DOWN
            health.interval_s = FIRST_DOWN_PROBE_S
            health.next_probe_at = now + self._interval_of(health)
        self._judge(now)

    def _miss_call(self, health: _HopHealth, reason: DownReason, now: float) -> None:
        if now - health.missed_at >= MISS_SPACING_S:
            self._miss(health, reason, now)

    def _note_retry_after(self, health: _HopHealth, seconds: float | None, now: float) -> None:
        if seconds is not None:
            until = now + min(seconds, MAX_RETRY_AFTER_S)
            health.not_before = max(health.not_before, until)

    def _waiting_for(self, probe: Probe) -> _HopHealth | None:
        return next((health for health in self._hops if health.probe == probe), None)

    def _find(self, hop: Hop) -> _HopHealth | None:
        return next((health for health in self._hops if health.hop == hop), None)

    def _judge(self, now: float) -> None:
        """The trunk by its hops. While nothing is heard of a new hop, one that was up stays so."""
        states = {health.state for health in self._hops}
        if TrunkState.UP in states:
            state = TrunkState.UP
        elif TrunkState.UNKNOWN in states:
            state = TrunkState.UP if self.state is TrunkState.UP else TrunkState.UNKNOWN
        else:
            state = TrunkState.DOWN
        if state is self.state:
            return
        self.state, self.since, self.reason = state, now, None
        if state is TrunkState.UP:
            self._events.append(TrunkUp(self._trunk, now))
        elif state is TrunkState.DOWN:
            self.reason = self._hops[0].reason if self._hops else DownReason.NO_ADDRESS
            self._events.append(TrunkDown(self._trunk, now, self.reason.value))
