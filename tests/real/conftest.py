"""A gateway process for each test that asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, running_gateway


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """The gateway with its lab, as `gateway serve` runs it, on free ports."""
    async with running_gateway(tmp_path) as running:
        yield running
