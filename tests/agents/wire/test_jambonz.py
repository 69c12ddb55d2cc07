"""jambonz' listen and FreeSWITCH's modules as they speak toward an agent, message by message."""

from __future__ import annotations

import base64
import io
import json
import wave
from typing import Any

import numpy as np
import pytest

from gateway.agents.event import DigitHeard, ItemPlayed
from gateway.agents.protocol import (
    AgentAddress,
    AudioFormat,
    Clear,
    Done,
    Mark,
    Note,
    Say,
    SayAs,
    Wish,
    Wrong,
)
from gateway.agents.wire import jambonz
from gateway.agents.wire.jambonz import Jambonz, Settings
from gateway.media.playout import Cleared, MarkReached
from gateway.private import Secret
from tests.support.wire_call import TOKEN, TOKEN_UUID, Queue, call_facts

PCM = np.arange(160, dtype="<i2").tobytes()


def opened(**settings: Any) -> tuple[Jambonz, Queue]:
    protocol, queue = jambonz.make(Settings(**settings)), Queue()
    list(protocol.open(call_facts(), queue))
    return protocol, queue


def told(protocol: Jambonz, kind: str, **data: Any) -> list[Wish]:
    return list(protocol.receive(json.dumps({"type": kind, "data": data})))


def read(messages: Any) -> list[dict[str, Any]]:
    return [json.loads(message) for message in messages]


def marks_in(wishes: list[Wish]) -> list[str]:
    return [wish.name for wish in wishes if isinstance(wish, Mark)]


def base64_of(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


# ---- how it begins


@pytest.mark.parametrize(
    ("dialect", "subprotocols"),
    [
        ("listen", ("audio.jambonz.org", "audio.drachtio.org")),
        ("audio_fork", ("audio.drachtio.org", "audio.jambonz.org")),
        ("audio_stream", ()),
    ],
)
def test_each_dialect_offers_its_subprotocols(dialect: Any, subprotocols: Any) -> None:
    address = AgentAddress("sales", "wss://app.example/listen", "gw", Secret("pw"))

    opening = jambonz.opening(address, Settings(dialect=dialect), call_facts())

    assert opening.subprotocols == subprotocols
    assert opening.headers == (("Authorization", "Basic Z3c6cHc="),)


def test_subprotocols_can_be_set() -> None:
    address = AgentAddress("sales", "wss://app.example/listen")

    opening = jambonz.opening(address, Settings(subprotocols=("mine",)), call_facts())

    assert (opening.subprotocols, opening.headers) == (("mine",), ())


def test_the_first_message_of_listen_is_flat_and_camel_case() -> None:
    protocol = jambonz.make(Settings(metadata={"callerId": "them", "tenant": {"id": 7}}))

    (first,) = read(protocol.open(call_facts({"X-Account": "42"}), Queue()))

    assert first == {
        "sampleRate": 8000,
        "mixType": "mono",
        "callSid": TOKEN_UUID,
        "direction": "inbound",
        "from": "+15550111",
        "to": "+15550100",
        "callId": "gw1-c1",
        "sbcCallid": "gw1-c1",
        "sipStatus": 200,
        "sipReason": "OK",
        "callStatus": "in-progress",
        "callerId": "them",
        "accountSid": TOKEN_UUID,
        "applicationSid": TOKEN_UUID,
        "traceId": TOKEN,
        "customerData": {"X-Account": "42"},
        "tenant": {"id": 7},
    }


@pytest.mark.parametrize("dialect", ["audio_fork", "audio_stream"])
def test_the_first_message_of_freeswitch_is_metadata(dialect: Any) -> None:
    protocol = jambonz.make(Settings(dialect=dialect, sample_rate=16000, metadata={"x": 1}))

    (first,) = read(protocol.open(call_facts(is_outbound=True), Queue()))

    assert first == {
        "sampleRate": 16000,
        "mixType": "mono",
        "callSid": TOKEN_UUID,
        "direction": "outbound",
        "from": "+15550111",
        "to": "+15550100",
        "callId": "gw1-c1",
        "x": 1,
    }


# ---- what it hears


def test_mono_is_what_is_heard() -> None:
    protocol, _ = opened()

    assert protocol.hear(PCM) == PCM


def said_and_heard(mix: str) -> bytes:
    """20 ms of 100 heard while 2000 is said to the caller."""
    protocol, _ = opened(mix_type=mix)
    assert protocol.hears_other_side
    protocol.hear_other_side(np.full(160, 2000, "<i2").tobytes())
    return protocol.hear(np.full(160, 100, "<i2").tobytes())


def test_stereo_has_the_caller_on_the_left_and_itself_on_the_right() -> None:
    both = np.frombuffer(said_and_heard("stereo"), "<i2").reshape(-1, 2)

    assert set(both[:, 0]) == {100}
    assert both[:, 1].tolist() == [2000] * 160


def test_mixed_is_the_sum_of_both() -> None:
    heard = np.frombuffer(said_and_heard("mixed"), "<i2")

    assert heard.tolist() == [2100] * 160


def test_mixed_does_not_wrap_round() -> None:
    protocol, _ = opened(mix_type="mixed")
    protocol.hear_other_side(np.full(80, 30000, "<i2").tobytes())

    heard = np.frombuffer(protocol.hear(np.full(80, 30000, "<i2").tobytes()), "<i2")

    assert heard.tolist() == [32767] * 80


def test_while_nothing_is_said_to_the_caller_that_side_is_silent() -> None:
    protocol, _ = opened(mix_type="stereo")

    both = np.frombuffer(protocol.hear(np.full(160, 100, "<i2").tobytes()), "<i2").reshape(-1, 2)

    assert (set(both[:, 0]), set(both[:, 1])) == ({100}, {0})


def test_what_is_said_to_the_caller_waits_for_60_ms_at_most() -> None:
    protocol, _ = opened(mix_type="stereo")
    for level in range(1, 6):
        protocol.hear_other_side(np.full(160, level, "<i2").tobytes())

    both = np.frombuffer(protocol.hear(bytes(320)), "<i2").reshape(-1, 2)

    assert set(both[:, 1]) == {3}


def test_digits_are_told_with_their_length_in_samples_of_8_khz() -> None:
    protocol, _ = opened()

    assert read(protocol.notice(DigitHeard("1", 200))) == [
        {"event": "dtmf", "dtmf": "1", "duration": "1600"}
    ]


def test_without_pass_dtmf_no_digit_is_told() -> None:
    protocol, _ = opened(pass_dtmf=False)

    assert list(protocol.notice(DigitHeard("1", 200))) == []


# ---- what it says


def test_streamed_audio_is_said_at_the_rate_of_its_setting() -> None:
    protocol, _ = opened(streaming_rate=24000)

    assert protocol.said == AudioFormat(24_000)
    assert list(protocol.receive(PCM[:-1])) == [Say(PCM[:-1])]


def test_without_streaming_binary_is_passed_over() -> None:
    protocol, _ = opened(streaming=False)

    assert list(protocol.receive(PCM)) == []


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 32_000, 48_000, 64_000])
def test_a_raw_file_empties_the_queue_and_is_played(rate: int) -> None:
    protocol, _ = opened(streaming=False, sample_rate=48000)

    clear, say = told(
        protocol,
        "playAudio",
        audioContentType="raw",
        sampleRate=rate,
        audioContent=base64_of(PCM),
        id="a",
    )

    assert clear == Clear()
    assert isinstance(say, (Say, SayAs))
    assert say.audio == PCM
    assert (protocol.said if isinstance(say, Say) else say.format).rate == rate


def test_a_wav_is_played_at_its_own_rate_and_stereo_as_mono() -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setparams((2, 2, 16_000, 0, "NONE", ""))
        wav.writeframes(np.array([[100, 300], [-100, -300]], "<i2").tobytes())
    protocol, _ = opened(streaming=False)

    _, say = told(
        protocol, "playAudio", audioContentType="wav", audioContent=base64_of(file.getvalue())
    )

    assert isinstance(say, SayAs)
    assert say.format == AudioFormat(16_000)
    assert np.frombuffer(say.audio, "<i2").tolist() == [200, -200]


def play(protocol: Jambonz, id_: str, **more: Any) -> list[Wish]:
    return told(
        protocol,
        "playAudio",
        audioContentType="raw",
        sampleRate=8000,
        audioContent=base64_of(PCM),
        id=id_,
        **more,
    )


def test_play_done_tells_how_much_of_which_file_was_played() -> None:
    protocol, _ = opened(streaming=False)
    first, second = (
        next(wish.item for wish in wishes if isinstance(wish, Say))
        for wishes in (play(protocol, "a", queuePlay=True), play(protocol, "b", queuePlay=True))
    )

    messages = [
        *protocol.notice(ItemPlayed(first, 20.0, 20.0)),
        *protocol.notice(ItemPlayed(second, 5.0, 20.0)),
        *protocol.notice(ItemPlayed(second, 20.0, 20.0)),
    ]

    assert read(messages) == [
        {
            "type": "playDone",
            "data": {"id": "a", "playbackMilliseconds": 20, "interrupted": False},
        },
        {"type": "playDone", "data": {"id": "b", "playbackMilliseconds": 5, "interrupted": True}},
    ]


def test_more_than_ten_files_do_not_wait() -> None:
    protocol, _ = opened(streaming=False)
    queued = [play(protocol, str(n), queuePlay=True) for n in range(11)]

    assert all(isinstance(wishes[0], Say) for wishes in queued[:10])
    assert isinstance(queued[10][0], Wrong)


def test_play_audio_is_passed_over_where_audio_is_streamed() -> None:
    protocol, _ = opened()

    assert play(protocol, "a") == []


def test_stream_audio_is_said_behind_what_was_said() -> None:
    protocol, _ = opened(dialect="audio_stream")

    wishes = told(
        protocol,
        "streamAudio",
        audioDataType="raw",
        sampleRate=16000,
        audioData=base64_of(PCM),
    )

    assert wishes[0] == SayAs(PCM, AudioFormat(16_000))


def test_audio_stream_is_told_when_all_was_played_and_once() -> None:
    protocol, _ = opened(dialect="audio_stream")
    names = [
        name
        for _ in range(3)
        for name in marks_in(
            told(
                protocol,
                "streamAudio",
                audioDataType="raw",
                sampleRate=8000,
                audioData=base64_of(PCM),
            )
        )
    ]

    messages = [m for name in names for m in protocol.notice(MarkReached(name, 0.0, heard=True))]

    assert read(messages) == [{"type": "playoutDone"}]


def test_kill_audio_clears() -> None:
    protocol, _ = opened()

    assert told(protocol, "killAudio") == [Clear()]


# ---- marks


def test_a_mark_that_is_played_out_and_one_that_is_cleared() -> None:
    protocol, _ = opened()
    first, second = (marks_in(told(protocol, "mark", name=name))[0] for name in ("one", "two"))

    messages = [
        *protocol.notice(MarkReached(first, 0.0, heard=True)),
        *protocol.notice(Cleared(0.0, 10.0, (second,))),
    ]

    assert read(messages) == [
        {"type": "mark", "data": {"name": "one", "event": "playout"}},
        {"type": "mark", "data": {"name": "two", "event": "cleared"}},
    ]


def test_more_than_thirty_marks_are_discarded() -> None:
    protocol, _ = opened()

    wishes = [told(protocol, "mark", name=f"m{n}") for n in range(31)]

    assert [len(each) for each in wishes] == [1] * 30 + [0]


def test_cleared_marks_are_not_told_of() -> None:
    protocol, _ = opened()
    (name,) = marks_in(told(protocol, "mark", name="one"))

    assert told(protocol, "clearMarks") == []
    assert list(protocol.notice(MarkReached(name, 0.0, heard=True))) == []


# ---- the rest


def test_disconnect_leaves_the_call_to_what_comes_next() -> None:
    protocol, _ = opened()

    assert told(protocol, "disconnect") == [Done(hang_up=False)]


@pytest.mark.parametrize("kind", ["transcription", "transfer", "error", "json"])
def test_what_is_for_the_application_is_noted(kind: str) -> None:
    protocol, _ = opened()

    assert told(protocol, kind, text="hello") == [Note(kind, {"text": "hello"})]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "[" * 100_000,
        '{"type": 7}',
        '{"type": "sing"}',
        '{"type": "mark"}',
        '{"type": "mark", "data": {"name": 7}}',
        '{"type": "mark", "data": []}',
    ],
)
def test_whatever_else_comes_is_wrong_and_no_more(text: str) -> None:
    protocol, _ = opened()

    (wish,) = protocol.receive(text)

    assert isinstance(wish, Wrong)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"audioContentType": "raw", "sampleRate": 8000, "audioContent": "***"},
        {"audioContentType": "raw", "sampleRate": 11025, "audioContent": "AAAA"},
        {"audioContentType": "raw", "sampleRate": [8000], "audioContent": "AAAA"},
        {"audioContentType": "raw", "audioContent": "AAAA"},
        {"audioContentType": "mp3", "audioContent": "AAAA"},
        {"audioContentType": "wav", "audioContent": "AAAA"},
        {"audioContentType": ["wav"], "audioContent": "AAAA"},
        {"audioContentType": "wav", "audioContent": base64_of(b"RIFF\xff\xff\xff\xffWAVEfmt ")},
    ],
)
def test_a_file_that_cannot_be_played_is_wrong(data: dict[str, Any]) -> None:
    protocol, _ = opened(streaming=False)

    (wish,) = told(protocol, "playAudio", **data)

    assert isinstance(wish, Wrong)
