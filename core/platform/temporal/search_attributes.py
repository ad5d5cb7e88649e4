"""Search attributes of an execution's workflow: what operators filter by in the Web UI. Indexed in
clear: no secrets.

Pure, so that workflow code may import it; `core.platform.temporal.client.ensure_search_attributes`
registers them.
"""

from typing import Any, Final

from temporalio.common import SearchAttributeKey

USER_ID: Final = SearchAttributeKey.for_keyword("UserId")
STATUS: Final = SearchAttributeKey.for_keyword("TakeoneStatus")  # ExecutionStatus is Temporal's own
PLAN_TYPE: Final = SearchAttributeKey.for_keyword("PlanType")
PROVIDER: Final = SearchAttributeKey.for_keyword_list("Provider")  # all that the plan uses
COST_USD: Final = SearchAttributeKey.for_float(
    "CostUsd"
)  # to look at and filter by; the ledger has the exact number
SEARCH_ATTRIBUTES: Final[tuple[SearchAttributeKey[Any], ...]] = (
    USER_ID,
    STATUS,
    PLAN_TYPE,
    PROVIDER,
    COST_USD,
)
