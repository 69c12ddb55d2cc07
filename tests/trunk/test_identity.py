"""Who calls: what is believed of a peer, and what a trunk is shown."""

from __future__ import annotations

import pytest

from gateway.errors import RemoteProtocolError, RoutingError
from gateway.private import Private
from gateway.sip.message import Request, parse_message
from gateway.trunk.diversion import Diversion, DiversionStyle
from gateway.trunk.headers import HeaderOptions, take_attributes
from gateway.trunk.identity import (
    Asserted,
    CallerIdentity,
    IdentityOptions,
    read_identity,
)
from gateway.trunk.numbers import NumberFormat, NumberOptions, NumberUri
from tests.trunk.wire import ANN, LOCAL, make_trunk, send_invite

GERMANY = NumberOptions(NumberFormat.E164, country_code="49", national_prefix="0")
WITHHELD = CallerIdentity(Private("+4930123456"), Private("Ann"), is_withheld=True)


def invite(*headers: str, from_: str = '"Eve" <sip:+15559999999@peer.example>;tag=1') -> Request:
    """An INVITE of a peer."""
    lines = [
        "INVITE sip:+15550100@gateway.example SIP/2.0",
        "Via: SIP/2.0/UDP peer.example;branch=z9hG4bK1",
        f"From: {from_}",
        "To: <sip:+15550100@gateway.example>",
        "Call-ID: 1",
        "CSeq: 1 INVITE",
        *headers,
    ]
    message = parse_message("\r\n".join([*lines, "", ""]).encode())
    assert isinstance(message, Request)
    return message


def who(*headers: str, trusted: bool = True, **other: str) -> CallerIdentity:
    """Whom an INVITE of a German trunk comes from."""
    return read_identity(invite(*headers, **other), GERMANY, trusted=trusted)


# ---- what a peer says (A17)

ASSERTED = "P-Asserted-Identity: <sip:+4930123456@carrier.example>"


@pytest.mark.parametrize(
    "header",
    [
        ASSERTED,
        "P-Asserted-Identity: <tel:+49-30-123456>",
        'P-Asserted-Identity: "Ann" <sip:ann@x>, <tel:030123456>',
        "Remote-Party-ID: <sip:030123456@carrier.example>;party=calling;privacy=off",
    ],
)
def test_a17_an_asserted_identity_counts_from_a_trusted_peer_alone(header: str) -> None:
    number = who(header).number.value

    assert number in ("+4930123456", "ann")
    assert who(header, trusted=False).number == Private("+15559999999")


def test_a17_a_diversion_counts_from_a_trusted_peer_alone() -> None:
    header = "Diversion: <sip:030555@carrier.example>;reason=user-busy"

    assert who(header).diversions == (Diversion(Private("030555"), "user-busy"),)
    assert who(header, trusted=False).diversions == ()


SPEAKING = (
    "P-Asserted-Identity",
    "Remote-Party-ID",
    "Diversion",
    "History-Info",
    "Privacy",
    "Identity",
    "X-Tenant",
    "From",
    "f",
    "Referred-By",
)
"Headers by which a call says who it is, or of whom."


@pytest.mark.parametrize("name", SPEAKING)
def test_a16_no_byte_beside_a_name_smuggles_an_identity(name: str) -> None:
    """What some readers take for the header, and its filter does not: 33 of 256 bytes did once."""
    head, _, body = bytes(invite()).partition(b"\r\nTo:")
    value = b": <sip:+4930666@evil.example>;tag=2"
    for code in range(256):
        byte = bytes([code])
        for line in (name.encode() + byte + value, byte + name.encode() + value):
            data = head + b"\r\n" + line + b"\r\nTo:" + body
            try:
                request = parse_message(data)
            except RemoteProtocolError:
                continue  # 400
            assert isinstance(request, Request)
            identity = read_identity(request, GERMANY, trusted=False)
            attributes = take_attributes(request.headers, HeaderOptions(taken=("X-Tenant",)))
            assert identity == who(trusted=False)
            assert (attributes == {}) == (name != "X-Tenant" or byte not in b" \t:")


def test_a17_who_proved_who_it_is_has_no_other_number() -> None:
    request = invite(ASSERTED)

    known = read_identity(request, GERMANY, trusted=True, known_as=("+4930777", "Ann A."))

    assert (known.number, known.name) == (Private("+4930777"), Private("Ann A."))
    assert known.diversions == ()


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize(
    ("header", "from_"),
    [
        ("Privacy: id", "<sip:+4930123456@x>;tag=1"),
        ("Privacy: critical;HEADER", "<sip:+4930123456@x>;tag=1"),
        ("Subject: none", '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1'),
        ("Subject: none", "<sip:anonymous@x>;tag=1"),
    ],
)
def test_who_withholds_its_number_is_shown_to_nobody(
    header: str, from_: str, trusted: bool
) -> None:
    identity = read_identity(invite(header, from_=from_), GERMANY, trusted=trusted)

    assert identity.is_withheld
    assert identity.label == "anonymous"


def test_a_withheld_number_is_still_known_where_the_peer_asserts_it() -> None:
    identity = who(ASSERTED, "Privacy: id", from_="<sip:anonymous@anonymous.invalid>;tag=1")

    assert (identity.number, identity.label) == (Private("+4930123456"), "anonymous")
    assert who("Remote-Party-ID: <sip:030123456@c>;privacy=full").is_withheld
    assert CallerIdentity(name=Private("Eva"), is_withheld=True).shown_name == ""
    assert CallerIdentity(name=Private("Eva")).shown_name == "Eva"


def test_a_callers_number_is_read_as_the_trunk_writes_numbers() -> None:
    identity = who(from_='"Ann" <sip:030123456@x>;tag=1')

    assert (identity.number, identity.name) == (Private("+4930123456"), Private("Ann"))
    assert identity.label == "+4930123456"


@pytest.mark.parametrize(
    "header",
    [
        "P-Asserted-Identity: ",
        "P-Asserted-Identity: <sip:",
        "P-Asserted-Identity: ,,,",
        "P-Asserted-Identity: <http://evil>",
        "Remote-Party-ID: \x01",
        'Diversion: <sip:1@x>;reason="',
        "History-Info: <sip:1@x>;index=1,,",
        "Privacy: ;;;",
    ],
)
def test_what_makes_no_sense_is_as_if_it_were_not_there(header: str) -> None:
    assert who(header) == who()


def test_a_name_that_cannot_be_written_is_no_name() -> None:
    assert who(from_='"a\tb" <sip:+4930123456@x>;tag=1').name == Private("")
    assert who(from_=f'"{"a" * 129}" <sip:+4930123456@x>;tag=1').name == Private("")


def test_the_party_called_is_not_taken_for_the_caller() -> None:
    assert who("Remote-Party-ID: <sip:030123456@c>;party=called") == who()


# ---- what a trunk is shown


@pytest.mark.parametrize(
    ("caller_id", "caller_ids", "shown"),
    [
        (None, None, "+4930123456"),
        ("+49305550", None, "+49305550"),
        ("+49305550", ("+4930123*",), "+4930123456"),
        ("+49305550", ("+4940*",), "+49305550"),
        ("+49305550", (), "+49305550"),
        (None, ("+4940*",), "anonymous"),
        (None, (), "anonymous"),
    ],
)
def test_a_trunk_is_shown_the_numbers_it_may_show(
    caller_id: str | None, caller_ids: tuple[str, ...] | None, shown: str
) -> None:
    trunk = make_trunk(identity=IdentityOptions(caller_ids=caller_ids), caller_id=caller_id)

    assert str(send_invite(trunk, "+15550100").from_.uri) == f"sip:{shown}@{LOCAL}"


@pytest.mark.parametrize(
    ("options", "from_"),
    [
        (IdentityOptions(), f"<sip:+4930123456@{LOCAL}>"),
        (IdentityOptions(display_name="caller"), f'"Ann" <sip:+4930123456@{LOCAL}>'),
        (IdentityOptions(display_name="ACME"), f'"ACME" <sip:+4930123456@{LOCAL}>'),
        (IdentityOptions(from_user="username"), f"<sip:acme@{LOCAL}>"),
        (IdentityOptions(from_user="pbx1"), f"<sip:pbx1@{LOCAL}>"),
        (IdentityOptions(from_domain="acme.example"), "<sip:+4930123456@acme.example>"),
    ],
)
def test_the_from_is_what_the_trunk_wants(options: IdentityOptions, from_: str) -> None:
    sent = send_invite(make_trunk(identity=options), "+15550100")

    assert str(sent.from_).partition(";tag=")[0] == from_


def test_the_to_and_the_contact_are_what_the_trunk_wants() -> None:
    options = IdentityOptions(to_domain="acme.example", contact_user="acme")

    sent = send_invite(make_trunk(identity=options), "+15550100")

    assert (sent.uri, str(sent.to.uri)) == (
        "sip:+15550100@carrier.example",
        "sip:+15550100@acme.example",
    )
    assert str(sent.contacts[0].uri) == f"sip:acme@{LOCAL}:5060"


def test_identity_headers_carry_the_number_shown_or_the_trunks() -> None:
    options = IdentityOptions(
        display_name="caller", pai=Asserted.CALLER, ppi=Asserted.TRUNK, rpid=Asserted.CALLER
    )

    sent = send_invite(
        make_trunk(NumberOptions(uri=NumberUri.PHONE), options, caller_id=None), "+15550100"
    )

    phone = f"<sip:+4930123456@{LOCAL};user=phone>"
    assert sent.headers.get_all("P-Asserted-Identity") == [f'"Ann" {phone}']
    assert sent.headers.get_all("P-Preferred-Identity") == [f'"Ann" <sip:acme@{LOCAL}>']
    assert sent.headers.get_all("Remote-Party-ID") == [
        f'"Ann" {phone};party=calling;screen=yes;privacy=off'
    ]
    assert "Privacy" not in sent.headers


def test_a_trunk_without_templates_gets_no_identity_headers() -> None:
    sent = send_invite(make_trunk(), "+15550100")

    for name in ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "Diversion"):
        assert name not in sent.headers


def test_a_network_of_telephones_is_shown_no_name_for_a_number() -> None:
    extension = CallerIdentity(Private("ann"))
    pbx, carrier = make_trunk(), make_trunk(GERMANY)

    assert send_invite(pbx, "+15550100", extension).from_.uri.user == "ann"
    assert send_invite(carrier, "+15550100", extension).from_.uri.user == "anonymous"


def test_a_caller_who_withholds_its_number_is_anonymous_in_the_from() -> None:
    options = IdentityOptions(display_name="caller", pai=Asserted.CALLER, rpid=Asserted.CALLER)

    sent = send_invite(make_trunk(identity=options), "+15550100", WITHHELD)

    assert str(sent.from_).startswith('"Anonymous" <sip:anonymous@anonymous.invalid>;tag=')
    assert sent.headers.get("Privacy") == "id"
    assert "+4930123456" in (sent.headers.get("P-Asserted-Identity") or "")
    assert (sent.headers.get("Remote-Party-ID") or "").endswith("privacy=full")


def test_a_trunk_that_asserts_nothing_never_learns_a_withheld_number() -> None:
    for user in ("caller", "username", "pbx1"):
        options = IdentityOptions(from_user=user, display_name="caller")

        sent = bytes(send_invite(make_trunk(identity=options), "+15550100", WITHHELD))

        assert b"30123456" not in sent
        assert b"Ann" not in sent


def test_an_account_in_the_from_stays_when_the_caller_is_anonymous() -> None:
    options = IdentityOptions(from_user="username")

    sent = send_invite(make_trunk(identity=options), "+15550100", WITHHELD)

    assert str(sent.from_).startswith(f'"Anonymous" <sip:acme@{LOCAL}>')


def test_numbers_of_callers_are_written_as_the_trunk_writes_numbers() -> None:
    numbers = NumberOptions(NumberFormat.NATIONAL, country_code="49", national_prefix="0")
    forwarded = CallerIdentity(ANN.number, diversions=(Diversion(Private("+4940555666")),))
    options = IdentityOptions(pai=Asserted.CALLER, diversion=DiversionStyle.DIVERSION)

    sent = send_invite(make_trunk(numbers, options), "+4989123456", forwarded)

    assert (sent.uri, sent.from_.uri.user) == ("sip:089123456@carrier.example", "030123456")
    assert sent.headers.get("P-Asserted-Identity") == f"<sip:030123456@{LOCAL}>"
    assert (sent.headers.get("Diversion") or "").startswith(f"<sip:040555666@{LOCAL}>;")


# ---- what may not be written (A15)

INJECTION = "\r\nX-Evil: 1\r\n\r\nINVITE sip:evil SIP/2.0"


@pytest.mark.parametrize(
    "text", [f"Ann{INJECTION}", "Ann\nX", "Ann\r", "A\0nn", "A\u2028nn", "A\u0085nn", "A\x1bnn"]
)
@pytest.mark.parametrize("display_name", ["caller", ""])
def test_a15_line_breaks_in_a_name_or_number_are_refused(text: str, display_name: str) -> None:
    trunk = make_trunk(identity=IdentityOptions(display_name=display_name))

    for caller in (
        CallerIdentity(Private("+1555"), Private(text)),
        CallerIdentity(Private(text), Private("Ann")),
    ):
        with pytest.raises(RoutingError) as caught:
            send_invite(trunk, "+15550100", caller)
        assert caught.value.status == 400


@pytest.mark.parametrize("name", ['Ann "X" \\', "<sip:evil@x>", "a;tag=1, b", "Ännchen 𝄞"])
def test_a15_a_name_stays_in_its_quotes(name: str) -> None:
    trunk = make_trunk(identity=IdentityOptions(display_name="caller", pai=Asserted.CALLER))

    sent = send_invite(trunk, "+15550100", CallerIdentity(Private("+1555"), Private(name)))

    assert sent.from_.display_name == name
    assert str(sent.from_.uri) == f"sip:+1555@{LOCAL}"
    assert len(sent.headers.get_all("P-Asserted-Identity")) == 1
