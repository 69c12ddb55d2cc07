"""The SIP peer's reading of requests, its responses and its SDP."""

from __future__ import annotations

from bench.peers import SipRequest, phone_sdp, rtp_address

OFFER = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 20000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)
INVITE = (
    "INVITE sip:+15550000007@127.0.0.1:5070;user=phone SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK2\r\n"
    "v: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bK1\r\n"
    "From: <sip:a@x>;tag=1\r\nTo: <sip:+15550000007@x>\r\n"
    "i: abc@x\r\nCSeq: 1 INVITE\r\nRecord-Route: <sip:p;lr>\r\n\r\n" + OFFER
)


def test_the_number_dialled_is_read() -> None:
    assert SipRequest(INVITE).user == "+15550000007"


def test_a_response_is_not_taken_for_a_request() -> None:
    assert SipRequest("SIP/2.0 200 OK\r\nCSeq: 1 BYE\r\n\r\n").method == ""


def test_a_200_repeats_what_it_must() -> None:
    response = SipRequest(INVITE).response(200, "OK", body="v=0\r\n", contact="<sip:b>").decode()

    lines = response.split("\r\n")
    assert lines[:6] == [
        "SIP/2.0 200 OK",
        "Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK2",
        "Via: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bK1",
        "Record-Route: <sip:p;lr>",
        "From: <sip:a@x>;tag=1",
        lines[5],
    ]
    assert lines[5].startswith("To: <sip:+15550000007@x>;tag=")
    assert "Content-Length: 5" in lines


def test_responses_of_a_call_have_the_same_tag() -> None:
    invite, bye = SipRequest(INVITE), SipRequest(INVITE.replace("INVITE", "BYE"))

    tags = {r.response(200, "OK").decode().split(";tag=bench")[1][:6] for r in (invite, bye)}

    assert len(tags) == 1


def test_where_rtp_goes_is_read_from_the_offer() -> None:
    assert rtp_address(OFFER) == ("127.0.0.1", 20000)


def test_an_offer_without_pcmu_is_not_taken() -> None:
    assert rtp_address(OFFER.replace("AVP 0 101", "AVP 8 101")) is None


def test_the_answer_keeps_the_offered_telephone_event() -> None:
    sdp = phone_sdp(("127.0.0.1", 30000), OFFER)

    assert "m=audio 30000 RTP/AVP 0 101\r\n" in sdp
    assert "a=rtpmap:101 telephone-event/8000\r\n" in sdp


def test_the_answer_has_no_telephone_event_of_its_own() -> None:
    sdp = phone_sdp(("127.0.0.1", 30000), OFFER.partition("a=rtpmap")[0])

    assert "telephone-event" not in sdp
