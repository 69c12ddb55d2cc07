"""A receiver behind bad networks: whatever they do, one whole timeline, and true figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from gateway.codec import G722, OPUS, PCMU, TELEPHONE_EVENT, Codec
from gateway.rtp.received import Hole, Packet, Received
from gateway.rtp.receiver import Receiver
from tests.rtp.source import Source, assert_contiguous, packets_of
from tests.support.impair import Impairer

COUNT = 1500
TWENTY_MS_OF_OPUS = b"\x08"
"SILK at 8 kHz, one frame (RFC 6716 §3.1)."

PATHS: dict[str, dict[str, float]] = {
    "perfect": {},
    "1 % lost": {"loss": 0.01},
    "5 % lost": {"loss": 0.05},
    "20 % lost": {"loss": 0.2},
    "bursts": {"loss": 0.05, "burst": 5},
    "jitter": {"jitter_ms": 100},
    "reordered": {"reorder": 0.05},
    "doubled": {"duplicate": 0.2},
    "fast": {"rate_ppm": 300},
    "slow": {"rate_ppm": -300},
    "all": {"loss": 0.05, "burst": 2, "jitter_ms": 60, "reorder": 0.05, "duplicate": 0.1},
}


@dataclass
class Run:
    """What a receiver made of one stream over one path."""

    path: Impairer
    receiver: Receiver = field(default_factory=Receiver)
    received: list[Received] = field(default_factory=list)
    heard: list[int] = field(default_factory=list)
    "Numbers of the packets that were handed on."
    came_at: dict[int, float] = field(default_factory=dict)
    waited_s: list[float] = field(default_factory=list)
    "How long after its coming each was handed on."

    def carry(self, source: Source) -> None:
        wire: list[tuple[float, bytes]] = []
        for number in range(COUNT):
            begin = TWENTY_MS_OF_OPUS + number.to_bytes(4, "big")
            data, at = source.next(begin + bytes(min(source.step, 200) - 5)), 1000 + number / 50
            # The first and the last one come, and as such: what they frame is the whole.
            is_edge = number in (0, COUNT - 1)
            wire += [(max([at, *dict(wire)]), data)] if is_edge else self.path.send(data, at)
        for due, data in sorted(wire, key=lambda each: each[0]):
            self._wait(due)
            self.came_at.setdefault(number_of(data[12:]), due)
            self._take(self.receiver.receive(data, due), due)
        self._wait(2000)

    def _wait(self, until: float) -> None:
        while (at := self.receiver.timer_at) <= until:
            self._take(self.receiver.handle_timer(at), at)

    def _take(self, items: Sequence[Received], now: float) -> None:
        self.received += items
        numbers = [number_of(item.payload) for item in packets_of(items)]
        self.heard += numbers
        self.waited_s += [now - self.came_at[number] for number in numbers]


def number_of(payload: bytes) -> int:
    return int.from_bytes(payload[1:5], "big")


@pytest.mark.parametrize("codec", [PCMU, OPUS, G722], ids=lambda codec: codec.name)
@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("seed", [1, 2])
def test_f12_any_path_gives_one_whole_timeline(name: str, codec: Codec, seed: int) -> None:
    run = Run(Impairer(seed, **PATHS[name]))
    run.receiver.configure([codec, TELEPHONE_EVENT])
    step = codec.clock_rate // 50

    run.carry(Source(codec, step=step, sequence=65_000, timestamp=2**32 - 5000))

    assert_contiguous(run.received)
    pieces = [item for item in run.received if isinstance(item, Packet | Hole)]
    assert sum(piece.duration for piece in pieces) == COUNT * step
    assert run.heard == sorted(set(run.heard))
    # Some come too late: after others by more than the window, or where that was short.
    assert len(run.came_at) - len(run.heard) <= (15 if "reorder" in PATHS[name] else 0)
    assert max(run.waited_s) <= 0.0401
    stats = run.receiver.stats
    assert stats.lost == run.path.lost == COUNT - len(run.came_at)
    assert stats.packets == len(run.came_at) + run.path.duplicated
    assert stats.resyncs == 0
