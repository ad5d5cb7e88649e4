"""What a model is: its inputs, outputs, prices and times, all as data.

A new model of a known vendor is an entry in that vendor's catalogue; no code depends on a model.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final, cast

from core.domain.media.containers.facts import MediaFacts
from core.domain.media.content import MediaKind
from core.domain.plans import Scalar, StepKind
from core.domain.prices import Price

QUICK_RUN_SECONDS: Final = 120
"""The longest run of a model that counts as quick, such as one that makes images."""


class InputType(StrEnum):
    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"

    @property
    def media(self) -> MediaKind | None:
        """Return the kind of file that the input takes, None for a value."""
        return MediaKind(self.value) if self in (self.IMAGE, self.VIDEO, self.AUDIO) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """An input of a model, and how the vendor's request carries it.

    name: the canonical name. field: the vendor's; dots separate the names of nested objects.
    default: for a request without it, sent explicitly. default_with: instead, by the name of a
    media input that the request has. choices: all possible values; empty: any in the range.
    minimum, maximum: of a number; of a file: its seconds. max_length: characters of a text.
    needs: another input that it requires. unless: a media input with which it is not sent, because
    the model ignores it there.
    words: the vendor's value for each value, where they differ. template: text around the value
    ("{}s"). listed: the vendor takes a list; inputs of the same field share it.
    """

    name: str
    field: str
    type: InputType
    required: bool = False
    default: Scalar | None = None
    default_with: Mapping[str, Scalar] = dataclasses.field(default_factory=dict[str, Scalar])
    choices: tuple[Scalar, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None
    needs: str | None = None
    unless: str | None = None
    words: Mapping[Scalar, object] = dataclasses.field(default_factory=dict[Scalar, object])
    template: str | None = None
    listed: bool = False


@dataclass(frozen=True, slots=True)
class Constant:
    """A field of the vendor's request with the same value in every request."""

    field: str
    value: object


class OutputForm(StrEnum):
    """What the vendor's result has at the path of an output.

    FILE: an address, an object with `url`, or a list of these. WORDS: an object with a list of
    timed `words`. CHARACTERS: times of characters, one object or a list of parts.
    """

    FILE = "file"
    WORDS = "words"
    CHARACTERS = "characters"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputField:
    """A part of the vendor's result that holds files.

    path: names separated by dots; empty for the result itself. companion: of no use without the
    files before it.
    """

    path: str
    kind: MediaKind
    form: OutputForm = OutputForm.FILE
    companion: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """How many pixels an image or frame has, where the inputs have the values in `when`."""

    most: int
    least: int | None = None
    usual: int | None = None
    when: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How a job's quantities follow from its inputs. What is not set does not apply.

    images, videos: how many files are made. characters: the name of the text that is counted.
    credits_per_character: decimal text, for vendors that charge credits.
    seconds: the same for every job. seconds_of: the names of the inputs whose seconds count; of
    several the shortest. Of a file of unknown length the longest that the model takes counts.
    frames_per_second: the highest rate, unless the file states its own.
    pixels: the first entry that fits the inputs. pixels_of: the name of an image whose pixels
    count, times the square of the input `scaled_by`. pixels_most: where they are not known.
    """

    images: int | None = None
    videos: int | None = None
    characters: str | None = None
    credits_per_character: str | None = None
    seconds: int | None = None
    seconds_of: tuple[str, ...] = ()
    frames_per_second: int | None = None
    pixels: tuple[Pixels, ...] = ()
    pixels_of: str | None = None
    pixels_most: int | None = None
    scaled_by: str | None = None


@dataclass(frozen=True, kw_only=True)  # without slots, so that properties can be cached
class Model:
    """One model of a provider. id is the provider's own name for it.

    body: the fields of the vendor's request, in the order in which they are sent.
    outputs: where the result holds the files.
    prices: the price book; inputs without a price are not sold.
    billed: where the vendor's report holds the billed quantity, for vendors that report one there.
    usual_seconds: how long a job usually takes, used for polling and progress.
    deadline_seconds: when a job that has not ended counts as failed.
    longest_run_seconds: from the start of a run until its end, part of the look-up horizon.
    served_seconds: how long the provider serves a result at least; None if unknown.
    """

    id: str
    kind: StepKind
    body: tuple[Input | Constant, ...]
    outputs: tuple[OutputField, ...]
    prices: tuple[Price, ...]
    measure: Measure
    usual_seconds: int
    deadline_seconds: int
    longest_run_seconds: int
    billed: str | None = None
    served_seconds: int | None = None

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        return tuple(entry for entry in self.body if isinstance(entry, Input))

    @cached_property
    def media_inputs(self) -> Mapping[str, Input]:
        return {item.name: item for item in self.inputs if item.type.media is not None}

    @cached_property
    def _input_of(self) -> Mapping[str, Input]:
        return {item.name: item for item in reversed(self.inputs)}

    @property
    def quick(self) -> bool:
        """Whether jobs take seconds, like images, and not minutes, like videos."""
        return self.longest_run_seconds <= QUICK_RUN_SECONDS

    def input(self, name: str) -> Input | None:
        return self._input_of.get(name)

    def takes(self, name: str) -> bool:
        return self.input(name) is not None

    def needs(self, name: str) -> bool:
        item = self.input(name)
        return item is not None and item.required

    def choices(self, name: str) -> tuple[Scalar, ...]:
        item = self.input(name)
        return item.choices if item is not None else ()

    def default(self, name: str) -> Scalar | None:
        item = self.input(name)
        return item.default if item is not None else None

    def measures(self, name: str) -> bool:
        """Whether the price or a limit depends on the facts of this media input."""
        item = self.input(name)
        limited = item is not None and (item.minimum is not None or item.maximum is not None)
        return limited or name in self.measure.seconds_of or name == self.measure.pixels_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How many seconds a file lasts that does not exist yet."""

    least: float
    usual: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInput:
    """A file that a model receives. url: empty where only the price matters.

    facts: None if they are not known. lengths: of a file that another step will make.
    """

    url: str = ""
    facts: MediaFacts | None = None
    lengths: Lengths | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInputs:
    """A step's parameters with sources resolved and defaults filled in."""

    values: Mapping[str, Scalar] = dataclasses.field(default_factory=dict[str, Scalar])
    media: Mapping[str, MediaInput] = dataclasses.field(default_factory=dict[str, MediaInput])

    def text(self, name: str) -> str | None:
        """Return a value in the form in which prices and sizes name it, None without it."""
        value = self.values.get(name)
        if value is None:
            return None
        return str(value).lower() if isinstance(value, bool) else str(value)

    def fit(self, when: Mapping[str, str]) -> bool:
        """Return whether the inputs have all these values."""
        return all(self.text(name) == value for name, value in when.items())


def inputs_to_json(inputs: ModelInputs) -> dict[str, object]:
    """Return the inputs as one flat object for the send's row: `image_url`, `image_facts`."""
    plain: dict[str, object] = dict(inputs.values)
    for name, item in inputs.media.items():
        plain[f"{name}_url"] = item.url
        if item.facts is not None:
            plain[f"{name}_facts"] = asdict(item.facts)
    return plain


def inputs_from_json(plain: Mapping[str, object]) -> ModelInputs:
    """Read the output of inputs_to_json. Raise TypeError for anything else.

    Earlier versions stored `null` for an input that was not given.
    """
    values: dict[str, Scalar] = {}
    media = {name: MediaInput(url=url, facts=facts) for name, url, facts in _files(plain)}
    for name, value in plain.items():
        if isinstance(value, str | int | float):
            if name.removesuffix("_url") not in media or not name.endswith("_url"):
                values[name] = value
        elif value is not None and not name.endswith("_facts"):
            raise TypeError(f"{name} is not an input: {type(value).__name__}")
    return ModelInputs(values=values, media=media)


def _files(plain: Mapping[str, object]) -> Iterator[tuple[str, str, MediaFacts | None]]:
    for key, value in plain.items():
        name = key.removesuffix("_url")
        if name == key or not isinstance(value, str):
            continue
        facts = plain.get(f"{name}_facts")
        if facts is not None and not isinstance(facts, dict):
            raise TypeError(f"{name}_facts is not an object")
        yield name, value, MediaFacts(**cast("dict[str, float]", facts)) if facts else None  # pyright: ignore[reportArgumentType]  # a stored dataclass
