"""Requests on their way along the hops of a destination (RFC 3263 §4.3)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.private import Secret
from gateway.sip.authenticator import Credentials
from gateway.sip.core import DATAGRAM_ONLY_S, EndpointOptions
from gateway.sip.event import (
    Acked,
    Answered,
    EndCause,
    Ended,
    Gone,
    HopAnswered,
    HopFailed,
    HopTrouble,
    Incoming,
    Progressed,
)
from gateway.sip.farewell import RETRIES_S
from gateway.sip.flow import Connect, Destination, Hop, Resolve
from gateway.sip.header import parse_address
from gateway.sip.hunt import MAX_DATAGRAM_BYTES, MAX_HOPS
from gateway.sip.invite import InviteRequest
from gateway.sip.invite_client import InviteClient
from gateway.sip.message import Request
from gateway.sip.uri import parse_uri
from tests.support.sip import ANSWER, LATENCY_S, OFFER, Peer, Station, Wire

TRUNK = Destination("trunk.example")
NONCE = 'Digest realm="trunk", nonce="n1", algorithm=SHA-256, qop="auth"'
LARGE = OFFER + b"a=x:" + b"x" * MAX_DATAGRAM_BYTES + b"\r\n"


@dataclass
class Field:
    """Our endpoint, and the hosts of a trunk, which say what the test says."""

    transport: str = "udp"
    size: int = 3
    options: EndpointOptions = field(default_factory=EndpointOptions)

    def __post_init__(self) -> None:
        self.wire = Wire()
        self.us = Station(self.wire, ("192.0.2.1", 5060), self.options)
        self.hosts = [Peer(self.wire, (f"192.0.2.{11 + n}", 5060)) for n in range(self.size)]
        self.hops = [Hop(self.transport, *host.address) for host in self.hosts]
        self.us.ways.names[TRUNK.host] = self.hops

    def call(
        self,
        offer: bytes | None = OFFER,
        password: str | None = None,
        no_response_timeout_s: float = 4.0,
        max_breadth: int | None = None,
        has_alternative: bool = False,
    ) -> InviteClient:
        request = InviteRequest(
            target=parse_uri("sip:bob@trunk.example"),
            from_=parse_address("<sip:alice@example.com>"),
            to=parse_address("<sip:bob@trunk.example>"),
            destination=TRUNK,
            offer=offer,
            credentials=Credentials("alice", Secret(password)) if password else None,
            no_response_timeout_s=no_response_timeout_s,
            max_breadth=max_breadth,
            has_alternative=has_alternative,
        )
        session = self.us.endpoint.invite(request, self.wire.now)
        self.run(2 * LATENCY_S)
        return session

    def run(self, seconds: float) -> None:
        self.wire.run(seconds)

    def say(
        self,
        host: int,
        status: int,
        tag: str | None = None,
        *,
        what: str = "INVITE",
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Answer the last request of a kind that a host got, and let that arrive."""
        peer = self.hosts[host]
        peer.respond(self.us, peer.request(what), status, tag, body=body, headers=headers)
        self.run(3 * LATENCY_S)

    def got(self, host: int) -> list[str]:
        """What a host got: methods, retransmissions once."""
        seen = {bytes(m): m for m in self.hosts[host].inbox}
        return [m.method for m in seen.values() if isinstance(m, Request)]

    def invite(self, host: int) -> Request:
        return self.hosts[host].request("INVITE")

    @property
    def troubles(self) -> list[tuple[Hop | None, HopTrouble]]:
        return [(event.hop, event.why) for event in self.us.all(HopFailed)]

    def connects(self) -> list[Hop]:
        return [each.hop for each in self.us.ways.asked if isinstance(each, Connect)]

    def settle(self) -> None:
        """Let everything run out: nothing may be left."""
        self.run(140)
        assert self.us.endpoint.is_idle
        assert len(self.us.all(Ended)) == len(self.us.all(Gone)) == 1


@pytest.fixture
def trunk() -> Field:
    return Field()


# ---- 503


@pytest.mark.rfc(3263, "4.3")
def test_f1_next_hop_is_tried_at_once_on_503(trunk: Field) -> None:
    trunk.call()
    at = trunk.wire.now

    trunk.say(0, 503, "a", headers=(("Retry-After", "30"),))
    trunk.say(1, 180, "b")

    first, second = trunk.invite(0), trunk.invite(1)
    assert trunk.wire.sent("INVITE")[1].at - at < 0.05
    assert (second.call_id, second.from_, second.cseq) == (
        first.call_id, first.from_, first.cseq,
    )  # fmt: skip
    assert second.via.branch != first.via.branch
    assert trunk.got(0) == ["INVITE", "ACK"]
    (failed,) = trunk.us.all(HopFailed)
    assert (failed.destination, failed.hop) == (TRUNK, trunk.hops[0])
    assert (failed.why, failed.retry_after_s) == (HopTrouble.OVERLOADED, 30)
    assert trunk.us.one(HopAnswered).hop == trunk.hops[1]
    assert trunk.us.one(Progressed).status == 180
    trunk.say(1, 200, "b", body=ANSWER)
    assert trunk.us.one(Answered).body == ANSWER


def test_f1_the_last_503_is_the_answer(trunk: Field) -> None:
    trunk.call()

    for host in range(3):
        trunk.say(host, 503, "a", headers=(("Retry-After", f"{host}0"),))

    ended = trunk.us.one(Ended)
    assert (ended.cause, ended.status, ended.retry_after_s) == (EndCause.REJECTED, 503, 20)
    assert [why for _, why in trunk.troubles] == [HopTrouble.OVERLOADED] * 3
    trunk.settle()


def test_f1_retry_after_is_told_though_the_hop_after_it_is_dead() -> None:
    trunk = Field(size=2)
    trunk.us.ways.dead.add(trunk.hosts[1].address)
    trunk.call()

    trunk.say(0, 503, headers=(("Retry-After", "20"),))

    ended = trunk.us.one(Ended)
    assert (ended.cause, ended.status, ended.retry_after_s) == (EndCause.TRANSPORT, 503, 20)
    trunk.settle()


def test_f1_503_after_180_goes_on_and_forgets_the_callee(trunk: Field) -> None:
    session = trunk.call()
    trunk.say(0, 180, "a")

    trunk.say(0, 503, "a")
    trunk.hosts[0].send(
        trunk.us,
        "OPTIONS sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.11;branch=z9hG4bKo;rport\r\n"
        f"From: <sip:b@b>;tag=a\r\nTo: <sip:a@a>;tag={session.id}\r\n"
        f"Call-ID: {session.call_id}\r\nCSeq: 1 OPTIONS\r\n\r\n",
    )
    trunk.run(0.1)

    assert trunk.got(1) == ["INVITE"]
    assert trunk.hosts[0].response("481 OPTIONS")


@pytest.mark.parametrize("status", [404, 408, 480, 486, 500, 502, 504, 603])
def test_f4_other_refusals_are_not_taken_to_the_next_hop(trunk: Field, status: int) -> None:
    trunk.call()

    trunk.say(0, status, "a")
    trunk.run(5)

    assert trunk.us.one(Ended).status == status
    assert trunk.got(1) == []
    assert trunk.us.one(HopAnswered).hop == trunk.hops[0]


# ---- silence


@pytest.mark.rfc(3263, "4.3")
def test_f2_next_hop_is_tried_after_4_s_of_silence(trunk: Field) -> None:
    trunk.call()
    trunk.run(20)

    assert [
        round(each.at - trunk.wire.log[0].at, 3)
        for each in trunk.wire.sent("INVITE")
        if each.target == trunk.hosts[0].address
    ] == [0, 0.5, 1.5, 3.5]
    started = [trunk.wire.log[0].at]
    for host in (1, 2):
        sent = [e.at for e in trunk.wire.sent("INVITE") if e.target == trunk.hosts[host].address]
        started.append(sent[0])
    assert [round(at - started[0], 3) for at in started] == [0, 4, 8]
    assert trunk.troubles == [(hop, HopTrouble.SILENT) for hop in trunk.hops[:2]]


def test_f2_the_last_hop_has_all_the_time(trunk: Field) -> None:
    trunk.call()
    at = trunk.wire.log[0].at

    trunk.run(60)

    ended = trunk.us.one(Ended)
    assert (ended.cause, ended.status) == (EndCause.TIMEOUT, 408)
    assert trunk.us.at(Ended) - at == pytest.approx(4 + 4 + 32)
    assert trunk.troubles[-1] == (trunk.hops[2], HopTrouble.SILENT)
    trunk.settle()


def test_f2_last_hop_has_no_more_time_where_there_is_an_alternative(trunk: Field) -> None:
    trunk.call(has_alternative=True)
    at = trunk.wire.log[0].at

    trunk.run(60)

    ended = trunk.us.one(Ended)
    assert (ended.cause, ended.status) == (EndCause.TIMEOUT, 408)
    assert trunk.us.at(Ended) - at == pytest.approx(4 + 4 + 4)
    trunk.settle()


def test_f2_late_200_after_all_hops_were_left_gets_ack_and_bye(trunk: Field) -> None:
    trunk.call(has_alternative=True)
    trunk.run(13)

    trunk.say(2, 200, "late", body=ANSWER)

    assert trunk.got(2)[-2:] == ["ACK", "BYE"]
    assert not trunk.us.all(Answered)


def test_f2_patience_can_be_chosen(trunk: Field) -> None:
    trunk.call(no_response_timeout_s=1.0)

    trunk.run(1)

    assert trunk.got(1) == ["INVITE"]


@pytest.mark.parametrize("status", [100, 180, 183])
def test_f5_a_hop_that_has_answered_is_not_left_for_its_silence(trunk: Field, status: int) -> None:
    trunk.call()

    trunk.say(0, status, None if status == 100 else "a")
    trunk.run(60)

    assert trunk.got(1) == []
    assert trunk.us.all(Ended) == []


def test_f2_late_200_of_a_hop_that_was_left_gets_ack_and_bye(trunk: Field) -> None:
    trunk.call()
    trunk.run(4)
    trunk.say(1, 180, "b")

    trunk.say(0, 200, "a", body=b"late")
    trunk.say(0, 200, "a", body=b"late")
    trunk.say(0, 200, what="BYE")
    trunk.say(1, 200, "b", body=ANSWER)

    assert trunk.got(0) == ["INVITE", "ACK", "BYE"]
    assert [m.to.tag for m in trunk.hosts[0].got("ACK")] == ["a", "a"]
    assert trunk.us.one(Answered).body == ANSWER
    assert trunk.us.all(Ended) == []
    trunk.us.one(Answered).session.bye(trunk.wire.now)
    trunk.run(0.1)
    trunk.say(1, 200, what="BYE")
    trunk.settle()


def test_f2_both_hops_may_answer_and_the_one_still_tried_is_kept(trunk: Field) -> None:
    session = trunk.call()
    trunk.run(4)

    trunk.say(1, 200, "b", body=ANSWER)
    trunk.say(0, 200, "a", body=ANSWER)

    assert trunk.got(0) == ["INVITE", "ACK", "BYE"]
    assert trunk.got(1) == ["INVITE", "ACK"]
    assert trunk.hosts[0].request("BYE").uri == "sip:a@192.0.2.11:5060"
    session.bye(trunk.wire.now)
    trunk.run(0.1)
    assert trunk.hosts[1].request("BYE").uri == "sip:b@192.0.2.12:5060"


@pytest.mark.rfc(3261, "9.1")
def test_f2_a_hop_that_rings_after_it_was_left_is_cancelled(trunk: Field) -> None:
    trunk.call()
    trunk.run(4)
    assert trunk.got(0) == ["INVITE"]

    trunk.say(0, 180, "a")
    trunk.say(0, 200, what="CANCEL")
    trunk.say(0, 487, "a")

    invite, cancel = trunk.invite(0), trunk.hosts[0].request("CANCEL")
    assert trunk.got(0) == ["INVITE", "CANCEL", "ACK"]
    assert (cancel.vias, cancel.cseq.number) == (invite.vias, invite.cseq.number)
    assert trunk.us.all(Progressed) == []
    assert trunk.got(1) == ["INVITE"]
    assert trunk.got(2) == []


def test_f2_a_hop_that_refuses_after_it_was_left_is_acknowledged(trunk: Field) -> None:
    trunk.call()
    trunk.run(4)

    trunk.say(0, 486, "a")

    assert trunk.got(0) == ["INVITE", "ACK"]
    assert trunk.us.all(Ended) == []
    trunk.say(1, 486, "b")
    trunk.settle()


# ---- dead ends


def test_f3_a_dead_hop_is_passed_at_once(trunk: Field) -> None:
    trunk.us.ways.dead.add(trunk.hosts[0].address)

    trunk.call()

    assert trunk.troubles == [(trunk.hops[0], HopTrouble.UNREACHABLE)]
    assert [each.target for each in trunk.wire.log] == [trunk.hosts[1].address]


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_f3_all_hops_dead_ends_it_in_the_same_turn(transport: str) -> None:
    trunk = Field(transport)
    trunk.us.ways.dead.update(host.address for host in trunk.hosts)
    trunk.us.ways.refusing.update((transport, host.address[0]) for host in trunk.hosts)
    at = trunk.wire.now

    trunk.us.invite(TRUNK)
    trunk.wire.flush()

    ended = trunk.us.one(Ended)
    assert (ended.cause, ended.status) == (EndCause.TRANSPORT, 503)
    assert trunk.us.at(Gone) == at
    assert trunk.troubles == [(hop, HopTrouble.UNREACHABLE) for hop in trunk.hops]
    assert trunk.wire.log == []
    assert trunk.us.endpoint.is_idle


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_f3_refused_connection_leads_to_the_next_hop(transport: str) -> None:
    trunk = Field(transport)
    trunk.us.ways.refusing.add((transport, trunk.hosts[0].address[0]))

    trunk.call()

    assert trunk.got(1) == ["INVITE"]
    via = trunk.invite(1).via
    assert via.transport == transport.upper()
    assert str(trunk.invite(1).contacts[0].uri) == f"sip:192.0.2.1:5060;transport={transport}"


def test_f3_connection_that_breaks_before_any_response_leads_to_the_next_hop() -> None:
    trunk = Field("tcp")
    trunk.call()

    trunk.us.close_flow(trunk.hosts[0].address)
    trunk.run(0.1)

    assert trunk.got(1) == ["INVITE"]
    assert trunk.troubles == [(trunk.hops[0], HopTrouble.UNREACHABLE)]


def test_f3_connection_that_does_not_come_about_is_passed_after_4_s() -> None:
    trunk = Field("tcp", size=2)
    trunk.us.ways.silent.update((hop.transport, hop.host) for hop in trunk.hops)
    trunk.call()

    trunk.run(4)
    assert trunk.connects() == trunk.hops
    trunk.run(32)

    ended = trunk.us.one(Ended)
    assert (ended.cause, ended.status) == (EndCause.TIMEOUT, 408)
    assert trunk.us.endpoint.is_idle


@pytest.mark.rfc(3263, "4.2")
def test_f3_unknown_name_ends_it_at_once(trunk: Field) -> None:
    trunk.us.ways.names[TRUNK.host] = []

    trunk.call()

    ended = trunk.us.one(Ended)
    assert (ended.cause, ended.status) == (EndCause.TRANSPORT, 503)
    assert trunk.troubles == [(None, HopTrouble.UNKNOWN)]
    assert trunk.us.endpoint.is_idle


def test_f6_a_name_is_asked_for_once_for_all_who_want_it(trunk: Field) -> None:
    endpoint = trunk.us.endpoint
    for _ in range(3):
        endpoint.invite(
            InviteRequest(
                parse_uri("sip:bob@trunk.example"),
                parse_address("<sip:a@a>"),
                parse_address("<sip:b@b>"),
                destination=TRUNK,
            ),
            trunk.wire.now,
        )

    trunk.wire.flush()

    assert [each for each in trunk.us.ways.asked if isinstance(each, Resolve)] == [Resolve(TRUNK)]
    assert trunk.connects() == trunk.hops[:1]
    assert len(trunk.wire.sent("INVITE")) == 3


def test_f6_silent_dns_is_given_up(trunk: Field) -> None:
    request = InviteRequest(
        parse_uri("sip:bob@trunk.example"),
        parse_address("<sip:a@a>"),
        parse_address("<sip:b@b>"),
        destination=TRUNK,
    )
    endpoint = trunk.us.endpoint
    endpoint.invite(request, 0.0)
    assert endpoint.take_output() == [Resolve(TRUNK)]

    endpoint.handle_timer(32.0)
    endpoint.resolved(TRUNK, trunk.hops, 33.0)

    assert endpoint.take_output() == []
    assert [type(event) for event in endpoint.take_events()] == [HopFailed, Ended, Gone]
    assert endpoint.is_idle


def test_hops_are_bounded() -> None:
    trunk = Field()
    hops = [Hop("udp", f"198.51.100.{n}", 5060) for n in range(100)]
    trunk.us.ways.names[TRUNK.host] = hops
    trunk.us.ways.dead.update((hop.host, hop.port) for hop in hops)

    trunk.call()

    assert [hop for hop, _ in trunk.troubles] == hops[:MAX_HOPS]


# ---- CANCEL


def test_s4_cancel_before_there_is_a_hop_sends_nothing(trunk: Field) -> None:
    trunk.us.ways.silent.add(("udp", trunk.hosts[0].address[0]))
    session = trunk.call()

    session.cancel(trunk.wire.now)
    trunk.run(60)

    assert trunk.us.one(Ended).cause is EndCause.LOCAL
    assert trunk.us.at(Gone) - trunk.us.at(Ended) == 0
    assert trunk.wire.log == []
    assert trunk.us.endpoint.is_idle


def test_s4_flow_that_opens_after_cancel_carries_nothing(trunk: Field) -> None:
    trunk.us.ways.silent.add(("udp", trunk.hosts[0].address[0]))
    session = trunk.call()
    session.cancel(trunk.wire.now)

    trunk.us.endpoint.flow_opened(trunk.hops[0], trunk.us.open_flow(trunk.hops[0]), trunk.wire.now)
    trunk.run(1)

    assert trunk.wire.log == []


@pytest.mark.rfc(3261, "9.1")
def test_s4_no_further_hop_is_tried_after_cancel(trunk: Field) -> None:
    session = trunk.call()
    trunk.run(1)

    session.cancel(trunk.wire.now)
    trunk.run(40)

    assert trunk.got(0) == ["INVITE"]
    assert trunk.got(1) == []
    trunk.settle()


@pytest.mark.parametrize("end", ["503", "dead"])
def test_s4_no_further_hop_is_tried_after_cancel_whatever_happens(trunk: Field, end: str) -> None:
    session = trunk.call()
    session.cancel(trunk.wire.now)

    if end == "503":
        trunk.say(0, 503, "a")
    else:
        flow = trunk.us.flow_to(trunk.hosts[0].address)
        trunk.us.endpoint.flow_failed(flow, trunk.wire.now)
    trunk.run(40)

    assert trunk.got(1) == []
    trunk.settle()


@pytest.mark.rfc(5407, "3.1.2")
def test_s3_cancel_that_crosses_the_200_of_a_second_hop_gets_ack_and_bye(trunk: Field) -> None:
    session = trunk.call()
    trunk.say(0, 503, "a")
    trunk.say(1, 180, "b")

    session.cancel(trunk.wire.now)
    trunk.say(1, 200, "b", body=ANSWER)

    assert trunk.got(1) == ["INVITE", "CANCEL", "ACK", "BYE"]
    assert trunk.us.all(Answered) == []
    trunk.settle()


def test_s5_cancelled_second_hop_without_a_final_response_is_given_up(trunk: Field) -> None:
    session = trunk.call()
    trunk.run(4)
    trunk.say(1, 180, "b")
    at = trunk.wire.now

    session.cancel(at)
    trunk.run(0.1)
    trunk.say(1, 200, what="CANCEL")
    trunk.run(40)

    assert trunk.us.at(Gone) - at == pytest.approx(32)
    assert trunk.got(2) == []
    assert trunk.us.endpoint.is_idle


@pytest.mark.rfc(3261, "13.2.2.4")
def test_s6_forks_of_two_hops_leave_one_callee(trunk: Field) -> None:
    trunk.call()
    trunk.run(4)
    trunk.say(1, 200, "b", body=ANSWER)

    trunk.say(1, 200, "c", body=ANSWER)
    trunk.say(0, 200, "a", body=ANSWER)

    assert trunk.got(1) == ["INVITE", "ACK", "ACK", "BYE"]
    assert trunk.hosts[1].request("BYE").to.tag == "c"
    assert trunk.got(0) == ["INVITE", "ACK", "BYE"]
    assert trunk.us.one(Answered).dialog_id.remote_tag == "b"


# ---- challenges


@pytest.mark.rfc(3261, "22.2")
def test_a9_challenge_is_answered_at_the_hop_that_asked(trunk: Field) -> None:
    trunk.call(password="secret")
    trunk.say(0, 503, "a")

    trunk.say(1, 401, "b", headers=(("WWW-Authenticate", NONCE),))

    first, second = trunk.hosts[1].got("INVITE")
    assert (first.cseq.number, second.cseq.number) == (1, 2)
    assert 'nonce="n1"' in (second.headers.get("Authorization") or "")
    assert trunk.got(2) == []


@pytest.mark.rfc(3263, "4.3")
def test_a9_hop_after_a_challenge_has_the_same_number(trunk: Field) -> None:
    trunk.call(password="secret")
    trunk.say(0, 401, "a", headers=(("WWW-Authenticate", NONCE),))

    trunk.say(0, 503, "a")

    assert trunk.invite(1).cseq.number == 2
    assert "nc=00000002" in (trunk.invite(1).headers.get("Authorization") or "")


def test_a9_hop_of_another_realm_gets_no_answer(trunk: Field) -> None:
    trunk.call(password="secret")
    trunk.say(0, 401, "a", headers=(("WWW-Authenticate", NONCE),))
    trunk.say(0, 503, "a")

    evil = NONCE.replace('"trunk"', '"evil"')
    trunk.say(1, 401, "b", headers=(("WWW-Authenticate", evil),))

    assert trunk.got(1) == ["INVITE", "ACK"]
    assert trunk.us.one(Ended).status == 401


def test_a9_answers_are_counted_over_all_hops(trunk: Field) -> None:
    trunk.call(password="wrong")

    for number in range(4):
        challenge = f'Digest realm="trunk", nonce="n{number}", stale=true, qop="auth"'
        trunk.say(0, 401, "a", headers=(("WWW-Authenticate", challenge),))

    assert len(trunk.hosts[0].got("INVITE")) == 3
    assert trunk.us.one(Ended).status == 401


# ---- what is too large for a datagram


@pytest.mark.rfc(3261, "18.1.1")
def test_f29_large_request_goes_over_tcp(trunk: Field) -> None:
    session = trunk.call(LARGE)

    assert trunk.connects() == [trunk.hops[0], Hop("tcp", *trunk.hosts[0].address)]
    assert trunk.invite(0).via.transport == "TCP"
    assert trunk.invite(0).contacts[0].uri.parameters.get("transport") == "tcp"
    trunk.say(0, 200, "a", body=ANSWER)
    answered = trunk.us.one(HopAnswered)
    assert (answered.hop, answered.flow.transport) == (trunk.hops[0], "tcp")
    session.bye(trunk.wire.now)
    trunk.run(0.1)
    assert [trunk.hosts[0].request(what).via.transport for what in ("ACK", "BYE")] == ["TCP"] * 2


def test_f29_request_of_a_common_size_stays_a_datagram(trunk: Field) -> None:
    trunk.call()

    assert trunk.connects() == trunk.hops[:1]
    assert trunk.invite(0).via.transport == "UDP"


@pytest.mark.rfc(3261, "18.1.1")
def test_f29_large_request_falls_back_to_a_datagram_where_tcp_is_refused(trunk: Field) -> None:
    trunk.us.ways.refusing.add(("tcp", trunk.hosts[0].address[0]))

    trunk.call(LARGE)

    assert trunk.invite(0).via.transport == "UDP"
    assert trunk.got(1) == []
    assert trunk.troubles == []


def test_f29_large_request_falls_back_where_the_connection_is_reset(trunk: Field) -> None:
    trunk.call(LARGE)

    trunk.us.close_flow(trunk.hosts[0].address)
    trunk.run(0.1)

    assert [m.via.transport for m in trunk.hosts[0].got("INVITE")] == ["TCP", "UDP"]
    assert trunk.got(1) == []


def test_f29_large_request_falls_back_where_nothing_takes_the_connection() -> None:
    trunk = Field(size=1)
    trunk.us.ways.silent.add(("tcp", trunk.hosts[0].address[0]))

    trunk.call(LARGE)
    trunk.run(3.9)
    assert trunk.got(0) == []
    trunk.run(0.1)

    assert trunk.invite(0).via.transport == "UDP"


def test_f29_hop_without_tcp_is_not_asked_again_for_a_while(trunk: Field) -> None:
    trunk.us.ways.refusing.add(("tcp", trunk.hosts[0].address[0]))
    tcp = Hop("tcp", *trunk.hosts[0].address)
    for _ in range(2):
        trunk.call(LARGE).cancel(trunk.wire.now)
        trunk.run(1)
    assert trunk.connects().count(tcp) == 1

    trunk.run(DATAGRAM_ONLY_S)
    trunk.call(LARGE)

    assert trunk.connects().count(tcp) == 2


def test_f29_503_over_tcp_is_the_hop_s_and_not_asked_for_again_by_datagram(trunk: Field) -> None:
    trunk.call(LARGE)

    trunk.say(0, 503, "a")

    assert len(trunk.hosts[0].got("INVITE")) == 1
    assert trunk.got(1) == ["INVITE"]


def test_f29_credentials_may_make_a_request_too_large(trunk: Field) -> None:
    trunk.call(b"x" * 500, password="secret")
    assert trunk.invite(0).via.transport == "UDP"

    challenge = NONCE.replace("n1", "n" * 500)
    trunk.say(0, 401, "a", headers=(("WWW-Authenticate", challenge),))

    assert trunk.invite(0).via.transport == "TCP"
    trunk.say(0, 200, "a", body=ANSWER)
    assert trunk.us.one(Answered)


# ---- what an INVITE carries


@pytest.mark.rfc(5393, "5.3")
def test_a38_max_breadth_is_passed_on(trunk: Field) -> None:
    trunk.call(max_breadth=7)

    assert trunk.invite(0).headers.get("Max-Breadth") == "7"
    trunk.call()
    assert "Max-Breadth" not in trunk.invite(0).headers


def test_invite_goes_either_on_a_flow_or_to_a_destination(trunk: Field) -> None:
    target, name = parse_uri("sip:b@b"), parse_address("<sip:b@b>")

    with pytest.raises(ValueError, match="either"):
        InviteRequest(target, name, name)
    with pytest.raises(ValueError, match="either"):
        InviteRequest(target, name, name, trunk.us.flow_to(("192.0.2.9", 1)), TRUNK)


def test_route_and_contact_user_are_as_asked(trunk: Field) -> None:
    request = InviteRequest(
        target=parse_uri("sip:bob@trunk.example"),
        from_=parse_address("<sip:alice@example.com>"),
        to=parse_address("<sip:bob@trunk.example>"),
        destination=TRUNK,
        route=(parse_address("<sip:p1.example;lr>"), parse_address("<sip:p2.example;lr>")),
        contact_user="t0k3n",
    )

    trunk.us.endpoint.invite(request, trunk.wire.now)
    trunk.run(0.1)

    invite = trunk.invite(0)
    assert [str(route) for route in invite.routes] == ["<sip:p1.example;lr>", "<sip:p2.example;lr>"]
    assert str(invite.contacts[0].uri) == "sip:t0k3n@192.0.2.1:5060"


def test_a15_what_cannot_be_written_is_refused_before_a_hop_is_looked_for(trunk: Field) -> None:
    request = InviteRequest(
        target=parse_uri("sip:bob@trunk.example"),
        from_=parse_address("<sip:alice@example.com>"),
        to=parse_address("<sip:bob@trunk.example>"),
        destination=TRUNK,
        headers=(("X-Name", "a\r\nb"),),
    )

    with pytest.raises(ValueError, match="line break"):
        trunk.us.endpoint.invite(request, trunk.wire.now)

    assert trunk.us.endpoint.take_output() == []
    assert trunk.us.endpoint.is_idle


# ---- within a dialog


CONTACT = "<sip:b@192.0.2.11:5060;transport=tcp>"


def up(trunk: Field, contact: str = CONTACT) -> InviteClient:
    """A call over TCP that the first host has answered with this Contact."""
    session = trunk.call()
    invite = trunk.invite(0)
    trunk.hosts[0].respond(trunk.us, invite, 200, body=ANSWER, headers=(("Contact", contact),))
    trunk.run(0.1)
    return session


def test_bye_takes_the_connection_of_the_invite() -> None:
    trunk = Field("tcp", size=1)
    session = up(trunk)

    session.bye(trunk.wire.now)
    trunk.run(0.1)

    assert trunk.got(0) == ["INVITE", "ACK", "BYE"]
    assert len(trunk.connects()) == 1


@pytest.mark.rfc(3263, "4")
def test_bye_takes_a_new_connection_where_the_old_one_is_closed() -> None:
    trunk = Field("tcp", size=1)
    session = up(trunk)
    trunk.us.close_flow(trunk.hosts[0].address)

    session.bye(trunk.wire.now)
    trunk.run(0.1)

    assert trunk.got(0) == ["INVITE", "ACK", "BYE"]
    assert len(trunk.connects()) == 2
    trunk.say(0, 200, what="BYE")
    trunk.settle()


def test_bye_goes_as_a_datagram_where_the_contact_of_a_closed_connection_says_so() -> None:
    trunk = Field("tcp", size=1)
    session = up(trunk, "<sip:b@192.0.2.11:5060>")
    trunk.us.close_flow(trunk.hosts[0].address)

    session.bye(trunk.wire.now)
    trunk.run(0.1)

    assert trunk.hosts[0].request("BYE").via.transport == "UDP"


def test_bye_under_way_when_the_connection_closes_goes_on_over_a_new_one() -> None:
    trunk = Field("tcp", size=1)
    session = up(trunk)
    session.bye(trunk.wire.now)
    trunk.run(0.1)

    trunk.us.close_flow(trunk.hosts[0].address)
    trunk.run(0.1)

    byes = trunk.hosts[0].got("BYE")
    assert len({bye.via.branch for bye in byes}) == 2
    assert {bye.cseq.number for bye in byes} == {2}
    trunk.say(0, 200, what="BYE")
    trunk.settle()


def test_f3_bye_whose_connection_is_refused_is_tried_until_one_takes_it() -> None:
    trunk = Field("tcp", size=1)
    session = up(trunk)
    trunk.us.close_flow(trunk.hosts[0].address)
    trunk.us.ways.dead.add(trunk.hosts[0].address)

    session.bye(trunk.wire.now)
    trunk.run(5)
    refused = len(trunk.connects())
    trunk.us.ways.dead.clear()
    trunk.run(5)

    assert refused == 4  # for the INVITE; at once, after 1 s and after 3 s
    assert trunk.got(0) == ["INVITE", "ACK", "BYE"]
    trunk.say(0, 200, what="BYE")
    trunk.run(60)
    assert len(trunk.connects()) == 5
    trunk.settle()


def test_f3_bye_that_no_connection_takes_is_given_up_in_the_end() -> None:
    trunk = Field("tcp", size=1)
    session = up(trunk)
    trunk.us.close_flow(trunk.hosts[0].address)
    trunk.us.ways.dead.add(trunk.hosts[0].address)

    session.bye(trunk.wire.now)
    trunk.run(200)

    assert len(trunk.connects()) == 2 + len(RETRIES_S)
    trunk.settle()


def test_s8_bye_of_the_peer_ends_our_waiting_for_a_connection() -> None:
    trunk = Field("tcp", size=1)
    session = up(trunk)
    trunk.us.close_flow(trunk.hosts[0].address)
    trunk.us.ways.dead.add(trunk.hosts[0].address)
    session.bye(trunk.wire.now)
    trunk.run(1.5)
    trunk.us.ways.dead.clear()

    trunk.us.open_flow(trunk.hops[0])
    trunk.hosts[0].send(
        trunk.us,
        "BYE sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.11;branch=z9hG4bKb;rport\r\n"
        f"From: <sip:b@b>{peer_tag(trunk)}\r\nTo: <sip:a@a>;tag={session.id}\r\n"
        f"Call-ID: {session.call_id}\r\nCSeq: 1 BYE\r\n\r\n",
    )
    trunk.run(60)

    assert "BYE" not in trunk.got(0)
    trunk.settle()


def peer_tag(trunk: Field) -> str:
    """The tag of the only answer of the first host, as a parameter."""
    tag = trunk.hosts[0].request("ACK").to.tag
    return "" if tag is None else f";tag={tag}"


def test_s1_ack_takes_a_new_connection_where_the_old_one_is_closed() -> None:
    """The 200 comes once more, for its ACK was lost with the connection."""
    trunk = Field("tcp", size=1)
    session = up(trunk)
    trunk.us.close_flow(trunk.hosts[0].address)
    trunk.us.open_flow(trunk.hops[0])
    trunk.us.close_flow(trunk.hosts[0].address)
    before = len(trunk.connects())

    for _ in range(2):
        trunk.say(0, 200, body=ANSWER, headers=(("Contact", CONTACT),))
        trunk.run(1)

    acks = trunk.hosts[0].got("ACK")
    assert len(acks) == 3
    assert {ack.cseq.number for ack in acks} == {1}
    assert len({ack.via.branch for ack in acks}) == 2
    assert len(trunk.connects()) == before + 1
    session.bye(trunk.wire.now)
    trunk.run(0.1)
    trunk.say(0, 200, what="BYE")
    trunk.settle()


def test_s15_ack_with_our_answer_takes_a_new_connection_where_the_old_one_is_closed() -> None:
    trunk = Field("tcp", size=1)
    session = trunk.call(offer=None)
    trunk.say(0, 200, body=OFFER, headers=(("Contact", CONTACT),))
    trunk.us.close_flow(trunk.hosts[0].address)

    session.ack(ANSWER, trunk.wire.now)
    trunk.run(0.1)

    assert trunk.hosts[0].request("ACK").body == ANSWER
    session.bye(trunk.wire.now)
    trunk.run(0.1)
    trunk.say(0, 200, what="BYE")
    trunk.settle()


@pytest.mark.parametrize(
    "contact",
    [
        "<sip:b@127.0.0.1:5060;transport=tcp>",
        "<sip:b@evil.example;transport=tcp>",
        "<sip:b@df7jal23ls0d.invalid;transport=ws>",
        "<sip:b@df7jal23ls0d.invalid>",
        "<sip:b@192.0.2.11;transport=ws>",
    ],
)
def test_a_peer_cannot_send_us_elsewhere_by_closing_its_connection(contact: str) -> None:
    trunk = Field("tcp", size=1)
    trunk.us.ways.names["evil.example"] = [Hop("tcp", "127.0.0.1", 5060)]
    trunk.us.ways.names["df7jal23ls0d.invalid"] = [Hop("udp", "192.0.2.66", 5060)]
    session = up(trunk, contact)
    trunk.us.close_flow(trunk.hosts[0].address)

    session.bye(trunk.wire.now)
    trunk.run(0.1)

    assert len(trunk.connects()) == 1
    assert trunk.us.all(Gone) == []  # Timer M of the INVITE
    trunk.settle()


def test_peer_that_has_connected_anew_is_answered_there() -> None:
    trunk = Field("tcp", size=1)
    session = up(trunk)
    trunk.us.close_flow(trunk.hosts[0].address)
    fresh = trunk.us.open_flow(trunk.hops[0])
    trunk.hosts[0].send(
        trunk.us,
        "OPTIONS sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.11;branch=z9hG4bKo;rport\r\n"
        f"From: <sip:b@b>\r\nTo: <sip:a@a>;tag={session.id}\r\n"
        f"Call-ID: {session.call_id}\r\nCSeq: 1 OPTIONS\r\n\r\n",
    )
    trunk.run(0.1)

    session.bye(trunk.wire.now)
    trunk.wire.flush()

    sent = trunk.us.ways.asked[-1]
    assert getattr(sent, "flow", None) == fresh
    assert len(trunk.connects()) == 1


def test_silence_within_a_dialog_is_not_taken_elsewhere() -> None:
    trunk = Field(size=2)
    session = up(trunk, "<sip:b@trunk.example>")
    asked = len(trunk.us.ways.asked)

    session.bye(trunk.wire.now)
    trunk.run(40)

    assert trunk.got(0) == ["INVITE", "ACK", "BYE"]
    assert trunk.got(1) == []
    assert not any(isinstance(each, Resolve) for each in trunk.us.ways.asked[asked:])
    trunk.settle()


def test_datagram_that_bounces_within_a_dialog_ends_it_without_a_storm() -> None:
    trunk = Field(size=1)
    session = up(trunk, "<sip:b@192.0.2.11:5060>")
    trunk.us.ways.dead.add(trunk.hosts[0].address)

    session.bye(trunk.wire.now)
    trunk.run(40)

    assert trunk.got(0) == ["INVITE", "ACK"]
    trunk.settle()


@pytest.mark.rfc(3261, "18.1.1")
@pytest.mark.parametrize(
    ("contact", "transport"), [("<sip:b@192.0.2.11:5060>", "TCP"), ("<sip:b@phone.example>", "UDP")]
)
def test_f29_large_reinvite_goes_over_tcp_where_the_peer_names_its_address(
    contact: str, transport: str
) -> None:
    trunk = Field(size=1)
    session = up(trunk, contact)

    session.reoffer(LARGE, trunk.wire.now)
    trunk.run(0.1)

    assert trunk.invite(0).body == LARGE
    assert trunk.invite(0).via.transport == transport


# ---- whatever happens


def play(dice: random.Random, loss: float) -> tuple[InviteClient, Station, list[Station]]:
    """One call to three hops that each do something else, over whatever wire there is."""
    wire = Wire()
    wire.impair(dice.randrange(2**32), loss=loss, duplication=0.1, jitter_s=0.5)
    us = Station(wire, ("192.0.2.1", 5060))
    hosts = [Station(wire, (f"192.0.2.{11 + n}", 5060)) for n in range(3)]
    us.ways.names[TRUNK.host] = [Hop("udp", *host.address) for host in hosts]
    us.ways.dead.update(host.address for host in hosts if dice.random() < 0.15)
    plans = [dice.choice(["answer", "ring", "503", "486", "silent"]) for _ in hosts]
    delays = [dice.choice([0, 1, 3, 5, 9]) for _ in hosts]
    cancel_at = dice.choice([None, None, 0, 2, 5, 10])
    session = us.invite(TRUNK)
    for second in range(60):
        wire.run(1)
        if second == cancel_at:
            session.cancel(wire.now)
        for host, plan, delay in zip(hosts, plans, delays, strict=True):
            calls = [(at, event) for at, event in host.events if isinstance(event, Incoming)]
            if not calls:
                continue
            (at, event), now = calls[0], wire.now
            if plan == "silent":
                event.session.drop(now)
            elif now - at < delay:
                if plan == "ring":
                    event.session.progress(180, None, now)
            elif plan in ("503", "486"):
                event.session.reject(int(plan), now)
            else:
                event.session.answer(ANSWER, now)
    wire.run(40)
    return session, us, hosts


def is_up(station: Station) -> bool:
    return bool(station.all(Answered) or station.all(Acked)) and not station.all(Ended)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), loss=st.sampled_from([0.0, 0.1, 0.2]))
def test_f2_one_callee_is_up_if_the_call_is_and_none_if_it_is_not(seed: int, loss: float) -> None:
    session, us, hosts = play(random.Random(seed), loss)

    assert sum(is_up(host) for host in hosts) == is_up(us)
    session.bye(us.wire.now)
    us.wire.run(75)
    assert us.endpoint.is_idle
    assert all(host.endpoint.is_idle for host in hosts)
    assert len(us.all(Ended)) == len(us.all(Gone)) == 1
