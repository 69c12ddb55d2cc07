"""Judges Realtime events by the types of OpenAI's own package."""

from __future__ import annotations

import json
from typing import Any

from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import BaseModel, TypeAdapter

_FROM_CLIENT = TypeAdapter[Any](RealtimeClientEvent)
_FROM_SERVER = TypeAdapter[Any](RealtimeServerEvent)


def check_client_event(text: str) -> dict[str, Any]:
    """What a client sends, as an object; AssertionError where OpenAI's types know it not."""
    return _check(_FROM_CLIENT, json.loads(text))


def check_server_event(event: dict[str, Any]) -> dict[str, Any]:
    """Likewise, of what a server sends."""
    return _check(_FROM_SERVER, event)


def _check(adapter: TypeAdapter[Any], event: dict[str, Any]) -> dict[str, Any]:
    parsed = adapter.validate_python(event)
    extra = list(_unknown(parsed, event["type"]))
    assert not extra, f"not in OpenAI's types: {extra}"
    return event


def _unknown(value: Any, place: str) -> Any:
    """Keys that no type has: the package's models take any."""
    if isinstance(value, BaseModel):
        yield from (f"{place}.{key}" for key in value.model_extra or ())
        for name in type(value).model_fields:
            yield from _unknown(getattr(value, name), f"{place}.{name}")
    elif isinstance(value, list):
        for each in value:
            yield from _unknown(each, place)
