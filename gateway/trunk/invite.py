"""The INVITE for a trunk: all that its settings, the caller and the number make of it.

Pure: `gateway route explain` shows what this builds, and the node sends it. URIs are built of
parts that were checked, never of text (A14); what is said of a caller is refused, never repaired,
where it would break a line (A15).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.sip.authenticator import Credentials
from gateway.sip.flow import Flow
from gateway.sip.header import Address
from gateway.sip.invite import MAX_FORWARDS, InviteRequest
from gateway.sip.uri import Uri
from gateway.trunk.diversion import write_diversions
from gateway.trunk.emergency import NO_MORE, EmergencyNumbers
from gateway.trunk.headers import give_headers
from gateway.trunk.identity import (
    CALLER,
    USERNAME,
    Asserted,
    CallerIdentity,
    Shown,
    asserted_headers,
    choose_shown,
)
from gateway.trunk.numbers import (
    ANONYMOUS,
    NumberFormat,
    caller_uri,
    number_uri,
    write_called,
    write_caller,
)
from gateway.trunk.trunk import Trunk

NO_ATTRIBUTES: Mapping[str, str] = {}

_ANONYMOUS_NAME = "Anonymous"
"RFC 3323 §4.1.1.3."


def build_invite(
    trunk: Trunk,
    *,
    caller: CallerIdentity,
    called: str,
    local_host: str,
    emergency: EmergencyNumbers = NO_MORE,
    attributes: Mapping[str, str] = NO_ATTRIBUTES,
    headers: Sequence[tuple[str, str]] = (),
    flow: Flow | None = None,
    service_route: Sequence[Address] = (),
    offer: bytes | None = None,
    max_forwards: int = MAX_FORWARDS,
    max_breadth: int | None = None,
) -> InviteRequest:
    """The INVITE that a trunk gets.

    Args:
        caller: who calls; what of it is shown is the trunk's to say.
        called: the number or name as it was dialled.
        local_host: our address toward the trunk, where no `from_domain` is set.
        emergency: numbers that go out as they are, whatever the trunk does to others.
        attributes: headers of the call that the trunk may be given.
        headers: further ones that a call needs, whatever the trunk: Replaces, Referred-By.
        flow: a connection to the trunk that is to be used, as that of a registration; None: the
            endpoint finds the way.
        service_route: what a registrar asked us to go by (RFC 3608 §6.1).

    Raises:
        RoutingError: 404, the trunk has no way to write the number; 400, the caller's number or
            name, or a header, holds what may not be written.
    """
    identity, scheme = trunk.identity, trunk.uri.scheme
    if trunk.target is not None:
        target = to = trunk.target
    else:
        number = emergency.find(called) or write_called(called, trunk.numbers)
        target = number_uri(number, trunk.numbers, trunk.uri.host, trunk.uri.port, scheme=scheme)
        to = number_uri(number, trunk.numbers, identity.to_domain, scheme=scheme)
    shown = choose_shown(
        caller,
        identity,
        trunk.caller_id,
        numbers_only=trunk.numbers.format is not NumberFormat.UNCHANGED,
    )
    host = identity.from_domain or local_host
    return InviteRequest(
        target=target,
        from_=_from(trunk, shown, host),
        to=Address("", to if identity.to_domain else target),
        flow=flow,
        destination=trunk.destination if flow is None else None,
        offer=offer,
        credentials=credentials_of(trunk),
        headers=(
            *_identity_headers(trunk, shown, host),
            *write_diversions(
                caller.diversions,
                identity.diversion,
                target,
                lambda number: _uri_of(trunk, number, host),
            ),
            *give_headers(attributes, trunk.headers),
            *headers,
        ),
        max_forwards=max_forwards,
        max_breadth=max_breadth,
        route=(*_proxy_route(trunk), *service_route),
        contact_user=identity.contact_user,
        no_response_timeout_s=trunk.no_response_timeout_s,
        reliable=trunk.offer_100rel,
        session_timer=trunk.session_timer,
    )


def credentials_of(trunk: Trunk) -> Credentials | None:
    """What answers the trunk's challenges; None: nothing does."""
    if trunk.username is None or trunk.password is None:
        return None
    return Credentials(trunk.username, trunk.password, trunk.realm)


def _from(trunk: Trunk, shown: Shown, host: str) -> Address:
    """RFC 3323 §4.1: a caller who asks for it is anonymous, an account of ours never is."""
    name = _ANONYMOUS_NAME if shown.is_withheld else shown.name
    user = trunk.identity.from_user
    if user == USERNAME:
        return Address(name, Uri(trunk.uri.scheme, trunk.username, host=host))
    if user != CALLER:
        return Address(name, _uri_of(trunk, user, host))
    if shown.is_withheld:
        return Address(name, ANONYMOUS)
    return Address(name, _uri_of(trunk, shown.number or "anonymous", host))


def _identity_headers(trunk: Trunk, shown: Shown, host: str) -> list[tuple[str, str]]:
    own = trunk.caller_id or trunk.username
    uris = {
        Asserted.CALLER: _uri_of(trunk, shown.number, host) if shown.number else None,
        Asserted.TRUNK: _uri_of(trunk, own, host) if own else None,
    }
    return asserted_headers(shown, trunk.identity, uris)


def _uri_of(trunk: Trunk, number: str, host: str) -> Uri:
    """The URI of one of our side, its number written as the trunk writes numbers."""
    written = write_caller(number, trunk.numbers)
    return caller_uri(written, trunk.numbers, host, scheme=trunk.uri.scheme)


def _proxy_route(trunk: Trunk) -> tuple[Address, ...]:
    """A proxy is named in the Route, or it could take the call for its own (RFC 3261 §8.1.2)."""
    return () if trunk.proxy is None else (Address("", trunk.proxy),)
