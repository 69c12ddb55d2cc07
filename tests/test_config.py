"""The configuration: what a file means, and what is said of one that cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.codec import PCMA, PCMU
from gateway.config import DEFAULT_FILE, default_config, load_config, parse_config
from gateway.errors import ConfigError, RoutingError
from gateway.lab.lab import (
    CALLERS,
    DESTINATIONS,
    LAB_FILE,
    LAB_PASSWORD,
    LAB_SECRETS,
    LAB_USER,
    lab_document,
)
from gateway.net.tls import TlsOptions
from gateway.options import Config, Listen, MediaOptions
from gateway.private import Secret
from gateway.rtp.dtmf import DtmfMode
from gateway.trunk.route import Plan, Router, Target, TargetKind
from gateway.trunk.trunk import Peers

TRUNK = '[[trunk]]\nname = "carrier"\nuri = "sip:198.51.100.1"\n'
AGENT = '[[agent]]\nname = "echo"\nprotocol = "echo"\n'


def load(tmp_path: Path, text: str, environment: Mapping[str, str] | None = None) -> Config:
    """A configuration as it is after reading a file of that text."""
    file = tmp_path / "gateway.toml"
    file.write_text(text, encoding="utf-8")
    return load_config(file, environment or {})


def refuse(tmp_path: Path, text: str, environment: Mapping[str, str] | None = None) -> str:
    """What is said of a file, without its name, which is always said."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, environment)
    name, colon, said = str(caught.value).partition("gateway.toml: ")
    assert colon, f"does not name the file: {name}"
    return said


# ---- the defaults


def test_the_embedded_default_stays_on_this_machine() -> None:
    config = default_config({})

    assert config.http is not None
    assert (config.http.host, config.http.port, config.http.token) == ("127.0.0.1", 8080, None)
    assert config.sip.listen == (Listen("udp", "127.0.0.1", 5060),)
    assert config.webrtc is not None
    assert (config.webrtc.listen, config.webrtc.include_loopback) == ("0.0.0.0:10000", True)
    assert (config.rtp.address, config.rtp.first_port, config.rtp.last_port) == (
        "127.0.0.1",
        20000,
        29999,
    )
    assert config.lab is not None
    assert config.lab.listen == (
        Listen("udp", "127.0.0.1", 5070),
        Listen("tcp", "127.0.0.1", 5070),
    )
    assert config.drain_s == 0
    assert [agent.name for agent in config.agents] == ["echo", "receptionist"]


@pytest.mark.parametrize("source", ["browser", "sip", "api"])
def test_the_embedded_default_leads_to_the_lab_and_the_agents(source: str) -> None:
    router = Router(default_config({}).routes)

    assert router.plan(source, "+15550100") == Plan(((Target(TargetKind.TRUNK, "lab"),),))
    for name in ("echo", "receptionist"):
        assert router.plan(source, name) == Plan(((Target(TargetKind.AGENT, name),),))


def test_the_embedded_script_is_there() -> None:
    scripts = [agent.script for agent in default_config({}).agents if agent.script is not None]

    assert scripts
    assert all(script.is_file() for script in scripts)


def test_the_lab_is_a_configuration_like_any_other() -> None:
    config = parse_config(lab_document("udp:127.0.0.1:5999"), LAB_FILE, LAB_SECRETS)

    router = Router(config.routes)
    caller = "trunk:caller"
    assert config.sip.listen == (Listen("udp", "127.0.0.1", 5999),)
    assert (config.http, config.webrtc) == (None, None)
    assert str(config.trunks[0].uri) == "sip:127.0.0.1:5999"
    assert router.plan(caller, "+15550486") == Plan(((Target(TargetKind.REJECT, status=486),),))
    assert router.plan(caller, "+15550108") == Plan(((Target(TargetKind.IGNORE),),))
    assert router.plan("agent:refers", "+15550100") == router.plan(caller, "+15550100")
    assert [(user.name, user.password) for user in config.users] == [
        (LAB_USER, Secret(LAB_PASSWORD))
    ]


def test_the_lab_takes_calls_of_this_machine_alone() -> None:
    config = parse_config(lab_document("udp:127.0.0.1:5999"), LAB_FILE, LAB_SECRETS)
    peers = Peers(config.trunks, config.sip.allow)

    admitted = [peers.is_admitted(host) for host in ("127.0.0.1", "::1", "192.0.2.1", "10.0.0.1")]

    assert admitted == [True, True, False, False]


def test_every_number_that_is_suggested_leads_somewhere_in_the_lab() -> None:
    config = parse_config(lab_document("udp:127.0.0.1:5999"), LAB_FILE, LAB_SECRETS)

    for number, _, _ in DESTINATIONS:
        for source in CALLERS:
            assert Router(config.routes).plan(source, number).groups


def test_the_lab_listens_for_tls_with_the_certificate_of_its_section(tmp_path: Path) -> None:
    text = '[lab]\nlisten = ["tls:127.0.0.1:5071"]\ncertificate = "a.pem"\nkey = "a.key"\n'
    lab = load(tmp_path, text).lab
    assert lab is not None

    document = lab_document("tls:127.0.0.1:5071", certificate=lab.certificate, key=lab.key)
    config = parse_config(document, LAB_FILE, LAB_SECRETS)

    assert config.sip.listen == (Listen("tls", "127.0.0.1", 5071),)
    assert config.sip.tls == TlsOptions(tmp_path / "a.pem", tmp_path / "a.key")


def test_the_embedded_default_lets_the_lab_transfer_to_its_echo_alone() -> None:
    config = default_config({})
    router = Router(config.routes)

    assert config.trunks[0].allow_transfer
    assert router.plan("trunk:lab", "+15550100") == Plan(((Target(TargetKind.TRUNK, "lab"),),))
    with pytest.raises(RoutingError):
        router.plan("trunk:lab", "+15550101")


def test_f20_calls_have_five_minutes_to_end_where_nothing_is_said(tmp_path: Path) -> None:
    assert load(tmp_path, "").drain_s == 300


def test_one_trunk_makes_a_configuration(tmp_path: Path) -> None:
    config = load(tmp_path, TRUNK)

    assert config.http is not None
    assert config.webrtc is not None
    assert config.trunks[0].codecs == (PCMU, PCMA)
    assert config.describe() == "1 trunks, 0 agents, 0 routes"


def test_what_listens_nowhere_is_off(tmp_path: Path) -> None:
    config = load(tmp_path, '[http]\nlisten = ""\n[webrtc]\nlisten = ""\n[sip]\nlisten = []\n')

    assert config.http is None
    assert config.webrtc is None
    assert config.sip.listen == ()
    assert config.lab is None


# ---- what keys mean


def test_a_trunk_is_read_whole(tmp_path: Path) -> None:
    text = TRUNK + (
        'username = "acme"\npassword_env = "CARRIER_PASSWORD"\nrealm = "carrier"\n'
        'caller_id = "+15550100"\nallow = ["198.51.100.0/24", "2001:db8::/32", "203.0.113.7"]\n'
        'codecs = ["PCMA"]\ndtmf = "info"\n'
    )

    trunk = load(tmp_path, text, {"CARRIER_PASSWORD": "hunter2"}).trunks[0]

    assert (trunk.name, str(trunk.uri), trunk.username) == ("carrier", "sip:198.51.100.1", "acme")
    assert trunk.password == Secret("hunter2")
    assert (trunk.realm, trunk.caller_id, trunk.codecs) == ("carrier", "+15550100", (PCMA,))
    assert trunk.dtmf is DtmfMode.INFO
    assert [str(network) for network in trunk.allow] == [
        "198.51.100.0/24",
        "2001:db8::/32",
        "203.0.113.7/32",
    ]
    assert "hunter2" not in repr(trunk)


def test_routes_are_read_in_order_with_groups(tmp_path: Path) -> None:
    text = f"""{TRUNK}{AGENT}
[[route]]
from = ["browser", "trunk:carrier"]
match = "+1*"
to = ["trunk:carrier", ["agent:echo", "trunk:carrier"], "reject:480"]
"""

    route = load(tmp_path, text).routes[0]

    trunk, echo = Target(TargetKind.TRUNK, "carrier"), Target(TargetKind.AGENT, "echo")
    assert route.sources == ("browser", "trunk:carrier")
    assert route.groups == (
        (trunk,),
        (echo, trunk),
        (Target(TargetKind.REJECT, status=480),),
    )


def test_paths_begin_beside_the_file(tmp_path: Path) -> None:
    text = '[http]\ncertificate = "certs/a.pem"\nkey = "/etc/b.pem"\n'

    http = load(tmp_path, text).http

    assert http is not None
    assert (http.certificate, http.key) == (tmp_path / "certs/a.pem", Path("/etc/b.pem"))


def test_http_beyond_loopback_takes_a_token(tmp_path: Path) -> None:
    text = '[http]\nlisten = "0.0.0.0:443"\ntoken_env = "GATEWAY_HTTP_TOKEN"\n'

    http = load(tmp_path, text, {"GATEWAY_HTTP_TOKEN": "t0ken"}).http

    assert http is not None
    assert http.token == Secret("t0ken")
    assert not http.is_loopback


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Voice.example.com", "voice.example.com"),
        ("http://voice.example.com:8443/x", "voice.example.com"),
        ("https://[2001:db8::1]:8443", "2001:db8::1"),
    ],
)
def test_the_public_url_names_the_host(tmp_path: Path, url: str, host: str) -> None:
    http = load(tmp_path, f'[http]\npublic_url = "{url}"\n').http

    assert http is not None
    assert http.public_host == host


def test_origins_are_as_browsers_write_them(tmp_path: Path) -> None:
    given = ["https://Phone.example.com/", "http://a.test:80", "http://[2001:DB8::1]:8000"]
    http = load(tmp_path, f"[http]\norigins = {given}\n").http

    assert http is not None
    assert http.origins == (
        "https://phone.example.com",
        "http://a.test",
        "http://[2001:db8::1]:8000",
    )


def test_an_ipv6_address_is_written_in_brackets(tmp_path: Path) -> None:
    config = load(tmp_path, '[sip]\nlisten = ["udp:[::1]:5060"]\n')

    assert config.sip.listen == (Listen("udp", "::1", 5060),)
    assert str(config.sip.listen[0]) == "udp:[::1]:5060"
    assert config.rtp.address == "::1"


# ---- the environment


def test_the_environment_overrides_plain_keys(tmp_path: Path) -> None:
    environment = {
        "GATEWAY_HTTP_LISTEN": "127.0.0.1:9000",
        "GATEWAY_NODE_DRAIN_S": "2.5",
        "GATEWAY_SIP_ALLOW": "192.0.2.0/24, 198.51.100.7",
        "GATEWAY_WEBRTC_INCLUDE_LOOPBACK": "true",
        "GATEWAY_RTP_PORTS": "40000-40099",
        "GATEWAY_LAB_LISTEN": "udp:127.0.0.1:5999, tcp:[::1]:5999",
    }

    config = load(tmp_path, '[http]\nlisten = "127.0.0.1:8080"\n', environment)

    assert config.http is not None
    assert config.webrtc is not None
    assert (config.http.port, config.drain_s) == (9000, 2.5)
    assert [str(network) for network in config.sip.allow] == ["192.0.2.0/24", "198.51.100.7/32"]
    assert config.webrtc.include_loopback
    assert config.rtp.first_port == 40000
    assert config.lab is not None
    assert config.lab.listen == (Listen("udp", "127.0.0.1", 5999), Listen("tcp", "::1", 5999))


def test_tls_is_listened_for_with_a_certificate(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        [sip]
        listen = ["udp:127.0.0.1:5060", "tls:127.0.0.1:5061", "tls:127.0.0.1:5062"]
        certificate = "tls/server.pem"
        key = "tls/server.key"
        ca = "tls/ca.pem"
        verify_client = ["tls:127.0.0.1:5062"]
        connections_per_address = 64
        """,
    )

    assert [str(each) for each in config.sip.listen if each.verify_client] == ["tls:127.0.0.1:5062"]
    directory = tmp_path / "tls"
    assert config.sip.tls == TlsOptions(
        directory / "server.pem", directory / "server.key", directory / "ca.pem"
    )
    assert config.sip.limits.per_address == 64


def test_peers_beyond_a_nat_are_told_the_public_address(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        [sip]
        listen = ["udp:10.0.0.5:5060"]
        advertise = ["203.0.113.7"]
        local_networks = ["10.0.0.0/8"]
        """,
    )

    for reachable in (config.sip.reachable, config.rtp.reachable):
        assert reachable.address_for("198.51.100.1", "10.0.0.5") == "203.0.113.7"
        assert reachable.address_for("10.9.9.9", "10.0.0.5") == "10.0.0.5"


def test_media_may_be_told_another_address(tmp_path: Path) -> None:
    sip = '[sip]\nadvertise = ["203.0.113.7"]\n'

    one = load(tmp_path, sip + '[rtp]\nadvertise = "203.0.113.8"\n')
    both = load(tmp_path, sip + '[rtp]\nadvertise = ["203.0.113.8", "2001:db8::8"]\n')

    assert one.rtp.reachable.advertise == ("203.0.113.8",)
    assert both.rtp.reachable.advertise == ("203.0.113.8", "2001:db8::8")


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("", ("127.0.0.1", None)),
        ('[sip]\nlisten = ["udp:10.0.0.5:5060", "tls:10.0.0.6:5061"]', ("10.0.0.5", None)),
        ('[sip]\nlisten = ["udp:[2001:db8::5]:1", "udp:10.0.0.5:1"]', ("2001:db8::5", "10.0.0.5")),
        ('[rtp]\naddress = "10.0.0.7"', ("10.0.0.7", None)),
        ('[rtp]\naddress = ["10.0.0.7", "2001:db8::7"]', ("10.0.0.7", "2001:db8::7")),
    ],
)
def test_media_is_where_sip_is_in_both_families(
    tmp_path: Path, text: str, addresses: tuple[str, str | None]
) -> None:
    tls = text.replace("[sip]\n", '[sip]\ncertificate = "a"\nkey = "b"\n')

    rtp = load(tmp_path, tls).rtp

    assert (rtp.address, rtp.other_address) == addresses


def test_nameservers_are_addresses_with_or_without_a_port(tmp_path: Path) -> None:
    config = load(tmp_path, '[sip]\nnameservers = ["192.0.2.53", "::1", "[::1]:5353"]\n')

    assert config.sip.resolver.nameservers == (("192.0.2.53", 53), ("::1", 53), ("::1", 5353))
    assert load(tmp_path, "").sip.resolver.nameservers == ()


ANN = '[[user]]\nname = "ann"\npassword_env = "ANN"\nallow_md5 = {}\n'


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("", ("SHA-256",)),
        (ANN.format("false"), ("SHA-256",)),
        (ANN.format("true"), ("SHA-256", "MD5")),
        ('[sip]\ndigest = ["MD5"]\n' + ANN.format("true"), ("MD5",)),
        ('[sip]\ndigest = ["MD5", "SHA-256"]\n' + ANN.format("false"), ("MD5", "SHA-256")),
    ],
)
def test_phones_log_in_by_what_is_set_else_by_what_users_may(
    tmp_path: Path, text: str, offered: tuple[str, ...]
) -> None:
    assert load(tmp_path, text, {"ANN": "x"}).sip.digest == offered


def test_nobody_is_shut_out_by_what_phones_are_offered(tmp_path: Path) -> None:
    said = refuse(tmp_path, '[sip]\ndigest = ["MD5"]\n' + ANN.format("false"), {"ANN": "x"})

    assert said.startswith("[sip]: digest = ['MD5']: user ann logs in with SHA-256 alone: ")


def test_an_override_is_checked_like_the_file(tmp_path: Path) -> None:
    said = refuse(tmp_path, "", {"GATEWAY_HTTP_LISTEN": "0.0.0.0:80"})

    assert said.startswith("[http]: listen = '0.0.0.0:80': beyond loopback a token is needed")


def test_a_variable_that_sets_nothing_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load(tmp_path, "", {"GATEWAY_HTTP_LISTN": "127.0.0.1:9000", "GATEWAY_OTHER": "x"})

    assert [record.getMessage() for record in caplog.records] == [
        "environment: GATEWAY_HTTP_LISTN sets no key of [http]; did you mean 'listen'?"
    ]


# ---- what is wrong

WRONG = [
    ("[htp]", "top level: htp is no key; did you mean 'http'?"),
    ("[http]\nlistn = 1", "[http]: listn is no key; did you mean 'listen'?"),
    ("[http]\nlisten = 1", "[http]: listen = 1: write text, in quotes"),
    ('[http]\nlisten = "8080"', "[http]: listen = '8080': write IP:PORT"),
    ('[http]\nlisten = "localhost:8080"', "[http]: listen = 'localhost:8080': write IP:PORT"),
    ('[http]\nlisten = "127.0.0.1:65536"', "[http]: listen = '127.0.0.1:65536': write IP:PORT"),
    ('[http]\nlisten = "127.0.0.1:٨٠"', "[http]: listen = '127.0.0.1:٨٠': write IP:PORT"),
    ('[http]\nlisten = "::1:80"', "[http]: listen = '::1:80': write IP:PORT"),
    ('[http]\nlisten = "0.0.0.0:80"', "[http]: listen = '0.0.0.0:80': beyond loopback a token"),
    ('[http]\ncertificate = "a"', "[http]: key is missing: name the file"),
    ('[http]\nkey = "a"', "[http]: certificate is missing: name the file"),
    ('[http]\npublic_url = "x"', "[http]: public_url = 'x': write \"https://voice.example.com\""),
    ('[http]\npublic_url = "http://[x"', "[http]: public_url = 'http://[x': write"),
    ('[http]\norigins = ["*"]', "[http]: origins = '*': write \"https://phone.example.com\""),
    ('[http]\norigins = ["https://a/x"]', "[http]: origins = 'https://a/x': write"),
    ('[http]\norigins = ["http://a:x"]', "[http]: origins = 'http://a:x': write"),
    ('[http]\ntoken_env = "NO"', "[http]: token_env = 'NO': set the environment variable NO"),
    ('[http]\ntrusted_proxies = ["x"]', "[http]: trusted_proxies = 'x': write a network"),
    ("[http]\nsockets_per_address = 0", "[http]: sockets_per_address = 0: "),
    ('[webrtc]\nadvertise = ["x"]', "[webrtc]: advertise = 'x': write an IP address"),
    ('[webrtc]\nice_deny = ["10.0.0.1/8"]', "[webrtc]: ice_deny = '10.0.0.1/8': write a network"),
    ('[sip]\nlisten = ["sctp:[::]:1"]', "[sip]: listen = 'sctp:[::]:1': write \"udp:"),
    (
        '[sip]\nlisten = ["tls:127.0.0.1:1"]',
        "[sip]: certificate is missing: 'tls:127.0.0.1:1' needs",
    ),
    ('[sip]\ncertificate = "a"', "[sip]: key is missing: certificate and key go together"),
    ('[sip]\nkey = "a"', "[sip]: certificate is missing: certificate and key go together"),
    ('[sip]\nadvertise = ["gw.test"]', "[sip]: advertise = 'gw.test': write an IP address"),
    ('[sip]\nlocal_networks = ["10"]', "[sip]: local_networks = '10': write a network"),
    (
        '[sip]\nverify_client = ["udp:127.0.0.1:5060"]',
        "verify_client = 'udp:127.0.0.1:5060': repeat",
    ),
    (
        '[sip]\nlisten = ["tls:[::1]:1"]\ncertificate = "a"\nkey = "b"\n'
        'verify_client = ["tls:[::1]:1"]',
        "[sip]: ca is missing: verify_client needs it",
    ),
    ("[sip]\nconnections_per_address = 0", "[sip]: connections_per_address = 0: "),
    ('[rtp]\nadvertise = ["x"]', "[rtp]: advertise = 'x': write an IP address"),
    ('[sip]\nlisten = "udp:127.0.0.1:1"', "[sip]: listen = 'udp:127.0.0.1:1': write a list"),
    ('[sip]\nallow = ["everyone"]', "[sip]: allow = 'everyone': write a network"),
    ('[sip]\ndigest = ["SHA1"]', "[sip]: digest = 'SHA1': "),
    ('[sip]\nnameservers = ["ns.test"]', "[sip]: nameservers = 'ns.test': write IP:PORT"),
    ('[sip]\nlisten = ["udp:0.0.0.0:5060"]', "[rtp]: address is missing: peers are told where"),
    ('[rtp]\naddress = "::"', "[rtp]: address = '::': peers are told where"),
    ('[rtp]\naddress = ["10.0.0.1", "10.0.0.2"]', "name one of each family at most"),
    ("[rtp]\naddress = []", "name one of each family at most"),
    ('[rtp]\naddress = ["10.0.0.1", "x"]', "[rtp]: address = 'x': write an IP address"),
    ('[rtp]\nports = "20000"', "[rtp]: ports = '20000': write a range"),
    ('[rtp]\nports = "20000-70000"', "[rtp]: ports = '20000-70000': write a range"),
    ('[rtp]\nports = "80-90"', "[rtp]: ports = '80-90': name ports from 1024 up"),
    ('[rtp]\nports = "3000-2000"', "[rtp]: ports = '3000-2000': name ports from 1024 up"),
    ('[lab]\nlisten = ["x"]', "[lab]: listen = 'x': write \"udp:"),
    ('[lab]\nlisten = "x"', "[lab]: listen = 'x': write a list, in [ ]"),
    ("[lab]\nlisten = []", "[lab]: listen = []: leave the section out"),
    (
        '[lab]\nlisten = ["udp:0.0.0.0:5070"]',
        "[lab]: listen = 'udp:0.0.0.0:5070': write a loopback address",
    ),
    (
        '[lab]\nlisten = ["tls:127.0.0.1:5071"]',
        "[lab]: certificate is missing: 'tls:127.0.0.1:5071' needs one",
    ),
    ('[lab]\ncertificate = "a.pem"', "[lab]: key is missing: certificate and key go together"),
    ("[node]\ndrain_s = -1", "[node]: drain_s = -1: "),
    ('[node]\nname = "a b"', "[node]: name = 'a b': write 1 to 32 lower case letters"),
    ("trunk = 3", "top level: trunk = 3: write a list"),
    ("trunk = [3]", "[[trunk]] 1: write it as a section"),
    ('[[trunk]]\nname = "a"', '[[trunk]] 1 "a": uri is missing: add it'),
    (TRUNK + 'password = "x"', "password is no key; did you mean 'password_env'?"),
    (TRUNK + 'password_env = "NO"', "password_env = 'NO': set the environment variable NO"),
    (TRUNK + 'username = "x"', "password_env is missing: name the variable"),
    (TRUNK + 'dtmf = "sound"', "dtmf = 'sound': "),
    (TRUNK + 'codecs = ["G729"]', "codecs = 'G729': "),
    (TRUNK + 'allow = [""]', "allow = '': write a network"),
    (TRUNK + TRUNK, "[[trunk]] 2: name = 'carrier': give each trunk a name of its own"),
    (AGENT + AGENT, "[[agent]] 2: name = 'echo': give each agent a name of its own"),
    ('[[agent]]\nname = "a"\nprotocol = "script"', "script is missing: a scripted agent wants"),
    ('[[agent]]\nname = "a"\nprotocol = "nil"', "protocol = 'nil': "),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_an_error_names_key_value_and_remedy(tmp_path: Path, text: str, said: str) -> None:
    assert said in refuse(tmp_path, text)


@pytest.mark.parametrize(
    "uri",
    [
        "sip:user@carrier.example",
        "tel:+1",
        "sip:a;transport=sctp",
        "sips:a;transport=udp",
        "sip:a;lr",
        "sip:a?Subject=x",
        "x",
        "",
    ],
)
def test_a_trunk_is_only_where_it_can_be_spoken_to(tmp_path: Path, uri: str) -> None:
    said = refuse(tmp_path, f'[[trunk]]\nname = "a"\nuri = "{uri}"\n')

    assert said.startswith(f"[[trunk]] 1 \"a\": uri = '{uri}': ")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('from = "browsr"\nmatch = "1"\nto = ["agent:echo"]', "did you mean 'browser'?"),
        ('from = "nobody"\nmatch = "1"\nto = ["agent:echo"]', "nobody calls from there"),
        ('from = "browser"\nmatch = "+1*2"\nto = ["agent:echo"]', "match = '+1*2': write a"),
        ('from = "browser"\nmatch = "1"\nto = ["agent:ecko"]', "did you mean 'agent:echo'?"),
        ('from = "browser"\nmatch = "1"\nto = ["user:ann"]', "there is no such user"),
        ('from = "browser"\nmatch = "1"\nto = ["echo"]', "to = 'echo': write agent:NAME"),
        ('from = "browser"\nmatch = "1"\nto = ["reject:200"]', "a status from 300 to 699"),
        ('from = "browser"\nmatch = "1"\nto = ["ignore:"]', 'is for from = "sip"'),
        ('from = "sip"\nmatch = "1"\nto = ["ignore:", "agent:echo"]', "ignore: stands alone"),
        ('from = "sip"\nmatch = "1"\nto = []', "to = []: name at least one"),
        ('from = "sip"\nmatch = "1"\nto = [[]]', "an empty list leads nowhere"),
        ('from = []\nmatch = "1"\nto = ["agent:echo"]', "an empty list leads nowhere"),
        ('match = "1"\nto = ["agent:echo"]', "from is missing: add it"),
        ('from = "sip"\nmatsch = "1"\nto = ["agent:echo"]', "did you mean 'match'?"),
    ],
)
def test_a_route_that_leads_nowhere_is_refused(tmp_path: Path, keys: str, said: str) -> None:
    answer = refuse(tmp_path, f"{AGENT}[[route]]\n{keys}\n")

    assert answer.startswith("[[route]] 1: ")
    assert said in answer


def test_a_password_in_the_file_is_not_repeated(tmp_path: Path) -> None:
    assert "hunter2" not in refuse(tmp_path, TRUNK + 'password = "hunter2"\n')


def test_a_file_that_is_not_there_or_not_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        load_config(tmp_path / "none.toml", {})
    assert "is not TOML" in refuse(tmp_path, "[http\n")
    (tmp_path / "latin.toml").write_bytes(b"# na\xefve\n")
    with pytest.raises(ConfigError, match=r"latin\.toml: is not TOML"):
        load_config(tmp_path / "latin.toml", {})


def test_the_default_is_a_good_start_for_a_file(tmp_path: Path) -> None:
    text = DEFAULT_FILE.read_text(encoding="utf-8")

    assert load(tmp_path, text).routes == default_config({}).routes


def test_f10_how_long_nothing_may_be_heard_can_be_said() -> None:
    usual = parse_config({}, Path("gateway.toml"), {})
    said = parse_config(
        {"media": {"hold_timeout_s": 600, "early_media_timeout_s": 0}}, Path("gateway.toml"), {}
    )

    assert usual.media == MediaOptions(300.0, 60.0)
    assert said.media == MediaOptions(600.0, 0.0)
