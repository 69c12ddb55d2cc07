"""Digest answers: the published vectors, and which challenge is answered at all."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.private import Secret
from gateway.sip.auth import (
    MAX_CHALLENGES,
    Challenge,
    answer_challenge,
    choose_challenge,
    parse_challenges,
)
from gateway.sip.message import Headers

NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
OPAQUE = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
RFC_7616 = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    f'nonce="{NONCE}", opaque="{OPAQUE}"'
)
MD5_RESPONSE = "8ca523f5e9506fed4657c9700eebdbec"
SHA_256_RESPONSE = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"


def answer(challenge: Challenge, *, nc: int = 1, body: bytes = b"") -> str:
    """What Mufasa answers in RFC 7616 §3.9.1."""
    return answer_challenge(
        challenge,
        "Mufasa",
        Secret("Circle of Life"),
        method="GET",
        uri="/dir/index.html",
        cnonce=CNONCE,
        nc=nc,
        body=body,
    )


def parameters(value: str) -> dict[str, str]:
    """The pairs of an Authorization."""
    scheme, _, rest = value.partition(" ")
    assert scheme == "Digest"
    return dict(pair.split("=", 1) for pair in rest.split(", "))


@pytest.mark.rfc(7616, "3.9.1")
@pytest.mark.parametrize(
    ("algorithm", "response"), [("MD5", MD5_RESPONSE), ("SHA-256", SHA_256_RESPONSE)]
)
def test_the_published_example_comes_out(algorithm: str, response: str) -> None:
    (challenge,) = parse_challenges([RFC_7616.format(algorithm)])

    assert parameters(answer(challenge)) == {
        "username": '"Mufasa"',
        "realm": '"http-auth@example.org"',
        "uri": '"/dir/index.html"',
        "algorithm": algorithm,
        "nonce": f'"{NONCE}"',
        "nc": "00000001",
        "cnonce": f'"{CNONCE}"',
        "qop": "auth",
        "response": f'"{response}"',
        "opaque": f'"{OPAQUE}"',
    }


@pytest.mark.rfc(8760, "2.4")
@pytest.mark.parametrize("order", [("MD5", "SHA-256"), ("SHA-256", "MD5"), ("md5", "sha-256")])
def test_sha_256_is_answered_where_it_is_offered(order: tuple[str, str]) -> None:
    challenges = parse_challenges([", ".join(RFC_7616.format(each) for each in order)])

    chosen = choose_challenge(challenges)

    assert chosen is not None
    assert parameters(answer(chosen))["response"] == f'"{SHA_256_RESPONSE}"'


def test_a_server_without_qop_is_answered_as_of_old() -> None:
    (challenge,) = parse_challenges(['Digest realm="r", nonce="n"'])

    found = parameters(answer(challenge))

    first = hashlib.md5(b"Mufasa:r:Circle of Life").hexdigest()
    second = hashlib.md5(b"GET:/dir/index.html").hexdigest()
    expected = hashlib.md5(f"{first}:n:{second}".encode()).hexdigest()
    assert found["response"] == f'"{expected}"'
    assert not {"qop", "nc", "cnonce", "algorithm", "opaque"} & set(found)


@pytest.mark.rfc(7616, "3.4.2")
def test_a_session_key_is_made_with_both_nonces() -> None:
    challenge = Challenge("r", "n", algorithm="SHA-256-sess", qop=("auth",))

    found = parameters(answer(challenge))

    def sha(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    secret = sha(f"{sha('Mufasa:r:Circle of Life')}:n:{CNONCE}")
    request = sha("GET:/dir/index.html")
    assert found["response"] == f'"{sha(f"{secret}:n:00000001:{CNONCE}:auth:{request}")}"'


@pytest.mark.rfc(7616, "3.4.3")
def test_the_body_is_hashed_only_where_nothing_else_is_taken() -> None:
    both = Challenge("r", "n", qop=("auth", "auth-int"))
    strict = Challenge("r", "n", qop=("auth-int",))

    assert answer(both, body=b"a") == answer(both, body=b"b")
    assert answer(strict, body=b"a") != answer(strict, body=b"b")
    assert parameters(answer(strict))["qop"] == "auth-int"


def test_each_use_of_a_nonce_is_another_answer() -> None:
    challenge = Challenge("r", "n", qop=("auth",))

    first, later = parameters(answer(challenge)), parameters(answer(challenge, nc=0x2A))

    assert (first["nc"], later["nc"]) == ("00000001", "0000002a")
    assert first["response"] != later["response"]


def test_several_challenges_may_share_a_line_or_not() -> None:
    challenges = parse_challenges(
        [
            'Negotiate, Digest realm="a, b", nonce="1,\\"2", qop="auth,auth-int" , NTLM abc==',
            'Basic realm="x", digest REALM=c , nonce = "3", stale = TRUE, algorithm=MD5-sess',
        ]
    )

    assert challenges == (
        Challenge("a, b", '1,"2', names_algorithm=False, qop=("auth", "auth-int")),
        Challenge("c", "3", algorithm="MD5-sess", stale=True),
    )


def test_a_value_with_quotes_is_echoed_with_quotes() -> None:
    (challenge,) = parse_challenges(['Digest realm="a \\"b\\" \\\\", nonce="n"'])

    assert challenge.realm == 'a "b" \\'
    assert 'realm="a \\"b\\" \\\\"' in answer(challenge)


@pytest.mark.parametrize(
    "text",
    [
        "Digest",
        'Digest realm="r"',
        'Digest nonce="n"',
        'Digest realm="r", nonce=""',
        'Digest realm="r", nonce="n", nonce="m"',
        'Digest realm="r", nonce="n',
        'Digest realm="r" nonce="n"',
        'Digest realm="r", nonce="n", (',
        'Digest realm="a\0b", nonce="n"',
        'Digest realm="a\u2028b", nonce="n"',
        "Digest realm=r, nonce=a\0b",
        "(",
    ],
)
def test_a_broken_challenge_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_challenges([text])


def test_challenges_have_a_limit() -> None:
    one = 'Digest realm="r", nonce="n"'

    assert len(parse_challenges([one] * MAX_CHALLENGES)) == MAX_CHALLENGES
    with pytest.raises(RemoteProtocolError):
        parse_challenges([one] * (MAX_CHALLENGES + 1))


@pytest.mark.parametrize(
    "challenge",
    [
        Challenge("r", "n", algorithm="SHA-512-256"),
        Challenge("r", "n", algorithm="AKAv1-MD5"),
        Challenge("r", "n", qop=("auth-conf",)),
    ],
)
def test_what_we_cannot_compute_is_not_answered(challenge: Challenge) -> None:
    assert choose_challenge([challenge]) is None


def test_another_realm_is_not_answered() -> None:
    challenges = [Challenge("evil", "1", algorithm="SHA-256"), Challenge("trunk", "2")]

    assert choose_challenge(challenges, "trunk") == challenges[1]
    assert choose_challenge(challenges[:1], "trunk") is None


def test_a_challenge_with_qop_goes_before_one_without() -> None:
    weak, strong = Challenge("r", "1"), Challenge("r", "2", qop=("auth",))

    assert choose_challenge([weak, strong]) == strong


def test_among_equals_the_server_chooses() -> None:
    first, second = Challenge("a", "1"), Challenge("b", "2")

    assert choose_challenge([first, second]) == first


SOUP = st.text('Digest realm=nonce"r",\\ \t\0\u2028é', max_size=60)


@settings(deadline=None)
@given(
    SOUP | st.lists(SOUP, min_size=1).map(lambda parts: 'Digest realm="r", nonce="n", '.join(parts))
)
def test_any_text_is_challenges_that_can_be_answered_or_the_documented_error(text: str) -> None:
    try:
        challenges = parse_challenges([text])
    except RemoteProtocolError:
        return

    for challenge in challenges:
        if choose_challenge([challenge]):
            Headers().add("Authorization", answer(challenge))


def test_the_password_is_nowhere_to_be_seen() -> None:
    challenge = Challenge("r", "n", qop=("auth",))

    assert "Circle" not in answer(challenge)
