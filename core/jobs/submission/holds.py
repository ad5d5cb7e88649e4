"""The quote before a send: the files of other steps exist now, so the worst price is known."""

from core.domain.failures import Failure, FailureCode
from core.domain.messages.jobs import JobRef
from core.domain.money import NanoUsd, usd_text
from core.domain.prices import price_from_json
from core.jobs.key_ring import known_model
from core.platform.observability.logging import get_logger
from core.providers.inputs import InputsError
from core.providers.models import ModelInputs
from core.providers.pricing import UnpricedError, at_price
from core.providers.registry import Providers
from core.store.database import Connection, Database
from core.store.jobs.jobs import JobRecord
from core.store.money.charges import BudgetExceededError
from core.store.money.daily_spending_cap import ServiceBudgetExceededError
from core.store.money.key_spending import KeySpendLimitReachedError
from core.store.money.raised_holds import ExecutionCostError, find_hold, raise_hold

log = get_logger(__name__)


class HoldTooLowError(Exception):
    """A job may cost more than is held for it. The transaction has written nothing."""

    def __init__(self, worst_nano_usd: NanoUsd) -> None:
        super().__init__(worst_nano_usd)
        self.worst_nano_usd = worst_nano_usd


async def check_hold(
    conn: Connection, providers: Providers, job: JobRecord, inputs: ModelInputs
) -> None:
    """Compare the worst price of a job's real inputs with its hold. Raises HoldTooLowError."""
    worst = await find_higher_worst(conn, providers, job, inputs)
    if worst is not None:
        raise HoldTooLowError(worst)


async def find_higher_worst(
    conn: Connection, providers: Providers, job: JobRecord, inputs: ModelInputs
) -> NanoUsd | None:
    """Return the worst price of a job's real inputs; None: its hold suffices, or has ended.

    Only files of other steps can have changed it since the order was accepted.
    """
    known = known_model(providers, job) if job.parameters.steps else None
    hold = await find_hold(conn, job.job_id) if known is not None else None
    if known is None or hold is None:
        return None
    provider, model = known
    try:
        quote = provider.quote(at_price(model, price_from_json(hold.price)), inputs)
    except (UnpricedError, InputsError):
        # Without a price, or an input that a restored database lacks: the worst price counts then.
        return None
    return quote.worst_nano_usd if quote.worst_nano_usd > hold.held_nano_usd else None


async def hold_more(database: Database, ref: JobRef, worst_nano_usd: NanoUsd) -> Failure | None:
    """Raise the hold of a job that is not sent yet; return why that is not possible."""
    try:
        async with database.as_user(ref.user_id) as conn:
            await raise_hold(conn, ref.job_id, worst_nano_usd)
    except (
        BudgetExceededError,
        KeySpendLimitReachedError,
        ServiceBudgetExceededError,
        ExecutionCostError,
    ) as error:
        code = {
            BudgetExceededError: FailureCode.BUDGET_EXCEEDED,
            KeySpendLimitReachedError: FailureCode.KEY_SPEND_LIMIT_EXCEEDED,
            ServiceBudgetExceededError: FailureCode.SERVICE_BUDGET_EXCEEDED,
            ExecutionCostError: FailureCode.MAX_COST_EXCEEDED,
        }[type(error)]
        return Failure.of(
            code,
            f"The files of other steps are longer than expected, so the step may cost "
            f"{usd_text(worst_nano_usd)} USD. That exceeds the remaining budget. Nothing was sent.",
        )
    log.info(
        "job.hold_raised",
        execution_id=ref.execution_id,
        job_id=ref.job_id,
        worst_nano_usd=worst_nano_usd,
    )
    return None
