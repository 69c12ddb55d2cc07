"""What a codec's format parameters say, whatever a peer writes there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codec import OPUS, OPUS_RATES, opus_playback_rate, read_parameter


@pytest.mark.parametrize(
    ("fmtp", "value"),
    [
        ("usedtx=1", 1),
        ("UseDTX = 1", 1),
        ("minptime=10; usedtx=1;stereo=1", 1),
        ("sprop-usedtx=1", 0),
        ("usedtx", 0),
        ("usedtx=", 0),
        ("usedtx=-1", 0),
        ("usedtx=1x", 0),
        ("usedtx=²", 0),
        ("usedtx=1234567890", 0),
        ("usedtx=1;usedtx=7", 1),
        ("", 0),
    ],
)
def test_a_parameter_is_a_number_or_none(fmtp: str, value: int) -> None:
    assert read_parameter(replace(OPUS, fmtp=fmtp), "usedtx", 0) == value


@given(st.text(max_size=80))
def test_whatever_is_written_the_playback_rate_is_one_of_opus(text: str) -> None:
    for fmtp in (text, f"maxplaybackrate={text}", f"a;maxplaybackrate={text};b=1"):
        assert opus_playback_rate(replace(OPUS, fmtp=fmtp)) in OPUS_RATES
