"""What a packet costs to send and to receive, one by one or in batches: `python -m bench.batching`.

`sendto` and `recvfrom` of Python's sockets beside `sendmmsg` and `recvmmsg` (Linux), which Python
has not and are called by ctypes with everything laid out beforehand. CPU µs a packet on loopback.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import time

SIZE = 1500
MOST = 64
PACKET = b"x" * 92  # 20 ms of narrowband Opus with SRTP and RTP
PACKETS = 8_000
BATCHES = (1, 2, 4, 8, 32)
DONT_WAIT = 0x40
SOCKADDR_BYTES = 16

Packets = list[tuple[bytes, tuple[str, int]]]


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Message(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("parts", ctypes.POINTER(_Iovec)),
        ("part_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_long),  # an int, and what aligns the next
        ("length", ctypes.c_ulong),  # of mmsghdr, which has this one in it
    )


class Batch:
    """Room for some packets with their addresses, as the kernel wants it."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._names = ctypes.create_string_buffer(SOCKADDR_BYTES * MOST)
        self._at = ctypes.addressof(self._names)
        self._room = ctypes.create_string_buffer(SIZE * MOST)
        self._view = memoryview(self._room)
        self._parts = (_Iovec * MOST)()
        self._messages = (_Message * MOST)()
        self._known: dict[bytes, tuple[str, int]] = {}
        for n, message in enumerate(self._messages):
            self._parts[n].base = ctypes.addressof(self._room) + SIZE * n
            self._parts[n].size = SIZE
            message.name = ctypes.addressof(self._names) + SOCKADDR_BYTES * n
            message.name_size = SOCKADDR_BYTES
            message.parts = ctypes.pointer(self._parts[n])
            message.part_count = 1

    def receive(self, descriptor: int) -> Packets:
        """All that waits, at most `MOST`, with who has sent it."""
        count = self._libc.recvmmsg(descriptor, self._messages, MOST, DONT_WAIT, None)
        names, found = self._names.raw, []
        for n in range(count):
            message = self._messages[n]
            key = names[SOCKADDR_BYTES * n : SOCKADDR_BYTES * n + 8]
            source = self._known.get(key)
            if source is None:
                port = struct.unpack(">H", key[2:4])[0]
                source = self._known[key] = (socket.inet_ntoa(key[4:8]), port)
            found.append((bytes(self._view[SIZE * n : SIZE * n + message.length]), source))
            message.name_size = SOCKADDR_BYTES
        return found

    def send(self, descriptor: int, packets: list[tuple[bytes, bytes]]) -> int:
        """Send packets, each with its sockaddr_in; how many went out."""
        for n, (data, address) in enumerate(packets):
            part = self._parts[n]
            part.base = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value
            part.size = len(data)
            ctypes.memmove(self._at + SOCKADDR_BYTES * n, address, SOCKADDR_BYTES)
        sent: int = self._libc.sendmmsg(descriptor, self._messages, len(packets), 0)
        return sent


def measure(size: int) -> dict[str, float]:
    """µs a packet of each way, in batches of `size`."""
    spent = dict.fromkeys(("sendto", "recvfrom", "sendmmsg", "recvmmsg"), 0.0)
    clock, sending, receiving = time.process_time, Batch(), Batch()
    with (
        socket.socket(type=socket.SOCK_DGRAM) as near,
        socket.socket(type=socket.SOCK_DGRAM) as far,
    ):
        near.bind(("127.0.0.1", 0))
        far.bind(("127.0.0.1", 0))
        far.setblocking(False)
        to = far.getsockname()
        address = struct.pack(
            "=HH4s8x", socket.AF_INET, socket.htons(to[1]), socket.inet_aton(to[0])
        )
        rounds = PACKETS // size
        for _ in range(rounds):
            at = [clock()]
            for _ in range(size):
                near.sendto(PACKET, to)
            at.append(clock())
            for _ in range(size):
                far.recvfrom(SIZE)
            at.append(clock())
            sent = sending.send(near.fileno(), [(PACKET, address)] * size)
            at.append(clock())
            came = receiving.receive(far.fileno())
            at.append(clock())
            assert sent == len(came) == size
            for name, begin, end in zip(spent, at, at[1:], strict=False):
                spent[name] += end - begin
    return {name: 1e6 * value / rounds / size for name, value in spent.items()}


def main() -> None:
    """Measure and print."""
    print("packets at once   sendto  recvfrom  sendmmsg  recvmmsg   (CPU µs a packet)")
    for size in BATCHES:
        row = measure(size)
        print(f"{size:15} " + "".join(f"{row[name]:9.2f} " for name in row))


if __name__ == "__main__":
    main()
