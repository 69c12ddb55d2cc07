"""A call that has ended is freed at once, with its legs, streams and hub, by reference counting."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import pytest

from gateway.call.call import Call, TransferMode
from gateway.leg.leg import EndReason
from gateway.leg.sip import SipLeg
from tests.support.garbage import left_to_the_collector
from tests.support.legs import plan
from tests.support.scene import PHONE_HZ, TRUNK_HZ, Scene, scene
from tests.support.sip_legs import sdp


def answer(at: Scene, trunk: str, method: str) -> None:
    """A trunk says 200 to what it was asked last."""
    peer = at.peers[trunk]
    peer.respond(at.bench.station, peer.request(method), 200)
    at.run(0.1)


def talk(at: Scene) -> None:
    at.call()
    at.respond("a", 180)
    at.respond("a", 200, body=sdp(40_000))
    at.speak(0.1, phone=PHONE_HZ, a=TRUNK_HZ)
    at.press("phone", "5")
    at.hang_up()
    answer(at, "a", "BYE")


def be_ended(at: Scene) -> None:
    call = at.call()
    at.respond("a", 200, body=sdp(40_000))
    at.registry.end(call.id, EndReason.HANGUP)
    at.run(0.1)
    answer(at, "a", "BYE")


def give_up(at: Scene) -> None:
    at.call()
    at.respond("a", 180)
    at.hang_up()
    answer(at, "a", "CANCEL")
    at.respond("a", 487)


def be_refused(at: Scene) -> None:
    at.call()
    at.respond("a", 486)


def go_elsewhere(at: Scene) -> None:
    at.plan = plan(["trunk:a"], ["trunk:b"])
    at.call()
    at.respond("a", 503)
    at.respond("b", 200, body=sdp(40_000))
    at.hang_up()
    answer(at, "b", "BYE")


def be_transferred(at: Scene) -> None:
    call = at.call()
    at.respond("a", 200, body=sdp(40_000))
    phone = next(iter(call.parties))
    to_b = plan(["trunk:b"])
    at.registry.transfer(call.id, "b", to_b, leg=phone, mode=TransferMode.DIAL)
    at.run(0.1)
    at.respond("b", 200, body=sdp(40_002))
    answer(at, "a", "BYE")
    at.hang_up()
    answer(at, "b", "BYE")


ENDINGS = (talk, be_ended, give_up, be_refused, go_elsewhere, be_transferred)


@pytest.mark.parametrize("end", ENDINGS)
def test_settled_call_is_freed_though_its_transactions_linger(end: Callable[[Scene], None]) -> None:
    with scene(["trunk:a"]) as at, left_to_the_collector() as left:
        remains: list[weakref.ref[Call] | weakref.ref[SipLeg]] = []
        at.registry.observe(lambda _event: remains.extend(map(weakref.ref, at.registry.calls())))

        end(at)
        at.run(0.1)
        remains += [weakref.ref(box.leg) for box in at.bench.boxes]
        at.bench.boxes.clear()
        at.boxes.clear()

        assert at.registry.lingering == 0
        assert not at.bench.station.endpoint.is_idle
        assert len(remains) > 1
        assert [each() for each in remains if each() is not None] == []

    assert not left.kinds


def test_call_whose_bye_is_not_answered_lingers() -> None:
    with scene(["trunk:a"]) as at:
        at.call()
        at.respond("a", 200, body=sdp(40_000))
        at.hang_up()
        at.run(30)
        assert at.registry.lingering == 1

        at.run(3)

        assert at.registry.lingering == 0
