"""Dialogs: what two user agents remember of each other (RFC 3261 §12)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gateway.sip.flow import Flow
from gateway.sip.header import Address, Via
from gateway.sip.message import Request, Response, build_request
from gateway.sip.uri import Uri


@dataclass(frozen=True, slots=True)
class DialogId:
    """What names a dialog on our side (§12)."""

    call_id: str
    local_tag: str
    remote_tag: str
    "Empty for a peer of RFC 2543, which may have none."


@dataclass(slots=True)
class Dialog:
    """One dialog, early until confirmed."""

    id: DialogId
    local: Address
    "With our tag: From of what we send."
    remote: Address
    "With the peer's tag, if it has one: To of what we send."
    remote_target: Uri
    "The peer's Contact."
    route_set: tuple[Address, ...]
    "In the order in which our requests visit them."
    local_cseq: int
    "Number of our last request; ours began with 1."
    remote_cseq: int | None
    "Number of the peer's last request; None before its first."
    flow: Flow
    "The way its first request took; another one once that is closed."
    is_confirmed: bool = False
    is_closing: bool = False
    "Our BYE is under way: the peer's BYE is still answered, all else gets 481."

    @classmethod
    def of_server(cls, request: Request, local_tag: str, flow: Flow) -> Dialog:
        """The dialog that our response to a request creates (§12.1.1)."""
        return cls(
            id=DialogId(request.call_id, local_tag, request.from_.tag or ""),
            local=request.to.with_tag(local_tag),
            remote=request.from_,
            remote_target=_target(request.contacts, request.from_.uri),
            route_set=request.record_routes,
            local_cseq=0,
            remote_cseq=request.cseq.number,
            flow=flow,
        )

    @classmethod
    def of_client(cls, request: Request, response: Response, target: Uri, flow: Flow) -> Dialog:
        """The dialog that a response to our request creates (§12.1.2).

        Args:
            target: the Request-URI, which stands in for a Contact that is missing.
        """
        assert request.from_.tag is not None
        return cls(
            id=DialogId(request.call_id, request.from_.tag, response.to.tag or ""),
            local=request.from_,
            remote=response.to,
            remote_target=_target(response.contacts, target),
            route_set=response.record_routes[::-1],
            local_cseq=request.cseq.number,
            remote_cseq=None,
            flow=flow,
        )

    def confirm(self, response: Response) -> None:
        """Make an early dialog confirmed by a 2xx to our request.

        The route set is computed anew, for RFC 2543 peers put Record-Route into the 2xx only
        (§13.2.2.4); the numbers go on.
        """
        self.is_confirmed = True
        self.route_set = response.record_routes[::-1]
        self.refresh_target(response)

    def refresh_target(self, message: Request | Response) -> None:
        """Take the Contact of a target refresh request or of a 2xx to one (§12.2)."""
        self.remote_target = _target(message.contacts, self.remote_target)

    def accept_cseq(self, number: int) -> bool:
        """Take the number of a request of the peer; False: out of order, answer 500 (§12.2.2)."""
        if self.remote_cseq is not None and number < self.remote_cseq:
            return False
        self.remote_cseq = number
        return True

    def next_cseq(self) -> int:
        """The number of a new request of ours (§12.2.1.1)."""
        self.local_cseq += 1
        return self.local_cseq

    def build(
        self,
        method: str,
        via: Via,
        *,
        cseq: int | None = None,
        headers: Iterable[tuple[str, str]] = (),
        content_type: str = "application/sdp",
        body: bytes = b"",
    ) -> Request:
        """Make a request within the dialog (§12.2.1.1).

        Args:
            cseq: the number of the INVITE for its ACK, or one of `next_cseq`; None takes that.
        """
        if cseq is None:
            cseq = self.next_cseq()
        uri, routes = self._address()
        return build_request(
            method,
            uri,
            via=via,
            from_=self.local,
            to=self.remote,
            call_id=self.id.call_id,
            cseq=cseq,
            headers=[*(("Route", str(route)) for route in routes), *headers],
            content_type=content_type,
            body=body,
        )

    @property
    def next_hop(self) -> Uri:
        """The URI a request within the dialog is sent to (§8.1.2)."""
        return self.route_set[0].uri if self.route_set else self.remote_target

    def _address(self) -> tuple[Uri, tuple[Address, ...]]:
        """The Request-URI and the Route values."""
        target = self.remote_target
        if not self.route_set or self.route_set[0].uri.parameters.has("lr"):
            return target, self.route_set
        # A strict router of RFC 2543: it finds itself in the Request-URI, and us at the end.
        first, *rest = self.route_set
        return _request_uri(first.uri), (*rest, Address("", target))


def _target(contacts: tuple[Address, ...], otherwise: Uri) -> Uri:
    """The first contact that requests can be sent to."""
    for contact in contacts:
        if contact.uri.is_sip:
            return _request_uri(contact.uri)
    return _request_uri(otherwise)


def _request_uri(uri: Uri) -> Uri:
    """A URI without what a Request-URI may not have (§19.1.1 table 1).

    Its `?headers` above all: a Contact could write a Route of its choice into our requests (A14).
    """
    if not uri.is_sip:
        return uri
    if not uri.headers and not uri.parameters.has("method"):
        return uri
    return replace(uri, headers=(), parameters=uri.parameters.without("method"))
