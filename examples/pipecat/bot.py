"""A pipecat pipeline on the telephone: the gateway calls it as Twilio would.

    transport.input ▸ Parrot ▸ transport.output

Put your speech-to-text, your model and your text-to-speech in the place of the parrot.
"""

import uvicorn
from fastapi import FastAPI, WebSocket
from pipecat.frames.frames import Frame, InputAudioRawFrame, InputDTMFFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner

PORT = 8766
RATE = 8000

app = FastAPI()


class Parrot(FrameProcessor):
    """Says back what it hears; a key ends the call."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Take one frame of the pipeline."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            await self.push_frame(OutputAudioRawFrame(frame.audio, RATE, 1))
        elif isinstance(frame, InputDTMFFrame):
            await self.worker.cancel()
        else:
            await self.push_frame(frame, direction)


@app.websocket("/ws")
async def attend(socket: WebSocket) -> None:
    """One call."""
    await socket.accept()
    _, call = await parse_telephony_websocket(socket)
    # With account_sid, auth_token and base_url it also hangs up by the gateway's Calls.json.
    quiet = TwilioFrameSerializer.InputParams(auto_hang_up=False)
    transport = FastAPIWebsocketTransport(
        socket,
        FastAPIWebsocketParams(
            audio_in_enabled=True,
            audio_out_enabled=True,
            serializer=TwilioFrameSerializer(call.stream_id, params=quiet),
        ),
    )
    parrot = Parrot()
    worker = PipelineWorker(
        Pipeline([transport.input(), parrot, transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
    )
    parrot.worker = worker

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(*_: object) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")
