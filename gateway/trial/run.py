"""`gateway call`: agents of a configuration, called by scripted callers over SIP and RTP.

    caller node ── bad line ── gateway under test ── agent
                                      └── lab: in the place of every trunk

All on loopback, whatever the configuration listens on; nothing reaches a carrier.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
import socket
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gateway.agents.agent import Agent, AgentCall
from gateway.call.events import CallDigit, CallEnded, CallEvent, LegStarted
from gateway.codec import SPEECH
from gateway.config import parse_config
from gateway.document import nearest
from gateway.errors import ConfigError, GatewayError
from gateway.lab.lab import CALLERS, LAB_FILE, LAB_SECRETS, lab_document
from gateway.leg.leg import EndReason, Phase, Role
from gateway.net.interface import is_loopback
from gateway.net.media import MediaTransport
from gateway.net.pacer import Pacer
from gateway.net.ports import RtpPortOptions
from gateway.node import Node
from gateway.options import Config, LineOptions, Listen
from gateway.sdp.crypto import SrtpPolicy
from gateway.sip.uri import Uri
from gateway.trial.caller import ScriptedCaller
from gateway.trial.carry import ImpairedMedia
from gateway.trial.judge import Told, judge, measure
from gateway.trial.line import Impairment
from gateway.trial.report import Trial
from gateway.trial.script import CODECS, RATE, CallerScript
from gateway.trunk.route import Route, Target, TargetKind
from gateway.trunk.trunk import Trunk

log = logging.getLogger(__name__)

CALLER = "caller"
"The scripted caller, among the agents of its node and the trunks of the gateway."

DIALLED = "trial"
"What it dials."

LOOPBACK = "127.0.0.1"

RINGING_S = 60.0
"An agent that has not answered by then is given up."

LOOK_S = 0.01
"How often it is looked at what the agent has still to say."

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
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Call the agent with each script, as often as asked for, one call at a time.

    Args:
        on_trial: is told of each as it ends.

    Raises:
        ConfigError: there is no such agent, or something cannot be opened.
    """
    names = [agent.name for agent in config.agents]
    if options.agent not in names:
        near = nearest(options.agent, names) or "; it has none"
        raise ConfigError(f"{config.file}: there is no agent:{options.agent}{near}")
    if options.record is not None:
        _make_folder(options.record)
    trials = []
    async with _gateway(config, options.agent, version) as (node, pacer):
        for number in range(1, options.repeat + 1):
            for script in options.scripts:
                trial = await _Call(node, pacer, options, script, number, version).run()
                trials.append(trial)
                on_trial(trial)
    return trials


@asynccontextmanager
async def _gateway(config: Config, agent: str, version: str) -> AsyncIterator[tuple[Node, Pacer]]:
    """The gateway under test, and the lab behind it."""
    loop = asyncio.get_running_loop()
    pacer = Pacer(loop)
    lab_port = _free_port()
    document = lab_document(f"udp:{LOOPBACK}:{lab_port}")
    # Whoever an agent transfers to is there, and says back what it hears.
    document["route"].append({"from": CALLERS, "match": "*", "to": ["agent:echo"]})
    lab = parse_config(document, LAB_FILE, LAB_SECRETS)
    async with (
        _open(lab, version, pacer),
        _open(_under_test(config, agent, lab_port), version, pacer) as node,
    ):
        yield node, pacer


def _under_test(config: Config, agent: str, lab_port: int) -> Config:
    """The configuration as it is, but on loopback, for the trial's caller, and with the lab."""
    lab = Uri("sip", None, host=LOOPBACK, port=lab_port)
    caller = Trunk(
        CALLER,
        Uri("sip", None, host=LOOPBACK, port=9),  # it is never called: "discard"
        allow=(ipaddress.ip_network("127.0.0.0/8"),),
        media_allow=(ipaddress.ip_network("127.0.0.0/8"),),
        codecs=tuple(SPEECH[name] for name in CODECS),
        probe_s=0,
    )
    listen, rtp = LOOPBACK, RtpPortOptions(LOOPBACK, first_port=40_000, last_port=44_999)
    called = config.sip_agents.get(agent)
    if called is not None and not is_loopback(called.uri.host):
        # What is elsewhere cannot be spoken to from loopback.
        listen, rtp = "0.0.0.0", config.rtp  # noqa: S104 - the caller alone is let in
    route = Route((f"trunk:{CALLER}",), DIALLED, ((Target(TargetKind.AGENT, agent),),))
    return replace(
        config,
        drain_s=0,
        max_cpu=0,
        http=None,
        webrtc=None,
        turn=None,
        lab=None,
        lines=LineOptions(),
        sip=replace(
            config.sip,
            listen=(Listen("udp", listen, 0),),
            allow=(),
            max_cps=None,
            domains=(),
        ),
        rtp=rtp,
        trunks=(caller, *(_in_the_lab(trunk, lab) for trunk in config.trunks)),
        routes=(route, *config.routes),
    )


def _in_the_lab(trunk: Trunk, lab: Uri) -> Trunk:
    return replace(
        trunk,
        uri=lab,
        proxy=None,
        registrations=(),
        username=None,
        password=None,
        srtp=SrtpPolicy.OFF,
        probe_s=0,
        allow=(),
    )


def _caller_document(port: int, codec: str) -> dict[str, Any]:
    """The configuration of the caller's node."""
    return {
        "node": {"name": "caller", "max_cpu": 0, "drain_s": 0},
        "http": {"listen": ""},
        "webrtc": {"listen": ""},
        "sip": {"listen": [f"udp:{LOOPBACK}:0"]},
        "rtp": {"ports": "45000-49999"},
        "trunk": [
            {
                "name": "gateway",
                "uri": f"sip:{LOOPBACK}:{port}",
                "codecs": [codec],
                "media_allow": ["0.0.0.0/0"],
                "probe_s": 0,
            }
        ],
        "agent": [{"name": CALLER, "protocol": "echo"}],
        "route": [
            {"from": "api", "match": CALLER, "to": [f"agent:{CALLER}"]},
            {"from": "api", "match": DIALLED, "to": ["trunk:gateway"]},
        ],
    }


@asynccontextmanager
async def _open(config: Config, version: str, pacer: Pacer) -> AsyncIterator[Node]:
    loop = asyncio.get_running_loop()
    node = Node(config, version=version, loop=loop, pacer=pacer, certificate=None)
    try:
        yield node
    finally:
        await node.close()


class _Overheard:
    """The agent under test, with an eye on what it leaves unsaid."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.unsaid_ms: float | None = None

    async def on_call(self, call: AgentCall) -> None:
        loop = asyncio.get_running_loop()
        watching = loop.create_task(self._watch(call, loop))
        try:
            await self.agent.on_call(call)
            await call.played()
            self.unsaid_ms = 0.0
        finally:
            watching.cancel()

    async def _watch(self, call: AgentCall, loop: asyncio.AbstractEventLoop) -> None:
        """Once the agent has left its queue is empty, whatever was in it: look all the time."""
        queued_ms, looked_at = 0.0, loop.time()
        try:
            while True:
                queued_ms, looked_at = call.queued_ms, loop.time()
                await asyncio.sleep(LOOK_S)
        finally:
            if self.unsaid_ms is None:
                self.unsaid_ms = max(0.0, queued_ms - 1000 * (loop.time() - looked_at))


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
        self._number = number
        self._version = version
        self._loop = asyncio.get_running_loop()
        self._told = Told(called_at=self._loop.time())
        self._ended: asyncio.Future[CallEnded] = self._loop.create_future()
        self._callers_leg = ""

    async def run(self) -> Trial:
        script, told = self._script, self._told
        # Each repetition has losses of its own, and every run of the bench the same.
        draw = random.Random(script.line.seed * 1000 + self._number)  # noqa: S311 - no secret
        caller = ScriptedCaller(script, told, loop=self._loop, chance=draw.random)
        up, down = (Impairment(script.line, draw.random) for _ in range(2))
        addresses = (address for _, address in self._node.sip_addresses)
        port = next(port for host, port in addresses if host == LOOPBACK)
        document = _caller_document(port, script.line.codec)
        stop = self._node.observe(self._on_event)
        name, agents = self._options.agent, self._node.parties.agents
        agent = agents.get(name)
        if agent is not None:
            agents[name] = watched = _Overheard(agent)
        try:
            config = parse_config(document, Path("caller"), {})
            async with _open(config, self._version, self._pacer) as node:
                if not (up.is_perfect and down.is_perfect):
                    node.parties.carry = lambda media: _impaired(media, up, down, self._loop)
                await self._place(node, caller)
        finally:
            stop()
            if agent is not None:
                agents[name], told.unsaid_ms = agent, watched.unsaid_ms
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
                told.failure = f"lasted longer than {longest_s:g} s" if is_up else "not answered"
                node.hang_up(call.id)
            ended = await self._ended
            if told.answered_at is None and not told.failure:
                told.failure = f"not answered: {ended.status} {ended.text}".rstrip()
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
            case CallEnded(reason=reason, text=text) if reason in _BROKEN:
                self._told.failure = self._told.failure or f"{reason.value}: {text}".rstrip(": ")

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


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
