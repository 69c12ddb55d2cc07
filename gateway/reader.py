"""Reads values of the configuration's keys; every error names file, key, value and remedy."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.errors import ConfigError, RemoteProtocolError
from gateway.net.interface import is_ip_address
from gateway.private import Secret
from gateway.sip.uri import Uri, parse_host_port, parse_uri
from gateway.trunk.trunk import Network


class Reader:
    """What is the same for keys of every section. Each method but `wrong` raises ConfigError."""

    def __init__(self, file: Path, environment: Mapping[str, str]) -> None:
        self.file = file
        self._environment = environment

    def check(self, where: str, key: str, value: str, check: Callable[[str], None]) -> None:
        """Have a check of ours, which raises ValueError, look at a value."""
        try:
            check(value)
        except ValueError as error:
            raise self.wrong(where, key, value, str(error)) from None

    def secret(self, where: str, key: str, variable: str | None) -> Secret | None:
        """The secret that an environment variable holds."""
        if variable is None:
            return None
        value = self._environment.get(variable)
        if not value:
            raise self.wrong(
                where, key, variable, f"set the environment variable {variable} to the secret"
            )
        return Secret(value)

    def host_port(self, where: str, key: str, text: str) -> tuple[str, int]:
        """An IP address and a port."""
        host, _, digits = text.rpartition(":")
        port = read_port(digits)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            host = ""
        if port is None or not is_ip_address(host):
            raise self.wrong(where, key, text, 'write IP:PORT, as "127.0.0.1:8080" or "[::1]:8080"')
        return host, port

    def address(self, where: str, key: str, text: str) -> None:
        """Make sure that it is an IP address."""
        if not is_ip_address(text):
            raise self.wrong(where, key, text, "write an IP address")

    def network(self, where: str, key: str, text: str) -> Network:
        """A network."""
        try:
            return ipaddress.ip_network(text)
        except ValueError as error:
            raise self.wrong(
                where, key, text, f"write a network, as 192.0.2.0/24 ({error})"
            ) from None

    def uri(self, where: str, key: str, text: str) -> Uri:
        """A place of a trunk: no user, and of parameters the transport alone."""
        remedy = "write sip:HOST or sip:HOST:PORT, with ;transport=udp, tcp or tls, or sips:HOST"
        try:
            uri = parse_uri(text)
        except RemoteProtocolError as error:
            raise self.wrong(where, key, text, f"{remedy} ({error})") from None
        transport = uri.parameters.get("transport")
        names = {name for name, _ in uri.parameters}
        if not uri.is_sip or uri.user is not None or uri.headers or not names <= {"transport"}:
            raise self.wrong(where, key, text, remedy)
        # A carrier asked for over TLS must not quietly be spoken to in the clear.
        allowed = ("tls", "tcp") if uri.scheme == "sips" else ("udp", "tcp", "tls")
        if names and (transport is None or transport.lower() not in allowed):
            raise self.wrong(where, key, text, remedy)
        return uri

    def path(self, path: Path | None) -> Path | None:
        """A file beside the configuration."""
        return None if path is None else self.file.parent / path

    def wrong(self, where: str, key: str, value: object, remedy: str) -> ConfigError:
        """The error that names file, place, key, value and remedy. None: the key is missing."""
        shown = "is missing" if value is None else f"= {value!r}"
        return ConfigError(f"{self.file}: {where}: {key} {shown}: {remedy}")


def read_port(text: str) -> int | None:
    """A port number; None: it is none."""
    is_number = text.isascii() and text.isdigit() and len(text) <= 5
    return int(text) if is_number and int(text) <= 65_535 else None


def is_host(text: str) -> bool:
    """Whether it can be the host of a SIP URI, without a port."""
    try:
        return parse_host_port(text)[1] is None
    except RemoteProtocolError:
        return False
