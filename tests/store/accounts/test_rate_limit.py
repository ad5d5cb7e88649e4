"""Rate limits: exact for concurrent requests, counted per key and per user."""

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

import asyncpg
import pytest

from core.domain.ids import KeyId, UserId
from core.platform.crypto.sealing import Sealer
from core.store.accounts.api_key_format import ApiKey, new_api_key
from core.store.accounts.rate_limit import (
    Admission,
    KeyRates,
    Rate,
    RateLimits,
    RouteClass,
    admit_request,
    lock_key_rates,
    set_key_rates,
)
from core.store.accounts.users import UserLimits, insert_api_key, insert_user, revoke_api_key
from core.store.database import Database
from tests.support.servers import FreshDatabase

READS, WRITES = RouteClass.READS, RouteClass.WRITES
LIMITS = RateLimits(writes=3, reads=5, window_seconds=900)
NO_LIMITS = UserLimits(monthly_videos=None, monthly_nano_usd=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimiter:
    """One API key, and a database in which a test can make time pass."""

    database: Database
    owner: "asyncpg.Connection[asyncpg.Record]"
    user_id: UserId
    key_id: KeyId
    key: ApiKey

    async def request(
        self,
        route_class: RouteClass = WRITES,
        limits: RateLimits = LIMITS,
        *,
        key: ApiKey | None = None,
    ) -> Admission | None:
        async with self.database.without_transaction() as conn:
            return await admit_request(conn, key or self.key, route_class, limits)

    async def rate(self, route_class: RouteClass = WRITES, limits: RateLimits = LIMITS) -> Rate:
        admission = await self.request(route_class, limits)
        assert admission is not None
        assert admission.rate is not None
        return admission.rate

    async def pass_seconds(self, number: int) -> None:
        """Move every arrival time back, as if time had passed."""
        await self.owner.execute(
            "UPDATE rate_limits SET arrival_at = arrival_at - make_interval(secs => $1)",
            float(number),
        )


@pytest.fixture
async def limiter(fresh_database: FreshDatabase) -> AsyncGenerator[RateLimiter]:
    owner = await asyncpg.connect(fresh_database.owner_dsn)
    async with Database.open(fresh_database.application_dsn, max_connections=8) as database:
        async with database.as_system() as conn:
            user = await insert_user(conn, Sealer([bytes(32)]), "tester", NO_LIMITS)
            made = await insert_api_key(conn, user.user_id, "test")
        yield RateLimiter(
            database=database, owner=owner, user_id=user.user_id, key_id=made.key_id, key=made.key
        )
    await owner.close()


async def test_rate_admits_its_limit_and_reports_the_rest(limiter: RateLimiter) -> None:
    seen = [await limiter.rate() for _ in range(5)]

    assert [rate.admitted for rate in seen] == [True, True, True, False, False]
    assert [rate.remaining for rate in seen] == [2, 1, 0, 0, 0]
    assert {(rate.route_class, rate.quota, rate.window_seconds) for rate in seen} == {
        (WRITES, 3, 900)
    }
    assert all(299 <= rate.next_seconds <= 300 for rate in seen)


async def test_rate_is_exact_for_concurrent_requests(limiter: RateLimiter) -> None:
    limits = replace(LIMITS, reads=100, window_seconds=86_400)
    seen = await asyncio.gather(*(limiter.rate(READS, limits) for _ in range(250)))

    assert sum(rate.admitted for rate in seen) == 100
    assert sorted(rate.remaining for rate in seen if rate.admitted) == list(range(100))
    assert not any(rate.of_user for rate in seen)


async def test_each_class_and_key_has_its_own_limit(limiter: RateLimiter) -> None:
    async with limiter.database.as_system() as conn:
        other = await insert_api_key(conn, limiter.user_id, "other")
    seen = [await limiter.rate() for _ in range(4)]

    assert not seen[-1].admitted
    assert (await limiter.rate(READS)).remaining == 4
    by_other = await limiter.request(key=other.key)
    assert by_other is not None
    assert by_other.rate is not None
    assert by_other.rate.remaining == 2


async def test_user_limit_counts_all_keys_together(limiter: RateLimiter) -> None:
    """A key that creates further keys cannot pass the limit of its user."""
    limits = replace(LIMITS, user_factor=2)
    async with limiter.database.as_system() as conn:
        keys = [(await insert_api_key(conn, limiter.user_id, f"key {n}")).key for n in range(20)]
    admissions = await asyncio.gather(
        *(limiter.request(WRITES, limits, key=key) for key in keys for _ in range(4))
    )

    rates = [one.rate for one in admissions if one is not None and one.rate is not None]
    assert len(rates) == 80
    assert sum(rate.admitted for rate in rates) == 6 == 2 * limits.writes
    refused = [rate for rate in rates if not rate.admitted and rate.of_user]
    assert refused
    assert {(rate.quota, rate.remaining) for rate in refused} == {(6, 0)}
    async with limiter.database.as_system() as conn:
        ahead = await conn.fetchval(
            "SELECT count(*) FROM rate_limits WHERE arrival_at > now() + $1", limits.window
        )
    assert ahead == 0, "a refusal by the user's limit used up a key's limit"


async def test_request_refused_by_the_user_limit_leaves_the_key_limit(limiter: RateLimiter) -> None:
    limits = replace(LIMITS, user_factor=1)
    async with limiter.database.as_system() as conn:
        other = (await insert_api_key(conn, limiter.user_id, "other")).key
    for _ in range(3):
        await limiter.rate(WRITES, limits)
    refused = await limiter.request(WRITES, limits, key=other)
    await limiter.owner.execute("DELETE FROM rate_limits WHERE subject = $1", limiter.user_id)
    admitted = await limiter.request(WRITES, limits, key=other)

    assert refused is not None
    assert refused.rate is not None
    assert (refused.rate.admitted, refused.rate.of_user) == (False, True)
    assert admitted is not None
    assert admitted.rate is not None
    assert (admitted.rate.admitted, admitted.rate.remaining) == (True, 2)


async def test_rate_returns_one_request_after_each_step(limiter: RateLimiter) -> None:
    limits = replace(LIMITS, writes=3, user_factor=100)
    for _ in range(3):
        assert (await limiter.rate(WRITES, limits)).admitted
    full = await limiter.rate(WRITES, limits)
    await limiter.pass_seconds(301)
    after = [await limiter.rate(WRITES, limits), await limiter.rate(WRITES, limits)]
    await limiter.pass_seconds(900)

    assert not full.admitted
    assert [rate.admitted for rate in after] == [True, False]
    assert 298 <= after[-1].next_seconds <= 300
    assert (await limiter.rate(WRITES, limits)).remaining == 2, (
        "an idle window returns the whole limit"
    )


async def test_rate_recovers_after_the_clock_was_ahead(limiter: RateLimiter) -> None:
    for _ in range(4):
        await limiter.rate()
    await limiter.pass_seconds(-100_000)
    assert (await limiter.rate()).remaining == 2


async def test_rate_admits_the_average_after_a_burst(limiter: RateLimiter) -> None:
    """A burst of one limit, then one request per step, by several senders at once."""
    limits = RateLimits(writes=20, reads=0, window_seconds=2)
    begun = time.monotonic()
    admitted = 0

    async def send_until(end: float) -> None:
        nonlocal admitted
        while time.monotonic() < end:
            if (await limiter.rate(WRITES, limits)).admitted:
                admitted += 1
            else:
                await asyncio.sleep(0.01)

    await asyncio.gather(*(send_until(begun + 2.1) for _ in range(4)))
    elapsed = time.monotonic() - begun

    assert limits.writes < admitted <= limits.writes + elapsed * limits.writes / 2 + 1


async def test_request_is_admitted_after_the_reported_seconds(limiter: RateLimiter) -> None:
    limits = RateLimits(writes=1, reads=0, window_seconds=1)
    assert (await limiter.rate(WRITES, limits)).admitted
    refused = await limiter.rate(WRITES, limits)
    await asyncio.sleep(refused.next_seconds)

    assert not refused.admitted
    assert (await limiter.rate(WRITES, limits)).admitted


async def test_limit_of_a_key_overrides_the_setting(limiter: RateLimiter) -> None:
    async with limiter.database.as_system() as conn:
        assert await lock_key_rates(conn, limiter.key_id) == KeyRates(writes=None, reads=None)
        await set_key_rates(conn, limiter.key_id, KeyRates(writes=5, reads=0))
        with pytest.raises(LookupError):
            await lock_key_rates(conn, KeyId("key_none"))
    first = await limiter.rate()
    free = await limiter.request(READS)
    assert (first.quota, first.remaining) == (5, 4)
    assert free is not None
    assert free.rate is None
    async with limiter.database.as_system() as conn:
        await set_key_rates(conn, limiter.key_id, KeyRates(writes=1, reads=None))
    lowered = await limiter.rate()
    assert (lowered.admitted, lowered.quota, lowered.remaining) == (False, 1, 0)
    assert (await limiter.rate(READS)).quota == LIMITS.reads


async def test_request_with_an_invalid_key_is_not_counted(limiter: RateLimiter) -> None:
    forged = replace(new_api_key(), prefix=limiter.key.prefix)
    admission = await limiter.request(key=forged)
    assert admission is not None
    assert admission.rate is None
    assert not forged.matches(admission.secret_sha256)
    async with limiter.database.as_system() as conn:
        await revoke_api_key(conn, limiter.key_id)
    revoked = await limiter.request()
    assert revoked is not None
    assert (revoked.usable, revoked.rate) == (False, None)
    assert await limiter.request(key=new_api_key()) is None
    assert await limiter.owner.fetchval("SELECT count(*) FROM rate_limits") == 0


async def test_rate_table_is_unlogged_and_hidden_from_users(limiter: RateLimiter) -> None:
    await limiter.rate()
    assert (
        await limiter.owner.fetchval(
            "SELECT relpersistence FROM pg_class WHERE relname = 'rate_limits'"
        )
        == b"u"
    )
    async with limiter.database.without_transaction() as conn:
        assert await conn.fetchval("SELECT current_user") == "takeone_app", (
            "the role outlived the function"
        )
        for table in ("rate_limits", "api_keys"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.fetch(f"SELECT * FROM {table}")
