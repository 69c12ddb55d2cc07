"""An agent that speaks as Exotel's voice streaming does."""

from __future__ import annotations

from tests.agents.wire.json_peer import JsonPeer


def peer() -> ExotelPeer:
    return ExotelPeer()


class ExotelPeer(JsonPeer):
    """A stream at 8 kHz."""

    name = "exotel"
    encoding = "L16"
    garbage_texts = ("no json", b"\x00", "{}", '{"event":"media"}')
