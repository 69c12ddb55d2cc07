"""What of the events of calls is worth a line of the log."""

from __future__ import annotations

import logging

from gateway.call.events import CallEnded, CallEvent, CallStarted, LegAlerted, ToolEnded

log = logging.getLogger(__name__)

_LOGGED = frozenset({CallStarted, CallEnded, LegAlerted, ToolEnded})


def log_event(event: CallEvent) -> None:
    """A line for what people look for; numbers, names and digits stay out of it."""
    if type(event) not in _LOGGED:
        return
    if isinstance(event, CallStarted):
        log.info("call=%s started from %s to %s", event.call, event.caller, event.called)
    elif isinstance(event, CallEnded):
        log.info(
            "call=%s ended reason=%s fault=%s status=%d talked_s=%.1f",
            event.call,
            event.reason.value,
            event.fault.value,
            event.status,
            event.duration_s,
        )
    elif isinstance(event, LegAlerted):
        log.info(
            "call=%s leg=%s alert=%s direction=%s over=%s",
            event.call,
            event.leg,
            event.alert.alert.value,
            event.alert.way.value,
            event.alert.is_over,
        )
    elif isinstance(event, ToolEnded):
        told = (event.call, event.leg, event.tool, event.status)
        log.info("call=%s leg=%s tool=%s status=%d", *told)
