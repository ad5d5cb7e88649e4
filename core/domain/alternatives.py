"""Alternatives of a job: the models that its step may be bought with if the job cost nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core.domain.money import NanoUsd
from core.domain.plans import Parameters, Scalar
from core.domain.prices import Price, Quote, price_from_json, price_to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A model that was ordered and priced together with a step.

    values, without: how its parameters differ from those of the step, which has the defaults of its
    first model. price, worst_nano_usd: as quoted.
    """

    provider: str
    model: str
    worst_nano_usd: NanoUsd
    price: Price
    values: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    without: tuple[str, ...] = ()

    def parameters(self, step: Parameters) -> Parameters:
        """Return the step's parameters as this model takes them."""
        return changed_parameters(step, self.values, self.without)


def changed_parameters(
    step: Parameters, values: Mapping[str, Scalar], without: Iterable[str]
) -> Parameters:
    kept = {**step.values, **values}
    for name in without:
        kept.pop(name, None)
    return replace(step, values=kept)


def worst_of(worst_nano_usd: int, alternatives: Iterable[Alternative]) -> NanoUsd:
    """Return the highest cost of a job or of any of its alternatives: one of them is bought."""
    return NanoUsd(max([worst_nano_usd, *(item.worst_nano_usd for item in alternatives)]))


def quote_with(quote: Quote, alternatives: Iterable[Alternative]) -> Quote:
    """Return the quote of a step with alternatives: estimates of its first model, the worst of all.

    The price stays that of the first model.
    """
    return replace(quote, worst_nano_usd=worst_of(quote.worst_nano_usd, alternatives))


def alternatives_to_json(alternatives: Sequence[Alternative]) -> list[dict[str, object]] | None:
    """Return the alternatives for a job's row; None: it has none."""
    return [
        {
            "provider": item.provider,
            "model": item.model,
            "worst_nano_usd": item.worst_nano_usd,
            "price": price_to_json(item.price),
            "values": dict(item.values),
            "without": list(item.without),
        }
        for item in alternatives
    ] or None


def alternatives_from_json(plain: Sequence[Mapping[str, Any]] | None) -> tuple[Alternative, ...]:
    """Read the output of alternatives_to_json. Raise KeyError, TypeError or ValueError."""
    return tuple(
        Alternative(
            provider=item["provider"],
            model=item["model"],
            worst_nano_usd=NanoUsd(item["worst_nano_usd"]),
            price=price_from_json(item["price"]),
            values=item["values"],
            without=tuple(item["without"]),
        )
        for item in plain or ()
    )
