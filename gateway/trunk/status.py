"""How a trunk is, in one value: for the API, the page and whoever else asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.sip.flow import Hop
from gateway.trunk.health import DownReason, TrunkHealth, TrunkState
from gateway.trunk.limits import CallLimits, Direction
from gateway.trunk.registration import Registration, RegistrationState
from gateway.trunk.trunk import Trunk


@dataclass(frozen=True, slots=True)
class HopStatus:
    """One server of a trunk, as the API tells it."""

    hop: Hop
    state: TrunkState


@dataclass(frozen=True, slots=True)
class RegistrationStatus:
    """One registration, as the API tells it."""

    user: str
    registrar: str
    state: RegistrationState
    is_registered: bool
    "Which it may be although the last refresh failed."
    expires_in_s: float
    "Until the registrar forgets us; 0 if it does not know us."
    last_status: int | None
    last_error: str


@dataclass(frozen=True, slots=True)
class TrunkStatus:
    """One trunk, as the API tells it."""

    name: str
    uri: str
    state: TrunkState
    for_s: float
    "How long it has been so."
    reason: DownReason | None
    "Why it is down; None unless it is."
    wait_s: float
    "How long it still wants to be sent nothing (Retry-After)."
    last_status: int | None
    "Of the last answer to an OPTIONS; None: none yet."
    hops: tuple[HopStatus, ...]
    calls_in: int
    calls_out: int
    max_calls: int | None
    max_cps: float | None
    registrations: tuple[RegistrationStatus, ...]


def describe_trunk(
    trunk: Trunk,
    health: TrunkHealth,
    registrations: Sequence[Registration],
    limits: CallLimits,
    now: float,
) -> TrunkStatus:
    """How a trunk is now."""
    return TrunkStatus(
        name=trunk.name,
        uri=str(trunk.uri),
        state=health.state,
        for_s=now - health.since,
        reason=health.reason,
        wait_s=health.wait_s(now),
        last_status=health.last_status,
        hops=tuple(HopStatus(hop, state) for hop, state in health.hops()),
        calls_in=limits.calls(trunk.name, Direction.IN),
        calls_out=limits.calls(trunk.name, Direction.OUT),
        max_calls=trunk.max_calls,
        max_cps=trunk.max_cps,
        registrations=tuple(_describe_registration(r, now) for r in registrations),
    )


def _describe_registration(registration: Registration, now: float) -> RegistrationStatus:
    expires_at = registration.expires_at
    return RegistrationStatus(
        user=registration.options.user,
        registrar=str(registration.options.registrar),
        state=registration.state,
        is_registered=registration.is_registered(now),
        expires_in_s=0.0 if expires_at is None else max(0.0, expires_at - now),
        last_status=registration.last_status,
        last_error=registration.last_error,
    )
