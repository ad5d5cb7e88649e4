"""Bodies and query parameters of templates."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    model_validator,
)

from api.account.key_bodies import Name
from api.http.schemas import QueryParameters, RequestBody, ResponseBody, Time, Usd
from api.orders.executions import PlanOrder
from api.orders.plans import PLAN_WITH_VARIABLES, PlanBody
from api.orders.variables.naming import ErrorNames
from api.orders.variables.substitution import FilledPlan, fill_plan, mapping_of
from api.templates.checks import NewTemplate
from api.templates.samples import limit_faults, usual_values
from core.domain.money import usd_text
from core.store.templates import ListedTemplate, StoredTemplate


class NewTemplateRequest(RequestBody):
    """A plan to store. Its variables need limits, so that every value can be checked and priced."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "product film",
                    "plan": PLAN_WITH_VARIABLES,
                }
            ]
        },
    )

    name: Name = Field(description="Distinguishes templates in lists.")
    plan: PlanBody

    _sent: Mapping[str, Any] = PrivateAttr(default_factory=dict[str, Any])
    _template: NewTemplate | None = PrivateAttr(default=None)

    @model_validator(mode="wrap")
    @classmethod
    def _filled(cls, value: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Read the plan with usual values. Raises InvalidFieldsError with all errors."""
        sent = mapping_of(value)
        plan = mapping_of(sent.get("plan"))
        if not plan:
            return handler(value)
        declared, raw = fill_plan(plan, {}).variables, mapping_of(plan.get("variables"))
        defaults = frozenset(
            name for name in declared if mapping_of(raw[name]).get("default") is not None
        )
        usual = usual_values(declared, defaults)
        filled = _with_limits(fill_plan(plan, usual))
        names = ErrorNames(
            filled=filled,
            places={
                name: f"plan/variables/{name}" + ("/default" if name in defaults else "")
                for name in declared
            },
        )
        body = {**sent, "plan": filled.plan}
        made = names.read(lambda: handler(body), body)
        made._sent = sent
        made._template = NewTemplate(
            plan=plan, usual=usual, order=PlanOrder(plan=made.plan, names=names)
        )
        return made

    @property
    def sent(self) -> Mapping[str, Any]:
        """Return the body as it was sent."""
        return self._sent

    @property
    def template(self) -> NewTemplate:
        if self._template is None:
            raise TypeError("a template is read from a body with a plan")
        return self._template


def _with_limits(filled: FilledPlan) -> FilledPlan:
    """Return the plan with errors for missing limits, which leave a variable without a value."""
    others = [fault for fault in filled.faults if not fault.field.startswith("values/")]
    return replace(filled, faults=(*others, *limit_faults(filled.variables)))


class Price(ResponseBody):
    """What a run may cost, as priced when the template was created.

    `POST /api/quotes` returns today's price with given values.
    """

    currency: Literal["USD"] = "USD"
    low: Usd = Field(description="With the cheapest values.")
    expected: Usd = Field(
        description="With the defaults; a variable without a default has its first choice, its "
        "lowest number or a text of medium length."
    )
    worst: Usd = Field(description="The most that a run holds: with the dearest values.")
    depends_on: list[str] = Field(description="The variables that change the price.")


class TemplateSummary(ResponseBody):
    id: str
    name: str
    price: Price
    created_at: Time


class Template(TemplateSummary):
    """A stored plan. It never changes: a changed plan is a new template."""

    plan: dict[str, Any] = Field(description="As it was sent.")


class TemplateList(ResponseBody):
    data: list[TemplateSummary]
    next_cursor: str | None = Field(description="The cursor of the next page; null on the last.")


class ListTemplatesQuery(QueryParameters):
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(max_length=200)] | None = None


def template_summary(listed: ListedTemplate) -> TemplateSummary:
    return TemplateSummary(
        id=listed.template_id, name=listed.name, price=_price(listed), created_at=listed.created_at
    )


def template_response(stored: StoredTemplate) -> Template:
    return Template(
        id=stored.template_id,
        name=stored.name,
        price=_price(stored),
        plan=dict(stored.plan),
        created_at=stored.created_at,
    )


def _price(listed: ListedTemplate) -> Price:
    price = listed.price
    return Price(
        low=usd_text(price.low_nano_usd),
        expected=usd_text(price.expected_nano_usd),
        worst=usd_text(price.worst_nano_usd),
        depends_on=list(price.variables),
    )
