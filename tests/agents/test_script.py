"""Scripted agents: every step, every modifier, and what is said about a script that is wrong."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gateway.agents.script
from gateway.agents.script import MAX_STEPS_DONE, Script, ScriptedAgent, load_script, parse_script
from gateway.errors import ConfigError
from gateway.lab.lab import LAB_FILE, lab_document
from gateway.leg.leg import (
    Answered,
    DigitPressed,
    Ended,
    EndReason,
    HoldAsked,
    MediaStopAsked,
    Progressed,
    TransferAsked,
)
from gateway.media.tone import tone_level_dbfs
from tests.media.sound import speechlike, tone
from tests.support.agents import AgentBench
from tests.support.audio import write_wav
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

A_HZ, B_HZ = 700, 1700


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two clips of 1 s: a.wav of 700 Hz, b.wav of 1700 Hz."""
    path = tmp_path_factory.mktemp("script")
    for name, hz in (("a.wav", A_HZ), ("b.wav", B_HZ)):
        write_wav(path / name, tone(hz, 1.0, 8000).astype(float) / 32768, 8000)
    return path


def script(folder: Path, *steps: str) -> Script:
    """A script of steps as people write them, in TOML."""
    text = "\n".join(f"[[step]]\n{step}" for step in steps)
    return parse_script(tomllib.loads(text), folder / "script.toml")


def attended(loop: VirtualLoop, script: Script) -> AgentBench:
    bench = AgentBench(loop, ScriptedAgent(script))
    bench.leg.dial()
    return bench


def heard(bench: AgentBench, hz: float) -> float:
    """Seconds of a tone that the person heard."""
    pcm = bench.person.pcm
    blocks = [pcm[at : at + 160] for at in range(0, len(pcm) - 159, 160)]
    return sum(tone_level_dbfs(block, 8000, hz) > -20 for block in blocks) * 0.02


# ---- verbs


@in_virtual_time
async def test_ring_tells_that_it_rings_for_some_seconds(loop: VirtualLoop, folder: Path) -> None:
    bench = attended(loop, script(folder, "ring = 3", "answer = true", "wait = inf"))
    await elapse(10)

    assert bench.all(Progressed) == [Progressed(180, "Ringing")]
    assert bench.at(Answered) == 3.0
    await bench.close()


@in_virtual_time
async def test_ring_for_ever_never_answers(loop: VirtualLoop, folder: Path) -> None:
    bench = attended(loop, script(folder, "ring = inf", "answer = true"))
    await elapse(100)

    assert not bench.all(Answered)
    await bench.close()


@in_virtual_time
async def test_progress_then_tone_is_early_media(loop: VirtualLoop, folder: Path) -> None:
    steps = ("progress = true", "tone = 425\nfor_s = 3", "answer = true", "wait = inf")
    bench = attended(loop, script(folder, *steps))
    await elapse(5)

    assert bench.all(Progressed)[0].early_media
    assert bench.at(Answered) == pytest.approx(3.0, abs=0.041)
    assert heard(bench, 425) == pytest.approx(3.0, abs=0.041)
    await bench.close()


@in_virtual_time
async def test_tone_sounds_one_second_unless_told_otherwise(
    loop: VirtualLoop, folder: Path
) -> None:
    bench = attended(loop, script(folder, "tone = 1000", "wait = inf"))
    await elapse(3)

    assert heard(bench, 1000) == pytest.approx(1.0, abs=0.021)
    await bench.close()


@in_virtual_time
async def test_say_speaks_one_clip_after_the_other_and_the_end_hangs_up(
    loop: VirtualLoop, folder: Path
) -> None:
    bench = attended(loop, script(folder, 'say = "a.wav"', 'say = "b.wav"'))
    await elapse(3)

    assert heard(bench, A_HZ) == pytest.approx(1.0, abs=0.041)
    assert heard(bench, B_HZ) == pytest.approx(1.0, abs=0.041)
    assert bench.all(Ended) == [Ended(EndReason.HANGUP)]
    assert bench.at(Ended) == pytest.approx(2.0, abs=0.1)
    await bench.close()


@in_virtual_time
async def test_wait_lets_time_pass(loop: VirtualLoop, folder: Path) -> None:
    bench = attended(loop, script(folder, "wait = 2.5", "answer = true", "wait = inf"))
    await elapse(5)

    assert bench.at(Answered) == 2.5
    await bench.close()


@in_virtual_time
async def test_hang_up_ends_the_call_after_the_last_word(loop: VirtualLoop, folder: Path) -> None:
    steps = ('say = "a.wav"\ninterrupt = false', "hang_up = true", 'say = "b.wav"')
    bench = attended(loop, script(folder, *steps))
    await elapse(5)

    assert bench.at(Ended) == pytest.approx(1.0, abs=0.061)
    assert heard(bench, A_HZ) == pytest.approx(1.0, abs=0.041)
    assert heard(bench, B_HZ) == 0
    await bench.close()


@in_virtual_time
async def test_listen_goes_on_at_speech(loop: VirtualLoop, folder: Path) -> None:
    steps = ("answer = true", "listen = 5", "send_digits = '1'", "wait = inf")
    bench = attended(loop, script(folder, *steps))
    await elapse(2)
    assert not bench.all(DigitPressed)

    await bench.says(speechlike(0.5, 8000))

    assert bench.pressed == "1"
    await bench.close()


@in_virtual_time
async def test_listen_without_speech_goes_to_otherwise(loop: VirtualLoop, folder: Path) -> None:
    steps = (
        "listen = 5\notherwise = 'quiet'",
        "send_digits = '1'",
        "label = 'quiet'\nsend_digits = '2'",
        "wait = inf",
    )
    bench = attended(loop, script(folder, *steps))
    await elapse(10)

    assert bench.pressed == "2"
    assert bench.at(DigitPressed) == pytest.approx(5.0, abs=0.01)
    await bench.close()


@in_virtual_time
async def test_echo_says_back_until_its_time_is_over(loop: VirtualLoop, folder: Path) -> None:
    bench = attended(loop, script(folder, "echo = 1", "wait = inf"))
    await elapse(0.1)
    await bench.says(tone(1000, 3, 8000))

    assert heard(bench, 1000) == pytest.approx(0.9, abs=0.1)
    await bench.close()


@in_virtual_time
async def test_echo_ends_at_a_key_which_stays_to_be_read(loop: VirtualLoop, folder: Path) -> None:
    steps = ("echo = inf", "menu = { 5 = 'five' }", "wait = inf", "label='five'\nsend_digits='9'")
    bench = attended(loop, script(folder, *steps))
    await elapse(1)
    bench.presses("5")
    await elapse(2)

    assert bench.pressed == "9"
    await bench.close()


@in_virtual_time
async def test_echo_digits_sends_back_every_key(loop: VirtualLoop, folder: Path) -> None:
    bench = attended(loop, script(folder, "answer = true", "echo_digits = inf"))
    await elapse(1)
    bench.presses("12#")
    await elapse(2)

    assert bench.pressed == "12#"
    await bench.close()


@in_virtual_time
async def test_echo_digits_ends_with_its_time_and_no_key_stays_down(
    loop: VirtualLoop, folder: Path
) -> None:
    bench = attended(loop, script(folder, "answer = true", "echo_digits = 1"))
    await elapse(0.95)
    bench.presses("7")
    await elapse(1)

    assert bench.pressed == "7"
    assert bench.at(Ended) == pytest.approx(1.0, abs=0.041)
    await bench.close()


@in_virtual_time
async def test_send_digits_presses_keys(loop: VirtualLoop, folder: Path) -> None:
    bench = attended(loop, script(folder, "send_digits = '12w*D'"))
    await elapse(5)

    assert bench.pressed == "12*D"
    await bench.close()


@in_virtual_time
async def test_hold_asks_for_it_and_for_its_end(loop: VirtualLoop, folder: Path) -> None:
    bench = attended(loop, script(folder, "hold = 2", "send_digits = '1'", "wait = inf"))
    await elapse(5)

    asked = [(at, event.on) for at, event in bench.told if isinstance(event, HoldAsked)]
    assert asked == [(0.0, True), (2.0, False)]
    assert bench.at(Answered) == 0.0
    assert bench.at(DigitPressed) == 2.0
    await bench.close()


@in_virtual_time
async def test_refer_asks_for_a_transfer_and_waits_until_it_is_over(
    loop: VirtualLoop, folder: Path
) -> None:
    bench = attended(loop, script(folder, "refer = '+15550100'", "send_digits = '1'", "wait = inf"))
    await elapse(5)
    bench.leg.transfer_progress(100)
    bench.leg.transfer_progress(180)
    await elapse(5)
    assert not bench.all(DigitPressed)
    bench.leg.transfer_progress(486)
    await elapse(1)

    assert [str(event.target.user) for event in bench.all(TransferAsked)] == ["+15550100"]
    assert bench.at(Answered) == 0.0
    assert bench.pressed == "1"
    await bench.close()


@in_virtual_time
async def test_refer_that_failed_goes_to_otherwise(loop: VirtualLoop, folder: Path) -> None:
    steps = (
        "refer = 'sales'\notherwise = 'no'",
        "send_digits = '1'",
        "label = 'no'\nsend_digits = '2'",
        "wait = inf",
    )
    bench = attended(loop, script(folder, *steps))
    await elapse(1)
    bench.leg.transfer_progress(403)
    await elapse(2)

    assert bench.pressed == "2"
    await bench.close()


@in_virtual_time
async def test_stop_media_asks_for_it_once_and_goes_on(loop: VirtualLoop, folder: Path) -> None:
    steps = ("wait = 3", "stop_media = true", "send_digits = '1'", "wait = inf")
    bench = attended(loop, script(folder, *steps))
    await elapse(5)

    assert bench.all(MediaStopAsked) == [MediaStopAsked()]
    assert bench.at(MediaStopAsked) == 3.0
    assert bench.pressed == "1"
    await bench.close()


# ---- menus, labels and loops


MENU = (
    "label = 'menu'\nmenu = { 1 = 'one', '*' = 'star' }\ntimeout_s = 4\notherwise = 'no'",
    "label = 'one'\nsend_digits = '1'",
    "wait = inf",
    "label = 'star'\nsend_digits = '2'",
    "wait = inf",
    "label = 'no'\nsend_digits = '3'",
    "wait = inf",
)


@pytest.mark.parametrize(
    ("keys", "reached", "after"),
    [("1", "1", 1.0), ("*", "2", 1.0), ("9", "3", 1.0), ("", "3", 4.0)],
)
@in_virtual_time
async def test_menu_goes_where_the_key_says(
    loop: VirtualLoop, folder: Path, keys: str, reached: str, after: float
) -> None:
    bench = attended(loop, script(folder, *MENU))
    await elapse(1)
    bench.presses(keys)
    await elapse(10)

    assert bench.pressed == reached
    assert bench.at(DigitPressed) == pytest.approx(after, abs=0.01)
    await bench.close()


@in_virtual_time
async def test_menu_waits_eight_seconds_and_goes_on_without_otherwise(
    loop: VirtualLoop, folder: Path
) -> None:
    bench = attended(loop, script(folder, "menu = { 1 = 'a' }", "label = 'a'\nsend_digits = '1'"))
    await elapse(20)

    assert bench.at(DigitPressed) == pytest.approx(8.0, abs=0.01)
    await bench.close()


@in_virtual_time
async def test_menu_may_wait_for_ever(loop: VirtualLoop, folder: Path) -> None:
    steps = ("menu = { 1 = 'a' }\ntimeout_s = inf", "label = 'a'\nsend_digits = '1'", "wait = inf")
    bench = attended(loop, script(folder, *steps))
    await elapse(100)
    assert not bench.told
    bench.presses("1")
    await elapse(1)

    assert bench.pressed == "1"
    await bench.close()


@in_virtual_time
async def test_goto_is_taken_as_often_as_it_says(loop: VirtualLoop, folder: Path) -> None:
    steps = ("label = 'again'\nsend_digits = '1'", "goto = 'again'\ntimes = 2", "wait = inf")
    bench = attended(loop, script(folder, *steps))
    await elapse(10)

    assert bench.pressed == "111"
    await bench.close()


@in_virtual_time
async def test_script_that_loops_without_waiting_ends(loop: VirtualLoop, folder: Path) -> None:
    bench = attended(loop, script(folder, "label = 'a'\nanswer = true", "goto = 'a'"))
    await elapse(1)

    assert bench.all(Ended) == [Ended(EndReason.HANGUP)]
    assert len(bench.all(Answered)) == 1
    assert MAX_STEPS_DONE >= 1000
    await bench.close()


@in_virtual_time
async def test_calls_of_one_script_do_not_share_their_counts(
    loop: VirtualLoop, folder: Path
) -> None:
    steps = ("label = 'again'\nsend_digits = '1'", "goto = 'again'\ntimes = 1", "wait = inf")
    agent = ScriptedAgent(script(folder, *steps))
    benches = [AgentBench(loop, agent), AgentBench(loop, agent)]
    for bench in benches:
        bench.leg.dial()
    await elapse(5)

    assert [bench.pressed for bench in benches] == ["11", "11"]
    for bench in benches:
        await bench.close()


# ---- interruption


@in_virtual_time
async def test_speech_interrupts(loop: VirtualLoop, folder: Path) -> None:
    bench = attended(loop, script(folder, 'say = "a.wav"', "wait = inf"))
    await elapse(0.2)
    await bench.says(speechlike(1.0, 8000))

    assert 0.2 <= heard(bench, A_HZ) <= 0.5
    await bench.close()


@in_virtual_time
async def test_key_interrupts_and_stays_to_be_read(loop: VirtualLoop, folder: Path) -> None:
    bench = attended(loop, script(folder, 'say = "a.wav"', *MENU))
    await elapse(0.3)
    bench.presses("1")
    await elapse(2)

    assert heard(bench, A_HZ) == pytest.approx(0.3, abs=0.041)
    assert bench.pressed == "1"
    await bench.close()


@in_virtual_time
async def test_nothing_interrupts_what_may_not_be_interrupted(
    loop: VirtualLoop, folder: Path
) -> None:
    bench = attended(loop, script(folder, 'say = "a.wav"\ninterrupt = false', "wait = inf"))
    await elapse(0.2)
    bench.presses("1")
    await bench.says(speechlike(1.5, 8000))

    assert heard(bench, A_HZ) == pytest.approx(1.0, abs=0.041)
    await bench.close()


@in_virtual_time
async def test_other_side_may_hang_up_in_the_middle_of_any_step(
    loop: VirtualLoop, folder: Path
) -> None:
    steps = (
        "ring = inf",
        "say = 'a.wav'",
        "tone = 440\nfor_s = 10",
        "listen = inf",
        "menu = {1='x'}\nlabel='x'",
        "echo = inf",
        "echo_digits = inf",
        "send_digits = 'wwwwww'",
        "hold = inf",
        "refer = 'sales'",
        "wait = inf",
    )
    for step in steps:
        bench = attended(loop, script(folder, step))
        await elapse(0.5)
        await bench.close()

        assert not bench.all(Ended), step


# ---- what is wrong with a script


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("dance = true", ["step 1", "'dance'", "verbs are ring, progress"]),
        ("answer = false", ["step 1", "answer = False", "true"]),
        ("progress = 1", ["step 1", "progress = 1", "true"]),
        ("hang_up = 'yes'", ["step 1", "hang_up = 'yes'", "true"]),
        ("ring = -1", ["step 1", "ring = -1", "seconds"]),
        ("ring = true", ["step 1", "ring = True", "seconds"]),
        ("wait = 'long'", ["step 1", "wait = 'long'", "seconds"]),
        ("wait = nan", ["step 1", "wait = nan", "seconds"]),
        ("listen = []", ["step 1", "listen = []", "seconds"]),
        ("hold = 'on'", ["step 1", "hold = 'on'", "seconds"]),
        ("refer = 5", ["step 1", "refer = 5", "a number or name"]),
        ("stop_media = 3", ["step 1", "stop_media = 3", "true"]),
        ("echo = ''", ["step 1", "echo = ''", "seconds"]),
        ("echo_digits = ''", ["step 1", "echo_digits = ''", "seconds"]),
        ("tone = 5000", ["step 1", "tone = 5000", "20 to 3900"]),
        ("tone = 440\nfor_s = inf", ["step 1", "for_s = inf", "60 at most"]),
        ("say = 5", ["step 1", "say = 5", "WAV file"]),
        ("say = 'none.wav'", ["step 1", "say = 'none.wav'", "name an existing file"]),
        ("send_digits = '12x'", ["step 1", "send_digits = '12x'", "keys 0-9"]),
        ("send_digits = ''", ["step 1", "send_digits = ''", "keys 0-9"]),
        ("menu = {}", ["step 1", "menu = {}", "keys and labels"]),
        ("menu = { 12 = 'a' }", ["step 1", "menu =", "keys and labels"]),
        ("menu = { '' = 'a' }", ["step 1", "menu =", "keys and labels"]),
        ("menu = { 1 = 2 }", ["step 1", "menu =", "keys and labels"]),
        ("menu = { 1 = 'gone' }", ["step 1", "'gone'", "there are []"]),
        ("goto = 'gone'", ["step 1", "'gone'", "there are []"]),
        ("goto = 5", ["step 1", "goto = 5", "a label"]),
        ("listen = 1\notherwise = 'gone'", ["step 1", "'gone'", "there are []"]),
        ("listen = 1\notherwise = 5", ["step 1", "otherwise = 5", "a label"]),
        ("label = 'a'\ngoto = 'a'\ntimes = 0", ["step 1", "times = 0", "above 0"]),
        ("label = 'a'\ngoto = 'a'\ntimes = true", ["step 1", "times = True", "above 0"]),
        ("label = ''\nwait = 1", ["step 1", "label = ''", "a name"]),
        ("menu = {1='a'}\nlabel='a'\ntimeout_s = 'x'", ["step 1", "timeout_s = 'x'", "seconds"]),
        ("say = 'a.wav'\ninterrupt = 1", ["step 1", "interrupt = 1", "true or false"]),
        ("wait = 1\ntimeout_s = 2", ["step 1", "timeout_s goes with menu, not with wait"]),
        ("say = 'a.wav'\nfor_s = 2", ["step 1", "for_s goes with tone, not with say"]),
        ("answer = true\nwait = 1", ["step 1", "exactly one verb", "['answer', 'wait']"]),
        ("label = 'a'", ["step 1", "exactly one verb", "[]"]),
    ],
)
def test_wrong_step_is_named_with_its_value_and_the_remedy(
    folder: Path, step: str, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        script(folder, step)

    for word in [str(folder / "script.toml"), *words]:
        assert word in str(caught.value)


def test_step_is_named_by_its_number(folder: Path) -> None:
    with pytest.raises(ConfigError, match="step 3: wait = -1"):
        script(folder, "answer = true", "wait = 1", "wait = -1")


def test_label_taken_twice_is_told(folder: Path) -> None:
    with pytest.raises(ConfigError, match="step 2: label = 'a' is taken by step 1; name it"):
        script(folder, "label = 'a'\nwait = 1", "label = 'a'\nwait = 2")


@pytest.mark.parametrize(
    "document", [{}, {"step": []}, {"step": {}}, {"step": [{"wait": 1}], "stop": 1}]
)
def test_document_without_steps_is_told_what_it_wants(document: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"x\.toml: wants a list of \[\[step\]\]"):
        parse_script(document, Path("x.toml"))


def test_step_that_is_no_table_is_told() -> None:
    with pytest.raises(ConfigError, match=r"x\.toml: step 1: is not a table"):
        parse_script({"step": [5]}, Path("x.toml"))


def test_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read .*; name an existing file"):
        load_script(tmp_path / "none.toml")


@pytest.mark.parametrize("content", [b"[[step]\n", b"\xff\xfe"])
def test_file_that_is_no_toml_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=r"bad\.toml: is not TOML"):
        load_script(path)


# ---- the scripts that come with the product


def test_receptionist_can_be_loaded_and_speaks() -> None:
    path = Path(gateway.agents.script.__file__).parent / "receptionist" / "receptionist.toml"

    loaded = load_script(path)

    assert loaded.steps[-1].verb == "hang_up"
    assert all(len(clip.pcm) > clip.rate for clip in loaded.clips.values())


@in_virtual_time
async def test_receptionist_says_goodbye_to_who_never_presses_a_key(loop: VirtualLoop) -> None:
    path = Path(gateway.agents.script.__file__).parent / "receptionist" / "receptionist.toml"
    bench = attended(loop, load_script(path))

    await elapse(180)

    assert bench.all(Ended) == [Ended(EndReason.HANGUP)]
    assert np.abs(bench.person.pcm[: 8000 * 2]).max() > 1000
    await bench.close()


def test_every_script_of_the_lab_can_be_loaded() -> None:
    agents = lab_document("udp:127.0.0.1:5070")["agent"]

    scripts = [parse_script({"step": a["step"]}, LAB_FILE) for a in agents if "step" in a]

    assert len(scripts) >= 6
    assert any(math.isinf(s.value) for each in scripts for s in each.steps if s.verb == "echo")
