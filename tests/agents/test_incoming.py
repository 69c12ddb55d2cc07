"""Calls offered by webhook: accepted, rejected, referred, hung up, and programs that fail."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from openai import InvalidWebhookSignatureError, OpenAI
from quart import Quart

from gateway.agents.agent import AgentCall
from gateway.agents.incoming import (
    IncomingCall,
    IncomingCalls,
    Settings,
    WebhookAgent,
    describe_offer,
    read_secret,
    sign,
)
from gateway.agents.protocol import AgentAddress, Opening, WireModule
from gateway.agents.remote import RemoteAgent, RemoteOptions
from gateway.agents.sideband import Sideband
from gateway.agents.tool import Transfer
from gateway.agents.wire import openai
from gateway.api.realtime import RealtimeControl, realtime_operations
from gateway.api.server import Access, OpenSockets, create_server
from gateway.errors import RoutingError
from gateway.leg.leg import Answered, Ended, EndReason, Progressed, ToolAsked
from gateway.net.agent_connection import AgentConnection, ConnectError
from gateway.net.webhook import WebAnswer, WebhookError, WebRequest
from gateway.private import Secret
from tests.agents.wire.facts import FACTS
from tests.api.site import WEB
from tests.support.agents import AgentBench, Attendant
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

KEY = b"thirty-two bytes of randomness.."
SECRET = "whsec_" + base64.b64encode(KEY).decode()
NOW = 1_800_000_000


class Program:
    """The web server of a program, without a network."""

    def __init__(self, status: int | None = 200) -> None:
        """`status`: of its answer; None: it cannot be reached; 0: it says nothing."""
        self.status = status
        self.asked: list[WebRequest] = []

    async def ask(self, request: WebRequest) -> WebAnswer:
        self.asked.append(request)
        if self.status is None:
            raise WebhookError("app.example.com cannot be connected to")
        if self.status == 0:
            await asyncio.Event().wait()
        return WebAnswer(self.status or 200, "", b"", request.url)

    @property
    def call_id(self) -> str:
        (request,) = self.asked
        return str(json.loads(request.body)["data"]["call_id"])


async def _nobody(opening: Opening, *, is_stream: bool) -> AgentConnection:
    raise ConnectError("nobody is connected here")


def new_app(control: RealtimeControl) -> Quart:
    return create_server(
        access=Access(None),
        web=WEB,
        version="1",
        operations=realtime_operations(control),
        sockets={},
        open_sockets=OpenSockets(),
    )


class Desk:
    """An agent behind a webhook in a call, and the operations on it."""

    def __init__(
        self, loop: VirtualLoop, program: Program | None = None, fallback: str = ""
    ) -> None:
        self.program = program or Program()
        self.calls = IncomingCalls()
        self.sessions: list[Mapping[str, Any]] = []
        agent = WebhookAgent(
            AgentAddress("front", "https://app.example.com/hook", secret=Secret(SECRET)),
            Settings(),
            calls=self.calls,
            web=self.program,
            answerer=self._answer,
            give_up=self._fall_back if fallback else None,
        )
        self._fallback = fallback
        self.bench = AgentBench(loop, agent)
        self.app = new_app(self)

    def incoming(self, call_id: str) -> IncomingCall:
        return self.calls.find(call_id)

    async def _fall_back(self, call: AgentCall, detail: str) -> None:
        """As an agent over a wire that was never there."""
        others = {self._fallback: self._answer({"detail": detail}, None)}
        options = RemoteOptions(fallback=(f"agent:{self._fallback}",))
        address = AgentAddress("model", "wss://model.example.com/")
        module = cast(WireModule, openai)
        remote = RemoteAgent(
            address, module, openai.Settings(), options, dial=_nobody, agents=others
        )
        await remote.give_up(call, detail)

    def _answer(self, session: Mapping[str, Any], sideband: Sideband | None) -> Attendant:
        self.sessions.append(session)

        async def on_call(call: AgentCall) -> None:
            await call.answer()
            await asyncio.Event().wait()

        return Attendant(on_call)

    async def ring(self) -> None:
        self.bench.leg.dial()
        await elapse(0.1)

    async def post(self, verb: str, body: Any = None, call_id: str = "") -> int:
        path = f"/v1/realtime/calls/{call_id or self.program.call_id}/{verb}"
        client = self.app.test_client()
        answer = await (client.post(path) if body is None else client.post(path, json=body))
        await elapse(0.1)
        return answer.status_code


# ---- the webhook


def webhook_of(request: WebRequest) -> tuple[str, dict[str, str]]:
    return request.body.decode(), dict(request.headers)


def test_a22_openais_own_package_takes_the_webhook() -> None:
    now = int(time.time())
    body = json.dumps(describe_offer("rtc_1", FACTS, at=now)).encode()

    payload, headers = webhook_of(sign("https://app.example.com/", body, KEY, at=now))
    event: Any = OpenAI(api_key="x").webhooks.unwrap(payload, headers, secret=SECRET)

    assert event.type == "realtime.call.incoming"
    assert event.data.call_id == "rtc_1"
    told = [(header.name, header.value) for header in event.data.sip_headers]
    assert told == [
        ("From", "<sip:+15550001@n1>"),
        ("To", "<sip:+15550100@n1>"),
        ("Call-ID", "n1-7"),
        ("tenant", "acme"),
    ]


@pytest.mark.parametrize(
    ("age_s", "tamper", "secret"),
    [
        (0, ("acme", "evil"), SECRET),
        (0, ("", ""), "whsec_" + base64.b64encode(b"another key").decode()),
        (305, ("", ""), SECRET),
        (-360, ("", ""), SECRET),  # by more than what the test itself may take
    ],
    ids=["changed", "of another key", "replayed late", "of the future"],
)
def test_a22_openais_own_package_refuses_a_webhook_that_is_not_ours(
    age_s: int, tamper: tuple[str, str], secret: str
) -> None:
    at = int(time.time()) - age_s
    body = json.dumps(describe_offer("rtc_1", FACTS, at=at)).encode()

    payload, headers = webhook_of(sign("https://app.example.com/", body, KEY, at=at))

    with pytest.raises(InvalidWebhookSignatureError):
        OpenAI(api_key="x").webhooks.unwrap(payload.replace(*tamper), headers, secret=secret)


def test_a22_signature_covers_id_time_and_body() -> None:
    first = dict(sign("https://app.example.com/", b"{}", KEY, at=NOW).headers)
    second = dict(sign("https://app.example.com/", b"{}", KEY, at=NOW).headers)

    assert first["webhook-timestamp"] == second["webhook-timestamp"] == str(NOW)
    assert first["webhook-id"] != second["webhook-id"]
    assert first["webhook-signature"] != second["webhook-signature"]


def test_caller_who_is_not_told_is_anonymous() -> None:
    offer = describe_offer("rtc_1", replace(FACTS, caller=""), at=NOW)

    assert offer["data"]["sip_headers"][0]["value"] == "<sip:anonymous@n1>"


def test_a15_caller_cannot_write_another_header_than_its_own() -> None:
    offer = describe_offer("rtc_1", replace(FACTS, caller='1>;tag=x, "ann" <sip:\udcff'), at=NOW)

    (from_,) = (h["value"] for h in offer["data"]["sip_headers"] if h["name"] == "From")
    assert from_ == "<sip:1%3E;tag=x,%20%22ann%22%20%3Csip%3A?@n1>"


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_#", "whsec_abc", "secret"])
def test_secret_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        read_secret(text)


# ---- what the program says


@in_virtual_time
async def test_call_rings_until_it_is_accepted(loop: VirtualLoop) -> None:
    desk = Desk(loop)
    await desk.ring()

    assert [event.status for event in desk.bench.all(Progressed)] == [180]
    assert not desk.bench.all(Answered)
    status = await desk.post("accept", {"type": "realtime", "instructions": "Hi", "extra": [1]})

    assert status == 200
    assert desk.sessions == [{"type": "realtime", "instructions": "Hi", "extra": [1]}]
    assert desk.bench.all(Answered)
    await desk.bench.close()


@in_virtual_time
async def test_call_can_be_accepted_before_the_webhook_is_answered(loop: VirtualLoop) -> None:
    desk = Desk(loop, Program(status=0))
    await desk.ring()

    status = await desk.post("accept", {"type": "realtime"})

    assert status == 200
    assert desk.bench.all(Answered)
    await desk.bench.close()


@in_virtual_time
@pytest.mark.parametrize(("body", "status"), [(None, 603), ({}, 603), ({"status_code": 486}, 486)])
async def test_rejected_call_is_refused_as_it_was_said(
    loop: VirtualLoop, body: Any, status: int
) -> None:
    desk = Desk(loop)
    await desk.ring()

    answer = await desk.post("reject", body)

    assert answer == 200
    (ended,) = desk.bench.all(Ended)
    assert ended.status == status
    await desk.bench.close()


@in_virtual_time
@pytest.mark.parametrize(
    ("uri", "to"),
    [
        ("tel:+15550142", "+15550142"),
        ("tel:+1-555-0142", "+15550142"),
        ("sip:ann@pbx.example.com", "ann"),
        ("sip:+15550142@evil.example.com;transport=tls", "+15550142"),
    ],
)
async def test_referred_call_is_transferred_by_our_routes(
    loop: VirtualLoop, uri: str, to: str
) -> None:
    desk = Desk(loop)
    await desk.ring()
    await desk.post("accept", {"type": "realtime"})

    status = await desk.post("refer", {"target_uri": uri})

    assert status == 200
    (asked,) = desk.bench.all(ToolAsked)
    assert isinstance(asked.tool, Transfer)
    assert asked.tool.to == to
    await desk.bench.close()


@in_virtual_time
async def test_call_is_hung_up(loop: VirtualLoop) -> None:
    desk = Desk(loop)
    await desk.ring()
    await desk.post("accept", {"type": "realtime"})

    status = await desk.post("hangup")

    assert status == 200
    (ended,) = desk.bench.all(Ended)
    assert ended.reason is EndReason.HANGUP
    await desk.bench.close()


@in_virtual_time
async def test_call_that_was_not_accepted_is_declined_by_a_hangup(loop: VirtualLoop) -> None:
    desk = Desk(loop)
    await desk.ring()

    await desk.post("hangup")

    (ended,) = desk.bench.all(Ended)
    assert ended.status == 603
    await desk.bench.close()


@in_virtual_time
async def test_decision_cannot_be_changed(loop: VirtualLoop) -> None:
    desk = Desk(loop)
    await desk.ring()
    early = await desk.post("refer", {"target_uri": "tel:+15550142"})
    await desk.post("accept", {"type": "realtime"})

    again = await desk.post("accept", {"type": "realtime"})
    rejected = await desk.post("reject")

    assert (early, again, rejected) == (409, 409, 409)
    await desk.bench.close()


@in_virtual_time
async def test_call_that_is_over_is_not_known_any_more(loop: VirtualLoop) -> None:
    desk = Desk(loop)
    await desk.ring()
    desk.bench.leg.end(EndReason.HANGUP)
    await elapse(0.1)

    status = await desk.post("accept", {"type": "realtime"})

    assert status == 404
    with pytest.raises(RoutingError):
        desk.incoming(desk.program.call_id)
    await desk.bench.close()


@in_virtual_time
@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("accept", {}),
        ("accept", {"type": "transcription"}),
        ("accept", {"type": "realtime", "audio": 7}),
        ("accept", {"type": "realtime", "tools": ["x"]}),
        ("accept", []),
        ("reject", {"status_code": 200}),
        ("reject", {"status_code": "x"}),
        ("refer", {}),
        ("refer", {"target_uri": "mailto:ann@example.com"}),
        ("refer", {"target_uri": "sip:pbx.example.com"}),
        ("refer", {"target_uri": "tel:"}),
        ("refer", {"target_uri": "sip:" + "x" * 300}),
    ],
    ids=str,
)
async def test_request_that_makes_no_sense_is_refused(
    loop: VirtualLoop, verb: str, body: Any
) -> None:
    desk = Desk(loop)
    await desk.ring()
    if verb == "refer":
        await desk.post("accept", {"type": "realtime"})

    status = await desk.post(verb, body)

    assert status == 400
    assert not desk.bench.all(Ended)
    await desk.bench.close()


# ---- programs that fail


@in_virtual_time
@pytest.mark.parametrize("status", [None, 404, 500])
async def test_f18_webhook_that_fails_ends_the_call_at_once(
    loop: VirtualLoop, status: int | None
) -> None:
    desk = Desk(loop, Program(status))
    await desk.ring()

    (ended,) = desk.bench.all(Ended)
    assert ended.reason is EndReason.AGENT_FAILED
    await desk.bench.close()


@in_virtual_time
async def test_f18_fallback_takes_a_call_that_no_program_was_told_of(loop: VirtualLoop) -> None:
    desk = Desk(loop, Program(None), fallback="backup")

    await desk.ring()

    assert desk.sessions == [{"detail": "app.example.com cannot be connected to"}]
    assert desk.bench.all(Answered)
    assert not desk.bench.all(Ended)
    await desk.bench.close()


@in_virtual_time
async def test_f18_program_has_no_say_in_a_call_that_others_have_taken(loop: VirtualLoop) -> None:
    desk = Desk(loop, Program(500), fallback="backup")
    await desk.ring()

    assert await desk.post("accept", {"type": "realtime"}) == 404
    assert await desk.post("reject") == 404
    assert not desk.bench.all(Ended)
    await desk.bench.close()


@in_virtual_time
async def test_second_program_in_a_call_outlasts_the_first(loop: VirtualLoop) -> None:
    desk = Desk(loop)
    await desk.ring()
    first = desk.calls.find(desk.program.call_id)
    again = IncomingCall(desk.bench.leg._call)
    desk.calls.enter(again)

    desk.calls.leave(first)

    assert desk.calls.find(again.id) is again
    desk.calls.leave(again)
    await desk.bench.close()


@in_virtual_time
async def test_f18_program_that_never_decides_ends_the_call(loop: VirtualLoop) -> None:
    desk = Desk(loop)
    await desk.ring()
    await elapse(9.5)
    assert not desk.bench.all(Ended)

    await elapse(1)

    (ended,) = desk.bench.all(Ended)
    assert ended.reason is EndReason.AGENT_FAILED
    await desk.bench.close()


async def test_operations_are_in_the_openapi_document() -> None:
    document = await (await new_app(NoCalls()).test_client().get("/v1/openapi.json")).get_json()

    place = "/v1/realtime/calls/{id}/"
    verbs = {path.removeprefix(place) for path in document["paths"] if path.startswith(place)}
    assert verbs == {"accept", "reject", "refer", "hangup"}
    assert "AcceptedSession" in document["components"]["schemas"]


class NoCalls:
    def incoming(self, call_id: str) -> IncomingCall:
        return IncomingCalls().find(call_id)
