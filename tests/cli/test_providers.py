"""`takeone-admin providers`: showing and resetting a provider's state."""

from collections.abc import AsyncGenerator

import pytest

from core.domain.failures import FailureCode
from core.domain.ids import new_job_id
from core.store.accounts.audit import list_audit
from core.store.database import Database
from core.store.jobs.sends import begin_send
from core.store.providers.capacity import (
    Admitted,
    Deferral,
    DeferredBy,
    SlotRequest,
    pause_scope,
    take_slot,
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


async def test_providers_are_shown_reset_and_audited(
    fresh_database: FreshDatabase, database: Database
) -> None:
    url = fresh_database.application_dsn
    assert (await run_admin(url, "providers", "show")).json == []
    one = await accept(database, new_execution(await new_user(database)))
    async with database.as_user(one.user_id) as conn:
        assert await begin_send(conn, one.image, 1, {}, {})
    async with database.as_system() as conn:
        await trip(conn, "replicate", new_job_id(), FailureCode.PROVIDER_CREDIT_EXHAUSTED, 402)
        await pause_scope(conn, "fal", 60.0)

    fal, replicate = (await run_admin(url, "providers", "show")).json
    assert (fal["provider"], fal["accepts"], fal["inFlight"]) == ("fal", True, 1)
    assert fal["quietUntil"] is not None
    assert (replicate["provider"], replicate["accepts"], replicate["trips"]) == (
        "replicate",
        False,
        1,
    )
    assert (replicate["trippedCode"], replicate["trippedStatus"]) == (
        "provider_credit_exhausted",
        402,
    )

    async def take() -> Admitted | Deferral:
        async with database.as_user(one.user_id) as conn:
            return await take_slot(
                conn,
                SlotRequest(
                    scope="replicate",
                    job_id=one.video.job_id,
                    user_id=one.user_id,
                    continuing=True,
                    max_in_flight=8,
                ),
            )

    deferral = await take()
    assert isinstance(deferral, Deferral)
    assert deferral.by is DeferredBy.BREAKER
    done = await run_admin(
        url, "providers", "reset", "replicate", "--actor", "Ada", "--note", "paid the invoice"
    )
    assert done.json == {"provider": "replicate", "changed": True}
    assert (await run_admin(url, "providers", "reset", "replicate")).json["changed"] is False
    assert isinstance(await take(), Admitted)
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
