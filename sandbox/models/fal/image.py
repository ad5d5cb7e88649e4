"""fal's models that make or edit pictures."""

from collections.abc import Mapping

from sandbox.models.common import FLAG, PROMPT, SEED, choice, count, number, url, urls
from sandbox.models.fields import Field
from sandbox.models.model import Model
from sandbox.models.prices import Rate
from sandbox.models.sizes import FAL_SIZES, MEGAPIXEL_SIZES, Sizes

_ALSO = ("timings", "seed", "has_nsfw_concepts", "prompt")
_FORMATS = ("jpeg", "png", "webp")
_SAFETY = choice(None, ("1", "2", "3", "4", "5", "6"), "4")
_RATIOS = ("21:9", "16:9", "3:2", "4:3", "5:4", "1:1", "4:5", "3:4", "2:3", "9:16")
_KONTEXT_RATIOS = ("21:9", "16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16", "9:21")
_SEEDREAM_SIZES: Sizes = {
    "square_hd": (2048, 2048), "square": (2048, 2048), "portrait_4_3": (1728, 2304), "portrait_16_9": (1440, 2560),
    "landscape_4_3": (2304, 1728), "landscape_16_9": (2560, 1440), "auto_2K": (2048, 2048), "auto_4K": (4096, 4096),
    "1:1": (2048, 2048), "4:3": (2304, 1728), "3:4": (1728, 2304), "16:9": (2560, 1440), "9:16": (1440, 2560),
}  # fmt: skip
_SEEDREAM_FIELDS: Mapping[str, Field] = {
    "prompt": PROMPT,
    "image_size": Field(kind="size", role="size", choices=tuple(_SEEDREAM_SIZES)[:8]),
    "num_images": count(6),
    "max_images": Field(kind="integer", default=1, minimum=1, maximum=6),
    "seed": SEED,
    "sync_mode": FLAG,
    "enable_safety_checker": FLAG,
}
_BANANA_FIELDS: Mapping[str, Field] = {
    "prompt": PROMPT,
    "num_images": count(),
    "output_format": choice("format", _FORMATS, "png"),
    "safety_tolerance": _SAFETY,
    "limit_generations": FLAG,
    "seed": SEED,
    "sync_mode": FLAG,
}

MODELS = (
    Model(
        provider="fal", name="fal-ai/flux/schnell", kind="image", output="images", also=_ALSO, sizes=FAL_SIZES,
        rates=(Rate(unit="megapixels", nano_usd=3_000_000),),
        fields={
            "prompt": PROMPT,
            "image_size": Field(kind="size", role="size", default="landscape_4_3", choices=tuple(FAL_SIZES)),
            "num_images": count(),
            "num_inference_steps": Field(kind="integer", default=4, minimum=1, maximum=12),
            "guidance_scale": number(None, 3.5, 1, 20),
            "seed": SEED,
            "enable_safety_checker": FLAG,
            "output_format": choice("format", ("jpeg", "png"), "jpeg"),
            "sync_mode": FLAG,
            "acceleration": choice(None, ("none", "regular", "high")),
        },
    ),
    Model(
        provider="fal", name="fal-ai/nano-banana", kind="image", output="images", also=("description",),
        sizes=MEGAPIXEL_SIZES, rates=(Rate(unit="images", nano_usd=39_800_000),),
        fields=_BANANA_FIELDS | {"aspect_ratio": choice("aspect_ratio", _RATIOS, "1:1")},
    ),
    Model(
        provider="fal", name="fal-ai/nano-banana/edit", kind="image", output="images", also=("description",),
        sizes=MEGAPIXEL_SIZES, rates=(Rate(unit="images", nano_usd=39_800_000),),
        fields=_BANANA_FIELDS
        | {"image_urls": urls("image"), "aspect_ratio": choice("aspect_ratio", ("auto", *_RATIOS), "auto")},
    ),
    Model(
        provider="fal", name="fal-ai/bytedance/seedream/v4.5/text-to-image", kind="image", output="images",
        also=("seed",), sizes=_SEEDREAM_SIZES, rates=(Rate(unit="images", nano_usd=40_000_000),),
        fields=_SEEDREAM_FIELDS,
    ),
    Model(
        provider="fal", name="fal-ai/bytedance/seedream/v4.5/edit", kind="image", output="images",
        sizes=_SEEDREAM_SIZES, rates=(Rate(unit="images", nano_usd=40_000_000),),
        fields=_SEEDREAM_FIELDS | {"image_urls": urls("image")},
    ),
    Model(
        provider="fal", name="fal-ai/flux-pro/kontext", kind="image", output="images", also=_ALSO,
        sizes=MEGAPIXEL_SIZES, rates=(Rate(unit="images", nano_usd=40_000_000),),
        fields={
            "prompt": PROMPT,
            "image_url": url("image"),
            "aspect_ratio": choice("aspect_ratio", _KONTEXT_RATIOS),
            "guidance_scale": number(None, 3.5, 1, 20),
            "num_images": count(),
            "output_format": choice("format", ("jpeg", "png"), "jpeg"),
            "safety_tolerance": _SAFETY,
            "seed": SEED,
            "sync_mode": FLAG,
        },
    ),
)  # fmt: skip
