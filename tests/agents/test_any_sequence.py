"""Whatever happens to an agent over a wire, in whatever order: nothing is left after the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.agents.event import ToolDone
from gateway.agents.protocol import AgentAddress
from gateway.agents.remote import Clip, RemoteAgent, RemoteOptions
from gateway.agents.wire import gateway as wire
from gateway.leg.leg import Ended, EndReason, Gone, ToolAsked, TransferAsked
from gateway.net.agent_connection import ConnectError
from tests.media.sound import tone
from tests.support.agent_line import Exchange
from tests.support.agents import AgentBench
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

SPEECH = tone(700, 1.0, 8000).tobytes()

CLIP = Clip(tone(400, 0.5, 16_000), 16_000)


class Scene:
    """A call with an agent, its backup, and what may happen to them."""

    def __init__(self, loop: VirtualLoop, *, is_caller: bool, is_ready: bool) -> None:
        self.exchange = Exchange(is_ready=is_ready)
        backup = self._agent("backup", ())
        agent = self._agent("sales", ("agent:backup", "+15550100"), {"backup": backup})
        self.bench = AgentBench(loop, agent, is_caller=is_caller)
        self.bench.leg.dial()
        self._done = 0

    def _agent(self, name: str, fallback: tuple[str, ...], others: Any = None) -> RemoteAgent:
        module: Any = wire
        return RemoteAgent(
            AgentAddress(name, "wss://agent.example/"),
            module,
            wire.Settings(rate=8000),
            RemoteOptions(fallback=fallback, apology=CLIP, wait_sound=CLIP),
            dial=self.exchange,
            agents=others,
        )

    def line(self, act: Callable[[Any], object]) -> None:
        if self.exchange.lines:
            act(self.exchange.line)

    def refuse(self, *, on: bool) -> None:
        self.exchange.refuses = on

    def next_fails(self, error: ConnectError | None) -> None:
        self.exchange.outcomes.append(error)

    def finish_tools(self, *, is_done: bool) -> None:
        asked = self.bench.all(ToolAsked)
        for each in asked[self._done :]:
            self.bench.leg.tool_done(ToolDone(each.id, "transfer", is_done=is_done))
        self._done = len(asked)
        if self.bench.all(TransferAsked):
            self.bench.leg.transfer_progress(486)


TRANSFER = {"to": "+15550100"}

ACTS: dict[str, Callable[[Scene], None]] = {
    "drops": lambda scene: scene.line(lambda line: line.drops()),
    "closes": lambda scene: scene.line(lambda line: line.drops(is_finished=True)),
    "ready": lambda scene: scene.line(lambda line: line.tells("ready")),
    "says": lambda scene: scene.line(lambda line: line.says(SPEECH)),
    "floods": lambda scene: scene.line(lambda line: [line.says(SPEECH) for _ in range(70)]),
    "odd": lambda scene: scene.line(lambda line: line.says(SPEECH[:321])),
    "rate": lambda scene: scene.line(lambda line: line.tells("audio", rate=24_000)),
    "mark": lambda scene: scene.line(lambda line: line.tells("mark", name="m")),
    "clear": lambda scene: scene.line(lambda line: line.tells("clear")),
    "pause": lambda scene: scene.line(lambda line: line.tells("pause")),
    "resume": lambda scene: scene.line(lambda line: line.tells("resume")),
    "garbage": lambda scene: scene.line(lambda line: line.says("{")),
    "done": lambda scene: scene.line(lambda line: line.tells("done")),
    "hangs up": lambda scene: scene.line(
        lambda line: line.tells("tool", id="h", name="hang_up", arguments={})
    ),
    "transfers": lambda scene: scene.line(
        lambda line: line.tells("tool", id="t", name="transfer", arguments=TRANSFER)
    ),
    "tools are done": lambda scene: scene.finish_tools(is_done=True),
    "tools fail": lambda scene: scene.finish_tools(is_done=False),
    "key": lambda scene: scene.bench.presses("5"),
    "far end rings": lambda scene: scene.bench.leg.progress(ringing=True, early_media=True),
    "far end answers": lambda scene: scene.bench.leg.answer(),
    "nobody is there": lambda scene: scene.refuse(on=True),
    "somebody is there": lambda scene: scene.refuse(on=False),
    "next hangs": lambda scene: scene.next_fails(None),
    "next is refused": lambda scene: scene.next_fails(ConnectError("403", is_final=True)),
    "other side leaves": lambda scene: scene.bench.leg.end(EndReason.HANGUP),
}

STEPS = st.lists(
    st.sampled_from(sorted(ACTS)) | st.sampled_from([0.0, 0.05, 0.3, 1.2, 2.5, 6.0, 11.0]),
    max_size=14,
)


@settings(max_examples=80, deadline=None)
@given(steps=STEPS, is_caller=st.booleans(), is_ready=st.booleans())
@in_virtual_time
async def test_f18_nothing_is_left_of_an_agent_whatever_has_happened(
    loop: VirtualLoop, steps: list[str | float], is_caller: bool, is_ready: bool
) -> None:
    scene = Scene(loop, is_caller=is_caller, is_ready=is_ready)

    for step in steps:
        if isinstance(step, float):
            await elapse(step)
        else:
            ACTS[step](scene)
    await scene.bench.close()

    assert all(line.is_closed for line in scene.exchange.lines)
    assert len(scene.bench.all(Ended)) <= 1
    assert len(scene.bench.all(Gone)) == 1
    timers: list[Any] = loop._scheduled  # type: ignore[attr-defined]
    assert [timer for timer in timers if not timer.cancelled()] == []
