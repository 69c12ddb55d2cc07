"""How busy a process is, and when it takes no more calls (F24)."""

from __future__ import annotations

from gateway.net.load import BUSY_LOOKS, LOOK_S, LoadWatch, open_descriptors
from tests.support.loop import VirtualLoop, elapse, in_virtual_time


class StalledLoop(VirtualLoop):
    """A loop whose callbacks can take long."""

    def stall(self, seconds: float) -> None:
        """Time passes without a chance for anything to run."""
        self._pass(seconds)


class Process:
    """A process that can be made busy, and run out of files."""

    def __init__(self) -> None:
        self.share = 0.0
        self.open = 0.1
        self._spent = 0.0

    def cpu_time(self) -> float:
        self._spent += self.share * LOOK_S
        return self._spent


def watch(loop: VirtualLoop, process: Process, max_cpu: float = 0.85) -> LoadWatch:
    return LoadWatch(
        loop=loop,
        max_cpu=max_cpu,
        cpu_time=process.cpu_time,
        count_descriptors=lambda: process.open,
    )


@in_virtual_time
async def test_f24_calls_are_refused_after_two_busy_seconds_and_taken_again(
    loop: VirtualLoop,
) -> None:
    process = Process()
    load = watch(loop, process)
    await elapse(10)
    process.share = 1.0

    await elapse(1)
    after_one = load.trouble
    await elapse(1.1)
    after_two = load.trouble
    process.share = 0.3
    await elapse(2.1)

    assert after_one is None
    assert after_two is not None
    assert "of a core" in after_two
    assert load.trouble is None
    load.close()


@in_virtual_time
async def test_start_of_a_process_counts_for_nothing(loop: VirtualLoop) -> None:
    process = Process()
    process.share = 1.0
    load = watch(loop, process)

    await elapse(LOOK_S * (BUSY_LOOKS - 1))

    assert load.trouble is None
    load.close()


@in_virtual_time
async def test_f24_calls_are_refused_before_the_files_run_out(loop: VirtualLoop) -> None:
    process = Process()
    load = watch(loop, process, max_cpu=0)
    process.open = 0.95

    await elapse(2.1)

    assert load.trouble is not None
    assert "ulimit -n" in load.trouble
    load.close()


@in_virtual_time
async def test_any_load_is_taken_where_it_is_asked_for(loop: VirtualLoop) -> None:
    process = Process()
    process.share = 1.0
    load = watch(loop, process, max_cpu=0)

    await elapse(10)

    assert load.trouble is None
    load.close()


def test_one_stall_is_no_load_and_two_are() -> None:
    loop = StalledLoop()

    async def show() -> None:
        load = watch(loop, Process())
        await elapse(3)

        loop.stall(0.4)
        await elapse(1)
        after_one = load.trouble
        loop.stall(0.4)
        await elapse(1)

        assert after_one is None
        assert load.trouble is not None
        assert "late" in load.trouble
        load.close()

    loop.run_until_complete(show())
    loop.close()


def test_open_files_of_this_process_are_counted() -> None:
    assert 0.0 < open_descriptors() < 1.0
