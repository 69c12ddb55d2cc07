"""AudioSocket from a PBX: `AudioSocket(uuid,host:port)` of Asterisk hands us a call over TCP.

Asterisk takes nothing from us but audio and hang-up, so keys go to it as sound.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.agents.lines.line import Begun, Broken, HungUp, LineEvent, Pressed, Said
from gateway.agents.protocol import AudioFormat, Message
from gateway.agents.wire.audiosocket import (
    DIGIT,
    ERROR,
    HANG_UP,
    KIND_OF_RATE,
    RATE_OF_KIND,
    UUID,
    UUID_BYTES,
    FrameReader,
    read_digit,
    write_frame,
)


class AudioSocketLine:
    """Our side of one connection. Audio goes out at the rate of the audio that came in last."""

    def __init__(self) -> None:
        self.heard = AudioFormat(8000)
        self._kind = KIND_OF_RATE[8000]
        self._reader = FrameReader()
        self._has_begun = False

    def receive(self, message: Message) -> Iterable[LineEvent]:
        assert isinstance(message, bytes)
        return [
            event
            for kind, payload in self._reader.feed(message)
            if (event := self._read(kind, payload)) is not None
        ]

    def hear(self, audio: bytes) -> bytes:
        return write_frame(self._kind, audio)

    def answer(self) -> Iterable[Message]:
        """Asterisk has answered it itself."""
        return ()

    def hang_up(self) -> Iterable[Message]:
        return (write_frame(HANG_UP),)

    def _read(self, kind: int, payload: bytes) -> LineEvent | None:
        if not self._has_begun:
            if kind != UUID or len(payload) != UUID_BYTES:
                return Broken("the first frame is no UUID")
            self._has_begun = True
            return Begun(payload.hex())
        if kind in RATE_OF_KIND:
            if kind != self._kind:
                self._kind, self.heard = kind, AudioFormat(RATE_OF_KIND[kind])
            return Said(payload, self.heard) if payload else None
        if kind == DIGIT and (digit := read_digit(payload)) is not None:
            return Pressed(digit)
        if kind in (HANG_UP, ERROR):
            # An error is that of its own channel: there is nobody there to go on with.
            return HungUp()
        return Broken("a frame of a kind that a PBX does not send")
