"""A step's inputs at a model: defaults, checks, and the vendor's request body.

An input is never dropped silently: what a model does not take is an error that names it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from core.domain.plans import Scalar
from core.providers.models import (
    Constant,
    Input,
    InputType,
    Lengths,
    MediaInput,
    Model,
    ModelInputs,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """An input that a model does not take. allowed: the possible values, where there is a choice.

    detail: continues a sentence that begins with the input's name. is_missing: it is required.
    is_too_long: a text has too many characters. of_file: a file itself is not taken, for example
    because of its length.
    """

    name: str
    detail: str
    is_missing: bool = False
    is_too_long: bool = False
    allowed: tuple[Scalar, ...] = ()
    of_file: bool = False


class InputsError(ValueError):
    """The inputs that a model does not take, all of them."""

    def __init__(self, model_id: str, violations: tuple[Violation, ...]) -> None:
        listed = "; ".join(f"{item.name} {item.detail}" for item in violations)
        super().__init__(f"{model_id}: {listed}")
        self.violations = violations


def complete_inputs(
    model: Model,
    values: Mapping[str, Scalar],
    media: Mapping[str, MediaInput],
    *,
    seed: int | None = None,
) -> ModelInputs:
    """Return the inputs with the model's defaults, as they are sent and priced.

    seed: used where the model takes one and the user gave none.
    """
    filled = dict(values)
    for item in model.inputs:
        default = next(
            (value for name, value in item.default_with.items() if name in media), item.default
        )
        if item.name == "seed" and default is None:
            default = seed
        if default is not None:
            filled.setdefault(item.name, default)
    return ModelInputs(values=filled, media=media)


def check_inputs(model: Model, inputs: ModelInputs) -> None:
    """Raise InputsError unless the model takes these inputs. They are complete."""
    if violations := tuple(_violations(model, inputs)):
        raise InputsError(model.id, violations)


def _violations(model: Model, inputs: ModelInputs) -> Iterator[Violation]:
    present = {**inputs.values, **inputs.media}
    for name in present:
        if not model.takes(name):
            taken = ", ".join(item.name for item in model.inputs)
            yield Violation(name=name, detail=f"is not an input of this model, which takes {taken}")
    for item in model.inputs:
        if item.name not in present:
            if item.required:
                yield Violation(name=item.name, detail="is required", is_missing=True)
            continue
        if item.needs is not None and item.needs not in present:
            yield Violation(name=item.name, detail=f"requires {item.needs}")
        if item.type.media is None:
            fault = _fault_of_value(item, inputs.values.get(item.name))
        else:
            fault = _fault_of_file(item, inputs.media.get(item.name))
        if fault is not None:
            yield Violation(
                name=item.name,
                detail=fault,
                allowed=item.choices,
                is_too_long=_is_too_long(item, inputs.values.get(item.name)),
                of_file=item.name in inputs.media,
            )


def _fault_of_value(item: Input, value: Scalar | None) -> str | None:
    if value is None or not _has_type(item.type, value):
        return f"must be {_TYPES[item.type]}"
    if item.choices and value not in item.choices:
        return f"must be one of the values that the model takes: {_listed(item.choices)}"
    if isinstance(value, str):
        if _is_too_long(item, value):
            return f"has {len(value)} characters, and the model takes at most {item.max_length}"
        return "must not be empty" if item.required and not value.strip() else None
    return None if _in_range(item, value) else f"must be {_range(item)}"


def _is_too_long(item: Input, value: Scalar | None) -> bool:
    return isinstance(value, str) and item.max_length is not None and len(value) > item.max_length


def _fault_of_file(item: Input, file: MediaInput | None) -> str | None:
    if file is None:
        return f"must be a file: {_TYPES[item.type]}"
    seconds = file.facts.duration_seconds if file.facts is not None else None
    if seconds is None and file.lengths is not None:
        return _fault_of_lengths(item, file.lengths)
    if seconds is None or _in_range(item, seconds):
        return None
    return f"lasts {seconds:g} seconds, and the model takes files of {_range(item)} seconds"


def _fault_of_lengths(item: Input, lengths: Lengths) -> str | None:
    """Return what is certainly wrong with a file that does not exist yet."""
    if item.maximum is not None and lengths.least > item.maximum:
        certain = f"at least {lengths.least:g}"
    elif item.minimum is not None and lengths.most < item.minimum:
        certain = f"at most {lengths.most:g}"
    else:
        return None
    return f"will last {certain} seconds, and the model takes files of {_range(item)} seconds"


_TYPES = {
    InputType.TEXT: "text",
    InputType.INTEGER: "a whole number",
    InputType.NUMBER: "a number",
    InputType.FLAG: "true or false",
    InputType.IMAGE: "an image",
    InputType.VIDEO: "a video",
    InputType.AUDIO: "audio",
}


def _has_type(expected: InputType, value: Scalar) -> bool:
    match expected:
        case InputType.FLAG:
            return isinstance(value, bool)
        case InputType.INTEGER:
            return isinstance(value, int) and not isinstance(value, bool)
        case InputType.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return isinstance(value, str)


def _in_range(item: Input, value: float) -> bool:
    low, high = item.minimum, item.maximum
    return (low is None or value >= low) and (high is None or value <= high)


def _range(item: Input) -> str:
    match item.minimum, item.maximum:
        case None, None:
            return "any"
        case low, None:
            return f"at least {low:g}"
        case None, high:
            return f"at most {high:g}"
        case low, high:
            return f"{low:g} to {high:g}"


def _listed(choices: tuple[Scalar, ...]) -> str:
    return ", ".join(map(str, choices))


def build_body(model: Model, inputs: ModelInputs) -> dict[str, object]:
    """Return the vendor's request body for complete inputs. Raises InputsError."""
    check_inputs(model, inputs)
    body: dict[str, object] = {}
    for entry in model.body:
        if isinstance(entry, Constant):
            _put(body, entry.field, entry.value)
        elif entry.unless is None or entry.unless not in inputs.media:
            file, value = inputs.media.get(entry.name), inputs.values.get(entry.name)
            if file is not None:
                _put(body, entry.field, file.url, listed=entry.listed)
            elif value is not None:
                _put(body, entry.field, _vendor_value(entry, value), listed=entry.listed)
    return body


def _vendor_value(item: Input, value: Scalar) -> object:
    word = item.words.get(value, value)
    return word if item.template is None else item.template.format(word)


def _put(body: dict[str, object], field: str, value: object, *, listed: bool = False) -> None:
    *parents, name = field.split(".")
    for parent in parents:
        body = cast("dict[str, object]", body.setdefault(parent, {}))
    if listed:
        cast("list[object]", body.setdefault(name, [])).append(value)
    else:
        body[name] = value
