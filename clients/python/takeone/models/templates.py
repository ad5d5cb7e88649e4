"""Templates: stored plans, which are run with values."""

from datetime import datetime
from typing import Any

from takeone.models.base import Model, Money


class Price(Model):
    """What a run of a template may cost. depends_on: the variables that change it."""

    currency: str = "USD"
    low: Money
    expected: Money
    worst: Money
    depends_on: list[str]


class TemplateSummary(Model):
    """A template in a list, without its plan."""

    id: str
    name: str
    price: Price
    created_at: datetime


class Template(TemplateSummary):
    """A stored plan. It never changes: a changed plan is a new template."""

    plan: dict[str, Any]
