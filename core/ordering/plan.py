"""From a request to a plan: which models, what each is asked for, what it may cost. What a model
can't do is a 422.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from api.executions.schemas import GenerateVideoRequest
from api.http.problems import invalid_field, invalid_fields
from core.domain.plans import Parameters, Plan, PlanType, Reference, Step, StepKind
from core.platform.temporal.policies import STORING_SLACK
from core.providers.port import Model, ModelInputs, Provider
from core.providers.pricing import UnpricedError
from core.providers.registry import Providers
from core.store.executions.executions import NewStep

DEFAULT_DURATION_SECONDS: Final = 5
DEFAULT_RESOLUTION: Final = "720p"
DEFAULT_ASPECT_RATIO: Final = "16:9"

T = TypeVar("T")

IMAGE: Final = "image"
VIDEO: Final = "video"

_FIELDS: Final[Mapping[StepKind, str]] = {
    StepKind.IMAGE: "imageModel",
    StepKind.VIDEO: "videoModel",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedExecution:
    plan: Plan
    steps: tuple[NewStep, ...]
    deadline_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    provider: Provider
    model: Model


def plan_generate_video(catalogue: Providers, request: GenerateVideoRequest) -> PlannedExecution:
    """image → video. Raises ProblemError naming every field that the chosen models can't do."""
    image = _choose(catalogue, StepKind.IMAGE, request.image_model)
    video = _choose(catalogue, StepKind.VIDEO, request.video_model)
    _refuse_what_they_cannot(request, image.model, video.model)
    steps = (
        _new_step(image, IMAGE, _image_parameters(request, image.model)),
        _new_step(video, VIDEO, _video_parameters(request, video.model), needs=(IMAGE,)),
    )
    return PlannedExecution(
        plan=Plan(
            type=PlanType.GENERATE_VIDEO, steps=tuple(new.step for new in steps), result_step=VIDEO
        ),
        steps=steps,
        deadline_seconds=sum(map(_longest_seconds, (image, video)))
        + int(STORING_SLACK.total_seconds()),
    )


def _longest_seconds(choice: _Choice) -> int:
    """A step whose first send was lost: until that is certain, and then one send that takes all its
    time.

    Without the horizon a worker that is killed between intent and POST would fail an execution that
    has lost nothing. The minute is for the looks themselves: they are made some time apart, and a
    provider's clock may be behind.
    """
    return (
        choice.provider.certainty_horizon_seconds(choice.model) + 60 + choice.model.deadline_seconds
    )


def on_offer(catalogue: Providers, kind: StepKind) -> tuple[tuple[Provider, Model], ...]:
    """The models that can do a step of a plan, the default first: sold, and for a video able to
    move a picture.
    """
    return tuple(
        pair
        for pair in catalogue.models(kind)
        if kind is StepKind.IMAGE or pair[1].limits.takes_image
    )


def _choose(catalogue: Providers, kind: StepKind, asked: str | None) -> _Choice:
    offered = on_offer(catalogue, kind)
    found = next((pair for pair in offered if asked in (None, pair[1].id)), None)
    if found is None:
        allowed = [model.id for _, model in offered]
        raise invalid_field(_FIELDS[kind], "is not a model that can do this step", allowed=allowed)
    return _Choice(provider=found[0], model=found[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a model is asked for where the request leaves it open; None: it takes no such thing."""

    duration_seconds: int | None
    resolution: str | None
    aspect_ratio: str | None


def defaults_of(model: Model) -> Defaults:
    limits = model.limits
    return Defaults(
        duration_seconds=_preferred(
            DEFAULT_DURATION_SECONDS, limits.durations_seconds, model.default_duration_seconds
        ),
        resolution=_preferred(DEFAULT_RESOLUTION, limits.resolutions, model.default_resolution),
        aspect_ratio=_preferred(
            DEFAULT_ASPECT_RATIO, limits.aspect_ratios, model.default_aspect_ratio
        ),
    )


def _refuse_what_they_cannot(request: GenerateVideoRequest, image: Model, video: Model) -> None:
    choices: Iterable[tuple[str, object, Sequence[object]]] = (
        ("duration", request.duration, video.limits.durations_seconds),
        ("resolution", request.resolution, video.limits.resolutions),
        ("aspectRatio", request.aspect_ratio, _aspect_ratios(image, video)),
        (
            "seed",
            request.seed,
            (request.seed,) if image.limits.takes_seed or video.limits.takes_seed else (),
        ),
    )
    errors = [
        {"field": field, "detail": _cannot(allowed), "allowed": list(allowed)}
        for field, asked, allowed in choices
        if asked is not None and asked not in allowed
    ]
    if errors:
        raise invalid_fields(errors)


def _cannot(allowed: Sequence[object]) -> str:
    listed = ", ".join(str(value) for value in allowed)
    return f"the chosen models can do: {listed}" if listed else "the chosen models do not take this"


def _aspect_ratios(image: Model, video: Model) -> tuple[str, ...]:
    """What both can do; a model without a list does not take one: its video has the shape of its
    picture.
    """
    ratios = image.limits.aspect_ratios or video.limits.aspect_ratios
    return tuple(ratio for ratio in ratios if ratio in (video.limits.aspect_ratios or ratios))


def _image_parameters(request: GenerateVideoRequest, model: Model) -> Parameters:
    return Parameters(
        prompt=request.prompt,
        aspect_ratio=_aspect_ratio(request, model),
        seed=request.seed if model.limits.takes_seed else None,
    )


def _video_parameters(request: GenerateVideoRequest, model: Model) -> Parameters:
    return Parameters(
        prompt=request.prompt,
        duration_seconds=request.duration or defaults_of(model).duration_seconds,
        resolution=request.resolution or defaults_of(model).resolution,
        aspect_ratio=_aspect_ratio(request, model),
        seed=request.seed if model.limits.takes_seed else None,
        image=Reference(step=IMAGE),
    )


def _aspect_ratio(request: GenerateVideoRequest, model: Model) -> str | None:
    if not model.limits.aspect_ratios:
        return None  # its video has the shape of its picture
    return request.aspect_ratio or defaults_of(model).aspect_ratio


def _preferred(ours: T, possible: Sequence[T], models: T | None) -> T | None:
    return ours if ours in possible else models


def _new_step(
    choice: _Choice, name: str, parameters: Parameters, *, needs: tuple[str, ...] = ()
) -> NewStep:
    model = choice.model
    try:
        quote = choice.provider.quote(model, worst_inputs(model, parameters))
    except UnpricedError:
        raise invalid_field(_FIELDS[model.kind], "has no price for what is asked") from None
    step = Step(
        name=name,
        kind=model.kind,
        provider=choice.provider.name,
        model=model.id,
        deadline_seconds=model.deadline_seconds,
        usual_seconds=model.usual_seconds,
        needs=needs,
    )
    return NewStep(step=step, parameters=parameters, quote=quote)


def worst_inputs(model: Model, parameters: Parameters) -> ModelInputs:
    """As the job will be sent, but for the picture's address, which no price depends on."""
    return ModelInputs(
        prompt=parameters.prompt,
        duration_seconds=parameters.duration_seconds or model.default_duration_seconds,
        resolution=parameters.resolution or model.default_resolution,
        aspect_ratio=parameters.aspect_ratio or model.default_aspect_ratio,
        seed=parameters.seed,
    )
