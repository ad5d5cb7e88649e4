"""Plans of the requests that name one product, such as a video."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Final, Self

from core.domain.ids import AssetId
from core.domain.plans import (
    AssetSource,
    Parameters,
    PlanType,
    Scalar,
    Source,
    StepKind,
    StepOutput,
)
from core.ordering.assets.sources import FILE_KINDS, RequestedSource, imported_files
from core.ordering.errors import FieldError, InvalidFieldsError
from core.ordering.planning.catalogue import fitting_models
from core.ordering.planning.step_requests import StepRequest
from core.ordering.planning.steps import NO_ASSETS, KnownFile, PricedPlan, no_model, plan_steps
from core.providers.models import Model
from core.providers.registry import Providers

IMAGE: Final = "image"
VIDEO: Final = "video"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRequest:
    """A request for a video. None: the default of the service or of the model.

    files: the user's own, by the name of the video model's input. text_to_video: without any image.
    """

    prompt: str
    negative_prompt: str | None = None
    duration_seconds: int | None = None
    resolution: str | None = None
    aspect_ratio: str | None = None
    seed: int | None = None
    image_model: str | None = None
    video_model: str | None = None
    text_to_video: bool = False
    files: Mapping[str, RequestedSource] = field(default_factory=dict[str, RequestedSource])

    def to_json(self) -> dict[str, object]:
        """Return the fields that are set, for the execution's row."""
        plain = {name: value for name, value in asdict(self).items() if value is not None}
        if not self.text_to_video:
            del plain["text_to_video"]
        if not self.files:
            del plain["files"]
        return plain

    @property
    def sounds(self) -> frozenset[str]:
        return frozenset()

    @property
    def voiced(self) -> Sequence[StepRequest]:
        return ()

    def with_sources(self, sources: Mapping[str, Source]) -> Self:
        return replace(self, files=sources)

    def plan(
        self, catalogue: Providers, assets: Mapping[AssetId, KnownFile] = NO_ASSETS
    ) -> PricedPlan:
        return plan_video(catalogue, self, assets)


def plan_video(
    catalogue: Providers,
    request: VideoRequest,
    assets: Mapping[AssetId, KnownFile] = NO_ASSETS,
) -> PricedPlan:
    """Return the plan image → video; only the video if the request has an image or needs none.

    assets: those of the user that the request names. Raises InvalidFieldsError that names every
    field that the chosen models do not support.
    """
    steps = _steps(request, imported_files(request.files))
    models = [_choose(catalogue, step) for step in steps]
    _check_supported(request, models)
    return plan_steps(
        catalogue,
        [_filled(step, model, request) for step, model in zip(steps, models, strict=True)],
        plan_type=PlanType.GENERATE_VIDEO,
        result_step=VIDEO,
        assets=assets,
    )


def video_models(catalogue: Providers, request: VideoRequest) -> list[Model]:
    """Return the models of a request's plan; the last one makes the video.

    The files at URLs may not be imported yet. Raises InvalidFieldsError.
    """
    unknown = AssetSource(asset=AssetId(""))  # the names of the files suffice
    steps = _steps(request, dict.fromkeys(request.files, unknown))
    return [_choose(catalogue, step) for step in steps]


def _steps(request: VideoRequest, sources: Mapping[str, Source]) -> tuple[StepRequest, ...]:
    buys_image = not request.text_to_video and IMAGE not in sources
    _check_combination(request, buys_image=buys_image)
    made: dict[str, Source] = {IMAGE: StepOutput(step=IMAGE)} if buys_image else {}
    video = StepRequest(
        name=VIDEO,
        kind=StepKind.VIDEO,
        model=request.video_model,
        parameters=Parameters(sources={**made, **sources}),
        model_field="video_model",
    )
    image = StepRequest(
        name=IMAGE,
        kind=StepKind.IMAGE,
        model=request.image_model,
        parameters=Parameters(),
        model_field="image_model",
    )
    return (image, video) if buys_image else (video,)


def _check_combination(request: VideoRequest, *, buys_image: bool) -> None:
    errors: list[FieldError] = []
    if request.text_to_video and IMAGE in request.files:
        errors.append(FieldError(field="text_to_video", detail="must not be combined with image"))
    if "end_image" in request.files and IMAGE not in request.files:
        errors.append(FieldError(field="end_image", detail="requires image"))
    if request.image_model is not None and not buys_image:
        errors.append(FieldError(field="image_model", detail="is not used: no image is bought"))
    if errors:
        raise InvalidFieldsError(*errors)


def _choose(catalogue: Providers, step: StepRequest) -> Model:
    """Return the model of a step; only models that take its files can be named."""
    sources = step.parameters.sources
    fitting = fitting_models(
        catalogue, StepKind(step.kind), {name: FILE_KINDS[name] for name in sources}
    )
    for _, model in fitting:
        if step.model in (None, model.id):
            return model
    if not fitting and IMAGE not in step.parameters.steps and step.kind is StepKind.VIDEO:
        field_name = list(sources)[-1] if sources else "text_to_video"
        raise InvalidFieldsError(
            FieldError(field=field_name, detail="is not supported by any model that is offered")
        )
    raise InvalidFieldsError(no_model(step, fitting))


def _filled(step: StepRequest, model: Model, request: VideoRequest) -> StepRequest:
    """Return the step with the request's values that its model takes."""
    values: dict[str, Scalar | None] = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "duration_seconds": request.duration_seconds if step.kind is StepKind.VIDEO else None,
        "resolution": request.resolution if step.kind is StepKind.VIDEO else None,
        "aspect_ratio": request.aspect_ratio,
        "seed": request.seed,
    }
    taken = {
        name: value for name, value in values.items() if value is not None and model.takes(name)
    }
    return replace(step, model=model.id, parameters=replace(step.parameters, values=taken))


def _check_supported(request: VideoRequest, models: Sequence[Model]) -> None:
    """Check the request's values. models: the last one makes the video."""
    video = models[-1]

    def taken(name: str, value: object) -> Sequence[object]:
        return (value,) if any(model.takes(name) for model in models) else ()

    negative = request.negative_prompt
    choices: Iterable[tuple[str, object, Sequence[object]]] = (
        ("duration", request.duration_seconds, video.choices("duration_seconds")),
        ("resolution", request.resolution, video.choices("resolution")),
        ("aspect_ratio", request.aspect_ratio, aspect_ratios(models)),
        ("seed", request.seed, taken("seed", request.seed)),
        ("negative_prompt", negative, taken("negative_prompt", negative)),
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


def aspect_ratios(models: Sequence[Model]) -> tuple[Scalar, ...]:
    """Return the ratios that all models support.

    A model without a list takes no ratio: its video has the shape of its image.
    """
    lists = [ratios for model in models if (ratios := model.choices("aspect_ratio"))]
    first = lists[0] if lists else ()
    return tuple(ratio for ratio in first if all(ratio in ratios for ratios in lists))
