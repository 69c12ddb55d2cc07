"""Every reader of strangers' bytes: a value or the documented error, in linear time.

`make test` tries some hundred inputs of each; `make soak` as many as a long while allows.
"""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, Target
from tests.sip.test_linear import count_calls

FIXED_STEPS = 3000
"What a target costs however short its input is: what stands around it is read too."

SHORT_PIECES = (
    *(b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b"", b":", b";", b",", b'"', b"\\", b"<", b">"),
    *(b"%", b"%00", b"=", b"@", b"\xff", b"\xe2\x80\xa8", b"\xc3\xa9", b"\xd9\xa3", b"-1", b"+"),
    *(b"sip:", b"Via: ", b"tag=", b"\r\n ", b"[", b"]", b"?", b"&", b"/", b"(", b"9" * 11),
    *(b"a=", b"m=audio 1 RTP/AVP 0\r\n", b"Contact: ", b"Digest ", b"*", b"0", b"4294967296"),
)
PIECES = (
    *SHORT_PIECES,
    *(b"\r\n\r\n", b"9" * 5000, b";a" * 200, b"," * 500, b'"' * 300, b"(" * 300, b"%41" * 200),
)

SOAK_S = 60.0
"For each target."

SLOWEST_US_PER_BYTE = 10.0
"Over all inputs of a target (A27)."

BYTES_AROUND = 1000
"What stands around each input, and is read with it."


def damage(data: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    """The bytes with pieces of others in the place of some."""
    for position, length, piece in cuts:
        start = position % (len(data) + 1)
        data = data[:start] + piece + data[start + length :]
    return data[:70_000]


CUTS = st.lists(
    st.tuples(st.integers(0, 4000), st.integers(0, 12), st.sampled_from(PIECES)), max_size=8
)


def check(target: Target, data: bytes) -> None:
    """The contract."""
    steps = count_calls(lambda: target.run(data))

    assert steps <= target.steps_per_byte * len(data) + FIXED_STEPS, (steps, len(data))


@pytest.mark.parametrize("name", TARGETS)
def test_a27_seeds_are_read(name: str) -> None:
    for seed in TARGETS[name].seeds:
        check(TARGETS[name], seed)


@pytest.mark.parametrize("name", TARGETS)
def test_a27_damaged_input_is_a_value_or_the_documented_error(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from(target.seeds), CUTS)
    def try_out(seed: bytes, cuts: list[tuple[int, int, bytes]]) -> None:
        check(target, damage(seed, cuts))

    try_out()


@pytest.mark.parametrize("name", TARGETS)
def test_a27_any_bytes_are_a_value_or_the_documented_error(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=300) | st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join))
    def try_out(data: bytes) -> None:
        check(target, data)

    try_out()


@pytest.mark.parametrize("name", TARGETS)
def test_a27_twice_the_bytes_is_at_most_twice_the_work(name: str) -> None:
    target = TARGETS[name]
    seed = target.seeds[0]
    middle = len(seed) // 2

    def work(piece: bytes, number: int) -> int:
        data = seed[:middle] + piece * number + seed[middle:]
        return count_calls(lambda: target.run(data))

    for piece in SHORT_PIECES:
        once, twice, fourfold = (work(piece, number) for number in (150, 300, 600))

        assert fourfold - twice <= 2 * max(twice - once, 0) + FIXED_STEPS, piece


@pytest.mark.soak
@pytest.mark.parametrize("name", TARGETS)
def test_a27_readers_keep_their_contract_for_long(name: str) -> None:
    target = TARGETS[name]
    chance = random.Random(27)
    spent_s = 0.0
    size = tried = 0

    while spent_s < SOAK_S:
        cuts = [
            (chance.randrange(4000), chance.randrange(12), chance.choice(PIECES))
            for _ in range(chance.randrange(12))
        ]
        data = damage(chance.choice(target.seeds), cuts)
        began = time.thread_time()
        target.run(data)
        spent_s += time.thread_time() - began
        size += len(data) + BYTES_AROUND
        tried += 1

    assert tried > 1000
    assert spent_s / size * 1e6 <= SLOWEST_US_PER_BYTE
