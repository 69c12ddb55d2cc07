"""A line as a party: its words go on at once and no faster than time, and it is told the end."""

from __future__ import annotations

import asyncio
import os

import numpy as np
import pytest

from gateway.agents.lines.asterisk import AsteriskLine
from gateway.agents.lines.audiosocket import AudioSocketLine
from gateway.agents.wire.asterisk import FORMATS
from gateway.agents.wire.audiosocket import RATE_OF_KIND, write_frame
from gateway.leg.leg import DigitPressed, Ended, EndReason, Gone, Phase
from gateway.media.coding import make_encoder
from gateway.media.frame import Voice
from gateway.media.g711 import MU_LAW
from gateway.media.tone import dtmf_of, tone_level_dbfs
from tests.media.sound import frames_of, tone
from tests.support.line import LineBench
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

UUID = bytes(range(16))
SECOND = tone(1000, 1.0, 8000)


def audiosocket(loop: VirtualLoop, *, is_begun: bool = True) -> LineBench:
    bench = LineBench(loop, AudioSocketLine())
    if is_begun:
        bench.connection.receive(write_frame(0x01, UUID))
    return bench


def reasons(bench: LineBench) -> list[EndReason]:
    return [ended.reason for ended in bench.all(Ended)]


# ---- how it begins


@in_virtual_time
async def test_the_uuid_begins_the_call(loop: VirtualLoop) -> None:
    bench = audiosocket(loop, is_begun=False)

    for byte in write_frame(0x01, UUID):
        bench.connection.receive(bytes([byte]))

    assert [begun.id for begun in bench.begun] == [UUID.hex()]
    bench.leg.end(EndReason.HANGUP)


@in_virtual_time
async def test_a23_a_line_that_does_not_say_which_call_it_is_is_let_go(loop: VirtualLoop) -> None:
    bench = audiosocket(loop, is_begun=False)

    bench.connection.receive(b"\x01\x00")
    await elapse(5.1)

    assert bench.connection.is_closed
    assert bench.frames == [(0x00, b"")]


@pytest.mark.parametrize("first", [b"\x10\x00\x02\x01\x02", b"\x01\x00\x01\x07", b"\x47ET / HTTP"])
@in_virtual_time
async def test_a_line_that_begins_with_anything_else_is_let_go(
    loop: VirtualLoop, first: bytes
) -> None:
    bench = audiosocket(loop, is_begun=False)

    bench.connection.receive(first + bytes(20_000))

    assert bench.connection.is_closed
    assert not bench.begun


# ---- what it says


@in_virtual_time
async def test_what_it_says_is_heard_in_the_same_callback(loop: VirtualLoop) -> None:
    bench = audiosocket(loop)
    bench.person.forget()

    bench.connection.receive(write_frame(0x10, SECOND[:160].tobytes()))

    assert bench.person.pcm.tolist() == SECOND[:160].tolist()
    bench.leg.end(EndReason.HANGUP)


@pytest.mark.parametrize(("kind", "rate"), RATE_OF_KIND.items())
@in_virtual_time
async def test_every_rate_is_heard_and_answered(loop: VirtualLoop, kind: int, rate: int) -> None:
    bench = audiosocket(loop)
    spoken = tone(1000, 0.5, rate)
    bench.person.forget()

    for piece in frames_of(spoken, rate // 50):
        bench.connection.receive(write_frame(kind, piece.astype("<i2").tobytes()))
        await asyncio.sleep(0.02)
    await bench.says(SECOND[:4000])
    bench.leg.end(EndReason.HANGUP)

    assert tone_level_dbfs(bench.person.pcm[800:3200], 8000, 1000) == pytest.approx(-10, abs=1)
    audio = b"".join(payload for each, payload in bench.frames if each == kind)
    heard = np.frombuffer(audio, "<i2")[-rate // 4 :]
    assert tone_level_dbfs(heard, rate, 1000) == pytest.approx(-10, abs=1)


@pytest.mark.parametrize("name", FORMATS)
@in_virtual_time
async def test_every_format_of_asterisk_is_heard_and_answered(loop: VirtualLoop, name: str) -> None:
    bench = LineBench(loop, AsteriskLine())
    bench.connection.receive(f"MEDIA_START channel_id:7 format:{name}")
    codec, rate = FORMATS[name].codec, FORMATS[name].rate
    encoder = None if codec is None else make_encoder(codec, rate=rate)
    spoken = tone(1000, 0.6, rate)
    bench.person.forget()

    for piece in frames_of(spoken, rate // 50):
        coded = piece.astype("<i2").tobytes() if encoder is None else encoder.encode(piece)
        bench.connection.receive(coded)
        await asyncio.sleep(0.02)
    await bench.says(SECOND[:6400])
    bench.leg.end(EndReason.HANGUP)

    assert tone_level_dbfs(bench.person.pcm[1600:4000], 8000, 1000) == pytest.approx(-10, abs=1.5)
    sent = [message for message in bench.connection.sent if isinstance(message, bytes)][-20:]
    voice = Voice()
    heard = [
        np.frombuffer(audio, "<i2")
        if codec is None
        else voice.frame(codec, audio, 960, 0.0).pcm(rate)
        for audio in sent
    ]
    assert tone_level_dbfs(np.concatenate(heard), rate, 1000) == pytest.approx(-10, abs=1.5)


@in_virtual_time
async def test_pieces_of_any_size_are_heard_whole(loop: VirtualLoop) -> None:
    bench = audiosocket(loop)
    said = SECOND[:1600].tobytes()
    bench.person.forget()

    for at in range(0, len(said), 7):
        bench.connection.receive(write_frame(0x10, said[at : at + 7]))
        await asyncio.sleep(7 / 16_000)
    bench.leg.end(EndReason.HANGUP)

    heard = bench.person.pcm
    assert heard[np.flatnonzero(heard)[0] :][:1500].tolist() == SECOND[1:1501].tolist()


@in_virtual_time
async def test_f19_ten_times_real_time_is_heard_at_the_pace_of_time(loop: VirtualLoop) -> None:
    bench = audiosocket(loop)
    bench.person.forget()
    one = write_frame(0x10, SECOND[:160].tobytes())

    for _ in range(100):
        bench.connection.receive(one * 10)
        await asyncio.sleep(0.02)
    bench.leg.end(EndReason.HANGUP)

    heard_s = len(bench.person.pcm) / 8000
    assert 2.0 <= heard_s <= 2.13
    assert bench.leg.dropped_ms == pytest.approx(18_000, abs=130)


@in_virtual_time
async def test_what_waited_for_a_second_is_time_gone_by(loop: VirtualLoop) -> None:
    bench = audiosocket(loop)
    one = write_frame(0x10, SECOND[:160].tobytes())
    bench.connection.receive(one)
    await asyncio.sleep(1)
    bench.person.forget()

    bench.connection.receive(one * 50)

    assert len(bench.person.pcm) == 800
    bench.leg.end(EndReason.HANGUP)


# ---- what it hears


@in_virtual_time
async def test_it_hears_20_ms_in_each_frame_whatever_the_length_of_the_speakers(
    loop: VirtualLoop,
) -> None:
    bench = audiosocket(loop)

    await bench.says(SECOND)
    bench.leg.end(EndReason.HANGUP)

    *audio, last = bench.frames
    assert {len(payload) for _, payload in audio} == {320}
    assert last == (0x00, b"")
    assert tone_level_dbfs(bench.heard[-4000:], 8000, 1000) == pytest.approx(-10, abs=0.5)


@in_virtual_time
async def test_it_hears_that_it_rings_until_it_is_answered(loop: VirtualLoop) -> None:
    bench = audiosocket(loop)
    bench.hub.route({})  # as in a call before its answer

    bench.leg.progress(ringing=True, early_media=False)
    await elapse(0.9)
    ringing = bench.heard
    bench.leg.answer()
    bench.hub.route({"line": {}})
    await elapse(0.3)
    bench.leg.end(EndReason.HANGUP)

    assert len(ringing) == pytest.approx(7200, abs=320)
    assert tone_level_dbfs(ringing[1600:6400], 8000, 425) == pytest.approx(-18, abs=1)
    assert not bench.heard[-1600:].any()


@in_virtual_time
async def test_a_key_toward_it_is_sound(loop: VirtualLoop) -> None:
    bench = audiosocket(loop)
    bench.leg.digit("5", Phase.START)
    await elapse(0.1)
    bench.leg.digit("5", Phase.END, 100)
    await elapse(0.3)
    bench.leg.end(EndReason.HANGUP)

    sound = bench.heard
    start = int(np.flatnonzero(sound)[0])
    assert dtmf_of(sound[start : start + 640], 8000) == "5"
    assert bench.leg.quality().digits_sent == 1


@in_virtual_time
async def test_while_its_pbx_has_no_room_it_is_sent_nothing(loop: VirtualLoop) -> None:
    bench = LineBench(loop, AsteriskLine())
    bench.connection.receive("MEDIA_START channel_id:7 format:ulaw")
    await bench.says(SECOND[:1600])
    bench.connection.receive("MEDIA_XOFF")
    sent = len(bench.connection.sent)

    await bench.says(SECOND[:1600])
    assert len(bench.connection.sent) == sent
    bench.connection.receive("MEDIA_XON")
    await bench.says(SECOND[:1600])

    assert len(bench.connection.sent) > sent
    bench.leg.end(EndReason.HANGUP)


@in_virtual_time
async def test_mu_law_goes_through_as_it_came(loop: VirtualLoop) -> None:
    bench = LineBench(loop, AsteriskLine())
    bench.connection.receive("MEDIA_START channel_id:7 format:ulaw")
    payload = MU_LAW.encode(SECOND[:160])
    bench.person.forget()

    bench.connection.receive(payload)

    assert [frame.payload for frame in bench.person.frames] == [payload]
    bench.leg.end(EndReason.HANGUP)


# ---- keys and the end


@in_virtual_time
async def test_its_keys_are_told(loop: VirtualLoop) -> None:
    bench = audiosocket(loop)

    for digit in b"1#":
        bench.connection.receive(write_frame(0x03, bytes([digit])))

    pressed = [(event.digit, event.phase) for event in bench.all(DigitPressed)]
    assert pressed == [
        ("1", Phase.START),
        ("1", Phase.END),
        ("#", Phase.START),
        ("#", Phase.END),
    ]
    bench.leg.end(EndReason.HANGUP)


@pytest.mark.parametrize("last", [b"\x00\x00\x00", b"\xff\x00\x01\x01"])
@in_virtual_time
async def test_it_hangs_up(loop: VirtualLoop, last: bytes) -> None:
    bench = audiosocket(loop)

    bench.connection.receive(last)
    await elapse(0.01)

    assert reasons(bench) == [EndReason.HANGUP]
    assert len(bench.all(Gone)) == 1
    assert bench.connection.is_closed


@pytest.mark.parametrize(
    ("is_finished", "reason"), [(True, EndReason.HANGUP), (False, EndReason.PATH_LOST)]
)
@in_virtual_time
async def test_its_connection_goes(loop: VirtualLoop, is_finished: bool, reason: EndReason) -> None:
    bench = audiosocket(loop)

    bench.connection.lose(is_finished=is_finished)
    await elapse(0.01)

    assert reasons(bench) == [reason]
    assert len(bench.all(Gone)) == 1


@in_virtual_time
async def test_it_is_hung_up(loop: VirtualLoop) -> None:
    bench = audiosocket(loop)

    bench.leg.end(EndReason.HANGUP)
    bench.leg.end(EndReason.HANGUP)
    await elapse(0.01)

    assert bench.frames[-1] == (0x00, b"")
    assert bench.connection.is_closed
    assert [type(event) for event in bench.told] == [Gone]


@in_virtual_time
async def test_f10_a_line_that_is_silent_for_half_a_minute_is_ended(loop: VirtualLoop) -> None:
    bench = audiosocket(loop)
    await elapse(20)
    bench.connection.receive(write_frame(0x10, bytes(320)))

    await elapse(29)
    assert not bench.told
    await elapse(1.1)

    assert reasons(bench) == [EndReason.MEDIA_TIMEOUT]


@in_virtual_time
async def test_f19_a_line_that_breaks_the_protocol_three_times_is_given_up(
    loop: VirtualLoop,
) -> None:
    bench = audiosocket(loop)

    for _ in range(2):
        bench.connection.receive(write_frame(0x42, b"x"))
    assert not bench.connection.is_closed
    bench.connection.receive(write_frame(0x42, b"x"))

    assert reasons(bench) == [EndReason.PATH_LOST]


@in_virtual_time
async def test_a24_garbage_ends_a_line_and_nothing_else(loop: VirtualLoop) -> None:
    for _ in range(50):
        bench = audiosocket(loop)
        bench.connection.receive(os.urandom(20_000))
        bench.leg.end(EndReason.HANGUP)

        assert bench.connection.is_closed
        assert bench.hub.faults == 0
