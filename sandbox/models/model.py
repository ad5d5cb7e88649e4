"""An offered model: its fields, its output and its rates."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from sandbox.models.fields import Field, Role, by_role
from sandbox.models.orders import Facts, Kind, Medium, Order
from sandbox.models.prices import Price, Rate, Unit, price_at
from sandbox.models.sizes import ASPECT_RATIOS, SCALES, Sizes, nearest_aspect_ratio, video_size
from sandbox.settings import Json, as_object

Provider = Literal["fal", "replicate", "elevenlabs"]
PROVIDERS: tuple[Provider, ...] = get_args(Provider)
Output = Literal["images", "image", "video", "audio", "transcript"]
"""The key of fal's output with the files; `transcript`: the words are the output."""
SOURCE_DECIDES = frozenset({None, "auto", "match_input_image"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """An offered model.

    output: the form of the output; on Replicate, `images` is a list of URLs. also: further keys of
    fal's output. sizes: of pictures, by the `size` or `aspect_ratio` of the input. resolution,
    seconds, file_format: of an output whose input has no such field. shape_of_image: a start image
    decides the shape even if the input names an aspect ratio.
    """

    provider: Provider
    name: str
    kind: Kind
    fields: Mapping[str, Field]
    output: Output
    rates: tuple[Rate, ...]
    also: tuple[str, ...] = ()
    sizes: Sizes = field(default_factory=dict[str, tuple[int, int]])
    resolution: str = "720p"
    seconds: int = 0
    scale: float = 1.0
    file_format: str = "png"
    shape_of_image: bool = False

    @property
    def makes(self) -> Medium:
        return "image" if self.output == "images" else self.output

    @property
    def unit(self) -> Unit:
        return self.rates[0].unit

    @property
    def unit_usd(self) -> float:
        """The price of a unit as the vendor's price list shows it."""
        return self.rates[0].nano_usd / 1_000_000_000

    def order(self, body: Json) -> Order:
        values = by_role(self.fields, body)
        resolution = str(values.get("resolution") or self.resolution)
        has_image = _given(values.get("image"))
        follows = (
            has_image
            and self.kind in {"image", "video"}
            and (self.shape_of_image or values.get("aspect_ratio") in SOURCE_DECIDES)
        )
        width, height = self._size(values, resolution)
        return Order(
            kind=self.kind, makes=self.makes, prompt=values.get("prompt") or "", seed=_seed(values.get("seed")),
            width=width, height=height, count=values.get("count") or 1,
            file_format=_file_format(values.get("format") or self.file_format),
            seconds=_seconds(values.get("duration")) or self.seconds, resolution=resolution, follows_source=follows,
            sound=bool(values.get("sound")), scale=float(values.get("scale") or self.scale),
            speed=float(values.get("speed") or 1), background=str(values.get("background") or "transparent").lower(),
            timestamps=bool(values.get("timestamps")), loops=values.get("fit") in {"loop", "bounce", "remap"},
        )  # fmt: skip

    def _size(self, values: Mapping[Role, Any], resolution: str) -> tuple[int, int]:
        """Return the size by the input alone; (0, 0) where only a file decides it."""
        if self.kind not in {"image", "video", "talking-head"}:
            return 0, 0
        size, ratio = values.get("size"), values.get("aspect_ratio")
        if (exact := as_object(size)) is not None:
            return exact["width"], exact["height"]
        if self.kind != "image":
            return video_size(resolution, "16:9" if ratio in SOURCE_DECIDES else str(ratio))
        width, height = self.sizes.get(str(size or ratio)) or next(iter(self.sizes.values()))
        scale = SCALES.get(resolution, 1.0)
        return round(width * scale), round(height * scale)

    def fitted(self, order: Order, files: Mapping[Role, Facts]) -> Order:
        """Return the order with the sizes and lengths that follow from its measured files."""
        order, source = order.fitted(files), files.get("image")
        if source is None or not (order.follows_source or self.kind == "talking-head"):
            return order
        if self.kind == "image":
            ratios = [ratio for ratio in self.sizes if ":" in ratio]
            width, height = self.sizes[nearest_aspect_ratio(source.width, source.height, ratios)]
            scale = SCALES.get(order.resolution, 1.0)
            return replace(order, width=round(width * scale), height=round(height * scale))
        ratio = nearest_aspect_ratio(source.width, source.height, ASPECT_RATIOS)
        width, height = video_size(order.resolution, ratio)
        return replace(order, width=width, height=height)

    def price(self, order: Order) -> Price:
        rate = next(rate for rate in self.rates if rate.applies(order))
        return price_at(rate, order)


def _given(value: Any) -> bool:
    return value not in (None, "", [])


def _seed(value: Any) -> int | None:
    return None if value in (None, -1) else int(value)


def _seconds(value: Any) -> int:
    """Return 8 for 8, "8" and "8s"."""
    return 0 if value is None else int(str(value).removesuffix("s"))


def _file_format(value: str) -> str:
    return "webm" if value == "webm_vp9" else value.removesuffix("_h264")
