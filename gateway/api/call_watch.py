"""Brings the events of calls to the pages that they are of: one look each, however many pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from gateway.call.events import CallEvent, CallId


class Watcher(Protocol):
    """Who wants the events of one call."""

    @property
    def call_id(self) -> CallId | None:
        """Of which call; None: it is not placed yet."""

    def on_call_event(self, event: CallEvent) -> None: ...


class CallWatch:
    """Hears all calls of a node while there is somebody to tell."""

    def __init__(
        self, observe: Callable[[Callable[[CallEvent], None]], Callable[[], None]]
    ) -> None:
        """
        Args:
            observe: has every event of every call told; what it returns ends that.
        """
        self._observe = observe
        self._stop: Callable[[], None] | None = None
        self._watchers: dict[CallId, Watcher] = {}
        self._placing: Watcher | None = None

    @contextmanager
    def placing(self, watcher: Watcher) -> Iterator[None]:
        """While a call is placed that has no id yet, nothing of it is missed."""
        if self._stop is None:
            self._stop = self._observe(self._on_event)
        self._placing = watcher
        try:
            yield
        finally:
            self._placing = None
            if watcher.call_id is not None:
                self._watchers[watcher.call_id] = watcher
            self._rest()

    def forget(self, watcher: Watcher) -> None:
        """It wants to hear no more."""
        if watcher.call_id is not None:
            self._watchers.pop(watcher.call_id, None)
        self._rest()

    def _rest(self) -> None:
        if not self._watchers and self._stop is not None:
            self._stop()
            self._stop = None

    def _on_event(self, event: CallEvent) -> None:
        watcher = self._watchers.get(event.call, self._placing)
        if watcher is not None:
            watcher.on_call_event(event)
