"""What a node is built of: the configuration as values, all of it checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.api.twilio_calls import TwilioOptions
from gateway.leg.turns import TurnsOptions
from gateway.media.answering import AnsweringPolicy
from gateway.net.connection import ConnectionLimits
from gateway.net.dns import ResolverOptions
from gateway.net.interface import Reachable, is_loopback
from gateway.net.ports import RtpPortOptions
from gateway.net.tls import TlsOptions
from gateway.private import Secret
from gateway.sdp.crypto import SrtpPolicy
from gateway.trunk.emergency import EmergencyNumbers
from gateway.trunk.route import Route, Router, TargetKind
from gateway.trunk.trunk import Network, Trunk
from gateway.users.user import User
from gateway.webrtc.options import WebRtcOptions
from gateway.webrtc.turn import TurnOptions

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
    origins: tuple[str, ...] = ()
    "Other sites whose pages may open WebSockets, as browsers write them."

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
class LineOptions:
    """How other systems hand us calls; nothing of it unless it is configured."""

    audiosocket: tuple[tuple[str, int], ...] = ()
    "Addresses and ports that are listened on."
    audiosocket_allow: tuple[Network, ...] = ()
    "Who may connect there, beside this machine."
    audiosocket_to: str | None = None
    "What is dialled where nothing was said of the UUID; None: nothing is."
    asterisk_calls: Mapping[str, str] = field(default_factory=dict)
    "What is dialled by which id of /media/ID."
    asterisk_username: str = ""
    asterisk_password: Secret | None = None


@dataclass(frozen=True, slots=True)
class MediaOptions:
    """What is heard in calls; how long nothing may be, RTP and RTCP both, 0: for ever (F10)."""

    hold_timeout_s: float = 300.0
    "Of a SIP party, while one holds the other."
    early_media_timeout_s: float = 60.0
    "Before it answers, from when it said that it is to be heard."
    music: Path | None = None
    "WAV file that is played on hold; None: a few notes of our own."
    sounds: Path | None = None
    "Folder of WAV files that can be played into calls."


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
    url: str = ""
    username: str = ""
    secret: Secret | None = None
    "Of `password_env` or `token_env`."
    settings: Any = None
    "Of a wire protocol, its `Settings`; else the table as it is written, or None."
    answers_at_once: bool = False
    ready_timeout_s: float = 5.0
    hears_early_media: bool = False
    fallback: tuple[str, ...] = ()
    apology: Path | None = None
    wait_sound: Path | None = None
    tools: frozenset[str] | None = None
    "What it may have done; None: all."
    max_transfers: int = 1
    class_name: str | None = None
    speech: TurnsOptions | None = None
    "None: the gateway leaves speech to the agent."
    answering_machine: AnsweringPolicy = "off"
    trunk: Trunk | None = None
    "Of protocol sip: how it is called, and calls."


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
    media: MediaOptions = field(default_factory=MediaOptions)
    lines: LineOptions = field(default_factory=LineOptions)
    turn: TurnOptions | None = None
    "What browsers are told of TURN; None: nothing."
    twilio: TwilioOptions | None = None
    "Who may use Twilio's REST interface; None: it is off."
    max_cpu: float = 0.85
    "Of one core; above it no new calls are taken. 0: whatever it is."

    @property
    def sip_agents(self) -> Mapping[str, Trunk]:
        """The agents at a SIP URI, as trunks, by their names."""
        return {agent.name: agent.trunk for agent in self.agents if agent.trunk is not None}

    @property
    def all_trunks(self) -> tuple[Trunk, ...]:
        """Everything that is spoken to as a trunk is."""
        return (*self.trunks, *self.sip_agents.values())

    @property
    def router(self) -> Router:
        """What says where a call goes."""
        return Router(self.routes, self.emergency)

    def warnings(self) -> tuple[str, ...]:
        """What an operator should know of a configuration that can be used."""
        unserved = self.router.unserved
        kinds = {target.kind for route in self.routes for g in route.groups for target in g}
        found = [
            f'trunk {trunk.name} is called without SRTP: srtp = "optional" needs transport = "tls"'
            for trunk in self.trunks
            if trunk.srtp is SrtpPolicy.OPTIONAL
            and not (trunk.srtp_without_tls or trunk.destination.is_over_tls)
        ]
        if TargetKind.TRUNK in kinds and unserved:
            found.append(
                f"emergency calls to {', '.join(unserved)} are refused: no [[route]] names them"
                " digit by digit, and no other route takes them"
            )
        return tuple(found)

    def describe(self) -> str:
        """What it configures, in a line."""
        return f"{len(self.trunks)} trunks, {len(self.agents)} agents, {len(self.routes)} routes"
