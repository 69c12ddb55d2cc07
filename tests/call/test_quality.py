"""What calls tell of the quality of their legs: as events, and in the record after the end."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from gateway.api.call_events import describe_call_event
from gateway.api.calls import describe_call
from gateway.call.events import LegAlerted, LegEnded, LegMeasured
from gateway.leg.quality import Alert, QualityAlert, Way
from gateway.rtp.rtcp import Goodbye, ReceiverReport, build_rtcp
from tests.support.scene import PHONE_HZ, TRUNK_HZ, Scene, scene
from tests.support.sip_legs import sdp


def bridge(at: Scene) -> str:
    """The phone talks with trunk a; the call's id."""
    call = at.call()
    at.respond("a", 200, body=sdp(40_000))
    return call.id


def record(at: Scene, call: str) -> dict[str, Any]:
    """As GET /v1/calls/{id} gives it."""
    summary = at.registry.summary(call)
    assert summary is not None
    return describe_call(summary).model_dump()


def told(at: Scene, kind: type) -> list[dict[str, Any]]:
    """Events as /v1/events tells them."""
    return [describe_call_event(event) for event in at.events if type(event) is kind]


def test_quality_of_each_leg_is_told_every_ten_seconds_and_at_its_end() -> None:
    with scene(["trunk:a"]) as at:
        bridge(at)
        at.speak(21, phone=PHONE_HZ, a=TRUNK_HZ)
        at.hang_up()

        quality = told(at, LegMeasured)
        phone, trunk = (at.boxes[name].leg.id for name in ("phone", "a"))
        for leg in (phone, trunk):
            mine = [event for event in quality if event["leg"] == leg]
            assert [event["final"] for event in mine] == [False, False, True]
            assert mine[-1]["type"] == "leg.quality"
            assert mine[-1]["received"]["packets"] == 1050
            assert mine[-1]["received"]["mos"] == pytest.approx(4.4, abs=0.05)
            assert mine[-1]["sent"]["packets"] == pytest.approx(1050, abs=5)
        kinds = [type(event) for event in at.events if getattr(event, "leg", "") == phone]
        assert kinds[-2:] == [LegMeasured, LegEnded]


def test_record_of_a_call_has_the_figures_while_it_goes_on_and_after_its_end() -> None:
    with scene(["trunk:a"]) as at:
        call = bridge(at)
        at.speak(2, phone=PHONE_HZ, a=TRUNK_HZ)
        during = record(at, call)
        at.speak(1, phone=PHONE_HZ)
        at.hang_up()
        at.run(40)
        after = record(at, call)

        assert [leg["quality"]["received"]["packets"] for leg in during["legs"]] == [100, 100]
        assert after["state"] == "ended"
        assert [leg["quality"]["received"]["packets"] for leg in after["legs"]] == [150, 100]
        assert after["legs"][0]["quality"]["codec"] == "PCMU"
        assert at.registry.find(call) is None


def test_a_list_of_calls_is_made_without_figures() -> None:
    with scene(["trunk:a"]) as at:
        bridge(at)
        at.speak(1, phone=PHONE_HZ, a=TRUNK_HZ)

        (call,) = at.registry.calls()
        listed = describe_call(call.summary(at.bench.loop.time(), measured=False))

        assert [leg.quality for leg in listed.legs] == [None, None]


def test_one_way_audio_is_told_within_five_seconds_and_names_the_leg() -> None:
    with scene(["trunk:a"]) as at:
        bridge(at)
        at.speak(1, phone=PHONE_HZ, a=TRUNK_HZ)
        at.speak(5, phone=PHONE_HZ)
        at.speak(2, phone=PHONE_HZ, a=TRUNK_HZ)

        leg = at.boxes["a"].leg.id
        begun, over = told(at, LegAlerted)
        assert (begun["type"], begun["leg"], begun["over"]) == ("leg.quality_alert", leg, False)
        assert (begun["alert"], begun["direction"]) == ("one-way-audio", "received")
        assert begun["text"] == f"nothing comes from {leg}"
        assert over["over"]
        trunk = record(at, at.registry.calls()[0].id)["legs"][1]["quality"]
        (trouble,) = trunk["troubles"]
        assert trunk["alerts"] == []
        assert (trouble["alert"], trouble["direction"]) == ("one-way-audio", "received")
        assert trouble["seconds"] == pytest.approx(over["at"] - begun["at"], abs=0.1)


@pytest.mark.parametrize(("silent", "fine"), [("phone", "a"), ("a", "phone")])
def test_record_says_what_was_wrong_at_the_end(silent: str, fine: str) -> None:
    with scene(["trunk:a"]) as at:
        call = bridge(at)
        at.speak(1, **{silent: PHONE_HZ, fine: TRUNK_HZ})
        at.speak(5, **{fine: TRUNK_HZ})
        at.hang_up()

        alerts = {leg["id"]: leg["quality"]["alerts"] for leg in record(at, call)["legs"]}
        assert alerts[at.boxes[fine].leg.id] == []
        (alert,) = alerts[at.boxes[silent].leg.id]
        assert (alert["alert"], alert["direction"]) == ("one-way-audio", "received")


def test_one_who_hears_nothing_is_told_of_and_named() -> None:
    with scene(["trunk:a"]) as at:
        bridge(at)
        at.speak(2.5, phone=PHONE_HZ, a=TRUNK_HZ)

        # It speaks, and reports on nobody: nothing has reached it.
        at.boxes["a"].transport.on_packet(
            build_rtcp([ReceiverReport(sum(map(ord, "a")))]), at.bench.loop.time()
        )
        at.speak(1.2, phone=PHONE_HZ, a=TRUNK_HZ)

        leg = at.boxes["a"].leg.id
        (event,) = told(at, LegAlerted)
        assert (event["leg"], event["direction"]) == (leg, "sent")
        assert event["text"] == f"{leg} gets nothing (its reports say so)"


def test_whom_nobody_answered_was_not_measured() -> None:
    with scene(["trunk:a"]) as at:
        call = at.call().id
        at.respond("a", 486)
        at.run(1)

        assert not told(at, LegMeasured)
        assert [leg["quality"] for leg in record(at, call)["legs"]] == [None, None]


def test_figures_that_were_told_stay_as_they_were() -> None:
    with scene(["trunk:a"]) as at:
        bridge(at)
        at.speak(11, phone=PHONE_HZ, a=TRUNK_HZ)
        first = told(at, LegMeasured)[0]["received"]["packets"]

        at.speak(5, phone=PHONE_HZ, a=TRUNK_HZ)

        assert told(at, LegMeasured)[0]["received"]["packets"] == first


@pytest.mark.parametrize("alert", Alert)
@pytest.mark.parametrize("way", Way)
def test_every_alert_has_its_words(alert: Alert, way: Way) -> None:
    event = LegAlerted("gw-1", 1.0, "gw-2", QualityAlert(alert, way))

    described = describe_call_event(event)

    assert "gw-2" in described["text"]


HOSTILE = [
    pytest.param(build_rtcp([ReceiverReport(1), Goodbye((1, 449, 97))]), id="spoofed BYE"),
    pytest.param(build_rtcp([Goodbye(tuple(range(31)), "all of you")]), id="BYE alone"),
    pytest.param(b"\x80\xcb\x00\x00", id="BYE of nobody"),
    pytest.param(b"\x80\xc9", id="short"),
    pytest.param(b"\x80\xc9\xff\xff\x00\x00\x00\x01", id="length of 65535 words"),
    pytest.param(b"\xa0\xc9\x00\x01\x00\x00\x00\xff", id="padding of 255"),
    pytest.param(b"\xa0\xcb\x00\x01\x00\x00\x00\x00", id="padding of 0"),
    pytest.param(b"\x9f\xc8" + struct.pack("!H", 6) + bytes(24), id="31 blocks that are not there"),
    pytest.param(b"\x80\xcf\x00\x02\x00\x00\x00\x01\x07\x00\xff\xff", id="XR block cut off"),
    pytest.param(b"\x80\xcf\x00\x02\x00\x00\x00\x01\x07\x00\x00\x00", id="XR block too short"),
    pytest.param(b"\x80\xc8\x00\x01" + b"\xff" * 4, id="SR without a sender"),
]


@pytest.mark.parametrize("data", HOSTILE)
def test_a29_hostile_reports_end_no_call(data: bytes) -> None:
    with scene(["trunk:a"]) as at:
        bridge(at)
        for _ in range(50):
            at.boxes["a"].transport.on_packet(data, at.bench.loop.time())
            at.boxes["phone"].transport.on_packet(data, at.bench.loop.time())
        at.speak(1, phone=PHONE_HZ, a=TRUNK_HZ)

        assert at.hears("phone") == {TRUNK_HZ}
        assert at.hears("a") == {PHONE_HZ}
        assert len(at.registry.calls()) == 1
