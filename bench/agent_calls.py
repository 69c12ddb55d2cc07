"""Calls to agents: browsers or phones at one end, an agent over a WebSocket at the other."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.agent_peer import AGENT_RATE, AgentEnd, AgentServer
from bench.generator import BenchCall, Generator
from bench.page import Page
from bench.signalling import CallSocket
from bench.sip_caller import CallingPhone, SipCaller
from bench.system import GATEWAY, System, free_port

CALLERS = ("webrtc", "g711")

CONFIG = """
[node]
max_cpu = 0
name = "bench"

[http]
listen = "127.0.0.1:{http}"

[webrtc]
listen = "127.0.0.1:{webrtc}"

[sip]
listen = ["udp:127.0.0.1:{sip}"]
allow = ["127.0.0.0/8"]

[rtp]
ports = "20000-29999"

[[agent]]
name = "bench"
protocol = "{protocol}"
url = "ws://127.0.0.1:{agent}"

[agent.settings]
{settings}

[[route]]
from = ["browser", "sip"]
match = "+*"
to = ["agent:bench"]
"""

SETTINGS = {
    "gateway": f"rate = {AGENT_RATE}",
    "openai": 'greeting = false\ninstructions = "{called}"',
}


def agent_system(protocol: str) -> tuple[System, int]:
    """The gateway with one agent, which is at the port that other systems have the carrier at.

    Returns:
        It, and the port where it takes SIP.
    """
    sip = free_port()

    def command(directory: Path, port: int, agent: int) -> list[str]:
        config = directory / "bench.toml"
        config.write_text(
            CONFIG.format(
                http=port,
                webrtc=free_port(),
                sip=sip,
                agent=agent,
                protocol=protocol,
                settings=SETTINGS[protocol],
            )
        )
        return [sys.executable, "-m", "gateway", "serve", "--config", str(config)]

    return System("gateway", 20, command, uses_sip=True, packages=GATEWAY), sip


class AgentCall(BenchCall):
    """One call: its `phone` is the agent's end."""

    agent: AgentEnd


class AgentGenerator(Generator):
    """The calls of one gateway with agents."""

    def __init__(self, system: System, sip_port: int, server: AgentServer, caller: str) -> None:
        """`caller` is one of `CALLERS`."""
        super().__init__(system)
        self._server = server
        self._sip = SipCaller(sip_port) if caller == "g711" else None
        self.agent_calls: dict[str, AgentCall] = {}
        "By the number that was called."

    @property
    def carrier_port(self) -> int:
        """Where the system is to find its agent."""
        return self._server.port

    async def close(self) -> None:
        """End every call and close every socket."""
        await super().close()
        if self._sip is not None:
            self._sip.close()

    async def _set_up(self, number: str, socket: CallSocket) -> BenchCall:
        if self._sip is not None:
            await socket.close()
            return await self._call_by_phone(number, self._sip)
        page = Page(self.intake)
        try:
            answer = await socket.place(number, page.offer(), {})
            await page.connect(answer["sdp"])
            await socket.answered()
            end = await self._server.end_of(number)
        except BaseException:
            await page.close()
            raise
        return self._keep(AgentCall(number, page, end, socket), end)

    async def _call_by_phone(self, number: str, sip: SipCaller) -> BenchCall:
        phone = CallingPhone(self.intake)
        try:
            call = await sip.call(number, phone.phone)
            end = await self._server.end_of(number)
        except BaseException:
            await phone.close()
            raise
        return self._keep(AgentCall(number, phone, end, call), end)

    def _keep(self, call: AgentCall, end: AgentEnd) -> AgentCall:
        call.agent = end
        self.agent_calls[call.number] = call
        return call
