"""What a user agent server looks at before it acts on a request (RFC 3261 §8.2)."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from gateway.errors import RemoteProtocolError
from gateway.sip.header import parse_tokens, parse_values
from gateway.sip.message import Message, Request

METHODS = (
    "INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "PRACK", "UPDATE", "REFER", "NOTIFY",
)  # fmt: skip
EXTENSIONS: tuple[str, ...] = ("100rel", "timer", "replaces", "norefersub")
"Option tags that may stand in a Require (RFC 3261 §19.2)."
ALLOW = ("Allow", ", ".join(METHODS))
SUPPORTED = ("Supported", ", ".join(EXTENSIONS))
SUPPORTED_UNRELIABLE = ("Supported", ", ".join(EXTENSIONS[1:]))
"Of a request whose provisional responses need not arrive: without 100rel."
ACCEPT = ("Accept", "application/sdp")

_SCHEMES = ("sip", "sips", "tel")
_RECOGNIZED = ("REGISTER", "SUBSCRIBE", "PUBLISH", "MESSAGE")
_NEGOTIATING = ("INVITE", "UPDATE", "PRACK")
"Methods whose body is SDP."
_READ = (*_NEGOTIATING, "INFO", "NOTIFY")
"Methods whose body is looked at."
_ACCEPTING = ("application/sdp", "application/*", "*/*")


class Refusal(NamedTuple):
    """The final response that a request gets instead of being acted on."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()


def inspect_request(
    request: Request,
    *,
    is_initial: bool,
    methods: Collection[str] = (),
    extensions: Collection[str] = (),
) -> Refusal | None:
    """Judge a request other than ACK and CANCEL, by the order of RFC 3261 §8.2.

    Args:
        is_initial: outside of a dialog. Within one, a request that has come this far has made
            its way, and what its URI says no longer matters.
        methods: that are taken beside our own, outside of dialogs.
        extensions: option tags that requests of these methods may require.
    """
    known = (*EXTENSIONS, *extensions) if request.method in methods else EXTENSIONS
    try:
        return (
            _inspect_method(request, methods)
            or (_inspect_target(request) if is_initial else None)
            or _inspect_extensions(request, known)
            or (_inspect_encoding(request) if request.method in _READ else None)
            or (_inspect_content(request) if request.method in _NEGOTIATING else None)
            or (_inspect_replaces(request) if request.method != "INVITE" else None)
        )
    except RemoteProtocolError:
        return Refusal(400)


def sdp_of(message: Message) -> bytes | None:
    """The SDP a message carries; None if it has no body, or one of another type."""
    if not message.body:
        return None
    try:
        kind = message.content_type
    except RemoteProtocolError:
        return None
    return message.body if kind is None or kind.name == "application/sdp" else None


def allow_header(methods: Collection[str]) -> tuple[str, str]:
    """Allow, of an endpoint that takes these methods beside our own."""
    return ("Allow", ", ".join((*METHODS, *sorted(set(methods).difference(METHODS)))))


def supports(message: Message, tag: str) -> bool:
    """Whether the sender says that it understands an extension."""
    try:
        return tag in message.supported or tag in message.require
    except RemoteProtocolError:
        return False


def _inspect_method(request: Request, methods: Collection[str]) -> Refusal | None:
    if request.method in METHODS or request.method in methods:
        return None
    return Refusal(405 if request.method in _RECOGNIZED else 501, (allow_header(methods),))


def _inspect_target(request: Request) -> Refusal | None:
    scheme = request.uri.partition(":")[0].lower()
    if scheme not in _SCHEMES:
        return Refusal(416)
    # We would forward it: RFC 7332 has a B2BUA count hops as a proxy does.
    if request.max_forwards == 0:
        return Refusal(483)
    return Refusal(440) if request.max_breadth == 0 else None  # RFC 5393 §5.3.3


def _inspect_extensions(request: Request, known: Collection[str]) -> Refusal | None:
    """Name what must be understood and is not: of the callee, else of us in the middle (§16.3)."""
    unknown = [tag for tag in request.require if tag not in known]
    if not unknown:
        for value in request.headers.get_all("Proxy-Require"):
            unknown += [tag for tag in parse_tokens(value) if tag not in known]
    return Refusal(420, (("Unsupported", ", ".join(unknown)),)) if unknown else None


def _inspect_encoding(request: Request) -> Refusal | None:
    """Nothing is unpacked: a little may become too much (A26)."""
    encoding = request.headers.get("Content-Encoding")
    is_plain = encoding is None or encoding.lower() == "identity"
    if is_plain or not request.body or _is_optional(request):
        return None
    return Refusal(415, (ACCEPT, ("Accept-Encoding", "identity")))


def _inspect_content(request: Request) -> Refusal | None:
    accepted = request.headers.get_all("Accept")
    if accepted and not any(_accepts_sdp(value) for value in accepted):
        return Refusal(406, (ACCEPT,))
    if not request.body or _is_optional(request):
        return None
    kind = request.content_type
    return Refusal(415, (ACCEPT,)) if kind is None or kind.name != "application/sdp" else None


def _inspect_replaces(request: Request) -> Refusal | None:
    return Refusal(400) if "Replaces" in request.headers else None  # RFC 3891 §3


def _is_optional(request: Request) -> bool:
    """Whether the body may be ignored (§20.11)."""
    text = request.headers.get("Content-Disposition")
    return text is not None and parse_values(text)[0].parameters.get("handling") == "optional"


def _accepts_sdp(value: str) -> bool:
    ranges = (item.partition(";")[0].strip().lower() for item in value.split(","))
    return any(item in _ACCEPTING for item in ranges)
