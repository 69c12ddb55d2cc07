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

    n: Annotated[int, Field(ge=1, le=2**53)] | None = None
    """The page's own count of what it says. What has one is acknowledged, and done once however
    often it is said, over whichever socket."""


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


class Offer(_Message):
    """Offer anew within a call: an ICE restart, or another set of media."""

    type: Literal["offer"]
    call: CallName
    sdp: Sdp


class Answer(_Message):
    """Answer an `offer` of ours."""

    type: Literal["answer"]
    call: CallName
    sdp: Sdp


class Resume(_Message):
    """Go on with a call after a reload: the offer of a new peer connection."""

    type: Literal["resume"]
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


class Attach(_Message):
    """Be the page that was given this token: its calls come over to this socket."""

    type: Literal["attach"]
    token: Annotated[str, Field(min_length=1, max_length=128)]
    seen: Annotated[int, Field(ge=0, le=2**53)] | None = None
    """The count of the last message that the page has had of us; what came after is said again.
    Without it the page was reloaded and has forgotten everything, its own count too."""


class Leaving(_Message):
    """The page is being left or reloaded."""

    type: Literal["leaving"]


class Ping(_Message):
    """Is the gateway there?"""

    type: Literal["ping"]


PageMessage = Annotated[
    Place
    | Accept
    | Offer
    | Answer
    | Resume
    | Decline
    | Candidate
    | Digit
    | Bye
    | Attach
    | Leaving
    | Ping,
    Field(discriminator="type"),
]

page_message: TypeAdapter[PageMessage] = TypeAdapter(PageMessage)
