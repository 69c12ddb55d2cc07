"""`python -m bench path`: what each stage of the wire path costs, in process, without a network.

First each stage alone on one stream (caches warm, best of five); then the whole path of many calls
in turn, as `AudioStream` and `Hub` join it, in simulated time. Sockets, the event loop and the
kernel are left out there; `python -m bench bridge` has them.
"""

from __future__ import annotations

import json
import socket
import time
import timeit
from collections.abc import Callable
from functools import partial
from typing import cast

from bench.clip import LOOP_FRAMES, Clip, opus_clip, pcmu_clip
from bench.stream import Said
from gateway.codec import OPUS, PCMU, Codec
from gateway.leg.stream import AudioStream
from gateway.media.coding import make_encoder
from gateway.media.frame import Voice
from gateway.media.g711 import MU_LAW
from gateway.media.hub import Hub
from gateway.net.media import MediaTransport, TransportState
from gateway.net.pacer import Pacer
from gateway.rtp.session import RtpSession
from gateway.rtp.srtp import SUITES, SrtpReceiver, SrtpSender
from gateway.sdp.description import Direction, MediaDescription
from gateway.sdp.negotiation import Agreement

SUITE = SUITES["AEAD_AES_256_GCM"]
"What our DTLS negotiates with browsers first."

KEY = bytes(range(SUITE.key_bytes))
REPEATS = 5
STAGE_RUNS = 2000
FRAME_S = 0.02
WARM_UP_FRAMES = 50
MEASURED_FRAMES = 200
CALLS = (1, 20, 200)


def path(*, as_json: bool) -> int:
    """Measure and print; returns the exit status."""
    stages = {name: round(measure(), 2) for name, measure in STAGES.items()}
    whole = {str(calls): whole_path(calls) for calls in CALLS}
    if as_json:
        print(json.dumps({"stages_us": stages, "whole": whole}))
        return 0
    for name, cost in stages.items():
        print(f"{name:<44} {cost:6.2f} µs")
    print()
    for calls, result in whole.items():
        print(
            f"whole path, {calls:>3} calls in turn: up {result['up_us']:.1f}, "
            f"down {result['down_us']:.1f}, beats {result['beat_us']:.1f} µs a frame; "
            f"{result['cpu_ms_per_call_second']:.2f} CPU-ms per call-second"
        )
    return 0


# ---- the whole path


class _Beats:
    """Stands for the pacer: calls back when it is told to."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[float], object]] = []

    def add(self, callback: Callable[[float], object]) -> Callable[[], None]:
        self.callbacks.append(callback)
        return lambda: self.callbacks.remove(callback)


class _Wire:
    """A `MediaTransport` whose far end is this benchmark: SRTP for the page, else in the clear."""

    def __init__(self, *, is_secure: bool) -> None:
        self.on_packet: Callable[[bytes, float], None] = lambda data, now: None
        self.on_state: Callable[[TransportState], None] = lambda state: None
        self._sender = SrtpSender.of_key(SUITE, KEY) if is_secure else None
        self._receiver = SrtpReceiver.of_key(SUITE, KEY) if is_secure else None
        self.sent = 0

    def describe(self, media: MediaDescription, *, restart: bool = False) -> MediaDescription:
        return media

    def accept(self, remote: MediaDescription) -> None:
        return

    def add_candidate(self, candidate: str, ufrag: str | None) -> None:
        return

    def send(self, packet: bytes) -> None:
        if self._sender is not None:
            self._sender.protect(packet)
        self.sent += 1

    def receive(self, packet: bytes, now: float) -> None:
        """A datagram came."""
        if self._receiver is not None:
            opened = self._receiver.unprotect(packet)
            assert opened is not None
            packet = opened
        self.on_packet(packet, now)

    def close(self) -> None:
        return


class _Call:
    """A page and a phone, joined by a hub."""

    def __init__(self, number: int, beats: _Beats) -> None:
        self.page = _Wire(is_secure=True)
        self.phone = _Wire(is_secure=False)
        hub = Hub()
        for name, wire, codec in (("page", self.page, OPUS), ("phone", self.phone, PCMU)):
            stream = AudioStream(
                cast(MediaTransport, wire),
                _session(number),
                pacer=cast(Pacer, beats),
                clock=lambda: 0.0,
            )
            stream.configure(_agreement(codec))
            stream.on_state(TransportState.CONNECTED)
            stream.on_frame = partial(hub.push, name)
            hub.join(name, listener=stream)
        hub.route({"page": {"phone": 1.0}, "phone": {"page": 1.0}})
        beats.add(hub.tick)
        page, phone = Said(_browser_clip(), 2 * number + 1), Said(pcmu_clip(), 2 * number + 2)
        sender = SrtpSender.of_key(SUITE, KEY)
        frames = WARM_UP_FRAMES + MEASURED_FRAMES
        self.ups = [sender.protect(packet) or b"" for packet in _packets(page, frames)]
        self.downs = _packets(phone, frames)


def whole_path(calls: int) -> dict[str, float]:
    """Run `calls` calls in turn for some seconds of their time; the cost of each part."""
    beats = _Beats()
    all_calls = [_Call(number, beats) for number in range(calls)]
    spent = {"up": 0.0, "down": 0.0, "beat": 0.0}
    for frame in range(WARM_UP_FRAMES + MEASURED_FRAMES):
        now = frame * FRAME_S
        marks = [time.perf_counter()]
        for call in all_calls:
            call.page.receive(call.ups[frame], now)
        marks.append(time.perf_counter())
        for call in all_calls:
            call.phone.receive(call.downs[frame], now)
        marks.append(time.perf_counter())
        for beat in beats.callbacks:
            beat(now)
        marks.append(time.perf_counter())
        if frame >= WARM_UP_FRAMES:
            for name, before, after in zip(spent, marks, marks[1:], strict=False):
                spent[name] += after - before
    for call in all_calls:
        assert call.page.sent >= MEASURED_FRAMES, "the page hears nothing"
        assert call.phone.sent >= MEASURED_FRAMES, "the phone hears nothing"
    frames = calls * MEASURED_FRAMES
    each = {f"{name}_us": round(1e6 * seconds / frames, 2) for name, seconds in spent.items()}
    total = sum(spent.values()) / frames
    return {**each, "cpu_ms_per_call_second": round(1e3 * total / FRAME_S, 3)}


# ---- the stages, each alone


def _session(number: int) -> RtpSession:
    return RtpSession(ssrc=number + 1, sequence=0, timestamp=0, cname="bench", now=0.0)


def _agreement(codec: Codec) -> Agreement:
    return Agreement(
        index=0,
        send=codec,
        receive=(codec,),
        send_digits=None,
        direction=Direction.SENDRECV,
        ptime_ms=20,
    )


def _browser_clip() -> Clip:
    return opus_clip(narrowband=True, payload_type=OPUS.payload_type)


def _packets(said: Said, count: int) -> list[bytes]:
    packets = []
    for _ in range(count):
        packets.append(said.next_packet())
        said.sent_ns.append(0)
    return packets


def _each(items: list[bytes], work: Callable[[bytes], object]) -> float:
    """Microseconds of `work` for one of `items`, the loop's own cost taken off."""
    started = time.perf_counter()
    for item in items:
        work(item)
    worked = time.perf_counter()
    for item in items:
        _nothing(item)
    return 1e6 * ((worked - started) - (time.perf_counter() - worked)) / len(items)


def _best(measure: Callable[[], float]) -> float:
    return min(measure() for _ in range(REPEATS))


def _nothing(_item: bytes) -> None:
    return


def _unprotect() -> float:
    sender = SrtpSender.of_key(SUITE, KEY)
    packets = _packets(Said(_browser_clip(), 7), STAGE_RUNS)
    protected = [sender.protect(packet) or b"" for packet in packets]
    return _best(lambda: _each(protected, SrtpReceiver.of_key(SUITE, KEY).unprotect))


def _protect() -> float:
    packets = _packets(Said(_browser_clip(), 7), STAGE_RUNS)
    return _best(lambda: _each(packets, SrtpSender.of_key(SUITE, KEY).protect))


def _receive(clip: Clip, codec: Codec) -> float:
    packets = _packets(Said(clip, 7), STAGE_RUNS)

    def measure() -> float:
        session = _session(0)
        session.configure(receive=(codec,), send=codec, send_digits=None)
        return _each(packets, lambda packet: session.receive(packet, 0.0))

    return _best(measure)


def _send() -> float:
    session = _session(0)
    session.configure(receive=(PCMU,), send=PCMU, send_digits=None)
    payloads = list(pcmu_clip().packets) * (STAGE_RUNS // LOOP_FRAMES)
    return _best(lambda: _each(payloads, lambda payload: session.send(payload, 160, 0.0)))


def _decode(clip: Clip, codec: Codec) -> float:
    payloads = list(clip.packets) * (STAGE_RUNS // LOOP_FRAMES)

    def measure() -> float:
        voice = Voice()
        return _each(payloads, lambda payload: voice.frame(codec, payload, 960, 0.0).pcm(8000))

    return _best(measure)


def _frame() -> float:
    payloads = list(pcmu_clip().packets) * (STAGE_RUNS // LOOP_FRAMES)
    voice = Voice()
    return _best(lambda: _each(payloads, lambda payload: voice.frame(PCMU, payload, 960, 0.0)))


def _encode_opus() -> float:
    encoder = make_encoder(OPUS, rate=8000)
    pcm = {payload: MU_LAW.decode(payload) for payload in pcmu_clip().packets}
    payloads = list(pcmu_clip().packets) * (STAGE_RUNS // LOOP_FRAMES)
    return _best(lambda: _each(payloads, lambda payload: encoder.encode(pcm[payload])))


def _encode_pcmu() -> float:
    pcm = MU_LAW.decode(pcmu_clip().packets[30])
    return _best(lambda: _each([b""] * STAGE_RUNS, lambda _: MU_LAW.encode(pcm)))


def _udp() -> float:
    """One datagram sent and received, without an event loop."""
    with (
        socket.socket(type=socket.SOCK_DGRAM) as there,
        socket.socket(type=socket.SOCK_DGRAM) as here,
    ):
        there.bind(("127.0.0.1", 0))
        address = there.getsockname()
        data = bytes(172)

        def relay() -> None:
            here.sendto(data, address)
            there.recvfrom(2048)

        return 1e6 * min(timeit.repeat(relay, number=STAGE_RUNS, repeat=REPEATS)) / STAGE_RUNS


STAGES: dict[str, Callable[[], float]] = {
    "SRTP unprotect, AES-256-GCM": _unprotect,
    "RtpSession.receive, Opus": lambda: _receive(_browser_clip(), OPUS),
    "Voice.frame": _frame,
    "Voice.frame + pcm(8000), narrowband Opus": lambda: _decode(_browser_clip(), OPUS),
    "PCMU encode": _encode_pcmu,
    "RtpSession.send": _send,
    "RtpSession.receive, PCMU": lambda: _receive(pcmu_clip(), PCMU),
    "Voice.frame + pcm(8000), PCMU": lambda: _decode(pcmu_clip(), PCMU),
    "Opus encode, 8 kHz": _encode_opus,
    "SRTP protect, AES-256-GCM": _protect,
    "UDP sendto and recvfrom, loopback": _udp,
}
