"""What is used of aiortc and aioice beyond their public API is still there, as it was."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aioice import stun
from aioice.candidate import Candidate
from aioice.ice import CandidatePair, Connection, StunProtocol
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport

import gateway.webrtc
from gateway.webrtc.dtls import _Link
from gateway.webrtc.private_names import ATTRIBUTES, LINK, METHODS
from tests.webrtc.peers import CERTIFICATE

if TYPE_CHECKING:
    from collections.abc import Iterable


def named(path: str) -> type[Any]:
    module, _, name = path.rpartition(".")
    found: type[Any] = getattr(importlib.import_module(module), name)
    return found


def instances() -> Iterable[object]:
    connection = Connection(ice_controlling=True)
    candidate = Candidate("1", 1, "udp", 1, "192.0.2.1", 1, "host")
    yield connection
    yield CandidatePair(StunProtocol(connection), candidate)
    yield RTCDtlsTransport(_Link(lambda _record: None), [CERTIFICATE.pair])  # type: ignore[arg-type]


@pytest.mark.parametrize("path", METHODS)
def test_methods_take_the_parameters_they_took(path: str) -> None:
    for name, parameters in METHODS[path].items():
        signature = inspect.signature(getattr(named(path), name))

        assert tuple(signature.parameters)[1:] == parameters, name


async def test_instances_have_the_attributes_they_had() -> None:
    by_name = {f"{type(each).__module__}.{type(each).__name__}": each for each in instances()}

    for path, names in ATTRIBUTES.items():
        for name in names:
            assert hasattr(by_name[path], name), f"{path}.{name}"


def test_dtls_asks_no_more_of_its_link_than_ours_has() -> None:
    source = inspect.getsource(RTCDtlsTransport)

    assert set(re.findall(r"self\.transport\.(\w+)", source)) == set(LINK)
    assert all(hasattr(_Link, name) for name in LINK)


def test_consent_is_started_where_it_is_overridden() -> None:
    # `connect` ends by starting it as a task: ours returns at once.
    assert "create_task(self.query_consent())" in inspect.getsource(Connection.connect)


def test_a_stun_message_carries_integrity_over_its_bytes() -> None:
    # That an attribute may be renamed after parsing rests on this.
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    request.attributes["ICE-CONTROLLING"] = 1
    request.add_message_integrity(b"key")
    parsed = stun.parse_message(bytes(request))

    parsed.attributes["ICE-CONTROLLED"] = parsed.attributes.pop("ICE-CONTROLLING")

    assert parsed.check_message_integrity(b"key")


def test_no_private_name_is_used_that_is_not_listed() -> None:
    own = re.compile(r"(?:self\.|def |cls\.)(_[a-z]\w*)")
    listed = {name for methods in METHODS.values() for name in methods}
    listed |= {name for names in ATTRIBUTES.values() for name in names}
    theirs = {
        name
        for cls in (Connection, StunProtocol, CandidatePair, RTCCertificate, RTCDtlsTransport)
        for name in own.findall(inspect.getsource(cls))
        if not name.startswith("__")
    }

    for module in ("generation", "dtls", "certificate"):
        source = (Path(gateway.webrtc.__path__[0]) / f"{module}.py").read_text()
        used = set(own.findall(source)) & theirs
        assert used <= listed, module


async def test_a_queue_bound_is_where_dtls_reads() -> None:
    link = _Link(lambda _record: None)
    link.records.put_nowait(b"record")

    assert await asyncio.wait_for(link._recv(), 1) == b"record"
