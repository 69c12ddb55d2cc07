"""One use of a tool by one agent: what was asked, and how it is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.agents.event import ToolDone
from gateway.agents.tool import TOOLS, Tool
from gateway.call.events import ToolEnded, ToolStarted
from gateway.call.party import Party, PartyState
from gateway.call.room import Room
from gateway.leg.leg import Ended
from gateway.private import Private
from gateway.sip.reason import REASONS

NAMES: Mapping[type[Any], str] = {kind: name for name, kind in TOOLS.items()}

WORDS = {
    403: "not allowed",
    404: "there is no such destination",
    408: "no answer",
    480: "no answer",
    486: "busy",
    487: "given up",
    503: "cannot be reached",
    600: "busy",
    603: "declined",
}
"What a status means, for a person or a model."


class Use:
    """Answered once; what comes after that is not told."""

    def __init__(self, room: Room, party: Party, use_id: str, tool: Tool, now: float) -> None:
        self.party = party
        self.tool = tool
        self.name = NAMES[type(tool)]
        self.is_over = False
        self._room = room
        self._id = use_id
        to = getattr(tool, "to", None)
        told = ToolStarted(
            room.id, now, party.leg.id, use_id, self.name, Private(to) if to else None
        )
        room.tell(told)

    def done(
        self,
        now: float,
        status: int = 200,
        detail: str = "",
        result: Mapping[str, Any] | None = None,
    ) -> None:
        """It was done, or why not."""
        if self.is_over:
            return
        self.is_over = True
        is_done = 200 <= status < 300
        detail = detail or ("" if is_done else words(status))
        self._room.tell(
            ToolEnded(self._room.id, now, self.party.leg.id, self._id, self.name, status, detail)
        )
        if self.party.state is not PartyState.ENDED:
            self.party.leg.tool_done(
                ToolDone(self._id, self.name, is_done, status, detail, result or {})
            )

    def fail(self, ended: Ended, now: float) -> None:
        """Whom it dialled was not to be reached."""
        self.done(now, status_of(ended))


Then = Callable[[float], None]
"What is to be done at a time."


def status_of(ended: Ended) -> int:
    """Why somebody was not to be reached."""
    return ended.status if ended.status >= 300 else ended.reason.status


def words(status: int) -> str:
    """A status for a person or a model."""
    return WORDS.get(status) or REASONS.get(status, "failed").lower()
