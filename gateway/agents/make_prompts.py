"""Record the prompts: `python -m gateway.agents.make_prompts DIRECTORY…` (needs espeak-ng and sox).

Each directory holds `prompts.txt` with lines `name.wav: text`. The recordings are part of the
project, 16 kHz mono; this is the recipe they were made by.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

VOICE = ["espeak-ng", "-v", "en-gb-x-rp", "-s", "150", "-p", "45", "--stdout"]
FINISH = ["norm", "-7", "rate", "16000", "silence", "1", "0.01", "0.3%", "reverse"]
FINISH += ["silence", "1", "0.01", "0.3%", "reverse"]


def record(text: str, path: Path) -> None:
    """Speak `text` into a WAV file."""
    spoken = subprocess.run([*VOICE, text], check=True, capture_output=True)  # noqa: S603
    wav = ["sox", "-q", "-t", "wav", "-", "-b", "16", "-c", "1", str(path), *FINISH]
    subprocess.run(wav, check=True, input=spoken.stdout)  # noqa: S603


def main(directories: list[str]) -> None:
    for directory in map(Path, directories):
        for line in (directory / "prompts.txt").read_text(encoding="utf-8").splitlines():
            name, _, text = line.partition(":")
            record(text.strip(), directory / name)


if __name__ == "__main__":
    main(sys.argv[1:])
