"""The figures of a leg's media, between two streams with a bad path of our own between them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.codec import OPUS, PCMU, Codec
from gateway.leg.leg import MediaQuality
from gateway.leg.quality import Alert, QualityAlert, ReceivedQuality, SentQuality, Way
from gateway.leg.stream import AudioStream
from gateway.media.frame import Voice
from gateway.media.g711 import MU_LAW
from gateway.net.media import TransportState
from gateway.net.pacer import Pacer
from gateway.rtp.packet import is_rtcp
from gateway.rtp.rtcp import Goodbye, ReceiverReport, build_rtcp
from gateway.rtp.session import RtpOptions, RtpSession
from gateway.sdp.description import Direction, MediaDescription
from gateway.sdp.negotiation import Agreement
from tests.media.sound import Pcm, frames_of, tone
from tests.support.impair import Impairer
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

MS = 48
"Ticks."

ONE_WAY_FROM = QualityAlert(Alert.ONE_WAY_AUDIO, Way.RECEIVED)
ONE_WAY_TO = QualityAlert(Alert.ONE_WAY_AUDIO, Way.SENT)


class Path:
    """One direction: what passes, how late, and how badly."""

    def __init__(self, loop: VirtualLoop, *, delay_s: float = 0.0) -> None:
        self.passes: Callable[[bytes], bool] = lambda _packet: True
        self.impairer = Impairer(1)
        self._loop = loop
        self._delay_s = delay_s
        self.on_packet: Callable[[bytes, float], None] = lambda _data, _now: None

    def carry(self, packet: bytes) -> None:
        if not self.passes(packet):
            return
        # Reports are not counted among the packets that are lost.
        now = self._loop.time()
        out = [(now, packet)] if is_rtcp(packet) else self.impairer.send(packet, now)
        for due, each in out:
            self._loop.call_at(due + self._delay_s, self._arrive, each)

    def _arrive(self, packet: bytes) -> None:
        self.on_packet(packet, self._loop.time())


class Wire:
    """A `MediaTransport` between two paths."""

    def __init__(self, out: Path, back: Path) -> None:
        self._out, self._back = out, back
        self.on_state: Callable[[TransportState], None] = lambda _state: None

    @property
    def on_packet(self) -> Callable[[bytes, float], None]:
        return self._back.on_packet

    @on_packet.setter
    def on_packet(self, take: Callable[[bytes, float], None]) -> None:
        self._back.on_packet = take

    def describe(self, media: MediaDescription, *, restart: bool = False) -> MediaDescription:
        return media

    def accept(self, remote: MediaDescription) -> None:
        raise NotImplementedError

    def add_candidate(self, candidate: str, ufrag: str | None) -> None:
        raise NotImplementedError

    def send(self, packet: bytes) -> None:
        self._out.carry(packet)

    def close(self) -> None:
        self._back.on_packet = lambda _data, _now: None


AGREED = Agreement(
    index=0,
    send=PCMU,
    receive=(PCMU,),
    send_digits=None,
    direction=Direction.SENDRECV,
    ptime_ms=20,
)


class Bench:
    """Our stream and a party's; the party speaks in a tone, and we answer in one."""

    def __init__(
        self,
        loop: VirtualLoop,
        *,
        delay_s: float = 0.0,
        reports_every_s: float = 2.5,
        codec: Codec = PCMU,
        rtcp_xr: tuple[str, ...] = (),
    ) -> None:
        self.loop = loop
        self.pacer = Pacer(loop, phases=1)
        self.to_us, self.to_them = Path(loop, delay_s=delay_s), Path(loop, delay_s=delay_s)
        self.agreed = replace(AGREED, send=codec, receive=(codec,), rtcp_xr=rtcp_xr)
        self.ours = self._stream(Wire(self.to_them, self.to_us), 1, reports_every_s)
        self.theirs = self._stream(Wire(self.to_us, self.to_them), 2, reports_every_s)
        self.alerts: list[tuple[float, QualityAlert]] = []
        self.ours.on_alert = lambda alert: self.alerts.append((loop.time(), alert))
        self.voice = Voice()
        self.pcm = tone(400, 1, 8000, -20)
        self._at = 0

    async def talk(self, seconds: float, *, they: bool = True, we: bool = True) -> None:
        """Either speaks for so long, or is silent."""
        pieces = frames_of(self.pcm, 160)
        for _ in range(round(seconds * 50)):
            payload = MU_LAW.encode(pieces[self._at % len(pieces)])
            frame = self.voice.frame(PCMU, payload, 20 * MS, self.loop.time())
            self._at += 1
            for stream, speaks in ((self.theirs, they), (self.ours, we)):
                if speaks:
                    stream.hear(frame)
            await elapse(0.02)

    @property
    def received(self) -> ReceivedQuality:
        received = self.ours.quality().received
        assert received is not None
        return received

    @property
    def sent(self) -> SentQuality:
        sent = self.ours.quality().sent
        assert sent is not None
        return sent

    @property
    def wrong(self) -> set[QualityAlert]:
        """What is wrong now."""
        return set(self.ours.quality().alerts)

    async def close(self) -> None:
        self.ours.close()
        self.theirs.close()
        self.voice.close()
        await elapse(0.2)

    def _stream(self, wire: Wire, number: int, reports_every_s: float) -> AudioStream:
        session = RtpSession(
            ssrc=number,
            sequence=0xFFF0,
            timestamp=0,
            cname="test",
            now=self.loop.time(),
            ntp_offset=1e9,
            options=RtpOptions(report_interval_s=reports_every_s),
        )
        stream = AudioStream(wire, session, pacer=self.pacer, clock=self.loop.time)
        stream.configure(self.agreed)
        stream.on_state(TransportState.CONNECTED)
        stream.begin()
        return stream


# ---- what is counted


@pytest.mark.parametrize(("loss", "burst"), [(0.01, 1), (0.05, 1), (0.05, 4), (0.2, 1)])
@in_virtual_time
async def test_loss_that_is_counted_is_the_loss_that_was_made(
    loop: VirtualLoop, loss: float, burst: float
) -> None:
    bench = Bench(loop)
    bench.to_us.impairer = Impairer(7, loss=loss, burst=burst)

    await bench.talk(30)
    made, sent = bench.to_us.impairer.lost, bench.to_us.impairer.sent
    bench.to_us.impairer = Impairer(7)
    await bench.talk(0.1)  # only behind a loss it is known to be one
    await elapse(0.1)

    received = bench.received
    assert (received.lost, received.late) == (made, 0)
    assert received.packets == sent + 5 - made
    assert received.bytes == 160 * received.packets
    assert received.loss_percent == pytest.approx(100 * made / (sent + 5))
    by_chance = 1 / (1 - loss)
    assert received.burst_ratio == pytest.approx(max(burst, by_chance) / by_chance, rel=0.25)
    await bench.close()


@in_virtual_time
async def test_what_came_twice_or_out_of_order_is_counted_and_is_no_loss(
    loop: VirtualLoop,
) -> None:
    bench = Bench(loop)
    bench.to_us.impairer = Impairer(3, reorder=0.02, duplicate=0.03)

    await bench.talk(30)
    await elapse(0.2)

    received, impairer = bench.received, bench.to_us.impairer
    assert received.lost == 0
    assert received.duplicates == impairer.duplicated > 20
    assert received.reordered == pytest.approx(impairer.reordered, abs=2)
    await bench.close()


@in_virtual_time
async def test_what_came_too_late_is_late_and_not_lost(loop: VirtualLoop) -> None:
    bench = Bench(loop)
    held: list[bytes] = []
    await bench.talk(1)

    def hold(packet: bytes) -> bool:
        held.append(packet)
        return False

    bench.to_us.passes = hold
    await bench.talk(0.02)
    bench.to_us.passes = lambda _packet: True
    await bench.talk(0.2)
    bench.to_us.on_packet(held[0], loop.time())

    received = bench.received
    assert (received.lost, received.late) == (0, 1)
    assert received.loss_percent == pytest.approx(100 / 61)
    await bench.close()


@in_virtual_time
async def test_jitter_is_told_with_its_mean_and_its_worst(loop: VirtualLoop) -> None:
    bench = Bench(loop)
    await bench.talk(10)
    bench.to_us.impairer = Impairer(5, jitter_ms=15)
    await bench.talk(10)
    bench.to_us.impairer = Impairer(5)
    await bench.talk(10)

    received = bench.received
    assert received.jitter_ms is not None
    assert received.jitter_mean_ms is not None
    assert received.jitter_max_ms is not None
    assert received.jitter_ms < 0.5
    # Two moments spread evenly over 15 ms are 5 ms apart on average.
    assert received.jitter_max_ms == pytest.approx(5, rel=0.4)
    assert received.jitter_mean_ms == pytest.approx(received.jitter_max_ms / 3, rel=0.4)
    await bench.close()


@in_virtual_time
async def test_round_trip_and_what_the_party_says_of_us(loop: VirtualLoop) -> None:
    bench = Bench(loop, delay_s=0.05)
    bench.to_them.impairer = Impairer(11, loss=0.1)

    await bench.talk(20)

    quality, sent = bench.ours.quality(), bench.sent
    assert quality.round_trip_ms == pytest.approx(100, abs=2)
    assert sent.packets == 1000
    assert sent.bytes == 160_000
    # Of its last report, up to 2.5 s ago.
    assert sent.lost == pytest.approx(bench.to_them.impairer.lost, abs=15)
    assert sent.loss_percent == pytest.approx(10, abs=2.5)
    assert sent.jitter_ms == pytest.approx(0, abs=1)
    await bench.close()


# ---- ratings


def by_hand(loss_percent: float, burst_ratio: float, way_ms: float) -> float:
    """MOS by G.107 for G.711 with concealment, written down once more; below 100 ms Idd is 0."""
    echo = 65 - 40 * np.log10((1 + way_ms / 10) / (1 + way_ms / 150))
    half = (94.77 - (80 + 2.5 * (echo - 14))) / 2
    idte = half + np.sqrt(half**2 + 100) - 1
    r = 93.2 - idte - 95 * loss_percent / (loss_percent / burst_ratio + 25.1)
    return float(1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)


@pytest.mark.parametrize(
    ("loss", "burst", "delay_s"), [(0.0, 1, 0.0), (0.02, 1, 0.02), (0.05, 1, 0.05), (0.1, 3, 0.03)]
)
@in_virtual_time
async def test_mos_is_that_of_g107(
    loop: VirtualLoop, loss: float, burst: float, delay_s: float
) -> None:
    bench = Bench(loop, delay_s=delay_s)
    bench.to_us.impairer = Impairer(2, loss=loss, burst=burst)
    bench.to_them.impairer = Impairer(4, loss=loss)

    await bench.talk(60)

    received, sent = bench.received, bench.sent
    made = bench.to_us.impairer
    way_ms = delay_s * 1000 + 20  # half the round trip, and a packet
    expected = by_hand(100 * made.lost / made.sent, max(1.0, received.burst_ratio), way_ms)
    assert received.mos == pytest.approx(expected, abs=0.1)
    assert sent.mos == pytest.approx(by_hand(100 * loss, 1, way_ms), abs=0.15)
    assert not sent.is_mos_told
    await bench.close()


# ---- sound


@in_virtual_time
async def test_level_and_silence_are_sampled_both_ways(loop: VirtualLoop) -> None:
    bench = Bench(loop)

    await bench.talk(20)
    bench.pcm = np.zeros(8000, np.int16)
    await bench.talk(20)

    for flow in (bench.received, bench.sent):
        assert flow.level_dbov == pytest.approx(-23, abs=0.3)  # a sine of -20 dBFS
        assert flow.silence_percent == pytest.approx(50, abs=10)
        assert flow.clipping_percent == 0
    assert not bench.wrong
    await bench.close()


@in_virtual_time
async def test_one_who_is_too_loud_is_told_of_until_it_is_not(loop: VirtualLoop) -> None:
    bench = Bench(loop)
    fine, loud = bench.pcm, clipped(bench.pcm)

    bench.pcm = loud
    await bench.talk(2)
    assert bench.wrong == {QualityAlert(Alert.CLIPPING, Way.RECEIVED)}
    bench.pcm = fine
    await bench.talk(12)

    assert not bench.wrong
    assert [alert.is_over for _, alert in bench.alerts] == [False, True]
    await bench.close()


def clipped(pcm: Pcm) -> Pcm:
    loud: Pcm = np.clip(pcm.astype(np.int32) * 30, -32768, 32767).astype(np.int16)
    return loud


@in_virtual_time
async def test_relayed_opus_is_not_decoded_for_its_level(loop: VirtualLoop) -> None:
    bench = Bench(loop, codec=OPUS)
    packet = struct.pack("!BBHII", 0x80, 111, 0, 0, 2) + b"\x08" + bytes(20)

    for number in range(200):
        numbered = packet[:2] + struct.pack("!HI", number, number * 960) + packet[8:]
        bench.to_us.on_packet(numbered, loop.time())
        await elapse(0.02)

    received = bench.received
    assert received.packets == 200
    assert received.level_dbov is None
    await bench.close()


@in_virtual_time
async def test_what_is_coded_for_the_party_is_measured_before_that(loop: VirtualLoop) -> None:
    bench = Bench(loop, codec=OPUS)

    await bench.talk(10)
    before = bench.sent.packets
    bench.ours.close()

    assert before == pytest.approx(500, abs=2)
    assert bench.sent.level_dbov == pytest.approx(-23, abs=0.3)
    assert bench.sent.clipping_percent == 0
    await bench.close()


# ---- one-way audio


@in_virtual_time
async def test_one_who_is_heard_no_more_is_named_within_five_seconds(loop: VirtualLoop) -> None:
    bench = Bench(loop)
    await bench.talk(10)

    stopped_at = loop.time()
    await bench.talk(5, they=False)

    ((told_at, alert),) = bench.alerts
    assert alert == ONE_WAY_FROM
    assert 3 <= told_at - stopped_at <= 5
    assert bench.wrong == {ONE_WAY_FROM}
    await bench.talk(2)
    assert bench.alerts[1][1] == replace(ONE_WAY_FROM, is_over=True)
    assert not bench.wrong
    await bench.close()


@in_virtual_time
async def test_one_who_hears_no_more_is_named_within_five_seconds(loop: VirtualLoop) -> None:
    bench = Bench(loop)
    await bench.talk(11)

    broke_at = loop.time()
    bench.to_them.passes = is_rtcp
    await bench.talk(5)

    ((told_at, alert),) = bench.alerts
    assert alert == ONE_WAY_TO
    assert told_at - broke_at <= 5
    bench.to_them.passes = lambda _packet: True
    await bench.talk(4)
    assert replace(ONE_WAY_TO, is_over=True) in [alert for _, alert in bench.alerts]
    assert ONE_WAY_TO not in bench.wrong
    await bench.close()


@pytest.mark.parametrize("way", Way)
@in_virtual_time
async def test_one_way_audio_from_the_first_packet_on(loop: VirtualLoop, way: Way) -> None:
    bench = Bench(loop)
    path = bench.to_us if way is Way.RECEIVED else bench.to_them
    path.passes = is_rtcp

    begun_at = loop.time()
    await bench.talk(6)

    ((told_at, alert),) = bench.alerts
    assert alert == QualityAlert(Alert.ONE_WAY_AUDIO, way)
    assert told_at - begun_at <= 5
    await bench.close()


@in_virtual_time
async def test_an_hour_that_nothing_arrives_stays_one_way(loop: VirtualLoop) -> None:
    bench = Bench(loop)
    await bench.talk(5)
    bench.to_them.passes = is_rtcp

    # 60 000 packets, so that sequence numbers come by where the party heard them last.
    for _ in range(20 * 60 * 5):
        for _ in range(10):
            bench.ours.session.send(bytes(160), 160, loop.time())
        await elapse(0.2)

    assert [alert for _, alert in bench.alerts if alert.way is Way.SENT] == [ONE_WAY_TO]
    await bench.close()


@pytest.mark.parametrize("direction", [Direction.SENDONLY, Direction.RECVONLY, Direction.INACTIVE])
@in_virtual_time
async def test_one_on_hold_is_not_missed(loop: VirtualLoop, direction: Direction) -> None:
    bench = Bench(loop)
    await bench.talk(5)

    bench.ours.configure(replace(bench.agreed, direction=direction))
    await bench.talk(20, they=False)
    assert not bench.alerts
    bench.ours.configure(bench.agreed)
    await bench.talk(5, they=False)

    assert [alert for _, alert in bench.alerts] == [ONE_WAY_FROM]
    await bench.close()


@in_virtual_time
async def test_one_whose_path_is_down_is_not_missed(loop: VirtualLoop) -> None:
    bench = Bench(loop)
    await bench.talk(5)

    bench.ours.on_state(TransportState.DISCONNECTED)
    await bench.talk(10, they=False)

    assert not bench.alerts
    await bench.close()


@in_virtual_time
async def test_f11_one_who_sends_nothing_in_pauses_is_missed_once(loop: VirtualLoop) -> None:
    bench = Bench(loop)

    for _ in range(4):
        await bench.talk(5)
        for _ in range(250):
            bench.theirs.session.skip(160)
        await bench.talk(5, they=False)

    assert [alert.is_over for _, alert in bench.alerts] == [False, True]
    await bench.close()


@in_virtual_time
async def test_f11_one_who_tells_that_it_pauses_is_not_missed(loop: VirtualLoop) -> None:
    bench = Bench(loop)
    noise = Codec("CN", payload_type=13, clock_rate=8000, sample_rate=8000)
    bench.ours.configure(replace(bench.agreed, receive=(PCMU, noise)))
    await bench.talk(2)

    head = struct.pack("!BBHII", 0x80, 13, (0xFFF0 + 100) & 0xFFFF, 100 * 160, 2)
    bench.to_us.on_packet(head + b"\x40", loop.time())
    await bench.talk(20, they=False)

    assert not bench.alerts
    await bench.close()


@in_virtual_time
async def test_sampling_touches_no_packet(loop: VirtualLoop) -> None:
    bench = Bench(loop)
    passed: list[bytes] = []

    def note(packet: bytes) -> bool:
        if not is_rtcp(packet):
            passed.append(packet)
        return True

    bench.to_them.passes = note
    await bench.talk(10)

    sequences = [struct.unpack_from("!H", packet, 2)[0] for packet in passed]
    assert np.diff(sequences).astype(np.uint16).tolist() == [1] * 499
    assert bench.sent.level_dbov is not None
    await bench.close()


@in_virtual_time
async def test_nobody_is_missed_before_the_call_is_up(loop: VirtualLoop) -> None:
    bench = Bench(loop)
    early = AudioStream(
        Wire(Path(loop), Path(loop)),
        RtpSession(ssrc=3, sequence=0, timestamp=0, cname="test", now=loop.time()),
        pacer=bench.pacer,
        clock=loop.time,
    )
    told: list[QualityAlert] = []
    early.on_alert = told.append
    early.configure(AGREED)
    early.on_state(TransportState.CONNECTED)

    await elapse(20)

    assert not told
    early.close()
    await bench.close()


# ---- loss


@in_virtual_time
async def test_high_loss_is_told_both_ways_until_it_is_over(loop: VirtualLoop) -> None:
    bench = Bench(loop)
    await bench.talk(5)

    bench.to_us.impairer, bench.to_them.impairer = Impairer(1, loss=0.2), Impairer(2, loss=0.2)
    await bench.talk(10)
    assert bench.wrong == {QualityAlert(Alert.HIGH_LOSS, way) for way in Way}
    bench.to_us.impairer, bench.to_them.impairer = Impairer(1), Impairer(2)
    await bench.talk(12)

    assert not bench.wrong
    assert len(bench.alerts) == 4
    await bench.close()


# ---- extended reports


@pytest.mark.rfc(3611, "4.7")
@in_virtual_time
async def test_what_the_party_measures_of_us_comes_back_by_extended_reports(
    loop: VirtualLoop,
) -> None:
    bench = Bench(loop, delay_s=0.03, rtcp_xr=("voip-metrics",))
    bench.to_them.impairer = Impairer(9, loss=0.08, burst=2)

    await bench.talk(60)

    heard_there = bench.theirs.quality().received
    assert heard_there is not None
    assert bench.sent.is_mos_told
    assert bench.sent.mos == pytest.approx(heard_there.mos, abs=0.1)
    assert bench.sent.r_factor == pytest.approx(heard_there.r_factor, abs=2)
    voice = bench.ours.session.stats.voice
    assert voice is not None
    assert voice.loss_rate / 256 == pytest.approx(0.08, abs=0.02)
    assert voice.burst_density > voice.gap_density > 0
    assert voice.round_trip_ms == pytest.approx(60, abs=2)
    assert voice.signal_level == pytest.approx(-23 + 6.18, abs=1)
    await bench.close()


@pytest.mark.rfc(3611, "5.1")
@in_virtual_time
async def test_nobody_who_did_not_ask_is_sent_extended_reports(loop: VirtualLoop) -> None:
    bench = Bench(loop)

    await bench.talk(15)

    assert bench.ours.session.stats.voice is None
    await bench.close()


@pytest.mark.rfc(3611, "4.5")
@in_virtual_time
async def test_one_who_only_listens_learns_its_round_trip(loop: VirtualLoop) -> None:
    bench = Bench(loop, delay_s=0.04, rtcp_xr=("rcvr-rtt=all",))

    await bench.talk(20, we=False)

    assert bench.ours.quality().round_trip_ms == pytest.approx(80, abs=2)
    await bench.close()


# ---- attacks

BYE = build_rtcp([ReceiverReport(2), Goodbye((2, 1), "spoofed")])


@contextmanager
def listening(loop: VirtualLoop) -> Iterator[tuple[Bench, list[int]]]:
    bench = Bench(loop)
    frames: list[int] = []
    bench.ours.on_frame = lambda frame: frames.append(frame.duration)
    yield bench, frames


@in_virtual_time
async def test_a29_a_spoofed_goodbye_ends_nothing(loop: VirtualLoop) -> None:
    with listening(loop) as (bench, frames):
        await bench.talk(1)

        bench.to_us.on_packet(BYE, loop.time())
        await bench.talk(1)

        assert sum(frames) == pytest.approx(2000 * MS, abs=40 * MS)
        assert bench.received.packets == 100
        await bench.close()


almost_rtcp = st.tuples(
    st.integers(0x80, 0xBF), st.integers(200, 207), st.integers(0, 12), st.binary(max_size=120)
).map(lambda it: struct.pack("!BBH", *it[:3]) + it[3])


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(almost_rtcp | st.binary(max_size=60).map(lambda b: b"\x80\xcf" + b), max_size=30))
def test_a29_hostile_reports_change_nothing_but_a_counter(hostile: list[bytes]) -> None:
    session = RtpSession(ssrc=1, sequence=0, timestamp=0, cname="test", now=0.0)
    session.configure(receive=(PCMU,), send=PCMU, send_digits=None)
    session.extend_reports(voice=True, round_trip=True)
    audio = struct.pack("!BBHII", 0x80, 0, 5, 0, 2) + bytes(160)

    for number, data in enumerate([*hostile, BYE]):
        session.receive_rtcp(data, number * 0.1)
    items = session.receive(audio, 9.0)
    session.handle_timer(100.0)

    assert len(items) == 1
    assert session.stats.received.bad_reports <= len(hostile)
    assert len(session.take_output()) == 1
    assert session.send(bytes(160), 160, 101.0)


@in_virtual_time
async def test_a29_what_a_peer_claims_stays_within_reason(loop: VirtualLoop) -> None:
    bench = Bench(loop)
    await bench.talk(1)
    block = struct.pack("!IIIIII", 1, 0xFF80_0000, 0xFFFF_FFFF, 0xFFFF_FFFF, 1, 0xFFFF_FFFF)
    report = b"\x81\xc9\x00\x07" + struct.pack("!I", 2) + block
    extended = b"\x80\xcf\x00\x0a" + struct.pack("!I", 2)
    extended += b"\x07\x00\x00\x08" + struct.pack("!I", 1) + b"\xff" * 28

    bench.to_us.on_packet(report + extended, loop.time())

    quality: MediaQuality = bench.ours.quality()
    sent = bench.sent
    assert (sent.lost, sent.loss_percent) == (0, 0)
    assert sent.jitter_ms == 60_000
    assert quality.round_trip_ms is None or quality.round_trip_ms < 60_000
    assert sent.mos is not None
    assert 1 <= sent.mos <= 4.5
    assert not sent.is_mos_told
    await bench.close()
