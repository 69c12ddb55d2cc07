"""The DTLS association by itself: its queue, and what it makes of nonsense."""

from __future__ import annotations

import pytest

from gateway.sdp.description import Fingerprint
from gateway.webrtc.dtls import MAX_RECORDS, DtlsAssociation, DtlsState
from gateway.webrtc.options import DtlsRole
from tests.support.loop import VirtualLoop, elapse, in_virtual_time
from tests.webrtc.peers import BROWSER_CERTIFICATE, CERTIFICATE

FINGERPRINTS = (Fingerprint("sha-256", BROWSER_CERTIFICATE.fingerprint),)


@in_virtual_time
async def test_two_ends_agree_on_keys(loop: VirtualLoop) -> None:
    states: list[DtlsState] = []
    server = DtlsAssociation(
        CERTIFICATE,
        send=lambda record: client.receive(record),
        on_change=lambda: states.append(server.dtls_state),
    )
    client = DtlsAssociation(BROWSER_CERTIFICATE, send=server.receive, on_change=lambda: None)
    theirs = (Fingerprint("sha-256", CERTIFICATE.fingerprint),)
    packet = b"\x80\x00" + bytes(170)

    shaking = loop.create_task(server.handshake(DtlsRole.PASSIVE, FINGERPRINTS))
    await client.handshake(DtlsRole.ACTIVE, theirs)
    await shaking
    protected = client.srtp_sender().protect(packet)

    assert protected is not None
    assert server.srtp_receiver().unprotect(protected) == packet
    await client.shut()
    await elapse(0.01)
    assert states == [DtlsState.CONNECTING, DtlsState.CONNECTED, DtlsState.CLOSED]
    await server.shut()


@pytest.mark.parametrize("record", [b"", b"\x16\xfe\xfd", b"\x80" * 1501, b"\x15" * 13])
def test_nonsense_fails_the_association_at_most(record: bytes) -> None:
    @in_virtual_time
    async def scenario(loop: VirtualLoop) -> None:
        sent: list[bytes] = []
        association = DtlsAssociation(CERTIFICATE, send=sent.append, on_change=lambda: None)
        shaking = loop.create_task(association.handshake(DtlsRole.PASSIVE, FINGERPRINTS))

        association.receive(record)
        await elapse(1)

        assert association.dtls_state in (DtlsState.CONNECTING, DtlsState.FAILED)
        assert not shaking.done() or shaking.exception() is None
        shaking.cancel()
        await association.shut()

    scenario()


@in_virtual_time
async def test_records_beyond_the_bound_are_lost(loop: VirtualLoop) -> None:
    association = DtlsAssociation(CERTIFICATE, send=lambda _: None, on_change=lambda: None)

    for _ in range(10 * MAX_RECORDS):
        association.receive(b"\x16")

    assert association._link.records.qsize() == MAX_RECORDS
    assert loop.unhandled == []
    await association.shut()
