"""Opus through libopus: what is heard, what it costs in bytes, and what junk does."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError, RemoteProtocolError
from gateway.media import opus
from gateway.media.effort import opus_options
from gateway.media.opus import (
    RATES,
    Application,
    Bandwidth,
    OpusDecoder,
    OpusEncoder,
    OpusOptions,
    opus_duration,
)
from gateway.media.tone import level_dbfs
from tests.media.sound import (
    Pcm,
    delay_of,
    frames_of,
    frequency_of,
    sine_fit,
    snr_db,
    speechlike,
    tone,
)


def coded(pcm: Pcm, rate: int, options: OpusOptions) -> list[bytes]:
    encoder = OpusEncoder(rate, options)
    return [encoder.encode(frame) for frame in frames_of(pcm, rate // 50)]


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_frequency_and_level_at_every_rate(rate: int) -> None:
    payloads = coded(tone(440, 1.0, rate, -10), rate, opus_options(rate))
    decoder = OpusDecoder(rate)

    heard = np.concatenate([decoder.decode(payload) for payload in payloads])

    settled = heard[rate // 2 :]
    assert len(heard) == rate
    assert frequency_of(settled, rate) == pytest.approx(440, rel=0.01)
    assert level_dbfs(settled) == pytest.approx(-10, abs=1.0)


@pytest.mark.parametrize("rate", RATES)
def test_any_encoder_is_heard_at_any_decoder_rate(rate: int) -> None:
    payloads = coded(tone(1000, 0.6, 16_000), 16_000, opus_options(16_000))
    decoder = OpusDecoder(rate)

    heard = np.concatenate([decoder.decode(payload) for payload in payloads])

    assert len(heard) == rate * 6 // 10
    assert frequency_of(heard[rate // 5 :], rate) == pytest.approx(1000, rel=0.01)


def test_delay_of_the_narrowband_coder_is_its_look_ahead() -> None:
    sent = speechlike(1.0, 8000)
    payloads = coded(sent, 8000, OpusOptions())
    decoder = OpusDecoder(8000)

    heard = np.concatenate([decoder.decode(payload) for payload in payloads])

    assert 5.0 <= delay_of(heard, sent, 8000) <= 8.0


def test_noise_of_the_waveform_coder_stays_20_db_below_speech() -> None:
    # SILK moves phases below 100 Hz, and so cannot be measured by difference.
    sent = speechlike(1.0, 8000)
    options = OpusOptions(application=Application.LOW_DELAY)
    decoder = OpusDecoder(8000)

    heard = np.concatenate([decoder.decode(p) for p in coded(sent, 8000, options)])

    late = round(delay_of(heard, sent, 8000) * 8)
    assert late == 20
    assert snr_db(heard[1600 + late :], sent[1600 : len(sent) - late]) > 20


def test_noise_of_the_speech_coder_stays_20_db_below_a_tone() -> None:
    decoder = OpusDecoder(8000)

    payloads = coded(tone(800, 1.0, 8000, -12), 8000, OpusOptions())

    heard = np.concatenate([decoder.decode(p) for p in payloads])[4000:]
    assert sine_fit(heard, 800, 8000)[1] > 20


def test_bitrate_is_kept() -> None:
    payloads = coded(speechlike(2.0, 8000), 8000, OpusOptions(bitrate=16_000))

    bits_per_second = 8 * sum(map(len, payloads)) / 2.0

    assert bits_per_second == pytest.approx(16_000, rel=0.3)


def test_bitrate_changes_between_two_frames() -> None:
    encoder = OpusEncoder(8000)
    frames = frames_of(speechlike(2.0, 8000), 160)
    before = sum(len(encoder.encode(frame)) for frame in frames[:50])

    encoder.configure(OpusOptions(bitrate=12_000))
    after = sum(len(encoder.encode(frame)) for frame in frames[50:])

    assert after < before / 2


def test_dtx_sends_nothing_in_silence_but_a_refresh() -> None:
    silence = np.zeros(16_000, np.int16)

    payloads = coded(silence, 8000, OpusOptions(dtx=True))

    sent = [payload for payload in payloads[20:] if payload]
    assert 1 <= len(sent) <= 8


def test_without_dtx_every_frame_of_silence_is_sent() -> None:
    assert all(coded(np.zeros(8000, np.int16), 8000, OpusOptions()))


def test_fec_brings_a_lost_frame_back_better_than_plc() -> None:
    speech = speechlike(1.0, 16_000)
    options = OpusOptions(bitrate=32_000, complexity=5, fec=True, loss_percent=20)
    payloads = coded(speech, 16_000, options)
    whole = OpusDecoder(16_000)
    expected = [whole.decode(payload) for payload in payloads]

    def error_of_lost(number: int, *, fec: bool) -> float:
        decoder = OpusDecoder(16_000)
        for payload in payloads[:number]:
            decoder.decode(payload)
        filled = decoder.decode_fec(payloads[number + 1], 320) if fec else decoder.conceal(320)
        difference = filled.astype(np.float64) - expected[number]
        return float(np.sqrt(np.mean(difference**2)))

    numbers = range(12, 45, 4)
    with_fec = sum(error_of_lost(number, fec=True) for number in numbers)
    without = sum(error_of_lost(number, fec=False) for number in numbers)
    assert with_fec < without / 2


def test_plc_carries_a_tone_over_20_ms_and_fades_in_the_end() -> None:
    decoder = OpusDecoder(8000)
    for payload in coded(tone(400, 0.5, 8000, -10), 8000, OpusOptions()):
        decoder.decode(payload)

    first = decoder.conceal(160)
    later = [decoder.conceal(160) for _ in range(30)][-1]

    assert level_dbfs(first) > -16
    assert level_dbfs(later) < -40


@pytest.mark.parametrize("samples", [1, 7, 160, 161, 480, 4000])
def test_concealed_audio_is_as_long_as_asked_for(samples: int) -> None:
    assert len(OpusDecoder(8000).conceal(samples)) == samples


@pytest.mark.parametrize(
    "junk", [b"", b"\xff", b"\x03", b"\x03\x00", b"\x03\x3f", b"\x7b" * 9, bytes(8000)]
)
def test_junk_is_concealed_and_counted(junk: bytes) -> None:
    decoder = OpusDecoder(8000)
    decoder.decode(coded(tone(400, 0.02, 8000), 8000, OpusOptions())[0])

    heard = decoder.decode(junk)

    assert len(heard) == 160
    assert decoder.junk == 1


@given(st.binary(max_size=200))
def test_no_payload_makes_the_decoder_raise(payload: bytes) -> None:
    decoder = OpusDecoder(8000)

    heard = decoder.decode(payload)
    filled = decoder.decode_fec(payload, 160)

    assert 0 < len(heard) <= 960
    assert len(filled) == 160


@given(st.binary(max_size=60))
def test_duration_agrees_with_libopus_or_is_refused(payload: bytes) -> None:
    library = opus.load_library()
    samples = library.opus_packet_get_nb_samples(payload, len(payload), 48_000)

    try:
        duration = opus_duration(payload)
    except RemoteProtocolError:
        duration = 0

    assert duration == max(samples, 0)


@pytest.mark.rfc(6716, "3.1")
@pytest.mark.parametrize(
    ("payload", "rate", "samples"),
    [
        (b"\x00", 8000, 80),  # SILK narrowband, 10 ms
        (b"\x18", 48_000, 2880),  # SILK narrowband, 60 ms
        (b"\x60", 48_000, 480),  # hybrid, 10 ms
        (b"\x80", 48_000, 120),  # CELT, 2.5 ms
        (b"\x98", 24_000, 480),  # CELT, 20 ms
        (b"\x99xx", 48_000, 1920),  # two frames
        (b"\x9b\x06", 48_000, 5760),  # six of 20 ms: 120 ms, the longest
    ],
)
def test_duration_from_the_first_byte(payload: bytes, rate: int, samples: int) -> None:
    assert opus_duration(payload, rate) == samples


@pytest.mark.parametrize("payload", [b"", b"\x9b", b"\x9b\x00", b"\x9b\x07", b"\x1b\x03"])
def test_payload_without_a_legal_duration_is_a_protocol_error(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        opus_duration(payload)


def test_what_is_no_frame_is_refused() -> None:
    encoder = OpusEncoder(8000)

    with pytest.raises(ValueError, match="bad argument"):
        encoder.encode(np.zeros(161, np.int16))


@pytest.mark.parametrize(
    "options", [OpusOptions(complexity=11), OpusOptions(loss_percent=101), OpusOptions(bitrate=0)]
)
def test_what_libopus_refuses_is_a_value_error(options: OpusOptions) -> None:
    with pytest.raises(ValueError, match="bad argument"):
        OpusEncoder(8000, options)


@pytest.mark.parametrize("kind", [OpusDecoder, OpusEncoder])
def test_rates_between_are_refused(kind: type[OpusDecoder] | type[OpusEncoder]) -> None:
    with pytest.raises(ValueError, match="44100"):
        kind(44_100)


def test_band_is_limited_where_asked() -> None:
    hiss = tone(6000, 0.5, 16_000)

    def level(bandwidth: Bandwidth) -> float:
        options = OpusOptions(complexity=5, max_bandwidth=bandwidth)
        decoder = OpusDecoder(16_000)
        payloads = coded(hiss, 16_000, options)
        return level_dbfs(np.concatenate([decoder.decode(p) for p in payloads])[1600:])

    assert level(Bandwidth.NARROW) < level(Bandwidth.WIDE) - 20


def test_closing_twice_is_harmless() -> None:
    decoder, encoder = OpusDecoder(8000), OpusEncoder(8000)

    for _ in range(2):
        decoder.close()
        encoder.close()


def test_missing_libopus_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(opus.LIBRARY_VARIABLE, "/nowhere/libopus.so")
    opus.load_library.cache_clear()

    try:
        with pytest.raises(ConfigError, match=r"/nowhere/libopus\.so.*|GATEWAY_LIBOPUS"):
            OpusDecoder(8000)
    finally:
        opus.load_library.cache_clear()


def test_the_copy_of_the_av_wheel_comes_before_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(opus.LIBRARY_VARIABLE, raising=False)

    names = list(opus._candidates())

    assert "av" in names[0]
    assert names.index("libopus.so.0") > 0


def test_media_comes_without_av_aiortc_and_asyncio() -> None:
    code = (
        "import sys, gateway.media.hub, gateway.media.coding, gateway.media.file,"
        " gateway.media.tone, gateway.media.vad\n"
        "gateway.media.opus.OpusDecoder(8000)\n"
        "print(sorted({'av', 'aiortc', 'asyncio', 'ssl'} & set(sys.modules)))"
    )

    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert run.stdout.strip() == "[]"


def test_payloads_differ_from_frame_to_frame() -> None:
    payloads = coded(speechlike(0.2, 8000), 8000, OpusOptions())

    assert all(one != other for one, other in pairwise(payloads))
