"""The configuration: one TOML file and the environment become the options of each part.

Every error names the file, the key, its value and what to do. Secrets come from the environment,
by the name of a variable (`password_env`). `GATEWAY_SECTION_KEY` overrides a plain key of
[node], [http], [webrtc], [sip], [rtp] and [lab]: GATEWAY_HTTP_LISTEN=127.0.0.1:9000.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as section

from gateway.codec import PCMA, PCMU, Codec
from gateway.errors import ConfigError, RemoteProtocolError
from gateway.net.media import RtpPortOptions
from gateway.private import Secret
from gateway.sip.uri import Uri, parse_uri
from gateway.trunk.route import Route, Target, TargetKind, parse_target
from gateway.trunk.trunk import Trunk
from gateway.webrtc.options import WebRtcOptions

DEFAULT_FILE = Path(__file__).with_name("default.toml")

CODECS = {"PCMU": PCMU, "PCMA": PCMA}
"What a trunk may be given in `codecs`."

PLAIN_SECTIONS = ("node", "http", "webrtc", "sip", "rtp", "lab")
"Sections whose keys the environment may set."

_STRICT = ConfigDict(extra="forbid", frozen=True)
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}$")]


@section(config=_STRICT)
class NodeSection:
    """[node]"""

    name: Name = "gw1"
    drain_s: Annotated[float, Field(ge=0, le=3600)] = 30.0


@section(config=_STRICT)
class HttpSection:
    """[http]"""

    listen: str = "127.0.0.1:8080"
    public_url: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    token_env: str | None = None


@section(config=_STRICT)
class WebRtcSection:
    """[webrtc]"""

    listen: str = "0.0.0.0:10000"
    advertise: tuple[str, ...] = ()
    include_loopback: bool = False
    deny: tuple[str, ...] = ()
    controlling: bool = True


@section(config=_STRICT)
class SipSection:
    """[sip]"""

    listen: tuple[str, ...] = ("udp:127.0.0.1:5060",)
    allow: tuple[str, ...] = ()


@section(config=_STRICT)
class RtpSection:
    """[rtp]"""

    ports: str = "20000-29999"
    address: str | None = None
    advertise: str | None = None


@section(config=_STRICT)
class LabSection:
    """[lab]"""

    listen: str = "udp:127.0.0.1:5070"


@section(config=_STRICT)
class TrunkSection:
    """[[trunk]]"""

    name: Name
    uri: str
    username: str | None = None
    password_env: str | None = None
    realm: str | None = None
    caller_id: str | None = None
    allow: tuple[str, ...] = ()
    codecs: tuple[Literal["PCMU", "PCMA"], ...] = ("PCMU", "PCMA")


@section(config=_STRICT)
class AgentSection:
    """[[agent]]"""

    name: Name
    protocol: Literal["echo", "script"]
    about: str = ""
    script: Path | None = None
    step: tuple[dict[str, Any], ...] = ()


@section(config=ConfigDict(extra="forbid", frozen=True, populate_by_name=True))
class RouteSection:
    """[[route]]"""

    match: Annotated[str, Field(min_length=1, max_length=64)]
    to: Annotated[tuple[str | tuple[str, ...], ...], Field(min_length=1, max_length=16)]
    from_: Annotated[str | tuple[str, ...], Field(alias="from")]


@section(config=_STRICT)
class Document:
    """The whole file."""

    node: NodeSection = Field(default_factory=NodeSection)
    http: HttpSection | None = None
    webrtc: WebRtcSection | None = None
    sip: SipSection = Field(default_factory=SipSection)
    rtp: RtpSection = Field(default_factory=RtpSection)
    lab: LabSection | None = None
    trunk: tuple[TrunkSection, ...] = ()
    agent: tuple[AgentSection, ...] = ()
    route: tuple[RouteSection, ...] = ()


_document = TypeAdapter(Document)


@dataclass(frozen=True, slots=True)
class Listen:
    """Where SIP is listened for."""

    transport: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}:{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """The HTTP server."""

    host: str
    port: int
    certificate: Path | None
    key: Path | None
    token: Secret | None
    public_host: str | None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return _is_loopback(self.host)


@dataclass(frozen=True, slots=True)
class SipOptions:
    """The SIP side."""

    listen: tuple[Listen, ...]
    allow: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    "Who may call in without being a trunk."


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """One agent."""

    name: str
    protocol: str
    about: str
    script: Path | None
    step: tuple[Mapping[str, Any], ...]
    directory: Path
    "Where the clips of inline steps are."


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that a node is built of."""

    file: Path
    name: str
    drain_s: float
    http: HttpOptions | None
    webrtc: WebRtcOptions | None
    sip: SipOptions
    rtp: RtpPortOptions
    lab: Listen | None
    trunks: tuple[Trunk, ...]
    agents: tuple[AgentOptions, ...]
    routes: tuple[Route, ...]

    def describe(self) -> str:
        """What it configures, in a line."""
        return f"{len(self.trunks)} trunks, {len(self.agents)} agents, {len(self.routes)} routes"


def default_config(environment: Mapping[str, str] = os.environ) -> Config:
    """What `gateway serve` runs without a configuration: everything on this machine."""
    return load_config(DEFAULT_FILE, environment)


def load_config(file: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Read a configuration file.

    Raises:
        ConfigError: naming file, key, value and remedy.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot be read ({error.strerror}); name an existing file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: is not TOML: {error}; mend that line") from None
    for name in PLAIN_SECTIONS:
        _override(document, name, environment)
    return parse_config(document, file, environment)


def parse_config(
    document: Mapping[str, Any], file: Path, environment: Mapping[str, str] = os.environ
) -> Config:
    """Check a configuration that is already TOML.

    Args:
        file: named in errors; relative paths in the document begin beside it.

    Raises:
        ConfigError: naming file, key, value and remedy.
    """
    try:
        checked = _document.validate_python(document)
    except ValidationError as error:
        raise ConfigError(f"{file}: {_explain(error)}") from None
    return _Reader(file, environment).read(checked)


class _Reader:
    """Turns checked sections into options, and checks what concerns several of them."""

    def __init__(self, file: Path, environment: Mapping[str, str]) -> None:
        self._file = file
        self._environment = environment

    def read(self, document: Document) -> Config:
        trunks = tuple(self._trunk(n, t) for n, t in enumerate(document.trunk))
        agents = tuple(self._agent(n, a) for n, a in enumerate(document.agent))
        self._check_unique("trunk", [trunk.name for trunk in trunks])
        self._check_unique("agent", [agent.name for agent in agents])
        known = {f"trunk:{t.name}" for t in trunks} | {f"agent:{a.name}" for a in agents}
        sip = SipOptions(
            tuple(self._listen("sip.listen", text) for text in document.sip.listen),
            tuple(self._network("sip.allow", text) for text in document.sip.allow),
        )
        return Config(
            file=self._file,
            name=document.node.name,
            drain_s=document.node.drain_s,
            http=None if document.http is None else self._http(document.http),
            webrtc=None if document.webrtc is None else self._webrtc(document.webrtc),
            sip=sip,
            rtp=self._rtp(document.rtp, sip),
            lab=None if document.lab is None else self._listen("lab.listen", document.lab.listen),
            trunks=trunks,
            agents=agents,
            routes=tuple(self._route(n, r, known) for n, r in enumerate(document.route)),
        )

    def _http(self, http: HttpSection) -> HttpOptions:
        host, port = self._host_port("http.listen", http.listen)
        token = self._secret("http.token_env", http.token_env)
        if (http.certificate is None) != (http.key is None):
            raise self._wrong("http", "certificate", http.certificate, "set `key` along with it")
        if token is None and not _is_loopback(host):
            raise self._wrong(
                "http",
                "listen",
                http.listen,
                "beyond loopback a token is needed: set token_env to the name of an environment"
                " variable that holds it",
            )
        public_host = None
        if http.public_url is not None:
            public_host = http.public_url.partition("://")[2].partition("/")[0]
            public_host = public_host.partition(":")[0].lower()
            if not public_host:
                raise self._wrong(
                    "http", "public_url", http.public_url, "write https://voice.example.com"
                )
        return HttpOptions(
            host,
            port,
            self._path(http.certificate),
            self._path(http.key),
            token,
            public_host,
        )

    def _webrtc(self, webrtc: WebRtcSection) -> WebRtcOptions:
        self._host_port("webrtc.listen", webrtc.listen)
        for text in webrtc.advertise:
            self._address("webrtc.advertise", text)
        for text in webrtc.deny:
            self._network("webrtc.deny", text)
        return WebRtcOptions(
            listen=webrtc.listen,
            advertise=webrtc.advertise,
            include_loopback=webrtc.include_loopback,
            deny=webrtc.deny,
            controlling=webrtc.controlling,
        )

    def _rtp(self, rtp: RtpSection, sip: SipOptions) -> RtpPortOptions:
        first, dash, last = rtp.ports.partition("-")
        if not (dash and first.isdigit() and last.isdigit()):
            raise self._wrong("rtp", "ports", rtp.ports, 'write a range: "20000-29999"')
        if not 1024 <= int(first[:6]) < int(last[:6]) <= 65_535:
            raise self._wrong("rtp", "ports", rtp.ports, "name ports from 1024 to 65535, rising")
        address = rtp.address
        if address is None:
            # Media is taken where signalling is, unless that is every address.
            address = sip.listen[0].host if sip.listen else "127.0.0.1"
        self._address("rtp.address", address)
        if rtp.advertise is not None:
            self._address("rtp.advertise", rtp.advertise)
        return RtpPortOptions(
            address=address,
            advertise=rtp.advertise,
            first_port=int(first),
            last_port=int(last),
        )

    def _trunk(self, number: int, trunk: TrunkSection) -> Trunk:
        where = f"trunk.{number}"
        password = self._secret(f"{where}.password_env", trunk.password_env)
        if (trunk.username is None) != (password is None):
            raise self._wrong(
                where, "username", trunk.username, "set username and password_env together"
            )
        return Trunk(
            name=trunk.name,
            uri=self._uri(f"{where}.uri", trunk.uri),
            username=trunk.username,
            password=password,
            realm=trunk.realm,
            caller_id=trunk.caller_id,
            allow=tuple(self._network(f"{where}.allow", text) for text in trunk.allow),
            codecs=tuple(_codec(name) for name in trunk.codecs),
        )

    def _agent(self, number: int, agent: AgentSection) -> AgentOptions:
        if agent.protocol == "script" and (agent.script is None) == (not agent.step):
            raise self._wrong(
                f"agent.{number}",
                "script",
                agent.script,
                "a scripted agent wants either `script`, a file, or `step`, a list",
            )
        return AgentOptions(
            agent.name,
            agent.protocol,
            agent.about,
            self._path(agent.script),
            agent.step,
            self._file.parent,
        )

    def _route(self, number: int, route: RouteSection, known: set[str]) -> Route:
        where = f"route.{number}"
        sources = (route.from_,) if isinstance(route.from_, str) else route.from_
        for source in sources:
            if source not in ("browser", "sip", "api", "*") and source not in known:
                near = _nearest(source, ["browser", "sip", "api", "*", *sorted(known)])
                raise self._wrong(where, "from", source, f"nobody calls from there{near}")
        if "*" in route.match[:-1]:
            raise self._wrong(where, "match", route.match, "a * may only stand at the end")
        groups = tuple(
            tuple(
                self._target(where, text, known)
                for text in ((group,) if isinstance(group, str) else group)
            )
            for group in route.to
        )
        return Route(sources, route.match, groups)

    def _target(self, where: str, text: str, known: set[str]) -> Target:
        try:
            target = parse_target(text)
        except ValueError as error:
            raise self._wrong(where, "to", text, str(error)) from None
        names = (TargetKind.AGENT, TargetKind.TRUNK, TargetKind.USER)
        if target.kind in names and text not in known:
            near = _nearest(text, sorted(known))
            raise self._wrong(where, "to", text, f"there is no such {target.kind.value}{near}")
        return target

    def _check_unique(self, kind: str, names: Sequence[str]) -> None:
        for name in names:
            if names.count(name) > 1:
                raise self._wrong(kind, "name", name, f"give each {kind} a name of its own")

    def _secret(self, key: str, variable: str | None) -> Secret | None:
        if variable is None:
            return None
        value = self._environment.get(variable)
        if not value:
            raise self._wrong(
                *_split(key), variable, f"set the environment variable {variable} to the secret"
            )
        return Secret(value)

    def _listen(self, key: str, text: str) -> Listen:
        transport, _, rest = text.partition(":")
        if transport != "udp":
            raise self._wrong(*_split(key), text, 'write "udp:ADDRESS:PORT"')
        host, port = self._host_port(key, rest)
        return Listen(transport, host, port)

    def _host_port(self, key: str, text: str) -> tuple[str, int]:
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (colon and port.isascii() and port.isdigit() and int(port[:6]) <= 65_535):
            raise self._wrong(*_split(key), text, 'write "ADDRESS:PORT", as "127.0.0.1:8080"')
        self._address(key, host)
        return host, int(port)

    def _address(self, key: str, text: str) -> None:
        try:
            ipaddress.ip_address(text)
        except ValueError:
            raise self._wrong(*_split(key), text, "write an IP address of this machine") from None

    def _network(self, key: str, text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        try:
            return ipaddress.ip_network(text)
        except ValueError as error:
            raise self._wrong(
                *_split(key), text, f"write a network, as 192.0.2.0/24 ({error})"
            ) from None

    def _uri(self, key: str, text: str) -> Uri:
        try:
            uri = parse_uri(text)
        except RemoteProtocolError as error:
            raise self._wrong(*_split(key), text, f"write sip:HOST:PORT ({error})") from None
        if uri.scheme != "sip" or uri.user is not None:
            raise self._wrong(*_split(key), text, "write sip:HOST or sip:HOST:PORT")
        return uri

    def _path(self, path: Path | None) -> Path | None:
        return None if path is None else self._file.parent / path

    def _wrong(self, where: str, key: str, value: object, remedy: str) -> ConfigError:
        shown = "nothing" if value is None else f"{str(value)!r}"
        return ConfigError(f"{self._file}: {where}: {key} = {shown}: {remedy}")


def _explain(error: ValidationError) -> str:
    """The first thing that is wrong, with the nearest known name for an unknown key."""
    wrong = error.errors(include_url=False)[0]
    place = [str(part) for part in wrong["loc"]]
    key, where = place[-1], ".".join(place[:-1]) or "top level"
    if wrong["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        names = _known_keys(place[:-1])
        return f"{where}: does not know {key!r}{_nearest(key, names)}"
    value = wrong["input"]
    shown = "" if isinstance(value, dict) else f" = {value!r}"
    return f"{where}: {key}{shown}: {wrong['msg']}"


def _known_keys(place: Sequence[str]) -> list[str]:
    """The keys of the section at a place of the document."""
    kind: Any = Document
    for part in place:
        if part.isdigit():
            continue
        kind = _section_of(get_type_hints(kind).get(part))
        if kind is None:
            return []
    return [field.name.rstrip("_") for field in fields(kind)]


def _section_of(hint: Any) -> Any:
    """The section dataclass inside `Section | None` or `tuple[Section, ...]`."""
    if is_dataclass(hint):
        return hint
    if get_origin(hint) is not None or get_args(hint):
        return next((found for each in get_args(hint) if (found := _section_of(each))), None)
    return None


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(known)}" if known else ""


def _override(document: dict[str, Any], name: str, environment: Mapping[str, str]) -> None:
    prefix = f"GATEWAY_{name.upper()}_"
    for variable, value in environment.items():
        if variable.startswith(prefix) and name in document:
            key = variable[len(prefix) :].lower()
            listed = isinstance(document[name].get(key), list)
            document[name][key] = value.split(",") if listed else value


def _split(key: str) -> tuple[str, str]:
    where, _, last = key.rpartition(".")
    return where, last


def _codec(name: str) -> Codec:
    return CODECS[name]


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback
