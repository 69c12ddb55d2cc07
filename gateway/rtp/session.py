"""The RTP state of one stream, both directions: a Machine without I/O (RFC 3550, RFC 3551)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.codec import Codec
from gateway.rtp.receiver import Received, ReceiverOptions
from gateway.rtp.stats import StreamStats


@dataclass(frozen=True, slots=True)
class RtpOptions:
    """What one stream allows itself."""

    receiver: ReceiverOptions = field(default_factory=ReceiverOptions)


class RtpSession:
    """One stream's numbers, order, digits, reports and statistics.

    After `receive` returned anything but exactly one Packet, after `start_digit`, `end_digit`
    and after `handle_timer`, ask `next_timer` again: only then can it have come nearer.
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

    def configure(
        self, *, receive: Sequence[Codec], send: Codec, send_digits: Codec | None
    ) -> None:
        """Set what was negotiated, also anew: SSRC, sequence numbers and timestamps go on.

        Args:
            receive: what the peer may send, telephone-event and CN among it.
            send_digits: the peer's telephone-event; None where it takes none.
        """
        raise NotImplementedError

    def receive(self, data: bytes, now: float) -> Sequence[Received]:
        """Take one RTP packet, in the clear; nothing is raised, whatever it is.

        Returns:
            What is now in order; empty while order is waited for or where it was no media.
            Digits come as soon as they are heard, not in the order of the media.
        """
        raise NotImplementedError

    def receive_rtcp(self, data: bytes, now: float) -> None:
        """Take one RTCP packet, in the clear; nothing is raised, whatever it is."""
        raise NotImplementedError

    def send(self, payload: bytes, duration: int, now: float) -> bytes:
        """The RTP packet for the next `duration` of our timeline, in units of the send clock.

        Returns:
            The packet, to be sent now; b"" while a digit is being sent: nothing is to be sent
            then, but time goes on as if it had been. Marker on the first and after a gap.
        """
        raise NotImplementedError

    def skip(self, duration: int) -> None:
        """Let `duration` of our timeline pass unsent (DTX), in units of the send clock."""
        raise NotImplementedError

    def start_digit(self, digit: str, now: float) -> bool:
        """Press a key; its packets come out of `take_output`, the first at once.

        Returns:
            False where the peer takes no events or too many digits wait: it is not sent.

        Raises:
            ValueError: it is none of 0-9 * # A-D.
        """
        raise NotImplementedError

    def end_digit(self, digit: str, now: float, duration_ms: int = 0) -> None:
        """Release a key. It sounds for at least 100 ms, and for `duration_ms` if that is longer."""
        raise NotImplementedError

    def goodbye(self, now: float) -> bytes:
        """The last report, with BYE (RFC 3550 §6.6): to be sent when the stream ends."""
        raise NotImplementedError

    def handle_timer(self, now: float) -> None:
        """Give up waiting, send digits and reports: whatever is due. Early calls do nothing."""
        raise NotImplementedError

    def next_timer(self) -> float | None:
        """When `handle_timer` is to be called next, in loop seconds."""
        raise NotImplementedError

    def take_output(self) -> Sequence[bytes]:
        """RTP packets of digits and RTCP packets, to be sent now in this order."""
        raise NotImplementedError

    def take_events(self) -> Sequence[Received]:
        """What `handle_timer` brought: packets that waited, holes, digits that timed out."""
        raise NotImplementedError

    @property
    def stats(self) -> StreamStats:
        """How it fares now: a copy."""
        raise NotImplementedError
