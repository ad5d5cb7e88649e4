"""The retry schedule of webhook deliveries."""

import hashlib
from typing import Final

from core.domain.messages.webhooks import DeliveryOrder

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
"""The retry schedule after the immediate first attempt: ten attempts in just over three days, as
Standard Webhooks advises. Short network errors, deployments and a lost weekend are each followed
by an attempt.
"""
JITTER: Final = 0.15
"""The share of a delay that is added at random, so that attempts that failed together spread out.
It never shortens a delay: the schedule always spans at least 75 hours.
"""
MAX_RETRY_AFTER_SECONDS: Final = 24 * _HOUR
"""The limit of a receiver's Retry-After: the longest delay of the schedule itself."""


def retry_delay_seconds(
    order: DeliveryOrder, number: int, retry_after_seconds: float | None
) -> float | None:
    """Return the pause after the attempt of this number; None if the schedule is over.

    The result is deterministic, jitter included.
    """
    if number > len(RETRY_DELAYS_SECONDS):
        return None
    digest = hashlib.sha256(f"{order.event_id}/{order.delivery}/{number}".encode()).digest()
    spread = int.from_bytes(digest[:8], "big") / 2**64  # 0 to 1
    delay = RETRY_DELAYS_SECONDS[number - 1] * (1 + JITTER * spread)
    return max(delay, min(retry_after_seconds or 0.0, MAX_RETRY_AFTER_SECONDS))
