"""baresip, a telephone of another make: speaks a file and records what it hears, with no device."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.audio import Recording, read_wav, tone, write_wav
from tests.support.gateway import free_port

EXECUTABLE = "/usr/bin/baresip"
RATE = 8000

NUMBER = "+18885550100"
"Its own; it takes no call to another."

# The player is a bridge that leads nowhere: what was decoded is recorded on the way to it.
CONFIG = """
module_path /usr/lib/baresip/modules
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module_app account.so
module_app menu.so
sip_listen 127.0.0.1:{port}
net_interface 127.0.0.1
rtp_ports {rtp_port}-{rtp_last}
audio_source aufile,{speaks}
audio_player aubridge,ear
audio_alert aubridge,bell
snd_path {directory}
"""

ACCOUNT = "<sip:{user}@127.0.0.1:{port}>;regint=0;answermode=auto;audio_codecs=pcmu\n"


class Baresip:
    """A running baresip, which takes any call at once."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path) -> None:
        self.process = process
        self._directory = directory

    @property
    def log(self) -> str:
        """What it said so far."""
        return (self._directory / "log.txt").read_bytes().decode(errors="replace")

    async def wait_for_log(self, text: str) -> None:
        """Until it has said something."""
        try:
            async with asyncio.timeout(15):
                while text not in self.log:
                    assert self.process.returncode is None, self.log
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"baresip never said {text!r}:\n{self.log}") from None

    async def wait_for_audio(self, seconds: float) -> None:
        """Until it has heard so much."""
        async with asyncio.timeout(15 + seconds):
            while self._heard_bytes() < 2 * RATE * seconds:
                await asyncio.sleep(0.05)

    async def quit(self) -> None:
        """Hang up, and be done."""
        if self.process.returncode is None:
            self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), 10)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    @property
    def heard(self) -> Recording:
        """What it heard; whole only once the call is over."""
        (file,) = self._directory.glob("dump-*-dec.wav")
        return read_wav(file)

    def _heard_bytes(self) -> int:
        return sum(file.stat().st_size for file in self._directory.glob("dump-*-dec.wav"))


@asynccontextmanager
async def running_baresip(
    directory: Path, *, port: int, says_hz: float, dials: str | None = None
) -> AsyncIterator[Baresip]:
    """Start it; it takes SIP when this returns.

    Args:
        directory: of this one alone.
        port: of loopback, for SIP.
        says_hz: the tone it says.
        dials: whom it calls at once; None: it waits for calls.
    """
    _configure(directory, port, says_hz)
    with (directory / "log.txt").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            EXECUTABLE,
            *("-f", str(directory), "-v"),
            *(() if dials is None else ("-e", f"/dial {dials}")),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    baresip = Baresip(process, directory)
    try:
        await baresip.wait_for_log("baresip is ready")
        yield baresip
    finally:
        await baresip.quit()


def _configure(directory: Path, port: int, says_hz: float) -> None:
    directory.mkdir()
    speaks = write_wav(directory / "says.wav", tone(says_hz, 60, rate=RATE), RATE)
    rtp_port = free_port() // 2 * 2
    (directory / "config").write_text(
        CONFIG.format(
            port=port,
            rtp_port=rtp_port,
            rtp_last=min(rtp_port + 40, 65_535),
            speaks=speaks,
            directory=directory,
        )
    )
    (directory / "accounts").write_text(ACCOUNT.format(user=NUMBER, port=port))
