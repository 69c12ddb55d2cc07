"""`python -m bench`: measure the gateway on this machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from bench.agent import AgentOptions, agent
from bench.agent_calls import CALLERS
from bench.agent_peer import PROTOCOLS
from bench.bridge import PATHS, BridgeOptions, bridge
from bench.flood import FloodOptions, flood
from bench.restart import RestartOptions, restart
from bench.setup import SetupOptions, setup
from bench.signalling_load import SYSTEM_NAMES, SignallingOptions, signalling
from bench.soak import SoakOptions, soak
from bench.system import SYSTEMS
from bench.under_test import NotEnoughCoresError


def main() -> int:
    """Read the command line and run what it names; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_bridge(commands.add_parser("bridge", help="bridged calls, WebRTC Opus to SIP PCMU"))
    _add_agent(commands.add_parser("agent", help="calls with agents over a WebSocket"))
    _add_signalling(commands.add_parser("signalling", help="calls a second, SIP to SIP"))
    _add_flood(commands.add_parser("flood", help="INVITEs of strangers while calls go on"))
    setups = commands.add_parser("setup", help="from a page's offer to its answer, beside calls")
    _add_calls(setups, 60)
    setups.add_argument("--rate", type=float, default=10.0, help="calls a second (default 10)")
    setups.add_argument("--seconds", type=float, default=20.0, help="so long (default 20)")
    long = commands.add_parser("soak", help="many calls for long; nothing may grow")
    _add_calls(long, 60)
    long.add_argument("--minutes", type=float, default=10.0, help="so long (default 10)")
    _add_calls(commands.add_parser("ice-restart", help="gaps when pages restart ICE or move"), 10)
    delays = commands.add_parser("delay", help="what the gateway adds, by its load")
    delays.add_argument("--loads", type=_percents, default=[20.0, 50.0, 70.0], help="percent")
    delays.add_argument("--seconds", type=float, default=15.0, help="length of a window")
    delays.add_argument("--json", action="store_true", help="one JSON object for each load")
    stages = commands.add_parser("path", help="each stage of the media path, in process")
    stages.add_argument("--json", action="store_true", help="one JSON object")
    _add_turns(commands.add_parser("turns", help="who silences an agent, and who answers a call"))
    arguments = parser.parse_args()
    if arguments.command == "path":
        # Not above: it needs the gateway's modules, and `bridge` has to do without them.
        from bench.path import path

        return path(as_json=arguments.json)
    if arguments.command == "turns":
        from bench.turns import turns

        return turns(arguments.detectors, arguments.minutes, as_json=arguments.json)
    try:
        return uvloop.run(MEASURES[arguments.command](arguments))
    except NotEnoughCoresError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _signalling(arguments: argparse.Namespace) -> Coroutine[Any, Any, int]:
    return signalling(
        SignallingOptions(
            systems=tuple(arguments.systems),
            seconds=arguments.seconds,
            rounds=arguments.rounds,
            as_json=arguments.json,
        )
    )


def _agent(arguments: argparse.Namespace) -> Coroutine[Any, Any, int]:
    return agent(
        AgentOptions(
            protocols=tuple(arguments.protocols),
            callers=tuple(arguments.callers),
            calls=tuple(arguments.calls),
            seconds=arguments.seconds,
            bursts=arguments.bursts,
            as_json=arguments.json,
            name=arguments.name,
        )
    )


def _flood(arguments: argparse.Namespace) -> Coroutine[Any, Any, int]:
    return flood(
        FloodOptions(
            calls=arguments.calls,
            rate=arguments.rate,
            seconds=arguments.seconds,
            as_json=arguments.json,
        )
    )


def _bridge(arguments: argparse.Namespace) -> Coroutine[Any, Any, int]:
    return bridge(
        BridgeOptions(
            systems=tuple(arguments.systems),
            path=arguments.path,
            load=arguments.load,
            calls=arguments.calls,
            seconds=arguments.seconds,
            rounds=arguments.rounds,
            as_json=arguments.json,
            name=f"bridge-{arguments.path}" if arguments.name is None else arguments.name,
        )
    )


def _setup(arguments: argparse.Namespace) -> Coroutine[Any, Any, int]:
    return setup(SetupOptions(arguments.calls, arguments.rate, arguments.seconds, arguments.json))


def _soak(arguments: argparse.Namespace) -> Coroutine[Any, Any, int]:
    return soak(SoakOptions(arguments.calls, arguments.minutes, arguments.json))


def _restart(arguments: argparse.Namespace) -> Coroutine[Any, Any, int]:
    return restart(RestartOptions(arguments.calls, arguments.json))


async def _delay(arguments: argparse.Namespace) -> int:
    """The gateway alone, at one load after the other."""
    worst = 0
    for load in arguments.loads:
        print(f"at {load:g} % of a core", file=sys.stderr, flush=True)
        options = BridgeOptions(
            systems=("gateway",),
            path="opus-pcmu",
            load=load,
            calls=None,
            seconds=arguments.seconds,
            rounds=1,
            as_json=arguments.json,
            name=f"delay-{load:g}",
        )
        worst = max(worst, await bridge(options))
    return worst


def _add_calls(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument(
        "--calls", type=_positive, default=default, help=f"at a time (default {default})"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")


def _add_signalling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="length of a window, two a round (default 8)"
    )
    parser.add_argument("--rounds", type=_positive, default=5, help="rounds that count, each")
    parser.add_argument(
        "--systems",
        type=_signalling_systems,
        default=list(SYSTEM_NAMES),
        help=f"of {', '.join(SYSTEM_NAMES)}, with commas",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each system")


def _add_agent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--calls", type=_counts, default=[1, 50, 100], help="at a time (default 1,50,100)"
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="length of a window (default 20, at least 3)"
    )
    parser.add_argument(
        "--bursts", type=_positive, default=4, help="for each call, more where they are few"
    )
    for name, known in (("protocols", PROTOCOLS), ("callers", CALLERS)):
        parser.add_argument(
            f"--{name}",
            type=_some_of(known),
            default=list(known),
            help=f"of {', '.join(known)}, with commas",
        )
    parser.add_argument("--json", action="store_true", help="one JSON object for each row")
    parser.add_argument(
        "--name", default="agent", help="of the file in bench/results (empty: none is written)"
    )


def _some_of(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
        return names

    return read


def _counts(text: str) -> list[int]:
    return [_positive(each) for each in text.split(",")]


def _add_flood(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--calls", type=_positive, default=20, help="with media (default 20)")
    parser.add_argument("--rate", type=_positive, default=2000, help="INVITEs a second")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="length of a window, of two (default 10)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")


def _add_turns(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--detectors", nargs="+", choices=("energy", "model"), default=["energy", "model"]
    )
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="of each line, virtual (default 10)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")


def _signalling_systems(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in SYSTEM_NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
    return names


def _add_bridge(parser: argparse.ArgumentParser) -> None:
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--load", type=_percent, default=70.0, help="percent of one core (default 70)"
    )
    target.add_argument(
        "--calls", type=_positive, help="this many calls for every system, instead of a load"
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="length of a window (default 20, at least 3)"
    )
    parser.add_argument("--rounds", type=_positive, default=5, help="windows that count, each")
    parser.add_argument(
        "--path", choices=tuple(PATHS), default="opus-pcmu", help="what each side speaks"
    )
    parser.add_argument(
        "--systems",
        type=_systems,
        default=["gateway", "aiortc"],
        help=f"of {', '.join(SYSTEMS)}, with commas; `none` measures the generator alone",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each system")
    parser.add_argument(
        "--name", help="of the file in bench/results (default bridge-PATH; empty: none is written)"
    )


def _systems(text: str) -> list[str]:
    names = ["reflector" if name == "none" else name for name in text.split(",")]
    unknown = [name for name in names if name not in SYSTEMS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
    return names


def _percent(text: str) -> float:
    value = float(text)
    if not 1.0 <= value <= 95.0:
        raise argparse.ArgumentTypeError("between 1 and 95")
    return value


def _percents(text: str) -> list[float]:
    return [_percent(each) for each in text.split(",")]


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


MEASURES: dict[str, Callable[[argparse.Namespace], Coroutine[Any, Any, int]]] = {
    "bridge": _bridge,
    "agent": _agent,
    "signalling": _signalling,
    "flood": _flood,
    "setup": _setup,
    "soak": _soak,
    "ice-restart": _restart,
    "delay": _delay,
}
"What each command runs; `path` is apart."


if __name__ == "__main__":
    sys.exit(main())
