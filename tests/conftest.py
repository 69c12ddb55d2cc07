"""What holds for every test: none hangs for ever, and pytest's own memory burdens none."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

LONGEST_S = 60.0
"What a test may take, and its setup, and its teardown: many times what the longest takes."

SOAK_LONGEST_S = 1800.0
"Of those that flood, soak or wait."

AGAIN_S = 10.0
"After that it is ended once more, if somebody has caught what ended it."


class HungError(SystemExit):
    """A test hangs. Of this kind, because event loops keep all others to themselves."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Read the tests without the collector, and have it look through none of them later.

    They are 300 000 objects, which no gateway has, and a look through all of them holds up the
    loop of a test for 200 ms.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    with ends_in_time(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    with ends_in_time(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    with ends_in_time(item):
        return (yield)


@contextmanager
def ends_in_time(item: pytest.Item) -> Iterator[None]:
    """End what hangs where it hangs, so that one test fails and the others go on."""
    longest_s = SOAK_LONGEST_S if item.get_closest_marker("soak") else LONGEST_S

    def end(number: int, frame: FrameType | None) -> None:
        raise HungError(f"hung for {longest_s:.0f} s")

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are taken by the main thread alone
        return
    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, longest_s, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
