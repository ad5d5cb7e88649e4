"""Facts about this API for Schemathesis, which loads this file: see tests/api/test_openapi_fuzz.py.

FUZZ_KEPT_KEYS: ids of API keys, comma separated, that must not be revoked: Schemathesis uses them.
FUZZ_CANCELS: how many executions it may cancel.
"""

import os
import re
from collections.abc import Callable
from typing import Any, cast

import schemathesis
from schemathesis import HookContext, Response
from schemathesis.core.failures import AcceptedNegativeData, Failure, ServerError
from schemathesis.generation.case import Case
from schemathesis.generation.meta import CoveragePhaseData
from schemathesis.openapi.checks import RejectedPositiveData

Hook = Callable[..., bool]
hook = cast("Callable[[Hook], Hook]", schemathesis.hook)  # pyright: ignore[reportUnknownMemberType] - incomplete annotations

KEPT_KEYS = frozenset(filter(None, os.environ.get("FUZZ_KEPT_KEYS", "").split(",")))

BEYOND_SCHEMAS = re.compile(
    "|".join(
        (
            r"contains the character NUL",
            r"contains a lone surrogate",
            r"is not JSON: ",  # duplicate names
            r"is not a nextCursor of this service",
            r"is not a model that can do this step",
            r"has no price for these parameters",
            r"must be one of the values that the chosen models support",
            r"is not supported by the chosen models",
            r"is not an input of ",
            r"must be one of the values that the model takes",
            r"must be (text|a whole number|a number|true or false|an image|a video|audio)",
            r"must be (at least|at most|\d[\d.]* to)",
            r"must not be empty",
            r"is required",
            r"names the unknown step",
            r"names an output that step",
            r"is also the name of another step",
            r"is part of a circle",
            r"name either model or models",
            r"names a model twice",
            r"must name models that make the same files",
            r"has \d+ characters, and the model takes",
            r"is not a URL",
            r"must be an http:// or https:// address",
            r"must have no user or password",
            r"is not one of your assets",
            r"is not one of your templates",
            r"must be the name of a step",
            r"is not supported by any model that is offered",
            r"is not used: no image is bought",
            r"must not be combined with image",
            r"requires image",
            r"requires a webhook",
            r"is not allowed for a key with the scope admin",
            r"must be a value of the model",
            r"must be a value that is supported by the model",
            r"is not a video model of this service",
            r"its shorter side must be a resolution of the model",
            r"is not supported by the model, which leaves no choice",
            r"must not be combined with resolution and aspect_ratio",
            r"must be whsec_ with base64",
            r"must have 24 to 64 bytes after whsec_",
            r"begins with whsec_, so base64 must follow",
            r"must have a visible character",
            r"is easy to guess",
            r"requires metadataKey",
            r"may be given once only",
            r"must have printable characters",
            r"must not contain a number beyond",
            r"must not exceed 4096 bytes",
            r"must lie between the years 2000 and 2200",
            r"must be later than from",
            r"cannot be used: this account has 50 valid keys",
            r"cannot be used: this account has 200 templates",
            r"send either option or reject",
            r"is not an approval step of the execution",
        )
    )
)
"""Problems of requests that match their schema: rules between fields, or stored state."""
PLAN_VALUES = re.compile(r"(plan/(steps/\d+/params|outputs|result|variables)|values|synthome)(/|$)")
"""Parameters of operations follow rules between fields, and between steps; values follow those of
their variables. Plans of another service are read by hand.
"""
ADDRESSES = (
    *("url", "webhook", "image", "endImage", "audio", "source"),
    *("input_reference", "input_reference.image_url"),
)
"""Allowed addresses follow rules that no schema can express."""
CODES = (
    "max_cost_exceeded",
    "idempotency_conflict",
    "media_unsupported",
    "media_damaged",
    "media_unavailable",
)


REFERENCE = re.compile(r"^.* -> (?=(var|fill|step|asset|output)\b)")
"""What stands before the member of a reference, which is the same in every field."""
rules_broken: set[str] = set()
"""Rules of a plan's fields that a request has broken. Most of the thousands of cases of the
coverage phase are further wrong types of one field, and references in one field after the other.
"""


def _repeats_a_rule(case: Case[Any]) -> bool:
    if (case.method, case.operation.path) != ("POST", "/api/executions") or case.meta is None:
        return False
    coverage = case.meta.phase.data
    if not isinstance(coverage, CoveragePhaseData):
        return False
    rule = REFERENCE.sub("", coverage.description)
    is_known = rule in rules_broken
    rules_broken.add(rule)
    return is_known


cancels_left = int(os.environ.get("FUZZ_CANCELS", "0"))
"""A cancel waits five seconds for an end, and no worker runs here."""


@hook
def filter_case(context: HookContext, case: Case[Any]) -> bool:
    global cancels_left
    if _repeats_a_rule(case):
        return False
    parameters: dict[str, Any] = case.path_parameters or {}
    if case.method == "DELETE" and parameters.get("key_id") in KEPT_KEYS:
        return False
    is_cancel = case.operation.path.endswith("/cancel") or (
        case.method == "DELETE" and "video_id" in parameters
    )
    ended = parameters.get("execution_id", parameters.get("video_id"))
    if is_cancel and str(ended).startswith("exec_"):
        cancels_left -= 1
        return cancels_left >= 0
    return True


@hook
def filter_failure(
    context: HookContext, failure: Failure, case: Case[Any], response: Response
) -> bool:
    """Drop a failure if the request matches its schema and the problem is beyond any schema.

    No object storage runs here: a valid upload is answered with 503.
    """
    if isinstance(failure, ServerError) and response.status_code == 503:
        return response.json()["code"] != "storage_unavailable"
    refused = RejectedPositiveData, AcceptedNegativeData
    if isinstance(failure, refused) and response.status_code == 413:
        return False  # a list of long texts, each within its limit; not counted as a refusal
    if not isinstance(failure, RejectedPositiveData) or response.status_code not in (400, 402, 422):
        return True
    problem: dict[str, Any] = response.json()
    errors: list[dict[str, str]] = problem.get("errors") or []
    said = errors and all(
        error["field"] in ADDRESSES
        or PLAN_VALUES.match(error["field"])
        or BEYOND_SCHEMAS.match(error["detail"])
        for error in errors
    )
    return not (said or problem["code"] in CODES)
