"""Dialogs: route sets, targets, numbers (RFC 3261 §12)."""

from __future__ import annotations

import pytest

from gateway.sip.dialog import Dialog
from gateway.sip.flow import Flow
from gateway.sip.header import Via
from gateway.sip.message import Request, Response, build_response, parse_message
from gateway.sip.uri import parse_uri

VIA = Via("UDP", "192.0.2.1")
FLOW = Flow("udp", ("192.0.2.1", 5060), ("192.0.2.9", 5060))


def make_invite(*extra: str, from_: str = "<sip:alice@a.example>;tag=ta") -> Request:
    lines = [
        "INVITE sip:bob@b.example SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx",
        f"From: {from_}",
        'To: "Bob" <sip:bob@b.example>',
        "Call-ID: call@a",
        "CSeq: 314 INVITE",
        "Max-Forwards: 70",
        *extra,
    ]
    message = parse_message(("\r\n".join(lines) + "\r\n\r\n").encode())
    assert isinstance(message, Request)
    return message


def make_response(invite: Request, status: int, *headers: tuple[str, str]) -> Response:
    return build_response(invite, status, to_tag="tb", headers=headers)


def client_dialog(*headers: tuple[str, str]) -> Dialog:
    invite = make_invite("Contact: <sip:alice@192.0.2.9>")
    response = make_response(invite, 200, *headers)
    return Dialog.of_client(invite, response, parse_uri(invite.uri), FLOW)


def routes_of(request: Request) -> list[str]:
    return [str(route) for route in request.routes]


@pytest.mark.rfc(3261, "12.1.1")
def test_server_keeps_the_record_routes_in_order() -> None:
    invite = make_invite(
        "Contact: <sip:alice@192.0.2.9:5062>",
        "Record-Route: <sip:p2.example;lr>, <sip:p1.example;lr>",
    )

    bye = Dialog.of_server(invite, "tb", FLOW).build("BYE", VIA)

    assert bye.uri == "sip:alice@192.0.2.9:5062"
    assert routes_of(bye) == ["<sip:p2.example;lr>", "<sip:p1.example;lr>"]
    assert str(bye.from_) == '"Bob" <sip:bob@b.example>;tag=tb'
    assert str(bye.to) == "<sip:alice@a.example>;tag=ta"
    assert (bye.call_id, str(bye.cseq)) == ("call@a", "1 BYE")


@pytest.mark.rfc(3261, "12.1.2")
def test_client_takes_the_record_routes_in_reverse() -> None:
    dialog = client_dialog(
        ("Record-Route", "<sip:p2.example;lr>"),
        ("Record-Route", "<sip:p1.example;lr>"),
        ("Contact", "<sip:bob@192.0.2.7>"),
    )

    bye = dialog.build("BYE", VIA)

    assert bye.uri == "sip:bob@192.0.2.7"
    assert routes_of(bye) == ["<sip:p1.example;lr>", "<sip:p2.example;lr>"]
    assert str(bye.cseq) == "315 BYE"
    assert str(dialog.next_hop) == "sip:p1.example;lr"


@pytest.mark.rfc(3261, "12.2.1.1")
def test_strict_router_is_put_into_the_request_uri() -> None:
    dialog = client_dialog(
        ("Record-Route", "<sip:proxy4>, <sip:proxy3;lr>, <sip:proxy2>, <sip:proxy1;method=BYE>"),
        ("Contact", "<sip:user@remoteua>"),
    )

    bye = dialog.build("BYE", VIA)

    assert bye.uri == "sip:proxy1"
    assert routes_of(bye) == [
        "<sip:proxy2>", "<sip:proxy3;lr>", "<sip:proxy4>", "<sip:user@remoteua>",
    ]  # fmt: skip
    assert dialog.next_hop.host == "proxy1"


@pytest.mark.rfc(3261, "13.2.2.4")
def test_2xx_sets_the_route_set_and_target_of_an_early_dialog() -> None:
    invite = make_invite()
    dialog = Dialog.of_client(
        invite,
        make_response(invite, 180, ("Contact", "<sip:early@192.0.2.7>")),
        parse_uri(invite.uri),
        FLOW,
    )
    dialog.build("OPTIONS", VIA)

    dialog.confirm(
        make_response(
            invite, 200, ("Contact", "<sip:late@192.0.2.7>"), ("Record-Route", "<sip:p1;lr>")
        )
    )

    bye = dialog.build("BYE", VIA)
    assert dialog.is_confirmed
    assert (bye.uri, routes_of(bye)) == ("sip:late@192.0.2.7", ["<sip:p1;lr>"])
    assert str(bye.cseq) == "316 BYE"  # the numbers go on


def test_missing_contact_leaves_the_request_uri_as_target() -> None:
    assert client_dialog().build("BYE", VIA).uri == "sip:bob@b.example"


def test_contact_that_is_no_sip_uri_is_passed_over() -> None:
    dialog = client_dialog(("Contact", "<tel:+15550100>, <sip:bob@192.0.2.7>"))

    assert dialog.build("BYE", VIA).uri == "sip:bob@192.0.2.7"


def test_contact_cannot_write_headers_into_our_requests() -> None:
    dialog = client_dialog(("Contact", "<sip:bob@192.0.2.7;method=INVITE?Route=%3Csip:evil%3E>"))

    bye = dialog.build("BYE", VIA)

    assert bye.uri == "sip:bob@192.0.2.7"
    assert bye.routes == ()


@pytest.mark.rfc(3261, "12.2.2")
@pytest.mark.parametrize(
    ("number", "is_taken", "kept"), [(313, False, 314), (314, True, 314), (400, True, 400)]
)
def test_only_a_lower_number_is_out_of_order(number: int, is_taken: bool, kept: int) -> None:
    dialog = Dialog.of_server(make_invite(), "tb", FLOW)

    assert dialog.accept_cseq(number) is is_taken
    assert dialog.remote_cseq == kept


def test_first_request_of_a_callee_may_have_any_number() -> None:
    dialog = client_dialog()

    assert dialog.accept_cseq(0)
    assert not dialog.accept_cseq(-1)


@pytest.mark.rfc(3261, "12.2.2")
def test_target_refresh_changes_the_target_and_not_the_routes() -> None:
    invite = make_invite("Record-Route: <sip:p1;lr>", "Contact: <sip:alice@192.0.2.9>")
    dialog = Dialog.of_server(invite, "tb", FLOW)

    dialog.refresh_target(make_invite("Contact: <sip:alice@192.0.2.10>", "Record-Route: <sip:x>"))

    bye = dialog.build("BYE", VIA)
    assert (bye.uri, routes_of(bye)) == ("sip:alice@192.0.2.10", ["<sip:p1;lr>"])


@pytest.mark.rfc(3261, "13.2.2.4")
def test_ack_has_the_number_of_its_invite() -> None:
    dialog = client_dialog()

    ack = dialog.build("ACK", VIA, cseq=314)
    bye = dialog.build("BYE", VIA)

    assert (str(ack.cseq), str(bye.cseq)) == ("314 ACK", "315 BYE")


def test_peer_without_a_tag_is_named_without_one() -> None:
    dialog = Dialog.of_server(make_invite(from_="<sip:alice@a.example>"), "tb", FLOW)

    assert dialog.id.remote_tag == ""
    assert dialog.build("BYE", VIA).to.tag is None
