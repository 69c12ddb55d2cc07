"""Who may use the server, how refusals look, and that its OpenAPI document tells the truth."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Any

import pytest
from quart import Quart
from quart.testing import WebsocketResponseError

from gateway.api.calls import CallInfo, CallList, NewCall
from gateway.api.openapi import Problem
from gateway.api.server import MAX_BODY_BYTES, Access, OpenSockets, create_server
from tests.api.site import WEB, FakeNode, new_app
from tests.support.loop import VirtualLoop, in_virtual_time

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
API = ("/v1/", "/healthz")
"The page and its files are no part of it."


async def ask(app: Quart, method: str, path: str, **rest: Any) -> tuple[int, Any, Any]:
    """Status, JSON and headers of an answer."""
    response = await app.test_client().open(path, method=method, **rest)
    text = await response.get_data(as_text=True)
    return response.status_code, json.loads(text) if text else None, response.headers


def is_problem(body: Any) -> bool:
    return isinstance(body, dict) and Problem.model_validate(body).model_dump() == body


# ---- who may


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Basic dG9rZW4=", 401),
        ("Bearer", 401),
        ("Bearer \u00e9", 401),
        ("Bearer s3cret", 200),
        ("bearer  s3cret", 200),
    ],
)
@in_virtual_time
async def test_api_wants_the_token(loop: VirtualLoop, header: str | None, status: int) -> None:
    app = new_app(FakeNode(loop), "s3cret")
    headers = {} if header is None else {"Authorization": header}

    got, body, answered = await ask(app, "GET", "/v1/calls", headers=headers)

    assert got == status
    assert (status == 200) or (is_problem(body) and answered["WWW-Authenticate"] == "Bearer")


@in_virtual_time
async def test_document_needs_no_token_and_unknown_paths_do(loop: VirtualLoop) -> None:
    app = new_app(FakeNode(loop), "s3cret")

    assert (await ask(app, "GET", "/v1/openapi.json"))[0] == 200
    assert (await ask(app, "GET", "/v1/nothing"))[0] == 401


@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        ("localhost", True),
        ("localhost:8080", True),
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("192.0.2.7", True),
        ("voice.example", True),
        ("VOICE.example:8443", True),
        ("evil.example", False),
        ("voice.example.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
    ],
)
@in_virtual_time
async def test_stranger_in_the_host_header_is_rebinding(
    loop: VirtualLoop, host: str, is_known: bool
) -> None:
    app = new_app(FakeNode(loop), None, "voice.example")

    status, body, _ = await ask(app, "GET", "/v1/calls", headers={"Host": host})

    assert status == (200 if is_known else HTTPStatus.MISDIRECTED_REQUEST)
    assert is_known or body["code"] == "unknown-host"
    assert Access(None, frozenset({"voice.example"})).is_known_host(host) is is_known


async def socket_status(app: Quart, path: str = "/v1/signal", **rest: Any) -> int:
    """101 where a WebSocket is opened, else the status of the refusal."""
    try:
        async with app.test_client().websocket(path, **rest) as socket:
            if path == "/v1/signal":
                await socket.receive()
    except WebsocketResponseError as error:
        body = json.loads(await error.response.get_data(as_text=True))
        assert is_problem(body)
        return error.response.status_code
    return 101


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        (None, "localhost", 101),
        ("http://localhost", "localhost", 101),
        ("http://localhost:8080", "localhost:8080", 101),
        ("http://localhost:9090", "localhost:8080", 403),
        ("https://evil.example", "localhost", 403),
        ("null", "localhost", 403),
        ("", "localhost", 403),
        ("https://voice.example", "voice.example", 101),
        # A proxy that says its own name to us:
        ("https://voice.example", "127.0.0.1:8080", 101),
        ("https://voice.example.evil.example", "127.0.0.1:8080", 403),
        ("https://evil.example", "evil.example", 421),
    ],
)
@in_virtual_time
async def test_page_of_another_site_may_not_open_sockets(
    loop: VirtualLoop, origin: str | None, host: str, status: int
) -> None:
    app = new_app(FakeNode(loop), None, "voice.example")
    headers = {"Host": host} | ({} if origin is None else {"Origin": origin})

    assert await socket_status(app, headers=headers) == status


@pytest.mark.parametrize("path", ["/v1/signal", "/v1/events"])
@in_virtual_time
async def test_socket_takes_the_token_as_a_subprotocol(loop: VirtualLoop, path: str) -> None:
    app = new_app(FakeNode(loop), "s3cret")
    tokens = {"subprotocols": ["gateway.v1", "bearer.s3cret"]}

    assert await socket_status(app, path) == 401
    assert await socket_status(app, path, scope_base={"subprotocols": ["bearer.wrong"]}) == 401
    assert await socket_status(app, path, scope_base=tokens) == 101
    assert await socket_status(app, path, headers={"Authorization": "Bearer s3cret"}) == 101


# ---- how refusals look


@pytest.mark.parametrize(
    ("method", "path", "rest", "status", "code"),
    [
        ("GET", "/v2/calls", {}, 404, "not-found"),
        ("GET", "/v1/calls/nobody", {}, 404, "unknown-call"),
        ("DELETE", "/v1/calls/nobody", {}, 404, "unknown-call"),
        ("PUT", "/v1/calls", {}, 405, "method-not-allowed"),
        ("POST", "/v1/calls", {"data": b"{}"}, 415, "not-json"),
        (
            "POST",
            "/v1/calls",
            {"json": {"from": "a", "to": "b"}, "headers": {"Content-Encoding": "gzip"}},
            415,
            "packed",
        ),
        ("POST", "/v1/calls", {"json": {}}, 400, "bad-request"),
        ("POST", "/v1/calls", {"json": []}, 400, "bad-request"),
        ("POST", "/v1/calls", {"json": {"from": "a", "to": "b", "x": 1}}, 400, "bad-request"),
        ("POST", "/v1/calls", {"json": {"from": "a" * 200, "to": "b"}}, 400, "bad-request"),
        (
            "POST",
            "/v1/calls",
            {"data": b"[" * 10_000, "headers": {"Content-Type": "application/json"}},
            400,
            "bad-request",
        ),
        (
            "POST",
            "/v1/calls",
            {
                "data": b" " * (MAX_BODY_BYTES + 1),
                "headers": {"Content-Type": "application/json"},
            },
            413,
            "request-entity-too-large",
        ),
        ("POST", "/v1/calls", {"json": {"from": "a", "to": "nowhere"}}, 404, "routing"),
    ],
)
@in_virtual_time
async def test_refusal_is_a_problem(
    loop: VirtualLoop, method: str, path: str, rest: dict[str, Any], status: int, code: str
) -> None:
    node = FakeNode(loop)

    got, body, headers = await ask(new_app(node), method, path, **rest)

    assert (got, body["code"]) == (status, code)
    assert is_problem(body)
    assert body["text"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    await node.close()


@in_virtual_time
async def test_method_that_is_not_allowed_is_told_which_are(loop: VirtualLoop) -> None:
    _, _, headers = await ask(new_app(FakeNode(loop)), "PUT", "/v1/calls")

    assert {"GET", "POST"} <= set(headers["Allow"].split(", "))


@in_virtual_time
async def test_bug_is_a_problem_that_tells_nothing(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeNode):
        def calls(self) -> Any:
            raise RuntimeError("secret detail")

    status, body, _ = await ask(new_app(Broken(loop)), "GET", "/v1/calls")

    assert (status, body["code"]) == (500, "gateway-error")
    assert "secret" not in body["text"]
    assert "a request broke" in caplog.text


# ---- the document


@in_virtual_time
async def test_every_operation_of_the_server_is_in_the_document(loop: VirtualLoop) -> None:
    app = new_app(FakeNode(loop))
    _, document, _ = await ask(app, "GET", "/v1/openapi.json")

    served = {
        (rule.rule.replace("<", "{").replace(">", "}"), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith(API) and not rule.websocket
        for method in rule.methods or ()
        if method in METHODS
    }

    served.remove(("/v1/openapi.json", "get"))
    told = {(path, method) for path, item in document["paths"].items() for method in item}
    assert told == served
    assert ("/v1/calls", "post") in told


@in_virtual_time
async def test_document_refers_to_nothing_that_is_not_in_it(loop: VirtualLoop) -> None:
    _, document, _ = await ask(new_app(FakeNode(loop)), "GET", "/v1/openapi.json")
    schemas = document["components"]["schemas"]

    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*(references(value) for value in node.values()))
        if isinstance(node, list):
            return set().union(*(references(value) for value in node))
        return set()

    named = {f"#/components/schemas/{name}" for name in schemas}
    assert references(document) <= named
    assert document["openapi"] == "3.1.0"
    ids = [op["operationId"] for item in document["paths"].values() for op in item.values()]
    assert len(set(ids)) == len(ids)
    assert schemas["NewCall"]["required"] == ["from", "to"]


@in_virtual_time
async def test_path_parameters_are_declared_and_every_refusal_is_a_problem(
    loop: VirtualLoop,
) -> None:
    _, document, _ = await ask(new_app(FakeNode(loop)), "GET", "/v1/openapi.json")

    for path, item in document["paths"].items():
        for operation in item.values():
            names = [parameter["name"] for parameter in operation.get("parameters", [])]
            assert names == re.findall(r"{(\w+)}", path)
            for status, response in operation["responses"].items():
                if not status.startswith("2"):
                    schema = response["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Problem"}


@in_virtual_time
async def test_answers_are_what_the_document_says(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    new_call = NewCall.model_validate({"from": "agent:echo", "to": "+15550100"})

    placed = await ask(app, "POST", "/v1/calls", json=new_call.model_dump(by_alias=True))
    call_id = placed[1]["id"]
    listed = await ask(app, "GET", "/v1/calls")
    looked = await ask(app, "GET", f"/v1/calls/{call_id}")
    ended = await ask(app, "DELETE", f"/v1/calls/{call_id}")

    assert [answer[0] for answer in (placed, listed, looked, ended)] == [201, 200, 200, 204]
    for body in (placed[1], looked[1]):
        assert CallInfo.model_validate(body).model_dump(by_alias=True) == body
    assert CallList.model_validate(listed[1]).model_dump(by_alias=True) == listed[1]
    assert ended[1] is None
    await node.close()


async def test_page_and_its_files_are_served_with_a_strict_policy() -> None:
    app = create_server(
        access=Access(None),
        web=WEB,
        version="1",
        operations=[],
        sockets={},
        open_sockets=OpenSockets(),
    )

    page = await app.test_client().get("/")
    script = await app.test_client().get("/assets/phone.js")

    assert (page.status_code, script.status_code) == (200, 200)
    assert "text/html" in page.headers["Content-Type"]
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert (await app.test_client().get("/assets/../pyproject.toml")).status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/assets/style.css", 200),
        ("/assets/package.json", 404),
        ("/assets/node_modules", 404),
        ("/assets/..%2fpyproject.toml", 404),
    ],
)
@in_virtual_time
async def test_page_is_served_and_nothing_beside_it(
    loop: VirtualLoop, path: str, status: int
) -> None:
    client = new_app(FakeNode(loop), None).test_client()

    response = await client.get(path)
    await response.get_data()

    assert response.status_code == status
