"""Users in the configuration: [[user]], the domains of [sip], and routes from and to users."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gateway.codec import PCMA, PCMU
from gateway.config import parse_config
from gateway.errors import ConfigError, RoutingError
from gateway.options import Config
from gateway.rtp.dtmf import DtmfMode
from gateway.trunk.route import Plan, Router, Target, TargetKind

ENVIRONMENT = {"ANN_PASSWORD": "secret"}
ANN = '[[user]]\nname = "ann"\npassword_env = "ANN_PASSWORD"\n'
TO_ANN = Plan(((Target(TargetKind.USER, "ann"),),))


def load(text: str) -> Config:
    return parse_config(tomllib.loads(text), Path("gateway.toml"), ENVIRONMENT)


def test_user_needs_a_name_and_a_password() -> None:
    config = load(ANN)

    (ann,) = config.users
    assert (ann.name, ann.password.value) == ("ann", "secret")
    assert (ann.allow_md5, ann.symmetric_rtp, ann.max_contacts) == (False, True, 10)
    assert (ann.codecs, ann.dtmf) == ((PCMU, PCMA), DtmfMode.AUTO)
    assert (config.sip.domains, config.sip.realm) == ((), "voice-gateway")


def test_everything_of_a_user_can_be_said() -> None:
    text = ANN + (
        'display_name = "Ann A."\ncaller_id = "+15550100"\nallow_md5 = true\nmax_contacts = 2\n'
        "symmetric_rtp = false\n"
        'codecs = ["PCMA"]\ndtmf = "inband"\n'
        '[sip]\ndomains = ["Voice.example.com", "2001:db8::1"]\n'
        'never_ban = ["192.0.2.0/24"]\n'
    )

    config = load(text)

    (ann,) = config.users
    assert (ann.display_name, ann.max_contacts, ann.codecs) == ("Ann A.", 2, (PCMA,))
    assert ann.caller_id == "+15550100"
    assert (ann.allow_md5, ann.symmetric_rtp, ann.dtmf) == (True, False, DtmfMode.INBAND)
    assert config.sip.domains == ("voice.example.com", "2001:db8::1")
    assert config.sip.realm == "Voice.example.com"
    assert [str(network) for network in config.sip.never_ban] == ["192.0.2.0/24"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[user]]\nname = "ann"\n', ['[[user]] 1 "ann"', "password_env is missing"]),
        (ANN.replace("ANN_", "EVE_"), ["EVE_PASSWORD", "set the environment variable"]),
        (ANN.replace("ann", "Ann A"), ["name", "lower case"]),
        (ANN + ANN, ["[[user]] 2", "a name of its own"]),
        (ANN + "max_contacts = 11\n", ["max_contacts"]),
        (ANN + 'secret_word = "x"\n', ["secret_word is no key"]),
        (ANN + 'caller_id = "+1 555"\n', ["caller_id", "write a number"]),
        (ANN + 'display_name = "A\\r\\nX: y"\n', ["display_name"]),
        ('[sip]\ndomains = ["example.com:5060"]\n', ["domains", "example.com:5060"]),
        ('[sip]\ndomains = ["sip:example.com"]\n', ["domains"]),
        ('[sip]\nrealm = "a\\nb"\n', ["[sip]", "realm"]),
        ('[sip]\nnever_ban = ["here"]\n', ["never_ban", "network"]),
        (
            ANN + '[[route]]\nfrom = "user:eve"\nmatch = "1"\nto = ["user:ann"]\n',
            ["user:eve", "nobody calls from there"],
        ),
        (
            ANN + '[[route]]\nfrom = "user"\nmatch = "1"\nto = ["user:eve"]\n',
            ["user:eve", "there is no such user"],
        ),
    ],
)
def test_what_is_wrong_is_named(text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load(text)

    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("from_", "sources"),
    [
        ("user", {"user:ann"}),
        ("user:ann", {"user:ann"}),
        ("*", {"user:ann", "browser", "sip", "trunk:user"}),
        ("sip", {"sip"}),
    ],
)
def test_routes_are_for_all_users_or_for_one(from_: str, sources: set[str]) -> None:
    config = load(ANN + f'[[route]]\nfrom = "{from_}"\nmatch = "1"\nto = ["user:ann"]\n')
    router = Router(config.routes)

    for source in ("user:ann", "browser", "sip", "trunk:user"):
        if source in sources:
            assert router.plan(source, "1") == TO_ANN
            assert router.plan(source, "user:ann") == TO_ANN
        else:
            with pytest.raises(RoutingError):
                router.plan(source, "1")


def test_group_in_a_route_rings_several_users() -> None:
    bob = ANN.replace('"ann"', '"bob"')

    config = load(
        ANN + bob + '[[route]]\nfrom = "user:bob"\nmatch = "9"\nto = [["user:ann", "user:bob"]]\n'
    )

    (group,) = Router(config.routes).plan("user:bob", "9").groups
    assert [str(target) for target in group] == ["user:ann", "user:bob"]
