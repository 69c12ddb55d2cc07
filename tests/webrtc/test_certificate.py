"""The DTLS certificate on disk: made once, kept private, replaced in time."""

from __future__ import annotations

import datetime
import stat
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.errors import ConfigError
from gateway.webrtc.certificate import FILE_NAME, generate_certificate, load_certificate

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime.datetime(2026, 8, 1, 12, tzinfo=datetime.UTC)


def test_the_first_start_makes_one_that_only_we_can_read(tmp_path: Path) -> None:
    load_certificate(tmp_path / "certs", now=NOW)

    kept = tmp_path / "certs" / FILE_NAME
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert list(kept.parent.iterdir()) == [kept]


def test_the_next_start_has_the_same_fingerprint(tmp_path: Path) -> None:
    first = load_certificate(tmp_path, now=NOW)

    again = load_certificate(tmp_path, now=NOW + datetime.timedelta(days=300))

    assert again.fingerprint == first.fingerprint
    assert len(again.fingerprint.split(":")) == 32


def test_one_that_soon_ends_is_replaced(tmp_path: Path) -> None:
    first = load_certificate(tmp_path, now=NOW)
    later = NOW + datetime.timedelta(days=340)

    renewed = load_certificate(tmp_path, now=later)

    assert renewed.fingerprint != first.fingerprint
    assert renewed.ends_at - later > datetime.timedelta(days=300)


def test_a_key_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    load_certificate(tmp_path, now=NOW)
    (tmp_path / FILE_NAME).chmod(0o644)

    load_certificate(tmp_path, now=NOW)

    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_the_fingerprint_is_what_the_peer_will_compute() -> None:
    certificate = generate_certificate(NOW)

    sha256 = [f.value for f in certificate.pair.getFingerprints() if f.algorithm == "sha-256"]

    assert sha256 == [certificate.fingerprint]


@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_broken_file_is_an_error_that_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)

    with pytest.raises(ConfigError, match=r"dtls\.pem: .* remove it and a new one is made"):
        load_certificate(tmp_path, now=NOW)


def test_an_rsa_key_is_an_error(tmp_path: Path) -> None:
    load_certificate(tmp_path, now=NOW)
    path = tmp_path / FILE_NAME
    certificate = path.read_bytes().partition(b"-----BEGIN CERTIFICATE-----")
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(key + certificate[1] + certificate[2])

    with pytest.raises(ConfigError, match="not an EC key"):
        load_certificate(tmp_path, now=NOW)


def test_key_and_certificate_must_belong_together(tmp_path: Path) -> None:
    load_certificate(tmp_path / "one", now=NOW)
    load_certificate(tmp_path / "two", now=NOW)
    begin = b"-----BEGIN CERTIFICATE-----"
    key = (tmp_path / "one" / FILE_NAME).read_bytes().partition(begin)[0]
    certificate = (tmp_path / "two" / FILE_NAME).read_bytes().partition(begin)[2]
    (tmp_path / "one" / FILE_NAME).write_bytes(key + begin + certificate)

    with pytest.raises(ConfigError, match="do not belong together"):
        load_certificate(tmp_path / "one", now=NOW)


def test_a_directory_where_the_file_should_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()

    with pytest.raises(ConfigError, match="cannot be read"):
        load_certificate(tmp_path, now=NOW)


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ConfigError, match="cannot be"):
        load_certificate(tmp_path / "file" / "certs", now=NOW)
