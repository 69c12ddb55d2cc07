"""What is told for an echo of what was said, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from bench.phone_line import RATE, EchoPath, Sound, agent_words, at_level, caller_voices, to_pcm
from gateway.codec import PCMU
from gateway.media.echo import MAX_KEPT, REACH, SLACK, WINDOW, EchoWatch, find_echo
from gateway.media.frame import Voice
from gateway.media.g711 import MU_LAW

SAID: Sound = agent_words().astype(np.float32)


def shares(heard: Sound) -> list[float]:
    """Looks at a stretch of it every 0.1 s, where something is heard."""
    found = []
    for end in range(REACH, len(SAID) - SLACK, RATE // 10):
        window = heard[end - WINDOW : end]
        if np.sqrt(np.mean(window[-480:] ** 2)) > 60:
            said = np.concatenate((SAID[end - REACH + SLACK : end], np.zeros(SLACK, np.float32)))
            found.append(find_echo(window, said).share)
    return found


def echo_of(path: EchoPath) -> Sound:
    back = np.convolve(SAID, path.response())[: len(SAID)]
    late = np.zeros(len(SAID), np.float32)
    delay = path.delay_ms * RATE // 1000
    late[delay:] = back[: len(late) - delay]
    return MU_LAW.decode(MU_LAW.encode(to_pcm(late))).astype(np.float32)


@pytest.mark.parametrize("delay_ms", [0, 60, 500])
@pytest.mark.parametrize("kind", ["flat", "hybrid"])
def test_what_comes_back_is_known_for_an_echo(kind: str, delay_ms: int) -> None:
    found = shares(echo_of(EchoPath(12, delay_ms, kind)))

    assert len(found) > 50
    assert np.percentile(found, 5) > 0.8


def test_echo_is_as_late_and_as_loud_as_it_is_told() -> None:
    heard = echo_of(EchoPath(20, 200, "flat"))
    end = 3 * RATE
    said = np.concatenate((SAID[end - REACH + SLACK : end], np.zeros(SLACK, np.float32)))

    found = find_echo(heard[end - WINDOW : end], said)

    assert found.delay == pytest.approx(200 * RATE // 1000 + SLACK, abs=80)
    assert 10 * np.log10(found.gain) == pytest.approx(-20, abs=1.5)


def test_words_of_another_are_no_echo() -> None:
    voice = np.zeros(len(SAID), np.float32)
    words = np.concatenate(caller_voices()[1::3])[: len(SAID)]
    voice[: len(words)] = at_level(words, -20)

    found = shares(voice)

    assert np.median(found) < 0.3
    assert np.mean(np.array(found) > 0.55) < 0.08


def test_who_speaks_into_an_echo_is_heard() -> None:
    words = at_level(np.concatenate(caller_voices()[1::3])[: len(SAID)], -22)
    both = echo_of(EchoPath(12, 120, "hybrid"))
    both[: len(words)] += words

    assert np.median(shares(both)) < 0.35


def test_nothing_is_an_echo_of_silence() -> None:
    nothing = np.zeros(WINDOW, np.float32)

    assert find_echo(nothing, SAID[:REACH]).share == 0
    assert find_echo(SAID[:WINDOW], np.zeros(REACH, np.float32)).share == 0


def test_watch_remembers_no_more_than_it_needs() -> None:
    watch, voice = EchoWatch(), Voice()
    pcm = to_pcm(SAID[:160])

    for number in range(1000):
        watch.say(None, voice.frame(PCMU, MU_LAW.encode(pcm), 960, 1000 + number * 0.02))
        watch.hear(pcm)

    assert len(watch._said) == len(watch._heard) == MAX_KEPT
    assert len(watch.heard()) == WINDOW


def test_relayed_words_are_compared_too() -> None:
    """What goes out as it came, in G.711, was never decoded for anybody."""
    watch, voice = EchoWatch(), Voice()
    for number in range(60):
        at = number * 160
        frame = voice.frame(PCMU, MU_LAW.encode(to_pcm(SAID[at : at + 160])), 960, 1000 + at / RATE)
        watch.say(None, frame)
        heard = SAID[at - 1600 : at - 1440] if number >= 10 else np.zeros(160, np.float32)
        watch.hear(to_pcm(heard * 0.2))

    assert watch.is_heard(1000 + 59 * 160 / RATE)
    assert not watch.is_heard(1000 + 59 * 160 / RATE + 2)


def said_and_heard(times: list[float], *, listeners: int = 1) -> EchoWatch:
    """Words that go out at these times, 20 ms each, and come back 0.2 s later without a gap."""
    watch, voice = EchoWatch(), Voice()
    for number, now in enumerate(times):
        at = number * 160
        frame = voice.frame(PCMU, MU_LAW.encode(to_pcm(SAID[at : at + 160])), 960, now)
        for listener in range(listeners):
            watch.say(listener, frame)
        heard = SAID[at - 1600 : at - 1440] if number >= 10 else np.zeros(160, np.float32)
        watch.hear(to_pcm(heard * 0.2))
    return watch


def test_words_that_went_out_at_once_after_a_stall_are_still_in_a_row() -> None:
    """A hub makes up for 0.1 s: five frames go out in one tick."""
    times = [1000 + number * 0.02 for number in range(60)]
    stalled = [1000.96 if 44 <= number <= 48 else at for number, at in enumerate(times)]

    watch = said_and_heard(stalled)

    assert find_echo(watch.heard(), watch._reference(times[-1])).share > 0.9


def test_words_to_several_who_listen_are_said_once() -> None:
    times = [1000 + number * 0.02 for number in range(60)]

    watch = said_and_heard(times, listeners=3)

    assert len(watch._said) == 60
    assert watch.is_heard(times[-1])


def test_another_is_listened_to_when_the_first_has_left() -> None:
    watch, voice = EchoWatch(), Voice()

    for number in range(20):
        frame = voice.frame(PCMU, bytes(160), 960, 1000 + number * 0.02)
        watch.say("first" if number < 5 else "other", frame)

    assert len(watch._said) == 5 + 15 - 5
