"""What the hub lays its routes out to: parties, and what joins them.

Party ── Mouth ══ wires, blends, stores ══▸ Ear ── Party      live speakers
Party ── Playout ══ Link with a Reader ══▸ Ear ── Party       queued speakers
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from gateway.media.frame import AudioFrame
from gateway.media.jitter import Store
from gateway.media.mix import MixedFrame, Part
from gateway.media.playout import Playout
from gateway.media.reader import Reader

PartyId = str

STARVED_TICKS = 10
"""How often the pacer may tick without a word of a live speaker. 200 ms: streams conceal loss and
absence themselves; this is for those that have not begun to send, or have none to send."""

PATIENCE_TICKS = 2
"Ticks a listener that comes from the wire waits for the first frame to mix: no gap is made."


class Listener(Protocol):
    """Hears one frame. Relays its payload if it takes that codec, else encodes; sends at once.

    Never blocks, waits or raises. Frames follow one another without gaps: time on the wire goes
    on by `frame.duration`, whatever `frame.position` says (that is the speaker's clock, and
    another one after each change of routes).
    """

    @property
    def is_connected(self) -> bool:
        """Whether what it hears goes out now; queued speakers wait for it to be."""

    def hear(self, frame: AudioFrame) -> None: ...


class Party:
    """Who joined, and as what."""

    __slots__ = ("audience", "counts", "id", "listener", "playout")

    def __init__(
        self, party: PartyId, listener: Listener | None, playout: Playout | None, counts: bool
    ) -> None:
        self.id = party
        self.listener = listener
        self.playout = playout
        self.counts = counts
        self.audience: frozenset[PartyId] = frozenset()
        "Whom it spoke to last."

    @property
    def is_audience(self) -> bool:
        return self.counts and self.listener is not None

    def set_audience(self, audience: frozenset[PartyId]) -> bool:
        """Whether others would hear what was said to the last one."""
        if not audience:
            return False
        old, self.audience = self.audience, audience
        return bool(old) and old != audience

    def forget(self, party: PartyId) -> None:
        """One that is gone is missed by nobody; but what only it was to hear, is for no other."""
        self.audience = self.audience - {party} or self.audience


class Link:
    """One speaker as heard by one listener."""

    __slots__ = ("_listener", "_speaker", "gain", "level", "reader", "store")

    def __init__(self, listener: Party, speaker: Party) -> None:
        assert listener.listener is not None
        self.gain = 1.0
        self.level: float | None = None
        "The gain it was last heard at; None if it was not yet."
        self.reader: Reader | None = None
        "Its place in the queue of a queued speaker."
        self.store: Store | None = None
        "What a live speaker said, if the listener mixes."
        self._listener = listener
        self._speaker = speaker
        if speaker.playout is not None:
            self.reader = speaker.playout.attach(listener.listener, counts=listener.counts)

    @property
    def speaker(self) -> PartyId:
        return self._speaker.id

    @property
    def is_plain(self) -> bool:
        """Whether a frame is heard just as it came."""
        return self.gain == 1.0 and self.level == 1.0

    def is_between(self, listener: Party, speaker: Party) -> bool:
        return self._listener is listener and self._speaker is speaker

    def part_of(self, frame: AudioFrame) -> Part:
        """All of a frame, at the gain of the route; a change of that is faded."""
        level, self.level = self.level, self.gain
        return Part(frame, gain=self.gain, from_gain=level)

    def pull(self, duration: int, heard_at: float) -> Part | None:
        """What a queued speaker says next."""
        frame = self.reader.pull(duration, heard_at) if self.reader is not None else None
        return None if frame is None else self.part_of(frame)

    def settle(self) -> None:
        if self._speaker.playout is not None:
            self._speaker.playout.settle()

    def mix(self) -> None:
        """The listener mixes from now on."""
        if self.store is None:
            self.store = Store(self.gain, self.level or 0.0)
        self.store.gain = self.gain

    def wire(self) -> list[AudioFrame]:
        """The listener is on the wire from now on; returns what it has not heard yet."""
        store, self.store = self.store, None
        if store is not None:
            # After a gap it need not rise: it is on the wire that speech comes back as it is.
            self.level = store.level or self.gain
            rest = store.take_rest()
            if not self.is_plain:
                return [
                    MixedFrame(f.position, f.duration, f.heard_at, [self.part_of(f)]) for f in rest
                ]
            return rest
        if self.level is None:
            self.level = self.gain
        return []

    def close(self) -> None:
        if self.reader is not None and self._speaker.playout is not None:
            self._speaker.playout.detach(self.reader)


class Ear:
    """A listener that is in the routes."""

    __slots__ = (
        "hear",
        "id",
        "listener",
        "lives",
        "patience",
        "position",
        "queues",
        "rest",
        "wire",
    )

    def __init__(self, party: PartyId, listener: Listener) -> None:
        self.id = party
        self.listener = listener
        self.hear = listener.hear
        self.position = 0
        "Ticks handed to it by the tick."
        self.patience = 0
        self.lives: list[Link] = []
        self.queues: list[Link] = []
        self.rest: list[AudioFrame] = []
        self.wire: Mouth | None = None
        "The live speaker that clocks it; None in tick mode."

    def lay_out(self, links: list[Link], mouths: Mapping[PartyId, Mouth]) -> None:
        self.hear = self.listener.hear
        self.lives = [link for link in links if link.reader is None]
        self.queues = [link for link in links if link.reader is not None]
        if len(self.lives) == 1:
            self.wire = mouths[self.lives[0].speaker]
            self.rest += self.lives[0].wire()
            return
        if self.wire is not None and self.lives:
            self.patience = PATIENCE_TICKS
        self.wire = None
        for link in self.lives:
            link.mix()

    def close(self) -> None:
        """It is in the routes no more: not for who is about to hand it something either."""
        self.hear = _deaf
        self.wire = None
        self.lives, self.queues = [], []


class Mouth:
    """A live speaker, and where each of its frames goes."""

    __slots__ = ("blends", "quiet", "stores", "wired", "wires")

    def __init__(self) -> None:
        self.quiet = STARVED_TICKS
        "Ticks since it last spoke; one that never did is not waited for."
        self.wires: tuple[Callable[[AudioFrame], None], ...] = ()
        self.wired: tuple[PartyId, ...] = ()
        "Whose `wires` are."
        self.blends: tuple[Ear, ...] = ()
        self.stores: tuple[Store, ...] = ()

    def lay_out(self, speaker: PartyId, ears: tuple[Ear, ...]) -> None:
        pairs = [(ear, link) for ear in ears for link in ear.lives if link.speaker == speaker]
        plain = [ear for ear, link in pairs if ear.wire and link.is_plain and not ear.queues]
        self.wires = tuple(ear.hear for ear in plain)
        self.wired = tuple(ear.id for ear in plain)
        self.blends = tuple(ear for ear, _ in pairs if ear.wire and ear not in plain)
        self.stores = tuple(link.store for _, link in pairs if link.store is not None)


def _deaf(frame: AudioFrame) -> None:
    """Hears nothing any more."""
