"""Offer and answer with a page (RFC 8829): the page's are answered, ours begin an ICE restart."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.codec import Codec
from gateway.errors import GatewayError
from gateway.net.media import MediaTransport
from gateway.sdp.choice import Preference
from gateway.sdp.description import (
    Keying,
    MediaDescription,
    Origin,
    SessionDescription,
    parse_sdp,
)
from gateway.sdp.negotiation import (
    Agreement,
    accept_answer,
    answer_offer,
    build_offer,
    find_audio,
)


class PageOffers:
    """What was said in SDP between a page and us, and what it settled."""

    def __init__(self, codecs: Sequence[Codec], session_id: str) -> None:
        """
        Args:
            codecs: what the page may speak, in our order.
            session_id: digits for the o= line of our descriptions.
        """
        self.agreement: Agreement | None = None
        self._codecs = codecs
        self._session_id = session_id
        self._described: SessionDescription | None = None
        "What we sent last, offer or answer."
        self._offered: SessionDescription | None = None
        "Our offer that is not answered yet."

    @property
    def described(self) -> str:
        """What we sent last."""
        return str(self._described)

    def answer(self, offer: str, transport: MediaTransport) -> str:
        """Take an offer with `transport` at our end; an open one of ours is withdrawn.

        Returns:
            Our answer; the same one to the same offer.

        Raises:
            RemoteProtocolError: it is not SDP, or lacks ICE or DTLS.
            NegotiationError: no common codec. Nothing has changed then.
        """
        described = parse_sdp(offer)
        index = find_audio(described, codecs=self._codecs, keying=Keying.DTLS)
        transport.accept(described.media[index])
        answer, agreement = answer_offer(
            described,
            media=transport.describe(MediaDescription(rtcp_mux=True, rtcp_rsize=True)),
            codecs=self._codecs,
            origin=Origin(self._session_id, 1, "127.0.0.1"),
            previous=self._described,
            prefer=Preference.OURS,
        )
        self._described, self._offered, self.agreement = answer, None, agreement
        return str(answer)

    def answer_anew(self, offer: str, transport: MediaTransport) -> str:
        """The same of another peer connection, whose sections have nothing to do with the last's.

        Raises:
            RemoteProtocolError, NegotiationError: as `answer`; `transport` is closed then.
        """
        before, self._described = self._described, None
        try:
            return self.answer(offer, transport)
        except GatewayError:
            self._described = before
            transport.close()
            raise

    def offer_restart(self, transport: MediaTransport) -> str:
        """An offer of what is agreed on, with new ICE credentials; an open one again, as it is."""
        assert self.agreement is not None
        assert self._described is not None
        if self._offered is None:
            wanted = MediaDescription(rtcp_mux=True, rtcp_rsize=True)
            self._offered = self._described = build_offer(
                transport.describe(wanted, restart=True),
                codecs=self.agreement.receive,
                origin=self._described.origin,
                previous=self._described,
            )
        return str(self._offered)

    def take_answer(self, answer: str, transport: MediaTransport) -> bool:
        """Take the answer to our offer; False where nothing waits for one.

        Raises:
            RemoteProtocolError: it is not SDP.
            NegotiationError: it does not fit our offer. Nothing has changed then.
        """
        if self._offered is None:
            return False
        described = parse_sdp(answer)
        agreement = accept_answer(self._offered, described)
        transport.accept(described.media[agreement.index])
        self._offered, self.agreement = None, agreement
        return True
