"""The configuration file as it is written: its sections, and in words what is wrong with one.

A field is a key; its default is what runs where the key is left out. What the keys mean together
is checked by `gateway.config`.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as section

log = logging.getLogger(__name__)

PLAIN_SECTIONS = ("node", "http", "webrtc", "sip", "rtp", "media", "lab", "audiosocket", "asterisk")
"Sections whose keys the environment may set."

_STRICT = ConfigDict(extra="forbid", frozen=True)

NAME = r"^[a-z0-9][a-z0-9._-]{0,31}$"
Name = Annotated[str, Field(pattern=NAME)]
DtmfName = Literal["auto", "rfc4733", "info", "inband"]
CodecName = Literal["opus", "G722", "PCMU", "PCMA"]


@section(config=_STRICT)
class NodeSection:
    """[node]: this process."""

    name: Name = "gw1"
    "Call and leg ids begin with it."
    drain_s: Annotated[float, Field(ge=0, le=3600)] = 300.0
    "How long calls may go on after SIGTERM."
    max_cpu: Annotated[float, Field(ge=0, le=1)] = 0.85
    """Of one core: while more is used, or the loop comes 50 ms late, new calls are refused with
    503, for the sake of those that go on; 0 takes every call. Emergency calls are always taken."""


@section(config=_STRICT)
class HttpSection:
    """[http]: the page and the API."""

    listen: str = "127.0.0.1:8080"
    "ADDRESS:PORT; empty for no HTTP at all. Beyond loopback `token_env` is needed."
    public_url: str | None = None
    "How people reach it, behind a proxy: https://voice.example.com."
    origins: tuple[str, ...] = ()
    "Other sites whose pages may open WebSockets, as those of softphones: https://phone.example.com."
    trusted_proxies: tuple[str, ...] = ()
    "Networks of those proxies: who connects to them is read in X-Forwarded-For."
    sockets_per_address: Annotated[int, Field(ge=1, le=2048)] = 16
    "WebSockets taken from one address; more for an office behind one."
    certificate: Path | None = None
    "PEM file, relative to this one; without it the server speaks plain HTTP."
    key: Path | None = None
    token_env: str | None = None
    "Environment variable that holds the token asked of everybody."


@section(config=_STRICT)
class WebRtcSection:
    """[webrtc]: browsers' media."""

    listen: str = "0.0.0.0:10000"
    "ADDRESS:PORT of the one UDP port for all browsers, [::] for IPv6 too; empty to take none."
    advertise: tuple[str, ...] = ()
    "Addresses to tell browsers instead, the best first, such as the public one of a 1:1 NAT."
    include_loopback: bool = False
    "Also offer 127.0.0.1, for a browser on this machine."
    ice_deny: tuple[str, ...] = ()
    "Networks where no browser is contacted, beside loopback, link-local and metadata services."
    controlling: bool = True
    "Take the controlling ICE role, although browsers offer; false keeps to RFC 8445."
    turn: tuple[str, ...] = ()
    "TURN servers for browsers that UDP does not get here from: turn:turn.example.com:3478, turns:…"
    turn_secret_env: str | None = None
    "Environment variable that holds the secret shared with them (coturn: static-auth-secret)."
    turn_ttl_s: Annotated[int, Field(ge=60, le=3600)] = 3600
    "How long the credentials are good for that a page gets; it gets others before."


@section(config=_STRICT)
class SipSection:
    """[sip]: signalling with carriers, PBXs and phones."""

    listen: tuple[str, ...] = ("udp:127.0.0.1:5060",)
    "Each udp:ADDRESS:PORT, tcp:ADDRESS:PORT or tls:ADDRESS:PORT; 0.0.0.0 and [::] mean all."
    allow: tuple[str, ...] = ()
    'Networks that may call in without being a trunk; their routes are from = "sip".'
    advertise: tuple[str, ...] = ()
    "Addresses to tell peers instead, one of each family, such as the public one of a 1:1 NAT."
    local_networks: tuple[str, ...] = ()
    "Networks on our side of that NAT: who is there is told our own address, for RTP too."
    certificate: Path | None = None
    "PEM file for TLS, relative to this one: our certificate, then what leads to its CA."
    key: Path | None = None
    "PEM file of its key."
    ca: Path | None = None
    "PEM file of the CAs that vouch for TLS peers; where left out, those of the system."
    verify_client: tuple[str, ...] = ()
    "Those of `listen` that take only callers with a certificate that `ca` vouches for."
    connections_per_address: Annotated[int, Field(ge=1, le=2048)] = 16
    "TCP and TLS connections taken from one address; more for an office behind one."
    nameservers: tuple[str, ...] = ()
    "Who is asked for names: each ADDRESS or ADDRESS:PORT; where left out, those of the system."
    emergency_numbers: tuple[str, ...] = ()
    "Beside 911, 112, 999 and 933: a route must name each; none leads to an agent."
    max_cps: Annotated[float, Field(ge=0.01, le=10_000)] | None = None
    "Calls that come in over SIP in a second; more get 503. Where left out, as many as come."
    domains: tuple[str, ...] = ()
    "Names or addresses that users reach us by; where left out, the addresses listened on."
    realm: str | None = None
    "Told to phones that are asked for a password; where left out, the first of `domains`."
    digest: tuple[Literal["SHA-256", "MD5"], ...] = ()
    "Logins offered to phones, in this order; where left out, SHA-256, then MD5 if a user may."
    never_ban: tuple[str, ...] = ()
    "Networks that may fail to log in as often as they like, such as an office behind one address."


@section(config=_STRICT)
class RtpSection:
    """[rtp]: media with SIP peers."""

    ports: str = "20000-29999"
    "UDP ports, two for a call."
    address: tuple[str, ...] | str | None = None
    "Address they are opened on, or one of each family; where left out, those of [sip] listen."
    advertise: tuple[str, ...] | str = ()
    "Address to tell peers instead, or a list of one of each family; where left out, as in [sip]."


@section(config=_STRICT)
class MediaSection:
    """[media]: what is heard in calls, and how long nothing may be."""

    music: Path | None = None
    "WAV file played over and over to who is on hold, relative to this one; else a few notes."
    sounds: Path | None = None
    "Folder of WAV files that calls can be told to play, by their names; relative to this file."
    hold_timeout_s: Annotated[float, Field(ge=0, le=86_400)] = 300.0
    "Silence, of RTP and RTCP, after which a call on hold is ended, 5 or more; 0 for never."
    early_media_timeout_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    "The same before the answer, of who lets its callers hear something; 0 for never."


@section(config=_STRICT)
class LabSection:
    """[lab]: a test carrier in this process; there is none without the section."""

    listen: tuple[str, ...] = ("udp:127.0.0.1:5070",)
    "Each udp:ADDRESS:PORT, tcp:ADDRESS:PORT or tls:ADDRESS:PORT, all on loopback."
    certificate: Path | None = None
    "PEM file for TLS, relative to this one; trunks believe it where [sip] `ca` vouches for it."
    key: Path | None = None
    "PEM file of its key."


@section(config=_STRICT)
class AudioSocketSection:
    """[audiosocket]: calls that a PBX hands us by AudioSocket(UUID,ADDRESS:PORT)."""

    listen: tuple[str, ...] = ()
    "Each ADDRESS:PORT; where left out, nothing is listened on."
    allow: tuple[str, ...] = ()
    "Networks that may connect, beside this machine: AudioSocket knows no password."
    to: str | None = None
    "What such a call dials, if nothing was said of its UUID: a number, a name or agent:NAME."


@section(config=_STRICT)
class AsteriskSection:
    """[asterisk]: calls that an Asterisk hands us by WebSocket, at /media/ID (chan_websocket)."""

    calls: dict[str, str] = Field(default_factory=dict)
    'What is dialled by which ID: { support = "agent:sales" }.'
    username: str = ""
    "Of its websocket_client.conf; where left out, it needs the token of [http], if there is one."
    password_env: str | None = None
    "Environment variable that holds the password of `username`."


@section(config=_STRICT)
class RegisterSection:
    """[[trunk.register]]: where we say that we can be called; what is left out is the trunk's."""

    username: str | None = None
    "Who registers."
    password_env: str | None = None
    "Environment variable that holds the password of `username`."
    realm: str | None = None
    user: str | None = None
    "User of the address of record; where left out, `username`."
    domain: str | None = None
    "Host of the address of record; where left out, that of `registrar`."
    registrar: str | None = None
    "sip:HOST or sip:HOST:PORT; where left out, the trunk's uri."
    expires_s: Annotated[int, Field(ge=60, le=86_400)] | None = None
    "How long it is asked to last."


def _read_register(value: object) -> object:
    """`register = true` is one registration with all that is the trunk's."""
    return {True: ({},), False: ()}[value] if isinstance(value, bool) else value


@section(config=_STRICT)
class TrunkSection:
    """[[trunk]]: a carrier or PBX."""

    name: Name
    "trunk:NAME in routes."
    uri: str
    "Where calls to it go: sip:HOST or sip:HOST:PORT, with ;transport=tcp or tls, or sips:HOST."
    profile: str | None = None
    "Whose defaults to begin with: twilio, telnyx, bandwidth, asterisk, freeswitch, kamailio."
    transport: Literal["udp", "tcp", "tls"] | None = None
    "Same as ;transport= in `uri`; where left out, what the DNS says, else udp."
    username: str | None = None
    password_env: str | None = None
    "Environment variable that holds the password of `username`."
    realm: str | None = None
    "The only realm the password is used for; where left out, the first that asks."
    caller_id: str | None = None
    "Number shown on calls to it; where left out, the caller's own."
    caller_ids: tuple[str, ...] | None = None
    "Callers' own numbers that may be shown, as +4930123*; for others `caller_id` is."
    display_name: str = ""
    "Name shown with the number; caller: that of who calls."
    from_user: str = "caller"
    "User of our From: caller, username, or one for every call."
    from_domain: str | None = None
    "Host of our From and of identity headers; where left out, our address."
    to_domain: str | None = None
    "Host of the To; where left out, that of `uri`."
    contact_user: str | None = None
    "User of our Contact."
    pai: Literal["off", "caller", "trunk"] = "off"
    "P-Asserted-Identity: the number shown, or `caller_id` (else `username`) at all times."
    ppi: Literal["off", "caller", "trunk"] = "off"
    "P-Preferred-Identity, likewise."
    rpid: Literal["off", "caller", "trunk"] = "off"
    "Remote-Party-ID, likewise."
    diversion: Literal["off", "diversion", "history-info"] = "off"
    "How it is told that a call was forwarded."
    number_format: Literal["unchanged", "e164", "plain", "international", "national"] = "unchanged"
    "How numbers are written: +4930123, 4930123, 004930123 or 030123; unchanged: as dialled."
    number_uri: Literal["sip", "phone", "tel"] = "sip"
    "sip:NUMBER@HOST, the same with ;user=phone, or tel:NUMBER."
    country_code: str | None = None
    "Where its national numbers are, as 49."
    national_prefix: str | None = None
    'What stands before them, as 0; may be "".'
    international_prefix: str | None = None
    "What stands before a country code; where left out 00, in country 1 011."
    strip_prefix: str = ""
    "Taken off what was dialled, such as the 9 for an outside line."
    tech_prefix: str = ""
    "Put before every number on the way out, taken off on the way in."
    headers: tuple[str, ...] = ()
    'Put into every call to it: "X-Account: 42".'
    headers_in: tuple[str, ...] = ()
    "Headers taken from its calls, as X-*; they become attributes of the call."
    headers_out: tuple[str, ...] = ()
    "Headers given to it where a call has such attributes."
    no_response_timeout_s: Annotated[float, Field(gt=0, le=32)] = 4.0
    "Silence after which its next host is tried, and after the last the next target of a route."
    offer_100rel: bool = True
    "Let it send provisional responses reliably (RFC 3262)."
    session_expires_s: Annotated[int, Field(ge=0, le=86400)] = 1800
    "Session timer to ask for (RFC 4028), 90 or more; 0: none. What it asks for is kept."
    min_se_s: Annotated[int, Field(ge=90, le=86400)] = 90
    "Shortest session timer that is taken."
    allow: tuple[str, ...] = ()
    "Networks it calls in from, beside the address of its uri."
    trusted: bool = False
    "Believe what it asserts of callers: P-Asserted-Identity, Remote-Party-ID, Diversion."
    proxy: str | None = None
    "Where all that is sent to it goes first: sip:HOST or sip:HOST:PORT."
    probe_s: Annotated[float, Field(ge=0, le=3600)] = 30.0
    "How often it is asked by OPTIONS whether it is there, 5 or more; 0 for never."
    max_calls: Annotated[int, Field(ge=1)] | None = None
    "Calls in and out at a time."
    max_cps: Annotated[float, Field(ge=0.01, le=10_000)] | None = None
    "New calls in a second, in and out."
    register: Annotated[tuple[RegisterSection, ...], BeforeValidator(_read_register)] = ()
    "`true` to register with it by `username`, or [[trunk.register]] sections."
    register_expires_s: Annotated[int, Field(ge=60, le=86_400)] = 600
    "How long registrations are asked to last."
    allow_transfer: bool = False
    "Let it transfer calls (REFER): to what the routes from it let it dial."
    allow_redirect: bool = False
    "Follow where it points a call (3xx): to what the routes of the caller let it dial."
    transfer: Literal["dial", "refer"] = "dial"
    "How a party of its is transferred: dial, we call the new one; refer, it is asked to."
    signal_hold: bool = False
    "Tell it by re-INVITE that it is on hold; it hears our music either way."
    media_timeout_s: Annotated[float, Field(ge=0, le=3600)] = 30.0
    "Silence, of RTP and RTCP, after which a call is ended, 5 or more; 0 for never."
    symmetric_rtp: bool = False
    "Send media to where its media comes from, as NAT needs it."
    media_allow: tuple[str, ...] = ()
    "Networks its media is in, private ones too, beside the address of its SIP and public ones."
    srtp: Literal["off", "optional", "required"] = "off"
    "Protect media by keys in the SDP, over TLS: never, where both can, or else no call."
    srtp_without_tls: bool = False
    "Let these keys go where everybody on the way can read them."
    rtcp_mux: bool = False
    "Offer RTP and RTCP on one port; where it is offered, it is taken anyway."
    dtmf: DtmfName = "auto"
    """How keys are pressed toward it: rfc4733, info or inband (as sound). auto: rfc4733 if
    negotiated, else info if it takes that, else inband, which is listened for then too."""
    codecs: Annotated[tuple[CodecName, ...], Field(min_length=1)] = ("PCMU", "PCMA")
    "Of opus, G722, PCMU and PCMA, in the order of preference."


@section(config=_STRICT)
class UserSection:
    """[[user]]: who registers phones and softphones with us."""

    name: Name
    "user:NAME in routes; the user of its address and the username of its phones."
    password_env: str
    "Environment variable that holds the password of its phones."
    display_name: str = ""
    "Shown to whom it calls."
    caller_id: str | None = None
    "Number it calls from, whatever its phones say, as +15550100; where left out, its name."
    allow_md5: bool = False
    "Let its phones log in with MD5, which is weak; where left out, with SHA-256 alone."
    max_contacts: Annotated[int, Field(ge=1, le=10)] = 10
    "Phones that ring together; one more puts out the one heard of longest ago."
    symmetric_rtp: bool = True
    "Send media to where the phone's comes from, as NAT needs it."
    srtp: Literal["off", "optional", "required"] = "off"
    "Protect media by keys in the SDP, over TLS: never, where both can, or else no call."
    srtp_without_tls: bool = False
    "Let these keys go where everybody on the way can read them."
    rtcp_mux: bool = False
    "Offer RTP and RTCP on one port; where it is offered, it is taken anyway."
    allow_transfer: bool = False
    "Let its phones transfer calls (REFER): to what its routes let it dial."
    allow_redirect: bool = False
    "Follow where its phones point a call (3xx): to what the routes of the caller let it dial."
    transfer: Literal["dial", "refer"] = "dial"
    "How a party of its is transferred: dial, we call the new one; refer, its phone is asked to."
    signal_hold: bool = False
    "Tell its phones by re-INVITE that they are on hold; they hear our music either way."
    media_timeout_s: Annotated[float, Field(ge=0, le=3600)] = 30.0
    "Silence, of RTP and RTCP, after which a call is ended, 5 or more; 0 for never."
    dtmf: DtmfName = "auto"
    """How keys are pressed toward its phones: rfc4733, info or inband (as sound). auto: rfc4733 if
    negotiated, else info if one takes that, else inband, which is listened for then too."""
    codecs: Annotated[tuple[CodecName, ...], Field(min_length=1)] = ("PCMU", "PCMA")
    "Of opus, G722, PCMU and PCMA, in the order of preference."


@section(config=ConfigDict(extra="forbid", frozen=True, populate_by_name=True))
class AgentSection:
    """[[agent]]: an AI or scripted party."""

    name: Name
    "agent:NAME in routes."
    protocol: str
    """How it is spoken to: a wire protocol ([list](agents.md)), python, twiml, realtime-webhook,
    sip, script or echo."""
    about: str = ""
    "For people, on the page."
    url: str = ""
    "Of an agent over a wire: wss://, ws:// or tcp://host:port, as its protocol has it."
    uri: str = ""
    """Of protocol sip: sip:USER@HOST;transport=tls. `username` and `password_env` log in there;
    [agent.settings] takes a trunk's keys: srtp, codecs, caller_id, headers, allow_transfer …"""
    username: str = ""
    "How we log in there, where that takes a name."
    password_env: str | None = None
    "Environment variable that holds the password of `username`, or the key that signs."
    token_env: str | None = None
    "Environment variable that holds a token or an API key, in the place of a password."
    settings: dict[str, Any] | None = None
    "Table [agent.settings]: what its protocol, or its class, can be told besides."
    answer: Literal["when-ready", "at-once"] = "when-ready"
    "Whether a call is answered once the agent is connected and ready, or before that."
    ready_timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    """How long it may take to connect; as late as this the call is answered though the agent has
    not said that it is ready."""
    hear_early_media: bool = False
    "Of calls that the agent makes: whether it hears the far end before that has answered."
    fallback: tuple[str, ...] = ()
    """Who takes over when it is lost, in order: agent:NAME, or numbers, dialled as by the agent
    itself. Then comes the apology, and the call ends."""
    apology: Path | None = None
    "WAV file that the caller hears when nobody has taken over; where left out, one of ours."
    wait_sound: Path | None = None
    "WAV file that the caller hears from 1 s of outage on; where left out, one of ours."
    tools: tuple[str, ...] | None = None
    """What it may have done, such as hang_up and transfer ([all of them](call-control.md)); where
    left out, all, as far as routes from agent:NAME lead."""
    max_transfers: Annotated[int, Field(ge=0, le=100)] = 1
    "How many others it may bring into one call, by transfer or dial."
    vad: Literal["off", "energy", "model"] = "off"
    """Whether the gateway listens for speech and tells the agent: by its loudness, or by a small
    neural network, which an extra installs ([figures](turns.md))."""
    barge_in: Literal["off", "clear", "pause"] = "off"
    "What happens to the agent's words when somebody speaks: dropped, or paused until it is judged."
    barge_in_min_ms: Annotated[int, Field(ge=0, le=5000)] = 200
    "Shorter speech clears nothing, and what it has paused goes on."
    answering_machine: Literal["off", "detect", "hang-up", "wait-for-beep"] = "off"
    "What is done if a machine answers whom the agent calls ([how](turns.md))."
    class_: str | None = Field(default=None, alias="class")
    "Of protocol python: module:Class beside this file, or the name of an installed agent."
    script: Path | None = None
    "File of steps, relative to this one. Or:"
    step: tuple[dict[str, Any], ...] = ()
    "The steps themselves."


@section(config=_STRICT)
class GuestSection:
    """Who joins the calls of a route, where more is to be said than agent:NAME."""

    agent: str
    "agent:NAME."
    preset: Literal[
        "listen", "whisper", "speak", "barge", "alone", "mute", "aside", "take-over"
    ] = "listen"
    side: str | None = None
    "Of whisper, alone and take-over: caller, callee, agent, ai."
    role: Literal["agent", "ai", "supervisor"] = "ai"
    gain_db: Annotated[float, Field(ge=-40, le=20)] | None = None


@section(config=ConfigDict(extra="forbid", frozen=True, populate_by_name=True))
class RouteSection:
    """[[route]]: who may call what. The first that matches decides; none, and it is refused."""

    match: str
    "A number or name; * at the end for any rest, ? for one character: +1*."
    to: tuple[str | tuple[str, ...], ...] = Field(min_length=1, max_length=16)
    "Targets in order, the next where one fails; those of an inner list ring together."
    from_: str | tuple[str, ...] = Field(alias="from")
    "browser, api, sip, user, audiosocket, asterisk, user:NAME, trunk:NAME, agent:NAME; * for all."
    ringing_timeout_s: Annotated[float, Field(gt=0, le=180)] = 60.0
    "How long a group of targets may ring before the next is tried."
    max_call_duration_s: Annotated[float, Field(gt=0)] | None = None
    "When an answered call is ended; where left out, when somebody hangs up."
    failover_on: tuple[Annotated[int, Field(ge=300, le=699)], ...] = (408, 500, 502, 503, 504)
    "Statuses at which the next target is tried; silence always is one."
    failover_after_progress: bool = False
    "Try the next even when the caller has heard this one ring or speak."
    transcode: Literal["auto", "never", "always"] = "auto"
    """Decode and encode anew: auto, where the codecs differ that each side would choose alone;
    never, both sides speak one codec or there is no call; always, also where they speak one."""
    codecs: tuple[CodecName, ...] = ()
    "Codecs that both sides of its calls prefer, the best first; where left out, each its own."
    answering_machine: Literal["off", "detect", "hang-up", "wait-for-beep"] | None = None
    "The same as of [[agent]], for what agents call along it; where left out, as the agent has it."
    with_: tuple[str | GuestSection, ...] = Field(default=(), alias="with", max_length=8)
    """Agents that join its calls as guests when they are answered: agent:NAME, which listens, or
    {agent = "agent:coach", preset = "whisper", side = "callee"} ([presets](call-control.md))."""


@section(config=_STRICT)
class TwilioSection:
    """[twilio]: Twilio's REST interface for calls, for agents that use it; else it is off."""

    account_sid: str
    "AC and 32 digits of 0-9a-f: the user of Basic authentication, and told to agents."
    auth_token_env: str
    "Environment variable that holds the password, which signs callbacks too."
    agent: str | None = None
    "Name of the agent of protocol twiml that attends calls placed there, where there are several."


@section(config=_STRICT)
class Document:
    """The whole file."""

    node: NodeSection = Field(default_factory=NodeSection)
    http: HttpSection = Field(default_factory=HttpSection)
    webrtc: WebRtcSection = Field(default_factory=WebRtcSection)
    sip: SipSection = Field(default_factory=SipSection)
    rtp: RtpSection = Field(default_factory=RtpSection)
    media: MediaSection = Field(default_factory=MediaSection)
    lab: LabSection | None = None
    twilio: TwilioSection | None = None
    audiosocket: AudioSocketSection = Field(default_factory=AudioSocketSection)
    asterisk: AsteriskSection = Field(default_factory=AsteriskSection)
    trunk: tuple[TrunkSection, ...] = ()
    user: tuple[UserSection, ...] = ()
    agent: tuple[AgentSection, ...] = ()
    route: tuple[RouteSection, ...] = ()


_document = TypeAdapter(Document)


def check_document(document: Mapping[str, Any]) -> Document:
    """Read what TOML gave.

    Raises:
        ValueError: it names section, key, value and remedy.
    """
    try:
        return _document.validate_python(document)
    except ValidationError as error:
        raise ValueError(_explain(error, document)) from None


def override(document: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Let `GATEWAY_SECTION_KEY` set plain keys; a list is written with commas.

    A variable of that form that names no key is reported, never an error: there are systems that
    make such variables by themselves.
    """
    for name in PLAIN_SECTIONS:
        hints = get_type_hints(_section_at([name]))
        for variable, text in sorted(environment.items()):
            prefix = f"GATEWAY_{name.upper()}_"
            key = variable[len(prefix) :].lower()
            if not variable.startswith(prefix) or variable in _named_variables(document):
                continue
            if key not in hints:
                near = nearest(key, hints)
                log.warning("environment: %s sets no key of [%s]%s", variable, name, near)
                continue
            is_list = get_origin(hints[key]) is tuple
            value = [part.strip() for part in text.split(",") if part.strip()] if is_list else text
            document.setdefault(name, {})[key] = value


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?`, or what there is to choose from."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(names)}" if names else ""


def place_of(section_name: str, number: int, name: str | None = None) -> str:
    """How a section of a list is called in errors: `[[trunk]] 2 "telnyx"`."""
    return f"[[{section_name}]] {number + 1}" + (f' "{name}"' if name else "")


def _named_variables(document: Mapping[str, Any]) -> set[str]:
    """Variables that the file names itself, such as token_env = "GATEWAY_HTTP_TOKEN"."""
    sections = [s for s in document.values() if isinstance(s, dict)]
    return {
        value
        for section in sections
        for key, value in section.items()
        if key.endswith("_env") and isinstance(value, str)
    }


_UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")

_REMEDIES = {
    "missing": "add it",
    "string_type": "write text, in quotes",
    "tuple_type": "write a list, in [ ]",
    "bool_parsing": "write true or false",
    "bool_type": "write true or false",
    "float_parsing": "write a number",
    "float_type": "write a number",
    "path_type": "write a file name, in quotes",
    "string_pattern_mismatch": "write 1 to 32 lower case letters, digits or ._-",
    "too_short": "name at least one",
    "dataclass_type": "write it as a section",
}


def _explain(error: ValidationError, document: Mapping[str, Any]) -> str:
    """One thing that is wrong, in terms of the file: a misspelt key before the one then missing."""
    errors = error.errors(include_url=False)
    wrong = min(errors, key=lambda each: each["type"] not in _UNKNOWN_KEY)
    section_path, keys = _split_place(wrong["loc"], document)
    where = section_path or "top level"
    if wrong["type"] in _UNKNOWN_KEY:
        known = _known_keys(_section_at(wrong["loc"][:-1]))
        return f"{where}: {keys[-1]} is no key{nearest(keys[-1], known)}"
    remedy = _REMEDIES.get(wrong["type"], wrong["msg"])
    if wrong["type"] == "missing":
        return f"{where}: {keys[0]} is missing: {remedy}"
    if not keys:
        return f"{where}: {remedy}"
    return f"{where}: {keys[0]} = {wrong['input']!r}: {remedy}"


def _split_place(place: Sequence[str | int], document: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The section, as it is written in the file, and the keys inside it."""
    head, *rest = place
    if not rest:
        return "", [str(head)]
    if not isinstance(rest[0], int):
        return f"[{head}]", [str(part) for part in rest]
    row = document[str(head)][rest[0]]
    name = row.get("name") if isinstance(row, dict) else None
    where = place_of(str(head), rest[0], name if isinstance(name, str) else None)
    keys = [str(part) for part in rest[1:]]
    if len(rest) > 3 and isinstance(rest[2], int):  # a list of sections inside it
        return f"{where}: {place_of(f'{head}.{rest[1]}', rest[2])}", keys[2:]
    return where, keys


def _section_at(place: Sequence[str | int]) -> Any:
    """The section dataclass at a place of the document."""
    kind: Any = Document
    for part in place:
        if isinstance(part, str):
            kind = _section_in(get_type_hints(kind).get(part))
    return kind


def _section_in(hint: Any) -> Any:
    """The section dataclass inside `Section | None` or `tuple[Section, ...]`."""
    if is_dataclass(hint):
        return hint
    return next((found for each in get_args(hint) if (found := _section_in(each))), None)


def _known_keys(kind: Any) -> list[str]:
    return [field.name.rstrip("_") for field in fields(kind)] if is_dataclass(kind) else []
