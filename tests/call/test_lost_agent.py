"""A caller whose remote agent is lost: what its phone is sent, and who takes over (F18)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.agents.patience import SILENT_CLIP
from gateway.call.call import CallState
from gateway.call.events import TransferEnded
from gateway.errors import Fault
from gateway.leg.leg import EndReason
from gateway.leg.sip import SipLegOptions
from gateway.media.tone import tone_level_dbfs
from gateway.net.agent_connection import ConnectError
from gateway.sip import event as sip
from tests.agents.test_remote import remote_agent, speech
from tests.media.sound import Pcm
from tests.support.agent_line import Exchange
from tests.support.scene import AGENT_HZ, PHONE_HZ, Scene, scene
from tests.support.sip_legs import sdp

WAIT_HZ, APOLOGY_HZ = 400, 2000
"Of the sounds that `remote_agent` is given."

REFUSED = ConnectError("the agent answered 403", is_final=True)


@contextmanager
def talking(exchange: Exchange, *groups: list[str], **options: object) -> Iterator[Scene]:
    """A phone that talks with a remote agent, or with whoever is next."""
    work = remote_agent(exchange, **options).on_call  # type: ignore[arg-type]
    with scene(["agent:desk"], *groups, agent=work) as at:
        at.bench.given["options"] = SipLegOptions()
        at.call()
        at.run(0.2)
        yield at


def listen(at: Scene, seconds: float) -> Pcm:
    """What the phone is sent while that much time passes."""
    at.heard("phone")
    at.run(seconds)
    return at.heard("phone")


def has(pcm: Pcm, hz: float) -> bool:
    return bool(len(pcm)) and tone_level_dbfs(pcm, 8000, hz) > -25


def test_phone_and_remote_agent_hear_each_other() -> None:
    exchange = Exchange()
    with talking(exchange) as at:
        exchange.line.says(speech(0.4, AGENT_HZ))
        heard = listen(at, 0.5)
        at.speak(0.4, phone=PHONE_HZ)

        assert has(heard, AGENT_HZ)
        assert len(exchange.line.heard) >= 20


def test_f18_phone_hears_the_waiting_sound_then_the_apology_then_the_end() -> None:
    exchange = Exchange()
    with talking(exchange) as at:
        at.run(15)
        exchange.refuses = True
        exchange.line.drops()
        first = listen(at, 0.9)
        second = listen(at, 1.0)
        listen(at, 1.95)
        apology = listen(at, 0.5)
        at.run(0.5)

        assert not has(first, WAIT_HZ)
        assert has(second, WAIT_HZ)
        assert has(apology, APOLOGY_HZ)
        assert at.bench.phone.one(sip.Ended).cause is sip.EndCause.BYE
        assert (at.ended().reason, at.ended().fault) == (EndReason.AGENT_LOST, Fault.AGENT)
        assert at.ended().reason.value == "agent_lost"
        (bye,) = [sent.data for sent in at.bench.wire.log if sent.data.startswith(b"BYE ")]
        assert b'\r\nReason: SIP;cause=503;text="agent_lost"\r\n' in bye


def test_f18_fallback_number_takes_the_caller_over() -> None:
    exchange = Exchange()
    with talking(exchange, fallback=("b",)) as at:
        exchange.outcomes.append(REFUSED)
        exchange.line.drops()
        at.run(0.5)
        at.respond("b", 180)
        at.respond("b", 200, body=sdp(44_000))
        at.run(0.2)
        at.heard("phone")
        at.speak(0.4, phone=PHONE_HZ, b=AGENT_HZ)

        assert at.hears("phone") == {AGENT_HZ}
        assert at.hears("b") == {PHONE_HZ}
        assert at.registry.calls()[0].state is CallState.UP


def test_f18_fallback_number_that_no_route_lets_the_agent_dial_is_not_dialled() -> None:
    exchange = Exchange()
    with talking(exchange, fallback=("+1900555",)) as at:
        at.refuses = []
        exchange.outcomes.append(REFUSED)
        exchange.line.drops()
        at.run(1.5)

        assert at.refuses == [("agent:desk", "+1900555")]
        assert at.ended().reason is EndReason.AGENT_LOST


def test_f18_fallback_number_that_does_not_answer_leads_to_the_apology() -> None:
    exchange = Exchange()
    with talking(exchange, fallback=("b",)) as at:
        exchange.outcomes.append(REFUSED)
        exchange.line.drops()
        at.run(0.5)
        at.respond("b", 486)
        apology = listen(at, 0.5)
        at.run(0.5)

        assert [e.status for e in at.events if isinstance(e, TransferEnded)] == [486]
        assert has(apology, APOLOGY_HZ)
        assert at.ended().reason is EndReason.AGENT_LOST


def test_f18_call_that_rings_goes_on_to_the_next_of_its_route() -> None:
    exchange = Exchange()
    exchange.outcomes.append(REFUSED)
    with talking(exchange, ["trunk:b"]) as at:
        at.respond("b", 200, body=sdp(44_000))
        at.heard("phone")
        at.speak(0.4, phone=PHONE_HZ, b=AGENT_HZ)

        assert at.hears("phone") == {AGENT_HZ}


def test_f18_caller_who_hangs_up_meanwhile_leaves_nothing_behind() -> None:
    exchange = Exchange()
    with talking(exchange) as at:
        exchange.refuses = True
        exchange.line.drops()
        at.run(2)
        at.hang_up()
        at.run(5)

        assert at.ended().reason is EndReason.HANGUP
        assert len(exchange.attempts) <= 5


def test_without_sounds_a_lost_agent_is_silence_and_the_end() -> None:
    exchange = Exchange()
    with talking(exchange, wait_sound=SILENT_CLIP, apology=SILENT_CLIP) as at:
        exchange.outcomes.append(REFUSED)
        exchange.line.drops()
        at.run(1)

        assert at.ended().reason is EndReason.AGENT_LOST
