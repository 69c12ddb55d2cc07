"""SRTP sessions: what goes in comes out, and nothing else does."""

from __future__ import annotations

import random
import struct

import pytest
from pylibsrtp import Session
from pylibsrtp._binding import ffi, lib

from gateway.rtp.srtp import MAX_SSRCS, SUITES, SrtpReceiver, SrtpSender, SrtpSuite


def rtp(sequence: int, ssrc: int = 0x1234, payload: bytes = b"\xd5" * 160) -> bytes:
    return struct.pack("!BBHII", 0x80, 0, sequence, sequence * 160, ssrc) + payload


def receiver_report(ssrc: int = 0x1234) -> bytes:
    return struct.pack("!BBHI", 0x80, 201, 1, ssrc)


def pair(suite: SrtpSuite) -> tuple[SrtpSender, SrtpReceiver]:
    key = bytes(range(suite.key_bytes))
    return SrtpSender.of_key(suite, key), SrtpReceiver.of_key(suite, key)


@pytest.fixture
def gcm() -> tuple[SrtpSender, SrtpReceiver]:
    return pair(SUITES["AEAD_AES_256_GCM"])


@pytest.mark.rfc(4568, "6.2")
@pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
def test_every_suite_carries_rtp_and_rtcp(suite: SrtpSuite) -> None:
    sender, receiver = pair(suite)

    for packet in (rtp(1), receiver_report(), rtp(2)):
        protected = sender.protect(packet)
        assert protected is not None
        assert protected[12:] != packet[12:]
        assert receiver.unprotect(protected) == packet

    assert (sender.refused, receiver.refused) == (0, 0)


def test_a_changed_byte_is_refused(gcm: tuple[SrtpSender, SrtpReceiver]) -> None:
    sender, receiver = gcm
    protected = sender.protect(rtp(1))
    assert protected is not None
    changed = protected[:20] + bytes([protected[20] ^ 1]) + protected[21:]

    assert receiver.unprotect(changed) is None
    assert receiver.unprotect(protected) == rtp(1)
    assert receiver.refused == 1


@pytest.mark.rfc(3711, "3.3.2")
def test_a_replay_is_refused(gcm: tuple[SrtpSender, SrtpReceiver]) -> None:
    sender, receiver = gcm
    protected = sender.protect(rtp(1))
    assert protected is not None
    receiver.unprotect(protected)

    assert receiver.unprotect(protected) is None


def test_a_packet_resent_is_protected_again(gcm: tuple[SrtpSender, SrtpReceiver]) -> None:
    sender, _ = gcm

    assert sender.protect(rtp(1)) == sender.protect(rtp(1))


def test_sequence_numbers_wrap(gcm: tuple[SrtpSender, SrtpReceiver]) -> None:
    sender, receiver = gcm

    for sequence in (65534, 65535, 0, 1):
        protected = sender.protect(rtp(sequence))
        assert protected is not None
        assert receiver.unprotect(protected) == rtp(sequence)


def test_one_peer_cannot_open_streams_without_end(gcm: tuple[SrtpSender, SrtpReceiver]) -> None:
    sender, receiver = gcm
    opened = 0
    for ssrc in range(1, MAX_SSRCS + 10):
        protected = sender.protect(rtp(1, ssrc))
        assert protected is not None
        opened += receiver.unprotect(protected) is not None

    first_again = sender.protect(rtp(2, 1))

    assert opened == MAX_SSRCS
    assert first_again is not None
    assert receiver.unprotect(first_again) == rtp(2, 1)


@pytest.mark.parametrize("size", [0, 1, 7, 1353, 1501, 65535])
def test_a_size_that_cannot_be_is_refused(gcm: tuple[SrtpSender, SrtpReceiver], size: int) -> None:
    sender, receiver = gcm
    packet = (b"\x80\x00" * 32768)[:size]

    assert sender.protect(packet) is None
    assert receiver.unprotect(packet) is None


def test_noise_is_refused_without_an_exception(gcm: tuple[SrtpSender, SrtpReceiver]) -> None:
    sender, receiver = gcm
    chance = random.Random(4)
    noise = [chance.randbytes(chance.randrange(0, 200)) for _ in range(5000)]
    noise += [b"\x9f" + packet[1:] for packet in noise if packet]  # 15 CSRCs, an extension

    assert all(receiver.unprotect(packet) is None for packet in noise)
    for packet in noise:
        sender.protect(packet)


def test_a_key_of_the_wrong_length_is_an_error() -> None:
    suite = SUITES["AEAD_AES_128_GCM"]

    with pytest.raises(ValueError, match="takes 28 bytes of key, got 30"):
        SrtpSender.of_key(suite, bytes(30))


def test_pylibsrtp_still_has_what_is_reached_into() -> None:
    session = Session()

    assert ffi.typeof(session._srtp) is ffi.typeof("srtp_t *")
    for name in ("srtp_protect", "srtp_protect_rtcp", "srtp_unprotect", "srtp_unprotect_rtcp"):
        assert callable(getattr(lib, name))
