"""A bot of pipecat, as people write it: its transports, its serializers, nothing of ours in them.

    .venv-pipecat/bin/python tests/pipecat/bot.py telephony|vonage|pipecat PORT FOLDER

`telephony` is pipecat's FastAPI transport, with the serializer of whoever calls (Twilio, Telnyx,
Plivo, Exotel); `vonage` and `pipecat` are its WebSocket server, with the serializer of that name or
with its own, of Protocol Buffers. What it hears goes into a file of the folder, 16 kHz PCM; what
happens to it is told on stdout, a line of JSON each. Keys tell it what to do: see `Bot`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, WebSocket
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    InputTransportMessageFrame,
    OutputAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.base_serializer import FrameSerializer
from pipecat.serializers.exotel import ExotelFrameSerializer
from pipecat.serializers.plivo import PlivoFrameSerializer
from pipecat.serializers.protobuf import ProtobufFrameSerializer
from pipecat.serializers.telnyx import TelnyxFrameSerializer
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.serializers.vonage import VonageFrameSerializer
from pipecat.transports.base_transport import BaseTransport
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.transports.websocket.server import (
    SingleClientWebsocketServerParams,
    SingleClientWebsocketServerTransport,
)
from pipecat.workers.runner import WorkerRunner

RATE_IN, RATE_OUT = 16_000, 24_000


def tell(**what: Any) -> None:
    """A line of JSON, with Unix time."""
    print(json.dumps({"at": time.time(), **what}), flush=True)  # noqa: T201


def tone(hz: float, seconds: float) -> bytes:
    """A sine of -12 dBFS."""
    at = np.arange(int(seconds * RATE_OUT)) / RATE_OUT
    level = 32767 * 10 ** (-12 / 20) * 2**0.5
    return (level * np.sin(2 * np.pi * hz * at)).astype("<i2").tobytes()


class Bot(FrameProcessor):  # type: ignore[misc]
    """Keeps what it hears; does what keys say.

    1 says a tone of 1000 Hz for 1 s, 2 one of 600 Hz for 20 s, 3 interrupts what is being said, 9
    ends the pipeline (and so, by its serializer, the call).
    """

    def __init__(self, kind: str, folder: Path) -> None:
        super().__init__()
        self.worker: PipelineWorker | None = None
        self._kind = kind
        self._heard = (folder / f"{kind}.pcm").open("wb", buffering=0)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self._heard.write(frame.audio)
            return
        await self.push_frame(frame, direction)
        if isinstance(frame, InputDTMFFrame):
            await self._obey(str(frame.button.value))
        elif isinstance(frame, InputTransportMessageFrame) and frame.message["type"] == "dtmf":
            await self._obey(frame.message["data"]["digit"])

    async def _obey(self, digit: str) -> None:
        tell(kind=self._kind, digit=digit)
        match digit:
            case "1":
                await self._say(tone(1000, 1.0))
            case "2":
                await self._say(tone(600, 20.0))
            case "3":
                await self.broadcast_interruption()
            case "9" if self.worker is not None:
                await self.worker.queue_frame(EndFrame())

    async def _say(self, audio: bytes) -> None:
        await self.push_frame(OutputAudioRawFrame(audio, sample_rate=RATE_OUT, num_channels=1))


async def attend(kind: str, transport: BaseTransport, folder: Path) -> None:
    """Run a pipeline until it ends."""
    bot = Bot(kind, folder)
    parameters = PipelineParams(audio_in_sample_rate=RATE_IN, audio_out_sample_rate=RATE_OUT)
    worker = PipelineWorker(
        Pipeline([transport.input(), bot, transport.output()]), params=parameters
    )
    bot.worker = worker

    @transport.event_handler("on_client_disconnected")  # type: ignore[untyped-decorator]
    async def on_client_disconnected(*_: object) -> None:
        tell(kind=kind, event="disconnected")
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
    tell(kind=kind, event="ended")


def serializer_for(kind: str, call: Any) -> FrameSerializer:
    """As pipecat's own runner makes them; hanging up by REST where it lets one say at whom."""
    match kind:
        case "twilio":
            return TwilioFrameSerializer(
                call.stream_id,
                call.call_id,
                os.environ["TWILIO_ACCOUNT_SID"],
                os.environ["TWILIO_AUTH_TOKEN"],
                base_url=os.environ["TWILIO_BASE_URL"],
            )
        case "telnyx":
            encoding = call.outbound_encoding
            silent = TelnyxFrameSerializer.InputParams(auto_hang_up=False)
            return TelnyxFrameSerializer(call.stream_id, encoding, encoding, params=silent)
        case "plivo":
            return PlivoFrameSerializer(
                call.stream_id, params=PlivoFrameSerializer.InputParams(auto_hang_up=False)
            )
        case "exotel":
            return ExotelFrameSerializer(call.stream_id, call.call_id)
    raise ValueError(f"pipecat does not know who calls: {kind}")


def serve_telephony(port: int, folder: Path) -> None:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tell(event="ready")
        yield

    app = FastAPI(lifespan=lifespan)

    @app.websocket("/ws")  # type: ignore[untyped-decorator]
    async def on_socket(websocket: WebSocket) -> None:
        await websocket.accept()
        kind, call = await parse_telephony_websocket(websocket)
        tell(event="connected", kind=kind, call=call.call_id, body=dict(call.body or {}))
        parameters = FastAPIWebsocketParams(
            audio_in_enabled=True, audio_out_enabled=True, serializer=serializer_for(kind, call)
        )
        await attend(kind, FastAPIWebsocketTransport(websocket, parameters), folder)

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


async def serve_socket(kind: str, port: int, folder: Path) -> None:
    serializer = VonageFrameSerializer() if kind == "vonage" else ProtobufFrameSerializer()
    parameters = SingleClientWebsocketServerParams(
        audio_in_enabled=True, audio_out_enabled=True, serializer=serializer
    )
    transport = SingleClientWebsocketServerTransport(parameters, host="127.0.0.1", port=port)

    @transport.event_handler("on_websocket_ready")  # type: ignore[untyped-decorator]
    async def on_websocket_ready(*_: object) -> None:
        tell(event="ready")

    @transport.event_handler("on_client_connected")  # type: ignore[untyped-decorator]
    async def on_client_connected(*_: object) -> None:
        tell(event="connected", kind=kind)

    await attend(kind, transport, folder)


def main() -> None:
    kind, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    if kind == "telephony":
        serve_telephony(port, folder)
    else:
        asyncio.run(serve_socket(kind, port, folder))


if __name__ == "__main__":
    main()
