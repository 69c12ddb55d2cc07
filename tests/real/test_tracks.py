"""An agent of Twilio's both_tracks: let into a call of others, and started by TwiML."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.media.tone import tone_level_dbfs
from tests.agents.wire.peer_twilio import TwilioPeer
from tests.support.agent_peer import until
from tests.support.gateway import ROOT, running_gateway
from tests.support.phone import calling
from tests.support.web_server import Asked, http, running_web_server, twiml

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


DIRECTED = """
[[agent]]
name = "ivr"
protocol = "twiml"
url = "{web}/"

[agent.settings]
trusted_urls = ["{url}"]

[[route]]
from = "sip"
match = "ivr"
to = ["agent:ivr"]
"""


def check_tracks(peer: TwilioPeer) -> None:
    """The phone's tone is on one track, and speech on the other."""
    inbound, outbound = peer.heard_on("inbound"), peer.heard_on("outbound")
    assert len(inbound) == pytest.approx(len(outbound), abs=800)
    # -12 dBFS as RMS are 3 more as the height of a sine.
    assert tone_level_dbfs(inbound[5000:10_000], 8000, 440) == pytest.approx(-9, abs=0.5)
    # Speech: loud, and no tone.
    assert max(abs(outbound[5000:10_000].astype(int))) > 3000
    assert tone_level_dbfs(outbound[5000:10_000], 8000, 440) < -40


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
        await until(lambda: len(peer.heard_on("outbound")) > 11_000)
    check_tracks(peer)


async def test_twiml_starts_a_stream_of_both_tracks(tmp_path: Path) -> None:
    peer = TwilioPeer()
    speech = http(SPEECH.read_bytes(), headers=["Content-Type: audio/wav"])
    async with peer.running() as url:

        def answer(asked: Asked) -> bytes:
            if asked.path == "/speech.wav":
                return speech
            stream = f'<Start><Stream url="{url}" track="both_tracks"/></Start>'
            return twiml(f'{stream}<Play>/speech.wav</Play><Pause length="60"/>')

        async with (
            running_web_server(answer) as web,
            running_gateway(tmp_path, DIRECTED.format(url=url, web=web.url(""))) as gateway,
            calling(gateway.sip_port, "ivr") as phone,
        ):
            phone.say_tone(440)
            await peer.connected()
            await until(lambda: len(peer.heard_on("outbound")) > 11_000)
    check_tracks(peer)
