"""Emergency numbers reach no agent, and a trunk only by a route that names them."""

from __future__ import annotations

import pytest

from gateway.errors import RoutingError
from gateway.trunk.emergency import (
    EMERGENCY_NUMBERS,
    EmergencyNumbers,
    EmergencyRefused,
    check_emergency_number,
)
from gateway.trunk.route import Plan, Route, RouteOptions, Router, Target, TargetKind

TRUNK = Target(TargetKind.TRUNK, "carrier")
DESK = Target(TargetKind.USER, "desk")
AGENT = Target(TargetKind.AGENT, "sales")
GERMAN = EmergencyNumbers(["110"], prefixes=["9", "00"], country_codes=["49"])


def route(match: str, *targets: Target) -> Route:
    """A route for everybody that tries some targets in order."""
    return Route(("*",), match, tuple((target,) for target in targets))


@pytest.mark.parametrize("number", EMERGENCY_NUMBERS)
@pytest.mark.parametrize("match", ["*", "9*", "1*", "+*", "???", "91?", "11?", "99*", "93*", "+1*"])
def test_no_pattern_decides_where_an_emergency_call_goes(number: str, match: str) -> None:
    router = Router([route(match, TRUNK)])

    for dialled in (number, f"+{number}", f"00{number}", f"011{number}"):
        with pytest.raises(EmergencyRefused) as caught:
            router.plan("browser", dialled)
        assert caught.value.status == 403


def test_the_refusal_says_in_words_what_to_do() -> None:
    with pytest.raises(RoutingError, match="112 cannot be reached from here: use another phone"):
        Router([route("*", AGENT)]).plan("browser", "112")


@pytest.mark.parametrize(
    "dialled",
    ["112", "+112", "00112", "011112", "+49112", "0049112", "9112", "949112", "1-1-2", "1.12"],
)
def test_a_route_that_names_the_number_takes_it_however_it_is_dialled(dialled: str) -> None:
    options = RouteOptions(ringing_timeout_s=20)
    routes = [route("*", AGENT), Route(("browser",), "112", ((TRUNK,),), options)]

    plan = Router(routes, GERMAN).plan("browser", dialled)

    assert plan == Plan(((TRUNK,),), options, "112")


def test_a_route_for_other_callers_does_not_serve_these() -> None:
    router = Router([Route(("sip",), "112", ((TRUNK,),)), route("*", TRUNK)])

    with pytest.raises(EmergencyRefused):
        router.plan("browser", "112")


def test_an_emergency_call_never_reaches_an_agent_not_even_by_its_route() -> None:
    mixed = Router([Route(("*",), "112", ((AGENT, DESK), (AGENT,), (TRUNK,)))])

    assert mixed.plan("browser", "112").groups == ((DESK,), (TRUNK,))
    with pytest.raises(EmergencyRefused):
        Router([route("112", AGENT), route("*", TRUNK)]).plan("browser", "112")


def test_numbers_of_the_configuration_count_too() -> None:
    with pytest.raises(EmergencyRefused):
        Router([route("*", TRUNK)], GERMAN).plan("browser", "110")

    assert Router([route("*", TRUNK)]).plan("browser", "110").called is None


@pytest.mark.parametrize(
    "dialled", ["1911", "4911", "91100", "91", "11", "+1911555", "0911", "echo911", "+4911212345"]
)
def test_numbers_that_only_look_alike_are_routed_as_ever(dialled: str) -> None:
    plan = Router([route("*", TRUNK)], GERMAN).plan("browser", dialled)

    assert plan == Plan(((TRUNK,),))


def test_the_operator_is_told_which_numbers_lead_nowhere() -> None:
    routes = [route("*", TRUNK), route("911", TRUNK), route("+112", TRUNK), route("999", AGENT)]

    assert Router(routes, GERMAN).unserved == ("999", "933", "110")


@pytest.mark.parametrize("text", ["1", "1234567", "+112", "1a", "", "١١٢"])
def test_what_is_no_emergency_number_is_told_what_one_is(text: str) -> None:
    with pytest.raises(ValueError, match="write 2 to 6 digits"):
        check_emergency_number(text)
