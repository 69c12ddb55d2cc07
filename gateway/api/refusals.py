"""What a call refuses in statuses of SIP, in those of HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from gateway.api.server import ApiError
from gateway.errors import RoutingError

REFUSES = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)
"What every command to a party may be answered."


@contextmanager
def refusals() -> Iterator[None]:
    """Round a command: what is neither unknown nor forbidden is not possible now."""
    try:
        yield
    except RoutingError as error:
        if error.status in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN):
            raise
        raise ApiError(HTTPStatus.CONFLICT, "not-now", str(error)) from None
