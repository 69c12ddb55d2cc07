"""An agent over a WebSocket: greets with a beep, says back what it hears, hangs up on #."""

import asyncio
import json
import math
import struct

from websockets.asyncio.server import ServerConnection, serve


async def attend(call: ServerConnection) -> None:
    """Talk with one caller, from `start` to the end of the connection."""
    async for message in call:
        if isinstance(message, bytes):  # 20 ms of 16-bit PCM: what the caller says
            await call.send(message)  # any amount, as fast as you like
            continue
        event = json.loads(message)
        if event["type"] == "start":
            rate = event["audio"]["said"]["rate"]
            await call.send('{"type":"ready"}')
            await call.send(beep(440, 0.3, rate))
        elif event["type"] == "digit" and event["digit"] == "#":
            await call.send('{"type":"clear"}')
            await call.send(beep(330, 0.5, rate))
            await call.send('{"type":"done"}')  # hangs up once that was heard


def beep(hz: float, seconds: float, rate: int) -> bytes:
    """A tone as 16-bit PCM."""
    at = range(int(rate * seconds))
    return b"".join(struct.pack("<h", int(9000 * math.sin(6.283 * hz * n / rate))) for n in at)


async def main() -> None:
    """Serve on port 8765 until stopped."""
    async with serve(attend, "127.0.0.1", 8765) as server:
        await server.serve_forever()


asyncio.run(main())
