"""An agent that speaks as Plivo's audio streaming does."""

from __future__ import annotations

from typing import Any

from tests.agents.wire.json_peer import JsonPeer


def peer() -> PlivoPeer:
    return PlivoPeer()


class PlivoPeer(JsonPeer):
    """A stream of μ-law."""

    name = "plivo"
    said_event = "playAudio"
    garbage_texts = ("no json", b"\x00", "{}", '{"event":"playAudio"}')

    def media(self, payload: str) -> dict[str, Any]:
        return {"payload": payload, "contentType": "audio/x-mulaw", "sampleRate": 8000}

    async def mark(self, name: str) -> None:
        await self.tell({"event": "checkpoint", "name": name})

    async def clear(self) -> None:
        await self.tell({"event": "clearAudio"})

    def on_told(self, told: dict[str, Any]) -> None:
        if told["event"] == "playedStream":
            self.marks.append((told["name"], "played"))
        else:
            super().on_told(told)
