"""What TwiML has said: a text by a local engine, or a recording of a web server or a folder."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gateway.errors import GatewayError
from gateway.media.file import parse_wav
from gateway.media.sound import Sound as Recording
from gateway.net.webhook import Web, WebRequest, form_request

SAY_S = 10.0
"An engine that takes longer for a text is broken; the caller hears nothing meanwhile."

MAX_TEXT_CHARACTERS = 4096
"Of one <Say>, as Twilio has it."

MAX_SPOKEN_BYTES = 16 * 1024 * 1024
"Of a WAV file that an engine writes: three minutes at 48 kHz."

MAX_ENGINES = 4
"Engines that run at a time: each takes a core of ours while it does."

FILE = "file:"
"Begins what names a recording of the folder of sounds."

FindSound = Callable[[str], Recording | None]
"A recording of that folder by its name; None: there is none."

Sound = tuple[NDArray[np.int16], int]
"Mono PCM and its rate."

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,2}")


def no_sound(name: str) -> None:
    """There is no such folder."""


def found_sound(find: FindSound, url: str) -> Sound:
    """What file:NAME names.

    Raises:
        SoundError: there is none.
    """
    found = find(url.removeprefix(FILE))
    if found is None:
        raise SoundError("there is no such file among the sounds")
    return found.pcm(found.rate), found.rate


class SoundError(GatewayError):
    """There is nothing to be heard; the message says why, without a text or a URL."""


class Engine:
    """A command that reads a text on its standard input and writes a WAV file."""

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)
        self._places = asyncio.Semaphore(MAX_ENGINES)

    async def speak(self, text: str, language: str = "") -> Sound:
        """
        Raises:
            SoundError: the engine fails, or takes too long.
        """
        if not _LANGUAGE.fullmatch(language):
            language = "en"
        arguments = [part.replace("{language}", language) for part in self._command]
        try:
            async with asyncio.timeout(SAY_S), self._places:
                content = await _run(arguments, text[:MAX_TEXT_CHARACTERS].encode())
            return parse_wav(content)
        except TimeoutError:
            raise SoundError("the speech engine takes too long") from None
        except OSError as error:
            raise SoundError(f"the speech engine cannot be run ({error.strerror})") from None
        except ValueError as error:
            raise SoundError(f"what the speech engine wrote {error}") from None


async def _run(arguments: list[str], text: bytes) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with contextlib.suppress(ConnectionError):
            process.stdin.write(text)
            process.stdin.close()
        content = bytearray()
        while piece := await process.stdout.read(64 * 1024):
            content += piece
            if len(content) > MAX_SPOKEN_BYTES:
                raise SoundError("the speech engine speaks too long")
        if await process.wait() != 0:
            raise SoundError("the speech engine fails")
        return bytes(content)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def fetch_sound(web: Web, url: str, token: str) -> Sound:
    """A WAV file of a web server.

    Raises:
        SoundError: it is none.
        GatewayError: the server cannot be asked.
    """
    request: WebRequest = form_request(url, (), secret=token, method="GET")
    answer = await web.ask(request)
    if not answer.is_good:
        raise SoundError(f"the web server says {answer.status}")
    try:
        return parse_wav(answer.body)
    except ValueError as error:
        raise SoundError(f"the file {error}") from None
