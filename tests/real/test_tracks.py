"""An agent of Twilio's both_tracks, let into a call of a phone and another agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.media.tone import tone_level_dbfs
from tests.agents.wire.peer_twilio import TwilioPeer
from tests.support.agent_peer import until
from tests.support.gateway import ROOT, running_gateway
from tests.support.phone import calling

pytestmark = pytest.mark.real

AGENTS = """
[[agent]]
name = "tape"
protocol = "twilio"
url = "{url}"

[agent.settings]
track = "both_tracks"

[[agent]]
name = "speaker"
protocol = "script"
step = [{{ say = "{speech}", interrupt = false }}, {{ wait = 60 }}]

[[route]]
from = "sip"
match = "speaker"
to = ["agent:speaker"]

[[route]]
from = "api"
match = "tape"
to = ["agent:tape"]
"""

SPEECH = ROOT / "gateway/agents/receptionist/welcome.wav"


async def test_each_side_of_a_call_comes_on_its_track(tmp_path: Path) -> None:
    peer = TwilioPeer()
    async with (
        peer.running() as url,
        running_gateway(tmp_path, AGENTS.format(url=url, speech=SPEECH)) as gateway,
        calling(gateway.sip_port, "speaker") as phone,
    ):
        phone.say_tone(440)
        (call,) = (await gateway.get("/v1/calls"))["calls"]
        wish = {"to": "tape", "hears": ["caller"], "heard_by": []}
        status, told = await gateway.request("POST", f"/v1/calls/{call['id']}/legs", wish)
        assert status == 200, told
        await peer.connected()
        await until(lambda: len(peer.heard_on("outbound")) > 16_000)

        inbound, outbound = peer.heard_on("inbound"), peer.heard_on("outbound")

    assert len(inbound) == pytest.approx(len(outbound), abs=800)
    # -12 dBFS as RMS are 3 more as the height of a sine.
    assert tone_level_dbfs(inbound[4000:12_000], 8000, 440) == pytest.approx(-9, abs=0.5)
    # Speech: loud, and no tone.
    assert max(abs(outbound[4000:12_000].astype(int))) > 3000
    assert tone_level_dbfs(outbound[4000:12_000], 8000, 440) < -40
