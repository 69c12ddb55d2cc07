"""What a queued speaker says, and the clock of what was heard of it, to the sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codec import OPUS, PCMU, TICK_RATE
from gateway.media.frame import AudioFrame, Voice
from gateway.media.playout import (
    MAX_ITEMS,
    MAX_MARKS,
    MAX_QUEUED_S,
    Cleared,
    MarkReached,
    Playout,
    PlayoutEvent,
    Unheard,
)
from gateway.media.reader import Reader
from gateway.media.tone import level_dbfs
from tests.media.parties import START, Ear, Talker
from tests.media.sound import Pcm, delay_of, frequency_of, speechlike, steepest_step, tone


class Mouth:
    """A playout with what it reported."""

    def __init__(self) -> None:
        self.playout = Playout()
        self.events: list[PlayoutEvent] = []
        self.playout.on_event = self.events.append
        self.now = START

    def pass_time(self, ms: int) -> None:
        for _ in range(ms // 20):
            self.now += 0.02
            self.playout.advance(self.now)


def counting(samples: int, start: int = 0) -> Pcm:
    """Every sample another: any loss, repetition or swap shows."""
    return (np.arange(start, start + samples) % 32_000).astype(np.int16)


def pulled(reader: Reader, times: int, rate: int = 8000, ticks: int = 960) -> Pcm:
    """What a listener hears who pulls that often; silence where nothing is said."""
    pieces = []
    for _ in range(times):
        frame = reader.pull(ticks, START)
        pieces.append(
            np.zeros(ticks * rate // 48_000, np.int16) if frame is None else frame.pcm(rate)
        )
    return np.concatenate(pieces)


# ---- what is heard


def test_what_is_said_is_heard_to_the_sample() -> None:
    playout = Playout()
    reader = playout.attach(Ear())
    for start in (0, 37, 1000, 1001, 2000):
        playout.say_pcm(counting(start + 160, start), 8000)
    said = np.concatenate([counting(start + 160, start) for start in (0, 37, 1000, 1001, 2000)])

    heard = pulled(reader, 40)

    assert (heard[: len(said)] == said).all()
    assert not heard[len(said) :].any()


@given(st.lists(st.tuples(st.integers(0, 700), st.booleans()), max_size=25))
def test_two_readers_lose_and_repeat_nothing_however_it_is_said(
    pieces: list[tuple[int, bool]],
) -> None:
    playout = Playout()
    one, other = playout.attach(Ear()), playout.attach(Ear())
    said = counting(sum(size for size, _ in pieces))
    heard: tuple[list[Pcm], list[Pcm]] = ([], [])
    start = 0
    for size, is_other_late in pieces:
        playout.say_pcm(said[start : start + size], 8000)
        start += size
        for reader, ear in zip((one, other), heard, strict=True):
            if reader is one or not is_other_late:
                before = reader.position
                frame = reader.pull(960, START)
                if frame is not None:
                    ear.append(frame.pcm(8000)[: (reader.position - before) // 6])
        playout.settle()

        assert playout.played_ms == min(one.position, other.position) / 48

    for ear in heard:
        whole = np.concatenate([np.zeros(0, np.int16), *ear])
        assert (whole == said[: len(whole)]).all()


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 48_000])
def test_speech_of_any_rate_is_heard_at_any_rate(rate: int) -> None:
    playout = Playout()
    ears = {heard_at: playout.attach(Ear()) for heard_at in (8000, 24_000)}
    playout.say_pcm(tone(700, 1.0, rate, -12), rate)

    for heard_at, reader in ears.items():
        pcm = pulled(reader, 50, heard_at)[heard_at // 10 :]
        assert frequency_of(pcm, heard_at) == pytest.approx(700, rel=0.01)
        assert level_dbfs(pcm) == pytest.approx(-12, abs=0.2)


def test_chunks_of_odd_sizes_are_resampled_without_seams() -> None:
    sent = speechlike(1.0, 24_000)
    whole, odd = Playout(), Playout()
    readers = whole.attach(Ear()), odd.attach(Ear())
    whole.say_pcm(sent, 24_000)
    for piece in np.split(sent, [7, 100, 1300, 1301, 9999, 20_000]):
        odd.say_pcm(piece, 24_000)

    one, other = (pulled(reader, 50) for reader in readers)

    assert (one == other).all()


def test_rates_may_change_from_one_saying_to_the_next() -> None:
    playout = Playout()
    reader = playout.attach(Ear())
    playout.say_pcm(tone(500, 0.5, 24_000, -12), 24_000)
    playout.say_pcm(tone(500, 0.5, 8000, -12), 8000)

    heard = pulled(reader, 50)

    assert frequency_of(heard, 8000) == pytest.approx(500, rel=0.01)
    assert steepest_step(heard) < 1.5 * steepest_step(tone(500, 0.5, 8000, -12))


@pytest.mark.parametrize("codec", [PCMU, OPUS], ids=lambda codec: codec.name)
def test_frames_said_back_keep_their_payload(codec: object) -> None:
    talker = Talker(speechlike(0.4, 8000), codec=OPUS if codec is OPUS else PCMU)
    playout = Playout()
    reader = playout.attach(Ear())
    frames = [talker.next() for _ in range(10)]
    for frame in frames:
        playout.say(frame)

    echoed = [reader.pull(960, START) for _ in range(10)]

    assert [frame.payload for frame in echoed if frame] == [frame.payload for frame in frames]


def test_frames_said_back_long_after_are_still_heard() -> None:
    sent = speechlike(2.0, 8000)
    talker, again = Talker(sent, codec=OPUS), Talker(sent, codec=OPUS)
    playout = Playout()
    reader = playout.attach(Ear())
    expected = np.concatenate([again.next().pcm(8000) for _ in range(100)])

    for _ in range(100):
        playout.say(talker.next())

    assert (pulled(reader, 100) == expected).all()


def test_frames_out_of_step_with_the_listener_are_cut_and_joined() -> None:
    sent = speechlike(1.0, 8000)
    talker, again = Talker(sent, codec=OPUS), Talker(sent, codec=OPUS)
    playout = Playout()
    reader = playout.attach(Ear())
    playout.say_pcm(np.zeros(77, np.int16), 8000)
    for _ in range(49):
        playout.say(talker.next())

    heard = pulled(reader, 49)

    expected = np.concatenate([again.next().pcm(8000) for _ in range(49)])
    assert (heard[77:] == expected[: len(heard) - 77]).all()


def test_a_concealed_frame_can_be_said_back() -> None:
    talker = Talker(speechlike(0.4, 8000), codec=OPUS)
    playout = Playout()
    reader = playout.attach(Ear())
    for number in range(20):
        frame = talker.lose() if number == 15 else talker.next()
        frame.pcm(8000)
        playout.say(frame)

    assert level_dbfs(pulled(reader, 20)[15 * 160 : 16 * 160]) > -30


def test_a_silent_frame_can_be_said_back() -> None:
    playout = Playout()

    playout.say(AudioFrame(0, 960, START))

    assert playout.queued_ms == 20


def test_delay_of_speech_at_the_rate_of_the_listener_is_none() -> None:
    sent = speechlike(0.5, 8000)
    playout = Playout()
    reader = playout.attach(Ear())
    playout.say_pcm(sent, 8000)

    assert delay_of(pulled(reader, 25), sent, 8000) == 0


def test_rates_between_are_refused() -> None:
    with pytest.raises(ValueError, match="44100"):
        Playout().say_pcm(np.zeros(441, np.int16), 44_100)


# ---- the clock


def test_played_is_what_the_slowest_reader_has() -> None:
    playout = Playout()
    fast, slow = playout.attach(Ear()), playout.attach(Ear())
    playout.say_pcm(counting(8000), 8000)

    pulled(fast, 10)
    pulled(slow, 3)

    assert (playout.played_ms, playout.said_ms, playout.queued_ms) == (60, 1000, 940)


def test_a_last_piece_counts_to_the_sample() -> None:
    playout = Playout()
    reader = playout.attach(Ear())
    playout.say_pcm(counting(333), 8000)

    pulled(reader, 5)

    assert playout.played_ms == 333 / 8


def test_one_who_is_not_connected_is_not_waited_for_and_goes_on_with_the_others() -> None:
    playout = Playout()
    here, away = Ear(), Ear()
    near, far = playout.attach(here), playout.attach(away)
    playout.say_pcm(counting(8000), 8000)
    away.is_connected = False
    pulled(near, 10)
    playout.settle()
    assert pulled(far, 1).any() is np.False_

    away.is_connected = True
    heard = pulled(far, 1)

    assert (heard == counting(160, 1600)).all()
    assert playout.played_ms == 200


def test_a_recorder_does_not_hold_the_clock() -> None:
    playout = Playout()
    person, recorder = playout.attach(Ear()), playout.attach(Ear(), counts=False)
    playout.say_pcm(counting(8000), 8000)

    pulled(person, 10)
    pulled(recorder, 1)

    assert playout.played_ms == 200


def test_a_newcomer_begins_where_the_clock_stands() -> None:
    playout = Playout()
    first = playout.attach(Ear())
    playout.say_pcm(counting(8000), 8000)
    pulled(first, 10)

    newcomer = playout.attach(Ear())

    assert (pulled(newcomer, 1) == counting(160, 1600)).all()


def test_the_clock_does_not_go_back_when_the_fastest_leaves() -> None:
    playout = Playout()
    fast, slow = playout.attach(Ear()), playout.attach(Ear())
    playout.say_pcm(counting(8000), 8000)
    pulled(slow, 2)
    pulled(fast, 5)

    playout.detach(fast)
    assert playout.played_ms == 40
    playout.detach(slow)

    assert playout.played_ms == 40


# ---- marks


def test_a_mark_is_reached_once_all_before_it_was_pulled() -> None:
    mouth = Mouth()
    reader = mouth.playout.attach(Ear())
    mouth.playout.say_pcm(counting(480), 8000)
    mouth.playout.mark("a")
    mouth.playout.say_pcm(counting(160), 8000)
    mouth.playout.mark("b")

    reached = []
    for _ in range(4):
        pulled(reader, 1)
        mouth.playout.settle()
        reached.append(len(mouth.events))

    assert reached == [0, 0, 1, 2]
    assert mouth.events == [MarkReached("a", 60, heard=True), MarkReached("b", 80, heard=True)]


def test_a_mark_waits_for_the_slowest() -> None:
    mouth = Mouth()
    fast, slow = mouth.playout.attach(Ear()), mouth.playout.attach(Ear())
    mouth.playout.say_pcm(counting(160), 8000)
    mouth.playout.mark("end")

    pulled(fast, 1)
    mouth.playout.settle()
    assert mouth.events == []
    pulled(slow, 1)
    mouth.playout.settle()

    assert mouth.events == [MarkReached("end", 20, heard=True)]


def test_a_mark_on_an_empty_queue_is_reached_soon_but_not_at_once() -> None:
    mouth = Mouth()

    mouth.playout.mark("now")
    assert mouth.events == []
    mouth.pass_time(20)

    assert mouth.events == [MarkReached("now", 0, heard=True)]


def test_marks_are_bounded() -> None:
    playout = Playout()

    marked = [playout.mark(str(number)) for number in range(MAX_MARKS + 1)]

    assert marked == [True] * MAX_MARKS + [False]


def test_a_listener_to_events_may_speak_and_clear() -> None:
    playout = Playout()
    reader = playout.attach(Ear())
    names: list[str] = []

    def on_event(event: PlayoutEvent) -> None:
        assert isinstance(event, MarkReached)
        names.append(event.name)
        playout.clear()
        playout.say_pcm(counting(160), 8000)
        if len(names) < 3:
            playout.mark(f"{len(names)}")

    playout.on_event = on_event
    playout.say_pcm(counting(160), 8000)
    playout.mark("0")

    for _ in range(5):
        pulled(reader, 1)
        playout.settle()

    assert names == ["0", "1", "2"]


# ---- clear


def test_clear_tells_played_dropped_and_lost_marks_to_the_sample() -> None:
    mouth = Mouth()
    fast, slow = mouth.playout.attach(Ear()), mouth.playout.attach(Ear())
    mouth.playout.say_pcm(counting(320), 8000)
    mouth.playout.mark("heard")
    mouth.playout.say_pcm(counting(8001), 8000)
    mouth.playout.mark("one")
    mouth.playout.mark("two")
    pulled(fast, 7)
    pulled(slow, 5)

    cleared = mouth.playout.clear()
    mouth.playout.settle()

    assert cleared == Cleared(100, (320 + 8001) / 8 - 100, ("one", "two"))
    assert mouth.events == [MarkReached("heard", 40, heard=True)]
    assert (mouth.playout.played_ms, mouth.playout.said_ms) == (100, 100)


def test_f19_speech_whose_format_changes_with_each_sample_is_bounded() -> None:
    playout = Playout()

    taken = sum(
        playout.say_pcm(counting(1), rate) for _ in range(MAX_ITEMS) for rate in (8000, 16_000)
    )

    assert MAX_ITEMS <= taken < MAX_ITEMS + 400  # the last is filled up to 20 ms
    assert not playout.say_payload(PCMU, bytes(160), 960)
    assert not playout.say_pcm(counting(160), 8000)
    playout.clear()
    assert playout.say_pcm(counting(1), 8000)


def test_a_clear_never_lets_one_mark_overtake_another() -> None:
    mouth = Mouth()
    mouth.playout.attach(Ear())
    mouth.playout.mark("on an empty queue")
    mouth.playout.say_pcm(counting(800), 8000)
    mouth.playout.mark("behind speech")

    cleared = mouth.playout.clear()
    mouth.pass_time(40)

    assert cleared.marks == ("on an empty queue", "behind speech")
    assert mouth.events == []


def test_what_is_said_after_a_clear_is_heard_by_all_from_its_beginning() -> None:
    playout = Playout()
    readers = [playout.attach(Ear()), playout.attach(Ear())]
    playout.say_pcm(np.zeros(8000, np.int16), 8000)
    pulled(readers[0], 4)
    pulled(readers[1], 3)

    playout.clear()
    playout.say_pcm(counting(320, 500), 8000)

    for reader in readers:
        assert (pulled(reader, 2) == counting(320, 500)).all()
    assert playout.played_ms == 100


def test_speech_that_is_cleared_fades_within_5_ms() -> None:
    sent = tone(200, 1.0, 8000, -3)
    playout = Playout()
    reader = playout.attach(Ear())
    playout.say_pcm(sent, 8000)
    before = pulled(reader, 3)

    playout.clear()
    after = pulled(reader, 2)

    assert steepest_step(np.concatenate([before, after])) < 1.2 * steepest_step(sent)
    assert after[:20].any()
    assert not after[40:].any()
    assert playout.played_ms == 60


def test_clearing_an_empty_queue_drops_nothing() -> None:
    assert Playout().clear() == Cleared(0, 0, ())


# ---- pause, limits, nobody there


def test_a_pause_keeps_what_is_queued() -> None:
    playout = Playout()
    reader = playout.attach(Ear())
    playout.say_pcm(counting(320), 8000)
    pulled(reader, 1)

    playout.pause()
    paused = pulled(reader, 3)
    playout.resume()
    resumed = pulled(reader, 1)

    assert not paused.any()
    assert (resumed == counting(160, 160)).all()


def test_more_than_a_minute_is_refused_whole() -> None:
    playout = Playout()
    second = np.zeros(8000, np.int16)
    accepted = [playout.say_pcm(second, 8000) for _ in range(int(MAX_QUEUED_S))]

    refused = playout.say_pcm(second[:1], 8000)

    assert all(accepted)
    assert not refused
    assert playout.queued_ms == MAX_QUEUED_S * 1000


def test_who_asks_for_a_longer_queue_has_it() -> None:
    playout = Playout()
    playout.max_queued = 90 * TICK_RATE
    second = np.zeros(8000, np.int16)

    accepted = [playout.say_pcm(second, 8000) for _ in range(100)]

    assert sum(accepted) == 90


def test_what_was_heard_makes_room() -> None:
    playout = Playout()
    reader = playout.attach(Ear())
    for _ in range(int(MAX_QUEUED_S)):
        playout.say_pcm(np.zeros(8000, np.int16), 8000)
    pulled(reader, 50)
    playout.settle()

    assert playout.say_pcm(np.zeros(8000, np.int16), 8000)


def test_memory_does_not_grow_with_what_was_played() -> None:
    playout = Playout()
    reader = playout.attach(Ear())

    for _ in range(500):
        playout.say_pcm(counting(160), 8000)
        pulled(reader, 1)
        playout.settle()

    assert playout.played_ms == 10_000
    assert len(playout._items) == 0


def test_one_who_was_away_unnoticed_goes_on_where_the_others_are() -> None:
    playout = Playout()
    here, away = Ear(), Ear()
    near, far = playout.attach(here), playout.attach(away)
    for start in range(0, 8000, 80):
        playout.say_pcm(counting(80, start), 8000)
    away.is_connected = False
    pulled(near, 40)
    playout.settle()
    away.is_connected = True

    assert (pulled(far, 1) == counting(160, 6400)).all()


def test_with_nobody_there_it_waits_2_s_and_then_drains_in_real_time() -> None:
    mouth = Mouth()
    mouth.playout.say_pcm(counting(8000), 8000)
    mouth.playout.mark("end")

    mouth.pass_time(2000)
    assert (mouth.playout.played_ms, mouth.events) == (0, [])
    mouth.pass_time(520)
    assert mouth.events == [Unheard(0)]
    assert mouth.playout.played_ms == pytest.approx(500, abs=20)
    mouth.pass_time(600)

    assert mouth.events[1:] == [MarkReached("end", 1000, heard=False)]
    assert mouth.playout.queued_ms == 0


def test_one_who_comes_within_2_s_hears_it_from_the_beginning() -> None:
    mouth = Mouth()
    ear = Ear()
    ear.is_connected = False
    reader = mouth.playout.attach(ear)
    mouth.playout.say_pcm(counting(8000), 8000)
    mouth.pass_time(1900)

    ear.is_connected = True
    mouth.pass_time(20)

    assert (pulled(reader, 2) == counting(320)).all()


def test_one_who_comes_while_it_drains_hears_the_rest() -> None:
    mouth = Mouth()
    ear = Ear()
    ear.is_connected = False
    reader = mouth.playout.attach(ear)
    mouth.playout.say_pcm(counting(16_000), 8000)
    mouth.pass_time(2520)
    drained_ms = mouth.playout.played_ms

    ear.is_connected = True
    mouth.pass_time(20)
    heard = pulled(reader, 1)

    assert drained_ms > 400
    assert (heard == counting(160, int(drained_ms * 8))).all()


def test_a_recorder_alone_hears_nothing_while_the_queue_waits() -> None:
    mouth = Mouth()
    recorder = mouth.playout.attach(Ear(), counts=False)
    mouth.playout.say_pcm(counting(8000), 8000)

    assert recorder.pull(960, START) is None
    mouth.pass_time(2100)

    assert recorder.pull(960, START) is not None


def test_a_paused_queue_does_not_drain() -> None:
    mouth = Mouth()
    mouth.playout.say_pcm(counting(8000), 8000)
    mouth.playout.pause()

    mouth.pass_time(5000)

    assert mouth.playout.queued_ms == 1000
    assert mouth.events == []


def test_revoked_speech_is_reported_later() -> None:
    mouth = Mouth()
    mouth.playout.say_pcm(counting(160), 8000)
    mouth.playout.mark("x")

    mouth.playout.revoke()
    assert mouth.events == []
    mouth.playout.settle()

    assert mouth.events == [Cleared(0, 20, ("x",))]


def test_frames_of_a_voice_said_at_24_khz_are_taken_as_they_are() -> None:
    playout = Playout()
    reader = playout.attach(Ear())
    sent = counting(480)

    playout.say(Voice().frame_of_pcm(sent, 24_000, START))

    assert (pulled(reader, 1, 24_000) == sent).all()
