"""An agent that speaks Twilio's Media Streams."""

from __future__ import annotations

from typing import Any

from tests.agents.wire.json_peer import JsonPeer


def peer() -> TwilioPeer:
    return TwilioPeer()


class TwilioPeer(JsonPeer):
    """A bidirectional stream, where no track is named."""

    name = "twilio"
    garbage_texts = (
        "no json",  # passed over, as the next two
        b"\x00\x01",
        '{"event":"mark"}',
        '{"event":"media","media":{"payload":"!"}}',
        '{"event":"media","media":{"payload":"AAA"}}',
        '{"event":"media","media":{"payload":"\\u2028AAA"}}',
    )

    def __init__(self, track: str = "bidirectional") -> None:
        super().__init__()
        self._track = track

    @property
    def settings(self) -> dict[str, Any]:
        return {"track": self._track}
