"""Checks of step inputs against a model's limits. An adapter never drops an input silently."""

from collections.abc import Sequence

from core.providers.port import Model, ModelInputs


def check_inputs(model: Model, inputs: ModelInputs) -> None:
    """Raise ValueError for an input that the model does not accept.

    Sufficient for a quote: a required image may still be missing.
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
    """Raise ValueError unless a create call can be made: check_inputs plus a required image."""
    check_inputs(model, inputs)
    if model.limits.needs_image and inputs.image_url is None:
        raise ValueError(f"{model.id} needs an image")


def _check_choice(
    name: str, value: int | str | None, choices: Sequence[int | str], model_id: str
) -> None:
    if value is not None and value not in choices:
        raise ValueError(f"{model_id} does not take {name} {value!r}")
