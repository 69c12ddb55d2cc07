"""Web servers are asked within limits, and nowhere else than where they may be (A21, A22)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.net.destination import DestinationError, Destinations, look_up_by
from gateway.net.dns import Resolver, ResolverOptions
from gateway.net.nameserver import Hosts
from gateway.net.signature import standard_signature, twilio_signature
from gateway.net.webhook import (
    MAX_BODY_BYTES,
    MAX_INTERIM,
    TURN_BYTES,
    WebhookClient,
    WebhookError,
    WebRequest,
    form_request,
)
from gateway.sip.locate import Reach
from tests.support.certificates import Authority
from tests.support.dnsmasq import running_dnsmasq
from tests.support.web_server import Asked, WebServer, http, redirect, running_web_server

pytestmark = [pytest.mark.real, pytest.mark.beside]


async def nobody(host: str, port: int) -> Sequence[str]:
    return ()


def client_of(*webs: WebServer) -> WebhookClient:
    return WebhookClient(Destinations(nobody, trusted=[web.url() for web in webs]))


async def test_a_form_is_posted_and_the_answer_read() -> None:
    async with running_web_server(
        lambda _: http("hello", headers=["Content-Type: Text/XML; x=y"])
    ) as web:
        request = form_request(web.url("/voice?a=b"), [("To", "+1 555"), ("A", "é&=")], secret="")

        answer = await client_of(web).ask(request)

        assert (answer.status, answer.content_type, answer.body) == (200, "text/xml", b"hello")
        assert web.asked[0].target == "/voice?a=b"
        assert web.asked[0].form == {"To": "+1 555", "A": "é&="}
        assert web.asked[0].headers["host"] == f"127.0.0.1:{web.port}"


async def test_a22_what_is_asked_is_signed_with_the_token() -> None:
    async with running_web_server(lambda _: http()) as web:
        fields = [("To", "+1"), ("CallSid", "CA1"), ("From", "a b")]
        client = client_of(web)

        await client.ask(form_request(web.url("/voice"), fields, secret="secret"))
        await client.ask(form_request(web.url("/voice"), fields, secret="secret", method="GET"))

        post, get = web.asked
        signed = web.url("/voice") + "CallSidCA1Froma bTo+1"
        assert post.headers["x-twilio-signature"] == hmac_sha1("secret", signed)
        assert get.query == dict(fields)
        assert get.headers["x-twilio-signature"] == hmac_sha1("secret", web.url(get.target))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_no_text_is_told_as_question_marks(method: str) -> None:
    caller = b"Ann\xff".decode("utf-8", "surrogateescape")

    request = form_request("https://a.test/", [("From", caller)], secret="s", method=method)

    assert "From=Ann%3F" in request.url + request.body.decode()


def hmac_sha1(token: str, text: str) -> str:
    return base64.b64encode(hmac.digest(token.encode(), text.encode(), "sha1")).decode()


def test_a22_signature_is_that_of_the_documentation() -> None:
    fields = [
        ("CallSid", "CA1234567890ABCDE"),
        ("Caller", "+14158675309"),
        ("Digits", "1234"),
        ("From", "+14158675309"),
        ("To", "+18005551212"),
    ]

    signature = twilio_signature("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", fields)

    assert signature == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


def test_a22_standard_signature_covers_the_time() -> None:
    first = standard_signature(b"key", "id", 1000, b"{}")

    assert (
        first
        == "v1," + base64.b64encode(hmac.digest(b"key", b"id.1000.{}", hashlib.sha256)).decode()
    )
    assert first != standard_signature(b"key", "id", 1001, b"{}")


async def test_redirects_are_followed_and_secrets_stay_with_the_first_host() -> None:
    async with running_web_server(lambda asked: http(asked.path)) as other:

        def lead_on(asked: Asked) -> bytes:
            if asked.path == "/one":
                return redirect("/two", 307)
            return redirect(other.url("/three"))

        async with running_web_server(lead_on) as web:
            request = form_request(web.url("/one"), [("a", "b")], secret="token")
            request = WebRequest(request.url, "POST", request.headers, request.body, "me:secret")

            answer = await client_of(web, other).ask(request)

            assert answer.body == b"/three"
            assert answer.url == other.url("/three")
            assert [asked.method for asked in web.asked] == ["POST", "POST"]
            assert web.asked[1].form == {"a": "b"}
            assert "authorization" in web.asked[1].headers
            assert other.asked[0].method == "GET"
            assert not {"authorization", "x-twilio-signature"} & other.asked[0].headers.keys()


@pytest.mark.parametrize(
    "target",
    [
        "https://169.254.169.254/latest/meta-data",
        "https://127.0.0.1/",
        "//127.0.0.1:1/",
        "//@127.0.0.1:1/",
        "https://[::ffff:169.254.169.254]/",
        "https://0x7f.1/",
        "//[",
        "https://[::1",
        "file:///etc/passwd",
        "gopher://127.0.0.1:1/",
    ],
)
async def test_a21_no_redirect_leads_into_our_own_network(target: str) -> None:
    async with running_web_server(lambda _: redirect(target)) as web:
        with pytest.raises(DestinationError):
            await client_of(web).ask(WebRequest(web.url()))

        assert len(web.asked) == 1


async def test_a21_redirects_have_an_end() -> None:
    async with running_web_server(lambda _: redirect("/again")) as web:
        with pytest.raises(WebhookError, match="redirects"):
            await client_of(web).ask(WebRequest(web.url()))

        assert len(web.asked) == 4


@pytest.mark.parametrize(
    "answer",
    [
        http(b"x" * (MAX_BODY_BYTES + 1)),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_BODY_BYTES + 1),
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM + 1) + http(),
        b"220 mail.example.com ESMTP\r\n",
        b"",
        b"\x16\x03\x01\x00",
    ],
)
async def test_a21_what_is_too_much_or_no_http_is_no_answer(answer: bytes) -> None:
    async with running_web_server(lambda _: answer) as web:
        with pytest.raises(WebhookError):
            await client_of(web).ask(WebRequest(web.url()))


async def test_a23_answer_in_tiny_pieces_lets_others_have_their_turn() -> None:
    chunks = b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with running_web_server(lambda _: answer) as web:
        waiting = asyncio.ensure_future(others())
        answered = await client_of(web).ask(WebRequest(web.url()))
        waiting.cancel()

    assert len(answered.body) == 10_000
    assert turns >= len(answer) // TURN_BYTES


async def test_address_that_does_not_answer_is_followed_by_the_next() -> None:
    with socket.socket() as full, socket.socket() as taken:
        # Nobody accepts, and the place in its queue is taken: connecting goes on for ever.
        full.bind(("127.0.0.2", 0))
        port = full.getsockname()[1]
        full.listen(0)
        taken.connect(full.getsockname())
        async with running_web_server(lambda _: http("hello"), port=port) as web:

            async def both(host: str, port: int) -> Sequence[str]:
                return ("127.0.0.2", "127.0.0.1")

            url = f"http://both.example:{web.port}/"
            client = WebhookClient(Destinations(both, trusted=[url]))
            answer = await client.ask(WebRequest(url))

    assert answer.body == b"hello"


async def test_nobody_there_is_an_error_of_ours() -> None:
    async with running_web_server(lambda _: http()) as web:
        pass

    with pytest.raises(WebhookError, match="cannot be connected to"):
        await client_of(web).ask(WebRequest(web.url()))


async def test_a_certificate_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    leaf = Authority(tmp_path).issue("127.0.0.1")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(leaf.certificate, leaf.key)
    async with running_web_server(lambda _: http(), tls=tls) as web:
        with pytest.raises(WebhookError, match="CERTIFICATE_VERIFY_FAILED"):
            await client_of(web).ask(WebRequest(web.url()))

        assert not web.asked


async def test_a21_a_name_that_changes_is_connected_to_where_it_was_checked(
    tmp_path: Path,
) -> None:
    """DNS rebinding: public when it is looked at, loopback a moment later."""
    async with running_dnsmasq(tmp_path, ttl_s=0) as nameserver:
        await nameserver.set_hosts("93.184.216.34 evil.test", "127.0.0.1 ours.test")
        resolver = resolver_at(nameserver.server)
        async with running_web_server(lambda _: http()) as web:
            ours = f"http://ours.test:{web.port}/"
            destinations = Destinations(look_up_by(resolver), trusted=[ours])

            pinned = await destinations.pin("https://evil.test/")
            await nameserver.set_hosts("127.0.0.1 evil.test ours.test")
            answer = await WebhookClient(destinations).ask(WebRequest(ours))

            assert pinned.addresses == ("93.184.216.34",)
            assert answer.status == 200
            assert web.asked[0].headers["host"] == f"ours.test:{web.port}"
        fresh = Destinations(look_up_by(resolver_at(nameserver.server)))
        with pytest.raises(DestinationError):
            await fresh.pin("https://evil.test/")


def resolver_at(server: tuple[str, int]) -> Resolver:
    return Resolver(
        ResolverOptions((server,)),
        loop=asyncio.get_running_loop(),
        reach=Reach(("tcp",), (4, 6)),
        hosts=Hosts(Path("/nonexistent/hosts")),
    )
