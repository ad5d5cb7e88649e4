"""`python -m cli providers` as an operator runs it."""

from collections.abc import AsyncGenerator

import pytest

from core.domain.failures import FailureCode
from core.domain.ids import new_job_id
from core.store.accounts.audit import list_audit
from core.store.database import Database
from core.store.jobs.jobs import begin_send
from core.store.providers.capacity import (
    HeldBack,
    HeldBy,
    Pace,
    Passed,
    RoomAsked,
    lower,
    take_room,
)
from core.store.providers.circuit_breaker import trip
from tests.support.admin import run_admin
from tests.support.rows import accept, new_execution, new_user
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G5")


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=4) as opened:
        yield opened


async def test_providers_are_shown_and_reset_and_that_is_written_down(
    fresh_database: FreshDatabase, database: Database
) -> None:
    url = fresh_database.application_dsn
    assert (await run_admin(url, "providers", "show")).json == []
    one = await accept(database, new_execution(await new_user(database)))
    async with database.as_user(one.user_id) as conn:
        assert await begin_send(conn, one.image, 1, {}, {})
    async with database.as_system() as conn:
        await trip(conn, "replicate", new_job_id(), FailureCode.PROVIDER_CREDIT_EXHAUSTED, 402)
        await lower(conn, "fal", Pace(max_in_flight=8), 0.0)

    fal, replicate = (await run_admin(url, "providers", "show")).json
    assert (fal["provider"], fal["accepts"], fal["inFlight"], fal["maxInFlight"]) == (
        "fal",
        True,
        1,
        1,
    )
    assert fal["submitsPerSecond"] == 1.0
    assert (replicate["provider"], replicate["accepts"], replicate["trips"]) == (
        "replicate",
        False,
        1,
    )
    assert (replicate["trippedCode"], replicate["trippedStatus"]) == (
        "provider_credit_exhausted",
        402,
    )

    async def asks() -> Passed | HeldBack:
        async with database.as_user(one.user_id) as conn:
            return await take_room(
                conn,
                RoomAsked(
                    scope="replicate",
                    job_id=one.video.job_id,
                    user_id=one.user_id,
                    continuing=True,
                    pace=Pace(max_in_flight=8),
                ),
            )

    held = await asks()
    assert isinstance(held, HeldBack)
    assert held.by is HeldBy.BREAKER
    done = await run_admin(
        url, "providers", "reset", "replicate", "--actor", "Ada", "--note", "paid the invoice"
    )
    assert done.json == {"provider": "replicate", "changed": True}
    assert (await run_admin(url, "providers", "reset", "replicate")).json["changed"] is False
    assert isinstance(await asks(), Passed)
    async with database.as_system() as conn:
        (entry,) = await list_audit(conn)
    assert (entry.actor, entry.action, entry.target) == ("Ada", "providers reset", "replicate")
    assert (entry.detail["trippedCode"], entry.detail["note"]) == (
        "provider_credit_exhausted",
        "paid the invoice",
    )
    assert [state["provider"] for state in (await run_admin(url, "providers", "show")).json] == [
        "fal"
    ]
