"""Keys as sound, after ITU-T Q.23 and Q.24: what has to be heard, and what must not be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import gateway
from gateway.codec import TICK_RATE
from gateway.media.file import read_wav
from gateway.media.frame import AudioFrame
from gateway.media.resample import Resampler
from gateway.media.tone import DTMF_HZ, dtmf_of, tone_level_dbfs
from gateway.media.touchtone import MAX_WAITING, RATE, KeyDetector, KeyHeard, TonePad
from tests.media.sound import Pcm, frames_of, speechlike

KEYS = "123A456B789C*0#D"
OFFSETS = range(0, 102, 17)
"A press may begin anywhere between two looks."

FRAME = TICK_RATE // 50
RECORDINGS = sorted(Path(gateway.__file__).parent.rglob("*.wav"))


def press(
    digit: str,
    ms: float,
    *,
    offset: int = 0,
    low_dbfs: float = -12.0,
    high_dbfs: float = -12.0,
    low_by: float = 0.0,
    high_by: float = 0.0,
) -> NDArray[np.float64]:
    """One press between silences, its tones off by fractions of their frequency."""
    at = np.arange(round(ms * RATE / 1000)) / RATE
    low, high = DTMF_HZ[digit]
    tones = ((low * (1 + low_by), low_dbfs), (high * (1 + high_by), high_dbfs))
    wave = np.zeros(len(at))
    for hz, dbfs in tones:
        wave += 32767 * 10 ** (dbfs / 20) * np.sin(2 * np.pi * hz * at + offset)
    return np.concatenate([np.zeros(800 + offset), wave, np.zeros(1600)])


def hear(wave: NDArray[np.float64] | Pcm) -> list[KeyHeard]:
    """What is heard in frames of 20 ms."""
    pcm = np.clip(np.rint(wave), -32768, 32767).astype(np.int16)
    detector = KeyDetector()
    edges = [edge for piece in frames_of(pcm, 160) for edge in detector.push(piece)]
    return edges + detector.release()


def keys(wave: NDArray[np.float64] | Pcm) -> str:
    return "".join(edge.digit for edge in hear(wave) if not edge.is_end)


@pytest.mark.parametrize("digit", KEYS)
def test_press_gives_one_start_and_one_end(digit: str) -> None:
    start, end = hear(press(digit, 200))

    assert (start.digit, start.is_end) == (digit, False)
    assert (end.digit, end.is_end) == (digit, True)
    assert end.duration_ms == pytest.approx(200, abs=15)


@pytest.mark.parametrize(("ms", "is_heard"), [(23, False), (40, True)])
def test_press_of_40_ms_is_heard_and_one_of_23_is_not(ms: int, is_heard: bool) -> None:
    heard = [keys(press(digit, ms, offset=at)) for digit in KEYS for at in OFFSETS]

    assert heard == [digit if is_heard else "" for digit in KEYS for _ in OFFSETS]


@pytest.mark.parametrize("digit", KEYS)
def test_tones_may_be_off_by_one_and_a_half_percent(digit: str) -> None:
    for low_by in (-0.015, 0.015):
        for high_by in (-0.015, 0.015):
            assert keys(press(digit, 50, low_by=low_by, high_by=high_by)) == digit


@pytest.mark.parametrize("digit", KEYS)
def test_tone_that_is_off_by_three_and_a_half_percent_is_no_key(digit: str) -> None:
    for by in (-0.035, 0.035):
        assert keys(press(digit, 200, low_by=by)) == ""
        assert keys(press(digit, 200, high_by=by)) == ""


@pytest.mark.parametrize(
    ("twist_db", "is_heard"), [(-11, False), (-8, True), (0, True), (4, True), (8, False)]
)
def test_twist_is_allowed_as_lines_make_it(twist_db: int, is_heard: bool) -> None:
    heard = {keys(press(d, 60, low_dbfs=-18, high_dbfs=-18 + twist_db)) == d for d in KEYS}

    assert heard == {is_heard}


@pytest.mark.parametrize(("dbfs", "is_heard"), [(-6, True), (-28, True), (-40, False)])
def test_weak_tones_are_none(dbfs: int, is_heard: bool) -> None:
    heard = {keys(press(digit, 60, low_dbfs=dbfs, high_dbfs=dbfs)) == digit for digit in KEYS}

    assert heard == {is_heard}


@pytest.mark.parametrize(("gap_ms", "presses"), [(10, 1), (40, 2)])
def test_break_of_10_ms_is_none_and_one_of_40_parts_two_presses(gap_ms: int, presses: int) -> None:
    for digit in KEYS:
        for offset in OFFSETS:
            wave = press(digit, 200, offset=offset)
            wave[1400 + offset : 1400 + offset + gap_ms * 8] = 0

            assert keys(wave) == digit * presses


def test_ten_digits_a_second_are_told_apart() -> None:
    dialled = "".join(KEYS)
    pieces = [press(digit, 50)[800 : 800 + 800] for digit in dialled]

    assert keys(np.concatenate(pieces)) == dialled


def test_noise_12_db_below_hides_no_key() -> None:
    chance = np.random.default_rng(4)
    for digit in KEYS:
        wave = press(digit, 60)
        noise = chance.normal(0, 32767 * 10 ** ((-12 - 12) / 20), len(wave))

        assert keys(wave + noise) == digit


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_speech_presses_no_key(path: Path) -> None:
    pcm, rate = read_wav(path)

    assert keys(pcm if rate == RATE else Resampler(rate, RATE).process(pcm)) == ""


def test_voice_rich_in_harmonics_presses_no_key() -> None:
    assert keys(speechlike(5.0, RATE)) == ""


@pytest.mark.parametrize("hz", [350, 425, 440, 697, 941, 1004, 1209, 1633])
def test_single_tone_presses_no_key(hz: float) -> None:
    at = np.arange(RATE) / RATE

    assert keys(16_000 * np.sin(2 * np.pi * hz * at)) == ""


def test_key_that_sounds_when_nothing_more_comes_is_released() -> None:
    detector = KeyDetector()
    detector.push(press("5", 200)[:2000].astype(np.int16))
    assert detector.is_sounding

    (end,) = detector.release()

    assert (end.digit, end.is_end) == ("5", True)
    assert not detector.is_sounding
    assert detector.release() == []


@pytest.mark.parametrize(("is_guess", "presses"), [(True, "5"), (False, "55")])
def test_what_stands_in_for_lost_sound_ends_no_press(is_guess: bool, presses: str) -> None:
    detector = KeyDetector()
    sounding = press("5", 200)[800:2400].astype(np.int16)
    edges = detector.push(sounding)

    edges += detector.push(np.zeros(480, np.int16), is_guess=is_guess)
    edges += detector.push(sounding)

    assert "".join(edge.digit for edge in edges if not edge.is_end) == presses


# ---- pressed by us


def sound(pad: TonePad, frames: int, frame_ticks: int = FRAME) -> Pcm:
    """What the party hears in so many frames."""
    heard = [
        pad.replace(AudioFrame(number * frame_ticks, frame_ticks, 0.0)) for number in range(frames)
    ]
    assert {frame.duration for frame in heard} <= {frame_ticks}
    return np.concatenate([np.zeros(0, np.int16), *(frame.pcm(RATE) for frame in heard)])


@pytest.mark.parametrize("digit", KEYS)
def test_our_press_is_what_a_detector_takes_for_it(digit: str) -> None:
    pad = TonePad()
    pad.start(digit)
    pad.end(digit, 100)

    pcm = sound(pad, 15)

    start, end = hear(pcm)
    assert (start.digit, end.digit) == (digit, digit)
    assert end.duration_ms == pytest.approx(100, abs=15)
    assert dtmf_of(pcm[:800], RATE) == digit
    low, high = (tone_level_dbfs(pcm[:800], RATE, hz) for hz in DTMF_HZ[digit])
    assert low == pytest.approx(-11, abs=0.7)
    assert high == pytest.approx(-9, abs=0.7)
    assert np.abs(pcm).max() < 32_000


@pytest.mark.parametrize("frame_ms", [10, 20, 30, 60])
def test_presses_wait_for_one_another_in_frames_of_any_length(frame_ms: int) -> None:
    pad = TonePad()
    for digit in "1155#":
        pad.start(digit)
        pad.end(digit, 100)

    pcm = sound(pad, 1200 // frame_ms, frame_ms * TICK_RATE // 1000)

    assert keys(pcm) == "1155#"
    assert not pad.is_active


def test_key_sounds_as_long_as_it_is_down() -> None:
    pad = TonePad()
    pad.start("7")
    held = sound(pad, 150)
    pad.end("7", 3000)

    after = sound(pad, 20)

    (end,) = [edge for edge in hear(np.concatenate([held, after])) if edge.is_end]
    assert end.duration_ms == pytest.approx(3000, abs=15)


def test_next_key_releases_the_one_before() -> None:
    pad = TonePad()
    pad.start("1")
    first = sound(pad, 10)
    pad.start("2")
    pad.end("1", 100)
    second = sound(pad, 20)
    pad.end("2", 100)

    rest = sound(pad, 20)

    assert keys(np.concatenate([first, second, rest])) == "12"


def test_presses_that_wait_are_bounded() -> None:
    pad = TonePad()

    taken = [pad.start("1") for _ in range(MAX_WAITING + 5)]

    assert taken.count(True) == MAX_WAITING
    assert pad.dropped == 5


def test_only_keys_can_be_pressed() -> None:
    with pytest.raises(ValueError, match="'x' is not"):
        TonePad().start("x")
