"""Circuit breaker check: no order is accepted that its provider would refuse.

Such an order could only wait for its deadline while its money is held.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from core.domain.ids import UserId
from core.domain.messages.jobs import key_scope
from core.ordering.errors import ProviderNotAcceptingError, UserKeyRefusedError
from core.store.database import Connection
from core.store.providers.circuit_breaker import admit_within, list_tripped
from core.store.providers.user_keys import list_current

MIN_RETRY_SECONDS: Final = 5


async def check_breakers(conn: Connection, user_id: UserId, steps: Iterable[Sequence[str]]) -> None:
    """Check the breaker of each key that the order would use.

    steps: the providers of each step: its own, then those of its alternatives. A step is refused
    only if all of them would refuse it.
    That is the user's own key at a provider, else the service's. An open breaker admits one order
    in each of its pauses, so that some order tries whether the provider accepts again. Call in the
    transaction that accepts, before it locks any row.
    Raises ProviderNotAcceptingError, UserKeyRefusedError.
    """
    own_keys = await list_current(conn, user_id)
    choices = [{key_scope(name, own_keys.get(name)): name for name in names} for names in steps]
    scopes = {scope: name for choice in choices for scope, name in choice.items()}
    tripped = {breaker.provider: breaker for breaker in await list_tripped(conn, scopes)}
    needed = {next(iter(choice)) for choice in choices if choice.keys() <= tripped.keys()}
    for breaker in (tripped[scope] for scope in sorted(needed)):
        if breaker.seconds > 0 or not await admit_within(conn, breaker.provider):
            name = scopes[breaker.provider]
            seconds = max(math.ceil(breaker.seconds), MIN_RETRY_SECONDS)
            error = UserKeyRefusedError if name in own_keys else ProviderNotAcceptingError
            raise error(
                provider=name,
                since=breaker.since,
                tried_again_at=datetime.now(UTC) + timedelta(seconds=seconds),
                retry_after_seconds=seconds,
            )
