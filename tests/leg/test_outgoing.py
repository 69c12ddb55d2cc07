"""What a party is sent: repaired, rested, cut to its packets, and never in a burst."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from gateway.codec import COMFORT_NOISE, OPUS, PCMA, PCMU
from gateway.leg.leg import Phase
from gateway.media.conceal import QUIETEST_LEVEL
from gateway.media.frame import AudioFrame, Voice
from gateway.media.g711 import A_LAW, MU_LAW
from gateway.media.hub import Hub
from gateway.media.opus import OpusDecoder, OpusEncoder, opus_duration
from gateway.media.tone import level_dbfs
from gateway.net.pacer import Pacer
from tests.leg.peer import Bridge, StreamBench, said
from tests.media.sound import Pcm, frames_of, recorded_speech, speechlike, steepest_step, tone
from tests.support.loop import VirtualLoop, elapse, in_virtual_time
from tests.support.media import FakeTransport

REPAIRABLE = replace(OPUS, fmtp="minptime=10;useinbandfec=1")
FIRST_CELT = 16
"The first configuration number of Opus that is CELT alone (RFC 6716 §3.1, table 2)."


async def tell(bench: StreamBench, pcm: Pcm, *, loss: float | None = None) -> list[bytes]:
    """The party hears a phone, and reports once a second; the payloads that went out."""
    before = len(bench.transport.packets)
    for number, frame in enumerate(said(PCMU, pcm)):
        frame.heard_at = bench.loop.time()
        bench.stream.hear(frame)
        if loss is not None and number % 50 == 49:
            bench.report_loss(loss)
        await elapse(0.02)
    return [packet.payload for packet in bench.transport.packets[before:]]


def is_celt(payload: bytes) -> bool:
    return payload[0] >> 3 >= FIRST_CELT


# ---- FEC


@in_virtual_time
async def test_party_that_loses_packets_is_sent_fec_until_it_loses_none(loop: VirtualLoop) -> None:
    bench = StreamBench(loop, REPAIRABLE)
    speech = speechlike(6.0, 8000)

    clean = await tell(bench, speech, loss=0.0)
    lossy = await tell(bench, speech, loss=0.05)
    mended = await tell(bench, speech, loss=0.0)

    assert all(map(is_celt, clean))
    # The report is looked at within a second of its coming.
    assert not any(map(is_celt, lossy[100:]))
    assert all(map(is_celt, mended[-30:]))
    packets = bench.transport.packets
    assert [packet.sequence for packet in packets] == [1000 + n for n in range(900)]
    assert [packet.timestamp for packet in packets] == [5000 + n * 960 for n in range(900)]
    await bench.close()


@in_virtual_time
async def test_fec_brings_back_what_was_lost(loop: VirtualLoop) -> None:
    bench = StreamBench(loop, REPAIRABLE)
    payloads = await tell(bench, recorded_speech(8000), loss=0.05)
    whole, repaired, guessed = (OpusDecoder(8000) for _ in range(3))
    errors: dict[OpusDecoder, list[Pcm]] = {repaired: [], guessed: []}

    for number in range(100, len(payloads) - 1):
        payload, following = payloads[number], payloads[number + 1]
        heard = whole.decode(payload)
        if number % 20:
            repaired.decode(payload)
            guessed.decode(payload)
        else:
            errors[repaired].append(repaired.decode_fec(following, 160) // 2 - heard // 2)
            errors[guessed].append(guessed.conceal(160) // 2 - heard // 2)

    levels = {decoder: level_dbfs(np.concatenate(each)) for decoder, each in errors.items()}
    assert levels[repaired] < levels[guessed] - 4
    await bench.close()


@in_virtual_time
async def test_party_that_wants_no_fec_is_sent_none(loop: VirtualLoop) -> None:
    bench = StreamBench(loop, OPUS)

    payloads = await tell(bench, speechlike(4.0, 8000), loss=0.2)

    assert all(map(is_celt, payloads))
    await bench.close()


# ---- comfort noise


def pauses(count: int) -> list[AudioFrame]:
    """Silence that is nobody's, as the tick feeds it."""
    return [AudioFrame(number * 960, 960, 1000.0) for number in range(count)]


@pytest.mark.rfc(3389, "4")
@in_virtual_time
async def test_party_that_takes_cn_is_told_of_a_pause_and_sent_no_silence(
    loop: VirtualLoop,
) -> None:
    bench = StreamBench(loop)
    bench.configure(PCMU, send_noise=COMFORT_NOISE)
    hiss = (np.random.default_rng(1).standard_normal(8000) * 40).astype(np.int16)
    page = Voice()
    spoken = [page.frame_of_pcm(piece, 8000, 1000.0) for piece in frames_of(hiss, 160)]
    silent = [page.conceal(960, 1000.0) for _ in range(100)]
    back = [page.frame_of_pcm(piece, 8000, 1000.0) for piece in frames_of(hiss, 160)]

    for frame in (*spoken, *silent, *back):
        bench.stream.hear(frame)

    packets = bench.transport.packets
    told = [packet for packet in packets if packet.payload_type == 13]
    speech = [packet for packet in packets if packet.payload_type == 0]
    # PLC is speech for 60 ms; then one in 400 ms.
    assert (len(speech), len(told)) == (50 + 3 + 50, 5)
    assert [len(packet.payload) for packet in told] == [1] * 5
    assert told[0].payload[0] == pytest.approx(-20 * np.log10(40 / 32768), abs=3)
    assert [packet.sequence for packet in packets] == [1000 + n for n in range(108)]
    assert told[0].timestamp == 5000 + 53 * 160
    assert not told[0].marker
    assert speech[53].marker
    assert speech[53].timestamp == 5000 + 150 * 160
    await bench.close()


@in_virtual_time
async def test_silence_itself_is_told_as_a_little_noise(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    bench.configure(PCMU, send_noise=COMFORT_NOISE)

    for frame in pauses(1):
        bench.stream.hear(frame)
    bench.configure(PCMU, send_noise=COMFORT_NOISE)
    for frame in said(PCMU, speechlike(0.02, 8000)) + pauses(1):
        bench.stream.hear(frame)

    assert [packet.payload for packet in bench.transport.packets if packet.payload_type == 13] == [
        bytes((QUIETEST_LEVEL,))
    ]
    await bench.close()


@in_virtual_time
async def test_party_that_takes_no_cn_is_sent_quiet_that_does_not_pop(loop: VirtualLoop) -> None:
    bench = StreamBench(loop, PCMA)

    for frame in pauses(20):
        bench.stream.hear(frame)

    payloads = [packet.payload for packet in bench.transport.packets]
    assert len(payloads) == 20
    assert max(abs(int(sample)) for sample in A_LAW.decode(b"".join(payloads))) <= 8
    await bench.close()


@in_virtual_time
async def test_digit_is_not_disturbed_by_a_pause(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    bench.configure(PCMU, send_noise=COMFORT_NOISE)
    for frame in said(PCMU, speechlike(0.1, 8000)):
        bench.stream.hear(frame)

    bench.stream.digit("5", Phase.START)
    for frame in pauses(10):
        bench.stream.hear(frame)

    assert {packet.payload_type for packet in bench.transport.packets[5:]} == {101}
    await bench.close()


# ---- packet lengths


@pytest.mark.parametrize("heard_ms", [10, 20, 30, 40, 60])
@pytest.mark.parametrize("wanted_ms", [10, 20, 30, 40, 50, 60])
@in_virtual_time
async def test_relayed_g711_is_cut_to_what_the_party_wants_and_not_decoded(
    loop: VirtualLoop, heard_ms: int, wanted_ms: int
) -> None:
    bench = StreamBench(loop, PCMA, ptime_ms=wanted_ms)
    payload = bytes(range(256)) * 38
    size = heard_ms * 8
    voice = Voice()
    frames = [
        voice.frame(PCMA, payload[at : at + size], heard_ms * 48, 1000.0)
        for at in range(0, 9600, size)
    ]

    for frame in frames:
        bench.stream.hear(frame)

    packets = bench.transport.packets
    assert {len(packet.payload) for packet in packets} == {wanted_ms * 8}
    sent = b"".join(packet.payload for packet in packets)
    assert sent == payload[: len(sent)]
    assert 9600 - len(sent) < wanted_ms * 8
    steps = {b.timestamp - a.timestamp for a, b in pairwise(packets)}
    assert steps == {wanted_ms * 8}
    assert all(frame.rendered is None for frame in frames)
    await bench.close()


@in_virtual_time
async def test_loss_in_a_relay_that_is_cut_shifts_nothing(loop: VirtualLoop) -> None:
    bench = StreamBench(loop, ptime_ms=30)
    voice = Voice()
    voice.frame(PCMU, b"\xff" * 160, 960, 1000.0)
    frames = [
        voice.conceal(960, 1000.0) if number == 4 else voice.frame(PCMU, b"\x21" * 160, 960, 1000.0)
        for number in range(12)
    ]

    for frame in frames:
        bench.stream.hear(frame)

    packets = bench.transport.packets
    sent = b"".join(packet.payload for packet in packets)
    assert len(packets) == 8
    assert sent[:640] == b"\x21" * 640
    assert sent[800:] == b"\x21" * 1120
    assert {b.timestamp - a.timestamp for a, b in pairwise(packets)} == {240}
    await bench.close()


@in_virtual_time
async def test_loss_in_relayed_opus_is_left_to_the_party_to_repair(loop: VirtualLoop) -> None:
    bench = StreamBench(loop, OPUS)
    voice = Voice()
    payloads = [frame.payload for frame in said(OPUS, speechlike(0.4, 8000))]
    frames = [
        voice.conceal(960, 1000.0, payloads[number + 1])
        if number in (7, 12)
        else voice.frame(OPUS, payload or b"", 960, 1000.0)
        for number, payload in enumerate(payloads)
    ]

    for frame in frames:
        bench.stream.hear(frame)

    packets = bench.transport.packets
    kept = [number for number in range(20) if number not in (7, 12)]
    assert [packet.payload for packet in packets] == [payloads[number] for number in kept]
    assert [packet.sequence for packet in packets] == [1000 + number for number in kept]
    assert [packet.timestamp for packet in packets] == [5000 + number * 960 for number in kept]
    assert [packet.marker for packet in packets] == [True] + [False] * 17
    await bench.close()


@in_virtual_time
async def test_absence_from_relayed_opus_is_comfort_noise(loop: VirtualLoop) -> None:
    bench = StreamBench(loop, OPUS)
    voice = Voice()
    for frame in said(OPUS, speechlike(0.2, 8000)):
        bench.stream.hear(voice.frame(OPUS, frame.payload or b"", 960, 1000.0))

    for _ in range(20):
        bench.stream.hear(voice.conceal(960, 1000.0))

    assert len(bench.transport.packets) == 10 + 20 - 3
    await bench.close()


@in_virtual_time
async def test_opus_that_is_too_long_for_the_party_is_coded_anew(loop: VirtualLoop) -> None:
    bench = StreamBench(loop, OPUS)
    bench.configure(OPUS, maxptime_ms=20)

    for frame in said(OPUS, speechlike(0.6, 8000), ptime_ms=60):
        bench.stream.hear(frame)

    packets = bench.transport.packets
    assert [opus_duration(packet.payload) for packet in packets] == [960] * 30
    assert {b.timestamp - a.timestamp for a, b in pairwise(packets)} == {960}
    await bench.close()


# ---- stalls


@in_virtual_time
async def test_f14_stall_of_200_ms_is_caught_up_with_five_packets_a_leg(loop: VirtualLoop) -> None:
    bridge = Bridge(loop, PCMU, OPUS)
    phone, page = bridge.sides
    speech = frames_of(speechlike(2.0, 8000), 160)
    law = [MU_LAW.encode(piece) for piece in speech]
    opus = OpusEncoder(8000)
    coded = [opus.encode(piece) for piece in speech]

    def arrive(number: int) -> None:
        phone.arrive(law[number])
        page.arrive(coded[number], step=960, payload_type=111)

    for number in range(40):
        arrive(number)
        await elapse(0.02)
    before = [len(side.transport.packets) for side in bridge.sides]
    loop._pass(0.2)  # the time of some computation
    for number in range(40, 50):  # what the sockets held meanwhile
        arrive(number)
    await elapse(0)
    after = [len(side.transport.packets) for side in bridge.sides]
    for number in range(50, 90):
        await elapse(0.02)
        arrive(number)

    assert [0 < now - then <= 5 for now, then in zip(after, before, strict=True)] == [True] * 2
    for side, step in ((phone, 160), (page, 960)):
        packets = side.transport.packets
        assert [packet.sequence for packet in packets] == [1000 + n for n in range(len(packets))]
        # What was left out is time that went by: nothing is heard later than it was before.
        assert packets[-1].timestamp - packets[0].timestamp == 89 * step
    await bridge.close()


@in_virtual_time
async def test_f14_mixed_party_is_caught_up_with_alike(loop: VirtualLoop) -> None:
    pacer, hub = Pacer(loop, phases=1), Hub()
    listener = StreamBench(loop)
    hub.join("listener", listener=listener.stream)
    speakers = Voice(), Voice()
    for name in ("first", "second"):
        hub.join(name)
    hub.route({"listener": {"first": 1.0, "second": 1.0}})
    stop = pacer.add(hub.tick)

    def speak() -> None:
        for name, voice in zip(("first", "second"), speakers, strict=True):
            hub.push(name, voice.frame(PCMU, b"\x31" * 160, 960, loop.time()))

    for _ in range(50):
        speak()
        await elapse(0.02)
    before = len(listener.transport.packets)
    began_at, begin = loop.time(), listener.transport.packets[-1].timestamp
    loop._pass(0.2)  # the time of some computation
    await elapse(0.0001)
    burst = len(listener.transport.packets) - before
    for _ in range(10):
        speak()
    for _ in range(50):
        await elapse(0.02)
        speak()

    assert 0 < burst <= 5
    elapsed = (loop.time() - began_at) * 8000
    assert listener.transport.packets[-1].timestamp - begin == pytest.approx(elapsed, abs=161)
    stop()
    await listener.close()


# ---- encoders


@in_virtual_time
async def test_encoder_that_goes_up_in_rate_is_not_heard_to(loop: VirtualLoop) -> None:
    bench, steady = StreamBench(loop, OPUS), StreamBench(loop, OPUS)
    narrow = recorded_speech(8000)[8000:]
    wide = np.fft.irfft(np.fft.rfft(narrow), 3 * len(narrow)) * 3
    pieces = frames_of(wide.astype(np.int16), 480)
    change = 80  # in the midst of speech
    heard: dict[StreamBench, list[Pcm]] = {bench: [], steady: []}

    for side, pcms in heard.items():
        page, decoder = Voice(), OpusDecoder(24_000)
        # It opens at 8 kHz, and at 24 kHz, and all else is the same.
        first = (narrow[:160], 8000) if side is bench else (pieces[0], 24_000)
        said = [first, *((piece, 24_000) for piece in pieces[1:])]
        for number, (pcm, rate) in enumerate(said):
            if side is bench and 0 < number < change:
                pcm, rate = narrow[number * 160 : (number + 1) * 160], 8000
            side.stream.hear(page.frame_of_pcm(pcm, rate, 1000.0))
        pcms += [decoder.decode(packet.payload) for packet in side.transport.packets]

    changed, same = (heard[side][change : change + 10] for side in (bench, steady))
    ours, theirs = ([level_dbfs(piece) for piece in pieces] for pieces in (changed, same))
    assert min(theirs) > -40, "there is speech"
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 3
    steps = [
        steepest_step(np.concatenate(heard[side][change - 2 : change + 10]))
        for side in (bench, steady)
    ]
    assert steps[0] < 1.3 * steps[1]
    for side in heard:
        await side.close()


@in_virtual_time
async def test_page_that_was_reloaded_hears_the_first_packet_as_loud_as_any(
    loop: VirtualLoop,
) -> None:
    bench = StreamBench(loop, OPUS)
    speech = said(PCMU, tone(300, 1.0, 8000, -16))
    for frame in speech[:25]:
        bench.stream.hear(frame)

    bench.transport = FakeTransport()
    bench.stream.attach(bench.transport)
    for frame in speech[25:]:
        bench.stream.hear(frame)

    decoder = OpusDecoder(8000)
    levels = [level_dbfs(decoder.decode(packet.payload)) for packet in bench.transport.packets]
    assert levels[0] > -19
    assert max(abs(level + 16) for level in levels[1:]) < 1
    assert bench.transport.packets[0].sequence == 1025
    await bench.close()


@in_virtual_time
async def test_party_that_wants_no_pauses_is_sent_none(loop: VirtualLoop) -> None:
    bench = StreamBench(loop, replace(OPUS, fmtp="usedtx=1"))
    for frame in [*said(PCMU, speechlike(0.5, 8000)), *pauses(100)]:
        bench.stream.hear(frame)

    packets = bench.transport.packets
    assert len(packets) < 25 + 30
    assert packets[-1].timestamp - packets[0].timestamp > 100 * 960
    assert packets[-1].sequence == 1000 + len(packets) - 1
    await bench.close()
