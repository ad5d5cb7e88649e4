"""Replicate's models that make, edit and clean up images."""

from typing import Final

from core.domain.plans import StepKind
from core.domain.prices import Unit
from core.providers.entries import choice, media, more_images, prompt, seed
from core.providers.models import Constant, Input, InputType, Measure, Model
from core.providers.pricing import entry
from core.providers.vendors.replicate.catalogue.jobs import PAGE, READ_ON, quick_model

_ONE: Final = Measure(images=1)
_AS_IMAGE: Final = "match_input_image"
_SOURCE: Final = media("source", "image", InputType.IMAGE)


def _images(number: int) -> tuple[Input, ...]:
    first = media("image", "image_input", InputType.IMAGE, required=False, listed=True)
    return (first, *more_images("image_input", number))


def _shape(*ratios: str, default: str) -> Input:
    return choice(
        "aspect_ratio",
        "aspect_ratio",
        (*ratios, _AS_IMAGE),
        default,
        default_with={"image": _AS_IMAGE},
    )


FLUX_SCHNELL: Final = quick_model(
    "black-forest-labs/flux-schnell",
    StepKind.IMAGE,
    prompt(),
    choice(
        "aspect_ratio",
        "aspect_ratio",
        ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "9:21"),
        "16:9",
    ),
    Constant("num_outputs", 1),
    Constant("megapixels", "1"),
    Constant("output_format", "jpg"),
    seed(),
    prices=(entry(Unit.IMAGE, 3_000_000, PAGE, "2026-05-31"),),
    measure=_ONE,
    usual_seconds=4,
)
_KONTEXT_SHAPES: Final = (
    _AS_IMAGE, "1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "4:5", "5:4", "21:9", "9:21",
    "2:1", "1:2",
)  # fmt: skip
_BANANA_SHAPE: Final = _shape(
    "1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9", default="1:1"
)
IMAGE_MODELS: Final[tuple[Model, ...]] = (
    FLUX_SCHNELL,
    quick_model(
        "google/nano-banana-2",
        StepKind.IMAGE,
        prompt(),
        *_images(4),
        _BANANA_SHAPE,
        choice("resolution", "resolution", ("1K", "2K", "4K"), "1K"),
        Constant("output_format", "jpg"),
        prices=(
            entry(Unit.IMAGE, 67_000_000, PAGE, READ_ON, resolution="1K"),
            entry(Unit.IMAGE, 101_000_000, PAGE, READ_ON, resolution="2K"),
            entry(Unit.IMAGE, 151_000_000, PAGE, READ_ON, resolution="4K"),
        ),
        measure=_ONE,
        usual_seconds=15,
    ),
    quick_model(
        "google/nano-banana-2-lite",
        StepKind.IMAGE,
        prompt(),
        *_images(4),
        _BANANA_SHAPE,
        Constant("output_format", "jpg"),
        prices=(entry(Unit.IMAGE, 34_000_000, PAGE, READ_ON),),
        measure=_ONE,
        usual_seconds=8,
    ),
    quick_model(
        "bytedance/seedream-4.5",
        StepKind.IMAGE,
        prompt(),
        *_images(4),
        _shape("1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3", "21:9", default="1:1"),
        choice("resolution", "size", ("2K", "4K"), "2K"),
        Constant("max_images", 1),
        Constant("sequential_image_generation", "disabled"),
        prices=(entry(Unit.IMAGE, 40_000_000, "third parties that cite " + PAGE, "2026-10-06"),),
        measure=_ONE,
        usual_seconds=15,
    ),
    quick_model(
        "black-forest-labs/flux-kontext-pro",
        StepKind.IMAGE,
        prompt(),
        media("image", "input_image", InputType.IMAGE),
        choice(
            "aspect_ratio",
            "aspect_ratio",
            _KONTEXT_SHAPES,
            _AS_IMAGE,
        ),
        Constant("output_format", "png"),
        Constant("safety_tolerance", 2),
        Constant("prompt_upsampling", False),
        seed(),
        prices=(entry(Unit.IMAGE, 40_000_000, "a third party's list of prices", "2026-10-06"),),
        measure=_ONE,
        usual_seconds=8,
    ),
    quick_model(
        "bria/remove-background",
        StepKind.CUTOUT,
        _SOURCE,
        Constant("preserve_alpha", True),
        Constant("content_moderation", False),
        prices=(entry(Unit.IMAGE, 18_000_000, "third parties that cite " + PAGE, "2026-10-06"),),
        measure=_ONE,
        usual_seconds=5,
    ),
    quick_model(
        "recraft-ai/recraft-crisp-upscale",
        StepKind.UPSCALE,
        _SOURCE,
        prices=(entry(Unit.IMAGE, 6_000_000, "a third party that cites " + PAGE, "2026-10-06"),),
        measure=_ONE,
        usual_seconds=15,
    ),
)
