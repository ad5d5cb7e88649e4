"""Plans: the steps of an execution, their dependencies, and their progress."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import cast

from core.domain.states import JobState

MAX_STEPS = 50


class StepKind(StrEnum):
    IMAGE = "image"
    VIDEO = "video"


class OnFailure(StrEnum):
    """The effect of a failed step on its plan.

    STOP: nothing more is submitted; running jobs are paid, so they are finished and stored.
    CONTINUE: the other steps continue.
    """

    STOP = "stop"
    CONTINUE = "continue"


class PlanType(StrEnum):
    GENERATE_VIDEO = "generate-video"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a plan.

    deadline_seconds: how long its job may take, from the first submit to its end at the provider.
    usual_seconds: how long it usually takes; the weight of the step in the progress.
    stored_with_next: its provider serves its file long enough to store it together with a later
    step's file.
    """

    name: str
    kind: StepKind
    provider: str
    model: str
    deadline_seconds: int
    usual_seconds: int
    needs: tuple[str, ...] = ()
    on_failure: OnFailure = OnFailure.STOP
    stored_with_next: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    type: PlanType
    steps: tuple[Step, ...]
    result_step: str
    version: int = 1

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        if not 0 < len(names) <= MAX_STEPS:
            raise ValueError(f"a plan has 1 to {MAX_STEPS} steps, not {len(names)}")
        if len(set(names)) != len(names):
            raise ValueError("two steps of a plan have the same name")
        if self.result_step not in names:
            raise ValueError(f"the result step {self.result_step!r} is not in the plan")
        for position, step in enumerate(self.steps):
            for need in step.needs:
                if need not in names[:position]:
                    raise ValueError(
                        f"step {step.name!r} needs {need!r}, which must be an earlier step"
                    )

    def step(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The output of another step, resolved when the job is submitted."""

    step: str
    output: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """A step's input in provider-independent form, which the provider's adapter translates.

    None: the model's default, sent explicitly if it affects the price.
    """

    prompt: str
    duration_seconds: int | None = None
    resolution: str | None = None
    aspect_ratio: str | None = None
    seed: int | None = None
    image: Reference | None = None


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


def parameters_to_json(parameters: Parameters) -> dict[str, object]:
    """Return the parameters for the step's row, without those that are not set."""
    plain: dict[str, object] = {"prompt": parameters.prompt}
    for name in ("duration_seconds", "resolution", "aspect_ratio", "seed"):
        value: object = getattr(parameters, name)
        if value is not None:
            plain[name] = value
    if parameters.image is not None:
        plain["image"] = {"step": parameters.image.step, "output": parameters.image.output}
    return plain


def parameters_from_json(plain: Mapping[str, object]) -> Parameters:
    """Read the output of parameters_to_json. Raise TypeError for anything else."""
    image = plain.get("image")
    return Parameters(
        prompt=_text(plain["prompt"]) or "",
        duration_seconds=_number(plain.get("duration_seconds")),
        resolution=_text(plain.get("resolution")),
        aspect_ratio=_text(plain.get("aspect_ratio")),
        seed=_number(plain.get("seed")),
        image=_reference(image) if image is not None else None,
    )


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
            )
        case _:
            raise TypeError("not a plan")


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
                kind=StepKind(kind),
                provider=provider,
                model=model,
                deadline_seconds=deadline_seconds,
                usual_seconds=usual_seconds,
                needs=tuple(str(need) for need in cast("list[object]", plain["needs"])),
                on_failure=OnFailure(on_failure),
                stored_with_next=plain.get("stored_with_next") is True,
            )
        case _:
            raise TypeError("not a step")


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"expected text, found {type(value).__name__}")


def _number(value: object) -> int | None:
    if value is None or isinstance(value, int):
        return value
    raise TypeError(f"expected a whole number, found {type(value).__name__}")


def _reference(value: object) -> Reference:
    match value:
        case {"step": str(step), "output": int(output)}:
            return Reference(step=step, output=output)
        case _:
            raise TypeError("expected a reference to a step's output")
