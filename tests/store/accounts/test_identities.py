"""Identities: the user of a subject, and the rate limit of its requests."""

from collections.abc import AsyncGenerator

import asyncpg
import pytest

from core.domain.ids import UserId
from core.store.accounts.identities import (
    IdentityAdmission,
    admit_identity,
    link_identity,
    list_identities,
    unlink_identity,
)
from core.store.accounts.rate_limit import RateLimits, RouteClass
from core.store.accounts.users import set_disabled
from core.store.database import Database
from tests.support.rows import new_user
from tests.support.servers import FreshDatabase

ISSUER = "https://issuer.example/"
NO_LIMITS = RateLimits(writes=0, reads=0, window_seconds=900)


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=4) as database:
        yield database


async def _admit(
    database: Database,
    subject: str,
    *,
    user_id: UserId | None = None,
    limits: RateLimits = NO_LIMITS,
) -> IdentityAdmission | None:
    async with database.without_transaction() as conn:
        return await admit_identity(conn, ISSUER, subject, user_id, RouteClass.READS, limits)


async def test_subject_has_one_user_and_user_has_several_subjects(database: Database) -> None:
    ada, bob = await new_user(database), await new_user(database)
    async with database.as_system() as conn:
        for subject in ("one", "two", "one"):
            assert (await link_identity(conn, ISSUER, subject, ada)).user_id == ada
        assert (await link_identity(conn, ISSUER, "one", bob)).user_id == ada, (
            "the subject changed its user"
        )
        assert (await link_identity(conn, "https://another.example", "one", bob)).user_id == bob
        assert [identity.subject for identity in await list_identities(conn, ada)] == ["one", "two"]
        with pytest.raises(LookupError, match="no user usr_none"):
            await link_identity(conn, ISSUER, "three", UserId("usr_none"))

    assert await _admit(database, "one") == IdentityAdmission(user_id=ada, usable=True, rate=None)
    assert await _admit(database, "three") is None
    async with database.as_system() as conn:
        assert await unlink_identity(conn, ISSUER, "one") == ada
        assert await unlink_identity(conn, ISSUER, "one") is None
    assert await _admit(database, "one") is None
    assert await _admit(database, "two") is not None


async def test_explicit_user_replaces_the_linked_user_and_must_exist(database: Database) -> None:
    ada, bob = await new_user(database), await new_user(database)
    async with database.as_system() as conn:
        await link_identity(conn, ISSUER, "one", ada)
    named = await _admit(database, "one", user_id=bob)

    assert named is not None
    assert named.user_id == bob
    assert await _admit(database, "one", user_id=UserId("usr_none")) is None


async def test_subjects_share_their_users_limit_unless_it_is_disabled(
    database: Database,
) -> None:
    ada = await new_user(database)
    limits = RateLimits(writes=0, reads=2, window_seconds=900)
    async with database.as_system() as conn:
        for subject in ("one", "two"):
            await link_identity(conn, ISSUER, subject, ada)
        await set_disabled(conn, ada, disabled=True)
    refused = await _admit(database, "one", limits=limits)
    async with database.as_system() as conn:
        await set_disabled(conn, ada, disabled=False)
    seen = [await _admit(database, subject, limits=limits) for subject in ("one", "two", "two")]

    assert refused is not None
    assert (refused.usable, refused.rate) == (False, None)
    rates = [one.rate for one in seen if one is not None and one.rate is not None]
    assert [(rate.admitted, rate.remaining) for rate in rates] == [(True, 1), (True, 0), (False, 0)]


async def test_users_read_only_their_identities_and_change_none(database: Database) -> None:
    ada, bob = await new_user(database), await new_user(database)
    async with database.as_system() as conn:
        await link_identity(conn, ISSUER, "one", ada)
    for user_id, seen in ((ada, 1), (bob, 0)):
        async with database.as_user(user_id) as conn:
            assert len(await list_identities(conn, ada)) == seen
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.as_user(bob) as conn:
            await link_identity(conn, ISSUER, "two", bob)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.as_user(ada) as conn:
            await unlink_identity(conn, ISSUER, "one")
    async with database.without_transaction() as conn:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.fetch(
                "SELECT * FROM count_request('key_x', 'usr_x', 'reads', 1, 5, interval '1 s')"
            )
