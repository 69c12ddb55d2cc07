"""The offers and answers of a SIP leg, first and later ones, and the stream that they configure.

What is refused, by either side, changes nothing (RFC 3264 §8, S13). A peer holds us in many
spellings: sendonly, recvonly, inactive, c=0.0.0.0, port 0 (RFC 3264 §8.4, RFC 6337 §5, S19).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.codec import Codec
from gateway.errors import NegotiationError
from gateway.leg.stream import AudioStream
from gateway.sdp.choice import Preference
from gateway.sdp.description import (
    Direction,
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
    answer_without_media,
    build_offer,
    find_audio,
)
from gateway.sdp.target import check_media_target

PTIME_MS = 20


class Negotiator:
    """One leg's side of all its offers and answers."""

    def __init__(
        self,
        stream: AudioStream,
        *,
        codecs: Sequence[Codec],
        session_id: str,
        prefer: Preference = Preference.THEIRS,
        keying: Keying = Keying.NONE,
        allow_local_media: bool = False,
    ) -> None:
        """
        Args:
            codecs: what the leg may speak, in our order, telephone-event among them.
            session_id: digits for the o= lines of our descriptions.
            prefer: whose order of codecs decides where the peer offers.
            allow_local_media: whether the peer may name loopback addresses for its media.
        """
        self.local: SessionDescription | None = None
        "What we said last, of what is in force or was never answered yet."
        self.direction = Direction.SENDRECV
        "What we are willing to do: sendonly where we hold the peer."
        self.held: Direction | None = None
        "What the peer still does while it holds us; None: it does not."
        self._stream = stream
        self._codecs = codecs
        self._prefer = prefer
        self._session_id = session_id
        self._keying = keying
        self._allow_local_media = allow_local_media
        self._offer: SessionDescription | None = None
        "A later offer of ours that has no answer yet."
        self._agreement: Agreement | None = None
        self._agreed: bytes | None = None
        "The answer in force, as it came."

    def make_offer(self) -> bytes:
        """Our next offer. One after the first counts only once it is answered."""
        media = self._describe()
        origin = Origin(self._session_id, 1, media.address or "127.0.0.1")
        previous = None if self._agreement is None else self.local
        offer = build_offer(media, codecs=self._codecs, origin=origin, previous=previous)
        if previous is None:
            self.local = offer
        else:
            self._offer = offer
        return str(offer).encode()

    def take_answer(self, body: bytes) -> None:
        """Take the peer's answer to our last offer; the same one again changes nothing.

        Raises:
            GatewayError: it cannot be used. All is as it was.
        """
        pending, self._offer = self._offer, None
        offer = pending or self.local
        assert offer is not None, "an answer without an offer"
        if body == self._agreed and pending is None:
            return
        answer = parse_sdp(body)
        if self._agreement is not None and _is_resting(answer):
            self._rest(offer)
        else:
            agreement = accept_answer(offer, answer)
            section = answer.media[agreement.index]
            self._accept_media(section)
            self._apply(offer, agreement, section)
        self._agreed = body

    def withdraw(self) -> None:
        """Our last offer was refused: what was agreed upon before goes on."""
        self._offer = None

    def answer(self, body: bytes) -> bytes:
        """Answer an offer of the peer, its first or a later one.

        Raises:
            GatewayError: it cannot be accepted. All is as it was.
        """
        offer = parse_sdp(body)
        if self._agreement is not None and _is_resting(offer):
            previous = self.local
            assert previous is not None
            answer = answer_without_media(offer, origin=previous.origin, previous=previous)
            self._rest(answer)
            return str(answer).encode()
        section = offer.media[find_audio(offer, codecs=self._codecs, keying=self._keying)]
        self._accept_media(section)
        media = self._describe()
        answer, agreement = answer_offer(
            offer,
            media=media,
            codecs=self._codecs,
            origin=Origin(self._session_id, 1, media.address or "127.0.0.1"),
            previous=None if self._agreement is None else self.local,
            prefer=self._prefer,
        )
        self._apply(answer, agreement, section)
        return str(answer).encode()

    @property
    def is_open(self) -> bool:
        """Whether the peer is to be heard: nobody holds anybody."""
        return self.held is None and self.direction.receives

    # ---- inside

    def _describe(self) -> MediaDescription:
        is_dtls = self._keying is Keying.DTLS
        media = MediaDescription(
            direction=self.direction,
            ptime_ms=None if is_dtls else PTIME_MS,
            rtcp_mux=is_dtls,
            rtcp_rsize=is_dtls,
        )
        return self._stream.transport.describe(media)

    def _accept_media(self, section: MediaDescription) -> None:
        if self._keying is not Keying.DTLS and not section.is_muted:
            check_media_target(section.address, section.port, allow_local=self._allow_local_media)
        self._stream.transport.accept(section)

    def _apply(
        self, local: SessionDescription, agreement: Agreement, theirs: MediaDescription
    ) -> None:
        self.local, self._agreement = local, agreement
        self._note(Direction.INACTIVE if theirs.is_muted else theirs.direction)
        self._stream.configure(agreement)

    def _rest(self, local: SessionDescription) -> None:
        """The stream is at port 0 until it is offered again (RFC 3264 §8.2)."""
        assert self._agreement is not None
        if self._keying is not Keying.DTLS:
            self._stream.transport.accept(MediaDescription(port=0))
        self.local = local
        self._agreement = replace(self._agreement, direction=Direction.INACTIVE)
        self._note(Direction.INACTIVE)
        self._stream.configure(self._agreement)

    def _note(self, theirs: Direction) -> None:
        """A peer that does less than we let it do holds us."""
        ours = self.direction
        does_all = (theirs.sends or not ours.receives) and (theirs.receives or not ours.sends)
        self.held = None if does_all else theirs


def offered_keying(sdp: bytes | None, otherwise: Keying) -> Keying:
    """How an offer wants its audio protected, so that the right transport can be made for it.

    Args:
        otherwise: for an INVITE without an offer.

    Raises:
        RemoteProtocolError: it is not SDP.
        NegotiationError: it has no audio.
    """
    if sdp is None:
        return otherwise
    for section in parse_sdp(sdp).media:
        if section.kind == "audio" and not section.is_rejected:
            return section.keying
    raise NegotiationError("offer has no audio")


def _is_resting(description: SessionDescription) -> bool:
    """Whether there is audio in it, all of it at port 0, and nothing else that is live."""
    media = description.media
    return all(each.is_rejected for each in media) and any(each.kind == "audio" for each in media)
