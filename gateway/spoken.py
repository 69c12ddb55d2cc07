"""Which codecs the parties of a node may speak, along the plan of a call."""

from __future__ import annotations

from collections.abc import Callable

from gateway.call.hunt import Errand
from gateway.codec import Codec
from gateway.options import Config
from gateway.sdp.description import Keying
from gateway.trunk.codecs import (
    ANY,
    OF_BROWSERS,
    OF_STRANGERS,
    Allowed,
    for_called,
    for_caller,
)
from gateway.trunk.route import Plan, Target, TargetKind
from gateway.trunk.trunk import Trunk
from gateway.users.contacts import Contact
from gateway.users.user import User

_PARTIES = frozenset({TargetKind.AGENT, TargetKind.TRUNK, TargetKind.USER})
"Targets that speak."

Spoken = tuple[Codec, ...]
"Speech alone, in the order of preference."


class Codecs:
    """What each party of a node may speak."""

    def __init__(self, config: Config, find_contact: Callable[[str, str], Contact]) -> None:
        """`find_contact` finds the device of a user; raises RoutingError where it is gone."""
        self._trunks = {trunk.name: trunk for trunk in config.trunks}
        self._sip_agents = config.sip_agents
        self._users = {user.name: user for user in config.users}
        self._find_contact = find_contact

    def of_caller(self, spoken: Spoken, plan: Plan | None) -> Allowed:
        """What who calls may speak, by what it could and along what it calls.

        Args:
            plan: None: it takes the place of another party.

        Raises:
            CodecError: the route lets nothing be transcoded, and it would have to be.
            RoutingError: a device of a user is gone.
        """
        if plan is None:
            return for_caller(spoken, (), ANY)
        return for_caller(spoken, self._along(plan), plan.options.codecs)

    def of_called(self, spoken: Spoken, errand: Errand, onward: Plan | None) -> Spoken:
        """What a party is offered that is called; telephone-event among it.

        Args:
            onward: it is in the place of who calls along this; None: it is called for another.

        Raises:
            CodecError, RoutingError: as `of_caller`.
        """
        if onward is None:
            return for_called(spoken, errand.heard, errand.codecs)
        return self.of_caller(spoken, onward).codecs

    def _along(self, plan: Plan) -> list[Spoken | None]:
        """What each target of a plan may speak; None for an agent of ours: it hears anything."""
        targets = (target for group in plan.groups for target in group)
        return [self._of_target(target) for target in targets if target.kind in _PARTIES]

    def _of_target(self, target: Target) -> Spoken | None:
        match target.kind:
            case TargetKind.TRUNK:
                return self._trunks[target.name].codecs
            case TargetKind.AGENT if target.name in self._sip_agents:
                return self._sip_agents[target.name].codecs
            case TargetKind.USER if not target.contact:
                return self._users[target.name].codecs
            case TargetKind.USER:
                contact = self._find_contact(target.name, target.contact)
                return spoken_by(self._users[target.name], keying_toward(contact))
        return None


def spoken_by(party: Trunk | User | None, keying: Keying) -> Spoken:
    """What who is neither an agent nor a page may speak."""
    if keying is Keying.DTLS:
        return OF_BROWSERS
    return OF_STRANGERS if party is None else party.codecs


def keying_toward(contact: Contact) -> Keying:
    """How the media of a phone is protected that is called: browsers have DTLS alone."""
    is_browser = contact.uri.parameters.get("transport") in ("ws", "wss")
    return Keying.DTLS if is_browser or contact.flow.is_websocket else Keying.NONE
