"""The walk-through of the design, its second half: what happens to calls that are up.

Hold by either and both, changes of codec and address, transfers by REFER, by Replaces and by us,
redirections. Signalling and media together; only the sockets are of paper.
"""

from __future__ import annotations

import pytest

from gateway.call.call import Call, CallState, TransferMode
from gateway.call.events import CallEnded, LegHeld, TransferEnded
from gateway.leg.leg import EndReason
from gateway.leg.sip import SipLegOptions
from gateway.media.tone import MELODY_HZ, RINGBACK_HZ, level_dbfs, tone_level_dbfs
from gateway.sdp.description import parse_sdp
from gateway.sip import event as sip
from gateway.sip.header import parse_address
from gateway.sip.invite import InviteRequest
from gateway.sip.uri import parse_uri
from gateway.trunk.route import RouteOptions
from tests.media.sound import Pcm
from tests.support.legs import plan
from tests.support.scene import AGENT_HZ, PHONE_HZ, TRUNK_HZ, Scene, scene
from tests.support.sip_legs import GATEWAY, sdp

B = parse_uri("sip:b@192.0.2.1")
T38 = b"m=image 5004 udptl t38\r\n"


def up(at: Scene, trunk: str = "a", name: str = "phone", port: int = 40_000) -> Call:
    """The phone has called, and a trunk has answered."""
    at.bench.given["options"] = SipLegOptions(
        allow_transfer=True, allow_redirect=True, sends_refer=True, signals_hold=True
    )
    call = at.call(name=name)
    at.respond(trunk, 200, body=sdp(port))
    at.run(0.1)
    return call


def reoffer(at: Scene, body: bytes) -> None:
    """The phone offers anew."""
    at.bench.calling.reoffer(body, at.bench.wire.now)
    at.run(0.1)


def listen(at: Scene, name: str, seconds: float) -> Pcm:
    """What somebody is sent while that much time passes."""
    at.heard(name)
    at.run(seconds)
    return at.heard(name)


def has_music(pcm: Pcm) -> bool:
    """Whether some note of our music on hold is in it."""
    pieces = [pcm[at : at + 800] for at in range(0, len(pcm), 800)]
    return any(tone_level_dbfs(p, 8000, hz) > -35 for p in pieces for hz in MELODY_HZ)


def rings(pcm: Pcm) -> bool:
    """Whether our ringing tone is in it."""
    pieces = [pcm[at : at + 800] for at in range(0, len(pcm), 800)]
    return any(tone_level_dbfs(piece, 8000, RINGBACK_HZ) > -25 for piece in pieces)


def referred(at: Scene) -> list[int]:
    """What the phone was told of its REFER."""
    told = [e for _, e in at.bench.phone.events if isinstance(e, sip.ReferProgress | sip.ReferDone)]
    return [event.status for event in told]


# ---- hold


@pytest.mark.parametrize("spelling", ["a=inactive", "a=recvonly", "c", "port"])
def test_hold_without_music_of_its_own_is_filled_with_ours(spelling: str) -> None:
    offers = {"c": sdp(30_000, address="0.0.0.0"), "port": sdp(0)}
    with scene(["trunk:a"]) as at:
        up(at)
        reoffer(at, offers.get(spelling) or sdp(30_000, more=f"{spelling}\r\n"))
        on_hold = listen(at, "a", 3)
        reoffer(at, sdp(30_000))
        at.heard("a")
        at.heard("phone")
        at.speak(0.4, phone=PHONE_HZ, a=TRUNK_HZ)

        assert has_music(on_hold)
        assert len(on_hold) == pytest.approx(3 * 8000, abs=800)
        assert at.hears("a") == {PHONE_HZ}
        assert at.hears("phone") == {TRUNK_HZ}
        assert not at.peers["a"].got("UPDATE")
        assert len(at.peers["a"].got("INVITE")) == 1


def test_music_of_the_holder_goes_through() -> None:
    with scene(["trunk:a"]) as at:
        up(at)
        reoffer(at, sdp(30_000, more="a=sendonly\r\n"))
        at.heard("phone")
        at.speak(0.4, phone=AGENT_HZ, a=TRUNK_HZ)

        assert at.hears("a") == {AGENT_HZ}
        assert at.hears("phone") == set()


def test_our_hold_is_signalled_and_plays_music_to_the_held_alone() -> None:
    with scene(["trunk:a"]) as at:
        call = up(at)
        at.registry.hold(call.id)
        at.run(0.1)
        offered = parse_sdp(at.bench.phone.one(sip.Reoffered).sdp or b"")
        at.bench.phone_session.accept_reoffer(sdp(30_000, more="a=recvonly\r\n"), at.bench.wire.now)
        at.run(0.1)
        at.heard("a")
        at.speak(1, phone=PHONE_HZ, a=TRUNK_HZ)
        held, other = at.heard("phone"), at.heard("a")

        assert offered.media[0].direction.value == "sendonly"
        assert has_music(held)
        assert tone_level_dbfs(held, 8000, TRUNK_HZ) < -40
        assert level_dbfs(other) < -60


def test_both_hold_and_both_resume() -> None:
    with scene(["trunk:a"]) as at:
        call = up(at)
        reoffer(at, sdp(30_000, more="a=sendonly\r\n"))
        at.registry.hold(call.id)
        at.run(0.1)
        at.bench.phone_session.accept_reoffer(sdp(30_000, more="a=inactive\r\n"), at.bench.wire.now)
        at.run(0.1)
        silent = listen(at, "phone", 1)
        at.registry.hold(call.id, on=False)
        at.run(0.1)
        at.bench.phone_session.accept_reoffer(sdp(30_000, more="a=sendonly\r\n"), at.bench.wire.now)
        at.run(0.1)
        reoffer(at, sdp(30_000))
        at.heard("phone")
        at.speak(0.4, phone=PHONE_HZ, a=TRUNK_HZ)

        assert len(silent) == 0
        assert at.hears("phone") == {TRUNK_HZ}
        assert at.hears("a") == {PHONE_HZ}
        held = [(e.by_us, e.direction.value) for e in at.events if isinstance(e, LegHeld)]
        assert held[-1] == (False, "sendrecv")


# ---- other changes


def test_reinvite_changes_codec_and_address_and_the_call_goes_on() -> None:
    with scene(["trunk:a"]) as at:
        up(at)
        before = at.boxes["phone"].transport.packets[-1]
        reoffer(at, sdp(32_000, codecs="8 101"))
        at.boxes["phone"].transport.sent.clear()
        at.speak(0.4, a=TRUNK_HZ)

        after = at.boxes["phone"].transport.packets
        assert at.boxes["phone"].transport.accepted[-1].port == 32_000
        assert {packet.payload_type for packet in after} == {8}
        assert {packet.ssrc for packet in after} == {before.ssrc}
        assert after[0].sequence > before.sequence


def test_reinvite_without_an_offer() -> None:
    with scene(["trunk:a"]) as at:
        up(at)
        at.bench.calling.reoffer(None, at.bench.wire.now)
        at.run(0.1)
        at.bench.calling.ack(sdp(34_000), at.bench.wire.now)
        at.run(0.1)
        at.heard("phone")
        at.speak(0.2, phone=PHONE_HZ, a=TRUNK_HZ)

        assert at.boxes["phone"].transport.accepted[-1].port == 34_000
        assert at.hears("phone") == {TRUNK_HZ}
        assert at.hears("a") == {PHONE_HZ}


@pytest.mark.parametrize("offer", [sdp(30_000, codecs="18"), sdp(0) + T38])
def test_reinvite_that_is_refused_leaves_the_call_as_it_was(offer: bytes) -> None:
    with scene(["trunk:a"]) as at:
        up(at)
        reoffer(at, offer)
        at.heard("phone")
        at.speak(0.2, phone=PHONE_HZ, a=TRUNK_HZ)

        assert at.bench.phone.one(sip.ReofferFailed).status == 488
        assert at.hears("phone") == {TRUNK_HZ}
        assert at.hears("a") == {PHONE_HZ}


# ---- transfers


def test_blind_transfer_by_refer() -> None:
    with scene(["trunk:a"]) as at:
        call = up(at)
        at.speak(0.1, a=TRUNK_HZ, phone=PHONE_HZ)
        before = at.boxes["a"].transport.packets[-1]
        at.bench.calling.refer(B, at.bench.wire.now)
        at.run(0.1)
        at.respond("b", 180)
        ringing = listen(at, "a", 2)
        at.respond("b", 200, body=sdp(44_000))
        at.run(1.5)
        at.heard("a")
        at.speak(0.4, a=TRUNK_HZ, b=AGENT_HZ)

        assert rings(ringing)
        assert referred(at)[0] == 100
        assert referred(at)[-1] == 200
        assert at.bench.phone.one(sip.Ended).cause is sip.EndCause.BYE
        assert call.state is CallState.UP
        after = at.boxes["a"].transport.packets
        assert {packet.ssrc for packet in after} == {before.ssrc}
        assert at.hears("a") == {AGENT_HZ}
        assert at.hears("b") == {TRUNK_HZ}


def test_transferor_that_hangs_up_at_once() -> None:
    with scene(["trunk:a"]) as at:
        up(at)
        at.bench.calling.refer(B, at.bench.wire.now)
        at.run(0.05)
        at.bench.calling.bye(at.bench.wire.now)
        at.run(0.1)
        at.respond("b", 200, body=sdp(44_000))
        at.run(1.5)
        at.heard("a")
        at.speak(0.4, a=TRUNK_HZ, b=AGENT_HZ)

        assert referred(at)[-1] == 200
        assert at.hears("a") == {AGENT_HZ}
        assert at.hears("b") == {TRUNK_HZ}


def test_transfer_to_one_who_is_busy_leaves_the_two_together() -> None:
    with scene(["trunk:a"]) as at:
        up(at)
        at.bench.calling.refer(B, at.bench.wire.now)
        at.run(0.1)
        at.respond("b", 486)
        at.run(1.5)
        at.heard("a")
        at.speak(0.4, phone=PHONE_HZ, a=TRUNK_HZ)

        assert referred(at)[-1] == 486
        assert at.hears("phone") == {TRUNK_HZ}
        assert at.hears("a") == {PHONE_HZ}


def test_attended_transfer_with_replaces() -> None:
    with scene(["trunk:a"]) as at:
        first = up(at)
        to_a = at.bench.calling
        at.plan = plan(["trunk:b"])
        up(at, "b", "phone-2", 44_000)
        to_b = at.bench.calling
        at.speak(0.1, b=AGENT_HZ, **{"phone-2": PHONE_HZ})
        before = at.boxes["b"].transport.packets[-1]

        to_a.refer(B, at.bench.wire.now, replaces=to_b.replaces_id)
        at.run(1.5)
        at.heard("b")
        at.heard("a")
        at.speak(0.4, a=TRUNK_HZ, b=AGENT_HZ)

        assert referred(at)[-1] == 200
        assert {e.cause for e in at.bench.phone.all(sip.Ended)} == {sip.EndCause.BYE}
        assert [call.id for call in at.registry.calls()] == [first.id]
        after = at.boxes["b"].transport.packets
        assert {packet.ssrc for packet in after} == {before.ssrc}
        assert after[0].sequence > before.sequence
        assert at.hears("a") == {AGENT_HZ}
        assert at.hears("b") == {TRUNK_HZ}
        assert len(at.peers["b"].got("INVITE")) == 1
        ended = [(e.call, e.reason) for e in at.events if isinstance(e, CallEnded)]
        assert [reason for _, reason in ended] == [EndReason.TRANSFERRED]


def test_phone_takes_the_place_of_another_with_replaces() -> None:
    with scene(["trunk:a"]) as at:
        call = up(at)
        old = at.bench.calling
        at.calls = "phone-2"
        request = InviteRequest(
            target=parse_uri(f"sip:x@{GATEWAY[0]}"),
            from_=parse_address("<sip:alice@example.com>"),
            to=parse_address("<sip:bob@example.com>"),
            flow=at.bench.phone.flow_to(GATEWAY),
            offer=sdp(35_000),
            headers=(("Replaces", old.replaces_id or ""),),
        )
        at.bench.phone.endpoint.invite(request, at.bench.wire.now)
        at.run(0.2)
        at.heard("a")
        at.speak(0.4, a=TRUNK_HZ, **{"phone-2": PHONE_HZ})

        assert old.is_ended
        assert call.state is CallState.UP
        assert at.hears("a") == {PHONE_HZ}
        assert at.hears("phone-2") == {TRUNK_HZ}


def test_transfer_done_by_us_when_we_are_told_to() -> None:
    with scene(["trunk:a"]) as at:
        call = up(at)
        at.registry.transfer(call.id, "b", plan(["trunk:b"]), mode=TransferMode.DIAL)
        at.run(0.1)
        ringing = listen(at, "phone", 1)
        at.respond("b", 200, body=sdp(44_000))
        at.run(0.1)
        at.heard("phone")
        at.speak(0.4, phone=PHONE_HZ, b=AGENT_HZ)

        assert rings(ringing)
        assert at.peers["a"].got("BYE")
        assert at.hears("phone") == {AGENT_HZ}
        assert at.hears("b") == {PHONE_HZ}
        assert [e.status for e in at.events if isinstance(e, TransferEnded)] == [200]


def test_transfer_done_by_the_party_when_it_is_told_to() -> None:
    with scene(["trunk:a"]) as at:
        call = up(at)
        at.registry.transfer(call.id, "bob", plan(["trunk:b"]))
        at.run(0.1)
        asked = at.bench.phone.one(sip.ReferAsked)
        asked.session.accept_refer(at.bench.wire.now)
        asked.session.notify_refer(200, "OK", at.bench.wire.now)
        at.run(1.5)

        assert asked.target.user == "bob"
        assert "b" not in at.peers
        assert at.peers["a"].got("BYE")
        assert at.ended().reason is EndReason.TRANSFERRED


def test_redirection_is_followed_through_the_routes() -> None:
    with scene(["trunk:a"]) as at:
        at.bench.given["options"] = SipLegOptions(allow_redirect=True)
        at.call()
        peer = at.peers["a"]
        contact = [("Contact", "<sip:b@198.51.100.66>")]
        peer.respond(at.bench.station, peer.request("INVITE"), 302, headers=contact)
        at.run(0.1)
        at.respond("b", 200, body=sdp(44_000))

        assert at.phone_got() == [200]
        assert at.peers["b"].address[0] != "198.51.100.66"


# ---- time


def test_ringing_that_goes_on_is_cancelled_and_a_late_answer_hung_up() -> None:
    with scene(["trunk:a"], ["trunk:b"]) as at:
        at.call()
        at.respond("a", 180)
        at.run(30)
        at.respond("a", 200, body=sdp(40_000))
        at.respond("b", 200, body=sdp(44_000))

        assert at.peers["a"].got("CANCEL")
        assert at.peers["a"].got("ACK")
        assert at.peers["a"].got("BYE")
        assert at.phone_got() == [180, 200]


def test_last_one_that_only_rings_gives_the_caller_480() -> None:
    with scene(["trunk:a"]) as at:
        at.call()
        at.respond("a", 180)
        at.run(30)
        at.respond("a", 487)

        assert at.phone_got() == [180, 480]


def test_call_has_the_longest_time_of_its_route() -> None:
    with scene(["trunk:a"]) as at:
        at.plan = plan(["trunk:a"], route=RouteOptions(max_call_duration_s=5))
        up(at)
        at.run(5)

        assert at.peers["a"].got("BYE")
        assert at.bench.phone.one(sip.Ended).cause is sip.EndCause.BYE
        assert at.ended().reason is EndReason.TIME_LIMIT
