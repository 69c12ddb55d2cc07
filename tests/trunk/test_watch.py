"""The trunks of a node watched over a SIP endpoint and a bad wire, in virtual time."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from gateway.errors import CapacityError
from gateway.private import Secret
from gateway.sip.authenticator import Credentials
from gateway.sip.endpoint import EndpointOptions
from gateway.sip.event import HopAnswered, HopFailed, HopTrouble, Responded
from gateway.sip.flow import Connect, Destination, Hop, Resolve
from gateway.sip.header import parse_address, parse_via
from gateway.sip.message import Request, build_request
from gateway.sip.uri import parse_uri
from gateway.trunk.event import TrunkDown, TrunkEvent, TrunkRegistered, TrunkUp
from gateway.trunk.health import DownReason, TrunkState
from gateway.trunk.limits import CallLimits, Direction, LimitError
from gateway.trunk.registration import RegistrationOptions, RegistrationState
from gateway.trunk.route import Plan, parse_target
from gateway.trunk.status import TrunkStatus
from gateway.trunk.trunk import Trunk
from gateway.trunk.watch import Ask, TrunkWatch
from tests.support.sip import LATENCY_S, Address, Peer, Station, Wire, tokens

OURS = ("192.0.2.1", 5060)
CARRIER = ("198.51.100.1", 5060)
SPARE = ("198.51.100.2", 5060)
CREDENTIALS = Credentials("acme", Secret("hunter2"), "carrier")
LINE = RegistrationOptions(parse_uri("sip:carrier.test"), "acme", CREDENTIALS)


class Gateway(Station):
    """A station whose trunks are watched: what a node does with a watch, done on the wire."""

    def __init__(self, wire: Wire, *trunks: Trunk, seed: int = 1, transport: str = "udp") -> None:
        super().__init__(wire, OURS, transport=transport)
        chance, names = random.Random(seed), tokens("w")
        self.watch = TrunkWatch(
            trunks, new_token=lambda: next(names), spread=chance.random, now=wire.now
        )
        self.news: list[TrunkEvent] = []

    def handle_timer(self, now: float) -> None:
        super().handle_timer(now)
        self.watch.handle_timer(now)

    def next_timer(self) -> float | None:
        times = [at for at in (super().next_timer(), self.watch.next_timer()) if at is not None]
        return min(times, default=None)

    def flush(self) -> None:
        now = self.wire.now
        while True:
            told = len(self.events)
            super().flush()
            for _, event in self.events[told:]:
                if isinstance(event, HopAnswered | HopFailed):
                    self.watch.hop_was_tried(event, now)
                elif isinstance(event, Responded):
                    self.watch.responded(event, now)
            outputs = self.watch.take_output()
            self.news += self.watch.take_events()
            for output in outputs:
                self._carry_for_watch(output, now)
            if not outputs and len(self.events) == told:
                return

    def close_flow(self, address: Address) -> None:
        flow = self.flows[address]
        super().close_flow(address)
        self.watch.flow_failed(flow, self.wire.now)

    def _carry_for_watch(self, output: Ask | Resolve | Connect, now: float) -> None:
        match output:
            case Ask():
                try:
                    self.watch.asked(output, self.send(output.request))
                except CapacityError:
                    self.watch.refused(output, now)
            case Resolve(destination):
                self.watch.resolved(destination, self.ways.hops_to(destination), now)
            case Connect(hop) if (hop.transport, hop.host) in self.ways.refusing:
                self.watch.hop_failed(hop, now)
            case Connect(hop) if (hop.transport, hop.host) not in self.ways.silent:
                self.watch.flow_opened(hop, self.open_flow(hop), now)


class Carrier(Peer):
    """A peer that answers OPTIONS, and REGISTER once it is asked with credentials."""

    def __init__(self, wire: Wire, address: Address = CARRIER) -> None:
        super().__init__(wire, address)
        self.status = 200
        self.headers: list[tuple[str, str]] = []
        self.is_silent = False

    def receive(self, data: bytes, source: Address, now: float) -> None:
        super().receive(data, source, now)
        message = self.inbox[-1]
        if self.is_silent or not isinstance(message, Request):
            return
        status, headers = self.status, list(self.headers)
        if message.method == "REGISTER" and status == 200:
            if message.headers.get("Authorization") is None:
                status = 401
                headers = [("WWW-Authenticate", 'Digest realm="carrier", nonce="n1", qop="auth"')]
            else:
                headers.append(("Contact", f"{message.headers.get('Contact')};expires=600"))
        station = self.wire._parties[source]
        assert isinstance(station, Station)
        self.respond(station, message, status, "c", headers=headers)


def trunk(host: str = "carrier.test", **keys: object) -> Trunk:
    """A trunk at a host."""
    name = str(keys.pop("name", "carrier"))
    return replace(Trunk(name, parse_uri(f"sip:{host}")), **keys)  # type: ignore[arg-type]


def meet(
    *trunks: Trunk, hops: tuple[Address, ...] = (CARRIER,), seed: int = 1
) -> tuple[Wire, Gateway, list[Carrier]]:
    """A gateway, and a carrier of that name at each of some addresses."""
    wire = Wire()
    gateway = Gateway(wire, *trunks, seed=seed)
    carriers = [Carrier(wire, address) for address in hops]
    gateway.ways.names["carrier.test"] = [Hop("udp", *address) for address in hops]
    return wire, gateway, carriers


def plan(*groups: str) -> Plan:
    """Groups of targets, in words."""
    return Plan(tuple(tuple(parse_target(text) for text in group.split()) for group in groups))


def state_of(gateway: Gateway, name: str = "carrier") -> TrunkState:
    """How a trunk is."""
    return status_of(gateway, name).state


def status_of(gateway: Gateway, name: str = "carrier") -> TrunkStatus:
    """All that is told of a trunk, which has no calls."""
    limits = CallLimits([trunk(name=name)], max_cps=None, now=0)
    status = gateway.watch.status(name, limits, gateway.wire.now)
    assert status is not None
    return status


# ---- probes


def test_each_hop_of_a_trunk_is_asked_by_its_own_address() -> None:
    wire, gateway, carriers = meet(trunk(), hops=(CARRIER, SPARE))

    wire.run(2)

    for carrier in carriers:
        (request,) = carrier.got("OPTIONS")
        assert isinstance(request, Request)
        assert request.uri == "sip:carrier.test"
        assert str(request.to.uri) == "sip:carrier.test"
        assert str(request.from_.uri) == "sip:gateway@192.0.2.1"
        assert request.headers.get("Accept") == "application/sdp"
    assert [type(event) for event in gateway.news] == [TrunkUp]


def test_a_tenth_of_all_datagrams_lost_for_ten_minutes_changes_nothing() -> None:
    for seed in range(5):
        wire, gateway, _ = meet(trunk(), seed=seed)
        wire.run(2)
        wire.impair(seed, loss=0.1, duplication=0.02, jitter_s=0.05)

        wire.run(600)

        assert [type(event) for event in gateway.news] == [TrunkUp]


def test_a_carrier_that_falls_silent_is_down_and_comes_back() -> None:
    wire, gateway, (carrier,) = meet(trunk())
    wire.run(2)

    carrier.is_silent = True
    wire.run(105)
    assert state_of(gateway) is TrunkState.DOWN
    carrier.is_silent = False
    wire.run(45)

    assert [type(event) for event in gateway.news] == [TrunkUp, TrunkDown, TrunkUp]


def test_a_host_that_bounces_what_it_gets_is_unreachable() -> None:
    wire, gateway, _ = meet(trunk())
    gateway.ways.dead.add(CARRIER)

    wire.run(20)

    (event,) = gateway.news
    assert isinstance(event, TrunkDown)
    assert event.reason == DownReason.UNREACHABLE.value


def test_a_host_that_takes_no_connection_is_unreachable() -> None:
    wire, gateway, _ = meet(trunk())
    gateway.ways.names["carrier.test"] = [Hop("tls", "198.51.100.1", 5061, "carrier.test")]
    gateway.ways.refusing.add(("tls", "198.51.100.1"))

    wire.run(20)

    assert gateway.news == [TrunkDown("carrier", gateway.news[0].at, "unreachable")]


def test_a_connection_that_never_comes_about_is_a_miss_each_time() -> None:
    wire, gateway, _ = meet(trunk())
    hop = Hop("tls", "198.51.100.1", 5061, "carrier.test")
    gateway.ways.names["carrier.test"] = [hop]
    gateway.ways.silent.add(("tls", "198.51.100.1"))

    wire.run(120)

    assert [event for event in gateway.news if isinstance(event, TrunkDown)]
    assert len(gateway.watch._connecting[hop]) <= 1


def test_a_name_that_nobody_knows_has_no_address() -> None:
    wire, gateway, _ = meet(trunk("nowhere.test"))

    wire.run(1)

    assert gateway.news == [TrunkDown("carrier", gateway.news[0].at, "no-address")]


def test_a_carrier_that_moves_is_asked_at_its_new_address() -> None:
    wire, gateway, _ = meet(trunk())
    wire.run(2)
    moved = Carrier(wire, SPARE)

    gateway.ways.names["carrier.test"] = [Hop("udp", *SPARE)]
    wire.run(65)

    assert moved.got("OPTIONS")
    assert [type(event) for event in gateway.news] == [TrunkUp]


def test_names_are_looked_up_every_30_seconds_give_or_take_a_tenth() -> None:
    watch = TrunkWatch([trunk(probe_s=0)], new_token=str, spread=lambda: 0.0, now=0)
    times: list[float] = []

    while len(times) < 4:
        at = watch.next_timer()
        assert at is not None
        watch.handle_timer(at)
        assert watch.take_output() == [Resolve(Destination("carrier.test"))]
        times.append(round(at, 3))

    assert times == [0, 27, 54, 81]


def test_an_endpoint_without_room_says_nothing_of_the_trunk() -> None:
    wire = Wire()
    gateway = Gateway(wire, trunk("198.51.100.1"))
    gateway.endpoint = type(gateway.endpoint)(
        EndpointOptions(max_transactions=0), new_token=lambda: "t"
    )

    wire.run(60)

    assert gateway.news == []
    assert state_of(gateway) is TrunkState.UNKNOWN


def test_through_a_proxy_is_probed_what_calls_go_through() -> None:
    proxy = parse_uri("sip:edge.test;lr")
    wire, gateway, (carrier,) = meet(trunk(proxy=proxy))
    gateway.ways.names = {"edge.test": [Hop("udp", *CARRIER)]}

    wire.run(2)

    (request,) = carrier.got("OPTIONS")
    assert isinstance(request, Request)
    assert request.uri == "sip:carrier.test"
    assert request.headers.get_all("Route") == ["<sip:edge.test;lr>"]


# ---- what calls meet


def test_a_call_that_rings_is_an_answer() -> None:
    wire, gateway, (carrier,) = meet(trunk())
    wire.run(2)
    asked = len(carrier.got("OPTIONS"))

    for _ in range(10):
        wire.run(20)
        gateway.invite(Destination("carrier.test"))
    wire.run(20)

    assert len(carrier.got("INVITE")) == 10
    assert len(carrier.got("OPTIONS")) == asked


def test_a_503_with_retry_after_keeps_the_next_calls_away() -> None:
    wire, gateway, (carrier,) = meet(trunk())
    wire.run(2)
    carrier.status, carrier.headers = 503, [("Retry-After", "60")]

    gateway.invite(Destination("carrier.test"))
    wire.run(1)

    assert gateway.watch.choose(plan("trunk:carrier", "agent:a"), wire.now) == plan("agent:a")
    with pytest.raises(LimitError) as caught:
        gateway.watch.choose(plan("trunk:carrier"), wire.now)
    assert caught.value.retry_after_s == 60
    assert not gateway.watch.takes_calls(parse_target("trunk:carrier"), wire.now)
    assert gateway.watch.takes_calls(parse_target("agent:a"), wire.now)
    carrier.status = 200
    wire.run(60)
    assert gateway.watch.takes_calls(parse_target("trunk:carrier"), wire.now)
    assert gateway.watch.choose(plan("trunk:carrier"), wire.now) == plan("trunk:carrier")


def test_a_503_without_retry_after_does_not() -> None:
    wire, gateway, (carrier,) = meet(trunk())
    wire.run(2)
    carrier.status = 503

    for _ in range(5):
        gateway.invite(Destination("carrier.test"))
        wire.run(2)

    both = plan("trunk:carrier", "agent:a")
    assert gateway.watch.choose(both, wire.now) == both


def test_calls_that_nobody_takes_mark_a_trunk_before_probes_do() -> None:
    wire, gateway, _ = meet(trunk())
    wire.run(2)
    gateway.ways.dead.add(CARRIER)

    for _ in range(3):
        gateway.invite(Destination("carrier.test"))
        wire.run(1.5)

    assert [type(event) for event in gateway.news] == [TrunkUp, TrunkDown]


def test_a_probe_that_is_missed_counts_once() -> None:
    wire, gateway, _ = meet(trunk())
    wire.run(2)
    gateway.ways.dead.add(CARRIER)

    wire.run(62)

    assert [type(event) for event in gateway.news] == [TrunkUp]


# ---- what calls ask


def down(gateway: Gateway, *names: str) -> None:
    """Make what is known of some trunks bad, by calls that found nobody."""
    now = gateway.wire.now
    for name in names:
        destination = Destination(f"{name}.test")
        hop = Hop("udp", f"{name}.test", 5060)
        gateway.watch.resolved(destination, [hop], now)
        for second in range(3):
            event = HopFailed(destination, hop, HopTrouble.SILENT)
            gateway.watch.hop_was_tried(event, now + 2 * second)


def three() -> Gateway:
    """A gateway with three trunks, of which nothing is known."""
    return Gateway(Wire(), *(trunk(f"{name}.test", name=name) for name in "abc"))


@pytest.mark.parametrize(
    ("are_down", "before", "after"),
    [
        ("", ("trunk:a", "trunk:b"), ("trunk:a", "trunk:b")),
        ("a", ("trunk:a", "trunk:b"), ("trunk:b",)),
        ("b", ("trunk:a", "trunk:b", "agent:x"), ("trunk:a", "agent:x")),
        ("a", ("trunk:a trunk:b", "trunk:c"), ("trunk:b", "trunk:c")),
        ("ab", ("trunk:a trunk:b", "trunk:c"), ("trunk:c",)),
        ("a", ("trunk:a", "reject:503"), ("reject:503",)),
        ("a", ("trunk:a",), ("trunk:a",)),
        ("ab", ("trunk:a", "trunk:b"), ("trunk:a", "trunk:b")),
        ("abc", ("agent:x",), ("agent:x",)),
    ],
)
def test_a_trunk_that_is_down_is_left_out_unless_it_is_the_last_resort(
    are_down: str, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    gateway = three()
    down(gateway, *are_down)

    assert gateway.watch.choose(plan(*before), gateway.wire.now + 10) == plan(*after)


def test_hops_that_are_down_are_tried_last() -> None:
    wire, gateway, (_, spare) = meet(trunk(), hops=(CARRIER, SPARE))
    wire.run(2)
    spare.is_silent = True
    wire.run(110)
    hops = (Hop("udp", *SPARE), Hop("udp", *CARRIER))

    assert gateway.watch.order(hops, Destination("carrier.test"), wire.now) == hops[::-1]
    assert gateway.watch.order(hops, Destination("else.test"), wire.now) == hops


# ---- registration


def test_a_registration_is_made_with_credentials_and_shown() -> None:
    wire, gateway, (carrier,) = meet(trunk(registrations=(LINE,)))

    wire.run(2)

    bare, authorized = carrier.got("REGISTER")
    assert (bare.cseq.number, authorized.cseq.number) == (1, 2)
    assert bare.call_id == authorized.call_id
    (registration,) = status_of(gateway).registrations
    assert registration.state is RegistrationState.REGISTERED
    assert registration.is_registered
    assert 598 < registration.expires_in_s <= 600
    assert (registration.user, registration.registrar) == ("acme", "sip:carrier.test")
    assert [type(event) for event in gateway.news if isinstance(event, TrunkRegistered)]


def test_calls_come_in_for_the_contact_that_was_registered() -> None:
    wire, gateway, (carrier,) = meet(trunk(registrations=(LINE,)))

    wire.run(2)

    user = carrier.request("REGISTER").contacts[0].uri.user
    assert user is not None
    assert gateway.watch.called_at(user) == "carrier"
    assert gateway.watch.called_at("+15550100") is None
    assert gateway.watch.path_to("carrier", wire.now).contact_user == user


@pytest.mark.parametrize(
    ("called", "to", "headers", "dialled"),
    [
        ("+15550100", "+15550199", (), "+15550100"),
        (None, "+15550100", (), "+15550100"),
        (None, "+15550100", (("P-Called-Party-ID", "<sip:+15550123@a.test>"),), "+15550123"),
        (None, "+15550100", (("P-Called-Party-ID", "<sip:"),), "+15550100"),
        (None, None, (), "acme"),
        (None, "a%20b", (), "acme"),
    ],
)
def test_what_is_dialled_is_told_though_a_contact_of_ours_is_called(
    called: str | None, to: str | None, headers: tuple[tuple[str, str], ...], dialled: str
) -> None:
    _, gateway, _ = meet(trunk(registrations=(LINE,)))
    contact = gateway.watch._watched["carrier"].registrations[0].contact_user
    request = build_request(
        "INVITE",
        parse_uri(f"sip:{called or contact}@192.0.2.1"),
        via=parse_via("SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKx"),
        from_=parse_address("<sip:+4930@a.test>;tag=a"),
        to=parse_address(f"<sip:{to or contact}@a.test>"),
        call_id="x",
        cseq=1,
        headers=headers,
    )

    assert gateway.watch.dialled(request) == dialled


def test_calls_take_the_service_route() -> None:
    wire, gateway, (carrier,) = meet(trunk(registrations=(LINE,)))
    carrier.headers = [("Service-Route", "<sip:core.test;lr>")]
    before = gateway.watch.path_to("carrier", wire.now)

    wire.run(2)

    path = gateway.watch.path_to("carrier", wire.now)
    assert (before.destination, before.route) == (Destination("carrier.test"), ())
    assert path.destination == Destination("core.test")
    assert [str(route) for route in path.route] == ["<sip:core.test;lr>"]
    assert path.credentials == CREDENTIALS


def test_calls_take_the_proxy_before_the_service_route() -> None:
    proxy = parse_uri("sip:edge.test;lr")
    line = replace(LINE, proxy=proxy)
    wire, gateway, (carrier,) = meet(trunk(proxy=proxy, registrations=(line,)))
    gateway.ways.names["edge.test"] = [Hop("udp", *CARRIER)]
    carrier.headers = [("Service-Route", "<sip:core.test;lr>")]

    wire.run(2)

    path = gateway.watch.path_to("carrier", wire.now)
    assert path.destination == Destination("edge.test")
    assert [str(route.uri) for route in path.route] == ["sip:edge.test;lr", "sip:core.test;lr"]


def test_the_credentials_of_the_trunk_are_for_its_calls() -> None:
    own = trunk(registrations=(LINE,), username="calls", password=Secret("x"), realm="r")
    _, gateway, _ = meet(own)

    path = gateway.watch.path_to("carrier", gateway.wire.now)

    assert path.credentials == Credentials("calls", Secret("x"), "r")


def test_a_stale_nonce_is_answered_once_more() -> None:
    wire, gateway, (carrier,) = meet(trunk(registrations=(LINE,)))
    carrier.is_silent = True
    wire.run(1.2)
    stale = 'Digest realm="carrier", nonce="{}", qop="auth"{}'
    for challenge in (stale.format("n1", ""), stale.format("n2", ", stale=true")):
        headers = [("WWW-Authenticate", challenge)]
        carrier.respond(gateway, carrier.request("REGISTER"), 401, "c", headers=headers)
        wire.run(3 * LATENCY_S)

    last = carrier.request("REGISTER")
    assert last.cseq.number == 3
    assert 'nonce="n2"' in (last.headers.get("Authorization") or "")
    carrier.respond(
        gateway, last, 401, "c", headers=[("WWW-Authenticate", stale.format("n3", ", stale=true"))]
    )
    wire.run(25)
    assert carrier.request("REGISTER").cseq.number == 3, "no loop: 30 s until the next"


def test_a_connection_that_closes_is_registered_anew() -> None:
    wire, gateway, (carrier,) = meet(trunk(registrations=(LINE,)))
    gateway.ways.names["carrier.test"] = [Hop("tcp", *CARRIER)]
    wire.run(100)
    asked = len(carrier.got("REGISTER"))

    gateway.close_flow(CARRIER)
    wire.run(3)

    assert len(carrier.got("REGISTER")) == asked + 2
    assert status_of(gateway).registrations[0].is_registered


def test_leaving_takes_every_registration_back_at_once() -> None:
    other = replace(LINE, user="second")
    wire, gateway, (carrier,) = meet(trunk(registrations=(LINE, other)))
    wire.run(5)
    asked = len(carrier.got("OPTIONS"))

    gateway.watch.leave(wire.now)
    assert not gateway.watch.has_left
    wire.run(0.1)

    assert gateway.watch.has_left
    gone = [request for request in carrier.got("REGISTER") if request.expires_s == 0]
    assert {request.to.uri.user for request in gone} == {"acme", "second"}
    wire.run(120)
    assert len(carrier.got("OPTIONS")) == asked, "nobody is asked any more"


# ---- what the API is told


def test_a_trunk_is_described_with_its_calls_and_limits() -> None:
    wire, gateway, _ = meet(trunk(max_calls=10, max_cps=2.5))
    limits = CallLimits([trunk(max_calls=10)], max_cps=None, now=wire.now)
    limits.enter("carrier", "a", Direction.IN, wire.now)
    limits.enter("carrier", "b", Direction.OUT, wire.now)
    limits.enter("carrier", "c", Direction.OUT, wire.now)
    wire.run(10)

    (status,) = gateway.watch.statuses(limits, wire.now)

    assert (status.name, status.uri, status.state) == ("carrier", "sip:carrier.test", TrunkState.UP)
    assert 8 < status.for_s < 10
    assert (status.calls_in, status.calls_out) == (1, 2)
    assert (status.max_calls, status.max_cps, status.last_status) == (10, 2.5, 200)
    assert [(each.hop.host, each.state) for each in status.hops] == [(CARRIER[0], TrunkState.UP)]
    assert gateway.watch.status("else", limits, wire.now) is None
