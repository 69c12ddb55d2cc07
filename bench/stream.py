"""What one end of a call says and hears, with the times that are measured from."""

from __future__ import annotations

import struct
import time
from array import array

from bench.clip import Clip

CAPTURED_FRAMES = 110
"2.2 s of sound are kept at either end of the window, to tell which packet carries which."

RTCP_EVERY_FRAMES = 250
"A sender report each 5 s, as browsers and phones send."

NTP_EPOCH_S = 2_208_988_800
"Seconds from 1900 to 1970 (RFC 3550 §4)."


class Said:
    """The RTP stream that an end sends: the clip, round and round."""

    __slots__ = ("_clip", "_from", "_sequence", "_ssrc", "first_stamp", "sent_ns")

    def __init__(self, clip: Clip, ssrc: int) -> None:
        self._clip = clip
        self._from = 0
        self._ssrc = ssrc
        self._sequence = ssrc & 0x7FFF
        self.first_stamp = ssrc & 0xFFFFFF
        self.sent_ns = array("q")
        "Unix nanoseconds at which each frame went out, by its number; frame n says clip[n % loop]."

    def next_packet(self) -> bytes:
        """The next RTP packet; whoever sends it appends to `sent_ns` just before."""
        number = len(self.sent_ns)
        clip = self._clip
        first = 0x80 if number == 0 else 0  # the marker begins a talkspurt (RFC 3551 §4.1)
        header = struct.pack(
            "!BBHII",
            0x80,
            first | clip.payload_type,
            (self._sequence + number) & 0xFFFF,
            (self.first_stamp + number * clip.frame_ticks) & 0xFFFFFFFF,
            self._ssrc,
        )
        return header + clip.packets[(number - self._from) % len(clip.packets)]

    def say(self, clip: Clip) -> None:
        """Say another clip of the same payload format, from its start, from the next packet on."""
        self._clip = clip
        self._from = len(self.sent_ns)

    def report(self) -> bytes | None:
        """An SR and an SDES packet (RFC 3550 §6.4.1, §6.5) when they are due."""
        number = len(self.sent_ns)
        if number % RTCP_EVERY_FRAMES != RTCP_EVERY_FRAMES // 2:
            return None
        now = time.time()
        seconds = int(now)
        fraction = int((now - seconds) * 2**32)
        stamp = (self.first_stamp + number * self._clip.frame_ticks) & 0xFFFFFFFF
        sr = struct.pack(
            "!BBHIIIIII",
            0x80,
            200,
            6,
            self._ssrc,
            seconds + NTP_EPOCH_S,
            fraction,
            stamp,
            number,
            sum(map(len, self._clip.packets)) * number // len(self._clip.packets),
        )
        name = b"bench"
        sdes = struct.pack("!BBHIBB", 0x81, 202, 3, self._ssrc, 1, len(name)) + name + b"\0"
        return sr + sdes


class Heard:
    """The RTP stream that an end receives."""

    __slots__ = ("_to_capture", "arrived_ns", "captured", "is_recording", "packets", "stamps")

    def __init__(self) -> None:
        self.is_recording = False
        self.packets = 0
        "Since the call began."
        self.arrived_ns = array("q")
        self.stamps = array("I")
        self.captured: list[tuple[int, bytes]] = []
        "Some packets as they came, each with its index in the arrays."
        self._to_capture = 0

    def record(self) -> None:
        """Begin afresh: keep times from now on, and the first packets whole."""
        self.arrived_ns = array("q")
        self.stamps = array("I")
        self.captured = []
        self._to_capture = CAPTURED_FRAMES
        self.is_recording = True

    def capture(self, frames: int = CAPTURED_FRAMES) -> None:
        """Keep the next packets whole."""
        self._to_capture = frames

    @property
    def is_capturing(self) -> bool:
        """Whether the next packet is kept whole."""
        return self._to_capture > 0

    def take(self, packet: bytes, arrived_ns: int) -> None:
        """One RTP packet, protected or not: all that is read here is its header."""
        self.packets += 1
        if self.is_recording:
            if self._to_capture:
                self._to_capture -= 1
                self.captured.append((len(self.stamps), packet))
            self.arrived_ns.append(arrived_ns)
            self.stamps.append(int.from_bytes(packet[4:8], "big"))


def payload_of(packet: bytes) -> bytes:
    """The payload of an RTP packet (RFC 3550 §5.1), b"" if it makes no sense."""
    start = 12 + 4 * (packet[0] & 0x0F)
    if packet[0] & 0x10 and len(packet) >= start + 4:
        start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4], "big")
    end = len(packet) - (packet[-1] if packet[0] & 0x20 else 0)
    return packet[start:end]


def is_rtcp(packet: bytes) -> bool:
    """Whether a packet on an RTP port is RTCP (RFC 5761 §4)."""
    return 192 <= packet[1] <= 223
