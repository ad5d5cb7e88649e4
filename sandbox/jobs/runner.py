"""The life of a job: accept, produce, end, bill and send callbacks."""

import asyncio
import contextlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sandbox.callbacks.sender import Callbacks
from sandbox.faults.book import JOBS, FaultBook
from sandbox.files.sources import SourceError, Sources
from sandbox.files.store import Files
from sandbox.jobs.bill import Bill
from sandbox.jobs.charges import billed, charge_for_run, is_blackened, model_of, price_of
from sandbox.jobs.requests import (
    DEFAULT_RESULT_LIFE_SECONDS,
    Copy,
    CreateRequest,
    copied_job,
    new_job,
)
from sandbox.jobs.store import Job, Jobs, State
from sandbox.models.fields import violations
from sandbox.settings import Json, Settings

MODERATION_TYPE = "content_policy_violation"
CANCEL_SECONDS = 5.0


class JobRunner:
    """Runs jobs, one asyncio task each, from the accept to the last callback."""

    def __init__(
        self, *, settings: Callable[[], Settings], jobs: Jobs, bill: Bill, files: Files, faults: FaultBook,
        callbacks: Callbacks, callback_bodies: dict[str, Callable[[Job], Json]],
    ) -> None:  # fmt: skip
        """Take the functions that build a job's callback body, by provider, as callback_bodies."""
        self.settings = settings
        self.jobs = jobs
        self.bill = bill
        self.files = files
        self.faults = faults
        self._callbacks = callbacks
        self._callback_bodies = callback_bodies
        self._work: dict[str, asyncio.Task[None]] = {}
        self._fetching: dict[str, asyncio.Task[Sources]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._changed: dict[str, asyncio.Event] = {}

    async def accept(self, request: CreateRequest) -> Job:
        """Create a paid job. Its row and its line on the bill are written before this returns."""
        job = new_job(request, self.settings())
        fault = self.faults.take(job.provider, job.model, "create", JOBS, provider_job_id=job.id)
        if fault is not None:
            job.faults.append({"fault": fault.fault, "params": fault.params})
        if job.fault("callback_early") is not None:
            job.latency_seconds = job.queue_seconds = 0.0
        await self._store_and_begin(job)
        if job.fault("accept_twice") is not None:  # two paid jobs; the response names the first
            await self._store_and_begin(new_job(request, self.settings()))
        if job.fault("callback_early") is not None:
            await self.wait_for(job, lambda: job.announced, 60)
        await asyncio.sleep(self.settings().submit_seconds)
        return job

    async def accept_like(self, like: Job, copies: Sequence[Copy]) -> list[Job]:
        """Create paid jobs with the request of another job, as its caller would: for load tests."""
        settings = self.settings()
        jobs = [copied_job(like, copy, settings) for copy in copies]
        await asyncio.gather(*(self._store_and_begin(job) for job in jobs))
        return jobs

    async def _store_and_begin(self, job: Job) -> None:
        self.jobs.save(job)
        await self.bill.accept(job, price_of(job))
        self._begin(job)

    async def wait_for(self, job: Job, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until the condition holds; return False when the time is up."""
        end = time.monotonic() + seconds
        while not condition():
            event = self._changed.setdefault(job.id, asyncio.Event())
            event.clear()
            left = end - time.monotonic()
            if left <= 0:
                return False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await event.wait()
        return True

    async def resume(self) -> None:
        """Repair the bill after a crash and resume unfinished jobs and callbacks."""
        for file in self.jobs.all_files():
            if file.expires_at < time.time():
                self.jobs.remove_file(file)
        for job in self.jobs.all():
            if job.provider == "elevenlabs":  # ended and billed when it was accepted
                await self.bill.accept(job, job.billed_nano_usd)
                self.bill.close(job)
                continue
            await self.bill.accept(job, price_of(job))
            if not job.ended:
                self._begin(job)
                continue
            self.bill.close(job)
            if not job.announced:
                self._run_in_background(self._finish(job))
        await self.bill.flush()

    def live(self) -> list[Job]:
        """Return the jobs in progress."""
        return [job for job_id in self._work if (job := self.jobs.find(job_id)) is not None]

    def _begin(self, job: Job) -> None:
        fetching = asyncio.create_task(self._fetch(job))
        fetching.add_done_callback(_ignored)
        self._fetching[job.id] = fetching
        self._work[job.id] = asyncio.create_task(self._run(job), name=job.id)

    async def _run(self, job: Job) -> None:
        making = asyncio.create_task(self._make(job))
        making.add_done_callback(_ignored)
        try:
            if not await self._start(job):
                return
            async with asyncio.timeout(_left(job.end_deadline_at)):
                await self._produce(job, making)
        except TimeoutError:
            self._end(job, "canceled", charge_run=True, by_deadline=True)
        except Exception as error:  # noqa: BLE001 # a job must end on any error
            sys.stderr.write(f"sandbox: job {job.id} failed: {error!r}\n")
            self._fail(
                job,
                {
                    "status": 500,
                    "type": "internal_server_error",
                    "message": "Internal server error",
                },
            )
        finally:
            making.cancel()
            self._work.pop(job.id, None)
            if job.ended and (fetching := self._fetching.pop(job.id, None)) is not None:
                fetching.cancel()

    async def _start(self, job: Job) -> bool:
        """Wait in the queue. Return False if a deadline ended the job there."""
        if job.state == "running":
            return True
        start_at = job.created_at + job.queue_seconds
        deadline_at = min(job.start_deadline_at or math.inf, job.end_deadline_at or math.inf)
        await asyncio.sleep(max(0.0, min(start_at, deadline_at) - time.time()))
        if deadline_at < start_at:
            if job.provider == "fal":
                self._fail(
                    job, {"status": 504, "type": "request_timeout", "message": "Request timed out"}
                )
            else:
                self._end(job, "aborted", by_deadline=True)
            return False
        job.state, job.started_at = "running", time.time()
        self._save(job)
        if "start" in job.callback_events and job.callback_url is not None:
            self._run_in_background(self._send_callback(job, "start"))
        return True

    async def _produce(self, job: Job, making: "asyncio.Task[list[Json]]") -> None:
        if job.fault("stuck") is not None:
            await asyncio.Event().wait()
        if (fails := job.fault("fail_after")) is not None:
            if fails.get("billed"):
                await making  # sets the price
            await asyncio.sleep(float(fails.get("seconds", 0.5)))
            self._fail(job, _requested_error(fails))
            return
        try:
            outputs = await making
        except SourceError as error:
            self._fail(job, error.detail)
            return
        await asyncio.sleep(max(0.0, job.created_at + job.latency_seconds - time.time()))
        moderated = job.fault("moderated")
        if moderated is not None and not is_blackened(job):
            self._fail(
                job, {"status": 422, "type": MODERATION_TYPE, "message": "", "field": "prompt"}
            )
            return
        if job.fault("empty_output") is not None:
            outputs, job.data = [], None
        job.outputs = outputs
        self._end(job, "succeeded")

    async def _fetch(self, job: Job) -> Sources:
        """Check the input and fetch its files; the job's row shows what was fetched."""
        model = model_of(job)
        if broken := violations(model.fields, job.input):
            raise SourceError(
                {"status": 422, "type": "invalid", "fields": [item.field for item in broken]}
            )
        sources = await self.files.fetch(job, model)
        job.fetched = sources.records
        self._save(job)
        return sources

    async def _make(self, job: Job) -> list[Json]:
        sources, model, settings = await self._fetching[job.id], model_of(job), self.settings()
        self._fetching.pop(job.id, None)  # a waiting job does not keep its files in memory
        life = (
            job.result_life_seconds
            or settings.result_life_seconds
            or DEFAULT_RESULT_LIFE_SECONDS[job.provider]
        )
        order = replace(model.fitted(model.order(job.input), sources.facts), seed=job.seed)
        produced, outputs = await self.files.make(
            job,
            order,
            sources,
            tiny=settings.tiny_media,
            black=is_blackened(job),
            life_seconds=life,
        )
        job.data = produced.data
        job.billable_units, job.billed_nano_usd = billed(job, model.price(produced.order))
        return outputs

    def _fail(self, job: Job, error: Json) -> None:
        job.error = error
        self._end(job, "failed")

    def _end(
        self, job: Job, state: State, *, charge_run: bool = False, by_deadline: bool = False
    ) -> None:
        """Move the job to an end state; nothing else does.

        Successes are charged, and on Replicate what is cancelled while it runs. A `fail_after` may
        order a bill for a failure.
        """
        if job.ended:
            return
        # A deadline's timer may fire slightly early; the reported end must not precede it.
        passed_at = (job.end_deadline_at or 0.0) if by_deadline else 0.0
        job.state, job.ended_at = state, max(time.time(), passed_at)
        billed_failure = state == "failed" and (job.fault("fail_after") or {}).get("billed")
        if state != "succeeded" and not billed_failure:
            job.billable_units, job.billed_nano_usd = (
                charge_for_run(job) if charge_run else (None, 0)
            )
        job.announced = job.callback_url is None
        self.bill.close(job)
        self._save(job)
        self._run_in_background(self._finish(job))

    async def cancel(self, job: Job) -> None:
        """Cancel a job that has not ended. Only a Replicate job that ran is charged."""
        if job.ended:
            return
        work, fetching = self._work.pop(job.id, None), self._fetching.pop(job.id, None)
        if job.state == "running" and fetching is not None:  # the price may follow from its files
            await asyncio.wait([fetching], timeout=CANCEL_SECONDS)
        if work is not None:
            work.cancel()
            await asyncio.wait([work])
        self._end(job, "canceled", charge_run=job.state == "running")

    def _save(self, job: Job) -> None:
        self.jobs.save(job)
        event = self._changed.get(job.id)
        if event is not None:
            event.set()

    def _run_in_background(self, coroutine: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _send_callback(self, job: Job, event: str) -> None:
        await self._callbacks.deliver(job, event, self._callback_bodies[job.provider](job))

    async def _finish(self, job: Job) -> None:
        await self.bill.flush()
        if job.callback_url is None:
            return
        if "output" in job.callback_events and job.outputs:
            await self._send_callback(job, "output")
        if "completed" in job.callback_events:
            await self._send_callback(job, "completed")
        job.announced = True
        self._save(job)

    async def stop(self) -> None:
        """Cancel the work in progress; the next start resumes it."""
        tasks: list[asyncio.Task[Any]] = [
            *self._work.values(),
            *self._fetching.values(),
            *self._background,
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._work.clear()
        self._fetching.clear()


def _ignored(task: "asyncio.Task[Any]") -> None:
    """Read the error of a task that no task may wait for."""
    if not task.cancelled():
        task.exception()


def _requested_error(params: Json) -> Json:
    return {
        "status": int(params.get("status", 500)),
        "type": params.get("type", "internal_server_error"),
        "message": params.get("message", "Internal server error"),
    }


def _left(deadline_at: float | None) -> float | None:
    return None if deadline_at is None else max(0.0, deadline_at - time.time())
