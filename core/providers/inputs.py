"""What a model takes, held against what it is asked: an adapter drops nothing in silence."""

from collections.abc import Sequence

from core.providers.port import Model, ModelInputs


def check_inputs(model: Model, inputs: ModelInputs) -> None:
    """Raises ValueError for an input that the model cannot take. For a price; the picture may still
    be missing.
    """
    limits = model.limits
    _check_choice("duration", inputs.duration_seconds, limits.durations_seconds, model.id)
    _check_choice("resolution", inputs.resolution, limits.resolutions, model.id)
    _check_choice("aspect ratio", inputs.aspect_ratio, limits.aspect_ratios, model.id)
    if inputs.seed is not None and not limits.takes_seed:
        raise ValueError(f"{model.id} takes no seed")
    if inputs.image_url is not None and not limits.takes_image:
        raise ValueError(f"{model.id} takes no image")


def check_complete(model: Model, inputs: ModelInputs) -> None:
    """check_inputs, for a create call: a picture that the model needs must be there."""
    check_inputs(model, inputs)
    if model.limits.needs_image and inputs.image_url is None:
        raise ValueError(f"{model.id} needs an image")


def _check_choice(
    what: str, value: int | str | None, choices: Sequence[int | str], model_id: str
) -> None:
    if value is not None and value not in choices:
        raise ValueError(f"{model_id} does not take {what} {value!r}")
