"""The offers and answers of a SIP leg, first and later ones, and the stream that they configure.

What is refused, by either side, changes nothing (RFC 3264 §8, S13). A peer holds us in many
spellings: sendonly, recvonly, inactive, c=0.0.0.0, port 0 (RFC 3264 §8.4, RFC 6337 §5, S19).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from gateway.codec import Codec
from gateway.errors import NegotiationError
from gateway.leg.stream import AudioStream
from gateway.sdp.choice import Preference
from gateway.sdp.crypto import SrtpPolicy, settle_keys
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
from gateway.sdp.target import Network, check_media_target

PTIME_MS = 20

EXTENDED_REPORTS = ("voip-metrics", "rcvr-rtt=all")
"What we want to be told by RTCP XR, and tell who wants it (RFC 3611 §5.1)."

_KEYINGS = {
    SrtpPolicy.OFF: (Keying.NONE,),
    SrtpPolicy.OPTIONAL: (Keying.SDES, Keying.NONE),
    SrtpPolicy.REQUIRED: (Keying.SDES,),
}
"What may be taken of an offer, the best first."


@dataclass(frozen=True, slots=True)
class MediaRules:
    """How the media of a party that has no DTLS is protected, and where it may be."""

    srtp: SrtpPolicy = SrtpPolicy.OFF
    is_symmetric: bool = False
    "Whether it is sent to where it sends from: what it says of that may be of its own network."
    allow: tuple[Network, ...] = ()
    "Networks that it may be in, private ones too."
    offers_mux: bool = False
    "Whether we offer RTP and RTCP on one port (RFC 5761); what it offers is taken anyway."


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
        rules: MediaRules | None = None,
        peer: Callable[[], str | None] = lambda: None,
    ) -> None:
        """
        Args:
            codecs: what the leg may speak, in our order, telephone-event among them.
            session_id: digits for the o= lines of our descriptions.
            prefer: whose order of codecs decides where the peer offers.
            allow_local_media: whether the peer may name loopback addresses for its media.
            peer: the address that its SIP comes from, once that is known.
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
        self._rules = rules or MediaRules()
        self._peer = peer
        self._is_secured = False
        "Whether there are keys of SDES: from then on the stream is not made plain (A34)."
        self._place: tuple[str | None, int] | None = None
        "Where the peer's media was last."
        self._offer: SessionDescription | None = None
        "A later offer of ours that has no answer yet."
        self._agreement: Agreement | None = None
        self._agreed: bytes | None = None
        "The answer in force, as it came."

    def close(self) -> None:
        """Nothing is negotiated any more: let go of who could tell where the peer is."""
        self._peer = lambda: None

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
            if self._keying is not Keying.DTLS:
                section = settle_keys(
                    section,
                    self._rules.srtp,
                    offered=offer.media[agreement.index],
                    # Of several callees that a proxy rings, each answers for itself.
                    is_secured=self._is_secured and pending is not None,
                )
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
        section = self._find_audio(offer)
        has_moved = self._has_moved(section)
        self._accept_media(section)
        media = self._describe(restart=has_moved)
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
    def peer_speaks(self) -> bool:
        """Whether the peer says that it sends."""
        return self.held is None or self.held.sends

    @property
    def is_open(self) -> bool:
        """Whether the peer is to be heard: nobody holds anybody."""
        return self.held is None and self.direction.receives

    # ---- inside

    def _find_audio(self, offer: SessionDescription) -> MediaDescription:
        """The section that is accepted of an offer, with the one key that is used."""
        if self._keying is Keying.DTLS:
            return offer.media[find_audio(offer, codecs=self._codecs, keying=self._keying)]
        *better, last = _KEYINGS[self._rules.srtp]
        for keying in better:
            with suppress(NegotiationError):
                index = find_audio(offer, codecs=self._codecs, keying=keying)
                return settle_keys(offer.media[index], self._rules.srtp)
        index = find_audio(offer, codecs=self._codecs, keying=last)
        return settle_keys(offer.media[index], self._rules.srtp, is_secured=self._is_secured)

    def _has_moved(self, section: MediaDescription) -> bool:
        """Whether what is protected comes to another place than before, which knows no ROC."""
        place = (section.address, section.port)
        return self._is_secured and not section.is_muted and place != self._place

    def _describe(self, *, restart: bool = False) -> MediaDescription:
        is_dtls = self._keying is Keying.DTLS
        media = MediaDescription(
            direction=self.direction,
            ptime_ms=None if is_dtls else PTIME_MS,
            rtcp_mux=is_dtls or self._rules.offers_mux,
            rtcp_rsize=is_dtls,
            rtcp_xr=EXTENDED_REPORTS,
        )
        return self._stream.transport.describe(media, restart=restart)

    def _accept_media(self, section: MediaDescription) -> None:
        if self._keying is not Keying.DTLS and not section.is_muted:
            check_media_target(
                section.address,
                section.port,
                allow_local=self._allow_local_media,
                peer=None if self._rules.is_symmetric else self._peer(),
                allow=self._rules.allow,
            )
        # Who is not let speak does not have to, to be sent to.
        direction = section.direction & self.direction.reversed
        self._stream.transport.accept(replace(section, direction=direction))

    def _apply(
        self, local: SessionDescription, agreement: Agreement, theirs: MediaDescription
    ) -> None:
        self.local, self._agreement = local, agreement
        self._is_secured = self._keying is not Keying.DTLS and bool(theirs.crypto)
        if not theirs.is_muted:
            self._place = (theirs.address, theirs.port)
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
        RemoteProtocolError: it speaks of protection, and is not SDP.
        NegotiationError: likewise, and it has no audio.
    """
    if sdp is None:
        return otherwise
    if b"SAVP" not in sdp:
        # Most are plain, and are read in full when they are answered.
        return Keying.NONE
    for section in parse_sdp(sdp).media:
        if section.kind == "audio" and not section.is_rejected:
            return section.keying
    raise NegotiationError("offer has no audio")


def _is_resting(description: SessionDescription) -> bool:
    """Whether there is audio in it, all of it at port 0, and nothing else that is live."""
    media = description.media
    return all(each.is_rejected for each in media) and any(each.kind == "audio" for each in media)
