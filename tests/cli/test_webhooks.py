"""`takeone-admin webhooks`: listing and resending events of a range."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest

from core.domain.messages.webhooks import FailedReason
from core.store.accounts.audit import list_audit
from core.store.database import Database
from core.store.webhooks.events import mark_delivered, mark_failed
from core.store.webhooks.pending_deliveries import fail_overdue
from tests.support.admin import Ran, run_admin
from tests.support.servers import FreshDatabase
from tests.support.webhook_rows import Stored, store_webhook

pytestmark = pytest.mark.guarantee("G5")

FOUR_DAYS = 4 * 86_400.0


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=2) as opened:
        yield opened


async def failed(database: Database, *, days_old: int = 0) -> Stored:
    stored = await store_webhook(database, "https://receiver.example/hook")
    async with database.as_system() as conn:
        assert await mark_failed(conn, stored.order, FailedReason.EXHAUSTED)
        await conn.execute(
            "UPDATE webhooks SET created_at = created_at - make_interval(days => $2),"
            " pending_since = pending_since - make_interval(days => $2) WHERE event_id = $1",
            stored.event_id,
            days_old,
        )
    return stored


async def states(database: Database) -> dict[str, tuple[str, int]]:
    async with database.as_system() as conn:
        rows = await conn.fetch("SELECT event_id, state, delivery FROM webhooks")
    return {row["event_id"]: (row["state"], row["delivery"]) for row in rows}


async def run(fresh: FreshDatabase, *arguments: str) -> Ran:
    return await run_admin(fresh.application_dsn, "webhooks", *arguments)


async def test_range_is_counted_then_resent_once(
    fresh_database: FreshDatabase, database: Database
) -> None:
    new, old = await failed(database), await failed(database, days_old=10)
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    shown = (await run(fresh_database, "resend", "--from", since)).json
    assert shown == {"dryRun": True, "events": 1, "skipped": 0, "users": 1, "resent": 0}
    assert (await states(database))[new.event_id] == ("failed", 1)

    done = (await run(fresh_database, "resend", "--from", since, "--yes")).json
    assert (done["events"], done["resent"]) == (1, 1)
    assert await states(database) == {new.event_id: ("pending", 2), old.event_id: ("failed", 1)}
    again = (await run(fresh_database, "resend", "--from", since, "--yes")).json
    assert (again["events"], again["resent"]) == (0, 0)
    async with database.as_system() as conn:
        (entry,) = await list_audit(conn)
    assert (entry.action, entry.target, entry.detail["resent"]) == (
        "webhooks resend",
        new.user_id,
        1,
    )


async def test_resent_event_of_last_week_gets_a_whole_schedule(
    fresh_database: FreshDatabase, database: Database
) -> None:
    old = await failed(database, days_old=10)
    await run(fresh_database, "resend", "--user", old.user_id, "--yes")
    async with database.as_system() as conn:
        assert await fail_overdue(conn, older_than_seconds=FOUR_DAYS) == []
    assert (await states(database))[old.event_id] == ("pending", 2)


async def test_event_at_a_disabled_endpoint_is_skipped(
    fresh_database: FreshDatabase, database: Database
) -> None:
    stored = await failed(database)
    async with database.as_system() as conn:
        await conn.execute("UPDATE endpoints SET disabled_at = now(), disabled_reason = 'gone'")
    done = (await run(fresh_database, "resend", "--user", stored.user_id, "--yes")).json
    assert (done["events"], done["skipped"], done["resent"]) == (1, 1, 0)
    ran = await run(fresh_database, "resend", stored.event_id)
    assert (ran.code, "must enable it" in ran.err) == (2, True)


async def test_one_event_is_resent_and_audited(
    fresh_database: FreshDatabase, database: Database
) -> None:
    stored = await failed(database)
    listed = (await run(fresh_database, "list")).json
    assert [(each["eventId"], each["failedReason"]) for each in listed] == [
        (stored.event_id, "exhausted")
    ]
    assert (await run(fresh_database, "resend", stored.event_id)).json["delivery"] == 2
    assert (await states(database))[stored.event_id] == ("pending", 2)
    async with database.as_system() as conn:
        assert await mark_delivered(conn, stored.order) is False  # of the earlier delivery
        assert [entry.target for entry in await list_audit(conn)] == [stored.event_id]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("resend",), 2),
        (("resend", "--state", "delivered", "--yes"), 2),
        (("resend", "evt_unknown"), 1),
        (("resend", "evt_1", "--user", "usr_1"), 2),
        (("resend", "--from", "2026-11-22"), 2),
    ],
)
async def test_unclear_resend_is_refused(
    fresh_database: FreshDatabase, arguments: tuple[str, ...], code: int
) -> None:
    assert (await run(fresh_database, *arguments)).code == code
