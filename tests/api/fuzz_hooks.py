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
from schemathesis.core.failures import Failure
from schemathesis.generation.case import Case
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
            r"requires a webhook",
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
        )
    )
)
"""Problems of requests that match their schema: rules between fields, or stored state."""
ADDRESSES = ("url", "webhook")
"""Allowed addresses follow rules that no schema can express."""
CODES = ("max_cost_exceeded", "idempotency_conflict")


cancels_left = int(os.environ.get("FUZZ_CANCELS", "0"))
"""A cancel waits five seconds for an end, and no worker runs here."""


@hook
def filter_case(context: HookContext, case: Case[Any]) -> bool:
    global cancels_left
    parameters: dict[str, Any] = case.path_parameters or {}
    if case.method == "DELETE" and parameters.get("key_id") in KEPT_KEYS:
        return False
    if case.operation.path.endswith("/cancel") and str(parameters.get("execution_id")).startswith(
        "exec_"
    ):
        cancels_left -= 1
        return cancels_left >= 0
    return True


@hook
def filter_failure(
    context: HookContext, failure: Failure, case: Case[Any], response: Response
) -> bool:
    """Drop a failure if the request matches its schema and the problem is beyond any schema."""
    if not isinstance(failure, RejectedPositiveData) or response.status_code not in (402, 422):
        return True
    problem: dict[str, Any] = response.json()
    errors: list[dict[str, str]] = problem.get("errors") or []
    said = errors and all(
        error["field"] in ADDRESSES or BEYOND_SCHEMAS.match(error["detail"]) for error in errors
    )
    return not (said or problem["code"] in CODES)
