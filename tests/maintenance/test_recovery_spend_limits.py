"""A recovery counts what it rebuilds for the API keys that ordered it."""

from dataclasses import replace

import pytest

from core.domain.ids import KeyId
from core.store.executions.executions import insert_execution
from core.store.money.reports.ledger_check import list_findings
from core.store.recovery.start_memo import StartMemo, get_accepted, packed
from tests.maintenance.test_recovery import FakeHistories, forget, recorded, recover, row
from tests.support.activity_harness import ActivityHarness
from tests.support.rows import IMAGE_PRICE, VIDEO_PRICE, new_execution, new_user

pytestmark = [pytest.mark.usefixtures("no_restore_marker"), pytest.mark.guarantee("G4")]

KEY = KeyId("key_0192f3a4b5c67d8e9f0123456789abcd")
"""A key that the restored database does not have."""


async def test_rebuilt_execution_counts_for_its_key(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await new_user(harness.database)
    new = replace(new_execution(user_id), key_id=KEY)
    async with harness.database.as_user(user_id) as conn:
        await insert_execution(conn, new)
    async with harness.database.as_user(user_id) as conn:
        accepted = StartMemo(document=(await get_accepted(conn, new.execution_id)).document)
    assert len(packed(accepted.document)) < 1900, "Temporal's client warns from 2 kB on"
    await forget(harness)
    await harness.as_owner("TRUNCATE key_spending")
    past = FakeHistories(recorded(accepted, {}, is_open=True))
    for _ in range(2):  # the second recovery changes nothing
        await recover(harness, monkeypatch, past)
        counted = "SELECT count(*), min(held_nano_usd), max(held_nano_usd) FROM key_spending"
        assert await row(harness, counted) == (2, *[IMAGE_PRICE + VIDEO_PRICE] * 2)
    async with harness.database.reading_all() as conn:
        assert [one for one in await list_findings(conn) if one.check == "key-spending"] == []
