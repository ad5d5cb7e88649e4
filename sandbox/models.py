"""The offered models: their input fields, the output that they produce and their prices.

Inputs, defaults and prices as the vendors published them (read 2026-09 to 2026-11).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sandbox.settings import Json, as_object

FRAMES_PER_SECOND = 24
Provider = Literal["fal", "replicate"]
Kind = Literal["string", "integer", "number", "boolean", "size"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """An input field of a model and its constraints."""

    kind: Kind
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """An input field that the model rejects. Each vendor has its own error format."""

    field: str
    rule: Literal["required", "type", "choice", "minimum", "maximum"]
    spec: Field
    value: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The output to produce, with every default filled in."""

    kind: Literal["image", "video"]
    prompt: str
    seed: int | None
    width: int
    height: int
    count: int = 1
    image_format: str = "png"
    seconds: int = 0
    resolution: str = ""
    source_url: str | None = None
    # True: the source picture's shape decides; width and height are an estimate until it is loaded
    follows_source: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A price: `units` is the billed quantity in the model's own unit."""

    units: int
    unit_nano_usd: int
    first_units: int = 0  # covered by `first_nano_usd`, a minimum charge
    first_nano_usd: int = 0

    @property
    def nano_usd(self) -> int:
        return self.first_nano_usd + max(0, self.units - self.first_units) * self.unit_nano_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """An offered model: its input fields, its output and its price."""

    provider: Provider
    name: str
    kind: Literal["image", "video"]
    unit: str
    unit_usd: float  # as the vendor's price list shows it
    fields: Mapping[str, Field]
    order: Callable[[Json], Order]
    price: Callable[[Order], Price]
    notes: str = field(default="")


def violations(model: Model, body: Mapping[str, Any]) -> list[Violation]:
    """Return all violations in an input; unknown fields are ignored, as the vendors do."""
    broken: list[Violation] = []
    for name, spec in model.fields.items():
        value = body.get(name)
        if value is None:
            if spec.required:
                broken.append(Violation(field=name, rule="required", spec=spec))
            continue
        rule = _broken_rule(spec, value)
        if rule is not None:
            broken.append(Violation(field=name, rule=rule, spec=spec, value=value))
    return broken


def _broken_rule(spec: Field, value: Any) -> Literal["type", "choice", "minimum", "maximum"] | None:
    if spec.kind == "size" and isinstance(value, dict):
        return None if _is_size(value) else "type"  # pyright: ignore[reportUnknownArgumentType] # JSON
    if spec.choices:
        return None if value in spec.choices else "choice"
    if not _has_type(spec.kind, value):
        return "type"
    if spec.minimum is not None and value < spec.minimum:
        return "minimum"
    if spec.maximum is not None and value > spec.maximum:
        return "maximum"
    return None


def _has_type(kind: Kind, value: Any) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind == "integer":
        return isinstance(value, int)
    if kind == "number":
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, str)


def _is_size(value: dict[Any, Any]) -> bool:
    return all(
        isinstance(value.get(side), int)
        and not isinstance(value.get(side), bool)
        and 16 <= value[side] <= 4096
        for side in ("width", "height")
    )


def _with_defaults(fields: Mapping[str, Field], body: Json) -> Json:
    return {
        name: body[name] if body.get(name) is not None else spec.default
        for name, spec in fields.items()
    }


SHORT_SIDE = {"480p": 480, "720p": 720, "1080p": 1080}
ASPECT_RATIOS = ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "9:21")


def video_size(resolution: str, aspect_ratio: str) -> tuple[int, int]:
    """Return width and height; the long side is a multiple of 16 (480p 16:9 is 864x480)."""
    across, down = (int(part) for part in aspect_ratio.split(":"))
    short = SHORT_SIDE[resolution]
    long = math.ceil(short * max(across, down) / min(across, down) / 16) * 16
    if across == down:
        return short, short
    return (long, short) if across > down else (short, long)


def nearest_aspect_ratio(width: int, height: int) -> str:
    def distance(ratio: str) -> float:
        across, down = ratio.split(":")
        return abs(math.log(width / height) - math.log(int(across) / int(down)))

    return min(ASPECT_RATIOS, key=distance)


def fit_to_source(order: Order, width: int, height: int) -> Order:
    """Return the order with the size that follows from its source picture."""
    if not order.follows_source:
        return order
    new_width, new_height = video_size(order.resolution, nearest_aspect_ratio(width, height))
    return replace(order, width=new_width, height=new_height)


FAL_SIZES = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
_TEXT = Field(kind="string")
_FLAG = Field(kind="boolean")
_SEED = Field(kind="integer")
_PROMPT = Field(kind="string", required=True)
_URL = Field(kind="string", required=True)

FAL_FLUX_FIELDS: Mapping[str, Field] = {
    "prompt": _PROMPT,
    "image_size": Field(kind="size", default="landscape_4_3", choices=tuple(FAL_SIZES)),
    "num_images": Field(kind="integer", default=1, minimum=1, maximum=4),
    "num_inference_steps": Field(kind="integer", default=4, minimum=1, maximum=12),
    "guidance_scale": Field(kind="number", default=3.5, minimum=1, maximum=20),
    "seed": _SEED,
    "enable_safety_checker": Field(kind="boolean", default=True),
    "output_format": Field(kind="string", default="jpeg", choices=("jpeg", "png")),
    "sync_mode": _FLAG,
    "acceleration": Field(kind="string", choices=("none", "regular", "high")),
}


def _fal_flux_order(body: Json) -> Order:
    filled = _with_defaults(FAL_FLUX_FIELDS, body)
    size = as_object(filled["image_size"])
    width, height = (size["width"], size["height"]) if size else FAL_SIZES[filled["image_size"]]
    return Order(
        kind="image", prompt=filled["prompt"], seed=filled["seed"], width=width, height=height,
        count=filled["num_images"], image_format=filled["output_format"],
    )  # fmt: skip


def _megapixel_price(order: Order) -> Price:
    """Return $0.003 per megapixel, with each picture rounded up."""
    return Price(
        units=order.count * math.ceil(order.width * order.height / 1_000_000),
        unit_nano_usd=3_000_000,
    )


FAL_SEEDANCE_FIELDS: Mapping[str, Field] = {
    "prompt": _PROMPT,
    "image_url": _URL,
    "aspect_ratio": Field(kind="string", default="auto", choices=("21:9", "16:9", "4:3", "1:1", "3:4", "9:16", "auto")),
    "resolution": Field(kind="string", default="1080p", choices=("480p", "720p", "1080p")),
    "duration": Field(kind="string", default="5", choices=tuple(str(n) for n in range(2, 13))),
    "camera_fixed": _FLAG,
    "seed": Field(kind="integer", minimum=-1),
    "enable_safety_checker": _FLAG,
    "end_image_url": _TEXT,
}  # fmt: skip


def _fal_seedance_order(body: Json) -> Order:
    filled = _with_defaults(FAL_SEEDANCE_FIELDS, body)
    follows = filled["aspect_ratio"] == "auto"
    width, height = video_size(filled["resolution"], "16:9" if follows else filled["aspect_ratio"])
    return Order(
        kind="video", prompt=filled["prompt"], seed=None if filled["seed"] == -1 else filled["seed"],
        width=width, height=height, seconds=int(filled["duration"]), resolution=filled["resolution"],
        source_url=filled["image_url"], follows_source=follows,
    )  # fmt: skip


def _token_price(order: Order) -> Price:
    """Return $2.50 per million tokens: height x width x 24 x seconds / 1024, rounded up."""
    tokens = math.ceil(order.height * order.width * FRAMES_PER_SECOND * order.seconds / 1024)
    return Price(units=tokens, unit_nano_usd=2_500)


FAL_KLING_FIELDS: Mapping[str, Field] = {
    "prompt": _PROMPT,
    "image_url": _URL,
    "duration": Field(kind="string", default="5", choices=("5", "10")),
    "negative_prompt": _TEXT,
    "cfg_scale": Field(kind="number", default=0.5, minimum=0, maximum=1),
    "tail_image_url": _TEXT,
}


def _fal_kling_order(body: Json) -> Order:
    filled = _with_defaults(FAL_KLING_FIELDS, body)
    return Order(
        kind="video", prompt=filled["prompt"], seed=None, width=1280, height=720,
        seconds=int(filled["duration"]), resolution="720p", source_url=filled["image_url"], follows_source=True,
    )  # fmt: skip


def _kling_price(order: Order) -> Price:
    """Return $0.35 for the first five seconds, then $0.07 per second."""
    return Price(
        units=order.seconds, unit_nano_usd=70_000_000, first_units=5, first_nano_usd=350_000_000
    )


REPLICATE_FLUX_SIZES = {
    "1:1": (1024, 1024), "16:9": (1344, 768), "21:9": (1536, 640), "3:2": (1216, 832), "2:3": (832, 1216),
    "4:5": (896, 1088), "5:4": (1088, 896), "3:4": (896, 1152), "4:3": (1152, 896), "9:16": (768, 1344),
    "9:21": (640, 1536),
}  # fmt: skip
REPLICATE_FLUX_FIELDS: Mapping[str, Field] = {
    "prompt": _PROMPT,
    "aspect_ratio": Field(kind="string", default="1:1", choices=tuple(REPLICATE_FLUX_SIZES)),
    "num_outputs": Field(kind="integer", default=1, minimum=1, maximum=4),
    "num_inference_steps": Field(kind="integer", default=4, minimum=1, maximum=4),
    "seed": _SEED,
    "output_format": Field(kind="string", default="webp", choices=("webp", "jpg", "png")),
    "output_quality": Field(kind="integer", default=80, minimum=0, maximum=100),
    "disable_safety_checker": _FLAG,
    "go_fast": _FLAG,
    "megapixels": Field(kind="string", default="1", choices=("1", "0.25")),
}


def _replicate_flux_order(body: Json) -> Order:
    filled = _with_defaults(REPLICATE_FLUX_FIELDS, body)
    width, height = REPLICATE_FLUX_SIZES[filled["aspect_ratio"]]
    if filled["megapixels"] == "0.25":
        width, height = width // 2, height // 2
    return Order(
        kind="image", prompt=filled["prompt"], seed=filled["seed"], width=width, height=height,
        count=filled["num_outputs"], image_format=filled["output_format"],
    )  # fmt: skip


def _picture_price(order: Order) -> Price:
    """Return $0.003 per picture."""
    return Price(units=order.count, unit_nano_usd=3_000_000)


REPLICATE_SEEDANCE_FIELDS: Mapping[str, Field] = {
    "prompt": _PROMPT,
    "image": _TEXT,
    "last_frame_image": _TEXT,
    "duration": Field(kind="integer", default=5, minimum=2, maximum=12),
    "resolution": Field(kind="string", default="1080p", choices=("480p", "720p", "1080p")),
    "aspect_ratio": Field(kind="string", default="16:9", choices=ASPECT_RATIOS),
    "fps": Field(kind="integer", default=24, minimum=24, maximum=24),
    "camera_fixed": _FLAG,
    "seed": _SEED,
}


def _replicate_seedance_order(body: Json) -> Order:
    filled = _with_defaults(REPLICATE_SEEDANCE_FIELDS, body)
    width, height = video_size(filled["resolution"], filled["aspect_ratio"])
    return Order(
        kind="video", prompt=filled["prompt"], seed=filled["seed"], width=width, height=height,
        seconds=filled["duration"], resolution=filled["resolution"],
        source_url=filled["image"], follows_source=filled["image"] is not None,
    )  # fmt: skip


REPLICATE_SECOND_NANO_USD = {"480p": 30_000_000, "720p": 60_000_000, "1080p": 150_000_000}


def _second_price(order: Order) -> Price:
    """Return $0.03, $0.06 or $0.15 per second of output, by resolution."""
    return Price(units=order.seconds, unit_nano_usd=REPLICATE_SECOND_NANO_USD[order.resolution])


MODELS: tuple[Model, ...] = (
    Model(
        provider="fal", name="fal-ai/flux/schnell", kind="image", unit="megapixels", unit_usd=0.003,
        fields=FAL_FLUX_FIELDS, order=_fal_flux_order, price=_megapixel_price,
    ),
    Model(
        provider="fal", name="fal-ai/bytedance/seedance/v1/pro/image-to-video", kind="video",
        unit="tokens", unit_usd=0.0000025,
        fields=FAL_SEEDANCE_FIELDS, order=_fal_seedance_order, price=_token_price,
    ),
    Model(
        provider="fal", name="fal-ai/kling-video/v2.5-turbo/pro/image-to-video", kind="video",
        unit="seconds", unit_usd=0.07, fields=FAL_KLING_FIELDS, order=_fal_kling_order, price=_kling_price,
    ),
    Model(
        provider="replicate", name="black-forest-labs/flux-schnell", kind="image", unit="images", unit_usd=0.003,
        fields=REPLICATE_FLUX_FIELDS, order=_replicate_flux_order, price=_picture_price,
    ),
    Model(
        provider="replicate", name="bytedance/seedance-1-pro", kind="video", unit="seconds", unit_usd=0.15,
        fields=REPLICATE_SEEDANCE_FIELDS, order=_replicate_seedance_order, price=_second_price,
    ),
)  # fmt: skip


def find_model(provider: Provider, name: str) -> Model | None:
    return next(
        (model for model in MODELS if model.provider == provider and model.name == name), None
    )
