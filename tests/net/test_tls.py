"""TLS without sockets: whom we believe, what we refuse, and certificates changed under way."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.errors import ConfigError
from gateway.net.certificates import make_development_certificates
from gateway.net.tls import (
    CIPHERS,
    TlsContexts,
    TlsError,
    TlsOptions,
    TlsSession,
    check_server,
    sip_identities,
)
from tests.support.certificates import Authority, Pair

CARRIER = "carrier.example"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def exchange(client: TlsSession, server: TlsSession) -> tuple[bytes, bytes]:
    """Carry everything both ways until both are silent: what the client and the server heard."""
    heard = {client: b"", server: b""}
    while True:
        outputs = [(client, server, client.take_output()), (server, client, server.take_output())]
        if not any(output for _, _, output in outputs):
            return heard[client], heard[server]
        for _, receiver, output in outputs:
            if output:
                heard[receiver] += receiver.receive(output)


def shake(client: TlsSession, server: TlsSession) -> tuple[bytes, bytes]:
    client.start()
    return exchange(client, server)


def contexts(pair: Pair | None, ca: Path | None) -> TlsContexts:
    if pair is None:
        return TlsContexts(TlsOptions(ca=ca))
    return TlsContexts(TlsOptions(pair.certificate, pair.key, ca))


def call(authority: Authority, pair: Pair, name: str = CARRIER) -> TlsSession:
    """Shake hands with somebody who has that certificate; our end of it."""
    client = contexts(None, authority.file).connect(name)
    shake(client, contexts(pair, None).accept())
    return client


def test_a_peer_with_the_right_certificate_is_believed_and_heard(authority: Authority) -> None:
    pair = authority.issue(CARRIER)
    client = contexts(None, authority.file).connect(CARRIER)
    server = contexts(pair, None).accept()

    shake(client, server)
    client.send(b"OPTIONS")
    server.send(b"200")

    assert client.is_established
    assert server.is_established
    assert exchange(client, server) == (b"200", b"OPTIONS")
    assert client.identities == (CARRIER,)
    assert server.identities == ()


@pytest.mark.parametrize(
    "names",
    [
        ["sip:carrier.example"],
        ["SIP:Carrier.Example"],
        ["CARRIER.example"],
        ["other.example", "carrier.example"],
        ["sip:bob@other.example", "carrier.example"],
        ["sips:other.example", "carrier.example"],
        ["https://other.example/", "carrier.example"],
    ],
)
@pytest.mark.rfc(5922, "7.1")
def test_a_certificate_for_the_domain_is_believed(authority: Authority, names: list[str]) -> None:
    assert call(authority, authority.issue(*names)).is_established


@pytest.mark.parametrize(
    "names",
    [
        ["other.example"],
        ["*.example"],
        ["www.carrier.example"],
        ["example"],
        ["sip:bob@carrier.example"],
        ["sips:carrier.example"],
        ["https://carrier.example"],
        ["sip:other.example", "carrier.example"],
        ["192.0.2.1"],
    ],
)
@pytest.mark.rfc(5922, "7.2")
def test_a35_a_certificate_for_anything_else_is_refused(
    authority: Authority, names: list[str]
) -> None:
    pair = authority.issue(*names, common_name=CARRIER)

    with pytest.raises(TlsError, match=r"not for carrier\.example"):
        call(authority, pair)


def test_a_wildcard_matches_nothing(authority: Authority) -> None:
    pair = authority.issue("*.carrier.example")

    with pytest.raises(TlsError, match="not for sip"):
        call(authority, pair, "sip.carrier.example")


def test_the_common_name_counts_where_there_is_no_other(authority: Authority) -> None:
    assert call(authority, authority.issue(common_name="Carrier.example")).is_established


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_a_peer_without_a_name_has_its_address_in_the_certificate(
    authority: Authority, address: str
) -> None:
    assert call(authority, authority.issue(address), address).is_established
    with pytest.raises(TlsError, match="not for"):
        call(authority, authority.issue("198.51.100.1", common_name=address), address)


@pytest.mark.parametrize("name", [".example", "a" * 64 + ".example", "", "a..b"])
def test_a_name_that_tls_cannot_carry_is_an_error_of_that_call(
    authority: Authority, name: str
) -> None:
    tls = contexts(None, authority.file)

    with pytest.raises(TlsError):
        shake(tls.connect(name), contexts(authority.issue(CARRIER), None).accept())


def test_a35_an_expired_certificate_is_refused(authority: Authority) -> None:
    with pytest.raises(TlsError, match="expired"):
        call(authority, authority.issue(CARRIER, is_expired=True))


def test_a35_a_self_signed_certificate_is_refused(authority: Authority) -> None:
    with pytest.raises(TlsError, match="self-signed"):
        call(authority, authority.issue(CARRIER, is_self_signed=True))


def test_a_certificate_of_somebody_elses_ca_is_refused(
    authority: Authority, tmp_path: Path
) -> None:
    with pytest.raises(TlsError, match="certificate refused"):
        call(authority, Authority(tmp_path, "Other CA").issue(CARRIER))


def test_a_certificate_that_is_not_for_servers_is_refused(authority: Authority) -> None:
    pair = authority.issue(CARRIER, usages=[ExtendedKeyUsageOID.CODE_SIGNING])

    with pytest.raises(TlsError, match="purpose"):
        call(authority, pair)


def test_a_refused_peer_learns_nothing_and_is_told_so(authority: Authority) -> None:
    client = contexts(None, authority.file).connect(CARRIER)
    server = contexts(authority.issue("other.example"), None).accept()

    with pytest.raises(TlsError):
        shake(client, server)

    assert not client.is_established
    assert not server.is_established  # our Finished was never sent
    assert client.take_output() == b""


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_a35_an_old_version_is_refused_both_ways(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    pair = authority.issue(CARRIER)
    ours = contexts(pair, authority.file)

    with pytest.raises(TlsError):
        shake(outdated_client(version), ours.accept())
    with pytest.raises(TlsError):
        shake(ours.connect(CARRIER), outdated_server(pair, version))


def outdated_client(version: ssl.TLSVersion) -> TlsSession:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    allow_only(context, version)
    return TlsSession(context, CARRIER)


def outdated_server(pair: Pair, version: ssl.TLSVersion) -> TlsSession:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    allow_only(context, version)
    return TlsSession(context, None)


def allow_only(context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version


def test_no_cipher_leaves_the_words_in_the_clear(authority: Authority) -> None:
    pair = authority.issue(CARRIER)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    context.set_ciphers("COMPLEMENTOFALL:@SECLEVEL=0")  # those that do not encrypt
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    with pytest.raises(TlsError):
        shake(contexts(None, authority.file).connect(CARRIER), TlsSession(context, None))


def test_every_cipher_encrypts_and_none_is_anonymous() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    context.set_ciphers(CIPHERS)

    suites = context.get_ciphers()
    assert len(suites) > 10
    assert all(suite["strength_bits"] >= 128 and suite["auth"] != "auth-null" for suite in suites)


# ---- the other way: who calls us


def test_a_client_without_a_certificate_is_refused_where_one_is_asked_for(
    authority: Authority,
) -> None:
    server = contexts(authority.issue(CARRIER), authority.file).accept(verify_client=True)

    with pytest.raises(TlsError):
        shake(contexts(None, authority.file).connect(CARRIER), server)

    assert not server.is_established


def test_a_clients_certificate_tells_who_it_is(authority: Authority) -> None:
    ours = contexts(authority.issue(CARRIER), authority.file)
    theirs = contexts(authority.issue("sip:pbx.example", "sip:b.example"), authority.file)
    server = ours.accept(verify_client=True)

    shake(theirs.connect(CARRIER), server)

    assert server.identities == ("pbx.example", "b.example")


def test_a_client_of_somebody_elses_ca_is_refused(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "Other CA").issue("pbx.example")
    server = contexts(authority.issue(CARRIER), authority.file).accept(verify_client=True)

    with pytest.raises(TlsError):
        shake(contexts(stranger, authority.file).connect(CARRIER), server)

    assert not server.is_established


def test_the_end_is_told(authority: Authority) -> None:
    client = contexts(None, authority.file).connect(CARRIER)
    server = contexts(authority.issue(CARRIER), None).accept()
    shake(client, server)

    client.send(b"BYE")
    client.end()
    _, heard = exchange(client, server)

    assert heard == b"BYE"
    assert server.is_ended
    with pytest.raises(TlsError):
        client.send(b"late")


def test_noise_is_an_error(authority: Authority) -> None:
    server = contexts(authority.issue(CARRIER), None).accept()

    with pytest.raises(TlsError, match="TLS failed"):
        server.receive(b"OPTIONS sip:a SIP/2.0\r\n\r\n")


# ---- files


def test_f28_a_new_certificate_is_shown_from_the_reload_on(authority: Authority) -> None:
    pair, newer = authority.issue("old.example"), authority.issue("new.example")
    ours, theirs = contexts(pair, None), contexts(None, authority.file)
    client, server = theirs.connect("old.example"), ours.accept()
    shake(client, server)

    pair.certificate.write_bytes(newer.certificate.read_bytes())
    pair.key.write_bytes(newer.key.read_bytes())
    ours.reload()

    shake(theirs.connect("new.example"), ours.accept())
    client.send(b"still here")
    assert exchange(client, server) == (b"", b"still here")


def test_f28_a_reload_of_rubbish_changes_nothing(authority: Authority) -> None:
    pair = authority.issue(CARRIER)
    ours = contexts(pair, None)

    pair.key.write_text("rubbish")
    with pytest.raises(ConfigError, match=r"\[sip\] certificate = .*`make certs`"):
        ours.reload()

    client = contexts(None, authority.file).connect(CARRIER)
    shake(client, ours.accept())
    assert client.is_established


def test_a_ca_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[sip\] ca = .*no\.pem"):
        TlsContexts(TlsOptions(ca=tmp_path / "no.pem"))


def test_development_certificates_can_be_used(tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    ca, leaf, key = make_development_certificates(tmp_path, ["localhost", "127.0.0.1"], now)
    ours = TlsContexts(TlsOptions(leaf, key, ca))

    for name in ("localhost", "127.0.0.1"):
        client, server = ours.connect(name), ours.accept(verify_client=True)
        shake(client, server)
        assert client.is_established
        assert server.identities == ("localhost",)


# ---- what a certificate says


def certificate(*alternatives: tuple[str, str], common_name: str = "cn.example") -> dict[str, Any]:
    subject = ((("countryName", "DE"),), (("commonName", common_name),))
    return {"subject": subject, **({"subjectAltName": alternatives} if alternatives else {})}


def test_identities_follow_the_order_of_the_rules() -> None:
    uri, dns = ("URI", "sip:a.example:5061"), ("DNS", "B.example")

    assert sip_identities(certificate(uri, dns)) == ("a.example",)
    assert sip_identities(certificate(dns)) == ("b.example",)
    assert sip_identities(certificate(("othername", "<unsupported>"))) == ()
    assert sip_identities(certificate()) == ("cn.example",)
    assert sip_identities({}) == ()


def test_a_name_with_a_nul_in_it_is_another_name() -> None:
    with pytest.raises(TlsError):
        check_server(certificate(("DNS", "carrier.example\0.evil.example")), CARRIER)


def test_a_final_dot_makes_no_difference() -> None:
    check_server(certificate(("DNS", CARRIER)), CARRIER + ".")
