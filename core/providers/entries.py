"""Short forms for the entries of a catalogue: models, and inputs that most of them have."""

from collections.abc import Mapping
from typing import Final

from core.domain.media.content import MediaKind
from core.domain.plans import Scalar, StepKind
from core.domain.prices import Price
from core.providers.models import (
    QUICK_RUN_SECONDS,
    Constant,
    Input,
    InputType,
    Measure,
    Model,
    OutputField,
    OutputForm,
)

NO_DEFAULTS: Final[Mapping[str, Scalar]] = {}
NO_WORDS: Final[Mapping[Scalar, object]] = {}
MAX_SEED: Final = 2**31 - 1
"""The smallest range of all models."""


def offered_model(
    model_id: str,
    kind: StepKind,
    *body: Input | Constant,
    outputs: tuple[OutputField, ...],
    prices: tuple[Price, ...],
    measure: Measure,
    usual_seconds: int,
    served_seconds: int,
    quick: bool,
    billed: str | None = None,
) -> Model:
    """Return a model. quick: its jobs take seconds, else minutes."""
    return Model(
        id=model_id,
        kind=kind,
        body=body,
        outputs=outputs,
        prices=prices,
        measure=measure,
        billed=billed,
        usual_seconds=usual_seconds,
        deadline_seconds=300 if quick else 1200,
        longest_run_seconds=QUICK_RUN_SECONDS if quick else 1500,
        served_seconds=served_seconds,
    )


def prompt(field: str = "prompt", *, required: bool = True, max_length: int | None = None) -> Input:
    return Input(
        name="prompt", field=field, type=InputType.TEXT, required=required, max_length=max_length
    )


def text(
    name: str,
    field: str | None = None,
    *,
    required: bool = False,
    default: str | None = None,
    max_length: int | None = None,
) -> Input:
    return Input(
        name=name,
        field=field or name,
        type=InputType.TEXT,
        required=required,
        default=default,
        max_length=max_length,
    )


def choice(
    name: str,
    field: str,
    choices: tuple[str, ...],
    default: str | None = None,
    *,
    unless: str | None = None,
    default_with: Mapping[str, Scalar] = NO_DEFAULTS,
    words: Mapping[Scalar, object] = NO_WORDS,
) -> Input:
    return Input(
        name=name,
        field=field,
        type=InputType.TEXT,
        choices=choices,
        default=default,
        default_with=default_with,
        unless=unless,
        words=words,
    )


def language(field: str = "language_code") -> Input:
    """Return the input of models that take ISO codes of languages."""
    return text("language", field, max_length=32)


_LANGUAGE_NAMES: Final[Mapping[Scalar, object]] = {
    "ar": "Arabic", "bg": "Bulgarian", "ca": "Catalan", "cs": "Czech", "da": "Danish",
    "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "fi": "Finnish",
    "fr": "French", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "ms": "Malay",
    "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian",
    "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sv": "Swedish", "th": "Thai",
    "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip


def named_language(field: str) -> Input:
    """Return the input of models that take English names of languages; ours are ISO codes."""
    codes = tuple(str(code) for code in _LANGUAGE_NAMES)
    return choice("language", field, codes, words=_LANGUAGE_NAMES)


def more_images(field: str, number: int) -> tuple[Input, ...]:
    """Return the inputs `image2` and so on, which share the list of `image`."""
    return tuple(
        media(f"image{each}", field, InputType.IMAGE, required=False, listed=True, needs="image")
        for each in range(2, number + 1)
    )


def duration(
    field: str, choices: tuple[Scalar, ...], default: int, *, template: str | None = None
) -> Input:
    """Return the input of whole seconds. template: for vendors that take text ("{}", "{}s")."""
    return Input(
        name="duration_seconds",
        field=field,
        type=InputType.INTEGER,
        choices=choices,
        default=default,
        template=template,
    )


def seed(field: str = "seed") -> Input:
    return Input(name="seed", field=field, type=InputType.INTEGER, minimum=0, maximum=MAX_SEED)


def flag(name: str, field: str) -> Input:
    return Input(name=name, field=field, type=InputType.FLAG)


def sound(field: str = "generate_audio") -> Input:
    """Return the flag of models that can make a sound track. The default of the vendors: on."""
    return Input(name="sound", field=field, type=InputType.FLAG, default=True)


def number(
    name: str, field: str, minimum: float, maximum: float, default: float | None = None
) -> Input:
    return Input(
        name=name,
        field=field,
        type=InputType.NUMBER,
        minimum=minimum,
        maximum=maximum,
        default=default,
    )


def media(
    name: str,
    field: str,
    type_: InputType,
    *,
    required: bool = True,
    listed: bool = False,
    needs: str | None = None,
    seconds: tuple[float, float] | None = None,
) -> Input:
    """Return an input that is a file. seconds: the least and the most that the model takes."""
    low, high = seconds or (None, None)
    return Input(
        name=name,
        field=field,
        type=type_,
        required=required,
        listed=listed,
        needs=needs,
        minimum=low,
        maximum=high,
    )


IMAGES: Final = (OutputField(path="images", kind=MediaKind.IMAGE),)
IMAGE: Final = (OutputField(path="image", kind=MediaKind.IMAGE),)
VIDEO: Final = (OutputField(path="video", kind=MediaKind.VIDEO),)
AUDIO: Final = (OutputField(path="audio", kind=MediaKind.AUDIO),)
WORDS: Final = (OutputField(path="", kind=MediaKind.TRANSCRIPT, form=OutputForm.WORDS),)
