"""The reconciler deletes what is older than its retention, and nothing that is open."""

from dataclasses import replace

import pytest

import core.maintenance.retention
from core.domain.ids import UserId
from core.domain.states import ExecutionStatus, JobState
from core.maintenance.retention import Retention, retention_days
from core.platform.settings.worker import RetentionSettings
from core.store.executions.retention import DataKind
from core.store.money.reports.ledger_check import list_findings
from tests.api.ended import STORED, end
from tests.support.activity_harness import ActivityHarness
from tests.support.rows import Accepted, accept, new_execution, new_user

pytestmark = pytest.mark.guarantee("G3")

AGE = 30
OLDER = (
    "UPDATE executions SET ended_at = ended_at - interval '40 days'",
    "UPDATE sends SET sent_at = sent_at - interval '40 days', request = '{\"body\": 1}'",
    "UPDATE webhooks SET ended_at = ended_at - interval '40 days'",
    "UPDATE assets SET created_at = created_at - interval '40 days'",
    "INSERT INTO callbacks"
    " SELECT provider, job_id, job_id, user_id, 1, 'x', false, now() - interval '40 days' FROM jobs",
    "INSERT INTO webhook_attempts (event_id, delivery, number, user_id, started_at)"
    " SELECT event_id, 1, 1, user_id, now() - interval '40 days' FROM webhooks",
)
COUNTS = {
    DataKind.EXECUTIONS: "SELECT count(*) FROM executions WHERE deleted_at IS NULL",
    DataKind.SENDS: "SELECT count(*) FROM sends WHERE request <> '{}'",
    DataKind.CALLBACKS: "SELECT count(*) FROM callbacks",
    DataKind.WEBHOOKS: "SELECT count(*) FROM webhooks",
    DataKind.WEBHOOK_ATTEMPTS: "SELECT count(*) FROM webhook_attempts",
    DataKind.FILES: "SELECT count(*) FROM assets WHERE job_id IS NOT NULL",
    DataKind.UPLOADS: "SELECT count(*) FROM assets WHERE job_id IS NULL",
}
KEPT = {
    DataKind.EXECUTIONS: 3,
    DataKind.SENDS: 2,
    DataKind.CALLBACKS: 2,
    DataKind.WEBHOOKS: 1,
    DataKind.WEBHOOK_ATTEMPTS: 1,
    DataKind.FILES: 0,
    DataKind.UPLOADS: 1,
}
"""What stays of the four executions of `_filled`, by the kind that alone has a retention."""


async def _filled(harness: ActivityHarness) -> list[Accepted]:
    """Insert executions of 40 days ago: a finished one, and three in which something is open."""
    database = harness.database
    user_id: UserId = await new_user(database)
    unbilled = replace(STORED, cost=None, stored=False, state=JobState.FAILED)
    executions = [
        await end(database, user_id, STORED, status=ExecutionStatus.COMPLETED),
        await end(database, user_id, STORED, status=ExecutionStatus.COMPLETED),
        await end(database, user_id, unbilled),
        await accept(database, new_execution(user_id), claimed=True),
    ]
    pending = executions[1].execution_id
    await harness.as_owner(
        "UPDATE webhooks SET state = 'delivered', ended_at = now() WHERE execution_id <> $1",
        pending,
    )
    # One upload is in use by the running execution.
    for asset_id in ("asset_free", "asset_used"):
        await harness.as_owner(
            "INSERT INTO assets (asset_id, user_id, kind, object_key, size_bytes, sha256, content_type)"
            " VALUES ($1, $2, 'image', $1, 1, $1, 'image/png')",
            asset_id,
            user_id,
        )
    await harness.as_owner(
        'UPDATE steps SET parameters = parameters || \'{"image": {"asset": "asset_used"}}\''
        " WHERE execution_id = $1",
        executions[3].execution_id,
    )
    for statement in OLDER:
        await harness.as_owner(statement)
    return executions


async def _counts(harness: ActivityHarness) -> dict[DataKind, int]:
    async with harness.database.as_system() as conn:
        return {kind: await conn.fetchval(query) for kind, query in COUNTS.items()}


@pytest.mark.parametrize("kind", DataKind)
async def test_retention_deletes_old_data_of_one_kind_only(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch, kind: DataKind
) -> None:
    monkeypatch.setattr(core.maintenance.retention, "BATCH", 1)
    finished, *_ = await _filled(harness)
    before = await _counts(harness)

    await Retention(database=harness.database, days={kind: AGE + 20}).apply()
    assert await _counts(harness) == before, "younger than its retention"
    await Retention(database=harness.database, days={kind: AGE}).apply()

    after = await _counts(harness)
    assert after[kind] == KEPT[kind] < before[kind]
    if kind not in (DataKind.EXECUTIONS, DataKind.WEBHOOKS):
        assert {**before, kind: 0} == {**after, kind: 0}
    async with harness.database.reading_all() as conn:
        assert await list_findings(conn) == []
        assert await conn.fetchval(
            "SELECT sum(settled_nano_usd) > 0 FROM charges WHERE execution_id = $1",
            finished.execution_id,
        )


async def test_run_of_retention_is_bounded(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.maintenance.retention, "BATCH", 1)
    monkeypatch.setattr(core.maintenance.retention, "BATCHES", 1)
    await _filled(harness)
    before = (await _counts(harness))[DataKind.CALLBACKS]

    await Retention(database=harness.database, days={DataKind.CALLBACKS: AGE}).apply()

    assert (await _counts(harness))[DataKind.CALLBACKS] == before - 1


def test_everything_is_kept_by_default() -> None:
    assert retention_days(RetentionSettings()) == {}
    assert retention_days(RetentionSettings(retention_days_files=7)) == {DataKind.FILES: 7}
