"""DELETE /api/executions/{id}: what the user gave and got is erased, the money stays."""

from dataclasses import replace

import asyncpg
import pytest

from core.domain.states import ExecutionStatus, JobState
from core.store.money.reports.ledger_check import list_findings
from tests.api.conftest import Api, TestUser
from tests.api.ended import STORED, end
from tests.support.rows import Accepted, accept, new_execution
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G3", "G6")

SECRET = "my-secret-prompt"
PLANT = """
UPDATE executions
SET request = jsonb_build_object('prompt', $2::text), metadata = jsonb_build_object('a', $2::text),
    result = jsonb_build_object('a', $2::text), cancel_reason = $2, webhook_url = 'https://' || $2
WHERE execution_id = $1
"""
PLANTS = (
    "UPDATE steps SET parameters = jsonb_build_object('prompt', $2::text) WHERE execution_id = $1",
    "UPDATE jobs SET provider_urls = jsonb_build_object('a', $2::text) WHERE execution_id = $1",
    "UPDATE sends"
    " SET request = jsonb_build_object('a', $2::text), inputs = jsonb_build_object('a', $2::text), note = $2"
    " WHERE job_id IN (SELECT job_id FROM jobs WHERE execution_id = $1)",
    "UPDATE webhooks SET state = 'delivered', ended_at = now(), body = convert_to($2, 'UTF8')"
    " WHERE execution_id = $1",
)
LIST_TABLES = """
SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'user_id'
"""


async def _code(user: TestUser, execution_id: str) -> tuple[int, str]:
    answer = await user.http.delete(f"/api/executions/{execution_id}")
    return answer.status_code, answer.json()["code"]


async def _completed(api: Api, user: TestUser) -> Accepted:
    """Return a completed execution with two files, a webhook, and SECRET wherever texts are."""
    one = await end(
        api.database,
        user.user_id,
        STORED,
        status=ExecutionStatus.COMPLETED,
    )
    async with api.database.as_system() as conn:
        for statement in (PLANT, *PLANTS):
            await conn.execute(statement, one.execution_id, SECRET)
    return one


async def _rows_with_secret(conn: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    """Return the tables with a row that has SECRET, as text or as bytes."""
    tables = [row["table_name"] for row in await conn.fetch(LIST_TABLES)]
    return [
        table
        for table in tables
        if await conn.fetchval(
            f"SELECT EXISTS (SELECT FROM {table} AS t WHERE t::text LIKE '%' || $1 || '%'"
            " OR t::text LIKE '%' || encode(convert_to($1, 'UTF8'), 'hex') || '%')",
            SECRET,
        )
    ]


async def test_deletion_erases_texts_and_keeps_the_money(
    api: Api, fresh_database: FreshDatabase
) -> None:
    user = await api.new_user()
    one = await _completed(api, user)
    async with api.database.as_user(user.user_id) as conn:
        assets = [row["asset_id"] for row in await conn.fetch("SELECT asset_id FROM assets")]
    usage = (await user.http.get("/api/usage")).json()
    owner = await asyncpg.connect(fresh_database.owner_dsn)
    assert {"executions", "steps", "jobs", "sends", "webhooks"} <= set(
        await _rows_with_secret(owner)
    )

    answer = await user.http.delete(f"/api/executions/{one.execution_id}")

    assert answer.status_code == 200, answer.text
    receipt = answer.json()
    assert (receipt["files"], receipt["filesPending"], receipt["webhooks"]) == (2, 2, 1)
    assert await _rows_with_secret(owner) == []
    await owner.close()
    assert (await user.http.delete(f"/api/executions/{one.execution_id}")).json() == receipt
    for path in (
        f"/api/executions/{one.execution_id}",
        *(f"/api/assets/{asset_id}/content" for asset_id in assets),
    ):
        assert (await user.http.get(path)).status_code == 404
    retried = await user.http.post(f"/api/executions/{one.execution_id}/retry")
    assert retried.status_code == 404
    assert (await user.http.get("/api/executions")).json()["data"] == []
    assert (await user.http.get("/api/executions", params={"metadataKey": "a"})).json() == {
        "data": [],
        "nextCursor": None,
    }
    assert (await user.http.get("/api/usage")).json() == usage
    async with api.database.reading_all() as conn:
        assert await list_findings(conn) == []


@pytest.mark.parametrize("claimed", [False, True])
async def test_open_execution_is_not_deleted(
    shared_api: Api, api_once: TestUser, claimed: bool
) -> None:
    one = await accept(shared_api.database, new_execution(api_once.user_id), claimed=claimed)
    assert await _code(api_once, one.execution_id) == (409, "execution_not_ended")


async def test_execution_with_an_open_bill_is_not_deleted(
    shared_api: Api, api_once: TestUser
) -> None:
    unbilled = replace(STORED, cost=None, state=JobState.FAILED)
    one = await end(shared_api.database, api_once.user_id, unbilled)
    answer = await api_once.http.delete(f"/api/executions/{one.execution_id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "execution_not_final")
    assert "bill" in answer.json()["detail"]


async def test_execution_with_a_pending_webhook_is_not_deleted(
    shared_api: Api, api_once: TestUser
) -> None:
    one = await end(shared_api.database, api_once.user_id, STORED)
    answer = await api_once.http.delete(f"/api/executions/{one.execution_id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "execution_not_final")
    assert "webhook" in answer.json()["detail"]
    assert (await api_once.http.get(f"/api/executions/{one.execution_id}")).status_code == 200
