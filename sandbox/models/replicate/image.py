"""Replicate's models that make, edit, cut out or upscale pictures."""

from sandbox.models.common import FLAG, PROMPT, SEED, choice, count, url, urls
from sandbox.models.fields import Field
from sandbox.models.model import Model
from sandbox.models.prices import Rate
from sandbox.models.sizes import MEGAPIXEL_SIZES

_FLUX_RATIOS = ("1:1", "16:9", "21:9", "3:2", "2:3", "4:5", "5:4", "3:4", "4:3", "9:16", "9:21")
_BANANA_RATIOS = (
    "match_input_image", "1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9",
)  # fmt: skip
_SEEDREAM_RATIOS = (
    "match_input_image", "1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3", "21:9",
)  # fmt: skip
_FORMATS = choice("format", ("jpg", "png"), "jpg")
_SAFETY = Field(kind="integer", minimum=0, maximum=6)

MODELS = (
    Model(
        provider="replicate", name="black-forest-labs/flux-schnell", kind="image", output="images",
        sizes=MEGAPIXEL_SIZES, rates=(Rate(unit="images", nano_usd=3_000_000),),
        fields={
            "prompt": PROMPT,
            "aspect_ratio": choice("aspect_ratio", _FLUX_RATIOS, "1:1"),
            "num_outputs": count(),
            "num_inference_steps": Field(kind="integer", default=4, minimum=1, maximum=4),
            "seed": SEED,
            "output_format": choice("format", ("webp", "jpg", "png"), "webp"),
            "output_quality": Field(kind="integer", default=80, minimum=0, maximum=100),
            "disable_safety_checker": FLAG,
            "go_fast": FLAG,
            "megapixels": choice("resolution", ("1", "0.25"), "1"),
        },
    ),
    Model(
        provider="replicate", name="google/nano-banana-2", kind="image", output="image", sizes=MEGAPIXEL_SIZES,
        rates=(
            Rate(unit="images", nano_usd=151_000_000, when={"resolution": "4K"}),
            Rate(unit="images", nano_usd=101_000_000, when={"resolution": "2K"}),
            Rate(unit="images", nano_usd=67_000_000),
        ),
        fields={
            "prompt": PROMPT,
            "image_input": urls("image", required=False),
            "aspect_ratio": choice("aspect_ratio", _BANANA_RATIOS, "1:1"),
            "resolution": choice("resolution", ("1K", "2K", "4K"), "1K"),
            "output_format": _FORMATS,
        },
    ),
    Model(
        provider="replicate", name="google/nano-banana-2-lite", kind="image", output="image",
        sizes=MEGAPIXEL_SIZES, rates=(Rate(unit="images", nano_usd=34_000_000),),
        fields={
            "prompt": PROMPT,
            "image_input": urls("image", required=False),
            "aspect_ratio": choice("aspect_ratio", _BANANA_RATIOS, "1:1"),
            "output_format": _FORMATS,
        },
    ),
    Model(
        provider="replicate", name="bytedance/seedream-4.5", kind="image", output="images", file_format="jpg",
        sizes=MEGAPIXEL_SIZES, rates=(Rate(unit="images", nano_usd=40_000_000),),
        fields={
            "prompt": PROMPT,
            "image_input": urls("image", required=False),
            "size": choice("resolution", ("2K", "4K"), "2K"),
            "aspect_ratio": choice("aspect_ratio", _SEEDREAM_RATIOS, "match_input_image"),
            "max_images": Field(kind="integer", default=1, minimum=1, maximum=15),
            "sequential_image_generation": choice(None, ("disabled", "auto"), "disabled"),
        },
    ),
    Model(
        provider="replicate", name="black-forest-labs/flux-kontext-pro", kind="image", output="image",
        sizes=MEGAPIXEL_SIZES, rates=(Rate(unit="images", nano_usd=40_000_000),),
        fields={
            "prompt": PROMPT,
            "input_image": url("image", required=False),
            "aspect_ratio": choice("aspect_ratio", ("match_input_image", *MEGAPIXEL_SIZES), "match_input_image"),
            "seed": SEED,
            "output_format": choice("format", ("jpg", "png"), "png"),
            "safety_tolerance": _SAFETY,
            "prompt_upsampling": FLAG,
        },
    ),
    Model(
        provider="replicate", name="bria/remove-background", kind="cutout", output="image",
        rates=(Rate(unit="images", nano_usd=18_000_000),),
        fields={"image": url("image"), "preserve_alpha": FLAG, "content_moderation": FLAG},
    ),
    Model(
        provider="replicate", name="recraft-ai/recraft-crisp-upscale", kind="upscale", output="image", scale=2,
        rates=(Rate(unit="images", nano_usd=6_000_000),), fields={"image": url("image")},
    ),
)  # fmt: skip
