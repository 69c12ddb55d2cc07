"""SRTP by SDES over TLS, with softphones of other makes: who is heard is told by its tone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.real.test_baresip import assert_tone
from tests.real.test_phones import Office, heard_by, open_office
from tests.support.baresip import Baresip, Registration, free_sip_port, running_baresip
from tests.support.linphone import running_linphone

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

FAR = "+12015550100"
FAR_PORT = free_sip_port()

USERS = f"""
[[user]]
name = "ann"
password_env = "PHONES"
allow_md5 = true
srtp = "required"

[[user]]
name = "ben"
password_env = "PHONES"
allow_md5 = true
srtp = "optional"

[[trunk]]
name = "far"
uri = "sip:127.0.0.1:{FAR_PORT}"
srtp = "required"
srtp_without_tls = true

[[route]]
from = "user"
match = "ben"
to = ["user:ben"]

[[route]]
from = "user"
match = "echo"
to = ["agent:echo"]

[[route]]
from = "user"
match = "+*"
to = ["trunk:far"]
"""

ENABLED = "SRTP is Enabled (cryptosuite="


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    directory = tmp_path_factory.mktemp("srtp")
    async with open_office(directory, USERS, GATEWAY_SIP_DIGEST="MD5") as opened:
        yield opened


@asynccontextmanager
async def phone(
    office: Office, user: str, says_hz: float, encryption: str, directory: Path
) -> AsyncIterator[Baresip]:
    """A baresip of a user, over TLS."""
    registrar = f"127.0.0.1:{office.secure}"
    registration = Registration(user, "secret", registrar, "tls", office.ca, encryption)
    async with running_baresip(
        directory / user, says_hz=says_hz, registration=registration
    ) as running:
        yield running


async def test_two_phones_hear_each_other_and_hold_and_resume(
    office: Office, tmp_path: Path
) -> None:
    async with (
        phone(office, "ann", 440, "srtp-mand", tmp_path) as ann,
        phone(office, "ben", 700, "srtp", tmp_path) as ben,
    ):
        await ann.press("dial", office.uri("ben"))
        await asyncio.gather(*(each.wait_for_log("established") for each in (ann, ben)))
        heard = await asyncio.gather(heard_by(ann), heard_by(ben))
        await ann.press("hold")
        await office.wait_until_held("user:ann", by_itself=True)
        await ann.press("resume")
        await office.wait_until_held("user:ann", by_itself=False)
        resumed = await heard_by(ben)
        logs = ann.log, ben.log
        await asyncio.gather(ann.quit(), ben.quit())
        await office.gateway.wait_for_calls(0)

    assert_tone(heard[0], 700, -12, within_db=3)
    assert_tone(heard[1], 440, -12, within_db=3)
    assert_tone(resumed, 440, -12, within_db=3)
    assert all(ENABLED in log for log in logs), logs
    assert not any("failed to decrypt" in log for log in logs), logs


async def test_a34_who_has_no_keys_does_not_get_through_where_they_are_required(
    office: Office, tmp_path: Path
) -> None:
    async with phone(office, "ann", 440, "", tmp_path) as ann:
        await ann.press("dial", office.uri("echo"))
        await ann.wait_for_log("488 Not Acceptable Here")


async def test_linphone_and_a_trunk_without_tls_hear_each_other(
    office: Office, tmp_path: Path
) -> None:
    registrar = f"localhost:{office.secure}"
    registration = Registration("ann", "secret", registrar, "tls", office.ca, "srtp-mand")
    async with (
        running_baresip(
            tmp_path / "far",
            port=FAR_PORT,
            number=FAR,
            says_hz=700,
            media_encryption="srtp-mand",
        ) as far,
        running_linphone(tmp_path / "ann", registration=registration, says_hz=440) as ann,
    ):
        async with asyncio.timeout(10):
            while not (await office.users())["ann"]["contacts"]:
                await asyncio.sleep(0.05)
        await ann.say(f"call sip:{FAR}@localhost:{office.secure};transport=tls")
        await asyncio.gather(
            far.wait_for_log("established"), ann.wait_for_log("Media streams established")
        )
        heard = await asyncio.gather(heard_by(ann), heard_by(far))
        log = far.log
        await far.quit()
        await office.gateway.wait_for_calls(0)

    assert_tone(heard[0], 700, -12, within_db=3)
    assert_tone(heard[1], 440, -12, within_db=3)
    assert ENABLED in log
