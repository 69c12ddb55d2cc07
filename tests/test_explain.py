"""`gateway route explain`: what would become of a call, in words and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.config import default_config, parse_config
from gateway.explain import Explanation, explain, render
from gateway.options import Config
from gateway.private import Private
from gateway.sip.message import Request, parse_message
from gateway.trunk.identity import CallerIdentity

NOBODY = CallerIdentity()
TRUNK = {
    "name": "carrier",
    "uri": "sip:carrier.example",
    "username": "acme",
    "password_env": "PASSWORD",
    "number_format": "plain",
    "country_code": "49",
    "national_prefix": "0",
}


def configure(*routes: dict[str, Any], **trunk: Any) -> Config:
    """A configuration with a German trunk."""
    agent = {"name": "echo", "protocol": "echo"}
    document = {"trunk": [{**TRUNK, **trunk}], "agent": [agent], "route": [*routes]}
    return parse_config(document, Path("gateway.toml"), {"PASSWORD": "hunter2"})


def route(match: str, *to: Any, **keys: Any) -> dict[str, Any]:
    return {"from": "browser", "match": match, "to": [*(to or ["trunk:carrier"])], **keys}


def ask(
    config: Config, dialled: str, source: str = "browser", caller: CallerIdentity = NOBODY,
    **other: Any,
) -> Explanation:  # fmt: skip
    return explain(config, source, dialled, caller, version="1.0", **other)


def invite_of(explanation: Explanation) -> Request:
    """The INVITE that is shown for the first target."""
    dialling = explanation.groups[0][0].dialling
    assert dialling is not None
    message = parse_message(dialling.invite.replace("\n", "\r\n").encode() + b"\r\n")
    assert isinstance(message, Request)
    return message


def judgements(explanation: Explanation) -> list[str]:
    return [rule.judgement for rule in explanation.rules]


def test_every_rule_says_what_it_has_to_do_with_the_call() -> None:
    config = configure(
        route("+1*"), route("+49*", **{"from": "sip"}), route("+49*"), route("*", "agent:echo")
    )

    assert judgements(ask(config, "+4930123456")) == [
        "names another number or name",
        "is for other callers",
        "matches",
        "not looked at",
    ]
    assert judgements(ask(config, "help"))[0] == "is for telephone numbers, and this is none"


def test_the_invite_is_the_one_that_would_be_sent() -> None:
    caller = CallerIdentity(Private("+4940555"), Private("Ann"))
    config = configure(route("0*"), pai="caller", headers_out=["X-*"])

    explanation = ask(config, "030123456", caller=caller, attributes={"X-Trace": "7"})

    sent = invite_of(explanation)
    assert sent.uri == "sip:4930123456@carrier.example"
    assert sent.headers.get("P-Asserted-Identity") == "<sip:4940555@127.0.0.1>"
    assert sent.headers.get("X-Trace") == "7"
    assert b"m=audio 20000 RTP/AVP 0 8 101" in sent.body
    dialling = explanation.groups[0][0].dialling
    assert dialling is not None
    assert (dialling.called, dialling.destination) == ("4930123456", "sip:carrier.example")


def test_the_transport_of_the_trunk_is_the_one_shown() -> None:
    config = configure(route("0*"), transport="tls")

    via = invite_of(ask(config, "030123456")).headers.get("Via")

    assert via is not None
    assert via.startswith("SIP/2.0/TLS 127.0.0.1")


def test_secrets_are_not_shown() -> None:
    config = configure(route("0*"), headers=["X-Api-Key: s3cret", "X-Account: 42"])

    text = render(ask(config, "030123456"))

    assert "hunter2" not in text
    assert "s3cret" not in text
    assert "X-Api-Key: ***" in text
    assert "X-Account: 42" in text
    assert "acme, password ***, for the first realm that asks" in text


def test_groups_and_options_are_told() -> None:
    config = configure(
        route(
            "0*", ["trunk:carrier", "agent:echo"], "reject:480",
            ringing_timeout_s=20, max_call_duration_s=600, failover_on=[503],
            transcode="never", codecs=["PCMA", "opus"],
        )
    )  # fmt: skip

    text = render(ask(config, "030123456"))

    assert "group 1: rings for 20 s at most; the next group on 503 or silence, if the" in text
    assert "ended after 600 s; prefers PCMA, opus; never transcodes" in text
    assert "  agent:echo is started" in text
    assert "  reject:480 refuses the call" in text


def test_a_trunk_that_cannot_write_the_number_says_why() -> None:
    (attempt,) = ask(configure(route("*")), "help").groups[0]

    assert attempt.dialling is None
    assert attempt.note.startswith("cannot be dialled (404): this trunk takes telephone numbers")


def test_what_no_route_names_is_refused() -> None:
    explanation = ask(configure(route("+1*")), "+4930123456")

    assert explanation.refusal == "404: no route leads from browser to this destination"
    assert explanation.groups == ()


def test_a_route_that_refuses_is_told_as_refusal() -> None:
    assert ask(configure(route("1", "reject:486")), "1").refusal == "486: the route refuses"


def test_an_emergency_number_is_told_as_one() -> None:
    refused = ask(configure(route("*")), "+112")

    assert refused.emergency == "112"
    assert (refused.refusal or "").startswith("403: Emergency number 112 cannot be reached")
    assert judgements(refused) == ["does not name this emergency number digit by digit"]
    served = ask(configure(route("112"), tech_prefix="77"), "+112")
    assert invite_of(served).uri == "sip:112@carrier.example"


def test_what_a_trunk_calls_is_read_as_it_writes_numbers() -> None:
    config = configure(route("+4930*", "agent:echo", **{"from": "trunk:carrier"}))

    explanation = ask(config, "4930123456", "trunk:carrier")

    assert explanation.dialled == "+4930123456"
    assert explanation.refusal is None


def test_a_user_calls_from_its_own_number_whatever_it_says() -> None:
    user = {"name": "ann", "password_env": "PASSWORD", "caller_id": "+4930777"}
    document = {"user": [user], "trunk": [TRUNK], "route": [route("0*", **{"from": "user"})]}
    config = parse_config(document, Path("gateway.toml"), {"PASSWORD": "hunter2"})

    explanation = ask(config, "030123456", "user:ann", CallerIdentity(Private("+15550100")))

    assert invite_of(explanation).from_.uri.user == "4930777"


@pytest.mark.parametrize("dialled", ["", "+1 555", "1@evil", "a\r\nX: 1", "trunk:carrier", ":"])
def test_what_cannot_be_dialled_is_explained_too(dialled: str) -> None:
    explanation = ask(configure(route("*"), route("echo", "agent:echo")), dialled)

    assert (explanation.refusal or "").startswith("404: ")


def test_an_agent_is_called_by_its_address() -> None:
    explanation = ask(configure(route("1"), route("2", "agent:echo")), "agent:echo")

    assert judgements(explanation)[1] == "matches"
    assert explanation.groups[0][0].target == "agent:echo"


def test_everything_is_there_as_json() -> None:
    told = json.loads(json.dumps(ask(configure(route("0*")), "030123456").to_json()))

    assert told["rules"][0]["judgement"] == "matches"
    assert told["options"]["failover_on"] == [408, 500, 502, 503, 504]
    assert told["options"]["codecs"] == {"transcode": "auto", "preferred": []}
    assert told["groups"][0][0]["dialling"]["called"] == "4930123456"


# ---- the command


def test_the_embedded_default_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["route", "explain", "+4930123456", "--caller", "+15550100", "--name", "Ann"])

    told = capsys.readouterr().out
    assert status == 0
    assert "> rule 1: match +* from browser, sip, api to trunk:lab" in told
    assert "    INVITE sip:+4930123456@127.0.0.1:5070 SIP/2.0\n" in told
    assert "    From: <sip:+15550100@127.0.0.1>;tag=" in told


def test_a_refused_call_is_an_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "explain", "112", "--from", "sip", "--json"]) == 1

    assert json.loads(capsys.readouterr().out)["emergency"] == "112"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "brwser"], "--from brwser: nobody calls from there; did you mean 'browser'?"),
        (["--from", "*"], "--from *: nobody calls from there"),
        (["--header", "X"], '--header X: write "NAME: VALUE"'),
        (["--config", "none.toml"], "none.toml: cannot be read"),
    ],
)
def test_a_wrong_question_is_answered_with_the_right_one(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["route", "explain", "1", *arguments]) == 2

    assert f"gateway: {said}" in capsys.readouterr().err


def test_a_check_warns_of_emergency_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(
        '[[trunk]]\nname = "a"\nuri = "sip:a"\n'
        '[[route]]\nfrom = "browser"\nmatch = "+1*"\nto = ["trunk:a"]\n'
    )

    assert main(["check", str(file)]) == 0

    told = capsys.readouterr()
    assert told.err.startswith("warning: emergency calls to 911, 112, 999, 933 are refused")
    assert "good" in told.out
    assert default_config({}).router.unserved == ("911", "112", "999", "933")
