"""RTP payload formats in SDP: rtpmap, fmtp, and the static types of RFC 3551 §6."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gateway.codec import COMFORT_NOISE, PCMA, PCMU, Codec
from gateway.sdp.grammar import Attribute, is_token, parse_number

CLOCK_RATES = range(1_000, 192_001)
"RTP clocks believed, in Hz; telephony has 8000 to 48000, video 90000."

MAX_NAME = 64
"Characters of the longest encoding name that is read."

STATIC = {
    codec.payload_type: codec
    for codec in (
        PCMU,
        Codec("GSM", payload_type=3, clock_rate=8000, sample_rate=8000),
        Codec("G723", payload_type=4, clock_rate=8000, sample_rate=8000),
        PCMA,
        Codec("G722", payload_type=9, clock_rate=8000, sample_rate=16000),
        COMFORT_NOISE,
        Codec("G729", payload_type=18, clock_rate=8000, sample_rate=8000),
    )
}
"Payload types that need no rtpmap (RFC 3551 §6); GSM and its like only to be named in errors."

_SPELLING = {
    name.lower(): name
    for name in ("PCMU", "PCMA", "G722", "G729", "GSM", "CN", "opus", "telephone-event")
}
"Encoding names are compared without case (RFC 4855 §3)."

_SAMPLE_RATES = {"G722": 16000, "telephone-event": 0}


def read_codecs(
    formats: Iterable[str], attributes: Iterable[Attribute]
) -> tuple[tuple[Codec, ...], list[Attribute]]:
    """The formats that something explains, in order, and the attributes left over.

    The first usable line for a payload type counts. One that makes no sense is left over: an
    absurd clock, an fmtp without its rtpmap, a payload type above 127.
    """
    payload_types = {number for f in formats if (number := parse_number(f, 127)) is not None}
    codecs, rest = _read_rtpmaps(payload_types, attributes)
    for payload_type in payload_types & STATIC.keys():
        codecs.setdefault(payload_type, STATIC[payload_type])
    parameters, rest = _read_fmtps(codecs, rest)
    order = dict.fromkeys(number for f in formats if (number := parse_number(f, 127)) in codecs)
    return tuple(
        replace(codecs[p], fmtp=parameters[p]) if p in parameters else codecs[p]
        for p in order
        if p in codecs
    ), rest


def format_codecs(codecs: Sequence[Codec]) -> list[str]:
    """The lines that explain some codecs, without their `a=`."""
    lines = []
    for codec in codecs:
        channels = f"/{codec.channels}" if codec.channels != 1 else ""
        lines.append(f"rtpmap:{codec.payload_type} {codec.name}/{codec.clock_rate}{channels}")
        if codec.fmtp:
            lines.append(f"fmtp:{codec.payload_type} {codec.fmtp}")
    return lines


def _read_rtpmaps(
    payload_types: set[int], attributes: Iterable[Attribute]
) -> tuple[dict[int, Codec], list[Attribute]]:
    codecs: dict[int, Codec] = {}
    rest = []
    for name, value in attributes:
        codec = _parse_rtpmap(value or "") if name == "rtpmap" else None
        if codec is None or codec.payload_type in codecs.keys() | (
            {codec.payload_type} - payload_types
        ):
            rest.append((name, value))
        else:
            codecs[codec.payload_type] = codec
    return codecs, rest


def _read_fmtps(
    codecs: dict[int, Codec], attributes: Iterable[Attribute]
) -> tuple[dict[int, str], list[Attribute]]:
    parameters: dict[int, str] = {}
    rest = []
    for name, value in attributes:
        number, _, text = (value or "").partition(" ")
        payload_type = parse_number(number, 127) if name == "fmtp" else None
        text = text.strip(" \t")
        if payload_type is None or payload_type not in codecs or payload_type in parameters:
            rest.append((name, value))
        elif text:
            parameters[payload_type] = text
    return parameters, rest


def _parse_rtpmap(text: str) -> Codec | None:
    """`111 opus/48000/2`; None where it makes no sense."""
    number, _, encoding = text.partition(" ")
    name, *rates = encoding.strip(" \t").split("/")
    payload_type = parse_number(number, 127)
    clock_rate = parse_number(rates[0], CLOCK_RATES[-1]) if rates else None
    channels = parse_number(rates[1], 255) if len(rates) > 1 else 1
    if payload_type is None or clock_rate not in CLOCK_RATES or not channels or len(rates) > 2:
        return None
    if len(name) > MAX_NAME or not is_token(name):
        return None
    assert clock_rate is not None
    name = _SPELLING.get(name.lower(), name)
    sample_rate = _SAMPLE_RATES.get(name, clock_rate)
    return Codec(name, payload_type, clock_rate, sample_rate, channels)
