"""No request is accepted whose provider refuses the key for it: it would only wait for its
deadline, its money held.
"""

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from api.http.problems import RETRY_AFTER_SECONDS, ProblemError
from core.domain.failures import FailureCode
from core.domain.ids import UserId
from core.domain.messages.jobs import key_scope
from core.store.database import Connection
from core.store.providers.circuit_breaker import OpenBreaker, admit_within, list_tripped
from core.store.providers.user_keys import list_current


async def check_accepting(conn: Connection, user_id: UserId, providers: Iterable[str]) -> None:
    """First thing where something is about to be accepted, in its transaction. Raises ProblemError.

    Asked is the breaker of the key that it would be bought with: the user's own, else the
    service's. Once in each pause of a breaker one request passes: somebody has to try whether the
    provider accepts again.
    """
    own = await list_current(conn, user_id)
    scopes = {key_scope(name, own.get(name)): name for name in providers}
    for tripped in await list_tripped(conn, scopes):
        if tripped.seconds > 0 or not await admit_within(conn, tripped.provider):
            name = scopes[tripped.provider]
            raise _problem(tripped, name, own_key=name in own)


def _problem(tripped: OpenBreaker, provider: str, *, own_key: bool) -> ProblemError:
    seconds = max(math.ceil(tripped.seconds), RETRY_AFTER_SECONDS)
    tried_at = datetime.now(UTC) + timedelta(seconds=seconds)
    again = f"it is tried again in {seconds} s at the soonest. Nothing was accepted, and nothing is held."
    return ProblemError(
        FailureCode.PROVIDER_KEY_REFUSED if own_key else FailureCode.PROVIDER_NOT_ACCEPTING,
        f"{provider} has refused your own key; {again} Put another one, or delete it."
        if own_key
        else f"{provider} has refused this service; {again} A model of another provider may do.",
        members={
            "provider": provider,
            "since": _utc(tripped.since),
            "triedAgainAt": _utc(tried_at),
        },
        headers={"Retry-After": str(seconds)},
    )


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
