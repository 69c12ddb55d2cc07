"""The gate: which requests from outside are let in, and as whom they count.

A trunk is let in by its address, which `gateway.trunk` knows. A user proves who it is by digest; a
stranger is asked to (401) where it means us, and otherwise hears nothing (A10, A11, A18).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from gateway.errors import RemoteProtocolError
from gateway.private import Secret
from gateway.sip.challenge import Challenger, Outcome
from gateway.sip.core import ServerKey, server_key
from gateway.sip.flow import Flow
from gateway.sip.inspection import Refusal
from gateway.sip.message import Request
from gateway.sip.uri import parse_uri
from gateway.users.bans import READ_BURST, READ_PER_S, Bans, Buckets, source_key
from gateway.users.domain import Domains
from gateway.users.registrar import Registrar
from gateway.users.user import User

log = logging.getLogger(__name__)

MAX_IDENTITIES = 4096
"Requests whose sender is remembered until the node has asked who it was."

SILENCE = Refusal(0)
"Nothing is answered: a scanner must not learn that anybody is here."

_MD5 = "md5"


def algorithms_for(users: Iterable[User]) -> tuple[str, ...]:
    """What to challenge with. All are asked alike, or the challenge would tell who there is."""
    return ("SHA-256", "MD5") if any(user.allow_md5 for user in users) else ("SHA-256",)


@dataclass(slots=True)
class GateCounts:
    """What happened at the gate since the start."""

    challenged: int = 0
    failed: int = 0
    "Logins with wrong credentials."
    banned: int = 0
    "Bans pronounced."
    silenced: int = 0
    "Requests that got no answer."


class Gate:
    """Judges requests that begin something. Pure: time is given."""

    def __init__(
        self,
        users: Iterable[User],
        domains: Domains,
        challenger: Challenger,
        registrar: Registrar,
        *,
        source_of: Callable[[Flow], str | None],
        trusted: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        """
        Args:
            source_of: who a flow comes from by its address alone: `trunk:NAME`, `sip`, or None.
            trusted: networks that are never banned and may ask as much as they like, such as an
                office behind one address.
        """
        self._users = {user.name: user for user in users}
        self._domains = domains
        self._challenger = challenger
        self._registrar = registrar
        self._source_of = source_of
        self._trusted = tuple(trusted)
        self._bans = Bans()
        self._buckets = Buckets()
        self._readings = Buckets(READ_BURST, READ_PER_S)
        self._identities: OrderedDict[tuple[Flow, ServerKey], str] = OrderedDict()
        self.counts = GateCounts()

    def hears(self, remote: tuple[str, int], now: float) -> bool:
        """Whether bytes of somebody who is no trunk are worth reading at all.

        Asked for each message and each new connection, and cheap: what a flood costs is this.
        """
        if not self._users:
            return False
        if self._registrar.is_registered_at(remote) or self._is_trusted(remote[0]):
            return True
        source = source_key(remote[0])
        return (
            not self._bans.is_banned(source, now)
            and self._buckets.has_token(source, now)
            and self._readings.take(source, now)
        )

    def admit(self, request: Request, flow: Flow, now: float) -> Refusal | None:
        """Judge a request outside of any dialog; also one that is malformed (`MessageError`).

        Returns:
            None lets it in; else what to answer, `SILENCE` with nothing.
        """
        try:
            self._identities.pop((flow, server_key(request)), None)
            refusal = self._judge(request, flow, now)
        except RemoteProtocolError:
            refusal = None if self._knows(flow) else SILENCE
        if refusal is not None and not refusal.status:
            self.counts.silenced += 1
        return refusal

    def identity_of(self, request: Request, flow: Flow) -> str | None:
        """Who sent a request that was admitted, in a route's words: `user:NAME`.

        What From, P-Asserted-Identity or anything else in it says does not count (A17).

        Returns:
            None: no user; by its address it may be a trunk.
        """
        name = self._identities.get((flow, server_key(request)))
        return None if name is None else f"user:{name}"

    def _judge(self, request: Request, flow: Flow, now: float) -> Refusal | None:
        source = self._source_of(flow)
        is_phone = self._registrar.is_registered_at(flow.remote)
        if request.method == "REGISTER":
            if not self._users and source is not None:
                return None  # nobody registers here, and the endpoint says so: 405
            return self._authenticate(request, flow, now, is_known=source is not None)
        if source is not None and not (source == "sip" and is_phone):
            return None
        if request.method != "INVITE":
            # A phone asks for our OPTIONS, or for what we do not have and the endpoint refuses.
            return None if is_phone else SILENCE
        name = self._owner(request, flow)
        if name is not None and self._is_for_us(request, flow):
            self._remember(request, flow, name)
            return None
        return self._authenticate(request, flow, now, is_known=source is not None)

    def _owner(self, request: Request, flow: Flow) -> str | None:
        """The user whose own connection this is, if its From says so too."""
        if not flow.is_reliable or len(request.vias) > 1:
            return None
        name = request.from_.uri.user
        return name if name in self._registrar.users_on(flow) else None

    def _authenticate(
        self, request: Request, flow: Flow, now: float, *, is_known: bool
    ) -> Refusal | None:
        """Ask for proof, or look at it. No step here depends on whether a user exists (A10)."""
        is_trusted = is_known or self._is_trusted(flow.remote[0])
        is_phone = self._registrar.is_registered_at(flow.remote)
        if not self._users or not self._is_for_us(request, flow):
            return Refusal(404) if is_trusted or is_phone else SILENCE
        # A phone that has proven itself counts alone: what others behind its address do, or all
        # strangers together, does not silence it.
        source = "{} {}".format(*flow.remote) if is_phone else source_key(flow.remote[0])
        if not is_trusted and (
            self._bans.is_banned(source, now)
            or not self._buckets.has_token(source, now, is_known=is_phone)
        ):
            return SILENCE
        bound_to = "" if is_trusted else flow.remote[0]
        verdict = self._challenger.verify(request, self._secret_of, now, source=bound_to)
        if verdict.outcome is Outcome.OK:
            self._remember(request, flow, verdict.username or "")
            return None
        if verdict.outcome is Outcome.WRONG:
            self.counts.failed += 1
        if not is_trusted:
            self._buckets.take(source, now, is_known=is_phone)
            if verdict.outcome is Outcome.WRONG and self._ban(source, now):
                return SILENCE
        self.counts.challenged += 1
        stale = verdict.outcome is Outcome.STALE
        return Refusal(401, self._challenger.challenge(now, stale=stale, source=bound_to))

    def _ban(self, source: str, now: float) -> bool:
        """Count a wrong password against a source; whether it was one too many.

        Only who holds a nonce of ours gets here, and a nonce goes to one address: nobody can have
        another banned by sending in its name.
        """
        banned_s = self._bans.count_failure(source, now)
        if banned_s is None:
            return False
        self.counts.banned += 1
        log.warning("banned=%s for_s=%d after failed logins", source, banned_s)
        return True

    def _secret_of(self, username: str, algorithm: str) -> Secret | None:
        user = self._users.get(username)
        may = user is not None and (algorithm != _MD5 or user.allow_md5)
        return user.password if user is not None and may else None

    def _remember(self, request: Request, flow: Flow, name: str) -> None:
        self._identities[flow, server_key(request)] = name
        if len(self._identities) > MAX_IDENTITIES:
            self._identities.popitem(last=False)

    def _is_for_us(self, request: Request, flow: Flow) -> bool:
        """Whether a request means us: by its domain; a number alone does from who is known."""
        uri = parse_uri(request.uri)
        return self._domains.names(uri) or (uri.scheme == "tel" and self._knows(flow))

    def _knows(self, flow: Flow) -> bool:
        return (
            self._source_of(flow) is not None
            or self._registrar.is_registered_at(flow.remote)
            or self._is_trusted(flow.remote[0])
        )

    def _is_trusted(self, host: str) -> bool:
        if not self._trusted:
            return False
        address = ip_address(host)
        return any(address in network for network in self._trusted)
