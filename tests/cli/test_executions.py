"""`takeone-admin executions cancel`: what a filter matches, what is at stake, and the cancel."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from core.domain.ids import UserId
from core.domain.money import usd_text
from core.store.accounts.audit import list_audit
from core.store.database import Database
from core.store.jobs.sends import begin_send
from core.store.money.reports.ledger_check import list_findings
from tests.support.admin import Ran, run_admin
from tests.support.operator_jobs import REQUEST, sent
from tests.support.rows import IMAGE_PRICE, VIDEO_PRICE, accept, new_execution, new_user
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G5")


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=2) as opened:
        yield opened


async def cancelled(database: Database) -> dict[str, str | None]:
    """Return the user of each execution whose cancel was requested, with the reason."""
    async with database.as_system() as conn:
        rows = await conn.fetch(
            "SELECT user_id, cancel_reason FROM executions WHERE cancel_requested_at IS NOT NULL"
        )
    return {row["user_id"]: row["cancel_reason"] for row in rows}


async def test_cancel_counts_money_and_acts_only_with_yes(
    fresh_database: FreshDatabase, database: Database
) -> None:
    at_provider = await sent(database)
    other = await accept(database, new_execution(await new_user(database)), claimed=False)

    async def cancel(*arguments: str) -> Ran:
        return await run_admin(fresh_database.application_dsn, "executions", "cancel", *arguments)

    shown: dict[str, Any] = (await cancel("--all")).json
    assert (shown["dryRun"], shown["cancelled"]) == (True, 0)
    assert shown["matching"] == {
        "executions": 2,
        "queued": 1,
        "users": 2,
        "jobsAtProviders": 1,
        "heldUsd": usd_text(2 * (IMAGE_PRICE + VIDEO_PRICE)),
        "sentUsd": usd_text(IMAGE_PRICE),
        "settledUsd": "0",
    }
    assert await cancelled(database) == {}

    done = (await cancel("--user", other.user_id, "--reason", "left", "--yes")).json
    assert (done["dryRun"], done["cancelled"]) == (False, 1)
    assert await cancelled(database) == {other.user_id: "left"}
    again = (await cancel("--user", other.user_id, "--yes")).json
    assert (again["matching"]["executions"], again["cancelled"]) == (0, 0)
    async with database.as_system() as conn:
        assert [
            (entry.action, entry.target, entry.detail["executions"])
            for entry in await list_audit(conn)
        ] == [("executions cancel", other.user_id, [other.execution_id])]
        assert await list_findings(conn) == []
        # The cancel is in force before any workflow has received it.
        assert await begin_send(conn, other.image, 1, REQUEST, {}) is None
    assert at_provider.user_id not in await cancelled(database)


@pytest.mark.parametrize(
    ("arguments", "matching"),
    [
        (("--provider", "fal"), 1),
        (("--provider", "replicate", "--status", "running"), 2),
        (("--status", "queued"), 0),
        (("--model", "fal-ai/flux/schnell"), 1),
        (("--older-than", "1"), 0),
        (("--execution", "exec_unknown"), 0),
    ],
)
async def test_filters_match_unfinished_jobs(
    fresh_database: FreshDatabase, database: Database, arguments: tuple[str, ...], matching: int
) -> None:
    user_id: UserId = await new_user(database)
    await accept(database, new_execution(user_id))
    await accept(
        database,
        new_execution(
            user_id, image_provider="replicate", image_model="black-forest-labs/flux-schnell"
        ),
    )
    ran = await run_admin(fresh_database.application_dsn, "executions", "cancel", *arguments)
    assert ran.json["matching"]["executions"] == matching


@pytest.mark.parametrize("arguments", [("--yes",), ("--all", "--user", "usr_1")])
async def test_cancel_without_a_filter_is_refused(
    fresh_database: FreshDatabase, arguments: tuple[str, ...]
) -> None:
    ran = await run_admin(fresh_database.application_dsn, "executions", "cancel", *arguments)
    assert (ran.code, "at least one filter" in ran.err) == (2, True)
