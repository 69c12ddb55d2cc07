"""Routes: who may call what, and where that leads."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import RoutingError
from gateway.trunk.route import (
    Plan,
    Route,
    Router,
    Target,
    TargetKind,
    check_pattern,
    parse_target,
)

TRUNK = Target(TargetKind.TRUNK, "telnyx")
OTHER_TRUNK = Target(TargetKind.TRUNK, "bandwidth")
AGENT = Target(TargetKind.AGENT, "sales")

SOURCES = ("browser", "sip", "api", "trunk:telnyx")


def route(match: str, *targets: Target, source: str = "browser") -> Route:
    """A route that tries some targets in order."""
    return Route((source,), match, tuple((target,) for target in targets))


def leads(match: str, dialled: str) -> bool:
    """Whether a pattern lets a call through."""
    try:
        Router([route(match, TRUNK)]).plan("browser", dialled)
    except RoutingError:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("agent:sales", AGENT),
        ("trunk:telnyx", TRUNK),
        ("user:ann", Target(TargetKind.USER, "ann")),
        ("reject:486", Target(TargetKind.REJECT, status=486)),
        ("ignore:", Target(TargetKind.IGNORE)),
    ],
)
def test_an_address_names_a_target_and_back(text: str, target: Target) -> None:
    assert parse_target(text) == target
    assert str(target) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sales",
        "agent",
        "agent:",
        "Agent:sales",
        "sip:1@198.51.100.1",
        "tel:+15550100",
        "reject:",
        "reject:200",
        "reject:700",
        "reject:4860",
        "reject:٤٠٤",
        "ignore:all",
    ],
)
def test_what_is_no_address_is_told_what_one_is(text: str) -> None:
    with pytest.raises(ValueError, match="write "):
        parse_target(text)


@pytest.mark.parametrize(
    ("match", "dialled", "is_led"),
    [
        ("+15551234567", "+15551234567", True),
        ("+15551234567", "+15551234568", False),
        ("+15551234567", "+155512345678", False),
        ("+1*", "+15551234567", True),
        ("+1*", "+1", True),
        ("+1*", "+4415551234567", False),
        ("+1*", "15551234567", False),
        ("+*", "+", False),
        ("+*", "+agent", False),
        ("+1*", "+1555abc", False),
        ("+1*", "+1" + "5" * 20, False),
        ("5???", "5123", True),
        ("5???", "51234", False),
        ("5???", "512x", False),
        ("echo", "echo", True),
        ("echo", "Echo", False),
        ("e*", "echo", True),
        ("team-*", "team-a.b~c_d", True),
        ("*", "+15551234567", True),
        ("*", "echo", True),
    ],
)
def test_patterns(match: str, dialled: str, is_led: bool) -> None:
    assert leads(match, dialled) == is_led


def test_the_first_route_that_matches_decides() -> None:
    router = Router([route("+1900*", OTHER_TRUNK), route("+1*", TRUNK), route("*", AGENT)])

    assert router.plan("browser", "+19005550100") == Plan(((OTHER_TRUNK,),))
    assert router.plan("browser", "+12005550100") == Plan(((TRUNK,),))
    assert router.plan("browser", "+442005550100") == Plan(((AGENT,),))


def test_groups_are_kept_as_they_are_written() -> None:
    ann, bob = Target(TargetKind.USER, "ann"), Target(TargetKind.USER, "bob")
    groups = ((AGENT,), (ann, bob))

    plan = Router([Route(("browser",), "100", groups)]).plan("browser", "100")

    assert plan.groups == groups


def test_a_route_is_for_its_sources_alone() -> None:
    router = Router([route("+1*", TRUNK, source="trunk:telnyx"), route("9*", AGENT, source="*")])

    for source in SOURCES:
        assert router.plan(source, "987") == Plan(((AGENT,),))
    assert router.plan("trunk:telnyx", "+15550100") == Plan(((TRUNK,),))
    with pytest.raises(RoutingError):
        router.plan("browser", "+15550100")


def test_without_a_route_nothing_is_dialled() -> None:
    with pytest.raises(RoutingError) as caught:
        Router([]).plan("browser", "+15550100")

    assert caught.value.status == 404


def test_a_refused_number_is_not_repeated_to_a_log() -> None:
    with pytest.raises(RoutingError) as caught:
        Router([]).plan("browser", "+15550100")

    assert "5550100" not in str(caught.value)


def test_an_agent_is_called_by_its_address_where_a_route_leads_to_it() -> None:
    router = Router([route("help", AGENT, OTHER_TRUNK)])

    assert router.plan("browser", "agent:sales") == Plan(((AGENT,),))
    for source, dialled in (
        ("api", "agent:sales"),
        ("browser", "agent:other"),
        ("browser", "trunk:bandwidth"),
        ("browser", "reject:486"),
        ("browser", "sip:help"),
        ("browser", "tel:+15550100"),
        ("browser", "agent:"),
        ("browser", ":"),
    ):
        with pytest.raises(RoutingError):
            router.plan(source, dialled)


BREAKING = [
    "",
    "+١٥٥٥٠١٠٠",
    "+1５550100",
    "%2b15550100",
    "+1 555 0100",
    " +15550100",
    "+15550100\n",
    "+15550100\r\nX-Evil: 1",
    "+15550100;phone-context=evil",
    "+15550100@evil.example",
    "1000@evil.example;x=",
    "+15550100?Route=%3Csip:evil%3E",
    "<sip:+15550100>",
    '"+15550100"',
    "+15550100,+15550101",
    "+1555\x000100",
    "+1555\u20280100",
    "+15550100#",
    "*31*+15550100",
    "(555)0100",
    "a" * 65,
]


DIALLED = st.one_of(
    st.text(), st.sampled_from(BREAKING), st.text('+01٣ ;%@\r\n\t*#<?"abc._~-', max_size=9)
)


@given(DIALLED, st.sampled_from(["*", "+*", "+1*", "1*", "?" * 5]))
@example("+15550100\n", "*")
@example("1000@evil.example;x=", "*")
def test_nothing_but_numbers_and_names_reaches_a_trunk(dialled: str, match: str) -> None:
    if not leads(match, dialled):
        return

    assert re.fullmatch(r"[A-Za-z0-9._~+-]{1,64}", dialled)
    if "+" in match or "1" in match:
        assert re.fullmatch(r"\+?[0-9]{1,20}", dialled)


@pytest.mark.parametrize("dialled", BREAKING)
def test_what_breaks_dial_plans_matches_nothing(dialled: str) -> None:
    assert not leads("*", dialled)
    assert not leads("+1*", dialled)


@given(st.from_regex(r"\+?[0-9]{1,20}", fullmatch=True), st.from_regex(r"[a-z][a-z0-9-]*\*?"))
def test_a_number_never_reaches_an_agent_by_the_pattern_of_a_name(number: str, name: str) -> None:
    router = Router([route(name.strip(), AGENT)])

    with pytest.raises(RoutingError):
        router.plan("browser", number)


@pytest.mark.parametrize("match", ["+1*", "5???", "*", "echo", "?"])
def test_patterns_that_can_match_are_accepted(match: str) -> None:
    check_pattern(match)


@pytest.mark.parametrize("match", ["", "+1*2", "**", "+1 555", "sip:x", "é", "a" * 65, "a\n"])
def test_patterns_that_cannot_match_are_refused(match: str) -> None:
    with pytest.raises(ValueError, match="write "):
        check_pattern(match)
