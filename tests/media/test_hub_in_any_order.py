"""Whatever order parties come, go, speak and are routed in: who hears what, once, and in time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.media.frame import AudioFrame, BornFrame, Voice
from gateway.media.hub import Hub
from gateway.media.jitter import MAX_STORED
from gateway.media.mix import MixedFrame
from gateway.media.playout import Playout
from gateway.media.routing import PATIENCE_TICKS
from tests.media.parties import START

LIVE = ("ann", "bob", "cid")
QUEUED = ("agent", "prompt")
LISTENERS = (*LIVE, "agent", "tape")
TICK = 960

NOBODY = frozenset({"nobody"})
"Who hears what was said to those that its speaker has left."

Routes = dict[str, dict[str, float]]
Piece = tuple[AudioFrame, int, int]
"A frame somebody made, where in it a stretch begins, and how long that is."

names = st.sampled_from((*LIVE, *QUEUED, "tape"))
gains = st.sampled_from([1.0, 1.0, 1.0, 0.5, 0.0])
hearing = st.fixed_dictionaries({}, optional=dict.fromkeys((*LIVE, *QUEUED), gains))
routes = st.fixed_dictionaries({}, optional=dict.fromkeys(LISTENERS, hearing))


def pieces_of(frame: AudioFrame, start: int, duration: int) -> Iterator[Piece]:
    """What a frame is made of, all the way down; silence is of nothing."""
    if isinstance(frame, MixedFrame):
        for part in frame._parts:
            low, high = max(start, part.at), min(start + duration, part.at + part.duration)
            if low < high:
                yield from pieces_of(part.frame, part.start + low - part.at, high - low)
    elif isinstance(frame, BornFrame):
        yield frame, start, duration


class NotingEar:
    """Keeps what it heard since last asked."""

    def __init__(self) -> None:
        self.is_connected = True
        self.frames: list[AudioFrame] = []

    def hear(self, frame: AudioFrame) -> None:
        frame.pcm(8000)
        self.frames.append(frame)

    def take(self) -> list[AudioFrame]:
        taken, self.frames = self.frames, []
        return taken


class HubInAnyOrder(RuleBasedStateMachine):
    """The hub, and beside it what it should do, as plainly as can be."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = Hub()
        self.now = START
        self.ears = {name: NotingEar() for name in LISTENERS}
        self.voices = {name: Voice() for name in LIVE}
        self.mouths = {name: Playout() for name in QUEUED}
        self.there: set[str] = set()
        self.routes: Routes = {}
        self.said: dict[AudioFrame, tuple[str, frozenset[str]]] = {}
        "Who said it, and who was to hear it."
        self.spoken: dict[int, tuple[str, frozenset[str]]] = {}
        "The same of queued speech, by the value of its samples; where empty, who comes first."
        self.audience: dict[str, frozenset[str]] = {}
        "Whom a queued speaker spoke to last."
        self.next_at: dict[tuple[str, str], int] = {}
        "Where what a listener hears next of a live speaker begins; not there: anywhere."
        self.behind: dict[tuple[str, str], int] = {}
        "Ticks of it that it has not heard yet."
        self.waited = dict.fromkeys(LISTENERS, 0)

    @initialize(wish=routes)
    def begin(self, wish: Routes) -> None:
        for name in (*LIVE, *QUEUED, "tape"):
            self.join(name)
        self.route(wish)

    # ---- what happens

    @rule(name=names)
    def join(self, name: str) -> None:
        self.there.add(name)
        self.hub.join(
            name,
            listener=self.ears.get(name),
            playout=self.mouths.get(name),
            counts=name != "tape",
        )
        self.forget_links(name)
        self.note_audiences()
        self.look()

    @rule(name=names, is_meant=st.integers(0, 3))
    def leave(self, name: str, is_meant: int) -> None:
        if is_meant:
            return  # in a call that everybody leaves at once there is nothing to see
        self.there.discard(name)
        self.routes.pop(name, None)
        for speakers in self.routes.values():
            speakers.pop(name, None)
        for queued, audience in self.audience.items():
            self.audience[queued] = audience - {name} or audience
        for value, (speaker, to) in self.spoken.items():
            self.spoken[value] = (speaker, to - {name} or to)
            if speaker == name and to:
                self.spoken[value] = (speaker, NOBODY)
        self.audience.pop(name, None)
        self.forget_links(name)
        self.hub.leave(name)
        self.look()

    @rule(wish=routes)
    def route(self, wish: Routes) -> None:
        there = self.there
        self.routes = {
            ear: {name: gain for name, gain in heard.items() if name in there and gain}
            for ear, heard in wish.items()
            if ear in there
        }
        for ear, name in set(self.behind):
            if name not in self.routes.get(ear, {}):
                self.next_at.pop((ear, name), None)
                del self.behind[ear, name]
        self.note_audiences()
        self.hub.route(wish)
        self.look()

    @rule(ear=st.sampled_from(LISTENERS), name=st.sampled_from(LIVE))
    def go_to_the_wire(self, ear: str, name: str) -> None:
        self.route({**self.routes, ear: {name: 1.0}})

    @rule(ear=st.sampled_from(LISTENERS))
    def go_to_the_mix(self, ear: str) -> None:
        self.route({**self.routes, ear: dict.fromkeys((*LIVE, *QUEUED), 1.0)})

    @rule(name=st.sampled_from(LIVE))
    def burst(self, name: str) -> None:
        for _ in range(4):
            self.push(name, 60)

    @rule(name=st.sampled_from(LIVE), ms=st.sampled_from([10, 20, 20, 20, 60]))
    def push(self, name: str, ms: int) -> None:
        frame = self.voices[name].frame_of_pcm(np.ones(8 * ms, np.int16), 8000, self.now)
        to = frozenset(ear for ear, heard in self.routes.items() if name in heard)
        self.said[frame] = (name, to)
        for ear in to if name in self.there else ():
            self.behind[ear, name] = self.behind.get((ear, name), 0) + frame.duration
            if self.behind[ear, name] > MAX_STORED:
                self.next_at.pop((ear, name), None)
                self.behind[ear, name] = MAX_STORED

        self.hub.push(name, frame)

        wired = {ear for ear in to if self.lives_of(ear) == {name}} if name in self.there else set()
        for ear in LISTENERS:
            frames = self.look_at(ear)
            assert [f.duration for f in frames] == ([frame.duration] if ear in wired else [])
            if ear in wired:
                assert (frame, 0, frame.duration) in pieces_of(frames[0], 0, frame.duration)

    @rule(ms=st.sampled_from([20, 100]))
    def everybody_talks(self, ms: int) -> None:
        for _ in range(ms // 20):
            for name in LIVE:
                self.push(name, 20)
            self.tick(1)

    @rule(name=st.sampled_from(QUEUED), ms=st.integers(1, 200))
    def say(self, name: str, ms: int) -> None:
        value = len(self.spoken) + 1
        self.spoken[value] = (name, self.audience.get(name, frozenset()))
        self.mouths[name].say_pcm(np.full(8 * ms, value, np.int16), 8000)

    @rule(name=st.sampled_from(QUEUED))
    def clear(self, name: str) -> None:
        self.mouths[name].clear()

    @rule(name=st.sampled_from(LISTENERS), on=st.sampled_from([True, True, False]))
    def connect(self, name: str, on: bool) -> None:
        self.ears[name].is_connected = on

    @rule(count=st.sampled_from([1, 1, 2, 3, 15]))
    def tick(self, count: int) -> None:
        for _ in range(count):
            self.now += 0.02
            self.hub.tick(self.now)
            for name in LISTENERS:
                frames = self.look_at(name)
                assert all(frame.duration == TICK for frame in frames)
                if name not in self.routes or len(self.lives_of(name)) == 1:
                    assert len(frames) <= (name in self.routes)
                    continue
                self.waited[name] = 0 if frames else self.waited[name] + 1
                assert len(frames) <= 1
                assert self.waited[name] <= PATIENCE_TICKS

    # ---- what should be

    def lives_of(self, ear: str) -> set[str]:
        return self.routes[ear].keys() & set(LIVE)

    def forget_links(self, name: str) -> None:
        for link in [link for link in self.behind if name in link]:
            self.next_at.pop(link, None)
            del self.behind[link]

    def note_audiences(self) -> None:
        """Queued speech is for those it was said to: when they change it is gone."""
        for queued in self.there & set(QUEUED):
            now = frozenset(
                ear for ear, heard in self.routes.items() if queued in heard and ear != "tape"
            )
            if not now:
                continue
            for value, (speaker, to) in self.spoken.items():
                if speaker == queued and not to:
                    self.spoken[value] = (speaker, now)
            self.audience[queued] = now

    def look(self) -> None:
        for ear in LISTENERS:
            self.look_at(ear)

    def look_at(self, ear: str) -> list[AudioFrame]:
        """Whatever it heard was for it, came once, and in order."""
        frames = self.ears[ear].take()
        for frame in frames:
            for piece, start, duration in pieces_of(frame, 0, frame.duration):
                if piece in self.said:
                    speaker, to = self.said[piece]
                    assert ear in to
                    assert speaker in self.routes[ear]
                    at = piece.position + start
                    assert self.next_at.get((ear, speaker), at) == at
                    self.next_at[ear, speaker] = at + duration
                    self.behind[ear, speaker] -= duration
                else:
                    self.look_at_speech(ear, piece, start, duration)
        return frames

    def look_at_speech(self, ear: str, piece: AudioFrame, start: int, duration: int) -> None:
        pcm = piece.pcm(8000)[start // 6 : (start + duration) // 6]
        for value in np.unique(pcm):
            speaker, to = self.spoken[int(value)]
            assert speaker in self.routes[ear]
            assert ear == "tape" or ear in to

    @invariant()
    def nothing_grows(self) -> None:
        hub = self.hub
        pairs = {(ear, name) for ear, heard in self.routes.items() for name in heard}
        assert hub._links.keys() == pairs
        assert {ear.id for ear in hub._ears} == self.routes.keys()
        assert hub._mouths.keys() == self.there - set(QUEUED)
        assert not any(ear.rest for ear in hub._ears)
        for link in hub._links.values():
            assert link.store is None or link.store._depth <= MAX_STORED
        for name, mouth in self.mouths.items():
            assert len(mouth._readers) == len([pair for pair in pairs if pair[1] == name])
        assert hub.faults == 0


TestHubInAnyOrder = HubInAnyOrder.TestCase
TestHubInAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
