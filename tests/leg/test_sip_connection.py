"""A softphone whose WebSocket closes: a tab that was shut says no goodbye; others come back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.leg.leg import Answered, Ended, EndReason, Gone, LegEvent, Progressed
from gateway.leg.sip import RETURN_S
from gateway.leg.watch import LOOK_S, WatchOptions
from gateway.rtp.packet import RtpPacket, build_rtp
from gateway.sip.endpoint import EndpointOptions
from gateway.sip.flow import Flow
from gateway.sip.header import parse_address
from gateway.sip.invite import InviteRequest
from gateway.sip.message import build_response
from gateway.sip.uri import parse_uri
from tests.support.sip_legs import FAR, GATEWAY, LegBox, SipBench, sdp

CONTACT = "sip:x@a.invalid;transport=ws"
CUT_OFF_S = WatchOptions().cut_off_timeout_s


class Phone:
    """A softphone, its sockets, and a leg of ours with it."""

    def __init__(self) -> None:
        self.box: LegBox
        self.bench = SipBench(EndpointOptions(successor=lambda uri, flow: self._back))
        self._back: Flow | None = None
        self.open(1)

    def ring(self) -> None:
        """We call it, and it rings."""
        request = InviteRequest(
            target=parse_uri(CONTACT),
            from_=parse_address("<sip:+15550001@192.0.2.1>"),
            to=parse_address("<sip:ann@192.0.2.1>"),
            flow=self.bench.station.flow_to(FAR),
        )
        self.box = self.bench.new_box(request=request)
        self.box.leg.dial()
        self.bench.run(0.02)
        self.bench.answer(180)

    def answer(self) -> None:
        """It takes our call."""
        invite = self.bench.peer.request("INVITE")
        headers = [("Contact", f"<{CONTACT}>"), ("Content-Type", "application/sdp")]
        response = build_response(invite, 200, to_tag="a", headers=headers, body=sdp())
        self.bench.peer.send(self.bench.station, response)
        self.bench.run(0.02)

    def call(self) -> None:
        """It calls us, and nobody has answered yet."""
        invite = (
            "INVITE sip:bob@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/WSS a.invalid;branch=z9hG4bKx\r\n"
            "From: <sip:ann@192.0.2.1>;tag=a\r\nTo: <sip:bob@192.0.2.1>\r\nCall-ID: c\r\n"
            f"CSeq: 1 INVITE\r\nContact: <{CONTACT}>\r\nMax-Forwards: 70\r\n"
            "Content-Type: application/sdp\r\n\r\n"
        )
        self.bench.peer.send(self.bench.station, invite.encode() + sdp())
        self.bench.run(0.02)
        (self.box,) = self.bench.boxes

    def open(self, number: int) -> None:
        """It connects."""
        self._back = self.bench.station.flows[FAR] = Flow("wss", GATEWAY, FAR, number)

    def close(self) -> None:
        """Its connection is gone."""
        self._back = None
        self.bench.station.close_flow(FAR)
        self.bench.legs.connection_closed()

    def speak(self, seconds: float) -> None:
        """It is heard for so long."""
        for number in range(round(seconds / 0.02)):
            packet = RtpPacket(0, False, number, number * 160, 7, bytes(160))
            self.box.transport.on_packet(build_rtp(packet), self.bench.loop.time())
            self.bench.run(0.02)

    def news(self) -> list[LegEvent]:
        told: list[LegEvent] = [event for event in self.box.news() if not isinstance(event, Gone)]
        self.box.told.clear()
        return told


@pytest.fixture
def phone() -> Iterator[Phone]:
    made = Phone()
    yield made
    made.box.leg.end(EndReason.SHUTDOWN)
    made.bench.settle()


def test_phone_that_went_away_while_it_rang_is_rung_no_longer(phone: Phone) -> None:
    phone.ring()
    rang = phone.news()

    phone.close()
    phone.bench.run(RETURN_S - 0.1)
    before = phone.news()
    phone.bench.run(0.2)

    assert (rang, before) == ([Progressed(180, "Ringing")], [])
    assert phone.news() == [Ended(EndReason.UNREACHABLE, 480, "Temporarily Unavailable")]


def test_phone_that_rings_and_connects_anew_may_still_answer(phone: Phone) -> None:
    phone.ring()
    phone.news()

    phone.close()
    phone.bench.run(2)
    phone.open(2)
    phone.bench.run(2 * RETURN_S)
    phone.answer()

    assert phone.news() == [Answered()]


def test_caller_that_went_away_is_waited_for_no_longer(phone: Phone) -> None:
    phone.call()

    phone.close()
    phone.bench.run(RETURN_S + 0.1)

    assert phone.news() == [Ended(EndReason.LEFT)]


def test_call_of_a_phone_that_went_away_ends_long_before_its_media_is_missed(phone: Phone) -> None:
    phone.ring()
    phone.answer()
    phone.speak(5)
    phone.news()

    phone.close()
    phone.bench.run(CUT_OFF_S - LOOK_S - 0.1)
    before = phone.news()
    phone.bench.run(2 * LOOK_S + 0.2)

    assert before == []
    assert phone.news() == [Ended(EndReason.LEFT)]


def test_call_goes_on_while_its_media_does(phone: Phone) -> None:
    phone.ring()
    phone.answer()
    phone.news()

    phone.close()
    phone.speak(20)

    assert phone.news() == []


def test_phone_that_is_back_may_be_silent_like_any_other(phone: Phone) -> None:
    phone.ring()
    phone.answer()
    phone.news()

    phone.close()
    phone.bench.run(2)
    phone.open(2)
    phone.bench.run(20)

    assert phone.news() == []


def test_connections_of_others_change_nothing(phone: Phone) -> None:
    phone.ring()
    phone.news()

    phone.bench.legs.connection_closed()
    phone.bench.run(2 * RETURN_S)

    assert phone.news() == []
    phone.answer()
