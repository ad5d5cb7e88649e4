"""Queue check: no order is accepted that would wait for its provider longer than allowed."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from core.domain.ids import UserId
from core.domain.plans import Step
from core.domain.queue_waits import provider_wait_seconds
from core.ordering.errors import OwnQueueFullError, ProviderQueueFullError
from core.store.database import Connection
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.providers.provider_queues import list_queues

MIN_RETRY_SECONDS: Final = 5


async def check_provider_queues(
    conn: Connection, user_id: UserId, steps: Sequence[Step], limits: ConcurrencyLimits
) -> None:
    """Check the expected wait for each key that these steps would be bought with.

    The user's open executions are taken to need the same provider. Call in the transaction that
    accepts, before it locks any row.
    Raises ProviderQueueFullError, OwnQueueFullError.
    """
    jobs = Counter(step.provider for step in steps)
    for queue in await list_queues(conn, user_id, list(jobs)):
        job_seconds = queue.work_seconds / queue.jobs
        wait_seconds = provider_wait_seconds(
            work_seconds=queue.work_seconds,
            own_work_seconds=(queue.own_executions + 1) * jobs[queue.provider] * job_seconds,
            users=queue.users,
            slots=queue.slots,
        )
        if wait_seconds > limits.longest_wait_seconds:
            error = OwnQueueFullError if queue.own_key else ProviderQueueFullError
            raise error(
                provider=queue.provider,
                wait_seconds=math.ceil(wait_seconds),
                limit_seconds=int(limits.longest_wait_seconds),
                retry_after_seconds=retry_after_seconds(wait_seconds, limits),
            )


def retry_after_seconds(wait_seconds: float, limits: ConcurrencyLimits) -> int:
    """Return when an order will be accepted if the queue is served as estimated."""
    return max(math.ceil(wait_seconds - limits.longest_wait_seconds), MIN_RETRY_SECONDS)
