"""Frames of WebSockets as we read and write them, against the library's."""

from __future__ import annotations

import logging
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from gateway.net.agent_frames import BINARY, OTHER, TEXT, FrameReader, write_frame

SILENT = logging.getLogger("tests.frames")
SILENT.disabled = True

SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 200_000]

KINDS = {Opcode.TEXT: TEXT, Opcode.BINARY: BINARY}


def in_pieces(reader: FrameReader, data: bytes, cuts: list[int]) -> list[tuple[int, bytes]]:
    """What is read of data that comes in pieces, which begin at `cuts`."""
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [frame for begin, end in pairwise(ends) for frame in reader.feed(data[begin:end])]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [TEXT, BINARY])
def test_written_frame_is_what_the_library_reads(kind: int, size: int) -> None:
    server = ServerProtocol(state=State.OPEN, max_size=None, logger=SILENT)
    payload = b"x" * size

    server.receive_data(write_frame(kind, payload))

    (frame,) = server.events_received()
    assert isinstance(frame, Frame)
    assert (KINDS[frame.opcode], bytes(frame.data), frame.fin) == (kind, payload, True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_what_the_library_writes_is_read(opcode: Opcode, size: int) -> None:
    payload = b"x" * size
    data = Frame(opcode, payload).serialize(mask=False)

    assert FrameReader(1 << 20).feed(data) == [(KINDS[opcode], payload)]


@given(
    st.lists(st.tuples(st.sampled_from(list(Opcode)), st.binary(max_size=300), st.booleans())),
    st.lists(st.integers(0, 2000), max_size=30),
)
def test_frames_in_pieces_are_the_same_frames(
    sent: list[tuple[Opcode, bytes, bool]], cuts: list[int]
) -> None:
    wires = []
    expected = []
    for opcode, payload, fin in sent:
        frame = Frame(opcode, payload[:125] if opcode >= Opcode.CLOSE else payload)
        frame.fin = fin or opcode >= Opcode.CLOSE
        wires.append(frame.serialize(mask=False))
        is_plain = frame.fin and opcode in KINDS
        expected.append((KINDS[opcode], payload) if is_plain else (OTHER, wires[-1]))

    assert in_pieces(FrameReader(1 << 20), b"".join(wires), cuts) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x7f" + (1001).to_bytes(8, "big"),
        b"\x82\x7e" + (1001).to_bytes(2, "big"),
        b"\x82\x81\0\0\0\0x",
        b"\x82\xff" + bytes(20),
    ],
)
def test_frame_that_is_too_long_or_masked_is_handed_on_at_its_header(data: bytes) -> None:
    assert FrameReader(1000).feed(b"\x82\x01a" + data) == [(BINARY, b"a"), (OTHER, data)]


def test_byte_by_byte_costs_no_more_than_in_proportion() -> None:
    def cost(size: int) -> float:
        reader, data = FrameReader(1 << 20), Frame(Opcode.BINARY, bytes(size)).serialize(mask=False)
        began = time.process_time()
        assert len(in_pieces(reader, data, list(range(len(data))))) == 1
        return time.process_time() - began

    small = min(cost(20_000) for _ in range(3))

    assert min(cost(80_000) for _ in range(3)) < 10 * small
