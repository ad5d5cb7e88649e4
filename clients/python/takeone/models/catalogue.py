"""Models that can be ordered, with their inputs and prices; and the health of the service."""

from datetime import date
from typing import Any

from takeone.models.base import Model, Money

Scalar = str | int | float | bool


class ModelLimits(Model):
    """The values that an order may name. An empty list: the model takes no such parameter."""

    durations: list[int]
    resolutions: list[str]
    aspect_ratios: list[str]
    takes_seed: bool
    takes_image: bool
    needs_image: bool


class ModelDefaults(Model):
    """The values that an order gets where it names none."""

    duration: int | None
    resolution: str | None
    aspect_ratio: str | None


class ModelPrice(Model):
    """A price of a model. when: the parameters that it applies to."""

    unit: str
    unit_price: Money
    when: dict[str, str]
    source: str
    read_on: date


class ModelInput(Model):
    """A parameter of a model."""

    name: str
    type: str
    required: bool
    default: Scalar | None
    choices: list[Scalar]
    minimum: float | None
    maximum: float | None
    max_length: int | None
    requires: str | None


class OfferedModel(Model):
    """A model that the account can use. default: the first choice of its kind."""

    id: str
    provider: str
    kind: str
    default: bool
    usual_seconds: int
    limits: ModelLimits
    defaults: ModelDefaults
    inputs: list[ModelInput]
    outputs: list[str]
    currency: str = "USD"
    prices: list[ModelPrice]


class ModelList(Model):
    """All models, of each kind the default first."""

    data: list[OfferedModel]


class Health(Model):
    """The process serves requests."""

    status: str = "ok"


class Readiness(Model):
    """The parts of the service that requests need."""

    status: str = "ready"
    postgresql: str = "ok"
    temporal: str


class ImportNote(Model):
    """A change that the import of a plan made. pointer: a JSON Pointer into the request."""

    pointer: str
    code: str
    detail: str


class ImportedPlan(Model):
    """A plan that can be executed as it is, and what the import changed."""

    plan: dict[str, Any]
    notes: list[ImportNote]
