"""The registrar: REGISTERs answered as the standards say, and who is there because of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.sip.uri import parse_uri
from gateway.users.registrar import (
    MAX_LEFT,
    MAX_NAT_EXPIRES_S,
    Departure,
    Reply,
    UserRegistered,
    UserUnregistered,
)
from tests.users.site import ANN, BOB, DOMAIN, Phone, Site, connection, contacts, flow, header

INSTANCE = "urn:uuid:00000000-0000-1000-8000-000a95a0e128"


def device(number: int = 1, reg_id: int = 1, user: str = "x") -> str:
    """A Contact as a softphone on a WebSocket sends it (RFC 7118)."""
    return (
        f"Contact: <sip:{user}@df{number}.invalid;transport=ws>;"
        f'+sip.instance="<{INSTANCE[:-1]}{number}>";reg-id={reg_id}'
    )


def uris(site: Site, name: str = "ann") -> list[str]:
    """Where a call to a user would go."""
    return [str(contact.uri) for contact in site.registrar.contacts_of(name)]


def listed(reply: Reply) -> dict[str, int]:
    """The contacts of a 200 and their remaining seconds."""
    return {
        str(address.uri): int(address.parameters.get("expires") or "")
        for address in contacts(reply)
    }


@pytest.mark.rfc(3261, "10.3")
def test_register_binds_and_200_lists_it() -> None:
    site, phone = Site(), Phone()

    reply = site.register(phone, "Expires: 600")

    assert reply.status == 200
    assert listed(reply) == {"sip:ann@203.0.113.7:5060": 600}
    assert uris(site) == ["sip:ann@203.0.113.7:5060"]
    assert site.registrar.contacts_of("bob") == ()


def test_all_contacts_of_a_user_are_listed_and_rung() -> None:
    site = Site()
    site.register(Phone(flow=flow("203.0.113.7")))
    site.run(10)

    reply = site.register(Phone(flow=flow("203.0.113.8")))

    assert listed(reply) == {"sip:ann@203.0.113.7:5060": 3590, "sip:ann@203.0.113.8:5060": 3600}
    assert len(uris(site)) == 2


@pytest.mark.rfc(3261, "10.2.3")
def test_register_without_a_contact_asks_what_there_is() -> None:
    site, phone = Site(), Phone()
    site.register(phone)
    phone.contact = ""

    reply = site.register(phone)

    assert reply.status == 200
    assert list(listed(reply)) == ["sip:ann@203.0.113.7:5060"]
    assert len(uris(site)) == 1


@pytest.mark.parametrize(
    ("asked", "status", "granted"),
    [("59", 423, 0), ("1", 423, 0), ("60", 200, 60), ("3600", 200, 3600), ("86400", 200, 3600)],
)
@pytest.mark.rfc(3261, "10.3")
def test_too_short_a_time_is_refused_and_too_long_a_one_cut(
    asked: str, status: int, granted: int
) -> None:
    site = Site()

    reply = site.register(Phone(), f"Expires: {asked}")

    assert reply.status == status
    assert header(reply, "Min-Expires") == ("60" if status == 423 else None)
    assert list(listed(reply).values()) == ([granted] if granted else [])
    assert len(uris(site)) == bool(granted)


def test_phone_behind_nat_refreshes_within_the_life_of_its_mapping() -> None:
    site = Site()
    phone = Phone(flow=flow("203.0.113.7", 61000), contact="<sip:ann@192.168.1.5:5060>")

    reply = site.register(phone)

    (contact,) = site.registrar.contacts_of("ann")
    assert list(listed(reply).values()) == [MAX_NAT_EXPIRES_S]
    assert str(contact.uri) == "sip:ann@192.168.1.5:5060"
    assert contact.flow.remote == ("203.0.113.7", 61000)


def test_contact_ends_when_its_time_is_over() -> None:
    site = Site()
    site.register(Phone(flow=flow("203.0.113.7")), "Expires: 100")
    site.register(Phone(flow=flow("203.0.113.8")), "Expires: 200")

    site.run(99)
    before = len(uris(site))
    site.run(1)
    after = uris(site)
    site.run(100)

    assert before == 2
    assert after == ["sip:ann@203.0.113.8:5060"]
    assert uris(site) == []
    assert site.registrar.next_timer() is None


def test_refresh_keeps_the_contact_and_its_name() -> None:
    site, phone = Site(), Phone()
    site.register(phone, "Expires: 100")
    (before,) = site.registrar.contacts_of("ann")
    site.run(90)

    site.register(phone, "Expires: 100")
    site.run(90)

    (after,) = site.registrar.contacts_of("ann")
    assert after.id == before.id
    assert len(site.registrar.take_events()) == 1


@pytest.mark.rfc(3261, "10.2.2")
def test_zero_removes_one_contact() -> None:
    site, phone = Site(), Phone()
    site.register(phone)
    site.register(Phone(flow=flow("203.0.113.8")))

    reply = site.register(phone, "Expires: 0")

    assert list(listed(reply)) == ["sip:ann@203.0.113.8:5060"]


@pytest.mark.rfc(3261, "10.2.2")
def test_star_removes_all_contacts() -> None:
    site, phone = Site(), Phone()
    site.register(phone)
    site.register(Phone(flow=flow("203.0.113.8")))
    site.register(Phone("bob"))

    reply = site.register(phone, "Contact: *", "Expires: 0")

    assert (reply.status, listed(reply)) == (200, {})
    assert uris(site) == []
    assert len(uris(site, "bob")) == 1


@pytest.mark.parametrize("expires", ["Expires: 60", "Subject: none"])
def test_star_with_another_time_is_refused(expires: str) -> None:
    site, phone = Site(), Phone()
    site.register(phone)

    reply = site.register(phone, "Contact: *", expires)

    assert reply.status == 400
    assert len(uris(site)) == 1


@pytest.mark.rfc(3261, "10.3")
def test_overtaken_request_changes_nothing() -> None:
    site, phone = Site(), Phone(cseq=10)
    site.register(phone, "Expires: 600")
    late = replace(phone, cseq=5)

    update = site.register(late, "Expires: 100")
    removal = site.register(replace(phone, cseq=5), "Expires: 0")
    everything = site.register(replace(phone, cseq=5), "Contact: *", "Expires: 0")

    assert [reply.status for reply in (update, removal, everything)] == [500, 500, 500]
    (contact,) = site.registrar.contacts_of("ann")
    assert contact.expires_at == site.now + 600


def test_same_request_twice_is_refused_the_second_time() -> None:
    site, phone = Site(), Phone()
    request = phone.register()

    statuses = [
        site.registrar.receive(request, phone.flow, "ann", site.now).status for _ in range(2)
    ]

    assert statuses == [200, 500]


def test_another_call_id_overrides_whatever_its_number() -> None:
    site = Site()
    site.register(Phone(cseq=1000))

    reply = site.register(Phone(cseq=1), "Expires: 0")

    assert (reply.status, uris(site)) == (200, [])


def test_register_is_done_as_a_whole_or_not_at_all() -> None:
    site, phone = Site(), Phone(cseq=10)
    site.register(phone)

    reply = site.register(
        replace(phone, cseq=5), "Contact: <sip:new@203.0.113.7>", f"Contact: {phone.contact}"
    )
    short = site.register(
        phone, "Contact: <sip:new@203.0.113.7>, <sip:newer@203.0.113.7>;expires=10"
    )

    assert (reply.status, short.status) == (500, 423)
    assert uris(site) == ["sip:ann@203.0.113.7:5060"]


def test_contact_named_twice_is_one() -> None:
    site = Site()

    reply = site.register(Phone(), "Contact: <sip:a@203.0.113.7>, <sip:a@203.0.113.7>;expires=90")

    assert listed(reply) == {"sip:a@203.0.113.7": 90}


@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "wss"])
def test_contact_dies_with_its_connection(transport: str) -> None:
    site = Site()
    site.register(Phone(flow=connection(1, transport)), device(1))
    site.register(Phone(flow=connection(2, transport)), device(2))

    site.registrar.flow_closed(connection(1, transport), site.now)

    assert uris(site) == ["sip:x@df2.invalid;transport=ws"]


@pytest.mark.rfc(5626, "4.4")
@pytest.mark.parametrize("is_noticed", [True, False], ids=["after-the-end", "before-the-end"])
def test_device_that_connects_anew_is_known_as_the_one_it_was(is_noticed: bool) -> None:
    site = Site()
    site.register(Phone(flow=connection(1)), device())
    uri = site.registrar.contacts_of("ann")[0].uri
    registrar, now = site.registrar, site.now

    if is_noticed:
        registrar.flow_closed(connection(1), now)
        assert registrar.successor(uri, connection(1)) is None
    site.register(Phone(flow=connection(2)), device())
    registrar.flow_closed(connection(1), now)

    assert registrar.successor(uri, connection(1)) == connection(2)
    assert registrar.successor(parse_uri("sip:x@df2.invalid"), connection(1)) is None
    assert registrar.successor(uri, connection(3)) is None


def test_device_of_another_user_succeeds_to_nothing() -> None:
    site = Site()
    site.register(Phone(flow=connection(1)), device())
    uri = site.registrar.contacts_of("ann")[0].uri
    site.registrar.flow_closed(connection(1), site.now)

    site.register(Phone("bob", flow=connection(2)), device())

    assert site.registrar.successor(uri, connection(1)) is None


def test_connections_that_were_left_are_remembered_up_to_a_limit() -> None:
    site = Site()
    for number in range(MAX_LEFT + 10):
        site.run(1)  # no faster than a stranger may ask
        site.register(Phone(flow=connection(number)), device())
        site.registrar.flow_closed(connection(number), site.now)

    assert len(site.registrar._left) == MAX_LEFT
    assert connection(0) not in site.registrar._left


def test_datagram_contact_outlives_an_icmp_error() -> None:
    site = Site()
    site.register(Phone())

    site.registrar.flow_closed(flow(), site.now)

    assert len(uris(site)) == 1


@pytest.mark.rfc(5626, "6")
def test_flow_replaces_its_elder() -> None:
    site = Site()
    site.register(Phone(flow=connection(1)), device(user="before"))
    (before,) = site.registrar.contacts_of("ann")

    reply = site.register(Phone(flow=connection(2)), device(user="after"))
    site.registrar.flow_closed(connection(1), site.now)

    (after,) = site.registrar.contacts_of("ann")
    assert list(listed(reply)) == ["sip:after@df1.invalid;transport=ws"]
    assert (after.id, after.flow) == (before.id, connection(2))


@pytest.mark.rfc(5626, "7")
def test_datagram_flow_is_kept_to_the_port_it_came_from() -> None:
    site = Site()
    phone = Phone(flow=flow("203.0.113.7", 61000))
    parameters = f';+sip.instance="<{INSTANCE}>";reg-id=1'

    site.register(phone, f"Contact: <sip:ann@203.0.113.7:5060>{parameters}")
    (bound_by_flow,) = site.registrar.contacts_of("ann")
    site.registrar.flow_closed(phone.flow, site.now)
    site.register(phone, "Contact: <sip:ann@203.0.113.7:5060>")
    (bound_by_address,) = site.registrar.contacts_of("ann")

    assert bound_by_flow.flow == phone.flow
    assert bound_by_address.flow.remote == ("203.0.113.7", 5060)
    assert bound_by_address.source == phone.flow


def test_second_flow_of_a_device_is_kept_and_not_rung() -> None:
    site = Site()
    site.register(Phone(flow=connection(1)), device(reg_id=1))

    reply = site.register(Phone(flow=connection(2)), device(reg_id=2, user="y"))
    rung = uris(site)
    site.registrar.flow_closed(connection(2), site.now)

    assert len(listed(reply)) == 2
    assert len(rung) == 1
    assert uris(site) == ["sip:x@df1.invalid;transport=ws"]


@pytest.mark.rfc(5626, "6")
def test_outbound_is_confirmed_to_who_knows_it() -> None:
    site = Site()

    knows = site.register(Phone(flow=connection(1)), device(), "Supported: path, outbound")
    says_nothing = site.register(Phone(flow=connection(2)), device(2))
    plain = site.register(Phone(flow=connection(3)), "Supported: path, outbound")

    assert header(knows, "Require") == "outbound"
    assert header(says_nothing, "Require") is None
    assert header(plain, "Require") is None
    assert header(plain, "Supported") == "path, outbound"


def test_instance_and_flow_stand_in_the_200() -> None:
    site = Site()

    (address,) = contacts(site.register(Phone(flow=connection(1)), device(7, 3) + ";q=0.5"))

    assert address.parameters.get("+sip.instance") == f"<{INSTANCE[:-1]}7>"
    assert address.parameters.get("reg-id") == "3"
    assert address.parameters.get("q") == "0.5"


@pytest.mark.rfc(5626, "6")
def test_one_register_is_of_one_flow() -> None:
    site = Site()
    two = device(1) + ", " + device(2).removeprefix("Contact: ")

    reply = site.register(Phone(flow=connection(1)), two)
    one_and_a_removal = site.register(
        Phone(flow=connection(1)), device(1) + ", <sip:old@192.0.2.9>;expires=0"
    )

    assert (reply.status, one_and_a_removal.status) == (400, 200)


@pytest.mark.rfc(5626, "11.6")
def test_first_hop_without_outbound_is_told() -> None:
    site = Site()
    behind_proxy = Phone(flow=connection(1, "tcp"), vias=2)

    without = site.register(behind_proxy, device(), "Supported: outbound", "Path: <sip:p;lr>")
    uninterested = site.register(behind_proxy, device(), "Path: <sip:p;lr>")
    (plain,) = site.registrar.contacts_of("ann")
    with_it = site.register(behind_proxy, device(2), "Supported: outbound", "Path: <sip:t@p;lr;ob>")

    assert (without.status, uninterested.status, with_it.status) == (439, 200, 200)
    assert plain.reg_id is None
    assert header(with_it, "Require") == "outbound"


@pytest.mark.rfc(3327, "5.3")
def test_path_is_kept_and_told() -> None:
    site = Site()
    phone = Phone(
        flow=flow("198.51.100.1"), vias=2, contact="<sip:ann@192.168.1.5:5062>", name="ann"
    )
    path = "<sip:edge.example.com;lr>, <sip:inner.example.com;lr>"

    reply = site.register(phone, f"Path: {path}", "Supported: path")

    (contact,) = site.registrar.contacts_of("ann")
    assert header(reply, "Path") == path
    assert [str(address.uri) for address in contact.path] == [
        "sip:edge.example.com;lr",
        "sip:inner.example.com;lr",
    ]
    assert contact.flow == flow("198.51.100.1")
    assert listed(reply) == {"sip:ann@192.168.1.5:5062": 3600}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["Require: gruu"], 420),
        (["Require: path, outbound"], 200),
        (["Require: \x01"], 400),
        (["Path: nonsense"], 400),
        (["Contact: <tel:+15550100>"], 400),
    ],
)
def test_what_cannot_be_done_is_refused(headers: list[str], status: int) -> None:
    site = Site()

    reply = site.register(Phone(), *headers)

    assert reply.status == status
    assert header(reply, "Unsupported") == ("gruu" if status == 420 else None)


def test_device_too_many_puts_out_the_one_heard_of_longest_ago() -> None:
    site = Site(replace(ANN, max_contacts=2))
    first, second, third = (Phone(flow=flow(f"203.0.113.{n}")) for n in (1, 2, 3))
    for phone in (first, second, first, third):
        site.run(1)
        site.register(phone)

    assert uris(site) == ["sip:ann@203.0.113.3:5060", "sip:ann@203.0.113.1:5060"]
    gone = site.registrar.take_events()[-1]
    assert isinstance(gone, UserUnregistered)
    assert gone.cause is Departure.CROWDED_OUT


def test_one_register_may_not_name_more_than_there_is_room_for() -> None:
    site = Site(replace(ANN, max_contacts=2))
    many = ", ".join(f"<sip:ann@203.0.113.{n}>" for n in range(3))

    reply = site.register(Phone(), f"Contact: {many}")

    assert (reply.status, uris(site)) == (403, [])


@pytest.mark.parametrize(
    ("to", "status"),
    [
        (f"sip:bob@{DOMAIN}", 403),
        (f"sip:nobody@{DOMAIN}", 403),
        (f"sip:Ann@{DOMAIN}", 403),
        (f"sip:{DOMAIN}", 403),
        ("tel:+15550100", 403),
        ("sip:ann@elsewhere.example.com", 404),
        (f"sips:ann@{DOMAIN}:5061;x=y", 200),
        (f"sip:%61nn@{DOMAIN}", 200),
    ],
)
def test_user_registers_itself_and_nobody_else(to: str, status: int) -> None:
    site, phone = Site(), Phone()

    reply = site.ask(phone, phone.register(to=to))

    assert reply.status == status
    assert len(uris(site)) == (status == 200)
    assert uris(site, "bob") == []


def test_domain_of_somebody_else_is_refused() -> None:
    site, phone = Site(), Phone()
    request = phone.request("REGISTER", uri="sip:elsewhere.example.com")

    assert site.registrar.receive(request, phone.flow, "ann", site.now).status == 404
    assert site.registrar.receive(phone.register(), phone.flow, "eve", site.now).status == 403


def test_coming_and_going_is_told() -> None:
    site, phone = Site(), Phone(flow=connection(1))
    site.register(phone, device(), "Expires: 60")
    site.register(Phone(flow=connection(2)), device(2))
    site.run(61)
    site.registrar.flow_closed(connection(2), site.now)
    site.register(phone, device())
    site.register(phone, device(), "Expires: 0")

    told = [
        (event.contacts, event.cause if isinstance(event, UserUnregistered) else None)
        for event in site.registrar.take_events()
    ]

    assert told == [
        (1, None),
        (2, None),
        (1, Departure.EXPIRED),
        (0, Departure.DISCONNECTED),
        (1, None),
        (0, Departure.REMOVED),
    ]
    assert site.registrar.take_events() == []


def test_who_came_is_named() -> None:
    site = Site()
    site.register(Phone("bob"))

    (event,) = site.registrar.take_events()

    assert isinstance(event, UserRegistered)
    assert (event.user, event.contact.uri) == ("bob", parse_uri("sip:bob@203.0.113.7:5060"))


def test_people_are_told_who_is_there_and_no_addresses() -> None:
    site = Site(replace(ANN, display_name="Ann A."), BOB)
    site.register(Phone(flow=connection(1)), device(1))
    site.run(30)
    site.register(Phone())

    ann, bob = site.registrar.summaries(site.now + 5)

    assert (ann.name, ann.display_name, ann.contacts, ann.registered_s) == ("ann", "Ann A.", 2, 35)
    assert ann.transports == ("udp", "wss")
    assert (bob.contacts, bob.registered_s, bob.transports) == (0, None, ())


def test_connection_is_its_users_while_a_contact_uses_it() -> None:
    site = Site()
    site.register(Phone(flow=connection(1)), device(1))
    site.register(Phone("bob", flow=connection(1)), device(1))
    site.register(Phone(flow=connection(2), vias=2), "Path: <sip:p;lr;ob>")

    both = site.registrar.users_on(connection(1))
    through_a_proxy = site.registrar.users_on(connection(2))
    site.registrar.flow_closed(connection(1), site.now)

    assert both == {"ann", "bob"}
    assert through_a_proxy == frozenset()
    assert site.registrar.users_on(connection(1)) == frozenset()
    assert site.registrar.has_flow(connection(2))
    assert not site.registrar.has_flow(connection(1))
    assert site.registrar.is_registered_at(connection(2).remote)
    assert not site.registrar.is_registered_at(connection(1).remote)


def test_nothing_is_kept_of_who_went() -> None:
    site = Site()
    for number in range(3):
        site.register(Phone(flow=connection(number)), device(number))
        site.registrar.flow_closed(connection(number), site.now)

    registrar = site.registrar
    tables = (registrar._contacts, registrar._flows, registrar._remotes, registrar._alarms)
    assert not any(tables)
    assert registrar.next_timer() is None
    assert registrar.take_output() == ()


def test_dialog_with_a_phone_never_leaves_its_address() -> None:
    site = Site()
    phone = flow("10.0.0.7", 61000)
    site.register(Phone(flow=phone, contact="<sip:ann@192.168.1.5>"))
    may_follow = site.registrar.may_follow

    assert not may_follow("192.168.1.5", phone)
    assert may_follow("10.0.0.7", phone)
    assert may_follow("192.168.1.5", flow("10.0.0.8"))
