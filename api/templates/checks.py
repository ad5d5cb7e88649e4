"""Checks and prices of a template: with usual values, and with every value at a limit."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from api.orders.executions import PlanOrder, read_filled
from api.orders.variables.declarations import Value
from api.orders.variables.naming import ErrorNames
from api.orders.variables.substitution import fill_plan
from api.templates.samples import Sample, samples
from core.domain.ids import UserId
from core.domain.money import NanoUsd
from core.ordering.errors import FieldError, InvalidFieldsError
from core.ordering.planning.requests import StepsRequest
from core.ordering.planning.steps import PricedPlan
from core.ordering.planning.variants import plan_variants
from core.ordering.services import OrderingServices
from core.store.templates import PriceRange

MAX_ERRORS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTemplate:
    """A plan with variables, as it was sent.

    usual: values of the variables without a default. order: the plan with these values.
    """

    plan: Mapping[str, object]
    usual: Mapping[str, Value]
    order: PlanOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateChecker:
    """Plans a template with many values, for a user."""

    services: OrderingServices
    user_id: UserId
    template: NewTemplate

    async def price(self) -> PriceRange:
        """Return what a run may cost.

        Raises InvalidFieldsError that names every declaration with a value that the plan does not
        take.
        """
        usual = await self._usual()
        variables = self.template.order.names.filled.variables
        plans = await self._planned(list(samples(variables)))
        dear = _by_effect(plans, lambda plan: plan.worst_nano_usd - usual.worst_nano_usd)
        cheap = _by_effect(plans, lambda plan: usual.low_nano_usd - plan.low_nano_usd)
        priced = {sample.name for sample, plan in plans if _prices(plan) != _prices(usual)}
        low = -await self._most(cheap, -usual.low_nano_usd, lambda plan: -plan.low_nano_usd)
        worst = await self._most(dear, usual.worst_nano_usd, lambda plan: plan.worst_nano_usd)
        return PriceRange(
            low_nano_usd=NanoUsd(low),
            expected_nano_usd=usual.expected_nano_usd,
            worst_nano_usd=NanoUsd(worst),
            variables=[name for name in variables if name in priced],
        )

    async def _usual(self) -> PricedPlan:
        order = self.template.order
        with order.names.named():
            (usual,) = await plan_variants(self.services, self.user_id, [order.request()])
            if isinstance(usual, InvalidFieldsError):
                raise usual
        return usual

    async def _planned(self, tried: Sequence[Sample]) -> list[tuple[Sample, PricedPlan]]:
        """Return the plan with each of these values. Raises InvalidFieldsError with all errors."""
        errors: list[FieldError] = []
        variants: list[tuple[Sample, ErrorNames, StepsRequest]] = []
        for sample in tried:
            try:
                names, request = self._variant({sample.name: sample.value}, sample.place)
            except InvalidFieldsError as error:
                errors += _with_value(sample, error.errors)
            else:
                variants.append((sample, names, request))
        requests = [request for _, _, request in variants]
        results = await plan_variants(self.services, self.user_id, requests)
        plans: list[tuple[Sample, PricedPlan]] = []
        for (sample, names, _), result in zip(variants, results, strict=True):
            if isinstance(result, InvalidFieldsError):
                errors += _with_value(sample, map(names.error, result.errors))
            else:
                plans.append((sample, result))
        if errors:
            raise InvalidFieldsError(*errors[:MAX_ERRORS])
        return plans

    async def _most(
        self, tried: Sequence[Sample], most: int, measure: Callable[[PricedPlan], int]
    ) -> int:
        """Return the largest measure with these values together, as far as the plan takes them."""
        values: dict[str, Value] = {}
        for sample in tried:
            more = {**values, sample.name: sample.value}
            try:
                _, request = self._variant(more, sample.place)
            except InvalidFieldsError:
                continue
            (plan,) = await plan_variants(self.services, self.user_id, [request])
            if not isinstance(plan, InvalidFieldsError) and measure(plan) > most:
                values, most = more, measure(plan)
        return most

    def _variant(self, values: Mapping[str, Value], place: str) -> tuple[ErrorNames, StepsRequest]:
        """Return the plan with these values. place: the field of its errors."""
        filled = fill_plan(self.template.plan, {**self.template.usual, **values})
        names = ErrorNames(
            filled=filled,
            places=dict.fromkeys(filled.variables, place),
            together=place,
            elsewhere=place,
        )
        order = PlanOrder(plan=read_filled(filled, names), names=names)
        with names.named():
            return names, order.request()


def _by_effect(
    plans: Sequence[tuple[Sample, PricedPlan]], effect: Callable[[PricedPlan], int]
) -> list[Sample]:
    """Return the value with the largest effect of each variable that has one, largest first."""
    best: dict[str, tuple[int, Sample]] = {}
    for sample, plan in plans:
        size = effect(plan)
        if size > max(0, best[sample.name][0] if sample.name in best else 0):
            best[sample.name] = size, sample
    ordered = sorted(best.values(), key=lambda each: each[0], reverse=True)
    return [sample for _, sample in ordered]


def _prices(plan: PricedPlan) -> tuple[NanoUsd, NanoUsd, NanoUsd]:
    return plan.low_nano_usd, plan.expected_nano_usd, plan.worst_nano_usd


def _with_value(sample: Sample, errors: Iterable[FieldError]) -> list[FieldError]:
    return [
        replace(error, field=sample.place, detail=f"with {sample.shown}: {error.detail}")
        for error in errors
    ]
