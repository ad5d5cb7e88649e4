"""Rates: in no window is more admitted than the quota, whoever asks at once; what is refused is not
counted.
"""

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
    SLOTS,
    Admission,
    KeyRates,
    Rate,
    RateLimits,
    RouteClass,
    admit_request,
    give_back_ms,
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
class Gatekeeper:
    """One key, and a database in which time can be made to pass."""

    database: Database
    owner: "asyncpg.Connection[asyncpg.Record]"
    user_id: UserId
    key_id: KeyId
    key: ApiKey

    async def ask(
        self,
        route_class: RouteClass = WRITES,
        limits: RateLimits = LIMITS,
        *,
        key: ApiKey | None = None,
    ) -> Admission | None:
        async with self.database.alone() as conn:
            return await admit_request(conn, key or self.key, route_class, limits)

    async def rate(self, route_class: RouteClass = WRITES, limits: RateLimits = LIMITS) -> Rate:
        admission = await self.ask(route_class, limits)
        assert admission is not None
        assert admission.rate is not None
        return admission.rate

    async def pass_slots(self, number: int) -> None:
        await self.owner.execute("UPDATE request_rates SET newest = newest - $1", number)

    async def counted(self) -> int:
        return await self.owner.fetchval(
            "SELECT coalesce(sum(n), 0) FROM request_rates, unnest(used) AS n"
        )


@pytest.fixture
async def gate(fresh_database: FreshDatabase) -> AsyncGenerator[Gatekeeper]:
    owner = await asyncpg.connect(fresh_database.owner_dsn)
    async with Database.open(fresh_database.application_dsn, max_connections=8) as database:
        async with database.as_system() as conn:
            user = await insert_user(conn, Sealer([bytes(32)]), "somebody", NO_LIMITS)
            made = await insert_api_key(conn, user.user_id, "test")
        yield Gatekeeper(
            database=database, owner=owner, user_id=user.user_id, key_id=made.key_id, key=made.key
        )
    await owner.close()


async def test_rate_admits_its_quota_and_says_what_is_left(gate: Gatekeeper) -> None:
    seen = [await gate.rate() for _ in range(5)]

    assert [rate.admitted for rate in seen] == [True, True, True, False, False]
    assert [rate.remaining for rate in seen] == [2, 1, 0, 0, 0]
    assert {(rate.route_class, rate.quota, rate.window_seconds) for rate in seen} == {
        (WRITES, 3, 900)
    }
    assert all(900 - 1 <= rate.next_seconds <= 900 + 15 for rate in seen)
    assert await gate.counted() == 3, "what was refused was counted"


async def test_rate_of_many_at_once_is_exact(gate: Gatekeeper) -> None:
    limits = replace(LIMITS, reads=100)
    seen = await asyncio.gather(*(gate.rate(READS, limits) for _ in range(250)))

    assert sum(rate.admitted for rate in seen) == 100
    assert sorted(rate.remaining for rate in seen if rate.admitted) == list(range(100))
    assert await gate.counted() == 100


async def test_rate_of_each_class_and_key_is_its_own(gate: Gatekeeper) -> None:
    async with gate.database.as_system() as conn:
        other = await insert_api_key(conn, gate.user_id, "other")
    seen = [await gate.rate() for _ in range(4)]

    assert not seen[-1].admitted
    assert (await gate.rate(READS)).remaining == 4
    by_other = await gate.ask(key=other.key)
    assert by_other is not None
    assert by_other.rate is not None
    assert by_other.rate.remaining == 2


async def test_rate_slides_slot_by_slot(gate: Gatekeeper) -> None:
    await gate.rate()
    await gate.pass_slots(20)
    await gate.rate()
    await gate.rate()
    await gate.pass_slots(SLOTS - 20)
    full = await gate.rate()
    await gate.pass_slots(1)  # the first one's window is over
    after = [await gate.rate(), await gate.rate()]
    await gate.pass_slots(SLOTS + 1)

    assert not full.admitted
    assert full.next_seconds <= 15
    assert [rate.admitted for rate in after] == [True, False]
    assert 20 * 15 - 15 <= after[-1].next_seconds <= 20 * 15 + 15
    assert (await gate.rate()).remaining == 2, "an idle window gives all of it back"


async def test_rate_is_not_stuck_when_the_clock_was_ahead(gate: Gatekeeper) -> None:
    for _ in range(4):
        await gate.rate()
    await gate.pass_slots(-10)
    little = await gate.rate()
    await gate.pass_slots(-100_000)

    assert not little.admitted
    assert (await gate.rate()).remaining == 2


async def test_rate_holds_in_every_window_and_not_only_from_one_reset_to_the_next(
    gate: Gatekeeper,
) -> None:
    """Half of it at once, half shortly before the window ends, and then as fast as it goes, by
    several at once.
    """
    limits = RateLimits(writes=20, reads=0, window_seconds=2)
    admitted: list[tuple[float, float]] = []
    begun = time.monotonic()

    async def send() -> bool:
        before = time.monotonic()
        rate = await gate.rate(WRITES, limits)
        if rate.admitted:
            admitted.append((before, time.monotonic()))
        return rate.admitted

    async def insist() -> None:
        while time.monotonic() < begun + 4.4:
            if not await send():
                await asyncio.sleep(0.01)

    assert all([await send() for _ in range(10)])
    await asyncio.sleep(begun + 1.6 - time.monotonic())
    assert all([await send() for _ in range(10)])
    await asyncio.gather(*(insist() for _ in range(4)))

    admitted.sort()
    assert len(admitted) >= 40, "what had left the window was not given back"
    for (before, _), (_, after) in zip(admitted, admitted[limits.writes :], strict=False):
        assert after - before >= limits.window_seconds


async def test_rate_says_truly_when_the_next_is_admitted(gate: Gatekeeper) -> None:
    limits = RateLimits(writes=1, reads=0, window_seconds=1)
    assert (await gate.rate(WRITES, limits)).admitted
    refused = await gate.rate(WRITES, limits)
    await asyncio.sleep(refused.next_seconds)

    assert not refused.admitted
    assert (await gate.rate(WRITES, limits)).admitted


async def test_rate_of_the_key_comes_before_that_of_the_settings(gate: Gatekeeper) -> None:
    async with gate.database.as_system() as conn:
        assert await lock_key_rates(conn, gate.key_id) == KeyRates(writes=None, reads=None)
        await set_key_rates(conn, gate.key_id, KeyRates(writes=5, reads=0))
        with pytest.raises(LookupError):
            await lock_key_rates(conn, KeyId("key_none"))
    first = await gate.rate()
    free = await gate.ask(READS)
    assert (first.quota, first.remaining) == (5, 4)
    assert free is not None
    assert free.rate is None
    async with gate.database.as_system() as conn:
        await set_key_rates(conn, gate.key_id, KeyRates(writes=1, reads=None))
    lowered = await gate.rate()
    assert (lowered.admitted, lowered.quota, lowered.remaining) == (False, 1, 0)
    assert (await gate.rate(READS)).quota == LIMITS.reads


async def test_rate_of_a_wrong_or_ended_key_is_not_counted(gate: Gatekeeper) -> None:
    forged = replace(new_api_key(), prefix=gate.key.prefix)
    admission = await gate.ask(key=forged)
    assert admission is not None
    assert admission.rate is None
    assert not forged.matches(admission.secret_sha256)
    async with gate.database.as_system() as conn:
        await revoke_api_key(conn, gate.key_id)
    revoked = await gate.ask()
    assert revoked is not None
    assert (revoked.usable, revoked.rate) == (False, None)
    assert await gate.ask(key=new_api_key()) is None
    assert await gate.counted() == 0


async def test_rates_cost_no_log_and_are_nobodys_to_read(gate: Gatekeeper) -> None:
    await gate.rate()
    assert (
        await gate.owner.fetchval(
            "SELECT relpersistence FROM pg_class WHERE relname = 'request_rates'"
        )
        == b"u"
    )
    async with gate.database.alone() as conn:
        assert await conn.fetchval("SELECT current_user") == "takeone_app", (
            "the role outlived the function"
        )
        for table in ("request_rates", "api_keys"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.fetch(f"SELECT * FROM {table}")


@pytest.mark.parametrize(
    ("used", "quota", "slot"),
    [
        ([1, 0, 0], 5, 103),  # what was just used leaves last
        ([1, 0, 2], 5, 101),
        ([0, 3, 1], 5, 101),
        ([0, 3, 1], 3, 102),  # after a limit was lowered, the first slot's end is not enough
    ],
)
def test_give_back_is_when_more_is_left(used: list[int], quota: int, slot: int) -> None:
    assert give_back_ms(used, quota, newest=100, slot_ms=1000) == slot * 1000
