"""Session timers in both roles (RFC 4028), F9."""

from __future__ import annotations

import pytest

from gateway.sip.endpoint import EndpointOptions
from gateway.sip.event import EndCause, Ended, ReofferAnswered, Reoffered, ReofferFailed
from gateway.sip.message import Request
from gateway.sip.session_timer import SessionTimerOptions
from tests.support.sip import ANSWER, OFFER, Line
from tests.support.talk import ALLOW, Talk

HOLD = b"v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=hold\r\n"
HELD = b"v=0\r\no=- 2 3 IN IP4 192.0.2.2\r\ns=held\r\n"
SHORT = SessionTimerOptions(expires_s=90)
NONE = EndpointOptions(session_timer=None)
NO_UPDATE = ("Allow", "INVITE, ACK, CANCEL, BYE")


def expires(seconds: int, refresher: str) -> tuple[str, str]:
    return ("Session-Expires", f"{seconds};refresher={refresher}")


def called(*headers: tuple[str, str], timer: SessionTimerOptions | None = SHORT) -> Talk:
    """Our call, answered with these headers at 0 s."""
    talk = Talk()
    talk.call(session_timer=timer)
    talk.say(200, *headers, body=ANSWER, seconds=0)
    talk.run(0.01)
    return talk


def calling(*headers: str, options: EndpointOptions | None = None) -> Talk:
    """The peer's call, answered by us at 0 s and acknowledged."""
    talk = Talk(options)
    talk.ring(*headers).answer(ANSWER, talk.now)
    talk.run(0)
    talk.ack(1)
    return talk


# ---- asking


@pytest.mark.rfc(4028, "7.1")
def test_f9_our_invite_asks_for_half_an_hour_and_takes_90_s() -> None:
    talk = Talk()

    talk.call()

    invite = talk.peer.request("INVITE")
    assert "timer" in invite.supported
    assert invite.headers.get("Session-Expires") == "1800"
    assert invite.headers.get("Min-SE") == "90"


def test_no_timer_is_asked_for_without_options() -> None:
    talk = Talk()

    talk.call(session_timer=None)

    invite = talk.peer.request("INVITE")
    assert "timer" in invite.supported
    assert "Session-Expires" not in invite.headers


@pytest.mark.parametrize(("expires_s", "min_se_s"), [(1800, 60), (89, 89), (100, 200)])
def test_options_are_within_the_standard(expires_s: int, min_se_s: int) -> None:
    with pytest.raises(ValueError, match="min_se_s"):
        SessionTimerOptions(expires_s, min_se_s)


@pytest.mark.rfc(4028, "7.3")
def test_f9_422_is_tried_again_once_with_its_min_se() -> None:
    talk = Talk()
    talk.call()
    first = talk.peer.request("INVITE")

    talk.say(422, ("Min-SE", "3600"))
    second = talk.peer.request("INVITE")
    talk.say(422, ("Min-SE", "7200"))

    assert (second.call_id, second.from_) == (first.call_id, first.from_)
    assert second.cseq.number == first.cseq.number + 1
    assert second.via.branch != first.via.branch
    assert second.headers.get("Session-Expires") == "3600"
    assert second.headers.get("Min-SE") == "3600"
    ended = talk.us.one(Ended)
    assert (ended.cause, ended.status) == (EndCause.REJECTED, 422)
    talk.settle()


@pytest.mark.parametrize("headers", [(), (("Min-SE", "soon"),), (("Min-SE", "90"),)])
def test_f9_422_that_says_nothing_new_is_final(headers: tuple[tuple[str, str], ...]) -> None:
    talk = Talk()
    talk.call()

    talk.say(422, *headers)

    assert len({m.via.branch for m in talk.peer.got("INVITE")}) == 1
    assert talk.us.one(Ended).status == 422


# ---- we refresh


@pytest.mark.rfc(4028, "10")
@pytest.mark.parametrize("refresher", [";refresher=uac", ""])
def test_f9_session_is_refreshed_at_half_by_update(refresher: str) -> None:
    talk = called(("Require", "timer"), ("Session-Expires", f"90{refresher}"))

    talk.run(44.9)
    assert talk.methods()[-1] == "ACK"
    talk.run(0.2)

    update = talk.peer.request("UPDATE")
    assert update.body == b""
    assert "timer" in update.supported
    assert update.headers.get("Session-Expires") == "90;refresher=uac"
    talk.say(200, expires(90, "uac"), to="UPDATE")
    talk.run(44.8)
    assert len({m.via.branch for m in talk.peer.got("UPDATE")}) == 1
    talk.run(0.3)
    assert len({m.via.branch for m in talk.peer.got("UPDATE")}) == 2
    assert talk.us.all(ReofferAnswered) == []
    talk.say(200, expires(90, "uac"), to="UPDATE")
    talk.hang_up()


@pytest.mark.rfc(4028, "7.4")
def test_f9_session_is_refreshed_by_the_same_offer_where_update_is_not_allowed() -> None:
    talk = called(NO_UPDATE, expires(90, "uac"))
    talk.peer.inbox.clear()

    talk.run(45.1)
    reinvite = talk.peer.request("INVITE")
    talk.say(200, expires(90, "uac"), body=ANSWER)

    assert reinvite.body == OFFER
    assert reinvite.headers.get("Session-Expires") == "90;refresher=uac"
    assert talk.methods()[-1] == "ACK"
    assert talk.us.all(ReofferAnswered) == []  # the same answer as before


def test_f9_answer_to_a_refresh_that_changes_something_is_told() -> None:
    talk = called(NO_UPDATE, expires(90, "uac"))
    talk.run(45.1)

    talk.say(200, expires(90, "uac"), body=HELD)

    assert talk.us.one(ReofferAnswered).sdp == HELD


def test_f9_refresh_has_the_session_as_it_was_changed_last() -> None:
    talk = called(NO_UPDATE, expires(90, "uac"))
    talk.session.reoffer(HOLD, talk.now)
    talk.run()
    talk.say(200, NO_UPDATE, expires(90, "uac"), body=HELD)

    talk.run(46)

    assert talk.peer.request("INVITE").body == HOLD


def test_f9_any_change_of_ours_refreshes_too() -> None:
    talk = called(expires(90, "uac"))
    talk.run(40)
    talk.session.reoffer(HOLD, talk.now)
    talk.run()
    talk.say(200, expires(90, "uac"), body=HELD)

    talk.run(44)
    assert talk.peer.got("UPDATE") == []
    talk.run(2)

    assert talk.peer.got("UPDATE")


def test_f9_change_of_the_peer_refreshes_too() -> None:
    talk = called(expires(90, "uac"))
    talk.run(40)
    talk.send("INVITE", "Supported: timer", "Session-Expires: 90;refresher=uas", body=HOLD, cseq=7)
    talk.session.accept_reoffer(HELD, talk.now)
    talk.run()
    talk.ack(7)

    talk.run(44)
    assert talk.peer.got("UPDATE") == []
    talk.run(2)

    assert talk.headers_of("200 INVITE", ["Session-Expires", "Require"]) == (
        "90;refresher=uas", "timer",
    )  # fmt: skip
    assert talk.peer.got("UPDATE")


@pytest.mark.parametrize("status", [405, 501])
def test_f9_refresh_falls_back_to_a_reinvite(status: int) -> None:
    talk = called(expires(90, "uac"))
    talk.run(45.1)

    talk.say(status, to="UPDATE")

    assert talk.peer.request("INVITE").body == OFFER
    assert talk.us.all(ReofferFailed) == []


@pytest.mark.rfc(4028, "10")
@pytest.mark.parametrize("status", [408, 481])
@pytest.mark.parametrize("allow", [NO_UPDATE, ALLOW], ids=["re-INVITE", "UPDATE"])
def test_f9_refresh_that_the_peer_knows_nothing_of_ends_with_bye(
    allow: tuple[str, str], status: int
) -> None:
    talk = called(allow, expires(90, "uac"))
    talk.run(45.1)

    talk.say(status, to="INVITE" if allow is NO_UPDATE else "UPDATE")

    assert talk.cause is EndCause.SESSION_EXPIRED
    assert talk.methods()[-1] == "BYE"
    talk.say(481, to="BYE")
    talk.settle()


def test_f9_refresh_that_is_never_answered_ends_with_bye() -> None:
    talk = called(expires(90, "uac"))

    talk.run(45 + 31)
    assert talk.us.all(Ended) == []
    talk.run(2)

    assert talk.cause is EndCause.SESSION_EXPIRED
    assert talk.methods()[-1] == "BYE"


@pytest.mark.parametrize("status", [403, 488, 500])
def test_f9_refused_refresh_is_tried_again_until_the_session_expires(status: int) -> None:
    talk = called(expires(180, "uac"))

    tries: list[int] = []
    for _ in range(1800):
        talk.run(0.1)
        updates = {m.via.branch for m in talk.peer.got("UPDATE")}
        if len(updates) > len(tries):
            tries.append(round(talk.now - 100.1))
            talk.say(status, to="UPDATE", seconds=0)

    assert tries[:2] == [90, 135]
    assert len(tries) < 6
    assert talk.us.all(ReofferFailed) == []
    talk.run(1)
    assert talk.cause is EndCause.SESSION_EXPIRED
    assert talk.us.at(Ended) == pytest.approx(100.1 + 180, abs=0.1)


def test_f9_422_to_a_refresh_is_tried_again_with_its_min_se() -> None:
    talk = called(expires(90, "uac"))
    talk.run(45.1)

    talk.say(422, ("Min-SE", "600"), to="UPDATE")
    assert talk.peer.request("UPDATE").headers.get("Session-Expires") == "600;refresher=uac"
    assert talk.peer.request("UPDATE").headers.get("Min-SE") == "600"
    talk.say(200, expires(600, "uac"), to="UPDATE")
    talk.run(290)

    assert len({m.via.branch for m in talk.peer.got("UPDATE")}) == 2
    assert talk.us.all(Ended) == []


def test_f9_glare_of_a_refresh_is_tried_again() -> None:
    talk = called(expires(90, "uac"))
    talk.run(45.1)
    talk.say(491, to="UPDATE")

    talk.run(4)

    assert len({m.via.branch for m in talk.peer.got("UPDATE")}) == 2


def test_nobody_makes_us_refresh_more_often_than_each_45_s() -> None:
    talk = called(expires(1, "uac"))

    talk.run(44)
    assert talk.peer.got("UPDATE") == []
    talk.run(2)

    assert talk.peer.request("UPDATE").headers.get("Session-Expires") == "90;refresher=uac"


# ---- the peer refreshes


@pytest.mark.rfc(4028, "10")
@pytest.mark.parametrize(("interval", "at"), [(90, 60.0), (96, 64.0), (1800, 1768.0)])
def test_f9_session_that_the_peer_does_not_refresh_ends_before_it_expires(
    interval: int, at: float
) -> None:
    talk = called(expires(interval, "uas"))

    talk.run(at - 0.5)
    assert talk.us.all(Ended) == []
    talk.run(1)

    assert talk.cause is EndCause.SESSION_EXPIRED
    assert talk.methods()[-1] == "BYE"
    talk.say(200, to="BYE")
    talk.settle()


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_f9_refresh_of_the_peer_is_answered_and_begins_the_time_anew(method: str) -> None:
    talk = called(expires(90, "uas"))
    talk.run(50)

    headers = ("Supported: timer", "Session-Expires: 90;refresher=uac")
    talk.send(method, *headers, body=ANSWER if method == "INVITE" else b"", cseq=7)
    if method == "INVITE":
        talk.session.accept_reoffer(OFFER, talk.now)
        talk.run(0.1)
        talk.ack(7)
    talk.run(55)
    assert talk.us.all(Ended) == []
    talk.run(6)

    assert talk.headers_of(f"200 {method}", ["Session-Expires", "Require"]) == (
        "90;refresher=uac", "timer",
    )  # fmt: skip
    assert talk.cause is EndCause.SESSION_EXPIRED


# ---- no timer


def test_f9_no_timer_runs_where_the_200_names_none() -> None:
    talk = called()

    talk.run(4000)

    assert talk.methods() == ["INVITE", "ACK"]
    assert talk.us.all(Ended) == []
    talk.hang_up()


def test_f9_timer_is_off_once_a_200_names_none() -> None:
    talk = called(expires(90, "uac"))
    talk.run(45.1)

    talk.say(200, to="UPDATE")
    talk.run(1000)

    assert len({m.via.branch for m in talk.peer.got("UPDATE")}) == 1
    assert talk.us.all(Ended) == []


@pytest.mark.parametrize("value", ["", "soon", "-90", "90;refresher=\x01", "99999999999"])
def test_session_expires_that_cannot_be_read_is_none(value: str) -> None:
    answered = called(("Session-Expires", value)) if value.isprintable() else called()
    asked = calling("Supported: timer", f"Session-Expires: {value}")

    answered.run(100)

    assert answered.methods() == ["INVITE", "ACK"]
    assert asked.headers_of("200 INVITE", ["Session-Expires"]) == ("1800;refresher=uac",)


# ---- we are called


@pytest.mark.rfc(4028, "9")
@pytest.mark.parametrize(
    ("headers", "answered", "require"),
    [
        (("Supported: timer",), "1800;refresher=uac", "timer"),
        (("Supported: timer", "Session-Expires: 600"), "600;refresher=uac", "timer"),
        (("Supported: timer", "x: 600;refresher=uas"), "600;refresher=uas", "timer"),
        (("Supported: timer", "Session-Expires: 600;refresher=uac"), "600;refresher=uac", "timer"),
        (("Session-Expires: 600",), "600;refresher=uas", None),
        (("Session-Expires: 60",), "90;refresher=uas", None),
        (("Supported: timer", "Session-Expires: 7200"), "1800;refresher=uac", "timer"),
        (
            ("Supported: timer", "Session-Expires: 7200", "Min-SE: 3600"),
            "3600;refresher=uac",
            "timer",
        ),
        (("Supported: timer", "Min-SE: 3600"), "3600;refresher=uac", "timer"),
        ((), None, None),
        (("Supported: 100rel",), None, None),
    ],
)
def test_f9_answer_to_a_caller(
    headers: tuple[str, ...], answered: str | None, require: str | None
) -> None:
    talk = calling(*headers)

    names = ["Session-Expires", "Require"]
    assert talk.headers_of("200 INVITE", names) == (answered, require)


@pytest.mark.rfc(4028, "9")
@pytest.mark.parametrize("is_within", [False, True])
def test_f9_too_short_an_interval_gets_422(is_within: bool) -> None:
    options = EndpointOptions(session_timer=SessionTimerOptions(min_se_s=120))
    headers = ("Supported: timer", "Session-Expires: 119")
    talk = Talk(options)
    if is_within:
        talk.ring().answer(ANSWER, talk.now)
        talk.run()
        talk.ack(1)
        talk.send("UPDATE", *headers)
    else:
        talk.send("INVITE", *headers, cseq=1, body=OFFER, is_first=True)

    method = "UPDATE" if is_within else "INVITE"
    assert talk.peer.response(f"422 {method}").headers.get("Min-SE") == "120"
    assert talk.us.all(Reoffered) == []


def test_f9_without_options_the_timer_of_a_caller_is_kept_all_the_same() -> None:
    asked = calling("Supported: timer", "Session-Expires: 90;refresher=uas", options=NONE)
    not_asked = calling("Supported: timer", options=NONE)

    asked.run(46)

    assert asked.peer.got("UPDATE")
    assert "Session-Expires" not in not_asked.peer.response("200 INVITE").headers


def test_f9_callee_that_refreshes_does_so_though_the_caller_knows_no_timer() -> None:
    talk = calling("Session-Expires: 90")

    talk.run(46)

    assert talk.peer.request("UPDATE").headers.get("Session-Expires") == "90;refresher=uac"


def test_f9_caller_that_does_not_refresh_is_hung_up_on() -> None:
    talk = calling("Supported: timer", "Session-Expires: 90;refresher=uac")

    talk.run(61)

    assert talk.cause is EndCause.SESSION_EXPIRED


def test_update_before_the_answer_sets_no_timer() -> None:
    talk = Talk(EndpointOptions(reliable=True))
    session = talk.ring("Supported: 100rel, timer")

    talk.send("UPDATE", "Supported: timer", "Session-Expires: 90;refresher=uac")
    talk.run(100)

    assert "Session-Expires" not in talk.peer.response("200 UPDATE").headers
    assert not session.is_ended


# ---- two of ours


def test_f9_two_of_us_stay_up_for_hours() -> None:
    line = Line(options=EndpointOptions(session_timer=SHORT))
    session, other = line.connect()

    line.run(7200)

    assert line.caller.all(Ended) == line.callee.all(Ended) == []
    updates = [each.message for each in line.wire.sent("UPDATE")]
    assert len(updates) == pytest.approx(7200 / 45, abs=2)
    assert all(isinstance(each, Request) and each.body == b"" for each in updates)
    other.bye(line.wire.now)
    line.run(35)
    assert line.is_idle
    assert session.is_ended


def test_f9_both_notice_that_nothing_comes_through_any_more() -> None:
    line = Line(options=EndpointOptions(session_timer=SHORT))
    line.connect()
    line.wire.drop_next(10_000)

    line.run(150)

    causes = {each.one(Ended).cause for each in (line.caller, line.callee)}
    assert causes == {EndCause.SESSION_EXPIRED}
    assert line.is_idle
