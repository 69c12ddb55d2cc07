"""The command line, as far as nothing is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli import main

OF_EVERY_KIND = """
[[agent]]
name = "desk"
protocol = "twiml"
url = "https://agents.example/voice"

[[agent]]
name = "model"
protocol = "openai"
url = "wss://api.openai.com/v1/realtime"
token_env = "KEY"

[[agent]]
name = "hook"
protocol = "realtime-webhook"
url = "https://agents.example/incoming"
token_env = "WEBHOOK_SECRET"
settings = { agent = "model" }

[[agent]]
name = "far"
protocol = "sip"
uri = "sip:far.example"

[[agent]]
name = "waits"
protocol = "gateway"
token_env = "KEY"

[[agent]]
name = "echo"
protocol = "echo"
"""


def test_check_finds_agents_of_every_kind_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "secret")
    monkeypatch.setenv("WEBHOOK_SECRET", "whsec_c2VjcmV0")
    file = tmp_path / "gateway.toml"
    file.write_text(OF_EVERY_KIND)

    status = main(["check", str(file)])

    assert (status, capsys.readouterr().err) == (0, "")


@pytest.mark.parametrize("count", ["0", "often", "1.5", "1001"])
def test_repeating_that_is_no_count_is_told(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["call", "agent:echo", "--script", "caller.toml", "--repeat", count])

    assert "--repeat: write 1 to 1000" in capsys.readouterr().err
