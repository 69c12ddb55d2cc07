"""The command line: serve · check · route explain · call · certs."""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import ifaddr
import uvloop

from gateway.app import VERSION, run
from gateway.config import default_config, load_config
from gateway.document import nearest
from gateway.errors import ConfigError
from gateway.explain import explain, render
from gateway.net.certificates import make_development_certificates
from gateway.options import Config
from gateway.parties import read_music
from gateway.private import Private
from gateway.roster import check_agents
from gateway.route_options import SOURCES
from gateway.trial.report import Trial, render_table, to_json, to_junit
from gateway.trial.run import TrialOptions, run_trials
from gateway.trial.script import load_caller
from gateway.trial.stall import ending_where_it_stalls
from gateway.trunk.identity import CallerIdentity

log = logging.getLogger(__name__)

MAX_REPEAT = 1000
"Calls of one script in a row: an hour and more of most."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.command is None:
        parser.print_help()
        return 2
    try:
        status: int = chosen.do(chosen)
    except ConfigError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 2
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gateway", description="A WebRTC-to-SIP gateway for AI voice agents."
    )
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    serve = commands.add_parser("serve", help="take calls until told to stop")
    serve.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML; without it, everything on loopback"
    )
    serve.add_argument("--verbose", action="store_true", help="log signalling as well")
    serve.set_defaults(do=_serve)
    check = commands.add_parser("check", help="say whether a configuration can be used")
    check.add_argument("config", type=Path, metavar="FILE")
    check.set_defaults(do=_check)
    route = commands.add_parser("route", help="ask what the routes do")
    _add_explain(route.add_subparsers(dest="what", metavar="COMMAND", required=True))
    _add_call(commands)
    certs = commands.add_parser("certs", help="make a development CA and a certificate of it")
    certs.add_argument("names", nargs="*", metavar="NAME", help="more names it is for")
    certs.add_argument("--directory", type=Path, default=Path("certs"))
    certs.set_defaults(do=_certs)
    return parser


def _add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "explain",
        help="say rule by rule what would become of a call, down to the INVITE",
        description="Says what would become of a call. Nothing is sent. Exit status 1: refused.",
    )
    parser.add_argument("number", metavar="NUMBER", help="as it is dialled; or a name, agent:NAME")
    parser.add_argument(
        "--from",
        dest="source",
        default="browser",
        help="browser, api, sip, audiosocket, asterisk, trunk:NAME, user:NAME or agent:NAME",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="without it, the default")
    parser.add_argument("--caller", default="", metavar="NUMBER", help="who calls")
    parser.add_argument("--name", default="", help="the caller's display name")
    parser.add_argument("--anonymous", action="store_true", help="the caller withholds its number")
    parser.add_argument(
        "--header", action="append", default=[], metavar="NAME:VALUE", help="an attribute of it"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(do=_explain)


def _add_call(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "call",
        help="call an agent with a scripted caller, and judge what it does",
        description="Calls an agent of the configuration over SIP and RTP on loopback, as its"
        " scripts say. Trunks are replaced by the lab: no carrier is called. Exit status 1: a call"
        " was not as expected.",
    )
    parser.add_argument("agent", metavar="agent:NAME", help="who is called")
    parser.add_argument(
        "--script",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        metavar="FILE",
        help="what the caller does and expects: TOML; several are called one after another",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="without it, the default")
    parser.add_argument("--repeat", type=_count, default=1, metavar="N", help="call N times")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the outcome for CI")
    parser.add_argument(
        "--record", type=Path, metavar="FOLDER", help="keep what was said: left caller, right agent"
    )
    parser.add_argument("--verbose", action="store_true", help="log what the gateway does")
    parser.set_defaults(do=_call)


def _count(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= MAX_REPEAT:
        raise argparse.ArgumentTypeError(f"write 1 to {MAX_REPEAT}")
    return number


def _load(path: Path | None) -> Config:
    return default_config() if path is None else load_config(path)


def _serve(chosen: argparse.Namespace) -> int:
    config = _load(chosen.config)
    logging.basicConfig(
        level=logging.DEBUG if chosen.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    # No line names a thread, a process or a place in the code: they need not be found out.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # as Python's logging HOWTO has it, under "Optimization"
    # These two are chatty about every page and every pair; what matters is told by us.
    for name in ("aioice", "aiortc", "hypercorn.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for warning in config.warnings():
        log.warning("%s", warning)
    return run(config)


def _call(chosen: argparse.Namespace) -> int:
    config = _load(chosen.config)
    options = TrialOptions(
        chosen.agent.removeprefix("agent:"),
        tuple(map(load_caller, chosen.script)),
        chosen.repeat,
        chosen.record,
    )
    level = logging.INFO if chosen.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if chosen.junit is not None:
        _write(chosen.junit, to_junit([]))  # better now than after many calls
    trials: list[Trial] = []
    is_whole = True
    try:
        uvloop.run(_try_out(config, options, trials))
    except KeyboardInterrupt:
        is_whole = False
    if chosen.junit is not None:
        _write(chosen.junit, to_junit(trials))
    print(json.dumps(to_json(trials), indent=2) if chosen.json else render_table(trials))
    if not is_whole:
        print("gateway: interrupted: not all calls were made", file=sys.stderr)
        return 130
    return 0 if all(trial.is_passed for trial in trials) else 1


async def _try_out(config: Config, options: TrialOptions, trials: list[Trial]) -> None:
    """Make the calls; who waits for them sees that they go on."""
    is_watched = sys.stderr.isatty()

    def begin(script: str, number: int) -> None:
        if is_watched:
            print(f"{script} #{number} … ", end="", file=sys.stderr, flush=True)

    def end(trial: Trial) -> None:
        trials.append(trial)
        if is_watched:
            print("passed" if trial.is_passed else "FAILED", file=sys.stderr)

    async with ending_where_it_stalls():
        await run_trials(config, options, version=VERSION, on_call=begin, on_trial=end)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"--junit {path}: cannot be written ({error.strerror}); name another file"
        ) from None


def _check(chosen: argparse.Namespace) -> int:
    config = _load(chosen.config)
    check_agents(config)
    read_music(config)
    for warning in config.warnings():
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{chosen.config}: good. {config.describe()}")
    return 0


def _explain(chosen: argparse.Namespace) -> int:
    config = _load(chosen.config)
    sources = [source for source in SOURCES if source not in ("*", "user")]
    sources += [f"trunk:{trunk.name}" for trunk in config.trunks]
    sources += [f"user:{user.name}" for user in config.users]
    sources += [f"agent:{agent.name}" for agent in config.agents]
    if chosen.source not in sources:
        near = nearest(chosen.source, sources)
        raise ConfigError(f"--from {chosen.source}: nobody calls from there{near}")
    explanation = explain(
        config,
        chosen.source,
        chosen.number,
        CallerIdentity(Private(chosen.caller), Private(chosen.name), chosen.anonymous),
        attributes=dict(_header(text) for text in chosen.header),
        version=VERSION,
    )
    if chosen.json:
        print(json.dumps(explanation.to_json(), indent=2, ensure_ascii=False))
    else:
        print(render(explanation))
    return 0 if explanation.refusal is None else 1


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise ConfigError(f'--header {text}: write "NAME: VALUE"')
    return name.strip(), value.strip()


def _certs(chosen: argparse.Namespace) -> int:
    names = ["localhost", "127.0.0.1", "::1", socket.gethostname(), *_addresses(), *chosen.names]
    ca, leaf, key = make_development_certificates(
        chosen.directory, list(dict.fromkeys(names)), datetime.datetime.now(datetime.UTC)
    )
    print(f"CA           {ca}   trust this one in the browser you test with")
    print(f"certificate  {leaf}   for {', '.join(dict.fromkeys(names))}")
    print(f"key          {key}")
    return 0


def _addresses() -> list[str]:
    return [
        ip.ip
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if isinstance(ip.ip, str) and not ip.ip.startswith("169.254.")
    ]
