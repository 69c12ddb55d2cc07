"""What RTP payloads are, and how long the audio in one lasts (RFC 3551 §4.5, RFC 7587 §4.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.codec import Codec

MAX_OPUS_TICKS = 5760
"120 ms: no Opus packet lasts longer (RFC 6716 §3.2.5)."

_OPUS_FRAME_TICKS = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4
"Ticks of 48 kHz in one frame, by the configuration number (RFC 6716 §3.1, table 2)."

_OPUS_TICKS = tuple(
    0 if toc & 3 == 3 else _OPUS_FRAME_TICKS[toc >> 3] * (2 if toc & 3 else 1) for toc in range(256)
)
"Ticks in a packet, by its first byte; 0 where the second has to be asked."


@dataclass(slots=True)
class Format:
    """What a payload type of audio stands for."""

    codec: Codec
    duration_of: Callable[[bytes], int]
    "Of a payload of one byte or more, in clock units; 0 for one that cannot be, and for CN."
    is_audio: bool
    "False for CN, which marks the start of silence (RFC 3389)."


def read_formats(
    codecs: Sequence[Codec], default: Callable[[bytes], int]
) -> tuple[dict[int, Format], dict[int, int]]:
    """The formats of audio, and the clock rates of telephone-event, by payload type.

    Args:
        default: tells a duration where the codec is unknown here.
    """
    formats: dict[int, Format] = {}
    digit_clocks: dict[int, int] = {}
    for codec in codecs:
        name = codec.name.lower()
        if name == "telephone-event":
            digit_clocks[codec.payload_type] = codec.clock_rate
        else:
            duration_of = _READERS.get(name, default)
            formats[codec.payload_type] = Format(codec, duration_of, name != "cn")
    return formats, digit_clocks


def opus_duration(payload: bytes) -> int:
    """Ticks of 48 kHz in an Opus packet (RFC 6716 §3.2); 0 where it is malformed."""
    ticks = _OPUS_TICKS[payload[0]]
    if ticks or len(payload) == 1:
        return ticks
    ticks = _OPUS_FRAME_TICKS[payload[0] >> 3] * (payload[1] & 0x3F)
    return ticks if ticks <= MAX_OPUS_TICKS else 0


def _no_duration(_payload: bytes) -> int:
    return 0


def _l16_duration(payload: bytes) -> int:
    return len(payload) // 2


_READERS: dict[str, Callable[[bytes], int]] = {
    "pcmu": len,
    "pcma": len,
    # RFC 3551 §4.5.2: 16 kHz audio, two samples a byte, under an 8 kHz clock.
    "g722": len,
    "l16": _l16_duration,
    "opus": opus_duration,
    "cn": _no_duration,
}
