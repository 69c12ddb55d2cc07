"""Makes calls through the system under test and keeps them talking, both ends in one process."""

from __future__ import annotations

import asyncio
import gc
import time
from array import array

from bench.agent_peer import AgentEnd
from bench.pacer import Clockwork, Intake
from bench.page import ConnectError, Page, PlainPage
from bench.peers import Carrier, Phone
from bench.signalling import CallFailedError, CallSocket
from bench.sip_caller import CallingPhone, SipCall
from bench.stream import CAPTURED_FRAMES
from bench.system import System
from bench.timing import FRAME_NS

SETUPS_PER_S = 20
"Slow enough that set-up does not disturb the calls that talk already."

MAX_SETUPS_AT_ONCE = 8
MAX_FAILURES = 3
"More calls than these that cannot be set up, and the round is given up."

GOLDEN = 0.618033988749895
"Multiples of it, modulo one, stay evenly spread however many there are."

CAPTURE_S = CAPTURED_FRAMES * FRAME_NS / 1e9


class BenchCall:
    """One call: a page, a phone, and the signalling between the page and the system."""

    def __init__(
        self,
        number: str,
        page: Page | PlainPage | CallingPhone,
        phone: Phone | AgentEnd,
        socket: CallSocket | SipCall,
    ) -> None:
        self.number = number
        self.page = page
        self.phone = phone
        self.socket = socket

    @property
    def is_talking(self) -> bool:
        """Whether the system has not ended it."""
        return self.socket.end_reason is None


class Generator:
    """The calls of one system under test, and the one timer that drives them."""

    def __init__(self, system: System, codec: str = "opus") -> None:
        """`codec`: what its pages speak."""
        self._codec = codec
        self._loop = asyncio.get_running_loop()
        self._system = system
        self._clockwork = Clockwork(self._loop)
        self._carrier = Carrier(self._clockwork.intake)
        self._placed = 0
        self.calls: list[BenchCall] = []
        self.failures: list[str] = []
        "Set-ups that failed and were made up for by another call."

    @property
    def carrier_port(self) -> int:
        """Where the system under test is to send its INVITEs."""
        return self._carrier.port

    @property
    def intake(self) -> Intake:
        """The sockets of its pages, for who places calls of another kind beside its own."""
        return self._clockwork.intake

    def forget(self, number: str) -> None:
        """A call to this number is over that was not placed here."""
        self._carrier.forget(number)

    async def set_calls(self, count: int, port: int) -> None:
        """Place or end calls until there are `count`; `port` is the system's HTTP port.

        Raises:
            CallFailedError, ConnectError: several calls could not be set up.
        """
        gc.unfreeze()
        excess = self.calls[count:]
        del self.calls[count:]
        await self._end(excess)
        room = asyncio.Semaphore(MAX_SETUPS_AT_ONCE)
        async with asyncio.TaskGroup() as setups:
            for _ in range(count - len(self.calls)):
                await room.acquire()
                setup = setups.create_task(self._place(port))
                setup.add_done_callback(lambda _: room.release())
                await asyncio.sleep(1 / SETUPS_PER_S)
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not walk through it again

    async def record(self, window_s: float) -> Recording:
        """Keep the times of every packet for `window_s`, and some of the sound at either end."""
        gc.disable()
        try:
            pacer = self._clockwork.pacer
            pacer.lateness_ns = array("q")
            fallen = pacer.frames_fallen
            streams = [stream for call in self.calls for stream in (call.page, call.phone)]
            started = time.monotonic()
            for stream in streams:
                stream.heard.record()
            await asyncio.sleep(max(0.0, window_s - CAPTURE_S - 0.2))
            for stream in streams:
                stream.heard.capture()
            await asyncio.sleep(started + window_s - time.monotonic())
            for stream in streams:
                stream.heard.is_recording = False
            lateness, pacer.lateness_ns = pacer.lateness_ns, None
        finally:
            gc.enable()
        return Recording(
            time.monotonic() - started, lateness, pacer.frames_fallen - fallen, list(self.calls)
        )

    async def close(self) -> None:
        """End every call and close every socket."""
        calls, self.calls = self.calls, []
        try:
            await self._end(calls)
        finally:
            self._carrier.close()
            self._clockwork.close()

    async def _place(self, port: int) -> None:
        self._placed += 1
        order = self._placed
        try:
            call = await self._call(order, port)
        except (CallFailedError, ConnectError) as error:
            self.failures.append(str(error))
            if len(self.failures) > MAX_FAILURES:
                raise
            await self._place(port)
            return
        self.calls.append(call)
        phase_ns = round(order * GOLDEN % 1.0 * FRAME_NS)
        self._clockwork.pacer.add(phase_ns, call.page.send)
        self._clockwork.pacer.add(phase_ns + FRAME_NS // 2, call.phone.send)

    async def _call(self, order: int, port: int) -> BenchCall:
        number = f"+1555{order:07d}"
        socket = await CallSocket.open(f"c{order}", port)
        set_up = self._set_up_plain if self._system.is_plain else self._set_up
        try:
            return await set_up(number, socket)
        except BaseException:
            await socket.close()
            raise

    async def _set_up(self, number: str, socket: CallSocket) -> BenchCall:
        intake = self._clockwork.intake
        page = Page(intake, self._codec)
        phone = None if self._system.uses_sip else Phone(intake)
        options = {} if phone is None else {"phone": phone.address}
        try:
            answer = await socket.place(number, page.offer(), options)
            await page.connect(answer["sdp"])
            answered = await socket.answered()
        except BaseException:
            await page.close()
            raise
        if phone is not None:
            phone.connect(tuple(answered["phone"]))
        else:
            phone = self._carrier.phone(number)
            if phone is None:
                raise CallFailedError(f"answered, but no INVITE for {number} came to the carrier")
        return BenchCall(number, page, phone, socket)

    async def _set_up_plain(self, number: str, socket: CallSocket) -> BenchCall:
        page, phone = PlainPage(self._clockwork.intake), Phone(self._clockwork.intake)
        options = {"page": page.address, "phone": phone.address}
        answer = await socket.place(number, "", options)
        answered = await socket.answered()
        page.connect(tuple(answer["page"]))
        phone.connect(tuple(answered["phone"]))
        return BenchCall(number, page, phone, socket)

    async def _end(self, calls: list[BenchCall]) -> None:
        for call in calls:
            self._clockwork.pacer.remove(call.page.send)
            self._clockwork.pacer.remove(call.phone.send)
        for start in range(0, len(calls), MAX_SETUPS_AT_ONCE):
            some = calls[start : start + MAX_SETUPS_AT_ONCE]
            await asyncio.gather(*(self._hang_up(call) for call in some))

    async def _hang_up(self, call: BenchCall) -> None:
        await call.socket.close()
        await call.page.close()
        self._carrier.forget(call.number)
        call.phone.close()


class Recording:
    """What a window showed; the calls still hold their times."""

    def __init__(
        self, window_s: float, lateness_ns: array[int], frames_fallen: int, calls: list[BenchCall]
    ) -> None:
        self.window_s = window_s
        self.lateness_ns = lateness_ns
        self.frames_fallen = frames_fallen
        self.calls = calls
