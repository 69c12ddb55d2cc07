"""Whatever order things happen in: a call never breaks, ends once, and lets everybody go once."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.agents.tool import (
    AskDigits,
    Dial,
    HangUp,
    Hold,
    Mute,
    Play,
    SendDigits,
    SetMetadata,
    Transfer,
)
from gateway.call.call import CallOptions, CallState, Party, PartyState, TransferMode
from gateway.call.collect import VAULT
from gateway.call.events import (
    CallEnded,
    LegEnded,
    LegStarted,
    ToolEnded,
    ToolStarted,
    TransferEnded,
    TransferStarted,
)
from gateway.call.monitor import Monitor
from gateway.call.policy import Policy, Preset
from gateway.errors import RoutingError
from gateway.leg.leg import (
    Answered,
    DigitPressed,
    Ended,
    EndReason,
    Held,
    LegEvent,
    Phase,
    Progressed,
    Resumed,
    Role,
    ToolAsked,
    TransferAsked,
    TransferProgress,
)
from gateway.media.sound import Sound
from gateway.media.tone import beep
from gateway.sdp.description import Direction
from gateway.sip.uri import parse_uri
from gateway.trunk.route import Plan, RouteOptions
from tests.media.parties import Ear
from tests.support.legs import CallBench, FakeLeg, plan

BEEP = Sound(beep(8000, 1.0), 8000)
OURS = ("play-", "music", "ringback", "coach")

EVENTS: tuple[LegEvent, ...] = (
    Progressed(180, "Ringing"),
    Progressed(183, "Session Progress", early_media=True),
    Answered(),
    Answered(),
    DigitPressed("5", Phase.START),
    DigitPressed("5", Phase.END, 100),
    Held(Direction.INACTIVE),
    Held(Direction.SENDONLY),
    Resumed(),
    TransferAsked(parse_uri("sip:bob@example.com")),
    TransferAsked(parse_uri("sip:nowhere@example.com")),
    TransferProgress(180),
    TransferProgress(200),
    TransferProgress(486),
    Ended(EndReason.HANGUP),
    Ended(EndReason.BUSY, 486),
    Ended(EndReason.UNREACHABLE, 503),
    Ended(EndReason.REJECTED, 302, contacts=(parse_uri("sip:bob@example.com"),)),
)

COMMANDS = (
    *("hold", "resume", "transfer", "dial", "replace", "exchange", "wait", "wait long", "end"),
    *("press", "secure", "secure no more"),
    *("mute", "mute no more", "amplify", "listen", "whisper", "stop listening"),
    *("invite", "dismiss", "play", "stop playing", *(preset.value for preset in Preset)),
)

TOOLS: tuple[ToolAsked, ...] = (
    ToolAsked("1", HangUp()),
    ToolAsked("2", Transfer("eve")),
    ToolAsked("3", Transfer("eve", "warm", "brief", timeout_s=10)),
    ToolAsked("4", Transfer("", "complete")),
    ToolAsked("5", Transfer("", "cancel")),
    ToolAsked("6", Transfer("nowhere", "warm")),
    ToolAsked("7", Dial("eve", time_limit_s=20)),
    ToolAsked("8", SendDigits("1,2")),
    ToolAsked("9", Hold(on=True)),
    ToolAsked("10", Play("beep")),
    ToolAsked("11", Play("beep", loop=True)),
    ToolAsked("12", Mute(on=True)),
    ToolAsked("13", AskDigits(max_digits=2)),
    ToolAsked("14", AskDigits(secure=True)),
    ToolAsked("15", Dial("")),
    ToolAsked("16", Hold(on=False)),
    ToolAsked("17", SetMetadata({"mood": "good"})),
)

steps = st.lists(
    st.tuples(st.integers(0, 7), st.sampled_from((*EVENTS, *TOOLS, *COMMANDS))),
    max_size=40,
)


class Chaos(CallBench):
    """A call whose parties do anything."""

    def __init__(self, *, dial_caller: bool) -> None:
        route = RouteOptions(ringing_timeout_s=20, failover_after_progress=True)
        options = CallOptions(plan_for=self._plan_for, find_sound=lambda name: BEEP)
        super().__init__(["trunk:a", "agent:b"], ["agent:c"], route=route, options=options)
        self.caller.can_refer = True
        self.everybody: list[FakeLeg] = [self.caller]
        self.exchanged = 0
        "Attended transfers: those are over as soon as they begin."
        self.start(dial_caller=dial_caller)

    def step(self, who: int, what: LegEvent | str) -> None:
        self.everybody += [leg for leg in self.legs.values() if leg not in self.everybody]
        leg = self.everybody[who % len(self.everybody)]
        try:
            if isinstance(what, str):
                self._command(leg, what)
            else:
                self.tell(leg, what)
        except RoutingError:
            pass
        self._collect()
        self.check()

    def check(self) -> None:
        parties = self.call.parties
        for listener, heard in self.hub.hears.items():
            if listener in self.call.monitors:
                speakers = [parties[each] for each in heard]
                assert not any(each.secure_to or each.is_muted for each in speakers)
                assert not any(each.is_on_hold for each in speakers)
                continue
            assert parties[listener].state in (PartyState.UP, PartyState.EARLY), listener
            assert listener not in heard
            speakers = [parties[each] for each in heard if each in parties]
            assert len(speakers) == len([each for each in heard if not each.startswith(OURS)])
            assert not any(each.hears_music for each in speakers)
            assert all(speaker.speaks_to(parties[listener]) for speaker in speakers)
        self._check_bonds()
        if self.call.state is CallState.ENDED:
            assert self.call.next_timer() is None
            assert all(party.state is PartyState.ENDED for party in parties.values())
            assert not self.hub.hears
            assert not self.call.monitors
            assert not self.hub._parties
            assert not self.call._room.players.ids
            assert not self.call._tools._uses
            assert len(self.happened(ToolStarted)) == len(self.happened(ToolEnded))

    def _check_bonds(self) -> None:
        """Nobody is kept by what is over, or bound to who is not there."""
        call, tools = self.call, self.call._tools
        present = {each.leg.id: each for each in call._room.present()}
        here = {name for name, each in call.parties.items() if each.state is not PartyState.ENDED}
        assert {name for name in self.hub._parties if not name.startswith(OURS)} <= here
        asked = [each.party for each in tools._collections]
        is_bringing = bool(tools._under_way) or call._transfers.is_active
        for party in present.values():
            assert is_bringing or not (party.is_waiting or party.is_apart)
            assert party.held_for is None or party.held_for in present
            assert party.secure_to != VAULT or party in asked
            assert party.alone_with is None or party.alone_with in present
            assert party.yields_to is None or party.yields_to in present
            assert party.leg.id not in (party.alone_with, party.yields_to)
        assert not any(use.party.leg.id not in call.parties for use in tools._uses)

    def _command(self, leg: FakeLeg, what: str) -> None:
        call, now = self.call, self.now
        if call.state is CallState.ENDED:
            return
        match what:
            case "hold" | "resume":
                call.hold(leg.id, now, on=what == "hold")
            case "transfer" | "dial":
                mode = TransferMode.AUTO if what == "transfer" else TransferMode.DIAL
                call.transfer(leg.id, "eve", plan(["trunk:eve"]), now, mode=mode)
            case "press":
                call.press(leg.id, "1,2#", now)
            case "secure":
                others = [other.id for other in self.everybody if other is not leg]
                call.secure(leg.id, others[-1] if others else leg.id, now)
            case "secure no more":
                call.secure(leg.id, None, now)
            case "replace":
                new = FakeLeg(f"new-{len(self.everybody)}")
                call.replace(leg.id, new, "user:new", now)
                self.everybody.append(new)
            case "wait":
                self.advance(3)
            case "wait long":
                self.advance(50)
            case "end":
                call.end(now, EndReason.SHUTDOWN)
            case _:
                self._change_routes(leg, what)

    def _change_routes(self, leg: FakeLeg, what: str) -> None:
        call, now = self.call, self.now
        match what:
            case "mute" | "mute no more":
                call.mute(leg.id, now, on=what == "mute")
            case "amplify":
                call.amplify(leg.id, -6.0, now)
            case "listen" | "whisper":
                heard_by = frozenset({leg.id} if what == "whisper" else ())
                call.attach(Monitor("coach", Ear(), heard_by=heard_by), now)
            case "stop listening":
                call.detach("coach", now)
            case "invite":
                policy = Policy(Preset.WHISPER, "callee")
                call.invite("fay", plan(["trunk:fay", "trunk:twin"]), None, policy, now)
            case "dismiss":
                call.dismiss(leg.id, now)
            case "play":
                call.play(BEEP, "beep", frozenset({"people"}), now, loops=True)
            case "exchange":
                other = FakeLeg(f"moved-{len(self.everybody)}")
                party = Party(other, Role.CALLER, "trunk:other", PartyState.UP)
                if call.parties[leg.id].state is PartyState.UP and call.state is CallState.UP:
                    call.exchange(leg.id, party, now)
                    self.everybody.append(other)
                    self.exchanged += 1
            case "stop playing":
                call.stop_playing(None, now)
            case _:
                to = None if what in ("take-over", "hand-back") else "callee"
                call.route([(leg.id, Policy(Preset(what), to))], now)

    def _plan_for(self, source: str, dialled: str) -> Plan:
        if dialled == "nowhere":
            raise RoutingError("no such route")
        return plan([f"trunk:{dialled}", "trunk:twin"])


@settings(max_examples=400, deadline=None)
@given(steps=steps, dial_caller=st.booleans())
def test_call_holds_whatever_happens(
    steps: list[tuple[int, LegEvent | str]], dial_caller: bool
) -> None:
    bench = Chaos(dial_caller=dial_caller)

    for who, what in steps:
        bench.step(who, what)
    if bench.call.state is not CallState.ENDED:
        bench.call.end(bench.now, EndReason.SHUTDOWN)
    bench._collect()
    bench.check()

    assert len(bench.happened(CallEnded)) == 1
    started = Counter(event.leg for event in bench.events if isinstance(event, LegStarted))
    ended = Counter(event.leg for event in bench.events if isinstance(event, LegEnded))
    assert started == ended
    assert set(started.values()) == {1}
    begun = len(bench.happened(TransferStarted)) + bench.exchanged
    assert begun == len(bench.happened(TransferEnded))
    for leg in bench.everybody:
        assert sum(did.startswith("end ") for did in leg.did) <= 1
