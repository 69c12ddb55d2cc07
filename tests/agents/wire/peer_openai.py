"""A model behind OpenAI's Realtime events: a local server, judged by the types of `openai`.

What it hears and what it says of that is scripted by the test; what a server owes its client
(sessions, items, truncation, cancelling) it does by itself.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.media.g711 import A_LAW, MU_LAW
from tests.agents.wire.openai_types import check_client_event, check_server_event
from tests.agents.wire.socket_peer import SocketPeer

DELTA = '{"type":"response.output_audio.delta","response_id":"resp_9","item_id":"item_9",'

GARBAGE: tuple[str | bytes, ...] = (
    b"\x00\x01\x02",
    "{",
    "[]",
    DELTA + '"delta":"A"}',
    '{"type":"response.output_audio.delta","delta":"AAAA"}',
    "[" * 20_000,
)


def peer(audio: str = "pcm") -> OpenAiPeer:
    """`audio`: pcm, pcmu or pcma."""
    return OpenAiPeer(audio)


class OpenAiPeer(SocketPeer):
    """One model."""

    name = "openai"
    can = frozenset({"digits", "clear", "hang_up"})
    garbage_kinds = len(GARBAGE)

    def __init__(self, audio: str) -> None:
        super().__init__()
        self.rate = 24_000 if audio == "pcm" else 8000
        self.settings: Mapping[str, Any] = {"audio": audio, "greeting": False}
        self.digits: list[str] = []
        self.marks: list[tuple[str, str]] = []
        self.session: dict[str, Any] = {}
        self.told: list[dict[str, Any]] = []
        "Every event of the gateway but those of audio, in order; all were checked."
        self.truncated: list[tuple[str, int]] = []
        "Item, and the ms of it that the gateway says were heard."
        self.asked = asyncio.Event()
        "A response was asked for."
        self.appended = 0
        self._audio = audio
        self._law = MU_LAW if audio == "pcmu" else A_LAW
        self._heard: list[bytes] = []
        self._events = 0
        self._responses = 0
        self._active = ""

    # ---- what tests do with it

    def heard(self) -> NDArray[np.int16]:
        audio = b"".join(self._heard)
        if self._audio == "pcm":
            return np.frombuffer(audio, "<i2").astype(np.int16)
        return self._law.decode(audio)

    async def say(self, pcm: NDArray[np.int16], chunk_bytes: int | None = None) -> None:
        """Answer: one response with one item, in pieces of so many bytes."""
        await self.begin_response()
        await self.deltas(pcm, chunk_bytes)
        await self.finish()

    async def begin_response(self) -> None:
        self._responses += 1
        self._active = f"resp_{self._responses}"
        await self.event("response.created", response=self._response("in_progress"))

    async def deltas(self, pcm: NDArray[np.int16], chunk_bytes: int | None = None) -> None:
        audio = pcm.astype("<i2").tobytes() if self._audio == "pcm" else self._law.encode(pcm)
        size = chunk_bytes or 9600
        for at in range(0, len(audio), size):
            piece = base64.b64encode(audio[at : at + size]).decode()
            await self.event("response.output_audio.delta", delta=piece, **self._place())

    async def finish(self) -> None:
        await self.event("response.output_audio.done", **self._place())
        await self.event("response.done", response=self._response("completed"))
        self._active = ""

    async def hear_speech(self) -> None:
        """The caller begins to speak: a response under way is cancelled."""
        await self.event(
            "input_audio_buffer.speech_started", audio_start_ms=100, item_id="item_caller"
        )
        if self._active:
            await self.event("response.done", response=self._response("cancelled"))
            self._active = ""

    async def clear(self) -> None:
        await self.hear_speech()

    async def mark(self, name: str) -> None:
        raise AssertionError("this protocol has no marks")

    async def call(self, name: str, arguments: Mapping[str, Any], call_id: str) -> None:
        """A response that uses a tool and says nothing."""
        await self.begin_response()
        await self.event(
            "response.function_call_arguments.done",
            response_id=self._active,
            item_id=f"item_f{self._responses}",
            output_index=0,
            call_id=call_id,
            name=name,
            arguments=json.dumps(dict(arguments)),
        )
        await self.event("response.done", response=self._response("completed"))
        self._active = ""

    async def hang_up(self) -> None:
        await self.call("hang_up", {}, "call_bye")

    async def garbage(self, kind: int) -> None:
        await self.send(GARBAGE[kind])

    # ---- what it does by itself

    async def on_open(self) -> None:
        self.session = {"type": "realtime", "model": "gpt-realtime"}
        await self.event("session.created", session=self.session)

    async def on_message(self, message: str | bytes) -> None:
        assert isinstance(message, str), "a client of Realtime sends no binary messages"
        told = check_client_event(message)
        if told["type"] == "input_audio_buffer.append":
            self.appended += 1
            self._heard.append(base64.b64decode(told["audio"], validate=True))
            return
        self.told.append(told)
        match told["type"]:
            case "session.update":
                self.session = {**self.session, **told["session"]}
                await self.event("session.updated", session=self.session)
                self.begin()
            case "conversation.item.truncate":
                self.truncated.append((told["item_id"], told["audio_end_ms"]))
                place = {key: told[key] for key in ("item_id", "content_index", "audio_end_ms")}
                await self.event("conversation.item.truncated", **place)
            case "conversation.item.create":
                await self._add(told["item"])
            case "response.create":
                self.asked.set()
            case "response.cancel":
                await self._cancel()

    async def _add(self, item: dict[str, Any]) -> None:
        text = "".join(part.get("text", "") for part in item.get("content", ()))
        _, _, key = text.partition("pressed the key ")
        if key:
            self.digits.append(key[0])
        await self.event("conversation.item.added", item={"id": "item_new", **item})

    async def _cancel(self) -> None:
        if self._active:
            await self.event("response.done", response=self._response("cancelled"))
            self._active = ""
            return
        error = {
            "type": "invalid_request_error",
            "code": "response_cancel_not_active",
            "message": "Cancellation failed: no active response found",
        }
        await self.event("error", error=error)

    async def event(self, kind: str, /, **values: Any) -> None:
        self._events += 1
        event = {"type": kind, "event_id": f"event_{self._events}", **values}
        await self.send(json.dumps(check_server_event(event)))

    def _response(self, status: str) -> dict[str, Any]:
        return {"object": "realtime.response", "id": self._active, "status": status, "output": []}

    def _place(self) -> dict[str, Any]:
        return {
            "response_id": self._active,
            "item_id": f"item_{self._responses}",
            "output_index": 0,
            "content_index": 0,
        }
