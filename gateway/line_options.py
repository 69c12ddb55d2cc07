"""What [audiosocket] and [asterisk] say, made into options: calls that PBXs hand us."""

from __future__ import annotations

from gateway.document import AsteriskSection, AudioSocketSection
from gateway.errors import RoutingError
from gateway.net.interface import is_loopback
from gateway.options import LineOptions
from gateway.reader import Reader
from gateway.rtp.dial_string import split_dialled
from gateway.trunk.route import check_dialled

MAX_IDS = 1000
"Ids of `[asterisk] calls`: one for each queue or number of a PBX."


def read_lines(
    reader: Reader, audiosocket: AudioSocketSection, asterisk: AsteriskSection, *, has_http: bool
) -> LineOptions:
    """Both sections, checked.

    Raises:
        ConfigError: one cannot be used.
    """
    listens = tuple(
        reader.host_port("[audiosocket]", "listen", text) for text in audiosocket.listen
    )
    for (host, _), text in zip(listens, audiosocket.listen, strict=True):
        if not is_loopback(host) and not audiosocket.allow:
            remedy = f"{text} is beyond loopback: name the networks of your PBXs in allow"
            raise reader.wrong("[audiosocket]", "allow", [], remedy)
    if audiosocket.to is not None:
        reader.check("[audiosocket]", "to", audiosocket.to, check_destination)
    if asterisk.calls and not has_http:
        raise reader.wrong("[asterisk]", "calls", dict(asterisk.calls), "they need [http] listen")
    if len(asterisk.calls) > MAX_IDS:
        raise reader.wrong("[asterisk]", "calls", len(asterisk.calls), f"{MAX_IDS} at most")
    for id_, to in asterisk.calls.items():
        reader.check("[asterisk]", "calls", id_, _check_id)
        reader.check("[asterisk]", f"calls.{id_}", to, check_destination)
    password = reader.secret("[asterisk]", "password_env", asterisk.password_env)
    if bool(asterisk.username) != (password is not None):
        missing = "password_env" if asterisk.username else "username"
        raise reader.wrong("[asterisk]", missing, None, "username and password_env go together")
    return LineOptions(
        listens,
        tuple(reader.network("[audiosocket]", "allow", text) for text in audiosocket.allow),
        audiosocket.to,
        dict(asterisk.calls),
        asterisk.username,
        password,
    )


def check_destination(text: str) -> None:
    """Refuse what no route could ever take: a number or a name, perhaps with keys behind it.

    Raises:
        ValueError: the message says what is wrong.
    """
    kind, colon, name = text.partition(":")
    dialled = name if colon and kind in ("agent", "user") else split_dialled(text)[0]
    try:
        check_dialled(dialled)
    except RoutingError as error:
        raise ValueError(f"write a number, a name, agent:NAME or user:NAME ({error})") from None


def _check_id(text: str) -> None:
    if not 0 < len(text) <= 64 or not text.replace("-", "").replace("_", "").isalnum():
        raise ValueError("an id has 1 to 64 letters, digits, - or _")
    if not text.isascii():
        raise ValueError("an id has ASCII letters")
