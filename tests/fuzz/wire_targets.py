"""What reads bytes of agents and PBXs, each as a target: wishes or events, and never an error."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from gateway.agents.lines.asterisk import AsteriskLine
from gateway.agents.lines.audiosocket import AudioSocketLine
from gateway.agents.protocols import find_wire, wire_names
from tests.support.wire_call import Queue, call_facts

Run = Callable[[bytes], None]

STREAM = b"".join(
    struct.pack(">BH", kind, len(payload)) + payload
    for kind, payload in (
        (0x01, bytes(16)),
        (0x10, b"ab" * 9),
        (0x03, b"#"),
        (0x18, b"abc"),
        (0xFF, b"\x01"),
        (0x00, b""),
    )
)

TEXTS = (
    b'{"event":"media","media":{"payload":"AAAA","chunk":"1"},"stream_id":"x"}',
    b'{"event":"mark","mark":{"name":"a"}}',
    b'{"type":"playAudio","data":{"audioContentType":"wav","audioContent":"UklGRgAAAABXQVZF"}}',
    b'{"type":"streamAudio","data":{"audioDataType":"raw","sampleRate":8000,"audioData":"AA=="}}',
    b'{"command":"MARK_MEDIA","correlation_id":"x"}',
    b"STOP_MEDIA_BUFFERING 7",
    b'{"action":"notify","payload":{"a":[1]}}',
    b'{"type":"tool","id":"1","name":"transfer","arguments":{"to":"+1","mode":"warm"}}',
    b'{"type":"response.output_audio.delta","delta":"AAAA","item_id":"i","response_id":"r"}',
    b'{"event":"MEDIA_START","format":"slin16","channel_variables":{"a":"b"}}',
    b"MEDIA_START format:ulaw channel_id:1",
    b"DTMF_END digit:5",
)


def read_agent(name: str) -> Run:
    """What an agent sends in one protocol, as a binary message and as text."""
    module: Any = find_wire(name)

    def run(data: bytes) -> None:
        protocol = module.make(module.Settings())
        list(protocol.open(call_facts(), Queue()))
        list(protocol.receive(data))
        if not module.IS_STREAM:
            list(protocol.receive(data.decode("utf-8", "replace")))

    return run


def read_audiosocket(data: bytes) -> None:
    """The same bytes of a PBX are the same events, however they are cut."""
    whole, cut = AudioSocketLine(), AudioSocketLine()

    events = list(whole.receive(data))

    pieces = (data[at : at + 61] for at in range(0, len(data), 61))
    assert [event for piece in pieces for event in cut.receive(piece)] == events


def read_asterisk(data: bytes) -> None:
    """What an Asterisk sends, before and after the line has begun."""
    text = data.decode("utf-8", "replace")
    for line in (AsteriskLine(), AsteriskLine()):
        list(line.receive(text))
        list(line.receive(data))
        list(line.receive("MEDIA_START format:ulaw"))


WIRES: dict[str, tuple[Run, tuple[bytes, ...]]] = {
    **{f"agent-{name}": (read_agent(name), (STREAM, *TEXTS)) for name in wire_names()},
    "line-audiosocket": (read_audiosocket, (STREAM,)),
    "line-asterisk": (read_asterisk, TEXTS),
}
"Each with bytes to begin with."
