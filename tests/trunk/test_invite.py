"""The INVITE that a trunk gets: nothing but what it should, wherever it came from."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import RoutingError
from gateway.private import Private
from gateway.sip.flow import Destination, Flow
from gateway.sip.header import parse_address
from gateway.sip.message import Request
from gateway.sip.session_timer import SessionTimerOptions
from gateway.sip.uri import parse_uri
from gateway.trunk.emergency import EmergencyNumbers
from gateway.trunk.headers import HeaderOptions
from gateway.trunk.identity import Asserted, CallerIdentity, IdentityOptions
from gateway.trunk.invite import build_invite
from gateway.trunk.numbers import NumberFormat, NumberOptions, NumberUri
from gateway.trunk.route import Route, Router, Target, TargetKind
from tests.trunk.wire import ANN, HOST, LOCAL, make_trunk, send_invite

TRUNK = Target(TargetKind.TRUNK, "carrier")
GERMANY = NumberOptions(NumberFormat.E164, country_code="49", national_prefix="0")
OPEN = Router([Route(("*",), "*", ((TRUNK,),))])
FORMATS = [
    replace(GERMANY, format=form, uri=kind, tech_prefix=prefix)
    for form in NumberFormat
    for kind in NumberUri
    for prefix in ("", "77#")
]
TALKATIVE = make_trunk(
    NumberOptions(),
    IdentityOptions(
        display_name="caller", pai=Asserted.CALLER, ppi=Asserted.CALLER, rpid=Asserted.CALLER
    ),
    HeaderOptions(given=("X-*",)),
)

# ---- what is in it


def test_everything_of_a_trunk_is_in_the_request() -> None:
    timer = SessionTimerOptions(600, 120)
    trunk = make_trunk(
        realm="carrier", no_response_timeout_s=2.0, offer_100rel=False, session_timer=timer
    )

    request = build_invite(
        trunk, caller=ANN, called="+15550100", local_host=LOCAL, offer=b"o", max_forwards=12,
        max_breadth=7, headers=(("Replaces", "1;to-tag=2;from-tag=3"),),
    )  # fmt: skip

    assert request.credentials is not None
    assert (request.credentials.username, request.credentials.realm) == ("acme", "carrier")
    assert (request.flow, request.destination) == (None, Destination(HOST))
    assert (request.offer, request.max_forwards) == (b"o", 12)
    assert (request.no_response_timeout_s, request.reliable) == (2.0, False)
    assert request.session_timer == timer
    assert request.max_breadth == 7
    assert request.headers == (("Replaces", "1;to-tag=2;from-tag=3"),)


def test_a_trunk_is_reached_as_its_uri_says() -> None:
    for uri, destination in (
        ("sip:h.example:5080;transport=tcp", Destination("h.example", 5080, "tcp")),
        ("sip:h.example;transport=tls", Destination("h.example", None, "tls")),
        ("sips:h.example", Destination("h.example", secure=True)),
    ):
        trunk = make_trunk(uri=parse_uri(uri))

        request = build_invite(trunk, caller=ANN, called="+15550100", local_host=LOCAL)

        assert request.destination == destination
        assert request.target.scheme == request.from_.uri.scheme == uri.partition(":")[0]
        assert request.target.parameters == ()


def test_a_proxy_gets_the_call_and_the_trunk_stays_its_target() -> None:
    trunk = make_trunk(proxy=parse_uri("sip:proxy.example;lr"))
    service = parse_address("<sip:edge.example;lr>")

    sent = send_invite(trunk, "+15550100", service_route=(service,))

    assert sent.uri == f"sip:+15550100@{HOST}"
    assert sent.headers.get_all("Route") == ["<sip:proxy.example;lr>", "<sip:edge.example;lr>"]
    request = build_invite(trunk, caller=ANN, called="+15550100", local_host=LOCAL)
    assert request.destination == Destination("proxy.example")


def test_a_connection_that_is_there_is_used() -> None:
    flow = Flow("tls", (LOCAL, 40000), ("198.51.100.1", 5061), 7)

    request = build_invite(
        make_trunk(), caller=ANN, called="+15550100", local_host=LOCAL, flow=flow
    )

    assert (request.flow, request.destination) == (flow, None)


def test_an_emergency_number_goes_out_as_it_is() -> None:
    numbers = replace(GERMANY, tech_prefix="77", strip_prefix="9", format=NumberFormat.NATIONAL)
    emergency = EmergencyNumbers(prefixes=["9"])

    for dialled in ("911", "9911", "+911"):
        sent = send_invite(make_trunk(numbers), dialled, emergency=emergency)
        assert sent.uri == f"sip:911@{HOST}"


# ---- toll fraud (A13)

DIAL_STRINGS = [
    "+15550100", "0015550100", "01115550100", "15550100", ";15550100", "*67", "#31#15550100",
    "+١٥٥٥٠١٠٠", "٣٣٣", "%2b15550100", "+1 555 0100", "tel:+15550100", "sip:1@evil.example",
    "100@evil.example", "1000@evil.example;x=", "+15550100;phone-context=evil.example",
    "+15550100?Route=%3Csip:evil.example%3E", "<sip:1@evil.example>", '"1"', "1,2", "1\r\nX: 1",
    "1\0", "1\u2028", "agent:sales", "", "+", "..", "9" * 65,
]  # fmt: skip

DIALLED = st.one_of(
    st.sampled_from(DIAL_STRINGS), st.text(max_size=24), st.text('+01٣ ;%@\r\n\t*#<?"abc._~-:')
)


def dial(numbers: NumberOptions, dialled: str, router: Router = OPEN) -> Request | None:
    """What reaches the trunk; None if nothing does."""
    try:
        router.plan("browser", dialled)
        return send_invite(make_trunk(numbers), dialled, emergency=router.emergency)
    except RoutingError:
        return None


@given(DIALLED, st.sampled_from(FORMATS))
@example("100@evil.example", FORMATS[0])
@example("+15550100\r\nX-Evil: 1", FORMATS[0])
def test_a13_nothing_outside_the_allow_list_reaches_a_trunk(
    dialled: str, numbers: NumberOptions
) -> None:
    sent = dial(numbers, dialled)

    if sent is not None:
        uri = parse_uri(sent.uri)
        allowed = r"(77#)?(\+?[0-9]{1,20}|[A-Za-z0-9._~+-]{1,64})"
        assert re.fullmatch(allowed, uri.user or "", re.ASCII)
        if numbers.format is not NumberFormat.UNCHANGED:
            assert re.fullmatch(r"(77#)?\+?[0-9]{1,20}", uri.user or "", re.ASCII)


@given(DIALLED)
def test_a13_a_prefix_that_no_route_allows_is_not_dialled_by_another_spelling(
    dialled: str,
) -> None:
    router = Router([Route(("browser",), "+49*", ((TRUNK,),))])

    sent = dial(GERMANY, dialled, router)

    assert sent is None or parse_uri(sent.uri).user.startswith("+49")  # type: ignore[union-attr]


# ---- injection (A14, A15)

WORDS = st.one_of(
    st.sampled_from([
        "1000@evil.example;x=", "x?Route=<sip:evil.example>", "a;phone-context=evil", "<>", '"',
        "\\", '" <sip:evil.example>', "a\r\nVia: evil", "a\nX: 1", "\0", "\u2028", "%0d%0a", "Ann",
        "+15550100", "anonymous",
    ]),
    st.text(max_size=20),
)  # fmt: skip


@given(WORDS, WORDS, WORDS, st.dictionaries(st.one_of(WORDS, st.just("X-A")), WORDS, max_size=3))
@example("+15550100", "+15550100", 'Ann" <sip:evil.example>', {"X-A": "1"})
def test_a14_an_invite_has_one_target_the_trunks_whatever_words_come(
    called: str, number: str, name: str, attributes: dict[str, str]
) -> None:
    caller = CallerIdentity(Private(number), Private(name))
    try:
        sent = send_invite(TALKATIVE, called, caller, attributes=attributes)
    except RoutingError:
        return

    uri = parse_uri(sent.uri)
    assert (uri.host, uri.port, uri.headers, uri.password) == (HOST, None, (), None)
    assert uri.parameters == ()
    assert sent.to.uri == uri
    assert sent.from_.uri.host == LOCAL
    known = {name.lower() for name, _ in sent.headers}
    assert {key for key in known if key.startswith("x-")} <= {key.lower() for key in attributes}
    assert "route" not in known
    assert [len(sent.headers.get_all(key)) for key in ("Via", "From", "To", "Contact")] == [1] * 4


@pytest.mark.parametrize("called", ["", "1@evil", "+1555\r\nX: 1", "echo!"])
def test_what_cannot_be_dialled_is_refused(called: str) -> None:
    with pytest.raises(RoutingError) as caught:
        send_invite(make_trunk(), called)

    assert caught.value.status == 404
