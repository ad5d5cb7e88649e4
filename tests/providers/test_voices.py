"""Voices of an account: what a read of one shows, and for how long that is kept."""

import pytest

from core.providers.port import HasVoices, ProviderUnavailableError
from core.providers.registry import Providers
from core.providers.vendors.elevenlabs.adapter import NO_VOICE_KEPT_SECONDS, VOICE_KEPT_SECONDS
from tests.providers import replay
from tests.providers.wire import OFFLINE, answering, serving, settings

VOICE = "JBFqnCBsd6RMkjVDRZzb"
NOT_FOUND = {"detail": {"code": "voice_not_found"}}


def voices_of(providers: Providers) -> HasVoices:
    provider = providers.provider("elevenlabs")
    assert isinstance(provider, HasVoices)
    return provider


@pytest.mark.parametrize("name", replay.names("elevenlabs", "voice_"))
async def test_voice_is_interpreted_as_recorded(name: str) -> None:
    recording = replay.load("elevenlabs", name)
    expect = recording["expect"]
    async with replay.replaying(recording) as wire, Providers.open(settings(wire.url)) as providers:
        voices = voices_of(providers)
        if expect.get("unavailable"):
            with pytest.raises(ProviderUnavailableError):
                await voices.has_voice(VOICE)
            return
        assert await voices.has_voice(VOICE) == expect["known"]


@pytest.mark.parametrize(
    ("status", "body", "seconds"),
    [(200, {"voice_id": VOICE}, VOICE_KEPT_SECONDS), (404, NOT_FOUND, NO_VOICE_KEPT_SECONDS)],
)
async def test_voice_is_read_again_after_its_time(status: int, body: object, seconds: int) -> None:
    now = [1_000.0]
    async with (
        serving(answering(status, body)) as wire,
        Providers.open(settings(wire.url), now=lambda: now[0]) as providers,
    ):
        voices, reads = voices_of(providers), list[int]()
        for later in (0, seconds - 1, 1):
            now[0] += later
            assert await voices.has_voice(VOICE) == (status == 200)
            reads.append(len(wire.received))
        await voices.has_voice("21m00Tcm4TlvDq8ikWAM")
    assert [*reads, len(wire.received)] == [1, 1, 2, 3]


async def test_only_a_provider_with_voices_is_asked_for_one() -> None:
    async with Providers.open(settings(OFFLINE)) as providers:
        having = [
            name for name in providers.names if isinstance(providers.provider(name), HasVoices)
        ]
    assert having == ["elevenlabs"]
