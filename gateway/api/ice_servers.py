"""What browsers are told of TURN: over signalling, and at `GET /v1/ice-servers`."""

from __future__ import annotations

import secrets
import time
from typing import Any

from pydantic import BaseModel

from gateway.api.openapi import Operation
from gateway.webrtc.turn import TurnOptions, make_credentials


class IceServer(BaseModel):
    """TURN servers and how to log in, as RTCPeerConnection takes them."""

    urls: list[str]
    username: str
    credential: str


class IceServerList(BaseModel):
    """For RTCPeerConnection's `iceServers`."""

    ice_servers: list[IceServer]
    ttl_s: int
    "How long the credentials are good for; 0 where there is nothing to log in to."


class IceServers:
    """Makes credentials, each time others: nobody is known by them."""

    def __init__(self, options: TurnOptions) -> None:
        self._options = options
        self.ttl_s = options.ttl_s

    def make(self) -> list[dict[str, Any]]:
        """The servers, with new credentials."""
        made = make_credentials(self._options, secrets.token_hex(8), time.time())
        return [
            IceServer(
                urls=list(self._options.urls), username=made.username, credential=made.credential
            ).model_dump()
        ]


def ice_server_operations(servers: IceServers | None) -> list[Operation]:
    """The API's; empty answers where no TURN server is configured."""

    async def ice_servers() -> IceServerList:
        made = [] if servers is None else servers.make()
        return IceServerList(
            ice_servers=[IceServer(**each) for each in made],
            ttl_s=0 if servers is None else servers.ttl_s,
        )

    return [
        Operation(
            "GET",
            "/v1/ice-servers",
            "listIceServers",
            "TURN servers for a browser's media, with credentials that run out",
            ice_servers,
            gives=IceServerList,
        )
    ]
