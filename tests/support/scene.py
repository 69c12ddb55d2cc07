"""Calls from end to end on paper: a phone, the gateway, and trunks that a test plays."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import numpy as np

from gateway.agents.agent import AgentCall
from gateway.call.call import Call, CallOptions, Errand
from gateway.call.events import CallEnded, CallEvent
from gateway.call.registry import Registry, RegistryOptions
from gateway.errors import RoutingError
from gateway.leg.agent import AgentLeg
from gateway.leg.leg import EndReason, Leg
from gateway.media.g711 import MU_LAW
from gateway.media.tone import tone_level_dbfs
from gateway.private import Private
from gateway.rtp.dtmf import DIGITS
from gateway.sip import event as sip
from gateway.sip.flow import Flow
from gateway.sip.header import parse_address
from gateway.sip.invite import InviteRequest
from gateway.sip.uri import parse_uri
from gateway.trunk.route import Plan, Target, TargetKind
from tests.media.sound import Pcm, frames_of, tone
from tests.support.agents import Attendant
from tests.support.exchange import RINGING
from tests.support.legs import plan
from tests.support.sip import Peer
from tests.support.sip_legs import GATEWAY, LegBox, SipBench, sdp

PHONE_HZ, TRUNK_HZ, AGENT_HZ = 500, 1100, 1900
Work = Callable[[AgentCall], Awaitable[None]]


class Scene:
    """A phone, the gateway with its registry, and scripted trunks `trunk:a`, `trunk:b` …"""

    def __init__(self, *groups: list[str], agent: Work | None = None) -> None:
        self.bench = bench = SipBench()
        bench.legs.on_incoming = self._on_incoming
        self.plan = plan(*groups, route=RINGING)
        self.events: list[CallEvent] = []
        self.boxes: dict[str, LegBox] = {}
        self.peers: dict[str, Peer] = {}
        self.calls = "phone"
        "What the box of who calls next is named."
        self.refuses: list[tuple[str, str]] | None = None
        "Where it is a list, no party is let dial anywhere, and who tried what is in it."
        self._agent = agent
        self._clocks: dict[str, int] = {}
        self._ids = 0
        self.registry = Registry(
            loop=bench.loop,
            pacer=bench.pacer,
            new_id=self._new_id,
            dial=self._dial,
            find_dialog=bench.legs.find_dialog,
            options=RegistryOptions(call=CallOptions(plan_for=self._plan_for)),
        )
        self.registry.observe(self.events.append)

    def call(self, offer: bytes | None = sdp(30_000), name: str = "phone") -> Call:
        """The phone calls."""
        self.calls = name
        self.bench.calling = self.bench.phone.invite(GATEWAY, offer=offer)
        self.run(0.06)
        return self.registry.calls()[-1]

    def run(self, seconds: float) -> None:
        self.bench.run(seconds)

    def respond(self, trunk: str, status: int, tag: str = "a", body: bytes = b"") -> None:
        """A trunk responds to its INVITE."""
        peer = self.peers[trunk]
        headers = [("Content-Type", "application/sdp")] if body else []
        invite = peer.request("INVITE")
        peer.respond(self.bench.station, invite, status, tag, body=body, headers=headers)
        self.run(0.06)

    def hang_up(self) -> None:
        """The phone hangs up, or gives up."""
        self.bench.calling.bye(self.bench.wire.now)
        self.run(0.06)

    def speak(self, seconds: float, **tones: float) -> None:
        """Each of the named speaks a tone, in packets of 20 ms."""
        pieces = {n: frames_of(tone(hz, seconds, 8000), 160) for n, hz in tones.items()}
        for number in range(round(seconds / 0.02)):
            for name, frames in pieces.items():
                self.packet(name, 0, MU_LAW.encode(frames[number]))
            self.run(0.02)

    def packet(self, name: str, payload_type: int, payload: bytes, step: int = 160) -> None:
        """One RTP packet arrives from somebody."""
        count = self._clocks[name] = self._clocks.get(name, 0) + 1
        ssrc = sum(map(ord, name))
        head = struct.pack("!BBHII", 0x80, payload_type, count, count * step, ssrc)
        self.boxes[name].transport.on_packet(head + payload, self.bench.loop.time())

    def press(self, name: str, digit: str, ms: int = 100) -> None:
        """Somebody presses a key, in event packets (RFC 4733)."""
        at = self._clocks.get(name, 0) + 1
        for number in range(1, ms // 20 + 4):
            duration = min(number * 160, ms * 8)
            end = 0x80 if number > ms // 20 else 0
            count = self._clocks[name] = self._clocks.get(name, 0) + 1
            head = struct.pack("!BBHII", 0x80, 101, count, at * 160, sum(map(ord, name)))
            event = struct.pack("!BBH", DIGITS.index(digit), end | 10, duration)
            self.boxes[name].transport.on_packet(head + event, self.bench.loop.time())
            self.run(0.02)

    def heard(self, name: str) -> Pcm:
        """What somebody was sent since last asked."""
        transport = self.boxes[name].transport
        audio = [packet.payload for packet in transport.packets if packet.payload_type == 0]
        transport.sent.clear()
        return np.concatenate([np.zeros(0, np.int16), *map(MU_LAW.decode, audio)])

    def hears(self, name: str) -> set[int]:
        """Which tones those were."""
        pcm = self.heard(name)
        return {
            hz
            for hz in (PHONE_HZ, TRUNK_HZ, AGENT_HZ)
            if len(pcm) and tone_level_dbfs(pcm, 8000, hz) > -25
        }

    def ended(self) -> CallEnded:
        (event,) = [event for event in self.events if isinstance(event, CallEnded)]
        return event

    def phone_got(self) -> list[int]:
        """Statuses that the phone's INVITE was given."""
        progress = [e.status for e in self.bench.phone.all(sip.Progressed) if e.status != 100]
        finals = [200 for _ in self.bench.phone.all(sip.Answered)]
        finals += [e.status for e in self.bench.phone.all(sip.Ended) if e.status and not finals]
        return progress + finals

    def close(self) -> None:
        """End it all; nothing is left."""
        for call in self.registry.calls():
            self.registry.end(call.id, EndReason.SHUTDOWN)
        self.bench.settle()
        assert self.registry.lingering == 0

    def _on_incoming(self, event: sip.Incoming) -> None:
        box = self.boxes[self.calls] = self.bench.new_box(session=event.session)
        box.leg.take_offer()
        if event.replaced is not None:
            replaced = self.bench.legs.leg_of(event.replaced)
            assert replaced is not None
            self.registry.replace(replaced.id, box.leg, "sip")
            return
        self.registry.place(
            box.leg,
            self.plan,
            caller_target="sip",
            numbers=(Private("+15550001"), Private("+15550100")),
        )

    def _plan_for(self, source: str, dialled: str) -> Plan:
        """A party may send others to trunks, by their names."""
        if self.refuses is not None:
            self.refuses.append((source, dialled))
            raise RoutingError("no route leads there")
        return plan([f"trunk:{dialled}"])

    def _dial(self, target: Target, errand: Errand) -> Leg:
        if target.kind is TargetKind.AGENT:
            assert self._agent is not None
            agent = Attendant(self._agent)
            return AgentLeg(
                self._new_id(),
                agent,
                call_id=errand.id,
                caller="",
                called=target.name,
                loop=self.bench.loop,
            )
        address = (f"192.0.2.{10 + len(self.peers)}", 5060)
        self.peers[target.name] = Peer(self.bench.wire, address)
        uri = parse_uri(f"sip:+15550100@{address[0]}")
        request = InviteRequest(
            target=uri,
            from_=parse_address("<sip:+15550001@192.0.2.1>"),
            to=parse_address(f"<{uri}>"),
            flow=Flow("udp", GATEWAY, address),
            offer=None,
            has_alternative=errand.has_alternative,
        )
        box = self.boxes[target.name] = self.bench.new_box(request=request)
        return box.leg

    def _new_id(self) -> str:
        self._ids += 1
        return f"gw-{self._ids}"


@contextmanager
def scene(*groups: list[str], agent: Work | None = None) -> Iterator[Scene]:
    """A scene that leaves nothing behind."""
    made = Scene(*groups, agent=agent)
    try:
        yield made
        made.close()
    finally:
        made.bench.loop.close()
