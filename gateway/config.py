"""The configuration: one TOML file and the environment become the options of each part.

Every error names the file, the key, its value and what to do. Secrets come from the environment,
by the name of a variable (`password_env`). `GATEWAY_SECTION_KEY` overrides a plain key of
[node], [http], [webrtc], [sip], [rtp] and [lab]: GATEWAY_HTTP_LISTEN=127.0.0.1:9000, a list with
commas: GATEWAY_SIP_ALLOW=192.0.2.0/24,198.51.100.7.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.codec import PCMA, PCMU
from gateway.document import (
    AgentSection,
    Document,
    HttpSection,
    LabSection,
    RegisterSection,
    RouteSection,
    RtpSection,
    SipSection,
    TrunkSection,
    UserSection,
    WebRtcSection,
    check_document,
    nearest,
    override,
    place_of,
)
from gateway.errors import ConfigError, RemoteProtocolError
from gateway.net.connection import ConnectionLimits
from gateway.net.dns import ResolverOptions
from gateway.net.interface import Reachable, is_ip_address, is_loopback
from gateway.net.nameserver import DNS_PORT
from gateway.net.ports import RtpPortOptions
from gateway.net.tls import TlsOptions
from gateway.private import Secret
from gateway.sip.authenticator import Credentials
from gateway.sip.uri import Uri, parse_host_port, parse_uri
from gateway.trunk.emergency import EmergencyNumbers, check_emergency_number
from gateway.trunk.headers import check_value
from gateway.trunk.registration import RegistrationOptions
from gateway.trunk.route import (
    Route,
    Router,
    Target,
    TargetKind,
    check_pattern,
    is_dialable,
    parse_target,
)
from gateway.trunk.trunk import Network, Trunk
from gateway.trunk_options import (
    WrongKey,
    emergency_numbers,
    read_headers,
    read_identity,
    read_numbers,
    read_route_options,
    read_session_timer,
    with_profiles,
)
from gateway.users.gate import algorithms_for
from gateway.users.user import User
from gateway.webrtc.options import WebRtcOptions

DEFAULT_FILE = Path(__file__).with_name("default.toml")

CODECS = {"PCMU": PCMU, "PCMA": PCMA}
"What a trunk may be given in `codecs`."

SHORTEST_PROBE_S = 5
"Trunks are asked no more often: the shortest of what they are asked at while they are down."

SOURCES = ("browser", "sip", "user", "api", "*")
"Who calls, in a route's `from`, beside each trunk, user and agent."

DEFAULT_REALM = "voice-gateway"
"What phones are asked a password for, where no domain is named."


@dataclass(frozen=True, slots=True)
class Listen:
    """Where SIP is listened for."""

    transport: str
    "udp, tcp or tls."
    host: str
    port: int
    verify_client: bool = False
    "Of tls: only callers with a certificate that is vouched for are taken."

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
    trusted_proxies: tuple[Network, ...] = ()
    sockets_per_address: int = 16

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)


@dataclass(frozen=True, slots=True)
class SipOptions:
    """The SIP side."""

    listen: tuple[Listen, ...]
    allow: tuple[Network, ...]
    "Who may call in without being a trunk."
    resolver: ResolverOptions = field(default_factory=ResolverOptions)
    "Who is asked for names."
    max_cps: float | None = None
    "Calls that come in over SIP in a second; None: as many as come."
    domains: tuple[str, ...] = ()
    "Hosts that are ours in what users send; empty: the addresses listened on."
    realm: str = DEFAULT_REALM
    "Of our digest challenges."
    reachable: Reachable = field(default_factory=Reachable)
    "What peers are told of where we are."
    tls: TlsOptions = field(default_factory=TlsOptions)
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    never_ban: tuple[Network, ...] = ()
    "Who may fail to log in as often as he likes."
    digest: tuple[str, ...] = ("SHA-256",)
    "The algorithms that phones are offered to log in by, in this order."


@dataclass(frozen=True, slots=True)
class LabOptions:
    """The test carrier."""

    listen: tuple[Listen, ...]
    certificate: Path | None
    key: Path | None


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """One agent."""

    name: str
    protocol: str
    about: str
    script: Path | None
    step: tuple[Mapping[str, Any], ...]
    file: Path
    "The configuration: clips of inline steps are beside it."


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that a node is built of."""

    file: Path
    name: str
    drain_s: float
    http: HttpOptions | None
    "None: no HTTP."
    webrtc: WebRtcOptions | None
    "None: no browsers."
    sip: SipOptions
    rtp: RtpPortOptions
    lab: LabOptions | None
    "None: no test carrier."
    trunks: tuple[Trunk, ...]
    agents: tuple[AgentOptions, ...]
    routes: tuple[Route, ...]
    emergency: EmergencyNumbers
    users: tuple[User, ...] = ()
    max_cpu: float = 0.85
    "Of one core; above it no new calls are taken. 0: whatever it is."

    @property
    def router(self) -> Router:
        """What says where a call goes."""
        return Router(self.routes, self.emergency)

    def warnings(self) -> tuple[str, ...]:
        """What an operator should know of a configuration that can be used."""
        unserved = self.router.unserved
        kinds = {target.kind for route in self.routes for g in route.groups for target in g}
        if TargetKind.TRUNK not in kinds or not unserved:
            return ()
        return (
            f"emergency calls to {', '.join(unserved)} are refused: no [[route]] names them digit"
            " by digit, and no other route takes them",
        )

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
    override(document, environment)
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
        checked = check_document(with_profiles(document))
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from None
    return _Reader(file, environment).read(checked)


class _Reader:
    """Turns checked sections into options, and checks what concerns several of them."""

    def __init__(self, file: Path, environment: Mapping[str, str]) -> None:
        self._file = file
        self._environment = environment

    def read(self, document: Document) -> Config:
        trunks = tuple(
            self._trunk(place_of("trunk", n, trunk.name), trunk)
            for n, trunk in enumerate(document.trunk)
        )
        agents = tuple(
            self._agent(place_of("agent", n, agent.name), agent)
            for n, agent in enumerate(document.agent)
        )
        for text in document.sip.emergency_numbers:
            self._check("[sip]", "emergency_numbers", text, check_emergency_number)
        emergency = emergency_numbers(document.sip.emergency_numbers, trunks)
        users = tuple(
            self._user(place_of("user", n, user.name), user) for n, user in enumerate(document.user)
        )
        parties = [
            *self._names("trunk", document.trunk),
            *self._names("user", document.user),
            *self._names("agent", document.agent),
        ]
        self._check_digest(document.sip, users)
        realm = document.sip.realm or next(iter(document.sip.domains), DEFAULT_REALM)
        self._check("[sip]", "realm", realm, check_value)
        sip = SipOptions(
            self._sip_listens(document.sip),
            tuple(self._network("[sip]", "allow", text) for text in document.sip.allow),
            ResolverOptions(tuple(map(self._nameserver, document.sip.nameservers))),
            document.sip.max_cps,
            tuple(self._domain(text) for text in document.sip.domains),
            realm,
            self._reachable(document.sip),
            self._tls(document.sip),
            ConnectionLimits(per_address=document.sip.connections_per_address),
            tuple(self._network("[sip]", "never_ban", text) for text in document.sip.never_ban),
            document.sip.digest or algorithms_for(users),
        )
        return Config(
            file=self._file,
            name=document.node.name,
            drain_s=document.node.drain_s,
            max_cpu=document.node.max_cpu,
            http=self._http(document.http) if document.http.listen else None,
            webrtc=self._webrtc(document.webrtc) if document.webrtc.listen else None,
            sip=sip,
            rtp=self._rtp(document.rtp, sip),
            lab=None if document.lab is None else self._lab(document.lab),
            trunks=trunks,
            agents=agents,
            routes=tuple(
                self._route(place_of("route", n), route, parties, emergency)
                for n, route in enumerate(document.route)
            ),
            emergency=emergency,
            users=users,
        )

    def _check_digest(self, sip: SipSection, users: tuple[User, ...]) -> None:
        """Everybody must be able to log in by what is offered."""
        shut_out = next((user for user in users if not user.allow_md5), None)
        if sip.digest == ("MD5",) and shut_out is not None:
            remedy = f"user {shut_out.name} logs in with SHA-256 alone: offer it, or set allow_md5"
            raise self._wrong("[sip]", "digest", list(sip.digest), remedy)

    def _http(self, http: HttpSection) -> HttpOptions:
        host, port = self._host_port("[http]", "listen", http.listen)
        token = self._secret("[http]", "token_env", http.token_env)
        if http.certificate is not None and http.key is None:
            raise self._wrong("[http]", "key", None, "name the file of the certificate's key")
        if http.key is not None and http.certificate is None:
            raise self._wrong("[http]", "certificate", None, "name the file of its certificate")
        if token is None and not is_loopback(host):
            raise self._wrong(
                "[http]",
                "listen",
                http.listen,
                "beyond loopback a token is needed: set token_env to the name of an environment"
                " variable that holds it",
            )
        return HttpOptions(
            host,
            port,
            self._path(http.certificate),
            self._path(http.key),
            token,
            None if http.public_url is None else self._public_host(http.public_url),
            tuple(
                self._network("[http]", "trusted_proxies", text) for text in http.trusted_proxies
            ),
            http.sockets_per_address,
        )

    def _public_host(self, text: str) -> str:
        try:
            url = urlsplit(text)
        except ValueError:
            url = urlsplit("")
        if url.scheme not in ("http", "https") or not url.hostname:
            raise self._wrong("[http]", "public_url", text, 'write "https://voice.example.com"')
        return url.hostname

    def _webrtc(self, webrtc: WebRtcSection) -> WebRtcOptions:
        self._host_port("[webrtc]", "listen", webrtc.listen)
        for text in webrtc.advertise:
            self._address("[webrtc]", "advertise", text)
        for text in webrtc.deny:
            self._network("[webrtc]", "deny", text)
        return WebRtcOptions(
            listen=webrtc.listen,
            advertise=webrtc.advertise,
            include_loopback=webrtc.include_loopback,
            deny=webrtc.deny,
            controlling=webrtc.controlling,
        )

    def _rtp(self, rtp: RtpSection, sip: SipOptions) -> RtpPortOptions:
        first, dash, last = rtp.ports.partition("-")
        ports = [_port(text) for text in (first, last)]
        if not dash or None in ports:
            raise self._wrong("[rtp]", "ports", rtp.ports, 'write a range: "20000-29999"')
        if not 1024 <= (ports[0] or 0) < (ports[1] or 0):
            raise self._wrong("[rtp]", "ports", rtp.ports, "name ports from 1024 up, rising")
        told = (rtp.advertise,) if isinstance(rtp.advertise, str) else rtp.advertise
        told = told or sip.reachable.advertise
        for text in told:
            self._address("[rtp]", "advertise", text)
        address, *others = self._rtp_addresses(rtp, sip)
        is_anywhere = any(ipaddress.ip_address(text).is_unspecified for text in (address, *others))
        if not told and is_anywhere:
            raise self._wrong(
                "[rtp]",
                "address",
                rtp.address,
                "peers are told where to send: name one address of this machine, here or in"
                " advertise",
            )
        return RtpPortOptions(
            address=address,
            other_address=others[0] if others else None,
            reachable=Reachable(told, sip.reachable.local_networks),
            first_port=int(first),
            last_port=int(last),
        )

    def _rtp_addresses(self, rtp: RtpSection, sip: SipOptions) -> list[str]:
        """One of each family, the first named first."""
        if rtp.address is None:
            found = [listen.host for listen in sip.listen] or ["127.0.0.1"]
        else:
            found = [rtp.address] if isinstance(rtp.address, str) else [*rtp.address]
            for text in found:
                self._address("[rtp]", "address", text)
        of_family = {":" in text: text for text in reversed(found)}
        if not found or (rtp.address is not None and len(of_family) < len(found)):
            raise self._wrong("[rtp]", "address", rtp.address, "name one of each family at most")
        return sorted(of_family.values(), key=found.index)

    def _trunk(self, where: str, trunk: TrunkSection) -> Trunk:
        credentials = self._credentials(where, trunk)
        if 0 < trunk.probe_s < SHORTEST_PROBE_S:
            raise self._wrong(
                where, "probe_s", trunk.probe_s, f"write 0 for never, or {SHORTEST_PROBE_S} or more"
            )
        uri = self._with_transport(where, self._uri(where, "uri", trunk.uri), trunk.transport)
        try:
            numbers, identity = read_numbers(trunk), read_identity(trunk)
            headers, session_timer = read_headers(trunk), read_session_timer(trunk)
        except WrongKey as wrong:
            raise self._wrong(where, wrong.key, wrong.value, wrong.remedy) from None
        proxy = None if trunk.proxy is None else self._proxy(where, trunk.proxy)
        return Trunk(
            name=trunk.name,
            uri=uri,
            username=None if credentials is None else credentials.username,
            password=None if credentials is None else credentials.password,
            realm=trunk.realm,
            caller_id=trunk.caller_id,
            allow=tuple(self._network(where, "allow", text) for text in trunk.allow),
            trusted=trunk.trusted,
            proxy=proxy,
            probe_s=trunk.probe_s,
            max_calls=trunk.max_calls,
            max_cps=trunk.max_cps,
            registrations=tuple(
                self._registration(
                    f"{where}: {place_of('trunk.register', number)}", trunk, section, uri, proxy
                )
                for number, section in enumerate(trunk.register)
            ),
            codecs=tuple(CODECS[name] for name in trunk.codecs),
            numbers=numbers,
            identity=identity,
            headers=headers,
            no_response_timeout_s=trunk.no_response_timeout_s,
            offer_100rel=trunk.offer_100rel,
            session_timer=session_timer,
            allow_transfer=trunk.allow_transfer,
            allow_redirect=trunk.allow_redirect,
            takes_refer=trunk.transfer == "refer",
            signals_hold=trunk.signal_hold,
            media_timeout_s=trunk.media_timeout_s,
            symmetric_rtp=trunk.symmetric_rtp,
            profile=trunk.profile,
        )

    def _credentials(
        self, where: str, section: TrunkSection | RegisterSection
    ) -> Credentials | None:
        password = self._secret(where, "password_env", section.password_env)
        if section.username is not None and password is None:
            raise self._wrong(
                where, "password_env", None, "name the variable that holds its password"
            )
        if password is None:
            return None
        if section.username is None:
            raise self._wrong(where, "username", None, "say whose password it is")
        return Credentials(section.username, password, section.realm)

    def _registration(
        self,
        where: str,
        trunk: TrunkSection,
        section: RegisterSection,
        uri: Uri,
        proxy: Uri | None,
    ) -> RegistrationOptions:
        """One registration of a trunk; what its section leaves out is the trunk's."""
        user = section.user or section.username or trunk.username
        if user is None:
            raise self._wrong(where, "username", None, "say who registers")
        if section.domain is not None and not _is_host(section.domain):
            raise self._wrong(where, "domain", section.domain, "write a name, or an IP address")
        credentials = self._credentials(where, section)
        if credentials is None:
            credentials = self._credentials(where, trunk)
        return RegistrationOptions(
            registrar=uri
            if section.registrar is None
            else self._uri(where, "registrar", section.registrar),
            user=user,
            credentials=credentials,
            domain=section.domain,
            proxy=proxy,
            expires_s=section.expires_s or trunk.register_expires_s,
        )

    def _user(self, where: str, user: UserSection) -> User:
        password = self._secret(where, "password_env", user.password_env)
        assert password is not None
        self._check(where, "display_name", user.display_name, check_value)
        if user.caller_id is not None and not is_dialable(user.caller_id):
            raise self._wrong(where, "caller_id", user.caller_id, "write a number, as +15550100")
        return User(
            name=user.name,
            password=password,
            allow_md5=user.allow_md5,
            display_name=user.display_name,
            caller_id=user.caller_id,
            codecs=tuple(CODECS[name] for name in user.codecs),
            max_contacts=user.max_contacts,
            symmetric_rtp=user.symmetric_rtp,
            allow_transfer=user.allow_transfer,
            allow_redirect=user.allow_redirect,
            takes_refer=user.transfer == "refer",
            signals_hold=user.signal_hold,
            media_timeout_s=user.media_timeout_s,
        )

    def _agent(self, where: str, agent: AgentSection) -> AgentOptions:
        if agent.protocol == "script" and (agent.script is None) == (not agent.step):
            raise self._wrong(
                where,
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
            self._file,
        )

    def _route(
        self,
        where: str,
        route: RouteSection,
        parties: list[str],
        emergency: EmergencyNumbers,
    ) -> Route:
        sources = (route.from_,) if isinstance(route.from_, str) else route.from_
        known = [*SOURCES, *parties]
        for source in sources:
            if source not in known:
                near = nearest(source, known)
                raise self._wrong(where, "from", source, f"nobody calls from there{near}")
        self._check(where, "match", route.match, check_pattern)
        groups = tuple(
            tuple(
                self._target(where, text, parties)
                for text in ((group,) if isinstance(group, str) else group)
            )
            for group in route.to
        )
        self._check_groups(where, route, groups, sources)
        if emergency.find(route.match) is not None:
            self._check_emergency(where, groups)
        return Route(sources, route.match, groups, read_route_options(route))

    def _check_emergency(self, where: str, groups: tuple[tuple[Target, ...], ...]) -> None:
        for group in groups:
            for target in group:
                if target.kind is TargetKind.AGENT:
                    raise self._wrong(
                        where, "to", str(target), "no emergency number leads to an agent"
                    )

    def _target(self, where: str, text: str, known: list[str]) -> Target:
        try:
            target = parse_target(text)
        except ValueError as error:
            raise self._wrong(where, "to", text, str(error)) from None
        names = (TargetKind.AGENT, TargetKind.TRUNK, TargetKind.USER)
        if target.kind in names and text not in known:
            near = nearest(text, known)
            raise self._wrong(where, "to", text, f"there is no such {target.kind.value}{near}")
        return target

    def _check_groups(
        self,
        where: str,
        route: RouteSection,
        groups: tuple[tuple[Target, ...], ...],
        sources: tuple[str, ...],
    ) -> None:
        kinds = [target.kind for group in groups for target in group]
        if not all(groups) or not sources:
            raise self._wrong(where, "to", route.to, "an empty list leads nowhere: leave it out")
        if TargetKind.IGNORE in kinds and len(kinds) > 1:
            raise self._wrong(where, "to", route.to, "ignore: stands alone")
        if TargetKind.IGNORE in kinds and {"browser", "api", "*"} & {*sources}:
            raise self._wrong(where, "to", route.to, 'ignore: is for from = "sip" and trunks only')

    def _names(
        self, kind: str, sections: tuple[TrunkSection | UserSection | AgentSection, ...]
    ) -> list[str]:
        """What routes call some sections; each must be one alone."""
        names = [section.name for section in sections]
        for number, name in enumerate(names):
            if name in names[:number]:
                where = place_of(kind, number)
                raise self._wrong(where, "name", name, f"give each {kind} a name of its own")
        return [f"{kind}:{name}" for name in names]

    def _check(self, where: str, key: str, value: str, check: Callable[[str], None]) -> None:
        try:
            check(value)
        except ValueError as error:
            raise self._wrong(where, key, value, str(error)) from None

    def _secret(self, where: str, key: str, variable: str | None) -> Secret | None:
        if variable is None:
            return None
        value = self._environment.get(variable)
        if not value:
            raise self._wrong(
                where, key, variable, f"set the environment variable {variable} to the secret"
            )
        return Secret(value)

    def _listen(self, where: str, text: str) -> Listen:
        transport, _, rest = text.partition(":")
        if transport not in ("udp", "tcp", "tls"):
            raise self._wrong(
                where, "listen", text, 'write "udp:ADDRESS:PORT", or tcp: or tls: instead of udp:'
            )
        return Listen(transport, *self._host_port(where, "listen", rest))

    def _sip_listens(self, sip: SipSection) -> tuple[Listen, ...]:
        listens = self._listens("[sip]", sip)
        for text in sip.verify_client:
            if text not in sip.listen or not text.startswith("tls:"):
                raise self._wrong("[sip]", "verify_client", text, "repeat a tls: entry of listen")
        return tuple(
            replace(listen, verify_client=text in sip.verify_client)
            for listen, text in zip(listens, sip.listen, strict=True)
        )

    def _listens(self, where: str, section: SipSection | LabSection) -> tuple[Listen, ...]:
        listens = tuple(self._listen(where, text) for text in section.listen)
        for listen in listens:
            if listen.transport == "tls" and section.certificate is None:
                raise self._wrong(
                    where,
                    "certificate",
                    None,
                    f"'{listen}' needs one: name its PEM file (`make certs` makes a pair for"
                    " development)",
                )
        if (section.certificate is None) != (section.key is None):
            missing = "key" if section.key is None else "certificate"
            raise self._wrong(where, missing, None, "certificate and key go together: name both")
        return listens

    def _lab(self, lab: LabSection) -> LabOptions:
        listens = self._listens("[lab]", lab)
        if not listens:
            raise self._wrong("[lab]", "listen", [], "leave the section out for no lab")
        for listen in listens:
            if not is_loopback(listen.host):
                raise self._wrong(
                    "[lab]",
                    "listen",
                    str(listen),
                    "write a loopback address: everybody knows the lab's password",
                )
        return LabOptions(listens, self._path(lab.certificate), self._path(lab.key))

    def _tls(self, sip: SipSection) -> TlsOptions:
        if sip.verify_client and sip.ca is None:
            # The system's CAs vouch for anybody who has a domain.
            raise self._wrong("[sip]", "ca", None, "verify_client needs it: who vouches for them?")
        return TlsOptions(self._path(sip.certificate), self._path(sip.key), self._path(sip.ca))

    def _reachable(self, sip: SipSection) -> Reachable:
        for text in sip.advertise:
            self._address("[sip]", "advertise", text)
        networks = (self._network("[sip]", "local_networks", text) for text in sip.local_networks)
        return Reachable(sip.advertise, tuple(networks))

    def _host_port(self, where: str, key: str, text: str) -> tuple[str, int]:
        host, _, digits = text.rpartition(":")
        port = _port(digits)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            host = ""
        if port is None or not is_ip_address(host):
            raise self._wrong(
                where, key, text, 'write IP:PORT, as "127.0.0.1:8080" or "[::1]:8080"'
            )
        return host, port

    def _nameserver(self, text: str) -> tuple[str, int]:
        if is_ip_address(text):
            return text, DNS_PORT
        return self._host_port("[sip]", "nameservers", text)

    def _domain(self, text: str) -> str:
        try:
            host, port = parse_host_port(f"[{text.strip('[]')}]" if ":" in text else text)
        except RemoteProtocolError:
            host, port = "", None
        if not host or port is not None:
            raise self._wrong("[sip]", "domains", text, 'write a name or an address: "example.com"')
        return host

    def _address(self, where: str, key: str, text: str) -> None:
        if not is_ip_address(text):
            raise self._wrong(where, key, text, "write an IP address")

    def _network(self, where: str, key: str, text: str) -> Network:
        try:
            return ipaddress.ip_network(text)
        except ValueError as error:
            raise self._wrong(
                where, key, text, f"write a network, as 192.0.2.0/24 ({error})"
            ) from None

    def _uri(self, where: str, key: str, text: str) -> Uri:
        """A place of a trunk: no user, and of parameters the transport alone."""
        remedy = "write sip:HOST or sip:HOST:PORT, with ;transport=udp, tcp or tls, or sips:HOST"
        try:
            uri = parse_uri(text)
        except RemoteProtocolError as error:
            raise self._wrong(where, key, text, f"{remedy} ({error})") from None
        transport = uri.parameters.get("transport")
        names = {name for name, _ in uri.parameters}
        if not uri.is_sip or uri.user is not None or uri.headers or not names <= {"transport"}:
            raise self._wrong(where, key, text, remedy)
        # A carrier asked for over TLS must not quietly be spoken to in the clear.
        allowed = ("tls", "tcp") if uri.scheme == "sips" else ("udp", "tcp", "tls")
        if names and (transport is None or transport.lower() not in allowed):
            raise self._wrong(where, key, text, remedy)
        return uri

    def _with_transport(self, where: str, uri: Uri, transport: str | None) -> Uri:
        written = uri.parameters.get("transport") or ("tls" if uri.scheme == "sips" else None)
        if transport is None or written == transport:
            return uri
        if written is not None:
            raise self._wrong(
                where, "transport", transport, f"the uri says {written}: leave it out"
            )
        return replace(uri, parameters=uri.parameters.replace("transport", transport))

    def _proxy(self, where: str, text: str) -> Uri:
        """A place that requests go through: ;lr, or it would be taken for what is asked for."""
        uri = self._uri(where, "proxy", text)
        return replace(uri, parameters=uri.parameters.replace("lr", None))

    def _path(self, path: Path | None) -> Path | None:
        return None if path is None else self._file.parent / path

    def _wrong(self, where: str, key: str, value: object, remedy: str) -> ConfigError:
        shown = "is missing" if value is None else f"= {value!r}"
        return ConfigError(f"{self._file}: {where}: {key} {shown}: {remedy}")


def _port(text: str) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) <= 5
    return int(text) if is_number and int(text) <= 65_535 else None


def _is_host(text: str) -> bool:
    """Whether it can be the host of a SIP URI, without a port."""
    try:
        return parse_host_port(text)[1] is None
    except RemoteProtocolError:
        return False
