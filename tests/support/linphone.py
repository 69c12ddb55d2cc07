"""linphone, a softphone of another make, without its window: speaks a file, records a file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from tests.support.audio import Recording, tone, write_wav
from tests.support.baresip import Registration

EXECUTABLE = "/usr/bin/linphonec"

CODECS = {"opus": ("opus", 48_000), "g722": ("G722", 8000)}
"What it is told to speak before all else; it speaks Opus and G.711 in any case."

RATES = {"opus": 48_000, "g722": 16_000}
"Of what it says and hears then, in Hz; 8000 in G.711."

# It would name an IPv6 address for its media.
CONFIG = """
[sip]
use_ipv6=0
ipv6_migration_done=1
sip_port=-1
sip_tcp_port=-1
sip_tls_port=-1
register_only_when_network_is_up=0
verify_server_certs=1
verify_server_cn=1
root_ca={ca}
media_encryption={media_encryption}
media_encryption_mandatory={is_mandatory}
use_info={by_info}
use_rfc2833={by_events}

[video]
automatically_initiate=0
automatically_accept=0

[storage]
backend=sqlite3
uri={directory}/linphone.db

[lime]
enabled=0

[proxy_0]
reg_proxy=<sip:{registrar};transport={transport}>
reg_identity=sip:{user}@{host}
reg_expires=60
reg_sendregister=1

[auth_info_0]
username={user}
passwd={password}
"""


class Linphone:
    """A running linphonec."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path, rate: int) -> None:
        self.rate = rate
        self._process = process
        self._directory = directory
        self._recorded = directory / "heard.wav"

    @property
    def log(self) -> str:
        """What it said so far."""
        return (self._directory / "log.txt").read_bytes().decode(errors="replace")

    async def say(self, command: str) -> None:
        """Give it a command: call, pause, resume, transfer, terminate, …"""
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        await self._process.stdin.drain()

    async def wait_for_log(self, text: str, count: int = 1) -> None:
        """Until it has said something so many times."""
        try:
            async with asyncio.timeout(15):
                while self.log.count(text) < count:
                    assert self._process.returncode is None, self.log
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"linphone never said {text!r}:\n{self.log}") from None

    async def listen(self, seconds: float) -> Recording:
        """What it hears from now on; while it holds a call it hears nothing, and this fails."""
        start, size = self._recorded.stat().st_size, 2 * int(self.rate * seconds)
        async with asyncio.timeout(10 + seconds):
            while self._recorded.stat().st_size < start + size:
                await asyncio.sleep(0.02)
        pcm = np.frombuffer(self._recorded.read_bytes()[start // 2 * 2 :][:size], "<i2")
        return Recording(pcm.astype(np.float64) / 32768, self.rate)

    async def quit(self) -> None:
        """Hang up, and be done."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def running_linphone(
    directory: Path, *, registration: Registration, says_hz: float, keys_by_info: bool = False
) -> AsyncIterator[Linphone]:
    """Start it; it is about to register when this returns.

    Args:
        directory: of this one alone.
        keys_by_info: presses keys by INFO, not by RFC 4733.
        registration: of TLS the registrar is to be a name: it knows no addresses in certificates.
    """
    _configure(directory, registration, says_hz, keys_by_info=keys_by_info)
    with (directory / "log.txt").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            EXECUTABLE,
            *("-c", "linphonerc"),
            cwd=directory,
            stdin=asyncio.subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(directory), "TERM": "dumb"},
        )
    linphone = Linphone(process, directory, _rate(registration))
    try:
        for command in ("soundcard use files", "play says.wav", "record heard.wav"):
            await linphone.say(command)
        yield linphone
    finally:
        await linphone.quit()


def _rate(registration: Registration) -> int:
    return RATES.get(registration.codec, 8000)


def _configure(
    directory: Path, registration: Registration, says_hz: float, *, keys_by_info: bool
) -> None:
    directory.mkdir()
    rate = _rate(registration)
    write_wav(directory / "says.wav", tone(says_hz, 60, rate=rate), rate)
    config = CONFIG.format(
        directory=directory,
        registrar=registration.registrar,
        host=registration.registrar.partition(":")[0],
        transport=registration.transport,
        user=registration.user,
        password=registration.password,
        ca=registration.ca or "",
        by_info=int(keys_by_info),
        by_events=int(not keys_by_info),
        media_encryption="srtp" if registration.media_encryption else "none",
        is_mandatory=int(registration.media_encryption.startswith("srtp-mand")),
    )
    codec = CODECS.get(registration.codec)
    if codec is not None:
        config += "[audio_codec_0]\nmime={}\nrate={}\nchannels=1\nenabled=1\n".format(*codec)
    (directory / "linphonerc").write_text(config)
