"""The deadline of an execution stands still while a job waits for a provider's slot."""

import pytest

from core.domain.failures import FailureCode
from core.domain.messages.jobs import SubmitOutcome
from core.store.providers.capacity import pause_scope
from tests.activities.test_admission import NAME, limited, pause_is_over
from tests.support.activity_harness import ActivityHarness

pytestmark = pytest.mark.guarantee("G5")

GET_DEADLINE = """
SELECT deadline_at, deadline_at - started_at - waited AS run_length, waiting_since IS NOT NULL AS stopped
FROM executions WHERE execution_id = $1
"""


async def test_deadline_stands_still_while_a_job_waits_for_a_slot(
    harness: ActivityHarness,
) -> None:
    jobs = limited(harness, 1)
    first, second = await harness.accepted(), await harness.accepted()
    assert (await harness.run(jobs.submit, first.image)).outcome is SubmitOutcome.SUBMITTED
    async with harness.database.as_system() as conn:
        before = await conn.fetchrow(GET_DEADLINE, second.execution_id)
        assert before is not None
        await pause_scope(conn, NAME, 300)
    deferred = await harness.run(jobs.submit, second.image)
    assert deferred.held_back
    assert deferred.failure is not None
    assert deferred.failure.code is FailureCode.QUEUE_TIMED_OUT
    # A day passes for the execution, far beyond its deadline.
    await harness.as_owner(
        "UPDATE executions SET started_at = started_at - interval '1 day',"
        " deadline_at = deadline_at - interval '1 day', waiting_since = waiting_since - interval '1 day'"
    )
    assert not (await harness.job(second.image)).late
    await pause_is_over(harness)
    sent = await harness.run(harness.jobs.submit, second.image)
    assert sent.outcome is SubmitOutcome.SUBMITTED
    async with harness.database.as_system() as conn:
        after = await conn.fetchrow(GET_DEADLINE, second.execution_id)
    assert after is not None
    assert (after["stopped"], after["run_length"]) == (False, before["run_length"])
    assert after["deadline_at"] >= before["deadline_at"]
