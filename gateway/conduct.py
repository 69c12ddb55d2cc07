"""What is done in calls that are up: who joins, who hears whom, what is played and told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.agents.event import Told
from gateway.api.conduct import Wanted
from gateway.call.party import Names
from gateway.call.policy import Policy
from gateway.call.registry import Registry
from gateway.errors import ConfigError, RoutingError
from gateway.leg.leg import LegId, Role
from gateway.media.folder import Sounds, read_folder
from gateway.media.hub import PartyId
from gateway.media.sound import Sound
from gateway.media.tone import sine
from gateway.options import Config
from gateway.trunk.route import Plan

TONE_RATE = 24_000
"Hz of tones: up to 10 kHz can be heard in them."

TONE_DBFS = -12.0
"How loud: as a beep of a machine that answers."


def read_sounds(config: Config) -> Sounds:
    """What can be played by name; nothing where the configuration names no folder.

    Raises:
        ConfigError: the folder, or a file in it, cannot be used.
    """
    if config.media.sounds is None:
        return Sounds({})
    try:
        return read_folder(config.media.sounds)
    except ConfigError as error:
        raise ConfigError(f"{config.file}: [media] sounds = {error}") from None


class Conduct:
    """Commands of the API to the calls of a node; see `gateway.api.conduct.ConductControl`."""

    def __init__(
        self,
        registry: Registry,
        *,
        plan: Callable[[str], tuple[Plan, str]],
        sounds: Sounds,
    ) -> None:
        """
        Args:
            plan: where what the API dials leads, and what of it is the number.
            sounds: what can be played by name.
        """
        self._registry = registry
        self._plan = plan
        self._sounds = sounds

    def invite(
        self,
        call_id: str,
        to: str,
        role: Role | None,
        policy: Policy,
        ringing_timeout_s: float | None,
    ) -> tuple[LegId, ...]:
        plan, number = self._plan(to)
        if ringing_timeout_s is not None:
            options = replace(plan.options, ringing_timeout_s=ringing_timeout_s)
            plan = replace(plan, options=options)
        return self._registry.command(
            call_id, lambda call, now: call.invite(number, plan, role, policy, now)
        )

    def dismiss(self, call_id: str, leg: str) -> None:
        self._registry.command(call_id, lambda call, now: call.dismiss(leg, now))

    def route(self, call_id: str, policies: Sequence[tuple[str, Policy]]) -> None:
        self._registry.command(call_id, lambda call, now: call.route(policies, now))

    def play(self, call_id: str, wanted: Wanted, to: Names) -> PartyId:
        sound, shown = self._sound(wanted)
        gain = 10 ** (wanted.gain_db / 20)
        return self._registry.command(
            call_id,
            lambda call, now: call.play(sound, shown, to, now, loops=wanted.loop, gain=gain),
        )

    def stop_playing(self, call_id: str, name: PartyId | None) -> None:
        self._registry.command(call_id, lambda call, now: call.stop_playing(name, now))

    def message(self, call_id: str, leg: str, kind: str, data: Mapping[str, Any]) -> None:
        told = Told(kind, data)
        self._registry.command(call_id, lambda call, now: call.message(leg, told))

    def note(self, call_id: str, values: Mapping[str, str]) -> None:
        self._registry.command(call_id, lambda call, now: call.note(values, now))

    def fetch_keys(self, call_id: str, token: str) -> str:
        return self._registry.command(call_id, lambda call, now: call.fetch_keys(token)).value

    def _sound(self, wanted: Wanted) -> tuple[Sound, str]:
        """What is to be played, and what it is called."""
        if wanted.file is not None:
            sound = self._sounds.find(wanted.file)
            if sound is None:
                raise RoutingError("there is no such file in the folder of [media] sounds")
            return sound, wanted.file
        tone = sine(wanted.tone_hz or 0.0, wanted.duration_ms / 1000, TONE_RATE, TONE_DBFS)
        return Sound(tone, TONE_RATE), f"{wanted.tone_hz:g} Hz"
