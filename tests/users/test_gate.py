"""The gate: who is let in, as whom, and who hears nothing. The rows A9 to A18 are attacks."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from gateway.private import Secret
from gateway.sip.auth import parse_challenges
from gateway.sip.inspection import Refusal
from gateway.sip.message import MessageError, parse_message
from gateway.users import gate as module
from gateway.users.bans import BURST, MAX_BUCKETS, MAX_FAILURES, READ_BURST, STRANGERS_BURST
from gateway.users.domain import Domains
from gateway.users.gate import Gate, algorithms_for
from gateway.users.registrar import Reply
from gateway.users.user import User
from tests.sip.test_challenge import steps
from tests.users.site import ANN, BOB, DOMAIN, Phone, Site, connection, flow

SILENCE, LET_IN = 0, 100


def guess(site: Site, phone: Phone) -> int:
    """What a wrong password is answered with."""
    return site.register(replace(phone, password="guess")).status


def ban(site: Site, phone: Phone) -> None:
    """Guess until the phone's address is banned."""
    while guess(site, phone) != SILENCE:
        pass


# ---- who is let in


def test_phone_is_challenged_and_then_registered() -> None:
    site, phone = Site(), Phone()

    first = site.take(phone.register(), phone.flow)
    second = site.register(phone)

    assert (first.status, second.status) == (401, 200)


def test_call_of_a_user_is_challenged_each_time_over_datagrams() -> None:
    site, phone = Site(), Phone()
    site.register(phone)

    for _ in range(2):
        request = phone.invite()
        reply = site.take(request, phone.flow)
        again = phone.again(request, reply)
        let_in = site.take(again, phone.flow)

        assert (reply.status, let_in.status) == (401, LET_IN)
        assert site.gate.identity_of(request, phone.flow) is None
        assert site.gate.identity_of(again, phone.flow) == "user:ann"


@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "wss"])
def test_call_over_the_connection_a_user_registered_on_is_let_in(transport: str) -> None:
    site = Site()
    phone = Phone(flow=connection(1, transport))
    site.register(phone)
    request = phone.invite()

    reply = site.take(request, phone.flow)

    assert reply.status == LET_IN
    assert site.gate.identity_of(request, phone.flow) == "user:ann"


def test_user_who_never_registered_may_call() -> None:
    site, phone = Site(), Phone(flow=connection(1))

    assert site.ask(phone, phone.invite()).status == LET_IN


def test_connection_is_not_trusted_any_more_when_its_user_went() -> None:
    site = Site()
    phone = Phone(flow=connection(1))
    site.register(phone)
    site.register(phone, "Expires: 0")

    assert site.take(phone.invite(), phone.flow).status == 401


def test_connection_of_a_proxy_is_nobodys() -> None:
    site = Site()
    edge = Phone(flow=connection(1, "tls"), vias=2)
    site.register(edge, "Path: <sip:edge;lr;ob>")
    direct = replace(edge, vias=1)

    assert site.take(edge.invite(), edge.flow).status == 401
    assert site.take(direct.invite(), edge.flow).status == 401


def test_request_through_a_proxy_on_a_users_connection_is_challenged() -> None:
    site = Site()
    phone = Phone(flow=connection(1))
    site.register(phone)

    assert site.take(replace(phone, vias=2).invite(), phone.flow).status == 401


def test_phone_may_ask_for_options_and_strangers_may_not() -> None:
    site, phone = Site(), Phone()
    site.register(phone)
    stranger = Phone(flow=flow("198.51.100.9"))

    assert site.take(phone.request("OPTIONS"), phone.flow).status == LET_IN
    assert site.take(stranger.request("OPTIONS"), stranger.flow).status == SILENCE
    assert site.take(stranger.request("SUBSCRIBE"), stranger.flow).status == SILENCE


def test_trunk_is_let_in_by_its_address() -> None:
    site = Site(trunks=("198.51.100.1",))
    carrier = Phone(flow=flow("198.51.100.1"))
    request = carrier.invite(uri="sip:+15550100@192.0.2.1")

    assert site.take(request, carrier.flow).status == LET_IN
    assert site.gate.identity_of(request, carrier.flow) is None


def test_user_behind_a_trunk_proves_who_it_is_to_register() -> None:
    site = Site(trunks=("198.51.100.1",))
    phone = Phone(flow=flow("198.51.100.1"), vias=2)

    assert site.take(phone.register(), phone.flow).status == 401
    assert site.register(phone).status == 200
    assert guess(site, phone) == 401


def test_phone_in_an_allowed_network_counts_as_its_user() -> None:
    site = Site(allowed=("203.0.113.7",))
    phone, other = Phone(), Phone(flow=flow(port=5070))
    site.register(phone)
    request = phone.invite()

    assert site.take(request, phone.flow).status == 401
    assert site.ask(phone, request).status == LET_IN
    assert site.take(other.invite(), other.flow).status == LET_IN


def test_known_sender_is_told_that_a_domain_is_not_ours() -> None:
    site = Site(trunks=("198.51.100.1",))
    phone = Phone(flow=flow("198.51.100.1"))

    reply = site.take(phone.request("REGISTER", uri="sip:elsewhere.example.com"), phone.flow)

    assert reply.status == 404


def test_registering_where_there_are_no_users_is_not_judged_here() -> None:
    site, phone, stranger = (
        Site(trunks=("198.51.100.1",)),
        Phone(flow=flow("198.51.100.1")),
        Phone(),
    )
    site.gate = Gate(
        (), Domains([DOMAIN]), site.challenger, site.registrar, source_of=site.gate._source_of
    )

    assert site.gate.admit(phone.register(), phone.flow, site.now) is None
    assert site.gate.admit(stranger.register(), stranger.flow, site.now) == Refusal(SILENCE)


def test_number_without_a_domain_is_for_us_from_who_is_known() -> None:
    site, phone, stranger = Site(), Phone(), Phone(flow=flow("198.51.100.66"))
    site.register(phone)

    assert site.ask(phone, phone.invite(uri="tel:+15550100")).status == LET_IN
    assert site.take(stranger.invite(uri="tel:+15550100"), stranger.flow).status == SILENCE


def test_registered_phone_is_told_that_a_domain_is_not_ours() -> None:
    site, phone = Site(), Phone(flow=connection(1))
    site.register(phone)

    assert site.take(phone.invite(uri="sip:bob@example.com"), phone.flow).status == 404


def test_malformed_request_is_answered_to_whom_we_know_alone() -> None:
    site = Site(trunks=("198.51.100.1",))
    phone = Phone()
    site.register(phone)
    with pytest.raises(MessageError) as error:
        parse_message(bytes(phone.register()).replace(b"CSeq: ", b"CSeq: x"))
    broken = error.value.request
    assert broken is not None

    assert site.gate.admit(broken, flow("198.51.100.1"), site.now) is None
    assert site.gate.admit(broken, phone.flow, site.now) is None
    assert site.gate.admit(broken, flow("198.51.100.66"), site.now) == (SILENCE, ())


def test_stale_nonce_is_renewed_and_no_failure() -> None:
    site, phone = Site(), Phone()
    request = phone.register()
    challenge = site.take(request, phone.flow)

    for _ in range(3 * MAX_FAILURES):
        site.run(61)
        reply = site.take(phone.again(request, challenge), phone.flow)
        (renewed,) = parse_challenges(v for n, v in reply.headers if n == "WWW-Authenticate")

        assert reply.status == 401
        assert renewed.stale
    assert site.register(phone).status == 200
    assert site.gate.counts.failed == 0


def test_who_sent_what_is_forgotten_when_much_has_come_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_IDENTITIES", 8)
    site = Site()
    phone = Phone(flow=connection(1))
    site.register(phone)
    first = phone.invite()
    site.take(first, phone.flow)

    for _ in range(20):
        site.take(phone.invite(), phone.flow)

    assert site.gate.identity_of(first, phone.flow) is None
    assert len(site.gate._identities) == 8


def test_without_users_nobody_is_heard_or_answered() -> None:
    site = Site()
    gate = Gate(
        (),
        site.gate._domains,
        site.challenger,
        site.registrar,
        source_of=lambda flow: "trunk:carrier" if flow.remote[0] == "198.51.100.1" else None,
    )
    carrier = flow("198.51.100.1")

    assert not gate.hears(flow().remote, site.now)
    assert gate.admit(Phone().register(), flow(), site.now) == (SILENCE, ())
    assert gate.admit(Phone().invite(), flow(), site.now) == (SILENCE, ())
    assert gate.admit(Phone().invite(), carrier, site.now) is None


# ---- A9: no digest leaks, none is weakened


def test_a9_md5_is_not_asked_for_where_nobody_needs_it() -> None:
    site, phone = Site(), Phone()

    reply = site.take(phone.register(), phone.flow)

    assert algorithms_for((ANN, BOB)) == ("SHA-256",)
    assert [name for name, _ in reply.headers] == ["WWW-Authenticate"]
    assert "algorithm=SHA-256" in reply.headers[0][1]


def test_a9_md5_lets_in_only_the_phone_that_needs_it() -> None:
    users = (ANN, replace(BOB, allow_md5=True))
    site = Site(*users, algorithms=algorithms_for(users))

    def login(phone: Phone) -> Reply:
        """Register as a phone that knows nothing but MD5."""
        request = phone.register()
        reply = site.take(request, phone.flow)
        weak = Reply(401, tuple(each for each in reply.headers if "MD5" in each[1]))
        return site.take(phone.again(request, weak), phone.flow)

    assert login(Phone("bob")).status == 200
    assert login(Phone("ann", flow=flow("203.0.113.8"))).status == 401


def test_a9_nonce_overheard_elsewhere_is_worth_nothing() -> None:
    site, phone = Site(), Phone()
    request = phone.register()
    challenge = site.take(request, phone.flow)
    answered = phone.again(request, challenge)

    stolen = site.take(answered, flow("198.51.100.66"))

    assert stolen.status == 401
    assert site.take(answered, phone.flow).status == 200


def test_a9_replayed_request_is_challenged_anew() -> None:
    site, phone = Site(), Phone()
    request = phone.invite()
    answered = phone.again(request, site.take(request, phone.flow))

    assert site.take(answered, phone.flow).status == LET_IN
    assert site.take(answered, phone.flow).status == 401
    assert site.gate.identity_of(answered, phone.flow) is None


# ---- A10: guessing, and asking who there is


def test_a10_known_and_unknown_users_get_the_same_answers() -> None:
    site = Site()

    for method in ("REGISTER", "INVITE"):
        replies = []
        for name in ("ann", "eve"):
            phone = Phone(name, flow("203.0.113.7"), password="guess")
            request = phone.register() if method == "REGISTER" else phone.invite()
            first = site.take(request, phone.flow)
            second = site.take(phone.again(request, first), phone.flow)
            replies.append([(r.status, [len(v) for _, v in r.headers]) for r in (first, second)])

        assert replies[0] == replies[1]


def test_a10_known_and_unknown_users_cost_the_same_steps() -> None:
    taken = []
    for name in ("ann", "eve"):
        site = Site()
        phone = Phone(name, password="guess")
        request = phone.register()
        challenge = site.take(request, phone.flow)
        answered = phone.again(request, challenge)

        taken.append(steps(lambda s=site, a=answered, p=phone: s.take(a, p.flow)))  # type: ignore[misc]

    assert taken[0] == taken[1]
    assert len(taken[0]) > 50


def test_a10_five_wrong_passwords_silence_an_address_for_five_minutes() -> None:
    site, phone = Site(), Phone()

    answers = [guess(site, phone) for _ in range(MAX_FAILURES)]
    right_one = site.register(phone).status
    heard = site.gate.hears(phone.flow.remote, site.now)
    site.run(301)

    assert answers == [401, 401, 401, 401, SILENCE]
    assert right_one == SILENCE
    assert not heard
    assert site.gate.hears(phone.flow.remote, site.now)
    assert site.register(phone).status == 200
    assert site.gate.counts.banned == 1


def test_a10_ban_is_of_the_address_whatever_its_ports() -> None:
    site = Site()
    for port in range(MAX_FAILURES):
        guess(site, Phone(flow=flow(port=50_000 + port)))

    assert not site.gate.hears(("203.0.113.7", 1), site.now)
    assert site.gate.hears(("203.0.113.8", 1), site.now)


def test_a10_thousand_passwords_find_nothing() -> None:
    site, phone = Site(ANN, User("1234", Secret("pass500"))), Phone("1234")
    found = 0
    for number in range(1000):
        reply = site.register(replace(phone, password=f"pass{number}"))
        found += reply.status == 200
        site.run(0.5)

    assert found == 0
    assert site.gate.counts.failed <= 2 * MAX_FAILURES


def test_a10_thousand_extensions_look_all_the_same() -> None:
    site = Site(*(User(str(number), Secret(f"secret {number}")) for number in range(1000, 1010)))
    answers = set()
    for number in range(1000, 2000):
        phone = Phone(str(number), flow(f"203.0.{number % 250}.7"), contact="<sip:x@192.0.2.9>")
        answers.add(site.take(phone.register(), phone.flow).status)
        site.run(0.1)

    assert answers == {401}


def test_a10_nobody_can_have_another_banned() -> None:
    site = Site()
    victim = Phone(flow=flow("203.0.113.7"))
    attacker = Phone("ann", flow("198.51.100.66"), password="guess")
    request = attacker.register()
    challenge = site.take(request, attacker.flow)

    for _ in range(3 * MAX_FAILURES):
        site.take(attacker.again(request, challenge), victim.flow)
        site.run(1)

    assert site.gate.counts.failed == 0
    assert site.register(victim).status == 200


def test_a10_registered_phone_goes_on_when_its_address_is_banned() -> None:
    site = Site()
    good = Phone(flow=flow(port=5060))
    site.register(good)
    ban(site, Phone("bob", flow(port=5070)))

    assert site.gate.hears(good.flow.remote, site.now)
    assert site.register(good).status == 200
    assert site.ask(good, good.invite()).status == LET_IN
    assert not site.gate.hears(("203.0.113.7", 5070), site.now)


def test_a10_registered_phone_that_guesses_is_silenced_alone() -> None:
    site = Site()
    bad, good = Phone(flow=flow(port=5060)), Phone("bob", flow(port=5070))
    site.register(bad)
    ban(site, replace(bad, name="bob"))

    assert site.register(bad).status == SILENCE
    assert site.register(good).status == 200


def test_a10_trusted_networks_are_never_banned() -> None:
    site, phone = Site(trusted=("203.0.113.0/24",)), Phone()

    answers = {guess(site, phone) for _ in range(100)}

    assert answers == {401}
    assert site.gate.hears(phone.flow.remote, site.now)
    assert site.register(phone).status == 200


def test_a10_ban_is_logged_once_and_names_no_user(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()

    with caplog.at_level(logging.DEBUG):
        for _ in range(20):
            guess(site, Phone())

    assert [record.getMessage() for record in caplog.records] == [
        "banned=203.0.113.7 for_s=300 after failed logins"
    ]


# ---- A11: floods


@pytest.mark.parametrize("method", ["REGISTER", "INVITE"])
def test_a11_stranger_gets_16_answers_in_two_seconds(method: str) -> None:
    site, phone = Site(), Phone()

    def flood() -> int:
        replies = [site.take(phone.request(method), phone.flow) for _ in range(100)]
        return sum(reply.status == 401 for reply in replies)

    at_once = flood()
    heard = site.gate.hears(phone.flow.remote, site.now)
    site.run(2)

    assert (at_once, heard, flood()) == (BURST, False, 16)


def test_a11_flood_of_what_nobody_answers_is_soon_not_even_read() -> None:
    site, stranger = Site(), flow("198.51.100.66")

    def flood() -> int:
        return sum(site.gate.hears(stranger.remote, site.now) for _ in range(1000))

    at_once = flood()
    site.run(2)

    assert (at_once, flood()) == (READ_BURST, 64)
    assert site.gate.hears(Phone().flow.remote, site.now)


def test_a11_flood_from_everywhere_is_soon_not_even_read() -> None:
    site = Site()

    read = sum(
        site.gate.hears((f"198.18.{number // 250}.{number % 250}", 5060), site.now)
        for number in range(3 * MAX_BUCKETS)
    )

    assert read == STRANGERS_BURST
    assert len(site.gate._readings) <= MAX_BUCKETS


def test_a11_flood_costs_other_addresses_nothing() -> None:
    site = Site()
    for _ in range(1000):
        site.take(Phone().invite(), flow("198.51.100.66"))

    assert site.register(Phone()).status == 200


def test_a11_flood_behind_its_address_costs_a_registered_phone_nothing() -> None:
    site, phone = Site(), Phone()
    site.register(phone)
    for _ in range(1000):
        site.take(Phone().invite(), flow(port=6666))

    assert site.register(phone).status == 200
    assert site.ask(phone, phone.invite()).status == LET_IN


def test_a11_flood_from_everywhere_is_bounded_and_keeps_nothing() -> None:
    site = Site()
    registered = Phone(flow=flow("203.0.113.7"))
    site.register(registered)
    request = Phone().invite()

    answers = 0
    for number in range(3 * MAX_BUCKETS):
        source = flow(f"198.18.{number // 250}.{number % 250}")
        answers += site.take(request, source).status == 401

    assert 900 < answers <= STRANGERS_BURST
    assert not site.gate.hears(("192.88.99.1", 5060), site.now)
    assert len(site.gate._buckets) <= MAX_BUCKETS
    assert len(site.gate._bans) == 0
    assert len(site.gate._identities) == 1
    assert site.register(registered).status == 200
    assert site.ask(registered, registered.invite()).status == LET_IN


def test_a11_trusted_network_may_ask_as_much_as_it_likes() -> None:
    site, phone = Site(trusted=("203.0.113.0/24",)), Phone()

    answers = {site.take(phone.register(), phone.flow).status for _ in range(1000)}

    assert answers == {401}


# ---- A16, A17: headers that claim to be somebody


def test_a17_who_calls_is_who_logged_in_whatever_it_says() -> None:
    site, phone = Site(), Phone()
    request = phone.invite(
        f"P-Asserted-Identity: <sip:bob@{DOMAIN}>",
        f"Remote-Party-ID: <sip:bob@{DOMAIN}>",
        from_=f"sip:bob@{DOMAIN}",
    )
    answered = phone.again(request, site.take(request, phone.flow))

    assert site.take(answered, phone.flow).status == LET_IN
    assert site.gate.identity_of(answered, phone.flow) == "user:ann"


def test_a17_connection_of_one_user_does_not_speak_for_another() -> None:
    site = Site()
    phone = Phone(flow=connection(1))
    site.register(phone)

    reply = site.take(phone.invite(from_=f"sip:bob@{DOMAIN}"), phone.flow)

    assert reply.status == 401


# ---- A18: strangers who pass for a trunk


def test_a18_invite_of_a_stranger_not_meant_for_us_gets_nothing() -> None:
    site = Site(trunks=("198.51.100.1",))
    stranger = Phone(flow=flow("198.51.100.66"))

    by_address = site.take(stranger.invite(uri="sip:+15550100@192.0.2.1"), stranger.flow)
    by_domain = site.take(stranger.invite(), stranger.flow)
    own_register = site.take(stranger.request("REGISTER", uri="sip:192.0.2.1"), stranger.flow)

    assert (by_address.status, by_domain.status, own_register.status) == (SILENCE, 401, SILENCE)
    assert site.gate.counts.silenced == 2


def test_a18_same_transaction_from_elsewhere_is_not_the_users() -> None:
    site = Site()
    phone = Phone(flow=connection(1))
    site.register(phone)
    request = phone.invite()
    site.take(request, phone.flow)

    stolen = site.take(request, flow("198.51.100.66"))

    assert stolen.status == 401
    assert site.gate.identity_of(request, flow("198.51.100.66")) is None
    assert site.gate.identity_of(request, phone.flow) == "user:ann"


def test_a18_closed_connection_with_the_same_addresses_is_another() -> None:
    site = Site()
    phone = Phone(flow=connection(1))
    site.register(phone)
    again = replace(phone.flow, connection=2)

    assert site.take(phone.invite(), again).status == 401
