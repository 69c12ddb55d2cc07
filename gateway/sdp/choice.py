"""Which of the codecs that two sides name are used (RFC 3264 §5.1, §6.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from gateway.codec import DYNAMIC, Codec, opus_playback_rate
from gateway.sdp.attribute import PTIME_MS
from gateway.sdp.description import MediaDescription

DEFAULT_PTIME_MS = 20
"Packet duration where a peer does not say what it wants (RFC 3551 §4.5)."

OPUS_PTIMES_MS = (60, 40, 20, 10)
"Opus frames that are whole packets (RFC 6716 §3.2), the longest first."

RTCP_CONFLICT = range(64, 96)
"Payload types that look like RTCP where both share a port (RFC 5761 §4): never used."

MAX_NAMED_CHARACTERS = 120
"Of the codecs of an offer that nobody here speaks: a line for a person; it may name a hundred."

DIGITS = "telephone-event"
_COMFORT_NOISE = "CN"
_G729 = "G729"
_COMPANIONS = frozenset({DIGITS, _COMFORT_NOISE})


class Preference(Enum):
    """Whose order of codecs decides."""

    OURS = "ours"
    THEIRS = "theirs"


@dataclass(frozen=True, slots=True)
class Choice:
    """The formats used of those that both sides have, each as (theirs, ours)."""

    speech: tuple[Codec, Codec]
    companions: tuple[tuple[Codec, Codec], ...]
    "telephone-event and CN that go with it."

    @property
    def send(self) -> Codec:
        """For sending: with their payload type and fmtp, at no higher rate than they play."""
        theirs, ours = self.speech
        sample_rate = ours.sample_rate
        if ours.name == "opus":
            sample_rate = min(sample_rate, opus_playback_rate(theirs))
        if sample_rate == theirs.sample_rate:
            return theirs
        return replace(theirs, sample_rate=sample_rate)

    @property
    def send_digits(self) -> Codec | None:
        """The telephone-event format for sending, with their payload type."""
        return next((theirs for theirs, _ in self.companions if theirs.name == DIGITS), None)

    @property
    def send_noise(self) -> Codec | None:
        """The CN format for sending, with their payload type."""
        noises = (theirs for theirs, _ in self.companions if theirs.name == _COMFORT_NOISE)
        return next(noises, None)

    @property
    def receive(self) -> tuple[Codec, ...]:
        """For receiving: with their payload types (RFC 3264 §6.1) and our fmtp."""
        return tuple(
            _with_number(ours, theirs.payload_type, theirs.channels)
            for theirs, ours in (self.speech, *self.companions)
        )


def choose(
    theirs: Iterable[Codec], ours: Sequence[Codec], prefer: Preference = Preference.THEIRS
) -> Choice | None:
    """The best format that both have, with what goes along; None where they have none."""
    pairs = _common(theirs, ours, prefer)
    speech = next((pair for pair in pairs if _is_speech(pair[0])), None)
    if speech is None:
        return None
    # RFC 4733 §2.1 wants events on the speech's clock. Firefox offers 8000 beside Opus, and means
    # it; there the second choice is taken.
    clock_rate = speech[0].clock_rate
    companions = []
    for name, clocks in ((DIGITS, (clock_rate, 8000)), (_COMFORT_NOISE, (clock_rate,))):
        by_clock = {pair[0].clock_rate: pair for pair in reversed(pairs) if pair[0].name == name}
        companions += [by_clock[clock] for clock in clocks if clock in by_clock][:1]
    return Choice(speech, tuple(companions))


def format_names(codecs: Iterable[Codec]) -> str:
    """Speech codecs for people: `opus, PCMU`."""
    return ", ".join(dict.fromkeys(codec.name for codec in codecs if _is_speech(codec)))


def describe_objection(theirs: Iterable[Codec], ours: Iterable[Codec], formats: str = "") -> str:
    """Why `choose` finds nothing, in words that anybody may be told.

    Args:
        formats: what stands in the m= line, for one of which nothing is known.
    """
    offered = format_names(theirs)
    named = (offered or formats)[:MAX_NAMED_CHARACTERS]
    told = f"no common codec: audio has {named}, allowed are {format_names(ours)}"
    return f"{told}; G.729 is not spoken here" if offered == _G729 else told


def offerable(codecs: Sequence[Codec]) -> tuple[Codec, ...]:
    """Codecs without the companions that go with none of them; speech first."""
    speech = tuple(codec for codec in codecs if _is_speech(codec))
    clocks = {8000, *(codec.clock_rate for codec in speech)}
    return speech + tuple(c for c in codecs if not _is_speech(c) and c.clock_rate in clocks)


def keep_payload_types(codecs: tuple[Codec, ...], before: Iterable[Codec]) -> tuple[Codec, ...]:
    """A payload type means the same all session long (RFC 3264 §8.3.2)."""
    bound = {codec.payload_type: codec for codec in before}
    kept = []
    for codec in codecs:
        known = next((b for b in bound.values() if b.is_same_format(codec)), None)
        number = codec.payload_type if known is None else known.payload_type
        if known is None and number in bound:
            number = next(n for n in reversed(DYNAMIC) if n not in bound)
        bound[number] = kept_codec = _with_number(codec, number, codec.channels)
        kept.append(kept_codec)
    return tuple(kept)


def receivable(theirs: Iterable[Codec], ours: tuple[Codec, ...]) -> tuple[Codec, ...]:
    """All that we offered, by our numbers; and by those of their answer where they are free: there
    are peers that answer opus 96 to our opus 111, and send 96."""
    taken = {codec.payload_type for codec in ours}
    return ours + tuple(
        replace(our, payload_type=their.payload_type)
        for their, our in _common(theirs, ours, Preference.THEIRS)
        if their.payload_type not in taken
    )


def ptime_ms(theirs: MediaDescription, codec: Codec) -> int:
    """The packet duration nearest below what the peer asks for that the codec can make."""
    wished = min(theirs.ptime_ms or DEFAULT_PTIME_MS, theirs.maxptime_ms or PTIME_MS[-1])
    if codec.name == "opus":
        return next(ptime for ptime in OPUS_PTIMES_MS if ptime <= wished)
    return wished // 10 * 10


def _with_number(codec: Codec, payload_type: int, channels: int) -> Codec:
    """The codec under another number; itself, where it has that already."""
    if (codec.payload_type, codec.channels) == (payload_type, channels):
        return codec
    return replace(codec, payload_type=payload_type, channels=channels)


def _is_speech(codec: Codec) -> bool:
    return codec.name not in _COMPANIONS


def _common(
    theirs: Iterable[Codec], ours: Sequence[Codec], prefer: Preference
) -> list[tuple[Codec, Codec]]:
    """The formats that both have, as (theirs, ours), the best first."""
    pairs = [
        (their, our)
        for their in theirs
        if their.payload_type not in RTCP_CONFLICT
        for our in ours
        if their.is_same_format(our)
        # RFC 7587 §7 says opus/48000/2 whatever it carries; phones that write /1 mean the same.
        and (their.channels == our.channels or their.name == "opus")
    ]
    if prefer is Preference.OURS:
        pairs.sort(key=lambda pair: ours.index(pair[1]))
    return pairs
