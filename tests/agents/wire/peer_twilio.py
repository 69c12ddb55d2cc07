"""An agent that speaks Twilio's Media Streams."""

from __future__ import annotations

from tests.agents.wire.json_peer import JsonPeer


def peer() -> TwilioPeer:
    return TwilioPeer()


class TwilioPeer(JsonPeer):
    """A bidirectional stream."""

    name = "twilio"
    garbage_texts = (
        "no json",  # passed over, as the next two
        b"\x00\x01",
        '{"event":"mark"}',
        '{"event":"media","media":{"payload":"!"}}',
        '{"event":"media","media":{"payload":"AAA"}}',
        '{"event":"media","media":{"payload":"\\u2028AAA"}}',
    )
