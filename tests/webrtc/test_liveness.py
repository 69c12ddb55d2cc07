"""When a path counts as silent or lost, by its clocks alone."""

from __future__ import annotations

import pytest

from gateway.webrtc.liveness import Liveness, Path


@pytest.fixture
def liveness() -> Liveness:
    """A path that came up at 100 s."""
    liveness = Liveness()
    liveness.consent(100.0)
    liveness.checked(100.0, chance=0.5)
    return liveness


def test_a_path_without_media_lives_by_stun(liveness: Liveness) -> None:
    assert liveness.path(111.9) is Path.ALIVE
    assert liveness.path(112.1) is Path.SILENT


def test_two_seconds_without_a_packet_where_media_flowed(liveness: Liveness) -> None:
    liveness.media_at = 110.0

    assert liveness.path(111.9) is Path.ALIVE
    assert liveness.path(112.1) is Path.SILENT


def test_a_sender_who_stops_talking_is_not_lost(liveness: Liveness) -> None:
    liveness.media_at = 110.0
    liveness.consent(111.5)

    assert liveness.path(113.6) is Path.ALIVE
    assert liveness.path(123.4) is Path.ALIVE
    assert liveness.path(123.6) is Path.SILENT


def test_dtx_is_no_silence(liveness: Liveness) -> None:
    liveness.media_at = 103.0

    assert not liveness.is_check_due(103.4)


def test_media_that_stops_brings_a_check_at_once(liveness: Liveness) -> None:
    liveness.media_at = 103.0

    assert liveness.is_check_due(103.6)

    liveness.checked(103.6, chance=0.5)
    assert not liveness.is_check_due(104.0)
    assert liveness.is_check_due(104.2)


@pytest.mark.rfc(7675, "5.1")
def test_regular_checks_are_spread_over_four_to_six_seconds(liveness: Liveness) -> None:
    for chance, interval in ((0.0, 4.0), (0.5, 5.0), (1.0, 6.0)):
        liveness.checked(100.0, chance)

        assert not liveness.is_check_due(100.0 + interval - 0.01)
        assert liveness.is_check_due(100.0 + interval + 0.01)


def test_a_path_in_doubt_is_checked_every_second(liveness: Liveness) -> None:
    liveness.checked(107.0, chance=1.0)

    assert not liveness.is_check_due(107.9)
    assert liveness.is_check_due(108.0)


@pytest.mark.rfc(7675, "5.1")
def test_consent_ends_thirty_seconds_after_the_last_response(liveness: Liveness) -> None:
    liveness.media_at = liveness.stun_at = 130.0

    assert liveness.path(130.0) is Path.ALIVE
    assert liveness.path(130.1) is Path.EXPIRED


def test_a_late_response_brings_consent_back(liveness: Liveness) -> None:
    liveness.consent(129.0)

    assert liveness.path(135.0) is Path.ALIVE
