"""Asks and tells web servers what concerns calls: small requests, one connection for each.

The grammar is h11's, the addresses are those that `net.destination` has pinned, also of what a
redirect leads to.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlencode, urljoin

import h11

from gateway.errors import GatewayError
from gateway.net.destination import DestinationError, Destinations, Pinned
from gateway.net.signature import twilio_signature

log = logging.getLogger(__name__)

CONNECT_S = 5.0
"To connect, TLS included: a caller waits meanwhile."

NEXT_ADDRESS_S = 2.0
"One address may take this long of that where there is another."

ASK_S = 20.0
"For all of it, redirects too: Twilio gives a web server 15 s."

MAX_BODY_BYTES = 1024 * 1024
"Read of an answer: TwiML has 64 kB at most, a recorded prompt of a minute is this long."

MAX_HEADER_BYTES = 16 * 1024
"Of an answer; h11 keeps to it."

MAX_REDIRECTS = 3

BUFFER_BYTES = 64 * 1024
"Of an answer that come before we read."

TURN_BYTES = 1024
"""Read at a time, before others have their turn: of nothing but chunks of a byte h11 makes 5 ms of
work. 64 kB at once held everybody up for half a second."""

MAX_INTERIM = 8
"Responses 1xx before the real one."

MAX_RUNNING = 64
"Requests under way at a time; more wait for their turn, and for `ASK_S` at most."

SAME_METHOD = frozenset({307, 308})
"Redirects after which what was posted is posted again (RFC 9110 §15.4.8)."

REDIRECTS = frozenset({301, 302, 303}) | SAME_METHOD

FORM = "application/x-www-form-urlencoded"

USER_AGENT = "voice-gateway"


class WebhookError(GatewayError):
    """A web server could not be asked. The message names its host at most, no path and no query."""

    status = 502


@dataclass(frozen=True, slots=True)
class WebRequest:
    """What is asked of a web server."""

    url: str
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    credentials: str = ""
    "USER:PASSWORD for Basic authentication: never sent to another host than the first."


@dataclass(frozen=True, slots=True)
class WebAnswer:
    """What it said."""

    status: int
    content_type: str
    "Lower case, without parameters; empty where none is named."
    body: bytes
    url: str
    "Where it came from in the end: what is relative in it is relative to this."
    headers: Mapping[str, str] = field(default_factory=dict)
    "Names in lower case; of a repeated one the last."

    @property
    def is_good(self) -> bool:
        """Whether it is a success."""
        return 200 <= self.status < 300


class Web(Protocol):
    """What can ask web servers."""

    async def ask(self, request: WebRequest) -> WebAnswer:
        """Send a request and read the answer, whatever its status.

        Raises:
            GatewayError: nobody could be asked, or may be.
        """


class WebhookClient:
    """Asks web servers, within limits of time and size."""

    def __init__(self, destinations: Destinations, *, tls: ssl.SSLContext | None = None) -> None:
        """`tls`: whom we trust; None: those whom the system trusts, read when first needed."""
        self.destinations = destinations
        self._tls = tls
        self._places = asyncio.Semaphore(MAX_RUNNING)

    async def ask(self, request: WebRequest) -> WebAnswer:
        """Send a request and read the answer, whatever its status; redirects are followed.

        Raises:
            WebhookError: nobody could be asked, or the answer is no HTTP or too long.
            DestinationError: the URL, or what it is redirected to, leads where it must not.
        """
        try:
            async with asyncio.timeout(ASK_S), self._places:
                for _ in range(MAX_REDIRECTS + 1):
                    answer = await self._ask_once(request)
                    if answer.status not in REDIRECTS or "location" not in answer.headers:
                        return answer
                    request = _redirected(request, answer)
        except TimeoutError:
            raise WebhookError("the web server takes too long") from None
        raise WebhookError(f"the web server redirects more than {MAX_REDIRECTS} times")

    async def _ask_once(self, request: WebRequest) -> WebAnswer:
        if not request.url.startswith(("https://", "http://")):
            raise DestinationError("the URL of a web server begins with https:// or http://")
        pinned = await self.destinations.pin(request.url)
        reader, writer = await self._connect(pinned)
        try:
            return await _exchange(request, pinned, reader, writer)
        except (h11.RemoteProtocolError, OSError, EOFError) as error:
            raise WebhookError(f"{pinned.host} does not answer in HTTP") from error
        finally:
            # Not waited for: a peer that keeps its end open holds nobody up.
            writer.transport.abort()

    async def _connect(self, pinned: Pinned) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the first of its addresses that lets us."""
        tls = self._trust() if pinned.is_secure else None
        name = pinned.host if tls is not None else None
        why = ""
        try:
            async with asyncio.timeout(CONNECT_S):
                for address in pinned.addresses:
                    limit_s = None if address == pinned.addresses[-1] else NEXT_ADDRESS_S
                    try:
                        async with asyncio.timeout(limit_s):
                            return await asyncio.open_connection(
                                address,
                                pinned.port,
                                ssl=tls,
                                server_hostname=name,
                                ssl_handshake_timeout=CONNECT_S if tls is not None else None,
                                limit=BUFFER_BYTES,
                            )
                    except ssl.SSLError as error:
                        why = f": {error.reason or 'TLS fails'}"
                    except OSError:
                        why = ""
        except TimeoutError:
            raise WebhookError(f"{pinned.host} cannot be connected to in time") from None
        raise WebhookError(f"{pinned.host} cannot be connected to{why}")

    def _trust(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


async def _exchange(
    request: WebRequest,
    pinned: Pinned,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> WebAnswer:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADER_BYTES)
    headers = [
        ("Host", pinned.authority),
        ("User-Agent", USER_AGENT),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),  # nothing is unpacked: a little may become too much
        ("Connection", "close"),
        *request.headers,
    ]
    if request.body or request.method == "POST":
        headers.append(("Content-Length", str(len(request.body))))
    if request.credentials:
        encoded = base64.b64encode(request.credentials.encode()).decode()
        headers.append(("Authorization", f"Basic {encoded}"))
    try:
        head = http.send(h11.Request(method=request.method, target=pinned.target, headers=headers))
    except h11.LocalProtocolError:
        raise WebhookError("the URL or a header cannot be sent") from None
    body = http.send(h11.Data(request.body)) if request.body else b""
    writer.write((head or b"") + (body or b"") + (http.send(h11.EndOfMessage()) or b""))
    return await _read_answer(http, reader, request.url)


async def _read_answer(http: h11.Connection, reader: asyncio.StreamReader, url: str) -> WebAnswer:
    response: h11.Response | None = None
    interim = 0
    body = bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(TURN_BYTES))
            await asyncio.sleep(0)  # what is there already is read without waiting
        elif isinstance(event, h11.InformationalResponse) and interim < MAX_INTERIM:
            interim += 1
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY_BYTES:
                raise WebhookError(f"the answer has more than {MAX_BODY_BYTES} bytes")
        elif isinstance(event, h11.EndOfMessage) and response is not None:
            headers = {name.decode(): value.decode("latin-1") for name, value in response.headers}
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            return WebAnswer(response.status_code, kind, bytes(body), url, headers)
        else:  # it ends before it has begun, or never does
            raise EOFError


def _redirected(request: WebRequest, answer: WebAnswer) -> WebRequest:
    """The request that a redirect asks for; what only the first host may see stays behind."""
    try:
        url = urljoin(request.url, answer.headers["location"])
    except ValueError:
        raise DestinationError("a redirect leads to what is no URL") from None
    if not url.startswith(("https://", "http://")):
        raise DestinationError("a redirect leads to what is no web server")
    if request.url.startswith("https://") and url.startswith("http://"):
        raise DestinationError("a redirect leads away from TLS")
    is_same = url.split("/")[:3] == request.url.split("/")[:3]
    headers = tuple(
        (name, value)
        for name, value in request.headers
        if is_same or "signature" not in name.lower()
    )
    credentials = request.credentials if is_same else ""
    if answer.status in SAME_METHOD:
        return WebRequest(url, request.method, headers, request.body, credentials)
    headers = tuple(each for each in headers if each[0].lower() != "content-type")
    return WebRequest(url, "GET", headers, credentials=credentials)


def form_request(
    url: str, fields: Sequence[tuple[str, str]], *, secret: str, method: str = "POST"
) -> WebRequest:
    """A form, signed as Twilio signs it (https://www.twilio.com/docs/usage/security).

    Args:
        fields: name and value each; with GET they go into the query.
        secret: the account's auth token; empty: it is not signed.
    """
    # A caller's name may have had bytes that are no UTF-8: they become question marks.
    fields = [(name, value.encode("utf-8", "replace").decode()) for name, value in fields]
    if method == "GET":
        base = url.partition("#")[0]
        url = f"{base}{'&' if '?' in base else '?'}{urlencode(fields)}" if fields else base
        headers: tuple[tuple[str, str], ...] = ()
        signed: Sequence[tuple[str, str]] = ()
    else:
        headers, signed = (("Content-Type", FORM),), fields
    if secret:
        headers += (("X-Twilio-Signature", twilio_signature(secret, url, signed)),)
    body = urlencode(fields).encode() if method != "GET" else b""
    return WebRequest(url, method, headers, body)
