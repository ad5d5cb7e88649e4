"""Every task queue, and every time-out and retry of workflows and activities, each with its reason.

The limits of one HTTP call stand beside the call, the sweep's own rhythm in
core/maintenance/reconciler.py.
"""

from datetime import timedelta
from typing import Final

from temporalio.common import Priority, RetryPolicy

# Task queues. Workflow tasks and short database steps share one; everything that waits on somebody
# else has its own, so that a slow customer endpoint or a slow download never holds a submit.
EXECUTIONS_QUEUE: Final = "executions"
WAIT_QUEUE: Final = "wait"
ASSETS_QUEUE: Final = "assets"
WEBHOOKS_QUEUE: Final = "webhooks"


def submit_queue(provider: str) -> str:
    """One queue per provider for paid calls: a provider's rate limit is set on its queue alone."""
    return f"submit-{provider}"


START_RPC_TIMEOUT: Final = timedelta(seconds=3)
"""A start or signal from a request handler. When Temporal is down the sweep does it later, so
nobody waits longer.
"""

# Deadlines nest: create call < start-to-close, less its wait for room (a stop ends that) < graceful
# shutdown < exit. A stop never cuts a paid call.
CREATE_CALL_SECONDS: Final = 18.0
"""The whole of a create call; the answer can still be committed before the activity's
start-to-close.
"""
SEND_WITHIN_SECONDS: Final = 5.0
"""How long after its intent began a create call may put its first byte on the wire. Every
provider's horizon is longer: who finds a send absent past the horizon knows that no stopped
worker can still send it.
"""
RECORD_PAUSES_SECONDS: Final = (0.3, 1.0)
"""Between tries to commit an answer, in what the start-to-close leaves after the create call."""
ROOM_WAIT_SECONDS: Final = 5.0
"""How long a submit waits for room at its provider, before its intent and before its create call's
time begins. A stop ends it at once. Meanwhile it holds a slot: so what waits longer waits in the
queue, in the order of fairness.
"""
ROOM_LOOK_SECONDS: Final = 0.6
SUBMIT_START_TO_CLOSE: Final = timedelta(seconds=23 + ROOM_WAIT_SECONDS + 1)
"""The wait, a last look, and the create call with its commits."""
HELD_BACK_MAX_SECONDS: Final = 60.0
"""How long a job that is held back sleeps at most: an operator's reset is heard within it."""
HELD_BACK_SECONDS: Final = 1.0
"""And at least, where it may be taken at any moment."""
GRACEFUL_SHUTDOWN: Final = timedelta(seconds=25)
EXIT_SECONDS: Final = 30.0
"""What a supervisor allows between SIGTERM and SIGKILL."""

HEARTBEAT: Final = timedelta(seconds=6)
"""Of activities that wait or call out. With the sticky time-out below, a killed worker's jobs move
on within ten seconds.
"""

STICKY_SCHEDULE_TO_START: Final = timedelta(seconds=2)
"""How long a workflow task waits for a worker that is dead. The default of 10 s would be most of a
recovery.
"""

ONCE: Final = RetryPolicy(maximum_attempts=1)
"""A paid call is never repeated by Temporal: the workflow asks the job's row what became of it
(pay-once protocol).
"""

DATABASE: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=10),
)
"""Short idempotent database steps: PostgreSQL comes back, and nothing is lost while it is away.

No limit of attempts.
"""

DATABASE_STEP: Final = timedelta(seconds=8)
"""One try of a local activity: less than the workflow task time-out of 10 s, or the task is lost
with it.
"""

NETWORK: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=30),
)
"""Reads and look-ups at a provider, waiting, storing: repeating is safe; bounded by time, not by
attempts.
"""

CANCEL_START_TO_CLOSE: Final = timedelta(seconds=20)
CANCEL_SCHEDULE_TO_CLOSE: Final = timedelta(minutes=2)
"""A provider that cannot be told to stop for two minutes is left to finish; its real cost is
settled either way.
"""

CANCEL_GRACE: Final = timedelta(seconds=120)
"""How long a job that was asked to end is still watched before its bill is left to the sweep."""

WATCH_SLACK: Final = timedelta(minutes=2)
"""The watching activities end by themselves at the job's deadline; this much later the server ends
them.
"""

STORE_START_TO_CLOSE: Final = timedelta(minutes=15)
STORE_SCHEDULE_TO_CLOSE: Final = timedelta(minutes=65)
"""Long enough to sit out a storage outage of an hour; some providers have deleted the file after
that.
"""

STALE_UPLOAD: Final = STORE_START_TO_CLOSE + timedelta(hours=1)
"""An upload this old has no living process: its activity ended an hour ago, however far the clocks
are apart.
"""

STORING_SLACK: Final = STORE_SCHEDULE_TO_CLOSE + timedelta(minutes=5)
"""What an execution may take beyond the deadlines of its jobs: storing, and what lies between the
steps.
"""

SUBMIT_BACKOFF_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Between sends that were certainly not accepted, when the provider does not say how long. The last
one repeats.
"""

FIND_BACKOFF_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Between look-ups. The first is at once: most lists show a job within a second."""

MIN_POLL_SECONDS: Final = 1.0
MAX_POLL_SECONDS: Final = 10.0
"""Polls are the backstop of callbacks; in between by the model's usual duration
(core/jobs/poll_schedule.py).
"""

TRANSFER_SECONDS: Final = 14 * 60.0
"""Less than a store's start-to-close, so that a slow transfer fails with its own reason."""

FINISHING: Final = Priority(priority_key=1)
"""What is bought is never stuck behind new purchases: storing, telling the customer and ending a
job go first.
"""

CONTINUING: Final = Priority(priority_key=2)
"""A step that stands on a paid one goes before the first steps of other executions. Else a backlog
would be worked off step by step for all of them together, and the first video be ready when the
last one is.
"""

BEGINNING: Final = Priority(priority_key=3)
"""The server's own default."""


# Webhook delivery.
ATTEMPT_START_TO_CLOSE: Final = timedelta(seconds=30)
"""One try: 15 s for the receiver, and two short transactions around it. Its heartbeat tells a
killed worker sooner.
"""

DELIVERY_SCHEDULE_TO_CLOSE: Final = timedelta(days=12)
"""All tries. The schedule takes 3.2 days, 3.7 with jitter; nine if the receiver asks for a day
after each; the rest is for outages of ours. Nothing is tried for ever.
"""

LOST_ATTEMPT: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=5),
)
"""For tries that ended without an answer of ours: a lost worker, PostgreSQL away. A try that was
made names its own delay. No limit of attempts: the schedule counts the tries that were really
made.
"""

_MINUTE, _HOUR = 60, 3600
RETRY_DELAYS_SECONDS: Final = (
    5,
    5 * _MINUTE,
    30 * _MINUTE,
    2 * _HOUR,
    5 * _HOUR,
    10 * _HOUR,
    14 * _HOUR,
    20 * _HOUR,
    24 * _HOUR,
)
"""After the first try, which is at once: ten tries in three days and a bit, as Standard Webhooks
advises. A blink, a deploy and a lost weekend each get a try after them.
"""
JITTER: Final = 0.15
"""Part of a delay by which it may be longer: what failed together does not come back together.
Never shorter: the tries reach over 75 hours, whatever the chance.
"""
MAX_RETRY_AFTER_SECONDS: Final = 24 * _HOUR
"""A receiver may ask for later, never for sooner, and for no later than the schedule itself waits.
"""


TRIES_PER_ENDPOINT: Final = 10
"""At once, in a process. A receiver that hangs holds each for 15 s."""
TRIES_PER_FAILING_ENDPOINT: Final = 2
"""Enough to see it come back."""
TRIES_PER_USER: Final = 50
"""At once, in a process of 200 slots; of fewer slots a quarter. Whoever has many endpoints that
hang leaves the others three quarters.
"""
PUT_BACK_MIN_SECONDS: Final = 0.5
PUT_BACK_MAX_SECONDS: Final = 300.0
"""How long a webhook whose endpoint has no room for its try sleeps, at least and at most, but for
jitter: it holds no slot meanwhile, and an endpoint that is back gets what waited for it within
these minutes.
"""


def backoff_seconds(steps: tuple[float, ...], tries: int) -> float:
    """The pause after the given number of tries (from 1); the last step repeats."""
    return steps[min(tries, len(steps)) - 1]
