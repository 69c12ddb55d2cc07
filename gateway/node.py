"""A node: one gateway, built of its configuration and wired. Here everybody meets."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

from gateway.agents.agent import Agent
from gateway.agents.incoming import IncomingCall, IncomingCalls
from gateway.agents.protocol import call_token
from gateway.agents.twiml.agent import TwimlDesk
from gateway.agents.waiting import AwaitedAgent, Lobby
from gateway.call.call import Call, CallOptions, CallSummary, Errand, TransferMode
from gateway.call.dial import AgentRules
from gateway.call.events import CallAnswered, CallEnded, CallEvent, CallId, CallRefused, LegEnded
from gateway.call.registry import Registry, RegistryOptions
from gateway.conduct import Conduct, read_sounds
from gateway.errors import CapacityError, CodecError, ConfigError, GatewayError, RoutingError
from gateway.leg.browser import BrowserLeg, Send
from gateway.leg.leg import EndReason, Leg, LegId
from gateway.leg.line import LineLeg
from gateway.leg.sip import SipLeg
from gateway.lines import LineCall, Lines
from gateway.media.answering import AnsweringPolicy
from gateway.media.effort import Effort, Workload
from gateway.net.agent_connection import AgentConnection
from gateway.net.chance import spread
from gateway.net.load import LoadWatch
from gateway.net.pacer import Pacer
from gateway.net.webhook import WebhookClient
from gateway.options import Config
from gateway.parties import Caller, Parties, open_ports, read_music
from gateway.private import Private
from gateway.roster import make_agents, make_destinations
from gateway.rtp.dial_string import parse_dial_string, split_dialled
from gateway.sip import event as sip
from gateway.sip.invite import MAX_FORWARDS
from gateway.sip.invite_server import InviteServer
from gateway.telephony import Arrival, Telephony
from gateway.trunk.emergency import EmergencyRefused
from gateway.trunk.event import TrunkEvent
from gateway.trunk.identity import NOBODY, CallerIdentity
from gateway.trunk.limits import Direction as TrunkDirection
from gateway.trunk.limits import LimitError
from gateway.trunk.numbers import read_received
from gateway.trunk.route import Plan, Target, TargetKind
from gateway.trunk.status import TrunkStatus
from gateway.trunk.turns import Turns
from gateway.users.registrar import UserSummary
from gateway.webrtc.certificate import Certificate
from gateway.webrtc.port import WebRtcPort

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5
"Seconds that a caller is asked to wait whom we have no room for (RFC 3261 §21.5.4)."

BUSY_S = 5.0
"Callers are asked to come back after so long, up to twice as long: not all at once (F24)."

GOODBYE_S = 0.7
"How long BYEs may take to be answered at the end: one retransmission (T1) included."

UUID_DIGITS = 32
"Hexadecimal."

MAX_WARNING_CHARACTERS = 200
"Of why there is no common codec: a line for a person; an offer may name a hundred."


class Node:
    """One gateway: what a configuration describes, wired and listening."""

    def __init__(
        self,
        config: Config,
        *,
        version: str,
        loop: asyncio.AbstractEventLoop,
        pacer: Pacer,
        certificate: Certificate | None,
        load: LoadWatch | None = None,
    ) -> None:
        """Open everything.

        Args:
            load: says whether the process can take one more call; None: it always can.

        Raises:
            ConfigError: an address cannot be listened on, or a script is wrong.
        """
        self.version = version
        self.config = config
        self._loop = loop
        self.pacer = pacer
        self._name = config.name
        self._is_closed = False
        self._load = load
        self._is_busy = False
        self.workload = Workload() if load is None else load.workload
        "The encoders of its calls."
        self._router = config.router
        self._trunks = {trunk.name: trunk for trunk in config.trunks}
        self._callers: dict[CallId, Caller] = {}
        self._turns = Turns()
        self._incoming = IncomingCalls()
        self.lobby = Lobby()
        "Where agents wait that dial us."
        self._destinations = make_destinations(config, loop)
        sounds = read_sounds(config)
        self.desk = TwimlDesk(WebhookClient(self._destinations), find_sound=sounds.find)
        "The calls that TwiML directs."
        agents = make_agents(config, self.desk, self._destinations, self._incoming, self.lobby)
        rules = {f"agent:{a.name}": AgentRules(a.tools, a.max_transfers) for a in config.agents}
        music = read_music(config)
        ports = open_ports(config)
        self.telephony = Telephony(config, version=version, loop=loop, on_incoming=self._on_invite)
        try:
            self.lines = Lines(config, loop=loop, new_id=self._new_id, place=self._on_line)
        except ConfigError:
            self.telephony.abandon()
            raise
        try:
            webrtc = _open_webrtc(config, certificate, loop)
        except ConfigError:
            self.lines.close()
            self.telephony.abandon()
            raise
        self.parties = Parties(
            self.telephony,
            config=config,
            agents=agents,
            ports=ports,
            webrtc=webrtc,
            loop=loop,
            pacer=pacer,
            workload=self.workload,
            new_id=self._new_id,
        )
        self.registry = Registry(
            loop=loop,
            pacer=pacer,
            new_id=self._new_id,
            dial=self._dial,
            find_dialog=self.telephony.legs.find_dialog,
            options=RegistryOptions(
                call=CallOptions(
                    is_available=lambda target: self.telephony.watch.takes_calls(
                        target, loop.time()
                    ),
                    plan_for=self._plan_onward,
                    music=music,
                    rules_of=lambda target: rules.get(target, AgentRules()),
                    find_sound=sounds.find,
                )
            ),
        )
        self.registry.observe(self._on_call_event, signalling=False)
        self.conduct = Conduct(self.registry, plan=self._plan_guest, sounds=sounds)

    @property
    def name(self) -> str:
        """Ids begin with it."""
        return self._name

    @property
    def sip_addresses(self) -> tuple[tuple[str, tuple[str, int]], ...]:
        """Where SIP is listened on: transport and address."""
        return self.telephony.transports.locals

    @property
    def unready(self) -> str | None:
        """Why no new call is taken now, in words; None: they are."""
        if self.registry.is_draining:
            return "the gateway stops"
        return None if self._load is None else self._load.trouble

    @property
    def effort(self) -> Effort:
        """What encoders may spend now: less than all of it while there is much to do."""
        return self.workload.effort

    @property
    def webrtc_port(self) -> int | None:
        """The UDP port of browsers' media; None where no browser is taken."""
        webrtc = self.parties.webrtc
        return None if webrtc is None else webrtc.port

    @property
    def rtp_ports_in_use(self) -> int:
        """Pairs of RTP ports that calls hold now."""
        return self.parties.ports.in_use

    # ---- where calls go

    def _plan(self, source: str, dialled: str) -> Plan:
        """Where a number leads for who calls: to trunks that are up, and phones that are there.

        Raises:
            RoutingError: no route leads there.
            LimitError: every trunk of the route asks to be left alone for a while.
        """
        plan = self._router.plan(source, dialled)
        if plan.called is None:  # an emergency call tries everything
            plan = self.telephony.watch.choose(plan, self._loop.time())
        return replace(plan, groups=tuple(map(self._reach, plan.groups)))

    def _plan_new_call(self, source: str, dialled: str) -> Plan:
        """The plan of a call yet to come; raises as `_plan`, and LimitError while we are busy."""
        plan = self._plan(source, dialled)
        trouble = None if self._load is None else self._load.trouble
        if (trouble is not None) != self._is_busy:
            self._is_busy = trouble is not None
            log.warning("new calls are %s", f"refused: {trouble}" if trouble else "taken again")
        if trouble is not None and plan.called is None:
            raise LimitError("this node is busy", BUSY_S * (1 + spread()))
        return plan

    def _plan_onward(self, source: str, dialled: str) -> Plan:
        """Where a number leads that a party names in a REFER or 3xx; raises as `_plan`.

        An agent may name keys that are pressed behind it; raises 484 then, if they are none.
        """
        digits = ""
        if source.startswith("agent:"):
            dialled, digits = _read_dialled(dialled)
        trunk = self._trunks.get(source.removeprefix("trunk:"))
        number = dialled if trunk is None else read_received(dialled, trunk.numbers)
        plan = self._plan(source, number)
        return replace(plan, called=plan.called or number, digits=digits)

    def _plan_guest(self, to: str) -> tuple[Plan, str]:
        """Where the API leads whom it lets into a call, and the number; raises as `_plan`."""
        number, digits = _read_dialled(to)
        return replace(self._plan("api", number), digits=digits), number

    def _reach(self, group: tuple[Target, ...]) -> tuple[Target, ...]:
        """A group with every device of its users; who has none is tried, and fails, as 480."""
        reached: list[Target] = []
        for target in group:
            contacts = (
                self.telephony.registrar.contacts_of(target.name)
                if target.kind is TargetKind.USER
                else ()
            )
            reached += [replace(target, contact=str(each.id)) for each in contacts] or [target]
        return tuple(reached)

    # ---- calls in

    def call_from_page(self, to: str, offer: str, name: str, send: Send) -> tuple[BrowserLeg, Call]:
        """Place a call for a page; see `gateway.api.page.PageNode`."""
        number, digits = _read_dialled(to)
        plan = replace(self._plan_new_call("browser", number), digits=digits)
        leg = self.parties.page(plan, send)
        try:
            leg.take_offer(offer)
            call = self._place(leg, plan, "browser", ("", number), Caller(NOBODY, {}))
        except Exception:  # of a bug too: its port and its beat are given back
            leg.end(EndReason.REJECTED)
            raise
        if call.outcome is None:
            leg.announce(call.id)
        return leg, call

    def _on_line(self, leg: LineLeg, call: LineCall) -> None:
        """A PBX hands us a call; see `gateway.lines.PlaceCall`."""
        number, digits = _read_dialled(call.to)
        plan = replace(self._plan_new_call(call.source, number), digits=digits)
        known = CallerIdentity(number=Private(call.caller)) if call.caller else NOBODY
        caller = Caller(known, call.attributes)
        self._place(leg, plan, call.source, (call.caller, number), caller)

    def _on_invite(self, event: sip.Incoming) -> None:
        session, leg_id = event.session, self._new_id()
        leg = arrival = None
        try:
            telephony, now = self.telephony, self._loop.time()
            telephony.limits.begin(now)
            arrival = telephony.arrival_of(event)
            plan = None
            if event.replaced is None:
                plan = self._plan_new_call(arrival.source, arrival.dialled)
                first = {target.kind: target for target in plan.groups[0]}
                if TargetKind.IGNORE in first:
                    session.drop(now)
                    return
                if TargetKind.REJECT in first:
                    raise RoutingError("the route refuses", status=first[TargetKind.REJECT].status)
            if arrival.trunk is not None:
                telephony.limits.enter(arrival.trunk.name, leg_id, TrunkDirection.IN, now)
            leg = self.parties.arrival(leg_id, session, arrival, plan)
            leg.take_offer()
            if plan is None:
                self._replace(event, leg, arrival)
            else:
                self._place_arrival(event, leg, arrival, plan)
        except Exception as error:
            self.telephony.limits.leave(leg_id)
            if isinstance(error, CodecError) and arrival is not None:
                now = self._loop.time()
                refused = CallRefused(leg_id, now, arrival.source, error.status, _short(error))
                self.registry.tell(refused)
            self._refuse_invite(session, leg, error)

    def _place_arrival(
        self, event: sip.Incoming, leg: SipLeg, arrival: Arrival, plan: Plan
    ) -> None:
        request, caller = event.request, Caller(arrival.identity, arrival.attributes)
        self._place(
            leg,
            plan,
            arrival.source,
            (caller.number, plan.called or arrival.dialled),
            caller,
            # RFC 7332 §4: counted on through us, so that a loop over a trunk ends. At 0 the
            # request was refused with 483.
            max_forwards=(request.max_forwards or MAX_FORWARDS) - 1,
            max_breadth=request.max_breadth,
        )

    def _replace(self, event: sip.Incoming, leg: SipLeg, arrival: Arrival) -> None:
        """Let it take the place of the party that its Replaces header names (RFC 3891)."""
        assert event.replaced is not None
        old = self.telephony.legs.leg_of(event.replaced)
        if old is None:
            raise RoutingError("the dialog to be replaced has ended", status=481)
        self.registry.replace(old.id, leg, arrival.source)

    def _refuse_invite(self, session: InviteServer, leg: SipLeg | None, error: Exception) -> None:
        """Answer an INVITE of which no call came, and give back what its leg took."""
        status = 500
        headers: tuple[tuple[str, str], ...] = ()
        if isinstance(error, GatewayError):
            status = error.status
            why = _short(error) if isinstance(error, CodecError) else type(error).__name__
            log.info("refused an INVITE with %d: %s", status, why)
        else:
            log.error("an INVITE broke", exc_info=error)
        if isinstance(error, CapacityError):
            wait_s = error.retry_after_s if isinstance(error, LimitError) else RETRY_AFTER_S
            headers = (("Retry-After", str(wait_s)),)
        if isinstance(error, CodecError):
            # RFC 3261 §20.43: 305, incompatible media format.
            headers = (("Warning", f'305 voice-gateway "{_short(error)}"'),)
        # Who dials 911 is told in words; of all else a phone's own for the status are better.
        words = str(error) if isinstance(error, EmergencyRefused) else None
        session.reject(status, self._loop.time(), words, headers)
        if leg is not None:
            leg.end(EndReason.REJECTED, status)

    def place(
        self, agent: str, to: str, *, caller_id: str, ringing_s: float | None, detects: bool
    ) -> CallSummary:
        """Let an agent call somebody; see `gateway.api.twilio_calls.TwilioControl`."""
        number, digits = _read_dialled(to)
        plan = replace(self._plan_new_call("api", number), digits=digits)
        if ringing_s is not None:
            plan = replace(plan, options=replace(plan.options, ringing_timeout_s=ringing_s))
        if detects:
            plan = replace(plan, options=replace(plan.options, answering_machine="detect"))
        numbers = (Private(caller_id), Private(number))
        return self._ring_first(Target(TargetKind.AGENT, agent), numbers, numbers, plan)

    def check_url(self, url: str) -> None:
        self._destinations.check(url)

    def originate(
        self, from_: str, to: str, answering_machine: AnsweringPolicy | None = None
    ) -> CallSummary:
        """Ring `from_`, and when it answers call `to`; see `gateway.api.calls.CallControl`."""
        first = self._plan_new_call("api", from_).groups[0][0]
        number, digits = _read_dialled(to)
        plan = replace(self._plan("api", number), digits=digits)
        if answering_machine is not None:
            options = replace(plan.options, answering_machine=answering_machine)
            plan = replace(plan, options=options)
        # An agent is told whom it will talk with, and not that it is itself.
        dialled = number if first.kind is TargetKind.AGENT else from_
        told = (Private(""), Private(dialled))
        return self._ring_first(first, told, (Private(from_), Private(number)), plan)

    def call_from_agent(self, name: str, to: str, connection: AgentConnection) -> CallSummary:
        """An agent that dials us wants to call; see `gateway.api.agent_door.AgentCalls`."""
        agent = self.parties.agents[name]
        assert isinstance(agent, AwaitedAgent)
        number, digits = _read_dialled(to)
        plan = replace(self._plan_new_call(f"agent:{name}", number), digits=digits)
        first, called = Target(TargetKind.AGENT, name), Private(number)
        return self._ring_first(
            first, (Private(""), called), (Private(""), called), plan, agent.over(connection)
        )

    def _ring_first(
        self,
        first: Target,
        told: tuple[Private, Private],
        numbers: tuple[Private, Private],
        plan: Plan,
        agent: Agent | None = None,
    ) -> CallSummary:
        """Ring one, and when it answers call along a plan.

        Args:
            told: who calls and what was dialled, as `first` learns it.
            numbers: the same, as the call has it.
            agent: who attends for `first`; None: as configured.
        """
        call_id, shown = self._new_id(), numbers[0]
        errand = Errand(call_id, told, MAX_FORWARDS, codecs=plan.options.codecs)
        leg = self.parties.called(first, errand, Caller(NOBODY, {}), onward=plan, agent=agent)
        self._callers[call_id] = Caller(CallerIdentity(number=shown), {})
        try:
            call = self.registry.place(
                leg,
                plan,
                caller_target=str(first),
                numbers=numbers,
                dial_caller=True,
                call_id=call_id,
            )
        except Exception:
            del self._callers[call_id]
            self.telephony.limits.leave(leg.id)
            leg.end(EndReason.REJECTED)
            raise
        return call.summary(self._loop.time())

    def _place(
        self,
        leg: Leg,
        plan: Plan,
        source: str,
        numbers: tuple[str, str],
        caller: Caller,
        *,
        max_forwards: int = MAX_FORWARDS,
        max_breadth: int | None = None,
    ) -> Call:
        shown, called = numbers
        call_id = self._new_id()
        self._turns.enter(call_id, shown, called, max_forwards)
        self._callers[call_id] = caller
        try:
            return self.registry.place(
                leg,
                plan,
                caller_target=source,
                numbers=(Private(shown), Private(called)),
                call_id=call_id,
                max_forwards=max_forwards,
                max_breadth=max_breadth,
            )
        except Exception:
            self._turns.leave(call_id)
            self._callers.pop(call_id, None)
            raise

    def _on_call_event(self, event: CallEvent) -> None:
        if isinstance(event, LegEnded):
            self.telephony.limits.leave(event.leg)
        elif isinstance(event, CallAnswered):
            self._turns.leave(event.call)
        elif isinstance(event, CallEnded):
            self._turns.leave(event.call)
            self._callers.pop(event.call, None)

    # ---- calls out

    def _dial(self, target: Target, errand: Errand) -> Leg:
        shown = errand.numbers[0]
        caller = self._callers.get(errand.id)
        if caller is None or caller.number != shown.value:
            # In a transfer somebody else calls than who placed the call.
            caller = Caller(CallerIdentity(number=shown), {})
        return self.parties.called(target, errand, caller)

    # ---- what the API asks

    def calls(self) -> Sequence[CallSummary]:
        now = self._loop.time()
        return [call.summary(now, measured=False) for call in self.registry.calls()]

    def summary(self, call_id: str) -> CallSummary | None:
        """A call by its id, or by the UUID that protocols of agents made of that."""
        token = call_id.replace("-", "").lower()
        calls = self.registry.calls() if len(token) == UUID_DIGITS else ()
        found = next((call.id for call in calls if call_token(call.id) == token), call_id)
        return self.registry.summary(found)

    def hang_up(self, call_id: str) -> bool:
        return self.registry.end(call_id, EndReason.HANGUP)

    def hold(self, call_id: str, leg: LegId | None, *, on: bool) -> None:
        self.registry.hold(call_id, leg=leg, on=on)

    def mute(self, call_id: str, leg: LegId | None, *, on: bool) -> None:
        self.registry.mute(call_id, leg=leg, on=on)

    def amplify(self, call_id: str, gain_db: float, leg: LegId | None) -> None:
        self.registry.amplify(call_id, gain_db, leg=leg)

    def press(
        self, call_id: str, digits: str, leg: LegId | None, press_ms: int, gap_ms: int
    ) -> None:
        self.registry.press(call_id, digits, leg=leg, press_ms=press_ms, gap_ms=gap_ms)

    def secure(self, call_id: str, to: LegId | None, leg: LegId | None) -> None:
        self.registry.secure(call_id, to, leg=leg)

    def transfer(self, call_id: str, to: str, leg: LegId | None, mode: TransferMode) -> None:
        number, digits = _read_dialled(to)
        plan = replace(self._plan("api", number), digits=digits)
        self.registry.transfer(call_id, number, plan, leg=leg, mode=mode)

    def join(
        self,
        call_id: str,
        other_id: str,
        leg: LegId | None,
        other_leg: LegId | None,
        mode: TransferMode,
    ) -> None:
        self.registry.join(call_id, other_id, leg=leg, other_leg=other_leg, mode=mode)

    def observe(self, observer: Callable[[CallEvent], None]) -> Callable[[], None]:
        return self.registry.observe(observer)

    def follow(self, observer: Callable[[CallEvent], None]) -> Callable[[], None]:
        return self.registry.observe(observer, signalling=False)

    def incoming(self, call_id: str) -> IncomingCall:
        return self._incoming.find(call_id)

    def trunks(self) -> Sequence[TrunkStatus]:
        telephony = self.telephony
        return telephony.watch.statuses(telephony.limits, self._loop.time())

    def trunk(self, name: str) -> TrunkStatus | None:
        telephony = self.telephony
        return telephony.watch.status(name, telephony.limits, self._loop.time())

    def observe_trunks(self, observer: Callable[[TrunkEvent], None]) -> Callable[[], None]:
        return self.telephony.trunk_observers.observe(observer)

    def users(self) -> Sequence[UserSummary]:
        return self.telephony.registrar.summaries(self._loop.time())

    # ---- the end

    async def drain(self, seconds: float) -> None:
        """Take no new calls; let those there are go on, `seconds` at most; then hang up."""
        self.registry.drain()
        self.telephony.drain()
        try:
            async with asyncio.timeout(seconds):
                await self.registry.emptied()
        except TimeoutError:
            await self._hang_up_all()

    async def close(self) -> None:
        """End what is left and give everything back."""
        if self._is_closed:
            return
        self._is_closed = True
        self.lines.close()
        self.telephony.drain()
        await self._hang_up_all()
        await self.desk.close()
        await self.telephony.leave()
        await self.telephony.close()
        if self.parties.webrtc is not None:
            await self.parties.webrtc.close()

    async def _hang_up_all(self) -> None:
        """End every call, and stay until a BYE that was lost once has been sent again."""
        calls = self.registry.calls()
        for call in calls:
            self.registry.end(call.id, EndReason.SHUTDOWN)
        if calls:
            await asyncio.sleep(GOODBYE_S)

    def _new_id(self) -> str:
        return f"{self._name}-{secrets.token_hex(8)}"


def _short(error: CodecError) -> str:
    """Its message as a header takes it: an offer may name many codecs, or none that is a word."""
    told = str(error)[:MAX_WARNING_CHARACTERS]
    return "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "?" for c in told)


def _read_dialled(text: str) -> tuple[str, str]:
    """A number and the dial string behind it, as +15550100,,123#.

    Raises:
        RoutingError: 484, what is behind it is no dial string.
    """
    number, digits = split_dialled(text)
    try:
        parse_dial_string(digits)
    except ValueError as error:
        raise RoutingError(str(error), status=484) from None
    return number, digits


def _open_webrtc(
    config: Config, certificate: Certificate | None, loop: asyncio.AbstractEventLoop
) -> WebRtcPort | None:
    """The port of browsers' media; None where none is taken.

    Raises:
        ConfigError: it cannot be opened.
    """
    if config.webrtc is None or certificate is None:
        return None
    try:
        return WebRtcPort.open(config.webrtc, certificate, loop=loop)
    except ConfigError as error:
        raise ConfigError(f"{config.file}: {error}") from None
