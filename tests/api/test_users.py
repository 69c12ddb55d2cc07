"""The users over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from quart import Quart

from gateway.api.server import Access, OpenSockets, create_server
from gateway.api.users import user_operations
from gateway.private import Secret
from gateway.users.registrar import UserSummary
from tests.users.site import ANN, BOB, PASSWORDS, Phone, Site, connection

WEB = Path(__file__).parents[2] / "web"


class Directory:
    """The users of a site."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def users(self) -> Sequence[UserSummary]:
        return self.site.registrar.summaries(self.site.now)


def new_app(site: Site, token: str | None = None) -> Quart:
    """A server of users alone."""
    return create_server(
        access=Access(None if token is None else Secret(token)),
        web=WEB,
        version="9.9.9",
        operations=user_operations(Directory(site)),
        sockets={},
        open_sockets=OpenSockets(),
    )


async def test_users_are_listed_with_their_phones_and_no_addresses() -> None:
    site = Site(replace(ANN, display_name="Ann A."), BOB)
    site.register(Phone(flow=connection(1)))
    site.run(12.5)

    response = await new_app(site).test_client().get("/v1/users")

    body = await response.get_data(as_text=True)
    assert (await response.get_json())["users"] == [
        {
            "name": "ann",
            "display_name": "Ann A.",
            "contacts": 1,
            "registered_s": 12.5,
            "transports": ["wss"],
        },
        {
            "name": "bob",
            "display_name": "",
            "contacts": 0,
            "registered_s": None,
            "transports": [],
        },
    ]
    assert "203.0.113.7" not in body
    assert PASSWORDS["ann"] not in body


async def test_users_are_for_who_has_the_token() -> None:
    response = await new_app(Site(), token="secret").test_client().get("/v1/users")

    assert response.status_code == 401


async def test_users_stand_in_the_document() -> None:
    response = await new_app(Site()).test_client().get("/v1/openapi.json")

    document = await response.get_json()
    assert document["paths"]["/v1/users"]["get"]["operationId"] == "listUsers"
    assert set(document["components"]["schemas"]["UserInfo"]["properties"]) == {
        "name",
        "display_name",
        "contacts",
        "registered_s",
        "transports",
    }
