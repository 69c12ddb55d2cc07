"""SIP over UDP: the sockets, and the gate before the parser (RFC 3261 §18)."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from gateway.net.icmp import ErrorQueue
from gateway.net.interface import is_ip_address, listening_addresses, open_on_each
from gateway.sip.flow import Flow

log = logging.getLogger(__name__)

Address = tuple[str, int]

MAX_DATAGRAMS_PER_TURN = 64
"Read per call of the loop: a flood on this socket must not starve the media on the others."
MAX_DATAGRAM_BYTES = 65_535
"Nothing UDP carries is longer."
RECEIVE_BUFFER_BYTES = 1 << 20
"Asked for: what arrives while the loop is busy elsewhere; the system may give less."

DSCP_SIGNALLING = 24
"CS3 (RFC 4594 §4.2)."
DSCP_VOICE = 46
"EF (RFC 3246)."


def open_udp_socket(host: str, port: int, *, dscp: int = DSCP_SIGNALLING) -> socket.socket:
    """Bind a non-blocking UDP socket, never to be connected.

    Args:
        host: One IPv4 or IPv6 address of this machine.
        port: 0 lets the system choose.
        dscp: Asked of the network, best effort.

    Raises:
        OSError: the address is not ours, or in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    udp_socket = socket.socket(family, socket.SOCK_DGRAM)
    try:
        udp_socket.setblocking(False)
        if family == socket.AF_INET6:
            udp_socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        mark_traffic(udp_socket, dscp)
        with suppress(OSError):
            udp_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        udp_socket.bind((host, port))
    except OSError as error:
        udp_socket.close()
        raise OSError(error.errno, f"udp:{host}:{port}: {error.strerror}") from None
    return udp_socket


def mark_traffic(udp_socket: socket.socket, dscp: int) -> None:
    """Ask for a DSCP on everything sent; systems that refuse are let alone."""
    with suppress(OSError):
        if udp_socket.family == socket.AF_INET6:
            udp_socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
        else:
            udp_socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)


class UdpSocket:
    """One bound socket: its readable turns become calls of `receive`."""

    def __init__(
        self,
        udp_socket: socket.socket,
        *,
        loop: asyncio.AbstractEventLoop,
        receive: Callable[[bytes, Flow], object],
        admit: Callable[[Address], bool],
        on_unreachable: Callable[[Flow], object] | None = None,
    ) -> None:
        """Start reading.

        Args:
            udp_socket: Bound and non-blocking; ours from now on.
            loop: Whose reader it becomes.
            receive: Takes one datagram; what it raises ends the loop's turn, not the reading.
            admit: Whether a source may be heard at all, asked before a byte is looked at.
            on_unreachable: Told of each flow whose peer ICMP says cannot be reached, on systems
                that tell (Linux).
        """
        self._socket = udp_socket
        self._loop = loop
        self._receive = receive
        self._admit = admit
        self._on_unreachable = on_unreachable
        self._errors = ErrorQueue.open(udp_socket) if on_unreachable is not None else None
        self._closed = False
        self._logged: set[int | None] = set()
        host, port = udp_socket.getsockname()[:2]
        self.local: Address = (host, port)
        self.received = 0
        "Datagrams taken."
        self.refused = 0
        "Datagrams of sources that are not admitted: no answer, no log line."
        self.send_errors = 0
        "Datagrams that the system would not send."
        self.unreachable = 0
        "Times that ICMP said that a peer cannot be reached."
        self._watched = self._errors or udp_socket
        loop.add_reader(self._watched.fileno(), self._read)

    def send(self, data: bytes, remote: Address) -> bool:
        """Send one datagram; whether the system took it. Never raises, never resolves a name."""
        if self._closed or not is_ip_address(remote[0]):
            return False
        try:
            self._send(data, remote)
        except OSError as error:
            self.send_errors += 1
            # A full buffer is as good as a loss on the way, which SIP mends by itself.
            if isinstance(error, BlockingIOError):
                return True
            self._log_once(error)
            return False
        return True

    def close(self) -> None:
        """Stop reading, then free the port."""
        if self._closed:
            return
        self._closed = True
        # In this order: a loop that polls a closed descriptor polls whoever gets its number next.
        self._loop.remove_reader(self._watched.fileno())
        if self._errors is not None:
            self._errors.close()
        self._socket.close()

    def _send(self, data: bytes, remote: Address) -> None:
        """
        Raises:
            OSError: the system would not send it.
        """
        try:
            self._socket.sendto(data, remote)
        except OSError as error:
            if self._errors is None or isinstance(error, BlockingIOError):
                raise
            # What ICMP said of an earlier datagram, to anybody, is raised once, and this one was
            # not sent; an error of its own comes again.
            self._socket.sendto(data, remote)

    def _read(self) -> None:
        for turn in range(MAX_DATAGRAMS_PER_TURN):
            if self._closed:
                return
            try:
                data, source = self._socket.recvfrom(MAX_DATAGRAM_BYTES)
            except (BlockingIOError, InterruptedError):
                if turn == 0 and self._errors is not None:
                    # Ready, and nothing to read: what a write has raised is still in the queue.
                    self._tell_unreachable(self._errors)
                return
            except OSError as error:
                if self._errors is not None:
                    self._tell_unreachable(self._errors)
                    continue
                self._log_once(error)
                return
            remote: Address = (source[0], source[1])
            if not self._admit(remote):
                self.refused += 1
                continue
            self.received += 1
            self._receive(data, Flow("udp", self.local, remote))

    def _tell_unreachable(self, errors: ErrorQueue) -> None:
        for remote in errors.take():
            self.unreachable += 1
            if self._on_unreachable is not None and not self._closed:
                self._on_unreachable(Flow("udp", self.local, remote))

    def _log_once(self, error: OSError) -> None:
        if error.errno not in self._logged:
            self._logged.add(error.errno)
            name = errno.errorcode.get(error.errno or 0, "?")
            log.warning("udp %s:%s: %s, counted from now on", *self.local, name)


class UdpTransport:
    """SIP's UDP sockets: one for each address listened on, so that answers leave where asked."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        *,
        loop: asyncio.AbstractEventLoop,
        receive: Callable[[bytes, Flow], object],
        admit: Callable[[Address], bool],
        on_unreachable: Callable[[Flow], object] | None = None,
    ) -> None:
        """Start reading; see `UdpSocket`. `open_udp_sockets` opens what is to be given."""
        opened = [
            UdpSocket(each, loop=loop, receive=receive, admit=admit, on_unreachable=on_unreachable)
            for each in sockets
        ]
        self.sockets = {each.local: each for each in opened}

    @property
    def locals(self) -> tuple[Address, ...]:
        """The addresses listened on, in the order they were given."""
        return tuple(self.sockets)

    def send(self, data: bytes, flow: Flow) -> bool:
        """Send on a flow; whether the system took it. Never raises."""
        udp_socket = self.sockets.get(flow.local)
        return udp_socket is not None and udp_socket.send(data, flow.remote)

    def flow_to(self, remote: Address) -> Flow:
        """The flow to a peer that we are first to write to.

        From the address that the system's routing would choose, if it is one of ours; else from
        the first of the same family.

        Raises:
            OSError: nothing is listened on in that family.
        """
        ours = [local for local in self.sockets if (":" in local[0]) == (":" in remote[0])]
        if not ours:
            raise OSError(errno.EAFNOSUPPORT, f"no UDP socket reaches {remote[0]}")
        chosen = source_address(remote) if len(ours) > 1 else None
        local = next((each for each in ours if each[0] == chosen), ours[0])
        return Flow("udp", local, remote)

    def close(self) -> None:
        """Close every socket."""
        for udp_socket in self.sockets.values():
            udp_socket.close()


def open_udp_sockets(host: str, port: int) -> list[socket.socket]:
    """Open what `listen = "udp:host:port"` asks for: for a wildcard one socket per address.

    Port 0 becomes one port that is free on all of them.

    Raises:
        OSError: an address is not ours, or in use.
    """
    return open_on_each(listening_addresses(host, loopback=True), port, open_udp_socket)


def source_address(remote: Address) -> str | None:
    """The address of ours that packets to a peer leave from; None when there is no way to it."""
    family = socket.AF_INET6 if ":" in remote[0] else socket.AF_INET
    # Connecting a UDP socket sends nothing. This one is read by nobody and closed at once.
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(remote)
        except OSError:
            return None
        return str(probe.getsockname()[0])
