"""An agent that leaves turns to the gateway, over real sockets and a line that echoes and loses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import main
from tests.support.gateway import ROOT

pytestmark = pytest.mark.real

AGENT = f"""
[[agent]]
name = "talker"
protocol = "script"
step = [
  {{ say = "{ROOT}/gateway/lab/prompts/speech.wav", interrupt = false }},
  {{ wait = 20 }},
]
vad = "energy"
barge_in = "clear"
"""

INTERRUPTS = f"""
[line]
loss = 0.01
jitter_ms = 20
echo_db = -14
echo_delay_ms = 250
noise_dbfs = -55
[[step]]
wait = 4
[[step]]
interrupt = "{ROOT}/gateway/agents/receptionist/hours.wav"
after_s = 0.5
[[step]]
hang_up = true
[expect]
barge_in_ms = 900
"""


def test_agent_speaks_on_through_its_echo_and_is_silenced_by_a_voice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gateway.toml").write_text(AGENT)
    (tmp_path / "caller.toml").write_text(INTERRUPTS)
    config, script = str(tmp_path / "gateway.toml"), str(tmp_path / "caller.toml")

    status = main(["call", "agent:talker", "--config", config, "--script", script, "--json"])

    (trial,) = json.loads(capsys.readouterr().out)["trials"]
    assert [check for check in trial["checks"] if not check["passed"]] == []
    assert status == 0
    assert 3.5 < trial["measures"]["agent_spoke_s"] < 7, "until somebody spoke"
    assert trial["lost_packets"] > 0
