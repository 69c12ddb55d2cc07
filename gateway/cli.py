"""The command line: serve · check · certs."""

from __future__ import annotations

import argparse
import datetime
import logging
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import ifaddr

from gateway.app import VERSION, run
from gateway.config import Config, default_config, load_config
from gateway.errors import ConfigError
from gateway.net.certificates import make_development_certificates
from gateway.node import make_agent


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
    certs = commands.add_parser("certs", help="make a development CA and a certificate of it")
    certs.add_argument("names", nargs="*", metavar="NAME", help="more names it is for")
    certs.add_argument("--directory", type=Path, default=Path("certs"))
    certs.set_defaults(do=_certs)
    return parser


def _load(path: Path | None) -> Config:
    return default_config() if path is None else load_config(path)


def _serve(chosen: argparse.Namespace) -> int:
    config = _load(chosen.config)
    logging.basicConfig(
        level=logging.DEBUG if chosen.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    # These two are chatty about every page and every pair; what matters is told by us.
    for name in ("aioice", "aiortc", "hypercorn.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return run(config)


def _check(chosen: argparse.Namespace) -> int:
    config = _load(chosen.config)
    for agent in config.agents:
        make_agent(agent)  # reads its script and its recordings
    print(f"{chosen.config}: good. {config.describe()}")
    return 0


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
