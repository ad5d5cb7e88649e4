"""Replicate's models: inputs, limits, prices and what Replicate charges for a job."""

from typing import Final

from core.domain.plans import StepKind
from core.domain.prices import Unit
from core.providers.port import Limits, Model, ModelInputs
from core.providers.pricing import Volume, entry

_PAGE: Final = "the model's page at Replicate"
_SERVED_SECONDS: Final = 3600
"""By Replicate's page on data retention, read on 2026-11-22: files of API predictions are deleted
after an hour.
"""
_RATIOS: Final = ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "9:21")
FLUX_SCHNELL: Final = Model(
    id="black-forest-labs/flux-schnell",
    kind=StepKind.IMAGE,
    limits=Limits(aspect_ratios=_RATIOS),
    prices=(entry(Unit.IMAGE, 3_000_000, _PAGE, "2026-05-31"),),
    usual_seconds=4,
    deadline_seconds=300,
    default_aspect_ratio="16:9",
    served_seconds=_SERVED_SECONDS,
)
SEEDANCE_PRO: Final = Model(
    id="bytedance/seedance-1-pro",
    kind=StepKind.VIDEO,
    limits=Limits(
        durations_seconds=tuple(range(2, 13)),
        resolutions=("480p", "720p", "1080p"),
        aspect_ratios=_RATIOS,
        takes_image=True,
    ),
    prices=(
        entry(Unit.SECOND, 30_000_000, _PAGE, "2026-10-06", resolution="480p"),
        entry(Unit.SECOND, 60_000_000, _PAGE, "2026-10-06", resolution="720p"),
        entry(Unit.SECOND, 150_000_000, _PAGE, "2026-10-06", resolution="1080p"),
    ),
    usual_seconds=60,
    deadline_seconds=1200,
    default_duration_seconds=5,
    default_resolution="720p",
    default_aspect_ratio="16:9",
    served_seconds=_SERVED_SECONDS,
)
MODELS: Final = (SEEDANCE_PRO, FLUX_SCHNELL)


def volume(model: Model, inputs: ModelInputs) -> Volume:
    """Return the volume that Replicate charges for a complete output."""
    if model.kind is StepKind.IMAGE:
        return Volume(images=1)
    return Volume(seconds=inputs.duration_seconds or model.default_duration_seconds or 0)
