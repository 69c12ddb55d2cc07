"""Which codecs each leg of a call may use, as its route says."""

from __future__ import annotations

import pytest

from gateway.codec import G722, OPUS, PCMA, PCMU, TELEPHONE_EVENT, TELEPHONE_EVENT_48K, Codec
from gateway.errors import NegotiationError
from gateway.sdp.choice import Preference
from gateway.sdp.negotiation import OPUS_NARROWBAND_FMTP
from gateway.trunk.codecs import OF_BROWSERS, CodecRules, Transcode, for_called, for_caller

AUTO = CodecRules()
NEVER = CodecRules(Transcode.NEVER)
ALWAYS = CodecRules(Transcode.ALWAYS)
G711 = (PCMU, PCMA)


def names(codecs: tuple[Codec, ...]) -> list[str]:
    """Of what speaks."""
    return [codec.name for codec in codecs if codec.sample_rate]


# ---- the caller


@pytest.mark.parametrize("rules", [AUTO, ALWAYS])
def test_a_browser_keeps_opus_whoever_is_called(rules: CodecRules) -> None:
    allowed = for_caller(OF_BROWSERS, [G711], rules)

    assert names(allowed.codecs) == ["opus", "G722", "PCMU", "PCMA"]
    assert allowed.prefer is Preference.THEIRS


def test_a_browser_speaks_g711_where_its_route_prefers_that() -> None:
    allowed = for_caller(OF_BROWSERS, [G711], CodecRules(preferred=("PCMA", "PCMU")))

    assert names(allowed.codecs) == ["PCMA", "PCMU", "opus", "G722"]
    assert allowed.prefer is Preference.OURS


def test_a_caller_speaks_what_the_called_do_where_nothing_is_transcoded() -> None:
    allowed = for_caller(OF_BROWSERS, [(PCMA, PCMU)], NEVER)

    assert names(allowed.codecs) == ["PCMA", "PCMU"]
    assert allowed.prefer is Preference.OURS


def test_what_more_of_the_called_speak_goes_first() -> None:
    allowed = for_caller(OF_BROWSERS, [(OPUS, PCMU), (PCMU,), None], NEVER)

    assert names(allowed.codecs) == ["PCMU", "opus"]


def test_a_caller_that_nobody_could_hear_is_refused_where_nothing_is_transcoded() -> None:
    with pytest.raises(NegotiationError, match="may speak G722, who is called PCMU, PCMA"):
        for_caller((G722,), [G711], NEVER)


def test_who_calls_an_agent_may_speak_anything() -> None:
    assert names(for_caller(OF_BROWSERS, [None], NEVER).codecs) == names(OF_BROWSERS)


@pytest.mark.parametrize(
    ("targets", "is_narrow"),
    [([G711], True), ([G711, (PCMU, OPUS)], False), ([G711, None], False), ([], False)],
)
def test_opus_is_asked_for_narrowband_where_all_the_called_are(
    targets: list[tuple[Codec, ...] | None], *, is_narrow: bool
) -> None:
    opus = for_caller(OF_BROWSERS, targets).codecs[0]

    assert (opus.fmtp == OPUS_NARROWBAND_FMTP) is is_narrow


# ---- the called


def test_the_called_are_offered_their_own_codecs_in_their_own_order() -> None:
    assert names(for_called((PCMU, OPUS, G722), "opus", AUTO)) == ["PCMU", "opus", "G722"]
    assert names(for_called((OPUS, PCMU), "PCMU", AUTO)) == ["opus", "PCMU"]


def test_of_the_two_laws_the_one_that_can_be_relayed_goes_first() -> None:
    assert names(for_called((G722, PCMU, PCMA), "PCMA", AUTO)) == ["G722", "PCMA", "PCMU"]
    assert names(for_called((PCMU, OPUS, PCMA), "PCMA", AUTO)) == ["PCMA", "PCMU", "opus"]
    assert names(for_called((PCMU,), "PCMA", AUTO)) == ["PCMU"]
    assert names(for_called(G711, "PCMA", ALWAYS)) == ["PCMU", "PCMA"]


def test_a_route_may_prefer_what_it_likes() -> None:
    rules = CodecRules(preferred=("opus", "PCMA"))

    assert names(for_called((PCMU, PCMA, OPUS), None, rules)) == ["opus", "PCMA", "PCMU"]


def test_only_what_the_caller_speaks_is_offered_where_nothing_is_transcoded() -> None:
    assert names(for_called((OPUS, PCMU, PCMA), "PCMA", NEVER)) == ["PCMA"]
    assert names(for_called(G711, None, NEVER)) == ["PCMU", "PCMA"]


def test_one_who_does_not_speak_that_is_not_called() -> None:
    with pytest.raises(NegotiationError, match="who calls speaks opus"):
        for_called(G711, "opus", NEVER)


def test_each_clock_has_its_telephone_events() -> None:
    assert for_called((OPUS, PCMU), None)[-2:] == (TELEPHONE_EVENT_48K, TELEPHONE_EVENT)
    assert for_called((G722, PCMU), None) == (G722, PCMU, TELEPHONE_EVENT)
