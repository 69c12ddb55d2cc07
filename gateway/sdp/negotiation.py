"""Offer and answer as pure functions (RFC 3264, RFC 8829 §5, RFC 6337)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from gateway.codec import Codec
from gateway.sdp.description import (
    Direction,
    Keying,
    MediaDescription,
    Origin,
    SessionDescription,
)

OPUS_FMTP = "minptime=10;useinbandfec=1"
"What we ask of an Opus sender: in-band FEC, and packets as short as 10 ms."

OPUS_NARROWBAND_FMTP = (
    "minptime=10;useinbandfec=1;maxplaybackrate=8000;sprop-maxcapturerate=8000;"
    "maxaveragebitrate=24000"
)
"The same where the far end is narrowband: both browsers obey, and decoding costs a third."


class Preference(Enum):
    """Whose order of codecs decides."""

    OURS = "ours"
    THEIRS = "theirs"


@dataclass(frozen=True, slots=True)
class Agreement:
    """What offer and answer settled for our one audio stream."""

    index: int
    "The m= section, counted from 0."
    send: Codec
    "With the peer's payload type and its fmtp: how it wants to receive."
    receive: tuple[Codec, ...]
    "Everything the peer may send, with our fmtp; telephone-event and CN included."
    send_digits: Codec | None
    "The telephone-event format for sending; None where the peer takes none."
    direction: Direction
    "Ours: SENDONLY means that the peer does not send."
    ptime_ms: int
    "Packet duration that the peer wants to receive, 10 to 60."


def build_offer(
    media: MediaDescription,
    *,
    codecs: Sequence[Codec],
    origin: Origin,
    previous: SessionDescription | None = None,
) -> SessionDescription:
    """Offer one audio stream.

    Args:
        media: the transport part, as `MediaTransport.describe` fills it in; its direction and
            ptime are offered as they are.
        codecs: ours in preference order, telephone-event of each clock among them.
        origin: used when nothing was sent before.
        previous: what we sent last in this session, offer or answer. The new offer keeps its
            sections and payload types; its version is one higher iff anything changed.
    """
    raise NotImplementedError


def find_audio(offer: SessionDescription, *, codecs: Sequence[Codec], keying: Keying) -> int:
    """Which m= section of an offer `answer_offer` will accept: the first audio we can carry.

    A WebRTC leg asks before it answers, because its transport must see the peer's part first.

    Raises:
        NegotiationError: none, naming what was offered and what is allowed.
    """
    raise NotImplementedError


def answer_offer(
    offer: SessionDescription,
    *,
    media: MediaDescription,
    codecs: Sequence[Codec],
    origin: Origin,
    previous: SessionDescription | None = None,
    prefer: Preference = Preference.THEIRS,
) -> tuple[SessionDescription, Agreement]:
    """Accept one audio stream of an offer and reject the rest in place.

    Args:
        media: our transport part, as `MediaTransport.describe` fills it in. Its `direction` is
            what we are willing to do, its `rtcp_mux` and `rtcp_rsize` what we could.
        codecs: ours in preference order, telephone-event of each clock among them; the fmtp of
            the one chosen goes into the answer.
        origin: used when nothing was sent before.
        previous: what we sent last in this session; the version is one higher iff it changes.
        prefer: whose order of codecs decides.

    Raises:
        NegotiationError: no section is acceptable.
    """
    raise NotImplementedError


def accept_answer(offer: SessionDescription, answer: SessionDescription) -> Agreement:
    """What a peer's answer to our offer settles.

    Raises:
        NegotiationError: our stream is rejected, or the answer does not fit the offer.
    """
    raise NotImplementedError


def check_media_target(address: str | None, port: int, *, allow_local: bool = False) -> None:
    """Whether media may be sent where a peer's SDP says (no ICE there to prove consent).

    Args:
        allow_local: also to loopback and link-local addresses, metadata services excepted.

    Raises:
        NegotiationError: the target is not for us to hit.
    """
    raise NotImplementedError
