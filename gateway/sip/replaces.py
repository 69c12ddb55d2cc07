"""Replaces: a new INVITE in the place of a dialog that there is (RFC 3891)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import RemoteProtocolError
from gateway.sip.dialog import DialogId
from gateway.sip.grammar import is_token
from gateway.sip.inspection import Refusal
from gateway.sip.message import Request

if TYPE_CHECKING:
    from gateway.sip.core import Core
    from gateway.sip.session import Session

NO_TAG = "0"
"Stands for the tag that a peer of RFC 2543 does not have (RFC 3891 §6.1)."


@dataclass(frozen=True, slots=True)
class Replaces:
    """The value of a Replaces header; `str` and `parse_replaces` are inverses."""

    call_id: str
    to_tag: str
    "Of whom it is sent to."
    from_tag: str
    "Of the other party of that dialog."
    is_early_only: bool = False
    "Leave the dialog alone if it has been answered."

    def __str__(self) -> str:
        flag = ";early-only" if self.is_early_only else ""
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}{flag}"


def parse_replaces(text: str) -> Replaces:
    """Read a Replaces value, from a header or out of a Refer-To.

    Raises:
        RemoteProtocolError: no Call-ID of one word, not one tag of each kind, or no tokens.
    """
    call_id, *parts = [part.strip(" \t") for part in text.split(";")]
    if not call_id or not call_id.isascii() or not call_id.isprintable() or " " in call_id:
        raise RemoteProtocolError("no Call-ID in Replaces")
    tags: dict[str, str] = {}
    is_early_only = False
    for part in parts:
        name, _, value = part.partition("=")
        name, value = name.rstrip(" \t").lower(), value.lstrip(" \t")
        if name == "early-only":
            is_early_only = True
        elif name in ("to-tag", "from-tag"):
            if name in tags or not is_token(value):
                raise RemoteProtocolError(f"bad {name} in Replaces")
            tags[name] = value
    if len(tags) < 2:
        raise RemoteProtocolError("Replaces without its tags")
    return Replaces(call_id, tags["to-tag"], tags["from-tag"], is_early_only)


def name_dialog(dialog_id: DialogId) -> Replaces:
    """What names a dialog of ours to its other party."""
    return Replaces(dialog_id.call_id, dialog_id.remote_tag or NO_TAG, dialog_id.local_tag)


def read_replaces(request: Request) -> Replaces | None:
    """The Replaces of an INVITE; None if it has none.

    Raises:
        RemoteProtocolError: malformed, or more than one.
    """
    values = request.headers.get_all("Replaces")
    if not values:
        return None
    if len(values) > 1 or "," in values[0]:
        raise RemoteProtocolError("more than one Replaces")
    return parse_replaces(values[0])


def find_replaced(core: Core, replaces: Replaces) -> Session | Refusal:
    """The session of ours that an INVITE may take the place of, or what to answer (§3)."""
    remote = "" if replaces.from_tag == NO_TAG else replaces.from_tag
    entry = core.dialogs.get(DialogId(replaces.call_id, replaces.to_tag, remote))
    if entry is None:
        return Refusal(481)
    session, dialog = entry
    if session.is_ended or dialog.is_closing:
        return Refusal(603)
    if dialog.is_confirmed:
        return Refusal(486) if replaces.is_early_only else session
    return session if session.is_caller else Refusal(481)
