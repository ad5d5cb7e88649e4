"""Plans: the steps of an execution, what each needs from others, and how far along it is."""

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
    """STOP: no new submits, paid siblings that run are finished and stored. CONTINUE: the plan goes
    on without it.
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
    """

    name: str
    kind: StepKind
    provider: str
    model: str
    deadline_seconds: int
    usual_seconds: int
    needs: tuple[str, ...] = ()
    on_failure: OnFailure = OnFailure.STOP


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
                        f"step {step.name!r} needs {need!r}, which does not come before it"
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
    """What a step asks of a model, in our words; an adapter translates it.

    None: the model's default, sent explicitly if it bears price.
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
    """0 to 99, weighted by usual durations; 100 belongs to the completed execution alone.

    Never falls within a generation: a step that runs counts by its age, at most nine tenths of its
    weight, until it is done; one that failed or was cancelled on the way goes on counting like
    that, or its end would take it all back.
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
    """For the row of the step; leaves out what was not asked for."""
    plain: dict[str, object] = {"prompt": parameters.prompt}
    for name in ("duration_seconds", "resolution", "aspect_ratio", "seed"):
        value: object = getattr(parameters, name)
        if value is not None:
            plain[name] = value
    if parameters.image is not None:
        plain["image"] = {"step": parameters.image.step, "output": parameters.image.output}
    return plain


def parameters_from_json(plain: Mapping[str, object]) -> Parameters:
    """The inverse of parameters_to_json. Raises TypeError for a row that was not written by it."""
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
    """The inverse of plan_to_json. Raises TypeError or ValueError for anything else."""
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
