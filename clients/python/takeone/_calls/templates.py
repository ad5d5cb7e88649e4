"""Calls about templates."""

from collections.abc import Mapping

from takeone._calls import values
from takeone._calls.orders import Plan
from takeone._calls.values import HasPlan
from takeone._core.calls import Call, Repeat, path
from takeone.models.base import Page
from takeone.models.templates import Template, TemplateSummary


def create(name: str, plan: Plan, key: str | None) -> Call[Template]:
    return Call(
        "POST",
        "/api/templates",
        Template,
        body={"name": name, "plan": plan.to_plan() if isinstance(plan, HasPlan) else plan},
        repeat=Repeat.KEYED,
        idempotency_key=key,
    )


def page(filters: Mapping[str, object]) -> Call[Page[TemplateSummary]]:
    return Call("GET", "/api/templates", Page[TemplateSummary], query=values.query(filters))


def get(template_id: str) -> Call[Template]:
    return Call("GET", path("/api/templates/{}", template_id), Template)


def delete(template_id: str) -> Call[None]:
    return Call("DELETE", path("/api/templates/{}", template_id))
