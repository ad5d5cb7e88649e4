"""Time-outs and retries of webhook delivery, each with its reason. The days between tries: activities/webhooks.py."""

from datetime import timedelta
from typing import Final

from temporalio.common import RetryPolicy

ATTEMPT_START_TO_CLOSE: Final = timedelta(seconds=30)
"""One try: 15 s for the receiver, and two short transactions around it."""

DELIVERY_SCHEDULE_TO_CLOSE: Final = timedelta(days=12)
"""All tries. The schedule takes 3.2 days, 3.7 with jitter; nine if the receiver asks for a day after each; the rest is
for outages of ours. Nothing is tried for ever."""

LOST_ATTEMPT: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_interval=timedelta(minutes=5)
)
"""For tries that ended without an answer of ours: a lost worker, PostgreSQL away. A try that was made names its own
delay. No limit of attempts: the schedule counts the tries that were really made."""
