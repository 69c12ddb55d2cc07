"""Digest challenges of ours: who is let in, who is not, and that nobody can tell why."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.private import Secret
from gateway.sip import challenge as module
from gateway.sip.auth import Challenge, answer_challenge, parse_challenges
from gateway.sip.challenge import Challenger, Outcome, Verdict, names_same_resource
from gateway.sip.message import Headers, Request

URI = "sip:voice.example.com"
SECRETS = {"ann": Secret("a password"), "old": Secret("old password")}
MD5_ONLY_FOR = "old"


def lookup(username: str, algorithm: str) -> Secret | None:
    return SECRETS.get(username) if algorithm != "md5" or username == MD5_ONLY_FOR else None


def make(*algorithms: str, realm: str = "voice") -> Challenger:
    return Challenger(b"key", realm, algorithms or ("SHA-256",))


def ask(challenger: Challenger, now: float, source: str = "") -> tuple[Challenge, ...]:
    return parse_challenges(value for _, value in challenger.challenge(now, source=source))


def carrying(authorization: str, method: str = "REGISTER", uri: str = URI) -> Request:
    return Request(method, uri, Headers([("Authorization", authorization)]))


def answer(
    challenge: Challenge,
    username: str = "ann",
    password: str = "a password",
    *,
    method: str = "REGISTER",
    uri: str = URI,
    nc: int = 1,
) -> str:
    secret = Secret(password)
    return answer_challenge(challenge, username, secret, method=method, uri=uri, cnonce="c0", nc=nc)


def verdict(challenger: Challenger, request: Request, now: float = 100.0) -> Verdict:
    return challenger.verify(request, lookup, now)


@pytest.mark.rfc(7616, "3.4")
def test_right_answer_lets_in() -> None:
    challenger = make()
    (challenge,) = ask(challenger, 100.0)

    found = verdict(challenger, carrying(answer(challenge)))

    assert found == Verdict(Outcome.OK, "ann")


@pytest.mark.rfc(8760, "2.3")
def test_sha_256_is_asked_for_first_and_md5_only_where_it_is_set() -> None:
    alone = [each.algorithm for each in ask(make(), 100.0)]
    both = [each.algorithm for each in ask(make("SHA-256", "MD5"), 100.0)]

    assert alone == ["SHA-256"]
    assert both == ["SHA-256", "MD5"]


def test_every_challenge_asks_for_auth_and_is_new() -> None:
    challenger = make()
    (one,), (other,) = ask(challenger, 100.0), ask(challenger, 100.0)

    assert one.qop == ("auth",)
    assert one.nonce != other.nonce
    assert not one.stale


def test_md5_lets_in_only_whom_it_is_allowed_to() -> None:
    challenger = make("SHA-256", "MD5")
    md5 = ask(challenger, 100.0)[1]

    assert verdict(challenger, carrying(answer(md5, "old", "old password"))).username == "old"
    assert verdict(challenger, carrying(answer(md5))).outcome is Outcome.WRONG


def test_md5_answer_is_wrong_where_it_was_not_asked_for() -> None:
    challenger = make()
    (challenge,) = ask(challenger, 100.0)
    md5 = Challenge(challenge.realm, challenge.nonce, "MD5", qop=("auth",))

    found = verdict(challenger, carrying(answer(md5, "old", "old password")))

    assert found.outcome is Outcome.WRONG


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic YW5uOmEgcGFzc3dvcmQ=",
        "Bearer token",
        "Digest",
        'Digest realm="other", nonce="1-1-00", username="ann", response="00"',
        'Digest realm="voice", realm="voice"',
        'Digest realm="voice", nonce="x" username="ann"',
        'Digest realm="voice", nonce="\0"',
    ],
)
def test_what_are_no_credentials_for_us_is_challenged(authorization: str) -> None:
    request = Request("REGISTER", URI, Headers.trusted([("authorization", "A", authorization)]))

    assert verdict(make(), request).outcome is Outcome.NONE


def test_credentials_for_our_realm_are_found_among_others() -> None:
    challenger = make()
    (challenge,) = ask(challenger, 100.0)
    request = carrying(answer(Challenge("other", "n", "SHA-256", qop=("auth",))))
    request.headers.add("Authorization", answer(challenge))

    assert verdict(challenger, request).username == "ann"


@pytest.mark.parametrize(
    ("username", "password"), [("ann", "wrong"), ("nobody", "a password"), ("", ""), ("ann", "")]
)
def test_wrong_answers_are_all_alike(username: str, password: str) -> None:
    challenger = make()
    (challenge,) = ask(challenger, 100.0)

    found = verdict(challenger, carrying(answer(challenge, username, password)))

    assert found == Verdict(Outcome.WRONG)


def test_nonce_dies_after_a_minute() -> None:
    challenger = make()
    (challenge,) = ask(challenger, 100.0)

    young = verdict(challenger, carrying(answer(challenge)), now=160.0)
    old = verdict(challenger, carrying(answer(challenge, nc=2)), now=160.1)

    assert (young.outcome, old.outcome) == (Outcome.OK, Outcome.STALE)


def test_nonce_of_another_key_or_realm_is_stale() -> None:
    challenger = make()
    (foreign,) = ask(Challenger(b"another key", "voice"), 100.0)
    (elsewhere,) = ask(make(realm="elsewhere"), 100.0)
    moved = Challenge("voice", elsewhere.nonce, "SHA-256", qop=("auth",))

    assert verdict(challenger, carrying(answer(foreign))).outcome is Outcome.STALE
    assert verdict(challenger, carrying(answer(moved))).outcome is Outcome.STALE


def test_nonce_is_good_only_for_the_source_it_was_given_to() -> None:
    challenger = make()
    (challenge,) = ask(challenger, 100.0, source="203.0.113.7")
    request = carrying(answer(challenge))

    stolen = challenger.verify(request, lookup, 100.0, source="203.0.113.8")
    own = challenger.verify(request, lookup, 100.0, source="203.0.113.7")

    assert (stolen.outcome, own.outcome) == (Outcome.STALE, Outcome.OK)


def test_stale_challenge_says_so() -> None:
    ((_, value),) = make().challenge(100.0, stale=True)

    (challenge,) = parse_challenges([value])

    assert challenge.stale


@pytest.mark.rfc(7616, "3.4.5")
def test_replayed_answer_is_stale_and_a_higher_count_is_not() -> None:
    challenger = make()
    (challenge,) = ask(challenger, 100.0)

    outcomes = [
        verdict(challenger, carrying(answer(challenge, nc=nc))).outcome for nc in (1, 1, 3, 2, 4)
    ]

    assert outcomes == [Outcome.OK, Outcome.STALE, Outcome.OK, Outcome.STALE, Outcome.OK]


def test_forgotten_nonce_is_not_good_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NONCES_KEPT", 4)
    challenger = make()
    (first,) = ask(challenger, 100.0)
    verdict(challenger, carrying(answer(first)))
    for _ in range(5):
        (challenge,) = ask(challenger, 100.0)
        verdict(challenger, carrying(answer(challenge)))

    replayed = verdict(challenger, carrying(answer(first)))

    assert replayed.outcome is Outcome.STALE
    assert len(challenger._uses) == 4


def test_strangers_leave_nothing_behind() -> None:
    challenger = make()
    for _ in range(100):
        (challenge,) = ask(challenger, 100.0)
        verdict(challenger, carrying(answer(challenge, "ann", "guess")))

    assert not challenger._uses


def test_counts_are_forgotten_with_their_nonces() -> None:
    challenger = make()
    for now in (100.0, 200.0, 300.0):
        (challenge,) = ask(challenger, now)
        verdict(challenger, carrying(answer(challenge)), now)

    assert len(challenger._uses) == 1


def test_answer_for_another_request_is_wrong() -> None:
    challenger = make()
    (challenge,) = ask(challenger, 100.0)
    text = answer(challenge)

    other_method = verdict(challenger, carrying(text, method="INVITE"))
    other_uri = verdict(challenger, carrying(text, uri="sip:+1900@voice.example.com"))

    assert (other_method.outcome, other_uri.outcome) == (Outcome.WRONG, Outcome.WRONG)


@pytest.mark.parametrize(
    ("given", "request_uri", "is_same"),
    [
        ("sip:a@b", "sip:a@b", True),
        ("sip:a@b", "sip:a@b;transport=tcp", True),
        ("sip:a@b", "sip:a@b:5060", True),
        ("sip:a@B", "sip:a@b", True),
        ("sips:a@b:5061", "sips:a@b", True),
        ("sip:a@b", "sip:a@b:5070", False),
        ("sip:a@b", "sip:A@b", False),
        ("sip:a@b", "sips:a@b", False),
        ("sip:a@b", "sip:b", False),
        ("sip:a@b", "sip:a@c", False),
        ("", "sip:b", False),
        ("/index.html", "sip:b", False),
    ],
)
@pytest.mark.rfc(8760, "2.6")
def test_digest_uri_names_the_request(given: str, request_uri: str, is_same: bool) -> None:
    assert names_same_resource(given, request_uri) is is_same


@pytest.mark.parametrize(
    "old_new",
    [
        ("qop=auth", "qop=auth-int"),
        ("qop=auth, ", ""),
        ("nc=00000001", "nc=1"),
        ("nc=00000001", "nc=00000000"),
        ("nc=00000001", "nc=+0000001"),
        ("nc=00000001", "nc=٠٠٠٠٠٠٠١"),
        ('cnonce="c0"', 'cnonce=""'),
        ("algorithm=SHA-256", "algorithm=SHA-256-sess"),
        ("algorithm=SHA-256, ", ""),
        ('response="', 'response="0'),
    ],
)
def test_answer_of_another_kind_is_wrong(old_new: tuple[str, str]) -> None:
    challenger = make()
    (challenge,) = ask(challenger, 100.0)
    text = answer(challenge)
    changed = text.replace(*old_new)
    assert changed != text

    found = verdict(challenger, carrying(changed))

    assert found.outcome in (Outcome.WRONG, Outcome.NONE)


def test_answer_without_a_word_of_the_clients_own_is_wrong() -> None:
    challenger = make()
    (challenge,) = ask(challenger, 100.0)
    text = answer_challenge(
        challenge, "ann", SECRETS["ann"], method="REGISTER", uri=URI, cnonce="", nc=1
    )

    assert verdict(challenger, carrying(text)).outcome is Outcome.WRONG


def steps(run: Callable[[], object]) -> list[tuple[str, int]]:
    """Every line of the gateway that a call runs through, in order."""
    seen: list[tuple[str, int]] = []

    def trace(frame: FrameType, event: str, _: object) -> object:
        if "gateway" not in frame.f_code.co_filename:
            return None
        if event in ("call", "line"):
            seen.append((frame.f_code.co_name, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        run()
    finally:
        sys.settrace(before)
    return seen


def test_unknown_user_costs_the_very_same_steps_as_a_known_one() -> None:
    challenger = make()
    known, unknown = (
        carrying(answer(ask(challenger, 100.0)[0], name, "guess")) for name in ("ann", "eve")
    )

    with_known = steps(lambda: verdict(challenger, known))
    with_unknown = steps(lambda: verdict(challenger, unknown))

    assert with_known == with_unknown
    assert sum(name == "_sha256" for name, _ in with_known) >= 3


@given(st.text(max_size=300))
def test_any_authorization_has_a_verdict(text: str) -> None:
    data = text.encode("utf-8", "replace").decode("utf-8", "surrogateescape")
    value = data.replace("\r", "").replace("\n", "")
    request = Request("REGISTER", URI, Headers.trusted([("authorization", "A", value)]))

    assert verdict(make(), request).outcome is not Outcome.OK


@given(
    st.dictionaries(
        st.sampled_from(
            ["username", "nonce", "uri", "response", "algorithm", "qop", "cnonce", "nc"]
        ),
        st.text(st.characters(blacklist_characters='"\\\r\n'), max_size=40),
    )
)
def test_any_parameters_have_a_verdict(parameters: dict[str, str]) -> None:
    challenger = make()
    (challenge,) = ask(challenger, 100.0)
    pairs = {"nonce": challenge.nonce, "realm": "voice", **parameters}
    value = "Digest " + ",".join(f'{name}="{text}"' for name, text in pairs.items())
    request = Request("REGISTER", URI, Headers.trusted([("authorization", "A", value)]))

    assert verdict(challenger, request).outcome is not Outcome.OK
