"""fal's models: inputs, limits, prices and what fal bills for a job."""

from collections.abc import Mapping
from typing import Final

from core.domain.plans import StepKind
from core.domain.prices import Unit
from core.providers.port import Limits, Model, ModelInputs
from core.providers.pricing import Volume, entry

_SERVED_SECONDS: Final = 7 * 86_400
"""By fal's page on media expiration, read on 2026-11-22: at least 7 days, unless the account's
settings or a header of the request, which this service does not send, ask for less.
"""

# At most one megapixel, the unit of the price. The model works in blocks of 16 pixels.
PICTURE_SIZES: Final[Mapping[str, tuple[int, int]]] = {
    "16:9": (1280, 720),
    "4:3": (1152, 864),
    "1:1": (992, 992),
    "3:4": (864, 1152),
    "9:16": (720, 1280),
    "21:9": (1456, 624),
    "9:21": (624, 1456),
}
FLUX_SCHNELL: Final = Model(
    id="fal-ai/flux/schnell",
    kind=StepKind.IMAGE,
    limits=Limits(aspect_ratios=tuple(PICTURE_SIZES)),
    prices=(entry(Unit.MEGAPIXEL, 3_000_000, "api.fal.ai/v1/models/pricing", "2026-09-09"),),
    usual_seconds=4,
    deadline_seconds=300,
    default_aspect_ratio="16:9",
    served_seconds=_SERVED_SECONDS,
)

# Pixels of a frame in the sizes that Seedance publishes: the smallest, 16:9, the largest, and the
# upper bound for shapes without a published size (21:9, and "auto", which follows the image).
_FRAME_PIXELS: Final[Mapping[str, tuple[int, int, int, int]]] = {
    "480p": (960 * 416, 864 * 480, 864 * 480, 1120 * 480),
    "720p": (1248 * 704, 1248 * 704, 1120 * 832, 1680 * 720),
    "1080p": (2176 * 928, 1920 * 1088, 1920 * 1088, 2528 * 1080),
}
_FRAMES_PER_SECOND: Final = 24
SEEDANCE_PRO: Final = Model(
    id="fal-ai/bytedance/seedance/v1/pro/image-to-video",
    kind=StepKind.VIDEO,
    limits=Limits(
        durations_seconds=tuple(range(2, 13)),
        resolutions=tuple(_FRAME_PIXELS),
        aspect_ratios=("16:9", "4:3", "1:1", "3:4", "9:16", "21:9"),
        takes_image=True,
        needs_image=True,
    ),
    # $2.50 per million tokens; tokens = height x width x frames per second x seconds / 1024.
    prices=(entry(Unit.TOKEN, 2_500, "the model's page at fal.ai", "2026-11-22"),),
    usual_seconds=60,
    deadline_seconds=1200,
    default_duration_seconds=5,
    default_resolution="720p",
    default_aspect_ratio="16:9",
    served_seconds=_SERVED_SECONDS,
)


def picture_size(model: Model, inputs: ModelInputs) -> tuple[int, int]:
    """Return the width and height in pixels of an image."""
    return PICTURE_SIZES[inputs.aspect_ratio or model.default_aspect_ratio or "16:9"]


def volumes(model: Model, inputs: ModelInputs) -> tuple[Volume, ...]:
    """Return the largest, the smallest and the usual volume that fal can bill for these inputs."""
    if model.kind is StepKind.IMAGE:
        width, height = picture_size(model, inputs)
        return (Volume(images=1, pixels=width * height),)
    least, usual, most, bound = _FRAME_PIXELS[inputs.resolution or model.default_resolution or ""]
    most = bound if inputs.aspect_ratio in (None, "21:9") else most
    frames = _FRAMES_PER_SECOND * (inputs.duration_seconds or model.default_duration_seconds or 0)
    return tuple(Volume(pixels=pixels, frames=frames) for pixels in (most, least, usual))


LONGEST_RUN_SECONDS: Final[Mapping[StepKind, int]] = {StepKind.IMAGE: 120, StepKind.VIDEO: 1500}
"""From the start of a request until its end; part of the horizons in the settings."""
