"""A scripted caller's file: what can be written, and what is said of what cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.media.tone import sine
from gateway.trial.script import RATE, Line, load_caller, parse_caller
from tests.trial.sounds import write_wav

HANG_UP = {"hang_up": True}

SCRIPT = """
about = "Asks, interrupts, leaves."
max_duration_s = 30
[line]
codec = "PCMA"
loss = 0.02
echo_db = -20
[[step]]
wait_for_speech = 5
[[step]]
say = "question.wav"
[[step]]
interrupt = "question.wav"
after_s = 1.5
[[step]]
digits = "12w#"
[[step]]
beep = 0.5
[[step]]
hang_up = true
[expect]
first_audio_ms = 1500
digits = "12#"
goodbye = "question.wav"
ended_by = "caller"
"""


def test_script_is_read_with_what_it_speaks(tmp_path: Path) -> None:
    write_wav(tmp_path / "question.wav", sine(440, 0.5, 8000, -12), 8000)
    (tmp_path / "hours.toml").write_text(SCRIPT)

    script = load_caller(tmp_path / "hours.toml")

    assert script.name == "hours"
    assert script.line == Line("PCMA", loss=0.02, echo_db=-20)
    verbs = ["wait_for_speech", "say", "interrupt", "digits", "beep", "hang_up"]
    assert [step.verb for step in script.steps] == verbs
    assert script.steps[2].after_s == 1.5
    for sound in (script.steps[1].sound, script.steps[2].sound, script.goodbye):
        assert sound is not None
        assert len(sound) == RATE // 2
    assert (script.expect.digits, script.max_duration_s) == ("12#", 30)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, r"wants 1 to 1000 \[\[step\]\]"),
        ({"step": []}, r"wants 1 to 1000 \[\[step\]\]"),
        ({"step": [HANG_UP], "steps": 1}, "steps is no key; did you mean 'step'"),
        ({"step": [HANG_UP], "max_duration_s": 0}, "max_duration_s = 0: write seconds, 1 to"),
        ({"step": [HANG_UP], "line": 3}, r"\[line\] = 3: write it as a section"),
        ({"step": [HANG_UP], "line": {"los": 0.1}}, r"\[line\]: los is no key; .*'loss'"),
        ({"step": [HANG_UP], "line": {"loss": 2}}, "loss = 2: write a share, 0 to 0.5"),
        ({"step": [HANG_UP], "line": {"codec": "G729"}}, "codec = 'G729': write \"PCMU\" or"),
        ({"step": [HANG_UP], "expect": {"ended_by": "us"}}, "ended_by = 'us': write \"agent\" or"),
        ({"step": [HANG_UP], "expect": {"digits": "1w"}}, "digits = '1w': write keys of"),
        ({"step": [HANG_UP], "expect": {"goodbye": "no.wav"}}, "goodbye = 'no.wav': .*no.wav"),
        ({"step": ["hang_up"]}, "step 1: is not a table"),
        ({"step": [{"hangup": True}]}, "step 1: hangup is no verb; did you mean 'hang_up'"),
        ({"step": [{"wait": 1, "beep": 1}]}, "step 1: wants exactly one verb"),
        ({"step": [HANG_UP, {"wait": -1}]}, "step 2: wait = -1: write seconds"),
        ({"step": [{"wait": True}]}, "step 1: wait = True: write seconds"),
        ({"step": [{"hang_up": 1}]}, "step 1: hang_up = 1: write true"),
        ({"step": [{"beep": 1, "after_s": 1}]}, "after_s goes with interrupt, not beep"),
        ({"step": [{"say": "no.wav"}]}, "step 1: say = 'no.wav': .*cannot be read"),
        ({"step": [{"digits": "12x"}]}, "digits = '12x': write keys"),
    ],
)
def test_what_is_wrong_is_named_with_its_remedy(
    tmp_path: Path, document: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        parse_caller(document, tmp_path / "caller.toml")

    assert str(caught.value).startswith(f"{tmp_path / 'caller.toml'}: ")


@pytest.mark.parametrize(
    ("content", "says"), [(None, "name an existing file"), ("step = [", "is not TOML")]
)
def test_file_that_is_none_is_named(tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "caller.toml"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ConfigError, match=says):
        load_caller(path)
