"""Keys of SRTP in descriptions: a=crypto (RFC 4568; the GCM suites by RFC 7714 §14).

Each side names the key that it sends by. A line that asks for what we do not do, or would have
packets go out in the clear, cannot be used; a peer that offers no other is refused (A34).
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from gateway.errors import NegotiationError
from gateway.sdp.description import MediaDescription
from gateway.sdp.grammar import parse_number, split_words

KEY_BYTES = {
    "AEAD_AES_256_GCM": 32 + 12,
    "AEAD_AES_128_GCM": 16 + 12,
    "AES_CM_128_HMAC_SHA1_80": 16 + 14,
    "AES_CM_128_HMAC_SHA1_32": 16 + 14,
}
"The suites we know, in our order, and how long master key and salt are together (§6.2)."

MAX_TAG = 999_999_999
"Nine digits (§9.1)."

MAX_LIFETIME = 1 << 48
"Packets under one master key (RFC 3711 §9.2)."

_METHOD = "inline:"
_OPTIONAL = "-"
_ADVICE = "WSH="
"How large the window against replay should be: it may be larger, as ours is."
_NO_KEY_DERIVATION = "KDR=0"
"What is so anyway: keys are derived once."


class SrtpPolicy(Enum):
    """Whether a party's media is protected by keys in the SDP."""

    OFF = "off"
    OPTIONAL = "optional"
    "Where it can be: offered as RTP/AVP with a=crypto, which who knows no SRTP passes over."
    REQUIRED = "required"
    "RTP/SAVP and nothing else."


@dataclass(frozen=True, slots=True)
class Crypto:
    """One line of a=crypto."""

    tag: int
    "Which of the lines of an offer is meant: the answer repeats it."
    suite: str
    key: bytes = field(repr=False)
    "Master key and salt of who wrote the line: it sends by them."

    def __str__(self) -> str:
        key = binascii.b2a_base64(self.key, newline=False).decode()
        return f"{self.tag} {self.suite} {_METHOD}{key}"


def parse_crypto(text: str) -> Crypto | None:
    """Read the value of one a=crypto; None where we cannot, or would rather not, do as it says.

    Not used are: suites we do not know, the NULL ones among them; several keys, or one with a
    MKI; and parameters that leave something unencrypted or unauthenticated, or that we do not
    know but have to (§6.3).
    """
    words = split_words(text)
    if len(words) < 3:
        return None
    tag, (suite, keys) = parse_number(words[0], MAX_TAG), words[1:3]
    size = KEY_BYTES.get(suite)
    if tag is None or size is None or not all(map(_is_harmless, words[3:])):
        return None
    key = _read_key(keys)
    return Crypto(tag, suite, key) if key is not None and len(key) == size else None


def usable(lines: Sequence[str]) -> tuple[Crypto, ...]:
    """The lines of a section that we can use, in their order; of those with one tag, none."""
    tags = [parse_number(text.partition(" ")[0], MAX_TAG) for text in lines]
    found = (parse_crypto(text) for text in lines)
    return tuple(each for each in found if each is not None and tags.count(each.tag) == 1)


def settle_keys(
    theirs: MediaDescription,
    policy: SrtpPolicy,
    *,
    offered: MediaDescription | None = None,
    is_secured: bool = False,
) -> MediaDescription:
    """A peer's section with the one line of a=crypto that is used, or with none.

    Args:
        offered: our section that `theirs` answers; None where theirs is the offer.
        is_secured: whether the stream is protected already: it is not made plain.

    Raises:
        NegotiationError: there is no line that can be used, and has to be.
    """
    chosen = None
    if policy is not SrtpPolicy.OFF:
        found = usable(theirs.crypto)
        if offered is None:
            chosen = next(iter(found), None)
        else:
            chosen = _match(found, usable(offered.crypto))
    is_needed = is_secured or policy is SrtpPolicy.REQUIRED or "SAVP" in theirs.protocol
    if chosen is None and is_needed:
        raise NegotiationError(
            f"audio is {theirs.protocol} without a=crypto that can be used, and is to be protected"
        )
    if chosen is None and offered is not None and offered.crypto and theirs.crypto:
        # It says that it protects what it sends, in a way that is none of ours.
        raise NegotiationError("the answer's a=crypto is none of those offered")
    return _with_crypto(theirs, chosen)


def _with_crypto(section: MediaDescription, crypto: Crypto | None) -> MediaDescription:
    return replace(section, crypto=() if crypto is None else (str(crypto),))


def _match(found: Sequence[Crypto], offered: Sequence[Crypto]) -> Crypto | None:
    """The line of an answer, if it is one to a line of the offer (§5.1.3)."""
    ours = {(each.tag, each.suite): each.key for each in offered}
    # §7.1.2: the key of an answer is another one. Ours, sent back to us, would let everybody who
    # listens have us take our own packets for the peer's.
    return next((c for c in found if ours.get((c.tag, c.suite), c.key) != c.key), None)


def _read_key(text: str) -> bytes | None:
    """The key of `inline:KEY|LIFETIME`; None for anything more, or a lifetime that is none."""
    if text[: len(_METHOD)].lower() != _METHOD or ";" in text:
        return None
    key, *more = text[len(_METHOD) :].split("|")
    if len(more) > 1 or not all(map(_is_lifetime, more)):
        return None
    try:
        # There are devices that leave out the padding.
        return binascii.a2b_base64(key + "=" * (-len(key) % 4), strict_mode=True)
    except ValueError:
        return None


def _is_lifetime(text: str) -> bool:
    """Whether it says for how many packets the key is good; the peer counts them itself."""
    power = text.removeprefix("2^")
    number = parse_number(power, MAX_LIFETIME)
    if number is None or power == text:
        return bool(number)
    return 1 << min(number, 64) <= MAX_LIFETIME


def _is_harmless(parameter: str) -> bool:
    """Whether a session parameter may be passed over (§6.3.7: `-` marks those that may)."""
    return parameter.startswith((_OPTIONAL, _ADVICE)) or parameter == _NO_KEY_DERIVATION
