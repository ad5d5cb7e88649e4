"""Callback keys: cached for a day, renewed on a mismatch, with a limited fetch rate."""

import asyncio

import pytest

from core.providers.callbacks import (
    LIMITS,
    FetchedKeys,
    ed25519_keys,
    standard_webhooks_key,
)
from core.providers.port import CallbackUnverifiableError, ProviderUnavailableError


class Source:
    """A provider's current key, or none, and a clock."""

    def __init__(self) -> None:
        self.key: str | None = "first"
        self.fetches = 0
        self.now = 0.0
        self.keys = FetchedKeys(self._fetch, clock=lambda: self.now)

    async def _fetch(self) -> str:
        self.fetches += 1
        await asyncio.sleep(0)
        if self.key is None:
            raise ProviderUnavailableError("503")
        return self.key

    async def accepts(self, key: str) -> bool:
        return await self.keys.verify(lambda known: known == key)


async def test_keys_are_fetched_once_for_many_callbacks() -> None:
    source = Source()
    assert await asyncio.gather(*(source.accepts("first") for _ in range(20))) == [True] * 20
    assert source.fetches == 1


async def test_keys_are_renewed_after_a_day() -> None:
    source = Source()
    await source.accepts("first")
    source.now = LIMITS.max_age_seconds - 1
    await source.accepts("first")
    assert source.fetches == 1
    source.now = LIMITS.max_age_seconds
    await source.accepts("first")
    assert source.fetches == 2


async def test_changed_key_is_fetched_on_a_mismatch() -> None:
    source = Source()
    await source.accepts("first")
    source.key, source.now = "second", LIMITS.pause_seconds
    assert await asyncio.gather(*(source.accepts("second") for _ in range(20))) == [True] * 20
    assert source.fetches == 2


async def test_forgeries_cause_at_most_one_fetch_per_pause() -> None:
    source = Source()
    for _ in range(50):
        assert not await source.accepts("forged")
    assert source.fetches == 1
    source.now = LIMITS.pause_seconds
    assert await asyncio.gather(*(source.accepts("forged") for _ in range(50))) == [False] * 50
    assert source.fetches == 2


async def test_outage_is_unverifiable_with_one_fetch_per_pause() -> None:
    source = Source()
    source.key = None
    for _ in range(10):
        with pytest.raises(CallbackUnverifiableError):
            await source.accepts("first")
    assert source.fetches == 1
    source.key, source.now = "first", LIMITS.pause_seconds
    assert await source.accepts("first")


async def test_outage_does_not_affect_cached_keys() -> None:
    source = Source()
    await source.accepts("first")
    source.key, source.now = None, LIMITS.pause_seconds
    with pytest.raises(CallbackUnverifiableError):
        await source.accepts("second")
    assert await source.accepts("first")


@pytest.mark.parametrize(
    "jwks",
    [None, [], {}, {"keys": {}}, {"keys": [None, 7, {}, {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}]},
     {"keys": [{"kty": "OKP", "crv": "X25519", "x": "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"}]}],
)  # fmt: skip
def test_unusable_keys_are_skipped(jwks: object) -> None:
    assert ed25519_keys(jwks) == ()


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_%%%", "MDEy", "whsec_é"])
def test_unusable_secret_is_rejected(secret: str) -> None:
    assert standard_webhooks_key(secret) is None
