"""Finds the places that a SIP destination leads to, without ever blocking (RFC 3263).

The order of things is `gateway.sip.locate`; here is what was answered, for how long it holds, and
what is done when nobody answers (RFC 8767).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.net.nameserver import Hosts, LookUpError, Nameservers, Reply
from gateway.sip.flow import Destination, Hop
from gateway.sip.locate import MAX_HOPS, Known, Question, Reach, Record, locate

log = logging.getLogger(__name__)

RESOLVE_S = 5.0
"A destination that takes longer to find is not found."
MIN_TTL_S = 5.0
"Even a TTL of 0 holds this long: a busy trunk would be asked for with every call."
MAX_TTL_S = 3600.0
"Whoever moves house within the hour should be found."
MAX_NEGATIVE_TTL_S = 30.0
"A name that is not there may have been mistyped, and be put right at any moment."
STALE_S = 3600.0
"How long what was known last is used when nobody answers any more."
STALE_WAIT_S = 0.5
"How long a call waits for nameservers that are late, before what was known last is used."
RETRY_S = 30.0
"Nobody is asked again so soon after nobody answered, as long as there is something stale to use."
FAILED_S = 5.0
"The same where there is nothing to use."

MAX_KEPT = 4096
"Answers kept, those used last: of some 1024 names, as each has up to four services and addresses."
MAX_RUNNING = 256
"Questions under way: names may come from strangers, and each question is a socket."
MAX_PASSES = 6
"NAPTR, SRV, addresses and a name's own come one after the other; no zone needs more."
MAX_SOURCES = 64
"Addresses that one trunk may call in from by its name."

WATCH_S = 15.0
"How often watched names are looked at; what runs out before the next look is asked for anew."


@dataclass(frozen=True, slots=True)
class ResolverOptions:
    """Whom to ask."""

    nameservers: tuple[tuple[str, int], ...] = ()
    "Address and port of each; none: those of the system."


class Resolver:
    """Answers where destinations lead, from memory when it can."""

    def __init__(
        self,
        options: ResolverOptions | None = None,
        *,
        loop: asyncio.AbstractEventLoop,
        reach: Reach | None = None,
        spread: Callable[[], float] = random.random,
        look_up: Callable[[Question], Awaitable[Reply]] | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        """
        Args:
            reach: the transports that we have and the IP versions that we listen on.
            spread: shares load by weight.
            look_up: asks nameservers; None: those of the options.
        """
        options = options or ResolverOptions()
        self._loop = loop
        self._reach = reach or Reach()
        self._spread = spread
        self._look_up = look_up or Nameservers(options.nameservers).look_up
        self._hosts = hosts or Hosts()
        self._kept: dict[Question, _Kept] = {}
        self._running: dict[Question, _Running] = {}
        self._is_failing = False
        self.look_ups = 0
        "Questions put to nameservers."
        self.failures = 0
        "Questions that nobody answered."

    def resolve_now(self, destination: Destination) -> tuple[Hop, ...] | None:
        """The hops where nobody has to be asked; None: `resolve` has to be awaited."""
        located = locate(destination, self._recall, reach=self._reach, spread=self._spread)
        return None if located.questions else located.hops

    async def resolve(
        self, destination: Destination, *, ahead_s: float = 0.0, everywhere: bool = False
    ) -> tuple[Hop, ...]:
        """The hops, in the order to try them; empty: not found. Never raises; 5 s at most.

        Args:
            ahead_s: ask anew what holds no longer than this.
            everywhere: see `locate`.
        """
        deadline = self._loop.time() + RESOLVE_S
        memory: dict[Question, Sequence[Record]] = {}
        for _ in range(MAX_PASSES):
            located = locate(
                destination,
                self._remembering(memory, ahead_s),
                reach=self._reach,
                spread=self._spread,
                limit=MAX_SOURCES if everywhere else MAX_HOPS,
                everywhere=everywhere,
            )
            if not located.questions:
                return located.hops
            memory |= await self._ask(located.questions, deadline)
        return ()

    async def addresses(self, destination: Destination, *, ahead_s: float = 0.0) -> frozenset[str]:
        """Every address that the destination's domain may call in from."""
        found = await asyncio.gather(
            self.resolve(destination, ahead_s=ahead_s),
            self.resolve(destination, ahead_s=ahead_s, everywhere=True),
        )
        return frozenset(hop.host for hops in found for hop in hops)

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- what is known

    def _remembering(self, memory: dict[Question, Sequence[Record]], ahead_s: float) -> Known:
        """What is known, the same in every pass, though it may run out between two of them."""

        def known(question: Question) -> Sequence[Record] | None:
            records = memory.get(question)
            if records is None:
                records = self._recall(question, ahead_s)
                if records is not None:
                    memory[question] = records
            return records

        return known

    def _recall(self, question: Question, ahead_s: float = 0.0) -> Sequence[Record] | None:
        now = self._loop.time()
        local = self._hosts.records(question, now)
        if local is not None:
            return local
        kept = self._kept.get(question)
        if kept is None:
            return None
        # Those used last are at the end: the others go first when there are too many.
        self._kept[question] = self._kept.pop(question)
        if now + ahead_s < kept.expires_at:
            return kept.records
        return kept.records if self._is_stale_good(question, kept, now) else None

    def _is_stale_good(self, question: Question, kept: _Kept, now: float) -> bool:
        """Whether it is known that nobody answers, so that what was known last is used at once."""
        if now >= kept.stale_until:
            return False
        running = self._running.get(question)
        return now < kept.retry_at or (running is not None and now >= running.patience_until)

    # ---- what is asked

    async def _ask(
        self, questions: Sequence[Question], deadline: float
    ) -> dict[Question, Sequence[Record]]:
        """Put questions, all at once; what is not answered in time is answered by what was."""
        now = self._loop.time()
        if now >= deadline:
            return {each: self._last(each) for each in questions}
        asked = [running for each in questions if (running := self._start(each)) is not None]
        has_stale = all(self._is_remembered(each) for each in questions)
        until = max((each.patience_until for each in asked), default=now) if has_stale else deadline
        if asked:
            # Whoever gives up waiting does not cancel the question, which others wait for too.
            tasks = [each.task for each in asked]
            await asyncio.wait(tasks, timeout=max(0.0, min(until, deadline) - now))
        return {each: self._last(each) for each in questions}

    def _last(self, question: Question) -> Sequence[Record]:
        """What was answered last, fresh or stale; nothing where nobody ever answered."""
        return self._kept[question].records if self._is_remembered(question) else ()

    def _is_remembered(self, question: Question) -> bool:
        kept = self._kept.get(question)
        return kept is not None and self._loop.time() < kept.stale_until

    def _start(self, question: Question) -> _Running | None:
        """The one look-up of a question; None: too many are under way."""
        running = self._running.get(question)
        if running is None and len(self._running) < MAX_RUNNING:
            task = self._loop.create_task(self._run(question))
            running = _Running(task, self._loop.time() + STALE_WAIT_S)
            self._running[question] = running
        return running

    async def _run(self, question: Question) -> None:
        self.look_ups += 1
        try:
            reply = await self._look_up(question)
        except LookUpError as error:
            self._on_failure(question, error)
        except Exception as error:
            # The library met something that it, or we, did not think of: nobody's call breaks.
            log.error("a DNS answer broke", exc_info=error)
            self._on_failure(question, error)
        else:
            self._keep(question, reply)
        finally:
            del self._running[question]

    def _keep(self, question: Question, reply: Reply) -> None:
        if self._is_failing:
            self._is_failing = False
            log.info("dns answers again")
        longest_s = MAX_TTL_S if reply.records else MAX_NEGATIVE_TTL_S
        expires_at = self._loop.time() + min(max(reply.ttl_s, MIN_TTL_S), longest_s)
        self._put(question, _Kept(reply.records, expires_at, expires_at + STALE_S))

    def _on_failure(self, question: Question, error: Exception) -> None:
        self.failures += 1
        if not self._is_failing:
            self._is_failing = True
            # Once, and without the name: whose it is may be nobody's business.
            log.warning("dns does not answer (%s); what was known last is used", error)
        now = self._loop.time()
        kept = self._kept.get(question)
        if kept is not None and now < kept.stale_until:
            kept.retry_at = now + RETRY_S
        else:
            self._put(question, _Kept((), now + FAILED_S, now + FAILED_S))

    def _put(self, question: Question, kept: _Kept) -> None:
        self._kept.pop(question, None)
        self._kept[question] = kept
        while len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]


class AddressWatch:
    """Keeps the addresses of some names current, such as those that trunks call in from.

    It also asks ahead of time, so that a call to a watched name does not wait for the DNS.
    """

    def __init__(
        self,
        resolver: Resolver,
        destinations: Mapping[str, Destination],
        on_change: Callable[[str, frozenset[str]], object],
    ) -> None:
        """
        Args:
            destinations: what to watch, each by a name of ours.
            on_change: told the name and all its addresses, at first and when they have changed.
        """
        self._resolver = resolver
        self._destinations = dict(destinations)
        self._on_change = on_change
        self._known: dict[str, frozenset[str]] = {}

    async def refresh(self) -> None:
        """Look at every name once; 5 s at most, nothing of it blocking."""
        await asyncio.gather(*map(self._refresh, self._destinations))

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(WATCH_S)

    async def _refresh(self, name: str) -> None:
        destination = self._destinations[name]
        addresses = await self._resolver.addresses(destination, ahead_s=WATCH_S)
        if addresses != self._known.get(name):
            self._known[name] = addresses
            try:
                self._on_change(name, addresses)
            except Exception:
                # A bug of ours: the others are watched on.
                log.exception("nobody learns the addresses of %s", name)


@dataclass(slots=True)
class _Kept:
    """One answer."""

    records: tuple[Record, ...]
    expires_at: float
    stale_until: float
    retry_at: float = 0.0
    "Until when it is used without asking, because nobody answered."


@dataclass(frozen=True, slots=True)
class _Running:
    """One question under way."""

    task: asyncio.Task[None]
    patience_until: float
    "From then on what was known last is used instead of waiting."
