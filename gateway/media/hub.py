"""The media of one call: who hears whom, how loud.

A listener is clocked by what it hears:

    wire    one live speaker: its frame is handed on in the same call, untouched if it is alone;
            what queued speakers have to say is pulled into it
    tick    two or more live speakers, or none: every 20 ms all are pulled and summed

A live speaker has no playout; its own packets are its clock. Where the one of a wire does not
speak at all for `STARVED_TICKS`, its listener is fed by the tick until it does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from gateway.codec import TICK_RATE
from gateway.media.frame import AudioFrame, PastFrame
from gateway.media.mix import MixedFrame, Part
from gateway.media.playout import Playout
from gateway.media.routing import STARVED_TICKS, Ear, Link, Listener, Mouth, Party, PartyId

__all__ = ["Hub", "Listener", "PartyId"]

TICK_TICKS = TICK_RATE // 50
"20 ms, in ticks of the timeline."

TICK_S = TICK_TICKS / TICK_RATE

MAX_CATCH_UP = 5
"Ticks that are made up for after a stall, as the pacer does; what is more has gone by (F14)."

MAX_PAST = 100
"Ticks that are told as gone by: after a longer stall nobody's clock is worth keeping."


class Hub:
    """Who hears whom. Methods are atomic: nothing is ever half routed."""

    __slots__ = (
        "_due_at",
        "_ears",
        "_hears",
        "_links",
        "_mouths",
        "_on_fault",
        "_parties",
        "_playouts",
        "faults",
    )

    def __init__(self, *, on_fault: Callable[[PartyId, Exception], None] | None = None) -> None:
        """`on_fault` is told whose listener (or playout's `on_event`) raised, each time."""
        self.faults = 0
        "How often a party's own code raised; the others were served all the same."
        self._on_fault = on_fault
        self._parties: dict[PartyId, Party] = {}
        self._hears: dict[PartyId, dict[PartyId, float]] = {}
        self._links: dict[tuple[PartyId, PartyId], Link] = {}
        self._mouths: dict[PartyId, Mouth] = {}
        self._ears: tuple[Ear, ...] = ()
        self._playouts: tuple[tuple[PartyId, Playout], ...] = ()
        self._due_at: float | None = None  # the next tick

    # ---- who is there

    def join(
        self,
        party: PartyId,
        *,
        listener: Listener | None = None,
        playout: Playout | None = None,
        counts: bool = True,
    ) -> None:
        """Let a party in, or give it other ears and another mouth. It hears and is heard as routed.

        Args:
            playout: what a queued speaker says; without one the party speaks live.
            counts: False keeps a listener (a recorder) out of the played-out clock.
        """
        old = self._parties.get(party)
        self._parties[party] = joined = Party(party, listener, playout, counts)
        if playout is None:
            self._mouths.setdefault(party, Mouth())
        else:
            self._mouths.pop(party, None)
            joined.audience = old.audience if old is not None else frozenset()
        self._note_audiences(())
        self._apply()

    def leave(self, party: PartyId) -> None:
        """Forget a party and every route from and to it; one that is not there is ignored.

        What a queued speaker had to say to those who are here is cleared: it may be heard elsewhere
        after this.
        """
        gone = self._parties.pop(party, None)
        if gone is None:
            return
        if gone.playout is not None and gone.audience:
            gone.playout.revoke()
        self._mouths.pop(party, None)
        self._hears.pop(party, None)
        for other in self._hears.values():
            other.pop(party, None)
        for other_party in self._parties.values():
            other_party.forget(party)
        self._apply()

    def refresh(self, party: PartyId) -> None:
        """Its codec or rate changed: look at its listener again."""
        if party in self._parties:
            self._apply()

    def route(
        self,
        hears: Mapping[PartyId, Mapping[PartyId, float]],
        *,
        keep: Collection[PartyId] = (),
    ) -> None:
        """Replace all routes at once: listener → speaker → gain (1.0 is as it came, 0.0 unheard).

        A listener named with no speakers hears silence; one that is not named hears nothing.
        Parties that are not there are left out. Oneself is heard where a route says so, only.

        A queued speaker whose audience changes is cleared, and told: what it had to say was said
        to others. Not so those in `keep`, nor when there is no audience now, or was none.
        """
        there = self._parties
        self._hears = {
            listener: {name: gain for name, gain in speakers.items() if name in there and gain > 0}
            for listener, speakers in hears.items()
            if listener in there
        }
        self._note_audiences(keep)
        self._apply()

    # ---- what is said

    def push(self, speaker: PartyId, frame: AudioFrame) -> None:
        """A live speaker said this."""
        mouth = self._mouths.get(speaker)
        if mouth is None:
            return
        mouth.quiet = 0
        for hear in mouth.wires:
            try:
                hear(frame)
            except Exception as error:
                self._blame(mouth.wired[mouth.wires.index(hear)], error)
        for ear in mouth.blends:
            if ear.wire is mouth:  # not when what was heard before has changed the routes
                self._blend(ear, frame)
        for store in mouth.stores:
            store.append(frame)

    def tick(self, now: float) -> None:
        """20 ms have passed: feed those whom no live speaker feeds. The pacer calls it."""
        due_at = now if self._due_at is None else self._due_at
        if now - due_at > MAX_CATCH_UP * TICK_S:
            due_at += self._let_pass(now, int((now - due_at) / TICK_S) + 1 - MAX_CATCH_UP)
        self._due_at = due_at + TICK_S
        for mouth in self._mouths.values():
            mouth.quiet += 1
        for ear in self._ears:
            if ear.wire is None or ear.wire.quiet > STARVED_TICKS:
                self._feed(ear, now)
        for party, playout in self._playouts:
            try:
                playout.advance(now)
            except Exception as error:
                self._blame(party, error)

    def _blend(self, ear: Ear, frame: AudioFrame) -> None:
        """On the wire, with queued speakers or a gain: all goes into the live frame."""
        live = ear.lives[0]
        parts = []
        heard = []
        try:
            for link in ear.queues:
                said = link.pull(frame.duration, frame.heard_at)
                if said is not None:
                    parts.append(said)
                    heard.append(link)
            if parts or not live.is_plain:
                parts.append(live.part_of(frame))
                frame = MixedFrame(frame.position, frame.duration, frame.heard_at, parts)
            ear.hear(frame)
            for link in heard:
                link.settle()
        except Exception as error:
            self._blame(ear.id, error)

    def _feed(self, ear: Ear, now: float) -> None:
        """20 ms for a listener in tick mode, or one whose live speaker is silent."""
        parts: list[Part] = []
        try:
            for live in ear.lives:
                if live.store is not None:
                    parts += live.store.pull(TICK_TICKS)
            for link in ear.queues:
                said = link.pull(TICK_TICKS, now)
                if said is not None:
                    parts.append(said)
            if not parts and ear.patience:
                ear.patience -= 1
                return
            ear.patience = 0
            # Marks are settled by the playouts' own tick, which follows.
            ear.hear(self._frame_of(ear, parts, now))
        except Exception as error:
            self._blame(ear.id, error)

    def _let_pass(self, now: float, ticks: int) -> float:
        """Time that went by unheard: nobody's delay grows by it. Returns the seconds."""
        past = min(ticks, MAX_PAST) * TICK_TICKS
        for ear in self._ears:
            if ear.wire is None or ear.wire.quiet > STARVED_TICKS:
                try:
                    ear.hear(PastFrame(ear.position, past, now))
                except Exception as error:
                    self._blame(ear.id, error)
                ear.position += past
        return ticks * TICK_S

    def _frame_of(self, ear: Ear, parts: list[Part], now: float) -> AudioFrame:
        position = ear.position
        ear.position = position + TICK_TICKS
        if not parts:
            return AudioFrame(position, TICK_TICKS, now)
        if len(parts) == 1 and len(ear.lives) < 2 and parts[0].gain == parts[0].from_gain == 1.0:
            # A prompt alone: as it is, so that its payload can be relayed.
            return parts[0].frame
        return MixedFrame(position, TICK_TICKS, now, parts)

    def _blame(self, party: PartyId, error: Exception) -> None:
        self.faults += 1
        if self._on_fault is not None:
            self._on_fault(party, error)

    # ---- from routes to what is looked at per frame

    def _note_audiences(self, keep: Collection[PartyId]) -> None:
        """Clear what was said to others than would hear it from now on."""
        for party in self._parties.values():
            if party.playout is None:
                continue
            has_changed = party.set_audience(self._audience_of(party.id))
            if has_changed and party.id not in keep:
                party.playout.revoke()

    def _audience_of(self, speaker: PartyId) -> frozenset[PartyId]:
        """The listeners that a queued speaker speaks to."""
        return frozenset(
            listener
            for listener, speakers in self._hears.items()
            if speaker in speakers and self._parties[listener].is_audience
        )

    def _apply(self) -> None:
        """Lay the routes out; what goes on as before keeps its place in every queue."""
        old_ears = {ear.id: ear for ear in self._ears}
        old_links, self._links = self._links, {}
        ears = []
        for listener, speakers in self._hears.items():
            party = self._parties[listener]
            if party.listener is None:
                continue
            ear = old_ears.get(listener)
            if ear is None or ear.listener is not party.listener:
                ear = Ear(listener, party.listener)
            else:
                del old_ears[listener]
            ear.lay_out(self._links_of(party, speakers, old_links), self._mouths)
            ears.append(ear)
        self._ears = tuple(ears)
        for ear in old_ears.values():
            ear.close()
        for link in old_links.values():
            link.close()
        for speaker, mouth in self._mouths.items():
            mouth.lay_out(speaker, self._ears)
        self._playouts = tuple(
            (party.id, party.playout) for party in self._parties.values() if party.playout
        )
        for ear in self._ears:
            self._hand_rest(ear)

    def _links_of(
        self,
        listener: Party,
        speakers: Mapping[PartyId, float],
        old_links: dict[tuple[PartyId, PartyId], Link],
    ) -> list[Link]:
        """What joins a listener to those it hears; the old where nothing has changed."""
        links = []
        for name, gain in speakers.items():
            key = (listener.id, name)
            link = old_links.get(key)
            if link is not None and link.is_between(listener, self._parties[name]):
                del old_links[key]
            else:
                link = Link(listener, self._parties[name])
            link.gain = gain
            self._links[key] = link
            links.append(link)
        return links

    def _hand_rest(self, ear: Ear) -> None:
        """What the tick had not come for goes out now: on the wire nothing waits."""
        rest, ear.rest = ear.rest, []
        try:
            for frame in rest:
                ear.hear(frame)
        except Exception as error:
            self._blame(ear.id, error)
