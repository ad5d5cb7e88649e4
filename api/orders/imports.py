"""POST /api/plans/import: a plan of another service in the form of this one."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from api.auth.authentication import CurrentUser
from api.http.openapi import problems
from api.http.problems.documents import (
    MAX_FIELD_ERRORS,
    ProblemError,
    invalid_fields,
    validation_problem,
)
from api.http.schemas import RequestBody, ResponseBody
from api.http.strict_json import StrictJsonRoute
from api.orders.plans import OnlyPlan, PlanStep, steps_request
from api.services import services_of
from core.domain.failures import FailureCode
from core.domain.ids import UserId
from core.domain.plans import PlanType
from core.ordering.assets.sources import RequestedSource
from core.ordering.errors import FaultCode, FieldError, InvalidFieldsError
from core.ordering.importing.reading import ImportFault, NoteCode
from core.ordering.importing.synthome import Converted, convert_plan
from core.ordering.planning.catalogue import get_catalogue
from core.ordering.planning.quote import quote_order
from core.ordering.planning.requests import StepsRequest
from core.ordering.services import OrderingServices

router = APIRouter(prefix="/api", tags=["executions"], route_class=StrictJsonRoute)

MAX_MODELS: Final = 50
_RESULT: Final = "plan/result"
_CHOOSE: Final = ". Choose a model that is offered, in `models` of this request"
_ADVICE: Final = {FaultCode.UNKNOWN_MODEL: _CHOOSE, FaultCode.WRONG_MODEL_KIND: _CHOOSE}
_STEP: Final[TypeAdapter[PlanStep]] = TypeAdapter(PlanStep)
ModelName = Annotated[str, Field(min_length=1, max_length=200)]
_EXAMPLE: Final[dict[str, Any]] = {
    "synthome": {
        "jobs": [
            {
                "id": "picture",
                "type": "generateImage",
                "params": {
                    "modelId": "google/nano-banana-2-lite",
                    "prompt": "a paper boat on a rainy street",
                },
                "output": "$picture",
            },
            {
                "id": "clip",
                "type": "generate",
                "params": {
                    "modelId": "kwaivgi/kling-v2.6",
                    "prompt": "the boat sails off",
                    "image": "_imageJobDependency:picture",
                    "duration": 5,
                },
                "dependsOn": ["picture"],
                "output": "$clip",
            },
        ]
    }
}


class ImportPlanRequest(RequestBody):
    """A plan of the Synthome SDK, and models in place of those that are not offered here."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    synthome: dict[str, Any] = Field(
        description="`{jobs, baseExecutionId?}`, as `toJSON()` of the SDK returns it, or the whole "
        "body that the SDK sends."
    )
    models: Annotated[dict[ModelName, ModelName], Field(max_length=MAX_MODELS)] = Field(
        default_factory=dict[str, str],
        description="Models of `GET /api/models` by the `modelId` that they replace.",
    )


class ImportNote(ResponseBody):
    """A change that the import made. pointer: a JSON Pointer into the request."""

    pointer: str
    code: NoteCode
    detail: str


class ImportedPlan(ResponseBody):
    """A plan that `POST /api/executions` accepts as it is, and what the import changed."""

    plan: dict[str, Any] = Field(
        description="For `POST /api/executions`; see `GET /api/plans/schema`."
    )
    notes: list[ImportNote]


@router.post(
    "/plans/import",
    summary="Import a plan",
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.PAYLOAD_TOO_LARGE,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
        FailureCode.MEDIA_UNSUPPORTED,
        FailureCode.MEDIA_TOO_LARGE,
    ),
)
async def import_plan(
    request: Request, user_id: CurrentUser, body: ImportPlanRequest
) -> ImportedPlan:
    """Convert a plan and check it as `POST /api/executions` does. Nothing is written or bought.

    Every reason against the import is returned at once, with its place in this request. API keys
    and other secrets in the plan are left out.
    """
    services = services_of(request).ordering
    catalogue = await get_catalogue(services, user_id)
    converted = convert_plan(body.synthome, models=body.models, catalogue=catalogue)
    faults = [*converted.faults, *await _faults(services, user_id, converted)]
    if faults:
        raise _problem(faults)
    return ImportedPlan(
        plan=converted.plan,
        notes=[
            ImportNote(pointer=note.pointer, code=note.code, detail=note.detail)
            for note in converted.notes
        ],
    )


async def _faults(
    services: OrderingServices, user_id: UserId, converted: Converted
) -> Sequence[ImportFault]:
    """Return what is not valid of a converted plan, at its places in the request.

    The checks are those of `POST /api/executions`; steps with a fault of form are left out of the
    further ones.
    """
    if not converted.places.drafts:
        return ()
    form: list[FieldError] = []
    body = {"plan": converted.plan}
    try:
        planned = steps_request(OnlyPlan.model_validate(body).plan)
    except ValidationError as error:
        form = _faults_of_form(error, body)
        planned = _without(form, converted)
    except InvalidFieldsError:  # of addresses, which are found again step by step
        planned = _without(form, converted)
    errors = form + await _errors_of_plan(services, user_id, planned)
    is_whole = not form and not converted.faults
    faults = [
        ImportFault(
            pointer=converted.places.pointer_of(error.field),
            detail=f"{error.detail}{_ADVICE.get(error.code, '')}",
            code=error.code,
            allowed=tuple(error.allowed or ()),
        )
        for error in errors
        if is_whole or not _follows(error)
    ]
    return [fault for fault in faults if not _is_known(fault, converted.faults)]


async def _errors_of_plan(
    services: OrderingServices, user_id: UserId, planned: StepsRequest
) -> list[FieldError]:
    if not planned.steps:
        return []
    try:
        await quote_order(services, user_id, planned)
    except InvalidFieldsError as error:
        return list(error.errors)
    return []


def _faults_of_form(error: ValidationError, body: object) -> list[FieldError]:
    """Return the errors of pydantic with the paths of their fields."""
    located = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
    fields = cast("list[dict[str, Any]]", validation_problem(located, body).members["errors"])
    return [
        FieldError(
            field=field["field"],
            detail=field["detail"],
            allowed=field.get("allowed"),
            code=field.get("code", FaultCode.INVALID),
        )
        for field in fields
    ]


def _without(faults: list[FieldError], converted: Converted) -> StepsRequest:
    """Return the steps that have none of these faults of form, and add those of addresses."""
    steps: dict[int, PlanStep] = {}
    files: dict[str, RequestedSource] = {}
    for place, draft in enumerate(converted.places.drafts):
        try:
            step = _STEP.validate_python(draft.to_json())
        except ValidationError:  # among the faults, unless there are more than an answer names
            continue
        wrong = list(step.faults(place))
        faults += wrong
        if not wrong:
            steps[place] = step
            files |= step.files(place)
    return StepsRequest(
        type=PlanType.PLAN,
        steps=tuple(step.step_request(place) for place, step in steps.items()),
        result_step=None,
        result_field=_RESULT,
        stored={},
        files=files,
    )


def _follows(error: FieldError) -> bool:
    """Return whether an error only shows that other steps are left out."""
    follows = {FaultCode.UNKNOWN_STEP, FaultCode.UNUSED_STEP}
    return error.code in follows or error.field == _RESULT


def _is_known(fault: ImportFault, known: Sequence[ImportFault]) -> bool:
    """Return whether a missing value was refused while the plan was converted."""
    return fault.code is FaultCode.MISSING and any(
        each.pointer.startswith(fault.pointer) for each in known
    )


def _problem(faults: Sequence[ImportFault]) -> ProblemError:
    errors: dict[tuple[str, str], dict[str, object]] = {}
    for fault in faults[:MAX_FIELD_ERRORS]:
        error: dict[str, object] = {
            "field": fault.pointer.removeprefix("/"),
            "pointer": fault.pointer,
            "code": fault.code,
            "detail": fault.detail,
        }
        if fault.allowed:
            error["allowed"] = list(fault.allowed)
        errors.setdefault((fault.pointer, fault.detail), error)
    return invalid_fields(list(errors.values()))
