"""Import of plans of the Synthome SDK: `{"jobs": [{id, type, params, dependsOn?, output}]}`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from core.domain.media.content import MediaKind
from core.domain.plans import MAX_STEPS, OperationKind, StepKind
from core.ordering.errors import FaultCode
from core.ordering.importing import captions, edits, films, generation
from core.ordering.importing.conversion import MODELS, Conversion, Operation
from core.ordering.importing.reading import (
    Fields,
    ImportFault,
    Node,
    Note,
    NoteCode,
    Report,
    child_pointer,
    without_secrets,
)
from core.ordering.importing.steps import Job, StepPlaces
from core.providers.registry import Providers

ROOT: Final = "/synthome"
MAX_ID: Final = 200
RESULT: Final = "result"
_VIDEO: Final = Operation(
    label="video", kind=StepKind.VIDEO, makes=MediaKind.VIDEO, convert=generation.video
)
OPERATIONS: Final[Mapping[str, Operation]] = {
    "generate": _VIDEO,
    "generateVideo": _VIDEO,
    "generateImage": Operation(
        label="image", kind=StepKind.IMAGE, makes=MediaKind.IMAGE, convert=generation.image
    ),
    "generateAudio": Operation(
        label="audio", kind=StepKind.AUDIO, makes=MediaKind.AUDIO, convert=generation.speech
    ),
    "transcribe": Operation(
        label="words",
        kind=StepKind.TRANSCRIPT,
        makes=MediaKind.TRANSCRIPT,
        convert=edits.transcribe,
    ),
    "removeBackground": Operation(
        label="cutout", kind=StepKind.CUTOUT, makes=MediaKind.VIDEO, convert=edits.remove_background
    ),
    "removeImageBackground": Operation(
        label="cutout",
        kind=StepKind.CUTOUT,
        makes=MediaKind.IMAGE,
        convert=edits.remove_image_background,
    ),
    "lipSync": Operation(
        label="lips", kind=StepKind.LIP_SYNC, makes=MediaKind.VIDEO, convert=edits.lip_sync
    ),
    "reframe": Operation(
        label="shape", kind=OperationKind.REFRAME, makes=MediaKind.VIDEO, convert=edits.reframe
    ),
    "addSubtitles": Operation(
        label="captions",
        kind=OperationKind.CAPTIONS,
        makes=MediaKind.VIDEO,
        convert=captions.captions,
    ),
    "merge": Operation(
        label="film", kind=OperationKind.MERGE, makes=MediaKind.VIDEO, convert=films.merge
    ),
    "layer": Operation(
        label="layers", kind=OperationKind.LAYERS, makes=MediaKind.VIDEO, convert=films.layer
    ),
    "replaceGreenScreen": Operation(
        label="layers",
        kind=OperationKind.LAYERS,
        makes=MediaKind.VIDEO,
        convert=films.replace_green_screen,
    ),
}
"""By the type of a job: those of the SDK, and two of older plans."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A plan in the form of `POST /api/executions`, not validated yet."""

    plan: dict[str, object]
    notes: tuple[Note, ...]
    faults: tuple[ImportFault, ...]
    places: StepPlaces


def convert_plan(
    body: Mapping[str, object], *, models: Mapping[str, str], catalogue: Providers
) -> Converted:
    """Convert a plan. body: the plan, or the whole body that the SDK sends.

    models: names of our models, in place of those that the plan names. catalogue: what the user can
    order. Nothing is written or read. Secrets are left out before anything else.
    """
    report = Report()
    node = Node(without_secrets(Node(body, ROOT), report), ROOT)
    conversion = Conversion(
        operations=OPERATIONS, catalogue=catalogue, models=models, report=report
    )
    jobs_node = _jobs_of(node, report)
    if jobs_node is not None:
        for job in _jobs(conversion, jobs_node):
            conversion.convert(job)
    for name in models.keys() - conversion.used_models:
        pointer = child_pointer(MODELS, name)
        report.note(pointer, NoteCode.IGNORED, "is left out: no job names this model")
    plan, outputs = _plan(conversion)
    return Converted(
        plan=plan,
        notes=tuple(report.notes),
        faults=tuple(report.faults),
        places=StepPlaces(
            drafts=tuple(conversion.drafts),
            jobs=jobs_node.pointer if jobs_node is not None else ROOT,
            outputs=outputs,
        ),
    )


def _jobs_of(node: Node, report: Report) -> Node | None:
    """Return the list of jobs, and report what else the body has."""
    fields = Fields(node, report)
    options = fields.take("options")
    for name, member in options.members().items() if options is not None else ():
        if name == "baseExecutionId":
            _note_base(member, report)
        else:
            detail = "is left out. Set `webhook` in the body of POST /api/executions"
            report.note(member.pointer, NoteCode.IGNORED, detail)
    whole = fields.take("executionPlan")
    if whole is not None:
        fields.refuse_rest(("executionPlan", "options"))
        fields = Fields(whole, report)
    base = fields.take("baseExecutionId")
    if base is not None:
        _note_base(base, report)
    jobs = fields.take("jobs")
    fields.refuse_rest(("jobs", "baseExecutionId"))
    if jobs is None:
        report.refuse(fields.pointer, "has no jobs", FaultCode.MISSING)
    elif not isinstance(jobs.value, list) or not jobs.entries():
        report.refuse(jobs.pointer, "must be a list of at least one job")
        return None
    return jobs


def _note_base(node: Node, report: Report) -> None:
    report.note(
        node.pointer,
        NoteCode.IGNORED,
        "is left out: files of earlier executions are found by their content, without it",
    )


def _jobs(conversion: Conversion, node: Node) -> list[Job]:
    """Return the jobs, known by their ids and by the names of their outputs."""
    entries = node.entries()
    if len(entries) > MAX_STEPS:
        conversion.report.refuse(
            node.pointer,
            f"has {len(entries)} jobs; a plan has at most {MAX_STEPS} steps",
            FaultCode.TOO_MANY_STEPS,
        )
    jobs: list[Job] = []
    outputs: dict[str, Job] = {}
    for entry in entries[:MAX_STEPS]:
        fields = Fields(entry, conversion.report)
        job = _job(conversion, entry, fields)
        jobs.append(job)
        output = fields.take("output")
        if output is not None and isinstance(output.value, str):
            outputs.setdefault(output.value.removeprefix("$"), job)
        fields.refuse_rest(("id", "type", "params", "dependsOn", "output"))
    conversion.jobs = outputs | conversion.jobs
    return jobs


def _job(conversion: Conversion, node: Node, fields: Fields) -> Job:
    """Return a job, and report what is wrong with its frame."""
    report = conversion.report
    type_, params = fields.take("type", "operation"), fields.take("params")
    if type_ is None or not isinstance(type_.value, str):
        report.refuse(child_pointer(node.pointer, "type"), "is missing", FaultCode.MISSING)
    elif type_.value not in OPERATIONS:
        allowed = sorted(OPERATIONS)
        detail = f"{type_.value[:100]!r} is not imported; allowed: {', '.join(allowed)}"
        report.refuse(type_.pointer, detail, FaultCode.NOT_SUPPORTED, allowed)
    if params is None:
        params = Node({}, child_pointer(node.pointer, "params"))
    name = str(type_.value) if type_ is not None else ""
    operation = OPERATIONS.get(name)
    waits = fields.take("dependsOn", "dependencies")
    identity = fields.take("id")
    key = identity.value if identity is not None else None
    job = Job(
        name=conversion.new_name(key if isinstance(key, str) else "step"),
        type=name,
        pointer=node.pointer,
        params=params,
        makes=operation.makes if operation is not None else None,
        waits_for=tuple(waits.entries()) if waits is not None else (),
    )
    if not isinstance(key, str) or not 0 < len(key) <= MAX_ID:
        detail = f"must be a text of 1 to {MAX_ID} characters"
        report.refuse(child_pointer(node.pointer, "id"), detail)
    elif conversion.jobs.setdefault(key, job) is not job:
        pointer = child_pointer(node.pointer, "id")
        report.refuse(pointer, f"is also the id of another job: {key!r}", FaultCode.DUPLICATE_NAME)
    elif job.name != key and identity is not None:
        detail = f"is the step {job.name!r}: names have lower-case letters, digits and hyphens"
        report.note(identity.pointer, NoteCode.RENAMED, detail)
    return job


def _plan(conversion: Conversion) -> tuple[dict[str, object], dict[str, str]]:
    """Return the plan, and the places of its named outputs.

    The result is that of the last job whose file no other job uses and that no other job waits for.
    The files of other unused jobs are outputs, because they were ordered and may cost money.
    """
    drafts = conversion.drafts
    read = frozenset[str]().union(*(draft.reads for draft in drafts))
    ends = [draft for draft in drafts if draft.name not in read]
    plan: dict[str, object] = {"version": 1, "steps": [draft.to_json() for draft in drafts]}
    places: dict[str, str] = {}
    if not ends:
        return plan, places
    waited_for = {name for draft in drafts for name in draft.needs}
    result = [draft for draft in ends if draft.name not in waited_for] or ends
    plan[RESULT] = result[-1].name
    outputs: dict[str, object] = {}
    for draft in ends:
        if draft is result[-1]:
            continue
        name = draft.name if draft.name != RESULT else conversion.new_name(RESULT)
        outputs[name] = {"step": draft.name}
        places[name] = draft.job.pointer
        conversion.report.note(
            draft.job.pointer,
            NoteCode.OUTPUT_KEPT,
            f"makes a file that no other job uses: it is the output {name!r} of the plan",
        )
    if outputs:
        plan["outputs"] = outputs
    return plan, places
