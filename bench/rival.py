"""Sippy's B2BUA, the row to compare signalling with: in a virtual environment of its own.

It is no dependency of the gateway, nor of its tests: only this bench installs it, once, into the
user's cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.system import StartError

VERSION = "2.5.0"
INSTALL_TIMEOUT_S = 300.0


def sippy_executable() -> Path:
    """Its `b2bua_simple`, installed now if it is not yet.

    Raises:
        StartError: it cannot be installed.
    """
    directory = _cache() / f"sippy-{VERSION}-python{sys.version_info[0]}.{sys.version_info[1]}"
    executable = directory / "bin/b2bua_simple"
    if executable.exists():
        return executable
    python = directory / "bin/python"
    try:
        for command in (
            [sys.executable, "-m", "venv", str(directory)],
            [str(python), "-m", "pip", "install", "-q", f"sippy=={VERSION}"],
        ):
            subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise StartError(f"sippy {VERSION} cannot be installed: {error}") from None
    return executable


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "voice-gateway-bench"
