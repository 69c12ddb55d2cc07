"""Agents that people write in Python: found by name, made once, watched while they attend calls.

    [[agent]]
    name = "greeter"
    protocol = "python"
    class = "my_agents:Greeter"         # beside the configuration, or installed
    [agent.settings]
    voice = "anna"                      # Greeter(voice="anna")

A class may also be the entry point of an installed package, in the group `voice_gateway.agents`:
`class = "greeter"`.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import logging
import sys
import time
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from gateway.agents.agent import Agent, AgentCall
from gateway.errors import ConfigError

log = logging.getLogger(__name__)

GROUP = "voice_gateway.agents"
"The entry points of installed packages that are agents."

SLOW_STEP_S = 0.05
"A step of an agent that takes longer is told of: meanwhile no other call has sent a packet."

QUIET_S = 10.0
"One line about an agent that holds the others up is written in so long, however often it does."

_WRITE = 'write "module:Class", or the name of an installed agent'


class AgentCodeError(Exception):
    """The agent's code did what must not end the process: it ends the call alone."""


def load_agent(
    name: str, class_: str | None, settings: Mapping[str, Any], file: Path
) -> WatchedAgent:
    """Find the class, and make the one agent of it that attends all calls.

    Args:
        name: the agent's, in the configuration.
        class_: as configured; None: it is missing.
        settings: become the keyword arguments of the class.
        file: the configuration: modules beside it are found, after those that are installed.

    Raises:
        ConfigError: naming file, key, value and remedy.
    """
    where = f'{file}: [[agent]] "{name}"'
    if not class_:
        raise ConfigError(f"{where}: class is missing: {_WRITE}")
    at = f"{where}: class = {class_!r}"
    make = _find(class_, at, file) if ":" in class_ else _installed(class_, at)
    _check_settings(make, settings, f"{where}: settings")
    try:
        agent = make(**settings)
    except Exception as error:  # somebody else's code: it may raise anything
        raise ConfigError(
            f"{at}: cannot be made with these settings ({_words(error)}); mend the class, or"
            " [agent.settings]"
        ) from error
    if not inspect.iscoroutinefunction(getattr(agent, "on_call", None)):
        raise ConfigError(f"{at}: has no `async def on_call(self, call)`; add it")
    return WatchedAgent(name, agent)


def _find(class_: str, at: str, file: Path) -> Callable[..., Any]:
    """What `module:Class` names."""
    module_name, _, attribute = class_.partition(":")
    if not all(part.isidentifier() for part in f"{module_name}.{attribute}".split(".")):
        raise ConfigError(f"{at}: {_WRITE}")
    beside = str(file.parent.resolve())
    if beside not in sys.path:
        # At the end: a file there that is called json.py is not everybody's `json`.
        sys.path.append(beside)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigError(f"{at}: needs {error.name!r}, which is not installed") from error
        raise ConfigError(
            f"{at}: there is no module {module_name!r}; put {module_name}.py beside {file.name},"
            " or install it"
        ) from None
    except Exception as error:  # likewise, when it is read
        raise ConfigError(
            f"{at}: {module_name} cannot be imported ({_words(error)}); mend it"
        ) from error
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = _nearest(part, (each for each in vars(found) if not each.startswith("_")))
            raise ConfigError(f"{at}: {module_name} has no {part!r}{near}")
        found = getattr(found, part)
    return _callable(found, at)


def _installed(class_: str, at: str) -> Callable[..., Any]:
    """The entry point of that name."""
    known: dict[str, EntryPoint] = {each.name: each for each in entry_points(group=GROUP)}
    if class_ not in known:
        near = _nearest(class_, known) or f"; no package has entry points of the group {GROUP}"
        raise ConfigError(f'{at}: is not installed; write "module:Class"{near}')
    try:
        found = known[class_].load()
    except Exception as error:  # likewise
        raise ConfigError(
            f"{at}: the package that has it cannot be loaded ({_words(error)}); mend it"
        ) from error
    return _callable(found, at)


def _callable(found: Any, at: str) -> Callable[..., Any]:
    if not callable(found):
        raise ConfigError(f"{at}: is a {type(found).__name__}, not a class")
    made: Callable[..., Any] = found
    return made


def _check_settings(make: Callable[..., Any], settings: Mapping[str, Any], where: str) -> None:
    """Name the key that the class does not take, or the one that it needs."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        return  # written in C: it will say so itself
    takes = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for key, value in settings.items():
        if key not in takes and not takes_any:
            near = _nearest(key, takes) or "; it takes none"
            raise ConfigError(f"{where}: {key} = {value!r}: the class does not take it{near}")
    for p in parameters:
        if p.name in takes and p.default is p.empty and p.name not in settings:
            raise ConfigError(f"{where}: {p.name} is missing: the class needs it; add it")


class WatchedAgent:
    """An agent whose code is not ours: what it must not do is told, and does not end the process.

    Only what `on_call` itself does is timed, not what tasks do that it starts.
    """

    def __init__(
        self, name: str, agent: Agent, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.name = name
        self.agent = agent
        "The user's own."
        self.slow_steps = 0
        "How often it has held everything up."
        self._clock = clock
        self._quiet_until = 0.0

    async def on_call(self, call: AgentCall) -> None:
        try:
            await _Timed(self.agent.on_call(call), self._clock, self._judge)
        except SystemExit as error:
            # asyncio would end the process.
            raise AgentCodeError(f"it called sys.exit({error.code!r})") from error

    def _judge(self, took_s: float, work: Coroutine[Any, Any, Any]) -> None:
        if took_s < SLOW_STEP_S:
            return
        self.slow_steps += 1
        now = self._clock()
        if now < self._quiet_until:
            return
        self._quiet_until = now + QUIET_S
        log.warning(
            "agent=%s held up all calls for %d ms, before %s: await what takes long, or give it to"
            " asyncio.to_thread; such steps so far: %d",
            self.name,
            1000 * took_s,
            _place(work),
            self.slow_steps,
        )


class _Timed:
    """Awaits a coroutine, and tells how long each of its steps kept the event loop."""

    __slots__ = ("_clock", "_judge", "_work")

    def __init__(
        self,
        work: Coroutine[Any, Any, Any],
        clock: Callable[[], float],
        judge: Callable[[float, Coroutine[Any, Any, Any]], None],
    ) -> None:
        self._work = work
        self._clock = clock
        self._judge = judge

    def __await__(self) -> Generator[Any, Any, Any]:
        work, clock = self._work, self._clock
        thrown: BaseException | None = None
        while True:
            begun = clock()
            try:
                waits_for = work.send(None) if thrown is None else work.throw(thrown)
            except StopIteration as done:
                return done.value
            finally:
                self._judge(clock() - begun, work)
            try:
                yield waits_for
                thrown = None
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:  # thrown in: a cancellation too is the agent's
                thrown = error


def _place(work: Coroutine[Any, Any, Any]) -> str:
    """Where in `on_call` it rests now: the line after what took so long, or the same."""
    frame = getattr(work, "cr_frame", None)
    if frame is None:
        return "its end"
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(names[:16])}" if names else ""


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
