"""No request is accepted whose provider refuses this service: it would only wait for its deadline, its money held."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from api.problems import RETRY_AFTER_SECONDS, ProblemError
from contracts.failures import FailureCode
from store.breakers import OpenBreaker, admit_within, list_tripped
from store.database import Connection


async def check_accepting(conn: Connection, providers: Iterable[str]) -> None:
    """First thing where something is about to be accepted, in its transaction. Raises ProblemError.

    Once in each pause of a breaker one request passes: somebody has to try whether the provider accepts again.
    """
    for tripped in await list_tripped(conn, set(providers)):
        if tripped.seconds > 0 or not await admit_within(conn, tripped.provider):
            raise _problem(tripped)


def _problem(tripped: OpenBreaker) -> ProblemError:
    seconds = max(math.ceil(tripped.seconds), RETRY_AFTER_SECONDS)
    tried_at = datetime.now(UTC) + timedelta(seconds=seconds)
    return ProblemError(
        FailureCode.PROVIDER_NOT_ACCEPTING,
        f"{tripped.provider} has refused this service; it is tried again in {seconds} s at the soonest. Nothing was "
        "accepted, and nothing is held. A model of another provider may do.",
        members={
            "provider": tripped.provider,
            "since": _utc(tripped.since),
            "triedAgainAt": _utc(tried_at),
        },
        headers={"Retry-After": str(seconds)},
    )


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
