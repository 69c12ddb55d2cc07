"""The RTP state of one stream, both directions: a Machine without I/O (RFC 3550, RFC 3551).

packet in ─▸ Receiver ─▸ Packet | Hole | DigitEvent          RTCP in ─▸ Reporter ─▸ stats
payload ─▸ send ─▸ packet out        keys ─▸ DigitSender ─▸ take_output ◂─ Reporter
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.codec import Codec
from gateway.rtp.keypad import DigitOptions, DigitSender, later
from gateway.rtp.order import ReceiverOptions
from gateway.rtp.quality import voice_metrics
from gateway.rtp.received import Received
from gateway.rtp.receiver import Receiver
from gateway.rtp.report import Reporter
from gateway.rtp.stats import Glance, RemoteStats, SendStats, StreamStats

TIMER_SLACK_S = 0.0005
"What is due within this is due: uvloop's timers count whole milliseconds."

_pack_header = struct.Struct("!HHII").pack


@dataclass(frozen=True, slots=True)
class RtpOptions:
    """What one stream allows itself."""

    receiver: ReceiverOptions = field(default_factory=ReceiverOptions)
    digits: DigitOptions = field(default_factory=DigitOptions)
    report_interval_s: float = 5.0
    "Between RTCP reports, on average; each is spread by half of it either way (RFC 3550 §6.2)."
    first_report_s: float = 1.0
    "Until the first one, spread alike: the page shows a round trip soon."


class RtpSession:
    """One stream's numbers, order, digits, reports and statistics.

    After `receive` returned anything but exactly one Packet, after `start_digit`, `end_digit`
    and `handle_timer`, ask `next_timer` again: only then can it have come nearer.
    """

    def __init__(
        self,
        *,
        ssrc: int,
        sequence: int,
        timestamp: int,
        cname: str,
        now: float,
        ntp_offset: float = 0.0,
        spread: Callable[[], float] = lambda: 0.5,
        options: RtpOptions | None = None,
    ) -> None:
        """Start a stream.

        Args:
            ssrc, sequence, timestamp: random first values (RFC 3550 §5.1).
            cname: the canonical name in our reports (RFC 7022: random, per call).
            now: loop seconds; the first report is due about a second later.
            ntp_offset: Unix time less loop time, in seconds.
            spread: gives 0 ≤ x < 1, uniformly, to spread reports (RFC 3550 §6.2).
        """
        options = options or RtpOptions()
        self._options = options
        self._spread = spread
        self._receiver = Receiver(options.receiver)
        self.receive = self._receiver.receive
        """Take one RTP packet (data, now), in the clear; nothing is raised, whatever it is.

        Returns what is now in order; nothing while order is waited for or where it was no media.
        Digits come as soon as they are heard, not in the order of the media.
        """
        self._digits = DigitSender(options.digits)
        self._reporter = Reporter(ssrc, cname, ntp_offset)
        self._ssrc = ssrc
        self._sequence = sequence & 0xFFFF
        self._timestamp = timestamp & 0xFFFF_FFFF
        self._codec: Codec | None = None
        self._digit_codec: Codec | None = None
        self._head = 0x8000  # the first two bytes: version 2, payload type
        self._is_plain = False  # neither a marker is due nor a digit under way
        self._packets = self._bytes = 0
        self._packets_reported = 0
        self._reached = self._unheard = 0
        self._sent_at = now
        self._report_at = now + self._spread_out(options.first_report_s)
        self._output: list[bytes] = []
        self._events: list[Received] = []
        self.reports_voice = False
        "Whether the peer asked for voice metrics (RFC 3611 §5.1: a=rtcp-xr:voip-metrics)."
        self.signal_dbov: float | None = None
        "How loud the peer's voice is, for those; None: it was not measured."

    def configure(
        self, *, receive: Sequence[Codec], send: Codec, send_digits: Codec | None
    ) -> None:
        """Set what was negotiated, also anew: SSRC, sequence numbers and timestamps go on.

        Args:
            receive: what the peer may send, telephone-event and CN among it.
            send_digits: the peer's telephone-event; None where it takes none. Presses that
                wait or sound are dropped when it or the clock of the timestamps changes.
        """
        self._receiver.configure(receive)
        clock_changes = self._codec is None or self._codec.clock_rate != send.clock_rate
        if clock_changes or send_digits != self._digit_codec:
            self._digits.clear()
        self._codec, self._digit_codec = send, send_digits
        self._head = 0x8000 | send.payload_type
        if send_digits is not None:
            self._digits.configure(send_digits.clock_rate, send.clock_rate)

    def extend_reports(self, *, voice: bool, round_trip: bool) -> None:
        """What the peer's SDP wants of RTCP XR: voip-metrics, and rcvr-rtt (RFC 3611 §5.1)."""
        self.reports_voice = voice
        self._reporter.answers_references = round_trip

    def receive_rtcp(self, data: bytes, now: float) -> None:
        """Take one RTCP packet, in the clear; nothing is raised, whatever it is."""
        rate = 8000 if self._codec is None else self._codec.clock_rate
        reporter, before = self._reporter, self._reporter.remote
        if not reporter.receive(data, rate, now):
            return
        remote = reporter.remote
        if remote is not None and (before is None or remote.sequence != before.sequence):
            ahead = (self._sequence - 1 - remote.sequence) & 0xFFFF
            self._reached = self._packets - (ahead if ahead < 0x8000 else 0)
        self._unheard = self._packets - self._reached

    def send(self, payload: bytes, duration: int, now: float) -> bytes:
        """The RTP packet for the next `duration` of our timeline, in units of the send clock.

        Returns:
            The packet, to be sent now; b"" while a digit is being sent: nothing is to be sent
            then, but time goes on as if it had been. Marker on the first and after a gap.
        """
        if self._is_plain:
            head = self._head
        elif self._digits.is_active:
            self.skip(duration)
            return b""
        else:
            assert self._codec is not None, "configure comes first"
            self._is_plain = True
            head = self._head | 0x80
        sequence, timestamp = self._sequence, self._timestamp
        self._sequence = (sequence + 1) & 0xFFFF
        self._timestamp = (timestamp + duration) & 0xFFFF_FFFF
        self._packets += 1
        self._bytes += len(payload)
        self._sent_at = now
        return _pack_header(head, sequence, timestamp, self._ssrc) + payload

    def lose(self, duration: int) -> None:
        """Let a packet of `duration` be missing, as it is missing to us: the peer sees the loss."""
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._timestamp = (self._timestamp + duration) & 0xFFFF_FFFF

    def send_noise(self, payload_type: int, payload: bytes, now: float) -> bytes:
        """The packet of comfort noise (RFC 3389) that a pause begins with or goes on by.

        It takes no time of the timeline: `skip` does. b"" while a digit is being sent.
        """
        if self._digits.is_active:
            return b""
        head, sequence = 0x8000 | payload_type, self._sequence
        self._sequence = (sequence + 1) & 0xFFFF
        self._is_plain = False
        self._packets += 1
        self._bytes += len(payload)
        self._sent_at = now
        return _pack_header(head, sequence, self._timestamp, self._ssrc) + payload

    @property
    def is_flowing(self) -> bool:
        """Whether the last of our timeline was sent, not skipped."""
        return self._is_plain

    def skip(self, duration: int) -> None:
        """Let `duration` of our timeline pass unsent (DTX), in units of the send clock."""
        self._timestamp = (self._timestamp + duration) & 0xFFFF_FFFF
        self._is_plain = False

    @property
    def takes_digits(self) -> bool:
        """Whether the peer takes event packets."""
        return self._digit_codec is not None

    def start_digit(self, digit: str, now: float) -> bool:
        """Press a key; its packets come out of `take_output`, the first at once.

        A key that is down is released by it. Presses that come too fast wait for their turn.

        Returns:
            False where the peer takes no events or too many digits wait: it is not sent.

        Raises:
            ValueError: it is none of 0-9 * # A-D.
        """
        if self._digit_codec is None or not self._digits.start(digit, now):
            return False
        self._send_digits(now)
        return True

    def end_digit(self, digit: str, now: float, duration_ms: int = 0) -> None:
        """Release a key. It sounds for at least 100 ms, and for `duration_ms` if that is longer."""
        self._digits.end(digit, now, duration_ms)

    def goodbye(self, now: float) -> bytes:
        """The last report, with BYE: to be sent when the stream ends.

        b"" where nothing was ever sent or received: then there is nobody to tell (RFC 3550
        §6.3.7).
        """
        if not self._packets and self._receiver.ssrc is None:
            return b""
        return self._report(now, bye=True)

    def handle_timer(self, now: float) -> None:
        """Give up waiting, send digits and reports: whatever is due. Early calls do nothing."""
        soon = now + TIMER_SLACK_S
        if soon >= self._receiver.timer_at:
            self._events += self._receiver.handle_timer(soon)
        self._send_digits(soon)
        if soon >= self._report_at:
            self._report_at = now + self._spread_out(self._options.report_interval_s)
            if self._packets or self._receiver.ssrc is not None:
                self._output.append(self._report(now))

    def next_timer(self) -> float | None:
        """When `handle_timer` is to be called next, in loop seconds."""
        # Asked 50 times a second by every stream, hence no min().
        report_at, receiver_at = self._report_at, self._receiver.timer_at
        next_at = receiver_at if receiver_at < report_at else report_at
        digits_at = self._digits.next_timer()
        return next_at if digits_at is None or next_at < digits_at else digits_at

    @property
    def remote(self) -> RemoteStats | None:
        """What the peer said last about our packets."""
        return self._reporter.remote

    @property
    def waits_until(self) -> float:
        """When packets that wait for one before them leave without it; infinity if none does."""
        return self._receiver.waits_until

    def take_output(self) -> Sequence[bytes]:
        """RTP packets of digits and RTCP packets, to be sent now in this order."""
        output, self._output = self._output, []
        return output

    def take_events(self) -> Sequence[Received]:
        """What `handle_timer` brought: packets that waited, holes, digits that timed out."""
        events, self._events = self._events, []
        return events

    @property
    def stats(self) -> StreamStats:
        """How it fares now: a copy."""
        received = self._receiver.stats
        received.bad_reports = self._reporter.malformed
        return StreamStats(
            received,
            SendStats(self._packets, self._bytes, self._digits.dropped),
            self._reporter.remote,
            self._reporter.rtt_ms,
            self._reporter.voice,
            self._reporter.reported_at,
            self._unheard,
        )

    def glance(self) -> Glance:
        """A little of `stats`, at a tenth of its cost."""
        reporter = self._reporter
        return Glance(
            *self._receiver.glance(),
            reporter.remote,
            reporter.rtt_ms,
            reporter.reported_at,
            self._unheard,
        )

    def _send_digits(self, now: float) -> None:
        digits, codec = self._digits, self._digit_codec
        if codec is None:
            return
        events = digits.handle_timer(now, self._timestamp)
        for event in events:
            head = 0x8000 | codec.payload_type | (0x80 if event.marker else 0)
            packet = _pack_header(head, self._sequence, event.timestamp, self._ssrc)
            self._sequence = (self._sequence + 1) & 0xFFFF
            self._packets += 1
            self._bytes += len(event.payload)
            self._output.append(packet + event.payload)
            self._is_plain = False
        if events:
            # RFC 4733 §2.5.1.2: one base of time. Audio goes on after the press, also where
            # nobody counted the time it took.
            self._timestamp = later(self._timestamp, digits.reach)

    def _report(self, now: float, *, bye: bool = False) -> bytes:
        sent = None
        if self._packets > self._packets_reported and self._codec is not None:
            # The end of the last packet was sampled when it was sent.
            since = int((now - self._sent_at) * self._codec.clock_rate)
            sent = self._timestamp + since, self._packets, self._bytes
        self._packets_reported = self._packets
        reception, voice = self._receiver.take_reception(), None
        if self.reports_voice and self._receiver.ssrc is not None:
            voice = voice_metrics(
                self._receiver.ssrc,
                self._receiver.stats,
                rtt_ms=self._reporter.rtt_ms,
                signal_dbov=self.signal_dbov,
                reorder_ms=self._options.receiver.reorder_ms,
            )
        return self._reporter.build(sent, reception, now, bye=bye, voice=voice)

    def _spread_out(self, seconds: float) -> float:
        return seconds * (0.5 + self._spread())
