"""REFER from and to a SIP peer, Replaces, and 3xx: only where it may (A37)."""

from __future__ import annotations

import pytest

from gateway.leg.leg import Ended, EndReason, TransferAsked, TransferProgress
from gateway.leg.sip import SipLegOptions
from gateway.sip import event as sip
from gateway.sip.uri import Uri, parse_uri
from tests.support.sip_legs import LegBox, SipBench, sdp

BOB = parse_uri("sip:bob@example.com")


def called(bench: SipBench, **options: object) -> LegBox:
    """The phone's call to us, answered."""
    bench.given["options"] = SipLegOptions(**options)  # type: ignore[arg-type]
    box = bench.called(sdp())
    box.leg.answer()
    bench.run(0.1)
    return box


def statuses(bench: SipBench) -> list[int]:
    """What the phone was told of its REFER."""
    told = [e for _, e in bench.phone.events if isinstance(e, sip.ReferProgress | sip.ReferDone)]
    return [event.status for event in told]


@pytest.fixture
def bench() -> SipBench:
    return SipBench()


# ---- the peer asks us


def test_a37_peer_that_may_not_transfer_is_refused(bench: SipBench) -> None:
    box = called(bench)

    bench.calling.refer(BOB, bench.wire.now)
    bench.run(0.1)

    assert statuses(bench) == [403]
    assert not box.heard(TransferAsked)
    bench.close()


def test_peer_that_may_transfer_is_told_how_it_goes(bench: SipBench) -> None:
    box = called(bench, allow_transfer=True)

    bench.calling.refer(BOB, bench.wire.now, replaces="x;to-tag=1;from-tag=2")
    bench.run(0.1)
    asked = box.heard(TransferAsked)
    for status in (100, 180, 200):
        box.leg.transfer_progress(status)
        bench.run(1.5)

    assert asked == [TransferAsked(BOB, "x;to-tag=1;from-tag=2")]
    assert statuses(bench) == [100, 180, 200]
    bench.close()


def test_transfer_that_is_refused_at_once_is_no_transfer(bench: SipBench) -> None:
    box = called(bench, allow_transfer=True)

    bench.calling.refer(BOB, bench.wire.now)
    bench.run(0.1)
    box.leg.transfer_progress(404)
    box.leg.transfer_progress(200)
    bench.run(0.1)

    assert statuses(bench) == [404]
    bench.close()


def test_peer_that_hung_up_is_told_the_outcome_all_the_same(bench: SipBench) -> None:
    box = called(bench, allow_transfer=True)
    bench.calling.refer(BOB, bench.wire.now)
    bench.run(0.1)
    box.leg.transfer_progress(100)
    bench.run(0.1)
    bench.calling.bye(bench.wire.now)
    bench.run(0.1)

    box.leg.transfer_progress(200)
    bench.run(0.1)

    assert [event.reason for event in box.heard(Ended)] == [EndReason.HANGUP]
    assert statuses(bench)[-1] == 200
    bench.close()


def test_second_transfer_of_a_peer_can_follow_the_first(bench: SipBench) -> None:
    box = called(bench, allow_transfer=True)
    for status in (486, 200):
        bench.calling.refer(BOB, bench.wire.now)
        bench.run(0.1)
        box.leg.transfer_progress(100)
        box.leg.transfer_progress(status)
        bench.run(2)

    assert [status for status in statuses(bench) if status >= 200] == [486, 200]
    bench.close()


# ---- we ask the peer


def test_peer_is_asked_to_call_a_number_in_its_own_domain(bench: SipBench) -> None:
    box = called(bench, sends_refer=True)

    box.leg.refer(Uri("sip", "+15550123"))
    bench.run(0.1)
    (asked,) = bench.phone.all(sip.ReferAsked)
    asked.session.accept_refer(bench.wire.now)
    asked.session.notify_refer(180, "Ringing", bench.wire.now)
    bench.run(1.5)
    asked.session.notify_refer(200, "OK", bench.wire.now)
    bench.run(0.1)

    assert str(asked.target) == "sip:+15550123@example.com"
    assert [event.status for event in box.heard(TransferProgress)][-2:] == [180, 200]
    bench.close()


def test_number_is_written_as_the_peer_wants_it(bench: SipBench) -> None:
    def refer_to(number: str) -> Uri:
        return Uri("sip", number.removeprefix("+"), host="pbx.example")

    box = called(bench, sends_refer=True, refer_to=refer_to)

    box.leg.refer(Uri("sip", "+15550123"))
    bench.run(0.1)

    assert str(bench.phone.one(sip.ReferAsked).target) == "sip:15550123@pbx.example"
    bench.close()


def test_peer_is_asked_into_the_place_of_another_dialog(bench: SipBench) -> None:
    box = called(bench, sends_refer=True)
    box.leg.refer(BOB, "y;to-tag=a;from-tag=b")
    bench.run(0.1)

    asked = bench.phone.one(sip.ReferAsked)
    assert (asked.target, asked.replaces) == (BOB, "y;to-tag=a;from-tag=b")
    bench.close()


def test_peer_that_refuses_has_not_gone(bench: SipBench) -> None:
    box = called(bench, sends_refer=True)
    box.leg.refer(BOB)
    bench.run(0.1)

    bench.phone.one(sip.ReferAsked).session.refuse_refer(603, bench.wire.now)
    bench.run(0.1)

    assert box.heard(TransferProgress) == [TransferProgress(603)]
    assert not box.heard(Ended)
    bench.close()


@pytest.mark.parametrize(("is_up", "sends", "can"), [(1, 1, True), (1, 0, False), (0, 1, False)])
def test_only_who_takes_refer_and_has_answered_can_be_asked(
    bench: SipBench, is_up: int, sends: int, can: bool
) -> None:
    bench.given["options"] = SipLegOptions(sends_refer=bool(sends))
    box = bench.called(sdp())
    if is_up:
        box.leg.answer()

    assert box.leg.can_refer is can
    bench.run(0.1)
    bench.close()


# ---- whose dialog


def test_dialog_of_a_leg_is_found_by_what_its_peer_calls_it(bench: SipBench) -> None:
    box = called(bench)
    named = bench.calling.replaces_id

    assert named is not None
    assert bench.legs.find_dialog(named) == box.leg.id
    assert bench.legs.find_dialog("nonsense") is None
    assert bench.legs.find_dialog(f"other{named}") is None
    bench.close()


def test_dialog_of_a_leg_can_be_named_to_others(bench: SipBench) -> None:
    box = bench.called(sdp())
    before = box.leg.dialog
    box.leg.answer()
    bench.run(0.1)

    assert before is None
    assert box.leg.dialog is not None
    target, replaces = box.leg.dialog
    assert target.host == "192.0.2.3"
    assert replaces.startswith(bench.calling.call_id)
    bench.close()


# ---- 3xx


@pytest.mark.parametrize("may", [True, False])
def test_a37_redirection_names_contacts_only_where_it_is_allowed(
    bench: SipBench, may: bool
) -> None:
    bench.given["options"] = SipLegOptions(allow_redirect=may)
    box = bench.dial()
    invite = bench.peer.request("INVITE")
    contacts = [
        ("Contact", "<sip:low@example.com>;q=0.2, <sip:best@example.com>"),
        ("Contact", "<sip:mid@example.com>;q=0.5"),
    ]

    bench.peer.respond(bench.station, invite, 302, "a", headers=contacts)
    bench.run(0.05)

    (ended,) = box.heard(Ended)
    users = [uri.user for uri in ended.contacts if uri.host == "example.com"]
    assert ended.status == 302
    assert users == (["best", "mid", "low"] if may else [])
    bench.close()


def test_phone_that_rings_in_vain_learns_that_another_answered(bench: SipBench) -> None:
    box = bench.dial()
    bench.answer(180)

    box.leg.end(EndReason.ANSWERED_ELSEWHERE)
    bench.run(0.05)

    reason = bench.peer.request("CANCEL").headers.get("Reason")
    assert reason == 'SIP;cause=200;text="Call completed elsewhere"'
    bench.answer(487)
    bench.close()


def test_leg_whose_peer_was_not_reached_has_no_dialog(bench: SipBench) -> None:
    box = bench.dial()

    assert box.leg.dialog is None
    bench.close()
