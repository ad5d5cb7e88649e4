"""Calls that start, quote, read and end executions."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from takeone._calls import values
from takeone._calls.values import HasPlan
from takeone._core.calls import Call, Repeat, path
from takeone.models.assets import Asset
from takeone.models.base import Page
from takeone.models.executions import (
    Approved,
    Cancelled,
    Deleted,
    ResultFile,
    StreamTicket,
    Timeline,
)
from takeone.models.quotes import Quote

T = TypeVar("T", bound=BaseModel)

EVENTS = "/api/events"

OrderRoute = Literal[
    "generate-video", "generate-image", "generate-audio", "transcribe", "executions"
]
Plan = Mapping[str, Any] | HasPlan
Values = Mapping[str, object]
"""Values of the variables of a plan: text, numbers, flags and files."""


def order(
    route: OrderRoute, accepted: type[T], key: str | None, fields: Mapping[str, object]
) -> Call[T]:
    return Call(
        "POST",
        f"/api/{route}",
        accepted,
        body=values.body(fields),
        repeat=Repeat.KEYED,
        idempotency_key=key,
    )


def quote(route: OrderRoute, fields: Mapping[str, object]) -> Call[Quote]:
    place = "/api/quotes" if route == "generate-video" else f"/api/quotes/{route}"
    return Call("POST", place, Quote, body=values.body(fields))


def plan_fields(
    plan: Plan | None, template: str | None, chosen: Values | None, options: Mapping[str, object]
) -> Mapping[str, object]:
    """Return the fields of an order of a plan or a template. chosen: values of its variables."""
    sent = plan.to_plan() if isinstance(plan, HasPlan) else plan
    return {
        "plan": sent,
        "template": template,
        "values": None if chosen is None else dict(map(_value, chosen.items())),
        **options,
    }


def _value(named: tuple[str, object]) -> tuple[str, object]:
    """Return a value with its name; an asset or a result as a reference to the file."""
    name, value = named
    return name, values.media(value) if isinstance(value, Asset | ResultFile) else value


def get(execution: type[T], execution_id: str) -> Call[T]:
    return Call("GET", path("/api/executions/{}", execution_id), execution)


def events_path(execution_id: str) -> str:
    return path("/api/executions/{}/events", execution_id)


def page(execution: type[T], filters: Mapping[str, object]) -> Call[Page[T]]:
    return Call("GET", "/api/executions", Page[execution], query=values.query(filters))


def cancel(execution_id: str) -> Call[Cancelled]:
    return Call("POST", path("/api/executions/{}/cancel", execution_id), Cancelled)


def approve(execution_id: str, step: str, option: str | None, *, reject: bool) -> Call[Approved]:
    choice: dict[str, object] = {"reject": True} if reject else {}
    if option is not None:
        choice["option"] = option
    place = path("/api/executions/{}/approve", execution_id)
    return Call("POST", place, Approved, body={"step": step, **choice})


def retry(
    retried: type[T],
    execution_id: str,
    key: str | None,
    *,
    max_cost: values.Amount | None,
    accept_double_cost: bool,
) -> Call[T]:
    accepted = True if accept_double_cost else None
    fields = {"max_cost": max_cost, "accept_possible_double_cost": accepted}
    return Call(
        "POST",
        path("/api/executions/{}/retry", execution_id),
        retried,
        body=values.body(fields),
        repeat=Repeat.KEYED,
        idempotency_key=key,
    )


def delete(execution_id: str) -> Call[Deleted]:
    return Call("DELETE", path("/api/executions/{}", execution_id), Deleted)


def timeline(execution_id: str, after: int) -> Call[Timeline]:
    place = path("/api/executions/{}/timeline", execution_id)
    return Call("GET", place, Timeline, query=values.query({"after": after}))


def stream_ticket(execution_id: str) -> Call[StreamTicket]:
    place = path("/api/executions/{}/stream-tickets", execution_id)
    return Call("POST", place, StreamTicket)
