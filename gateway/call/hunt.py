"""A hunt: the groups of a plan in order, until somebody answers or all have failed.

Silence and the failures of a network lead on to the next group; what somebody says is final, and
so is anything once the caller has heard early media, unless the route says otherwise (F4).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gateway.errors import GatewayError, NegotiationError, RoutingError
from gateway.leg.leg import Ended, EndReason, LegId, reason_of_error, reason_of_status
from gateway.private import Private
from gateway.sip.reason import REASONS
from gateway.trunk.codecs import ANY, CodecRules
from gateway.trunk.numbers import number_of
from gateway.trunk.route import Plan, Target, TargetKind

MAX_REDIRECTS = 5
"Contacts of 3xx responses that one hunt follows (S20): a chain of them is a loop, or an attack."

USER_LEVEL = frozenset({404, 486, 600, 603, 604, 606})
"What the callee says for itself, whichever way the call comes: no setting tries another (F4)."

TIMED_OUT = Ended(EndReason.NO_ANSWER, 480, REASONS[480])
"What it counts as that a group had its time (F5): no word of anybody."


@dataclass(frozen=True, slots=True)
class Errand:
    """On whose behalf a target is dialled, and how far it may go."""

    id: str
    "Of the call."
    numbers: tuple[Private, Private]
    "Who calls, as it is to be shown to the target, and what was dialled to reach it."
    max_forwards: int
    "Hops it may still take (RFC 7332)."
    max_breadth: int | None = None
    "Branches it may still be forked into (RFC 5393); None: nobody has said."
    headers: tuple[tuple[str, str], ...] = ()
    "Further headers for a SIP target: Replaces and Referred-By of a transfer."
    max_duration_s: float | None = None
    "How long who answers may stay, by the shortest of the routes that led there; None: for ever."
    has_alternative: bool = False
    "Whether there is a group behind the target's: silence leads there soon (F2)."
    codecs: CodecRules = ANY
    "What the route says of codecs."
    heard: str | None = None
    "The codec of whom the target will hear; None: not known, or an agent's."


class Hunt:
    """One search for somebody who answers. What a method returns says whether it is over."""

    def __init__(
        self,
        plan: Plan,
        errand: Errand,
        *,
        waiting: LegId | None,
        ring: Callable[[Target, Errand, float], LegId],
        drop: Callable[[LegId, Ended, float], None],
        is_available: Callable[[Target], bool],
        plan_for: Callable[[str], Plan],
    ) -> None:
        """
        Args:
            waiting: on whose behalf it is: who hears the early media; None: nobody does.
            ring: dials a target; raises GatewayError where it cannot be.
            drop: lets one go that rings.
            is_available: whether a target is worth trying now; a trunk that is down is not.
            plan_for: where a number leads that a 3xx points at; raises GatewayError.
        """
        self.waiting = waiting
        self.ringing: dict[LegId, Errand] = {}
        self.deadline: float | None = None
        "When the group that rings has had its time."
        self.digits = plan.digits
        "A dial string for who answers."
        self._options = plan.options
        self._groups = deque((group, errand) for group in plan.groups)
        self._ring_target = ring
        self._drop = drop
        self._is_available = is_available
        self._plan_for = plan_for
        self._seen = {errand.numbers[1].value}
        "What was dialled in this hunt: a redirection back to it is a loop."
        self._redirects = 0
        self._failure: Ended | None = None
        self._unasked: Ended | None = None
        self._was_heard = False

    def start(self, now: float) -> Ended | None:
        """Ring the first group that can be rung.

        Returns:
            None: it rings. Else why nobody is to be reached.
        """
        return self._go_on(now)

    def on_early_media(self) -> None:
        """Who waits hears somebody: that is no failure of the way there."""
        self._was_heard = True

    def on_answered(self, leg: LegId, now: float) -> None:
        """One answered: the others are let go, and no more is tried."""
        self.ringing.pop(leg, None)
        self.stop(Ended(EndReason.ANSWERED_ELSEWHERE), now)

    def on_ended(self, leg: LegId, ended: Ended, now: float) -> Ended | None:
        """One that rang does no longer.

        Returns:
            None: the hunt goes on. Else why it is over.
        """
        errand = self.ringing.pop(leg)
        if ended.contacts:
            ended = self._follow(ended, errand)
        self._failure = self._graver(ended)
        return None if self.ringing else self._fail_over(self._failure, now)

    def handle_timer(self, now: float) -> Ended | None:
        """The group that rings may have had its time (F5). Returns as `on_ended` does."""
        if self.deadline is None or now < self.deadline:
            return None
        self._failure = self._graver(TIMED_OUT)
        self._drop_all(Ended(EndReason.NO_ANSWER), now)
        return self._fail_over(self._failure, now)

    def take_over(self, leg: LegId, other: LegId) -> None:
        """`other` is in the place of `leg`, which rings (RFC 3891 §3)."""
        self.ringing[other] = self.ringing[leg]

    def stop(self, why: Ended, now: float) -> None:
        """Let everybody go; nobody is tried any more."""
        self._groups.clear()
        self.deadline = None
        self._drop_all(why, now)

    # ---- inside

    def _drop_all(self, why: Ended, now: float) -> None:
        ringing, self.ringing = self.ringing, {}
        for leg in ringing:
            self._drop(leg, why, now)

    def _fail_over(self, failure: Ended, now: float) -> Ended | None:
        """Nobody of the group answered: the next is tried, unless that was somebody's word."""
        was_heard = self._was_heard and not self._options.failover_after_progress
        if was_heard or self._is_final(failure):
            return self._over(failure)
        return self._go_on(now)

    def _go_on(self, now: float) -> Ended | None:
        while self._groups:
            group, errand = self._groups.popleft()
            rejection = next((t for t in group if t.kind is TargetKind.REJECT), None)
            if rejection is not None:
                return self._over(Ended(reason_of_status(rejection.status), rejection.status))
            self.deadline = now + self._options.ringing_timeout_s
            self._ring_all(group, errand, now)
            if self.ringing:
                return None
        return self._over(self._failure or self._unasked or Ended(EndReason.NOT_FOUND, 404))

    def _ring_all(self, group: Sequence[Target], errand: Errand, now: float) -> None:
        """Ring all of a group that can be: some are down, for others there is no room."""
        errand = replace(errand, has_alternative=bool(self._groups))
        if errand.max_breadth is not None:
            # RFC 5393 §5.3.3: the branches share what the request may be forked into.
            errand = replace(errand, max_breadth=max(1, errand.max_breadth // len(group)))
        for target in group:
            try:
                if not self._is_available(target):
                    raise RoutingError(f"{target} is down", status=503)
                leg = self._ring_target(target, errand, now)
            except NegotiationError as error:
                # Nobody was asked: whatever another says counts for more.
                self._unasked = Ended(reason_of_error(error), error.status, fault=error.fault)
            except GatewayError as error:
                refused = Ended(reason_of_error(error), error.status, fault=error.fault)
                self._failure = self._graver(refused)
            else:
                self.ringing[leg] = errand

    def _follow(self, ended: Ended, errand: Errand) -> Ended:
        """Put where a 3xx points before what else there is to try.

        Returns:
            What the redirection counts as.
        """
        failure = Ended(EndReason.UNAVAILABLE, 480, REASONS[480])
        found: list[tuple[tuple[Target, ...], Errand]] = []
        for contact in ended.contacts:
            dialled = number_of(contact)
            if dialled in self._seen:
                failure = Ended(EndReason.REJECTED, 482, REASONS[482])
                continue
            if self._redirects >= MAX_REDIRECTS or errand.max_forwards <= 1:
                break
            self._redirects += 1
            self._seen.add(dialled)
            try:
                plan = self._plan_for(dialled)
            except GatewayError as error:
                failure = Ended(reason_of_error(error), error.status)
                continue
            onward = replace(
                errand,
                numbers=(errand.numbers[0], Private(plan.called or dialled)),
                max_forwards=errand.max_forwards - 1,
                codecs=plan.options.codecs,
                max_duration_s=_shorter(errand.max_duration_s, plan.options.max_call_duration_s),
            )
            found += [(group, onward) for group in plan.groups]
        if not found:
            return failure
        self._groups.extendleft(reversed(found))
        # Whoever points elsewhere has said nothing for the callee.
        return Ended(EndReason.UNREACHABLE, 480, REASONS[480])

    def _is_final(self, ended: Ended) -> bool:
        """Whether somebody turned the call down, rather than that a network failed."""
        if ended is TIMED_OUT:
            return False
        if ended.status in USER_LEVEL:
            return True
        return not (
            ended.status in self._options.failover_on or ended.reason is EndReason.UNREACHABLE
        )

    def _graver(self, ended: Ended) -> Ended:
        """The better word for the caller: an answer of a person beats a failure of the network."""
        first = self._failure
        if first is not None and first.status > 0 and self._is_final(first):
            return first
        return ended

    def _over(self, why: Ended) -> Ended:
        self._groups.clear()
        self.deadline = None
        return why


def _shorter(one: float | None, other: float | None) -> float | None:
    return min((each for each in (one, other) if each is not None), default=None)
