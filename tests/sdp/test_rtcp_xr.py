"""What offer and answer say of extended reports (RFC 3611 §5)."""

from __future__ import annotations

import pytest

from gateway.codec import PCMU
from gateway.sdp.description import MediaDescription, Origin, parse_sdp
from gateway.sdp.negotiation import accept_answer, answer_offer, build_offer

ORIGIN = Origin("1", 1, "192.0.2.1")
WANTED = ("voip-metrics", "rcvr-rtt=all")
OURS = MediaDescription(port=20_000, address="192.0.2.1", rtcp_xr=WANTED)


def theirs(*, session: str = "", media: str = "") -> bytes:
    return (
        "v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\n"
        f"{session}m=audio 4000 RTP/AVP 0\r\n{media}"
    ).encode()


@pytest.mark.rfc(3611, "5.1")
def test_an_offer_says_what_we_want_to_be_told() -> None:
    offer = str(build_offer(OURS, codecs=[PCMU], origin=ORIGIN))

    assert "a=rtcp-xr:voip-metrics rcvr-rtt=all\r\n" in offer


@pytest.mark.rfc(3611, "5.2")
@pytest.mark.parametrize(
    "offer",
    [
        theirs(media="a=rtcp-xr:voip-metrics\r\n"),
        theirs(session="a=rtcp-xr:voip-metrics\r\n"),
        theirs(session="a=rtcp-xr:pkt-loss-rle\r\n", media="a=rtcp-xr:voip-metrics\r\n"),
    ],
)
def test_who_asks_gets_extended_reports_and_is_asked_for_them(offer: bytes) -> None:
    answer, agreement = answer_offer(parse_sdp(offer), media=OURS, codecs=[PCMU], origin=ORIGIN)

    assert agreement.rtcp_xr == ("voip-metrics",)
    assert answer.media[0].rtcp_xr == WANTED


@pytest.mark.rfc(3611, "5.2")
@pytest.mark.parametrize("media", ["", "a=rtcp-xr\r\n", "a=rtcp-xr: \r\n"])
def test_who_does_not_speak_of_them_is_not_asked(media: str) -> None:
    offer = parse_sdp(theirs(media=media))

    answer, agreement = answer_offer(offer, media=OURS, codecs=[PCMU], origin=ORIGIN)

    assert agreement.rtcp_xr == ()
    assert "rtcp-xr" not in str(answer)


@pytest.mark.rfc(3611, "5.2")
def test_an_answer_decides_what_we_send() -> None:
    offer = build_offer(OURS, codecs=[PCMU], origin=ORIGIN)

    asked = accept_answer(offer, parse_sdp(theirs(media="a=rtcp-xr:voip-metrics\r\n")))
    not_asked = accept_answer(offer, parse_sdp(theirs()))

    assert asked.rtcp_xr == ("voip-metrics",)
    assert not_asked.rtcp_xr == ()
