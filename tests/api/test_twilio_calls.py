"""Twilio's REST interface: what is refused, and what its answers and callbacks say."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
from quart import Quart

from gateway.agents.protocol import call_token
from gateway.agents.twiml.agent import TwimlDesk
from gateway.api.twilio_calls import TwilioCalls, TwilioOptions
from gateway.api.twilio_form import MAX_FIELDS
from gateway.api.twilio_record import MAX_ENDED
from gateway.call.events import (
    CallAnswered,
    CallEnded,
    CallEvent,
    CallProgressed,
    CallStarted,
    LegNoted,
)
from gateway.errors import CapacityError, Fault, GatewayError, RoutingError
from gateway.leg.leg import EndReason
from gateway.net.destination import Destinations
from gateway.private import Private, Secret
from tests.support.loop import VirtualLoop, elapse, in_virtual_time
from tests.support.site import Site

ACCOUNT = "AC" + 32 * "a"
TOKEN = "secret-of-the-account"
BASE = f"/2010-04-01/Accounts/{ACCOUNT}"
BASIC = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
NOW = 1_600_000_000.0


class FakeNode:
    """What the interface asks of a node."""

    def __init__(self) -> None:
        self.placed: list[tuple[str, str, str, float | None]] = []
        self.hung_up: list[str] = []
        self.detects: list[bool] = []
        self.refuses: GatewayError | None = None
        self.ends_at_once = False
        self._observers: list[Callable[[CallEvent], None]] = []
        self._destinations = Destinations(self._nobody, trusted=["https://site.test/"])

    async def _nobody(self, host: str, port: int) -> tuple[str, ...]:
        return ()

    def place(
        self, agent: str, to: str, *, caller_id: str, ringing_s: float | None, detects: bool
    ) -> Any:
        if self.refuses is not None:
            raise self.refuses
        self.placed.append((agent, to, caller_id, ringing_s))
        self.detects.append(detects)
        call = f"gw-{len(self.placed)}"
        self.tell(CallStarted(call, 0.0, Private(caller_id), Private(to)))
        if self.ends_at_once:
            self.tell(ended(call, EndReason.UNAVAILABLE, answered=False, status=480))
        return SimpleNamespace(id=call)

    def hang_up(self, call_id: str) -> bool:
        self.hung_up.append(call_id)
        self.tell(ended(call_id, EndReason.HANGUP, answered=True))
        return True

    def follow(self, observer: Callable[[CallEvent], None]) -> Callable[[], None]:
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def check_url(self, url: str) -> None:
        self._destinations.check(url)

    def tell(self, *events: CallEvent) -> None:
        for event in events:
            for observer in self._observers:
                observer(event)


def ended(call: str, reason: EndReason, *, answered: bool, status: int = 0) -> CallEnded:
    return CallEnded(call, 9.0, reason, Fault.CALLEE, status, "", answered, 5.0)


class Scene:
    """The interface of an account, and a site that is told things."""

    def __init__(self, agent: str = "ivr") -> None:
        self.now = NOW
        self.node = FakeNode()
        self.site = Site({"/status": ""})
        self.desk = TwimlDesk(self.site)
        options = TwilioOptions(ACCOUNT, Secret(TOKEN), agent)
        self.app = Quart("test")
        self.calls = TwilioCalls(options, self.node, self.desk, now=lambda: self.now)
        self.calls.serve_on(self.app)

    async def ask(
        self, method: str, path: str, form: Any = None, *, basic: str = BASIC
    ) -> tuple[int, Any]:
        client: Any = self.app.test_client()
        response = await client.open(
            BASE + path,
            method=method,
            data=None if form is None else urlencode(form, doseq=True),
            headers={
                "Authorization": f"Basic {basic}",
                "Content-Type": "application/x-www-form-urlencoded",
            },
        )
        return response.status_code, await response.get_json()

    async def create(self, **form: Any) -> dict[str, Any]:
        """A call that is placed."""
        wish = {"To": "+15550100", "From": "+15550001", "Url": "https://site.test/out", **form}
        status, told = await self.ask("POST", "/Calls.json", wish)
        assert status == 201, told
        call: dict[str, Any] = told
        return call

    def come_in(self, call: str) -> str:
        """A call comes in and is answered; its CallSid."""
        self.node.tell(
            CallStarted(call, 0.0, Private("+1555"), Private("bot")), CallAnswered(call, 1.0, "l")
        )
        return "CA" + call_token(call)


def code(answer: tuple[int, Any]) -> tuple[int, int]:
    status, told = answer
    assert told["status"] == status
    assert told["more_info"] == f"https://www.twilio.com/docs/errors/{told['code']}"
    assert told["message"]
    return status, told["code"]


# ---- who may


@pytest.mark.parametrize(
    "credentials",
    ["", ":", f"{ACCOUNT}:", f"{ACCOUNT}:wrong", f"AC{32 * 'b'}:{TOKEN}", f"x{ACCOUNT}:{TOKEN}"],
)
@pytest.mark.twiml("REST: Basic authentication by account and token", differs="no API keys (SK…)")
async def test_strangers_are_refused(credentials: str) -> None:
    scene = Scene()
    sid = scene.come_in("c")

    for path in ("/Calls.json", f"/Calls/{sid}.json"):
        for method in ("GET", "POST"):
            basic = base64.b64encode(credentials.encode()).decode()
            assert code(await scene.ask(method, path, {}, basic=basic)) == (401, 20003)
    assert code(await scene.ask("GET", "/Calls.json", basic="!!!")) == (401, 20003)
    assert not scene.node.hung_up


async def test_another_account_has_nothing_here() -> None:
    scene = Scene()

    response = await scene.app.test_client().get(
        f"/2010-04-01/Accounts/AC{32 * 'b'}/Calls.json", headers={"Authorization": f"Basic {BASIC}"}
    )

    assert response.status_code == 404
    assert (await response.get_json())["code"] == 20404


async def test_a19_page_of_another_site_has_nothing_of_a_browsers_credentials() -> None:
    scene = Scene()

    response = await scene.app.test_client().post(
        f"{BASE}/Calls.json",
        form={"To": "+1", "From": "+2", "Twiml": "<Response/>"},
        headers={"Authorization": f"Basic {BASIC}", "Origin": "https://evil.example"},
    )

    assert response.status_code == 403
    assert not scene.node.placed


# ---- create


async def test_what_is_placed_is_told_as_twilio_tells_it() -> None:
    scene = Scene()

    call = await scene.create(Timeout="25", SendDigits="ww12#")

    assert scene.node.placed == [("ivr", "+15550100,ww12#", "+15550001", 25.0)]
    assert re.fullmatch(r"CA[0-9a-f]{32}", call["sid"])
    assert call["date_created"] == "Sun, 13 Sep 2020 12:26:40 +0000"
    assert call["start_time"] is None
    assert call["uri"] == f"{BASE}/Calls/{call['sid']}.json"
    wanted = {
        "status": "queued",
        "direction": "outbound-api",
        "from": "+15550001",
        "to": "+15550100",
        "account_sid": ACCOUNT,
        "api_version": "2010-04-01",
        "duration": None,
    }
    assert wanted.items() <= call.items()


@pytest.mark.twiml("REST: To of client: and sip:", differs="users and user parts that routes know")
@pytest.mark.parametrize(
    ("to", "dialled"),
    [("client:ann", "user:ann"), ("sip:bob@example.com", "bob"), ("+1555", "+1555")],
)
async def test_whom_a_call_is_to(to: str, dialled: str) -> None:
    scene = Scene()

    await scene.create(To=to)

    assert scene.node.placed[0][1] == dialled


@pytest.mark.parametrize(
    ("from_", "shown"),
    [("client:ann", "ann"), ("sip:bob@example.com", "bob"), ("+15550001", "+15550001")],
)
async def test_whom_a_call_is_from(from_: str, shown: str) -> None:
    scene = Scene()

    call = await scene.create(From=from_)

    assert call["from"] == from_
    assert scene.node.placed[0][2] == shown


async def test_call_that_is_over_at_once_is_told_of_and_not_kept_as_a_live_one() -> None:
    scene = Scene()
    scene.node.ends_at_once = True

    call = await scene.create()

    assert call["status"] == "no-answer"
    assert call["end_time"] is not None


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ({"To": ""}, (400, 21201)),
        ({"From": ""}, (400, 21213)),
        ({"From": "+1\r\nX-Evil: 1"}, (400, 21212)),
        ({"From": '"><sip:x@evil.example>'}, (400, 21212)),
        ({"From": "client:"}, (400, 21212)),
        ({"Url": "wss://agent.example.com/"}, (400, 21205)),
        ({"StatusCallback": "wss://site.test/s"}, (400, 21205)),
        ({"Url": ""}, (400, 21205)),
        ({"Url": "http://agent.example.com/"}, (400, 21205)),
        ({"Url": "https://127.0.0.1/"}, (400, 21205)),
        ({"Url": "https://user@agent.example.com/"}, (400, 21205)),
        ({"Method": "PUT"}, (400, 21403)),
        ({"StatusCallback": "https://10.0.0.1/"}, (400, 21205)),
        ({"StatusCallback": "https://site.test/s", "StatusCallbackEvent": "x"}, (400, 21626)),
        ({"Twiml": "<Response/>"}, (400, 20001)),
        ({"Url": "", "Twiml": "<Response>"}, (400, 12100)),
        ({"Url": "", "Twiml": "<!DOCTYPE x><Response/>"}, (400, 12100)),
        ({"Url": "", "Twiml": f"<Response>{4000 * ' '}</Response>"}, (400, 21623)),
        ({"Timeout": "soon"}, (400, 20001)),
        ({f"x{n}": "y" for n in range(MAX_FIELDS)}, (400, 20001)),
    ],
)
async def test_a21_what_cannot_be_placed_is_refused(form: dict[str, str], wanted: Any) -> None:
    scene = Scene()
    whole = {"To": "+15550100", "From": "+15550001", "Url": "https://site.test/out", **form}
    whole = {name: value for name, value in whole.items() if value}

    assert code(await scene.ask("POST", "/Calls.json", whole)) == wanted
    assert not scene.node.placed


@pytest.mark.twiml("REST: Record, ApplicationSid", missing=True)
@pytest.mark.parametrize(
    "form",
    [{"Record": "true"}, {"MachineDetection": "Perhaps"}, {"ApplicationSid": "AP1"}],
)
async def test_what_is_not_possible_is_refused_rather_than_ignored(form: dict[str, str]) -> None:
    scene = Scene()
    whole = {"To": "+1", "From": "+2", "Url": "https://site.test/out", **form}

    assert code(await scene.ask("POST", "/Calls.json", whole)) == (400, 20001)


async def test_without_an_agent_of_twiml_nothing_is_placed() -> None:
    scene = Scene(agent="")
    form = {"To": "+1", "From": "+2", "Url": "https://site.test/out"}

    assert code(await scene.ask("POST", "/Calls.json", form)) == (400, 20001)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (RoutingError("no route"), (400, 21215)),
        (RoutingError("no", status=403), (400, 21215)),
        (RoutingError("no number", status=484), (400, 21211)),
        (CapacityError("full"), (429, 20429)),
    ],
)
async def test_why_the_node_does_not_place_a_call(error: GatewayError, wanted: Any) -> None:
    scene = Scene()
    scene.node.refuses = error
    form = {"To": "+1", "From": "+2", "Url": "https://site.test/out"}

    assert code(await scene.ask("POST", "/Calls.json", form)) == wanted


# ---- fetch, list


@pytest.mark.twiml("REST: lists by Status, To, From, in pages", differs="no dates to search by")
async def test_lists_come_in_pages_newest_first() -> None:
    scene = Scene()
    sids = [scene.come_in(f"c{n}") for n in range(5)]
    await scene.create()

    first = (await scene.ask("GET", "/Calls.json?PageSize=2&Status=in-progress"))[1]
    second = (await scene.ask("GET", first["next_page_uri"].removeprefix(BASE)))[1]
    third = (await scene.ask("GET", second["next_page_uri"].removeprefix(BASE)))[1]
    queued = (await scene.ask("GET", "/Calls.json?Status=queued"))[1]

    told = [call["sid"] for page in (first, second, third) for call in page["calls"]]
    assert told == sids[::-1]
    assert third["next_page_uri"] is None
    assert third["previous_page_uri"].endswith("Page=1")
    assert (first["page"], first["page_size"], first["start"], first["end"]) == (0, 2, 0, 1)
    assert [call["direction"] for call in queued["calls"]] == ["outbound-api"]


async def test_of_calls_that_are_over_the_last_are_kept() -> None:
    scene = Scene()
    for n in range(MAX_ENDED + 10):
        scene.come_in(f"c{n}")
        scene.node.tell(ended(f"c{n}", EndReason.HANGUP, answered=True))
    live = scene.come_in("live")

    assert (await scene.ask("GET", f"/Calls/CA{call_token('c9')}.json"))[0] == 404
    assert (await scene.ask("GET", f"/Calls/CA{call_token('c10')}.json"))[0] == 200
    assert (await scene.ask("GET", f"/Calls/{live}.json"))[0] == 200


# ---- update


async def test_pipecat_hangs_up_as_it_is_written() -> None:
    """pipecat's TwilioFrameSerializer: this very form; 200 is success, 404 with 20404 too."""
    scene = Scene()
    sid = scene.come_in("c")

    status, told = await scene.ask("POST", f"/Calls/{sid}.json", {"Status": "completed"})
    again = await scene.ask("POST", f"/Calls/{sid}.json", {"Status": "completed"})

    assert (status, told["status"]) == (200, "completed")
    assert scene.node.hung_up == ["c"]
    assert code(again) == (404, 20404)


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ({}, (400, 20001)),
        ({"Status": "paused"}, (400, 20001)),
        ({"Status": "canceled"}, (400, 21220)),
        ({"Status": "completed", "Url": "https://site.test/x"}, (400, 20001)),
        ({"Url": "https://site.test/x", "Twiml": "<Response/>"}, (400, 20001)),
        ({"Url": "https://169.254.169.254/"}, (400, 21205)),
        ({"Url": "https://site.test/x"}, (400, 21220)),  # no agent of TwiML attends it
    ],
)
async def test_what_cannot_be_changed_is_refused(form: dict[str, str], wanted: Any) -> None:
    scene = Scene()
    sid = scene.come_in("c")

    assert code(await scene.ask("POST", f"/Calls/{sid}.json", form)) == wanted
    assert not scene.node.hung_up


@pytest.mark.twiml("REST: deleting a call", missing=True)
async def test_calls_are_not_deleted() -> None:
    scene = Scene()
    sid = scene.come_in("c")

    assert code(await scene.ask("DELETE", f"/Calls/{sid}.json")) == (405, 20004)


# ---- callbacks


@pytest.mark.parametrize(
    ("reason", "status", "told"),
    [
        (EndReason.BUSY, 486, "busy"),
        (EndReason.DECLINED, 603, "busy"),
        (EndReason.NO_ANSWER, 408, "no-answer"),
        (EndReason.UNAVAILABLE, 480, "no-answer"),
        (EndReason.CANCELLED, 487, "canceled"),
        (EndReason.NOT_FOUND, 404, "failed"),
        (EndReason.UNREACHABLE, 503, "failed"),
    ],
)
@in_virtual_time
async def test_callback_tells_how_it_ended(
    loop: VirtualLoop, reason: EndReason, status: int, told: str
) -> None:
    scene = Scene()
    await scene.create(StatusCallback="https://site.test/status")

    scene.node.tell(
        CallProgressed("gw-1", 1.0, "l", 180, "Ringing", early_media=False),
        ended("gw-1", reason, answered=False, status=status),
    )
    await elapse(1)

    (fields,) = scene.site.of("/status")
    assert (fields["CallStatus"], fields["SipResponseCode"]) == (told, str(status))
    assert fields["CallDuration"] == "0"


@pytest.mark.twiml("Status callbacks by GET")
@in_virtual_time
async def test_callbacks_come_in_order_though_the_server_is_slow(loop: VirtualLoop) -> None:
    scene = Scene()
    scene.site.delay_s = 3.0
    await scene.create(
        StatusCallback="https://site.test/status",
        StatusCallbackMethod="GET",
        StatusCallbackEvent=["initiated", "ringing", "answered", "completed"],
    )

    scene.node.tell(
        CallProgressed("gw-1", 1.0, "l", 180, "Ringing", early_media=False),
        CallAnswered("gw-1", 2.0, "l"),
    )
    scene.now += 61
    scene.node.tell(ended("gw-1", EndReason.HANGUP, answered=True))
    await elapse(20)

    told = scene.site.of("/status")
    assert [each["SequenceNumber"] for each in told] == ["0", "1", "2", "3"]
    assert [each["CallStatus"] for each in told] == [
        "initiated",
        "ringing",
        "in-progress",
        "completed",
    ]
    assert (told[-1]["CallDuration"], told[-1]["Duration"]) == ("61", "2")
    assert {visit.method for visit in scene.site.visits} == {"GET"}


@in_virtual_time
async def test_callback_that_fails_is_tried_once_more(loop: VirtualLoop) -> None:
    scene = Scene()
    scene.site.pages["/status"] = 500
    await scene.create(StatusCallback="https://site.test/status")

    scene.node.tell(ended("gw-1", EndReason.HANGUP, answered=False))
    await elapse(60)

    assert len(scene.site.of("/status")) == 2


@pytest.mark.twiml("REST: MachineDetection with AsyncAmd and its status callback")
@in_virtual_time
async def test_who_has_answered_is_told_meanwhile(loop: VirtualLoop) -> None:
    scene = Scene()
    call = await scene.create(
        MachineDetection="Enable",
        AsyncAmd="true",
        AsyncAmdStatusCallback="https://site.test/status",
    )

    data = {"kind": "beep", "after_ms": 4200}
    scene.node.tell(LegNoted("gw-1", 3.0, "l", "answering_machine", data))
    await elapse(1)

    assert scene.node.detects == [True]
    assert scene.site.of("/status") == [
        {
            "CallSid": call["sid"],
            "AccountSid": ACCOUNT,
            "AnsweredBy": "machine_end_beep",
            "MachineDetectionDuration": "4200",
        }
    ]
    assert (await scene.ask("GET", f"/Calls/{call['sid']}.json"))[1]["answered_by"] == (
        "machine_end_beep"
    )
