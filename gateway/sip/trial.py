"""A request at one hop: its transaction, and for an INVITE the CANCEL (RFC 3261 §9.1)."""

from __future__ import annotations

from collections.abc import Callable

from gateway.sip.core import Core
from gateway.sip.flow import Flow, Hop
from gateway.sip.message import Request, Response
from gateway.sip.timers import Alarm
from gateway.sip.transaction import (
    T1,
    ClientTransaction,
    Failure,
    Input,
    Owner,
    State,
    build_hop_request,
)


class Trial:
    """A request sent to one hop, in a transaction of its own."""

    __slots__ = (
        "_cancel",
        "_core",
        "_give_up",
        "_owner",
        "flow",
        "has_answered",
        "hop",
        "is_left",
        "request",
        "transaction",
    )

    def __init__(
        self, core: Core, owner: Owner, request: Request, flow: Flow, hop: Hop | None
    ) -> None:
        self.request = request
        self.flow = flow
        self.hop = hop
        "None: the flow was given."
        self.has_answered = False
        self.is_left = False
        "Whether another hop is tried instead: a callee that still answers is one too many."
        self.transaction: ClientTransaction
        self._core = core
        self._owner = owner
        self._cancel: Request | None = None
        self._give_up: Alarm | None = None

    def start(
        self,
        now: float,
        *,
        on_response: Callable[[Response, Trial, float], None],
        on_failure: Callable[[Failure, Trial, float], None],
    ) -> None:
        """Send it."""
        self.transaction = self._core.request(
            self.request,
            self.flow,
            self._owner,
            now,
            on_response=lambda response, now: on_response(response, self, now),
            on_failure=lambda failure, now: on_failure(failure, self, now),
        )

    def take(self, response: Response, now: float) -> None:
        """See what a response means for the CANCEL."""
        self.has_answered = True
        if response.status >= 200:
            self._core.timers.stop(self._give_up)
        elif self._cancel is not None and self._give_up is None:
            self._send_cancel(now)

    def leave(self, now: float) -> None:
        """Try no more; whoever still answers an INVITE is told that it is off."""
        self.is_left = True
        if self.request.method == "INVITE":
            self.cancel(now)
        self.transaction.feed(Input.LEAVE, now)

    def cancel(self, now: float, reason: str | None = None) -> None:
        """End an INVITE: CANCEL goes out once a 1xx has come (RFC 3261 §9.1, S4).

        Raises:
            ValueError: the reason holds control characters.
        """
        if self._cancel is not None:
            return
        cancel = build_hop_request("CANCEL", self.request)
        if reason is not None:
            cancel.headers.add("Reason", reason)
        self._cancel = cancel
        if self.transaction.state is State.PROCEEDING:
            self._send_cancel(now)

    def _send_cancel(self, now: float) -> None:
        assert self._cancel is not None
        self._core.request(
            self._cancel,
            self.flow,
            self._owner,
            now,
            on_response=lambda response, now: self._owner.note(False, response, now),
            on_failure=lambda failure, now: None,
        )
        # Some never answer a cancelled INVITE (§9.1, S5).
        self._give_up = self._core.timers.start(
            now + 64 * T1, lambda now: self.transaction.feed(Input.ABANDON, now)
        )
