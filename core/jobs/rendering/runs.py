"""A run of a media job: its inputs, its content key, the program, and its stored files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from core.domain.failures import Failure, FailureCode
from core.domain.ids import JobId
from core.domain.media.content import (
    IncompleteError,
    MediaKind,
    TooLargeError,
    WrongContentError,
)
from core.domain.messages.jobs import JobRef
from core.domain.messages.media import MediaOrder, MediaResult
from core.domain.plans import OperationKind
from core.domain.states import JobState
from core.jobs.rendering.content_key import content_key
from core.jobs.rendering.expected import (
    DECODED_KINDS,
    check_made,
    expected_of_probe,
    expected_of_stored,
)
from core.jobs.rendering.files import MadeFile, RunFiles
from core.jobs.rendering.inputs import StoredInput, resolve_stored_inputs, size_of
from core.jobs.submission.inputs import InputUnavailableError
from core.media.engine.engine import Engine
from core.media.operations.port import (
    Expected,
    InputFile,
    Operation,
    OperationError,
    OperationParameters,
    OutputFile,
    Workspace,
)
from core.media.operations.registry import OPERATIONS
from core.platform.observability import metrics
from core.store.database import Database
from core.store.files.assets import list_made_assets
from core.store.jobs.content_keys import Claim, claim_content
from core.store.jobs.jobs import JobRecord, get_job
from core.store.jobs.media_jobs import (
    MadeFiles,
    RunNotes,
    complete_media_job,
    fail_media_job,
    get_warnings,
    mark_media_started,
)

COMPLETED: Final = "completed"
REUSED: Final = "reused"
FAILED: Final = "failed"
for _kind in OperationKind:  # start at zero, so that the first is an increase
    metrics.MEDIA_PROCESSOR_SECONDS.labels(_kind)
    for _outcome in (COMPLETED, REUSED, FAILED):
        metrics.MEDIA_JOBS.labels(_kind, _outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A job that is ready to run. inputs: by pointer, without optional ones that are left out."""

    job: JobRecord
    operation: Operation[Any]
    parameters: OperationParameters
    inputs: Mapping[str, StoredInput]
    content_key: str
    is_final: bool


@dataclass(slots=True)
class ProcessorTime:
    """What a run has used, also one that fails, in milliseconds."""

    ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaRuns:
    """Runs media jobs. Repeating is safe: the same inputs give the same files."""

    database: Database
    engine: Engine
    files: RunFiles

    async def run(self, order: MediaOrder, on_progress: Callable[[float], None]) -> MediaResult:
        """Make the files of a job, or copy those of a job that made the same, and end the job.

        A verdict on the media ends the job as failed. Raises EngineError, and MediaError where
        storage fails; then another run may succeed.
        """
        job = await self._start(order)
        if job.state is not JobState.WAITING:
            return MediaResult(state=job.state, failure=job.failure)
        if order.input_failure is not None:
            return await self._fail(job, order.input_failure)
        used = ProcessorTime()
        try:
            prepared = await self._prepare(job, is_final=order.is_final)
            _check_kind(prepared, order.makes)
            claim = await self._claim(prepared)
            if claim.is_busy:
                return MediaResult(state=JobState.WAITING)
            if claim.made_by is not None:
                made = await self._reuse(job, claim.made_by)
            else:
                made = await self._stored(prepared)
                if made is None:
                    made = await self._render(prepared, on_progress, used)
        except InputUnavailableError as error:
            return await self._fail(job, error.failure)
        except (OperationError, WrongContentError, TooLargeError, IncompleteError) as error:
            failure = Failure.of(FailureCode.MEDIA_FAILED, str(error))
            return await self._fail(job, failure, processor_ms=used.ms)
        return await self._complete(job, made)

    async def give_up(self, ref: JobRef, failure: Failure) -> MediaResult:
        """End a job that no further run can complete. Repeating is safe."""
        async with self.database.as_user(ref.user_id) as conn:
            job = await get_job(conn, ref.job_id)
        return await self._fail(job, failure)

    async def _start(self, order: MediaOrder) -> JobRecord:
        async with self.database.as_user(order.job.user_id) as conn:
            job = await get_job(conn, order.job.job_id)
            if job.state is JobState.WAITING:
                await mark_media_started(conn, job.job_id)
        return job

    async def _prepare(self, job: JobRecord, *, is_final: bool) -> Prepared:
        operation = OPERATIONS[OperationKind(job.kind)]
        parameters = _parameters(job, operation)
        async with self.database.as_user(job.user_id) as conn:
            inputs = await resolve_stored_inputs(conn, job, parameters)
        key = content_key(
            job, operation, parameters, inputs, engine_key=self.engine.key, is_final=is_final
        )
        return Prepared(
            job=job,
            operation=operation,
            parameters=parameters,
            inputs=inputs,
            content_key=key,
            is_final=is_final,
        )

    async def _claim(self, prepared: Prepared) -> Claim:
        job = prepared.job
        async with self.database.as_user(job.user_id) as conn:
            return await claim_content(conn, job.user_id, prepared.content_key, job.job_id)

    async def _reuse(self, job: JobRecord, made_by: JobId) -> MadeFiles:
        async with self.database.as_user(job.user_id) as conn:
            assets = await list_made_assets(conn, made_by)
            warnings = await get_warnings(conn, made_by)
        copies = await self.files.copy(job, assets)
        return MadeFiles(assets=copies, warnings=warnings, reused_from=made_by)

    async def _stored(self, prepared: Prepared) -> MadeFiles | None:
        """Return the files that an earlier run of this job stored and did not record.

        Its worker was killed in between, or the database was restored from an older backup.
        """
        inputs = {pointer: expected_of_stored(item) for pointer, item in prepared.inputs.items()}
        outputs = prepared.operation.outputs(prepared.parameters, inputs)
        kinds = [output.kind for output in outputs]
        stored = await self.files.find(prepared.job, kinds, prepared.content_key)
        if stored is None:
            return None
        assets, notes = stored
        return MadeFiles(assets=assets, warnings=notes.warnings, processor_ms=notes.processor_ms)

    async def _render(
        self, prepared: Prepared, on_progress: Callable[[float], None], used: ProcessorTime
    ) -> MadeFiles:
        operation, parameters = prepared.operation, prepared.parameters
        stored = {pointer: expected_of_stored(item) for pointer, item in prepared.inputs.items()}
        estimate = operation.expect(parameters, stored).seconds
        async with self.engine.workspace(
            inputs_bytes=size_of(prepared.inputs),
            seconds=estimate.worst if estimate is not None else 0.0,
            is_final=prepared.is_final,
            on_progress=on_progress,
        ) as workspace:
            inputs = await self._fetch(prepared.inputs, workspace.folder)
            read = {
                pointer: expected_of_probe(item.probe) if item.probe else stored[pointer]
                for pointer, item in inputs.items()
            }
            for fault in operation.faults(parameters, read):
                raise OperationError(fault.message, pointer=fault.pointer)
            try:
                made = await operation.render(parameters, inputs, workspace)
            finally:
                used.ms = round(1000 * workspace.processor_seconds)
            outputs = await self._outputs(prepared, read, made, workspace)
            notes = RunNotes(
                warnings=workspace.warnings,
                processor_ms=used.ms,
            )
            assets = await self.files.store(
                prepared.job, outputs, content_key=prepared.content_key, notes=notes
            )
            return MadeFiles(
                assets=assets, warnings=notes.warnings, processor_ms=notes.processor_ms
            )

    async def _fetch(self, inputs: Mapping[str, StoredInput], folder: Path) -> dict[str, InputFile]:
        """Download each file once and check what is given to a decoder."""
        fetched: dict[str, InputFile] = {}
        for stored in inputs.values():
            if stored.object_key in fetched:
                continue
            path = folder / f"input-{len(fetched)}"
            await self.files.download(stored.object_key, path, size_bytes=stored.size_bytes)
            probe = None
            if stored.kind in DECODED_KINDS:
                probe = await self.engine.check(path, stored.kind)
            fetched[stored.object_key] = InputFile(path=path, sha256=stored.sha256, probe=probe)
        return {pointer: fetched[stored.object_key] for pointer, stored in inputs.items()}

    async def _outputs(
        self,
        prepared: Prepared,
        read: Mapping[str, Expected],
        made: Sequence[OutputFile],
        workspace: Workspace,
    ) -> list[MadeFile]:
        """Return the made files in the order of the operation's outputs, the first one checked."""
        paths = {item.name: item.path for item in made}
        first, *others = prepared.operation.outputs(prepared.parameters, read)
        if first.kind in DECODED_KINDS:
            probe = await workspace.probe(paths[first.name])
            check_made(probe, prepared.operation.expect(prepared.parameters, read))
        return [MadeFile(kind=output.kind, path=paths[output.name]) for output in (first, *others)]

    async def _complete(self, job: JobRecord, made: MadeFiles) -> MediaResult:
        """Record the files and the end; a job that has ended meanwhile keeps its end."""
        async with self.database.as_user(job.user_id) as conn:
            completed = await complete_media_job(conn, job.user_id, job.job_id, made)
        if not completed:
            return await self._end_of(job)
        outcome = REUSED if made.reused_from is not None else COMPLETED
        metrics.MEDIA_JOBS.labels(job.kind, outcome).inc()
        metrics.MEDIA_PROCESSOR_SECONDS.labels(job.kind).inc(made.processor_ms / 1000)
        return MediaResult(state=JobState.COMPLETED)

    async def _fail(
        self, job: JobRecord, failure: Failure, *, processor_ms: int = 0
    ) -> MediaResult:
        async with self.database.as_user(job.user_id) as conn:
            failed = await fail_media_job(
                conn, job.user_id, job.job_id, failure, processor_ms=processor_ms
            )
        if not failed:
            return await self._end_of(job)
        metrics.MEDIA_JOBS.labels(job.kind, FAILED).inc()
        metrics.MEDIA_PROCESSOR_SECONDS.labels(job.kind).inc(processor_ms / 1000)
        return MediaResult(state=JobState.FAILED, failure=failure)

    async def _end_of(self, job: JobRecord) -> MediaResult:
        async with self.database.as_user(job.user_id) as conn:
            ended = await get_job(conn, job.job_id)
        return MediaResult(state=ended.state, failure=ended.failure)


def _check_kind(prepared: Prepared, planned: MediaKind | None) -> None:
    """Raise OperationError if the files that are left make another kind of file than planned.

    The steps and the results of the plan that use it were accepted with the planned kind.
    """
    inputs = {pointer: expected_of_stored(item) for pointer, item in prepared.inputs.items()}
    first, *_ = prepared.operation.outputs(prepared.parameters, inputs)
    if planned is not None and first.kind is not planned:
        raise OperationError(
            f"The step was to make a file of kind {planned}, and the files that are left make one "
            f"of kind {first.kind}: the steps of the optional files failed. A retry of the "
            "execution runs them again."
        )


def _parameters(job: JobRecord, operation: Operation[Any]) -> OperationParameters:
    try:
        return operation.parameters.model_validate(job.parameters.operation)
    except ValidationError as error:
        raise OperationError(
            "This version of the service no longer accepts the parameters of the step: "
            f"{error.errors()[0]['msg']}."
        ) from None
