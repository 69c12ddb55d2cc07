"""Calls whose sides speak several codecs: what each is told, and what is done to the payloads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from bench.evaluate import opus_kind
from gateway.call.events import LegEnded
from gateway.call.hunt import Errand
from gateway.codec import G722, OPUS, PCMA, PCMU, Codec
from gateway.leg.leg import EndReason, Leg
from gateway.media.g711 import MU_LAW
from gateway.media.g722 import G722Decoder, G722Encoder
from gateway.media.opus import OpusDecoder, OpusEncoder, OpusOptions
from gateway.sdp.description import MediaDescription, parse_sdp
from gateway.sip import event as sip
from gateway.trunk.codecs import ANY, CodecRules, Transcode, for_called, for_caller
from gateway.trunk.route import Target, TargetKind
from tests.media.sound import frames_of, frequency_of, tone
from tests.support.exchange import RINGING
from tests.support.legs import plan
from tests.support.scene import Scene, Work
from tests.support.sip_legs import sdp

ALL = (OPUS, G722, PCMU, PCMA)
NEVER = CodecRules(Transcode.NEVER)
ALWAYS = CodecRules(Transcode.ALWAYS)

OPUS_111 = "a=rtpmap:111 opus/48000/2\r\na=rtpmap:110 telephone-event/48000\r\n"


def opus_offer(fmtp: str, others: str = "") -> bytes:
    """A phone's that would speak Opus best, as 96."""
    more = "a=rtpmap:96 opus/48000/2\r\na=rtpmap:97 telephone-event/48000\r\n"
    if fmtp:
        more += f"a=fmtp:96 {fmtp}\r\n"
    return sdp(codecs=f"96 {others} 97 101".replace("  ", " "), more=more)


class CodecScene(Scene):
    """A scene whose parties speak what they are given; the phone calls along one route."""

    def __init__(
        self,
        *groups: list[str],
        spoken: Mapping[str, tuple[Codec, ...]],
        rules: CodecRules = ANY,
        agent: Work | None = None,
    ) -> None:
        super().__init__(*groups, agent=agent)
        self.plan = plan(*groups, route=replace(RINGING, codecs=rules))
        self._spoken = spoken
        self._rules = rules

    def formats(self, trunk: str) -> tuple[str, ...]:
        """What a trunk is offered."""
        return parse_sdp(self.peers[trunk].request("INVITE").body).media[0].formats

    def answer_to_phone(self) -> MediaDescription:
        """What the phone was answered."""
        body = self.bench.phone.all(sip.Answered)[-1].body
        assert body is not None
        return parse_sdp(body).media[0]

    def sent(self, name: str) -> list[tuple[int, bytes]]:
        """Payload types and payloads that somebody was sent."""
        return [(p.payload_type, p.payload) for p in self.boxes[name].transport.packets]

    def _on_incoming(self, event: sip.Incoming) -> None:
        targets = [self._spoken.get(t.name) for group in self.plan.groups for t in group]
        allowed = for_caller(self._spoken["phone"], targets, self._rules)
        self.bench.given = {
            "codecs": allowed.codecs,
            "prefer": allowed.prefer,
            "may_relay": self._rules.relays,
        }
        super()._on_incoming(event)

    def _dial(self, target: Target, errand: Errand) -> Leg:
        if target.kind is TargetKind.TRUNK:
            codecs = for_called(self._spoken[target.name], errand.heard, errand.codecs)
            self.bench.given = {"codecs": codecs, "may_relay": errand.codecs.relays}
        return super()._dial(target, errand)


@contextmanager
def codec_scene(
    *groups: list[str],
    spoken: Mapping[str, tuple[Codec, ...]],
    rules: CodecRules = ANY,
    agent: Work | None = None,
) -> Iterator[CodecScene]:
    """One that leaves nothing behind."""
    made = CodecScene(*groups, spoken=spoken, rules=rules, agent=agent)
    try:
        yield made
        made.close()
    finally:
        made.bench.loop.close()


def opus_frames(seconds: float, rate: int = 16_000) -> list[bytes]:
    """A tone of 400 Hz as a phone encodes it."""
    encoder = OpusEncoder(rate, OpusOptions())
    return [encoder.encode(piece) for piece in frames_of(tone(400, seconds, rate), rate // 50)]


def speak(at: CodecScene, name: str, payload_type: int, payloads: list[bytes], step: int) -> None:
    """Somebody sends these, 20 ms apart."""
    for payload in payloads:
        at.packet(name, payload_type, payload, step=step)
        at.run(0.02)


# ---- auto


def test_opus_of_two_sip_sides_is_relayed_byte_for_byte() -> None:
    with codec_scene(["trunk:a"], spoken={"phone": ALL, "a": (OPUS, PCMU)}) as at:
        at.call(opus_offer("useinbandfec=1", others="0"))
        at.respond("a", 200, body=sdp(codecs="111 110", more=OPUS_111))
        payloads = opus_frames(0.5)

        speak(at, "phone", 96, payloads, 960)

        assert at.formats("a") == ("111", "0", "110", "101")
        assert at.answer_to_phone().formats == ("96", "97")
        assert at.sent("a")[-25:] == [(111, payload) for payload in payloads]


def test_g722_is_relayed_under_its_own_clock() -> None:
    with codec_scene(["trunk:a"], spoken={"phone": ALL, "a": (G722, PCMU)}) as at:
        at.call(sdp(codecs="9 0 101"))
        at.respond("a", 200, body=sdp(codecs="9 101"))
        payloads = [bytes([number]) * 160 for number in range(25)]

        speak(at, "phone", 9, payloads, 160)

        assert at.formats("a") == ("9", "0", "101")
        assert at.sent("a")[-25:] == [(9, payload) for payload in payloads]
        stamps = [packet.timestamp for packet in at.boxes["a"].transport.packets[-25:]]
        assert {b - a for a, b in pairwise(stamps)} == {160}


def test_of_the_two_laws_the_callers_is_relayed() -> None:
    with codec_scene(["trunk:a"], spoken={"phone": (PCMU, PCMA), "a": (PCMU, PCMA)}) as at:
        at.call(sdp(codecs="8 0 101"))
        at.respond("a", 200, body=sdp(codecs="8 101"))

        speak(at, "phone", 8, [bytes(range(160))], 160)

        assert at.formats("a") == ("8", "0", "101")
        assert at.sent("a")[-1] == (8, bytes(range(160)))


@pytest.mark.parametrize("name", ["G722", "opus"])
def test_wideband_is_transcoded_both_ways_where_the_trunk_is_narrow(name: str) -> None:
    codec, payload_type, step = (G722, 9, 160) if name == "G722" else (OPUS, 96, 960)
    offer = sdp(codecs="9 101") if name == "G722" else opus_offer("")
    with codec_scene(["trunk:a"], spoken={"phone": (codec,), "a": (PCMU,)}) as at:
        at.call(offer)
        at.respond("a", 200, body=sdp(codecs="0 101"))
        encoder = G722Encoder() if name == "G722" else OpusEncoder(16_000, OpusOptions())
        said = [encoder.encode(piece) for piece in frames_of(tone(1000, 0.6, 16_000), 320)]
        answered = [MU_LAW.encode(piece) for piece in frames_of(tone(600, 0.6, 8000), 160)]

        speak(at, "phone", payload_type, said, step)
        speak(at, "a", 0, answered, 160)

        assert at.formats("a") == ("0", "101")
        assert frequency_of(at.heard("a")[1600:4800], 8000) == pytest.approx(1000, rel=0.01)
        decoder = G722Decoder() if name == "G722" else OpusDecoder(16_000)
        back = [decoder.decode(payload) for kind, payload in at.sent("phone")[-20:] if payload]
        assert {kind for kind, _ in at.sent("phone")[-20:]} == {payload_type}
        assert frequency_of(np.concatenate(back), 16_000) == pytest.approx(600, rel=0.01)


def test_one_who_answers_with_another_codec_is_transcoded_for_and_offered_nothing_anew() -> None:
    with codec_scene(["trunk:a"], spoken={"phone": ALL, "a": (G722, PCMU)}) as at:
        at.call(sdp(codecs="9 101"))
        at.respond("a", 200, body=sdp(codecs="0 101"))
        encoder = G722Encoder()

        said = [encoder.encode(piece) for piece in frames_of(tone(1000, 0.6, 16_000), 320)]
        speak(at, "phone", 9, said, 160)

        assert frequency_of(at.heard("a")[1600:], 8000) == pytest.approx(1000, rel=0.01)
        assert len(at.peers["a"].got("INVITE")) == 1


# ---- never


def test_nothing_is_transcoded_where_the_route_says_so() -> None:
    spoken = {"phone": ALL, "a": (PCMA, PCMU)}
    with codec_scene(["trunk:a"], spoken=spoken, rules=NEVER) as at:
        at.call(opus_offer("", others="0 8"))
        at.respond("a", 200, body=sdp(codecs="8 101"))

        assert at.answer_to_phone().formats == ("8", "101")
        assert at.formats("a") == ("8", "101")


def test_the_next_group_is_tried_where_the_first_cannot_hear_the_caller() -> None:
    spoken = {"phone": ALL, "a": (OPUS,), "b": (PCMU,), "c": (PCMU,)}
    with codec_scene(["trunk:a"], ["trunk:b"], ["trunk:c"], spoken=spoken, rules=NEVER) as at:
        at.call(opus_offer("", others="0"))
        at.respond("b", 503)
        at.respond("c", 200, body=sdp(codecs="0 101"))

        assert "a" not in at.peers
        assert at.answer_to_phone().formats == ("0", "101")
        assert at.formats("c") == ("0", "101")


# ---- always


def test_payloads_are_made_anew_where_the_route_says_so() -> None:
    spoken = {"phone": (PCMU,), "a": (PCMU,)}
    with codec_scene(["trunk:a"], spoken=spoken, rules=ALWAYS) as at:
        at.call(sdp(codecs="0 101"))
        at.respond("a", 200, body=sdp(codecs="0 101"))
        # Minus zero in G.711 is decoded to 0, and encoded as plus zero.
        speak(at, "phone", 0, [b"\x7f" * 160] * 10, 160)

        assert at.sent("a")[-1] == (0, b"\xff" * 160)


# ---- what Opus is asked for


def test_opus_is_encoded_at_no_higher_rate_than_the_phone_plays() -> None:
    with codec_scene(["trunk:a"], spoken={"phone": (OPUS,), "a": (G722,)}) as at:
        at.call(opus_offer("maxplaybackrate=8000;stereo=0"))
        at.respond("a", 200, body=sdp(codecs="9 101"))
        encoder = G722Encoder()

        said = [encoder.encode(piece) for piece in frames_of(tone(1000, 0.4, 16_000), 320)]
        speak(at, "a", 9, said, 160)

        bands = {opus_kind(payload) for kind, payload in at.sent("phone")[-15:]}
        assert bands == {"celt narrowband mono"}


# ---- what we do not speak


def test_one_who_answers_in_g729_is_given_up_by_that_name() -> None:
    with codec_scene(["trunk:a"], spoken={"phone": ALL, "a": (PCMU,)}) as at:
        at.call(sdp(codecs="0 101"))
        at.respond("a", 200, body=sdp(codecs="18 101"))

        assert at.phone_got() == [488]
        (left,) = [e for e in at.events if isinstance(e, LegEnded) and e.leg == "leg-1"]
        assert left.reason is EndReason.NO_COMMON_CODEC
        assert "G.729 is not spoken here" in left.text
