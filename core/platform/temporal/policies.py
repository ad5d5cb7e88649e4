"""Task queues, and every time-out and retry policy of workflows and activities with its reason.

The limits of a single HTTP call stand next to the call; the reconciler's intervals stand in
core/maintenance/reconciler.py.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from temporalio.common import Priority, RetryPolicy

from core.domain.ids import JobId

# Task queues. Workflow tasks and short database steps share one queue. Each kind of work that waits
# for an external system has its own, so that a slow receiver or download never delays a submit.
EXECUTIONS_QUEUE: Final = "executions"
WAIT_QUEUE: Final = "wait"
ASSETS_QUEUE: Final = "assets"
WEBHOOKS_QUEUE: Final = "webhooks"
MEDIA_QUEUE: Final = "media"


OWN_KEYS_SUFFIX: Final = "-own-keys"


def submit_queue(provider: str, *, own_key: bool = False) -> str:
    """Return the queue of a provider's paid calls with the service's key, or with users' own keys.

    The rate limit of the service's key is set on its queue. The keys of all users share the other
    queue, whose tasks Temporal hands out fairly among users; each key's pace is kept in PostgreSQL.
    """
    return f"submit-{provider}{OWN_KEYS_SUFFIX if own_key else ''}"


def task_queues(providers: Iterable[str]) -> list[str]:
    """Return every task queue of an installation with these providers."""
    submit_queues = [
        submit_queue(provider, own_key=own_key)
        for provider in providers
        for own_key in (False, True)
    ]
    return [EXECUTIONS_QUEUE, *submit_queues, WAIT_QUEUE, ASSETS_QUEUE, MEDIA_QUEUE, WEBHOOKS_QUEUE]


WAIT_PREFIX: Final = "wait/"


def wait_activity_id(job_id: JobId, send_number: int, *, after_cancel: bool = False) -> str:
    """Return the id of the activity that waits for the end of a send.

    The poller completes the activity by this id, which needs no row: so a wait that no worker has
    begun yet, or whose worker was killed, is completed as well. after_cancel: the second wait of a
    job that did not end by its deadline.
    """
    return f"{WAIT_PREFIX}{job_id}/{send_number}{'/after-cancel' if after_cancel else ''}"


START_RPC_TIMEOUT: Final = timedelta(seconds=3)
"""A start or signal from a request handler. If Temporal is down, the reconciler repeats it later,
so a caller does not wait longer.
"""

# Submit. Deadlines nest: create call < start-to-close without the slot wait and the brief wait
# (a stop ends them) < graceful shutdown < exit. So a stop never interrupts a paid call.
CREATE_CALL_SECONDS: Final = 18.0
"""The whole create call; the remaining start-to-close is left to commit its answer."""
SEND_WITHIN_SECONDS: Final = 5.0
"""The time from the start of the intent's transaction to the first byte of the create call. Every
provider's horizon is longer, so once a list past the horizon shows no send, no stalled worker can
still make it.
"""
RECORD_PAUSES_SECONDS: Final = (0.3, 1.0)
"""Pauses between tries to commit an answer: what fits into the start-to-close after the call."""
SLOT_WAIT_SECONDS: Final = 5.0
"""How long a submit waits for a slot at its provider before its intent. The wait occupies an
activity slot, so longer waits happen in the task queue, in fairness order.
"""
SLOT_POLL_SECONDS: Final = 0.6
"""The pause between two looks for a free slot: a fraction of the time that a job occupies it."""
BRIEF_WAIT_SECONDS: Final = 20.0
"""How long a submit waits at most for the end of a job whose model is quick. A stop ends this wait.
"""
SUBMITTING_SECONDS: Final = 23 + SLOT_WAIT_SECONDS + 1
"""The slot wait, one last look for a slot, the create call and its commits: after this time no
running worker is within a send.
"""
ANSWER_BODY_SECONDS: Final = 120.0
"""How long a submit reads and stores the files in the answer of a create call, which the provider
may still be making. The job is submitted by then, so a stop ends this as well.
"""
SUBMIT_START_TO_CLOSE: Final = timedelta(
    seconds=SUBMITTING_SECONDS + ANSWER_BODY_SECONDS + BRIEF_WAIT_SECONDS
)
"""The send, the files in its answer and the brief wait."""
DEFERRED_MAX_SECONDS: Final = 60.0
"""The longest pause of a deferred job, so that an operator's reset takes effect within a minute."""
DEFERRED_MIN_SECONDS: Final = 1.0
"""The shortest pause of a deferred job, where a slot may become free at any moment."""
SUBMIT_BACKOFF_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 20.0)
"""Between sends that were certainly not accepted, unless the provider asks for a longer pause. The
last step repeats; with its jitter, an outage adds half a minute to a job after its end.
"""
TRANSIENT_BACKOFF_SECONDS: Final = (2.0, 20.0)
"""Before each further send of a job whose last send failed at no cost: so many at most. Together
longer than a restart of the object storage, during which providers cannot fetch their inputs.
"""
ONCE: Final = RetryPolicy(maximum_attempts=1)
"""Temporal never repeats a paid call: the workflow reads the outcome from the job's row."""

GRACEFUL_SHUTDOWN: Final = timedelta(seconds=25)
"""Longer than a submit without its slot wait, so that a running paid call ends and is recorded."""
EXIT_SECONDS: Final = 30.0
"""What a supervisor allows between SIGTERM and SIGKILL."""

HEARTBEAT: Final = timedelta(seconds=6)
"""Heartbeat time-out of activities that wait or call out. With the sticky time-out below, another
worker continues the jobs of a killed worker within ten seconds.
"""
WAIT_HEARTBEAT: Final = timedelta(seconds=60)
"""Heartbeat time-out of a wait that occupies a slot: of workflows that an earlier version started.
"""
STICKY_SCHEDULE_TO_START: Final = timedelta(seconds=2)
"""How long a workflow task waits for the worker that has it cached. The default of 10 s would be
most of the recovery time after a killed worker.
"""

DATABASE: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=10),
)
"""Short idempotent database steps: repeated without a limit until PostgreSQL is back."""
DATABASE_STEP: Final = timedelta(seconds=8)
"""One try of a local activity: less than the workflow task time-out of 10 s, with which it would
be lost.
"""

NETWORK: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=30),
)
"""Waiting, storing and cancelling: safe to repeat; bounded by time, not attempts."""
LOOKUP: Final = DATABASE
"""Look-ups, of which a killed worker or the database ended a try: they pace their looks themselves.
"""

CANCEL_START_TO_CLOSE: Final = timedelta(seconds=20)
"""One cancel call with its database steps."""
CANCEL_SCHEDULE_TO_CLOSE: Final = timedelta(minutes=2)
"""After two minutes without an answer the job is left to finish; its real cost is settled either
way.
"""
CANCEL_GRACE: Final = timedelta(seconds=120)
"""How long a job is watched after its cancel; then the reconciler settles its open bill."""
WATCH_SLACK: Final = timedelta(minutes=2)
"""Activities that wait end by themselves at the job's deadline; the server ends them this much
later if they do not.
"""

STORE_START_TO_CLOSE: Final = timedelta(minutes=15)
"""One try to transfer every file of a job: 2 GiB at about 20 Mbit/s."""
TRANSFER_SECONDS: Final = 14 * 60.0
"""One transfer: less than the start-to-close, so that a slow one fails with its own reason."""
STORE_SCHEDULE_TO_CLOSE: Final = timedelta(minutes=65)
"""All tries: outlasts a storage outage of an hour. Some providers delete files after that."""
PROVIDER_URL_LIFE: Final = timedelta(minutes=40)
"""How long a provider's own URL is passed on to the next model. The shortest-lived results last an
hour, and the next model needs time to fetch the file.
"""
SERVED_MARGIN: Final = 4
SERVED_SECONDS_MIN: Final = 86_400
"""A file waits for the next one to be stored with if its provider serves it for this many times the
deadline of the whole plan, and a day at least: an outage must not outlast it.
"""
STORED_LATER_MIN: Final = timedelta(minutes=5)
"""The shortest time for a file that could not be stored together with another one."""
UNUSABLE_FILE_RETRIED: Final = timedelta(minutes=5)
"""How long a finished job's file is fetched again that is missing, incomplete or no media file: a
CDN may serve it minutes after the job's end. The pauses are those of NETWORK.
"""
STALE_UPLOAD: Final = STORE_START_TO_CLOSE + timedelta(hours=1)
"""The age from which an upload has no living process: its activity ended an hour ago, which also
covers clock differences.
"""
STORING_SLACK: Final = STORE_SCHEDULE_TO_CLOSE + timedelta(minutes=5)
"""What an execution may take beyond the deadlines of its jobs: storing, and time between steps."""

END_SLACK: Final = CANCEL_SCHEDULE_TO_CLOSE + CANCEL_GRACE + WATCH_SLACK + STORING_SLACK
"""How long a workflow that can progress may take beyond the execution's deadline: it cancels its
jobs and stores what they delivered. The server ends the run after this time, since a workflow
whose code or key is missing cannot end itself.
"""

# Media steps. Their deadline limits one try; the execution's deadline limits all of them and the
# time in the queue.
MEDIA: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=30),
    maximum_attempts=50,
)
"""Runs that were lost with their worker, or could not reach storage or PostgreSQL. The activity
itself gives up after MEDIA_TRIES runs whose program was killed.
"""
MEDIA_TRIES: Final = 3
MEDIA_OUTAGE_TRIES: Final = 25
"""The try at which a run that an outage ended is left to the workflow, which begins a new series of
tries: no outage uses up the attempts of MEDIA, which end a job that kills its workers.
"""
SAME_CONTENT_BACKOFF_SECONDS: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Between looks at a job that is making the same files. It occupies no slot meanwhile, so it never
keeps the other job from running.
"""
POSTER: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3)
POSTER_START_TO_CLOSE: Final = timedelta(minutes=2)
POSTER_SCHEDULE_TO_CLOSE: Final = timedelta(minutes=10)
"""A video stays without a poster rather than its workflow open, if the media queue is longer."""

FIND_BACKOFF_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 20.0)
"""Between look-ups of a send. The first is immediate: most lists show a job within a second."""
FINISHING: Final = Priority(priority_key=1)
"""Storing, notifying and cancelling: paid work never waits behind new purchases."""
CONTINUING: Final = Priority(priority_key=2)
"""Steps that depend on a paid step, before the first steps of other executions. Otherwise a backlog
would advance step by step, and the first video would be ready only with the last one.
"""
BEGINNING: Final = Priority(priority_key=3)
"""First steps: the server's own default."""


# Webhook delivery.
ATTEMPT_START_TO_CLOSE: Final = timedelta(seconds=30)
"""One attempt: 15 s for the receiver and two short transactions. The heartbeat time-out detects a
killed worker sooner.
"""
FIRST_ATTEMPT_SCHEDULE_TO_START: Final = timedelta(seconds=20)
"""How long the first attempt, in the execution's workflow, waits for an activity slot. Then the
delivery's own workflow makes it.
"""
FIRST_ATTEMPT_SECONDS: Final = 30.0
"""By when the first attempt has begun after the execution's end, and ended after it began: longer
than the two time-outs above, each from its start. Until then the reconciler starts no delivery.
"""
FIRST_ATTEMPT: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=2)
"""Repeated once, after a lost worker or a database error. A receiver's failure is a result."""
DELIVERY_START_LIMIT: Final = timedelta(seconds=20)
"""How long starting a delivery after the first attempt is repeated. The reconciler starts it if
this fails.
"""
DELIVERY_SCHEDULE_TO_CLOSE: Final = timedelta(days=12)
"""All attempts: the schedule takes 3.2 days (3.7 with jitter), or nine if the receiver asks for a
day after each. The rest covers outages of this service.
"""
DELIVERY_RUN_TIMEOUT: Final = DELIVERY_SCHEDULE_TO_CLOSE + timedelta(days=1)
"""The server ends a delivery that cannot record its own end."""
LOST_ATTEMPT: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=30),
)
"""Attempts without a recorded result, after a lost worker or while PostgreSQL is down. A recorded
attempt sets its own delay. There is no attempt limit here: the schedule counts recorded attempts.
"""

ATTEMPTS_PER_ENDPOINT: Final = 10
"""Concurrent attempts in a process. A receiver that hangs occupies each for 15 s."""
ATTEMPTS_PER_FAILING_ENDPOINT: Final = 2
"""Enough to notice that the endpoint is back."""
ATTEMPTS_PER_USER: Final = 50
"""Concurrent attempts in a process with 200 slots; with fewer slots a quarter of them. One user's
hanging endpoints leave three quarters to all others.
"""
SLOT_RETRY_MIN_SECONDS: Final = 0.5
SLOT_RETRY_MAX_SECONDS: Final = 60.0
"""Pauses of a webhook that found no slot for its endpoint: they double from the minimum to the
maximum. It occupies no activity slot meanwhile.
"""


def backoff_seconds(steps: tuple[float, ...], tries: int) -> float:
    """Return the pause after the given number of tries (from 1); the last step repeats."""
    return steps[min(tries, len(steps)) - 1]


def spread_seconds(retry_after_seconds: float, backoff: float, chance: float) -> float:
    """Return a pause with jitter, never shorter than the provider's Retry-After (0: none).

    chance: a random number from 0 to 1.
    """
    if retry_after_seconds:
        return retry_after_seconds + chance * backoff
    return (0.5 + chance) * backoff
