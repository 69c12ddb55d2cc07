"""The SIP side of a node: sockets, endpoint, names, trunks and users, wired to one another."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from gateway.call.hunt import Errand
from gateway.errors import ConfigError, RoutingError
from gateway.leg.sessions import SipLegs
from gateway.net.chance import Tokens, spread
from gateway.net.dns import AddressWatch, Resolver
from gateway.net.driver import Driver
from gateway.net.interface import is_loopback, listening_addresses
from gateway.net.transports import SipTransports
from gateway.options import Config
from gateway.sip import event as sip
from gateway.sip.challenge import Challenger
from gateway.sip.core import available
from gateway.sip.endpoint import Endpoint, EndpointOptions
from gateway.sip.flow import Connect, Destination, Flow, Hop, Output, Resolve, Send
from gateway.sip.header import Address
from gateway.sip.inspection import Refusal
from gateway.sip.invite import InviteRequest
from gateway.sip.locate import Reach
from gateway.sip.uri import Uri, parse_uri
from gateway.trunk.event import TrunkObservers
from gateway.trunk.headers import take_attributes
from gateway.trunk.identity import CallerIdentity, read_identity
from gateway.trunk.invite import build_invite
from gateway.trunk.limits import CallLimits
from gateway.trunk.numbers import UNCHANGED, called_of, read_received
from gateway.trunk.trunk import Peers, Trunk
from gateway.trunk.watch import Ask, TrunkWatch
from gateway.users import registrar as registration
from gateway.users.contacts import Contact
from gateway.users.domain import Domains
from gateway.users.gate import Gate
from gateway.users.registrar import Registrar
from gateway.users.user import User

log = logging.getLogger(__name__)

MAX_ERRANDS = 512
"Look-ups and connections under way for the endpoint; what is beyond fails at once."

LEAVE_S = 2.0
"How long a stop waits until the registrars know that we are gone: with all else within 5 s (F20)."

KEY_BYTES = 32
"Of the secret that signs our nonces; a restart makes a new one, and phones are asked again."


@dataclass(frozen=True, slots=True)
class Arrival:
    """Who an INVITE comes from, and whom it wants."""

    source: str
    "In a route's words: trunk:NAME, user:NAME or sip."
    trunk: Trunk | None
    user: User | None
    dialled: str
    identity: CallerIdentity
    attributes: Mapping[str, str]
    "Headers that its trunk may hand to the call."


class Telephony:
    """Everything that speaks SIP, behind the few things that a node asks of it."""

    def __init__(
        self,
        config: Config,
        *,
        version: str,
        loop: asyncio.AbstractEventLoop,
        on_incoming: Callable[[sip.Incoming], None],
    ) -> None:
        """Open every socket.

        Raises:
            ConfigError: an address cannot be listened on.
        """
        self._config = config
        self._loop = loop
        now = loop.time()
        options = config.sip
        new_token = Tokens()
        self._trunks = {trunk.name: trunk for trunk in config.all_trunks}
        self._users = {user.name: user for user in config.users}
        self._is_draining = False
        self._left = asyncio.Event()
        self._errands: set[asyncio.Task[None]] = set()
        self.trunk_observers = TrunkObservers()
        self.watch = TrunkWatch(
            config.all_trunks,
            new_token=new_token,
            spread=spread,
            now=now,
            contact=lambda flow: self.transports.contact_of(flow),
        )
        self.limits = CallLimits(config.all_trunks, max_cps=options.max_cps, now=now)
        self.peers = Peers(config.all_trunks, options.allow, called_at=self.watch.called_at)
        self.domains = Domains(options.domains or self._own_hosts())
        self.registrar = Registrar(config.users, self.domains)
        challenger = Challenger(secrets.token_bytes(KEY_BYTES), options.realm, options.digest)
        self.gate = Gate(
            config.users,
            self.domains,
            challenger,
            self.registrar,
            source_of=self._source_of,
            trusted=options.never_ban,
        )
        endpoint = Endpoint(
            EndpointOptions(
                user_agent=f"voice-gateway/{version}",
                contact=lambda flow: self.transports.contact_of(flow),
                may_follow=self.registrar.may_follow,
                successor=self.registrar.successor,
                admit=lambda request, flow: self.gate.admit(request, flow, loop.time()),
                availability=self._availability,
                methods=frozenset({"REGISTER"}) if config.users else frozenset(),
                extensions=frozenset(registration.EXTENSIONS),
            ),
            new_token=new_token,
        )
        self.legs = SipLegs(endpoint, loop=loop)
        self.legs.on_incoming = on_incoming
        self.legs.on_endpoint_event = self._on_endpoint_event
        self.driver: Driver[Output, sip.Event] = Driver(
            endpoint, loop=loop, send=self._serve_endpoint, on_event=self.legs.on_event
        )
        self.legs.driver = self.driver
        self._watch_driver = Driver(
            self.watch, loop=loop, send=self._serve_watch, on_event=self.trunk_observers.publish
        )
        self._registrar_driver = Driver(
            self.registrar, loop=loop, send=_nothing, on_event=_log_registration
        )
        self.transports = self._open(config)
        reach = Reach(self._transports_had(), self._families_had())
        self.resolver = Resolver(options.resolver, loop=loop, reach=reach)
        self._addresses = AddressWatch(
            self.resolver, self.peers.destinations, self.peers.set_addresses
        )
        self._watching = loop.create_task(self._addresses.run())
        self._watch_driver.flush()

    def _open(self, config: Config) -> SipTransports:
        try:
            return SipTransports(
                config.sip.listen,
                loop=self._loop,
                tls=config.sip.tls,
                receive=self._receive,
                on_closed=self._on_closed,
                admit=self._admits,
                is_held=self._holds,
                limits=config.sip.limits,
                reachable=config.sip.reachable,
            )
        except ConfigError as error:
            raise ConfigError(f"{config.file}: {error}") from None

    # ---- what a node asks

    def arrival_of(self, event: sip.Incoming) -> Arrival:
        """Who calls, as far as it is to be believed, and what was dialled.

        Raises:
            RoutingError: 403, this source may not call; 400 and 404, nothing can be dialled.
        """
        request, flow = event.request, event.session.flow
        uri = parse_uri(request.uri)
        who = self.gate.identity_of(request, flow)
        if who is not None:
            user = self._users[who.removeprefix("user:")]
            known_as = (user.caller_id or user.name, user.display_name)
            identity = read_identity(request, UNCHANGED, trusted=False, known_as=known_as)
            return Arrival(who, None, user, called_of(uri, UNCHANGED), identity, {})
        source = self.peers.source_of(flow.remote, called=uri.user)
        trunk = self._trunks.get(source.removeprefix("trunk:"))
        if trunk is None:
            identity = read_identity(request, UNCHANGED, trusted=False)
            return Arrival(source, None, None, called_of(uri, UNCHANGED), identity, {})
        is_registered = uri.user is not None and self.watch.called_at(uri.user) is not None
        return Arrival(
            source,
            trunk,
            None,
            read_received(self.watch.dialled(request), trunk.numbers)
            if is_registered
            else called_of(uri, trunk.numbers),
            read_identity(request, trunk.numbers, trusted=trunk.trusted),
            take_attributes(request.headers, trunk.headers),
        )

    def request_to_trunk(
        self, trunk: Trunk, errand: Errand, caller: CallerIdentity, attributes: Mapping[str, str]
    ) -> InviteRequest:
        """The INVITE for a trunk.

        Raises:
            RoutingError: it cannot be asked for this number, or shown this caller.
        """
        path = self.watch.path_to(trunk.name, self._loop.time())
        request = build_invite(
            trunk,
            caller=caller,
            called=errand.numbers[1].value,
            local_host=self._host_toward(path.destination),
            emergency=self._config.emergency,
            attributes=attributes,
            headers=errand.headers,
            max_forwards=errand.max_forwards,
            max_breadth=errand.max_breadth,
        )
        return replace(
            request,
            destination=path.destination,
            route=path.route,
            credentials=path.credentials,
            contact_user=request.contact_user or path.contact_user,
            has_alternative=errand.has_alternative,
        )

    def request_to_contact(
        self, user: User, contact: Contact, errand: Errand, caller: CallerIdentity
    ) -> InviteRequest:
        """The INVITE for one device of a user."""
        domain = self._domain_toward(contact.flow)
        return InviteRequest(
            target=contact.uri,
            from_=Address(caller.shown_name, Uri("sip", user=caller.label, host=domain)),
            to=Address("", Uri("sip", user=user.name, host=domain)),
            flow=contact.flow,
            route=contact.path,
            headers=errand.headers,
            max_forwards=errand.max_forwards,
            max_breadth=errand.max_breadth,
            has_alternative=errand.has_alternative,
        )

    def contact(self, user: str, number: str) -> Contact:
        """A device of a user by its number, as text.

        Raises:
            RoutingError: 480, it is not registered any more.
        """
        for contact in self.registrar.contacts_of(user):
            if str(contact.id) == number:
                return contact
        raise RoutingError(f"nobody is reached at user {user} now", status=480)

    def is_on_this_machine(self, destination: Destination) -> bool:
        """Whether a destination is known to be here, so that its media may be too."""
        hops = self._hops_now(destination)
        return bool(hops) and all(is_loopback(hop.host) for hop in hops)

    def address_of(self, destination: Destination) -> str | None:
        """Where a destination is asked first; None where that is not known yet."""
        return next((hop.host for hop in self._hops_now(destination)), None)

    def drain(self) -> None:
        """Say that no calls are taken: OPTIONS get 503, registrars are told (F20)."""
        self._is_draining = True
        self._watch_driver.change(self.watch.leave, self._loop.time())

    async def leave(self) -> None:
        """Until every registrar has answered, `LEAVE_S` at most."""
        if not self.watch.has_left:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._left.wait(), LEAVE_S)

    async def close(self) -> None:
        """Close every socket, and let what is under way end."""
        tasks = [self._watching, *self._errands]
        self.abandon()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.resolver.close()

    def abandon(self) -> None:
        """Close every socket and give up what is under way, without waiting for it."""
        for driver in (self.driver, self._watch_driver, self._registrar_driver):
            driver.close()  # nobody asks for anything any more
        for task in (self._watching, *self._errands):
            task.cancel()
        self.transports.close()

    # ---- what comes in

    def _receive(self, data: bytes, flow: Flow) -> None:
        self.driver.change(self.legs.endpoint.receive, data, flow, self._loop.time())

    def _on_closed(self, flow: Flow) -> None:
        now = self._loop.time()
        self.driver.change(self.legs.endpoint.flow_failed, flow, now)
        self._watch_driver.change(self.watch.flow_failed, flow, now)
        if flow.is_reliable:
            self._registrar_driver.change(self.registrar.flow_closed, flow, now)
        if flow.is_websocket:
            self.legs.connection_closed()

    def _admits(self, remote: tuple[str, int]) -> bool:
        return self.peers.is_admitted(remote[0]) or self.gate.hears(remote, self._loop.time())

    def _holds(self, flow: Flow) -> bool:
        is_registered = self.registrar.has_flow(flow) or self.watch.holds(flow)
        return is_registered or self.legs.endpoint.is_used(flow)

    def _source_of(self, flow: Flow) -> str | None:
        if flow.is_websocket or not self.peers.is_admitted(flow.remote[0]):
            return None  # browsers, and the proxy before them, may be where a trunk is
        if self.registrar.users_on(flow) and not self.peers.is_at(flow.remote):
            return "sip"  # a phone on the machine of a trunk: it has shown that it is not the trunk
        return self.peers.source_of(flow.remote)

    def _availability(self) -> Refusal:
        if self._is_draining:
            return Refusal(503, (("Retry-After", "5"),))
        return available()

    def _on_endpoint_event(self, event: sip.EndpointEvent) -> None:
        now = self._loop.time()
        match event:
            case sip.HopAnswered() | sip.HopFailed():
                self._watch_driver.change(self.watch.hop_was_tried, event, now)
            case sip.Responded():
                self._watch_driver.change(self.watch.responded, event, now)
                if self._is_draining and self.watch.has_left:
                    self._left.set()
            case sip.IncomingRequest():
                self._register(event, now)

    def _register(self, event: sip.IncomingRequest, now: float) -> None:
        who = self.gate.identity_of(event.request, event.flow) or ""
        reply = self.registrar.receive(event.request, event.flow, who.removeprefix("user:"), now)
        self.legs.endpoint.respond(event.id, reply.status, now, headers=reply.headers)
        self._registrar_driver.flush()
        self.driver.flush()

    # ---- what the machines ask for

    def _serve_endpoint(self, output: Output) -> None:
        endpoint = self.legs.endpoint
        match output:
            case Send(data, flow):
                if not self.transports.send(data, flow):
                    self._on_closed(flow)
            case Resolve(destination):
                self._resolve(destination, partial(self._found, destination))
            case Connect(hop):
                self._connect(
                    hop,
                    lambda flow: self.driver.change(
                        endpoint.flow_opened, hop, flow, self._loop.time()
                    ),
                    lambda: self.driver.change(endpoint.hop_failed, hop, self._loop.time()),
                )

    def _found(self, destination: Destination, hops: Sequence[Hop]) -> None:
        now = self._loop.time()
        ordered = self.watch.order(hops, destination, now)
        self.driver.change(self.legs.endpoint.resolved, destination, ordered, now)

    def _serve_watch(self, output: Ask | Resolve | Connect) -> None:
        watch, change = self.watch, self._watch_driver.change
        now = self._loop.time()
        match output:
            case Ask(request=request):
                try:
                    request_id = self.legs.endpoint.request(request, now)
                except Exception as error:
                    log.info("trunks cannot be asked now: %s", error)
                    watch.refused(output, now)
                    return
                watch.asked(output, request_id)
                self.driver.flush()
            case Resolve(destination):
                self._resolve(
                    destination,
                    lambda hops: change(watch.resolved, destination, hops, self._loop.time()),
                )
            case Connect(hop):
                self._connect(
                    hop,
                    lambda flow: change(watch.flow_opened, hop, flow, self._loop.time()),
                    lambda: change(watch.hop_failed, hop, self._loop.time()),
                )

    def _resolve(self, destination: Destination, found: Callable[[Sequence[Hop]], object]) -> None:
        hops = self.resolver.resolve_now(destination)
        if hops is not None:
            found(hops)
            return

        async def resolve() -> None:
            found(await self.resolver.resolve(destination))

        self._go(resolve(), lambda: found(()))

    def _connect(
        self, hop: Hop, opened: Callable[[Flow], object], failed: Callable[[], object]
    ) -> None:
        try:
            flow = self.transports.connect_now(hop)
        except OSError:
            failed()
            return
        if flow is not None:
            opened(flow)
            return

        async def connect() -> None:
            try:
                flow = await self.transports.connect(hop)
            except OSError as error:
                whom = hop.server_name or hop.host
                log.info("sip: no connection to %s over %s: %s", whom, hop.transport, error)
                failed()
            else:
                opened(flow)

        self._go(connect(), failed)

    def _go(self, work: Coroutine[Any, Any, None], failed: Callable[[], object]) -> None:
        """Do what takes time beside everything else."""
        if len(self._errands) >= MAX_ERRANDS:
            work.close()
            failed()
            return
        task = self._loop.create_task(work)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    # ---- where we are

    def _own_hosts(self) -> tuple[str, ...]:
        hosts = [
            host
            for listen in self._config.sip.listen
            for host in listening_addresses(listen.host, loopback=True)
        ]
        return ("localhost", *hosts, *self._config.sip.reachable.advertise)

    def _transports_had(self) -> tuple[str, ...]:
        listened = {name for name, _ in self.transports.locals}
        return tuple(name for name in ("udp", "tcp", "tls") if name != "udp" or name in listened)

    def _families_had(self) -> tuple[int, ...]:
        hosts = [address[0] for _, address in self.transports.locals]
        families = tuple(
            family for family in (6, 4) if any((":" in host) == (family == 6) for host in hosts)
        )
        return families or (6, 4)

    def _hops_now(self, destination: Destination) -> tuple[Hop, ...]:
        """Where a destination is asked, in that order; nowhere where that is not known yet."""
        hops = self.resolver.resolve_now(destination) or ()
        return self.watch.order(hops, destination, self._loop.time())

    def _host_toward(self, destination: Destination) -> str:
        """Our address as the peer is to see it: the host of From, where nothing else is set."""
        hop = next(iter(self._hops_now(destination)), None)
        remote = ("", 0) if hop is None else (hop.host, hop.port)
        local = next(
            (
                address
                for _, address in self.transports.locals
                if hop is None or (":" in address[0]) == (":" in hop.host)
            ),
            ("localhost", 5060),
        )
        transport = "udp" if hop is None else hop.transport
        return self.transports.contact_of(Flow(transport, local, remote)).host

    def _domain_toward(self, flow: Flow) -> str:
        domains = self._config.sip.domains
        return domains[0] if domains else self.transports.contact_of(flow).host


def _log_registration(event: registration.UserRegistered | registration.UserUnregistered) -> None:
    is_here = isinstance(event, registration.UserRegistered)
    log.info(
        "user=%s %s contacts=%d",
        event.user,
        "registered" if is_here else "unregistered",
        event.contacts,
    )


def _nothing(output: object) -> None:
    """A registrar sends nothing by itself."""
