"""A flood over sockets beside a call that is up (A11), which is listened to."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from tests.real.test_attacks import STRANGER, media, request, tag_of
from tests.support.gateway import running_gateway
from tests.support.rtp import rtp_peer
from tests.support.wire import SipSocket

pytestmark = pytest.mark.real


async def test_a11_call_that_is_up_does_not_feel_a_flood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3 s of 2 000 INVITEs a second from an address that is not let in."""
    monkeypatch.setenv("GATEWAY_SIP_ALLOW", "127.0.0.1/32")

    async with running_gateway(tmp_path) as gateway, rtp_peer() as phone:
        target = ("127.0.0.1", gateway.sip_port)
        with SipSocket() as caller, SipSocket(host=STRANGER) as stranger:
            caller.send(request(caller, sdp=media(port=phone.port)), target)
            answer = await caller.receive("200")
            ack = request(caller, "ACK", to_tag=tag_of(answer), branch="ack")
            caller.send(ack, target)
            phone.say_tone(440, ("127.0.0.1", int(answer.text.split("m=audio ")[1].split()[0])))
            await phone.wait_for_packets(25)
            before = len(phone.heard)
            invite = request(stranger, call="flood", sdp=media())
            for _ in range(300):
                for _ in range(20):
                    stranger.send(invite, target)
                await asyncio.sleep(0.01)
            during = phone.heard[before:]
            caller.send(request(caller, "BYE", cseq=2, to_tag=tag_of(answer)), target)
            await caller.receive("200")

    numbers = [packet.sequence for packet in during]
    late_s = sorted(later.at - earlier.at - 0.02 for earlier, later in pairwise(during))
    assert len(during) >= 150
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert late_s[len(late_s) * 99 // 100] < 0.05
