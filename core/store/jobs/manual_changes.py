"""What an operator does to a job by hand. Each in the caller's transaction, as system; repeating
changes nothing.
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
from core.store.database import Connection
from core.store.executions.unfinished import list_known_ids, lock_ended
from core.store.jobs.callbacks import notify_job
from core.store.jobs.jobs import (
    list_owned,
    mark_job_ended,
    mark_late_handle,
    mark_send_answered,
    mark_submitted,
)
from core.store.jobs.orphans import record_orphan
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
# Its list showed nothing; that a person has found it there is possible.
WAS_ABSENT = "SELECT outcome = 'absent' FROM sends WHERE job_id = $1 AND number = $2"
FIND_OWN_ORPHAN = """
SELECT job_id FROM jobs WHERE supersedes = $1 AND orphan AND provider = $2 AND provider_job_id = $3
"""
# Who has an id, or was told it by the provider: in a callback (its token is signed), or in an
# answer.
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
    """SUBMITTED: the job goes on with the id. LATE: it was given up; the sweep settles its bill.

    ORPHAN: a purchase that the job does not use; the sweep ends and settles it as one. ALREADY: the
    job has this id.
    """

    SUBMITTED = "submitted"
    LATE = "late"
    ORPHAN = "orphan"
    ALREADY = "already"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """job_id: who has the provider's id now; an orphan is a job of its own."""

    changed: bool
    outcome: Adoption
    job_id: JobId
    send: int


async def adopt_by_hand(
    conn: Connection, job_id: JobId, provider_job_id: str, *, send: int | None = None
) -> Adopted:
    """Give a job the id that the provider has for it. send: for which of its sends; None: the
    current one.

    Raises LookupError: no such job; RefusedError.
    """
    if len(provider_job_id) > MAX_PROVIDER_ID or not _PROVIDER_ID.fullmatch(provider_job_id):
        raise RefusedError(f"{provider_job_id[:MAX_PROVIDER_ID]!r} cannot be a provider's job id")
    job = await _lock_job(conn, job_id)
    number: int = job["send_number"] if send is None else send
    if job["send_number"] == 0:
        raise RefusedError(f"{job_id} was never sent: the provider cannot have it")
    if number > job["send_number"]:
        raise RefusedError(
            f"{job_id} has no send {number}: its current one is {job['send_number']}"
        )
    before = await _adopted_before(conn, job, provider_job_id, number)
    if before is not None:
        return before
    current = number == job["send_number"]
    if current and job["provider_job_id"] is not None:
        raise RefusedError(f"{job_id} has the provider id {job['provider_job_id']} already")
    if (
        job["state"] == JobState.WAITING
        and current
        and not await conn.fetchval(WAS_ABSENT, job_id, number)
    ):
        raise RefusedError(f"{job_id} is waiting: its last send was certainly not accepted")
    handle = ProviderHandle(
        provider=job["provider"], model=job["model"], provider_job_id=ProviderJobId(provider_job_id)
    )
    taken = await _take(conn, job, number, handle)
    await mark_send_answered(
        conn, job_id, number, "found", note="adopted by hand", provider_job_id=provider_job_id
    )
    await notify_job(conn, job_id)
    return taken


async def _take(
    conn: Connection, job: asyncpg.Record, number: int, handle: ProviderHandle
) -> Adopted:
    job_id = JobId(job["job_id"])
    try:
        async with conn.transaction():
            if await mark_submitted(conn, job_id, number, handle):
                return Adopted(changed=True, outcome=Adoption.SUBMITTED, job_id=job_id, send=number)
            if await mark_late_handle(conn, job_id, handle, number=number):
                return Adopted(changed=True, outcome=Adoption.LATE, job_id=job_id, send=number)
            orphan_id = await record_orphan(conn, job_id, number, handle)
            if orphan_id is not None:
                await drop_assumed(conn, job_id, number)
    except asyncpg.UniqueViolationError:
        orphan_id = None
    if orphan_id is None:  # another job was given this id a moment ago
        await _refuse_owned(conn, job, handle.provider_job_id)
        raise RefusedError(f"{job_id} takes no provider id for its send {number}")
    return Adopted(changed=True, outcome=Adoption.ORPHAN, job_id=orphan_id, send=number)


async def _adopted_before(
    conn: Connection, job: asyncpg.Record, provider_job_id: str, number: int
) -> Adopted | None:
    """What an earlier call did with this id; None: it is free. Raises RefusedError: it is another
    job's.
    """
    job_id = JobId(job["job_id"])
    if job["provider_job_id"] == provider_job_id:
        return Adopted(
            changed=False, outcome=Adoption.ALREADY, job_id=job_id, send=job["send_number"]
        )
    orphan_id = await conn.fetchval(FIND_OWN_ORPHAN, job_id, job["provider"], provider_job_id)
    if orphan_id is not None:
        return Adopted(changed=False, outcome=Adoption.ORPHAN, job_id=JobId(orphan_id), send=number)
    await _refuse_owned(conn, job, provider_job_id)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """held_nano_usd: what was set aside. released: the provider never accepted it, so nothing was
    paid.
    """

    changed: bool
    released: bool
    held_nano_usd: NanoUsd
    settled_nano_usd: NanoUsd


async def settle_by_hand(
    conn: Connection, job_id: JobId, cost_nano_usd: NanoUsd, *, sure: bool = False
) -> Booked:
    """Book the open bill of an ended job, on the operator's word.

    0 for a job that was never accepted gives its hold back.
    sure: also if the provider has given it an id, and could be asked; then the word is final.
    Raises LookupError: no such job; RefusedError.
    """
    job, money = await _lock_open_bill(conn, job_id)
    held = NanoUsd(money["held_nano_usd"])
    if money["state"] != ChargeState.HELD:
        return _as_it_was(job_id, money, cost_nano_usd)
    known = await _accepted_as(conn, job)
    if known is not None and not sure:
        raise RefusedError(
            f"the provider knows {job_id} as {known}, and the sweep reads its bill there; if it never will, say --yes"
        )
    if cost_nano_usd == 0 and known is None:
        return await _release(conn, job_id, held)
    await settle_charge(conn, job_id, cost_nano_usd, CostBasis.ASSUMED)
    await _close(conn, job_id)
    return Booked(changed=True, released=False, held_nano_usd=held, settled_nano_usd=cost_nano_usd)


async def release_by_hand(conn: Connection, job_id: JobId) -> Booked:
    """Give back the hold of an ended job that the provider never accepted.

    Raises LookupError: no such job; RefusedError: the provider did accept it.
    """
    job, money = await _lock_open_bill(conn, job_id)
    known = await _accepted_as(conn, job)
    if known:
        raise RefusedError(
            f"the provider accepted {job_id} as {known}: if it billed nothing, use jobs settle {job_id} --usd 0 --yes"
        )
    if money["state"] != ChargeState.HELD:
        return _as_it_was(job_id, money, NanoUsd(0))
    return await _release(conn, job_id, NanoUsd(money["held_nano_usd"]))


async def _release(conn: Connection, job_id: JobId, held: NanoUsd) -> Booked:
    await release_hold(conn, job_id)
    return Booked(changed=True, released=True, held_nano_usd=held, settled_nano_usd=NanoUsd(0))


def _as_it_was(job_id: JobId, money: asyncpg.Record, cost_nano_usd: NanoUsd) -> Booked:
    if money["settled_nano_usd"] != cost_nano_usd:
        settled, basis = usd_text(money["settled_nano_usd"]), money["basis"] or "never accepted"
        raise RefusedError(
            f"the bill of {job_id} is closed: {money['state']} with {settled} USD ({basis})"
        )
    return Booked(
        changed=False,
        released=money["state"] == ChargeState.RELEASED,
        held_nano_usd=NanoUsd(money["held_nano_usd"]),
        settled_nano_usd=cost_nano_usd,
    )


async def _lock_open_bill(conn: Connection, job_id: JobId) -> tuple[asyncpg.Record, asyncpg.Record]:
    """The job and its money, locked in the order of everybody; refused while the job may still go
    on.
    """
    execution_id = await conn.fetchval(FIND_EXECUTION, job_id)
    over = execution_id is not None and await lock_ended(conn, ExecutionId(execution_id))
    job = await _lock_job(conn, job_id)
    over = over or job["orphan"]
    state = JobState(job["state"])
    if state is JobState.WAITING:
        raise RefusedError(
            f"{job_id} is waiting: nothing was bought, its hold goes back when its execution ends"
        )
    if state in (JobState.SUBMITTING, JobState.UNKNOWN):
        what = (
            "its execution has ended, so the sweep gives it up within a minute"
            if over
            else "adopt its id, or wait"
        )
        raise RefusedError(f"{job_id} is {state} and being looked up: {what}")
    if state is JobState.SUBMITTED and not over:
        raise RefusedError(f"{job_id} runs at the provider: its bill is settled when it ends")
    money = await conn.fetchrow(LOCK_MONEY, job_id)
    if money is None:
        raise RefusedError(f"{job_id} has no charge")
    return job, money


async def _close(conn: Connection, job_id: JobId) -> None:
    """A job that still stood as submitted: nobody waits for it, and its bill is closed."""
    failure = Failure.of(FailureCode.PROVIDER_TIMED_OUT)
    await mark_job_ended(conn, job_id, JobState.FAILED, failure, expected=(JobState.SUBMITTED,))


async def _accepted_as(conn: Connection, job: asyncpg.Record) -> str | None:
    """An id that the provider gave to a send of this job, and that is no orphan's: then it was
    bought.
    """
    if job["provider_job_id"] is not None:
        return job["provider_job_id"]
    known = [name for _, name in await list_known_ids(conn, job["job_id"])]
    free = sorted(set(known) - await list_owned(conn, job["provider"], known))
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
