"""From what both ends of each call recorded to lateness and delay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.clip import decode_opus, decode_pcmu, opus_delay, pcmu_clip
from bench.content import FRAME_SAMPLES, Match, find_in_loop, frames_carried
from bench.generator import BenchCall, Recording
from bench.page import Page
from bench.stream import Heard, Said, payload_of
from bench.timing import Punctuality, added_delay_ms, punctuality, unwrap

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

OPUS_CLOCK_RATE = 48000
PCMU_CLOCK_RATE = 8000

MAX_GAP_FRAMES = 10
"Between the two pieces of sound that are captured lies more than that."

OPUS_MODES = (
    *(["silk narrowband"] * 4 + ["silk mediumband"] * 4 + ["silk wideband"] * 4),
    *(["hybrid superwideband"] * 2 + ["hybrid fullband"] * 2),
    *(["celt narrowband"] * 4 + ["celt wideband"] * 4),
    *(["celt superwideband"] * 4 + ["celt fullband"] * 4),
)
"By the configuration number in the TOC byte (RFC 6716 §3.1)."


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of all calls."""

    punctuality: Punctuality
    delay_ms: Floats
    "Of every packet whose content was recognised."
    unmatched: int
    "Calls in which nothing that was said was recognised at the other end."
    shifted: int
    "Calls in which what a packet carries changed within the window: frames were dropped or held."


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Both directions of all calls."""

    up: Direction
    "Browser to phone."
    down: Direction
    up_mode: str
    "What the pages sent."
    down_mode: str
    "What the system sent to the pages."


def evaluate(recording: Recording) -> Evaluation:
    """Work out what a recording shows; takes a second or two for 200 calls.

    Call it once only: libsrtp takes a packet opened again for a replay.
    """
    calls, window_s = recording.calls, recording.window_s
    clip = calls[0].page.clip
    assert clip is not None
    down = [_down(call) for call in calls]
    return Evaluation(
        up=_direction([_up(call) for call in calls], window_s),
        down=_direction(down, window_s),
        up_mode=clip.mode,
        down_mode=_down_mode(down[0]),
    )


def _down_mode(down: _Stream) -> str:
    if down.frames is not None:
        return "as it came"
    return "PCMU" if down.clock_rate == PCMU_CLOCK_RATE else opus_mode(down.payloads)


def opus_mode(payloads: list[tuple[int, bytes]]) -> str:
    """How Opus packets of 20 ms are made, from the first one's TOC byte and the sizes of all."""
    packets = [payload for _, payload in payloads if payload]
    if not packets:
        return "nothing"
    rate = sum(map(len, packets)) / len(packets) * 8 / 20
    return f"opus {opus_kind(packets[len(packets) // 2])} {rate:.0f} kb/s"


def opus_kind(payload: bytes) -> str:
    """Mode, bandwidth and channels of one packet."""
    toc = payload[0]
    return f"{OPUS_MODES[toc >> 3]} {'stereo' if toc & 4 else 'mono'}"


@dataclass(frozen=True, slots=True)
class _Stream:
    """One direction of one call: what went in, what came out, and how to know it again."""

    said: Said
    heard: Heard
    clock_rate: int
    loop: Floats
    codec_delay: int
    payloads: list[tuple[int, bytes]]
    "Captured payloads, each with its index among the packets heard."
    decode: Callable[[list[bytes]], Floats]
    "PCM at 8 kHz of payloads; an empty one stands for a lost one."
    frames: Int64s | None = None
    "Which frame in each packet out is, where packets are handed on as they are."


def _up(call: BenchCall) -> _Stream:
    said, clip, heard = call.page.said, call.page.clip, call.phone.heard
    assert said is not None
    assert clip is not None
    if not isinstance(call.page, Page):
        return _relayed(said, heard, OPUS_CLOCK_RATE)
    payloads = [(index, payload_of(packet)) for index, packet in heard.captured]
    return _Stream(said, heard, PCMU_CLOCK_RATE, clip.sound, 0, payloads, _decode_pcmu_frames)


def _down(call: BenchCall) -> _Stream:
    said, heard, page = call.phone.said, call.page.heard, call.page
    if not isinstance(page, Page):
        return _relayed(said, heard, PCMU_CLOCK_RATE)
    opened = [(index, page.unprotect(packet)) for index, packet in heard.captured]
    payloads = [(index, payload_of(packet)) for index, packet in opened if packet]
    if page.clip is pcmu_clip():
        loop = page.clip.sound
        return _Stream(said, heard, PCMU_CLOCK_RATE, loop, 0, payloads, _decode_pcmu_frames)
    delay = _look_ahead([payload for _, payload in payloads])
    loop = pcmu_clip().sound
    return _Stream(said, heard, OPUS_CLOCK_RATE, loop, delay, payloads, decode_opus)


def _look_ahead(payloads: list[bytes]) -> int:
    """Samples at 8 kHz. An encoder that never uses SILK looks 4 ms less ahead."""
    if any(payload and "celt narrowband" not in opus_kind(payload) for payload in payloads):
        return opus_delay(rate=8000, bit_rate=32000)
    return opus_delay(rate=8000, bit_rate=48000, application="lowdelay")


def _relayed(said: Said, heard: Heard, clock_rate: int) -> _Stream:
    stamps = np.array(heard.stamps, np.int64)
    frames = (stamps - said.first_stamp) % (1 << 32) // (clock_rate // 50)
    return _Stream(said, heard, clock_rate, np.zeros(0), 0, [], decode_opus, frames)


def _direction(streams: list[_Stream], window_s: float) -> Direction:
    total = Punctuality(0, 0, 0)
    delays: list[Floats] = []
    unmatched = shifted = 0
    for stream in streams:
        arrived = np.array(stream.heard.arrived_ns, np.int64)
        stamps = unwrap(np.array(stream.heard.stamps, np.uint32))
        total += punctuality(arrived, stamps, stream.clock_rate, window_s=window_s)
        sent = np.array(stream.said.sent_ns, np.int64)
        carried, is_shifted = _carried(stream, arrived, stamps, sent)
        shifted += is_shifted
        if carried is None:
            unmatched += 1
        else:
            delays.append(added_delay_ms(arrived, carried, sent))
    delay = np.concatenate(delays) if delays else np.zeros(0)
    return Direction(total, delay, unmatched, shifted)


def _carried(
    stream: _Stream, arrived: Int64s, stamps: Int64s, sent: Int64s
) -> tuple[Floats | None, bool]:
    """Which frame in each packet out carries, and whether that changed on the way."""
    if stream.frames is not None:
        return stream.frames.astype(np.float64), False
    step = stream.clock_rate // 50
    loop_frames = len(stream.loop) // FRAME_SAMPLES
    found: list[Floats] = []
    for segment in _segments(stream.payloads):
        at = segment[0][0]
        match = _match(stream, segment, stamps)
        if match is not None:
            newest = np.searchsorted(sent, arrived, "right").astype(np.int64) - 1
            numbers = (stamps - stamps[at]) // step
            found.append(frames_carried(match, numbers, newest, loop_frames))
    if not found:
        return None, False
    first, last = found[0], found[-1]
    is_shifted = bool(abs(first[0] - last[0]) >= 0.5)
    if is_shifted:
        half = len(first) // 2
        return np.concatenate((first[:half], last[half:])), True
    return first, False


def _segments(captured: list[tuple[int, bytes]]) -> list[list[tuple[int, bytes]]]:
    """Captured payloads, split where more than a few packets between them were not captured."""
    segments: list[list[tuple[int, bytes]]] = []
    for index, payload in captured:
        if segments and index - segments[-1][-1][0] <= MAX_GAP_FRAMES:
            segments[-1].append((index, payload))
        else:
            segments.append([(index, payload)])
    return segments


def _match(stream: _Stream, segment: list[tuple[int, bytes]], stamps: Int64s) -> Match | None:
    """Where the first packet of the segment is in the loop."""
    step = stream.clock_rate // 50
    first = stamps[segment[0][0]]
    payloads: dict[int, bytes] = {}
    for index, payload in segment:
        number = int(stamps[index] - first) // step
        if 0 <= number < len(stream.loop) // FRAME_SAMPLES:
            payloads[number] = payload
    heard = stream.decode([payloads.get(n, b"") for n in range(max(payloads) + 1)])
    return find_in_loop(heard, stream.loop, stream.codec_delay)


def _decode_pcmu_frames(payloads: list[bytes]) -> Floats:
    silence = b"\xff" * FRAME_SAMPLES
    return decode_pcmu(b"".join(p if len(p) == FRAME_SAMPLES else silence for p in payloads))
