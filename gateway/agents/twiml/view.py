"""One call, seen by several at a time: an agent that has it, others that only listen.

An AgentCall tells one listener and one watcher. The switchboard is both, and tells everybody who
was given a view of it; where nobody but one hears, that costs one call of a function for a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from gateway.agents.agent import AgentCall
from gateway.agents.event import AgentEvent, DigitHeard
from gateway.media.frame import AudioFrame
from gateway.media.playout import Cleared

Hear = Callable[[AudioFrame], None]
OnEvent = Callable[[AgentEvent], None]


class Switchboard:
    """Hands what a call brings to all who look at it."""

    def __init__(self, call: AgentCall) -> None:
        self.call = call
        self._ears: tuple[tuple[View, Hear], ...] = ()
        self._watchers: tuple[tuple[View | None, OnEvent], ...] = ()
        self._streams = 0
        call.watch(self._on_event)

    def view(self, *, may_act: bool) -> View:
        """A view for one more.

        Args:
            may_act: whether it may answer, speak, clear and use tools; else it only listens.
        """
        self._streams += 1
        return View(self, may_act=may_act, number=self._streams - 1)

    def watch(self, on_event: OnEvent) -> None:
        """Tell one who needs no view."""
        self._watchers = (*self._watchers, (None, on_event))

    def leave(self, view: View) -> None:
        """It looks on no more."""
        self.listen(view, None)
        self.watch_as(view, None)

    def listen(self, view: View, hear: Hear | None) -> None:
        """Hand the view's frames to `hear`."""
        ears = tuple(each for each in self._ears if each[0] is not view)
        self._ears = ears if hear is None else (*ears, (view, hear))
        # One that is alone hears without us between.
        only = self._ears[0][1] if len(self._ears) == 1 else self._hear
        self.call.listen(only if self._ears else None)

    def watch_as(self, view: View, on_event: OnEvent | None) -> None:
        """Tell the view's events to `on_event`."""
        watchers = tuple(each for each in self._watchers if each[0] is not view)
        self._watchers = watchers if on_event is None else (*watchers, (view, on_event))

    def _hear(self, frame: AudioFrame) -> None:
        for _, hear in self._ears:
            hear(frame)

    def _on_event(self, event: AgentEvent) -> None:
        for view, on_event in self._watchers:
            if view is None or view.may_act or isinstance(event, DigitHeard):
                on_event(event)


class View:
    """What one of them sees; all else is the call's own."""

    def __init__(self, board: Switchboard, *, may_act: bool, number: int) -> None:
        self.may_act = may_act
        self._board = board
        # A stream's id is made of it, and of how often its connection was made anew.
        self.facts = replace(board.call.facts, stream=1000 * number)

    def as_call(self) -> AgentCall:
        """As an agent takes it: what is not here is the call's."""
        return cast(AgentCall, self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._board.call, name)

    def listen(self, hear: Hear | None) -> None:
        self._board.listen(self, hear)

    def watch(self, on_event: OnEvent | None) -> None:
        self._board.watch_as(self, on_event)

    # ---- what only one who may act does

    def accept_now(self) -> None:
        if self.may_act:
            self._board.call.accept_now()

    def ring_now(self) -> None:
        if self.may_act:
            self._board.call.ring_now()

    def say_now(self, *args: Any, **named: Any) -> bool:
        return bool(self.may_act and self._board.call.say_now(*args, **named))

    def say_payload(self, *args: Any, **named: Any) -> bool:
        return bool(self.may_act and self._board.call.say_payload(*args, **named))

    def mark(self, name: str) -> bool:
        return self.may_act and self._board.call.mark(name)

    def clear(self) -> Cleared:
        return self._board.call.clear() if self.may_act else Cleared(0.0, 0.0, ())

    def pause(self) -> None:
        if self.may_act:
            self._board.call.pause()

    def resume(self) -> None:
        if self.may_act:
            self._board.call.resume()

    def use(self, tool: Any, id: str = "") -> None:
        if self.may_act:
            self._board.call.use(tool, id)
