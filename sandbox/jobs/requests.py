"""Create calls, and the jobs that they begin."""

import random
import time
from dataclasses import dataclass

from sandbox.jobs.charges import model_of
from sandbox.jobs.store import Job, new_job_id
from sandbox.models.model import Model
from sandbox.settings import DAY_SECONDS, Json, Settings

DEFAULT_RESULT_LIFE_SECONDS = {"fal": 7 * DAY_SECONDS, "replicate": 3600.0}


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


def new_job(request: CreateRequest, settings: Settings) -> Job:
    """Return the job of a create call."""
    model, now = request.model, time.time()
    latency = settings.video_seconds if model.makes == "video" else settings.image_seconds
    return Job(
        id=new_job_id(model.provider), provider=model.provider, model=model.name, input=request.input,
        base_url=request.base_url, account=request.account, created_at=now, latency_seconds=latency,
        queue_seconds=min(settings.queue_seconds, latency / 2), seed=_seed(request.input),
        callback_url=request.callback_url, callback_events=list(request.callback_events),
        start_deadline_at=_after(now, request.start_within_seconds),
        end_deadline_at=_after(now, request.end_within_seconds),
        result_life_seconds=request.result_life_seconds, stores_io=request.stores_io,
    )  # fmt: skip


def copied_job(like: Job, copy: Copy, settings: Settings) -> Job:
    """Return a new job with the request of another one."""
    return Job(
        id=new_job_id(model_of(like).provider), provider=like.provider, model=like.model, input=like.input,
        base_url=like.base_url, account=like.account, created_at=time.time(), latency_seconds=copy.seconds,
        queue_seconds=min(settings.queue_seconds, copy.seconds / 2), seed=like.seed,
        callback_url=copy.callback_url, callback_events=like.callback_events,
        result_life_seconds=copy.seconds + DEFAULT_RESULT_LIFE_SECONDS[like.provider],
        stores_io=like.stores_io,
    )  # fmt: skip


def _seed(body: Json) -> int:
    seed = body.get("seed")
    fixed = isinstance(seed, int) and not isinstance(seed, bool) and seed != -1
    return int(seed) if fixed else random.randrange(2**31)  # pyright: ignore[reportArgumentType] # checked above


def _after(now: float, seconds: float | None) -> float | None:
    return None if seconds is None else now + seconds
