"""Packets of one RTP stream in order, with holes where some are missing (RFC 3550 A.1, A.3, A.8).

A packet that is the expected one leaves at once, by a short straight path: its first eight bytes
(version to timestamp) are one number that was foretold. Everything else takes the long path:

    parse ▸ digit? ▸ of our source? ▸ at which place? ▸ [wait for those before it] ▸ deliver
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from math import inf

from gateway.codec import PCMU, Codec
from gateway.errors import RemoteProtocolError
from gateway.rtp.burst import LossGauge
from gateway.rtp.dtmf import DigitReceiver
from gateway.rtp.order import MAX_WAITING, Held, Order, ReceiverOptions
from gateway.rtp.packet import HEADER_BYTES, RtpPacket, parse_rtp
from gateway.rtp.payload import Format, read_formats
from gateway.rtp.received import Late, Packet, Received, holes
from gateway.rtp.sequence import MAX_DROPOUT, MAX_MISORDER, LeftSources, RestartDetector
from gateway.rtp.stats import LossCounter, ReceiveStats, Reception

MIN_SILENCE_S = 0.0025
"A shorter gap or overlap is no silence but a sender that trims its clock; it is ignored."

MAX_AHEAD_S = 2.0
"""By how much a timestamp may move ahead of the time that has passed. Bursts after a stall do;
what exceeds it is a sender's new timeline, not silence."""

USUAL_DRIFT_S = 0.1
"A packet that comes later than that ends a stall, of the path or of ours; others follow at once."

MAX_DRIFT_S = 1.0
"A longer difference in spacing is a pause, an outage or a new timeline, not jitter."

_unpack_head = struct.Struct("!QIx").unpack_from
"Version to timestamp as one number, SSRC, and at least one byte of payload."


class Receiver:
    """The receiving half of a stream: one source at a time, the newest.

    What it is given is authentic or from the address agreed on: a transport has seen to that.
    """

    def __init__(self, options: ReceiverOptions | None = None) -> None:
        self._digits = DigitReceiver()
        # What payload types mean, and which of them the sender uses now.
        self._formats: dict[int, Format] = {}
        self._digit_clocks: dict[int, int] = {}
        self._audio: Format | None = None
        self._codec = PCMU
        self._duration_of: Callable[[bytes], int] = len
        self._clock = 0.0
        # The source. A place is a packet's number counted from 0, a position is a timestamp so
        # counted; with the offsets added they are, modulo, what the packet itself says.
        self._ssrc = -1
        self._left = LeftSources()
        self._first = 0  # its first place
        self._sequence = 0  # the place expected next
        self._sequence_offset = 0
        self._position = 0  # the end of the last packet delivered
        self._timestamp_offset = 0
        self._duration = 0  # of the last packet delivered
        self._due = -1  # the first 8 bytes of the next packet; -1: all go the long way
        # Order.
        self._order = Order((options or ReceiverOptions()).reorder_ms / 1000)
        self.timer_at = inf
        "When `handle_timer` is due; infinity where nothing is waited for."
        self._is_beside = False  # the place delivered last held no media
        self._restart = RestartDetector()
        self._suspect: Held | None = None  # a packet far off: the first of a new sequence?
        # Statistics. Jitter is taken in the order of arrival.
        self._arrived_at = 0.0
        self._heard = 0
        self._jitter = 0.0
        self._max_drift = self._usual_drift = 0.0
        self._loss = LossCounter()
        self._gauge = LossGauge()
        self._packets = self._bytes = 0
        self._late = self._reordered = self._duplicates = 0
        self._resyncs = self._unknown = self._junk = 0

    def configure(self, codecs: Sequence[Codec]) -> None:
        """Set what the peer may send. Packets of telephone-event are heard as digits."""
        self._formats, self._digit_clocks = read_formats(codecs, self._last_duration)
        if self._audio is not None:
            audio = self._formats.get(self._audio.codec.payload_type)
            is_same = audio is not None and audio.codec.is_same_format(self._audio.codec)
            self._audio = audio if is_same else None
        self._foretell()

    def receive(self, data: bytes, now: float) -> Sequence[Received]:
        """Take one RTP packet; nothing is raised, whatever it is."""
        try:
            head, ssrc = _unpack_head(data)
        except struct.error:
            return self._receive_other(data, now)
        if head == self._due and ssrc == self._ssrc:
            payload = data[HEADER_BYTES:]
            duration = self._duration_of(payload)
            if duration:
                position = self._position
                # RFC 3550 A.8, in timestamp units: spacing on arrival less spacing as sent.
                drift = (now - self._arrived_at) * self._clock - (position - self._heard)
                if drift < 0.0:
                    drift = -drift
                if drift >= self._usual_drift:
                    return self._receive_other(data, now)
                jitter = self._jitter
                self._jitter = jitter + (drift - jitter) * 0.0625
                self._arrived_at = now
                self._heard = position
                self._position = position + duration
                self._duration = duration
                # Where sequence number or timestamp wraps this foretells wrongly, and the next
                # packet takes the long way once.
                self._due = head + 0x1_0000_0000 + duration
                sequence = self._sequence
                self._sequence = sequence + 1
                self._packets += 1
                self._bytes += len(payload)
                return (Packet(self._codec, sequence, position, duration, payload, False),)
        return self._receive_other(data, now)

    def handle_timer(self, now: float) -> list[Received]:
        """What is no longer waited for, in order, and presses that are over by now."""
        out: list[Received] = []
        if now >= self._order.deadline:
            self._give_up(now, out)
        out += self._digits.handle_timer(now)
        self._set_timer()
        return out

    def take_reception(self) -> Reception | None:
        """What to report about the source; None where nothing came since the last call."""
        cumulative, expected = self._loss.take_interval(self._end, self._packets)
        if expected <= 0:
            return None
        sequence = self._end - 1 + self._sequence_offset
        return Reception(self._ssrc, sequence, cumulative, self._loss.fraction, self._jitter)

    @property
    def waits_until(self) -> float:
        """When those that are missing are given up; infinity while none is."""
        return self._order.deadline

    @property
    def ssrc(self) -> int | None:
        """The source that is heard now; None before the first packet."""
        return None if self._ssrc < 0 else self._ssrc

    @property
    def stats(self) -> ReceiveStats:
        """What was counted so far: a copy."""
        return ReceiveStats(
            packets=self._packets,
            bytes=self._bytes,
            lost=self._loss.lost(self._end, self._packets, self._duplicates),
            fraction_lost=self._loss.fraction,
            late=self._late,
            reordered=self._reordered,
            duplicates=self._duplicates,
            resyncs=self._resyncs,
            unknown=self._unknown,
            junk=self._junk + self._digits.junk,
            jitter_ms=self._jitter / self._clock * 1000 if self._clock else 0.0,
            pattern=self._gauge.pattern(self._sequence),
            codec=self._codec.name,
            packet_ms=self._duration / self._clock * 1000 if self._duration else 20.0,
        )

    def glance(self) -> tuple[int, float, int, int]:
        """Packets, jitter (ms), and how many were expected and missing: a little of `stats`."""
        jitter = self._jitter / self._clock * 1000 if self._clock else 0.0
        return self._packets, jitter, self._sequence, self._gauge.missing

    @property
    def _end(self) -> int:
        """The place after the highest that was received."""
        return self._order.last + 1 if self._order else self._sequence

    def _last_duration(self, _payload: bytes) -> int:
        return self._duration or int(self._clock) // 50

    def _receive_other(self, data: bytes, now: float) -> Sequence[Received]:
        out: list[Received] = []
        if now >= self._order.deadline:
            self._give_up(now, out)
        try:
            packet = parse_rtp(data)
        except RemoteProtocolError:
            self._junk += 1
        else:
            self._take(packet, now, out)
        self._foretell()
        self._set_timer()
        return out

    def _set_timer(self) -> None:
        digits_at, deadline = self._digits.next_timer(), self._order.deadline
        self.timer_at = deadline if digits_at is None else min(deadline, digits_at)

    def _foretell(self) -> None:
        """Open the straight path to the next packet, if nothing is amiss."""
        audio = self._audio
        if audio is None or self._order:
            self._due = -1
            return
        self._codec = audio.codec
        self._duration_of = audio.duration_of
        self._due = (
            (0x8000 | audio.codec.payload_type) << 48
            | ((self._sequence + self._sequence_offset) & 0xFFFF) << 32
            | (self._position + self._timestamp_offset) & 0xFFFF_FFFF
        )

    def _take(self, packet: RtpPacket, now: float, out: list[Received]) -> None:
        """Find out what a packet is, and whether it is of our source."""
        form, duration = self._formats.get(packet.payload_type), 0
        digit_clock = self._digit_clocks.get(packet.payload_type)
        if digit_clock is not None:
            clock = int(self._clock) or digit_clock
            out += self._digits.receive(packet, digit_clock, clock, now)
        elif form is None:
            self._unknown += 1
        elif packet.payload:
            duration = form.duration_of(packet.payload)
            if form.is_audio and not duration:
                self._junk += 1
                form = None
        else:
            form = None  # a keep-alive (RFC 6263 §4.6)
        held = Held(packet, form, duration, now, now - self._arrived_at)
        if packet.ssrc == self._ssrc:
            self._place(held, out)
        elif form is not None:
            self._change_source(held, out)

    def _change_source(self, held: Held, out: list[Received]) -> None:
        ssrc = held.packet.ssrc
        if self._left.comes_late(ssrc, held.elapsed_s):
            self._unknown += 1
            return
        if self._ssrc >= 0:
            self._left.add(self._ssrc)
        self._synchronise(held, out)
        self._ssrc = ssrc
        self._insert(held, 0, out)

    def _place(self, held: Held, out: list[Received]) -> None:
        """Find a packet's place in the sequence (RFC 3550 A.1, `update_seq`)."""
        ahead = (held.packet.sequence - self._sequence - self._sequence_offset) & 0xFFFF
        if ahead >= 0x1_0000 - MAX_MISORDER:
            is_start_over = self._restart.is_start_over(
                held.packet.sequence, self._sequence, held.arrived_at
            )
            if not is_start_over or held.format is None:
                self._count_late(held, self._sequence + ahead - 0x1_0000)
                return
            self._synchronise(held, out)
            ahead = 0
        elif ahead >= MAX_DROPOUT:
            suspect, self._suspect = self._suspect, held
            if not self._restart.is_second_of_jump(held.packet.sequence) or suspect is None:
                return
            self._synchronise(suspect, out)
            self._insert(suspect, 0, out)
            ahead = 0
        self._insert(held, ahead, out)

    def _count_late(self, held: Held, place: int) -> None:
        self._measure(held)
        if self._order.is_late(place) or place < self._first:
            self._late += 1
            self._order.disturb(self._packets)
        else:
            self._duplicates += 1

    def _synchronise(self, held: Held, out: list[Received]) -> None:
        """Begin a new sequence with `held`; the timeline goes on where it is."""
        self._give_up(inf, out)
        place = self._sequence
        self._resyncs += self._ssrc >= 0
        self._loss.restart(place, place, self._packets, self._duplicates)
        self._first = place
        self._sequence_offset = held.packet.sequence - place
        self._timestamp_offset = held.packet.timestamp - self._position
        self._heard, self._arrived_at = self._position, held.arrived_at
        self._restart = RestartDetector()

    def _insert(self, held: Held, ahead: int, out: list[Received]) -> None:
        """Deliver a packet whose turn it is, and those that waited for it; let others wait."""
        late = self._measure(held)
        if late >= self._usual_drift > 0 and not ahead:
            out.append(Late(late / self._clock))
        order, place = self._order, self._sequence + ahead
        if order.has(place):
            self._duplicates += 1
            return
        self._reordered += order.add(place, held, self._packets)
        if len(order) > MAX_WAITING:
            self._give_up_next(out)
        self._drain(out)

    def _measure(self, held: Held) -> float:
        """Count a packet of the source and the jitter of its arrival (RFC 3550 A.8).

        Returns:
            By how much it is late beside the one before, in timestamp units; 0 if that is not said.
        """
        packet, form = held.packet, held.format
        self._packets += 1
        self._bytes += len(packet.payload)
        if form is None and packet.payload_type not in self._digit_clocks:
            return 0.0
        if form is not None and form.codec.clock_rate != self._clock:
            return 0.0
        heard = self._position + self._gap(packet)
        late = (held.arrived_at - self._arrived_at) * self._clock - (heard - self._heard)
        self._arrived_at, self._heard = held.arrived_at, heard
        if abs(late) >= self._max_drift:
            return 0.0
        self._jitter += (abs(late) - self._jitter) / 16
        return late

    def _gap(self, packet: RtpPacket) -> int:
        """From the end of what was delivered to a packet's start; negative if that is earlier."""
        due = self._position + self._timestamp_offset
        return ((packet.timestamp - due + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000

    def _drain(self, out: list[Received]) -> None:
        order = self._order
        while (held := order.take(self._sequence)) is not None:
            self._deliver(held, 0, out)
        order.set_deadline(self._packets)

    def _give_up(self, now: float, out: list[Received]) -> None:
        """Count as lost what has been waited for long enough."""
        while self._order and now >= self._order.deadline:
            self._give_up_next(out)
            self._drain(out)

    def _give_up_next(self, out: list[Received]) -> None:
        place = self._order.first
        missing = place - self._sequence
        self._gauge.lose(self._sequence, missing)
        self._order.give_up(self._sequence, place)
        self._sequence = place
        held = self._order.take(place)
        assert held is not None, "the first of those that wait"
        self._deliver(held, missing, out)

    def _deliver(self, held: Held, missing: int, out: list[Received]) -> None:
        """Put the packet of the expected place on the timeline."""
        place, packet, form = self._sequence, held.packet, held.format
        self._sequence = place + 1
        if form is None:
            self._is_beside = True
            return
        codec = form.codec
        if codec.clock_rate != self._clock:
            self._change_clock(codec, packet)
        gap = self._gap(packet)
        if gap < MIN_SILENCE_S * self._clock or gap > (held.elapsed_s + MAX_AHEAD_S) * self._clock:
            if gap:
                self._resyncs += abs(gap) >= MIN_SILENCE_S * self._clock
                self._timestamp_offset += gap
                self._heard = self._position
        else:
            # What is missing beside an event was no audio, as far as anyone can know.
            if missing and not self._is_beside:
                following = packet.payload if codec == self._codec else None
                step = self._duration or gap
                out += holes(self._codec, self._position, gap, missing, step, following)
            self._position += gap
        self._is_beside = False
        out.append(
            Packet(codec, place, self._position, held.duration, packet.payload, packet.marker)
        )
        self._position += held.duration
        if form.is_audio:
            self._audio, self._codec, self._duration = form, codec, held.duration

    def _change_clock(self, codec: Codec, packet: RtpPacket) -> None:
        """Go on at the same time in the units of another clock (RFC 7160)."""
        if self._clock:
            old, new = int(self._clock), codec.clock_rate
            self._position = -(-self._position * new // old)
            self._duration = self._duration * new // old
            self._jitter *= new / old
        self._clock = float(codec.clock_rate)
        self._max_drift = MAX_DRIFT_S * self._clock
        self._usual_drift = USUAL_DRIFT_S * self._clock
        self._timestamp_offset = packet.timestamp - self._position
        self._heard = self._position
