"""Which codecs each leg of a call may use, so that payloads are relayed where they can be.

The caller is answered first, and what it was answered is known when the others are offered
theirs; nobody is offered anything anew for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache

from gateway.codec import G722, OPUS, PCMA, PCMU, TELEPHONE_EVENT, TELEPHONE_EVENT_48K, Codec
from gateway.errors import CodecError
from gateway.sdp.choice import Preference, format_names
from gateway.sdp.negotiation import OPUS_FMTP, OPUS_NARROWBAND_FMTP

OF_BROWSERS = (OPUS, G722, PCMU, PCMA)
"What a browser may speak, in our order: all of them have these, but for Firefox's G.722 of old."

OF_STRANGERS = (PCMU, PCMA)
"What who is neither trunk nor user may speak."

MAX_REMEMBERED = 512
"Answers kept: a configuration has few kinds of calls, and each call asks twice."

_ALIKE = frozenset({PCMU.name, PCMA.name})
"As good as each other, and as dear: which of them is spoken matters to nobody."


class Transcode(Enum):
    """When payloads are decoded and encoded anew between two parties."""

    AUTO = "auto"
    "Where the codecs differ that each side would have chosen alone."
    NEVER = "never"
    "Not at all: both sides speak one codec, or there is no call."
    ALWAYS = "always"
    "Even where both sides speak the same codec."


@dataclass(frozen=True, slots=True)
class CodecRules:
    """What a route says of codecs."""

    transcode: Transcode = Transcode.AUTO
    preferred: tuple[str, ...] = ()
    "Names, the best first, ahead of the parties' own order. Empty: theirs alone counts."

    @property
    def relays(self) -> bool:
        """Whether payloads may be passed on as they came."""
        return self.transcode is not Transcode.ALWAYS


ANY = CodecRules()
"What holds where no route says anything."


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a leg may speak."""

    codecs: tuple[Codec, ...]
    "In our order, telephone-event of each clock among them."
    prefer: Preference = Preference.THEIRS
    "Whose order decides where the party offers."


def for_caller(
    codecs: Sequence[Codec], targets: Sequence[Sequence[Codec] | None], rules: CodecRules = ANY
) -> Allowed:
    """What a caller may speak who will be called along.

    Args:
        codecs: what it may speak by its own configuration, in that order.
        targets: what each target may speak; None: an agent, which hears anything.

    Raises:
        CodecError: nothing may be transcoded, and no target has a codec in common with it.
    """
    spoken = tuple(None if target is None else tuple(target) for target in targets)
    return _for_caller(tuple(codecs), spoken, rules)


@lru_cache(MAX_REMEMBERED)
def _for_caller(
    codecs: tuple[Codec, ...], targets: tuple[tuple[Codec, ...] | None, ...], rules: CodecRules
) -> Allowed:
    ordered = _in_order(codecs, rules)
    people = [target for target in targets if target is not None]
    if rules.transcode is Transcode.NEVER and people:
        ordered = _in_order(_shared(codecs, people), rules)
        if not ordered:
            raise CodecError(
                f"nothing is transcoded on this route: who calls may speak {format_names(codecs)},"
                f" who is called {format_names(_flat(people))}"
            )
    is_narrow = bool(targets) and all(
        target is not None and all(codec.sample_rate <= 8000 for codec in target)
        for target in targets
    )
    is_ours = bool(rules.preferred) or rules.transcode is Transcode.NEVER
    return Allowed(
        complete(ordered, narrow=is_narrow), Preference.OURS if is_ours else Preference.THEIRS
    )


def for_called(
    codecs: Sequence[Codec], heard: str | None, rules: CodecRules = ANY
) -> tuple[Codec, ...]:
    """What is offered to a party that is called.

    Args:
        codecs: what it may speak by its own configuration, in that order.
        heard: the codec of whom it will hear; None: it is not known yet, or an agent.

    Raises:
        CodecError: nothing may be transcoded, and it does not speak that codec.
    """
    return _for_called(tuple(codecs), heard, rules)


@lru_cache(MAX_REMEMBERED)
def _for_called(
    codecs: tuple[Codec, ...], heard: str | None, rules: CodecRules
) -> tuple[Codec, ...]:
    ordered = _in_order(codecs, rules)
    same = tuple(codec for codec in ordered if codec.name == heard)
    if heard is not None and rules.transcode is Transcode.NEVER:
        if not same:
            raise CodecError(
                f"nothing is transcoded on this route: who calls speaks {heard},"
                f" who is called may speak {format_names(codecs)}"
            )
        return complete(same)
    if heard in _ALIKE and same and rules.relays:
        first = next(place for place, codec in enumerate(ordered) if codec.name in _ALIKE)
        others = [codec for codec in ordered if codec.name != heard]
        ordered = (*others[:first], *same, *others[first:])
    return complete(ordered)


def complete(codecs: Sequence[Codec], *, narrow: bool = False) -> tuple[Codec, ...]:
    """The codecs as we describe them, with the telephone-event that goes with each.

    Args:
        narrow: who speaks is heard by narrowband parties alone, and need send no more.
    """
    fmtp = OPUS_NARROWBAND_FMTP if narrow else OPUS_FMTP
    speech = tuple(
        replace(codec, fmtp=fmtp) if codec.name == OPUS.name else codec for codec in codecs
    )
    clocks = {codec.clock_rate for codec in codecs}
    events = (TELEPHONE_EVENT_48K,) if TELEPHONE_EVENT_48K.clock_rate in clocks else ()
    # RFC 4733 §2.1 wants events on the speech's clock; Firefox has them at 8000 beside Opus.
    return (*speech, *events, TELEPHONE_EVENT)


def _in_order(codecs: Sequence[Codec], rules: CodecRules) -> tuple[Codec, ...]:
    places = {name: place for place, name in enumerate(rules.preferred)}
    return tuple(sorted(codecs, key=lambda codec: places.get(codec.name, len(places))))


def _shared(codecs: Sequence[Codec], targets: Sequence[Sequence[Codec]]) -> list[Codec]:
    """What any of the targets speaks too: what more of them do first, then in their order."""
    spoken = [[codec.name for codec in target] for target in targets]
    places = {
        codec: [names.index(codec.name) for names in spoken if codec.name in names]
        for codec in codecs
    }
    shared = [codec for codec in codecs if places[codec]]
    return sorted(shared, key=lambda codec: (-len(places[codec]), sum(places[codec])))


def _flat(targets: Sequence[Sequence[Codec]]) -> list[Codec]:
    return [codec for target in targets for codec in target]
