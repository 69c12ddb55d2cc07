"""rtpengine under the bench's signalling: `python -m bench.rtpengine PORT [OPUS BIT RATE]`.

This process carries offers and answers between a page's WebSocket and rtpengine's ng protocol,
and does nothing while calls talk. rtpengine is its child, and so in the same process tree. It
runs in user space: its kernel module cannot be had in a container, nor transcode.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
from http import HTTPStatus
from typing import Any

import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from bench.peers import HOST, Address, phone_sdp, rtp_address

NG_TIMEOUT_S = 5.0
START_S = 10.0
PORTS = (40000, 59999)


class NgError(Exception):
    """rtpengine refused a command, or said nothing."""


class Ng(asyncio.DatagramProtocol):
    """The client's end of rtpengine's ng protocol: a cookie, and a bencoded dictionary."""

    def __init__(self) -> None:
        self._cookies = itertools.count()
        self._awaited: dict[bytes, asyncio.Future[dict[str, Any]]] = {}
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The endpoint is open."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """An answer."""
        cookie, _, body = data.partition(b" ")
        future = self._awaited.pop(cookie, None)
        if future is not None and not future.done():
            future.set_result(bdecode(body))

    async def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command; the answer.

        Raises:
            NgError: it was refused, or there is none in 5 s.
        """
        cookie = b"%d" % next(self._cookies)
        future = self._awaited[cookie] = asyncio.get_running_loop().create_future()
        asked = {name.replace("_", "-"): value for name, value in command.items()}
        self._transport.sendto(cookie + b" " + bencode(asked))
        try:
            answer: dict[str, Any] = await asyncio.wait_for(future, NG_TIMEOUT_S)
        except TimeoutError:
            self._awaited.pop(cookie, None)
            raise NgError(f"no answer to {command.get('command')}") from None
        if answer.get("result") == "error":
            raise NgError(str(answer.get("error-reason")))
        return answer


def bencode(value: Any) -> bytes:
    """A value as rtpengine reads it: dictionaries, lists, texts and whole numbers."""
    match value:
        case dict():
            items = b"".join(bencode(name) + bencode(each) for name, each in value.items())
            return b"d" + items + b"e"
        case list() | tuple():
            return b"l" + b"".join(map(bencode, value)) + b"e"
        case int():
            return b"i%de" % value
    data = value if isinstance(value, bytes) else str(value).encode()
    return b"%d:%b" % (len(data), data)


def bdecode(data: bytes) -> dict[str, Any]:
    """What rtpengine says.

    Raises:
        ValueError: it is no bencoded dictionary.
    """
    value, _ = _bdecode(data, 0)
    if not isinstance(value, dict):
        raise ValueError("no dictionary")
    return value


def _bdecode(data: bytes, at: int) -> tuple[Any, int]:
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind in (b"l", b"d"):
        found: list[Any] = []
        at += 1
        while data[at : at + 1] != b"e":
            item, at = _bdecode(data, at)
            found.append(item)
        value = found if kind == b"l" else dict(zip(found[::2], found[1::2], strict=True))
        return value, at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    return data[colon + 1 : end].decode("utf-8", "replace"), end


class Calls:
    """Serves pages: each WebSocket is one call."""

    def __init__(self, ng: Ng, bit_rate: int | None) -> None:
        self._ng = ng
        self._bit_rate = bit_rate

    async def serve(self, socket: ServerConnection) -> None:
        """One signalling socket: one call, until it closes."""
        name = ""
        try:
            async for text in socket:
                message: dict[str, Any] = json.loads(text)
                if message["type"] != "call":
                    break
                name = message["call"]
                await self._place(socket, message, name)
        finally:
            if name:
                with contextlib.suppress(NgError):
                    await self._ng.ask(command="delete", call_id=name, from_tag="page")

    async def _place(self, socket: ServerConnection, message: dict[str, Any], name: str) -> None:
        offer, phone = message["sdp"], tuple(message["options"]["phone"])
        toward_phone = await self._ng.ask(
            command="offer",
            call_id=name,
            from_tag="page",
            sdp=only_first_codec(offer),
            transport_protocol="RTP/AVP",
            ICE="remove",
            rtcp_mux=["demux"],
            **self._codec(offer),
        )
        toward_page = await self._ng.ask(
            command="answer",
            call_id=name,
            from_tag="page",
            to_tag="phone",
            sdp=phone_sdp(phone, toward_phone["sdp"]),
            ICE="force",
            rtcp_mux=["accept"],
        )
        phone_side: Address | None = rtp_address(toward_phone["sdp"])
        answer = {"type": "answer", "call": name, "sdp": toward_page["sdp"]}
        await socket.send(json.dumps(answer))
        await socket.send(json.dumps({"type": "answered", "call": name, "phone": phone_side}))

    def _codec(self, offer: str) -> dict[str, Any]:
        """To transcode, where the page speaks Opus."""
        if "opus/48000" not in offer:
            return {}
        rules: dict[str, Any] = {"mask": ["opus"], "transcode": ["PCMU"]}
        if self._bit_rate is not None:
            rules["set"] = [f"opus/48000/2/{self._bit_rate}"]
        return {"codec": rules}


def only_first_codec(offer: str) -> str:
    """An offer of its first format alone: a page's PCMU would spare rtpengine the transcoding."""
    found = re.search(r"^(m=audio \d+ \S+) (\d+).*$", offer, re.MULTILINE)
    assert found is not None
    kept = found[2]
    lines = []
    for line in offer.splitlines():
        named = re.match(r"a=(?:rtpmap|fmtp|rtcp-fb):(\d+)", line)
        if line.startswith("m="):
            lines.append(f"{found[1]} {kept}")
        elif named is None or named[1] == kept:
            lines.append(line)
    return "\r\n".join(lines) + "\r\n"


def executable() -> str | None:
    """Debian's rtpengine, where it is installed."""
    return shutil.which("rtpengine") or shutil.which("rtpengine", path="/usr/sbin:/usr/local/sbin")


def health(connection: ServerConnection, request: Request) -> Response | None:
    """Answers GET /healthz; any other path is a WebSocket's."""
    if request.path == "/healthz":
        return connection.respond(HTTPStatus.OK, "ok\n")
    return None


async def main(port: int, bit_rate: int | None) -> None:
    """Start rtpengine and serve until interrupted."""
    program = executable()
    if program is None:
        sys.exit("rtpengine is not installed: apt-get install rtpengine-daemon")
    ng_port = port + 1 if port < 65000 else port - 1
    arguments = (
        f"--listen-ng={HOST}:{ng_port} --interface={HOST} --table=-1 --foreground --log-stderr"
        f" --log-level=3 --port-min={PORTS[0]} --port-max={PORTS[1]} --pidfile=/dev/null"
        " --config-file=none"
    )
    engine = await asyncio.create_subprocess_exec(
        program, *arguments.split(), stdin=subprocess.DEVNULL
    )
    try:
        loop = asyncio.get_running_loop()
        _, ng = await loop.create_datagram_endpoint(Ng, remote_addr=(HOST, ng_port))
        async with asyncio.timeout(START_S):
            while True:
                with contextlib.suppress(NgError, OSError):
                    await ng.ask(command="ping")
                    break
                await asyncio.sleep(0.1)
        calls = Calls(ng, bit_rate)
        async with serve(calls.serve, HOST, port, process_request=health, compression=None):
            stopped = asyncio.Event()
            for each in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(each, stopped.set)
            await stopped.wait()
    finally:
        engine.terminate()
        await engine.wait()


def version() -> str:
    """What it calls itself; empty where it is not installed."""
    program = executable()
    if program is None:
        return ""
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return (told.stdout or told.stderr).strip().removeprefix("Version: ")


if __name__ == "__main__":
    rate = int(sys.argv[2]) if len(sys.argv) > 2 else None
    uvloop.run(main(int(sys.argv[1]), rate))
