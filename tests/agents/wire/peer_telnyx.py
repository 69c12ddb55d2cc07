"""An agent that speaks as Telnyx' media streaming does: L16 in network order, chunks numbered."""

from __future__ import annotations

from typing import Any

from tests.agents.wire.json_peer import JsonPeer


def peer() -> TelnyxPeer:
    return TelnyxPeer()


class TelnyxPeer(JsonPeer):
    """A stream in rtp mode."""

    name = "telnyx"
    rate = 16_000
    order = ">i2"
    garbage_texts = (
        "no json",
        b"\x00\x01",
        '{"event":"mark"}',
        '{"event":"media","media":{"payload":"!"}}',
        '{"event":"media","media":{"payload":"AAAA","chunk":[]}}',
    )

    def __init__(self, encoding: str = "L16") -> None:
        super().__init__()
        self.encoding = encoding
        self._chunk = 0

    @property
    def settings(self) -> dict[str, Any]:
        return {"stream_codec": self.encoding, "stream_bidirectional_sampling_rate": 16_000}

    @property
    def errors(self) -> list[int]:
        """Codes of what it was told it did wrong."""
        return [told["payload"]["code"] for told in self.told if told["event"] == "error"]

    def media(self, payload: str) -> dict[str, Any]:
        self._chunk += 1
        return {"payload": payload, "chunk": str(self._chunk)}
