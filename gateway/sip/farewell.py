"""The BYE that ends a dialog of ours (RFC 3261 §15.1.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.sip.dialog import Dialog
from gateway.sip.hunt import is_cut_off
from gateway.sip.message import Response
from gateway.sip.transaction import Failure
from gateway.sip.within import STATUS_OF, DialogRequest

if TYPE_CHECKING:
    from gateway.sip.session import Session

RETRIES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""After these pauses a BYE is sent anew that no connection took. A proxy that is started again
may be back by then, and with it the call that would else go on at the far end: 31 s of 32."""


class Farewell:
    """A BYE, on a new connection where the one that was there is closed, and until one takes it."""

    def __init__(
        self,
        session: Session,
        dialog: Dialog,
        reason: str | None,
        *,
        on_over: Callable[[float], None],
    ) -> None:
        """`on_over`: told when there is a final response, or will be none."""
        self._session = session
        self._dialog = dialog
        self._headers = (("Reason", reason),) if reason is not None else ()
        self._on_over = on_over
        self._pauses = list(RETRIES_S)

    def send(self, now: float) -> None:
        """Send it."""
        request = DialogRequest(
            self._session, self._dialog, "BYE", self._on_reply, headers=self._headers
        )
        request.send(now)

    def _on_reply(self, status: int, response: Response | None, now: float) -> None:
        if status < 200:
            return
        is_refused = response is None and status == STATUS_OF[Failure.TRANSPORT]
        if is_refused and self._pauses and self._may_be_back():
            self._session.acquire()
            self._session.core.timers.start(now + self._pauses.pop(0), self._again)
        else:
            self._on_over(now)

    def _again(self, now: float) -> None:
        if self._dialog.id in self._session.core.dialogs:  # else the peer has hung up meanwhile
            self.send(now)
        self._session.rest(now)
        self._session.release(now)

    def _may_be_back(self) -> bool:
        """Whether it is a connection that failed, to who can be connected to."""
        uri, flow = self._dialog.next_hop, self._dialog.flow
        return flow.is_reliable and not is_cut_off(self._session.core, uri, flow)
