"""Twilio Media Streams: JSON over a WebSocket, μ-law at 8 kHz in base64.

    connected, start, media …, dtmf, mark, stop   ▸ the agent
    media, mark, clear                            ◂ the agent, on a bidirectional stream only

A mark comes back when all that was said before it has been played, and when it is cleared. What
is not in the protocol is passed over, as Twilio's own servers do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.agents.event import AgentEvent, DigitHeard, Interrupted
from gateway.agents.protocol import (
    AgentAddress,
    AudioFormat,
    CallFacts,
    Clear,
    Mark,
    Message,
    Note,
    Opening,
    Player,
    Say,
    Wish,
    Wrong,
)
from gateway.agents.wire_json import (
    PayloadReader,
    decode_audio,
    encode_audio,
    read_name,
    read_object,
    read_part,
)
from gateway.codec import PCMU
from gateway.media.playout import Cleared, MarkReached
from gateway.net.signature import twilio_signature

IS_STREAM = False

NO_ACCOUNT = "AC" + 32 * "0"
"The account of a stream where none is configured."

SAMPLES_PER_MS = 8


@dataclass(frozen=True, slots=True)
class Settings:
    """`[agent.settings]`."""

    account_sid: str = NO_ACCOUNT
    "The account that the agent is told of, and by which it reaches the REST interface."
    track: Literal["bidirectional", "inbound_track", "outbound_track", "both_tracks"] = (
        "bidirectional"
    )
    """bidirectional: the agent hears the caller, is told of keys, and speaks. The others listen
    only: to the caller, to all that is said to the caller, or to each on a track of its own."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    "customParameters, besides from_number, to_number and the call's own attributes."


def opening(address: AgentAddress, settings: Settings, call: CallFacts) -> Opening:
    """The URL as it is configured, signed where there is a token to sign it with."""
    if address.secret is None:
        return Opening(address.url)
    signature = twilio_signature(address.secret.value, address.url)
    return Opening(address.url, (("X-Twilio-Signature", signature),))


def make(settings: Settings) -> TwilioStream:
    """One stream."""
    return TwilioStream(settings)


def call_sid(token: str) -> str:
    """The call as agents and the REST interface name it."""
    return "CA" + token


def stream_sid(token: str, stream: int = 0) -> str:
    """The stream as the agent names it: another for each connection of a call."""
    return f"MZ{(int(token, 16) + stream) % (1 << 128):032x}"


class _Track:
    """What is numbered apart for each direction of the call."""

    __slots__ = ("chunk", "head", "name", "samples")

    def __init__(self, name: str, stream: str) -> None:
        self.name = name
        self.chunk = 0
        self.samples = 0
        self.head = f'","streamSid":"{stream}","media":{{"track":"{name}","chunk":"'


_TRACKS = {
    "bidirectional": ("inbound",),
    "inbound_track": ("inbound",),
    "outbound_track": ("outbound",),
    "both_tracks": ("inbound", "outbound"),
}


class TwilioStream:
    """One stream, from `connected` to `stop`."""

    def __init__(self, settings: Settings) -> None:
        self.heard = self.said = AudioFormat(8000, PCMU)
        self.tells_ready = False
        self._settings = settings
        self._is_bidirectional = settings.track == "bidirectional"
        self._media = PayloadReader()
        self._sequence = 0
        self._stream = self._call = ""
        self._names = _TRACKS[settings.track]
        self._tracks: dict[str, _Track] = {}
        self.hears_other_side = "outbound" in self._names
        self._ignored: set[str] = set()

    def open(self, call: CallFacts, player: Player) -> Iterable[Message]:
        self._call = call_sid(call.token)
        self._stream = stream = stream_sid(call.token, call.stream)
        self._tracks = {name: _Track(name, stream) for name in self._names}
        start = {
            "accountSid": self._settings.account_sid,
            "streamSid": stream,
            "callSid": self._call,
            "tracks": list(self._names),
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {
                "from_number": call.caller,
                "to_number": call.called,
                **call.attributes,
                **self._settings.parameters,
            },
        }
        connected = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
        return (json.dumps(connected), self._event("start", start))

    def hear(self, audio: bytes) -> Message | None:
        return self._chunk(self._tracks["inbound"], audio) if "inbound" in self._tracks else None

    def hear_other_side(self, audio: bytes) -> Message:
        """What is said to the caller, where `hears_other_side`."""
        return self._chunk(self._tracks["outbound"], audio)

    def _chunk(self, track: _Track, audio: bytes) -> str:
        self._sequence = sequence = self._sequence + 1
        track.chunk = chunk = track.chunk + 1
        at_ms = track.samples // SAMPLES_PER_MS
        track.samples += len(audio)
        # By hand: a fifth of the time of json.dumps, 50 times a second for each call.
        return (
            f'{{"event":"media","sequenceNumber":"{sequence}{track.head}{chunk}"'
            f',"timestamp":"{at_ms}","payload":"{encode_audio(audio)}"}}}}'
        )

    def receive(self, message: Message) -> Iterable[Wish]:
        if not isinstance(message, str):
            return self._ignore("a binary message")
        if not self._is_bidirectional:
            return self._ignore("a message on a stream that only listens")
        audio = self._media.read(message)
        if audio is not None:
            return (Say(audio),)
        said = read_object(message)
        if said is None:
            return self._ignore("a message that is not a JSON object")
        return self._obey(message, said)

    def _obey(self, message: str, said: dict[str, Any]) -> Iterable[Wish]:
        match said.get("event"):
            case "media":
                return self._say(message, said)
            case "mark":
                name = read_name(read_part(said, "mark"))
                return (Mark(name),) if name else self._ignore("a mark without a name")
            case "clear":
                return (Clear(),)
        return self._ignore("an event that Media Streams does not have")

    def _say(self, message: str, said: dict[str, Any]) -> Iterable[Wish]:
        payload = read_part(said, "media").get("payload")
        if not isinstance(payload, str) or not payload:
            return self._ignore("media without a payload")
        audio = decode_audio(payload)
        if audio is None:
            return (Wrong("the payload of media is not base64"),)
        self._media.learn(message, payload)
        return (Say(audio),)

    def _ignore(self, what: str) -> Iterable[Wish]:
        """Pass over it, and say so once: who writes an agent may look for it."""
        if what in self._ignored:
            return ()
        self._ignored.add(what)
        return (Note("ignored", {"what": what}),)

    def notice(self, event: AgentEvent) -> Iterable[Message]:
        if not self._is_bidirectional:
            return ()
        match event:
            case DigitHeard(digit=digit):
                return (self._event("dtmf", {"track": "inbound_track", "digit": digit}),)
            case MarkReached(name=name):
                return (self._event("mark", {"name": name}),)
            case Cleared(marks=marks) | Interrupted(cleared=Cleared(marks=marks)):
                return [self._event("mark", {"name": name}) for name in marks]
        return ()

    def close(self, reason: str) -> Iterable[Message]:
        stop = {"accountSid": self._settings.account_sid, "callSid": self._call}
        return (self._event("stop", stop),)

    def _event(self, name: str, body: Mapping[str, Any]) -> str:
        self._sequence += 1
        return json.dumps(
            {
                "event": name,
                "sequenceNumber": str(self._sequence),
                "streamSid": self._stream,
                name: body,
            }
        )
