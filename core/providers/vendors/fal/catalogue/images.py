"""fal's models that make and edit images."""

from collections.abc import Mapping
from typing import Final

from core.domain.plans import StepKind
from core.domain.prices import Unit
from core.providers.entries import IMAGES, choice, media, more_images, prompt, seed
from core.providers.models import Constant, Input, InputType, Measure, Model, Pixels
from core.providers.pricing import entry
from core.providers.vendors.fal.catalogue.jobs import PAGE, READ_ON, quick_model

# At most one megapixel, the unit of the price. The model works in blocks of 16 pixels.
_FLUX_SIZES: Final[Mapping[str, tuple[int, int]]] = {
    "16:9": (1280, 720),
    "4:3": (1152, 864),
    "1:1": (992, 992),
    "3:4": (864, 1152),
    "9:16": (720, 1280),
    "21:9": (1456, 624),
    "9:21": (624, 1456),
}
# Each side of a custom size has 1920 to 4096 pixels, or the product has those of 2560 x 1440.
_SEEDREAM_SIZES: Final[Mapping[str, tuple[int, int]]] = {
    "16:9": (2560, 1440),
    "4:3": (2304, 1728),
    "1:1": (2048, 2048),
    "3:4": (1728, 2304),
    "9:16": (1440, 2560),
}
_BANANA_RATIOS: Final = (
    "21:9", "16:9", "3:2", "4:3", "5:4", "1:1", "4:5", "3:4", "2:3", "9:16",
)  # fmt: skip
_BANANA_CONSTANTS: Final = (
    Constant("num_images", 1),
    Constant("output_format", "png"),
    Constant("sync_mode", False),
    Constant("limit_generations", True),
)
_SEEDREAM_CONSTANTS: Final = (
    Constant("num_images", 1),
    Constant("max_images", 1),
    Constant("sync_mode", False),
    Constant("enable_safety_checker", True),
)
_PRICE_LIST: Final = "fal.ai/pricing"
_ONE: Final = Measure(images=1)


def _image_size(sizes: Mapping[str, tuple[int, int]], default: str | None) -> Input:
    return choice(
        "aspect_ratio",
        "image_size",
        tuple(sizes),
        default,
        words={
            ratio: {"width": width, "height": height} for ratio, (width, height) in sizes.items()
        },
    )


FLUX_SCHNELL: Final = quick_model(
    "fal-ai/flux/schnell",
    StepKind.IMAGE,
    prompt(),
    _image_size(_FLUX_SIZES, "16:9"),
    Constant("num_images", 1),
    Constant("num_inference_steps", 4),
    Constant("enable_safety_checker", True),
    Constant("output_format", "jpeg"),
    seed(),
    outputs=IMAGES,
    prices=(entry(Unit.MEGAPIXEL, 3_000_000, "api.fal.ai/v1/models/pricing", "2026-09-09"),),
    measure=Measure(
        images=1,
        pixels=tuple(
            Pixels(most=width * height, when={"aspect_ratio": ratio})
            for ratio, (width, height) in _FLUX_SIZES.items()
        ),
    ),
    usual_seconds=4,
)
IMAGE_MODELS: Final[tuple[Model, ...]] = (
    FLUX_SCHNELL,
    quick_model(
        "fal-ai/nano-banana",
        StepKind.IMAGE,
        prompt(),
        choice("aspect_ratio", "aspect_ratio", _BANANA_RATIOS, "1:1"),
        *_BANANA_CONSTANTS,
        seed(),
        outputs=IMAGES,
        prices=(entry(Unit.IMAGE, 39_800_000, _PRICE_LIST, "2026-09-20"),),
        measure=_ONE,
        usual_seconds=10,
    ),
    quick_model(
        "fal-ai/bytedance/seedream/v4.5/text-to-image",
        StepKind.IMAGE,
        prompt(),
        _image_size(_SEEDREAM_SIZES, "16:9"),
        *_SEEDREAM_CONSTANTS,
        seed(),
        outputs=IMAGES,
        prices=(entry(Unit.IMAGE, 40_000_000, PAGE, READ_ON),),
        measure=_ONE,
        usual_seconds=15,
    ),
    quick_model(
        "fal-ai/nano-banana/edit",
        StepKind.IMAGE,
        prompt(),
        media("image", "image_urls", InputType.IMAGE, listed=True),
        *more_images("image_urls", 4),
        choice("aspect_ratio", "aspect_ratio", ("auto", *_BANANA_RATIOS), "auto"),
        *_BANANA_CONSTANTS,
        seed(),
        outputs=IMAGES,
        prices=(entry(Unit.IMAGE, 39_800_000, _PRICE_LIST, "2026-09-20"),),
        measure=_ONE,
        usual_seconds=12,
    ),
    quick_model(
        "fal-ai/bytedance/seedream/v4.5/edit",
        StepKind.IMAGE,
        prompt(),
        media("image", "image_urls", InputType.IMAGE, listed=True),
        *more_images("image_urls", 4),
        _image_size(_SEEDREAM_SIZES, None),
        *_SEEDREAM_CONSTANTS,
        seed(),
        outputs=IMAGES,
        prices=(entry(Unit.IMAGE, 40_000_000, "a third party that cites " + PAGE, READ_ON),),
        measure=_ONE,
        usual_seconds=20,
    ),
    quick_model(
        "fal-ai/flux-pro/kontext",
        StepKind.IMAGE,
        prompt(),
        media("image", "image_url", InputType.IMAGE),
        choice(
            "aspect_ratio",
            "aspect_ratio",
            ("21:9", "16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16", "9:21"),
        ),
        Constant("num_images", 1),
        Constant("output_format", "jpeg"),
        Constant("sync_mode", False),
        Constant("safety_tolerance", "2"),
        seed(),
        outputs=IMAGES,
        prices=(entry(Unit.IMAGE, 40_000_000, _PRICE_LIST, "2026-09-20"),),
        measure=_ONE,
        usual_seconds=10,
    ),
)
