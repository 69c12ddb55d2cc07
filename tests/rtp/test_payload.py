"""How long payloads last."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codec import OPUS, PCMU, Codec
from gateway.rtp.payload import MAX_OPUS_TICKS, opus_duration, read_formats

G722 = Codec("G722", payload_type=9, clock_rate=8000, sample_rate=16000)
L16 = Codec("L16", payload_type=96, clock_rate=16000, sample_rate=16000)
CN = Codec("CN", payload_type=13, clock_rate=8000, sample_rate=8000)
SPEEX = Codec("speex", payload_type=97, clock_rate=8000, sample_rate=8000)


@pytest.mark.rfc(6716, "3.1")
@pytest.mark.parametrize(
    ("payload", "ticks"),
    [
        pytest.param(b"\x08", 960, id="SILK narrowband, 20 ms, DTX"),
        pytest.param(b"\x00" + bytes(30), 480, id="SILK narrowband, 10 ms"),
        pytest.param(b"\x18" + bytes(30), 2880, id="SILK narrowband, 60 ms"),
        pytest.param(b"\x78" + bytes(30), 960, id="hybrid fullband, 20 ms"),
        pytest.param(b"\xe0" + bytes(30), 120, id="CELT fullband, 2.5 ms"),
        pytest.param(b"\x79" + bytes(30), 1920, id="two frames of 20 ms"),
        pytest.param(b"\x4a" + bytes(30), 1920, id="two frames of 20 ms, unequal"),
        pytest.param(b"\x7b\x03" + bytes(30), 2880, id="three frames of 20 ms"),
        pytest.param(b"\x7b\x86" + bytes(30), 5760, id="six frames: 120 ms, the longest"),
        pytest.param(b"\x7b\x07" + bytes(30), 0, id="140 ms cannot be"),
        pytest.param(b"\x7b\x00" + bytes(30), 0, id="no frame at all"),
        pytest.param(b"\x7b", 0, id="count missing"),
    ],
)
def test_an_opus_packet_tells_its_duration(payload: bytes, ticks: int) -> None:
    assert opus_duration(payload) == ticks


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=3))
def test_no_opus_packet_lasts_longer_than_it_may(payload: bytes) -> None:
    assert 0 <= opus_duration(payload) <= MAX_OPUS_TICKS


@pytest.mark.rfc(3551, "4.5")
def test_each_format_tells_its_duration_in_its_own_clock() -> None:
    formats, _ = read_formats([PCMU, G722, L16, OPUS, CN, SPEEX], lambda _payload: 320)

    durations = {
        each.codec.name: each.duration_of(b"\x78" + bytes(159)) for each in formats.values()
    }

    assert durations == {"PCMU": 160, "G722": 160, "L16": 80, "opus": 960, "CN": 0, "speex": 320}


def test_events_are_known_by_their_clock() -> None:
    events = Codec("telephone-event", payload_type=110, clock_rate=48000, sample_rate=0)

    formats, clocks = read_formats([OPUS, events], len)

    assert (list(formats), clocks) == ([OPUS.payload_type], {110: 48000})
