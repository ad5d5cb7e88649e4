"""State shared by both vendors' routes: the job runner, the exchange and create call records."""

import time
from collections import Counter, defaultdict, deque
from dataclasses import replace

from starlette.requests import Request

from sandbox.faults.book import BACKWARDS, CANCELS, FaultBook
from sandbox.http.exchange import Exchange
from sandbox.jobs.bill import timestamp, token_of
from sandbox.jobs.runner import JobRunner
from sandbox.jobs.store import Job, Jobs
from sandbox.models.model import Provider
from sandbox.settings import Json

KEPT_REQUESTS = 10_000


class RouteContext:
    """What the routes of both vendors share, with a record of create calls."""

    def __init__(
        self, *, runner: JobRunner, exchange: Exchange, faults: FaultBook, public_url: str | None
    ) -> None:
        self.runner = runner
        self.exchange = exchange
        self._faults = faults
        self._public_url = public_url
        self._creates: list[Json] = []
        self._counts: Counter[str] = Counter()
        self._times: defaultdict[str, deque[float]] = defaultdict(deque)

    @property
    def jobs(self) -> Jobs:
        return self.runner.jobs

    def base_url(self, request: Request) -> str:
        return self._public_url or str(request.base_url).rstrip("/")

    def cancel_loses(self, job: Job) -> bool:
        """Return whether a fault makes this cancel acknowledged without effect."""
        return (
            self._faults.take(job.provider, job.model, "cancel", CANCELS, provider_job_id=job.id)
            is not None
        )

    def as_reported(self, job: Job) -> Job:
        """Return the job as a status read reports it: `queued` again under `status_backwards`."""
        fault = self._faults.take(
            job.provider, job.model, "status", BACKWARDS, provider_job_id=job.id,
            when=lambda fault: job.reported_state in {"ended", fault.params.get("after", "running")},
        )  # fmt: skip
        if fault is not None:
            return replace(job, state="queued", started_at=None, ended_at=None, error=None)
        if job.state != "queued":
            job.reported_state = "ended" if job.ended else "running"
        return job

    def count_create(
        self, request: Request, provider: Provider, model: str, callback_url: str | None
    ) -> None:
        """Record a create call, also if it is rejected or dropped. In memory only."""
        self._counts[provider] += 1
        self._times[provider].append(time.monotonic())
        self._creates.append(
            {
                "time": timestamp(time.time()),
                "provider": provider,
                "model": model,
                "path": request.url.path,
                "token": token_of(callback_url),
            }
        )
        del self._creates[:-KEPT_REQUESTS]

    def creates_in_last_minute(self, provider: Provider) -> int:
        times = self._times[provider]
        while times and times[0] < time.monotonic() - 60:
            times.popleft()
        return len(times)

    def requests_view(self) -> Json:
        return {
            "total": self._counts.total(),
            "by_provider": dict(self._counts),
            "requests": self._creates,
        }

    def clear(self) -> None:
        self._creates.clear()
        self._counts.clear()
        self._times.clear()
