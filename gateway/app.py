"""The process: one event loop, the node and its lab, the HTTP server, and the signals."""

from __future__ import annotations

import asyncio
import datetime
import gc
import logging
import signal
import ssl
from contextlib import AsyncExitStack
from functools import partial
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import hypercorn.asyncio
import hypercorn.config
import uvloop
from pydantic import BaseModel

from gateway.api.agent_door import agent_door
from gateway.api.calls import call_operations, serve_events
from gateway.api.conduct import conduct_operations
from gateway.api.crowd import SocketLimits
from gateway.api.expected import expected_operations
from gateway.api.ice_servers import IceServers, ice_server_operations
from gateway.api.media import media_door
from gateway.api.openapi import Operation
from gateway.api.realtime import realtime_operations, serve_sideband
from gateway.api.server import Access, ApiError, Door, OpenSockets, create_server
from gateway.api.signalling import Pages
from gateway.api.sip_socket import serve_sip
from gateway.api.trunks import trunk_operations
from gateway.api.twilio_calls import TwilioCalls
from gateway.api.users import user_operations
from gateway.config import parse_config
from gateway.errors import ConfigError
from gateway.lab.lab import DESTINATIONS, LAB_FILE, LAB_SECRETS, lab_document
from gateway.net.load import LoadWatch
from gateway.net.pacer import Pacer
from gateway.net.tcp import keep_alive
from gateway.node import Node
from gateway.options import Config, HttpOptions, LabOptions
from gateway.sip.uri import format_host_port
from gateway.webrtc.certificate import load_certificate

log = logging.getLogger(__name__)

try:
    VERSION = version("voice-gateway")
except PackageNotFoundError:
    VERSION = "0"

WEB = Path(__file__).parent.parent / "web"
CERTS = Path("certs")
MAX_SOCKET_BYTES = 64 * 1024
"Largest WebSocket message; a page's offer is 10 KiB at most."


def run(config: Config) -> int:
    """Serve until told to stop; the exit status.

    Raises:
        ConfigError: something cannot be opened; nothing was started.
    """
    return uvloop.run(serve(config))


async def serve(config: Config) -> int:
    """Open everything, say where it is, run until a signal, drain, close."""
    loop = asyncio.get_running_loop()
    stop = _Stop(loop)
    async with AsyncExitStack() as stack:
        pacer = Pacer(loop)
        if config.lab is not None:
            stack.push_async_callback(_open_lab(config, config.lab, loop, pacer).close)
        certificate = None
        if config.webrtc is not None:
            now = datetime.datetime.now(datetime.UTC)
            certificate = load_certificate(CERTS, now=now)
        load = LoadWatch(loop=loop, max_cpu=config.max_cpu)
        stack.callback(load.close)
        node = Node(
            config, version=VERSION, loop=loop, pacer=pacer, certificate=certificate, load=load
        )
        stack.push_async_callback(node.close)
        serving, shut_http, sockets = loop.create_future(), asyncio.Event(), OpenSockets()
        http = None
        if config.http is not None:
            sockets = OpenSockets(SocketLimits(per_address=config.http.sockets_per_address))
            http = asyncio.ensure_future(
                _serve_http(config, config.http, node, sockets, serving, shut_http)
            )
            await _first_of(serving, http)
        loop.add_signal_handler(signal.SIGHUP, _reload, node)
        _announce(config, node)
        # What is here by now stays: the collector, which stops everything, need not look at it.
        gc.collect()
        gc.freeze()
        await _first_of(stop.asked, http)
        log.info("stopping: no new calls; %d go on", len(node.registry.calls()))
        draining = asyncio.ensure_future(node.drain(config.drain_s))
        await _first_of(stop.asked_again, draining)
        draining.cancel()
        await node.close()
        await sockets.close()
        shut_http.set()
        if http is not None:
            await asyncio.wait([http], timeout=3)
    return 0


def _open_lab(
    config: Config, options: LabOptions, loop: asyncio.AbstractEventLoop, pacer: Pacer
) -> Node:
    lab = parse_config(_lab_document(options), LAB_FILE, LAB_SECRETS)
    try:
        return Node(lab, version=VERSION, loop=loop, pacer=pacer, certificate=None)
    except ConfigError as error:
        # In words of the file that people have: where the lab listens is said there.
        what = str(error).removeprefix(f"{LAB_FILE}: [sip] ")
        raise ConfigError(f"{config.file}: [lab] {what}") from None


def _lab_document(lab: LabOptions) -> dict[str, Any]:
    return lab_document(*map(str, lab.listen), certificate=lab.certificate, key=lab.key)


class _Stop:
    """The signals: the first SIGTERM drains, SIGINT or a second one hangs up at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.asked = loop.create_future()
        self.asked_again = loop.create_future()
        loop.add_signal_handler(signal.SIGTERM, self._on_signal, False)
        loop.add_signal_handler(signal.SIGINT, self._on_signal, True)

    def _on_signal(self, at_once: bool) -> None:
        again = self.asked.done() or at_once
        if not self.asked.done():
            self.asked.set_result(None)
        if again and not self.asked_again.done():
            self.asked_again.set_result(None)


def _reload(node: Node) -> None:
    """Read certificates anew; what cannot be used is said, and the old ones stay (F28)."""
    try:
        node.telephony.transports.reload_tls()
    except ConfigError as error:
        log.error("certificates stay as they were: %s", error)
    else:
        log.info("certificates are read anew")


async def _first_of(*waits: asyncio.Future[Any] | None) -> None:
    done, _ = await asyncio.wait(
        [wait for wait in waits if wait is not None], return_when=asyncio.FIRST_COMPLETED
    )
    for wait in done:
        wait.result()


class HttpSettings(hypercorn.config.Config):
    """hypercorn's settings, and connections that the kernel looks after: who is gone without a word
    holds no place for ever. Connections have these options of the socket that listens."""

    def create_sockets(self) -> hypercorn.config.Sockets:
        sockets = super().create_sockets()
        for each in (*sockets.secure_sockets, *sockets.insecure_sockets):
            keep_alive(each)
        return sockets


async def _serve_http(
    config: Config,
    options: HttpOptions,
    node: Node,
    sockets: OpenSockets,
    serving: asyncio.Future[None],
    shut: asyncio.Event,
) -> None:
    """Serve until `shut`; `serving` is done once pages can come."""
    settings = HttpSettings()
    settings.bind = [f"{options.host}:{options.port}"]
    settings.accesslog = None
    settings.errorlog = None
    settings.websocket_max_message_size = MAX_SOCKET_BYTES
    # No pings of hypercorn's: its task for them outlives a socket by the interval, and a stop
    # within that breaks off with a traceback. Agents are pinged by us (`api.audio_socket`).
    settings.graceful_timeout = 1
    settings.alpn_protocols = ["http/1.1"]  # one way to carry a WebSocket is enough
    if options.certificate is not None and options.key is not None:
        _check_certificate(config.file, options.certificate, options.key)
        settings.certfile, settings.keyfile = str(options.certificate), str(options.key)
    ice_servers = None if config.turn is None else IceServers(config.turn)
    hosts = frozenset() if options.public_host is None else frozenset({options.public_host})
    access = Access(options.token, hosts, options.trusted_proxies, frozenset(options.origins))
    app = create_server(
        access=access,
        web=WEB,
        version=VERSION,
        operations=[
            *_page_operations(node, options),
            *call_operations(node),
            *conduct_operations(node.conduct, node.summary),
            *realtime_operations(node),
            *trunk_operations(node),
            *user_operations(node),
            *expected_operations(node.lines),
            *ice_server_operations(ice_servers),
        ],
        sockets={
            "/v1/signal": Pages(node, ice_servers).serve,
            "/v1/events": lambda: serve_events(node, node),
            "/v1/realtime": lambda: serve_sideband(node),
        },
        open_sockets=sockets,
        sip=partial(serve_sip, node.telephony.transports) if config.users else None,
        doors=_doors(config, node, access),
    )

    if config.twilio is not None:
        TwilioCalls(config.twilio, node, node.desk).serve_on(app)

    async def until_shut() -> None:  # asked for by hypercorn once it listens
        serving.set_result(None)
        await shut.wait()

    try:
        await hypercorn.asyncio.serve(app, settings, shutdown_trigger=until_shut)
    except OSError as error:
        raise ConfigError(
            f"{config.file}: [http] listen = '{format_host_port(options.host, options.port)}':"
            f" cannot be listened on ({error.strerror}); free the port or name another"
        ) from None


def _doors(config: Config, node: Node, access: Access) -> list[Door]:
    """WebSockets of agents that dial us, and of PBXs that hand us calls."""
    keys = {
        agent.name: (agent.username, agent.secret)
        for agent in config.agents
        if agent.name in node.lobby.rooms and agent.secret is not None
    }
    return [
        media_door(node.lines, access, node.lobby.media),
        agent_door(node.lobby.rooms, keys, node),
    ]


def _check_certificate(file: Path, certificate: Path, key: Path) -> None:
    try:
        # A password: one that a key asks for would be asked of the terminal, and waited for.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{file}: [http] certificate = '{certificate}', key = '{key}': cannot be used"
            f" ({error}); `make certs` makes a pair for development"
        ) from None


class Health(BaseModel):
    """That the gateway lives."""

    status: str
    version: str
    calls: int


class Readiness(BaseModel):
    """That the gateway takes new calls."""

    status: str
    effort: str
    "What encoders spend: full, or under load lean (complexity 0) or frugal (fewer bits too)."


class Destination(BaseModel):
    """Something to call."""

    to: str
    name: str
    kind: str
    description: str


class Destinations(BaseModel):
    """What the page suggests."""

    destinations: list[Destination]
    notice: str | None


def _page_operations(node: Node, options: HttpOptions) -> list[Operation]:
    async def health() -> Health:
        return Health(status="ok", version=VERSION, calls=len(node.registry.calls()))

    async def ready() -> Readiness:
        if node.unready is not None:
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "not-ready", node.unready)
        return Readiness(status="ready", effort=node.effort.name.lower())

    async def destinations() -> Destinations:
        agents = [
            Destination(to=agent.name, name=agent.name, kind="agent", description=agent.about)
            for agent in node.config.agents
        ]
        numbers = [
            Destination(to=number, name=name, kind="number", description=about)
            for number, name, about in (DESTINATIONS if node.config.lab is not None else ())
        ]
        return Destinations(destinations=[*agents, *numbers], notice=_notice(options))

    return [
        Operation("GET", "/healthz", "health", "Is it alive?", health, gives=Health),
        Operation("GET", "/readyz", "ready", "Does it take new calls?", ready, gives=Readiness),
        Operation(
            "GET",
            "/v1/destinations",
            "listDestinations",
            "What a page may suggest to call",
            destinations,
            gives=Destinations,
        ),
    ]


def _notice(options: HttpOptions) -> str | None:
    """What the person has to know: beyond localhost a page without HTTPS has no microphone."""
    if options.certificate is not None or options.is_loopback:
        return None
    return (
        "This page is served without HTTPS. Browsers give a microphone to it on localhost only:"
        " set certificate and key under [http], or put a TLS proxy before the gateway."
    )


def _announce(config: Config, node: Node) -> None:
    """Say where everything is, where the person will read it."""
    lines = [f"Voice gateway {VERSION}"]
    if config.http is not None:
        scheme = "https" if config.http.certificate is not None else "http"
        host = "localhost" if config.http.is_loopback else config.http.host
        lines.append(f"  page    {scheme}://{format_host_port(host, config.http.port)}/")
        notice = _notice(config.http)
        if notice is not None:
            lines.append(f"          {notice}")
    for transport, (host, port) in node.sip_addresses:
        lines.append(f"  SIP     sip:{format_host_port(host, port)} ({transport})")
    for host, port in node.lines.audiosocket_addresses:
        lines.append(f"  lines   {format_host_port(host, port)} (AudioSocket)")
    if node.webrtc_port is not None:
        lines.append(f"  WebRTC  udp port {node.webrtc_port}")
    if config.lab is not None:
        listens = ", ".join(map(str, config.lab.listen))
        lines.append(f"  lab     {listens}: call +15550100 for an echo")
    if config.agents:
        lines.append(f"  agents  {', '.join(agent.name for agent in config.agents)}")
    print("\n".join(lines), flush=True)  # noqa: T201 - the person at the terminal reads this
