"""Offer and answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.codec import G722, OPUS, PCMA, PCMU, TELEPHONE_EVENT, Codec
from gateway.errors import CodecError, NegotiationError
from gateway.sdp.choice import Preference
from gateway.sdp.description import (
    Direction,
    Group,
    Keying,
    MediaDescription,
    SessionDescription,
    parse_sdp,
)
from gateway.sdp.negotiation import (
    OPUS_NARROWBAND_FMTP,
    Agreement,
    accept_answer,
    answer_offer,
    answer_without_media,
    build_offer,
    find_audio,
)
from tests.sdp.media import (
    BROWSER_CODECS,
    ORIGIN,
    TRUNK_CODECS,
    VECTORS,
    load,
    udp_media,
    webrtc_media,
)


def answer_sip(
    offer: SessionDescription,
    codecs: tuple[Codec, ...] = TRUNK_CODECS,
    prefer: Preference = Preference.THEIRS,
) -> tuple[SessionDescription, Agreement]:
    """Our answer to a SIP offer."""
    return answer_offer(offer, media=udp_media(), codecs=codecs, origin=ORIGIN, prefer=prefer)


def answer_browser(
    name: str, codecs: tuple[Codec, ...] = BROWSER_CODECS
) -> tuple[SessionDescription, Agreement]:
    """Our answer to a recorded offer of a browser."""
    return answer_offer(load(name), media=webrtc_media(), codecs=codecs, origin=ORIGIN)


def sip_offer(*lines: str, formats: str = "0 8 101") -> SessionDescription:
    """A SIP offer of audio with some more lines."""
    return parse_sdp(
        "\r\n".join(
            [
                "v=0",
                "o=- 5 5 IN IP4 192.0.2.9",
                "s=-",
                "c=IN IP4 192.0.2.9",
                "t=0 0",
                f"m=audio 4000 RTP/AVP {formats}",
                "a=rtpmap:101 telephone-event/8000",
                *lines,
                "",
            ]
        )
    )


# ---- answers to browsers


def test_chromium_gets_opus_with_events_on_its_clock() -> None:
    answer, agreement = answer_browser("chromium-audio")

    assert answer.media[0].formats == ("111", "110")
    assert agreement.send == Codec("opus", 111, 48000, 48000, 2, fmtp="minptime=10;useinbandfec=1")
    assert agreement.send_digits == Codec("telephone-event", 110, 48000, 0)
    assert (agreement.index, agreement.direction) == (0, Direction.SENDRECV)


def test_firefox_gets_its_own_numbers_and_events_on_8000() -> None:
    answer, agreement = answer_browser("firefox-audio")

    assert answer.media[0].formats == ("109", "101")
    assert [codec.payload_type for codec in agreement.receive] == [109, 101]
    assert agreement.send.fmtp == "maxplaybackrate=48000;stereo=1;useinbandfec=1"
    assert agreement.send_digits == Codec("telephone-event", 101, 8000, 0, fmtp="0-15")


def test_the_answer_asks_for_narrowband_opus_where_the_caller_says_so() -> None:
    narrow = replace(OPUS, fmtp=OPUS_NARROWBAND_FMTP)

    answer, agreement = answer_browser("chromium-audio", (narrow, *BROWSER_CODECS))

    assert f"a=fmtp:111 {OPUS_NARROWBAND_FMTP}\r\n" in str(answer)
    assert agreement.receive[0].fmtp == OPUS_NARROWBAND_FMTP


def test_the_answer_to_a_browser_is_complete() -> None:
    answer, _ = answer_browser("chromium-audio")

    assert str(answer).split("\r\n") == [
        "v=0",
        "o=- 1234567890 1 IN IP4 192.0.2.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=audio 10000 UDP/TLS/RTP/SAVPF 111 110",
        "c=IN IP4 192.0.2.1",
        "a=candidate:1 1 udp 2130706431 192.0.2.1 10000 typ host",
        "a=end-of-candidates",
        "a=ice-ufrag:gwuf",
        "a=ice-pwd:gatewaygatewaygatewaygat",
        f"a=fingerprint:sha-256 {':'.join(['AB'] * 32)}",
        "a=setup:passive",
        "a=mid:0",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        "a=sendrecv",
        "a=rtpmap:111 opus/48000/2",
        "a=rtpmap:110 telephone-event/48000",
        "a=fmtp:110 0-15",
        "",
    ]


def test_firefox_did_not_ask_for_reduced_size_rtcp() -> None:
    answer, _ = answer_browser("firefox-audio")

    assert "rtcp-rsize" not in str(answer)


@pytest.mark.parametrize("name", ["chromium-audio-video-data", "chromium-max-bundle"])
def test_video_and_data_are_rejected_in_place(name: str) -> None:
    offer = load(name)

    answer, agreement = answer_browser(name)

    assert [media.kind for media in answer.media] == [media.kind for media in offer.media]
    assert [media.protocol for media in answer.media] == [media.protocol for media in offer.media]
    assert [media.mid for media in answer.media] == ["0", "1", "2"]
    assert [media.port == 0 for media in answer.media] == [False, True, True]
    assert answer.groups == (Group("BUNDLE", ("0",)),)
    assert agreement.index == 0
    assert parse_sdp(str(answer)) == answer


def test_the_first_of_two_audio_sections_is_taken_wherever_it_is() -> None:
    answer, agreement = answer_browser("chromium-video-first")

    assert [media.port for media in answer.media] == [0, 10000, 0]
    assert agreement.index == 1
    assert answer.groups == (Group("BUNDLE", ("1",)),)


def test_audio_inside_a_rejected_section_is_not_acceptable() -> None:
    offer = load("chromium-audio")
    offer.media[0].port = 0
    offer.media[0].bundle_only = True

    with pytest.raises(NegotiationError, match="port is 0"):
        find_audio(offer, codecs=BROWSER_CODECS, keying=Keying.DTLS)


@pytest.mark.parametrize(
    ("offered", "ours", "answered"),
    [
        ("actpass", "active", "active"),
        ("actpass", "passive", "passive"),
        ("actpass", "actpass", "active"),
        ("active", "active", "passive"),
        ("passive", "passive", "active"),
    ],
)
def test_the_dtls_role_fits_the_offer(offered: str, ours: str, answered: str) -> None:
    offer = load("chromium-audio")
    offer.media[0].setup = offered
    media = replace(webrtc_media(), setup=ours)

    answer, _ = answer_offer(offer, media=media, codecs=BROWSER_CODECS, origin=ORIGIN)

    assert answer.media[0].setup == answered


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"rtcp_mux": False}, "rtcp-mux"),
        ({"fingerprints": ()}, "fingerprint"),
        ({"setup": "holdconn"}, "role"),
        ({"ice_ufrag": None}, "ICE"),
        ({"protocol": "RTP/AVP"}, "RTP/AVP keyed by none"),
        ({"protocol": "TCP/RTP/AVP"}, "this leg is keyed by dtls"),
    ],
)
def test_a34_a_browser_offer_without_what_webrtc_needs_is_refused(
    change: dict[str, object], why: str
) -> None:
    offer = load("chromium-audio")
    offer.media[0] = replace(offer.media[0], **change)  # type: ignore[arg-type]

    with pytest.raises(NegotiationError, match=why):
        answer_offer(offer, media=webrtc_media(), codecs=BROWSER_CODECS, origin=ORIGIN)


# ---- answers to SIP


@pytest.mark.parametrize(
    ("name", "codec", "formats", "ptime_ms"),
    [
        ("baresip", PCMU, ("0", "101"), 20),
        ("sipp", PCMU, ("0",), 20),
        ("asterisk", PCMA, ("8", "101"), 20),
        ("cisco", PCMU, ("0", "101", "19"), 30),
    ],
)
def test_sip_offers_get_the_first_codec_of_theirs_that_we_allow(
    name: str, codec: Codec, formats: tuple[str, ...], ptime_ms: int
) -> None:
    answer, agreement = answer_sip(load(name))

    assert agreement.send == codec
    assert answer.media[0].formats == formats
    assert (agreement.send_digits is not None) == ("101" in formats)
    assert agreement.ptime_ms == ptime_ms


def test_our_order_decides_where_it_is_forced() -> None:
    _, agreement = answer_sip(
        load("asterisk"), (PCMU, PCMA, TELEPHONE_EVENT), prefer=Preference.OURS
    )

    assert agreement.send == PCMU


def test_a_fax_beside_the_audio_is_rejected() -> None:
    answer, _ = answer_sip(load("cisco"))

    assert [(m.kind, m.port, m.protocol) for m in answer.media] == [
        ("audio", 20000, "RTP/AVP"),
        ("image", 0, "udptl"),
    ]


def test_the_answer_to_sip_says_all_it_must() -> None:
    answer, _ = answer_sip(load("sipp"))

    assert str(answer).split("\r\n") == [
        "v=0",
        "o=- 1234567890 1 IN IP4 192.0.2.1",
        "s=-",
        "c=IN IP4 192.0.2.1",
        "t=0 0",
        "m=audio 20000 RTP/AVP 0",
        "a=sendrecv",
        "a=rtpmap:0 PCMU/8000",
        "a=ptime:20",
        "",
    ]


def test_rtcp_shares_the_port_only_where_both_can() -> None:
    offer = sip_offer("a=rtcp-mux")
    able = replace(udp_media(), rtcp_mux=True)

    with_mux, _ = answer_offer(offer, media=able, codecs=TRUNK_CODECS, origin=ORIGIN)
    without, _ = answer_sip(offer)
    unasked, _ = answer_offer(sip_offer(), media=able, codecs=TRUNK_CODECS, origin=ORIGIN)

    assert with_mux.media[0].rtcp_mux
    assert not without.media[0].rtcp_mux
    assert not unasked.media[0].rtcp_mux


def test_no_common_codec_names_both_lists() -> None:
    with pytest.raises(NegotiationError) as caught:
        answer_sip(sip_offer(formats="18 3 101"))

    assert str(caught.value) == "no common codec: audio has G729, GSM, allowed are PCMU, PCMA"
    assert caught.value.status == 488


@pytest.mark.parametrize("lines", [(), ("a=fmtp:18 annexb=no",), ("a=rtpmap:18 g729/8000",)])
def test_g729_alone_is_refused_by_its_name(lines: tuple[str, ...]) -> None:
    offer = sip_offer(*lines, formats="18 101")

    with pytest.raises(CodecError) as caught:
        answer_sip(offer)

    assert str(caught.value) == (
        "no common codec: audio has G729, allowed are PCMU, PCMA; G.729 is not spoken here"
    )


def test_an_offer_of_a_hundred_codecs_is_refused_in_a_line() -> None:
    lines = [f"a=rtpmap:{number} {'x' * 60}{number}/8000" for number in range(96, 128)]
    offer = sip_offer(*lines, formats=" ".join(map(str, range(96, 128))))

    with pytest.raises(CodecError) as caught:
        answer_sip(offer)

    assert len(str(caught.value)) < 200


def test_g729_beside_others_is_left_out() -> None:
    answer, agreement = answer_sip(sip_offer(formats="18 8 0 101"))

    assert answer.media[0].formats == ("8", "101")
    assert agreement.send.name == "PCMA"


def test_opus_is_sent_at_no_higher_rate_than_the_peer_plays() -> None:
    for limit, rate in (
        (8000, 8000),
        (11_000, 8000),
        (16_000, 16_000),
        (44_100, 24_000),
        (1, 8000),
    ):
        offer = sip_offer(
            "a=rtpmap:96 opus/48000/2", f"a=fmtp:96 stereo=0; MaxPlaybackRate={limit}", formats="96"
        )

        _, agreement = answer_sip(offer, (OPUS, TELEPHONE_EVENT))

        assert (agreement.send.sample_rate, agreement.send.clock_rate) == (rate, 48_000)


def test_g722_is_16_khz_audio_on_a_clock_of_8_khz() -> None:
    """RFC 3551 §4.5.2; Firefox writes a third field."""
    for line in ((), ("a=rtpmap:9 G722/8000/1",), ("a=rtpmap:9 g722/8000",)):
        answer, agreement = answer_sip(sip_offer(*line, formats="9 101"), (G722, TELEPHONE_EVENT))

        assert answer.media[0].formats == ("9", "101")
        assert agreement.send == G722
        assert "a=rtpmap:9 G722/8000\r\n" in str(answer)


def test_events_alone_are_no_common_codec() -> None:
    with pytest.raises(NegotiationError, match="no common codec"):
        answer_sip(sip_offer(formats="101"))


def test_a34_srtp_offered_to_a_plain_leg_is_refused() -> None:
    with pytest.raises(NegotiationError, match="RTP/SAVP keyed by sdes"):
        answer_sip(load("zoiper-sdes"))


def test_srtp_is_answered_by_a_leg_that_has_it() -> None:
    media = replace(
        udp_media(), protocol="RTP/SAVP", crypto=("1 AES_CM_128_HMAC_SHA1_80 inline:x",)
    )

    answer, _ = answer_offer(load("zoiper-sdes"), media=media, codecs=TRUNK_CODECS, origin=ORIGIN)

    assert answer.media[0].protocol == "RTP/SAVP"
    assert answer.media[0].crypto == media.crypto


def test_no_audio_at_all_is_refused() -> None:
    offer = load("cisco")
    del offer.media[0]

    with pytest.raises(NegotiationError, match="offer has no audio"):
        answer_sip(offer)


@pytest.mark.parametrize(
    ("lines", "ptime_ms"),
    [
        ((), 20),
        (("a=ptime:10",), 10),
        (("a=ptime:25",), 20),
        (("a=ptime:60", "a=maxptime:40"), 40),
        (("a=maxptime:10",), 10),
        (("a=ptime:1000",), 60),
    ],
)
def test_packets_are_as_long_as_the_peer_wants(lines: tuple[str, ...], ptime_ms: int) -> None:
    _, agreement = answer_sip(sip_offer(*lines))

    assert agreement.ptime_ms == ptime_ms


def test_opus_packets_are_whole_frames() -> None:
    offer = sip_offer("a=rtpmap:96 opus/48000/2", "a=ptime:30", formats="96")

    _, agreement = answer_sip(offer, (OPUS,))

    assert agreement.ptime_ms == 20


def test_payload_types_that_look_like_rtcp_are_not_used() -> None:
    offer = sip_offer("a=rtpmap:72 PCMU/8000", formats="72 8")

    _, agreement = answer_sip(offer)

    assert agreement.send == PCMA


def test_stereo_pcmu_is_not_pcmu() -> None:
    offer = sip_offer("a=rtpmap:96 PCMU/8000/2", formats="96 8")

    _, agreement = answer_sip(offer)

    assert agreement.send == PCMA


# ---- hold


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        (Direction.SENDRECV, Direction.SENDRECV),
        (Direction.SENDONLY, Direction.RECVONLY),
        (Direction.RECVONLY, Direction.SENDONLY),
        (Direction.INACTIVE, Direction.INACTIVE),
    ],
)
def test_a_hold_is_answered_in_kind(offered: Direction, answered: Direction) -> None:
    answer, agreement = answer_sip(sip_offer(f"a={offered.value}"))

    assert answer.media[0].direction is answered
    assert agreement.direction is answered


def test_both_sides_on_hold_leave_nothing() -> None:
    media = replace(udp_media(), direction=Direction.SENDONLY)

    answer, agreement = answer_offer(
        sip_offer("a=sendonly"), media=media, codecs=TRUNK_CODECS, origin=ORIGIN
    )

    assert answer.media[0].direction is Direction.INACTIVE
    assert agreement.direction is Direction.INACTIVE


def test_a_null_address_holds_without_a_word_in_the_answer() -> None:
    answer, agreement = answer_sip(load("hold-null-address"))

    assert answer.media[0].direction is Direction.SENDRECV
    assert agreement.direction is Direction.RECVONLY


def test_a_null_address_says_nothing_where_ice_does() -> None:
    offer = load("chromium-max-bundle")

    _, agreement = answer_browser("chromium-max-bundle")

    assert offer.media[0].address == "0.0.0.0"
    assert agreement.direction is Direction.SENDRECV


def test_an_inactive_browser_is_answered_inactive() -> None:
    answer, agreement = answer_browser("chromium-inactive")

    assert answer.media[0].direction is agreement.direction is Direction.INACTIVE
    assert answer.media[0].port == 10000


def test_a_hold_at_port_0_rests_and_resumes() -> None:
    held = load("hold-port-zero")
    first, _ = answer_sip(load("baresip"))

    resting = answer_without_media(held, origin=ORIGIN, previous=first)
    resumed, agreement = answer_offer(
        load("baresip"), media=udp_media(), codecs=TRUNK_CODECS, origin=ORIGIN, previous=resting
    )

    assert load("baresip").has_audio
    assert not held.has_audio
    assert [media.port for media in resting.media] == [0]
    assert agreement.direction is Direction.SENDRECV
    assert [d.origin.version for d in (first, resting, resumed)] == [1, 2, 3]


# ---- versions


def test_the_version_stays_where_nothing_changes() -> None:
    first, _ = answer_sip(load("baresip"))

    again, _ = answer_offer(
        load("baresip"), media=udp_media(), codecs=TRUNK_CODECS, origin=ORIGIN, previous=first
    )

    assert str(again) == str(first)


def test_the_version_goes_up_by_one_where_anything_changes() -> None:
    first, _ = answer_sip(load("baresip"))
    other = replace(ORIGIN, session_id="9", version=77)

    moved, _ = answer_offer(
        load("baresip"),
        media=replace(udp_media(), port=20002),
        codecs=TRUNK_CODECS,
        origin=other,
        previous=first,
    )

    assert moved.origin == replace(first.origin, version=2)


# ---- offers


def test_a_sip_offer_is_plain() -> None:
    offer = build_offer(udp_media(), codecs=BROWSER_CODECS[1:], origin=ORIGIN)

    assert str(offer).split("\r\n") == [
        "v=0",
        "o=- 1234567890 1 IN IP4 192.0.2.1",
        "s=-",
        "c=IN IP4 192.0.2.1",
        "t=0 0",
        "m=audio 20000 RTP/AVP 0 8 101",
        "a=sendrecv",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:20",
        "",
    ]


@pytest.mark.parametrize(("port", "is_said"), [(20001, False), (20005, True)])
def test_the_rtcp_port_is_said_only_where_it_is_unusual(port: int, is_said: bool) -> None:
    media = replace(udp_media(), rtcp_port=port)

    offer = build_offer(media, codecs=TRUNK_CODECS, origin=ORIGIN)

    assert (f"a=rtcp:{port}" in str(offer)) == is_said


def test_a_webrtc_offer_leaves_the_dtls_role_open() -> None:
    offer = build_offer(webrtc_media(), codecs=BROWSER_CODECS, origin=ORIGIN)

    media = offer.media[0]
    assert (media.setup, media.mid, media.rtcp_mux) == ("actpass", "0", True)
    assert media.formats == ("111", "0", "8", "110", "101")
    assert offer.groups == (Group("BUNDLE", ("0",)),)


def test_a_new_offer_keeps_sections_and_payload_types() -> None:
    answer, _ = answer_browser("chromium-video-first")
    firefox, _ = answer_browser("firefox-audio")

    offer = build_offer(webrtc_media(), codecs=BROWSER_CODECS, origin=ORIGIN, previous=answer)
    renumbered = build_offer(webrtc_media(), codecs=BROWSER_CODECS, origin=ORIGIN, previous=firefox)

    assert [(m.kind, m.mid, m.port) for m in offer.media] == [
        ("video", "0", 0),
        ("audio", "1", 10000),
        ("audio", "2", 0),
    ]
    assert offer.origin.version == 2
    assert renumbered.media[0].codecs[0].payload_type == 109


def test_a_bound_payload_type_is_not_given_away() -> None:
    first, _ = answer_sip(sip_offer("a=rtpmap:111 PCMA/8000", formats="111"))

    offer = build_offer(udp_media(), codecs=(OPUS, PCMA), origin=ORIGIN, previous=first)

    numbers = {codec.name: codec.payload_type for codec in offer.media[0].codecs}
    assert numbers == {"opus": 127, "PCMA": 111}


# ---- answers to our offers


def our_offer() -> SessionDescription:
    """A SIP offer of ours."""
    return build_offer(udp_media(), codecs=BROWSER_CODECS, origin=ORIGIN)


def their_answer(*lines: str, media: str = "m=audio 4000 RTP/AVP 8 101") -> SessionDescription:
    """An answer to it."""
    head = "v=0\r\no=- 5 5 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
    events = "a=rtpmap:101 telephone-event/8000"
    return parse_sdp(head + "".join(f"{line}\r\n" for line in (media, events, *lines)))


def test_an_answer_settles_codec_events_and_packets() -> None:
    agreement = accept_answer(our_offer(), their_answer("a=ptime:30", "a=sendonly"))

    assert agreement.send == PCMA
    assert agreement.send_digits == Codec("telephone-event", 101, 8000, 0)
    assert agreement.ptime_ms == 30
    assert agreement.direction is Direction.RECVONLY
    assert set(agreement.receive) == set(BROWSER_CODECS)


def test_an_answer_with_other_numbers_is_sent_to_by_them() -> None:
    answer = their_answer(
        "a=rtpmap:96 opus/48000/2", "a=fmtp:96 stereo=1", media="m=audio 4000 RTP/AVP 96 101"
    )

    agreement = accept_answer(our_offer(), answer)

    assert agreement.send == Codec("opus", 96, 48000, 48000, 2, fmtp="stereo=1")
    assert {codec.payload_type for codec in agreement.receive if codec.name == "opus"} == {96, 111}


def test_the_first_codec_of_an_answer_counts() -> None:
    agreement = accept_answer(our_offer(), their_answer(media="m=audio 4000 RTP/AVP 101 0 8"))

    assert agreement.send == PCMU


def test_a_null_address_in_an_answer_is_not_sent_to() -> None:
    agreement = accept_answer(our_offer(), their_answer("c=IN IP4 0.0.0.0"))

    assert agreement.direction is Direction.RECVONLY


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (their_answer(media="m=audio 0 RTP/AVP 8"), "rejects the audio"),
        (their_answer(media="m=audio 4000 RTP/SAVP 8"), "RTP/SAVP, offered was RTP/AVP"),
        (their_answer(media="m=video 4000 RTP/AVP 8"), "m=video"),
        (their_answer(media="m=audio 4000 RTP/AVP 18"), "audio has G729, allowed are opus, PCMU"),
        (their_answer("m=audio 4002 RTP/AVP 0"), "2 m= lines, the offer 1"),
        (replace(their_answer(), media=[]), "0 m= lines, the offer 1"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(answer: SessionDescription, why: str) -> None:
    with pytest.raises(NegotiationError, match=why):
        accept_answer(our_offer(), answer)


def test_an_answer_cannot_revive_a_rejected_section() -> None:
    first, _ = answer_sip(load("cisco"))
    offer = build_offer(udp_media(), codecs=TRUNK_CODECS, origin=ORIGIN, previous=first)
    answer = load("cisco")

    with pytest.raises(NegotiationError, match="m=image 18106"):
        accept_answer(offer, answer)


@pytest.mark.parametrize(
    ("setup", "is_fine"), [("active", True), ("actpass", False), (None, False)]
)
def test_a_browser_must_choose_its_dtls_role(setup: str | None, is_fine: bool) -> None:
    offer = build_offer(webrtc_media(), codecs=BROWSER_CODECS, origin=ORIGIN)
    answer = load("chromium-audio")
    answer.media[0].setup = setup

    def accept() -> Agreement:
        return accept_answer(offer, answer)

    if is_fine:
        assert accept().send.name == "opus"
    else:
        with pytest.raises(NegotiationError, match="setup"):
            accept()


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.sdp")), ids=lambda path: path.stem)
@pytest.mark.parametrize("media", [udp_media(), webrtc_media()], ids=["udp", "webrtc"])
def test_every_answer_of_ours_is_valid_to_its_offerer(
    path: object, media: MediaDescription
) -> None:
    """What we answer parses, has the offer's sections, and our own checks accept it."""
    offer = load(path.stem)  # type: ignore[attr-defined]

    try:
        answer, agreement = answer_offer(offer, media=media, codecs=BROWSER_CODECS, origin=ORIGIN)
    except NegotiationError:
        assert offer.media[0].keying is not media.keying or not offer.has_audio
        return

    seen = accept_answer(offer, parse_sdp(str(answer)))
    assert (seen.index, seen.direction.reversed & agreement.direction) == (
        agreement.index,
        agreement.direction,
    )
    assert seen.send.payload_type == agreement.send.payload_type
