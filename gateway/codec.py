"""Codec values: what an RTP payload type means (RFC 3551, RFC 7587, RFC 4733)."""

from __future__ import annotations

from dataclasses import dataclass

DYNAMIC = range(96, 128)
"Payload types bound by an rtpmap (RFC 3551 §3)."

TICK_RATE = 48_000
"Ticks per second of every speaker's timeline: all RTP clocks here divide it."


@dataclass(frozen=True, slots=True)
class Codec:
    """An RTP payload format with the number it goes by in one session.

    Two rates, two names: G.722 counts timestamps at 8000 Hz and carries 16 kHz audio.
    """

    name: str
    "Encoding name in its registered spelling: PCMU, PCMA, G722, opus, telephone-event, CN."
    payload_type: int
    "0 to 127."
    clock_rate: int
    "RTP timestamp units per second."
    sample_rate: int
    "The rate in Hz at which the audio is best decoded; 0 for telephone-event."
    channels: int = 1
    "The third field of the rtpmap: opus says 2 whatever it carries (RFC 7587 §7)."
    fmtp: str = ""
    "Format parameters as written in the SDP."

    def is_same_format(self, other: Codec) -> bool:
        """Whether payloads of both mean the same, whatever their numbers."""
        return self.name == other.name and self.clock_rate == other.clock_rate


PCMU = Codec("PCMU", payload_type=0, clock_rate=8000, sample_rate=8000)
PCMA = Codec("PCMA", payload_type=8, clock_rate=8000, sample_rate=8000)
# RFC 3551 §4.5.2: its clock is 8000 Hz by an old mistake, its audio has 16 kHz.
G722 = Codec("G722", payload_type=9, clock_rate=8000, sample_rate=16000)
OPUS = Codec("opus", payload_type=111, clock_rate=48000, sample_rate=48000, channels=2)
TELEPHONE_EVENT = Codec(
    "telephone-event", payload_type=101, clock_rate=8000, sample_rate=0, fmtp="0-15"
)
TELEPHONE_EVENT_48K = Codec(
    "telephone-event", payload_type=110, clock_rate=48000, sample_rate=0, fmtp="0-15"
)
COMFORT_NOISE = Codec("CN", payload_type=13, clock_rate=8000, sample_rate=8000)

SPEECH = {codec.name: codec for codec in (OPUS, G722, PCMU, PCMA)}
"What is coded here, by the name it goes by in SDP and in the configuration."


OPUS_RATES = (8000, 12_000, 16_000, 24_000, 48_000)
"Hz that Opus is coded at (RFC 6716 §2)."


def opus_playback_rate(codec: Codec) -> int:
    """The highest of `OPUS_RATES` that the receiver plays: maxplaybackrate (RFC 7587 §6.1)."""
    limit = read_parameter(codec, "maxplaybackrate", OPUS_RATES[-1])
    return max((rate for rate in OPUS_RATES if rate <= limit), default=OPUS_RATES[0])


def read_parameter(codec: Codec, name: str, otherwise: int) -> int:
    """A number among a codec's format parameters, compared without case (RFC 4855 §3).

    Returns:
        What is written; `otherwise` where nothing is, or no number of at most nine digits.
    """
    if name not in codec.fmtp.lower():
        return otherwise
    for parameter in codec.fmtp.split(";"):
        key, _, value = parameter.partition("=")
        value = value.strip()
        if key.strip().lower() == name:
            is_number = value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS
            return int(value) if is_number else otherwise
    return otherwise


_MAX_DIGITS = 9
"Of a number in a format parameter: more is no rate and no size."
