"""The torture tests of RFC 4475 and RFC 5118, judged where messages are parsed.

A message that is taken here may still be refused by what looks at its meaning: an unknown scheme
(416), an extension (420), no hops left (483) and the like are the endpoint's verdicts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.sip.header import parse_via
from gateway.sip.message import (
    Message,
    MessageError,
    Request,
    build_response,
    mark_source,
    parse_message,
)
from gateway.sip.uri import parse_uri
from gateway.sip.view import MessageViews
from tests.sip.samples import judge, read_request

VECTORS = Path(__file__).parent.parent / "vectors" / "rfc4475"
IPV6_VECTORS = VECTORS.with_name("rfc5118")

TAKEN = (200, True)
STRAY = (200, False)
"A response, well formed; who asked for it is not the parser's question."
DROPPED = (400, False)
"Nobody to answer: a response, or a request without the headers that an answer needs."


def refused(status: int) -> tuple[int, bool]:
    """An answerable request that gets this status."""
    return status, True


VERDICTS = {
    # RFC 4475 §3.1.1: valid
    "wsinv": TAKEN,
    "intmeth": TAKEN,
    "esc01": TAKEN,
    "escnull": TAKEN,
    "esc02": TAKEN,
    "lwsdisp": TAKEN,
    "longreq": TAKEN,
    "dblreq": TAKEN,
    "semiuri": TAKEN,
    "transports": TAKEN,
    "mpart01": TAKEN,
    "unreason": STRAY,
    "noreason": STRAY,
    # §3.1.2: invalid
    "badinv01": refused(400),
    "clerr": refused(400),
    "ncl": refused(400),
    "scalar02": refused(400),
    "scalarlg": DROPPED,
    "quotbal": refused(400),
    "ltgtruri": refused(400),
    "lwsruri": refused(400),
    "lwsstart": refused(400),
    "trws": refused(400),
    "escruri": refused(400),
    "baddate": TAKEN,  # nobody here reads a Date
    "regbadct": refused(400),
    "badaspec": refused(400),
    "baddn": refused(400),
    "badvers": refused(505),
    "mismatch01": refused(400),
    "mismatch02": refused(400),
    "bigcode": DROPPED,
    # §3.2, §3.3: for the transaction and the application to judge
    "badbranch": TAKEN,
    "insuf": DROPPED,  # no From, To, Call-ID to answer with
    "unkscm": TAKEN,
    "novelsc": TAKEN,
    "unksm2": TAKEN,
    "bext01": TAKEN,
    "invut": TAKEN,
    "regaut01": TAKEN,
    "multi01": refused(400),
    "mcl01": refused(400),
    "bcast": STRAY,
    "zeromf": TAKEN,
    "cparam01": TAKEN,
    "cparam02": TAKEN,
    "regescrt": TAKEN,
    "sdp01": TAKEN,
    "inv2543": TAKEN,
    "test": DROPPED,  # in the archive of the RFC, not in its text
}


def vector(name: str) -> bytes:
    """The bytes of one torture message."""
    return (VECTORS / f"{name}.dat").read_bytes()


def test_no_vector_is_left_out() -> None:
    assert {path.stem for path in VECTORS.glob("*.dat")} == set(VERDICTS)


@pytest.mark.rfc(4475, "3")
@pytest.mark.parametrize(("name", "verdict"), VERDICTS.items())
def test_verdict(name: str, verdict: tuple[int, bool]) -> None:
    assert judge(vector(name)) == verdict


@pytest.mark.parametrize("name", [name for name in VERDICTS if VERDICTS[name][0] == 200])
def test_what_is_taken_is_written_and_read_back(name: str) -> None:
    message = parse_message(vector(name))

    assert parse_message(bytes(message)) == message


@pytest.mark.parametrize("name", [name for name in VERDICTS if VERDICTS[name][1]])
def test_every_answerable_request_gets_its_answer(name: str) -> None:
    data = vector(name)

    response = build_response(answerable(data), 400, to_tag="ours")

    # As in the request, but for white space and folding.
    head = b"".join(data.partition(b"\r\n\r\n")[0].split())
    for copied in ("Via", "From", "Call-ID", "CSeq"):
        for value in response.headers.get_all(copied):
            assert "".join(value.split()).encode() in head
    assert ";tag=" in "".join((response.headers.get("To") or "").split())
    assert bytes(response).startswith(b"SIP/2.0 400 Bad Request\r\n")


def answerable(data: bytes) -> Request:
    """The request in these bytes, broken or not."""
    try:
        message: Message | None = parse_message(data)
    except MessageError as error:
        message = error.request
    assert isinstance(message, Request)
    return message


def test_the_tortuous_invite_means_what_it_says() -> None:
    request = read_request(vector("wsinv"))

    assert [via.host for via in request.vias] == [
        "192.0.2.2",
        "spindle.example.com",
        "192.168.255.111",
    ]
    assert request.from_.display_name == 'J Rosenberg \\"'
    assert request.to.tag == "1918181833n"
    assert (request.cseq.number, request.max_forwards) == (9, 68)
    assert request.contacts[0].parameters.get("newparam") == "newvalue"
    assert request.contacts[0].parameters.get("q") == "0.33"
    assert request.headers.get("NewFangledHeader") == "newfangled value continued newfangled value"
    assert request.headers.get("UnknownHeaderWithUnusualValue") == ";;,,;;,;"
    assert request.headers.get("Subject") == ""
    assert request.routes[0].uri.parameters.has("lr")


def test_the_long_request_keeps_every_via_in_order() -> None:
    request = read_request(vector("longreq"))

    answer = build_response(request, 404)

    hosts = [f"sip{number}.example.com" for number in range(33, 0, -1)]
    assert [via.host for via in request.vias] == [*hosts, "host.example.com"]
    assert answer.vias == request.vias


def test_an_escape_is_none_in_a_method_or_a_header_name() -> None:
    request = read_request(vector("esc02"))

    assert request.method == "RE%47IST%45R"
    assert [str(contact.uri) for contact in request.contacts] == [
        "sip:alias1@host1.example.com",
        "sip:alias3@host3.example.com",
    ]
    assert request.headers.get("C%6Fntact") == "<sip:alias2@host2.example.com>"


def test_the_request_after_the_first_is_ignored() -> None:
    request = read_request(vector("dblreq"))

    assert (request.method, request.body) == ("REGISTER", b"")


def test_a_body_is_bytes() -> None:
    request = read_request(vector("mpart01"))

    assert len(request.body) == 553
    assert b"\0" in request.body


def test_a_reason_may_be_in_any_script_or_missing() -> None:
    unreason, noreason = parse_message(vector("unreason")), parse_message(vector("noreason"))

    assert bytes(unreason).startswith(
        "SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое\r\n".encode()
    )
    assert bytes(noreason).startswith(b"SIP/2.0 100 \r\n")


IPV6_VERDICTS = {
    "ipv6-good": TAKEN,
    "ipv6-bad": refused(400),
    "port-ambiguous": TAKEN,
    "port-unambiguous": TAKEN,
    "via-received-param-with-delim": TAKEN,
    "via-received-param-no-delim": TAKEN,
    "ipv6-in-sdp": TAKEN,
    "mult-ip-in-header": TAKEN,
    "mult-ip-in-sdp": TAKEN,
    "ipv4-mapped-ipv6": TAKEN,
    "ipv6-bug-abnf-3-colons": TAKEN,
    "ipv6-correct-abnf-2-colons": TAKEN,
}


def test_no_message_with_ipv6_is_left_out() -> None:
    assert {path.stem for path in IPV6_VECTORS.glob("*.dat")} == set(IPV6_VERDICTS)


@pytest.mark.rfc(5118, "4")
@pytest.mark.parametrize(("name", "verdict"), IPV6_VERDICTS.items())
def test_ipv6_verdict(name: str, verdict: tuple[int, bool]) -> None:
    assert judge((IPV6_VECTORS / f"{name}.dat").read_bytes()) == verdict


def views() -> Iterator[Callable[[MessageViews], object]]:
    """Every typed view of a message."""
    for name, attribute in vars(MessageViews).items():
        if isinstance(attribute, property) and attribute.fget is not None:
            yield attribute.fget
        else:
            assert name.startswith("__") or name in MessageViews.__annotations__


HANDLED_BY = {"via", "vias", "from_", "to", "call_id", "cseq", "max_forwards"} | {
    "contacts",
    "is_contact_star",
    "routes",
    "record_routes",
}


def check_contract(data: bytes) -> None:
    """Any bytes make a message that can be used and written, or the documented error."""
    try:
        message = parse_message(data)
    except MessageError as error:
        if error.request is not None:
            bytes(build_response(error.request, error.status, to_tag="ours"))
        return
    assert parse_message(bytes(message)) == message
    assert not any("\r" in value or "\n" in value for _, value in message.headers)
    for view in views():
        try:
            view(message)
        except RemoteProtocolError:
            assert view.__name__ not in HANDLED_BY
    if isinstance(message, Request):
        check_request(message)


def check_request(request: Request) -> None:
    """A request that was taken can be marked and answered, and the answer can be read."""
    assert parse_uri(str(parse_uri(request.uri))) == parse_uri(request.uri)
    before = request.vias[1:]

    mark_source(request, "203.0.113.9", 5099)

    assert request.via.received == "203.0.113.9" or request.via.host == "203.0.113.9"
    assert request.vias[1:] == before
    answer = parse_message(bytes(build_response(request, 200, to_tag="ours")))
    assert answer.vias == request.vias
    assert answer.cseq == request.cseq
    assert parse_via(str(answer.via)) == answer.via


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_keep_the_contract(data: bytes) -> None:
    check_contract(data)


PIECES = [
    *(b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b"", b":", b";", b",", b'"', b"\\", b"<", b">"),
    *(b"%", b"%00", b"=", b"@", b"\xff", b"\xe2\x80\xa8", b"\xc3\xa9", b"99999999999", b"-1"),
    *(b"sip:", b"Via: ", b"tag=", b"\r\n ", b"[", b"]", b"?"),
]


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(sorted(VERDICTS)),
    st.lists(
        st.tuples(st.integers(0, 2000), st.integers(0, 8), st.sampled_from(PIECES)), max_size=6
    ),
)
def test_damaged_torture_keeps_the_contract(name: str, cuts: list[tuple[int, int, bytes]]) -> None:
    data = vector(name)
    for position, length, piece in cuts:
        position %= len(data)
        data = data[:position] + piece + data[position + length :]

    check_contract(data)


@pytest.mark.soak
def test_a_million_damaged_messages_keep_the_contract() -> None:
    chance = random.Random(4475)
    vectors = [vector(name) for name in sorted(VERDICTS)]

    for _ in range(1_000_000):
        data = chance.choice(vectors)
        for _ in range(chance.randrange(1, 8)):
            position = chance.randrange(len(data) + 1)
            end = position + chance.randrange(8)
            data = data[:position] + chance.choice(PIECES) + data[end:]

        check_contract(data)
