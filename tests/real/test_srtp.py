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
from tests.support.gateway import free_port
from tests.support.linphone import running_linphone
from tests.support.sipp import running_sipp

pytestmark = [pytest.mark.real, pytest.mark.calm, pytest.mark.asyncio(loop_scope="module")]

FAR = "+12015550100"
FAR_PORT = free_sip_port()
STRICT_PORT, LAX_PORT, SHY_PORT = free_port(), free_port(), free_port()
"Of callers that are trunks."

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

[[trunk]]
name = "strict"
uri = "sip:127.0.0.1:{STRICT_PORT}"
srtp = "required"
srtp_without_tls = true
probe_s = 0

[[trunk]]
name = "lax"
uri = "sip:127.0.0.1:{LAX_PORT}"
srtp = "optional"
srtp_without_tls = true
probe_s = 0

[[trunk]]
name = "shy"
uri = "sip:127.0.0.1:{SHY_PORT}"
srtp = "optional"
probe_s = 0

[[route]]
from = ["trunk:strict", "trunk:lax", "trunk:shy"]
match = "echo"
to = ["agent:echo"]

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

KEY = "a=crypto:7 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
"From RFC 4568 §10.3."
OTHER_KEY = KEY.replace("d0Rm", "e0Rm")
NULL = KEY.replace("AES_CM_128_HMAC_SHA1_80", "NULL_HMAC_SHA1_80")


def media(protocol: str, *lines: str) -> str:
    section = "\n".join((f"m=audio 29998 {protocol} 0", "a=rtpmap:0 PCMU/8000", *lines))
    return f"v=0\no=sipp 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n{section}"


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


async def test_phone_without_srtp_is_spoken_with_plainly_where_that_may_be(
    office: Office, tmp_path: Path
) -> None:
    async with (
        phone(office, "ann", 440, "srtp-mand", tmp_path) as ann,
        phone(office, "ben", 700, "", tmp_path) as ben,
    ):
        await ann.press("dial", office.uri("ben"))
        await asyncio.gather(*(each.wait_for_log("established") for each in (ann, ben)))
        heard = await asyncio.gather(heard_by(ann), heard_by(ben))
        logs = ann.log, ben.log
        await asyncio.gather(ann.quit(), ben.quit())
        await office.gateway.wait_for_calls(0)

    assert_tone(heard[0], 700, -12, within_db=3)
    assert_tone(heard[1], 440, -12, within_db=3)
    assert [ENABLED in log for log in logs] == [True, False]


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


@pytest.mark.parametrize(
    ("port", "offer"),
    [
        (STRICT_PORT, media("RTP/AVP")),
        (STRICT_PORT, media("RTP/SAVP")),
        (STRICT_PORT, media("RTP/SAVP", NULL)),
        (STRICT_PORT, media("RTP/SAVP", f"{KEY} UNENCRYPTED_SRTP")),
        (LAX_PORT, media("RTP/SAVP", f"{KEY} UNAUTHENTICATED_SRTP")),
        (SHY_PORT, media("RTP/SAVP", KEY)),
    ],
    ids=["stripped", "no key", "null", "unencrypted", "unauthenticated", "without TLS"],
)
async def test_a34_offer_of_less_than_is_required_is_refused(
    office: Office, tmp_path: Path, port: int, offer: str
) -> None:
    values: dict[str, str | int] = {"to": "echo", "status": 488, "sdp": offer}

    async with running_sipp(
        tmp_path / "sipp", "is_refused", port=port, target=office.plain, values=values
    ) as caller:
        await caller.finish()

    assert caller.ladder[-2:] == ["< 488 INVITE", "> ACK"]


@pytest.mark.parametrize(
    ("port", "offer", "answer", "later", "status"),
    [
        (STRICT_PORT, media("RTP/SAVP", KEY), "SAVP", media("RTP/AVP"), 488),
        (LAX_PORT, media("RTP/AVP", KEY), "AVP", media("RTP/AVP"), 488),
        (LAX_PORT, media("RTP/SAVP", NULL, KEY.replace(":7", ":8")), "SAVP", media("RTP/AVP"), 488),
        (STRICT_PORT, media("RTP/SAVP", KEY), "SAVP", media("RTP/SAVP", OTHER_KEY), 200),
    ],
    ids=["required", "optional", "second line", "another key"],
)
async def test_a34_call_that_is_protected_stays_so(
    office: Office, tmp_path: Path, port: int, offer: str, answer: str, later: str, status: int
) -> None:
    tag = 8 if ":8 " in offer else 7
    values: dict[str, str | int] = {
        "to": "echo",
        "offer": offer,
        "answer": f"RTP/{answer} 0.*a=crypto:{tag} AES_CM_128_HMAC_SHA1_80 inline:",
        "later": later,
        "status": status,
        "ack2": "ack2" if status == 200 else "invite2",
    }

    async with running_sipp(
        tmp_path / "sipp", "changes_srtp", port=port, target=office.plain, values=values
    ) as caller:
        await caller.finish()

    assert caller.ladder[-4:] == [f"< {status} INVITE", "> ACK", "> BYE", "< 200 BYE"]
