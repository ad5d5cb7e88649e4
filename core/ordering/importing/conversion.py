"""What all operations of an import share: files, models, and the steps that were made so far."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final

from core.domain.media.content import MediaKind
from core.domain.plans import MAX_STEPS, OperationKind, StepKind
from core.ordering.errors import FaultCode
from core.ordering.importing.reading import Fields, Node, NoteCode, Report, child_pointer
from core.ordering.importing.steps import Draft, Job, step_name
from core.providers.models import Model
from core.providers.registry import Providers, own_name

Reference = dict[str, object]
"""A file in a converted plan: `{"step": …}` or `{"url": …}`."""
MODELS: Final = "/models"
"""The JSON Pointer of the user's choice of models."""
_MARKER: Final = re.compile(r"_(image|audio|video|transcript)?[jJ]obDependency:(.+)")
_MAX_DEPTH: Final = 8
"""Of operations inside each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """How one type of job is imported. label: for names of steps without an id."""

    label: str
    kind: StepKind | OperationKind
    makes: MediaKind
    convert: "Callable[[Conversion, Draft, Fields], None]"


@dataclass(slots=True, kw_only=True)
class Conversion:
    """One import. jobs: by their ids and by the names of their outputs.

    models: the user's choice in place of models of the foreign plan. drafts: in an order in which
    each operation precedes the job that contains it.
    """

    operations: Mapping[str, Operation]
    catalogue: Providers
    models: Mapping[str, str]
    report: Report
    jobs: dict[str, Job] = field(default_factory=dict[str, Job])
    names: set[str] = field(default_factory=set[str])
    drafts: list[Draft] = field(default_factory=list[Draft])
    used_models: set[str] = field(default_factory=set[str])
    is_full: bool = False

    def convert(self, job: Job) -> None:
        """Append the step of a job."""
        operation = self.operations.get(job.type)
        if operation is None:
            return
        draft = Draft(job=job, name=job.name, kind=operation.kind, makes=operation.makes)
        fields = Fields(job.params, self.report)
        fields.ignore(
            "sendJobWebhook",
            "an execution sends one webhook, at its end, with the files of all steps",
        )
        operation.convert(self, draft, fields)
        self._wait(draft)
        self.append(draft)

    def append(self, draft: Draft) -> None:
        """Append a step, and refuse the import if it is one too many."""
        if len(self.drafts) < MAX_STEPS:
            self.drafts.append(draft)
        elif not self.is_full:
            self.is_full = True
            self.report.refuse(
                draft.job.pointer,
                f"needs a step of its own; a plan has at most {MAX_STEPS}",
                FaultCode.TOO_MANY_STEPS,
            )

    def new_name(self, text: str) -> str:
        name = step_name(text, self.names)
        self.names.add(name)
        return name

    def _wait(self, draft: Draft) -> None:
        """Keep what a job waits for without using its file as an order of steps."""
        for node in draft.job.waits_for:
            job = self.job(node, str(node.value))
            if job is None or job.name in draft.reads or job.name in draft.needs:
                continue
            draft.needs.append(job.name)
            draft.fields.setdefault("needs", node.pointer)
            self.report.note(
                node.pointer,
                NoteCode.ORDER_KEPT,
                f"is kept as order alone: no file of {job.name!r} is used. Remove it from `needs` "
                "to run both steps at once",
            )

    def job(self, node: Node, name: str) -> Job | None:
        """Return the job of this id or output; report one that does not exist."""
        job = self.jobs.get(name)
        if job is None:
            similar = get_close_matches(name, sorted(self.jobs), n=1)
            suggestion = f"; did you mean {similar[0]!r}?" if similar else ""
            self.report.refuse(
                node.pointer,
                f"names the unknown job {name[:100]!r}{suggestion}",
                FaultCode.UNKNOWN_STEP,
                sorted(self.jobs),
            )
        return job

    def file(self, node: Node, draft: Draft) -> Reference | None:
        """Return the file that a value names; None if it names no file, which is reported.

        A value is an address, a marker such as `_imageJobDependency:job1`, `$job1`, an operation,
        or a list with one of these.
        """
        value = node.value
        if isinstance(value, list) and len(entries := node.entries()) == 1:
            return self.file(entries[0], draft)
        if isinstance(value, str):
            marker = _MARKER.fullmatch(value)
            if marker is not None:
                expected = MediaKind(marker[1]) if marker[1] else None
                return self._output(node, marker[2], expected, draft)
            if value.startswith("$"):
                return self._output(node, value[1:], None, draft)
            return {"url": value}
        if isinstance(value, Mapping) and "type" in value and "params" in value:
            return self._nested(node, draft)
        self.report.refuse(
            node.pointer,
            "must be an address, a marker such as _imageJobDependency:job1, or an operation",
        )
        return None

    def _output(
        self, node: Node, name: str, expected: MediaKind | None, draft: Draft
    ) -> Reference | None:
        job = self.job(node, name)
        if job is None:
            return None
        if expected is not None and job.makes not in (None, expected):
            self.report.refuse(
                node.pointer,
                f"is a marker of kind {expected}, and {name!r} makes {job.makes}",
                FaultCode.WRONG_MEDIA,
            )
        draft.reads.add(job.name)
        return {"step": job.name}

    def _nested(self, node: Node, draft: Draft) -> Reference | None:
        """Convert an operation inside the parameters of a job."""
        members = node.members()
        type_ = str(members["type"].value)
        operation = self.operations.get(type_)
        if operation is None or draft.job.depth >= _MAX_DEPTH:
            detail = "is nested too deeply" if operation else f"{type_[:100]!r} is not imported"
            self.report.refuse(
                child_pointer(node.pointer, "type"),
                detail,
                FaultCode.NOT_SUPPORTED,
                sorted(self.operations),
            )
            return None
        job = Job(
            name=self.new_name(f"{draft.name}-{operation.label}"),
            type=type_,
            pointer=node.pointer,
            params=members.get("params", Node({}, child_pointer(node.pointer, "params"))),
            makes=operation.makes,
            inputs=tuple(members["inputs"].entries()) if "inputs" in members else (),
            depth=draft.job.depth + 1,
        )
        self.convert(job)
        draft.reads.add(job.name)
        return {"step": job.name}

    def makes(self, file: object) -> MediaKind | None:
        """Return what the step of a reference makes; None for a file at an address."""
        match file:
            case {"step": str(name)}:
                pass
            case _:
                return None
        return next((job.makes for job in self.jobs.values() if job.name == name), None)

    def source(
        self, draft: Draft, fields: Fields, *names: str, kinds: Collection[MediaKind]
    ) -> tuple[Reference, Node] | None:
        """Return the file that an operation works on, and the value that names it.

        Without one in the parameters, it is that of the first job that this job waits for and that
        makes such a file, as Synthome has it.
        """
        node = fields.take(*names)
        if node is None and draft.job.inputs:
            node = draft.job.inputs[0]
        if node is not None:
            file = self.file(node, draft)
            return (file, node) if file is not None else None
        for each in draft.job.waits_for:
            job = self.jobs.get(str(each.value))
            if job is not None and job.makes in kinds:
                draft.reads.add(job.name)
                self.report.note(
                    each.pointer,
                    NoteCode.SOURCE_CHOSEN,
                    f"is used as {names[0]}, which the job does not name",
                )
                return {"step": job.name}, each
        self.report.refuse(
            draft.job.params.pointer,
            f"has no {names[0]}, and no job in dependsOn makes one",
            FaultCode.MISSING,
        )
        return None

    def choose_model(self, draft: Draft, fields: Fields) -> Model | None:
        """Set the model of a paid step, and return it if it is on offer."""
        named = fields.take("modelId")
        provider = fields.take("provider")
        whole = fields.take("model")
        if whole is not None:  # the SDK copies its model object into some parameters
            inside = whole.members()
            named = named or inside.get("modelId") or (None if inside else whole)
            provider = provider or inside.get("provider")
        if named is None or not isinstance(named.value, str):
            if named is not None:
                self.report.refuse(named.pointer, "must be the name of a model")
            return None
        name = named.value
        draft.fields["model"] = named.pointer
        if name in self.models:
            self.used_models.add(name)
            draft.model = self.models[name]
            draft.fields["model"] = child_pointer(MODELS, name)
        else:
            self._name_model(draft, named, provider)
        offer = self.catalogue.find_model(draft.model or name, draft.provider)
        return offer[1] if offer is not None else None

    def _name_model(self, draft: Draft, named: Node, provider: Node | None) -> None:
        """Set the model that a job names, and its provider."""
        name = str(named.value)
        if provider is not None:
            draft.fields["provider"] = provider.pointer
            draft.provider = str(provider.value)
        draft.model = own_name(name, draft.provider)
        base, _, version = name.partition(":")
        is_offered = self.catalogue.find_model(draft.model, draft.provider) is not None
        if version and not is_offered and self.catalogue.find_model(base, draft.provider):
            draft.model = base
        if draft.model != name:
            self.report.note(named.pointer, NoteCode.RENAMED, f"is {draft.model!r} in this service")
