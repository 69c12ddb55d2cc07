"""The trunks over HTTP: how each is, what goes on over it, and what happens to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Protocol

from pydantic import BaseModel

from gateway.api.openapi import Operation
from gateway.api.server import ApiError
from gateway.sip.uri import format_host_port
from gateway.trunk.event import (
    TrunkDown,
    TrunkEvent,
    TrunkRegistered,
    TrunkRegistrationFailed,
    TrunkUp,
)
from gateway.trunk.health import DownReason, TrunkState
from gateway.trunk.registration import RegistrationState
from gateway.trunk.status import RegistrationStatus, TrunkStatus


class TrunkControl(Protocol):
    """What the API asks of the node."""

    def trunks(self) -> Sequence[TrunkStatus]: ...
    def trunk(self, name: str) -> TrunkStatus | None: ...
    def observe_trunks(self, observer: Callable[[TrunkEvent], None]) -> Callable[[], None]: ...


class ServerInfo(BaseModel):
    """One server of a trunk, as the DNS names them."""

    address: str
    "IP address and port."
    transport: str
    state: TrunkState


class RegistrationInfo(BaseModel):
    """One registration of ours with a trunk."""

    user: str
    registrar: str
    state: RegistrationState
    registered: bool
    "Whether calls can come in, which may be so although the last refresh has failed."
    expires_in_s: float
    "Until the registrar forgets us, if it is not refreshed; 0: it does not know us."
    last_status: int | None
    "Of its last final response; null: none yet."
    error: str | None
    "Why the last try failed; null: it did not."


class TrunkInfo(BaseModel):
    """One trunk."""

    name: str
    uri: str
    state: TrunkState
    "Calls go elsewhere while it is down and there is an elsewhere."
    for_s: float
    "How long it has been so."
    reason: DownReason | None
    "Why it is down; null: it is not."
    wait_s: float
    "How long it has asked, by Retry-After, still to be sent no calls; 0: it has not."
    last_status: int | None
    "Of its last answer to OPTIONS; null: none yet."
    servers: list[ServerInfo]
    calls_in: int
    calls_out: int
    max_calls: int | None
    "In and out at a time; null: no limit."
    max_cps: float | None
    "New calls a second; null: no limit."
    registrations: list[RegistrationInfo]


class TrunkList(BaseModel):
    """The trunks, in the order of the configuration."""

    trunks: list[TrunkInfo]


def trunk_operations(control: TrunkControl) -> list[Operation]:
    """The operations on `/v1/trunks`."""

    async def list_trunks() -> Any:
        return TrunkList(trunks=[describe_trunk(status) for status in control.trunks()])

    async def look(name: str) -> Any:
        status = control.trunk(name)
        if status is None:
            raise ApiError(
                HTTPStatus.NOT_FOUND,
                "unknown-trunk",
                f"There is no trunk {name!r}; see GET /v1/trunks",
            )
        return describe_trunk(status)

    return [
        Operation(
            "GET",
            "/v1/trunks",
            "listTrunks",
            "The trunks and how they are",
            list_trunks,
            gives=TrunkList,
        ),
        Operation(
            "GET",
            "/v1/trunks/{name}",
            "getTrunk",
            "One trunk and how it is",
            look,
            gives=TrunkInfo,
            refuses=(HTTPStatus.NOT_FOUND,),
        ),
    ]


def describe_trunk(status: TrunkStatus) -> TrunkInfo:
    """A trunk as the API tells it."""
    return TrunkInfo(
        name=status.name,
        uri=status.uri,
        state=status.state,
        for_s=round(status.for_s, 3),
        reason=status.reason,
        wait_s=round(status.wait_s, 3),
        last_status=status.last_status,
        servers=[
            ServerInfo(
                address=format_host_port(server.hop.host, server.hop.port),
                transport=server.hop.transport,
                state=server.state,
            )
            for server in status.hops
        ],
        calls_in=status.calls_in,
        calls_out=status.calls_out,
        max_calls=status.max_calls,
        max_cps=status.max_cps,
        registrations=[_describe_registration(each) for each in status.registrations],
    )


def describe_trunk_event(event: TrunkEvent) -> dict[str, Any]:
    """An event as JSON, for a subscriber of `/v1/events`."""
    told: dict[str, Any] = {"trunk": event.trunk, "at": round(event.at, 3)}
    match event:
        case TrunkUp():
            told |= {"type": "trunk.up"}
        case TrunkDown():
            told |= {"type": "trunk.down", "reason": event.reason}
        case TrunkRegistered():
            told |= {"type": "trunk.registered", "registration": event.registration.value}
            told |= {"expires_s": event.expires_s}
        case TrunkRegistrationFailed():
            told |= {"type": "trunk.registration_failed"}
            told |= {"registration": event.registration.value, "status": event.status}
            told |= {"reason": event.reason, "retry_s": round(event.retry_s, 3)}
    return told


def _describe_registration(status: RegistrationStatus) -> RegistrationInfo:
    return RegistrationInfo(
        user=status.user,
        registrar=status.registrar,
        state=status.state,
        registered=status.is_registered,
        expires_in_s=round(status.expires_in_s, 3),
        last_status=status.last_status,
        error=status.last_error or None,
    )
