"""A gateway that cannot start: it says what is wrong and where, and announces nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest

from gateway.cli import main
from tests.support.gateway import ROOT, config_text

pytestmark = [pytest.mark.real, pytest.mark.beside]


async def start(directory: Path, text: str) -> tuple[int | None, str, str]:
    """What a gateway of this configuration does by itself: its exit status, and what it says."""
    config = directory / "gateway.toml"
    config.write_text(text)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "serve", "--config", str(config)),
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, said.decode(), complained.decode()


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("http", socket.SOCK_STREAM),
        ("sip", socket.SOCK_DGRAM),
        ("lab", socket.SOCK_DGRAM),
        ("webrtc", socket.SOCK_DGRAM),
    ],
)
async def test_port_in_use_is_named_and_nothing_starts(
    tmp_path: Path, key: str, kind: socket.SocketKind
) -> None:
    text, ports = config_text()
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", ports[key]))
        if kind is socket.SOCK_STREAM:
            other.listen()

        status, said, complained = await start(tmp_path, text)

    assert (status, said) == (2, "")
    assert f"gateway.toml: [{key}]" in complained
    assert str(ports[key]) in complained
    assert "Traceback" not in complained


async def test_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    text, _ = config_text()
    (tmp_path / "a.pem").write_text("no certificate")

    status, said, complained = await start(
        tmp_path, text.replace("[http]", '[http]\ncertificate = "a.pem"\nkey = "a.pem"')
    )

    assert (status, said) == (2, "")
    assert "gateway.toml: [http] certificate = " in complained


def test_check_reads_the_scripts_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(
        '[[agent]]\nname = "desk"\nprotocol = "script"\nstep = [{ say = "no.wav" }]\n'
    )

    assert main(["check", str(config)]) == 2
    assert "no.wav" in capsys.readouterr().err
