"""What the keys of a trunk and a route mean, and what is said of those that cannot be used."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from gateway.config import default_config, parse_config
from gateway.errors import ConfigError
from gateway.options import Config
from gateway.sdp.crypto import SrtpPolicy
from gateway.sip.session_timer import SessionTimerOptions
from gateway.trunk.diversion import DiversionStyle
from gateway.trunk.headers import HeaderOptions
from gateway.trunk.identity import Asserted, IdentityOptions
from gateway.trunk.numbers import NumberFormat, NumberOptions, NumberUri
from gateway.trunk.route import RouteOptions
from gateway.trunk.trunk import Trunk

ENVIRONMENT = {"PASSWORD": "hunter2"}


def load(document: dict[str, Any]) -> Config:
    """A configuration of that document."""
    return parse_config(document, Path("gateway.toml"), ENVIRONMENT)


def make(**keys: Any) -> Trunk:
    """A trunk with these keys."""
    return load({"trunk": [{"name": "carrier", "uri": "sip:carrier.example", **keys}]}).trunks[0]


def route(**keys: Any) -> dict[str, Any]:
    return {"from": "browser", "match": "112", "to": ["trunk:carrier"], **keys}


def load_routes(*routes: dict[str, Any], **sections: Any) -> Config:
    trunk = {"name": "carrier", "uri": "sip:carrier.example"}
    agent = {"name": "echo", "protocol": "echo"}
    return load({"trunk": [trunk], "agent": [agent], "route": [*routes], **sections})


def test_a_trunk_that_says_nothing_has_the_plain_ways() -> None:
    trunk = make()

    assert trunk.numbers == NumberOptions()
    assert trunk.identity == IdentityOptions()
    assert trunk.headers == HeaderOptions()
    assert (trunk.no_response_timeout_s, trunk.offer_100rel) == (4.0, True)
    assert trunk.session_timer == SessionTimerOptions(1800, 90)


def test_the_numbers_of_a_trunk_are_read() -> None:
    trunk = make(
        number_format="national", number_uri="phone", country_code="49", national_prefix="0",
        strip_prefix="9", tech_prefix="77#",
    )  # fmt: skip

    assert trunk.numbers == NumberOptions(
        NumberFormat.NATIONAL, NumberUri.PHONE, "49", "0", "00", "9", "77#"
    )


def test_north_america_has_prefixes_of_its_own() -> None:
    numbers = make(country_code="1").numbers

    assert (numbers.national_prefix, numbers.international_prefix) == ("1", "011")
    assert make(country_code="1", national_prefix="").numbers.national_prefix == ""


def test_the_identity_of_callers_is_read() -> None:
    trunk = make(
        username="acme", password_env="PASSWORD", caller_ids=["+4930*"], from_user="username",
        from_domain="acme.example", to_domain="[2001:db8::1]", contact_user="acme",
        display_name="ACME", pai="caller", ppi="trunk", rpid="off", diversion="history-info",
    )  # fmt: skip

    assert trunk.identity == IdentityOptions(
        ("+4930*",), "username", "acme.example", "2001:db8::1", "acme", "ACME",
        Asserted.CALLER, Asserted.TRUNK, Asserted.OFF, DiversionStyle.HISTORY_INFO,
    )  # fmt: skip


def test_headers_and_timers_are_read() -> None:
    trunk = make(
        headers=["X-Account: 42", "X-B:c:d"], headers_in=["X-*"], headers_out=["X-Trace"],
        session_expires_s=600, min_se_s=120, no_response_timeout_s=2, offer_100rel=False,
    )  # fmt: skip

    assert trunk.headers == HeaderOptions(
        ("X-*",), ("X-Trace",), (("X-Account", "42"), ("X-B", "c:d"))
    )
    assert trunk.session_timer == SessionTimerOptions(600, 120)
    assert (trunk.no_response_timeout_s, trunk.offer_100rel) == (2.0, False)
    assert make(session_expires_s=0).session_timer is None


@pytest.mark.parametrize(
    ("keys", "uri"),
    [
        ({"transport": "tcp"}, "sip:carrier.example;transport=tcp"),
        ({"transport": "tls", "uri": "sip:c.example;transport=tls"}, "sip:c.example;transport=tls"),
        ({"transport": "tls", "uri": "sips:c.example"}, "sips:c.example"),
    ],
)
def test_the_transport_may_stand_beside_the_uri(keys: dict[str, str], uri: str) -> None:
    assert str(make(**keys).uri) == uri


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"country_code": "+49"}, "country_code = '+49': write 1 to 3 digits without a plus"),
        ({"country_code": ""}, "country_code = '': write 1 to 3 digits"),
        ({"country_code": "٤٩"}, "country_code = '٤٩': write 1 to 3 digits"),
        ({"country_code": "49"}, "national_prefix is missing: say what stands before"),
        ({"number_format": "national"}, "country_code is missing: number_format ="),
        ({"number_format": "e.164"}, "number_format = 'e.164': "),
        ({"number_format": "plain", "number_uri": "tel"}, "number_uri = 'tel': a tel URI needs"),
        ({"tech_prefix": "7 7"}, "tech_prefix = '7 7': write up to 16 digits, letters, * or #"),
        ({"strip_prefix": "#"}, "strip_prefix = '#': write up to 16 digits"),
        ({"caller_id": "a b"}, "caller_id = 'a b': write a number"),
        ({"caller_ids": ["+1*2"]}, "caller_ids = '+1*2': write a number or name"),
        ({"from_user": "username"}, 'username is missing: from_user = "username" needs it'),
        ({"from_user": "a@b"}, "from_user = 'a@b': write caller, username or a number or name"),
        ({"contact_user": "a;b"}, "contact_user = 'a;b': write a number or name"),
        ({"from_domain": "a:5060"}, "from_domain = 'a:5060': write a host name"),
        ({"to_domain": "a b"}, "to_domain = 'a b': write a host name"),
        ({"to_domain": ""}, "to_domain = '': write a host name"),
        ({"display_name": "a\r\nX: 1"}, "display_name = 'a\\r\\nX: 1': write up to 128"),
        ({"pai": "trunk"}, 'caller_id is missing: pai = "trunk" needs it'),
        ({"pai": "on"}, "pai = 'on': "),
        ({"headers": ["X-A"]}, "headers = 'X-A': write \"NAME: VALUE\""),
        ({"headers": ["Via: x"]}, "headers = 'Via': Via is written by the gateway alone"),
        ({"headers": ["X-A: a\nb"]}, "headers = 'a\\nb': line break"),
        ({"headers": ["X-A: b"] * 17}, "headers = 17: write 16 at most"),
        ({"headers_in": ["*"]}, "headers_in = '*': write the name of a header"),
        ({"headers_out": ["P-Asserted-Identity"]}, "headers_out = 'P-Asserted-Identity': "),
        ({"session_expires_s": 60}, "session_expires_s = 60: write 90 (min_se_s) or more"),
        ({"min_se_s": 10}, "min_se_s = 10: "),
        ({"no_response_timeout_s": 0}, "no_response_timeout_s = 0: "),
        ({"transport": "sctp"}, "transport = 'sctp': "),
        ({"transport": "tls", "uri": "sip:c;transport=udp"}, "transport = 'tls': the uri says udp"),
    ],
)
def test_a_key_that_cannot_be_used_is_named_with_a_remedy(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(**keys)

    assert str(caught.value).startswith('gateway.toml: [[trunk]] 1 "carrier": ' + said)


def test_the_options_of_a_route_are_read() -> None:
    config = load_routes(
        route(match="+1*"),
        route(
            match="5*", ringing_timeout_s=20, max_call_duration_s=3600,
            failover_on=[486, 503], failover_after_progress=True,
        ),
    )  # fmt: skip

    assert config.routes[0].options == RouteOptions()
    assert config.routes[1].options == RouteOptions(20.0, 3600.0, frozenset({486, 503}), True)


@pytest.mark.parametrize(
    "keys",
    [{"ringing_timeout_s": 0}, {"ringing_timeout_s": 181}, {"max_call_duration_s": 0},
     {"failover_on": [200]}, {"failover_on": 503}, {"failover_after_progress": "maybe"}],
)  # fmt: skip
def test_an_option_of_a_route_that_cannot_be_used_is_named(keys: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"\[\[route\]\] 1: {next(iter(keys))}"):
        load_routes(route(**keys))


# ---- emergency numbers


@pytest.mark.parametrize("match", ["112", "+112", "999", "110", "0049112", "9911"])
def test_a_route_that_leads_an_emergency_number_to_an_agent_is_refused(match: str) -> None:
    trunk = {
        "name": "carrier", "uri": "sip:c.example", "country_code": "49", "national_prefix": "0",
        "strip_prefix": "9",
    }  # fmt: skip
    said = r"\[\[route\]\] 1: to = 'agent:echo': no emergency number leads to an agent"

    with pytest.raises(ConfigError, match=said):
        load_routes(
            route(match=match, to=["trunk:carrier", "agent:echo"]),
            trunk=[trunk],
            sip={"emergency_numbers": ["110"]},
        )


def test_an_emergency_number_of_the_configuration_is_one() -> None:
    with pytest.raises(ConfigError, match=r"\[sip\]: emergency_numbers = '1': write 2 to 6"):
        load({"sip": {"emergency_numbers": ["1"]}})
    assert load({"sip": {"emergency_numbers": ["110"]}}).emergency.find("110") == "110"


def test_the_operator_is_warned_of_emergency_numbers_without_a_route() -> None:
    (warning,) = load_routes(route(match="911"), route(match="+1*")).warnings()

    assert warning.startswith("emergency calls to 112, 999, 933 are refused: no [[route]] names")
    assert default_config({}).warnings() != ()


def test_nobody_is_warned_where_there_is_nothing_to_know() -> None:
    served = [route(match=number) for number in ("911", "112", "999", "933")]

    assert load_routes(*served).warnings() == ()
    assert load_routes(route(match="9", to=["agent:echo"])).warnings() == ()


def test_media_of_a_trunk_is_plain_and_where_its_sip_is_unless_said_otherwise() -> None:
    plain = make()
    said = make(
        transport="tls", srtp="optional", srtp_without_tls=True, rtcp_mux=True,
        media_allow=["10.1.0.0/16", "2001:db8::/64"],
    )  # fmt: skip

    assert (plain.srtp, plain.srtp_without_tls, plain.rtcp_mux) == (SrtpPolicy.OFF, False, False)
    assert plain.media_allow == ()
    assert (said.srtp, said.srtp_without_tls, said.rtcp_mux) == (SrtpPolicy.OPTIONAL, True, True)
    assert said.media_allow == (ip_network("10.1.0.0/16"), ip_network("2001:db8::/64"))


@pytest.mark.parametrize(
    "keys",
    [
        {"transport": "tls"},
        {"uri": "sips:carrier.example"},
        {"proxy": "sip:edge.example;transport=tls"},
        {"transport": "tcp", "srtp_without_tls": True},
    ],
)
def test_srtp_may_be_required_over_tls_or_where_that_is_waived(keys: dict[str, Any]) -> None:
    assert make(srtp="required", **keys).srtp is SrtpPolicy.REQUIRED


@pytest.mark.parametrize("keys", [{}, {"transport": "tcp"}, {"proxy": "sip:edge.example"}])
def test_a34_srtp_that_is_required_needs_tls(keys: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="srtp = 'required': its keys need transport = \"tls\""):
        make(srtp="required", **keys)


def test_a_network_of_media_is_a_network() -> None:
    with pytest.raises(ConfigError, match="media_allow = '10"):
        make(media_allow=["10.0.0.1/8"])


@pytest.mark.parametrize(
    ("keys", "is_told"),
    [
        ({}, True),
        ({"transport": "tls"}, False),
        ({"srtp_without_tls": True}, False),
        ({"uri": "sip:carrier.example;transport=TLS"}, False),
    ],
)
def test_srtp_that_is_never_used_is_told(keys: dict[str, Any], is_told: bool) -> None:
    trunk = {"name": "carrier", "uri": "sip:carrier.example", "srtp": "optional", **keys}

    warnings = load({"trunk": [trunk]}).warnings()

    assert ["carrier" in each for each in warnings] == [True] * is_told


def test_srtp_may_be_required_over_tls_however_that_is_spelt() -> None:
    assert make(uri="sip:carrier.example;transport=TLS", srtp="required").srtp.value == "required"
