"""Quotes: what an order may cost."""

from datetime import date

from pydantic import Field

from takeone.models.base import Model, Money


class Length(Model):
    """How many seconds a file will last: estimates, and the longest that is held for."""

    low: float
    expected: float
    worst: float


class QuotedJob(Model):
    """What one step may cost. seconds: how long it usually runs."""

    step: str
    provider: str
    model: str
    unit: str
    unit_price: Money
    read_on: date
    low: Money
    expected: Money
    worst: Money
    seconds: int
    output_seconds: Length | None
    reuse: str


class QuoteWarning(Model):
    """Something in a plan that is valid and probably not meant. pointer: into the request."""

    pointer: str
    code: str
    detail: str


class Quote(Model):
    """What an order may cost now. worst: what would be held. eta_seconds: without queues."""

    currency: str = "USD"
    jobs: list[QuotedJob]
    low: Money
    expected: Money
    worst: Money
    eta_seconds: int
    warnings: list[QuoteWarning] = Field(default_factory=list[QuoteWarning])
