"""Plans: the steps of an execution, their dependencies, and their progress."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, cast

from core.domain.ids import AssetId
from core.domain.media.content import MediaKind
from core.domain.states import JobState

MAX_STEPS = 50
MEDIA: Final = "media"
"""The provider of free steps: this service."""
RESULT: Final = "result"
"""The name of a plan's result among its outputs. No other output has it."""


class StepKind(StrEnum):
    """What a step does. The kinds of the files that it makes are MediaKind."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    TRANSCRIPT = "transcript"
    CUTOUT = "cutout"
    LIP_SYNC = "lip-sync"
    TALKING_HEAD = "talking-head"
    UPSCALE = "upscale"


GENERATIVE: Final = frozenset({StepKind.IMAGE, StepKind.VIDEO})
"""Kinds of which a user who orders the same again usually wants another result.

The inputs of the other kinds decide what is made: a text that is spoken, a file that is changed.
"""


class OperationKind(StrEnum):
    """What a media step does, on our own processors and free of charge."""

    MERGE = "merge"
    LAYERS = "layers"
    CAPTIONS = "captions"
    REFRAME = "reframe"
    POSTER = "poster"
    PREVIEW = "preview"
    LOUDNESS = "loudness"
    TRIM = "trim"
    EXTRACT_AUDIO = "extract-audio"


class DecisionKind(StrEnum):
    """What a step leaves to the user, free of charge."""

    APPROVAL = "approval"


AnyKind = StepKind | OperationKind | DecisionKind
"""What a paid step, a media step or an approval step does."""


def kind_of_step(text: str) -> AnyKind:
    """Return the kind that a row or a request names. Raise ValueError for anything else."""
    for kinds in (OperationKind, DecisionKind):
        if text in tuple(kinds):
            return kinds(text)
    return StepKind(text)


class OnFailure(StrEnum):
    """The effect of a failed step on its plan.

    STOP: nothing more is submitted; running jobs are paid, so they are finished and stored.
    CONTINUE: the other steps continue.
    """

    STOP = "stop"
    CONTINUE = "continue"


class PlanType(StrEnum):
    """The kind of an order: the route that it came through. PLAN: a plan of the user's own."""

    GENERATE_VIDEO = "generate-video"
    GENERATE_IMAGE = "generate-image"
    GENERATE_AUDIO = "generate-audio"
    TRANSCRIBE = "transcribe"
    PLAN = "plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a plan.

    kind: of a free step an OperationKind or a DecisionKind; then the provider is MEDIA, and the
    model is the kind.
    deadline_seconds: how long its job may take, from the first submit to its end at the provider;
    of a media step, from its start; of an approval step, until it expires. usual_seconds: how long
    it usually takes; the weight of the step in the progress. optional_needs: those of `needs` whose
    failure leaves a slot or an option of the step out; any other failure cancels the step.
    stored_with_next: its provider serves its file long enough to store it together with a later
    step's file. reuse: of a paid step, use the files of an earlier purchase of the same.
    makes: of a media step, the kind of its first file.
    """

    name: str
    kind: AnyKind
    provider: str
    model: str
    deadline_seconds: int
    usual_seconds: int
    needs: tuple[str, ...] = ()
    on_failure: OnFailure = OnFailure.STOP
    stored_with_next: bool = False
    optional_needs: tuple[str, ...] = ()
    reuse: bool = False
    makes: MediaKind | None = None

    @property
    def is_media(self) -> bool:
        """Return whether the step runs on our own processors, free of charge."""
        return isinstance(self.kind, OperationKind)

    @property
    def is_approval(self) -> bool:
        """Return whether the step waits for a decision of the user."""
        return isinstance(self.kind, DecisionKind)

    @property
    def is_free(self) -> bool:
        """Return whether the step buys nothing: it has no hold, no send and no bill."""
        return not isinstance(self.kind, StepKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutput:
    """The output of another step, by its number, resolved when the job starts."""

    step: str
    output: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps, each after those that it needs. outputs: further results by their names."""

    type: PlanType
    steps: tuple[Step, ...]
    result_step: str
    version: int = 1
    outputs: Mapping[str, StepOutput] = field(default_factory=dict[str, StepOutput])

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        if not 0 < len(names) <= MAX_STEPS:
            raise ValueError(f"a plan has 1 to {MAX_STEPS} steps, not {len(names)}")
        if len(set(names)) != len(names):
            raise ValueError("two steps of a plan have the same name")
        if self.result_step not in names:
            raise ValueError(f"the result step {self.result_step!r} is not in the plan")
        for name, output in self.outputs.items():
            if output.step not in names:
                raise ValueError(f"the output {name!r} is of no step of the plan: {output.step!r}")
        for position, step in enumerate(self.steps):
            if not set(step.optional_needs) <= set(step.needs):
                raise ValueError(f"an optional need of step {step.name!r} is not among its needs")
            for need in step.needs:
                if need not in names[:position]:
                    raise ValueError(
                        f"step {step.name!r} needs {need!r}, which must be an earlier step"
                    )

    def step(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)

    def steps_after(self, name: str) -> tuple[Step, ...]:
        """Return the steps that wait for this one, directly or through others."""
        after = {name}
        for step in self.steps:
            if not after.isdisjoint(step.needs):
                after.add(step.name)
        return tuple(step for step in self.steps if step.name in after - {name})


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetSource:
    """A stored file of the user."""

    asset: AssetId


Source = StepOutput | AssetSource
"""Where a step's media input comes from."""

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """A step's input in provider-independent form, which the provider's adapter translates.

    values, sources: by the parameter's name. A name that is missing: the model's default, sent
    explicitly if it affects the price.
    operation: of a media step, its parameters in their published form. They have no values, and
    the sources are by the pointers of the references, such as `items/0/media`.
    """

    values: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    sources: Mapping[str, Source] = field(default_factory=dict[str, Source])
    operation: Mapping[str, object] | None = None

    @property
    def steps(self) -> frozenset[str]:
        """Return the names of the steps whose outputs are used."""
        return frozenset(
            source.step for source in self.sources.values() if isinstance(source, StepOutput)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgress:
    name: str
    usual_seconds: int
    state: JobState
    submitted_at: datetime | None = field(default=None)


def progress_percent(steps: Sequence[StepProgress], now: datetime) -> int:
    """Return 0 to 99, weighted by usual durations; only a completed execution has 100.

    The value never falls within a generation. A running step counts by its age, up to 90 % of its
    weight. A failed or cancelled step keeps counting in the same way, so that its end does not
    reduce the value.
    """
    total = sum(step.usual_seconds for step in steps)
    done = 0.0
    for step in steps:
        if step.state is JobState.COMPLETED:
            done += step.usual_seconds
        elif step.submitted_at is not None:
            age = max(0.0, (now - step.submitted_at).total_seconds())
            done += min(age, 0.9 * step.usual_seconds)
    return int(99 * done / total) if total else 0


def prompt_of(request: Mapping[str, object]) -> str:
    """Return the text that identifies a stored request to a person: its prompt or its speech."""
    return str(request.get("prompt") or request.get("text") or "")


_OPERATION: Final = "$operation"
"""No parameter has a name with a dollar sign."""


def parameters_to_json(parameters: Parameters) -> dict[str, object]:
    """Return the parameters as one flat object for the step's row."""
    sources = {name: asdict(source) for name, source in parameters.sources.items()}
    if parameters.operation is None:
        return {**parameters.values, **sources}
    return {**sources, _OPERATION: dict(parameters.operation)}


def parameters_from_json(plain: Mapping[str, object]) -> Parameters:
    """Read the output of parameters_to_json. Raise TypeError for anything else."""
    values: dict[str, Scalar] = {}
    sources: dict[str, Source] = {}
    operation: Mapping[str, object] | None = None
    for name, value in plain.items():
        if name == _OPERATION and isinstance(value, dict):
            operation = cast("dict[str, object]", value)
        elif isinstance(value, str | int | float):
            values[name] = value
        else:
            sources[name] = source_from_json(value)
    return Parameters(values=values, sources=sources, operation=operation)


def source_from_json(plain: object) -> Source:
    """Read a source in the form of parameters_to_json. Raise TypeError for anything else."""
    match plain:
        case {"step": str(step), "output": int(output)}:
            return StepOutput(step=step, output=output)
        case {"asset": str(asset)}:
            return AssetSource(asset=AssetId(asset))
        case _:
            raise TypeError("expected text, a number, a flag, a step's output or an asset")


def plan_to_json(plan: Plan) -> dict[str, object]:
    return asdict(plan)


def plan_from_json(plain: Mapping[str, object]) -> Plan:
    """Read the output of plan_to_json. Raise TypeError or ValueError for anything else."""
    match plain:
        case {
            "type": str(type_),
            "steps": list(),
            "result_step": str(result_step),
            "version": int(version),
        }:
            return Plan(
                type=PlanType(type_),
                steps=tuple(
                    _step_from_json(step)
                    for step in cast("list[Mapping[str, object]]", plain["steps"])
                ),
                result_step=result_step,
                version=version,
                outputs=outputs_from_json(plain.get("outputs", {})),
            )
        case _:
            raise TypeError("not a plan")


def outputs_from_json(plain: object) -> dict[str, StepOutput]:
    """Read the named results of a stored plan. Raise TypeError for anything else."""
    outputs: dict[str, StepOutput] = {}
    for name, value in cast("Mapping[str, object]", plain).items():
        source = source_from_json(value)
        if not isinstance(source, StepOutput):
            raise TypeError(f"the output {name!r} is not a step's")
        outputs[name] = source
    return outputs


def _names(plain: object) -> tuple[str, ...]:
    return tuple(str(name) for name in cast("list[object]", plain))


def _media_kind(plain: object) -> MediaKind | None:
    return None if plain is None else MediaKind(str(plain))


def _step_from_json(plain: Mapping[str, object]) -> Step:
    match plain:
        case {
            "name": str(name),
            "kind": str(kind),
            "provider": str(provider),
            "model": str(model),
            "deadline_seconds": int(deadline_seconds),
            "usual_seconds": int(usual_seconds),
            "needs": list(),
            "on_failure": str(on_failure),
        }:
            return Step(
                name=name,
                kind=kind_of_step(kind),
                provider=provider,
                model=model,
                deadline_seconds=deadline_seconds,
                usual_seconds=usual_seconds,
                needs=_names(plain["needs"]),
                on_failure=OnFailure(on_failure),
                stored_with_next=plain.get("stored_with_next") is True,
                optional_needs=_names(plain.get("optional_needs", ())),
                reuse=plain.get("reuse") is True,
                makes=_media_kind(plain.get("makes")),
            )
        case _:
            raise TypeError("not a step")
