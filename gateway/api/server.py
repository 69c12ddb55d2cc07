"""The HTTP server: the page, the API, and who may use them."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from quart import (
    Quart,
    Response,
    g,
    jsonify,
    make_response,
    request,
    websocket,
)
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from gateway.api.compression import refuse_compression
from gateway.api.crowd import Crowd, SocketLimits, client_address
from gateway.api.http_connection import end_quietly
from gateway.api.openapi import Operation, build_document
from gateway.api.peer_watch import watch_peers
from gateway.errors import GatewayError
from gateway.net.interface import Network
from gateway.private import Secret

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024
"Larger JSON stalls the loop: 0.9 MB for 16 ms."

BODY_TIMEOUT_S = 10
"A body that trickles in slower than this is refused."

BEARER_SUBPROTOCOL = "bearer."
"A browser cannot set headers on a WebSocket: the token travels as a subprotocol, never in a URL."

SUBPROTOCOL = "gateway.v1"

SIP_PATH = "/v1/sip"
"Open to all: who speaks SIP there logs in by SIP."

SIP_SUBPROTOCOL = "sip"
"RFC 7118 §4.1."

PAGE_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
"What of the page's folder is served: a developer keeps more there."

_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:;"
        " media-src 'self' blob: mediastream:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self), camera=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Model = TypeVar("Model", bound=BaseModel)


class ApiError(GatewayError):
    """A refusal with its HTTP status and a slug that programs can tell apart."""

    def __init__(self, status: HTTPStatus, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use the server."""

    token: Secret | None
    "Asked for as a bearer token on everything under /v1; None on loopback only."
    hosts: frozenset[str] = frozenset()
    "Names, beside `localhost` and addresses, that the server is reached by."
    proxies: tuple[Network, ...] = ()
    "Proxies of ours: who connects to them is taken from X-Forwarded-For."
    origins: frozenset[str] = frozenset()
    "Other sites whose pages may open WebSockets."

    def is_known_host(self, host: str) -> bool:
        """Whether a Host header names us: a stranger's name there is DNS rebinding."""
        name = _name_of(host)
        if name == "localhost" or name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def is_allowed(self, authorization: str | None, subprotocols: Sequence[str]) -> bool:
        """Whether a request may use the API; compared in constant time."""
        if self.token is None:
            return True
        given = [p[len(BEARER_SUBPROTOCOL) :] for p in subprotocols if _is_bearer(p)]
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() == "bearer":
            given.append(token.strip())
        wanted = self.token.value.encode()
        return any(hmac.compare_digest(token.encode(), wanted) for token in given)


@dataclass(frozen=True, slots=True)
class Door:
    """A WebSocket path with a lock of its own: who has no token of ours may have its key."""

    path: str
    "As Quart has it: /media/<id>."
    subprotocol: str
    "Agreed to where it is offered."
    admit: Callable[..., None]
    "Raises ApiError for whom it does not let in; given what the path names."
    serve: Callable[..., Awaitable[None]]
    "Talks on the accepted socket."

    @property
    def prefix(self) -> str:
        """What the paths behind it begin with."""
        return self.path.partition("<")[0]


class OpenSockets:
    """The WebSockets that are open: the process closes them before it stops the server.

    Left open, each would hold the server up, and break off with an error.
    """

    def __init__(self, limits: SocketLimits | None = None) -> None:
        self.crowd = Crowd(limits)
        "Who has how many, from before they are accepted."
        self._closing = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._count = 0

    async def serve(self, talk: Callable[[], Awaitable[None]]) -> None:
        """Talk on one accepted socket until the talk or the process ends."""
        self._count += 1
        self._emptied.clear()
        talking = asyncio.ensure_future(talk())
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({talking, closing}, return_when=asyncio.FIRST_COMPLETED)
            if closing.done() and not talking.done():
                with contextlib.suppress(RuntimeError):  # the talk has just closed it itself
                    await websocket.close(1001, "the gateway stops")
        finally:
            closing.cancel()
            talking.cancel()
            await asyncio.gather(talking, closing, return_exceptions=True)
            self._count -= 1
            if not self._count:
                self._emptied.set()
        if not talking.cancelled():
            talking.result()

    async def close(self, timeout_s: float = 1.0) -> None:
        """Tell every page that the gateway stops."""
        self._closing.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._emptied.wait()


def create_server(
    *,
    access: Access,
    web: Path,
    version: str,
    operations: Sequence[Operation],
    sockets: dict[str, Callable[[], Awaitable[None]]],
    open_sockets: OpenSockets,
    sip: Callable[[], Awaitable[None]] | None = None,
    doors: Sequence[Door] = (),
) -> Quart:
    """The HTTP application.

    Args:
        web: the folder of the page.
        operations: what the API can do; the OpenAPI document is made of them.
        sockets: WebSocket paths and what serves them.
        open_sockets: where those that are open can be closed.
        sip: serves SIP phones on a WebSocket; None: there are none.
        doors: other WebSockets, for agents and PBXs.
    """
    refuse_compression()
    end_quietly()
    app = Quart("gateway", static_folder=None)
    watch_peers()
    own_locks = tuple(door.prefix for door in doors)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.config["BODY_TIMEOUT"] = BODY_TIMEOUT_S
    document = build_document(operations, version)
    page_files = _read_page(web)

    @app.before_request
    async def admit() -> None:
        _check_host(access, request.headers.get("Host", ""))
        if request.path.startswith("/v1/") and request.path != "/v1/openapi.json":
            _check_token(access, request.headers.get("Authorization"), ())

    @app.before_websocket
    async def admit_socket() -> None:
        headers = websocket.headers
        _check_host(access, headers.get("Host", ""))
        _check_origin(access, headers.get("Origin"), headers.get("Host", ""))
        if websocket.path != SIP_PATH and not websocket.path.startswith(own_locks):
            _check_token(access, headers.get("Authorization"), websocket.requested_subprotocols)
        remote = (websocket.scope.get("client") or ("", 0))[0]
        g.client = client_address(
            remote, ",".join(headers.getlist("X-Forwarded-For")), access.proxies
        )

    @app.after_request
    async def add_headers(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    _answer_errors(app)

    @app.get("/")
    async def page() -> Response:
        return page_files["index.html"]()

    @app.get("/assets/<name>")
    async def asset(name: str) -> Response:
        if name not in page_files:
            raise NotFound
        return page_files[name]()

    @app.get("/v1/openapi.json")
    async def openapi() -> Response:
        return jsonify(document)

    for operation in operations:
        path = operation.path.replace("{", "<").replace("}", ">")
        app.add_url_rule(path, operation.name, _answering(operation), methods=[operation.method])
    _add_sockets(app, open_sockets, sockets, sip, doors)
    return app


def _add_sockets(
    app: Quart,
    open_sockets: OpenSockets,
    sockets: dict[str, Callable[[], Awaitable[None]]],
    sip: Callable[[], Awaitable[None]] | None,
    doors: Sequence[Door],
) -> None:
    for path, serve in sockets.items():
        app.add_websocket(path, path, _accepting(open_sockets, serve))
    for door in doors:
        app.add_websocket(door.path, door.path, _opening(open_sockets, door))
    if sip is not None:
        serve = _accepting(open_sockets, sip, subprotocol=SIP_SUBPROTOCOL, is_needed=True)
        app.add_websocket(SIP_PATH, SIP_PATH, serve)


def _answer_errors(app: Quart) -> None:
    """Every refusal is a Problem, as the OpenAPI document says."""

    @app.errorhandler(GatewayError)
    async def on_refusal(error: GatewayError) -> tuple[Response, int]:
        code = error.code if isinstance(error, ApiError) else _slug(error)
        response = jsonify(code=code, text=str(error))
        if error.status == HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = "Bearer"  # RFC 9110 §11.6.1
        return response, int(error.status)

    @app.errorhandler(HTTPException)
    async def on_http_error(error: HTTPException) -> tuple[Response, int]:
        name = (error.name or "error").lower().replace(" ", "-")
        response = jsonify(code=name, text=error.description or error.name)
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods))  # §15.5.6
        return response, error.code or 500

    @app.errorhandler(Exception)
    async def on_bug(error: Exception) -> tuple[Response, int]:
        log.error("a request broke", exc_info=error)
        return jsonify(code="gateway-error", text="The gateway broke on this request"), 500


async def check_json(model: type[Model]) -> Model:
    """The request's body as a checked value.

    Raises:
        ApiError: 415 for another content type, 400 for JSON that is not what is wanted.
    """
    if request.mimetype != "application/json":
        raise ApiError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "not-json",
            "Send JSON with Content-Type: application/json",
        )
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        # Nothing is unpacked: a little may become too much (A26).
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "packed", "Send JSON as it is")
    try:
        return model.model_validate_json(await request.get_data(cache=False))
    except ValidationError as error:
        raise ApiError(HTTPStatus.BAD_REQUEST, "bad-request", explain(error)) from error


def explain(error: ValidationError) -> str:
    """What is wrong with a JSON value, in a line."""
    wrong = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in wrong["loc"])
    return f"{place}: {wrong['msg']}" if place else str(wrong["msg"])


def _read_page(web: Path) -> dict[str, Callable[[], Response]]:
    """The page's files, read once: 100 KiB that then cost no thread and no disk."""

    def answer(path: Path) -> Callable[[], Response]:
        content = path.read_bytes()
        return lambda: Response(content, mimetype=PAGE_TYPES[path.suffix])

    files = sorted(path for path in web.iterdir() if path.suffix in PAGE_TYPES)
    return {path.name: answer(path) for path in files}


def _answering(operation: Operation) -> Callable[..., Awaitable[Any]]:
    async def answer(**parameters: Any) -> Any:
        given = await operation.handler(**parameters)
        if isinstance(given, BaseModel):
            response = await make_response(given.model_dump_json(by_alias=True))
            response.mimetype = "application/json"
        else:
            response = await make_response("")
        response.status_code = operation.status
        return response

    return answer


def _accepting(
    open_sockets: OpenSockets,
    serve: Callable[[], Awaitable[None]],
    *,
    subprotocol: str = SUBPROTOCOL,
    is_needed: bool = False,
) -> Callable[[], Awaitable[None]]:
    async def accept() -> None:
        is_offered = subprotocol in websocket.requested_subprotocols
        if is_needed and not is_offered:
            raise ApiError(
                HTTPStatus.BAD_REQUEST,
                "no-subprotocol",
                f"Ask for the WebSocket subprotocol {subprotocol!r}",
            )
        with open_sockets.crowd.place_for(g.client):
            await websocket.accept(subprotocol=subprotocol if is_offered else None)
            await open_sockets.serve(serve)

    return accept


def _opening(open_sockets: OpenSockets, door: Door) -> Callable[..., Awaitable[None]]:
    async def accept(**parameters: str) -> None:
        door.admit(**parameters)
        is_offered = door.subprotocol in websocket.requested_subprotocols
        # A PBX has one address for all its calls, and has shown who it is.
        with open_sockets.crowd.place_for(g.client, is_known=True):
            await websocket.accept(subprotocol=door.subprotocol if is_offered else None)
            await open_sockets.serve(partial(door.serve, **parameters))

    return accept


def _check_host(access: Access, host: str) -> None:
    if not access.is_known_host(host):
        raise ApiError(
            HTTPStatus.MISDIRECTED_REQUEST,
            "unknown-host",
            "This name is not ours; set [http] public_url to the name people use",
        )


def _check_origin(access: Access, origin: str | None, host: str) -> None:
    """A page of another site may not open our sockets (cross-site WebSocket hijacking).

    A proxy may tell us another Host than the page was fetched by: then the configured name counts.
    """
    if origin is None or origin in access.origins:
        return
    site = origin.partition("://")[2].lower()
    if site != host.lower() and _name_of(site) not in access.hosts:
        raise ApiError(
            HTTPStatus.FORBIDDEN,
            "wrong-origin",
            "A page of another site may not connect; name it in [http] origins",
        )


def _check_token(access: Access, authorization: str | None, subprotocols: Sequence[str]) -> None:
    if not access.is_allowed(authorization, subprotocols):
        raise ApiError(
            HTTPStatus.UNAUTHORIZED, "no-token", "Send the token as Authorization: Bearer TOKEN"
        )


def _name_of(host: str) -> str:
    """A Host header without its port and brackets."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    return name.strip("[]").lower()


def _is_bearer(subprotocol: str) -> bool:
    return subprotocol.startswith(BEARER_SUBPROTOCOL)


def _slug(error: GatewayError) -> str:
    name = type(error).__name__.removesuffix("Error")
    return "".join("-" + c.lower() if c.isupper() else c for c in name).lstrip("-")
