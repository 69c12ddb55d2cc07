"""Keys of SRTP in descriptions: which lines are used, and that nothing makes a stream plain."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import NegotiationError
from gateway.rtp.srtp import SUITES
from gateway.sdp.crypto import KEY_BYTES, Crypto, SrtpPolicy, parse_crypto, settle_keys, usable
from gateway.sdp.description import Keying, MediaDescription, parse_sdp
from tests.support.sip_legs import sdp

SHA1_80, SHA1_32 = "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"
GCM_128, GCM_256 = "AEAD_AES_128_GCM", "AEAD_AES_256_GCM"


def key(suite: str, fill: int = 7) -> str:
    return b64encode(bytes([fill]) * KEY_BYTES[suite]).decode()


def line(tag: int | str = 1, suite: str = SHA1_80, fill: int = 7, more: str = "") -> str:
    return f"{tag} {suite} inline:{key(suite, fill)}{more}"


def section(*lines: str, protocol: str = "RTP/SAVP") -> MediaDescription:
    return MediaDescription(
        port=4000, protocol=protocol, formats=("0",), address="192.0.2.2", crypto=lines
    )


OFFERED = section(line(1, GCM_128), line(2, SHA1_80))
"What we offer, with keys of sevens."


def test_suites_that_can_be_negotiated_are_those_that_protect() -> None:
    assert {suite.name: suite.key_bytes for suite in SUITES.values()} == KEY_BYTES


@pytest.mark.rfc(4568, "9.1")
@pytest.mark.parametrize("suite", KEY_BYTES)
def test_line_is_read_and_written_alike(suite: str) -> None:
    text = line(12, suite)

    crypto = parse_crypto(text)

    assert crypto == Crypto(12, suite, bytes([7]) * KEY_BYTES[suite])
    assert str(crypto) == text


@pytest.mark.rfc(4568, "6.1")
@pytest.mark.parametrize("more", ["", "|2^20", "|2^48", "|1048576", " WSH=1024", " KDR=0", " -x=1"])
def test_line_may_tell_a_lifetime_and_what_only_advises(more: str) -> None:
    assert parse_crypto(line(more=more)) is not None


def test_key_without_its_padding_is_read() -> None:
    assert parse_crypto(line(suite=GCM_128).rstrip("=")) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        f"1 {SHA1_80}",
        f"x {SHA1_80} inline:{key(SHA1_80)}",
        f"1234567890 {SHA1_80} inline:{key(SHA1_80)}",
        f"1 {SHA1_80} {key(SHA1_80)}",
        f"1 {SHA1_80} uri:{key(SHA1_80)}",
        f"1 {SHA1_80} inline:",
        f"1 {SHA1_80} inline:{key(SHA1_80)[:-4]}",
        f"1 {SHA1_80} inline:{key(SHA1_80)}AAAA",
        f"1 {SHA1_80} inline:{'!' * 40}",
        f"1 {SHA1_80} inline:{'é' * 40}",
        f"1 F8_128_HMAC_SHA1_80 inline:{key(SHA1_80)}",
        line(more="|2^49"),
        line(more="|2^x"),
        line(more="|0"),
        line(more="|"),
        line(more="|1:4"),
        line(more="|2^20|1:4"),
        line(more=f";inline:{key(SHA1_80)}"),
        line(more=" KDR=1"),
        line(more=" FEC_ORDER=FEC_SRTP"),
        line(more=" NEW_THING"),
    ],
)
def test_line_that_asks_for_what_we_do_not_do_is_not_used(text: str) -> None:
    assert parse_crypto(text) is None


@pytest.mark.rfc(4568, "6.3.2")
@pytest.mark.parametrize(
    "text",
    [
        line(more=" UNENCRYPTED_SRTP"),
        line(more=" UNENCRYPTED_SRTCP"),
        line(more=" UNAUTHENTICATED_SRTP"),
        line(more=" WSH=64 UNENCRYPTED_SRTP"),
        f"1 NULL_HMAC_SHA1_80 inline:{key(SHA1_80)}",
        f"1 AES_CM_128_NULL_AUTH inline:{key(SHA1_80)}",
        f"1 NULL_CIPHER inline:{key(SHA1_80)}",
    ],
)
def test_a34_null_ciphers_and_unencrypted_parameters_are_refused(text: str) -> None:
    with pytest.raises(NegotiationError) as refused:
        settle_keys(section(text), SrtpPolicy.OPTIONAL)

    assert refused.value.status == 488


@pytest.mark.rfc(4568, "7.1.2")
def test_first_line_of_an_offer_that_can_be_used_is_taken() -> None:
    offer = section(line(1, SHA1_80, more=" UNENCRYPTED_SRTP"), line(2, SHA1_32), line(3, GCM_256))

    assert settle_keys(offer, SrtpPolicy.REQUIRED).crypto == (line(2, SHA1_32),)


@pytest.mark.parametrize(
    "lines", [(line(1), line(1, SHA1_32)), (line(1), line("01", GCM_128)), (line(1),) * 50]
)
def test_a28_lines_that_share_a_tag_are_not_used(lines: tuple[str, ...]) -> None:
    assert usable(lines) == ()
    with pytest.raises(NegotiationError):
        settle_keys(section(*lines), SrtpPolicy.OPTIONAL)


@pytest.mark.parametrize("policy", [SrtpPolicy.OPTIONAL, SrtpPolicy.REQUIRED])
def test_answer_takes_one_of_our_lines(policy: SrtpPolicy) -> None:
    answer = section(line(2, SHA1_80, fill=9))

    assert settle_keys(answer, policy, offered=OFFERED).crypto == answer.crypto


@pytest.mark.rfc(4568, "5.1.3")
@pytest.mark.parametrize(
    "answered",
    [
        line(3, SHA1_80, fill=9),
        line(2, GCM_128, fill=9),
        line(1, SHA1_32, fill=9),
        line(2, SHA1_80, fill=9, more=" UNENCRYPTED_SRTP"),
    ],
)
@pytest.mark.parametrize("protocol", ["RTP/SAVP", "RTP/AVP"])
def test_a34_answer_with_another_line_than_we_offered_is_refused(
    answered: str, protocol: str
) -> None:
    with pytest.raises(NegotiationError):
        settle_keys(section(answered, protocol=protocol), SrtpPolicy.OPTIONAL, offered=OFFERED)


@pytest.mark.rfc(4568, "7.1.2")
def test_a34_our_own_key_sent_back_is_refused() -> None:
    with pytest.raises(NegotiationError):
        settle_keys(section(line(2, SHA1_80)), SrtpPolicy.REQUIRED, offered=OFFERED)


@pytest.mark.parametrize(
    ("policy", "protocol", "lines", "is_secured"),
    [
        (SrtpPolicy.REQUIRED, "RTP/AVP", (), False),
        (SrtpPolicy.REQUIRED, "RTP/SAVP", (), False),
        (SrtpPolicy.OPTIONAL, "RTP/SAVP", (), False),
        (SrtpPolicy.OPTIONAL, "RTP/AVP", (), True),
        (SrtpPolicy.OFF, "RTP/SAVP", (line(),), False),
    ],
)
def test_a34_no_stream_is_made_plain_that_is_to_be_protected(
    policy: SrtpPolicy, protocol: str, lines: tuple[str, ...], is_secured: bool
) -> None:
    offer = section(*lines, protocol=protocol)

    for offered in (None, OFFERED):
        with pytest.raises(NegotiationError) as refused:
            settle_keys(offer, policy, offered=offered, is_secured=is_secured)
        assert refused.value.status == 488


def test_where_it_is_optional_who_knows_no_srtp_is_spoken_with_plainly() -> None:
    plain = section(protocol="RTP/AVP")

    assert settle_keys(plain, SrtpPolicy.OPTIONAL) == plain
    assert settle_keys(plain, SrtpPolicy.OPTIONAL, offered=OFFERED) == plain


def test_where_it_is_off_a_key_beside_plain_rtp_is_passed_over() -> None:
    offer = section(line(), protocol="RTP/AVP")

    assert settle_keys(offer, SrtpPolicy.OFF) == replace(offer, crypto=())


def test_keys_are_not_shown() -> None:
    crypto = parse_crypto(line())

    assert key(SHA1_80) not in repr((crypto, section(line())))


def test_who_offers_dtls_and_keys_but_no_ice_is_taken_by_its_keys() -> None:
    more = f"a=fingerprint:sha-256 {':'.join(['AB'] * 32)}\r\na=crypto:{line()}\r\n"
    offer = sdp(more=more).replace(b"RTP/AVP", b"RTP/SAVP")

    with_ice = offer + b"a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n"
    assert parse_sdp(offer).media[0].keying is Keying.SDES
    assert parse_sdp(with_ice).media[0].keying is Keying.DTLS


@given(st.text())
def test_any_text_is_a_line_or_none(text: str) -> None:
    crypto = parse_crypto(text)

    assert crypto is None or parse_crypto(str(crypto)) == crypto


@given(st.lists(st.sampled_from(["inline:", "|", ";", "2^", "=", "AAAA", " ", "1", SHA1_80])))
def test_any_pieces_of_a_line_are_a_line_or_none(pieces: list[str]) -> None:
    with suppress(NegotiationError):
        settle_keys(section("".join(pieces)), SrtpPolicy.OPTIONAL)


def test_a28_of_however_many_lines_fifty_are_kept() -> None:
    body = sdp(more="".join(f"a=crypto:{line(number)}\r\n" for number in range(200)))

    assert len(parse_sdp(body).media[0].crypto) == 50
