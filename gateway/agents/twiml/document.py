"""Reads TwiML: strangers' XML, with no entities, DTD or depth; what is unknown is passed over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

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
from gateway.errors import RemoteProtocolError

MAX_BYTES = 64 * 1024
"As Twilio has it."

MAX_DEPTH = 6
"Response, Gather, Say is three; SSML within it is not read, and may be a little deeper."

MAX_ELEMENTS = 1000
"Of one document: a menu has ten."

MAX_PARAMETERS = 50
"<Parameter>s of a stream."

MAX_WARNINGS = 20
"Told of one document; who wrote it will see the rest when these are mended."

MAX_SECONDS = 24 * 3600.0
"No pause and no limit is longer than a day."

MAX_LOOPS = 1000


class TwimlError(RemoteProtocolError):
    """It is no TwiML."""


@dataclass(slots=True)
class Element:
    """One XML element."""

    name: str
    attributes: Mapping[str, str]
    children: list[Element] = field(default_factory=list)
    text: str = ""
    "All text directly in it."


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document."""

    verbs: tuple[Verb, ...]
    warnings: tuple[str, ...] = ()
    "What was passed over, for whoever wrote it; nothing of it is a caller's."


def parse_twiml(content: bytes | str) -> Document:
    """Read a document.

    Raises:
        TwimlError: it is too large or too deep, is not XML, has a DTD, or is no <Response>.
    """
    root = parse_xml(content.encode() if isinstance(content, str) else content)
    if root.name != "Response":
        raise TwimlError("the document is no <Response>")
    reader = _Reader()
    verbs = tuple(verb for each in root.children if (verb := reader.verb(each)) is not None)
    return Document(verbs, tuple(reader.warnings))


def parse_xml(content: bytes) -> Element:
    """Read XML into elements.

    Raises:
        TwimlError: as `parse_twiml`.
    """
    if len(content) > MAX_BYTES:
        raise TwimlError(f"the document has more than {MAX_BYTES} bytes")
    tree = _Tree()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = tree.start
    parser.EndElementHandler = tree.end
    parser.CharacterDataHandler = tree.characters
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(content.lstrip(), True)
    except expat.ExpatError as error:
        raise TwimlError(
            f"the document is not XML: {expat.ErrorString(error.code)} in line {error.lineno}"
        ) from None
    except (ValueError, LookupError):
        raise TwimlError("the document is in no encoding that is read here") from None
    assert tree.root is not None, "expat finds a document without a root"
    return tree.root


def _refuse_doctype(*_: object) -> None:
    raise TwimlError("the document has a DTD")


class _Tree:
    """Builds the elements, within limits."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._texts: list[list[str]] = []
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        element = Element(name, attributes)
        self._count += 1
        if len(self._open) >= MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise TwimlError("the document has too many elements, or too deep ones")
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)
        self._texts.append([])

    def end(self, name: str) -> None:
        self._open.pop().text = "".join(self._texts.pop())

    def characters(self, text: str) -> None:
        self._texts[-1].append(text)


class _Reader:
    """Makes verbs of elements, and says what it passes over."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def verb(self, element: Element) -> Verb | None:
        """The verb, or None where there is none to be done."""
        read = _READ.get(element.name)
        if read is None:
            self._warn(f"<{_shown(element.name)}> is not understood, and skipped")
            return None
        self._check_attributes(element)
        return read(self, element)

    # ---- each verb

    def connect(self, element: Element) -> Verb | None:
        stream = self._only_stream(element)
        return None if stream is None else Connect(stream, self._action(element))

    def start(self, element: Element) -> Verb | None:
        stream = self._only_stream(element)
        return None if stream is None else Start(stream)

    def stop(self, element: Element) -> Verb | None:
        names = [c.attributes.get("name", "") for c in element.children if c.name == "Stream"]
        if not names:
            self._warn("<Stop> names no <Stream>, and is skipped")
            return None
        return Stop(names[0])

    def dial(self, element: Element) -> Verb | None:
        kinds = {kind.value: kind for kind in Callee}
        nouns: list[Noun] = []
        if element.text.strip():
            nouns.append(Noun(Callee.NUMBER, element.text.strip()))
        for child in element.children:
            if child.name not in kinds or not child.text.strip():
                self._warn(f"<{_shown(child.name)}> in <Dial> is not understood, and skipped")
                continue
            digits = child.attributes.get("sendDigits", "")
            nouns.append(Noun(kinds[child.name], child.text.strip(), digits))
        limit_s = self._number(element, "timeLimit", 0.0, MAX_SECONDS)
        return Dial(
            tuple(nouns),
            caller_id=element.attributes.get("callerId", ""),
            timeout_s=self._number(element, "timeout", 30.0, 600.0),
            time_limit_s=limit_s or None,
            answer_on_bridge=self._flag(element, "answerOnBridge"),
            action=self._action(element),
        )

    def say(self, element: Element) -> Say:
        if element.children:
            self._warn("SSML in <Say> is not understood: only the text is said")
        text = " ".join(_all_text(element).split())
        return Say(text, element.attributes.get("language", ""), self._loop(element))

    def play(self, element: Element) -> Play | None:
        url, digits = element.text.strip(), element.attributes.get("digits", "")
        if not url and not digits:
            self._warn("<Play> names nothing to play, and is skipped")
            return None
        return Play(url, digits, self._loop(element))

    def pause(self, element: Element) -> Pause:
        return Pause(self._number(element, "length", 1.0, MAX_SECONDS))

    def gather(self, element: Element) -> Verb:
        wanted = element.attributes.get("input", "dtmf").split()
        if "speech" in wanted:
            self._warn("<Gather> does not understand speech, only keys")
        prompts: list[Say | Play | Pause] = []
        for child in element.children:
            read = _PROMPTS.get(child.name)
            prompt = None if read is None else read(self, child)
            if read is None:
                self._warn(f"<{_shown(child.name)}> in <Gather> is not understood, and skipped")
            elif prompt is not None:
                prompts.append(prompt)
        count = int(self._number(element, "numDigits", 0.0, 1000.0))
        finish = element.attributes.get("finishOnKey", "#")
        if len(finish) > 1 or finish not in "0123456789*#":
            self._warn("finishOnKey of <Gather> is no key: # is taken")
            finish = "#"
        return Gather(
            tuple(prompts),
            num_digits=count or None,
            finish_on_key=finish,
            timeout_s=self._number(element, "timeout", 5.0, 600.0),
            action=self._action(element),
            action_on_empty=self._flag(element, "actionOnEmptyResult"),
            hears_keys="dtmf" in wanted,
        )

    def hangup(self, element: Element) -> Verb:
        return Hangup()

    def redirect(self, element: Element) -> Verb:
        return Redirect(Action(element.text.strip(), self._method(element, "method")))

    def reject(self, element: Element) -> Verb:
        return Reject(is_busy=element.attributes.get("reason") == "busy")

    def refer(self, element: Element) -> Verb | None:
        names = [c.text.strip() for c in element.children if c.name == "Sip" and c.text.strip()]
        if not names:
            self._warn("<Refer> names no <Sip>, and is skipped")
            return None
        return Refer(names[0], self._action(element))

    # ---- what they are made of

    def _only_stream(self, element: Element) -> Stream | None:
        streams = []
        for child in element.children:
            if child.name == "Stream" and child.attributes.get("url", "").strip():
                streams.append(child)
            else:
                what = f"<{_shown(child.name)}> in <{element.name}>"
                self._warn(f"{what} is not understood, and skipped")
        if not streams:
            self._warn(f"<{element.name}> names no <Stream url>, and is skipped")
            return None
        return self._stream(streams[0])

    def _stream(self, element: Element) -> Stream:
        named = [
            (child.attributes["name"], child.attributes.get("value", ""))
            for child in element.children
            if child.name == "Parameter" and child.attributes.get("name")
        ]
        url = element.attributes["url"].strip()
        if "?" in url:
            self._warn("the url of <Stream> has a query, which Twilio refuses: use <Parameter>")
        return Stream(
            url,
            name=element.attributes.get("name", ""),
            track=element.attributes.get("track", "inbound_track"),
            status_callback=self._action(element, "statusCallback", "statusCallbackMethod"),
            parameters=tuple(named[:MAX_PARAMETERS]),
        )

    def _action(
        self, element: Element, name: str = "action", method: str = "method"
    ) -> Action | None:
        url = element.attributes.get(name, "").strip()
        return Action(url, self._method(element, method)) if url else None

    def _method(self, element: Element, name: str) -> Method:
        text = element.attributes.get(name, "POST").upper()
        if text not in ("GET", "POST"):
            self._warn(f"{name} of <{element.name}> is neither GET nor POST: POST is taken")
            return Method.POST
        return Method(text)

    def _loop(self, element: Element) -> int:
        return int(self._number(element, "loop", 1.0, MAX_LOOPS))

    def _number(self, element: Element, name: str, default: float, most: float) -> float:
        text = element.attributes.get(name)
        if text is None:
            return default
        digits = text.strip()
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
            if digits != "auto":
                self._warn(f"{name} of <{element.name}> is no number: {default:g} is taken")
            return default
        return min(float(digits), most)

    def _flag(self, element: Element, name: str) -> bool:
        return element.attributes.get(name, "").strip().lower() == "true"

    def _check_attributes(self, element: Element) -> None:
        """Say which attributes change nothing here, also of what is in the element."""
        known = _ATTRIBUTES.get(element.name)
        if known is None:
            return
        for name in element.attributes:
            if name not in known:
                self._warn(f"{_shown(name)} of <{element.name}> is not understood")
        for child in element.children:
            self._check_attributes(child)

    def _warn(self, text: str) -> None:
        if len(self.warnings) < MAX_WARNINGS and text not in self.warnings:
            self.warnings.append(text)


_ATTRIBUTES: Mapping[str, frozenset[str]] = {
    name: frozenset(known.split())
    for name, known in {
        "Connect": "action method",
        "Start": "",
        "Stop": "",
        "Stream": "url name track statusCallback statusCallbackMethod",
        "Parameter": "name value",
        "Dial": "callerId timeout timeLimit action method answerOnBridge",
        "Number": "sendDigits",
        "Sip": "",
        "Client": "",
        "Say": "language loop voice",
        "Play": "digits loop",
        "Pause": "length",
        "Gather": "input numDigits finishOnKey timeout action method actionOnEmptyResult",
        "Hangup": "",
        "Redirect": "method",
        "Reject": "reason",
        "Refer": "action method",
    }.items()
}
"What is understood of each; `voice` is the engine's own, whatever is asked for."

_READ: Mapping[str, Callable[[_Reader, Element], Verb | None]] = {
    "Connect": _Reader.connect,
    "Start": _Reader.start,
    "Stop": _Reader.stop,
    "Dial": _Reader.dial,
    "Say": _Reader.say,
    "Play": _Reader.play,
    "Pause": _Reader.pause,
    "Gather": _Reader.gather,
    "Hangup": _Reader.hangup,
    "Redirect": _Reader.redirect,
    "Reject": _Reader.reject,
    "Refer": _Reader.refer,
}

_PROMPTS: Mapping[str, Callable[[_Reader, Element], Say | Play | Pause | None]] = {
    "Say": _Reader.say,
    "Play": _Reader.play,
    "Pause": _Reader.pause,
}


def _all_text(element: Element) -> str:
    return element.text + "".join(f" {_all_text(child)}" for child in element.children)


def _shown(name: str) -> str:
    """An element's name as a log may show it: of a stranger's making."""
    return name[:32] if name.isascii() and name.isalnum() else "?"
