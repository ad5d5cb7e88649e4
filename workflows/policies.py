"""Every task queue, time-out and retry value of the product, each with its reason. Nothing else in the code names one."""

from datetime import timedelta
from typing import Final

from temporalio.common import Priority, RetryPolicy

# Task queues. Workflow tasks and short database steps share one; everything that waits on somebody else has its own,
# so that a slow customer endpoint or a slow download never holds a submit.
EXECUTIONS_QUEUE: Final = "executions"
WAIT_QUEUE: Final = "wait"
ASSETS_QUEUE: Final = "assets"
WEBHOOKS_QUEUE: Final = "webhooks"


def submit_queue(provider: str) -> str:
    """One queue per provider for paid calls and look-ups: a provider's rate limit is set on its queue alone."""
    return f"submit-{provider}"


START_RPC_TIMEOUT: Final = timedelta(seconds=3)
"""A start or signal from a request handler. When Temporal is down the sweep does it later, so nobody waits longer."""

# Deadlines nest: create call < start-to-close < graceful shutdown < exit. A stop never cuts a paid call.
CREATE_CALL_SECONDS: Final = 18.0
SUBMIT_START_TO_CLOSE: Final = timedelta(seconds=23)
GRACEFUL_SHUTDOWN: Final = timedelta(seconds=25)
EXIT_SECONDS: Final = 30.0

SUBMIT_SCHEDULE_TO_CLOSE: Final = timedelta(hours=6)
"""A paid call may wait long for its slot or its provider's rate; the execution's own deadline ends it before."""

HEARTBEAT: Final = timedelta(seconds=6)
"""Of activities that wait. With the sticky time-out below, a killed worker's jobs move on within ten seconds."""

STICKY_SCHEDULE_TO_START: Final = timedelta(seconds=2)
"""How long a workflow task waits for a worker that is dead. The default of 10 s would be most of a recovery."""

ONCE: Final = RetryPolicy(maximum_attempts=1)
"""A paid call is never repeated by Temporal: the workflow asks the job's row what became of it (pay-once protocol)."""

DATABASE: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=10)
)
"""Short idempotent database steps: PostgreSQL comes back, and nothing is lost while it is away. No limit of attempts."""

DATABASE_STEP: Final = timedelta(seconds=8)
"""One try of a local activity: less than the workflow task time-out of 10 s, or the task is lost with it."""

NETWORK: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=30)
)
"""Reads and look-ups at a provider, waiting, storing: repeating is safe; bounded by time, not by attempts."""

FIND_BACKOFF_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Between look-ups of a send whose answer is not known. The first is at once: most lists show a job within a second."""

CANCEL_START_TO_CLOSE: Final = timedelta(seconds=20)
CANCEL_SCHEDULE_TO_CLOSE: Final = timedelta(minutes=2)
"""A provider that cannot be told to stop for two minutes is left to finish; its real cost is settled either way."""

CANCEL_GRACE_SECONDS: Final = 120
"""How long a job that was asked to end is still watched before its bill is left to the sweep."""

WATCH_SLACK: Final = timedelta(minutes=2)
"""The watching activities end by themselves at the job's deadline; this much later the server ends them."""

STORE_START_TO_CLOSE: Final = timedelta(minutes=15)
STORE_SCHEDULE_TO_CLOSE: Final = timedelta(hours=3)
"""Long enough to sit out a storage outage of an hour; most providers have deleted the file after that."""

SUBMIT_BACKOFF_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Between sends that were certainly not accepted, when the provider does not say how long. The last one repeats."""

FINISHING: Final = Priority(priority_key=1)
"""What is bought is never stuck behind new purchases: storing and telling the customer go first."""


def backoff_seconds(steps: tuple[float, ...], tries: int) -> float:
    """The pause after the given number of tries (from 1); the last step repeats."""
    return steps[min(tries, len(steps)) - 1]
