"""What waits for a peer that does not read is bounded; what came early is kept for who reads."""

from __future__ import annotations

from gateway.api.audio_socket import AudioSocketConnection
from gateway.net.agent_connection import (
    MAX_AUDIO_WAITING,
    MAX_CONTROL_WAITING,
    MAX_EARLY,
    Lost,
    Message,
)


async def test_f18_of_audio_that_waits_the_oldest_is_dropped() -> None:
    connection = AudioSocketConnection()

    connection.send("start")
    for number in range(MAX_AUDIO_WAITING + 50):
        connection.send_audio(b"%d" % number)

    waiting = [message for _, message in connection._waiting]
    assert connection.dropped == 50
    assert waiting[:2] == ["start", b"50"]
    assert len(waiting) == MAX_AUDIO_WAITING + 1


async def test_a23_who_reads_nothing_at_all_is_let_go() -> None:
    connection = AudioSocketConnection()
    lost: list[Lost] = []
    connection.start(lambda message: None, lost.append)

    for _ in range(MAX_CONTROL_WAITING + 1):
        connection.send("mark")

    assert [each.is_finished for each in lost] == [False]
    assert not connection.is_open
    assert not connection._waiting


async def test_what_came_early_is_handed_over_and_bounded() -> None:
    connection = AudioSocketConnection()
    for number in range(MAX_EARLY + 5):
        connection._hand_over(str(number))
    received: list[Message] = []

    connection.start(received.append, lambda lost: None)

    assert received == [str(number) for number in range(MAX_EARLY)]


async def test_who_reads_on_gets_what_comes_from_then_on() -> None:
    connection = AudioSocketConnection()
    first: list[Message] = []
    second: list[Message] = []
    connection.start(first.append, lambda lost: None)
    connection._hand_over("one")

    connection.start(second.append, lambda lost: None)
    connection._hand_over("two")

    assert (first, second) == (["one"], ["two"])


async def test_end_is_told_once_and_not_to_who_ended_it() -> None:
    connection = AudioSocketConnection()
    lost: list[Lost] = []
    connection.start(lambda message: None, lost.append)

    connection.close()
    connection._lose(Lost(False, "gone"))
    connection.send("late")

    assert lost == []
    assert not connection._waiting
