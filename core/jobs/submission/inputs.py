"""The inputs of a send: a step's parameters with defaults filled in and references resolved."""

from datetime import datetime

from core.domain.failures import Failure, FailureCode
from core.domain.plans import Reference
from core.platform.temporal.policies import PROVIDER_URL_LIFE
from core.providers.port import Model, ModelInputs
from core.store.database import Connection
from core.store.files.assets import list_execution_assets
from core.store.files.object_storage import ObjectStore
from core.store.jobs.jobs import JobRecord
from core.store.jobs.reports import find_step_report

PRESIGNED_URL_SECONDS = 6 * 3600
"""Lifetime of a presigned URL that a model receives: its queue may be hours long."""


class InputUnavailableError(Exception):
    """A file that a step needs no longer exists. failure: the reason for the user."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


async def resolve_inputs(
    conn: Connection, objects: ObjectStore, job: JobRecord, model: Model, *, seed: int
) -> ModelInputs:
    """Return the inputs of a job's send.

    seed: used where the model takes one and the user gave none. Raises InputUnavailableError.
    """
    parameters = job.parameters
    image = parameters.image
    return ModelInputs(
        prompt=parameters.prompt,
        duration_seconds=parameters.duration_seconds or model.default_duration_seconds,
        resolution=parameters.resolution or model.default_resolution,
        aspect_ratio=parameters.aspect_ratio or model.default_aspect_ratio,
        seed=(parameters.seed if parameters.seed is not None else seed)
        if model.limits.takes_seed
        else None,
        image_url=await _output_url(conn, objects, job, image) if image is not None else None,
    )


async def _output_url(
    conn: Connection, objects: ObjectStore, job: JobRecord, reference: Reference
) -> str:
    """Return a URL of another step's output: the provider's own while it is fresh, else ours."""
    step_report = await find_step_report(conn, job.execution_id, reference.step)
    if step_report is None:
        raise InputUnavailableError(
            Failure.of(FailureCode.OUTPUT_INVALID, f"The step {reference.step!r} has no output.")
        )
    report, ended_at = step_report
    if reference.output < len(report.outputs) and _is_fresh(ended_at, job.now):
        return report.outputs[reference.output].url
    for item in await list_execution_assets(conn, job.execution_id):
        if item.step == reference.step and item.asset.output_number == reference.output:
            return await objects.address(
                item.asset.object_key, expires_seconds=PRESIGNED_URL_SECONDS
            )
    raise InputUnavailableError(Failure.of(FailureCode.OUTPUT_EXPIRED))


def _is_fresh(ended_at: datetime, now: datetime) -> bool:
    return now - ended_at < PROVIDER_URL_LIFE
