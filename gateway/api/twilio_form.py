"""Forms of Twilio's REST interface: what they say, and how it is told that they are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl

from quart import Response, jsonify, request

from gateway.errors import GatewayError
from gateway.trunk.route import is_dialable

MAX_FIELDS = 100
"Of a form; Twilio knows 40."

UNSUPPORTED = (
    "Record",
    "Trim",
    "ApplicationSid",
    "CallToken",
    "Byoc",
)
"Parameters that would change what happens, and are refused rather than ignored."


class TwilioError(GatewayError):
    """A refusal as Twilio writes it."""

    def __init__(self, status: HTTPStatus, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


async def read_form() -> dict[str, str]:
    """The fields of a form; of a repeated one all, with spaces between."""
    body = await request.get_data(cache=False)
    assert isinstance(body, bytes)
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except (ValueError, UnicodeDecodeError):
        raise bad(20001, "The body is no form that can be read") from None
    form: dict[str, str] = {}
    for name, value in pairs:
        form[name] = f"{form[name]} {value}" if name in form else value
    return form


def needed(form: Mapping[str, str], name: str, code: int, message: str) -> str:
    value = form.get(name, "").strip()
    if not value or len(value) > 128:
        raise bad(code, message)
    return value


def number(form: Mapping[str, str], name: str, most: int) -> float | None:
    text = form.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise bad(20001, f"{name} is no number")
    return float(min(int(text), most))


def flag(form: Mapping[str, str], name: str) -> bool:
    return form.get(name, "").lower() == "true"


def refuse_unsupported(form: Mapping[str, str]) -> None:
    for name in UNSUPPORTED:
        if form.get(name, "").lower() not in ("", "false"):
            raise bad(20001, f"{name} is not possible here")


def dialled(to: str) -> str:
    """What the routes are asked for: also of a SIP address it is the user that they know."""
    scheme, colon, rest = to.partition(":")
    if colon and scheme in ("sip", "sips"):
        return rest.partition("@")[0]
    return f"user:{rest}" if colon and scheme == "client" else to


def shown(from_: str) -> str:
    """The number or name that a call is from, as it is shown to whom is called."""
    caller = dialled(from_).removeprefix("user:")
    if not is_dialable(caller):
        raise bad(21212, "The 'From' number is not a valid phone number")
    return caller


def bad(code: int, message: str) -> TwilioError:
    return TwilioError(HTTPStatus.BAD_REQUEST, code, message)


def not_found(path: str) -> TwilioError:
    message = f"The requested resource {path} was not found"
    return TwilioError(HTTPStatus.NOT_FOUND, 20404, message)


def refusal(error: TwilioError) -> Response:
    response: Response = jsonify(
        code=error.code,
        message=str(error),
        more_info=f"https://www.twilio.com/docs/errors/{error.code}",
        status=int(error.status),
    )
    response.status_code = int(error.status)
    if error.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Basic realm="Twilio API"'
    return response
