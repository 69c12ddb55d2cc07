"""baresip, a telephone of another make: speaks a file and records what it hears, with no device."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support.audio import Recording, read_wav, tone, write_wav
from tests.support.gateway import free_port

EXECUTABLE = "/usr/bin/baresip"

RATES = {"pcmu": 8000, "g722/16000/1": 16_000, "opus/48000/1": 48_000}
"Of what it says and hears, in Hz, by its words for a codec."

NUMBER = "+18885550100"
"Its own, unless it is given another; it takes no call to another."

# The player is a bridge: what was decoded is recorded on the way to it. It leads nowhere, or back
# to the microphone.
CONFIG = """
module_path /usr/lib/baresip/modules
module g711.so
module g722.so
module opus.so
module aufile.so
module aubridge.so
module sndfile.so
module srtp.so
module_app account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{keys}
sip_listen 127.0.0.1:{port}
net_interface 127.0.0.1
rtp_ports {rtp_port}-{rtp_last}
audio_source {source}
audio_player aubridge,ear
audio_alert aubridge,bell
snd_path {directory}
opus_stereo no
opus_sprop_stereo no
"""


def free_sip_port() -> int:
    """A port of loopback free for UDP and TCP; and the next is, which baresip takes for TLS."""
    while True:
        port = free_port()
        try:
            for each in (port, port + 1):
                with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                    probe.bind(("127.0.0.1", each))
        except (OSError, OverflowError):
            continue
        return port


@dataclass(frozen=True, slots=True)
class Registration:
    """Who a telephone registers as, and where."""

    user: str
    password: str
    registrar: str
    "HOST:PORT."
    transport: str = "udp"
    ca: Path | None = None
    "Over TLS: who vouches for the registrar."
    media_encryption: str = ""
    "Of its media, in baresip's words: srtp, srtp-mand, srtp-mandf."
    codec: str = "pcmu"
    "The only one it speaks, as in `RATES`. Linphone: of its `CODECS`."

    @property
    def account(self) -> str:
        """As a line of baresip's accounts."""
        return (
            f"<sip:{self.user}@{self.registrar};transport={self.transport}>;regint=60"
            f";auth_user={self.user};auth_pass={self.password};answermode=auto"
            f";audio_codecs={self.codec}"
            f"{_encryption(self.media_encryption)}\n"
        )


class Baresip:
    """A running baresip, which takes any call at once."""

    def __init__(
        self, process: asyncio.subprocess.Process, directory: Path, keys: int, codec: str
    ) -> None:
        """`keys`: port of loopback where its keys are pressed."""
        self.rate = RATES[codec]
        self.process = process
        self._directory = directory
        self._keys = keys

    @property
    def log(self) -> str:
        """What it said so far."""
        return (self._directory / "log.txt").read_bytes().decode(errors="replace")

    async def wait_for_log(self, text: str, count: int = 1) -> None:
        """Until it has said something so many times."""
        try:
            async with asyncio.timeout(15):
                while self.log.count(text) < count:
                    assert self.process.returncode is None, self.log
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"baresip never said {text!r}:\n{self.log}") from None

    async def press(self, command: str, value: str = "") -> None:
        """Have it dial, hangup, hold, resume or transfer."""
        asked = json.dumps({"command": command, "params": value}).encode()
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._keys)
            with closing(writer):
                writer.write(b"%d:%b," % (len(asked), asked))
                while not (told := await _read_netstring(reader)).get("response"):
                    pass  # of what happens to its calls it tells here too
        assert told["ok"], told

    async def wait_for_audio(self, seconds: float) -> None:
        """Until it has heard so much."""
        async with asyncio.timeout(15 + seconds):
            while self._heard_bytes() < 2 * self.rate * seconds:
                await asyncio.sleep(0.05)

    async def listen(self, seconds: float) -> Recording:
        """What it hears from now on in the call that began last; less, if it hears nothing.

        After a hold of its own it records nothing more, although it hears.
        """
        file = max(self._directory.glob("dump-*-dec.wav"))
        start, size = file.stat().st_size, 2 * int(self.rate * seconds)
        async with asyncio.timeout(15 + seconds):
            while file.stat().st_size < start + size:
                await asyncio.sleep(0.02)
        # How long it is, its header says only when the call is over.
        pcm = np.frombuffer(file.read_bytes()[start : start + size], "<i2")
        return Recording(pcm.astype(np.float64) / 32768, self.rate)

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
    directory: Path,
    *,
    port: int | None = None,
    says_hz: float | None,
    dials: str | None = None,
    number: str = NUMBER,
    codec: str = "pcmu",
    registration: Registration | None = None,
    media_encryption: str = "",
) -> AsyncIterator[Baresip]:
    """Start it; it takes SIP when this returns, and is registered if it is to be.

    Args:
        directory: of this one alone.
        port: of loopback, for SIP; None is a free one.
        says_hz: the tone it says; None: it says what it hears.
        dials: whom it calls at once; None: it waits for calls.
        number: its own.
        codec: the only one it speaks, as in `RATES`, if it does not register.
        registration: None: it is called at its port, as anybody.
        media_encryption: of who does not register, as in `Registration`.
    """
    port = port or free_sip_port()
    account = (
        f"<sip:{number}@127.0.0.1:{port}>;regint=0;answermode=auto;audio_codecs={codec}"
        f"{_encryption(media_encryption)}\n"
    )
    ca = None
    if registration is not None:
        account, ca, codec = registration.account, registration.ca, registration.codec
    keys = _configure(directory, port, says_hz, account, ca, RATES[codec])
    with (directory / "log.txt").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            EXECUTABLE,
            *("-f", str(directory), "-v"),
            *(() if dials is None else ("-e", f"/dial {dials}")),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    baresip = Baresip(process, directory, keys, codec)
    try:
        await baresip.wait_for_log("baresip is ready")
        if registration is not None:
            await baresip.wait_for_log("[1 binding]")
        yield baresip
    finally:
        await baresip.quit()


def _encryption(kind: str) -> str:
    return f";mediaenc={kind}" if kind else ""


def _configure(
    directory: Path,
    port: int,
    says_hz: float | None,
    account: str,
    ca: Path | None,
    rate: int,
) -> int:
    """Write its files; the port where its keys are pressed."""
    directory.mkdir()
    source = "aubridge,ear"
    if says_hz is not None:
        speech = write_wav(directory / "says.wav", tone(says_hz, 60, rate=rate), rate)
        source = f"aufile,{speech}"
    rtp_port = free_port() // 2 * 2
    keys = free_port(socket.SOCK_STREAM)
    config = CONFIG.format(
        port=port,
        keys=keys,
        rtp_port=rtp_port,
        rtp_last=min(rtp_port + 40, 65_535),
        source=source,
        directory=directory,
    )
    if ca is not None:
        config += f"sip_cafile {ca}\n"
    (directory / "config").write_text(config)
    (directory / "accounts").write_text(account)
    return keys


async def _read_netstring(reader: asyncio.StreamReader) -> dict[str, object]:
    size = int((await reader.readuntil(b":"))[:-1])
    told: dict[str, object] = json.loads((await reader.readexactly(size + 1))[:-1])
    return told
