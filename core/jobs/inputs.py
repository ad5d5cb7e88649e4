"""A step's parameters made ready to send: references resolved, defaults filled in, nothing left
open.
"""

from datetime import datetime, timedelta

from core.domain.failures import Failure, FailureCode
from core.domain.plans import Reference
from core.providers.port import Model, ModelInputs
from core.store.database import Connection
from core.store.files.assets import list_execution_assets
from core.store.files.object_storage import ObjectStore
from core.store.jobs.jobs import JobRecord
from core.store.jobs.reports import find_step_report

PROVIDER_URL_LIFE = timedelta(minutes=40)
"""Results live an hour at the shortest-lived provider (Replicate); the next model needs time to
fetch it.
"""

HANDED_OVER_SECONDS = 6 * 3600
"""Life of a presigned address that a model gets: its queue may be hours long."""


class InputUnavailableError(Exception):
    """What a step needs is gone. failure: what to tell."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


async def resolve_inputs(
    conn: Connection, objects: ObjectStore, job: JobRecord, model: Model, *, seed: int
) -> ModelInputs:
    """seed: used where the model takes one and the user gave none. Raises InputUnavailableError."""
    asked = job.parameters
    return ModelInputs(
        prompt=asked.prompt,
        duration_seconds=asked.duration_seconds or model.default_duration_seconds,
        resolution=asked.resolution or model.default_resolution,
        aspect_ratio=asked.aspect_ratio or model.default_aspect_ratio,
        seed=(asked.seed if asked.seed is not None else seed) if model.limits.takes_seed else None,
        image_url=await _address(conn, objects, job, asked.image)
        if asked.image is not None
        else None,
    )


async def _address(
    conn: Connection, objects: ObjectStore, job: JobRecord, wanted: Reference
) -> str:
    """Where the provider can fetch the output of another step: the other provider's own address
    while it lives, else ours.
    """
    found = await find_step_report(conn, job.execution_id, wanted.step)
    if found is None:
        raise InputUnavailableError(
            Failure.of(FailureCode.OUTPUT_INVALID, f"The step {wanted.step!r} has no output.")
        )
    report, ended_at = found
    if wanted.output < len(report.outputs) and _fresh(ended_at, job.now):
        return report.outputs[wanted.output].url
    for item in await list_execution_assets(conn, job.execution_id):
        if item.step == wanted.step and item.asset.output_number == wanted.output:
            return await objects.address(item.asset.object_key, expires_seconds=HANDED_OVER_SECONDS)
    raise InputUnavailableError(Failure.of(FailureCode.OUTPUT_EXPIRED))


def _fresh(ended_at: datetime, now: datetime) -> bool:
    return now - ended_at < PROVIDER_URL_LIFE
