"""`gateway call`: agents called by scripted callers, over real sockets, and judged."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from gateway.cli import main
from gateway.media.file import read_wav
from gateway.media.tone import level_dbfs, sine
from tests.support.gateway import ROOT, running_gateway
from tests.trial.sounds import write_wav

pytestmark = pytest.mark.real

PROMPTS = Path(__file__).parents[2] / "gateway/agents/receptionist"

ECHO = "sip:+15550100@127.0.0.1"

CONFIG = f"""
[sip]
listen = ["udp:0.0.0.0:5060"]

[rtp]
address = "127.0.0.1"

[[trunk]]
name = "carrier"
uri = "sip:203.0.113.9"

[[agent]]
name = "desk"
protocol = "script"
step = [
  {{ say = "{PROMPTS}/welcome.wav" }},
  {{ menu = {{ 1 = "bye", 2 = "away" }}, otherwise = "bye" }},
  {{ label = "away", refer = "+15550123" }},
  {{ label = "bye", say = "{PROMPTS}/goodbye.wav", interrupt = false }},
  {{ hang_up = true }},
]

[[agent]]
name = "echo"
protocol = "echo"

[[route]]
from = "agent:desk"
match = "+*"
to = ["trunk:carrier"]
"""


def call(
    directory: Path,
    capsys: pytest.CaptureFixture[str],
    agent: str,
    script: str,
    *more: str,
    config: str = CONFIG,
) -> tuple[int, Any]:
    """Exit status of `gateway call --json`, and what it prints."""
    (directory / "gateway.toml").write_text(config)
    (directory / "caller.toml").write_text(script)
    write_wav(directory / "words.wav", sine(700, 0.5, 8000, -12), 8000)
    status = main(
        [
            *("call", f"agent:{agent}", "--config", str(directory / "gateway.toml")),
            *("--script", str(directory / "caller.toml"), "--json", *more),
        ]
    )
    return status, json.loads(capsys.readouterr().out)


INTERRUPTS = f"""
[line]
codec = "G722"
loss = 0.02
jitter_ms = 20
echo_db = -45
seed = 5
[[step]]
interrupt = "words.wav"
after_s = 0.75
[[step]]
wait_for_silence = 3
[[step]]
digits = "1"
[[step]]
wait_for_end = 10
[expect]
answer_ms = 2000
first_audio_ms = 1000
barge_in_ms = 1000
max_silence_s = 3
digits = "1"
digits_back = ""
ended_by = "agent"
goodbye = "{PROMPTS}/goodbye.wav"
"""


def test_agent_is_interrupted_pressed_a_key_at_and_heard_to_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = call(tmp_path, capsys, "desk", INTERRUPTS, "--record", str(tmp_path / "calls"))

    (trial,) = told["trials"]
    assert [check for check in trial["checks"] if not check["passed"]] == []
    assert status == 0
    assert 0 < trial["measures"]["barge_in_ms"][0] < 1000
    assert trial["lost_packets"] > 0
    both, rate = read_wav(Path(trial["recording"]))
    assert len(both) / rate == pytest.approx(trial["measures"]["duration_s"], abs=0.3)
    assert level_dbfs(both) > -40


TRANSFERRED = """
[[step]]
interrupt = "words.wav"
after_s = 0.2
[[step]]
digits = "2"
[[step]]
wait = 1
[[step]]
say = "words.wav"
[[step]]
hang_up = true
[expect]
response_ms = 1000
ended_by = "caller"
goodbye = "whole"
"""


@pytest.mark.calm
def test_agent_that_transfers_reaches_the_lab_and_no_carrier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = TRANSFERRED.replace("[[step]]\nhang_up", "[[step]]\nwait = 0.5\n[[step]]\nhang_up")

    status, told = call(tmp_path, capsys, "desk", script)

    # What was said came back: the lab's echo is where the carrier would have been.
    (trial,) = told["trials"]
    assert [check for check in trial["checks"] if not check["passed"]] == []
    assert status == 0


SPEAKS = """
[[step]]
say = "words.wav"
[[step]]
wait = 0.5
[[step]]
hang_up = true
[expect]
response_ms = 1000
"""


@pytest.mark.calm
async def test_agent_at_a_sip_uri_is_called_like_any_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_gateway(tmp_path) as other:
        agent = f'[[agent]]\nname = "far"\nprotocol = "sip"\nuri = "{ECHO}:{other.ports["lab"]}"'
        agent += '\nsettings = { codecs = ["PCMU"], media_allow = ["127.0.0.0/8"] }'
        folder = tmp_path / "trial"
        folder.mkdir()

        status, told = await asyncio.to_thread(
            call, folder, capsys, "far", SPEAKS, config=f"{CONFIG}\n{agent}\n"
        )

    (trial,) = told["trials"]
    assert [check for check in trial["checks"] if not check["passed"]] == []
    assert status == 0


IN_VAIN = """
max_duration_s = 10
[[step]]
wait_for_speech = 0.3
[[step]]
hang_up = true
[expect]
first_audio_ms = 100
"""


REFERRED = """
[[agent]]
name = "far"
protocol = "sip"
uri = "sip:+15550106@127.0.0.1:{port}"

[agent.settings]
media_allow = ["127.0.0.0/8"]
allow_transfer = {may}

[[route]]
from = "agent:far"
match = "+15550100"
to = ["trunk:carrier"]
"""

WAITS = "[[step]]\nwait = 2" + SPEAKS


@pytest.mark.calm
@pytest.mark.parametrize("may", [True, False])
async def test_agent_at_a_sip_uri_transfers_by_refer_where_it_may(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], may: bool
) -> None:
    async with running_gateway(tmp_path) as other:
        agent = REFERRED.format(port=other.ports["lab"], may=str(may).lower())
        folder = tmp_path / "trial"
        folder.mkdir()

        _, told = await asyncio.to_thread(
            call, folder, capsys, "far", WAITS, config=f"{CONFIG}\n{agent}"
        )

    # Only who was transferred to the echo hears itself.
    (trial,) = told["trials"]
    assert (len(trial["measures"]["response_ms"]) == 1) is may


BREAKS = """
class Breaks:
    def __init__(self):
        self.calls = 0

    async def on_call(self, call):
        self.calls += 1
        async for frame in call.hear():
            if self.calls == 1:
                raise ValueError("no more")
            await call.say_frame(frame)
"""


CUTS_OFF = f"""
import asyncio
from pathlib import Path

from gateway.agents.tool import HangUp
from gateway.media.file import read_wav


class CutsOff:
    async def on_call(self, call):
        await call.say(*read_wav(Path("{PROMPTS}/goodbye.wav")))
        await asyncio.sleep(0.4)
        call.use(HangUp(after_speech=False))
        await asyncio.sleep(5)
"""


@pytest.mark.calm
@pytest.mark.parametrize("goodbye", ["whole", f"{PROMPTS}/goodbye.wav"])
def test_goodbye_that_is_cut_off_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], goodbye: str
) -> None:
    (tmp_path / "cutting.py").write_text(CUTS_OFF)
    agent = '[[agent]]\nname = "cuts"\nprotocol = "python"\nclass = "cutting:CutsOff"\n'
    script = f'[[step]]\nwait_for_end = 5\n[expect]\nended_by = "agent"\ngoodbye = "{goodbye}"\n'

    status, told = call(tmp_path, capsys, "cuts", script, config=f"{CONFIG}\n{agent}")

    failed = [c["name"] for c in told["trials"][0]["checks"] if not c["passed"]]
    assert (status, failed) == (1, ["goodbye"])


@pytest.mark.calm
def test_agent_that_raises_ends_its_own_call_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "breaking.py").write_text(BREAKS)
    agent = '[[agent]]\nname = "breaks"\nprotocol = "python"\nclass = "breaking:Breaks"\n'

    status, told = call(
        tmp_path, capsys, "breaks", SPEAKS, "--repeat", "2", config=f"{CONFIG}\n{agent}"
    )

    first, second = told["trials"]
    assert status == 1
    assert re.fullmatch(
        r"agent-failed: ValueError: no more \(breaking\.py:\d+\)", first["checks"][0]["measured"]
    )
    assert first["ended_by"] == ""
    assert second["passed"]


@pytest.mark.calm
def test_what_is_not_as_expected_is_told_to_people_programs_and_ci(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junit = tmp_path / "out.xml"

    status, told = call(tmp_path, capsys, "echo", IN_VAIN, "--junit", str(junit), "--repeat", "2")

    assert status == 1
    assert [trial["number"] for trial in told["trials"]] == [1, 2]
    failed = {c["name"]: c["measured"] for c in told["trials"][0]["checks"] if not c["passed"]}
    assert failed == {
        "call": "step 1 (wait_for_speech): the agent did not speak within 0.3 s",
        "first audio": "none",
    }
    assert ElementTree.parse(junit).getroot().get("failures") == "2"


GONE = """
[[agent]]
name = "gone"
protocol = "gateway"
url = "ws://127.0.0.1:9/who?key=secret"
"""


@pytest.mark.calm
def test_agent_that_is_not_there_is_told_with_where_it_should_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = "[[step]]\nhang_up = true\n"

    status, told = call(tmp_path, capsys, "gone", script, config=f"{CONFIG}\n{GONE}")

    assert status == 1
    why = told["trials"][0]["checks"][0]["measured"]
    assert why.startswith("agent_lost: the agent cannot be reached")
    assert why.endswith("; is it running at ws://127.0.0.1:9?")


STOPS = """
import os, signal, time


class Interrupted:
    async def on_call(self, call):
        os.kill(os.getpid(), signal.SIGINT)
        async for _ in call.hear():
            pass


class Stalls:
    async def on_call(self, call):
        time.sleep(100)
"""


@pytest.mark.calm
@pytest.mark.parametrize(
    ("kind", "status", "says"),
    [("Interrupted", 130, "gateway: interrupted"), ("Stalls", 1, "stopping.py")],
)
def test_trial_that_cannot_go_on_ends_and_says_why(
    tmp_path: Path, kind: str, status: int, says: str
) -> None:
    (tmp_path / "stopping.py").write_text(STOPS)
    agent = f'[[agent]]\nname = "stops"\nprotocol = "python"\nclass = "stopping:{kind}"\n'
    (tmp_path / "gateway.toml").write_text(agent)
    (tmp_path / "caller.toml").write_text("[[step]]\nwait = 20\n")
    code = "import gateway.trial.stall as s; s.STALLED_S = 2; from gateway.cli import main; "
    arguments = ["call", "agent:stops", "--config", "gateway.toml", "--script", "caller.toml"]

    done = subprocess.run(
        [sys.executable, "-c", f"{code}raise SystemExit(main({arguments!r}))"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )

    assert (done.returncode, says in done.stderr) == (status, True), done.stderr


@pytest.mark.calm
def test_call_that_lasts_too_long_is_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = "max_duration_s = 1\n[[step]]\nwait = 100\n"

    status, told = call(tmp_path, capsys, "echo", script)

    assert status == 1
    assert told["trials"][0]["checks"][0]["measured"] == "lasted longer than 1 s"


@pytest.mark.calm
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["agent:waits"], "agent:waits dials the gateway itself"),
        (["agent:ecco"], "there is no agent:ecco; did you mean 'echo'"),
        (["agent:echo", "--script", "none.toml"], "name an existing file"),
        (["agent:echo", "--junit", "no/folder/out.xml"], "name another file"),
    ],
)
def test_what_cannot_be_called_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKEN", "secret")
    waits = '[[agent]]\nname = "waits"\nprotocol = "gateway"\ntoken_env = "TOKEN"\n'
    (tmp_path / "gateway.toml").write_text(f"{CONFIG}\n{waits}")
    (tmp_path / "caller.toml").write_text("[[step]]\nhang_up = true\n")

    status = main(["call", *arguments, "--config", "gateway.toml", "--script", "caller.toml"])

    assert status == 2
    assert says in capsys.readouterr().err
