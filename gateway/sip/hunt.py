"""One request on its way along the hops of its destination (RFC 3263 §4.3, RFC 3261 §18.1.1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from gateway.sip.core import Core, follow_address
from gateway.sip.dialog import Dialog
from gateway.sip.event import HopAnswered, HopFailed, HopTrouble
from gateway.sip.flow import Destination, Flow, Hop
from gateway.sip.message import Request, Response
from gateway.sip.timers import Alarm
from gateway.sip.transaction import T1, Failure, Input, Owner
from gateway.sip.trial import Trial
from gateway.sip.uri import Uri

NO_RESPONSE_S = 4.0
"Silence after which a further hop is tried: Timers B and F would take 32 s."

MAX_HOPS = 16
"Hops tried for one request, and no more however many a name may have."

MAX_DATAGRAM_BYTES = 1300
"A larger request is tried over TCP first: as fragments it is lost easily (RFC 3261 §18.1.1)."

Build = Callable[[Flow], Request]
"""Makes the request for a flow: with a new branch, and the Via and Contact of that flow."""


class Hunt:
    """Sends one request to the first hop that takes it, and says what became of it.

    The next hop is tried at once when one answers 503, refuses the connection or is unreachable;
    and after `no_response_timeout_s` without any response. The last one has the time of the
    transaction, unless there is an alternative to all of them. Responses come to `on_response`,
    other than a 503 that has made it go on; later responses of a hop that was left come there too
    if they are 2xx to an INVITE, for those have to be acknowledged and hung up. `on_failure` is
    called if there is no final response at all.
    """

    def __init__(
        self,
        core: Core,
        owner: Owner,
        build: Build,
        *,
        on_response: Callable[[Response, Trial, float], None],
        on_failure: Callable[[Failure, float], None],
        on_left: Callable[[Response, Trial, float], None] | None = None,
        flow: Flow | None = None,
        hop: Hop | None = None,
        destination: Destination | None = None,
        permits: Callable[[Hop], bool] | None = None,
        no_response_timeout_s: float = NO_RESPONSE_S,
        has_alternative: bool = False,
    ) -> None:
        """
        Args:
            has_alternative: whether there is somewhere else to go when it fails: then the last
                hop has no more time than the others (F2).
            on_left: gets the 503 for which a further hop is tried.
            flow: tried first, without asking where; the destination only if the flow is closed or
                breaks. None: the destination at once.
            hop: what that flow leads to, if a large request may go there over TCP too.
            permits: which of the hops found may be tried; None: all.
        """
        self.trial: Trial | None = None
        "The last one; None as long as nothing was sent."
        self.hop = hop
        "That is tried, or was last; None: it was sent on a given flow, or nowhere."
        self.is_over = False
        self.retry_after_s: int | None = None
        "Of the last 503."
        self._core = core
        self._owner = owner
        self._build = build
        self._deliver = on_response
        self._fail = on_failure
        self._on_left = on_left
        self._flow = flow
        self._destination = destination
        self._is_reporting = flow is None
        self._permits = permits
        self._no_response_timeout_s = no_response_timeout_s
        self._has_alternative = has_alternative
        self._hops: deque[Hop] | None = None
        "Still to be tried; None: not asked for yet."
        self._asked: Destination | Hop | None = None
        "What the driver is finding out."
        self._has_praised = False
        "Whether it was told that the hop has answered."
        self._datagrams: Flow | None = None
        "The way back, while a large request is tried over TCP."
        self._alarm: Alarm | None = None

    def start(self, now: float) -> None:
        """Send the request, or find out where to."""
        self._owner.acquire()
        flow = self._flow
        if flow is None or self._core.is_closed(flow):
            self._advance(Failure.TRANSPORT, now)
        else:
            self._try(flow, now)

    def again(self, now: float) -> None:
        """Send it anew to the hop that has just answered: with credentials, as a rule (§22.2)."""
        assert self.trial is not None
        flow = self.trial.flow
        if self._core.is_closed(flow) and self.hop is not None:
            self._connect(self.hop, now)
        elif self._core.is_closed(flow):
            self._advance(Failure.TRANSPORT, now)
        else:
            self._try(flow, now)

    def cancel(self, now: float, reason: str | None = None) -> None:
        """Stop: no further hop is tried, and what was sent is cancelled if it is an INVITE.

        Late responses still come to `on_response`.

        Raises:
            ValueError: the reason holds control characters.
        """
        if self.is_over:
            return
        trial = self.trial
        if trial is not None and self._asked is None:
            if trial.request.method == "INVITE":
                trial.cancel(now, reason)
            else:
                trial.transaction.feed(Input.LEAVE, now)
        self._finish(now)

    def give_up(self, now: float) -> None:
        """Stop: there was time enough."""
        if self.trial is None or not self.trial.has_answered:
            self._report(HopTrouble.SILENT)
        self.cancel(now)

    # ---- what the driver tells

    def resolved(self, hops: Sequence[Hop], now: float) -> None:
        """The hops of the destination are known."""
        self._asked = None
        flow = self._flow
        bounced = None if flow is None or flow.is_reliable else ("udp", *flow.remote)
        self._hops = deque(
            hop
            for hop in dict.fromkeys(hops)
            if (self._permits is None or self._permits(hop))
            and (hop.transport, hop.host, hop.port) != bounced
        )
        while len(self._hops) > MAX_HOPS:
            self._hops.pop()
        if not self._hops:
            self.hop = None
            self._report(HopTrouble.UNKNOWN)
        self._advance(Failure.TRANSPORT, now)

    def opened(self, flow: Flow, now: float) -> None:
        """There is a flow to the hop."""
        self._asked = None
        self._try(flow, now)

    def refused(self, now: float, why: HopTrouble = HopTrouble.UNREACHABLE) -> None:
        """There is no flow to the hop."""
        self._asked = None
        if self._datagrams is not None:
            self._fall_back(now)
            return
        self._report(why)
        is_late = why is HopTrouble.SILENT
        self._advance(Failure.TIMEOUT if is_late else Failure.TRANSPORT, now)

    # ---- on to the next hop

    def _advance(self, failure: Failure, now: float) -> None:
        """Go to the next hop; without one it has failed, by what happened last.

        Silence on a given flow is an answer too: whoever is there has not gone elsewhere.
        """
        is_broken = failure is Failure.TRANSPORT
        self._datagrams = None
        if self._hops:
            self._connect(self._hops.popleft(), now)
        elif is_broken and self._hops is None and self._destination is not None:
            self._asked = self._destination
            self._core.resolve(self._destination, self)
            self._arm(now)
        else:
            self._close()
            self._fail(failure, now)
            self._leave(now)

    def _connect(self, hop: Hop, now: float) -> None:
        self.hop = hop
        self._has_praised = False
        self._ask(hop, now)

    def _ask(self, hop: Hop, now: float) -> None:
        self._asked = hop
        self._core.connect(hop, self)
        self._arm(now)

    def _try(self, flow: Flow, now: float) -> None:
        """Send the request on a flow, unless it is too large for that."""
        hop = self.hop
        request = self._build(flow)
        if request.method == "ACK":  # that has no transaction (RFC 3261 §17.1.1.3)
            self._core.send(bytes(request), flow)
            self._finish(now)
            return
        if (
            hop is not None
            and not flow.is_reliable
            and self._core.may_take_streams(hop, now)
            and len(bytes(request)) > MAX_DATAGRAM_BYTES
        ):
            self._datagrams = flow
            self._ask(Hop("tcp", hop.host, hop.port), now)
            return
        self.trial = trial = Trial(self._core, self._owner, request, flow, hop)
        trial.start(now, on_response=self._on_response, on_failure=self._on_failure)
        self._arm(now)

    def _fall_back(self, now: float) -> None:
        """Send a large request as a datagram after all."""
        flow, self._datagrams = self._datagrams, None
        assert flow is not None
        assert self.hop is not None
        self._core.note_no_streams(self.hop, now)
        self._try(flow, now)

    def _arm(self, now: float) -> None:
        """Limit the time that a hop, or the driver, may take."""
        self._core.timers.stop(self._alarm)
        self._alarm = None
        falls_back = self._datagrams is not None and self._asked is not None
        if self._hops or self._has_alternative or falls_back:
            self._start_alarm(now + self._no_response_timeout_s)
        elif self._asked is not None:
            self._start_alarm(now + 64 * T1)

    def _start_alarm(self, at: float) -> None:
        self._alarm = self._core.timers.start(at, self._on_silence)

    def _on_silence(self, now: float) -> None:
        asked = self._asked
        self._core.forget_hunt(self, asked)
        if isinstance(asked, Hop):
            self.refused(now, HopTrouble.SILENT)
        elif asked is not None:
            self.resolved((), now)
        elif self.trial is not None:
            self._report(HopTrouble.SILENT)
            self.trial.leave(now)
            self._advance(Failure.TIMEOUT, now)

    # ---- what transactions tell

    def _on_failure(self, failure: Failure, trial: Trial, now: float) -> None:
        if trial is not self.trial or self.is_over or self._asked is not None:
            return
        if failure is Failure.TRANSPORT and self._datagrams is not None:
            self._fall_back(now)
            return
        is_late = failure is Failure.TIMEOUT
        self._report(HopTrouble.SILENT if is_late else HopTrouble.UNREACHABLE)
        self._advance(failure, now)

    def _on_response(self, response: Response, trial: Trial, now: float) -> None:
        is_first = not trial.has_answered
        trial.take(response, now)
        if trial is not self.trial or trial.is_left:
            self._on_late(response, trial, now)
            return
        if self.is_over:
            self._deliver(response, trial, now)
            return
        if is_first:
            self._core.timers.stop(self._alarm)
            self._datagrams = None
        if response.status == 503:
            self.retry_after_s = response.retry_after_s
            self._report(HopTrouble.OVERLOADED, response.retry_after_s)
            if self._hops:
                trial.is_left = True
                if self._on_left is not None:
                    self._on_left(response, trial, now)
                self._advance(Failure.TRANSPORT, now)
                return
        elif not self._has_praised and self._is_reporting and self._destination and self.hop:
            self._has_praised = True
            self._core.events.append(HopAnswered(self._destination, self.hop, trial.flow))
        self._deliver(response, trial, now)
        if response.status >= 200 and trial is self.trial and self._asked is None:
            self._finish(now)

    def _on_late(self, response: Response, trial: Trial, now: float) -> None:
        """A hop answers that was left: it is not to keep a callee."""
        if trial.request.method == "INVITE" and 200 <= response.status < 300:
            self._deliver(response, trial, now)
        else:
            self._owner.note(False, response, now)

    # ---- the end

    def _finish(self, now: float) -> None:
        if not self.is_over:
            self._close()
            self._leave(now)

    def _leave(self, now: float) -> None:
        self._owner.rest(now)
        self._owner.release(now)

    def _close(self) -> None:
        self.is_over = True
        self._core.timers.stop(self._alarm)
        self._core.forget_hunt(self, self._asked)
        self._asked = None

    def _report(self, why: HopTrouble, retry_after_s: int | None = None) -> None:
        if self._is_reporting and self._destination is not None:
            event = HopFailed(self._destination, self.hop, why, retry_after_s)
            self._core.events.append(event)


def hunt_within(
    core: Core,
    dialog: Dialog,
    owner: Owner,
    build: Build,
    now: float,
    *,
    on_response: Callable[[Response, float], None],
    on_failure: Callable[[Failure, float], None],
) -> Hunt:
    """Send a request within a dialog: the way it has; if that is closed, anew to its next hop.

    Args:
        build: makes the request for a flow, each time with the same number: see
            `Dialog.next_cseq`.
    """
    uri = dialog.next_hop
    home = core.follow(uri, dialog.flow)
    may_follow = core.options.may_follow
    flow = follow_address(uri, home, may_follow)
    is_named = flow.transport == "udp" and may_follow(uri.host, home)

    def take(response: Response, trial: Trial, now: float) -> None:
        if trial.flow != flow:
            dialog.flow = trial.flow
        on_response(response, now)

    hunt = Hunt(
        core,
        owner,
        build,
        on_response=take,
        on_failure=on_failure,
        flow=flow,
        hop=Hop("udp", *flow.remote) if is_named else None,
        destination=Destination.of(uri) if is_reachable(uri) else None,
        permits=lambda hop: may_follow(hop.host, home),
    )
    hunt.start(now)
    return hunt


def is_cut_off(core: Core, uri: Uri, flow: Flow) -> bool:
    """Whether nothing leads to a peer any more, unless it connects anew."""
    return core.is_closed(core.follow(uri, flow)) and not is_reachable(uri)


def is_reachable(uri: Uri) -> bool:
    """Whether there may be a way to it without the flow it came on (RFC 7118 §5)."""
    transport = (uri.parameters.get("transport") or "").lower()
    return uri.is_sip and transport not in ("ws", "wss") and not uri.host.endswith(".invalid")
