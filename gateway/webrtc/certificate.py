"""The node's DTLS certificate: one EC P-256 pair kept in a directory (RFC 8827 §6.5)."""

from __future__ import annotations

import contextlib
import datetime
import os
import secrets
import stat
from typing import TYPE_CHECKING

from aiortc.rtcdtlstransport import RTCCertificate
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from aiortc.rtcdtlstransport import SRTPProtectionProfile
    from OpenSSL import SSL

FILE_NAME = "dtls.pem"

LIFETIME = datetime.timedelta(days=365)
"How long a certificate is valid. Browsers look at its fingerprint, not at its dates."

RENEW_BEFORE = datetime.timedelta(days=30)
"A certificate found to end within this time is replaced at start."

CLOCK_SKEW = datetime.timedelta(days=1)
"How far a peer's clock may be behind ours."


SESSION_CACHE_OFF = 0
"OpenSSL's SSL_SESS_CACHE_OFF: a browser never resumes, and 20 000 sessions would be kept."


class KeyPair(RTCCertificate):
    """What aiortc takes for a certificate, with one SSL context for all associations.

    Each context of its own would cost 0.2 ms and leave a cycle of pyOpenSSL's behind.
    """

    _context: SSL.Context | None = None

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        if self._context is None:
            self._context = super()._create_ssl_context(srtp_profiles)
            self._context.set_session_cache_mode(SESSION_CACHE_OFF)
        return self._context


class Certificate:
    """A key pair and what proves it: the fingerprint that goes into the SDP."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self.ends_at: datetime.datetime = certificate.not_valid_after_utc
        "UTC."
        self.fingerprint: str = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
        "SHA-256 over the certificate, as `a=fingerprint` has it (RFC 8122 §5)."
        self.pair = KeyPair(key, certificate)
        "The same for aiortc."


def load_certificate(directory: Path, *, now: datetime.datetime) -> Certificate:
    """The certificate kept in `directory`; made, or made anew, when there is none that lasts.

    Args:
        directory: made if it is missing, readable by us alone.
        now: UTC; decides about renewal.

    Raises:
        ConfigError: what is there cannot be read or used, or nothing can be written.
    """
    path = directory / FILE_NAME
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return _write(path, now)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); let this user read it, or remove it "
            "and a new one is made"
        ) from error
    certificate = _parse(path, text)
    if certificate.ends_at - now < RENEW_BEFORE:
        return _write(path, now)
    _keep_private(path)
    return certificate


def generate_certificate(now: datetime.datetime) -> Certificate:
    """A certificate that lives in memory only."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Certificate(key, _self_signed(key, now))


def _parse(path: Path, text: bytes) -> Certificate:
    try:
        key = serialization.load_pem_private_key(text, password=None)
        certificate = x509.load_pem_x509_certificate(text)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{path}: holds no unencrypted private key with its certificate in PEM; remove it "
            "and a new one is made"
        ) from error
    # aiortc offers ECDSA cipher suites only: with an RSA key no handshake would succeed.
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{path}: the key is not an EC key; remove it and a new one is made")
    if certificate.public_key() != key.public_key():
        raise ConfigError(
            f"{path}: key and certificate do not belong together; remove it and a new one is made"
        )
    return Certificate(key, certificate)


def _write(path: Path, now: datetime.datetime) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _self_signed(key, now)
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    # Renamed into place: a process that starts beside us reads the old one or the new one, whole.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror}); name a directory that this user "
            "may write to"
        ) from error
    return Certificate(key, certificate)


def _keep_private(path: Path) -> None:
    """Take the key from everybody else's eyes, should a copy have opened it to them."""
    with contextlib.suppress(OSError):  # not ours to change: then it was given to us like that
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime.datetime) -> x509.Certificate:
    # A random name: the certificate is shown to every peer and must tell nothing (RFC 8827 §6.5).
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, secrets.token_hex(16))])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
        .sign(key, hashes.SHA256())
    )
