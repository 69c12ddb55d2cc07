"""Calls under TwiML, in virtual time: what is heard, done and told, verb by verb."""

from __future__ import annotations

import asyncio
import io
import wave
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.agents.agent import AgentCall
from gateway.agents.event import AgentEvent, MachineDetected, ToolDone
from gateway.agents.protocol import call_token
from gateway.agents.tool import Dial
from gateway.agents.twiml.agent import TwimlAgent, TwimlDesk
from gateway.agents.twiml.document import parse_twiml
from gateway.agents.twiml.options import Settings, TwimlOptions
from gateway.agents.twiml.program import MAX_DOCUMENTS
from gateway.agents.twiml.session import Instructions, Tools
from gateway.agents.twiml.sound import Engine
from gateway.agents.twiml.verbs import Action, Stream
from gateway.leg.leg import (
    Answered,
    Ended,
    EndReason,
    Noted,
    Progressed,
    ToolAsked,
    TransferAsked,
)
from gateway.media.folder import Sounds
from gateway.media.frame import AudioFrame, Pcm
from gateway.media.playout import MarkReached, Playout
from gateway.media.sound import Sound
from gateway.media.tone import tone_level_dbfs
from gateway.net.signature import twilio_signature
from gateway.private import Secret
from tests.media.sound import tone
from tests.support.agents import AgentBench
from tests.support.loop import VirtualLoop, elapse, in_virtual_time
from tests.support.site import Answer, Site

VOICE = "https://site.test/voice"
ACCOUNT = "AC" + 32 * "1"
TOKEN = "0123456789abcdef"
CALL_SID = "CA" + call_token("call-1")
HZ = 700


def wav(seconds: float = 1.0) -> bytes:
    """A tone of 700 Hz."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(tone(HZ, seconds, 8000).tobytes())
    return content.getvalue()


@dataclass
class Outcome:
    is_finished: bool = True
    detail: str = "it is gone"


@dataclass
class Far:
    """The far end of a <Stream>: an agent that a test plays."""

    stream: Stream
    is_bidirectional: bool
    heard: list[AudioFrame] = field(default_factory=list)
    events: list[AgentEvent] = field(default_factory=list)
    call: AgentCall | None = None
    left: bool = False

    def __post_init__(self) -> None:
        self.over: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    async def serve(self, call: AgentCall) -> Outcome:
        self.call = call
        call.listen(self.heard.append)
        call.watch(self.events.append)
        call.accept_now()
        try:
            return await self.over
        finally:
            self.left = True
            call.listen(None)
            call.watch(None)


class Scene:
    """A site, an agent that asks it, and a person who called."""

    def __init__(
        self,
        loop: VirtualLoop,
        voice: Answer = "",
        *,
        placed: Instructions | None = None,
        say: str = "",
        first: Any = None,
        **settings: Any,
    ) -> None:
        self.site = Site({"/voice": voice})
        self.desk = TwimlDesk(self.site)
        self.streams: list[Far] = []
        options = TwimlOptions(
            "ivr", VOICE, Secret(TOKEN), Settings(account_sid=ACCOUNT, **settings)
        )
        sounds = Sounds({"a.wav": Sound(tone(HZ, 1.0, 8000), 8000)})
        engine = Engine(say) if say else None
        tools = Tools(self.site, self.desk.callbacks, self._stream, engine, sounds.find)
        agent = TwimlAgent(options, self.desk, tools, first)
        self.bench = AgentBench(loop, agent, is_caller=placed is not None)
        if placed is not None:
            self.desk.instruct("call-1", placed)
        self.bench.leg.dial()

    def _stream(self, stream: Stream, *, is_bidirectional: bool) -> Far:
        self.streams.append(Far(stream, is_bidirectional))
        return self.streams[-1]

    def heard_s(self, hz: float = HZ) -> float:
        """Seconds of a tone that the person heard."""
        pcm = self.bench.person.pcm
        blocks = [pcm[at : at + 160] for at in range(0, len(pcm) - 159, 160)]
        return sum(tone_level_dbfs(block, 8000, hz) > -20 for block in blocks) * 0.02

    @property
    def warnings(self) -> list[str]:
        return [n.data["warning"] for n in self.bench.all(Noted) if n.kind == "twiml"]

    def tool(self) -> tuple[str, Any]:
        """The last tool that was asked for."""
        asked = self.bench.all(ToolAsked)[-1]
        return asked.id, asked.tool

    async def close(self) -> None:
        await self.bench.close()
        await elapse(1)
        await self.desk.close()


# ---- asking


@pytest.mark.twiml("Voice webhook: parameters, X-Twilio-Signature")
@in_virtual_time
async def test_web_server_is_told_of_the_call_and_signed(loop: VirtualLoop) -> None:
    scene = Scene(loop, "<Pause length='60'/>")
    await elapse(1)

    (visit,) = scene.site.visits
    assert visit.method == "POST"
    assert visit.fields == {
        "CallSid": CALL_SID,
        "AccountSid": ACCOUNT,
        "From": "+15550001",
        "To": "sales",
        "Caller": "+15550001",
        "Called": "sales",
        "CallStatus": "ringing",
        "ApiVersion": "2010-04-01",
        "Direction": "inbound",
    }
    assert visit.headers["X-Twilio-Signature"] == twilio_signature(
        TOKEN, VOICE, list(visit.fields.items())
    )
    assert scene.bench.all(Progressed)[0].status == 180
    await scene.close()


@pytest.mark.twiml("Voice webhook by GET")
@in_virtual_time
async def test_web_server_is_asked_by_get_where_that_is_configured(loop: VirtualLoop) -> None:
    scene = Scene(loop, "<Hangup/>", method="GET")
    await elapse(1)

    assert [visit.method for visit in scene.site.visits] == ["GET"]
    assert scene.site.visits[0].fields["CallSid"] == CALL_SID
    await scene.close()


@pytest.mark.twiml("Fallback URL", differs="asked once in a call")
@in_virtual_time
async def test_where_no_twiml_comes_the_other_url_is_asked(loop: VirtualLoop) -> None:
    scene = Scene(loop, 500, fallback_url="https://site.test/fallback")
    scene.site.pages["/fallback"] = "<Pause length='9'/>"
    await elapse(1)

    (told,) = scene.site.of("/fallback")
    assert (told["ErrorCode"], told["ErrorUrl"]) == ("11200", VOICE)
    assert not scene.bench.all(Ended)
    await scene.close()


@pytest.mark.parametrize("answer", [404, "<?php", "<?xml?><!DOCTYPE x><Response/>"])
@in_virtual_time
async def test_without_twiml_the_call_ends_as_failed(loop: VirtualLoop, answer: Answer) -> None:
    scene = Scene(loop, answer)
    await elapse(1)

    (ended,) = scene.bench.all(Ended)
    assert ended.reason is EndReason.AGENT_FAILED
    await scene.close()


@pytest.mark.twiml("Status callback of a number (completed)")
@in_virtual_time
async def test_end_of_a_call_is_told(loop: VirtualLoop) -> None:
    verbs = '<Pause length="3"/><Play>/a.wav</Play>'  # it rings meanwhile
    scene = Scene(loop, verbs, status_callback="https://site.test/status")
    scene.site.pages["/a.wav"] = wav()
    await elapse(6)

    (told,) = scene.site.of("/status")
    assert told["CallStatus"] == "completed"
    assert told["CallDuration"] == "1"
    assert told["CallSid"] == CALL_SID
    await scene.close()


# ---- verbs


@pytest.mark.twiml("Play of a WAV file, loop", differs="WAV alone; MP3 is skipped")
@in_virtual_time
async def test_play_answers_and_plays_as_often_as_it_is_told(loop: VirtualLoop) -> None:
    scene = Scene(loop, '<Play loop="2">a.wav</Play>')
    scene.site.pages["/a.wav"] = wav()
    await elapse(4)

    assert scene.bench.all(Answered)
    assert scene.heard_s() == pytest.approx(2.0, abs=0.06)
    assert scene.bench.all(Ended)[0].reason is EndReason.HANGUP
    await scene.close()


def test_a_loop_of_next_to_nothing_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[int] = []
    say_pcm = Playout.say_pcm

    def counting(playout: Playout, pcm: Pcm, rate: int, item: str = "") -> bool:
        said.append(len(pcm))
        return say_pcm(playout, pcm, rate, item)

    monkeypatch.setattr(Playout, "say_pcm", counting)

    @in_virtual_time
    async def play(loop: VirtualLoop) -> None:
        scene = Scene(loop, '<Play loop="0">tick.wav</Play>')
        scene.site.pages["/tick.wav"] = wav(1 / 8000)
        await elapse(1)
        await scene.close()

    play()

    assert sum(said) >= 30 * 8000  # as much as is queued of anything
    assert len(said) < 40


@pytest.mark.twiml("Play of a file", differs="file:NAME, of the folder [media] sounds")
@in_virtual_time
async def test_play_finds_what_is_in_the_folder_of_sounds(loop: VirtualLoop) -> None:
    scene = Scene(loop, "<Play>file:a.wav</Play><Play>file:../b.wav</Play>")
    await elapse(3)

    assert scene.heard_s() == pytest.approx(1.0, abs=0.06)
    assert scene.warnings == ["<Play> is skipped: there is no such file among the sounds"]
    await scene.close()


@pytest.mark.twiml("Play digits")
@in_virtual_time
async def test_play_presses_keys(loop: VirtualLoop) -> None:
    scene = Scene(loop, '<Play digits="1w2#"/>')
    await elapse(4)

    assert scene.bench.pressed == "12#"
    await scene.close()


@in_virtual_time
async def test_what_cannot_be_played_is_skipped(loop: VirtualLoop) -> None:
    scene = Scene(loop, "<Play>/no.wav</Play><Play>/mp3</Play><Pause length='60'/>")
    scene.site.pages["/mp3"] = b"ID3 not a WAV file"
    await elapse(1)

    assert scene.warnings == [
        "<Play> is skipped: the web server says 404",
        "<Play> is skipped: the file is no PCM WAV file (file does not start with RIFF id)",
    ]
    assert not scene.bench.all(Ended)
    await scene.close()


@pytest.mark.twiml("Say without an engine", missing=True)
@in_virtual_time
async def test_say_is_skipped_with_a_warning_where_no_engine_is_configured(
    loop: VirtualLoop,
) -> None:
    scene = Scene(loop, "<Say>Hello</Say><Pause length='60'/>")
    await elapse(1)

    assert "no engine is configured" in scene.warnings[0]
    await scene.close()


@pytest.mark.twiml("Pause")
@in_virtual_time
async def test_pause_waits_and_does_not_answer(loop: VirtualLoop) -> None:
    scene = Scene(loop, "<Pause length='5'/><Reject/>")
    await elapse(10)

    assert scene.bench.at(Ended) == pytest.approx(5.0, abs=0.05)
    assert not scene.bench.all(Answered)
    await scene.close()


@pytest.mark.twiml("Reject")
@pytest.mark.parametrize(
    ("verb", "status", "reason"),
    [
        ("<Reject/>", 603, EndReason.DECLINED),
        ('<Reject reason="busy"/>', 486, EndReason.BUSY),
    ],
)
@in_virtual_time
async def test_reject_refuses_unanswered(
    loop: VirtualLoop, verb: str, status: int, reason: EndReason
) -> None:
    scene = Scene(loop, verb)
    await elapse(1)

    (ended,) = scene.bench.all(Ended)
    assert (ended.status, ended.reason) == (status, reason)
    assert not scene.bench.all(Answered)
    await scene.close()


@pytest.mark.twiml("Hangup")
@in_virtual_time
async def test_hangup_ends_the_call(loop: VirtualLoop) -> None:
    scene = Scene(loop, "<Play>/a.wav</Play><Hangup/><Pause length='60'/>")
    scene.site.pages["/a.wav"] = wav()
    await elapse(3)

    (ended,) = scene.bench.all(Ended)
    assert ended.reason is EndReason.HANGUP
    await scene.close()


@pytest.mark.twiml("Redirect")
@in_virtual_time
async def test_redirect_asks_another_url(loop: VirtualLoop) -> None:
    scene = Scene(loop, '<Redirect method="GET">next?x=1</Redirect>')
    scene.site.pages["/next"] = "<Reject/>"
    await elapse(1)

    assert [visit.method for visit in scene.site.visits] == ["POST", "GET"]
    assert scene.site.of("/next")[0]["x"] == "1"
    assert scene.bench.all(Ended)
    await scene.close()


@pytest.mark.twiml("Redirect in circles", differs="ends after 1000 documents of a call")
@in_virtual_time
async def test_circles_end(loop: VirtualLoop) -> None:
    scene = Scene(loop, "<Redirect/>")
    await elapse(30)

    (ended,) = scene.bench.all(Ended)
    assert ended.reason is EndReason.AGENT_FAILED
    assert len(scene.site.visits) == MAX_DOCUMENTS + 1
    await scene.close()


# ---- keys


@pytest.mark.twiml("Gather numDigits, action")
@in_virtual_time
async def test_gather_takes_so_many_keys_and_tells_the_action(loop: VirtualLoop) -> None:
    scene = Scene(loop, '<Gather numDigits="3" action="/keys"/>')
    scene.site.pages["/keys"] = "<Pause length='60'/>"
    await elapse(1)
    scene.bench.presses("1234")
    await elapse(0.1)

    (told,) = scene.site.of("/keys")
    assert told["Digits"] == "123"
    assert told["CallStatus"] == "in-progress"
    await scene.close()


@pytest.mark.twiml("Gather finishOnKey")
@in_virtual_time
async def test_gather_ends_with_its_key(loop: VirtualLoop) -> None:
    scene = Scene(loop, '<Gather finishOnKey="*" action="/keys"/>')
    await elapse(1)
    scene.bench.presses("1#2*")
    await elapse(0.1)

    (told,) = scene.site.of("/keys")
    assert (told["Digits"], told["FinishedOnKey"]) == ("1#2", "*")
    await scene.close()


@pytest.mark.twiml("Gather timeout")
@in_virtual_time
async def test_gather_waits_its_time_after_each_key(loop: VirtualLoop) -> None:
    scene = Scene(loop, '<Gather timeout="3" action="/keys"/>')
    scene.site.pages["/keys"] = "<Pause length='60'/>"
    await elapse(1)
    for key in "12":
        scene.bench.presses(key)
        await elapse(2.9)
    assert not scene.site.of("/keys")
    await elapse(0.2)

    assert scene.site.of("/keys")[0]["Digits"] == "12"
    await scene.close()


@in_virtual_time
async def test_gather_without_keys_goes_on(loop: VirtualLoop) -> None:
    scene = Scene(loop, '<Gather timeout="3" action="/keys"/><Redirect>/none</Redirect>')
    scene.site.pages["/none"] = "<Pause length='60'/>"
    await elapse(4)

    assert not scene.site.of("/keys")
    assert scene.site.of("/none")
    await scene.close()


@pytest.mark.twiml("Gather actionOnEmptyResult")
@in_virtual_time
async def test_gather_tells_of_no_keys_where_it_is_to(loop: VirtualLoop) -> None:
    scene = Scene(loop, '<Gather timeout="3" action="/keys" actionOnEmptyResult="true"/>')
    await elapse(4)

    assert scene.site.of("/keys")[0]["Digits"] == ""
    await scene.close()


@pytest.mark.twiml("Gather with prompts, which a key interrupts")
@in_virtual_time
async def test_a_key_interrupts_the_prompt(loop: VirtualLoop) -> None:
    scene = Scene(loop, '<Gather numDigits="1" action="/keys"><Play>/a.wav</Play></Gather>')
    scene.site.pages |= {"/a.wav": wav(10), "/keys": "<Pause length='60'/>"}
    await elapse(2)
    scene.bench.presses("7")
    await elapse(10)

    assert scene.heard_s() == pytest.approx(2.0, abs=0.1)
    assert scene.site.of("/keys")[0]["Digits"] == "7"
    await scene.close()


@pytest.mark.twiml("Keys pressed before Gather do not count")
@in_virtual_time
async def test_keys_of_before_are_not_gathered(loop: VirtualLoop) -> None:
    scene = Scene(loop, '<Pause length="2"/><Gather numDigits="1" action="/keys"/>')
    await elapse(1)
    scene.bench.presses("9")
    await elapse(2)
    assert not scene.site.of("/keys")
    scene.bench.presses("1")
    await elapse(0.1)

    assert scene.site.of("/keys")[0]["Digits"] == "1"
    await scene.close()


# ---- others in the call


def settle(scene: Scene, *, is_done: bool, status: int = 200, **result: Any) -> None:
    asked, _ = scene.tool()
    done = ToolDone(asked, "dial", is_done=is_done, status=status, result=result)
    scene.bench.leg.tool_done(done)


@pytest.mark.twiml("Dial Number: timeout, timeLimit, action")
@in_virtual_time
async def test_dial_lets_another_in_and_tells_the_action(loop: VirtualLoop) -> None:
    scene = Scene(
        loop,
        '<Dial callerId="sales" timeout="9" timeLimit="60" action="/dialled">+15550100</Dial>',
    )
    scene.site.pages["/dialled"] = "<Pause length='60'/>"
    await elapse(1)
    _, tool = scene.tool()
    settle(scene, is_done=True, duration_s=12.4)
    await elapse(0.1)

    assert tool == Dial("+15550100", 9.0, 60.0, "sales")
    (told,) = scene.site.of("/dialled")
    assert told["DialCallStatus"] == "completed"
    assert told["DialCallDuration"] == "12"
    assert scene.bench.all(Answered)
    await scene.close()


@pytest.mark.twiml("Dial action: DialCallStatus busy, no-answer, failed")
@pytest.mark.parametrize(
    ("status", "told"),
    [(486, "busy"), (603, "busy"), (408, "no-answer"), (480, "no-answer"), (404, "failed")],
)
@in_virtual_time
async def test_dial_tells_how_it_failed(loop: VirtualLoop, status: int, told: str) -> None:
    scene = Scene(loop, '<Dial action="/dialled">+15550100</Dial>')
    await elapse(1)
    settle(scene, is_done=False, status=status)
    await elapse(0.1)

    assert scene.site.of("/dialled")[0]["DialCallStatus"] == told
    await scene.close()


@pytest.mark.twiml("Dial of several", differs="one after the other, not all at once")
@pytest.mark.twiml("Dial Client", differs="is a user that is registered here")
@pytest.mark.twiml("Dial Sip", differs="its user part goes through the routes; no foreign hosts")
@in_virtual_time
async def test_dial_tries_one_after_the_other(loop: VirtualLoop) -> None:
    scene = Scene(
        loop,
        "<Dial><Number sendDigits='ww1'>+15550100</Number><Client>ann</Client>"
        "<Sip>sip:bob@example.com</Sip></Dial>",
    )
    await elapse(1)
    dialled = []
    for _ in range(3):
        dialled.append(scene.tool()[1].to)
        settle(scene, is_done=False, status=480)
        await elapse(0.1)

    assert dialled == ["+15550100,ww1", "user:ann", "bob"]
    assert scene.bench.all(Ended)
    await scene.close()


@pytest.mark.twiml("Dial Conference", missing=True)
@in_virtual_time
async def test_dial_knows_no_conference(loop: VirtualLoop) -> None:
    scene = Scene(loop, '<Dial action="/dialled"><Conference>room</Conference></Dial>')
    await elapse(1)

    assert scene.site.of("/dialled")[0]["DialCallStatus"] == "failed"
    assert scene.warnings[0] == "<Dial> to <Conference> is not possible here, and skipped"
    await scene.close()


@pytest.mark.twiml("Dial answerOnBridge", missing=True)
@in_virtual_time
async def test_dial_answers_at_once(loop: VirtualLoop) -> None:
    scene = Scene(loop, '<Dial answerOnBridge="true">+15550100</Dial>')
    await elapse(1)

    assert scene.tool()[1].to == "+15550100"
    assert scene.bench.at(Answered) < scene.bench.at(ToolAsked) + 0.001
    await scene.close()


@pytest.mark.twiml("Dial callerId", differs="a number of this call; for another the caller's own")
@in_virtual_time
async def test_dial_shows_numbers_of_the_call_alone(loop: VirtualLoop) -> None:
    scene = Scene(loop, '<Dial callerId="+1900">+15550100</Dial>')
    await elapse(1)

    assert scene.tool()[1].caller_id == ""
    assert "callerId" in scene.warnings[0]
    await scene.close()


@in_virtual_time
async def test_other_twiml_lets_go_of_who_was_dialled(loop: VirtualLoop) -> None:
    scene = Scene(loop, "<Dial>+15550100</Dial>")
    await elapse(1)

    scene.desk.redirect("call-1", parse_twiml("<Response><Pause length='9'/></Response>"))
    await elapse(1)

    tools = [asked.tool for asked in scene.bench.all(ToolAsked)]
    assert tools == [Dial("+15550100", 30.0), Dial("")]
    await scene.close()


@pytest.mark.twiml("Refer", differs="the user part of its URI goes through the routes")
@in_virtual_time
async def test_refer_lets_the_caller_go_to_another(loop: VirtualLoop) -> None:
    scene = Scene(loop, '<Refer action="/refer"><Sip>sip:sales@pbx.example.com</Sip></Refer>')
    await elapse(1)
    (asked,) = scene.bench.all(TransferAsked)
    scene.bench.leg.transfer_progress(486)
    await elapse(0.1)

    assert asked.target.user == "sales"
    assert scene.site.of("/refer")[0]["ReferSipResponseCode"] == "486"
    await scene.close()


# ---- streams


@pytest.mark.twiml("Connect Stream, Parameter")
@in_virtual_time
async def test_connect_gives_the_call_to_an_agent_and_goes_on_after_it(loop: VirtualLoop) -> None:
    scene = Scene(
        loop,
        '<Connect action="/after"><Stream url="wss://site.test/ws"><Parameter name="k" value="v"/>'
        "</Stream></Connect>",
    )
    scene.site.pages["/after"] = "<Pause length='60'/>"
    await elapse(1)
    (far,) = scene.streams
    await scene.bench.says(tone(500, 0.2, 8000))
    assert far.call is not None
    far.call.say_now(tone(HZ, 0.5, 8000), 8000)
    far.call.mark("m")
    await elapse(1)
    far.over.set_result(Outcome())
    await elapse(0.1)

    assert (far.stream.url, far.stream.parameters) == ("wss://site.test/ws", (("k", "v"),))
    assert far.is_bidirectional
    assert len(far.heard) >= 10
    assert [e.name for e in far.events if isinstance(e, MarkReached)] == ["m"]
    assert scene.heard_s() == pytest.approx(0.5, abs=0.06)
    assert scene.site.of("/after")
    await scene.close()


@pytest.mark.twiml("Stream statusCallback")
@in_virtual_time
async def test_stream_tells_of_its_life_in_order(loop: VirtualLoop) -> None:
    scene = Scene(
        loop,
        '<Connect><Stream url="wss://site.test/ws" name="n" statusCallback="/s"/></Connect>',
    )
    await elapse(1)
    scene.streams[0].over.set_result(Outcome(is_finished=False))
    await elapse(1)

    told = scene.site.of("/s")
    assert [each["StreamEvent"] for each in told] == [
        "stream-started",
        "stream-error",
        "stream-stopped",
    ]
    assert {each["StreamName"] for each in told} == {"n"}
    assert {each["StreamSid"][:2] for each in told} == {"MZ"}
    assert told[1]["StreamError"] == "it is gone"
    await scene.close()


@pytest.mark.twiml("Start Stream, Stop Stream")
@in_virtual_time
async def test_started_streams_listen_beside_the_agent_and_cannot_act(loop: VirtualLoop) -> None:
    scene = Scene(
        loop,
        '<Start><Stream name="tap" url="wss://site.test/tap"/></Start>'
        '<Connect><Stream url="wss://site.test/ws"/></Connect>'
        '<Stop><Stream name="tap"/></Stop><Pause length="60"/>',
    )
    await elapse(1)
    agent, tap = sorted(scene.streams, key=lambda far: far.stream.url, reverse=True)
    await scene.bench.says(tone(500, 0.2, 8000))
    assert tap.call is not None
    assert not tap.call.say_now(tone(HZ, 0.5, 8000), 8000)
    agent.over.set_result(Outcome())
    await elapse(1)

    assert not tap.is_bidirectional
    assert len(tap.heard) == len(agent.heard) >= 10
    assert scene.heard_s() == 0
    assert tap.left
    assert agent.call is not None
    assert agent.call.facts.stream != tap.call.facts.stream
    await scene.close()


@in_virtual_time
async def test_stream_without_a_name_can_be_started_after_another_was_stopped(
    loop: VirtualLoop,
) -> None:
    start = '<Start><Stream url="wss://site.test/tap"/></Start>'
    scene = Scene(loop, f'{start}{start}<Stop><Stream name=""/></Stop>{start}<Pause length="60"/>')

    await elapse(1)

    assert [far.left for far in scene.streams] == [True, False, False]
    assert not scene.warnings
    await scene.close()


@in_virtual_time
async def test_end_of_streams_is_told_before_that_of_the_call(loop: VirtualLoop) -> None:
    told = "https://site.test/status"
    scene = Scene(
        loop,
        f'<Start><Stream url="wss://site.test/tap" statusCallback="{told}"/></Start>'
        '<Pause length="1"/>',
        status_callback=told,
    )
    scene.site.pages["/status"] = ""

    await elapse(3)

    events = [fields.get("StreamEvent", "call") for fields in scene.site.of("/status")]
    assert events == ["stream-started", "stream-stopped", "call"]
    await scene.close()


# ---- calls that the REST interface placed, and changes


@pytest.mark.twiml("Calls placed by the REST interface ask when they are answered")
@in_virtual_time
async def test_a_placed_call_asks_when_the_far_end_has_answered(loop: VirtualLoop) -> None:
    placed = Instructions(Action("https://site.test/out"), "+1555", "+1666", ACCOUNT)
    scene = Scene(loop, placed=placed)
    scene.site.pages["/out"] = "<Pause length='60'/>"
    await elapse(5)
    assert not scene.site.visits
    scene.bench.leg.answer()
    await elapse(0.1)

    (told,) = scene.site.of("/out")
    assert (told["From"], told["To"]) == ("+1555", "+1666")
    assert (told["Direction"], told["CallStatus"]) == ("outbound-api", "in-progress")
    await scene.close()


@pytest.mark.twiml("REST: MachineDetection Enable, DetectMessageEnd, its timeout; AnsweredBy")
@pytest.mark.parametrize(
    ("wait", "after_s", "answered_by"),
    [("start", 2.0, "machine_start"), ("end", 5.0, "machine_end_beep"), ("silent", 9.0, "unknown")],
)
@in_virtual_time
async def test_a_placed_call_waits_until_it_knows_who_has_answered(
    loop: VirtualLoop, wait: str, after_s: float, answered_by: str
) -> None:
    placed = Instructions(
        Action("https://site.test/out"), "+1", "+2", machine_wait=wait, machine_timeout_s=9.0
    )
    scene = Scene(loop, placed=placed)
    scene.site.pages["/out"] = "<Pause length='60'/>"
    await elapse(1)
    scene.bench.leg.answer()
    if wait != "silent":
        loop.call_later(2.0, scene.bench.leg.inform, MachineDetected("machine", 2000.0))
        loop.call_later(5.0, scene.bench.leg.inform, MachineDetected("beep", 5000.0))

    await elapse(after_s - 0.1)
    assert not scene.site.visits
    await elapse(0.2)

    assert scene.site.of("/out")[0]["AnsweredBy"] == answered_by
    await scene.close()


@pytest.mark.twiml("A live call is given other TwiML, whatever it does")
@pytest.mark.parametrize(
    "doing",
    [
        "<Pause length='60'/>",
        "<Play loop='0'>/a.wav</Play>",
        "<Gather timeout='60'/>",
        "<Gather timeout='60'><Play>/a.wav</Play></Gather>",
        "<Connect><Stream url='wss://site.test/ws'/></Connect>",
        "<Dial>+1</Dial>",
    ],
)
@in_virtual_time
async def test_other_twiml_interrupts_what_runs(loop: VirtualLoop, doing: str) -> None:
    scene = Scene(loop, doing)
    scene.site.pages["/a.wav"] = wav(5)
    await elapse(2)
    before_s = scene.heard_s()

    assert scene.desk.redirect(
        "call-1",
        parse_twiml(
            "<Response><Pause length='5'/><Redirect>https://site.test/new</Redirect></Response>"
        ),
    )
    await elapse(6)

    assert len(scene.site.of("/new")) == 1
    assert scene.heard_s() <= before_s + 0.06
    assert all(far.left for far in scene.streams)
    await scene.close()


@in_virtual_time
async def test_call_can_be_changed_after_a_guest_has_left_it(loop: VirtualLoop) -> None:
    scene = Scene(loop, "<Pause length='60'/>")
    tools = Tools(scene.site, scene.desk.callbacks, scene._stream)
    options = TwimlOptions("guest", "https://site.test/guest")
    scene.site.pages["/guest"] = "<Pause length='1'/>"
    guest = AgentBench(loop, TwimlAgent(options, scene.desk, tools))
    guest.leg.dial()
    await elapse(3)
    assert guest.all(Ended)

    assert scene.desk.redirect("call-1", parse_twiml("<Response><Hangup/></Response>"))
    await elapse(1)

    assert scene.bench.all(Ended)
    assert not scene.desk.redirect("call-1", parse_twiml("<Response/>"))
    await guest.close()
    await scene.close()


@pytest.mark.twiml("A live call of an agent of protocol twilio is given TwiML")
@in_virtual_time
async def test_an_agent_that_has_the_call_is_interrupted_by_twiml(loop: VirtualLoop) -> None:
    left: list[bool] = []

    class Bot:
        async def on_call(self, call: AgentCall) -> None:
            call.accept_now()
            try:
                await asyncio.sleep(1000)
            finally:
                left.append(True)

    scene = Scene(loop, first=Bot())
    await elapse(1)
    assert scene.desk.redirect("call-1", Action("https://site.test/new"))
    scene.site.pages["/new"] = "<Hangup/>"
    await elapse(1)

    assert left == [True]
    assert scene.site.of("/new")
    assert scene.bench.all(Ended)
    await scene.close()


@in_virtual_time
async def test_when_the_caller_leaves_nothing_is_left(loop: VirtualLoop) -> None:
    scene = Scene(
        loop,
        '<Start><Stream url="wss://site.test/tap"/></Start><Gather><Play>/a.wav</Play></Gather>',
    )
    scene.site.pages["/a.wav"] = wav(5)
    await elapse(1)

    await scene.close()

    assert scene.streams[0].left
    assert not scene.desk.redirect("call-1", Action("https://site.test/new"))


# ---- the engine


@pytest.mark.twiml("Say with a local engine, language", differs="the engine's own voices")
@pytest.mark.real
@pytest.mark.beside
async def test_engine_speaks_what_it_reads() -> None:
    pcm, rate = await Engine("espeak-ng -v {language} --stdin --stdout").speak("Hello", "en")

    assert rate == 24000
    assert len(pcm) / rate > 0.2


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("no-such-program", "cannot be run"),
        ("false", "fails"),
        ("echo hello", "is no PCM WAV file"),
    ],
)
@pytest.mark.real
@pytest.mark.beside
async def test_engine_that_fails_is_an_error_of_ours(command: str, why: str) -> None:
    with pytest.raises(Exception, match=why):
        await Engine(command).speak("Hello", "../../etc")
