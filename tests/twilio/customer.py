"""A program written for Twilio: its own library, whose base URL is all that is changed.

Reads a JSON object of one line, does what it says, writes one; runs where `twilio` is installed.

    python customer.py BASE_URL ACCOUNT_SID AUTH_TOKEN
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

twilio_rest: Any = importlib.import_module("twilio.rest")
validators: Any = importlib.import_module("twilio.request_validator")
errors: Any = importlib.import_module("twilio.base.exceptions")


def main(base_url: str, account: str, token: str) -> None:
    client = twilio_rest.Client(account, token)
    client.api.base_url = base_url
    for line in sys.stdin:
        wish = json.loads(line)
        try:
            told = do(client, token, **wish)
        except errors.TwilioRestException as error:
            told = {"status": error.status, "code": error.code, "message": error.msg}
        print(json.dumps(told), flush=True)  # noqa: T201


def do(client: Any, token: str, do: str, sid: str = "", **wish: Any) -> Any:
    """One thing."""
    if do == "create":
        return describe(client.calls.create(**wish))
    if do == "fetch":
        return describe(client.calls(sid).fetch())
    if do == "update":
        return describe(client.calls(sid).update(**wish))
    if do == "list":
        return [describe(call) for call in client.calls.list(**wish)]
    if do == "validate":
        validator = validators.RequestValidator(wish.pop("token", token))
        return validator.validate(wish["url"], wish["fields"], wish["signature"])
    raise ValueError(do)


def describe(call: Any) -> dict[str, Any]:
    """What the library has read."""
    return {
        "sid": call.sid,
        "account": call.account_sid,
        "status": str(call.status),
        "from": getattr(call, "_from", None),
        "to": call.to,
        "direction": call.direction,
        "duration": call.duration,
        "created": None if call.date_created is None else call.date_created.timestamp(),
        "started": None if call.start_time is None else call.start_time.timestamp(),
        "ended": None if call.end_time is None else call.end_time.timestamp(),
        "uri": call.uri,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
