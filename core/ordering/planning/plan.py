"""Planning: choose the models for a request, set their parameters and price each step."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from core.domain.money import NanoUsd
from core.domain.plans import Parameters, Plan, PlanType, Reference, Step, StepKind
from core.ordering.errors import FieldError, InvalidFieldsError, StepCost
from core.ordering.planning.catalogue import defaults_of, models_for_step
from core.platform.temporal.policies import (
    PROVIDER_URL_LIFE,
    SERVED_MARGIN,
    SERVED_SECONDS_MIN,
    STORING_SLACK,
)
from core.providers.port import Model, ModelInputs, Provider
from core.providers.pricing import UnpricedError
from core.providers.registry import Providers
from core.store.executions.executions import NewStep

IMAGE: Final = "image"
VIDEO: Final = "video"
LOOKUP_MARGIN_SECONDS: Final = 60
"""Lookups are made some time apart, and a provider's clock may be slow."""

_MODEL_FIELDS: Final = {StepKind.IMAGE: "image_model", StepKind.VIDEO: "video_model"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRequest:
    """A request for a video. None: the default of the service or of the model."""

    prompt: str
    duration_seconds: int | None = None
    resolution: str | None = None
    aspect_ratio: str | None = None
    seed: int | None = None
    image_model: str | None = None
    video_model: str | None = None

    def to_json(self) -> dict[str, object]:
        """Return the fields that are set, for the execution's row."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedPlan:
    """A plan with the parameters and the quote of each step."""

    plan: Plan
    steps: tuple[NewStep, ...]
    deadline_seconds: int

    @property
    def low_nano_usd(self) -> NanoUsd:
        return NanoUsd(sum(item.quote.low_nano_usd for item in self.steps))

    @property
    def expected_nano_usd(self) -> NanoUsd:
        return NanoUsd(sum(item.quote.expected_nano_usd for item in self.steps))

    @property
    def worst_nano_usd(self) -> NanoUsd:
        """The sum that is held when the order is accepted."""
        return NanoUsd(sum(item.quote.worst_nano_usd for item in self.steps))

    @property
    def worst_costs(self) -> tuple[StepCost, ...]:
        return tuple(
            StepCost(step=item.step, nano_usd=item.quote.worst_nano_usd) for item in self.steps
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    provider: Provider
    model: Model


def plan_video(catalogue: Providers, request: VideoRequest) -> PricedPlan:
    """Return the plan image → video.

    Raises InvalidFieldsError that names every field that the chosen models do not support.
    """
    image = _choose(catalogue, StepKind.IMAGE, request.image_model)
    video = _choose(catalogue, StepKind.VIDEO, request.video_model)
    _check_supported(request, image.model, video.model)
    deadline_seconds = (
        _longest_seconds(image) + _longest_seconds(video) + int(STORING_SLACK.total_seconds())
    )
    steps = (
        _new_step(
            image,
            IMAGE,
            _image_parameters(request, image.model),
            stored_with_next=_may_be_stored_later(image.model, video.model, deadline_seconds),
        ),
        _new_step(video, VIDEO, _video_parameters(request, video.model), needs=(IMAGE,)),
    )
    return PricedPlan(
        plan=Plan(
            type=PlanType.GENERATE_VIDEO, steps=tuple(new.step for new in steps), result_step=VIDEO
        ),
        steps=steps,
        deadline_seconds=deadline_seconds,
    )


def _may_be_stored_later(model: Model, following: Model, deadline_seconds: int) -> bool:
    """Return whether a step's file may wait to be stored together with the next step's.

    The provider serves it by far longer than the plan may take, and its URL is still passed on to
    the next model at the latest moment at which that step is submitted.
    """
    return (
        model.served_seconds is not None
        and model.served_seconds >= max(SERVED_SECONDS_MIN, SERVED_MARGIN * deadline_seconds)
        and following.deadline_seconds < PROVIDER_URL_LIFE.total_seconds()
    )


def _longest_seconds(choice: _Choice) -> int:
    """Return the longest time of a step whose first send was lost.

    The step waits for the provider's horizon before the loss is certain, and then sends once more.
    Without the horizon, a worker killed between intent and POST would fail an execution that lost
    nothing.
    """
    horizon_seconds = choice.provider.certainty_horizon_seconds(choice.model)
    return horizon_seconds + LOOKUP_MARGIN_SECONDS + choice.model.deadline_seconds


def _choose(catalogue: Providers, kind: StepKind, model_id: str | None) -> _Choice:
    models = models_for_step(catalogue, kind)
    for provider, model in models:
        if model_id in (None, model.id):
            return _Choice(provider=provider, model=model)
    raise InvalidFieldsError(
        FieldError(
            field=_MODEL_FIELDS[kind],
            detail="is not a model that can do this step",
            allowed=[model.id for _, model in models],
        )
    )


def _check_supported(request: VideoRequest, image: Model, video: Model) -> None:
    takes_seed = image.limits.takes_seed or video.limits.takes_seed
    choices: Iterable[tuple[str, object, Sequence[object]]] = (
        ("duration", request.duration_seconds, video.limits.durations_seconds),
        ("resolution", request.resolution, video.limits.resolutions),
        ("aspect_ratio", request.aspect_ratio, _aspect_ratios(image, video)),
        ("seed", request.seed, (request.seed,) if takes_seed else ()),
    )
    errors = [
        FieldError(field=field, detail=_not_supported(allowed), allowed=list(allowed))
        for field, value, allowed in choices
        if value is not None and value not in allowed
    ]
    if errors:
        raise InvalidFieldsError(*errors)


def _not_supported(allowed: Sequence[object]) -> str:
    if not allowed:
        return "is not supported by the chosen models"
    return (
        f"must be one of the values that the chosen models support: {', '.join(map(str, allowed))}"
    )


def _aspect_ratios(image: Model, video: Model) -> tuple[str, ...]:
    """Return the ratios that both models support.

    A model without a list takes no ratio: its video has the shape of its image.
    """
    ratios = image.limits.aspect_ratios or video.limits.aspect_ratios
    return tuple(ratio for ratio in ratios if ratio in (video.limits.aspect_ratios or ratios))


def _image_parameters(request: VideoRequest, model: Model) -> Parameters:
    return Parameters(
        prompt=request.prompt,
        aspect_ratio=_aspect_ratio(request, model),
        seed=request.seed if model.limits.takes_seed else None,
    )


def _video_parameters(request: VideoRequest, model: Model) -> Parameters:
    defaults = defaults_of(model)
    return Parameters(
        prompt=request.prompt,
        duration_seconds=request.duration_seconds or defaults.duration_seconds,
        resolution=request.resolution or defaults.resolution,
        aspect_ratio=_aspect_ratio(request, model),
        seed=request.seed if model.limits.takes_seed else None,
        image=Reference(step=IMAGE),
    )


def _aspect_ratio(request: VideoRequest, model: Model) -> str | None:
    if not model.limits.aspect_ratios:
        return None
    return request.aspect_ratio or defaults_of(model).aspect_ratio


def _new_step(
    choice: _Choice,
    name: str,
    parameters: Parameters,
    *,
    needs: tuple[str, ...] = (),
    stored_with_next: bool = False,
) -> NewStep:
    model = choice.model
    try:
        quote = choice.provider.quote(model, pricing_inputs(model, parameters))
    except UnpricedError:
        field = _MODEL_FIELDS[model.kind]
        raise InvalidFieldsError(
            FieldError(field=field, detail="has no price for these parameters")
        ) from None
    step = Step(
        name=name,
        kind=model.kind,
        provider=choice.provider.name,
        model=model.id,
        deadline_seconds=model.deadline_seconds,
        usual_seconds=model.usual_seconds,
        needs=needs,
        stored_with_next=stored_with_next,
    )
    return NewStep(step=step, parameters=parameters, quote=quote)


def pricing_inputs(model: Model, parameters: Parameters) -> ModelInputs:
    """Return the job's inputs as sent, without the image's address: no price depends on it."""
    return ModelInputs(
        prompt=parameters.prompt,
        duration_seconds=parameters.duration_seconds or model.default_duration_seconds,
        resolution=parameters.resolution or model.default_resolution,
        aspect_ratio=parameters.aspect_ratio or model.default_aspect_ratio,
        seed=parameters.seed,
    )
