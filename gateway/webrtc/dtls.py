"""DTLS-SRTP keying: aiortc's handshake without its ICE and RTP (RFC 5764, RFC 8842)."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, cast

from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport

from gateway.rtp.srtp import SrtpReceiver, SrtpSender
from gateway.webrtc.options import DtlsRole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from aiortc.rtcicetransport import RTCIceTransport

    from gateway.sdp.description import Fingerprint
    from gateway.webrtc.certificate import Certificate

HASHES = frozenset({"sha-256", "sha-384", "sha-512"})
"What a fingerprint may be computed with; SHA-1 and MD5 prove nothing (RFC 8122 §5)."

MAX_RECORDS = 32
"Datagrams waiting to be read: a handshake has ten."

CANCEL_AGAIN_S = 0.05
"How long a task that was cancelled is given to end."


class DtlsState(Enum):
    """How an association fares, in aiortc's words."""

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"
    "The peer said goodbye."
    FAILED = "failed"


class DtlsAssociation(RTCDtlsTransport):
    """One DTLS association. It knows nothing of ICE: records come in, records go out."""

    def __init__(
        self,
        certificate: Certificate,
        *,
        send: Callable[[bytes], None],
        on_change: Callable[[], None],
    ) -> None:
        self._link = _Link(send)
        super().__init__(cast("RTCIceTransport", self._link), [certificate.pair])
        self.dtls_state = DtlsState.NEW
        "How it fares: kept, for aiortc's `state` cuts it out of a string each time."
        self._on_change = on_change
        self._has_begun = False
        self.on("statechange", self._note)

    def receive(self, record: bytes) -> None:
        """Take one datagram of DTLS; beyond the queue's bound it is lost, and will be resent."""
        if not self._link.records.full():
            self._link.records.put_nowait(record)

    def begin(self) -> bool:
        """Whether `handshake` is to be called: true the first time only."""
        began, self._has_begun = self._has_begun, True
        return not began

    async def handshake(self, role: DtlsRole, fingerprints: Sequence[Fingerprint]) -> None:
        """Shake hands with whoever holds a certificate of these fingerprints.

        Returns when `dtls_state` is connected or failed. It has no time-out of its own.
        """
        self._set_role("client" if role is DtlsRole.ACTIVE else "server")
        await self.start(
            RTCDtlsParameters(
                [RTCDtlsFingerprint(each.algorithm, each.value) for each in fingerprints]
            )
        )

    def srtp_sender(self) -> SrtpSender:
        """Protects with the keys agreed on. Only when connected."""
        return SrtpSender(self._tx_srtp)

    def srtp_receiver(self) -> SrtpReceiver:
        """Opens with the keys agreed on. Only when connected."""
        return SrtpReceiver(self._rx_srtp)

    async def shut(self) -> None:
        """Say goodbye if there is someone to say it to, stop, and break the cycles."""
        self.remove_all_listeners()
        pump = self._task
        await self.stop()
        if pump is not None:
            await end_all([pump])
        self._ssl = None
        self._link.send, self._on_change = _nowhere, _ignore

    def _note(self) -> None:
        self.dtls_state = DtlsState(self.state)
        self._on_change()

    async def _recv_next(self) -> None:
        """Read one datagram; what OpenSSL makes of a peer's bytes ends at most the association."""
        try:
            await super()._recv_next()
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise ConnectionError(f"DTLS: {error!r}") from error


async def end_all(tasks: Iterable[asyncio.Future[None]]) -> None:
    """Cancel tasks, until they are over.

    Before Python 3.12 `asyncio.wait_for`, by which aiortc waits for a record, loses a cancellation
    that comes in the same turn as the record: the handshake would go on for minutes, with nobody
    there, and be waited for.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)


class _Link:
    """What RTCDtlsTransport asks of the ICE transport below it."""

    role = "controlled"  # asked only for an undecided DTLS role, and ours is always decided

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self.send = send
        self.records: asyncio.Queue[bytes] = asyncio.Queue(MAX_RECORDS)

    async def _recv(self) -> bytes:
        return await self.records.get()

    async def _send(self, record: bytes) -> None:
        self.send(record)


def _nowhere(_record: bytes) -> None:
    """Where a shut association sends."""


def _ignore() -> None:
    """Whom a shut association tells."""
