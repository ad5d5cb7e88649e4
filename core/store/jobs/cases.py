"""The operator's view of jobs: the list of those that need attention, and one job in detail."""

from collections.abc import Mapping
from typing import Any, Final

from core.domain.ids import JobId
from core.platform.crypto.callback_tokens import CallbackTokens
from core.platform.observability.redaction import Redactor
from core.store.accounts.audit import list_audit
from core.store.database import Connection
from core.store.operator import row_json

STATES: Final = ("unknown", "submission-unknown", "open-bills", "orphans")
"""Filters of the list. unknown: sent without a result yet. submission-unknown: given up with an
open bill. open-bills: every ended job with an open bill. orphans: purchases that no step uses,
also settled ones. Without a filter: the first three and unsettled orphans.
"""

# Each part of `candidates` has an index except the orphans, which are read only on request.
LIST_CASES = """
WITH candidates AS (
    SELECT job_id FROM charges WHERE state = 'held'
    UNION SELECT job_id FROM jobs WHERE state IN ('submitting', 'unknown')
    UNION SELECT job_id FROM jobs WHERE orphan AND $1::text = 'orphans'
), cases AS (
    SELECT j.job_id, j.execution_id, j.user_id, j.step_name, j.provider, j.model, j.state, j.orphan, j.supersedes,
           j.failure ->> 'code' AS failure_code, j.provider_job_id, e.status AS execution_status,
           c.state AS charge_state, CASE WHEN c.state = 'held' THEN c.held_nano_usd ELSE 0 END AS held_nano_usd,
           floor(extract(epoch FROM now() - coalesce(s.sent_at, j.updated_at)))::bigint AS age_seconds,
           j.state IN ('submitting', 'unknown') AS is_unknown,
           c.state = 'held' AND (j.orphan OR j.state IN ('failed', 'cancelled', 'completed')
                                 OR e.status IN ('failed', 'cancelled', 'completed')) AS is_open_bill
    FROM candidates
    JOIN jobs AS j USING (job_id)
    JOIN executions AS e ON e.execution_id = j.execution_id
    JOIN charges AS c ON c.job_id = j.job_id
    -- A job that was recovered without its exact request was sent but has no row in sends.
    LEFT JOIN sends AS s ON s.job_id = j.job_id AND s.number = j.send_number
    WHERE j.send_number > 0
)
SELECT job_id, execution_id, user_id, step_name, provider, model, state, orphan, supersedes, failure_code,
       provider_job_id, execution_status, charge_state, held_nano_usd, age_seconds
FROM cases
WHERE CASE $1::text
          WHEN 'unknown' THEN is_unknown
          WHEN 'submission-unknown' THEN is_open_bill AND failure_code = 'submission_unknown'
          WHEN 'open-bills' THEN is_open_bill
          WHEN 'orphans' THEN orphan
          ELSE is_unknown OR is_open_bill
      END
  AND ($2::text IS NULL OR provider = $2) AND age_seconds >= $3
ORDER BY age_seconds DESC, job_id LIMIT $4
"""
LIST_SENDS = """
SELECT job_id, number, sent_at, answered_at, outcome, status_code, note, provider_job_id
FROM sends WHERE job_id = ANY($1::text[]) ORDER BY job_id, number
"""
LIST_CALLED_BACK = """
SELECT DISTINCT job_id, provider_job_id FROM callbacks WHERE job_id = ANY($1::text[]) ORDER BY job_id, provider_job_id
"""

GET_CASE = """
SELECT j.*, e.status AS execution_status, e.generation AS execution_generation, e.cancel_requested_at,
       e.deadline_at AS execution_deadline_at
FROM jobs AS j JOIN executions AS e ON e.execution_id = j.execution_id
WHERE j.job_id = $1
"""
GET_SENDS = "SELECT * FROM sends WHERE job_id = $1 ORDER BY number"
GET_CALLBACKS = """
SELECT delivery_id, send_number, provider_job_id, adopted, received_at
FROM callbacks WHERE job_id = $1 ORDER BY received_at, delivery_id
"""
GET_CHARGE = """
SELECT charge_id, state, basis, held_nano_usd, settled_nano_usd, refunded_nano_usd, budget_month, created_at, ended_at
FROM charges WHERE job_id = $1
"""
GET_ENTRIES = """
SELECT operation_id, kind, amount_nano_usd, budget_month, at FROM ledger_entries
WHERE job_id = $1 ORDER BY at, operation_id
"""
GET_FAMILY = """
SELECT job_id, state, orphan, supersedes, provider_job_id FROM jobs
WHERE (execution_id, step_name) = (SELECT execution_id, step_name FROM jobs WHERE job_id = $1) AND job_id <> $1
ORDER BY job_id
"""

# A callback URL's token begins with the job and send number: 20 bytes, 26 complete base64 letters.
_TOKEN_LETTERS: Final = 26
_UNSIGNED = CallbackTokens([bytes(32)])
_REDACTOR = Redactor()


async def list_cases(
    conn: Connection,
    state: str | None,
    *,
    provider: str | None,
    older_than_seconds: int,
    limit: int,
) -> list[dict[str, Any]]:
    """List jobs that need attention, those with the oldest last send first.

    state: one of STATES, or None.
    """
    rows = await _rows(conn, LIST_CASES, state, provider, older_than_seconds, limit)
    ids = [row["job_id"] for row in rows]
    sends, called = await _rows(conn, LIST_SENDS, ids), await _rows(conn, LIST_CALLED_BACK, ids)
    return [
        {
            **row_json(row),
            "sends": [_without_job(send) for send in sends if send["job_id"] == row["job_id"]],
            "calledBackWith": [
                entry["provider_job_id"] for entry in called if entry["job_id"] == row["job_id"]
            ],
        }
        for row in rows
    ]


async def get_case(conn: Connection, job_id: JobId) -> dict[str, Any]:
    """Return all stored data about one job, with secrets redacted. Raises LookupError."""
    row = await conn.fetchrow(GET_CASE, job_id)
    if row is None:
        raise LookupError(f"no job {job_id}")
    job = dict(row)
    job["provider_urls"] = _REDACTOR.value(job["provider_urls"])
    job["report"] = _REDACTOR.value(job["report"])
    return {
        "job": row_json(job),
        "sends": [_send_json(send) for send in await _rows(conn, GET_SENDS, job_id)],
        "callbacks": [row_json(entry) for entry in await _rows(conn, GET_CALLBACKS, job_id)],
        "charge": next(
            (row_json(charge) for charge in await _rows(conn, GET_CHARGE, job_id)), None
        ),
        "ledger": [row_json(entry) for entry in await _rows(conn, GET_ENTRIES, job_id)],
        "otherJobsOfTheStep": [row_json(other) for other in await _rows(conn, GET_FAMILY, job_id)],
        "audit": [
            {"at": entry.at, "actor": entry.actor, "action": entry.action, "detail": entry.detail}
            for entry in await list_audit(conn, target=job_id)
        ],
    }


async def _rows(conn: Connection, query: str, *arguments: object) -> list[dict[str, Any]]:
    return [dict(row) for row in await conn.fetch(query, *arguments)]


def _without_job(send: Mapping[str, Any]) -> dict[str, Any]:
    return row_json({name: value for name, value in send.items() if name != "job_id"})


def _send_json(send: Mapping[str, Any]) -> dict[str, Any]:
    """Return a send with its exact request, with signatures and tokens redacted.

    callbackAddressContains: text to search for in the provider's dashboard; it identifies the job
    and the send but authorizes nothing.
    """
    plain = _without_job({name: value for name, value in send.items() if name != "sender"})
    token = _UNSIGNED.sign("", send["job_id"], send["number"])
    return plain | {
        "request": _REDACTOR.value(send["request"]),
        "inputs": _REDACTOR.value(send["inputs"]),
        "callbackAddressContains": token[:_TOKEN_LETTERS],
    }
