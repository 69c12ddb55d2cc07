"""RTP over UDP with keys from the SDP: SRTP and SRTCP by SDES (RFC 4568, RFC 3711, RFC 7714)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from gateway.net.latch import Latch
from gateway.net.ports import PortPool
from gateway.net.udp_media import UdpMediaTransport
from gateway.rtp.packet import is_rtcp
from gateway.rtp.srtp import SUITES, SrtpReceiver, SrtpSender
from gateway.sdp.crypto import KEY_BYTES, Crypto, SrtpPolicy, parse_crypto
from gateway.sdp.description import MediaDescription
from gateway.sdp.target import Network

OVERLAP_S = 2.0
"""After a change of keys packets under the one before are still taken for so long, from the first
one under the new: some are under way. And so long at most we keep to our old one, where the suite
changes, if nothing shows that the peer has learned of the new."""


class SdesMediaTransport(UdpMediaTransport):
    """A `MediaTransport` over UDP that protects its packets where the SDP of both sides has keys.

    We have one key for each suite all call long: what changes is the peer's, as a rule, and then
    nothing changes for what we send. A packet that is not authentic is dropped before anything
    is learned from it, as from an address (A3). The peer is where an authentic packet of it comes
    from, among the addresses that it may be at: there is no need for four of them.
    """

    __slots__ = (
        "_candidate",
        "_consumer",
        "_keys",
        "_new_key",
        "_ours",
        "_policy",
        "_previous",
        "_previous_until",
        "_protocol",
        "_receiver",
        "_sender",
        "_senders",
        "_suite",
        "_switch",
        "_theirs",
        "_whereabouts",
        "refused",
    )

    def __init__(
        self,
        pool: PortPool,
        *,
        policy: SrtpPolicy,
        loop: asyncio.AbstractEventLoop | None = None,
        peer: str | None = None,
        symmetric: str | None = None,
        media_allow: Sequence[Network] = (),
        new_key: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """Bind a pair of ports; see `UdpMediaTransport`.

        Args:
            policy: what the first offer says.
            new_key: that many bytes that nobody can guess.
        """
        super().__init__(pool, loop=loop, peer=peer, symmetric=symmetric, media_allow=media_allow)
        self._policy = policy
        self._new_key = new_key
        self._keys: dict[str, bytes] = {}
        "Ours, by suite."
        self._protocol: str | None = None
        "Settled by offer and answer; None: not yet."
        self._ours: Crypto | None = None
        "Our line of what is settled; None: it is plain RTP."
        self._theirs: Crypto | None = None
        self._consumer = self._deliver
        self._sender: SrtpSender | None = None
        self._senders: dict[str, SrtpSender] = {}
        "Those that were in use, by suite."
        self._suite = ""
        "Of the sender."
        self._switch: asyncio.TimerHandle | None = None
        "To a sender of another suite, as soon as the peer has shown that it knows of it."
        self._receiver: SrtpReceiver | None = None
        self._previous: SrtpReceiver | None = None
        "Under the key before, and until when."
        self._previous_until: float | None = None
        self._whereabouts: Latch | None = None
        "Where a symmetric peer may be; None: where it says, and nowhere else."
        self._candidate: tuple[Any, ...] | None = None
        "Where the packet that is being looked at comes from, if that is news."
        self.refused = 0
        "Packets of the peer's address that were not authentic, or came once more; dropped."

    @property
    def on_packet(self) -> Callable[[bytes, float], None]:
        """Takes RTP and RTCP in the clear; see `MediaTransport`."""
        return self._consumer

    @on_packet.setter
    def on_packet(self, take: Callable[[bytes, float], None]) -> None:
        self._consumer = take
        self._deliver = take if self._receiver is None else self._take

    def describe(self, media: MediaDescription, *, restart: bool = False) -> MediaDescription:
        """`media` with our address, ports and keys: of every suite, until one is settled.

        Args:
            restart: with another key than before, for a peer that has moved (RFC 4568 §7.1.4).
        """
        media = super().describe(media)
        if self._protocol is None:
            is_required = self._policy is SrtpPolicy.REQUIRED
            lines = tuple(str(self._line(tag, suite)) for tag, suite in enumerate(KEY_BYTES, 1))
            return replace(media, protocol="RTP/SAVP" if is_required else "RTP/AVP", crypto=lines)
        if restart and self._ours is not None:
            self._renew()
        lines = () if self._ours is None else (str(self._ours),)
        return replace(media, protocol=self._protocol, crypto=lines)

    def accept(self, remote: MediaDescription) -> None:
        """Take the peer's address, and its key: the one line of a=crypto that is settled.

        No line means plain RTP: whether that may be is for the caller to have checked (A34).

        Raises:
            RemoteProtocolError: its address is no IP address of our sockets' family (488).
        """
        theirs = parse_crypto(remote.crypto[0]) if remote.crypto else None
        super().accept(remote)
        if not remote.port:
            return  # the stream rests; its keys stay
        self._protocol = remote.protocol
        if theirs is None:
            self._make_plain()
            return
        self._ours = self._line(theirs.tag, theirs.suite)
        before, self._theirs = self._theirs, theirs
        if before is None or (before.suite, before.key) != (theirs.suite, theirs.key):
            self._rekey(theirs)

    def send(self, packet: bytes) -> None:
        """Protect RTP or RTCP and send it now; dropped and counted where there is no path."""
        sender = self._sender
        if sender is not None:
            protected = sender.protect(packet)
            if protected is None:
                self.unsent += 1
                return
            packet = protected
        super().send(packet)

    def close(self) -> None:
        """Stop, and forget the keys."""
        self._make_plain()
        self._keys.clear()
        self._senders.clear()
        super().close()

    # ---- keys

    def _line(self, tag: int, suite: str) -> Crypto:
        key = self._keys.get(suite)
        if key is None:
            key = self._keys[suite] = self._new_key(KEY_BYTES[suite])
        return Crypto(tag, suite, key)

    def _rekey(self, theirs: Crypto) -> None:
        """Use another key of the peer's; the one before is still heard for a while.

        RFC 4568 §7.1.4: both are to be expected, until an answer has arrived and a bit longer.
        """
        assert self._ours is not None
        self._previous, self._previous_until = self._receiver, None
        self._receiver = SrtpReceiver.of_key(SUITES[theirs.suite], theirs.key)
        self._deliver = self._take
        if self._sender is None:
            self._send_by(self._ours)
        elif self._suite != theirs.suite:
            self._stop_switch()
            self._switch = self._loop.call_later(OVERLAP_S, self._send_by, self._ours)

    def _renew(self) -> None:
        """Another key of ours: who goes on at another place does not know how far we are (ROC)."""
        assert self._ours is not None
        self._keys.pop(self._ours.suite, None)
        self._senders.pop(self._ours.suite, None)
        self._ours = self._line(self._ours.tag, self._ours.suite)
        self._send_by(self._ours)

    def _send_by(self, ours: Crypto) -> None:
        self._stop_switch()
        sender = self._senders.get(ours.suite)
        if sender is None:
            sender = SrtpSender.of_key(SUITES[ours.suite], ours.key)
        # A stream that goes back to a key goes on under it: callees of a forked call take turns.
        self._sender = self._senders[ours.suite] = sender
        self._suite = ours.suite

    def _stop_switch(self) -> None:
        if self._switch is not None:
            self._switch.cancel()
            self._switch = None

    def _make_plain(self) -> None:
        self._stop_switch()
        self._sender = self._receiver = self._previous = self._ours = self._theirs = None
        self._deliver = self._consumer

    # ---- what comes in

    def _take(self, data: bytes, now: float) -> None:
        """Open a packet from where the peer may be; what is not authentic is nothing."""
        assert self._receiver is not None
        opened = self._receiver.unprotect(data)
        if self._previous is not None:
            opened = self._open_in_change(self._previous, data, opened, now)
        if opened is None:
            self.refused += 1
            self._candidate = None
            return
        if self._candidate is not None:
            self._believe(opened, self._candidate)
        self._consumer(opened, now)

    def _open_in_change(
        self, previous: SrtpReceiver, data: bytes, opened: bytes | None, now: float
    ) -> bytes | None:
        if opened is None:
            return previous.unprotect(data)
        if self._previous_until is None:
            self._previous_until = now + OVERLAP_S
            if self._switch is not None and self._ours is not None:
                self._send_by(self._ours)  # it has our answer
        elif now >= self._previous_until:
            self._previous = None
        return opened

    def _begin_latch(self, host: str, symmetric: str) -> None:
        super()._begin_latch(host, symmetric)
        self._whereabouts = self._latch

    def _is_peer(self, data: bytes, source: tuple[Any, ...]) -> bool:
        if self._receiver is None:
            return super()._is_peer(data, source)
        return self._may_be(source, self._described)

    def _is_peers_rtcp(self, data: bytes, source: tuple[Any, ...]) -> bool:
        if self._receiver is None:
            return super()._is_peers_rtcp(data, source)
        is_known = source == self._remote_rtcp and self._source is not None
        return is_known or self._may_be(source, self._remote_rtcp)

    def _may_be(self, source: tuple[Any, ...], told: tuple[Any, ...] | None) -> bool:
        """Whether a packet may be of the peer, which its key has to prove."""
        where = self._whereabouts
        if self._described is None or (
            source != told and (where is None or not where.may_be(source[0]))
        ):
            return False
        self._candidate = source
        return True

    def _believe(self, opened: bytes, source: tuple[Any, ...]) -> None:
        """Something authentic has come from there."""
        self._candidate = None
        if is_rtcp(opened) and not self._is_muxed:
            self._remote_rtcp = source
            self._lift()
        elif self._whereabouts is None:
            self._prove(source)
        else:
            self._learn(source, opened[8:12])
