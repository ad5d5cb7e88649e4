"""The body of POST /api/executions: a plan, or a template, with values for its variables."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Self

from pydantic import (
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PlainValidator,
    PrivateAttr,
    WithJsonSchema,
    model_validator,
)

from api.executions.requests import OrderBody
from api.http.ids import TEMPLATE_ID
from api.http.problems.ordering import public_path
from api.orders.plans import PLAN_WITH_VARIABLES, OnlyPlan, PlanBody, steps_request
from api.orders.variables.declarations import MAX_NUMBER, MAX_VARIABLES, FileVariable, Value
from api.orders.variables.naming import ErrorNames
from api.orders.variables.schema import VALUE_SCHEMA
from api.orders.variables.substitution import FilledPlan, fill_plan, mapping_of
from core.domain.ids import TemplateId
from core.domain.media.content import MediaKind
from core.domain.plans import Scalar
from core.ordering.assets.sources import UrlSource
from core.ordering.errors import FaultCode, FieldError, InvalidFieldsError
from core.ordering.planning.requests import StepsRequest

NO_VALUES: Final = ErrorNames(filled=FilledPlan(plan=None), places={})
_VALUE: Final = 'must be text, a number, true, false, or a file: {"asset": id} or {"url": address}'


def _value(value: object) -> Value:
    """Return a value whose form is right for some variable. Raise ValueError."""
    if isinstance(value, int | float) and abs(value) > MAX_NUMBER:
        raise ValueError(f"must be a number up to ±{MAX_NUMBER}")
    if isinstance(value, Scalar):
        return value
    file = mapping_of(value)
    if set(file) in ({"asset"}, {"url"}) and all(isinstance(each, str) for each in file.values()):
        return file
    raise ValueError(_VALUE)


Values = Annotated[
    dict[str, Annotated[Any, PlainValidator(_value), WithJsonSchema(VALUE_SCHEMA)]],
    Field(max_length=MAX_VARIABLES),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOrder:
    """A plan with values in the place of its variables, and where its errors are reported."""

    plan: PlanBody
    names: ErrorNames
    template_id: TemplateId | None = None

    def request(self) -> StepsRequest:
        """Return what the plan requests. Raises InvalidFieldsError, with the plan's own paths."""
        request = steps_request(self.plan)
        filled = self.names.filled
        declared: dict[str, MediaKind] = {}
        for name in request.files:
            used = filled.uses.get(public_path(name), ())
            variable = filled.variables.get(used[0]) if used else None
            if isinstance(variable, FileVariable):
                declared[name] = MediaKind(variable.type)
        files = {
            name: replace(source, kind=declared.get(name))
            if isinstance(source, UrlSource)
            else source
            for name, source in request.files.items()
        }
        stored = {} if self.template_id is None else {"template": self.template_id}
        return replace(request, files=files, declared=declared, stored=stored)


def read_template(
    template_id: TemplateId, plan: Mapping[str, object], values: Mapping[str, object]
) -> PlanOrder:
    """Return the order of a stored plan with values. Raises InvalidFieldsError."""
    filled = fill_plan(plan, values)
    names = ErrorNames(
        filled=filled,
        places={name: f"values/{name}" for name in filled.variables},
        together="values",
        elsewhere="template",
    )
    return PlanOrder(plan=read_filled(filled, names), names=names, template_id=template_id)


def read_filled(filled: FilledPlan, names: ErrorNames) -> PlanBody:
    """Return the plan with its values. Raises InvalidFieldsError with all errors of its form."""
    body = {"plan": filled.plan}
    return names.read(lambda: OnlyPlan.model_validate(body), body).plan


_EXAMPLES: Final[list[dict[str, Any]]] = [
    {
        "plan": {
            "version": 1,
            "steps": [
                {
                    "name": "picture",
                    "kind": "image",
                    "params": {"prompt": "a red kite over a harbour"},
                },
                {
                    "name": "clip",
                    "kind": "video",
                    "params": {
                        "prompt": "the kite dances",
                        "image": {"step": "picture"},
                        "duration": 5,
                    },
                },
            ],
            "result": "clip",
        },
        "webhook": "https://example.com/hooks/takeone",
    },
    {
        "plan": PLAN_WITH_VARIABLES,
        "values": {"subject": "a red kite"},
    },
    {
        "template": "tpl_019ac5e0f3a47b6c9d1e2f3a4b5c6d7e",
        "values": {"subject": "a paper boat", "seconds": 10},
    },
]


def _describe(schema: dict[str, Any]) -> None:
    """Describe what JSON Schema can express of the rule: either a plan or a template."""
    schema["examples"] = _EXAMPLES
    properties: dict[str, dict[str, Any]] = schema["properties"]
    for name in ("plan", "template"):
        field = properties[name]
        (allowed,) = [each for each in field.pop("anyOf") if each != {"type": "null"}]
        field.pop("default", None)
        field.update(allowed)
    schema["oneOf"] = [{"required": ["plan"]}, {"required": ["template"]}]


def _foreign_name(members: Mapping[str, object]) -> str | None:
    """Return the field that shows that a body has a plan of the Synthome SDK."""
    for name in ("jobs", "executionPlan"):
        if name in members:
            return name
    plan = mapping_of(members.get("plan"))
    return "plan/jobs" if "jobs" in plan and "steps" not in plan else None


class CreateExecutionRequest(OrderBody):
    """A plan, or the id of a stored one, with values for its variables.

    Steps are of any kind: paid ones, and media steps, which are free of charge.
    """

    model_config = ConfigDict(json_schema_extra=_describe)

    plan: PlanBody | None = None
    template: Annotated[str, Field(pattern=f"^{TEMPLATE_ID.pattern}$")] | None = Field(
        None, description="Instead of `plan`: a stored plan. See `POST /api/templates`."
    )
    values: Values | None = Field(
        None, description="Values of the variables of the plan, by their names."
    )
    _names: ErrorNames = PrivateAttr(default=NO_VALUES)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        named = self.model_fields_set & {"plan", "template"}
        if len(named) != 1 or (self.plan is None and self.template is None):
            raise ValueError("must have either plan or template")
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _filled(cls, value: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Read the plan with its values. Raises InvalidFieldsError with all errors of both."""
        sent = mapping_of(value)
        foreign = _foreign_name(sent)
        if foreign is not None:
            raise InvalidFieldsError(
                FieldError(
                    field=foreign,
                    detail="is of a plan of Synthome: convert it with POST /api/plans/import",
                    code=FaultCode.NOT_SUPPORTED,
                )
            )
        if sent.get("plan") is None:
            return handler(value)
        filled = fill_plan(sent["plan"], sent.get("values"))
        names = ErrorNames(filled=filled, places=_places(filled, sent.get("values")))
        body = {**sent, "plan": filled.plan}
        made = names.read(lambda: handler(body), body)
        made._names = names
        return made

    def order(self) -> PlanOrder | None:
        """Return the order of the plan in the body; None if it names a template."""
        return None if self.plan is None else PlanOrder(plan=self.plan, names=self._names)


def _places(filled: FilledPlan, values: object) -> dict[str, str]:
    """Return where each variable of a plan in a body has its value."""
    sent = mapping_of(values)
    return {
        name: f"values/{name}" if name in sent else f"plan/variables/{name}/default"
        for name in filled.variables
    }
