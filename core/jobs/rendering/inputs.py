"""The input files of a media step: its references resolved to files in our storage."""

from collections.abc import Mapping
from dataclasses import dataclass

from core.domain.failures import Failure, FailureCode
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.content import MediaKind
from core.domain.plans import Source, StepOutput
from core.jobs.submission.inputs import InputUnavailableError
from core.media.operations.port import OperationParameters
from core.media.operations.references import references_in
from core.store.database import Connection
from core.store.files.assets import StepAsset, list_execution_assets
from core.store.files.user_assets import find_asset
from core.store.jobs.jobs import JobRecord
from core.store.jobs.reports import find_step_report


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInput:
    """A file in our storage that a media step reads. sha256: of its bytes, hexadecimal."""

    kind: MediaKind
    object_key: str
    size_bytes: int
    sha256: str
    facts: MediaFacts | None


async def resolve_stored_inputs(
    conn: Connection, job: JobRecord, parameters: OperationParameters
) -> dict[str, StoredInput]:
    """Return the files of a media job by the pointers of their references.

    An optional reference to a step that did not complete is left out. Raises
    InputUnavailableError.
    """
    optional = {pointer for pointer, reference in references_in(parameters) if reference.optional}
    made = await list_execution_assets(conn, job.execution_id)
    inputs: dict[str, StoredInput] = {}
    for pointer, source in job.parameters.sources.items():
        stored = await _find(conn, job, source, made)
        if stored is not None:
            inputs[pointer] = stored
        elif pointer not in optional:
            raise InputUnavailableError(
                Failure.of(FailureCode.OUTPUT_INVALID, "A step that this one needs has no output.")
            )
    return inputs


async def _find(
    conn: Connection, job: JobRecord, source: Source, made: list[StepAsset]
) -> StoredInput | None:
    """Return the file of a source; None: its step did not complete."""
    if not isinstance(source, StepOutput):
        asset = await find_asset(conn, job.user_id, source.asset)
        if asset is None:
            raise InputUnavailableError(Failure.of(FailureCode.ASSET_DELETED))
        return StoredInput(
            kind=asset.kind,
            object_key=asset.object_key,
            size_bytes=asset.size_bytes,
            sha256=asset.sha256,
            facts=asset.media,
        )
    if await find_step_report(conn, job.execution_id, source.step) is None:
        return None
    for item in made:
        if item.step == source.step and item.asset.output_number == source.output:
            return StoredInput(
                kind=item.asset.kind,
                object_key=item.asset.object_key,
                size_bytes=item.asset.size_bytes,
                sha256=item.asset.sha256,
                facts=item.asset.media,
            )
    raise InputUnavailableError(Failure.of(FailureCode.OUTPUT_EXPIRED))


def size_of(inputs: Mapping[str, StoredInput]) -> int:
    """Return the bytes of all files, each counted once."""
    return sum({item.object_key: item.size_bytes for item in inputs.values()}.values())
