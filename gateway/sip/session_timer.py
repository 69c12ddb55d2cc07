"""Session timers: a session that nobody refreshes is over (RFC 4028)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from gateway.errors import RemoteProtocolError
from gateway.sip.grammar import parse_number
from gateway.sip.header import parse_values
from gateway.sip.inspection import Refusal, supports
from gateway.sip.message import Message, Request, Response
from gateway.sip.timers import Alarm, Timers

SHORTEST_S = 90
"No interval may be shorter (§4): nobody makes us refresh more often than each 45 s."
HANG_UP_BEFORE_S = 32.0
"How long before the expiry who does not refresh hangs up, or a third of the interval (§10)."
RETRY_LEFT_S = 32.0
"A refresh that was refused is tried again while so much is left until the expiry."

_TAG = "timer"


@dataclass(frozen=True, slots=True)
class SessionTimerOptions:
    """What we ask for."""

    expires_s: int = 1800
    "Session interval."
    min_se_s: int = SHORTEST_S
    "Shortest interval that we take; below it 422."

    def __post_init__(self) -> None:
        if not SHORTEST_S <= self.min_se_s <= self.expires_s:
            raise ValueError(f"{SHORTEST_S} s <= min_se_s <= expires_s")


DEFAULT_SESSION_TIMER = SessionTimerOptions()


class Refresher(Enum):
    """Who refreshes."""

    WE = "we"
    PEER = "peer"


class SessionTimer:
    """The timer of one session, in both roles. It refreshes by what it is given."""

    def __init__(
        self,
        options: SessionTimerOptions | None,
        timers: Timers,
        *,
        refresh: Callable[[float], None],
        expire: Callable[[float], None],
    ) -> None:
        """
        Args:
            options: None asks for no timer; that of a peer who asks is kept all the same.
            refresh: sends an UPDATE or a re-INVITE that changes nothing.
            expire: ends the session.
        """
        self.options = options
        self.interval_s: int | None = None
        "None: the session does not expire."
        self.refresher = Refresher.PEER
        self._timers = timers
        self._refresh = refresh
        self._expire = expire
        self._min_se_s = SHORTEST_S
        "The largest that the peer, or a proxy, has named."
        self._has_retried = False
        self._expires_at = 0.0
        self._alarm: Alarm | None = None
        self._deadline: Alarm | None = None

    # In requests of ours.

    @property
    def first_headers(self) -> tuple[tuple[str, str], ...]:
        """What the first INVITE asks for (§7.1)."""
        if self.options is None:
            return ()
        min_se = max(self.options.min_se_s, self._min_se_s)
        expires = max(self.options.expires_s, min_se)
        return (("Session-Expires", str(expires)), ("Min-SE", str(min_se)))

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What a re-INVITE or UPDATE says: nothing changes (§7.4)."""
        if self.interval_s is None:
            return ()
        expires = max(self.interval_s, self._min_se_s)
        role = "uac" if self.refresher is Refresher.WE else "uas"
        named = (("Min-SE", str(self._min_se_s)),) if self._min_se_s > SHORTEST_S else ()
        return (("Session-Expires", f"{expires};refresher={role}"), *named)

    def raise_minimum(self, response: Response) -> bool:
        """Take the Min-SE of a 422 (§7.3).

        Returns:
            Whether to send the request again: once, and if it is now another one.
        """
        wanted = _read_seconds(response, "Min-SE")
        if self._has_retried or wanted is None or wanted <= self._min_se_s:
            return False
        self._has_retried = True
        self._min_se_s = wanted
        return True

    def take_answer(self, response: Response, now: float) -> None:
        """Go by the 2xx to a first INVITE, a re-INVITE or an UPDATE of ours (§7.2)."""
        self._has_retried = False
        expires = _read_expires(response)
        if expires is None:
            self.stop()
            return
        interval, role = expires
        self._start(interval, Refresher.PEER if role == "uas" else Refresher.WE, now)

    # In requests of the peer.

    def inspect(self, request: Request) -> Refusal | None:
        """Refuse an interval that is too short."""
        return inspect_interval(request, self.options)

    def answer(self, request: Request, now: float) -> tuple[tuple[str, str], ...]:
        """Headers of our 2xx to an INVITE or UPDATE, and the timer from now on (§9, table 2)."""
        can = supports(request, _TAG)
        minimum = _read_seconds(request, "Min-SE")
        self._min_se_s = max(self._min_se_s, minimum or 0)
        expires = _read_expires(request)
        if expires is not None:
            interval, role = expires
            if self.options is not None:
                interval = min(interval, max(self.options.expires_s, minimum or 0))
        elif not can or (self.options is None and self.interval_s is None):
            self.stop()
            return ()
        else:
            wanted = 0 if self.options is None else self.options.expires_s
            interval, role = max(self.interval_s or wanted, self._min_se_s), None
        if not can:
            role = "uas"
        elif role is None:
            # It stays as it is, and begins with the peer: who is called need not keep the time.
            role = "uas" if self._is_ours else "uac"
        interval = max(interval, SHORTEST_S)
        self._start(interval, Refresher.WE if role == "uas" else Refresher.PEER, now)
        require = (("Require", _TAG),) if can else ()
        return (*require, ("Session-Expires", f"{interval};refresher={role}"))

    # The clock.

    def retry(self, now: float) -> None:
        """Try a refused refresh again, later, while there is time."""
        left = self._expires_at - now
        if self.interval_s is not None and left > RETRY_LEFT_S:
            self._timers.stop(self._alarm)
            self._alarm = self._timers.start(now + left / 2, self._refresh)

    def stop(self) -> None:
        """Let the session last."""
        self.interval_s = None
        self._timers.stop(self._alarm)
        self._timers.stop(self._deadline)

    @property
    def _is_ours(self) -> bool:
        return self.interval_s is not None and self.refresher is Refresher.WE

    def _start(self, interval_s: int, refresher: Refresher, now: float) -> None:
        self.stop()
        self.interval_s = interval = max(interval_s, SHORTEST_S)
        self.refresher = refresher
        self._expires_at = now + interval
        if refresher is Refresher.WE:
            self._alarm = self._timers.start(now + interval / 2, self._refresh)
            lead = 0.0
        else:
            lead = min(HANG_UP_BEFORE_S, interval / 3)
        self._deadline = self._timers.start(self._expires_at - lead, self._expire)


def inspect_interval(request: Request, options: SessionTimerOptions | None) -> Refusal | None:
    """Refuse an INVITE or UPDATE that wants too short an interval of us (§9).

    Who does not know what a 422 means is not refused; the interval is raised instead.
    """
    expires = _read_expires(request)
    if expires is None or not supports(request, _TAG):
        return None
    minimum = SHORTEST_S if options is None else options.min_se_s
    return Refusal(422, (("Min-SE", str(minimum)),)) if expires[0] < minimum else None


def _read_expires(message: Message) -> tuple[int, str | None] | None:
    """Interval and refresher of a Session-Expires; None if there is none that can be read."""
    text = message.headers.get("Session-Expires")
    if text is None:
        return None
    try:
        value = parse_values(text)[0]
        seconds = parse_number(value.value)
    except RemoteProtocolError:
        return None
    role = (value.parameters.get("refresher") or "").lower()
    return seconds, role if role in ("uac", "uas") else None


def _read_seconds(message: Message, name: str) -> int | None:
    text = message.headers.get(name)
    if text is None:
        return None
    try:
        return parse_number(parse_values(text)[0].value)
    except RemoteProtocolError:
        return None
