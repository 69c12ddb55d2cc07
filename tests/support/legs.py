"""A leg that does nothing by itself, and a call of such legs in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from gateway.agents.event import AgentEvent, ToolDone
from gateway.call.call import Call, CallOptions, Errand
from gateway.call.events import CallEvent
from gateway.leg.leg import (
    EndReason,
    Gone,
    LegEvent,
    LegKind,
    MediaQuality,
    Phase,
)
from gateway.media.frame import AudioFrame
from gateway.media.hub import Hub, Listener, PartyId
from gateway.media.playout import Playout
from gateway.private import Private
from gateway.sdp.description import Direction
from gateway.sip.uri import Uri
from gateway.trunk.route import Plan, RouteOptions, Target, TargetKind, parse_target


class FakeLeg:
    """Notes its commands; a test tells its events."""

    def __init__(
        self,
        leg_id: str,
        kind: LegKind = LegKind.SIP,
        *,
        listener: Listener | None = None,
        playout: Playout | None = None,
    ) -> None:
        self.id = leg_id
        self.kind = kind
        self.listener = listener
        self.playout = playout
        self.can_refer = False
        self.dialog: tuple[Uri, str] | None = None
        self.did: list[str] = []
        self.done: list[ToolDone] = []
        self.informed: list[AgentEvent] = []
        self.on_event: Callable[[LegEvent], None] = _nobody
        self.on_frame: Callable[[AudioFrame], None] = _unheard

    def dial(self) -> None:
        self.did.append("dial")

    def progress(self, *, ringing: bool, early_media: bool) -> None:
        self.did.append("ringing" if ringing else "early media" if early_media else "progress")

    def answer(self) -> None:
        self.did.append("answer")

    def digit(self, digit: str, phase: Phase, duration_ms: int = 0) -> None:
        self.did.append(f"digit {digit} {phase.value}")

    def hold(self, direction: Direction) -> None:
        self.did.append(f"hold {direction.value}")

    def refer(self, target: Uri, replaces: str | None = None) -> None:
        self.did.append(f"refer {target.user}" + (f" replaces {replaces}" if replaces else ""))

    def transfer_progress(self, status: int) -> None:
        self.did.append(f"transfer {status}")

    def tool_done(self, done: ToolDone) -> None:
        self.did.append(f"tool {done.id} {done.status}")
        self.done.append(done)

    def inform(self, event: AgentEvent) -> None:
        self.informed.append(event)

    def stop_media(self) -> None:
        self.did.append("stop media")

    def end(self, reason: EndReason, status: int = 0, text: str = "") -> None:
        self.did.append(f"end {reason.value}")

    def quality(self) -> MediaQuality:
        return MediaQuality()


class NotingHub(Hub):
    """A hub that keeps who was routed to hear whom."""

    hears: Mapping[PartyId, Mapping[PartyId, float]] = {}
    count = 0
    "How often."

    def route(
        self,
        hears: Mapping[PartyId, Mapping[PartyId, float]],
        *,
        keep: Collection[PartyId] = (),
    ) -> None:
        self.hears = hears
        self.count += 1
        super().route(hears, keep=keep)


class CallBench:
    """One call of fake legs, its time turned by hand."""

    def __init__(
        self,
        *groups: list[str],
        route: RouteOptions | None = None,
        options: CallOptions | None = None,
        caller_kind: LegKind = LegKind.BROWSER,
        max_breadth: int | None = None,
    ) -> None:
        self.now = 0.0
        self.caller = FakeLeg("caller", caller_kind)
        self.legs: dict[str, FakeLeg] = {}
        self.errands: dict[str, Errand] = {}
        self.events: list[CallEvent] = []
        self.hub = NotingHub()
        self.call = Call(
            "gw-1",
            caller=self.caller,
            caller_target="browser",
            numbers=(Private("+15550001"), Private("+15550100")),
            plan=plan(*groups, route=route),
            dial=self._dial,
            hub=self.hub,
            options=options,
            max_breadth=max_breadth,
        )

    def start(self, *, dial_caller: bool = False) -> None:
        self.call.start(self.now, dial_caller=dial_caller)
        self._collect()

    def tell(self, leg: FakeLeg, event: LegEvent) -> None:
        """The leg tells the call something."""
        self.call.on_leg_event(leg.id, event, self.now)
        self._collect()

    def advance(self, seconds: float) -> None:
        """Let time pass, timers included."""
        until = self.now + seconds
        while (timer := self.call.next_timer()) is not None and timer <= until:
            self.now = timer
            self.call.handle_timer(timer)
        self.now = until
        self._collect()

    def all_gone(self) -> None:
        for leg in (self.caller, *self.legs.values()):
            self.tell(leg, Gone())

    def hears(self, listener: str) -> set[str]:
        """Whom a party is routed to hear."""
        return set(self.hub.hears.get(listener, ()))

    def happened(self, kind: type) -> list[CallEvent]:
        return [event for event in self.events if type(event) is kind]

    def _dial(self, target: Target, errand: Errand) -> FakeLeg:
        self.errands[str(target)] = errand
        before = sum(leg.startswith(str(target)) for leg in self.call.parties)
        kind = LegKind.AGENT if target.kind is TargetKind.AGENT else LegKind.SIP
        leg = FakeLeg(f"{target}-{before}" if before else str(target), kind)
        self.legs[str(target)] = leg
        return leg

    def _collect(self) -> None:
        self.events.extend(self.call.take_events())


def plan(*groups: list[str], route: RouteOptions | None = None) -> Plan:
    """A plan of targets as they are written."""
    targets = tuple(tuple(parse_target(text) for text in group) for group in groups)
    return Plan(targets, route or RouteOptions())


def _nobody(event: LegEvent) -> None:
    pass


def _unheard(frame: AudioFrame) -> None:
    pass
