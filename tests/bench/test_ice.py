"""The generator's small ICE agent, against another of its kind and against stricter ones."""

from __future__ import annotations

from collections.abc import Callable

from aioice import stun

from bench.ice import Address, IceClient

OURS = ("127.0.0.1", 1001)
THEIRS = ("127.0.0.1", 1002)


class Peer:
    """The other side: checks what it gets and answers by hand."""

    def __init__(self) -> None:
        self.received: list[stun.Message] = []
        self.client = IceClient(lambda data, _: self.received.append(stun.parse_message(data)))
        self.client.start(THEIRS, "theirs", "their-password")

    def answer(self, request: stun.Message, edit: Callable[[stun.Message], None]) -> None:
        """Answer one of the client's requests; `edit` makes it a success or an error."""
        response = stun.Message(
            stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=request.transaction_id
        )
        edit(response)
        response.add_message_integrity(b"their-password")
        self.client.receive(bytes(response), THEIRS)

    def check(self, *, key: bytes | None = None, nominate: bool = False) -> None:
        """Send a check to the client, as the controlling agent."""
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{self.client.ufrag}:theirs"
        request.attributes["ICE-CONTROLLING"] = 2**63
        if nominate:
            request.attributes["USE-CANDIDATE"] = None
        request.add_message_integrity(self.client.pwd.encode() if key is None else key)
        self.client.receive(bytes(request), THEIRS)


def mapped(response: stun.Message) -> None:
    response.attributes["XOR-MAPPED-ADDRESS"] = OURS


def role_conflict(response: stun.Message) -> None:
    response.message_class = stun.Class.ERROR
    response.attributes["ERROR-CODE"] = (487, "Role Conflict")


def test_two_agents_connect() -> None:
    outbox: list[tuple[IceClient, bytes, Address]] = []
    a = IceClient(lambda data, _: outbox.append((b, data, OURS)))
    b = IceClient(lambda data, _: outbox.append((a, data, THEIRS)))
    a.start(THEIRS, b.ufrag, b.pwd)
    b.start(OURS, a.ufrag, a.pwd)
    b.is_controlling = False

    for _ in range(2):
        a.check()
        b.check()
        while outbox:
            client, data, source = outbox.pop(0)
            client.receive(data, source)

    assert a.is_established
    assert b.is_established


def test_it_yields_to_a_gateway_that_wants_to_control() -> None:
    peer = Peer()
    peer.client.check()

    peer.answer(peer.received[0], role_conflict)

    assert "ICE-CONTROLLED" in peer.received[1].attributes
    assert "USE-CANDIDATE" not in peer.received[1].attributes


def test_two_refusals_of_a_role_change_it_once() -> None:
    peer = Peer()
    peer.client.check()
    peer.client.check()

    peer.answer(peer.received[0], role_conflict)
    peer.answer(peer.received[1], role_conflict)

    assert not peer.client.is_controlling


def test_controlled_it_waits_to_be_nominated() -> None:
    peer = Peer()
    peer.check()
    peer.client.check()
    peer.answer(peer.received[-1], mapped)
    waiting = peer.client.is_established

    peer.check(nominate=True)

    assert not waiting
    assert peer.client.is_established


def test_a_check_with_a_wrong_key_is_not_answered() -> None:
    peer = Peer()

    peer.check(key=b"guessed")

    assert peer.received == []


def test_an_answer_to_nothing_is_dropped() -> None:
    peer = Peer()
    stranger = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)

    peer.answer(stranger, mapped)

    assert not peer.client.is_established
