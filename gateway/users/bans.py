"""Who is not listened to for a while: guessers of passwords, and floods (A10, A11).

A source is an address, an IPv6 one with all of its /64: whoever has one has them all.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address

MAX_FAILURES = 5
"Failures within the window that earn a ban: a person mistypes less often."
WINDOW_S = 60
BAN_S = 300
"The first ban; each further one lasts twice as long as the one before."
MAX_BAN_S = 3600
FORGIVEN_AFTER_S = 3600
"How long after its last ban a source is as good as new."
MAX_BANNED_SOURCES = 4096
"Sources with failures that are remembered; the one that failed longest ago goes first."

BURST = 16
"Requests that a stranger may make at once without proving who he is."
REFILL_PER_S = 8.0
"16 in 2 s (A11): a phone sends two to register."
READ_BURST = 64
"Messages of a stranger that are read at once: a call without a registration has some twenty."
READ_PER_S = 32.0
"To read one takes 0.1 ms, also of what is no SIP and is never answered."
MAX_BUCKETS = 4096
"Sources whose requests are counted; one that comes back after being forgotten begins anew."
STRANGERS_BURST = 1000
STRANGERS_PER_S = 500.0
"What all strangers together may ask: a flood from forged addresses must not eat the processor."

_MAX_DOUBLINGS = 8


def source_key(host: str) -> str:
    """What stands for an address in the tables here."""
    if ":" not in host:
        return host
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{int(address) >> 64:x}::/64"


@dataclass(slots=True)
class _Record:
    failures: list[float] = field(default_factory=list)
    "When, within the window; `MAX_FAILURES` at most."
    bans: int = 0
    banned_until: float = 0.0


class Bans:
    """Counts failed logins by source; too many, and nothing of it is heard for a while."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def is_banned(self, source: str, now: float) -> bool:
        """Whether a source is banned now."""
        record = self._records.get(source)
        return record is not None and now < record.banned_until

    def count_failure(self, source: str, now: float) -> int | None:
        """Note a failed login.

        Returns:
            How long the source is banned for it, seconds; None: it is not yet.
        """
        record = self._records.setdefault(source, _Record())
        self._records.move_to_end(source)
        if len(self._records) > MAX_BANNED_SOURCES:
            self._records.popitem(last=False)
        if now > record.banned_until + FORGIVEN_AFTER_S:
            record.bans = 0
        record.failures = [at for at in record.failures if at > now - WINDOW_S]
        record.failures.append(now)
        if len(record.failures) < MAX_FAILURES:
            return None
        duration = min(BAN_S << record.bans, MAX_BAN_S)
        record.failures.clear()
        record.bans = min(record.bans + 1, _MAX_DOUBLINGS)
        record.banned_until = now + duration
        return duration


class Bucket:
    """Tokens that fill up again at a steady rate."""

    __slots__ = ("_at", "_capacity", "_per_s", "_tokens")

    def __init__(self, capacity: float, per_s: float) -> None:
        self._capacity = self._tokens = capacity
        self._per_s = per_s
        self._at: float | None = None

    def has_token(self, now: float) -> bool:
        """Whether there is one to take."""
        return self._fill(now) >= 1

    def take(self, now: float) -> bool:
        """Take one; False: there was none."""
        has = self._fill(now) >= 1
        if has:
            self._tokens -= 1
        return has

    def _fill(self, now: float) -> float:
        if self._at is not None and now > self._at:
            self._tokens = min(self._capacity, self._tokens + (now - self._at) * self._per_s)
        self._at = now if self._at is None else max(self._at, now)
        return self._tokens


class Buckets:
    """What each stranger may ask, and what all of them together may."""

    def __init__(self, burst: float = BURST, per_s: float = REFILL_PER_S) -> None:
        self._burst, self._per_s = burst, per_s
        self._all = Bucket(STRANGERS_BURST, STRANGERS_PER_S)
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def has_token(self, source: str, now: float, *, is_known: bool = False) -> bool:
        """Whether a source may ask something now; looking costs nothing.

        Args:
            is_known: it has proven itself before: what all strangers do is not counted against it.
        """
        bucket = self._buckets.get(source)
        return (is_known or self._all.has_token(now)) and (bucket is None or bucket.has_token(now))

    def take(self, source: str, now: float, *, is_known: bool = False) -> bool:
        """Let a source ask; False: it has asked enough, or everybody together has."""
        bucket = self._buckets.get(source)
        if bucket is None:
            if len(self._buckets) >= MAX_BUCKETS:
                self._buckets.popitem(last=False)
            bucket = self._buckets[source] = Bucket(self._burst, self._per_s)
        self._buckets.move_to_end(source)
        return bucket.take(now) and (is_known or self._all.take(now))
