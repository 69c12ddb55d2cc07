"""What the keys of a trunk mean that say how it is watched, registered with and limited."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gateway.codec import G722, OPUS, PCMA, PCMU
from gateway.config import parse_config
from gateway.errors import ConfigError
from gateway.options import Config
from gateway.private import Secret
from gateway.sip.flow import Destination
from gateway.trunk.codecs import CodecRules, Transcode
from gateway.trunk.trunk import Trunk

FILE = Path("gateway.toml")
SECRETS = {"CARRIER_PASSWORD": "hunter2", "LINE_PASSWORD": "letmein"}
TRUNK = '[[trunk]]\nname = "carrier"\nuri = "sip:carrier.test"\n'
USER = 'username = "acme"\npassword_env = "CARRIER_PASSWORD"\nrealm = "carrier"\n'


def read(text: str) -> Config:
    """The configuration that some TOML is."""
    return parse_config(tomllib.loads(text), FILE, SECRETS)


def trunk_of(keys: str) -> Trunk:
    """The trunk with some keys."""
    return read(TRUNK + keys).trunks[0]


def refuse(text: str) -> str:
    """What is said about a configuration that is wrong."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    return str(caught.value).removeprefix(f"{FILE}: ")


def test_a_trunk_is_watched_and_unlimited_where_nothing_is_said() -> None:
    trunk = trunk_of("")

    assert trunk.probe_s == 30
    assert (trunk.max_calls, trunk.max_cps) == (None, None)
    assert (trunk.trusted, trunk.proxy, trunk.registrations) == (False, None, ())
    assert read(TRUNK).sip.max_cps is None


def test_limits_and_trust_are_read() -> None:
    trunk = trunk_of("probe_s = 0\nmax_calls = 30\nmax_cps = 0.5\ntrusted = true\n")

    assert (trunk.probe_s, trunk.max_calls, trunk.max_cps, trunk.trusted) == (0, 30, 0.5, True)
    assert read("[sip]\nmax_cps = 50\n").sip.max_cps == 50


@pytest.mark.parametrize(
    ("uri", "destination"),
    [
        ("sip:a.test", Destination("a.test")),
        ("sip:a.test:5080;transport=tcp", Destination("a.test", 5080, "tcp")),
        ("sip:a.test;transport=TLS", Destination("a.test", None, "tls")),
        ("sips:a.test", Destination("a.test", secure=True)),
    ],
)
def test_a_trunk_is_where_its_uri_says(uri: str, destination: Destination) -> None:
    trunk = read(f'[[trunk]]\nname = "a"\nuri = "{uri}"\n').trunks[0]

    assert trunk.destination == destination


def test_what_is_sent_to_a_trunk_goes_to_its_proxy_first() -> None:
    trunk = trunk_of('proxy = "sip:edge.test:5070"\nregister = true\n' + USER)

    assert str(trunk.proxy) == "sip:edge.test:5070;lr"
    assert trunk.destination == Destination("edge.test", 5070)
    assert trunk.registrations[0].destination == Destination("edge.test", 5070)
    assert set(trunk.destinations) == {Destination("edge.test", 5070), Destination("carrier.test")}


def test_register_true_registers_as_the_trunk() -> None:
    (registration,) = trunk_of("register = true\nregister_expires_s = 300\n" + USER).registrations

    assert str(registration.registrar) == "sip:carrier.test"
    assert str(registration.address) == "<sip:acme@carrier.test>"
    assert registration.expires_s == 300
    assert registration.credentials is not None
    assert registration.credentials.username == "acme"
    assert registration.credentials.password == Secret("hunter2")
    assert registration.credentials.realm == "carrier"


def test_a_trunk_may_have_several_registrations() -> None:
    first, second = trunk_of(
        USER
        + '[[trunk.register]]\nusername = "line1"\npassword_env = "LINE_PASSWORD"\n'
        + '[[trunk.register]]\nuser = "+493012345"\ndomain = "ims.test"\n'
        + 'registrar = "sips:reg.test"\nexpires_s = 3600\n'
    ).registrations

    assert str(first.address) == "<sip:line1@carrier.test>"
    assert first.credentials is not None
    assert first.credentials.password == Secret("letmein")
    assert first.expires_s == 600
    assert str(second.address) == "<sips:+493012345@ims.test>"
    assert second.destination == Destination("reg.test", secure=True)
    assert second.credentials is not None
    assert second.credentials.username == "acme"
    assert second.expires_s == 3600


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TRUNK + "probe_s = 2\n", "probe_s = 2.0: write 0 for never, or 5 or more"),
        (TRUNK + "max_calls = 0\n", '[[trunk]] 1 "carrier": max_calls = 0: '),
        (TRUNK + "max_cps = 0\n", '[[trunk]] 1 "carrier": max_cps = 0: '),
        (TRUNK + 'proxy = "edge"\n', "proxy = 'edge': write sip:HOST"),
        (TRUNK + "register = true\n", "[[trunk.register]] 1: username is missing: say who"),
        (TRUNK + "register = 1\n", "register = 1: write a list, in [ ]"),
        (
            TRUNK + '[[trunk.register]]\nusrname = "a"\n',
            "[[trunk.register]] 1: usrname is no key; did you mean 'username'?",
        ),
        (
            TRUNK + '[[trunk.register]]\nuser = "a"\n[[trunk.register]]\nexpires_s = 5\n',
            '[[trunk]] 1 "carrier": [[trunk.register]] 2: expires_s = 5: ',
        ),
        (
            TRUNK + '[[trunk.register]]\nuser = "a"\nregistrar = "sip:u@h"\n',
            "registrar = 'sip:u@h': write sip:HOST",
        ),
        (
            TRUNK + '[[trunk.register]]\nuser = "a"\ndomain = "a b"\n',
            "domain = 'a b': write a name",
        ),
        (TRUNK + '[[trunk.register]]\nusername = "a"\n', "password_env is missing: name the"),
        ("[sip]\nmax_cps = -1\n", "[sip]: max_cps = -1: "),
    ],
)
def test_an_error_names_key_value_and_remedy(text: str, said: str) -> None:
    assert said in refuse(text)


# ---- codecs


def test_codecs_are_read_in_their_order() -> None:
    user = '[[user]]\nname = "ann"\npassword_env = "CARRIER_PASSWORD"\ncodecs = ["G722"]\n'

    config = read(TRUNK + 'codecs = ["opus", "PCMA", "G722"]\n' + user)

    assert config.trunks[0].codecs == (OPUS, PCMA, G722)
    assert config.users[0].codecs == (G722,)
    assert trunk_of("").codecs == (PCMU, PCMA)


def test_a_route_says_when_payloads_are_transcoded() -> None:
    route = '[[route]]\nfrom = "browser"\nmatch = "{}"\nto = ["trunk:carrier"]\n'

    routes = read(
        TRUNK
        + route.format("1")
        + route.format("2")
        + 'transcode = "never"\ncodecs = ["PCMA", "opus"]\n'
    ).router.routes

    assert routes[0].options.codecs == CodecRules(Transcode.AUTO, ())
    assert routes[1].options.codecs == CodecRules(Transcode.NEVER, ("PCMA", "opus"))


@pytest.mark.parametrize("codecs", ['["G729"]', '["pcmu"]', "[]"])
def test_a_codec_that_we_do_not_speak_is_refused(codecs: str) -> None:
    assert "codecs" in refuse(TRUNK + f"codecs = {codecs}\n")
