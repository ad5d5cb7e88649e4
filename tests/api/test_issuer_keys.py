"""The keys of an OIDC issuer: discovery, caching, refetching, and limits against fetch storms."""

import asyncio
import json
from collections.abc import AsyncGenerator

import pytest

from core.platform.key_cache import KeysUnavailableError
from core.platform.oidc.jwks import LIMITS, IssuerKeys, usable_keys
from tests.api.issuing import DISCOVERY, KEYS, IssuerServer, signing_key

pytestmark = pytest.mark.guarantee("G6")

FIRST, SECOND = signing_key("first", "ES256"), signing_key("second", "ES256")


@pytest.fixture
async def issuer() -> AsyncGenerator[IssuerServer]:
    async with IssuerServer.open(FIRST) as server:
        yield server


class FakeClock:
    """A clock that advances only when a test sets it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def keys(issuer: IssuerServer, clock: FakeClock) -> AsyncGenerator[IssuerKeys]:
    async with IssuerKeys.open(issuer.url, None, clock=clock) as keys:
        yield keys


async def test_keys_are_found_by_discovery(issuer: IssuerServer, keys: IssuerKeys) -> None:
    assert issuer.asked == []
    key = await keys.find("first")

    assert key is not None
    assert key.algorithm_name == "ES256"
    assert issuer.asked == [DISCOVERY, KEYS]


async def test_keys_are_read_from_the_configured_url(issuer: IssuerServer) -> None:
    async with IssuerKeys.open("https://issuer.example", issuer.url + KEYS) as keys:
        assert await keys.find("first") is not None
    assert issuer.asked == [KEYS]


async def test_trailing_slash_is_part_of_the_issuer(issuer: IssuerServer) -> None:
    issuer.publish_document(DISCOVERY, {"issuer": issuer.url + "/", "jwks_uri": issuer.url + KEYS})
    async with IssuerKeys.open(issuer.url + "/", None) as keys:
        assert await keys.find("first") is not None
    async with IssuerKeys.open(issuer.url, None) as keys:
        with pytest.raises(KeysUnavailableError):
            await keys.find("first")


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        (DISCOVERY, 404, b"{}"),
        (
            DISCOVERY,
            200,
            b'{"issuer": "https://another.example", "jwks_uri": "https://another.example/keys"}',
        ),
        (DISCOVERY, 200, b"ISSUER without an address of keys"),
        (DISCOVERY, 200, b'{"issuer": "ISSUER"}'),
        (DISCOVERY, 200, b'{"issuer": "ISSUER", "jwks_uri": "http://issuer.example/keys"}'),
        (DISCOVERY, 200, b'{"issuer": "ISSUER", "jwks_uri": "file:///etc/passwd"}'),
        (KEYS, 500, b"{}"),
        (KEYS, 302, b"{}"),
        (KEYS, 200, b"<html>"),
        (KEYS, 200, b"[]"),
        (KEYS, 200, b"{}"),
        (KEYS, 200, b'{"keys": {"first": {}}}'),
        (KEYS, 200, b"[" * 100_000),
        (KEYS, 200, b'{"keys": [], "filler": "' + b"x" * 300_000 + b'"}'),
    ],
    ids=lambda value: value[:60].decode() if isinstance(value, bytes) else None,
)
async def test_unusable_documents_make_keys_unavailable(
    issuer: IssuerServer, keys: IssuerKeys, path: str, status: int, body: bytes
) -> None:
    issuer.publish_document(path, body.replace(b"ISSUER", issuer.url.encode()), status)
    with pytest.raises(KeysUnavailableError):
        await keys.find("first")
    assert path in issuer.asked


async def test_concurrent_callers_share_one_fetch_despite_a_cancelled_one(
    issuer: IssuerServer, keys: IssuerKeys
) -> None:
    issuer.delay_seconds = 0.1
    waiting = [asyncio.create_task(keys.find("first")) for _ in range(50)]
    await asyncio.sleep(0.05)
    waiting[0].cancel()
    results = await asyncio.gather(*waiting, return_exceptions=True)

    assert isinstance(results[0], asyncio.CancelledError)
    assert len({id(key) for key in results[1:]}) == 1
    assert not isinstance(results[1], BaseException)
    assert issuer.asked == [DISCOVERY, KEYS]


async def test_unknown_key_ids_cause_one_fetch_per_pause(
    issuer: IssuerServer, keys: IssuerKeys, clock: FakeClock
) -> None:
    await keys.find("first")
    issuer.publish(FIRST, SECOND)
    for number in range(100):
        assert await keys.find(f"invented {number}") is None
    assert await keys.find("second") is None
    assert issuer.asked.count(KEYS) == 1
    clock.now += LIMITS.pause_seconds
    assert await keys.find("second") is not None
    assert issuer.asked.count(KEYS) == 2


async def test_withdrawn_key_is_refused_after_a_background_refresh(
    issuer: IssuerServer, keys: IssuerKeys, clock: FakeClock
) -> None:
    await keys.find("first")
    issuer.publish(SECOND)
    assert await keys.find("first") is not None
    clock.now += LIMITS.refresh_after_seconds
    assert await keys.find("first") is not None  # the caller does not wait for the refresh
    for _ in range(500):
        if await keys.find("first") is None:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the withdrawn key is still accepted")


async def test_known_keys_are_accepted_during_an_outage_of_the_issuer(
    issuer: IssuerServer, keys: IssuerKeys, clock: FakeClock
) -> None:
    await keys.find("first")
    await issuer.stop()
    clock.now += LIMITS.refresh_after_seconds
    for _ in range(3):
        assert await keys.find("first") is not None
        await asyncio.sleep(0.02)
    with pytest.raises(KeysUnavailableError):
        await keys.find("second")
    clock.now = LIMITS.max_age_seconds
    with pytest.raises(KeysUnavailableError):
        await keys.find("first")
    await issuer.start()
    issuer.publish(FIRST, SECOND)
    clock.now += LIMITS.pause_seconds
    assert await keys.find("second") is not None


async def test_hanging_issuer_is_given_up(issuer: IssuerServer) -> None:
    issuer.delay_seconds = 30
    async with (
        asyncio.timeout(20),
        IssuerKeys.open(issuer.url, None, fetch_seconds=0.2) as keys,
    ):
        with pytest.raises(KeysUnavailableError):
            await keys.find("first")
    assert issuer.asked == [DISCOVERY]


def test_usable_keys_are_public_signing_keys() -> None:
    private = {**FIRST.public_jwk, "kid": "private", "d": "AAAA"}
    document = {
        "keys": [
            FIRST.public_jwk,
            private,
            {**FIRST.public_jwk, "kid": 7},
            {"kty": "EC", "kid": "half"},
        ]
    }

    assert set(usable_keys(json.loads(json.dumps(document)))) == {"first"}
