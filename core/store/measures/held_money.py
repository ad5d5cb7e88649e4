"""The money that is held over all users. Read by the reconciler as system."""

from dataclasses import dataclass
from typing import Final

from core.domain.money import NanoUsd
from core.store.database import Connection

NOTHING: Final = NanoUsd(0)
# A partial index lists the held charges.
MEASURE_HOLDS = """
SELECT provider, sum(held_nano_usd)::bigint AS nano_usd,
       extract(epoch FROM now() - min(created_at))::float8 AS oldest_seconds
FROM charges WHERE state = 'held' GROUP BY provider
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """The sum of the holds for one provider, and the age of the oldest."""

    nano_usd: NanoUsd = NOTHING
    oldest_seconds: float = 0.0


async def measure_holds(conn: Connection) -> dict[str, Holds]:
    """Return the holds by provider; providers without holds are absent."""
    return {
        row["provider"]: Holds(nano_usd=row["nano_usd"], oldest_seconds=row["oldest_seconds"])
        for row in await conn.fetch(MEASURE_HOLDS)
    }
