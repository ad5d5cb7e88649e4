"""How captions look: the presets, and every setting with its default and range."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self, cast

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel

from core.media.operations.references import OperationModel

_COLOR: Final = re.compile(r"#([0-9a-f]{3}|[0-9a-f]{6}|[0-9a-f]{8})|&h([0-9a-f]{6}|[0-9a-f]{8})&?")
_PLACES: Final = ("bottom", "middle", "top")
_SIDES: Final = ("left", "center", "right")
_ALIGNMENTS: Final[Mapping[str, int]] = {
    **{place: 3 * row + 2 for row, place in enumerate(_PLACES)},
    "center": 5,
    **{
        f"{place}-{side}": 3 * row + column + 1
        for row, place in enumerate(_PLACES)
        for column, side in enumerate(_SIDES)
    },
}
_WIDEST_MARGINS: Final = 880
"""Both side margins leave at least 200 of the 1080 units of the shortest frame."""


class Preset(StrEnum):
    TIKTOK = "tiktok"
    YOUTUBE = "youtube"
    STORY = "story"
    MINIMAL = "minimal"
    CINEMATIC = "cinematic"


class Animation(StrEnum):
    """How the spoken word differs from the others: in nothing, colour, also size, also a glow."""

    NONE = "none"
    COLOR = "color"
    SCALE = "scale"
    GLOW = "glow"


_PRESETS: Final[Mapping[str, Mapping[str, object]]] = {
    Preset.TIKTOK: {
        "fontSize": 80,
        "fontWeight": "bold",
        "outlineWidth": 3,
        "marginV": 250,
        "wordsPerCaption": 1,
        "highlightActiveWord": True,
        "activeWordColor": "#FFFF00",
        "inactiveWordColor": "#AAAAAA",
        "activeWordScale": 1.2,
    },
    Preset.YOUTUBE: {
        "fontSize": 48,
        "outlineWidth": 0,
        "backgroundColor": "#0000007F",
        "marginV": 100,
        "wordsPerCaption": 5,
    },
    Preset.STORY: {
        "fontFamily": "Courier New",
        "fontSize": 52,
        "color": "#00FFFF",
        "outlineWidth": 0,
        "backgroundColor": "#000000BF",
        "alignment": 5,
        "wordsPerCaption": 3,
        "highlightActiveWord": True,
        "activeWordColor": "#FFFFFF",
        "inactiveWordColor": "#888888",
        "activeWordScale": 1.15,
    },
    Preset.MINIMAL: {
        "fontFamily": "Helvetica",
        "fontSize": 42,
        "color": "#DDDDDD",
        "outlineWidth": 2,
        "marginV": 80,
        "wordsPerCaption": 4,
    },
    Preset.CINEMATIC: {
        "fontFamily": "Times New Roman",
        "fontSize": 40,
        "color": "#E0E0E0",
        "outlineWidth": 0,
        "shadowDistance": 2,
        "marginV": 120,
        "wordsPerCaption": 6,
    },
}


def _checked_color(value: str) -> str:
    if not _COLOR.fullmatch(value.lower()):
        raise ValueError("must be #RGB, #RRGGBB, #RRGGBBAA or &HAABBGGRR")
    return value


def _alignment(value: object) -> object:
    if isinstance(value, str):
        return _ALIGNMENTS.get(value, int(value) if value in set("123456789") else value)
    return value


Color = Annotated[str, Field(max_length=12), AfterValidator(_checked_color)]
Alignment = Annotated[
    int,
    Field(ge=1, le=9),
    BeforeValidator(_alignment),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 9}, {"enum": [*_ALIGNMENTS]}]}
    ),
]
"""As on a number pad: 1 is bottom left, 9 is top right."""


class CaptionStyle(OperationModel):
    """Lengths are in pixels of a frame whose short side has 1080; they follow the real frame.

    preset: sets what is not given here. background_color: of a box around the text, which `padding`
    widens; a box has no shadow. alignment: the place in the frame; margins keep the text away from
    its edges. max_caption_duration: in seconds. color: of all words, or with highlighting of those
    that are not spoken, unless they have inactive_word_color.
    """

    preset: Preset | None = None
    font_family: Annotated[str, Field(min_length=1, max_length=100)] = "Arial"
    font_size: Annotated[int, Field(ge=8, le=200)] = 48
    font_weight: Literal["normal", "bold"] | Annotated[int, Field(ge=100, le=900)] = "normal"
    color: Color = "#FFFFFF"
    outline_color: Color = "#000000"
    outline_width: Annotated[float, Field(ge=0, le=10)] = 2
    background_color: Color | None = None
    padding: Annotated[float, Field(ge=0, le=100)] = 10
    shadow_distance: Annotated[float, Field(ge=0, le=20)] = 0
    alignment: Alignment = 2
    margin_v: Annotated[int, Field(ge=0, le=800)] = 80
    margin_l: Annotated[int, Field(ge=0, le=_WIDEST_MARGINS)] = 40
    margin_r: Annotated[int, Field(ge=0, le=_WIDEST_MARGINS)] = 40
    words_per_caption: Annotated[int, Field(ge=1, le=12)] = 3
    max_caption_duration: Annotated[float, Field(ge=0.3, le=10)] = 3
    max_caption_chars: Annotated[int, Field(ge=5, le=80)] = 50
    max_lines: Annotated[int, Field(ge=1, le=3)] = 2
    highlight_active_word: bool = False
    active_word_color: Color = "#FFFF00"
    inactive_word_color: Color | None = None
    active_word_scale: Annotated[float, Field(ge=1, le=2)] = 1
    animation_style: Animation = Animation.SCALE

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        fields = {
            to_camel(str(name)): item for name, item in cast("Mapping[Any, Any]", value).items()
        }
        preset = fields.get("preset")
        return {**_PRESETS.get(preset, {}), **fields} if isinstance(preset, str) else fields

    @model_validator(mode="after")
    def _leaves_width(self) -> Self:
        if self.margin_l + self.margin_r > _WIDEST_MARGINS:
            raise ValueError(f"marginL and marginR must be at most {_WIDEST_MARGINS} together")
        return self

    @property
    def weight(self) -> int:
        """Return the weight of the font: 400 is normal, 700 is bold."""
        named = {"normal": 400, "bold": 700}
        return named[self.font_weight] if isinstance(self.font_weight, str) else self.font_weight

    @property
    def is_highlighted(self) -> bool:
        """Return whether the spoken word looks different."""
        return self.highlight_active_word and self.animation_style is not Animation.NONE

    @property
    def scale(self) -> float:
        """Return how much larger the spoken word is."""
        is_scaled = self.is_highlighted and self.animation_style is Animation.SCALE
        return self.active_word_scale if is_scaled else 1.0


def rgba(color: str) -> tuple[int, int, int, int]:
    """Return red, green, blue and alpha, where 255 is opaque."""
    digits = color.lower().removeprefix("#")
    if digits.startswith("&h"):  # ASS: blue before red, and 0 is opaque
        digits = digits.removeprefix("&h").removesuffix("&").rjust(8, "0")
        hidden, blue, green, red = bytes.fromhex(digits)
        return red, green, blue, 255 - hidden
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    red, green, blue, alpha = bytes.fromhex(digits.ljust(8, "f"))
    return red, green, blue, alpha
