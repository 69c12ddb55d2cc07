"""Makes the agents that TwiML directs, and lets it direct those of protocol twilio too."""

from __future__ import annotations

from dataclasses import replace

from gateway.agents.agent import Agent
from gateway.agents.protocol import AgentAddress
from gateway.agents.remote import Dial, RemoteAgent
from gateway.agents.twiml.agent import TwimlAgent, TwimlDesk
from gateway.agents.twiml.options import NO_ACCOUNT, Settings, TwimlOptions
from gateway.agents.twiml.session import Tools
from gateway.agents.twiml.sound import Engine
from gateway.agents.twiml.verbs import Stream
from gateway.agents.wire import twilio as wire
from gateway.options import AgentOptions, Config

STREAM_TRACKS = ("inbound_track", "outbound_track", "both_tracks")


class TwimlAgents:
    """Makes them for one node."""

    def __init__(self, config: Config, desk: TwimlDesk, dial: Dial) -> None:
        self._account = config.twilio
        self._desk = desk
        self._dial = dial

    def make(self, options: AgentOptions) -> Agent:
        """An agent of protocol twiml."""
        settings = options.settings or Settings()
        return self._agent(options, settings, url=options.url)

    def may_direct(self, options: AgentOptions) -> bool:
        """Whether TwiML may come to the calls of an agent: where the REST interface is on."""
        return self._account is not None and options.protocol == "twilio"

    def direct(self, options: AgentOptions, agent: Agent) -> Agent:
        """That agent, whose calls the REST interface can give TwiML."""
        account = options.settings.account_sid if options.settings is not None else NO_ACCOUNT
        return self._agent(options, Settings(account_sid=account), first=agent)

    def with_account(self, options: AgentOptions) -> AgentOptions:
        """The options of an agent of protocol twilio that is told the account of [twilio]."""
        if self._account is None or options.protocol != "twilio":
            return options
        settings = options.settings or wire.Settings()
        if settings.account_sid == wire.NO_ACCOUNT:
            settings = replace(settings, account_sid=self._account.account_sid)
        return replace(options, settings=settings)

    def _agent(
        self,
        options: AgentOptions,
        settings: Settings,
        *,
        url: str = "",
        first: Agent | None = None,
    ) -> TwimlAgent:
        token = options.secret
        if self._account is not None:
            token = token or self._account.auth_token
            if settings.account_sid == NO_ACCOUNT:
                settings = replace(settings, account_sid=self._account.account_sid)
        twiml = TwimlOptions(options.name, url, token, settings)

        def make_stream(stream: Stream, *, is_bidirectional: bool) -> RemoteAgent:
            return self._stream(twiml, stream, is_bidirectional=is_bidirectional)

        engine = Engine(settings.say_command) if settings.say_command else None
        tools = Tools(
            self._desk.web, self._desk.callbacks, make_stream, engine, self._desk.find_sound
        )
        return TwimlAgent(twiml, self._desk, tools, first)

    def _stream(
        self, options: TwimlOptions, stream: Stream, *, is_bidirectional: bool
    ) -> RemoteAgent:
        track = "bidirectional" if is_bidirectional else stream.track
        settings = wire.Settings(
            account_sid=options.settings.account_sid,
            track=track if track in ("bidirectional", *STREAM_TRACKS) else "inbound_track",  # type: ignore[arg-type]
            parameters=dict(stream.parameters),
        )
        address = AgentAddress(options.name, stream.url, secret=options.token)
        return RemoteAgent(address, wire, settings, dial=self._dial)
