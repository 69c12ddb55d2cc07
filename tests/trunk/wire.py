"""INVITEs for trunks as they go out, with no network between."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

from gateway.private import Private, Secret
from gateway.sip.endpoint import Endpoint, EndpointOptions
from gateway.sip.flow import Connect, Flow, Hop, Resolve, Send
from gateway.sip.invite import InviteRequest
from gateway.sip.message import Request, parse_message
from gateway.sip.uri import parse_uri
from gateway.trunk.headers import HeaderOptions
from gateway.trunk.identity import CallerIdentity, IdentityOptions
from gateway.trunk.invite import build_invite
from gateway.trunk.numbers import NumberOptions
from gateway.trunk.trunk import Trunk

HOST = "carrier.example"
LOCAL = "192.0.2.10"
ANN = CallerIdentity(Private("+4930123456"), Private("Ann"))


def make_trunk(
    numbers: NumberOptions | None = None,
    identity: IdentityOptions | None = None,
    headers: HeaderOptions | None = None,
    **other: Any,
) -> Trunk:
    """A trunk that knows our name and password."""
    trunk = Trunk("carrier", parse_uri(f"sip:{HOST}"), "acme", Secret("hunter2"))
    return replace(
        trunk,
        numbers=numbers or trunk.numbers,
        identity=identity or trunk.identity,
        headers=headers or trunk.headers,
        **other,
    )


def write_invite(request: InviteRequest) -> bytes:
    """What the SIP stack sends for it."""
    tokens = (f"t0ken{number}" for number in count())
    endpoint = Endpoint(EndpointOptions(), new_token=lambda: next(tokens))
    endpoint.invite(replace(request, offer=b"v=0\r\n"), 0.0)
    while True:
        for output in endpoint.take_output():
            match output:
                case Resolve(destination):
                    endpoint.resolved(destination, [Hop("udp", "198.51.100.1", 5060)], 0.0)
                case Connect(hop):
                    flow = Flow("udp", (LOCAL, 5060), (hop.host, hop.port))
                    endpoint.flow_opened(hop, flow, 0.0)
                case Send(data):
                    return data


def send_invite(trunk: Trunk, called: str, caller: CallerIdentity = ANN, **other: Any) -> Request:
    """The INVITE for a call, as whoever receives it reads it."""
    request = build_invite(trunk, caller=caller, called=called, local_host=LOCAL, **other)
    message = parse_message(write_invite(request))
    assert isinstance(message, Request)
    return message
