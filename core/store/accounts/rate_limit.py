"""API keys and their rate limits: one statement per request, exact across all processes.

The algorithm is in core/store/migrations/0004_rate_limits.sql. A request counts for its key and for
its user, whose limit over all keys is a multiple of the key's. Refused requests are not counted.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from asyncpg import Record

from core.domain.ids import KeyId, UserId
from core.domain.scopes import Scope
from core.store.accounts.api_key_format import ApiKey
from core.store.database import Connection


class RouteClass(StrEnum):
    """The class of a request; each class has its own limit.

    Writes start, spend or change something; reads are all other requests.
    """

    WRITES = "writes"
    READS = "reads"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """The limits of a key without limits of its own. 0: no limit.

    user_factor: a user's keys and tokens together may send this multiple of the key's limit.
    """

    writes: int
    reads: int
    window_seconds: int
    user_factor: int = 5

    def quota(self, route_class: RouteClass) -> int:
        """Return the number of requests per window."""
        return self.writes if route_class is RouteClass.WRITES else self.reads

    @property
    def window(self) -> timedelta:
        return timedelta(seconds=self.window_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The limit that has less left, the caller's or its user's, after this request.

    of_user: it is the user's. remaining: how many more requests would be admitted now.
    next_seconds: until one more than that would be admitted, at least 1.
    """

    route_class: RouteClass
    quota: int
    window_seconds: int
    admitted: bool
    remaining: int
    next_seconds: int
    of_user: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """An API key and its rate; no rate if there is no limit, or the secret is wrong.

    usable: neither revoked nor expired, its user not disabled. touch_due: last_used_at is older
    than a minute.
    """

    key_id: KeyId
    user_id: UserId
    secret_sha256: bytes
    scopes: frozenset[Scope]
    usable: bool
    touch_due: bool
    rate: Rate | None


ADMIT_REQUEST = "SELECT * FROM admit_request($1, $2, $3, $4, $5, $6)"


async def admit_request(
    conn: Connection, key: ApiKey, route_class: RouteClass, limits: RateLimits
) -> Admission | None:
    """Look up a key and count one request of it if it is admitted. None: no key has its prefix.

    conn: outside a transaction (Database.without_transaction), so that requests of one key do
    not wait for each other's COMMIT. The caller must compare the secret; with a wrong one nothing
    is counted.
    """
    row = await conn.fetchrow(
        ADMIT_REQUEST,
        key.prefix,
        key.secret_sha256,
        route_class,
        limits.quota(route_class),
        limits.user_factor,
        limits.window,
    )
    if row is None:
        return None
    return Admission(
        key_id=KeyId(row["key_id"]),
        user_id=UserId(row["user_id"]),
        secret_sha256=row["secret_sha256"],
        scopes=frozenset(map(Scope, row["scopes"])),
        usable=row["usable"],
        touch_due=row["touch_due"],
        rate=rate_from_row(row, route_class, limits),
    )


def rate_from_row(row: Record, route_class: RouteClass, limits: RateLimits) -> Rate | None:
    """Read the rate in a row of admit_request or admit_identity; None if nothing was counted."""
    if row["remaining"] is None:
        return None
    return Rate(
        route_class=route_class,
        quota=row["quota"] * (limits.user_factor if row["of_user"] else 1),
        window_seconds=limits.window_seconds,
        admitted=row["admitted"],
        remaining=row["remaining"],
        next_seconds=row["next_seconds"],
        of_user=row["of_user"],
    )


SET_KEY_RATES = "UPDATE api_keys SET rate_writes = $2, rate_reads = $3 WHERE key_id = $1"
LOCK_KEY_RATES = "SELECT rate_writes, rate_reads FROM api_keys WHERE key_id = $1 FOR UPDATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRates:
    """The limits of one key. None: the limit from the settings; 0: no limit."""

    writes: int | None
    reads: int | None


async def lock_key_rates(conn: Connection, key_id: KeyId) -> KeyRates:
    """Return a key's own limits and lock its row until COMMIT. As system. Raises LookupError."""
    row = await conn.fetchrow(LOCK_KEY_RATES, key_id)
    if row is None:
        raise LookupError(f"no key {key_id}")
    return KeyRates(writes=row["rate_writes"], reads=row["rate_reads"])


async def set_key_rates(conn: Connection, key_id: KeyId, rates: KeyRates) -> None:
    """Set a key's own limits from the next request on. As system."""
    await conn.execute(SET_KEY_RATES, key_id, rates.writes, rates.reads)
