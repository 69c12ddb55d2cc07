"""A registry of calls between fake legs, on a loop with virtual time."""

from __future__ import annotations

from collections.abc import Callable

from gateway.call.call import Call
from gateway.call.events import CallEvent
from gateway.call.registry import Registry, RegistryOptions
from gateway.leg.leg import EndReason, Gone, Leg, LegEvent, LegKind, Signalled
from gateway.net.pacer import Pacer
from gateway.private import Private
from gateway.trunk.route import RouteOptions, Target
from tests.support.legs import FakeLeg, plan
from tests.support.loop import VirtualLoop


class PromptLeg(FakeLeg):
    """Ends as a real leg does: gone a turn of the loop later; its signalling shows at once."""

    loop: VirtualLoop

    def dial(self) -> None:
        super().dial()
        self.on_event(Signalled(sent=True, text="INVITE"))

    def end(self, reason: EndReason, status: int = 0, text: str = "") -> None:
        super().end(reason, status, text)
        self.on_event(Signalled(sent=True, text="BYE"))
        self.loop.call_soon(lambda: self.on_event(Gone()))


class Exchange:
    """Places calls between fake legs."""

    def __init__(
        self,
        loop: VirtualLoop,
        *,
        options: RegistryOptions | None = None,
        make: Callable[[Target], Leg] | None = None,
    ) -> None:
        self.loop = loop
        self.pacer = Pacer(loop)
        self.events: list[CallEvent] = []
        self.legs: dict[str, PromptLeg] = {}
        self.dialogs: dict[str, str] = {}
        "Which leg a Replaces header names."
        self._count = 0
        self._make = make or self.new_leg
        self.registry = Registry(
            loop=loop,
            pacer=self.pacer,
            new_id=self._new_id,
            dial=lambda target, _errand: self._make(target),
            find_dialog=self.dialogs.get,
            options=options,
        )
        self.registry.observe(self.events.append)

    def new_leg(self, target: Target | str) -> PromptLeg:
        """A leg, found again by its target or name."""
        is_agent = str(target).startswith("agent:")
        leg = PromptLeg(self._new_id(), LegKind.AGENT if is_agent else LegKind.SIP)
        leg.loop = self.loop
        self.legs[str(target)] = leg
        return leg

    def place(
        self,
        *groups: list[str],
        caller: Leg | None = None,
        route: RouteOptions | None = None,
        source: str = "browser",
    ) -> Call:
        """A call of a new leg, named `caller`, to groups of targets."""
        return self.registry.place(
            caller or self.new_leg("caller"),
            plan(*groups, route=route),
            caller_target=source,
            numbers=(Private("+15550001"), Private("+15550100")),
        )

    def tell(self, name: str, event: LegEvent) -> None:
        """A leg tells something."""
        self.legs[name].on_event(event)

    def happened(self, call: Call | None = None) -> list[str]:
        """Kinds of events, of one call if named."""
        return [
            type(event).__name__ for event in self.events if call is None or event.call == call.id
        ]

    def _new_id(self) -> str:
        self._count += 1
        return f"gw-{self._count}"


RINGING = RouteOptions(ringing_timeout_s=30)
