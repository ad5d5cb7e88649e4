"""The keys of an issuer: found, kept, read again when one is missing, and never as often as
somebody may ask.
"""

import asyncio
import json
from collections.abc import AsyncGenerator

import pytest

from core.platform.oidc import jwks as issuer_keys
from core.platform.oidc.jwks import IssuerKeys, KeysUnreachableError
from tests.api.issuing import DISCOVERY, KEYS, IssuerServer, signing_key

pytestmark = pytest.mark.guarantee("G6")

FIRST, SECOND = signing_key("first", "ES256"), signing_key("second", "ES256")


@pytest.fixture
async def issuer() -> AsyncGenerator[IssuerServer]:
    async with IssuerServer.open(FIRST) as server:
        yield server


@pytest.fixture
async def keys(issuer: IssuerServer) -> AsyncGenerator[IssuerKeys]:
    async with IssuerKeys.open(issuer.url, None) as keys:
        yield keys


async def test_keys_are_found_by_discovery(issuer: IssuerServer, keys: IssuerKeys) -> None:
    assert issuer.asked == []
    found = await keys.find("first")

    assert found is not None
    assert found.algorithm_name == "ES256"
    assert issuer.asked == [DISCOVERY, KEYS]


async def test_keys_are_found_where_a_setting_says(issuer: IssuerServer) -> None:
    async with IssuerKeys.open("https://issuer.example", issuer.url + KEYS) as keys:
        assert await keys.find("first") is not None
    assert issuer.asked == [KEYS]


async def test_issuer_with_a_slash_at_its_end_is_another_one(issuer: IssuerServer) -> None:
    issuer.tell(DISCOVERY, {"issuer": issuer.url + "/", "jwks_uri": issuer.url + KEYS})
    async with IssuerKeys.open(issuer.url + "/", None) as keys:
        assert await keys.find("first") is not None
    async with IssuerKeys.open(issuer.url, None) as keys:
        with pytest.raises(KeysUnreachableError):
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
async def test_issuer_that_answers_otherwise_has_no_keys_that_can_be_known(
    issuer: IssuerServer, keys: IssuerKeys, path: str, status: int, body: bytes
) -> None:
    issuer.tell(path, body.replace(b"ISSUER", issuer.url.encode()), status)
    with pytest.raises(KeysUnreachableError):
        await keys.find("first")
    assert path in issuer.asked


async def test_crowd_reads_the_keys_once_and_one_who_goes_away_does_not_stop_it(
    issuer: IssuerServer, keys: IssuerKeys
) -> None:
    issuer.delay_seconds = 0.1
    waiting = [asyncio.create_task(keys.find("first")) for _ in range(50)]
    await asyncio.sleep(0.05)
    waiting[0].cancel()
    found = await asyncio.gather(*waiting, return_exceptions=True)

    assert isinstance(found[0], asyncio.CancelledError)
    assert len({id(key) for key in found[1:]}) == 1
    assert not isinstance(found[1], BaseException)
    assert issuer.asked == [DISCOVERY, KEYS]


async def test_unknown_keys_make_nobody_read_more_often(
    issuer: IssuerServer, keys: IssuerKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is new is found as soon as it may be read again; what is made up costs one reading
    in that time.
    """
    await keys.find("first")
    issuer.publish(FIRST, SECOND)
    for number in range(100):
        assert await keys.find(f"made up {number}") is None
    assert await keys.find("second") is None
    assert issuer.asked.count(KEYS) == 1
    monkeypatch.setattr(issuer_keys, "REFETCH_SECONDS", 0.0)
    assert await keys.find("second") is not None
    assert issuer.asked.count(KEYS) == 2


async def test_key_that_is_withdrawn_is_refused_once_the_keys_are_old(
    issuer: IssuerServer, keys: IssuerKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keys.find("first")
    issuer.publish(SECOND)
    assert await keys.find("first") is not None
    monkeypatch.setattr(issuer_keys, "REFETCH_SECONDS", 0.0)
    monkeypatch.setattr(issuer_keys, "FRESH_SECONDS", 0.0)
    for _ in range(500):  # nobody waits for it to be read
        if await keys.find("first") is None:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("still accepted")


async def test_outage_of_the_issuer_is_not_ours_for_keys_that_are_known(
    issuer: IssuerServer, keys: IssuerKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keys.find("first")
    await issuer.stop()
    monkeypatch.setattr(issuer_keys, "REFETCH_SECONDS", 0.0)
    monkeypatch.setattr(issuer_keys, "FRESH_SECONDS", 0.0)
    for _ in range(3):
        assert await keys.find("first") is not None
        await asyncio.sleep(0.02)
    with pytest.raises(KeysUnreachableError):
        await keys.find("second")
    monkeypatch.setattr(issuer_keys, "STALE_SECONDS", 0.0)
    with pytest.raises(KeysUnreachableError):
        await keys.find("first")
    monkeypatch.setattr(issuer_keys, "STALE_SECONDS", 60.0)
    await issuer.start()
    issuer.publish(FIRST, SECOND)
    assert await keys.find("second") is not None


async def test_issuer_that_hangs_is_given_up(
    issuer: IssuerServer, keys: IssuerKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer.delay_seconds = 30
    monkeypatch.setattr(issuer_keys, "FETCH_SECONDS", 0.2)
    async with asyncio.timeout(5):
        with pytest.raises(KeysUnreachableError):
            await keys.find("first")
    assert issuer.asked == [DISCOVERY]


def test_usable_keys_are_those_that_sign_and_are_public() -> None:
    private = {**FIRST.public_jwk, "kid": "private", "d": "AAAA"}
    document = {
        "keys": [
            FIRST.public_jwk,
            private,
            {**FIRST.public_jwk, "kid": 7},
            {"kty": "EC", "kid": "half"},
        ]
    }

    assert set(issuer_keys.usable_keys(json.loads(json.dumps(document)))) == {"first"}
