"""What TwiML is read as, and what no document can do to us."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.agents.twiml.document import MAX_BYTES, MAX_WARNINGS, TwimlError, parse_twiml
from gateway.agents.twiml.program import MAX_DOCUMENTS, Fetch, Finish, Program, ProgramError
from gateway.agents.twiml.verbs import (
    Action,
    Callee,
    Connect,
    Dial,
    Gather,
    Hangup,
    Method,
    Noun,
    Pause,
    Play,
    Redirect,
    Refer,
    Reject,
    Say,
    Start,
    Stop,
    Stream,
    Verb,
)


def verbs(text: str) -> tuple[Verb, ...]:
    document = parse_twiml(f"<Response>{text}</Response>")
    assert document.warnings == ()
    return document.verbs


@pytest.mark.parametrize(
    ("text", "verb"),
    [
        ("<Hangup/>", Hangup()),
        ("<Reject/>", Reject()),
        ('<Reject reason="busy"/>', Reject(is_busy=True)),
        ("<Pause/>", Pause(1.0)),
        ('<Pause length="10"/>', Pause(10.0)),
        ("<Say> Hello \n world </Say>", Say("Hello world")),
        ('<Say loop="2" language="de-DE" voice="x">Hallo</Say>', Say("Hallo", "de-DE", 2)),
        ("<Play>https://a/x.wav</Play>", Play("https://a/x.wav")),
        ('<Play digits="1w2" loop="0"/>', Play("", "1w2", 0)),
        ("<Redirect>../b?x=1&amp;y=2</Redirect>", Redirect(Action("../b?x=1&y=2"))),
        ('<Redirect method="get">/b</Redirect>', Redirect(Action("/b", Method.GET))),
        ("<Refer><Sip>sip:a@b</Sip></Refer>", Refer("sip:a@b")),
        ("<Dial>+15550100</Dial>", Dial((Noun(Callee.NUMBER, "+15550100"),))),
        (
            '<Dial callerId="+1" timeout="9" timeLimit="60" answerOnBridge="true" action="/d">'
            '<Number sendDigits="ww1">+2</Number><Sip>sip:a@b</Sip><Client>ann</Client>'
            "<Conference>room</Conference></Dial>",
            Dial(
                (
                    Noun(Callee.NUMBER, "+2", "ww1"),
                    Noun(Callee.SIP, "sip:a@b"),
                    Noun(Callee.CLIENT, "ann"),
                    Noun(Callee.CONFERENCE, "room"),
                ),
                "+1",
                9.0,
                60.0,
                answer_on_bridge=True,
                action=Action("/d"),
            ),
        ),
        (
            '<Gather numDigits="4" finishOnKey="" timeout="3" action="/k" method="GET"'
            ' actionOnEmptyResult="true"><Say>Hi</Say><Pause length="2"/></Gather>',
            Gather(
                (Say("Hi"), Pause(2.0)), 4, "", 3.0, Action("/k", Method.GET), action_on_empty=True
            ),
        ),
        (
            '<Connect action="/done"><Stream url="wss://a/b" name="n" statusCallback="/s">'
            '<Parameter name="k" value="v"/></Stream></Connect>',
            Connect(
                Stream("wss://a/b", "n", "inbound_track", Action("/s"), (("k", "v"),)),
                Action("/done"),
            ),
        ),
        (
            '<Start><Stream url="wss://a/b" track="both_tracks"/></Start>',
            Start(Stream("wss://a/b", track="both_tracks")),
        ),
        ('<Stop><Stream name="n"/></Stop>', Stop("n")),
    ],
)
def test_verb_is_read_as_it_is_documented(text: str, verb: Verb) -> None:
    assert verbs(text) == (verb,)


@pytest.mark.twiml("Verbs that are not known", differs="passed over with a warning, as Twilio does")
def test_unknown_verbs_are_warned_of_and_skipped() -> None:
    document = parse_twiml("<Response><Dance to='x'>y<Say>z</Say></Dance><Hangup/></Response>")

    assert document.verbs == (Hangup(),)
    assert document.warnings == ("<Dance> is not understood, and skipped",)


@pytest.mark.twiml("Dial record, hangupOnStar, ringTone; Number url, statusCallback", missing=True)
def test_other_attributes_are_warned_of() -> None:
    document = parse_twiml(
        '<Response><Dial record="true"><Number url="/x">+1</Number></Dial>'
        '<Gather hints="a"><Say x="y">z</Say></Gather></Response>'
    )

    assert document.warnings == (
        "record of <Dial> is not understood",
        "url of <Number> is not understood",
        "hints of <Gather> is not understood",
        "x of <Say> is not understood",
    )


@pytest.mark.parametrize(
    "verb",
    ["Record", "Enqueue", "Leave", "Pay", "Prompt", "Sms", "Queue", "Siprec", "Transcription"],
)
@pytest.mark.twiml("Record, Enqueue, Leave, Pay, Prompt, Sms", missing=True)
def test_verbs_that_are_not_here_are_skipped(verb: str) -> None:
    document = parse_twiml(f"<Response><{verb}/><Hangup/></Response>")

    assert document.verbs == (Hangup(),)
    assert len(document.warnings) == 1


@pytest.mark.twiml("Connect VirtualAgent, ConversationRelay, Room", missing=True)
def test_connect_knows_streams_alone() -> None:
    document = parse_twiml(
        "<Response><Connect><ConversationRelay url='wss://a'/></Connect></Response>"
    )

    assert document.verbs == ()
    assert len(document.warnings) == 2


@pytest.mark.twiml("Gather of speech", missing=True)
def test_speech_is_not_gathered() -> None:
    document = parse_twiml(
        '<Response><Gather input="dtmf speech"/><Gather input="speech"/></Response>'
    )

    both, speech = document.verbs
    assert isinstance(both, Gather)
    assert isinstance(speech, Gather)
    assert both.hears_keys
    assert not speech.hears_keys
    assert document.warnings == ("<Gather> does not understand speech, only keys",)


@pytest.mark.twiml("SSML in Say", missing=True)
def test_of_ssml_the_text_is_said() -> None:
    document = parse_twiml("<Response><Say>One <break/> <p>two</p></Say></Response>")

    assert document.verbs == (Say("One two"),)
    assert len(document.warnings) == 1


@pytest.mark.parametrize(
    "text",
    ["", "hello", "<Response>", "<response/>", "<html/>", "<Response></response>", "\0", "<a:b/>"],
)
def test_what_is_no_twiml_is_an_error(text: str) -> None:
    with pytest.raises(TwimlError):
        parse_twiml(text)


LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "text",
    [
        f'<!DOCTYPE r [<!ENTITY a0 "ha">{LAUGHS}]><Response><Say>&a9;</Say></Response>',
        '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><Response>&x;</Response>',
        '<!DOCTYPE r SYSTEM "http://127.0.0.1/x.dtd"><Response/>',
        "<!DOCTYPE Response><Response/>",
        "<Response>&nbsp;</Response>",
        "<Response>" + 100 * "<a>" + 100 * "</a>" + "</Response>",
        "<Response>" + 2000 * "<a/>" + "</Response>",
        "<Response><Say>" + MAX_BYTES * "x" + "</Say></Response>",
        '<?xml version="1.0" encoding="no-such"?><Response/>',
    ],
)
def test_a28_no_document_is_a_bomb(text: str) -> None:
    with pytest.raises(TwimlError):
        parse_twiml(text)


def test_a27_reading_is_quick_for_whatever_fits() -> None:
    text = "<Response><Say>" + "&#65;<!-- -->" * 4800 + "</Say></Response>"
    began_at = time.process_time()

    parse_twiml(text)

    assert time.process_time() - began_at < 0.25


def test_warnings_have_an_end() -> None:
    names = "".join(f"<V{n}/>" for n in range(100))

    assert len(parse_twiml(f"<Response>{names}</Response>").warnings) == MAX_WARNINGS


def test_wrong_values_become_what_is_usual() -> None:
    document = parse_twiml(
        '<Response><Pause length="-3"/><Pause length="٣"/><Gather timeout="auto"'
        ' finishOnKey="ab"/><Redirect method="PUT">/x</Redirect></Response>'
    )

    assert document.verbs == (
        Pause(),
        Pause(),
        Gather(),
        Redirect(Action("/x")),
    )
    assert len(document.warnings) == 3


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda t: f"<Response>{t}</Response>"))
def test_whatever_comes_is_read_or_refused(content: bytes | str) -> None:
    try:
        parse_twiml(content)
    except TwimlError:
        return


# ---- what is done next


def program(text: str, url: str = "https://a.test/dir/voice?x=1") -> Program:
    made = Program()
    made.load(parse_twiml(f"<Response>{text}</Response>"), url)
    return made


def test_verbs_come_in_order_and_the_end_hangs_up() -> None:
    going = program("<Pause/><Pause length='2'/>")

    assert [going.step(), going.step(), going.step()] == [Pause(), Pause(2.0), Finish()]


def test_urls_are_relative_to_the_document() -> None:
    going = program("<Redirect>next</Redirect>")

    assert going.step() == Fetch("https://a.test/dir/next")


@pytest.mark.parametrize("url", ["//[", "https://[::1", "x:["])
def test_what_cannot_be_joined_is_left_to_be_refused(url: str) -> None:
    assert program(f"<Redirect>{url}</Redirect>").step() == Fetch(url)


def test_an_empty_redirect_is_to_the_same_document() -> None:
    assert program("<Redirect/>").step() == Fetch("https://a.test/dir/voice?x=1")


def test_keys_lead_to_the_action_and_none_to_the_next_verb() -> None:
    going = program('<Gather action="/k"/><Hangup/>')
    gather = going.step()
    assert isinstance(gather, Gather)

    going.done(gather, None)

    assert going.step() == Finish()
    going = program('<Gather action="/k"/><Hangup/>')
    going.step()
    going.done(gather, {"Digits": "1"})
    assert going.step() == Fetch("https://a.test/k", Method.POST, {"Digits": "1"})


def test_without_an_action_keys_lead_to_where_the_document_came_from() -> None:
    going = program("<Gather/><Hangup/>")
    gather = going.step()
    assert isinstance(gather, Gather)

    going.done(gather, {"Digits": "1"})

    assert going.step() == Fetch("https://a.test/dir/voice?x=1", Method.POST, {"Digits": "1"})


def test_documents_of_one_call_have_an_end() -> None:
    going = Program()
    document = parse_twiml("<Response/>")

    for _ in range(MAX_DOCUMENTS):
        going.load(document)

    with pytest.raises(ProgramError):
        going.load(document)
