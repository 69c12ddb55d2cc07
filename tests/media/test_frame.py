"""Frames and voices: lazy, in order, contiguous, and whole where packets are not."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.codec import G722, OPUS, PCMA, PCMU, Codec
from gateway.media.frame import RECENT_FRAMES, AudioFrame, Voice
from gateway.media.g711 import A_LAW, MU_LAW
from gateway.media.g722 import G722Encoder
from gateway.media.opus import OpusEncoder, OpusOptions
from gateway.media.tone import level_dbfs
from tests.media.parties import START, Talker
from tests.media.sound import (
    Pcm,
    chirp,
    delay_of,
    frames_of,
    frequency_of,
    sine_fit,
    snr_db,
    speechlike,
    steepest_step,
    tone,
)

G729 = Codec("G729", payload_type=18, clock_rate=8000, sample_rate=8000)


def heard(frames: list[AudioFrame], rate: int) -> Pcm:
    return np.concatenate([frame.pcm(rate) for frame in frames])


def test_a_frame_keeps_what_was_received() -> None:
    voice = Voice()

    frame = voice.frame(PCMU, b"\xff" * 160, 960, START)

    assert (frame.codec, frame.payload) == (PCMU, b"\xff" * 160)
    assert (frame.position, frame.duration, frame.heard_at) == (0, 960, START)


def test_frames_of_all_kinds_are_contiguous() -> None:
    voice = Voice()

    frames = [
        voice.frame(PCMU, b"\xff" * 160, 960, START),
        voice.conceal(480, START),
        voice.frame_of_pcm(np.zeros(480, np.int16), 24_000, START),
        voice.frame(OPUS, b"\x00\x00", 1920, START),
    ]

    ends = [frame.position + frame.duration for frame in frames]
    assert [frame.position for frame in frames] == [0, *ends[:-1]]


def test_pcm_is_decoded_once_per_rate() -> None:
    frame = Talker(speechlike(0.1, 8000)).next()

    assert frame.pcm(8000) is frame.pcm(8000)
    assert frame.pcm(16_000) is frame.pcm(16_000)


@pytest.mark.parametrize("codec", [PCMU, OPUS], ids=lambda codec: codec.name)
@pytest.mark.parametrize("rate", [8000, 12_000, 16_000, 24_000, 44_100, 48_000])
def test_a_tone_is_the_same_tone_at_every_rate(codec: Codec, rate: int) -> None:
    talker = Talker(tone(600, 1.0, 8000, -12), codec=codec)

    pcm = heard([talker.next() for _ in range(50)], rate)[rate // 5 :]

    assert len(pcm) == rate * 4 // 5
    assert frequency_of(pcm, rate) == pytest.approx(600, rel=0.01)
    assert level_dbfs(pcm) == pytest.approx(-12, abs=0.5)


@pytest.mark.parametrize("codec", [PCMU, G722])
def test_rate_of_a_frame_may_be_asked_for_after_one_that_is_made_of_it(codec: Codec) -> None:
    """An agent hears at 24 kHz, and a recorder at what was decoded for that."""
    pcm = tone(1000, 0.2, codec.sample_rate)
    encode = G722Encoder().encode if codec is G722 else MU_LAW.encode
    voice, other = Voice(), Voice()
    payloads = [encode(piece) for piece in frames_of(pcm, codec.sample_rate // 50)]

    frames = [voice.frame(codec, payload, 960, START) for payload in payloads]
    both = [(frame.pcm(24_000), frame.pcm(codec.sample_rate)) for frame in frames]
    alone = [other.frame(codec, payload, 960, START).pcm(codec.sample_rate) for payload in payloads]

    assert np.array_equal(np.concatenate([late for _, late in both]), np.concatenate(alone))
    assert all(frame.pcm(24_000) is first for frame, (first, _) in zip(frames, both, strict=True))


def test_rates_do_not_disturb_each_other() -> None:
    alone, both = (Talker(speechlike(0.4, 8000), codec=OPUS) for _ in range(2))

    expected = heard([alone.next() for _ in range(20)], 16_000)
    frames = [both.next() for _ in range(20)]
    mixed = []
    for frame in frames:
        frame.pcm(8000)
        mixed.append(frame.pcm(16_000))
        frame.pcm(48_000)

    assert (np.concatenate(mixed) == expected).all()


@pytest.mark.parametrize("codec", [PCMU, OPUS], ids=lambda codec: codec.name)
def test_a_listener_that_lags_hears_the_same(codec: Codec) -> None:
    prompt, late = (Talker(speechlike(0.6, 8000), codec=codec) for _ in range(2))
    expected = heard([prompt.next() for _ in range(30)], 16_000)

    pieces = []
    frames = []
    for _ in range(30):
        frames.append(late.next())
        if len(frames) % 6 == 0:
            # Somebody else takes the newest at once; this one comes for all six now.
            frames[-1].pcm(16_000)
            pieces += [frame.pcm(16_000) for frame in frames[-6:]]

    assert (np.concatenate(pieces) == expected).all()


def test_a_decoder_opened_late_is_warm() -> None:
    prompt, late = (Talker(speechlike(1.0, 8000), codec=OPUS) for _ in range(2))
    expected = heard([prompt.next() for _ in range(40)], 8000)[30 * 160 :]
    for _ in range(30):
        late.next()

    newcomer = np.concatenate([late.next().pcm(8000) for _ in range(10)])

    assert snr_db(newcomer, expected) > 20
    assert level_dbfs(newcomer[:160]) == pytest.approx(level_dbfs(expected[:160]), abs=0.5)


def test_what_is_asked_for_far_too_late_is_silent() -> None:
    talker = Talker(tone(440, 1.0, 8000))
    frames = [talker.next() for _ in range(RECENT_FRAMES + 5)]
    frames[-1].pcm(8000)

    assert not frames[0].pcm(8000).any()
    assert frames[-3].pcm(8000).any()


@pytest.mark.parametrize("length", [0, 40, 159, 161, 400])
def test_a_payload_that_disagrees_with_its_duration_shifts_nothing(length: int) -> None:
    frame = Voice().frame(PCMU, b"\x10" * length, 960, START)

    assert len(frame.pcm(8000)) == 160
    assert len(frame.pcm(24_000)) == 480


def test_odd_durations_add_up_at_every_rate() -> None:
    voice = Voice()
    frames = [voice.frame_of_pcm(np.zeros(481, np.int16), 48_000, START) for _ in range(300)]

    assert sum(frame.samples(8000) for frame in frames) == 481 * 300 // 6
    assert sum(len(frame.pcm(8000)) for frame in frames) == 481 * 300 // 6


def test_codecs_may_change_between_two_frames() -> None:
    sent = speechlike(0.8, 8000)
    encoder = OpusEncoder(8000)
    voice = Voice()
    frames = []
    for number, piece in enumerate(frames_of(sent, 160)):
        opus_payload = encoder.encode(piece)
        if number < 13:
            frames.append(voice.frame(PCMU, MU_LAW.encode(piece), 960, START))
        elif number < 26:
            frames.append(voice.frame(OPUS, opus_payload, 960, START))
        else:
            frames.append(voice.frame(PCMA, A_LAW.encode(piece), 960, START))

    pcm = heard(frames, 24_000)

    assert len(pcm) == 3 * len(sent)
    assert steepest_step(pcm) < 1.5 * steepest_step(heard_of_g711(sent, 24_000))


def heard_of_g711(sent: Pcm, rate: int) -> Pcm:
    talker = Talker(sent)
    return heard([talker.next() for _ in talker.payloads], rate)


def test_an_unknown_codec_is_concealed_and_counted() -> None:
    voice = Voice()

    frame = voice.frame(G729, b"\x10" * 20, 960, START)

    assert len(frame.pcm(8000)) == 160
    assert voice.junk == 1


def test_a_voice_in_g722_is_heard_wideband_and_bridged_when_packets_are_lost() -> None:
    voice, encoder = Voice(), G722Encoder()
    pieces = frames_of(tone(5000, 1.0, 16_000, -12), 320)

    frames = [
        voice.conceal(960, START) if n == 30 else voice.frame(G722, encoder.encode(p), 960, START)
        for n, p in enumerate(pieces)
    ]

    assert frames[0].natural_rate == 16_000
    pcm = heard(frames, 16_000)[3200:]
    assert frequency_of(pcm, 16_000) == pytest.approx(5000, rel=0.002)
    assert level_dbfs(pcm) == pytest.approx(-12, abs=1)
    assert voice.junk == 0


def test_junk_is_concealed_and_counted() -> None:
    talker = Talker(tone(300, 0.5, 8000, -10), codec=OPUS)
    for _ in range(10):
        talker.next().pcm(8000)

    junk = talker.voice.frame(OPUS, b"\xff\xff\xff", 960, START).pcm(8000)

    assert len(junk) == 160
    assert level_dbfs(junk) > -20
    assert talker.voice.junk == 1


# ---- concealment


@pytest.mark.parametrize("codec", [PCMU, OPUS], ids=lambda codec: codec.name)
def test_one_lost_packet_is_bridged_without_a_click(codec: Codec) -> None:
    sent = speechlike(0.4, 8000)
    whole = heard_of_g711(sent, 8000)
    talker = Talker(sent, codec=codec)
    frames = [talker.lose() if number == 15 else talker.next() for number in range(20)]

    pcm = heard(frames, 8000)

    assert len(pcm) == len(whole)
    assert steepest_step(pcm) < 1.6 * steepest_step(whole)
    assert level_dbfs(pcm[2400:2560]) == pytest.approx(level_dbfs(whole[2400:2560]), abs=4)


def test_a_lost_piece_of_a_vowel_is_like_the_vowel() -> None:
    vowel = tone(200, 0.4, 8000, -12) // 2 + tone(800, 0.4, 8000, -12) // 2
    talker = Talker(vowel)
    frames = [talker.next() for _ in range(10)]

    frames.append(talker.lose())

    pcm = heard(frames, 8000)
    assert snr_db(pcm[1600:1680], vowel[1600:1680]) > 20


def test_a_hole_leads_over_to_what_follows_it() -> None:
    glide = chirp(150, 500, 0.4, 8000)
    payload = MU_LAW.encode(glide[1760:1920])
    blind, seeing = Talker(glide), Talker(glide)
    for talker in (blind, seeing):
        for _ in range(10):
            talker.next().pcm(8000)

    guessed = blind.voice.conceal(960, START).pcm(8000)
    joined = seeing.voice.conceal(960, START, payload).pcm(8000)

    heard_after = seeing.voice.frame(PCMU, payload, 960, START).pcm(8000)
    assert np.array_equal(heard_after, MU_LAW.decode(payload))
    assert abs(int(heard_after[0]) - int(joined[-1])) < steepest_step(glide) * 1.5
    assert snr_db(joined[80:], glide[1680:1760]) > snr_db(guessed[80:], glide[1680:1760]) + 3


def test_pause_sounds_as_loud_as_the_speaker_says_and_does_not_click() -> None:
    talker = Talker(tone(200, 1.0, 8000, -6))
    frames = [talker.next() for _ in range(10)]
    frames += [talker.voice.pause(960, START, 100.0) for _ in range(10)]
    frames += [talker.next() for _ in range(5)]

    pcm = heard(frames, 8000)

    assert [frame.is_noise for frame in frames] == [False] * 10 + [True] * 10 + [False] * 5
    pause = pcm[1680:3200].astype(np.float64)
    assert np.sqrt(np.mean(pause**2)) == pytest.approx(100, rel=0.1)
    assert steepest_step(pcm) < 1.6 * steepest_step(pcm[:1600])


def test_concealment_fades_within_60_ms_to_comfort_noise() -> None:
    talker = Talker(speechlike(0.4, 8000, -10))
    for _ in range(20):
        talker.next().pcm(8000)

    levels = [level_dbfs(talker.voice.conceal(960, START).pcm(8000)) for _ in range(10)]

    assert levels[0] > -25
    assert levels[0] > levels[1] > levels[2]
    assert all(-85 < level < -45 for level in levels[3:])


@pytest.mark.parametrize("codec", [PCMU, OPUS], ids=lambda codec: codec.name)
def test_comfort_noise_is_as_loud_as_the_background_was(codec: Codec) -> None:
    hiss = (np.random.default_rng(1).standard_normal(8000) * 40).astype(np.int16)
    talker = Talker(hiss, codec=codec)
    frames = [talker.next() for _ in range(30)]
    background = level_dbfs(heard(frames, 8000)[-800:])

    pcm = heard([talker.voice.conceal(960, START) for _ in range(20)], 8000)

    assert level_dbfs(pcm[1600:]) == pytest.approx(background, abs=4)


def test_audio_that_comes_back_after_comfort_noise_does_not_click() -> None:
    talker = Talker(tone(200, 1.0, 8000, -6))
    frames = [talker.next() for _ in range(10)]
    frames += [talker.lose() for _ in range(6)]
    for _ in range(7):
        talker.payload()
    frames += [talker.next() for _ in range(10)]

    pcm = heard(frames, 8000)

    assert steepest_step(pcm) < 1.3 * steepest_step(tone(200, 0.2, 8000, -6))


def test_fec_of_the_packet_after_fills_the_hole() -> None:
    sent = speechlike(0.6, 16_000)
    encoder = OpusEncoder(
        16_000, OpusOptions(bitrate=32_000, complexity=5, fec=True, loss_percent=20)
    )
    payloads = [encoder.encode(piece) for piece in frames_of(sent, 320)]

    def play(*, lost: int, fec: bool) -> Pcm:
        voice = Voice()
        frames = [
            voice.conceal(960, START, payloads[number + 1] if fec else None)
            if number == lost
            else voice.frame(OPUS, payload, 960, START)
            for number, payload in enumerate(payloads)
        ]
        return heard(frames, 16_000)

    whole = play(lost=-1, fec=False)
    gain = [
        snr_db(play(lost=lost, fec=True), whole) - snr_db(play(lost=lost, fec=False), whole)
        for lost in range(10, 26, 3)
    ]
    assert np.mean(gain) > 5


def test_a_hole_before_anything_was_heard_is_quiet() -> None:
    assert level_dbfs(Voice().conceal(960, START).pcm(8000)) < -50


def test_a_hole_is_concealed_in_the_rate_of_a_speaker_born_as_pcm() -> None:
    voice = Voice()
    pieces = frames_of(tone(500, 0.2, 24_000, -10), 480)
    frames = [voice.frame_of_pcm(piece, 24_000, START) for piece in pieces]

    frames.append(voice.conceal(960, START))

    level, below = sine_fit(heard(frames, 24_000)[-480:-240], 500, 24_000)
    assert level == pytest.approx(-10, abs=1)
    assert below > 20


# ---- born as PCM


def test_pcm_is_handed_through_at_its_own_rate_and_resampled_for_others() -> None:
    sent = speechlike(0.4, 24_000)
    voice = Voice()
    frames = [voice.frame_of_pcm(piece, 24_000, START) for piece in frames_of(sent, 480)]

    assert (heard(frames, 24_000) == sent).all()
    assert delay_of(heard(frames, 8000), speechlike(0.4, 8000), 8000) == pytest.approx(2, abs=0.2)


def test_pcm_at_a_rate_between_is_refused() -> None:
    with pytest.raises(ValueError, match="44100"):
        Voice().frame_of_pcm(np.zeros(441, np.int16), 44_100, START)


def test_a_closed_voice_keeps_what_was_decoded() -> None:
    talker = Talker(tone(440, 0.1, 8000), codec=OPUS)
    frame = talker.next()
    pcm = frame.pcm(8000)

    talker.voice.close()

    assert frame.pcm(8000) is pcm
