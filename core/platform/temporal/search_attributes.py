"""Search attributes of an execution's workflow, by which operators filter in the Web UI.

They are indexed in clear text and hold no secrets. This module is pure, so that workflow code may
import it; `core.platform.temporal.client.ensure_search_attributes` registers the attributes.
"""

from typing import Any, Final

from temporalio.common import SearchAttributeKey

USER_ID: Final = SearchAttributeKey.for_keyword("UserId")
STATUS: Final = SearchAttributeKey.for_keyword("TakeoneStatus")  # ExecutionStatus is Temporal's own
PLAN_TYPE: Final = SearchAttributeKey.for_keyword("PlanType")
PROVIDER: Final = SearchAttributeKey.for_keyword_list("Provider")  # every provider of the plan
COST_USD: Final = SearchAttributeKey.for_float("CostUsd")  # for filters; the ledger is exact
SEARCH_ATTRIBUTES: Final[tuple[SearchAttributeKey[Any], ...]] = (
    USER_ID,
    STATUS,
    PLAN_TYPE,
    PROVIDER,
    COST_USD,
)
