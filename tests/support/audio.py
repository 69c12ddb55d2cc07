"""Audio for tests: WAV files made and measured, and what a page hears."""

from __future__ import annotations

import base64
import sys
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Samples = NDArray[np.float64]

RECORD_IN_PAGE = """
async (seconds) => {
  const call = window.phone.call;
  const context = new AudioContext();
  await context.resume();
  const merger = context.createChannelMerger(2);
  const local = window.phone.pc.getSenders()[0].track;
  context.createMediaStreamSource(new MediaStream([local])).connect(merger, 0, 0);
  context.createMediaStreamSource(window.phone.remoteStream).connect(merger, 0, 1);
  const recorder = context.createScriptProcessor(4096, 2, 2);
  const wanted = Math.ceil(seconds * context.sampleRate / 4096);
  const heard = [[], []];
  await new Promise((resolve) => {
    recorder.onaudioprocess = (event) => {
      if (heard[0].length < wanted) {
        for (const channel of [0, 1]) {
          heard[channel].push(...[event.inputBuffer.getChannelData(channel).slice()]);
        }
      } else {
        resolve();
      }
    };
    merger.connect(recorder);
    recorder.connect(context.destination);
  });
  recorder.disconnect();
  const rate = context.sampleRate;
  await context.close();
  const pack = (blocks) => {
    const bytes = new Uint8Array(blocks.length * 4096 * 2);
    const view = new DataView(bytes.buffer);
    let at = 0;
    for (const block of blocks) {
      for (const sample of block) {
        view.setInt16(at, Math.max(-1, Math.min(1, sample)) * 32767, true);
        at += 2;
      }
    }
    let text = "";
    for (let i = 0; i < bytes.length; i += 32768) {
      text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    }
    return btoa(text);
  };
  return { rate, said: pack(heard[0]), heard: pack(heard[1]) };
}
"""


@dataclass(frozen=True, slots=True)
class Recording:
    """Mono samples from -1 to 1."""

    samples: Samples
    rate: int

    def part(self, start_s: float, end_s: float) -> Recording:
        """A piece of it."""
        return Recording(self.samples[int(start_s * self.rate) : int(end_s * self.rate)], self.rate)

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate

    @property
    def level_dbfs(self) -> float:
        """RMS, where a full-scale sine is -3.01."""
        rms = float(np.sqrt(np.mean(np.square(self.samples)))) if len(self.samples) else 0.0
        return 20 * float(np.log10(max(rms, 1e-9)))

    @property
    def peak_hz(self) -> float:
        """The strongest frequency, to a fraction of an FFT bin."""
        window = np.hanning(len(self.samples))
        spectrum = np.abs(np.fft.rfft(self.samples * window))
        top = int(np.argmax(spectrum[1:-1])) + 1
        left, mid, right = np.log(spectrum[top - 1 : top + 2] + 1e-12)
        shift = 0.5 * (left - right) / (left - 2 * mid + right)
        return float((top + shift) * self.rate / len(self.samples))

    def level_at_dbfs(self, hz: float) -> float:
        """RMS level of what is within 3 % of a frequency."""
        spectrum = np.fft.rfft(self.samples * np.hanning(len(self.samples)))
        frequencies = np.fft.rfftfreq(len(self.samples), 1 / self.rate)
        near = np.abs(frequencies - hz) < 0.03 * hz
        # A Hann window keeps 3/8 of the power.
        power = 2 * np.sum(np.abs(spectrum[near]) ** 2) / len(self.samples) ** 2 / 0.375
        return 10 * float(np.log10(max(power, 1e-18)))

    def onsets_s(self, *, above_dbfs: float = -30.0, quiet_s: float = 0.2) -> list[float]:
        """When sound begins after quiet."""
        block = self.rate // 1000
        blocks = self.samples[: len(self.samples) // block * block].reshape(-1, block)
        loud = np.sqrt(np.mean(np.square(blocks), axis=1)) > 10 ** (above_dbfs / 20)
        onsets: list[float] = []
        quiet = 0
        for index, is_loud in enumerate(loud):
            if is_loud and quiet >= quiet_s * 1000:
                onsets.append(index / 1000)
            quiet = 0 if is_loud else quiet + 1
        return onsets


async def record_page(page: Any, seconds: float) -> tuple[Recording, Recording]:
    """What the page's microphone says and what the page hears, on one clock."""
    taken = await page.evaluate(RECORD_IN_PAGE, seconds)

    def read(packed: str) -> Recording:
        pcm = np.frombuffer(base64.b64decode(packed), "<i2")
        return Recording(pcm.astype(np.float64) / 32768, int(taken["rate"]))

    return read(taken["said"]), read(taken["heard"])


def report(capsys: pytest.CaptureFixture[str], figure: str) -> None:
    """Print a measured figure past pytest's capture: people want to see it."""
    with capsys.disabled():
        sys.stdout.write(f"\n{figure}\n")


def write_wav(path: Path, samples: Samples, rate: int = 48_000) -> Path:
    """Write mono 16-bit PCM."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def read_wav(path: Path) -> Recording:
    """Read 16-bit PCM; of several channels the first."""
    with wave.open(str(path), "rb") as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return Recording(
            pcm[:: file.getnchannels()].astype(np.float64) / 32768, file.getframerate()
        )


def tone(hz: float, seconds: float, level_dbfs: float = -12.0, rate: int = 48_000) -> Samples:
    """A sine of an RMS level."""
    time = np.arange(int(seconds * rate)) / rate
    return np.asarray(np.sqrt(2) * 10 ** (level_dbfs / 20) * np.sin(2 * np.pi * hz * time))


def bursts(hz: float, count: int, every_s: float = 1.0, long_s: float = 0.1) -> Samples:
    """Short tones at a beat, for measuring delay."""
    rate = 48_000
    beat = np.zeros(int(every_s * rate))
    burst = tone(hz, long_s)
    beat[-len(burst) :] = burst
    return np.tile(beat, count)
