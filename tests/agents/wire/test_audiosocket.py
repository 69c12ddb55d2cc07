"""AudioSocket as Asterisk speaks it toward an agent, message by message."""

from __future__ import annotations

import itertools

import pytest

from gateway.agents.event import DigitHeard, SpeechStarted
from gateway.agents.protocol import AgentAddress, AudioFormat, Done, Say, SayAs, Wrong
from gateway.agents.wire import audiosocket
from gateway.agents.wire.audiosocket import AudioSocket, FrameReader, Settings, write_frame
from tests.support.wire_call import TOKEN, Queue, call_facts


@pytest.fixture
def protocol() -> AudioSocket:
    return audiosocket.make(Settings())


def test_the_first_frame_is_the_uuid(protocol: AudioSocket) -> None:
    first = protocol.open(call_facts(), Queue())

    assert list(first) == [b"\x01\x00\x10" + bytes.fromhex(TOKEN)]


def test_the_connection_is_asked_for_at_the_url() -> None:
    address = AgentAddress("sales", "tcp://agent.example:9092")

    opening = audiosocket.opening(address, Settings(), call_facts())

    assert opening.url == "tcp://agent.example:9092"


@pytest.mark.parametrize(
    ("rate", "kind"), [(8000, 0x10), (12000, 0x11), (16000, 0x12), (24000, 0x13), (48000, 0x16)]
)
def test_audio_goes_out_as_the_kind_of_its_rate(rate: int, kind: int) -> None:
    protocol = audiosocket.make(Settings(rate=rate))  # type: ignore[arg-type]
    audio = bytes(range(256)) * 2

    assert protocol.hear(audio) == bytes((kind, 2, 0)) + audio
    assert protocol.heard == AudioFormat(rate)


def test_audio_of_the_rate_is_said(protocol: AudioSocket) -> None:
    assert list(protocol.receive(write_frame(0x10, b"\x01\x02"))) == [Say(b"\x01\x02")]


@pytest.mark.parametrize(
    ("kind", "rate"),
    [
        (0x11, 12_000),
        (0x12, 16_000),
        (0x13, 24_000),
        (0x14, 32_000),
        (0x15, 44_100),
        (0x16, 48_000),
        (0x17, 96_000),
        (0x18, 192_000),
    ],
)
def test_audio_of_every_other_rate_is_said_as_that(
    protocol: AudioSocket, kind: int, rate: int
) -> None:
    wishes = list(protocol.receive(write_frame(kind, b"\x01\x02")))

    assert wishes == [SayAs(b"\x01\x02", AudioFormat(rate))]


def test_hang_up_is_the_end(protocol: AudioSocket) -> None:
    assert list(protocol.receive(b"\x00\x00\x00")) == [Done()]


def test_a_digit_is_told_as_one_ascii_byte(protocol: AudioSocket) -> None:
    assert list(protocol.notice(DigitHeard("#", 100))) == [b"\x03\x00\x01#"]


def test_it_has_no_words_for_other_events(protocol: AudioSocket) -> None:
    assert list(protocol.notice(SpeechStarted(20))) == []


def test_the_end_is_told_as_hang_up(protocol: AudioSocket) -> None:
    assert list(protocol.close("hangup")) == [b"\x00\x00\x00"]


@pytest.mark.parametrize("kind", [0x01, 0x02, 0x03, 0x04, 0x0F, 0x19, 0xFE, 0xFF])
def test_whatever_else_an_agent_sends_is_wrong(protocol: AudioSocket, kind: int) -> None:
    (wish,) = protocol.receive(write_frame(kind, b"x"))

    assert isinstance(wish, Wrong)


def test_empty_audio_says_nothing(protocol: AudioSocket) -> None:
    assert list(protocol.receive(write_frame(0x10) + write_frame(0x18))) == []


def test_frames_are_read_from_any_pieces() -> None:
    frames = [(0x10, b"a" * 320), (0x03, b"1"), (0x10, b""), (0x12, b"b" * 65535), (0x00, b"")]
    stream = b"".join(write_frame(kind, payload) for kind, payload in frames)
    sizes = itertools.cycle((1, 2, 3, 319, 5, 4096, 64))

    reader = FrameReader()
    at, read = 0, []
    while at < len(stream):
        size = next(sizes)
        read += reader.feed(stream[at : at + size])
        at += size

    assert read == frames


def test_byte_by_byte_the_largest_frame_costs_a_look_at_each_byte() -> None:
    reader = FrameReader()
    stream = write_frame(0x10, bytes(65535))

    read = [frame for at in range(len(stream)) for frame in reader.feed(stream[at : at + 1])]

    assert read == [(0x10, bytes(65535))]
