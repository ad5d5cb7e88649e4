"""The start memo: the rows of an execution at the start of its workflow, as one JSON document.

The workflow carries it in its memo, so that a recovery can restore the rows after the database was
restored from an older backup. Later changes are in the workflow's history and at the providers.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from core.domain.ids import ExecutionId, JobId, ProviderKeyId, UserId, following_job_id
from core.domain.money import NanoUsd
from core.domain.plans import MEDIA
from core.domain.states import ChargeState, CostBasis, JobState, LedgerKind
from core.store.database import Connection
from core.store.executions.limits.concurrency_counters import recount
from core.store.executions.limits.deadlines import RUN_LENGTH
from core.store.money.budget_alerts import note_thresholds
from core.store.money.budget_counters import BudgetMove, move_budget
from core.store.money.charges import release_hold
from core.store.money.daily_spending_cap import DayMove
from core.store.money.ledger_entries import insert_entry
from core.store.money.raised_holds import restore_hold
from core.store.money.refunds import refund_by_hand
from core.store.money.settlement import settle_charge
from core.store.recovery.rebuild import insert_lost_key

# The idempotency key has no execution id in its row. It was inserted in the same transaction, and
# its response contains the execution id.
GET_ACCEPTED = f"""
SELECT jsonb_build_object(
    'execution', to_jsonb(e) - '{{status,progress,result,error,cancel_requested_at,cancel_reason,started_at,ended_at,
                                 updated_at,waiting_since,waited,delivered_generation}}'::text[]
                 || jsonb_build_object('deadline_at', queued_at + {RUN_LENGTH}),
    'steps', (SELECT jsonb_agg(to_jsonb(s) ORDER BY s.position) FROM steps AS s WHERE s.execution_id = e.execution_id),
    'jobs', (SELECT jsonb_agg(jsonb_strip_nulls(to_jsonb(j) - 'report') ORDER BY j.generation, j.job_id)
             FROM jobs AS j WHERE j.execution_id = e.execution_id),
    'charges', (SELECT jsonb_agg(jsonb_strip_nulls(to_jsonb(c)) ORDER BY c.charge_id)
                FROM charges AS c WHERE c.execution_id = e.execution_id),
    'provider_keys', (SELECT jsonb_object_agg(p.provider, p.provider_key_id) FROM provider_keys AS p
                      WHERE p.user_id = e.user_id AND p.replaced_at IS NULL AND p.deleted_at IS NULL),
    'secret', (SELECT to_jsonb(s) FROM secrets AS s WHERE s.owner_id = e.execution_id),
    'idempotency_key', (SELECT to_jsonb(k) FROM idempotency_keys AS k
                        WHERE k.user_id = e.user_id AND k.created_at = e.created_at
                          AND position(convert_to(e.execution_id, 'UTF8') IN k.response) > 0 LIMIT 1)
) AS document,
-- The deadline of a queued execution counts from its claim.
extract(epoch FROM CASE WHEN e.status = 'queued' THEN e.deadline_at - e.queued_at
                        ELSE greatest(e.deadline_at - coalesce(e.waiting_since, now()), interval '0') END
)::float8 AS seconds_left
FROM executions AS e WHERE e.execution_id = $1
"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedRows:
    """What the start of a workflow needs from the rows of its execution.

    document: the content of the memo. seconds_left: from now to the deadline; of a queued execution
    if it were claimed now.
    """

    document: dict[str, Any]
    seconds_left: float


def packed(document: Mapping[str, Any]) -> str:
    """Compress a document for a memo; Temporal's client warns from 2 kB."""
    return b64encode(
        zlib.compress(json.dumps(document, separators=(",", ":")).encode(), level=9)
    ).decode()


def unpacked(text: str) -> dict[str, Any]:
    """Read a packed document. Raises ValueError."""
    try:
        return json.loads(zlib.decompress(b64decode(text, validate=True)))
    except zlib.error as error:
        raise ValueError(f"not a start memo: {error}") from None


async def get_accepted(conn: Connection, execution_id: ExecutionId) -> AcceptedRows:
    """Return the rows of an execution. Raises LookupError if it does not exist."""
    row = await conn.fetchrow(GET_ACCEPTED, execution_id)
    if row is None:
        raise LookupError(f"no execution {execution_id}")
    return AcceptedRows(document=row["document"], seconds_left=row["seconds_left"])


class Rebuilt(StrEnum):
    """The state of the rows.

    MADE: they were missing. RAISED: they had an earlier generation. OPEN: they existed and had not
    ended. NOTHING: they had ended, or were newer. NO_USER: the database does not have the user.
    """

    MADE = "made"
    RAISED = "raised"
    OPEN = "open"
    NOTHING = "nothing"
    NO_USER = "no_user"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartMemo:
    """The document that a memo contains: an execution as it was accepted."""

    document: Mapping[str, Any]

    @property
    def execution_id(self) -> ExecutionId:
        return ExecutionId(self.document["execution"]["execution_id"])

    @property
    def user_id(self) -> UserId:
        return UserId(self.document["execution"]["user_id"])

    @property
    def generation(self) -> int:
        return self.document["execution"]["generation"]

    @property
    def jobs(self) -> list[Mapping[str, Any]]:
        """All jobs, the current job of a step last."""
        return self.document["jobs"]

    @property
    def charges(self) -> Mapping[str, Mapping[str, Any]]:
        return {charge["job_id"]: charge for charge in self.document["charges"] or ()}

    def current_key(self, provider: str) -> ProviderKeyId | None:
        """Return the user's own key for a provider at the start of the workflow."""
        keys: Mapping[str, ProviderKeyId] = self.document.get("provider_keys") or {}
        return keys.get(provider)

    def list_following(self, job: Mapping[str, Any]) -> list[tuple[JobId, str]]:
        """List the jobs that may follow this one at its alternatives, with their providers."""
        following: list[tuple[JobId, str]] = []
        job_id = JobId(job["job_id"])
        for alternative in job.get("alternatives") or ():
            job_id = following_job_id(job_id)
            following.append((job_id, alternative["provider"]))
        return following

    def is_current(self, job: Mapping[str, Any]) -> bool:
        """Return whether the workflow uses this job for its step."""
        of_step = [
            other["job_id"]
            for other in self.jobs
            if other["step_name"] == job["step_name"] and not other["orphan"]
        ]
        return bool(of_step) and of_step[-1] == job["job_id"]


USER_EXISTS = "SELECT EXISTS (SELECT FROM users WHERE user_id = $1)"
LOCK_EXECUTION = (
    "SELECT status, generation FROM executions WHERE execution_id = $1 FOR NO KEY UPDATE"
)


HAS_ENDED = (
    "SELECT status IN ('completed', 'failed', 'cancelled') FROM executions WHERE execution_id = $1"
)


async def has_ended(conn: Connection, execution_id: ExecutionId) -> bool:
    """Return whether an execution has ended; False also if it does not exist. As system."""
    return bool(await conn.fetchval(HAS_ENDED, execution_id))


async def compare(conn: Connection, accepted: StartMemo) -> Rebuilt:
    """Return what `rebuild` would do, and lock the row until COMMIT. As system."""
    if not await conn.fetchval(USER_EXISTS, accepted.user_id):
        return Rebuilt.NO_USER
    row = await conn.fetchrow(LOCK_EXECUTION, accepted.execution_id)
    if row is None:
        return Rebuilt.MADE
    if row["generation"] < accepted.generation:
        return Rebuilt.RAISED
    if row["generation"] > accepted.generation or row["status"] not in ("queued", "running"):
        return Rebuilt.NOTHING
    return Rebuilt.OPEN


MAKE_EXECUTION = """
INSERT INTO executions
    (execution_id, user_id, type, status, generation, plan, request, metadata, estimated_nano_usd, webhook_url,
     budget_month, created_at, queued_at, deadline_at, max_cost_nano_usd, surface)
SELECT r.execution_id, r.user_id, r.type, 'queued', r.generation, r.plan, r.request, r.metadata, r.estimated_nano_usd,
       r.webhook_url, r.budget_month, r.created_at, r.queued_at, r.deadline_at,
       r.max_cost_nano_usd, r.surface
FROM jsonb_populate_record(NULL::executions, $1) AS r
ON CONFLICT (execution_id) DO UPDATE
SET status = 'queued', generation = excluded.generation, progress = 0, result = NULL, error = NULL,
    cancel_requested_at = NULL, cancel_reason = NULL, started_at = NULL, ended_at = NULL,
    budget_month = excluded.budget_month, estimated_nano_usd = excluded.estimated_nano_usd,
    queued_at = excluded.queued_at, deadline_at = excluded.deadline_at, waited = '0', waiting_since = NULL,
    paused_at = NULL, paused = '0', updated_at = now()
"""
RESTORE_SEALED = """
INSERT INTO secrets SELECT r.* FROM jsonb_populate_record(NULL::secrets, $1) AS r ON CONFLICT DO NOTHING
"""
MAKE_STEPS = """
INSERT INTO steps SELECT r.* FROM jsonb_populate_recordset(NULL::steps, $1) AS r ON CONFLICT DO NOTHING
"""
MAKE_JOB = """
INSERT INTO jobs (job_id, execution_id, step_name, user_id, generation, provider, model, state, supersedes, send_number,
                  provider_job_id, provider_urls, failure, orphan, created_at, submitted_at, ended_at, deadline_at,
                  provider_key_id, alternatives, parameter_changes)
SELECT r.job_id, r.execution_id, r.step_name, r.user_id, r.generation, r.provider, r.model, $2, r.supersedes,
       coalesce(r.send_number, 0), r.provider_job_id, coalesce(r.provider_urls, '{}'), r.failure,
       coalesce(r.orphan, false), r.created_at, r.submitted_at,
       CASE WHEN $2::text IN ('completed', 'failed', 'cancelled') THEN r.ended_at END, r.deadline_at, r.provider_key_id,
       r.alternatives, r.parameter_changes
FROM jsonb_populate_record(NULL::jobs, $1) AS r
ON CONFLICT DO NOTHING
RETURNING job_id
"""
# In rows of an earlier generation: end the jobs that had ended before the retry.
END_JOB = """
UPDATE jobs AS j
SET state = $2, send_number = r.send_number, provider_job_id = r.provider_job_id, failure = r.failure,
    provider_key_id = r.provider_key_id,
    orphan = coalesce(r.orphan, false), generation = r.generation, ended_at = r.ended_at, updated_at = now()
FROM jsonb_populate_record(NULL::jobs, $1) AS r
WHERE j.job_id = r.job_id AND j.state NOT IN ('completed', 'failed', 'cancelled')
RETURNING j.job_id
"""
MAKE_CHARGE = """
INSERT INTO charges (charge_id, job_id, execution_id, user_id, provider, model, held_nano_usd, price, budget_month,
                     budget_day, created_at, key_id)
SELECT r.charge_id, r.job_id, r.execution_id, r.user_id, r.provider, r.model, r.held_nano_usd, r.price, r.budget_month,
       r.budget_day, r.created_at, r.key_id
FROM jsonb_populate_record(NULL::charges, $1) AS r
ON CONFLICT DO NOTHING
RETURNING charge_id
"""
ADD_VIDEOS = """
INSERT INTO budgets AS b (user_id, budget_month, held_videos) VALUES ($1, $2, $3)
ON CONFLICT (user_id, budget_month) DO UPDATE SET held_videos = b.held_videos + excluded.held_videos
"""
# The database has an earlier generation as open; it had ended before the retry.
DROP_VIDEO = """
UPDATE budgets AS b SET held_videos = b.held_videos - 1 FROM executions AS e
WHERE e.execution_id = $1 AND e.status IN ('queued', 'running')
  AND b.user_id = e.user_id AND b.budget_month = e.budget_month
"""
MAKE_KEY = """
INSERT INTO idempotency_keys SELECT r.* FROM jsonb_populate_record(NULL::idempotency_keys, $1) AS r
ON CONFLICT DO NOTHING
"""


async def rebuild(conn: Connection, accepted: StartMemo) -> Rebuilt:
    """Restore missing rows in the caller's transaction. Repeating is safe. As system."""
    rebuilt = await compare(conn, accepted)
    if rebuilt in (Rebuilt.NO_USER, Rebuilt.NOTHING):
        return rebuilt
    document = accepted.document
    if rebuilt in (Rebuilt.MADE, Rebuilt.RAISED):
        await conn.execute(DROP_VIDEO, accepted.execution_id)
        await conn.execute(MAKE_EXECUTION, document["execution"])
        if document["secret"] is not None:
            await conn.execute(RESTORE_SEALED, document["secret"])
        await recount(conn, accepted.user_id)
        month = date.fromisoformat(document["execution"]["budget_month"])
        await conn.execute(ADD_VIDEOS, accepted.user_id, month, 1)
        if document["idempotency_key"] is not None:
            await conn.execute(MAKE_KEY, document["idempotency_key"])
    await conn.execute(MAKE_STEPS, document["steps"])
    for job in accepted.jobs:
        await _make_job(conn, accepted, job)
    # Events keep their old ids, so a delivered event is not sent again.
    await note_thresholds(conn, accepted.user_id)
    return rebuilt


async def _make_job(conn: Connection, accepted: StartMemo, job: Mapping[str, Any]) -> None:
    """Restore a job with its money.

    A completed job that the workflow uses becomes submitted, so that its provider is polled again;
    that of a media step waits to be run again, and one that reused files to look for them again.
    """
    state = JobState(job["state"])
    if job.get("provider_key_id") is not None:
        await insert_lost_key(conn, job["provider_key_id"], accepted.user_id, job["provider"])
    charge = accepted.charges.get(job["job_id"])
    current = accepted.is_current(job)
    if current and state is JobState.COMPLETED and job.get("provider_job_id") is not None:
        state = JobState.SUBMITTED
    elif current and state is JobState.COMPLETED and _was_not_bought(job):
        state = JobState.WAITING  # its files may be lost with their rows; it gets the same again
    elif state is JobState.SUBMITTING:
        state = JobState.UNKNOWN
    if state.ended:
        await conn.fetchval(END_JOB, job, state)
    await conn.fetchval(MAKE_JOB, job, state)
    if charge is None:
        return
    if await conn.fetchval(MAKE_CHARGE, charge) is not None:
        held: int = charge["held_nano_usd"]
        await insert_entry(
            conn, f"held/{charge['charge_id']}", LedgerKind.HELD, charge["charge_id"], held
        )
        # Held without a check of the limits: the money may be spent already.
        month = date.fromisoformat(charge["budget_month"])
        await conn.execute(ADD_VIDEOS, accepted.user_id, month, 0)
        day = date.fromisoformat(charge["budget_day"])
        await move_budget(
            conn,
            BudgetMove(
                user_id=accepted.user_id,
                budget_month=month,
                key_id=charge.get("key_id"),
                day=DayMove(day=day, held_nano_usd=-held, settled_nano_usd=0),
            ),
        )
    else:  # the backup may be older than the raise of the hold
        await restore_hold(conn, JobId(job["job_id"]), NanoUsd(charge["held_nano_usd"]))
    if state.ended:
        await _end_charge(conn, charge)


def _was_not_bought(job: Mapping[str, Any]) -> bool:
    return job["provider"] == MEDIA or job.get("reused_from") is not None


async def _end_charge(conn: Connection, charge: Mapping[str, Any]) -> None:
    """Restore the state of a charge: settled, released or still held."""
    if charge["state"] == ChargeState.SETTLED:
        refunded: int = charge.get("refunded_nano_usd", 0)
        billed = NanoUsd(charge["settled_nano_usd"] + refunded)
        settlement = await settle_charge(conn, charge["job_id"], billed, CostBasis(charge["basis"]))
        if refunded and not settlement.repeated:
            await refund_by_hand(
                conn, charge["job_id"], NanoUsd(refunded), reference="before the recovery"
            )
    elif charge["state"] == ChargeState.RELEASED:
        await release_hold(conn, charge["job_id"])
