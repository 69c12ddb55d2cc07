"""The bench's agents: their WebSocket, what they say, and what is made of what callers hear."""

from __future__ import annotations

import struct
from typing import cast

import numpy as np
import pytest

from bench.agent import BURST_S, AgentOptions, Said, _Session, _warning
from bench.agent_calls import AgentCall
from bench.agent_peer import BINARY, TEXT, FrameReader, loop_of, tone_of, unmask, ws_frame
from bench.clip import LOOP_FRAMES, decode_pcmu
from bench.stream import Heard
from gateway.media.tone import level_dbfs

MASK = b"\x01\x02\x03\x04"


def masked(opcode: int, payload: bytes) -> bytes:
    """A frame of a client (RFC 6455 §5.3)."""
    size = len(payload)
    head = bytes((opcode, 0x80 | size)) if size < 126 else struct.pack("!BBH", opcode, 254, size)
    return head + MASK + bytes(b ^ MASK[n % 4] for n, b in enumerate(payload))


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_frames_are_read_in_whatever_pieces_they_come(size: int) -> None:
    messages = [(TEXT, b'{"type":"start"}'), (BINARY, bytes(range(256)) * 3), (TEXT, b"")]
    data = b"".join(masked(opcode, payload) for opcode, payload in messages)
    reader = FrameReader()

    found = [
        (opcode, unmask(mask, payload))
        for at in range(0, len(data), size)
        for opcode, mask, payload in reader.push(data[at : at + size])
    ]

    assert found == messages


@pytest.mark.parametrize(("size", "head"), [(5, 2), (200, 4), (70_000, 10)])
def test_frames_say_how_long_they_are(size: int, head: int) -> None:
    assert len(ws_frame(BINARY, bytes(size))) == head + size


def test_speech_is_as_long_in_every_format() -> None:
    assert len(b"".join(loop_of("pcm", 5))) == LOOP_FRAMES * 480 * 2
    assert b"".join(loop_of("pcmu", 5)) == b"".join(loop_of("pcmu", 1))
    assert len(loop_of("pcm", 1)) == LOOP_FRAMES


def test_every_packet_of_a_burst_is_loud() -> None:
    wide = np.frombuffer(tone_of("pcm", 5), "<i2").astype(np.int16)
    narrow = decode_pcmu(tone_of("pcmu", 5)).astype(np.int16)

    for pcm, samples in ((wide, 480), (narrow, 160)):
        pieces = pcm.reshape(-1, samples)
        assert len(pieces) == 5
        assert all(level_dbfs(piece) == pytest.approx(-11.2, abs=0.3) for piece in pieces)


class _Caller:
    """What `_heard` asks of a call's caller."""

    def __init__(self) -> None:
        self.heard = Heard()

    def unprotect(self, packet: bytes) -> bytes:
        return packet


class _Call:
    def __init__(self) -> None:
        self.page = _Caller()


def test_bursts_are_judged_by_the_packets_that_carry_them() -> None:
    call, ms = _Call(), 1_000_000
    heard = call.page.heard
    heard.record()
    heard.capture(10_000)
    tone, silence = tone_of("pcmu", 1), b"\xff" * 160
    for n in range(600):
        # A burst that came at 1000 ms is heard from 1020 to 3000 ms; another whole, from 5000 on.
        is_loud = 51 <= n <= 150 or 250 <= n < 250 + 250
        late_ms = 3 if n == 100 else 0
        head = struct.pack("!BBHII", 0x80, 0, n, n * 160, 1)
        heard.take(head + (tone if is_loud else silence), (n * 20 + late_ms) * ms)
    options = AgentOptions(("gateway",), ("g711",), (1,), 1.0, 1, as_json=True)
    session = _Session(options, "gateway", "g711", (0, 1))

    found = session._heard(
        cast(AgentCall, call),
        Said(bursts=[(1000 * ms, 2990 * ms), (3700 * ms, 4000 * ms)], whole=4990 * ms),
    )

    assert found.first_audio_ms == [20.0]
    assert found.clear_ms == [10.0]
    assert found.late_ms.max() == pytest.approx(3.0)
    assert found.played_percent == 100.0
    assert found.unheard == 1
    assert BURST_S == 5.0


@pytest.mark.parametrize(
    ("wrong", "lost", "unheard", "why"),
    [
        ({}, 0, 0, ""),
        ({"burst_foreign_percent": 40.0}, 0, 0, "others had 40.0 % of the system's core"),
        ({"steal_percent": 5.0}, 0, 0, "steal 5.0 %"),
        ({}, 2, 0, "2 calls were ended by the gateway"),
        ({}, 0, 3, "nothing was heard of 3 bursts"),
    ],
)
def test_row_that_does_not_count_says_why(
    wrong: dict[str, float], lost: int, unheard: int, why: str
) -> None:
    quiet = {
        "foreign_percent": 1.0,
        "burst_foreign_percent": 1.0,
        "steal_percent": 0.0,
        "generator_core_percent": 50.0,
    }

    found = _warning({"heard_percent": 100.0, "detail": quiet | wrong}, lost, unheard)

    assert found.get("warning", "") == why
