"""What a page may say on `/v1/signal`, as checked values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

MAX_SDP_CHARACTERS = 32 * 1024
"An audio offer is 3 KiB, one with video and data 10."

CallName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Sdp = Annotated[str, Field(min_length=1, max_length=MAX_SDP_CHARACTERS)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PlaceOptions(_Message):
    """How the call is to be placed. There is nothing to choose yet."""


class Place(_Message):
    """Place a call; our answer comes at once, while the far end still rings."""

    type: Literal["call"]
    call: CallName
    to: Annotated[str, Field(min_length=1, max_length=128)]
    sdp: Sdp
    options: PlaceOptions = PlaceOptions()


class Accept(_Message):
    """Accept an `incoming` call with an offer of the page's own."""

    type: Literal["accept"]
    call: CallName
    sdp: Sdp


class Decline(_Message):
    """Turn an `incoming` call down."""

    type: Literal["decline"]
    call: CallName


class Candidate(_Message):
    """One trickled ICE candidate (RFC 8838); an empty one is the last."""

    type: Literal["candidate"]
    call: CallName
    candidate: Annotated[str, Field(max_length=512)]
    ufrag: Annotated[str, Field(max_length=256)] | None = None


class Digit(_Message):
    """A key press, where the browser cannot send telephone-event."""

    type: Literal["digit"]
    call: CallName
    digit: Annotated[str, Field(pattern=r"^[0-9*#A-D]$")]
    duration_ms: Annotated[int, Field(ge=40, le=10_000)] = 100


class Bye(_Message):
    """The person hangs up."""

    type: Literal["bye"]
    call: CallName


class Leaving(_Message):
    """The page is being left or reloaded."""

    type: Literal["leaving"]


class Ping(_Message):
    """Is the gateway there?"""

    type: Literal["ping"]


PageMessage = Annotated[
    Place | Accept | Decline | Candidate | Digit | Bye | Leaving | Ping,
    Field(discriminator="type"),
]

page_message: TypeAdapter[PageMessage] = TypeAdapter(PageMessage)
