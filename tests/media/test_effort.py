"""How Opus is encoded: for whom, and how much of the machine that takes."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest

from gateway.codec import OPUS, Codec
from gateway.media.coding import make_encoder
from gateway.media.effort import Effort, Workload, opus_options
from gateway.media.opus import Application
from tests.media.sound import frames_of, speechlike


def wanted(fmtp: str) -> Codec:
    """Opus as a receiver asks for it."""
    return replace(OPUS, fmtp=fmtp)


@pytest.mark.parametrize(("rate", "bitrate"), [(8000, 48_000), (16_000, 64_000), (24_000, 64_000)])
def test_celt_at_its_cheapest_serves_who_says_nothing(rate: int, bitrate: int) -> None:
    options = opus_options(rate)

    assert options.application is Application.LOW_DELAY
    assert (options.bitrate, options.complexity) == (bitrate, 0)
    assert (options.fec, options.dtx, options.cbr) == (False, False, False)


@pytest.mark.parametrize(("rate", "complexity"), [(8000, 0), (16_000, 5)])
def test_silk_serves_who_wants_few_bits(rate: int, complexity: int) -> None:
    options = opus_options(rate, wanted("minptime=10; maxaveragebitrate=24000"))

    assert options.application is Application.VOIP
    assert (options.bitrate, options.complexity) == (24_000, complexity)


def test_a_bitrate_in_between_is_kept_to() -> None:
    options = opus_options(16_000, wanted("MaxAverageBitrate=50000"))

    assert (options.application, options.bitrate) == (Application.LOW_DELAY, 50_000)


@pytest.mark.parametrize("bitrate", ["1", "0", "-5", "x", "9999999999999999999999"])
def test_an_absurd_bitrate_is_none(bitrate: str) -> None:
    options = opus_options(8000, wanted(f"maxaveragebitrate={bitrate}"))

    assert options.bitrate in (6000, 48_000)
    make_encoder(wanted(f"maxaveragebitrate={bitrate}")).close()


def test_pauses_are_left_out_for_who_wants_that() -> None:
    assert opus_options(8000, wanted("usedtx=1")).dtx
    assert opus_options(8000, wanted("usedtx=1")).application is Application.VOIP
    assert not opus_options(8000, wanted("usedtx=0")).dtx


def test_fec_is_for_who_loses_packets_and_wants_it() -> None:
    able = wanted("useinbandfec=1")

    assert not opus_options(16_000, able).fec
    assert opus_options(16_000, able, loss_percent=5).fec
    assert opus_options(16_000, able, loss_percent=5).application is Application.VOIP
    assert not opus_options(16_000, OPUS, loss_percent=5).fec


def test_constant_bitrate_is_packets_of_one_size() -> None:
    encoder = make_encoder(wanted("cbr=1"))

    sizes = {len(encoder.encode(piece)) for piece in frames_of(speechlike(0.5, 8000), 160)}

    assert len(sizes) == 1


def test_complexity_goes_first_where_it_matters_and_bits_after() -> None:
    few = wanted("maxaveragebitrate=24000")
    full, lean, frugal = (opus_options(16_000, few, effort) for effort in Effort)

    assert (full.complexity, lean.complexity, frugal.complexity) == (5, 0, 0)
    assert (full.bitrate, lean.bitrate, frugal.bitrate) == (24_000, 24_000, 16_000)
    assert opus_options(8000, OPUS, Effort.FRUGAL).bitrate == 32_000


def test_encoders_in_use_spend_less_and_more_again_together() -> None:
    workload = Workload()
    encoder = make_encoder(OPUS, rate=16_000, workload=workload)
    pieces = frames_of(speechlike(3.0, 16_000), 320)

    def spent(count: int) -> int:
        return sum(len(encoder.encode(pieces.pop(0))) for _ in range(count))

    before = spent(40)
    workload.change(Effort.FRUGAL)
    during = spent(40)
    workload.change(Effort.FULL)
    after = spent(40)

    assert during < 0.8 * before
    assert after == pytest.approx(before, rel=0.1)


def test_one_that_is_opened_later_spends_as_little() -> None:
    workload = Workload()
    workload.change(Effort.FRUGAL)
    pieces = frames_of(speechlike(1.0, 16_000), 320)

    lean, full = (make_encoder(OPUS, rate=16_000, workload=w) for w in (workload, Workload()))

    assert sum(map(len, map(lean.encode, pieces))) < 0.8 * sum(map(len, map(full.encode, pieces)))


def test_an_encoder_that_is_closed_or_gone_is_told_nothing() -> None:
    workload = Workload()
    make_encoder(OPUS, workload=workload).close()
    make_encoder(OPUS, workload=workload)
    gc.collect()

    workload.change(Effort.LEAN)

    assert workload.count == 0
