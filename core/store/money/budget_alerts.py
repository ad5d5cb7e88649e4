"""Thresholds of a month's budget: each is written down once, with the event that tells its user, in
the transaction that reaches it.

Reached is reached: what is released, or a limit that is raised, takes nothing back, and the same
threshold is not told again in the same month.
"""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from core.domain.ids import EventId, UserId, threshold_event_id
from core.domain.messages.webhooks import EventType
from core.domain.money import usd_text
from core.domain.months import Measure, next_month, reached_percents
from core.store.database import Connection
from core.store.webhooks.account_events import insert_account_event

# The row's lock makes those who pass thresholds of one month one after the other. A month that is
# over is not told of.
LOCK_BUDGET = """
SELECT budget_month, held_nano_usd, settled_nano_usd, held_videos, settled_videos FROM budgets
WHERE user_id = $1 AND budget_month = date_trunc('month', now() AT TIME ZONE 'UTC')::date
  AND budget_month = coalesce($2, budget_month)
FOR NO KEY UPDATE
"""
# After the lock, so that it sees what the one before has committed.
GET_ACCOUNT = """
SELECT u.monthly_nano_usd_limit, u.monthly_videos_limit, d.endpoint_id,
       ARRAY(SELECT t.measure || '/' || t.percent FROM budget_alerts AS t
             WHERE t.user_id = u.user_id AND t.budget_month = $2) AS told
FROM users AS u LEFT JOIN endpoints AS d ON d.user_id = u.user_id AND d.is_default
WHERE u.user_id = $1
"""
INSERT_THRESHOLD = """
INSERT INTO budget_alerts (user_id, budget_month, measure, percent, event_id) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING
"""


def crosses(limit: int | None, used: int, by: int) -> bool:
    """Whether the last `by` of what is used has reached a threshold."""
    return reached_percents(limit, used) != reached_percents(limit, used - by)


async def note_thresholds(conn: Connection, user_id: UserId, month: date | None = None) -> None:
    """Write down what this month's budget has reached, and an event for each if the account has a
    default endpoint.

    month: whose budget was touched; for another month than this one nothing is done.

    Repeating changes nothing. The row of the month is locked: call it where the budget is touched,
    last before COMMIT. The sweep starts the deliveries.
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
            if f"{measure}/{percent}" in account["told"]:
                continue
            event_id = None
            if account["endpoint_id"] is not None:
                event_id = threshold_event_id(user_id, this_month, measure, percent)
                body = _body(
                    event_id, this_month, measure, percent, limit=limit, held=held, settled=settled
                )
                type_ = EventType.BUDGET_THRESHOLD_REACHED
                await insert_account_event(conn, event_id, account["endpoint_id"], type_, body)
            await conn.execute(INSERT_THRESHOLD, user_id, this_month, measure, percent, event_id)


def _used(budget: Mapping[str, Any], measure: Measure) -> tuple[int, int]:
    if measure is Measure.USD:
        return budget["held_nano_usd"], budget["settled_nano_usd"]
    return budget["held_videos"], budget["settled_videos"]


def _body(
    event_id: EventId,
    month: date,
    measure: Measure,
    percent: int,
    *,
    limit: int,
    held: int,
    settled: int,
) -> bytes:
    """The body as it is stored once and sent on every try: money as decimal text, videos as
    numbers.
    """
    money = measure is Measure.USD
    amounts = {"limit": limit, "used": held + settled, "held": held, "settled": settled}
    body = {
        "id": event_id,
        "type": EventType.BUDGET_THRESHOLD_REACHED,
        "timestamp": _text(datetime.now(UTC)),
        "month": f"{month:%Y-%m}",
        "kind": measure,
        "percent": percent,
        **({"currency": "USD"} if money else {}),
        **{name: usd_text(amount) if money else amount for name, amount in amounts.items()},
        "resetsAt": _text(next_month(month)),
    }
    return json.dumps(body, separators=(",", ":")).encode()


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
