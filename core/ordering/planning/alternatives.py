"""Alternatives of steps: models to continue with after a job that certainly cost nothing."""

from collections.abc import Sequence
from dataclasses import replace

from core.domain.alternatives import Alternative, quote_with
from core.providers.models import Model
from core.store.executions.executions import NewStep


def with_alternatives(priced: Sequence[NewStep]) -> NewStep:
    """Return a step at its first model, with the others as alternatives.

    Its deadline is the longest of all, and its worst price the highest.
    """
    first = priced[0]
    alternatives = tuple(_alternative(new, first) for new in priced[1:])
    seconds = max(new.step.deadline_seconds for new in priced)
    return replace(
        first,
        step=replace(first.step, deadline_seconds=seconds),
        quote=quote_with(first.quote, alternatives),
        alternatives=alternatives,
    )


def _alternative(new: NewStep, first: NewStep) -> Alternative:
    """Return a priced step as an alternative of the same step at its first model."""
    values, of_first = new.parameters.values, first.parameters.values
    return Alternative(
        provider=new.step.provider,
        model=new.step.model,
        worst_nano_usd=new.quote.worst_nano_usd,
        price=new.quote.price,
        values={name: value for name, value in values.items() if of_first.get(name) != value},
        without=tuple(sorted(of_first.keys() - values.keys())),
    )


def alternative_fault(models: Sequence[Model]) -> str | None:
    """Return why these models cannot be alternatives of each other; None: they can."""
    first, *others = models
    if len({model.id for model in models}) < len(models):
        return "names a model twice"
    kinds = [output.kind for output in first.outputs]
    for model in others:
        if [output.kind for output in model.outputs] != kinds:
            return (
                f"must name models that make the same files: {model.id!r} and {first.id!r} do not"
            )
    return None
