"""Says what is done next of a TwiML document, and which URL is asked for more. A Machine of steps.

load(document) ▸ step() ▸ a verb to be done ▸ done(what came of it) ▸ step() ▸ …
                        ▸ a URL to be asked ▸ load(document)
                        ▸ the end of the call
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin

from gateway.agents.twiml.document import Document
from gateway.agents.twiml.verbs import (
    Action,
    Connect,
    Dial,
    Gather,
    Hangup,
    Method,
    Redirect,
    Refer,
    Reject,
    Verb,
)

MAX_DOCUMENTS = 1000
"Of one call: a menu in a loop asks for one each time; one that never waits ends here."

BUSY, DECLINED = 486, 603
"What a caller is answered who is rejected."


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask this URL for the next document."""

    url: str
    method: Method = Method.POST
    parameters: Mapping[str, str] = field(default_factory=dict)
    "Beside those that tell of the call."


@dataclass(frozen=True, slots=True)
class Finish:
    """The call is over."""

    status: int = 0
    "Of SIP: refuse it so, if it is not answered yet; 0: hang up."


Step = Verb | Fetch | Finish


def join_url(base: str, url: str) -> str:
    """A URL relative to another; one that cannot be joined stays, and will be refused."""
    try:
        return urljoin(base, url)
    except ValueError:
        return url


class ProgramError(Exception):
    """It goes in circles."""


class Program:
    """One call's way through its documents."""

    def __init__(self) -> None:
        self._verbs: tuple[Verb, ...] = ()
        self._position = 0
        self._url = ""
        self._next: Fetch | None = None
        self._documents = 0

    def load(self, document: Document, url: str = "") -> None:
        """Go on with a document; what is left of the one before is not done any more.

        Args:
            url: where it came from; empty: from nowhere, it was given.

        Raises:
            ProgramError: it is one too many.
        """
        self._documents += 1
        if self._documents > MAX_DOCUMENTS:
            raise ProgramError(f"the call has had {MAX_DOCUMENTS} documents")
        self._verbs, self._position, self._url, self._next = document.verbs, 0, url, None

    @property
    def url(self) -> str:
        """Where the document came from: what is relative in it is relative to this."""
        return self._url

    def fetch(self, action: Action, parameters: Mapping[str, str] | None = None) -> None:
        """Ask a URL next, whatever stands in the document."""
        self._next = Fetch(action.url, action.method, parameters or {})

    def step(self) -> Step:
        """What is to be done now."""
        if self._next is not None:
            return self._next
        if self._position >= len(self._verbs):
            return Finish()
        verb = self._verbs[self._position]
        self._position += 1
        match verb:
            case Hangup():
                return Finish()
            case Reject():
                return Finish(BUSY if verb.is_busy else DECLINED)
            case Redirect():
                return self._fetching(verb.to, {})
        return verb

    def done(self, verb: Verb, result: Mapping[str, str] | None = None) -> None:
        """A verb was done.

        Args:
            result: what its action URL is told of it; None: there is nothing to be told.
        """
        match verb:
            case Gather():
                action = verb.action or Action(self._url)
                if action.url and (result or verb.action_on_empty):
                    self._next = self._fetching(action, result or {"Digits": ""})
            case Dial() | Connect() | Refer():
                if verb.action is not None:
                    self._next = self._fetching(verb.action, result or {})

    def _fetching(self, action: Action, parameters: Mapping[str, str]) -> Fetch:
        """An empty URL is the document's own."""
        url = join_url(self._url, action.url) if action.url else self._url
        return Fetch(url, action.method, parameters)
