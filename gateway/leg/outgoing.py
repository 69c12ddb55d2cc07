"""Outgoing: what a party hears, from frames to packets.

    hear ─▸ [relay the payload, or encode] ─▸ RtpSession.send ─▸ transport

A frame heard is a packet sent in the same call.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gateway.codec import TICK_RATE, Codec, read_parameter
from gateway.leg.tap import Sink
from gateway.media.coding import UNBURDENED, Encoder, make_encoder
from gateway.media.conceal import write_noise
from gateway.media.effort import Workload
from gateway.media.frame import AudioFrame
from gateway.media.g711 import LAWS
from gateway.media.repair import Repair
from gateway.net.media import MediaTransport
from gateway.rtp.session import RtpSession
from gateway.rtp.stats import RemoteStats
from gateway.sdp.negotiation import Agreement

TICKS_PER_MS = TICK_RATE // 1000

TICKS_PER_BYTE = TICK_RATE // 8000
"Of G.711 and of G.722: both are 64 kb/s, and may be cut anywhere (RFC 3551 §4.5.2, §4.5.14)."

NOISE_TICKS = 400 * TICKS_PER_MS
"In a pause the noise is told anew so often, as Opus does: what is in between keeps its ports open."

MAX_ENCODER_RATE = 24_000
"Hz: voices need no more, and 48 kHz costs half as much again."


class Outgoing:
    """The sending half of a stream: encoder, packet lengths, what may be relayed."""

    def __init__(
        self,
        transport: MediaTransport,
        session: RtpSession,
        *,
        may_relay: bool = True,
        workload: Workload = UNBURDENED,
    ) -> None:
        self.transport: Sink = transport
        self.codec: Codec | None = None
        "What the party is sent; None before it is negotiated."
        self.is_stopped = False
        self._may_relay = may_relay
        self._workload = workload
        self._session = session
        self._send_codec: Codec | None = None  # None while nothing is to be sent
        self._send_scale = 1
        self._best_rate = 8000
        self._frame_ticks = self._frame_units = 20 * TICKS_PER_MS
        self._relayed: Codec | None = None  # what is heard and passed on as it is
        self._encoded: Codec | None = None  # what is heard and suits the encoder as it is
        self._encoder: Encoder | None = None
        self._repair = Repair()
        self._noise: Codec | None = None  # CN, where the party takes it
        self._rested_ticks = 0
        self._reported_at = 0.0
        # What of the last pieces fills no packet yet: samples, or bytes.
        self._pending: NDArray[np.int16] | None = None
        self._bytes = b""
        self._is_partial = self._is_law = self._is_cuttable = False
        self._longest_ticks = 0

    def configure(self, agreement: Agreement) -> None:
        """Take what an offer and its answer settled, at first or again; numbering goes on."""
        self._drop_partial()
        if self._encoder is not None and self.codec != agreement.send:
            self._encoder.close()
            self._encoder = None
        self.codec = agreement.send
        sends = agreement.direction.sends and not self.is_stopped
        self._send_codec = agreement.send if sends else None
        self._best_rate = min(agreement.send.sample_rate, MAX_ENCODER_RATE)
        self._send_scale = TICK_RATE // agreement.send.clock_rate
        self._frame_ticks = agreement.ptime_ms * TICKS_PER_MS
        self._frame_units = self._frame_ticks // self._send_scale
        self._longest_ticks = agreement.maxptime_ms * TICKS_PER_MS
        self._is_law = agreement.send.name in LAWS
        self._is_cuttable = self._is_law or agreement.send.name == "G722"
        self._relayed = self._encoded = None
        self._noise = agreement.send_noise

    @property
    def encoder(self) -> Encoder | None:
        """What codes for the party; None while nothing has to be coded."""
        return self._encoder

    @encoder.setter
    def encoder(self, encoder: Encoder | None) -> None:
        self._encoder = encoder

    @property
    def is_sending(self) -> bool:
        """Whether offer and answer let the party hear anything."""
        return self._send_codec is not None

    def stop(self) -> None:
        """Send nothing any more, whatever is agreed upon."""
        self.is_stopped = True
        self._send_codec = None

    def begin_anew(self) -> None:
        """Whoever listens from now on has heard nothing before: code from the start, for that."""
        self._drop_partial()
        if self._encoder is not None:
            self._encoder.close()
        self._encoder = self._encoded = None

    def close(self) -> None:
        """Free the encoder; what is heard from now on goes nowhere."""
        if self._encoder is not None:
            self._encoder.close()
        self._encoder = self.codec = self._send_codec = None

    def adapt(self, remote: RemoteStats | None) -> None:
        """Look at the party's last report: one who loses packets is sent what repairs that."""
        if remote is None or remote.reported_at == self._reported_at:
            return
        self._reported_at = remote.reported_at
        before = self._repair.loss_percent
        self._repair.take(remote.fraction_lost)
        codec, encoder = self.codec, self._encoder
        if before == self._repair.loss_percent or codec is None or encoder is None:
            return
        if codec.name == "opus" and read_parameter(codec, "useinbandfec", 0) == 1:
            # CELT has no FEC, and so the encoder is another.
            self._open_encoder(codec, encoder.sample_rate)

    def hear(self, frame: AudioFrame) -> None:
        """Send one frame now: its payload if the party takes that codec, else encoded."""
        codec = self._send_codec
        if codec is None:
            self._session.skip(frame.duration // self._send_scale)
            return
        heard = frame.codec
        if heard is None or heard is not self._relayed:
            encoder = self._encoder
            if encoder is None or heard is None or heard is not self._encoded:
                if heard is None and self._passes_unsent(frame):
                    return
                if self._relays(frame, codec):
                    self._relay(frame)
                    return
                encoder = self._encoder_for(frame, codec)
            pcm = frame.pcm(encoder.sample_rate)
            if frame.duration != self._frame_ticks or self._is_partial:
                self._send_cut(encoder, pcm, frame.heard_at)
                return
            payload = encoder.encode(pcm)
            if payload:
                packet = self._session.send(payload, self._frame_units, frame.heard_at)
                if packet:
                    self.transport.send(packet)
            else:  # DTX: time passes unsent
                self._session.skip(self._frame_units)
        else:
            self._relay(frame)

    def _relays(self, frame: AudioFrame, codec: Codec) -> bool:
        """Whether frames like this one are passed on as they are."""
        heard = frame.codec
        relays = (
            self._may_relay
            and heard is not None
            and frame.payload is not None
            and heard.name == codec.name
        )
        self._relayed = heard if relays else None
        return relays

    def _relay(self, frame: AudioFrame) -> None:
        payload = frame.payload
        assert payload is not None
        if frame.duration != self._frame_ticks or self._is_partial:
            if self._is_cuttable:
                self._send_bytes(payload, frame.heard_at)
                return
            if frame.duration > self._longest_ticks and self.codec is not None:
                encoder = self._encoder_for(frame, self.codec)
                self._send_cut(encoder, frame.pcm(encoder.sample_rate), frame.heard_at)
                return
            self._drop_partial()
        packet = self._session.send(payload, frame.duration // self._send_scale, frame.heard_at)
        if packet:
            self.transport.send(packet)

    def _passes_unsent(self, frame: AudioFrame) -> bool:
        """Whether a frame that is nobody's payload is not sent, but its time goes by."""
        if frame.is_past:
            self._drop_partial()
            self._session.skip(frame.duration // self._send_scale)
            return True
        if frame.is_missing and self._relayed is not None and self._relayed.name == "opus":
            # The party's own decoder conceals best, and finds the FEC in what is relayed next.
            self._session.lose(frame.duration // self._send_scale)
            return True
        if self._noise is None or not frame.is_noise:
            return False
        self._rest(frame, self._noise)
        return True

    def _rest(self, frame: AudioFrame, noise: Codec) -> None:
        """Nothing is said: tell how that sounds now and then, and send nothing (RFC 3389)."""
        self._drop_partial()
        if self._session.is_flowing or self._rested_ticks >= NOISE_TICKS:
            self._rested_ticks = 0
            payload = write_noise(frame.pcm(8000))
            packet = self._session.send_noise(noise.payload_type, payload, frame.heard_at)
            if packet:
                self.transport.send(packet)
        self._rested_ticks += frame.duration
        self._session.skip(frame.duration // self._send_scale)

    def _encoder_for(self, frame: AudioFrame, codec: Codec) -> Encoder:
        """The encoder for frames like this one."""
        encoder = self._encoder
        if encoder is None or (
            encoder.sample_rate < self._best_rate and encoder.sample_rate < frame.natural_rate
        ):
            encoder = self._open_encoder(codec, min(frame.natural_rate, self._best_rate))
        self._encoded = frame.codec
        return encoder

    def _open_encoder(self, codec: Codec, rate: int) -> Encoder:
        """One at the rate of what is to be heard; it is never lowered within a call."""
        before = self._encoder
        if before is not None:
            if before.sample_rate != rate:
                self._drop_partial()
            before.close()
        self._encoder = make_encoder(
            codec, rate=rate, workload=self._workload, loss_percent=self._repair.loss_percent
        )
        if before is not None:
            self._encoder.take_over()
        return self._encoder

    def _send_cut(self, encoder: Encoder, pcm: NDArray[np.int16], now: float) -> None:
        """Cut a timeline of other frame lengths into the packets that the party wants."""
        if self._is_law:
            self._send_bytes(encoder.encode(pcm), now)
            return
        if self._bytes:
            self._drop_partial()
        size = self._frame_ticks * encoder.sample_rate // TICK_RATE
        if self._pending is not None:
            pcm = np.concatenate((self._pending, pcm))
        while len(pcm) >= size:
            payload = encoder.encode(pcm[:size])
            pcm = pcm[size:]
            if not payload:
                self._session.skip(self._frame_units)
            elif packet := self._session.send(payload, self._frame_units, now):
                self.transport.send(packet)
        self._pending = pcm if len(pcm) else None
        self._is_partial = self._pending is not None

    def _send_bytes(self, payload: bytes, now: float) -> None:
        """The same for codecs of so many bytes a second, whatever is in them."""
        if self._pending is not None:
            self._drop_partial()
        size = self._frame_ticks // TICKS_PER_BYTE
        payload = self._bytes + payload
        end = len(payload) - len(payload) % size
        for at in range(0, end, size):
            packet = self._session.send(payload[at : at + size], self._frame_units, now)
            if packet:
                self.transport.send(packet)
        self._bytes = payload[end:]
        self._is_partial = bool(self._bytes)

    def _drop_partial(self) -> None:
        """What fills no packet is past once something else is sent: its time goes by unsent."""
        pending, self._pending = self._pending, None
        ticks = len(self._bytes) * TICKS_PER_BYTE
        if pending is not None and self._encoder is not None:
            ticks = len(pending) * TICK_RATE // self._encoder.sample_rate
        self._bytes, self._is_partial = b"", False
        if ticks:
            self._session.skip(ticks // self._send_scale)
