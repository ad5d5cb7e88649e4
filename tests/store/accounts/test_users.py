"""Users and API keys: creation, lookup, refusal, listing and revocation."""

import base64
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.ids import KeyId, UserId
from core.domain.money import NanoUsd
from core.platform.crypto.sealing import Sealer
from core.store.accounts.api_key_format import ApiKey, new_api_key, parse_api_key
from core.store.accounts.rate_limit import Admission, RateLimits, RouteClass, admit_request
from core.store.accounts.users import (
    NewKey,
    NewUser,
    UserLimits,
    insert_api_key,
    insert_user,
    list_api_keys,
    list_users,
    lock_limits,
    mark_key_used,
    revoke_api_key,
    set_disabled,
    set_limits,
)
from core.store.database import Database
from tests.support.secrets import opened_secrets
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G6")

LIMITS = UserLimits(monthly_videos=3, monthly_nano_usd=NanoUsd(5))
SEALER = Sealer([bytes(32)])


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=4) as database:
        yield database


async def _new(database: Database, *, expires_days: int | None = None) -> tuple[NewUser, NewKey]:
    async with database.as_system() as conn:
        user = await insert_user(conn, SEALER, "Ada", LIMITS)
        return user, await insert_api_key(conn, user.user_id, "first", expires_days=expires_days)


async def _admit(database: Database, key: ApiKey) -> Admission | None:
    unlimited = RateLimits(writes=0, reads=0, window_seconds=1)
    async with database.without_transaction() as conn:
        return await admit_request(conn, key, RouteClass.READS, unlimited)


def test_new_key_is_parsed_back() -> None:
    key = new_api_key()

    assert parse_api_key(key.text) == key
    assert key.text.startswith(f"tko_{key.prefix}_")
    assert key.text not in repr(key)


def test_key_with_one_changed_character_is_refused() -> None:
    text = new_api_key().text
    for place in range(len(text)):
        changed = text[:place] + ("a" if text[place] != "a" else "b") + text[place + 1 :]
        assert parse_api_key(changed) is None, place


@settings(deadline=None)
@given(st.text(max_size=100))
def test_arbitrary_text_is_not_a_key(text: str) -> None:
    assert parse_api_key(text) is None
    assert parse_api_key(f"tko_{text}") is None


async def test_user_webhook_secret_is_sealed_and_long_enough(database: Database) -> None:
    user, _ = await _new(database)

    async with database.as_system() as conn:
        assert await opened_secrets(conn, SEALER, user.user_id) == [user.webhook_secret]
    assert user.webhook_secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(user.webhook_secret.removeprefix("whsec_"))) <= 64
    assert user.webhook_secret not in repr(user)


async def test_key_is_looked_up_by_prefix_and_stored_as_hash(database: Database) -> None:
    user, made = await _new(database)

    async with database.as_system() as conn:
        rows = await conn.fetch("SELECT * FROM api_keys")
    record = await _admit(database, made.key)
    assert await _admit(database, new_api_key()) is None
    assert record is not None
    assert (record.key_id, record.user_id, record.usable) == (made.key_id, user.user_id, True)
    assert made.key.matches(record.secret_sha256)
    assert not new_api_key().matches(record.secret_sha256)
    assert made.key.text.removeprefix(f"tko_{made.key.prefix}_") not in str(rows)


@pytest.mark.parametrize("end", ["revoked", "expired", "disabled"])
async def test_key_is_not_usable_after_its_end(database: Database, end: str) -> None:
    user, made = await _new(database, expires_days=30)

    async with database.as_system() as conn:
        if end == "revoked":
            assert await revoke_api_key(conn, made.key_id) is not None
        elif end == "expired":
            await conn.execute("UPDATE api_keys SET expires_at = now() - interval '1 second'")
        else:
            assert await set_disabled(conn, user.user_id, disabled=True)
    record = await _admit(database, made.key)
    assert record is not None
    assert not record.usable


async def test_repeated_revocation_keeps_the_first_time(database: Database) -> None:
    _, made = await _new(database)

    async with database.as_system() as conn:
        first = await revoke_api_key(conn, made.key_id)
    async with database.as_system() as conn:
        assert await revoke_api_key(conn, made.key_id) == first
        assert await revoke_api_key(conn, KeyId("key_none")) is None


async def test_key_use_is_recorded_at_most_once_a_minute(database: Database) -> None:
    user, made = await _new(database)

    seen: list[object] = []
    for _ in range(2):
        async with database.as_system() as conn:
            await mark_key_used(conn, made.key_id)
            (entry,) = await list_api_keys(conn, user.user_id)
        record = await _admit(database, made.key)
        assert record is not None
        assert not record.touch_due
        seen.append(entry.last_used_at)
    assert seen[0] is not None
    assert seen[0] == seen[1]
    async with database.as_system() as conn:
        await conn.execute("UPDATE api_keys SET last_used_at = now() - interval '61 seconds'")
    record = await _admit(database, made.key)
    assert record is not None
    assert record.touch_due


async def test_key_is_usable_after_its_user_is_enabled_again(database: Database) -> None:
    user, made = await _new(database)

    async with database.as_system() as conn:
        await set_disabled(conn, user.user_id, disabled=True)
        await set_disabled(conn, user.user_id, disabled=False)
        assert not await set_disabled(conn, UserId("usr_none"), disabled=True)
    record = await _admit(database, made.key)
    assert record is not None
    assert record.usable


async def test_limits_are_changed_and_listed(database: Database) -> None:
    user, _ = await _new(database)
    none = UserLimits(monthly_videos=None, monthly_nano_usd=None)

    async with database.as_system() as conn:
        assert await lock_limits(conn, user.user_id) == LIMITS
        await set_limits(conn, user.user_id, none)
        (listed,) = await list_users(conn)
        with pytest.raises(LookupError):
            await lock_limits(conn, UserId("usr_none"))
        with pytest.raises(LookupError):
            await insert_api_key(conn, UserId("usr_none"), "first")
    assert listed.limits == none
    assert listed.name == "Ada"
