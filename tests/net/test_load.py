"""How busy a process is, and when it takes no more calls (F24)."""

from __future__ import annotations

from gateway.media.effort import Effort
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


# ---- what encoders spend


async def strained(loop: VirtualLoop, process: Process, load: LoadWatch, share: float) -> Effort:
    """What encoders spend after 3 s at this share of a core."""
    process.share = share
    await elapse(3)
    return load.workload.effort


@in_virtual_time
async def test_f24_encoders_spend_less_before_calls_are_refused(loop: VirtualLoop) -> None:
    process = Process()
    load = watch(loop, process)
    await elapse(5)

    found = [
        (await strained(loop, process, load, share), load.trouble is None)
        for share in (0.6, 0.7, 0.8, 0.9)
    ]

    assert found == [
        (Effort.FULL, True), (Effort.LEAN, True), (Effort.FRUGAL, True), (Effort.FRUGAL, False),
    ]  # fmt: skip
    assert load.lowered == 2
    load.close()


@in_virtual_time
async def test_encoders_spend_more_again_step_by_step(loop: VirtualLoop) -> None:
    process = Process()
    load = watch(loop, process)
    await elapse(5)
    await strained(loop, process, load, 0.8)
    process.share = 0.3

    efforts = []
    for _ in range(3):
        await elapse(9)
        efforts.append(load.workload.effort)
        await elapse(2)

    assert efforts == [Effort.FRUGAL, Effort.LEAN, Effort.FULL]
    load.close()


@in_virtual_time
async def test_effort_does_not_flap_at_the_limit(loop: VirtualLoop) -> None:
    process = Process()
    load = watch(loop, process)
    await elapse(5)
    await strained(loop, process, load, 0.7)

    # What is saved by it is no reason to spend it again.
    for share in (0.65, 0.7) * 20:
        await strained(loop, process, load, share)

    assert load.lowered == 1
    assert load.workload.effort is Effort.LEAN
    load.close()


def test_encoders_spend_less_when_the_loop_comes_late() -> None:
    loop = StalledLoop()

    async def show() -> None:
        load = watch(loop, Process())
        await elapse(3.001)

        for _ in range(3):
            loop.stall(LOOK_S + 0.02)
            await elapse(LOOK_S)

        assert load.workload.effort is Effort.FRUGAL
        assert load.trouble is None
        load.close()

    loop.run_until_complete(show())
    loop.finish()


@in_virtual_time
async def test_encoders_spend_what_they_like_where_no_limit_is_set(loop: VirtualLoop) -> None:
    process = Process()
    load = watch(loop, process, max_cpu=0.0)
    process.share = 1.0

    await elapse(10)

    assert load.workload.effort is Effort.FULL
    load.close()
