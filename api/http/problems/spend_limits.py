"""The problem of an order that the spend limit of its API key does not cover."""

from api.http.problems.documents import ProblemError
from api.http.schemas import time_text
from core.domain.money import usd_text
from core.ordering.errors import KeySpendLimitError


def spend_limit_problem(error: KeySpendLimitError) -> ProblemError:
    needed, resets_at = usd_text(error.needed_nano_usd), time_text(error.resets_at)
    settled, held = usd_text(error.settled_nano_usd), usd_text(error.held_nano_usd)
    limit = None if error.limit_nano_usd is None else usd_text(error.limit_nano_usd)
    left = None if error.left_nano_usd is None else usd_text(error.left_nano_usd)
    return ProblemError(
        error.code,
        f"The request may cost {needed} USD. This API key may spend {limit} USD per "
        f"{error.period}: {settled} USD are spent and {held} USD are held for open bills. The "
        f"limit resets at {resets_at}. Request less, wait for open executions or for the reset, "
        f"or raise the limit with PATCH /api/keys/{error.key_id} and a key with the scope admin.",
        members={
            "spendLimit": {
                "currency": "USD",
                "keyId": error.key_id,
                "period": error.period,
                "needed": needed,
                "limit": limit,
                "settled": settled,
                "held": held,
                "left": left,
                "resetsAt": resets_at,
            }
        },
    )
