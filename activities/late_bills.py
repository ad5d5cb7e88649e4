"""Bills that were still open when their job ended: timed out, given up while unknown, or terminated.

Looked after until they close.
"""

from dataclasses import dataclass

from contracts.failures import Failure, FailureCode
from contracts.jobs import JobRef
from contracts.states import JobState
from providers.port import CreateRequest, Lookup, ModelInputs, ProviderUnavailableError
from providers.registry import Providers
from runtime.logging import get_logger
from store.charges import ChargeConflictError, move_budget, release_charge, settle_charge
from store.database import Database
from store.jobs import (
    JobRecord,
    get_job,
    get_send,
    list_open_bills,
    list_owned,
    mark_bill_looked_at,
    mark_job_ended,
    mark_late_handle,
    mark_reported,
)

log = get_logger(__name__)

PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class LateBills:
    database: Database
    providers: Providers

    async def settle(self) -> None:
        """One look at each open bill.

        A job that has ended stays as it is; its money and what it produced are completed.
        """
        async with self.database.as_system() as conn:
            bills = await list_open_bills(conn, limit=PAGE)
        for ref in bills:
            try:
                await self._look_at(ref)
            except ProviderUnavailableError as error:
                log.info("an open bill could not be looked up", job_id=ref.job_id, reason=str(error))
            except (LookupError, ValueError, TypeError, ChargeConflictError) as error:
                log.error("an open bill cannot be settled", job_id=ref.job_id, reason=repr(error))  # noqa: TRY400 - no trace

    async def _look_at(self, ref: JobRef) -> None:
        async with self.database.as_system() as conn:
            await mark_bill_looked_at(conn, ref.job_id)
            job = await get_job(conn, ref.job_id)
            if job.state in (JobState.SUBMITTING, JobState.UNKNOWN):  # its execution was ended without it
                failure = Failure.of(FailureCode.SUBMISSION_UNKNOWN)
                await mark_job_ended(conn, ref.job_id, JobState.FAILED, failure, expected=(job.state,))
                job = await get_job(conn, ref.job_id)
        await (self._settle_known(ref, job) if job.handle is not None else self._look_for(ref, job))

    async def _settle_known(self, ref: JobRef, job: JobRecord) -> None:
        found = self.providers.find_model(job.model)
        if found is None or job.handle is None:
            return
        provider, model = found
        report = job.report or await provider.status(job.handle)
        if not report.state.ended:
            return
        async with self.database.as_system() as conn:
            send = await get_send(conn, ref.job_id, job.send_number)
            cost = provider.cost(model, ModelInputs(**send.inputs), report)
            await mark_reported(conn, ref.job_id, report)
            await mark_job_ended(conn, ref.job_id, report.state, report.failure, expected=(JobState.SUBMITTED,))
            await settle_charge(conn, ref.job_id, cost.nano_usd, cost.basis)
        log.info("an open bill was settled", job_id=ref.job_id, settled_nano_usd=cost.nano_usd)

    async def _look_for(self, ref: JobRef, job: JobRecord) -> None:
        found = self.providers.find_model(job.model)
        if found is None or job.state is not JobState.FAILED:
            return
        provider, _ = found
        async with self.database.as_system() as conn:
            send = await get_send(conn, ref.job_id, job.send_number)
        answer = await provider.find(Lookup(request=CreateRequest(**send.request), sent_at=send.sent_at))
        async with self.database.as_system() as conn:
            owned = await list_owned(conn, job.provider, [match.provider_job_id for match in answer.matches])
            free = [match for match in answer.matches if match.provider_job_id not in owned]
            if len(free) == 1:
                await mark_late_handle(conn, ref.job_id, free[0])
                log.warning("a send that was given up has been found", job_id=ref.job_id)
            elif not answer.matches and answer.authoritative and send.age_seconds > provider.certainty_horizon_seconds:
                move = await release_charge(conn, ref.job_id)
                if move is not None:
                    await move_budget(conn, move)
                    log.info("a send that was given up was never accepted", job_id=ref.job_id)
