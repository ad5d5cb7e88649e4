"""Manual changes of jobs by an operator: adopt a provider id, settle or release a bill.

Each runs in the caller's transaction, as system; repeating is safe.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

import asyncpg

from core.domain.failures import Failure, FailureCode
from core.domain.ids import ExecutionId, JobId, ProviderJobId
from core.domain.messages.jobs import ProviderHandle
from core.domain.money import NanoUsd, usd_text
from core.domain.states import ChargeState, CostBasis, JobState
from core.store.database import Connection, savepoint
from core.store.executions.unfinished import list_known_ids, lock_ended
from core.store.jobs.callbacks import notify_job
from core.store.jobs.jobs import list_owned, mark_job_ended, mark_late_handle
from core.store.jobs.orphans import record_orphan
from core.store.jobs.sends import mark_send_answered, mark_submitted
from core.store.money.adjustments import drop_assumed
from core.store.money.charges import release_hold
from core.store.money.settlement import settle_charge
from core.store.operator import RefusedError

MAX_PROVIDER_ID = 200
_PROVIDER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*", re.ASCII)

FIND_EXECUTION = "SELECT execution_id FROM jobs WHERE job_id = $1"
LOCK_JOB = """
SELECT job_id, execution_id, provider, model, state, send_number, provider_job_id, orphan
FROM jobs WHERE job_id = $1 FOR NO KEY UPDATE
"""
LOCK_MONEY = """
SELECT state, basis, held_nano_usd, settled_nano_usd FROM charges WHERE job_id = $1 FOR NO KEY UPDATE
"""
# The provider's list did not contain the send, but an operator may have found it there.
WAS_ABSENT = "SELECT outcome = 'absent' FROM sends WHERE job_id = $1 AND number = $2"
FIND_OWN_ORPHAN = """
SELECT job_id FROM jobs WHERE supersedes = $1 AND orphan AND provider = $2 AND provider_job_id = $3
"""
# The other job that has a provider id, or received it from the provider in a response or in a
# callback (whose token is signed).
FIND_OWNER = """
SELECT job_id, 'belongs to' AS how FROM jobs WHERE provider = $2 AND provider_job_id = $3 AND job_id <> $1
UNION ALL
SELECT job_id, 'was called back for' FROM callbacks WHERE provider = $2 AND provider_job_id = $3 AND job_id <> $1
UNION ALL
SELECT s.job_id, 'was answered to' FROM sends AS s JOIN jobs AS j ON j.job_id = s.job_id
WHERE j.provider = $2 AND s.provider_job_id = $3 AND s.job_id <> $1
LIMIT 1
"""


class Adoption(StrEnum):
    """What an adoption changed.

    SUBMITTED: the job continues with the id.
    LATE: the job had been given up; the reconciler settles its bill.
    ORPHAN: the job does not use the purchase; the reconciler ends it and settles it as an orphan.
    ALREADY: the job already has this id.
    """

    SUBMITTED = "submitted"
    LATE = "late"
    ORPHAN = "orphan"
    ALREADY = "already"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptionResult:
    """The result of an adoption. job_id: the job that now has the id, possibly an orphan."""

    changed: bool
    outcome: Adoption
    job_id: JobId
    send: int


async def adopt_by_hand(
    conn: Connection, job_id: JobId, provider_job_id: str, *, send: int | None = None
) -> AdoptionResult:
    """Store the provider's id for a send of a job. send: None for the current send.

    Raises LookupError if the job does not exist, RefusedError if the id does not fit.
    """
    if len(provider_job_id) > MAX_PROVIDER_ID or not _PROVIDER_ID.fullmatch(provider_job_id):
        raise RefusedError(f"{provider_job_id[:MAX_PROVIDER_ID]!r} cannot be a provider's job id")
    job = await _lock_job(conn, job_id)
    number: int = job["send_number"] if send is None else send
    if job["send_number"] == 0:
        raise RefusedError(f"{job_id} was never sent, so the provider cannot have it")
    if number > job["send_number"]:
        raise RefusedError(
            f"{job_id} has no send {number}: its current send is {job['send_number']}"
        )
    before = await _adopted_before(conn, job, provider_job_id, number)
    if before is not None:
        return before
    current = number == job["send_number"]
    if current and job["provider_job_id"] is not None:
        raise RefusedError(f"{job_id} already has the provider id {job['provider_job_id']}")
    if (
        job["state"] == JobState.WAITING
        and current
        and not await conn.fetchval(WAS_ABSENT, job_id, number)
    ):
        raise RefusedError(f"{job_id} is waiting: its last send was certainly not accepted")
    handle = ProviderHandle(
        provider=job["provider"], model=job["model"], provider_job_id=ProviderJobId(provider_job_id)
    )
    result = await _adopt(conn, job, number, handle)
    await mark_send_answered(
        conn, job_id, number, "found", note="adopted by hand", provider_job_id=provider_job_id
    )
    await notify_job(conn, job_id)
    return result


async def _adopt(
    conn: Connection, job: asyncpg.Record, number: int, handle: ProviderHandle
) -> AdoptionResult:
    job_id = JobId(job["job_id"])
    try:
        async with savepoint(conn):
            if await mark_submitted(conn, job_id, number, handle):
                return AdoptionResult(
                    changed=True, outcome=Adoption.SUBMITTED, job_id=job_id, send=number
                )
            if await mark_late_handle(conn, job_id, handle, number=number):
                return AdoptionResult(
                    changed=True, outcome=Adoption.LATE, job_id=job_id, send=number
                )
            orphan_id = await record_orphan(conn, job_id, number, handle)
            if orphan_id is not None:
                await drop_assumed(conn, job_id, number)
    except asyncpg.UniqueViolationError:
        orphan_id = None
    if orphan_id is None:  # a concurrent transaction stored this id for another job
        await _refuse_owned(conn, job, handle.provider_job_id)
        raise RefusedError(f"{job_id} accepts no provider id for its send {number}")
    return AdoptionResult(changed=True, outcome=Adoption.ORPHAN, job_id=orphan_id, send=number)


async def _adopted_before(
    conn: Connection, job: asyncpg.Record, provider_job_id: str, number: int
) -> AdoptionResult | None:
    """Return the result of an earlier call with this id, None if the id is free.

    Raises RefusedError if the id belongs to another job.
    """
    job_id = JobId(job["job_id"])
    if job["provider_job_id"] == provider_job_id:
        return AdoptionResult(
            changed=False, outcome=Adoption.ALREADY, job_id=job_id, send=job["send_number"]
        )
    orphan_id = await conn.fetchval(FIND_OWN_ORPHAN, job_id, job["provider"], provider_job_id)
    if orphan_id is not None:
        return AdoptionResult(
            changed=False, outcome=Adoption.ORPHAN, job_id=JobId(orphan_id), send=number
        )
    await _refuse_owned(conn, job, provider_job_id)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualSettlement:
    """The result of a manual settlement or release.

    held_nano_usd: the amount of the hold. released: the provider never accepted the job, so nothing
    was paid.
    """

    changed: bool
    released: bool
    held_nano_usd: NanoUsd
    settled_nano_usd: NanoUsd


async def settle_by_hand(
    conn: Connection, job_id: JobId, cost_nano_usd: NanoUsd, *, confirmed: bool = False
) -> ManualSettlement:
    """Settle the open bill of an ended job with a cost that the operator states.

    A cost of 0 for a job that was never accepted releases its hold.
    confirmed: settle it even if the job has a provider id, from which the reconciler could read the
    bill; the stated cost is then final.
    Raises LookupError if the job does not exist, RefusedError.
    """
    job, money = await _lock_open_bill(conn, job_id)
    held = NanoUsd(money["held_nano_usd"])
    if money["state"] != ChargeState.HELD:
        return _closed_before(job_id, money, cost_nano_usd)
    accepted_id = await _find_accepted_id(conn, job)
    if accepted_id is not None and not confirmed:
        raise RefusedError(
            f"the provider accepted {job_id} as {accepted_id}, and the reconciler reads its bill"
            " there; if the provider never reports it, repeat with --yes"
        )
    if cost_nano_usd == 0 and accepted_id is None:
        return await _release(conn, job_id, held)
    await settle_charge(conn, job_id, cost_nano_usd, CostBasis.ASSUMED)
    await _close(conn, job_id)
    return ManualSettlement(
        changed=True, released=False, held_nano_usd=held, settled_nano_usd=cost_nano_usd
    )


async def release_by_hand(conn: Connection, job_id: JobId) -> ManualSettlement:
    """Release the hold of an ended job that the provider never accepted.

    Raises LookupError if the job does not exist, RefusedError if the provider accepted it.
    """
    job, money = await _lock_open_bill(conn, job_id)
    accepted_id = await _find_accepted_id(conn, job)
    if accepted_id:
        raise RefusedError(
            f"the provider accepted {job_id} as {accepted_id}: if it billed nothing,"
            f" use jobs settle {job_id} --usd 0 --yes"
        )
    if money["state"] != ChargeState.HELD:
        return _closed_before(job_id, money, NanoUsd(0))
    return await _release(conn, job_id, NanoUsd(money["held_nano_usd"]))


async def _release(conn: Connection, job_id: JobId, held: NanoUsd) -> ManualSettlement:
    await release_hold(conn, job_id)
    return ManualSettlement(
        changed=True, released=True, held_nano_usd=held, settled_nano_usd=NanoUsd(0)
    )


def _closed_before(
    job_id: JobId, money: asyncpg.Record, cost_nano_usd: NanoUsd
) -> ManualSettlement:
    if money["settled_nano_usd"] != cost_nano_usd:
        settled, basis = usd_text(money["settled_nano_usd"]), money["basis"] or "never accepted"
        raise RefusedError(
            f"the bill of {job_id} is closed: {money['state']} with {settled} USD ({basis})"
        )
    return ManualSettlement(
        changed=False,
        released=money["state"] == ChargeState.RELEASED,
        held_nano_usd=NanoUsd(money["held_nano_usd"]),
        settled_nano_usd=cost_nano_usd,
    )


async def _lock_open_bill(conn: Connection, job_id: JobId) -> tuple[asyncpg.Record, asyncpg.Record]:
    """Lock and return a job and its charge, in the lock order of all transactions.

    Raises RefusedError while the job may still continue.
    """
    execution_id = await conn.fetchval(FIND_EXECUTION, job_id)
    ended = execution_id is not None and await lock_ended(conn, ExecutionId(execution_id))
    job = await _lock_job(conn, job_id)
    ended = ended or job["orphan"]
    state = JobState(job["state"])
    if state is JobState.WAITING:
        raise RefusedError(
            f"{job_id} is waiting: nothing was bought, and its hold is released when its execution ends"
        )
    if state in (JobState.SUBMITTING, JobState.UNKNOWN):
        advice = (
            "its execution has ended, so the reconciler gives it up within a minute"
            if ended
            else "adopt its id, or wait"
        )
        raise RefusedError(f"{job_id} is {state} and being looked up: {advice}")
    if state is JobState.SUBMITTED and not ended:
        raise RefusedError(f"{job_id} runs at the provider: its bill is settled when it ends")
    money = await conn.fetchrow(LOCK_MONEY, job_id)
    if money is None:
        raise RefusedError(f"{job_id} has no charge")
    return job, money


async def _close(conn: Connection, job_id: JobId) -> None:
    """End a job that is still submitted: its execution has ended and its bill is closed."""
    failure = Failure.of(FailureCode.PROVIDER_TIMED_OUT)
    await mark_job_ended(conn, job_id, JobState.FAILED, failure, expected=(JobState.SUBMITTED,))


async def _find_accepted_id(conn: Connection, job: asyncpg.Record) -> str | None:
    """Return an id that the provider assigned to a send of this job and that no orphan has.

    Such an id proves that the job was bought.
    """
    if job["provider_job_id"] is not None:
        return job["provider_job_id"]
    reported = [name for _, name in await list_known_ids(conn, job["job_id"])]
    free = sorted(set(reported) - await list_owned(conn, job["provider"], reported))
    return free[0] if free else None


async def _lock_job(conn: Connection, job_id: JobId) -> asyncpg.Record:
    job = await conn.fetchrow(LOCK_JOB, job_id)
    if job is None:
        raise LookupError(f"no job {job_id}")
    return job


async def _refuse_owned(conn: Connection, job: asyncpg.Record, provider_job_id: str) -> None:
    owner = await conn.fetchrow(FIND_OWNER, job["job_id"], job["provider"], provider_job_id)
    if owner is not None:
        raise RefusedError(f"{provider_job_id} {owner['how']} another job: {owner['job_id']}")
