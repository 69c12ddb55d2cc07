"""How the parties of a node are made: what protects their media."""

from __future__ import annotations

import wave
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from gateway.config import parse_config
from gateway.errors import ConfigError, NegotiationError
from gateway.parties import keying_of, media_rules, read_music
from gateway.private import Secret
from gateway.sdp.crypto import SrtpPolicy
from gateway.sdp.description import Keying
from gateway.sip.flow import Flow
from gateway.sip.uri import parse_uri
from gateway.trunk.trunk import Trunk
from gateway.users.user import User

SDP = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 {} 0\r\n"
)

CARRIER = Trunk("carrier", parse_uri("sip:carrier.example"))
ANN = User("ann", Secret("secret"))


def flow(transport: str) -> Flow:
    return Flow(transport, ("192.0.2.1", 5060), ("192.0.2.9", 5060), 1)


@pytest.mark.parametrize(
    ("protocol", "keying"),
    [
        ("RTP/AVP", Keying.NONE),
        ("RTP/SAVP", Keying.NONE),
        ("UDP/TLS/RTP/SAVPF", Keying.DTLS),
        (None, Keying.NONE),
    ],
)
def test_media_of_a_caller_is_what_it_offers(protocol: str | None, keying: Keying) -> None:
    offer = None if protocol is None else SDP.format(protocol).encode()

    assert keying_of(offer, flow("tls")) is keying


@pytest.mark.parametrize("protocol", ["RTP/AVP", "RTP/SAVP", "UDP/TLS/RTP/SAVPF", None])
def test_a34_media_of_who_comes_by_websocket_is_never_plain(protocol: str | None) -> None:
    offer = None if protocol is None else SDP.format(protocol).encode()

    assert keying_of(offer, flow("wss")) is Keying.DTLS


def test_offer_without_audio_is_of_no_use() -> None:
    with pytest.raises(NegotiationError, match="no audio"):
        keying_of(SDP.replace("audio", "video").format("RTP/SAVP").encode(), flow("udp"))


def test_keys_are_offered_and_taken_only_where_nobody_can_read_them() -> None:
    trunk = replace(CARRIER, srtp=SrtpPolicy.OPTIONAL)

    assert media_rules(trunk, is_private=True).srtp is SrtpPolicy.OPTIONAL
    assert media_rules(trunk, is_private=False).srtp is SrtpPolicy.OFF
    assert media_rules(None, is_private=True).srtp is SrtpPolicy.OFF


@pytest.mark.parametrize("party", [CARRIER, ANN])
def test_a34_where_keys_are_required_nobody_calls_without_tls(party: Trunk | User) -> None:
    required = replace(party, srtp=SrtpPolicy.REQUIRED)
    waived = replace(required, srtp_without_tls=True)

    with pytest.raises(NegotiationError) as refused:
        media_rules(required, is_private=False)

    assert refused.value.status == 488
    assert media_rules(required, is_private=True).srtp is SrtpPolicy.REQUIRED
    assert media_rules(waived, is_private=False).srtp is SrtpPolicy.REQUIRED


def test_media_of_a_party_is_where_its_settings_say() -> None:
    networks = (ip_network("10.1.0.0/16"),)

    trunk = media_rules(replace(CARRIER, media_allow=networks), is_private=False)
    user = media_rules(ANN, is_private=False)

    assert (trunk.allow, trunk.is_symmetric, trunk.offers_mux) == (networks, False, False)
    assert (user.allow, user.is_symmetric, user.offers_mux) == ((), True, False)


def test_music_is_read_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "music.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(2 * 16_000))
    config = parse_config({"media": {"music": "music.wav"}}, tmp_path / "gateway.toml", {})

    music = read_music(config)

    assert music is not None
    assert (music.rate, music.duration) == (8000, 2 * 48_000)


def test_music_that_cannot_be_read_is_told_by_file_key_and_remedy(tmp_path: Path) -> None:
    config = parse_config({"media": {"music": "music.wav"}}, tmp_path / "gateway.toml", {})

    with pytest.raises(ConfigError) as caught:
        read_music(config)

    told = f"{tmp_path}/gateway.toml: [media] music = {tmp_path}/music.wav: cannot be read"
    assert str(caught.value).startswith(told)
    assert str(caught.value).endswith("name an existing file")


def test_there_is_music_where_none_is_named() -> None:
    assert read_music(parse_config({}, Path("gateway.toml"), {})) is None
