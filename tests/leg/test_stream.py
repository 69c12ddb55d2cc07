"""The RTP half of a leg, over a transport of paper and in virtual time."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from gateway.codec import OPUS, PCMA, PCMU, Codec
from gateway.leg.leg import DigitPressed, Phase
from gateway.media.frame import Voice
from gateway.media.g711 import A_LAW, MU_LAW
from gateway.media.tone import tone_level_dbfs
from gateway.net.media import TransportState
from gateway.rtp.dtmf import DIGITS
from gateway.sdp.description import Direction
from tests.leg.peer import MS, StreamBench, said
from tests.media.sound import tone
from tests.support.impair import Impairer
from tests.support.loop import START, VirtualLoop, elapse, in_virtual_time
from tests.support.media import FakeTransport, new_stream

# ---- to the party


@in_virtual_time
async def test_payload_of_the_same_codec_is_relayed_untouched(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    frames = said(PCMU, tone(1000, 0.2, 8000))

    for frame in frames:
        bench.stream.hear(frame)

    packets = bench.transport.packets
    assert [packet.payload for packet in packets] == [frame.payload for frame in frames]
    assert np.diff([packet.timestamp for packet in packets]).tolist() == [160] * 9
    assert np.diff([packet.sequence for packet in packets]).tolist() == [1] * 9
    assert [packet.marker for packet in packets] == [True] + [False] * 9
    await bench.close()


@in_virtual_time
async def test_opus_is_relayed_in_its_own_clock(loop: VirtualLoop) -> None:
    bench = StreamBench(loop, OPUS)
    frames = said(OPUS, tone(1000, 0.2, 48_000), rate=48_000)

    for frame in frames:
        bench.stream.hear(frame)

    packets = bench.transport.packets
    assert [packet.payload for packet in packets] == [frame.payload for frame in frames]
    assert np.diff([packet.timestamp for packet in packets]).tolist() == [960] * 9
    assert {packet.payload_type for packet in packets} == {OPUS.payload_type}
    await bench.close()


@in_virtual_time
async def test_other_codec_is_transcoded(loop: VirtualLoop) -> None:
    bench = StreamBench(loop, PCMA)

    for frame in said(PCMU, tone(1000, 0.4, 8000)):
        bench.stream.hear(frame)

    packets = bench.transport.packets
    pcm = np.concatenate([A_LAW.decode(packet.payload) for packet in packets])
    assert {packet.payload_type for packet in packets} == {PCMA.payload_type}
    assert tone_level_dbfs(pcm, 8000, 1000) == pytest.approx(-10, abs=0.2)
    await bench.close()


@in_virtual_time
async def test_opus_is_transcoded_to_g711(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)

    for frame in said(OPUS, tone(1000, 0.6, 48_000), rate=48_000):
        bench.stream.hear(frame)

    pcm = np.concatenate([MU_LAW.decode(packet.payload) for packet in bench.transport.packets])
    assert len(pcm) == 4800
    assert tone_level_dbfs(pcm[1600:], 8000, 1000) == pytest.approx(-10, abs=1)
    await bench.close()


@pytest.mark.parametrize("theirs_ms", [10, 30, 60])
@in_virtual_time
async def test_other_packet_lengths_are_cut_into_what_the_party_wants(
    loop: VirtualLoop, theirs_ms: int
) -> None:
    bench = StreamBench(loop, PCMA)

    for frame in said(PCMU, tone(1000, 0.6, 8000), ptime_ms=theirs_ms):
        bench.stream.hear(frame)

    packets = bench.transport.packets
    assert {len(packet.payload) for packet in packets} == {160}
    assert len(packets) == 30
    assert np.diff([packet.timestamp for packet in packets]).tolist() == [160] * 29
    pcm = np.concatenate([A_LAW.decode(packet.payload) for packet in packets])
    assert tone_level_dbfs(pcm, 8000, 1000) == pytest.approx(-10, abs=0.2)
    await bench.close()


@pytest.mark.parametrize("wanted_ms", [10, 30, 60])
@in_virtual_time
async def test_party_gets_the_packet_length_it_asks_for(loop: VirtualLoop, wanted_ms: int) -> None:
    bench = StreamBench(loop, PCMA, wanted_ms)

    for frame in said(PCMU, tone(1000, 0.6, 8000)):
        bench.stream.hear(frame)

    assert {len(packet.payload) for packet in bench.transport.packets} == {8 * wanted_ms}
    assert len(bench.transport.packets) == 600 // wanted_ms
    await bench.close()


@in_virtual_time
async def test_gap_in_a_relay_is_part_of_it(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    voice = Voice()
    first = voice.frame(PCMU, b"\x01" * 240, 30 * MS, loop.time())
    lost = voice.conceal(30 * MS, loop.time())
    last = voice.frame(PCMU, b"\x02" * 240, 30 * MS, loop.time())

    for frame in (first, lost, last):
        bench.stream.hear(frame)

    packets = bench.transport.packets
    assert [len(packet.payload) for packet in packets] == [160] * 4
    assert packets[0].payload + packets[1].payload[:80] == first.payload
    assert [packet.timestamp - packets[0].timestamp for packet in packets] == [0, 160, 320, 480]
    await bench.close()


@in_virtual_time
async def test_numbers_go_on_when_the_codec_changes(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    frames = said(PCMU, tone(1000, 0.2, 8000))

    for frame in frames[:5]:
        bench.stream.hear(frame)
    bench.configure(PCMA)
    for frame in frames[5:]:
        bench.stream.hear(frame)

    packets = bench.transport.packets
    assert [packet.payload_type for packet in packets] == [0] * 5 + [8] * 5
    assert np.diff([packet.sequence for packet in packets]).tolist() == [1] * 9
    assert np.diff([packet.timestamp for packet in packets]).tolist() == [160] * 9
    assert len({packet.ssrc for packet in packets}) == 1
    await bench.close()


@in_virtual_time
async def test_nothing_is_sent_before_a_codec_is_known_or_after_the_end(
    loop: VirtualLoop,
) -> None:
    bench = StreamBench(loop)
    transport = FakeTransport()
    unnegotiated = new_stream(loop, bench.pacer, transport)
    (frame, *_) = said(PCMU, tone(1000, 0.1, 8000))

    unnegotiated.hear(frame)
    unnegotiated.close()
    await bench.close()
    bench.stream.hear(frame)

    assert not transport.sent
    assert not bench.transport.sent


@in_virtual_time
async def test_party_is_connected_while_its_path_is(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    seen = [bench.stream.is_connected]

    for state in (TransportState.CONNECTED, TransportState.DISCONNECTED):
        bench.stream.on_state(state)
        seen.append(bench.stream.is_connected)

    assert seen == [False, True, False]
    await bench.close()


# ---- from the party


@in_virtual_time
async def test_packet_in_is_a_frame_out_in_the_same_call(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)

    bench.arrive(b"\x55" * 160)

    (frame,) = bench.frames
    assert (frame.payload, frame.codec, frame.duration) == (b"\x55" * 160, PCMU, 20 * MS)
    assert frame.heard_at == loop.time()
    await bench.close()


@in_virtual_time
async def test_packets_in_the_wrong_order_are_put_right(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    bench.arrive(b"a" * 160)
    sequence, timestamp = bench.sequence, bench.timestamp
    bench.lose()
    bench.arrive(b"c" * 160)
    bench.sequence, bench.timestamp = sequence, timestamp
    bench.arrive(b"b" * 160)

    assert [frame.payload and frame.payload[:1] for frame in bench.frames] == [b"a", b"b", b"c"]
    await bench.close()


@in_virtual_time
async def test_what_waits_for_a_lost_packet_leaves_when_that_is_given_up(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    await elapse(0.007)
    bench.arrive()
    bench.lose()
    await elapse(0.04)
    bench.arrive()
    came_at: list[float] = []
    bench.stream.on_frame = lambda _frame: came_at.append(loop.time())

    await elapse(0.1)

    # Not on the beat, which is 7 ms off.
    assert came_at[:2] == pytest.approx([START + 0.087] * 2)
    await bench.close()


@in_virtual_time
async def test_jitter_of_100_ms_is_learned_and_takes_no_packet_for_long(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    wire = Impairer(3, jitter_ms=100)
    started_at = loop.time()
    for number in range(1500):
        for due, _ in wire.send(b"", started_at + number * 0.02):
            loop.call_at(due, bench.arrive)
    await elapse(10)
    frames, spoken = len(bench.frames), bench.spoken

    await elapse(20)

    assert spoken < 500
    assert len(bench.frames) - frames == bench.spoken - spoken == pytest.approx(1000, abs=5)
    await bench.close()


@in_virtual_time
async def test_one_outage_teaches_no_patience(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    await bench.talk(1)
    await elapse(0.5)
    await bench.talk(1)
    bench.frames.clear()

    await elapse(0.085)

    assert bench.heard_ms == 40
    await bench.close()


@pytest.mark.parametrize("lost", [1, 2, 3])
@in_virtual_time
async def test_hole_is_filled_so_that_the_timeline_has_none(loop: VirtualLoop, lost: int) -> None:
    bench = StreamBench(loop)
    await bench.talk(0.2)
    for _ in range(lost):
        bench.lose()
        await elapse(0.02)

    await bench.talk(0.2)

    assert bench.heard_ms == pytest.approx(400 + 20 * lost, abs=1)
    positions = [frame.position for frame in bench.frames]
    ends = [frame.position + frame.duration for frame in bench.frames]
    assert positions[1:] == ends[:-1]
    await bench.close()


@in_virtual_time
async def test_silent_party_is_filled_in_for_by_the_beat(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    await bench.talk(0.2)

    await elapse(2.0)

    assert bench.heard_ms == pytest.approx(2200, abs=100)
    await bench.close()


@in_virtual_time
async def test_party_that_was_never_heard_is_not_filled_in_for(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)

    await elapse(2.0)

    assert not bench.frames
    await bench.close()


@in_virtual_time
async def test_late_burst_adds_no_delay(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    await bench.talk(0.2)
    await elapse(0.5)
    for _ in range(25):  # what was sent while nothing came through
        bench.arrive()
    await bench.talk(1.0)

    assert bench.heard_ms == pytest.approx(1700, abs=100)
    await bench.close()


@in_virtual_time
async def test_pause_that_the_timestamps_tell_is_no_more_than_a_pause(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    await bench.talk(0.2)
    bench.timestamp += 8000
    await elapse(1.0)
    await bench.talk(1.0)

    spoken = [frame for frame in bench.frames if frame.payload is not None]
    assert len(spoken) == pytest.approx(60, abs=3)
    assert bench.heard_ms == pytest.approx(2200, abs=100)
    await bench.close()


@in_virtual_time
async def test_key_of_the_party_is_told_with_both_edges(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    bench.arrive()
    at = bench.timestamp
    for duration, end in ((160, 0), (320, 0), (480, 0x80), (480, 0x80), (480, 0x80)):
        bench.timestamp = at
        event = struct.pack("!BBH", DIGITS.index("5"), end | 10, duration)
        bench.arrive(event, payload_type=101)
        await elapse(0.02)

    assert bench.keys == [DigitPressed("5", Phase.START), DigitPressed("5", Phase.END, 60)]
    await bench.close()


@in_virtual_time
async def test_key_for_the_party_replaces_its_audio(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    frames = said(PCMU, tone(1000, 1.0, 8000))

    for number, frame in enumerate(frames):
        if number == 10:
            bench.stream.digit("5", Phase.START)
        if number == 20:
            bench.stream.digit("5", Phase.END)
        bench.stream.hear(frame)
        await elapse(0.02)

    packets = bench.transport.packets
    events = [packet for packet in packets if packet.payload_type == 101]
    first, last = packets.index(events[0]), packets.index(events[-1])
    assert {packet.payload_type for packet in packets[first : last + 1]} == {101}
    assert {packet.timestamp for packet in events} == {events[0].timestamp}
    assert [packet.payload[1] >> 7 for packet in events[-3:]] == [1, 1, 1]
    assert np.diff([packet.sequence for packet in packets]).tolist() == [1] * (len(packets) - 1)
    # 50 frames were heard; time went on under the events.
    assert packets[-1].timestamp - packets[0].timestamp == 49 * 160
    await bench.close()


@in_virtual_time
async def test_reports_go_out_and_measure_the_round_trip(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    for frame in said(PCMU, tone(1000, 2.0, 8000)):
        bench.stream.hear(frame)
        bench.arrive()
        await elapse(0.02)
    report = bench.transport.reports[-1]
    seconds, fraction = struct.unpack("!II", report[8:16])
    last_report = (seconds & 0xFFFF) << 16 | fraction >> 16
    await elapse(0.04)

    block = struct.pack("!IIIIII", 0x1111, 0, 0, 0, last_report, 0)
    bench.transport.on_packet(struct.pack("!BBHI", 0x81, 201, 7, 0x2222) + block, loop.time())

    quality = bench.stream.quality()
    assert (quality.codec, quality.loss_percent) == ("PCMU", 0)
    assert quality.round_trip_ms is not None
    assert 0 < quality.round_trip_ms < 2000
    await bench.close()


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\xc8", b"\x00" * 12, b"\xff" * 1500])
@in_virtual_time
async def test_junk_is_no_frame_and_no_error(loop: VirtualLoop, data: bytes) -> None:
    bench = StreamBench(loop)

    bench.transport.on_packet(data, loop.time())

    assert not bench.frames
    await bench.close()


@pytest.mark.parametrize("ssrc", [0x2222, 0x3333])
@in_virtual_time
async def test_party_whose_clock_stood_still_is_heard_at_once(loop: VirtualLoop, ssrc: int) -> None:
    bench = StreamBench(loop)
    await bench.talk(0.2)
    await elapse(5.0)

    bench.ssrc = ssrc
    await bench.talk(1.0)

    assert bench.spoken >= 10 + 50 - 5
    await bench.close()


@in_virtual_time
async def test_long_packets_that_jitter_are_not_taken_for_silence(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    for number in range(30):
        bench.arrive(b"\xff" * 480, step=480)
        await elapse(0.068 if number % 2 else 0.052)

    assert bench.spoken == len(bench.frames) == 30
    await bench.close()


@in_virtual_time
async def test_comfort_noise_lasts_until_speech_returns(loop: VirtualLoop) -> None:
    comfort_noise = Codec("CN", payload_type=13, clock_rate=8000, sample_rate=8000)
    bench = StreamBench(loop)
    bench.configure(PCMU, receive=(comfort_noise,))
    await bench.talk(0.2)
    for _ in range(10):
        bench.arrive(b"\x40", step=800, payload_type=13)
        await elapse(0.1)

    await bench.talk(0.2)

    assert bench.heard_ms == pytest.approx(1400, abs=40)
    assert bench.spoken >= 19
    await bench.close()


@in_virtual_time
async def test_change_to_a_codec_of_another_clock_leaves_no_gap(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    bench.configure(PCMU, receive=(OPUS,))
    (opus,) = said(OPUS, tone(1000, 0.02, 48_000), rate=48_000)
    assert opus.payload is not None

    bench.arrive()
    bench.arrive(opus.payload, step=960, payload_type=OPUS.payload_type)
    bench.arrive()

    assert [frame.duration for frame in bench.frames] == [20 * MS] * 3
    assert bench.spoken == 3
    await bench.close()


@in_virtual_time
async def test_stall_of_ours_is_no_silence_of_the_party(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    await bench.talk(0.2)

    loop._pass(0.2)  # the time of some computation
    await elapse(0.0001)
    for _ in range(10):  # what the socket held meanwhile
        bench.arrive()
    await bench.talk(0.2)

    # What is too late is left out; on the timeline it is there.
    assert bench.spoken == 10 + 4 + 10
    assert [frame.is_past for frame in bench.frames].count(True) == 1
    assert bench.heard_ms == 600
    await bench.close()


# ---- a party that holds us


@in_virtual_time
async def test_party_that_wants_nothing_is_sent_nothing_while_time_goes_on(
    loop: VirtualLoop,
) -> None:
    bench = StreamBench(loop)
    bench.stream.on_state(TransportState.CONNECTED)
    frames = said(PCMU, tone(1000, 0.3, 8000))

    bench.stream.hear(frames[0])
    bench.configure(PCMU, direction=Direction.RECVONLY)
    was_connected = bench.stream.is_connected
    for frame in frames[1:10]:
        bench.stream.hear(frame)
    bench.stream.digit("5", Phase.START)
    bench.configure(PCMU)
    bench.stream.hear(frames[10])

    packets = bench.transport.packets
    assert not was_connected
    assert bench.stream.is_connected
    assert [packet.timestamp - packets[0].timestamp for packet in packets] == [0, 1600]
    assert packets[1].marker
    await bench.close()


@in_virtual_time
async def test_party_that_is_not_to_speak_is_not_filled_in_for(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    await bench.talk(0.2)
    bench.configure(PCMU, direction=Direction.SENDONLY)

    await elapse(5.0)
    bench.configure(PCMU)
    await bench.talk(0.2)

    assert bench.spoken == len(bench.frames) == 20
    await bench.close()


@in_virtual_time
async def test_stopped_stream_sends_nothing_whatever_happens_and_hears_on(
    loop: VirtualLoop,
) -> None:
    bench = StreamBench(loop)
    bench.stream.on_state(TransportState.CONNECTED)
    frames = said(PCMU, tone(1000, 0.3, 8000))
    bench.stream.hear(frames[0])

    bench.stream.stop_sending()
    bench.stream.hear(frames[1])
    bench.stream.digit("5", Phase.START)
    bench.configure(PCMU)
    bench.stream.hear(frames[2])
    await bench.talk(20)  # reports are due by then
    heard = len(bench.frames)
    await bench.close()  # and a goodbye

    assert len(bench.transport.sent) == 1
    assert heard == 1000


@in_virtual_time
async def test_nothing_is_handed_on_after_the_end(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    await bench.talk(0.1)
    await bench.close()
    bench.frames.clear()

    bench.arrive()
    await elapse(1)

    assert not bench.frames
