"""The inputs of a send: a step's parameters with defaults filled in and references resolved."""

from datetime import datetime, timedelta

from core.domain.failures import Failure, FailureCode
from core.domain.plans import Source, StepOutput
from core.platform.temporal.policies import PROVIDER_URL_LIFE
from core.providers.inputs import complete_inputs
from core.providers.models import MediaInput, Model, ModelInputs
from core.store.database import Connection
from core.store.files.assets import list_execution_assets
from core.store.files.object_storage import ObjectStore
from core.store.files.user_assets import find_asset
from core.store.jobs.jobs import JobRecord
from core.store.jobs.reports import find_step_report

PRESIGNED_URL_SECONDS = 6 * 3600
"""Lifetime of a presigned URL that a model receives: its queue may be hours long."""
MEASURED_WITHIN = timedelta(minutes=2)
"""How long a step waits for the length of another step's file, which is known once it is stored.

After that, the file is sent with an unknown length, for which the hold suffices: a step does not
fail because the object storage does.
"""


class InputUnavailableError(Exception):
    """A file that a step needs no longer exists. failure: the reason for the user."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class InputNotStoredError(InputUnavailableError):
    """A file that a step needs is still being stored.

    Its provider has no address for it, or its length decides what the step may cost.
    """


async def resolve_inputs(
    conn: Connection, objects: ObjectStore, job: JobRecord, model: Model, *, seed: int
) -> ModelInputs:
    """Return the inputs of a job's send.

    seed: used where the model takes one and the user gave none. Raises InputUnavailableError.
    """
    media = {
        name: await _file(conn, objects, job, source, measured=model.measures(name))
        for name, source in job.parameters.sources.items()
    }
    return complete_inputs(model, job.parameters.values, media, seed=seed)


async def _file(
    conn: Connection, objects: ObjectStore, job: JobRecord, source: Source, *, measured: bool
) -> MediaInput:
    """Return the file of a source. measured: the model's price or limits depend on its facts."""
    if isinstance(source, StepOutput):
        return await _step_file(conn, objects, job, source, measured=measured)
    asset = await find_asset(conn, job.user_id, source.asset)
    if asset is None:
        raise InputUnavailableError(Failure.of(FailureCode.ASSET_DELETED))
    url = await objects.address(asset.object_key, expires_seconds=PRESIGNED_URL_SECONDS)
    return MediaInput(url=url, facts=asset.media)


async def _step_file(
    conn: Connection, objects: ObjectStore, job: JobRecord, source: StepOutput, *, measured: bool
) -> MediaInput:
    """Return another step's output: at the provider's URL while it is fresh, else at ours."""
    step_report = await find_step_report(conn, job.execution_id, source.step)
    if step_report is None:
        raise InputUnavailableError(
            Failure.of(FailureCode.OUTPUT_INVALID, f"The step {source.step!r} has no output.")
        )
    report, ended_at = step_report
    output = report.outputs[source.output] if source.output < len(report.outputs) else None
    # An address that only we can use, or that would make the request as large as the file.
    is_ours = output is not None and (output.is_inline or output.needs_key)
    fresh = output if not is_ours and _is_fresh(ended_at, job.now) else None
    if fresh is not None and not measured:
        return MediaInput(url=fresh.url)
    stored = next(
        (
            item.asset
            for item in await list_execution_assets(conn, job.execution_id)
            if item.step == source.step and item.asset.output_number == source.output
        ),
        None,
    )
    if stored is None and fresh is not None and job.now - ended_at >= MEASURED_WITHIN:
        return MediaInput(url=fresh.url)
    if stored is None:
        if is_ours or fresh is not None:
            raise InputNotStoredError(Failure.of(FailureCode.STORAGE_UNAVAILABLE))
        raise InputUnavailableError(Failure.of(FailureCode.OUTPUT_EXPIRED))
    if fresh is not None:
        return MediaInput(url=fresh.url, facts=stored.media)
    url = await objects.address(stored.object_key, expires_seconds=PRESIGNED_URL_SECONDS)
    return MediaInput(url=url, facts=stored.media)


def _is_fresh(ended_at: datetime, now: datetime) -> bool:
    return now - ended_at < PROVIDER_URL_LIFE
