"""The registrar: takes REGISTERs of users and knows where they are (RFC 3261 §10.3, 3327, 5626).

A Machine. Who sent a REGISTER was proven before it comes here (`gateway.users.gate`).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import count
from typing import NamedTuple

from gateway.errors import RemoteProtocolError
from gateway.sip.core import may_follow
from gateway.sip.flow import Flow
from gateway.sip.header import Address
from gateway.sip.message import Request
from gateway.sip.timers import Alarm, Timers
from gateway.sip.uri import Uri, parse_uri
from gateway.users.contacts import (
    Contact,
    OutOfOrderError,
    Wish,
    check_order,
    choose_contacts,
    is_behind_nat,
    is_same_uri,
    merge,
    reach,
    read_path,
    read_wishes,
)
from gateway.users.domain import Domains, is_address
from gateway.users.user import User

MIN_EXPIRES_S = 60
"Asking for less gets 423: a thousand phones at 60 s are 30 requests a second."
MAX_EXPIRES_S = 3600
"What is asked beyond it is cut: so long may a phone that went away be rung in vain."
MAX_NAT_EXPIRES_S = 120
"""For datagrams through a NAT, whose mapping lasts 2 min at the least (RFC 4787 REQ-5): the phone
renews it by refreshing, at half the time or a little later."""

MAX_LEFT = 1024
"Connections remembered by which devices were reached once; the one left longest ago goes first."

EXTENSIONS = ("path", "outbound")
SUPPORTED = ("Supported", ", ".join(EXTENSIONS))


class Reply(NamedTuple):
    """What a REGISTER is answered with."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()


class Departure(Enum):
    """Why a contact is no more."""

    REMOVED = "removed"
    "By a REGISTER."
    EXPIRED = "expired"
    DISCONNECTED = "disconnected"
    "Its connection closed."
    CROWDED_OUT = "crowded-out"
    "The user registered more devices than it may."


@dataclass(frozen=True, slots=True)
class UserRegistered:
    """A device of a user is there that was not."""

    user: str
    contact: Contact
    contacts: int
    "How many there are now."


@dataclass(frozen=True, slots=True)
class UserUnregistered:
    """A device of a user is no more."""

    user: str
    contact: Contact
    cause: Departure
    contacts: int
    "How many are left."


RegistrarEvent = UserRegistered | UserUnregistered


@dataclass(frozen=True, slots=True)
class UserSummary:
    """A user, for people."""

    name: str
    display_name: str
    contacts: int
    registered_s: float | None
    "How long there has been a contact all the time; None: there is none."
    transports: tuple[str, ...]
    "Of the contacts, each once."


class Registrar:
    """The bindings of all users."""

    def __init__(self, users: Iterable[User], domains: Domains) -> None:
        self._users = {user.name: user for user in users}
        self._domains = domains
        self._contacts: dict[str, tuple[Contact, ...]] = {}
        "By user; none without a contact."
        self._since: dict[str, float] = {}
        self._alarms: dict[str, Alarm] = {}
        "The next contact of a user to expire."
        self._timers = Timers()
        self._flows: dict[Flow, Counter[str]] = {}
        "How many contacts of whom each flow brought."
        self._left: OrderedDict[Flow, str] = OrderedDict()
        "Of whom a connection was that leads to no contact any more."
        self._remotes: Counter[tuple[str, int]] = Counter()
        self._ids = count(1)
        self._events: list[RegistrarEvent] = []

    # ---- what changes it

    def receive(self, request: Request, flow: Flow, name: str, now: float) -> Reply:
        """Answer a REGISTER.

        Args:
            name: The user that its credentials are of.
        """
        user = self._users.get(name)
        if user is None:
            return Reply(403)
        try:
            return self._inspect(request, user) or self._update(request, flow, user, now)
        except RemoteProtocolError:
            return Reply(400)
        except OutOfOrderError:
            return Reply(500)

    def flow_closed(self, flow: Flow, now: float) -> None:
        """Nothing reaches anybody over a flow any more (RFC 5626 §7)."""
        for name in list(self._flows.get(flow, ())):
            left = tuple(
                contact
                for contact in self._contacts[name]
                if contact.source != flow or not (flow.is_reliable or contact.reg_id is not None)
            )
            self._commit(name, left, now, Departure.DISCONNECTED)

    def handle_timer(self, now: float) -> None:
        """Drop what has expired."""
        self._timers.fire_due(now)

    def next_timer(self) -> float | None:
        """When the next contact expires; None: there is none."""
        return self._timers.next()

    def take_output(self) -> Sequence[object]:
        """Nothing: a registrar answers, and never speaks first."""
        return ()

    def take_events(self) -> Sequence[RegistrarEvent]:
        """Who came and went, in order; each is handed out once."""
        events, self._events = self._events, []
        return events

    # ---- what it knows

    def contacts_of(self, name: str) -> tuple[Contact, ...]:
        """Whom a call to a user rings, the preferred first; empty: it is not there (480)."""
        return choose_contacts(self._contacts.get(name, ()))

    def users_on(self, flow: Flow) -> frozenset[str]:
        """Whose devices a connection belongs to: no proxy between, nobody else's bytes."""
        return frozenset(
            name
            for name in self._flows.get(flow, ())
            if any(c.source == flow and c.is_direct for c in self._contacts[name])
        )

    def has_flow(self, flow: Flow) -> bool:
        """Whether any contact needs this flow: such a connection may idle."""
        return flow in self._flows

    def is_registered_at(self, remote: tuple[str, int]) -> bool:
        """Whether an address and port is that of a contact, or of the proxy before it."""
        return remote in self._remotes

    def may_follow(self, host: str, flow: Flow) -> bool:
        """Whether requests within a dialog may leave a flow for an address its peer has named.

        A phone's never leave for another than its own: what it calls itself behind its NAT may
        exist here too.
        """
        if self.is_registered_at(flow.remote):
            return is_address(host, flow.remote[0])
        return may_follow(host, flow)

    def successor(self, uri: Uri, flow: Flow) -> Flow | None:
        """By which flow a device has come back whose connection is closed (RFC 5626 §4.4).

        Args:
            uri: its Contact in the dialog that went over the connection.
        """
        name = self._left.get(flow)
        contacts = () if name is None else self._contacts.get(name, ())
        return next((each.flow for each in contacts if is_same_uri(each.uri, uri)), None)

    def summaries(self, now: float) -> tuple[UserSummary, ...]:
        """All users, in the order of the configuration."""
        return tuple(self._summary(user, now) for user in self._users.values())

    # ---- a REGISTER, step by step (RFC 3261 §10.3)

    def _inspect(self, request: Request, user: User) -> Reply | None:
        if not self._domains.names(parse_uri(request.uri)):
            return Reply(404)
        unknown = [tag for tag in request.require if tag not in EXTENSIONS]
        if unknown:
            return Reply(420, (("Unsupported", ", ".join(unknown)),))
        if not request.to.uri.is_sip or request.to.uri.user != user.name:
            return Reply(403)  # also where there is no such user: nobody learns who there is
        return None if self._domains.names(request.to.uri) else Reply(404)

    def _update(self, request: Request, flow: Flow, user: User, now: float) -> Reply:
        before = self._contacts.get(user.name, ())
        if request.is_contact_star:
            if request.expires_s != 0:
                return Reply(400)
            for contact in before:
                check_order(contact, request.call_id, request.cseq.number)
            self._commit(user.name, (), now, Departure.REMOVED)
            return self._list(user.name, now)
        wishes = read_wishes(request)
        path = read_path(request)
        if not wishes:
            return self._list(user.name, now)
        refusal = _judge(wishes, user)
        if refusal is not None:
            return refusal
        is_direct = len(request.vias) == 1
        if not is_direct and not any(a.uri.parameters.has("ob") for a in path):
            # The proxy before us keeps no flow to the device (RFC 5626 §6).
            if any(wish.reg_id is not None for wish in wishes) and _is_outbound(request):
                return Reply(439)
            wishes = tuple(_without_flow(wish) for wish in wishes)
        granted = [
            (wish, self._grant(wish, request, flow, path, now, is_direct=is_direct))
            for wish in wishes
        ]
        after = merge(before, granted, request.call_id, request.cseq.number)
        self._commit(user.name, after, now, Departure.REMOVED)
        self._crowd_out(user, now)
        has_flow = any(wish.reg_id is not None for wish in wishes)
        return self._list(
            user.name,
            now,
            *(("Path", value) for value in request.headers.get_all("Path")),
            *((("Require", "outbound"),) if has_flow and _is_outbound(request) else ()),
        )

    def _grant(
        self,
        wish: Wish,
        request: Request,
        flow: Flow,
        path: tuple[Address, ...],
        now: float,
        *,
        is_direct: bool,
    ) -> Contact:
        longest = MAX_EXPIRES_S
        if is_direct and is_behind_nat(wish.uri, flow):
            longest = MAX_NAT_EXPIRES_S
        return Contact(
            id=next(self._ids),
            uri=wish.uri,
            source=flow,
            flow=reach(wish.uri, flow) if is_direct and wish.reg_id is None else flow,
            expires_at=now + min(wish.expires_s, longest),
            refreshed_at=now,
            call_id=request.call_id,
            cseq=request.cseq.number,
            path=path,
            is_direct=is_direct,
            instance=wish.instance,
            reg_id=wish.reg_id,
            q=wish.q,
        )

    def _list(self, name: str, now: float, *headers: tuple[str, str]) -> Reply:
        contacts = self._contacts.get(name, ())
        listed = tuple(("Contact", str(contact.to_address(now))) for contact in contacts)
        return Reply(200, (*listed, *headers, SUPPORTED))

    # ---- the tables

    def _crowd_out(self, user: User, now: float) -> None:
        contacts = self._contacts.get(user.name, ())
        if len(contacts) > user.max_contacts:
            newest = sorted(contacts, key=lambda each: each.refreshed_at)[-user.max_contacts :]
            kept = tuple(contact for contact in contacts if contact in newest)
            self._commit(user.name, kept, now, Departure.CROWDED_OUT)

    def _expire(self, name: str, now: float) -> None:
        left = tuple(each for each in self._contacts[name] if each.expires_at > now)
        self._commit(name, left, now, Departure.EXPIRED)

    def _commit(self, name: str, after: tuple[Contact, ...], now: float, cause: Departure) -> None:
        """Make these the contacts of a user, and tell who came and went."""
        before = self._contacts.pop(name, ())
        self._count(name, before, -1)
        self._count(name, after, +1)
        self._timers.stop(self._alarms.pop(name, None))
        if after:
            self._contacts[name] = after
            self._since.setdefault(name, now)
            at = min(contact.expires_at for contact in after)
            self._alarms[name] = self._timers.start(at, lambda now: self._expire(name, now))
        else:
            self._since.pop(name, None)
        stayed = {contact.id for contact in before} & {contact.id for contact in after}
        gone = [contact for contact in before if contact.id not in stayed]
        self._note_left(name, before)
        come = [contact for contact in after if contact.id not in stayed]
        left = len(before)
        for contact in gone:
            left -= 1
            self._events.append(UserUnregistered(name, contact, cause, left))
        for contact in come:
            left += 1
            self._events.append(UserRegistered(name, contact, left))

    def _count(self, name: str, contacts: Iterable[Contact], change: int) -> None:
        for contact in contacts:
            names = self._flows.setdefault(contact.source, Counter())
            names[name] += change
            if not names[name]:
                del names[name]
            if not names:
                del self._flows[contact.source]
            for remote in {contact.source.remote, contact.flow.remote}:
                self._remotes[remote] += change
                if not self._remotes[remote]:
                    del self._remotes[remote]

    def _note_left(self, name: str, before: Iterable[Contact]) -> None:
        for contact in before:
            flow = contact.source
            if flow.is_reliable and flow not in self._flows:
                self._left.pop(flow, None)
                self._left[flow] = name
        while len(self._left) > MAX_LEFT:
            self._left.popitem(last=False)

    def _summary(self, user: User, now: float) -> UserSummary:
        contacts = self._contacts.get(user.name, ())
        since = self._since.get(user.name)
        return UserSummary(
            user.name,
            user.display_name,
            len(contacts),
            None if since is None else now - since,
            tuple(sorted({contact.source.transport for contact in contacts})),
        )


def _judge(wishes: Sequence[Wish], user: User) -> Reply | None:
    kept = [wish for wish in wishes if wish.expires_s]
    if len(kept) > 1 and any(wish.reg_id is not None for wish in kept):
        return Reply(400)  # RFC 5626 §6: one REGISTER is of one flow
    if len(kept) > user.max_contacts:
        return Reply(403)
    if any(wish.expires_s < MIN_EXPIRES_S for wish in kept):
        return Reply(423, (("Min-Expires", str(MIN_EXPIRES_S)),))
    return None


def _is_outbound(request: Request) -> bool:
    return "outbound" in request.supported


def _without_flow(wish: Wish) -> Wish:
    return Wish(wish.uri, wish.expires_s, wish.instance, None, wish.q)
