"""The WebRTC media transport: ICE, DTLS and SRTP of one stream, over one UDP port for all.

udp ▸ mux ▸ route ▸ srtp.unprotect ▸ on_packet        send ▸ srtp.protect ▸ udp
      │      └▸ DTLS records ▸ DtlsAssociation ▸ keys
      └▸ STUN ▸ Generation ▸ routes, target
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from gateway.errors import NegotiationError
from gateway.net.media import TransportState
from gateway.sdp.description import Fingerprint
from gateway.webrtc.dtls import HASHES, DtlsAssociation, DtlsState, end_all
from gateway.webrtc.ice import IceEndpoint
from gateway.webrtc.liveness import Path
from gateway.webrtc.options import DtlsRole

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Callable, Collection, Coroutine

    from gateway.rtp.srtp import SrtpReceiver, SrtpSender
    from gateway.sdp.description import MediaDescription
    from gateway.webrtc.mux import MuxSocket, Route
    from gateway.webrtc.port import WebRtcPort
    from gateway.webrtc.udp import Address

PROTOCOL = "UDP/TLS/RTP/SAVPF"
"RFC 5764 §9, RFC 5124."

UFRAG = re.compile(r"[A-Za-z0-9+/=_-]{4,256}")
PWD = re.compile(r"[A-Za-z0-9+/=_-]{22,256}")
"RFC 8839 §5.4, and the few more characters that some stacks use."

ALIVE = frozenset({TransportState.CONNECTED, TransportState.DISCONNECTED})
OVER = frozenset({TransportState.FAILED, TransportState.CLOSED})


class WebRtcTransport:
    """A `MediaTransport` (`net/media.py`) over ICE and DTLS-SRTP; made by `WebRtcPort`."""

    def __init__(self, port: WebRtcPort) -> None:
        self._port = port
        self._tasks: set[Task[None]] = set()
        self._ice = IceEndpoint(
            port.mux, self, port.ice_settings, spawn=self._spawn, on_target=self._retarget
        )
        self._liveness = self._ice.paths.liveness
        self._target: Route | None = None
        self._dtls: DtlsAssociation | None = None
        self._dtls_route: Route | None = None
        self._dtls_deadline = float("inf")
        self._role: DtlsRole | None = None
        self._fingerprints: tuple[Fingerprint, ...] = ()
        self._has_offered = self._owes_answer = self._is_closed = False
        self._srtp_sender: SrtpSender | None = None
        self._srtp_receiver: SrtpReceiver | None = None
        self._ssrcs: tuple[bytes, ...] = ()
        self._sendto: Callable[[bytes, Address], int] = _send_nowhere
        self._address: Address = ("", 0)
        self.state = TransportState.CONNECTING
        self.unsent = 0
        "Packets given to `send` for which there was no path."
        self.unread = 0
        "SRTP packets that came before the keys."
        self.on_packet: Callable[[bytes, float], None] = _ignore_packet
        "Takes decrypted RTP and RTCP, and loop seconds, inside the reader's callback."
        self.on_state: Callable[[TransportState], None] = _ignore_state

    # Signalling.

    def describe(self, media: MediaDescription, *, restart: bool = False) -> MediaDescription:
        """`media` with our address, candidates, ICE credentials and DTLS part filled in.

        It belongs to an answer if an offer was accepted last, else to an offer: call it once for
        each, after `accept` in an answer.

        Args:
            media: anything; is left as it is.
            restart: begin an ICE restart with this offer.
        """
        assert not self._is_closed
        if restart:
            self._ice.renew()
        if self._owes_answer:
            assert self._role is not None
            setup = self._role.value
        else:
            setup = "actpass"  # RFC 8842 §5.2 and, for later offers, §5.5
        self._has_offered, self._owes_answer = not self._owes_answer, False
        local = self._port.ice_settings.local
        return dataclasses.replace(
            media,
            protocol=PROTOCOL,
            address=local.default[0],
            port=local.default[1],
            rtcp_port=None,
            rtcp_mux=True,
            ice_ufrag=self._ice.ufrag,
            ice_pwd=self._ice.pwd,
            ice_lite=False,
            ice_options=("trickle",),
            candidates=local.told,
            end_of_candidates=True,
            fingerprints=(Fingerprint("sha-256", self._port.certificate.fingerprint),),
            setup=setup,
            crypto=(),
        )

    def accept(self, remote: MediaDescription) -> None:
        """Take the peer's side of an offer or answer.

        New ufrag and pwd are an ICE restart, under which DTLS and SRTP go on untouched; a new
        fingerprint is a new DTLS association (RFC 8842 §4).

        Raises:
            NegotiationError: no DTLS-SRTP over ICE can come of it. Nothing has changed then.
        """
        assert not self._is_closed
        ufrag, pwd = remote.ice_ufrag or "", remote.ice_pwd or ""
        if not UFRAG.fullmatch(ufrag) or not PWD.fullmatch(pwd):
            raise NegotiationError("offer or answer has no usable ice-ufrag and ice-pwd")
        fingerprints = tuple(each for each in remote.fingerprints if each.algorithm in HASHES)
        if not fingerprints:
            offered = ", ".join(each.algorithm for each in remote.fingerprints) or "none"
            raise NegotiationError(f"fingerprints are {offered}; needed is one of sha-256 and up")
        is_answer = self._has_offered and remote.setup != "actpass"
        role = self._decide_role(remote.setup, is_answer=is_answer)
        self._has_offered, self._owes_answer = False, not is_answer
        self._ice.accept(ufrag, pwd, remote.candidates, is_lite=remote.ice_lite)
        if self._dtls is None or set(fingerprints) != set(self._fingerprints):
            self._associate(role, fingerprints)

    def add_candidate(self, candidate: str, ufrag: str | None) -> None:
        """Take one trickled candidate; of an unknown generation or kind it is dropped."""
        if not self._is_closed:
            self._ice.add_candidate(candidate, ufrag)

    def close(self) -> None:
        """Say goodbye (DTLS close_notify) and forget everything. No callback follows."""
        if self._is_closed:
            return
        self._is_closed = True
        self.on_packet, self.on_state = _ignore_packet, _ignore_state
        self._srtp_sender = self._srtp_receiver = None
        self._ice.detach()
        self._disclaim()
        self._port.forget(self)
        self._port.spawn(self._shut(), "webrtc close")

    # Media.

    def send(self, packet: bytes) -> None:
        """Protect and send RTP or RTCP now; dropped and counted while there is no path."""
        sender = self._srtp_sender
        protected = sender.protect(packet) if sender is not None else None
        if protected is None:
            self.unsent += 1
            return
        try:
            self._sendto(protected, self._address)
        except OSError as error:
            self.unsent += 1
            self._port.mux.refuse(error)
            self._ice.paths.suspect(self._port.mux.now())

    def receive_media(self, data: bytes, route: Route, now: float) -> None:
        """Open an SRTP or SRTCP packet of a known address and pass it up, all in this call."""
        receiver = self._srtp_receiver
        if receiver is None:
            self.unread += 1
            return
        packet = receiver.unprotect(data)
        if packet is not None:
            route.media_at = self._liveness.media_at = now
            if route is not self._target:
                self._ice.paths.follow(route, now)
            self.on_packet(packet, now)

    def receive_stray(self, socket: MuxSocket, data: bytes, address: Address, now: float) -> bool:
        """Take a packet of a known SSRC from an unknown address, if it is authentic.

        A replay is not: nobody who has recorded media can have any sent to itself.
        """
        receiver = self._srtp_receiver
        packet = receiver.unprotect(data) if receiver is not None else None
        if packet is None:
            return False
        self._liveness.media_at = now
        self._ice.find(socket, address, now)
        self.on_packet(packet, now)
        return True

    def receive_dtls(self, data: bytes, route: Route, _now: float) -> None:
        """Take a DTLS record of a known address."""
        if self._dtls is not None:
            self._dtls_route = route
            self._dtls.receive(data)

    # States.

    def sweep(self, now: float) -> None:
        """Look at every clock; the port calls this many times a second."""
        if self.state in OVER:
            return
        receiver = self._srtp_receiver
        if receiver is not None and len(receiver.ssrcs) != len(self._ssrcs):
            self._claim(receiver.ssrcs)
        if (
            self.state is TransportState.CONNECTED
            and self._ice.is_settled
            and self._liveness.is_steady(now)
        ):
            return
        self._ice.sweep(now)
        self._settle(now)

    def _settle(self, now: float) -> None:
        state = self._judge(now)
        if state is self.state or self.state in OVER or self._is_closed:
            return
        self.state = state
        if state in OVER:
            self._srtp_sender = self._srtp_receiver = None
            self._ice.paths.rest()
        self.on_state(state)

    def _judge(self, now: float) -> TransportState:
        """What all parts together amount to."""
        dtls = self._dtls.dtls_state if self._dtls is not None else DtlsState.NEW
        if dtls is DtlsState.CLOSED:
            return TransportState.CLOSED
        if dtls is DtlsState.FAILED or self._ice.has_failed or now >= self._dtls_deadline:
            return TransportState.FAILED
        if self._target is None:
            return TransportState.CONNECTING
        path = self._liveness.path(now)
        if path is Path.EXPIRED:
            return TransportState.FAILED
        if dtls is not DtlsState.CONNECTED:
            return TransportState.CONNECTING
        return TransportState.CONNECTED if path is Path.ALIVE else TransportState.DISCONNECTED

    def _retarget(self) -> None:
        """Send elsewhere from now on."""
        target = self._target = self._ice.paths.target
        assert target is not None
        self._sendto, self._address = target.socket.sendto, target.address
        now = self._port.mux.now()
        if self._srtp_receiver is None and self._dtls_deadline == float("inf"):
            self._dtls_deadline = now + self._port.options.dtls_timeout_s
        if self._role is DtlsRole.ACTIVE:
            self._shake_hands()
        self._key()
        self._settle(now)

    # DTLS.

    def _decide_role(self, setup: str | None, *, is_answer: bool) -> DtlsRole:
        """Our role in a new association, given the peer's `a=setup` (RFC 5763 §5)."""
        if setup == "active":
            return DtlsRole.PASSIVE
        if setup == "passive":
            return DtlsRole.ACTIVE
        if setup in (None, "actpass") and not is_answer:
            return self._port.options.dtls_role
        raise NegotiationError(f"a=setup:{setup} leaves nobody to begin the handshake")

    def _associate(self, role: DtlsRole, fingerprints: tuple[Fingerprint, ...]) -> None:
        if self._dtls is not None:
            self._srtp_sender = self._srtp_receiver = None
            self._disclaim()
            self._port.spawn(self._dtls.shut(), "dtls close")
        self._role, self._fingerprints = role, fingerprints
        self._dtls_deadline = float("inf")
        self._dtls = DtlsAssociation(
            self._port.certificate, send=self._send_dtls, on_change=self._on_dtls_change
        )
        # Who is passive listens at once: the ClientHello may come before we nominate a pair.
        if role is DtlsRole.PASSIVE or self._target is not None:
            self._shake_hands()

    def _shake_hands(self) -> None:
        dtls = self._dtls
        if dtls is not None and dtls.begin():
            assert self._role is not None
            self._spawn(dtls.handshake(self._role, self._fingerprints), "dtls handshake")

    def _send_dtls(self, record: bytes) -> None:
        route = self._target or self._dtls_route
        if route is not None:
            route.socket.send(record, route.address)

    def _on_dtls_change(self) -> None:
        self._key()
        self._settle(self._port.mux.now())

    def _key(self) -> None:
        """Open both directions of media, as far as keys and path are there."""
        dtls = self._dtls
        if dtls is None or dtls.dtls_state is not DtlsState.CONNECTED:
            return
        self._dtls_deadline = float("inf")
        if self._srtp_receiver is None:
            self._srtp_receiver = dtls.srtp_receiver()
        if self._srtp_sender is None and self._target is not None:
            self._srtp_sender = dtls.srtp_sender()

    # SSRCs by which media is known whose address changes.

    def _claim(self, ssrcs: Collection[bytes]) -> None:
        by_ssrc = self._port.mux.by_ssrc
        for ssrc in ssrcs:
            # Whoever had it first keeps it: a page could choose that of another.
            by_ssrc.setdefault(ssrc, self)
        self._ssrcs = tuple(ssrcs)

    def _disclaim(self) -> None:
        by_ssrc = self._port.mux.by_ssrc
        for ssrc in self._ssrcs:
            if by_ssrc.get(ssrc) is self:
                del by_ssrc[ssrc]
        self._ssrcs = ()

    # The end.

    def _spawn(self, work: Coroutine[Any, Any, None], what: str) -> None:
        task = self._port.spawn(work, what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _shut(self) -> None:
        await end_all(self._tasks)
        if self._dtls is not None:
            await self._dtls.shut()
        await self._ice.close()
        self._dtls = self._dtls_route = self._target = None
        self._sendto = _send_nowhere


def _ignore_packet(_packet: bytes, _now: float) -> None:
    """Nobody listens."""


def _ignore_state(_state: TransportState) -> None:
    """Nobody listens."""


def _send_nowhere(_data: bytes, _address: Address) -> int:
    """No path yet; `send` never gets here, for there are no keys either."""
    return 0
