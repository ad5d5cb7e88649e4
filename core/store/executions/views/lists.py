"""Filtered lists of executions: each page examines a bounded number of rows.

One filter chooses the index: the metadata, else the status, else none. It yields candidates, newest
first; the other filters are tested on the candidates' rows. So the time of a page does not depend
on how many executions the user has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from core.domain.ids import ExecutionId, UserId
from core.domain.plans import PlanType
from core.domain.states import ExecutionStatus
from core.store.database import Connection
from core.store.executions.views.status import ExecutionStatusRecord, read_executions

EXAMINED: Final = 2000
"""The candidates that one page examines at most. A page with fewer matches is shorter."""
CLOCKS: Final = timedelta(minutes=5)
"""An id has the time of the API's clock, `created_at` that of the database. Their difference, and
the time from the id to its transaction, are below this.
"""
FIRST_ID: Final = "exec_"
LAST_ID: Final = "exec_g"
"""The id before all ids, and the one after all ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFilter:
    """What to list. before_id: the last id of the previous page. limit: the page size.

    statuses: any of them; none: all. metadata_value: the value of metadata_key, as text.
    """

    limit: int
    before_id: ExecutionId | None = None
    statuses: Sequence[ExecutionStatus] = ()
    metadata_key: str | None = None
    metadata_value: str | None = None
    type: PlanType | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


def _matches(candidates: str) -> str:
    """Return the query of a page. candidates: the query of the ids to examine, newest first.

    $1: the user. $2, $3: the ids that bound the list. $4: the number of candidates. $5 to $10: the
    filters. $11: the number of rows.

    The last candidate is returned even if it does not match: the next page begins there. LATERAL
    keeps the order of the candidates and the stop at a full page. OFFSET 0 hides the filters from
    the planner, which must read each row by its id: it would use a partial index for a status, and
    read all open executions for each candidate.
    """
    return f"""
SELECT c.execution_id, c.number = $4 AS is_last, e.execution_id IS NOT NULL AS matches
FROM (SELECT execution_id, row_number() OVER (ORDER BY execution_id DESC) AS number FROM ({candidates}) AS i) AS c
LEFT JOIN LATERAL (
    SELECT execution_id
    FROM (SELECT * FROM executions WHERE execution_id = c.execution_id AND user_id = $1 OFFSET 0) AS candidate
    WHERE deleted_at IS NULL
      AND (cardinality($5::text[]) = 0 OR status = ANY($5))
      AND ($6::text IS NULL OR type = $6)
      AND ($7::timestamptz IS NULL OR created_at > $7)
      AND ($8::timestamptz IS NULL OR created_at < $8)
      AND ($9::text IS NULL OR metadata ? $9)
      AND ($10::text IS NULL OR metadata ->> $9 = $10)
) AS e ON true
WHERE e.execution_id IS NOT NULL OR c.number = $4
ORDER BY c.execution_id DESC LIMIT $11
"""  # noqa: S608 - only the literals below


LIST_NEWEST = _matches("""
SELECT execution_id FROM executions
WHERE user_id = $1 AND execution_id < $2 AND execution_id > $3 ORDER BY execution_id DESC LIMIT $4
""")
# Only the index by status has this collation, so the planner cannot walk the primary key instead.
# It would, since it does not know how rare a status is, and for an unused one read every execution.
LIST_OF_STATUS = _matches("""
SELECT i.execution_id FROM unnest($5::text[]) AS s (status) CROSS JOIN LATERAL (
    SELECT execution_id FROM executions
    WHERE user_id = $1 AND status = s.status
      AND execution_id COLLATE "POSIX" < $2 AND execution_id COLLATE "POSIX" > $3
    ORDER BY execution_id COLLATE "POSIX" DESC LIMIT $4
) AS i ORDER BY i.execution_id DESC LIMIT $4
""")
LIST_OF_METADATA = _matches("""
SELECT execution_id FROM metadata_terms
WHERE user_id = $1 AND execution_id < $2 AND execution_id > $3
  AND term = CASE WHEN $10::text IS NULL THEN metadata_term($9) ELSE metadata_term($9, $10) END
ORDER BY execution_id DESC LIMIT $4
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionPage:
    """A page. next_before_id: where the next page begins; None: this is the last page."""

    data: Sequence[ExecutionStatusRecord]
    next_before_id: ExecutionId | None


async def list_executions(
    conn: Connection, user_id: UserId, filter_: ExecutionFilter
) -> ExecutionPage:
    """List a user's executions, newest first. New executions do not shift the pages.

    A page can have fewer executions than its limit, or none, and still not be the last one.
    """
    query, covered = _query(filter_)
    limit = filter_.limit
    rows = await conn.fetch(
        query,
        user_id,
        min(filter_.before_id or LAST_ID, _id_after(filter_.created_before)),
        _id_before(filter_.created_after),
        limit + 1 if covered else max(EXAMINED, limit + 1),
        list(dict.fromkeys(filter_.statuses)),
        filter_.type,
        filter_.created_after,
        filter_.created_before,
        filter_.metadata_key,
        filter_.metadata_value,
        limit + 1,
    )
    ids = [ExecutionId(row["execution_id"]) for row in rows if row["matches"]]
    page = ids[:limit]
    next_before_id = None
    if len(ids) > limit:
        next_before_id = page[-1]
    elif rows and rows[-1]["is_last"]:
        next_before_id = ExecutionId(rows[-1]["execution_id"])
    return ExecutionPage(
        data=await read_executions(conn, user_id, page) if page else [],
        next_before_id=next_before_id,
    )


def _query(filter_: ExecutionFilter) -> tuple[str, bool]:
    """Return the query, and whether its index covers all filters: each candidate matches."""
    tested = filter_.type or filter_.created_after or filter_.created_before
    if filter_.metadata_key is not None:
        return LIST_OF_METADATA, not (tested or filter_.statuses)
    if filter_.statuses:
        return LIST_OF_STATUS, not tested
    return LIST_NEWEST, not tested


def _id_after(time: datetime | None) -> str:
    """Return an id after all ids of executions that were created before this time."""
    return LAST_ID if time is None else _id_at(time, CLOCKS) or FIRST_ID


def _id_before(time: datetime | None) -> str:
    """Return an id before all ids of executions that were created after this time."""
    return FIRST_ID if time is None else _id_at(time, -CLOCKS) or FIRST_ID


def _id_at(time: datetime, margin: timedelta) -> str | None:
    """Return the first id of a time; None before 1970. Ids begin with their time in ms."""
    millis = (time - datetime(1970, 1, 1, tzinfo=UTC) + margin) // timedelta(milliseconds=1)
    return f"{FIRST_ID}{millis:012x}" if millis >= 0 else None
