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
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.agent_options import read_agent
from gateway.codec import SPEECH
from gateway.document import (
    AgentSection,
    Document,
    HttpSection,
    LabSection,
    RtpSection,
    SipSection,
    TrunkSection,
    UserSection,
    WebRtcSection,
    check_document,
    override,
    place_of,
)
from gateway.errors import ConfigError, RemoteProtocolError
from gateway.line_options import read_lines
from gateway.net.connection import ConnectionLimits
from gateway.net.dns import ResolverOptions
from gateway.net.interface import Reachable, is_ip_address, is_loopback
from gateway.net.nameserver import DNS_PORT
from gateway.net.ports import RtpPortOptions
from gateway.net.tls import TlsOptions
from gateway.options import (
    DEFAULT_REALM,
    Config,
    HttpOptions,
    LabOptions,
    Listen,
    MediaOptions,
    SipOptions,
)
from gateway.reader import Reader, read_port
from gateway.route_options import read_route
from gateway.rtp.dtmf import DtmfMode
from gateway.sdp.crypto import SrtpPolicy
from gateway.sip.uri import parse_host_port
from gateway.trunk.emergency import check_emergency_number
from gateway.trunk.headers import check_value
from gateway.trunk.route import is_dialable
from gateway.trunk_options import emergency_numbers, read_trunk, with_profiles
from gateway.twilio_options import read_twilio
from gateway.users.gate import algorithms_for
from gateway.users.user import User
from gateway.webrtc.options import WebRtcOptions
from gateway.webrtc.turn import TurnOptions, is_turn_uri

DEFAULT_FILE = Path(__file__).with_name("default.toml")


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
    return _Sections(file, environment).read(checked)


class _Sections(Reader):
    """Turns checked sections into options, and checks what concerns several of them."""

    def read(self, document: Document) -> Config:
        trunks = tuple(
            read_trunk(self, place_of("trunk", n, trunk.name), trunk)
            for n, trunk in enumerate(document.trunk)
        )
        agents = tuple(
            read_agent(self, place_of("agent", n, agent.name), agent, document.agent)
            for n, agent in enumerate(document.agent)
        )
        for text in document.sip.emergency_numbers:
            self.check("[sip]", "emergency_numbers", text, check_emergency_number)
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
        self.check("[sip]", "realm", realm, check_value)
        sip = SipOptions(
            self._sip_listens(document.sip),
            tuple(self.network("[sip]", "allow", text) for text in document.sip.allow),
            ResolverOptions(tuple(map(self._nameserver, document.sip.nameservers))),
            document.sip.max_cps,
            tuple(self._domain(text) for text in document.sip.domains),
            realm,
            self._reachable(document.sip),
            self._tls(document.sip),
            ConnectionLimits(per_address=document.sip.connections_per_address),
            tuple(self.network("[sip]", "never_ban", text) for text in document.sip.never_ban),
            document.sip.digest or algorithms_for(users),
        )
        return Config(
            file=self.file,
            name=document.node.name,
            drain_s=document.node.drain_s,
            max_cpu=document.node.max_cpu,
            http=self._http(document.http) if document.http.listen else None,
            webrtc=self._webrtc(document.webrtc) if document.webrtc.listen else None,
            turn=self._turn(document.webrtc),
            sip=sip,
            rtp=self._rtp(document.rtp, sip),
            media=MediaOptions(
                document.media.hold_timeout_s,
                document.media.early_media_timeout_s,
                self.path(document.media.music),
                self.path(document.media.sounds),
            ),
            lab=None if document.lab is None else self._lab(document.lab),
            trunks=trunks,
            agents=agents,
            routes=tuple(
                read_route(self, place_of("route", n), route, parties, emergency)
                for n, route in enumerate(document.route)
            ),
            emergency=emergency,
            users=users,
            twilio=read_twilio(self, document.twilio, document.agent, bool(document.http.listen)),
            lines=read_lines(
                self,
                document.audiosocket,
                document.asterisk,
                has_http=bool(document.http.listen),
            ),
        )

    def _check_digest(self, sip: SipSection, users: tuple[User, ...]) -> None:
        """Everybody must be able to log in by what is offered."""
        shut_out = next((user for user in users if not user.allow_md5), None)
        if sip.digest == ("MD5",) and shut_out is not None:
            remedy = f"user {shut_out.name} logs in with SHA-256 alone: offer it, or set allow_md5"
            raise self.wrong("[sip]", "digest", list(sip.digest), remedy)

    def _http(self, http: HttpSection) -> HttpOptions:
        host, port = self.host_port("[http]", "listen", http.listen)
        token = self.secret("[http]", "token_env", http.token_env)
        if http.certificate is not None and http.key is None:
            raise self.wrong("[http]", "key", None, "name the file of the certificate's key")
        if http.key is not None and http.certificate is None:
            raise self.wrong("[http]", "certificate", None, "name the file of its certificate")
        if token is None and not is_loopback(host):
            raise self.wrong(
                "[http]",
                "listen",
                http.listen,
                "beyond loopback a token is needed: set token_env to the name of an environment"
                " variable that holds it",
            )
        return HttpOptions(
            host,
            port,
            self.path(http.certificate),
            self.path(http.key),
            token,
            None if http.public_url is None else self._public_host(http.public_url),
            tuple(self.network("[http]", "trusted_proxies", text) for text in http.trusted_proxies),
            http.sockets_per_address,
            tuple(map(self._origin, http.origins)),
        )

    def _public_host(self, text: str) -> str:
        try:
            url = urlsplit(text)
        except ValueError:
            url = urlsplit("")
        if url.scheme not in ("http", "https") or not url.hostname:
            raise self.wrong("[http]", "public_url", text, 'write "https://voice.example.com"')
        return url.hostname

    def _origin(self, text: str) -> str:
        """A site as browsers write it: in lower case, and without the port that goes by itself."""
        try:
            url = urlsplit(text.lower())
            port = url.port
        except ValueError:
            url, port = urlsplit(""), None
        rest = (url.path.strip("/"), url.query, url.fragment, url.username)
        if url.scheme not in ("http", "https") or not url.hostname or any(rest):
            raise self.wrong("[http]", "origins", text, 'write "https://phone.example.com"')
        host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
        shown = "" if port in (None, {"http": 80, "https": 443}[url.scheme]) else f":{port}"
        return f"{url.scheme}://{host}{shown}"

    def _webrtc(self, webrtc: WebRtcSection) -> WebRtcOptions:
        self.host_port("[webrtc]", "listen", webrtc.listen)
        for text in webrtc.advertise:
            self.address("[webrtc]", "advertise", text)
        for text in webrtc.ice_deny:
            self.network("[webrtc]", "ice_deny", text)
        return WebRtcOptions(
            listen=webrtc.listen,
            advertise=webrtc.advertise,
            include_loopback=webrtc.include_loopback,
            ice_deny=webrtc.ice_deny,
            controlling=webrtc.controlling,
        )

    def _turn(self, webrtc: WebRtcSection) -> TurnOptions | None:
        for text in webrtc.turn:
            if not is_turn_uri(text):
                remedy = 'write "turn:turn.example.com:3478", with ?transport=tcp for TCP'
                raise self.wrong("[webrtc]", "turn", text, remedy)
        secret = self.secret("[webrtc]", "turn_secret_env", webrtc.turn_secret_env)
        if not webrtc.turn:
            return None
        if secret is None:
            remedy = "set it to the name of an environment variable that holds the servers' secret"
            raise self.wrong("[webrtc]", "turn_secret_env", None, remedy)
        return TurnOptions(webrtc.turn, secret, webrtc.turn_ttl_s)

    def _rtp(self, rtp: RtpSection, sip: SipOptions) -> RtpPortOptions:
        first, dash, last = rtp.ports.partition("-")
        ports = [read_port(text) for text in (first, last)]
        if not dash or None in ports:
            raise self.wrong("[rtp]", "ports", rtp.ports, 'write a range: "20000-29999"')
        if not 1024 <= (ports[0] or 0) < (ports[1] or 0):
            raise self.wrong("[rtp]", "ports", rtp.ports, "name ports from 1024 up, rising")
        told = (rtp.advertise,) if isinstance(rtp.advertise, str) else rtp.advertise
        told = told or sip.reachable.advertise
        for text in told:
            self.address("[rtp]", "advertise", text)
        address, *others = self._rtp_addresses(rtp, sip)
        is_anywhere = any(ipaddress.ip_address(text).is_unspecified for text in (address, *others))
        if not told and is_anywhere:
            raise self.wrong(
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
                self.address("[rtp]", "address", text)
        of_family = {":" in text: text for text in reversed(found)}
        if not found or (rtp.address is not None and len(of_family) < len(found)):
            raise self.wrong("[rtp]", "address", rtp.address, "name one of each family at most")
        return sorted(of_family.values(), key=found.index)

    def _user(self, where: str, user: UserSection) -> User:
        password = self.secret(where, "password_env", user.password_env)
        assert password is not None
        self.check(where, "display_name", user.display_name, check_value)
        if user.caller_id is not None and not is_dialable(user.caller_id):
            raise self.wrong(where, "caller_id", user.caller_id, "write a number, as +15550100")
        return User(
            name=user.name,
            password=password,
            allow_md5=user.allow_md5,
            display_name=user.display_name,
            caller_id=user.caller_id,
            codecs=tuple(SPEECH[name] for name in user.codecs),
            dtmf=DtmfMode(user.dtmf),
            max_contacts=user.max_contacts,
            symmetric_rtp=user.symmetric_rtp,
            srtp=SrtpPolicy(user.srtp),
            srtp_without_tls=user.srtp_without_tls,
            rtcp_mux=user.rtcp_mux,
            allow_transfer=user.allow_transfer,
            allow_redirect=user.allow_redirect,
            takes_refer=user.transfer == "refer",
            signals_hold=user.signal_hold,
            media_timeout_s=user.media_timeout_s,
        )

    def _names(
        self, kind: str, sections: tuple[TrunkSection | UserSection | AgentSection, ...]
    ) -> list[str]:
        """What routes call some sections; each must be one alone."""
        names = [section.name for section in sections]
        for number, name in enumerate(names):
            if name in names[:number]:
                where = place_of(kind, number)
                raise self.wrong(where, "name", name, f"give each {kind} a name of its own")
        return [f"{kind}:{name}" for name in names]

    def _listen(self, where: str, text: str) -> Listen:
        transport, _, rest = text.partition(":")
        if transport not in ("udp", "tcp", "tls"):
            raise self.wrong(
                where, "listen", text, 'write "udp:ADDRESS:PORT", or tcp: or tls: instead of udp:'
            )
        return Listen(transport, *self.host_port(where, "listen", rest))

    def _sip_listens(self, sip: SipSection) -> tuple[Listen, ...]:
        listens = self._listens("[sip]", sip)
        for text in sip.verify_client:
            if text not in sip.listen or not text.startswith("tls:"):
                raise self.wrong("[sip]", "verify_client", text, "repeat a tls: entry of listen")
        return tuple(
            replace(listen, verify_client=text in sip.verify_client)
            for listen, text in zip(listens, sip.listen, strict=True)
        )

    def _listens(self, where: str, section: SipSection | LabSection) -> tuple[Listen, ...]:
        listens = tuple(self._listen(where, text) for text in section.listen)
        for listen in listens:
            if listen.transport == "tls" and section.certificate is None:
                raise self.wrong(
                    where,
                    "certificate",
                    None,
                    f"'{listen}' needs one: name its PEM file (`make certs` makes a pair for"
                    " development)",
                )
        if (section.certificate is None) != (section.key is None):
            missing = "key" if section.key is None else "certificate"
            raise self.wrong(where, missing, None, "certificate and key go together: name both")
        return listens

    def _lab(self, lab: LabSection) -> LabOptions:
        listens = self._listens("[lab]", lab)
        if not listens:
            raise self.wrong("[lab]", "listen", [], "leave the section out for no lab")
        for listen in listens:
            if not is_loopback(listen.host):
                raise self.wrong(
                    "[lab]",
                    "listen",
                    str(listen),
                    "write a loopback address: everybody knows the lab's password",
                )
        return LabOptions(listens, self.path(lab.certificate), self.path(lab.key))

    def _tls(self, sip: SipSection) -> TlsOptions:
        if sip.verify_client and sip.ca is None:
            # The system's CAs vouch for anybody who has a domain.
            raise self.wrong("[sip]", "ca", None, "verify_client needs it: who vouches for them?")
        return TlsOptions(self.path(sip.certificate), self.path(sip.key), self.path(sip.ca))

    def _reachable(self, sip: SipSection) -> Reachable:
        for text in sip.advertise:
            self.address("[sip]", "advertise", text)
        networks = (self.network("[sip]", "local_networks", text) for text in sip.local_networks)
        return Reachable(sip.advertise, tuple(networks))

    def _nameserver(self, text: str) -> tuple[str, int]:
        if is_ip_address(text):
            return text, DNS_PORT
        return self.host_port("[sip]", "nameservers", text)

    def _domain(self, text: str) -> str:
        try:
            host, port = parse_host_port(f"[{text.strip('[]')}]" if ":" in text else text)
        except RemoteProtocolError:
            host, port = "", None
        if not host or port is not None:
            raise self.wrong("[sip]", "domains", text, 'write a name or an address: "example.com"')
        return host
