"""An agent on another machine, whose packets are lost from one moment to the next (F18)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from gateway.media.tone import tone_level_dbfs
from tests.agents.wire.peer_gateway import GatewayPeer
from tests.media.sound import Pcm, frames_of, tone
from tests.real.test_lost_agent import noted
from tests.support.agent_peer import until
from tests.support.events import call_events
from tests.support.gateway import running_gateway
from tests.support.netns import TwoLinks, can_make_namespaces

pytestmark = [pytest.mark.real, pytest.mark.calm]

LINK = 1

MORE = """
[[agent]]
name = "sales"
protocol = "gateway"
url = "{sales}"
fallback = ["agent:backup"]
[agent.settings]
rate = 16000

[[agent]]
name = "backup"
protocol = "gateway"
url = "{backup}"
[agent.settings]
rate = 16000

[[agent]]
name = "caller"
protocol = "gateway"
url = "{caller}"
[agent.settings]
rate = 16000

[[route]]
from = "api"
match = "sales"
to = ["agent:sales"]

[[route]]
from = "api"
match = "caller"
to = ["agent:caller"]
"""


class Caller(GatewayPeer):
    """Remembers when it heard what."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[tuple[float, Pcm]] = []
        "With the clock of this machine, as events have it."

    async def on_message(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.pieces.append((monotonic(), np.frombuffer(message, "<i2")))
        await super().on_message(message)

    def first_sound(self, since: float, until: float) -> float | None:
        """When something was heard first."""
        heard = (at for at, pcm in self.pieces if since <= at < until and np.abs(pcm).max() > 300)
        return next(heard, None)

    def hears(self, hz: float, since: float) -> bool:
        """Whether it has heard a tone."""
        pcm = [pcm for at, pcm in self.pieces if at >= since]
        whole = np.concatenate(pcm) if pcm else np.zeros(0, np.int16)
        return any(tone_level_dbfs(piece, 16_000, hz) > -20 for piece in frames_of(whole, 1600))


@pytest.fixture
def net() -> Iterator[TwoLinks]:
    if not can_make_namespaces():
        pytest.skip("network namespaces need root, and a container that allows them")
    with TwoLinks() as net:
        yield net


async def test_f18_agent_whose_packets_are_lost_in_the_middle_of_a_word_is_replaced(
    net: TwoLinks, tmp_path: Path
) -> None:
    sales, backup, caller = GatewayPeer(), GatewayPeer(), Caller()
    async with (
        sales.running(net.listen_at_browser(f"10.77.{LINK}.2")) as url,
        backup.running() as backup_url,
        caller.running() as caller_url,
        running_gateway(
            tmp_path, MORE.format(sales=url, backup=backup_url, caller=caller_url)
        ) as gateway,
        call_events(gateway) as events,
    ):
        status, _ = await gateway.request("POST", "/v1/calls", {"from": "caller", "to": "sales"})
        assert status < 300
        await sales.connected()
        speaking = asyncio.create_task(speak(sales))
        await until(lambda: caller.hears(700, since=0.0))

        net.lose(LINK)
        gone = monotonic()
        lost = await noted(events, "lost")
        await until(lambda: backup.connections > 0, within_s=8)
        await backup.connected()
        replaced = monotonic()
        await backup.say(tone(900, 1.0, 16_000))
        await until(lambda: caller.hears(900, since=replaced))
        speaking.cancel()
        sales.drop()  # nobody would answer its goodbye

        noticed_at = float(lost["at"])  # type: ignore[arg-type]
        assert noticed_at - gone <= 10.1
        assert caller.first_sound(gone + 0.5, noticed_at) is None
        waited = caller.first_sound(noticed_at, replaced)
        assert waited is not None
        assert 0.9 < waited - noticed_at < 1.6
        assert (await noted(events, "fallback"))["data"] == {"to": "agent:backup"}
        assert replaced - noticed_at < 6.0
        assert not caller.hears(700, since=replaced)


async def speak(peer: GatewayPeer) -> None:
    """One long word, as fast as it is spoken."""
    piece = tone(700, 0.02, 16_000)
    while True:
        await peer.say(piece)
        await asyncio.sleep(0.02)
