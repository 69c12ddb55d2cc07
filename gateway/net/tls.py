"""TLS for SIP: who we are, whom we trust, and one connection's records (RFC 5922).

The records are taken in and given out as bytes, on any socket or none: nothing here waits.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from gateway.errors import ConfigError, RemoteProtocolError
from gateway.net.interface import is_ip_address
from gateway.sip.uri import parse_uri

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:ECDHE+AES:DHE+AES:RSA+AESGCM:RSA+AES:!aDSS:!MD5"
"""Of TLS 1.2, those with forward secrecy first; all of them encrypt and none is anonymous. RSA key
exchange comes last, for what RFC 3261 §26.2.1 made everybody's: carriers' older border elements
have nothing else."""

READ_BYTES = 64 * 1024
"Read from OpenSSL at once; a record holds 16 KiB."


class TlsError(ConnectionError):
    """The handshake failed, a record is broken, or the peer is not whom it should be."""


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """Who we are to TLS peers, and whose word we take for who they are."""

    certificate: Path | None = None
    "PEM file: ours, then what leads to the CA. None: peers can be called, but not call."
    key: Path | None = None
    "PEM file of its key, without a password."
    ca: Path | None = None
    "PEM file of those who vouch for peers; None: whom this system trusts."


class TlsContexts:
    """The certificates in use: read at the start, and again when asked."""

    def __init__(self, options: TlsOptions | None = None) -> None:
        """Read what the options name.

        Raises:
            ConfigError: a file cannot be used.
        """
        self.options = options or TlsOptions()
        self._accepting: dict[bool, ssl.SSLContext] = {}
        self._connecting: ssl.SSLContext | None = None
        self.reload()

    def reload(self) -> None:
        """Read the files anew: handshakes from now on use them, connections stay as they are.

        Raises:
            ConfigError: a file cannot be used; what was read before stays in use.
        """
        options = self.options
        accepting: dict[bool, ssl.SSLContext] = {}
        if options.certificate is not None:
            accepting = {asks: _accepting_context(options, asks) for asks in (False, True)}
        connecting = None
        if options != TlsOptions():
            connecting = _connecting_context(options)
        # Else the system's CAs are read when they are first needed: it takes 20 ms.
        self._accepting, self._connecting = accepting, connecting

    def accept(self, *, verify_client: bool = False) -> TlsSession:
        """Our end of a connection that a peer opened; there must be a certificate.

        Args:
            verify_client: refuse a peer that shows no certificate which the CA vouches for.
        """
        return TlsSession(self._accepting[verify_client], None)

    def connect(self, server_name: str) -> TlsSession:
        """Our end of a connection that we opened.

        Args:
            server_name: the domain, or the address, that the peer must have a certificate for.

        Raises:
            TlsError: it is no name that TLS could carry.
        """
        if self._connecting is None:
            self._connecting = _connecting_context(self.options)
        return TlsSession(self._connecting, server_name)


class TlsSession:
    """One connection's TLS: bytes of the wire in and out, bytes of SIP out and in."""

    def __init__(self, context: ssl.SSLContext, server_name: str | None) -> None:
        """`server_name` is whom we called; None: the peer called us."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._server_name = server_name
        indicated = None if server_name is None or is_ip_address(server_name) else server_name
        try:
            self._object = context.wrap_bio(
                self._incoming,
                self._outgoing,
                server_side=server_name is None,
                server_hostname=indicated,
            )
        except ValueError:
            raise TlsError(f"no name for TLS: {server_name!r}") from None
        self.is_established = False
        "Whether the handshake is done, and the peer is who it has to be."
        self.is_ended = False
        "Whether the peer said that nothing follows."
        self.identities: tuple[str, ...] = ()
        "The SIP domains that the peer's certificate is for, once established; it may have none."

    def start(self) -> None:
        """Say hello, if it is ours to say."""
        self.receive(b"")

    def receive(self, data: bytes) -> bytes:
        """Take what came; returns what it says, also nothing. There may be output then.

        Raises:
            TlsError: the connection is to be closed, after the output that is still there.
        """
        self._incoming.write(data)
        try:
            if not self.is_established and not self._shake_hands():
                return b""
            return self._read()
        except ssl.SSLCertVerificationError as error:
            raise TlsError(f"certificate refused: {error.verify_message}") from None
        except ssl.SSLError as error:
            raise TlsError(f"TLS failed: {error.reason or error}") from None

    def send(self, data: bytes) -> None:
        """Say something; there is output then. Only once established.

        Raises:
            TlsError: it cannot be said any more.
        """
        try:
            self._object.write(data)
        except ssl.SSLError as error:
            raise TlsError(f"TLS failed: {error.reason or error}") from None

    def end(self) -> None:
        """Say that nothing follows."""
        with suppress(ssl.SSLError):  # that we do not wait for the peer to say so too
            self._object.unwrap()

    def take_output(self) -> bytes:
        """What is to be put on the wire; each byte is handed out once."""
        return self._outgoing.read()

    def _shake_hands(self) -> bool:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        certificate: Mapping[str, Any] = self._object.getpeercert() or {}
        if self._server_name is not None:
            try:
                check_server(certificate, self._server_name)
            except TlsError:
                self._outgoing.read()  # our Finished: it would tell the peer that all is well
                raise
        self.identities = sip_identities(certificate)
        self.is_established = True
        return True

    def _read(self) -> bytes:
        parts = []
        with suppress(ssl.SSLWantReadError):
            while part := self._object.read(READ_BYTES):
                parts.append(part)
            self.is_ended = True
        return b"".join(parts)


def check_server(certificate: Mapping[str, Any], server_name: str) -> None:
    """Make sure that a certificate, found valid, is the one of whom we called (RFC 5922 §7.3).

    Args:
        certificate: as `ssl.SSLObject.getpeercert` tells it.
        server_name: the domain of the URI; where that was an address, the address.

    Raises:
        TlsError: it is somebody else's.
    """
    wanted = server_name.lower().removesuffix(".")
    identities: Iterable[str] = sip_identities(certificate)
    if is_ip_address(wanted):
        wanted = str(ip_address(wanted))
        # RFC 5922 knows no addresses. Peers that have no name are in PBX installations only.
        found = [*_alternatives(certificate, "IP Address"), *identities]
        told = (text.strip() for text in found)
        identities = [str(ip_address(text)) for text in told if is_ip_address(text)]
    if wanted not in identities:
        names = ", ".join(identities) or "nobody"
        raise TlsError(f"certificate is for {names[:200]}, not for {server_name}")


def sip_identities(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """The SIP domains that a valid certificate is for, in lower case (RFC 5922 §7.1).

    Domains of `sip:` URIs; only where there are none, DNS names; only where there are no
    alternative names at all, the common name. A wildcard stands for itself and matches nothing.

    Args:
        certificate: as `ssl.SSLObject.getpeercert` tells it.
    """
    if "subjectAltName" not in certificate:
        names = [
            value
            for part in certificate.get("subject", ())
            for key, value in part
            if key == "commonName"
        ]
        return (names[-1].lower(),) if names else ()
    found = [host for text in _alternatives(certificate, "URI") if (host := _domain_of(text))]
    found = found or [text.lower() for text in _alternatives(certificate, "DNS")]
    return tuple(dict.fromkeys(found))


def _alternatives(certificate: Mapping[str, Any], kind: str) -> list[str]:
    return [value for key, value in certificate.get("subjectAltName", ()) if key == kind]


def _domain_of(text: str) -> str | None:
    """The domain that a URI names; None if it is no `sip:` URI, or one of a user."""
    try:
        uri = parse_uri(text)
    except RemoteProtocolError:
        return None
    return uri.host if uri.scheme == "sip" and uri.user is None else None


def _accepting_context(options: TlsOptions, verify_client: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    # A client that renegotiates makes us work for nothing.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    _load_own(context, options)
    if verify_client:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_trusted(context, options, ssl.Purpose.CLIENT_AUTH)
    return context


def _connecting_context(options: TlsOptions) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    # The name is checked by the rules of SIP: those of HTTPS let wildcards pass.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    if options.certificate is not None:
        _load_own(context, options)
    _load_trusted(context, options, ssl.Purpose.SERVER_AUTH)
    return context


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)


def _load_own(context: ssl.SSLContext, options: TlsOptions) -> None:
    assert options.certificate is not None
    try:
        # A password: one that a key asks for would be asked of the terminal, and waited for.
        context.load_cert_chain(options.certificate, options.key, password="")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"[sip] certificate = '{options.certificate}', key = '{options.key}': cannot be used"
            f" ({error}); `make certs` makes a pair for development"
        ) from None


def _load_trusted(context: ssl.SSLContext, options: TlsOptions, purpose: ssl.Purpose) -> None:
    if options.ca is None:
        context.load_default_certs(purpose)
        return
    try:
        context.load_verify_locations(options.ca)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"[sip] ca = '{options.ca}': cannot be used ({error}); name a PEM file of CAs"
        ) from None
