"""`gateway call`: agents of a configuration, called by scripted callers over SIP and RTP.

caller node ── bad line ── gateway under test ── agent
                                  └── lab: in the place of every trunk
"""

from __future__ import annotations

import asyncio
import random
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from gateway.call.events import CallDigit, CallEnded, CallEvent, LegStarted
from gateway.config import parse_config
from gateway.errors import ConfigError, GatewayError
from gateway.leg.leg import EndReason, Phase, Role
from gateway.net.media import MediaTransport
from gateway.net.pacer import Pacer
from gateway.node import Node
from gateway.options import Config
from gateway.trial.caller import ScriptedCaller
from gateway.trial.carry import ImpairedMedia
from gateway.trial.ear import tail_share
from gateway.trial.judge import Told, judge, measure
from gateway.trial.line import Impairment
from gateway.trial.overheard import Overheard
from gateway.trial.report import Trial
from gateway.trial.script import RATE, CallerScript
from gateway.trial.stage import (
    CALLER,
    DIALLED,
    LOOPBACK,
    caller_document,
    check_callable,
    open_gateway,
    open_node,
)

RINGING_S = 30.0
"An agent that has not answered by then is given up."

AT_THE_END_S = 1.0
"An agent that left so long before the call was over had its last word before others spoke."

OWN_END_S = 1.5
"What is heard after the last words, and the line's delay."

_BROKEN = frozenset({EndReason.AGENT_FAILED, EndReason.AGENT_LOST})


@dataclass(frozen=True, slots=True)
class TrialOptions:
    """What the command line asks for."""

    agent: str
    scripts: tuple[CallerScript, ...]
    repeat: int = 1
    record: Path | None = None
    "Folder for a WAV file of each call: left the caller, right the agent."


async def run_trials(
    config: Config,
    options: TrialOptions,
    *,
    version: str,
    on_call: Callable[[str, int], None] = lambda script, number: None,
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Call the agent with each script, as often as asked for, one call at a time.

    Args:
        on_call: is told of each call as it begins.
        on_trial: is told of each as it ends.

    Raises:
        ConfigError: there is no such agent, it cannot be called so, or something cannot be opened.
    """
    check_callable(config, options.agent)
    if options.record is not None:
        _make_folder(options.record)
    trials = []
    async with open_gateway(config, options.agent, version) as (node, pacer):
        for number in range(1, options.repeat + 1):
            for script in options.scripts:
                on_call(script.name, number)
                trial = await _Call(node, pacer, options, script, number, version).run()
                trials.append(trial)
                on_trial(trial)
    return trials


class _Call:
    """One call of one script."""

    def __init__(
        self,
        node: Node,
        pacer: Pacer,
        options: TrialOptions,
        script: CallerScript,
        number: int,
        version: str,
    ) -> None:
        self._node = node
        self._pacer = pacer
        self._options = options
        self._script = script
        self._agent = next(a for a in node.config.agents if a.name == options.agent)
        self._number = number
        self._version = version
        self._loop = asyncio.get_running_loop()
        self._told = Told(called_at=self._loop.time())
        self._ended: asyncio.Future[CallEnded] = self._loop.create_future()
        self._callers_leg = ""
        self._overheard: Overheard | None = None
        self._reason = ""

    async def run(self) -> Trial:
        script, told = self._script, self._told
        # Each repetition has losses of its own, and every run of the bench the same.
        draw = random.Random(script.line.seed * 1000 + self._number)  # noqa: S311 - no secret
        caller = ScriptedCaller(script, told, loop=self._loop, chance=draw.random)
        up, down = (Impairment(script.line, draw.random) for _ in range(2))
        addresses = (address for _, address in self._node.sip_addresses)
        port = next(port for host, port in addresses if host == LOOPBACK)
        document = caller_document(port, script.line.codec)
        stop = self._node.observe(self._on_event)
        name, agents = self._options.agent, self._node.parties.agents
        agent = agents.get(name)
        if agent is not None:
            agents[name] = self._overheard = Overheard(agent)
        try:
            config = parse_config(document, Path("caller"), {})
            async with open_node(config, self._version, self._pacer) as node:
                if not (up.is_perfect and down.is_perfect):
                    node.parties.carry = lambda media: _impaired(media, up, down, self._loop)
                await self._place(node, caller)
        finally:
            stop()
            if agent is not None:
                agents[name] = agent
        self._compare_last_words(caller)
        told.lost_packets = up.lost + down.lost
        found = measure(told)
        checks = judge(script.expect, told, found)
        recording = self._record(caller)
        return Trial(script.name, self._number, name, told, found, checks, recording)

    async def _place(self, node: Node, caller: ScriptedCaller) -> None:
        told = self._told
        node.parties.agents[CALLER] = caller
        stop = node.observe(self._on_callers_event)
        try:
            told.called_at = self._loop.time()
            call = node.originate(f"agent:{CALLER}", DIALLED)
            await asyncio.wait(
                (self._ended, caller.answered),
                timeout=RINGING_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if caller.answered.done():
                await asyncio.wait((self._ended,), timeout=self._script.max_duration_s)
            if not self._ended.done():
                longest_s = self._script.max_duration_s
                is_up = caller.answered.done()
                told.failure = (
                    f"lasted longer than {longest_s:g} s"
                    if is_up
                    else f"not answered within {RINGING_S:g} s"
                )
                node.hang_up(call.id)
            ended = await self._ended
            if told.answered_at is None and not told.failure:
                told.failure = f"not answered: {ended.status} {ended.text} ({self._reason})"
        except GatewayError as error:
            told.failure = f"not called: {error}"
        finally:
            stop()

    def _on_callers_event(self, event: CallEvent) -> None:
        if isinstance(event, CallEnded) and not self._ended.done():
            self._ended.set_result(event)

    def _on_event(self, event: CallEvent) -> None:
        """What the gateway under test tells."""
        match event:
            case LegStarted(role=Role.CALLER, leg=leg) if not self._callers_leg:
                self._callers_leg = leg
            case CallDigit(leg=leg, digit=digit, phase=Phase.END) if leg == self._callers_leg:
                self._told.digits += "?" if digit is None else digit.value
            case CallEnded(reason=reason, text=text):
                self._reason = reason.value
                if reason in _BROKEN and not self._told.failure:
                    self._told.failure = self._how_it_broke(reason, text)

    def _how_it_broke(self, reason: EndReason, text: str) -> str:
        raised = "" if self._overheard is None else self._overheard.broke
        why = f"{reason.value}: {text or raised}".rstrip(": ")
        parts = urlsplit(self._agent.url)
        if reason is EndReason.AGENT_LOST and parts.hostname:
            # A path may hold what is nobody's to know.
            why += f"; is it running at {parts.scheme}://{parts.netloc}?"
        return why

    def _compare_last_words(self, caller: ScriptedCaller) -> None:
        """What the agent said last, beside what was heard last."""
        told, agent = self._told, self._overheard
        if agent is None:
            return
        told.unsaid_ms = agent.unsaid_ms
        words = agent.last_words.pcm
        if (
            len(words)
            and agent.left_at is not None
            and (told.ended_at - agent.left_at < AT_THE_END_S)
        ):
            # Not before: it may have said the same then.
            heard = caller.ear.heard[-len(words) - round(OWN_END_S * RATE) :]
            told.last_words_share = tail_share(heard, words, RATE)

    def _record(self, caller: ScriptedCaller) -> str:
        folder = self._options.record
        if folder is None:
            return ""
        path = folder / f"{self._script.name}-{self._number}.wav"
        said, heard = caller.said, caller.ear.heard
        size = max(len(said), len(heard))
        sides = [np.pad(side, (0, size - len(side))) for side in (said, heard)]
        with wave.open(str(path), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(np.column_stack(sides).astype("<i2").tobytes())
        return str(path)


def _impaired(
    media: MediaTransport, up: Impairment, down: Impairment, loop: asyncio.AbstractEventLoop
) -> MediaTransport:
    return ImpairedMedia(media, up, down, loop)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--record {folder}: cannot be made ({error.strerror}); name another folder"
        ) from None
