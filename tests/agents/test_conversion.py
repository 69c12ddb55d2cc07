"""What an agent hears and says, in any format and in pieces of any size."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from gateway.agents.agent import AgentCall
from gateway.agents.conversion import Ear, Mouth
from gateway.agents.protocol import AudioFormat
from gateway.codec import G722, OPUS, PCMA, PCMU
from gateway.errors import RemoteProtocolError
from gateway.media.coding import make_encoder
from gateway.media.frame import AudioFrame, PastFrame, Voice
from gateway.media.g711 import A_LAW, MU_LAW
from gateway.media.g722 import G722Decoder
from gateway.media.hub import Hub
from gateway.media.playout import Playout
from gateway.media.tone import tone_level_dbfs
from tests.media import parties
from tests.media.sound import Pcm, frames_of, steepest_step, tone

RATES = [8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]


def frames(pcm: Pcm, ptime_ms: int = 20) -> list[AudioFrame]:
    """Of a caller over μ-law."""
    voice = Voice()
    pieces = frames_of(pcm, 8 * ptime_ms)
    return [
        voice.frame(PCMU, MU_LAW.encode(p), 48 * ptime_ms, n * 0.02) for n, p in enumerate(pieces)
    ]


def heard(ear: Ear, said: list[AudioFrame]) -> list[bytes]:
    return [packet for frame in said for packet in ear.hear(frame)]


class Speaker:
    """A call of which only the queue is there, and a person who listens."""

    def __init__(self) -> None:
        self.playout = Playout()
        self.person = parties.Ear(rate=8000)
        self.phone = parties.Relay()
        self.say_now = self.playout.say_pcm
        self.say_payload = self.playout.say_payload
        hub = Hub()
        hub.join("agent", playout=self.playout)
        hub.join("person", listener=self.person)
        hub.join("phone", listener=self.phone)
        hub.route({"person": {"agent": 1.0}, "phone": {"agent": 1.0}})
        self.run = parties.Clock(hub).run

    def mouth(self, format: AudioFormat) -> Mouth:
        return Mouth(cast(AgentCall, self), format)


# ---- what is heard


@pytest.mark.parametrize("packet_ms", [20, 40, 60])
@pytest.mark.parametrize("rate", RATES)
def test_agent_hears_at_any_rate_in_packets_of_its_length(rate: int, packet_ms: int) -> None:
    ear = Ear(AudioFormat(rate, packet_ms=packet_ms))

    packets = heard(ear, frames(tone(1000, 1.2, 8000)))

    assert {len(packet) for packet in packets} == {2 * (rate * packet_ms // 1000)}
    assert len(packets) == pytest.approx(1200 / packet_ms, abs=1)
    pcm = np.frombuffer(b"".join(packets), "<i2")[rate // 10 :]
    assert tone_level_dbfs(pcm, rate, 1000) == pytest.approx(-10, abs=0.5)
    assert steepest_step(pcm) < 1.5 * steepest_step(tone(1000, 0.2, rate)) + 200


@pytest.mark.parametrize("codec", [PCMU, PCMA, G722])
def test_payload_of_the_wanted_codec_is_handed_on_untouched(codec: Any) -> None:
    voice, ear = Voice(), Ear(AudioFormat(codec.sample_rate, codec))
    payloads = [bytes([n]) * 160 for n in range(20)]

    packets = heard(ear, [voice.frame(codec, payload, 960, 0.0) for payload in payloads])

    assert all(packet is payload for packet, payload in zip(packets, payloads, strict=True))


def test_hole_in_what_is_handed_on_is_filled() -> None:
    voice, ear = Voice(), Ear(AudioFormat(8000, PCMU))
    speech = frames_of(tone(400, 0.4, 8000), 160)

    packets: list[bytes] = []
    for number, piece in enumerate(speech):
        payload = MU_LAW.encode(piece)
        missing = number == 10
        frame = voice.conceal(960, 0.0) if missing else voice.frame(PCMU, payload, 960, 0.0)
        packets += ear.hear(frame)

    assert [len(packet) for packet in packets] == [160] * 20
    assert tone_level_dbfs(MU_LAW.decode(packets[10]), 8000, 400) > -16


def test_time_that_has_gone_by_is_not_sent() -> None:
    ear = Ear(AudioFormat(8000, PCMU))

    assert heard(ear, [PastFrame(0, 96_000, 0.0)]) == []


@pytest.mark.parametrize("ptime_ms", [10, 30, 60])
def test_packets_are_cut_from_frames_of_another_length(ptime_ms: int) -> None:
    ear = Ear(AudioFormat(8000, PCMU))
    said = tone(700, 1.2, 8000)

    packets = heard(ear, frames(said, ptime_ms))

    assert {len(packet) for packet in packets} == {160}
    assert b"".join(packets) == MU_LAW.encode(MU_LAW.decode(MU_LAW.encode(said)))


def test_other_law_is_made_of_the_one() -> None:
    ear = Ear(AudioFormat(8000, PCMA))

    packets = heard(ear, frames(tone(700, 0.4, 8000)))

    assert tone_level_dbfs(A_LAW.decode(b"".join(packets)), 8000, 700) == pytest.approx(-10, abs=1)


def test_opus_is_made_for_who_wants_it() -> None:
    ear, voice = Ear(AudioFormat(48_000, OPUS)), Voice()

    packets = heard(ear, frames(tone(700, 0.4, 8000)))

    decoded = [voice.frame(OPUS, packet, 960, 0.0).pcm(8000) for packet in packets]
    assert tone_level_dbfs(np.concatenate(decoded)[800:], 8000, 700) == pytest.approx(-10, abs=2)
    ear.close()


def test_g722_is_made_for_who_wants_it() -> None:
    ear = Ear(AudioFormat(16_000, G722))

    packets = heard(ear, frames(tone(700, 0.4, 8000)))

    decoder = G722Decoder()
    pcm = np.concatenate([decoder.decode(packet) for packet in packets])
    assert tone_level_dbfs(pcm[1600:], 16_000, 700) == pytest.approx(-10, abs=1)
    ear.close()


# ---- what is said


@pytest.mark.parametrize("chunk", [1, 7, 641, 1_000_000])
@pytest.mark.parametrize("rate", RATES)
def test_agent_may_say_it_at_any_rate_in_chunks_of_any_size(rate: int, chunk: int) -> None:
    speaker = Speaker()
    mouth = speaker.mouth(AudioFormat(rate))
    audio = tone(1000, 0.5, rate).tobytes()
    if chunk == 1:
        audio = audio[: len(audio) // 5]

    for at in range(0, len(audio), chunk):
        assert mouth.say(audio[at : at + chunk], "") == 0
    speaker.run(700)

    seconds = len(audio) / 2 / rate
    assert speaker.playout.said_ms == pytest.approx(seconds * 1000, abs=0.1)
    pcm = speaker.person.pcm[80 : round(seconds * 8000) - 150]
    assert tone_level_dbfs(pcm, 8000, 1000) == pytest.approx(-10, abs=0.5)
    assert steepest_step(pcm) < 1.5 * steepest_step(tone(1000, 0.2, 8000)) + 200


def test_half_a_sample_waits_for_its_other_half_and_is_gone_with_a_clear() -> None:
    speaker = Speaker()
    mouth = speaker.mouth(AudioFormat(8000))

    mouth.say(b"\x01\x02\x03", "")
    assert speaker.playout.said_ms == 0.125
    mouth.say(b"\x04", "")
    assert speaker.playout.said_ms == 0.25
    mouth.say(b"\x05", "")
    mouth.cut_off()
    mouth.say(b"\x06", "")

    assert speaker.playout.said_ms == 0.25


@pytest.mark.parametrize("codec", [PCMU, PCMA, G722])
def test_coded_speech_is_relayed_as_it_is(codec: Any) -> None:
    speaker = Speaker()
    mouth = speaker.mouth(AudioFormat(codec.sample_rate, codec))
    audio = bytes(range(160)) * 20

    mouth.say(audio, "")
    speaker.run(400)

    assert b"".join(payload for payload in speaker.phone.payloads if payload) == audio


def test_opus_packets_are_relayed_as_they_are() -> None:
    speaker = Speaker()
    mouth = speaker.mouth(AudioFormat(48_000, OPUS))
    encoder = make_encoder(OPUS, rate=16_000)
    packets = [encoder.encode(piece) for piece in frames_of(tone(700, 0.4, 16_000), 320)]

    for packet in packets:
        mouth.say(packet, "")
    speaker.run(400)

    assert [payload for payload in speaker.phone.payloads if payload] == packets
    encoder.close()


@pytest.mark.parametrize("packet", [b"", b"\xff", b"\x03\xff"])
def test_opus_packet_that_is_none_is_told(packet: bytes) -> None:
    mouth = Speaker().mouth(AudioFormat(48_000, OPUS))

    with pytest.raises(RemoteProtocolError):
        mouth.say(packet, "")


@pytest.mark.parametrize("rate", [0, -8000, 7999, 8001, 44_101, 1_000_000])
def test_f19_rate_that_no_speech_has_is_told(rate: int) -> None:
    with pytest.raises(RemoteProtocolError):
        Speaker().mouth(AudioFormat(rate))


def test_of_a_chunk_longer_than_the_queue_as_much_is_taken_as_fits() -> None:
    speaker = Speaker()
    mouth = speaker.mouth(AudioFormat(16_000))

    refused_ms = mouth.say(bytes(2 * 16_000 * 75), "")

    assert speaker.playout.queued_ms == 60_000
    assert refused_ms == 15_000
