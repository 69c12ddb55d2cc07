"""Offer and answer as pure functions (RFC 3264, RFC 8829 §5, RFC 6337).

A session of ours has one audio stream. Whatever else a peer offers (video, data, a second audio)
is rejected in its place, and goes on being so in later offers of either side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.codec import COMFORT_NOISE, Codec
from gateway.errors import CodecError, NegotiationError
from gateway.sdp.choice import (
    DEFAULT_PTIME_MS,
    Preference,
    choose,
    describe_objection,
    keep_payload_types,
    offerable,
    ptime_ms,
    receivable,
)
from gateway.sdp.crypto import usable
from gateway.sdp.description import (
    Direction,
    Group,
    Keying,
    MediaDescription,
    Origin,
    SessionDescription,
)

OPUS_FMTP = "minptime=10;useinbandfec=1;stereo=0;sprop-stereo=0"
"What we ask of an Opus sender: in-band FEC, mono, packets as short as 10 ms (RFC 7587 §6.1)."

OPUS_NARROWBAND_FMTP = (
    f"{OPUS_FMTP};maxplaybackrate=8000;sprop-maxcapturerate=8000;maxaveragebitrate=24000"
)
"The same where the far end is narrowband: both browsers obey, and decoding costs a third."

_PROTOCOLS = {
    Keying.NONE: {"RTP/AVP", "RTP/AVPF"},
    Keying.SDES: {"RTP/SAVP", "RTP/SAVPF"},
    # RFC 8829 §5.1.2: what an offer may call DTLS-SRTP.
    Keying.DTLS: {
        "UDP/TLS/RTP/SAVPF",
        "UDP/TLS/RTP/SAVP",
        "TCP/DTLS/RTP/SAVPF",
        "TCP/DTLS/RTP/SAVP",
        "RTP/SAVPF",
        "RTP/SAVP",
    },
}

_SECURED = {"RTP/AVP": "RTP/SAVP", "RTP/AVPF": "RTP/SAVPF"}
"What a protocol is called when it is protected."

LONGEST_MS = 120
"No packet that we take or make is longer (RFC 7587 §4.2)."

_DTLS_ROLES = ("active", "passive")
"What an answer says in a=setup (RFC 8842 §5.3)."


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
    "Ours: where it does not send, the peer holds us."
    ptime_ms: int
    "Packet duration that the peer wants to receive, 10 to 60, and that the codec can make."
    maxptime_ms: int = LONGEST_MS
    "The longest packet that the peer takes (RFC 8866 §6.4)."
    send_noise: Codec | None = None
    "CN for sending (RFC 3389); None where the peer did not offer it."
    rtcp_xr: tuple[str, ...] = ()
    "Extended reports that the peer wants of us, as in its SDP (RFC 3611 §5.1)."


def build_offer(
    media: MediaDescription,
    *,
    codecs: Sequence[Codec],
    origin: Origin,
    previous: SessionDescription | None = None,
) -> SessionDescription:
    """Offer one audio stream.

    Args:
        media: the transport part, as `MediaTransport.describe` fills it in; its direction is
            offered as it is, its ptime too (20 where it has none and is no browser's).
        codecs: ours in preference order, telephone-event of each clock among them.
        origin: used when nothing was sent before.
        previous: what we sent last in this session, offer or answer. The new offer keeps its
            sections and payload types; its version is one higher iff anything changed.
    """
    index = _audio_index(previous)
    before = None if previous is None or index == len(previous.media) else previous.media[index]
    is_dtls = media.keying is Keying.DTLS
    offered = keep_payload_types(offerable(codecs), () if before is None else before.codecs)
    section = replace(
        media,
        kind="audio",
        formats=_formats(offered),
        codecs=offered,
        mid=before.mid if before is not None else ("0" if is_dtls else None),
        ptime_ms=_wished_ptime(media),
        rtcp_port=None if media.rtcp_port == media.port + 1 else media.rtcp_port,
        rtcp_mux=media.rtcp_mux or is_dtls,
        # RFC 8842 §5.2, §5.5: the offerer leaves the choice to the answerer, always.
        setup="actpass" if is_dtls else None,
    )
    sections = [] if previous is None else [_reject(m, media.address) for m in previous.media]
    sections[index : index + 1] = [section]
    return _publish(
        SessionDescription(
            origin,
            sections,
            address=None if is_dtls else media.address,
            groups=_bundle(section) if is_dtls else (),
        ),
        previous,
    )


def find_audio(offer: SessionDescription, *, codecs: Sequence[Codec], keying: Keying) -> int:
    """Which m= section of an offer `answer_offer` will accept: the first audio we can carry.

    A WebRTC leg asks before it answers, because its transport must see the peer's part first.

    Raises:
        NegotiationError: none, naming what was offered and what is allowed.
    """
    objections = []
    error: type[NegotiationError] = CodecError
    for index, section in enumerate(offer.media):
        if section.kind == "audio":
            objection = _objection(section, keying)
            if objection is not None:
                error = NegotiationError
            elif choose(section.codecs, codecs) is None:
                objection = _codec_objection(section, codecs)
            else:
                return index
            objections.append(objection)
    if not objections:
        raise NegotiationError("offer has no audio")
    raise error("; ".join(objections))


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
    index = find_audio(offer, codecs=codecs, keying=media.keying)
    theirs = offer.media[index]
    # CN is taken where it is offered, never offered: then the pauses of a peer are its own wish.
    choice = choose(theirs.codecs, (*codecs, COMFORT_NOISE), prefer)
    assert choice is not None, "find_audio accepts no section without a common codec"
    section = _answer_section(theirs, media, choice.receive)
    address = None if media.keying is Keying.DTLS else section.address
    answer = SessionDescription(
        origin,
        [section if n == index else _reject(m, address) for n, m in enumerate(offer.media)],
        address=address,
        groups=_bundle(section) if _is_bundled(offer, theirs) else (),
        timing=offer.timing,
    )
    agreement = Agreement(
        index=index,
        send=choice.send,
        receive=choice.receive,
        send_digits=choice.send_digits,
        send_noise=choice.send_noise,
        direction=_unmuted(section.direction, theirs),
        ptime_ms=ptime_ms(theirs, choice.send),
        maxptime_ms=theirs.maxptime_ms or LONGEST_MS,
        rtcp_xr=theirs.rtcp_xr,
    )
    return _publish(answer, previous), agreement


def answer_without_media(
    offer: SessionDescription, *, origin: Origin, previous: SessionDescription | None = None
) -> SessionDescription:
    """Answer an offer whose audio is all at port 0, which is how some devices say hold.

    The stream rests (RFC 3264 §8.2) until somebody offers it again; the call goes on.
    """
    sections = [_reject(section, None) for section in offer.media]
    return _publish(SessionDescription(origin, sections, timing=offer.timing), previous)


def accept_answer(offer: SessionDescription, answer: SessionDescription) -> Agreement:
    """What a peer's answer to our offer settles.

    Raises:
        NegotiationError: our stream is rejected, or the answer does not fit the offer.
    """
    if len(answer.media) != len(offer.media):
        raise NegotiationError(
            f"answer has {len(answer.media)} m= lines, the offer {len(offer.media)}"
        )
    for ours, theirs in zip(offer.media, answer.media, strict=True):
        if theirs.kind != ours.kind or (theirs.port and not ours.port):
            raise NegotiationError(f"answer has m={theirs.kind} {theirs.port} for m={ours.kind}")
    index = _audio_index(offer)
    ours, theirs = offer.media[index], answer.media[index]
    if theirs.port == 0:
        raise NegotiationError("answer rejects the audio")
    keying = ours.keying
    if ours.crypto and theirs.crypto and _SECURED.get(ours.protocol) == theirs.protocol:
        keying = Keying.SDES  # an answer that calls by its name what was offered as RTP/AVP
    elif theirs.protocol != ours.protocol:
        raise NegotiationError(f"answer has {theirs.protocol}, offered was {ours.protocol}")
    objection = _objection(theirs, keying)
    choice = choose(theirs.codecs, ours.codecs)
    if objection is None and ours.keying is Keying.DTLS and theirs.setup not in _DTLS_ROLES:
        objection = f"audio has a=setup:{theirs.setup}"
    if objection is not None:
        raise NegotiationError(f"answer: {objection}")
    if choice is None:
        raise CodecError(f"answer: {_codec_objection(theirs, ours.codecs)}")
    return Agreement(
        index=index,
        send=choice.send,
        receive=receivable(theirs.codecs, ours.codecs),
        send_digits=choice.send_digits,
        direction=_unmuted(theirs.direction.reversed & ours.direction, theirs),
        ptime_ms=ptime_ms(theirs, choice.send),
        maxptime_ms=theirs.maxptime_ms or LONGEST_MS,
        rtcp_xr=theirs.rtcp_xr,
    )


# ---- sections


def _objection(section: MediaDescription, keying: Keying) -> str | None:
    """Why a section cannot be carried by a transport, whatever its codecs; None: it can."""
    if section.port == 0:
        # With bundle-only too: it would live in a section that we reject (RFC 8843 §7.3.1).
        return "audio is not offered, its port is 0"
    if section.protocol not in _PROTOCOLS[keying] or section.keying is not keying:
        return (
            f"audio is {section.protocol} keyed by {section.keying.value},"
            f" this leg is keyed by {keying.value}"
        )
    if keying is Keying.DTLS:
        return _dtls_objection(section)
    if keying is Keying.SDES and not usable(section.crypto):
        return "audio has no a=crypto that can be used"
    return None


def _dtls_objection(section: MediaDescription) -> str | None:
    if not section.fingerprints or section.setup == "holdconn":
        return "audio has no usable DTLS fingerprint and role"
    if section.ice_ufrag is None or section.ice_pwd is None:
        return "audio has no ICE credentials"
    return None if section.rtcp_mux else "audio has no rtcp-mux"


def _codec_objection(section: MediaDescription, codecs: Sequence[Codec]) -> str:
    return describe_objection(section.codecs, codecs, ", ".join(section.formats))


def _answer_section(
    theirs: MediaDescription, media: MediaDescription, receive: tuple[Codec, ...]
) -> MediaDescription:
    rtcp_mux = theirs.rtcp_mux and (media.rtcp_mux or media.keying is Keying.DTLS)
    return replace(
        media,
        kind=theirs.kind,
        protocol=theirs.protocol,
        formats=_formats(receive),
        codecs=receive,
        mid=theirs.mid,
        direction=theirs.direction.reversed & media.direction,
        ptime_ms=_wished_ptime(media),
        rtcp_port=None if rtcp_mux or media.rtcp_port == media.port + 1 else media.rtcp_port,
        rtcp_mux=rtcp_mux,
        rtcp_rsize=theirs.rtcp_rsize and media.rtcp_rsize,
        rtcp_xr=media.rtcp_xr if theirs.rtcp_xr else (),
        bundle_only=False,
        ice_options=tuple(o for o in media.ice_options if o in theirs.ice_options),
        setup=_answer_setup(theirs, media),
    )


def _answer_setup(theirs: MediaDescription, media: MediaDescription) -> str | None:
    """Our DTLS role (RFC 8842 §5.3): what the offer leaves to us is as our transport has it."""
    if media.keying is not Keying.DTLS:
        return None
    if theirs.setup in _DTLS_ROLES:
        return "passive" if theirs.setup == "active" else "active"
    return media.setup if media.setup in _DTLS_ROLES else "active"


def _reject(section: MediaDescription, address: str | None) -> MediaDescription:
    """The section turned down (RFC 3264 §6): its place, kind and name, and port 0."""
    return MediaDescription(
        section.kind,
        0,
        section.protocol,
        section.formats[:1],
        address=address or "0.0.0.0",  # noqa: S104 - RFC 8829 §5.2.1: no address
        direction=Direction.INACTIVE,
        mid=section.mid,
    )


def _audio_index(description: SessionDescription | None) -> int:
    """Where our stream is: the live audio, else the first audio, else after all others."""
    if description is None:
        return 0
    audio = [n for n, section in enumerate(description.media) if section.kind == "audio"]
    live = [n for n in audio if description.media[n].port]
    return (live or audio or [len(description.media)])[0]


def _is_bundled(offer: SessionDescription, section: MediaDescription) -> bool:
    return any(g.semantics == "BUNDLE" and section.mid in g.mids for g in offer.groups)


def _bundle(section: MediaDescription) -> tuple[Group, ...]:
    """The group of what we accept, which is one section (RFC 8843 §7.3)."""
    return () if section.mid is None else (Group("BUNDLE", (section.mid,)),)


def _unmuted(direction: Direction, theirs: MediaDescription) -> Direction:
    """RFC 6337 §5.4: c=0.0.0.0 changes no direction in SDP, but nothing is sent to it."""
    return direction & Direction.RECVONLY if theirs.is_muted else direction


def _publish(
    description: SessionDescription, previous: SessionDescription | None
) -> SessionDescription:
    """Give the o= line its version: one more than before iff anything changed (RFC 3264 §8)."""
    if previous is not None:
        description.origin = previous.origin
        if str(description) != str(previous):
            description.origin = replace(previous.origin, version=previous.origin.version + 1)
    return description


def _wished_ptime(media: MediaDescription) -> int | None:
    """What we ask for: browsers need no asking, and SIP devices expect the line."""
    if media.ptime_ms is None and media.keying is not Keying.DTLS:
        return DEFAULT_PTIME_MS
    return media.ptime_ms


def _formats(codecs: Sequence[Codec]) -> tuple[str, ...]:
    return tuple(str(codec.payload_type) for codec in codecs)
