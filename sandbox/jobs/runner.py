"""The life of a job: accept, produce, end, bill and send callbacks."""

import asyncio
import contextlib
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from sandbox.callbacks.sender import Callbacks
from sandbox.faults.book import JOBS, FaultBook
from sandbox.files.sources import SourceError, Sources
from sandbox.files.store import Files
from sandbox.jobs.bill import Bill
from sandbox.jobs.store import Job, Jobs, State, new_job_id
from sandbox.models.catalogue import find_model
from sandbox.models.fields import Role, violations
from sandbox.models.model import Model
from sandbox.models.orders import Facts
from sandbox.models.prices import Price
from sandbox.settings import DAY_SECONDS, Json, Settings

DEFAULT_RESULT_LIFE_SECONDS = {"fal": 7 * DAY_SECONDS, "replicate": 3600.0}
MODERATION_TYPE = "content_policy_violation"
CANCEL_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """A create call with its vendor headers parsed."""

    model: Model
    input: Json
    base_url: str
    account: str = ""
    callback_url: str | None = None
    callback_events: tuple[str, ...] = ("completed",)
    start_within_seconds: float | None = None
    end_within_seconds: float | None = None
    result_life_seconds: float | None = None
    stores_io: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What differs in a copy of a job. seconds: until its end."""

    callback_url: str | None
    seconds: float


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
        job = self._new_job(request)
        fault = self.faults.take(job.provider, job.model, "create", JOBS, provider_job_id=job.id)
        if fault is not None:
            job.faults.append({"fault": fault.fault, "params": fault.params})
        if job.fault("callback_early") is not None:
            job.latency_seconds = job.queue_seconds = 0.0
        await self._store_and_begin(job)
        if job.fault("accept_twice") is not None:  # two paid jobs; the response names the first
            await self._store_and_begin(self._new_job(request))
        if job.fault("callback_early") is not None:
            await self.wait_for(job, lambda: job.announced, 60)
        await asyncio.sleep(self.settings().submit_seconds)
        return job

    async def accept_like(self, like: Job, copies: Sequence[Copy]) -> list[Job]:
        """Create paid jobs with the request of another job, as its caller would: for load tests."""
        now, model = time.time(), model_of(like)
        jobs = [
            Job(
                id=new_job_id(model.provider), provider=like.provider, model=like.model, input=like.input,
                base_url=like.base_url, account=like.account, created_at=now, latency_seconds=copy.seconds,
                queue_seconds=min(self.settings().queue_seconds, copy.seconds / 2), seed=like.seed,
                callback_url=copy.callback_url, callback_events=like.callback_events,
                result_life_seconds=copy.seconds + DEFAULT_RESULT_LIFE_SECONDS[like.provider],
                stores_io=like.stores_io,
            )
            for copy in copies
        ]  # fmt: skip
        await asyncio.gather(*(self._store_and_begin(job) for job in jobs))
        return jobs

    async def _store_and_begin(self, job: Job) -> None:
        self.jobs.save(job)
        await self.bill.accept(job, self._price(job))
        self._begin(job)

    def _new_job(self, request: CreateRequest) -> Job:
        settings, model, now = self.settings(), request.model, time.time()
        latency = settings.video_seconds if model.makes == "video" else settings.image_seconds
        return Job(
            id=new_job_id(model.provider), provider=model.provider, model=model.name, input=request.input,
            base_url=request.base_url, account=request.account, created_at=now, latency_seconds=latency,
            queue_seconds=min(settings.queue_seconds, latency / 2), seed=self._seed(request.input),
            callback_url=request.callback_url, callback_events=list(request.callback_events),
            start_deadline_at=_after(now, request.start_within_seconds),
            end_deadline_at=_after(now, request.end_within_seconds),
            result_life_seconds=request.result_life_seconds, stores_io=request.stores_io,
        )  # fmt: skip

    @staticmethod
    def _seed(body: Json) -> int:
        seed = body.get("seed")
        fixed = isinstance(seed, int) and not isinstance(seed, bool) and seed != -1
        return int(seed) if fixed else random.randrange(2**31)  # pyright: ignore[reportArgumentType] # checked above

    def _price(self, job: Job) -> int:
        """Return the price of a success, or 0 for input that the model will reject.

        A price that follows from a file's length is not known before the file is fetched.
        """
        model = model_of(job)
        if violations(model.fields, job.input):
            return 0
        return model.price(model.order(job.input)).nano_usd

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
            await self.bill.accept(job, self._price(job))
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
        job.billable_units, job.billed_nano_usd = _billed(job, model.price(produced.order))
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
                _charge_for_run(job) if charge_run else (None, 0)
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


def model_of(job: Job) -> Model:
    model = find_model(job.provider, job.model)
    if model is None:
        raise LookupError(f"job {job.id} has the model {job.model}, which is no longer offered")
    return model


def is_blackened(job: Job) -> bool:
    """Return whether fal replaces this moderated picture with a charged black one."""
    params = job.fault("moderated")
    is_fal_picture = job.provider == "fal" and "has_nsfw_concepts" in model_of(job).also
    return params is not None and is_fal_picture and params.get("form", "nsfw") == "nsfw"


def _billed(job: Job, price: Price) -> tuple[float, int]:
    """Return units and nano-USD (rounded up) of a success, multiplied by any `bill_factor`."""
    params = job.fault("bill_factor")
    if params is None:
        return _shown(price.units), price.nano_usd
    factor = Decimal(params["factor"])
    return _shown(price.units * factor), math.ceil(price.nano_usd * factor)


def _charge_for_run(job: Job) -> tuple[float | None, int]:
    """Return the charge of a cancelled run: the full price on Replicate, nothing elsewhere.

    Replicate does not publish its rule; this is the worst one.
    """
    model = model_of(job)
    if job.provider != "replicate" or job.started_at is None:
        return None, 0
    price = model.price(model.fitted(model.order(job.input), _facts(job)))
    return _shown(price.units), price.nano_usd


def _facts(job: Job) -> dict[Role, Facts]:
    """Return the measures of the files that were fetched, of each role's first file."""
    facts: dict[Role, Facts] = {}
    for record in job.fetched:
        facts.setdefault(
            record["role"],
            Facts(
                medium="video" if record["frames"] else "audio" if record["seconds"] else "image",
                width=record["width"], height=record["height"], seconds=record["seconds"],
                frames=record["frames"],
            ),
        )  # fmt: skip
    return facts


def _shown(units: Decimal) -> float:
    return int(units) if units == int(units) else float(units)


def _requested_error(params: Json) -> Json:
    return {
        "status": int(params.get("status", 500)),
        "type": params.get("type", "internal_server_error"),
        "message": params.get("message", "Internal server error"),
    }


def _after(now: float, seconds: float | None) -> float | None:
    return None if seconds is None else now + seconds


def _left(deadline_at: float | None) -> float | None:
    return None if deadline_at is None else max(0.0, deadline_at - time.time())
