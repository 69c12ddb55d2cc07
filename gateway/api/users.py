"""The users over HTTP: who has a phone registered now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import BaseModel

from gateway.api.openapi import Operation
from gateway.users.registrar import UserSummary


class UserDirectory(Protocol):
    """What the API asks of the node."""

    def users(self) -> Sequence[UserSummary]: ...


class UserInfo(BaseModel):
    """One user. Where its phones are and how they log in is nobody's business."""

    name: str
    display_name: str
    contacts: int
    "Phones registered now."
    registered_s: float | None
    "For how long there has been one all the time; null: there is none."
    transports: list[str]


class UserList(BaseModel):
    """The users, in the order of the configuration."""

    users: list[UserInfo]


def user_operations(directory: UserDirectory) -> list[Operation]:
    """The operations on `/v1/users`."""

    async def list_users() -> Any:
        return UserList(users=[_describe(summary) for summary in directory.users()])

    return [
        Operation(
            "GET",
            "/v1/users",
            "listUsers",
            "The users and how many phones of each are registered",
            list_users,
            gives=UserList,
        )
    ]


def _describe(summary: UserSummary) -> UserInfo:
    since = summary.registered_s
    return UserInfo(
        name=summary.name,
        display_name=summary.display_name,
        contacts=summary.contacts,
        registered_s=None if since is None else round(since, 3),
        transports=list(summary.transports),
    )
