"""Budget alerts: each threshold of a month's budget is recorded once, with its webhook event.

They are recorded in the transaction that reaches the threshold. A release or a raised limit
revokes nothing, and a threshold is reported once per month.
"""

from collections.abc import Mapping
from datetime import date
from functools import partial
from typing import Any

from core.domain.ids import UserId, threshold_event_id
from core.domain.messages.webhooks import EventType
from core.domain.months import THRESHOLD_PERCENTS, Measure, reached_percents
from core.domain.webhook_payload import budget_threshold_body
from core.platform.observability.logging import get_logger
from core.platform.observability.metrics import USER_BUDGET_ALERTS
from core.store.database import Connection, after_commit
from core.store.webhooks.account_events import insert_account_event

log = get_logger(__name__)

for _measure in Measure:
    for _percent in THRESHOLD_PERCENTS:  # start at zero, so that the first is an increase
        USER_BUDGET_ALERTS.labels(_measure, str(_percent))

# The row lock serialises transactions that reach thresholds of one month. Past months send no
# alerts.
LOCK_BUDGET = """
SELECT budget_month, held_nano_usd, settled_nano_usd, held_videos, settled_videos FROM budgets
WHERE user_id = $1 AND budget_month = date_trunc('month', now() AT TIME ZONE 'UTC')::date
  AND budget_month = coalesce($2, budget_month)
FOR NO KEY UPDATE
"""
# Read after the lock, so that it includes what the previous holder committed.
GET_ACCOUNT = """
SELECT u.monthly_nano_usd_limit, u.monthly_videos_limit, d.endpoint_id,
       ARRAY(SELECT t.measure || '/' || t.percent FROM budget_alerts AS t
             WHERE t.user_id = u.user_id AND t.budget_month = $2) AS reported
FROM users AS u LEFT JOIN endpoints AS d ON d.user_id = u.user_id AND d.is_default
WHERE u.user_id = $1
"""
INSERT_THRESHOLD = """
INSERT INTO budget_alerts (user_id, budget_month, measure, percent, event_id) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING
"""


def crosses(limit: int | None, used: int, by: int) -> bool:
    """Return whether adding the last `by` to `used` reached a threshold."""
    return reached_percents(limit, used) != reached_percents(limit, used - by)


async def note_thresholds(conn: Connection, user_id: UserId, month: date | None = None) -> None:
    """Record the thresholds that this month's budget has reached, with an event for each.

    Events need a default endpoint; the reconciler starts their deliveries. month: the month whose
    budget changed; only the present month has alerts. Repeating changes nothing. The month's row
    is locked: call it last before COMMIT.
    """
    row = await conn.fetchrow(LOCK_BUDGET, user_id, month)
    if row is None:
        return
    budget = dict(row)
    this_month: date = budget["budget_month"]
    (account,) = await conn.fetch(GET_ACCOUNT, user_id, this_month)
    for measure, limit in (
        (Measure.USD, account["monthly_nano_usd_limit"]),
        (Measure.VIDEOS, account["monthly_videos_limit"]),
    ):
        held, settled = _used(budget, measure)
        for percent in reached_percents(limit, held + settled):
            if f"{measure}/{percent}" in account["reported"]:
                continue
            event_id = None
            if account["endpoint_id"] is not None:
                event_id = threshold_event_id(user_id, this_month, measure, percent)
                body = budget_threshold_body(
                    event_id,
                    month=this_month,
                    measure=measure,
                    percent=percent,
                    limit=limit,
                    held=held,
                    settled=settled,
                )
                type_ = EventType.BUDGET_THRESHOLD_REACHED
                await insert_account_event(conn, event_id, account["endpoint_id"], type_, body)
            await conn.execute(INSERT_THRESHOLD, user_id, this_month, measure, percent, event_id)
            after_commit(partial(_report, user_id, measure, percent))


def _report(user_id: UserId, measure: Measure, percent: int) -> None:
    USER_BUDGET_ALERTS.labels(measure, str(percent)).inc()
    log.info("user.budget_reached", user_id=user_id, measure=measure, percent=percent)


def _used(budget: Mapping[str, Any], measure: Measure) -> tuple[int, int]:
    if measure is Measure.USD:
        return budget["held_nano_usd"], budget["settled_nano_usd"]
    return budget["held_videos"], budget["settled_videos"]
