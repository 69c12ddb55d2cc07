"""Chance, for those who are given it: machines draw nothing by themselves."""

from __future__ import annotations

import secrets

_STEPS = 1 << 20


def spread() -> float:
    """0 ≤ x < 1, uniformly, by the system's own randomness."""
    return secrets.randbelow(_STEPS) / _STEPS
