"""Keys in one call: whose go to whom, who is told of them, and those we are told to press."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gateway.agents.event import DigitHidden
from gateway.call.events import CallDigit
from gateway.call.hearing import partners
from gateway.call.party import Party, PartyState
from gateway.call.room import Room
from gateway.errors import RoutingError
from gateway.leg.leg import DigitPressed, LegId, Phase
from gateway.private import Private
from gateway.rtp.dial_string import parse_dial_string

PRESS_MS, GAP_MS = 160, 100
"Of keys that we are told to press, where nothing else is said: no exchange overhears those."


class _Pressing:
    """A dial string that is being pressed toward one party."""

    def __init__(
        self,
        party: Party,
        steps: tuple[str | float, ...],
        at: float,
        press_ms: int,
        gap_ms: int,
        on_done: Callable[[float], None] | None,
    ) -> None:
        self.party = party
        self.on_done = on_done
        self.at = at
        "When the next step is due."
        self.press_ms = press_ms
        self._gap_s = gap_ms / 1000
        self._steps = deque(steps)
        self._down: str | None = None

    @property
    def is_done(self) -> bool:
        return self._down is None and not self._steps

    def step(self) -> None:
        """Press or release a key, or begin a pause."""
        leg = self.party.leg
        if self._down is not None:
            leg.digit(self._down, Phase.END, self.press_ms)
            self._down = None
            self.at += self._gap_s
            return
        step = self._steps.popleft()
        if isinstance(step, float):
            self.at += step
            return
        leg.digit(step, Phase.START)
        self._down = step
        self.at += self.press_ms / 1000

    def stop(self) -> None:
        """Press no more; the key that is down is released."""
        self._steps.clear()
        if self._down is not None:
            self.step()


@dataclass(frozen=True, slots=True)
class Press:
    """A key that a party has down, or has let go of."""

    digit: str
    secure_to: LegId | None
    "Who alone might get it as it went down; None: whom the party talked with."
    audience: tuple[LegId, ...]
    "To whom it was passed on."


class Digits:
    """The keys of one call."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._pressing: dict[LegId, _Pressing] = {}
        self._down: dict[LegId, Press] = {}

    def on_pressed(self, party: Party, event: DigitPressed, now: float) -> Press:
        """A party presses or releases a key: it goes to whom it talks with.

        In secure input it goes to the party that alone hears it, and all others learn only that
        there was one. As a press began it ends, whatever has changed meanwhile.
        """
        leg = party.leg.id
        if event.phase is Phase.START:
            audience = self._audience(party)
            press = self._down[leg] = Press(event.digit, party.secure_to, audience)
        else:
            press = self._down.pop(leg, Press(event.digit, party.secure_to, ()))
        is_secret = press.secure_to is not None
        digit = None if is_secret else Private(event.digit)
        told = CallDigit(self._room.id, now, leg, digit, event.phase, event.duration_ms)
        self._room.tell(told)
        self._pass_on(press, event.phase, event.duration_ms)
        if is_secret and event.phase is Phase.END:
            self._tell_of_secret(party)
        return press

    def _tell_of_secret(self, party: Party) -> None:
        """Agents that hear a party at other times learn that it has pressed a key: no more."""
        for other in partners(party, self._room.parties.values()):
            if party.is_open_to(other) and other.leg.id != party.secure_to:
                other.leg.inform(DigitHidden())

    def on_left(self, party: Party) -> None:
        """A party is gone: the key that it had down is up."""
        press = self._down.pop(party.leg.id, None)
        if press is not None:
            self._pass_on(press, Phase.END, 0)

    def close(self) -> None:
        """The call is over: no more is pressed."""
        self._pressing.clear()

    def press(
        self,
        party: Party,
        digits: str,
        now: float,
        *,
        press_ms: int = PRESS_MS,
        gap_ms: int = GAP_MS,
        on_done: Callable[[float], None] | None = None,
    ) -> None:
        """Press a dial string toward a party.

        Args:
            on_done: is told when the last key was released, unless the party leaves before.

        Raises:
            RoutingError: 409, the last one is not done yet; 484, it is no dial string.
        """
        if party.leg.id in self._pressing:
            raise RoutingError("keys are being pressed toward this party", status=409)
        try:
            steps = parse_dial_string(digits)
        except ValueError as error:
            raise RoutingError(str(error), status=484) from None
        if steps:
            pressing = _Pressing(party, steps, now, press_ms, gap_ms, on_done)
            self._pressing[party.leg.id] = pressing
            self._advance(pressing, now)
        elif on_done is not None:
            on_done(now)

    def handle_timer(self, now: float) -> None:
        """Go on with what is being pressed."""
        for pressing in tuple(self._pressing.values()):
            self._advance(pressing, now)

    def next_timer(self) -> float | None:
        """When the next key is due."""
        return min((pressing.at for pressing in self._pressing.values()), default=None)

    def _advance(self, pressing: _Pressing, now: float) -> None:
        leg = pressing.party.leg.id
        while pressing.at <= now and not pressing.is_done:
            party = pressing.party
            if self._room.parties.get(leg) is party and party.state is PartyState.UP:
                pressing.step()
            elif party.state is PartyState.ENDED:
                break
            else:  # it is in another call now
                pressing.stop()
        if pressing.is_done or pressing.party.state is PartyState.ENDED:
            del self._pressing[leg]
            if pressing.on_done is not None:
                pressing.on_done(now)

    def _audience(self, party: Party) -> tuple[LegId, ...]:
        """Who is to get the keys of a party that are pressed now."""
        if party.hears_music:
            return ()
        others = partners(party, self._room.parties.values())
        heard = [each for each in others if not each.hears_music and party.gives_keys_to(each)]
        return tuple(each.leg.id for each in heard)

    def _pass_on(self, press: Press, phase: Phase, duration_ms: int) -> None:
        for leg in press.audience:
            listener = self._room.parties.get(leg)
            if listener is not None and listener.state is not PartyState.ENDED:
                listener.leg.digit(press.digit, phase, duration_ms)
