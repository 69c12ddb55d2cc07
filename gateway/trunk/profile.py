"""Profiles: what is known of a carrier or PBX, as defaults for the keys of a [[trunk]].

A profile is a TOML file beside this module whose keys are those of a [[trunk]]. What the
configuration says wins, key by key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

PROFILES = Path(__file__).with_name("profiles")


def profile_names() -> tuple[str, ...]:
    """The profiles there are."""
    return tuple(sorted(path.stem for path in PROFILES.glob("*.toml")))


@cache
def load_profile(name: str) -> Mapping[str, Any]:
    """The keys that a profile sets.

    Raises:
        KeyError: there is no such profile.
    """
    if name not in profile_names():
        raise KeyError(name)
    return tomllib.loads((PROFILES / f"{name}.toml").read_text(encoding="utf-8"))


def with_profile(trunk: Mapping[str, Any]) -> dict[str, Any]:
    """A [[trunk]] as it is written, on top of the profile that it names.

    Raises:
        KeyError: there is no such profile.
    """
    name = trunk.get("profile")
    return {**load_profile(name), **trunk} if isinstance(name, str) else dict(trunk)
