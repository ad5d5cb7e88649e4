"""Who asks, and how much of an API key's allowance is left: one statement per request, exact across
all processes.

The allowance slides: in no window, wherever it begins, is more admitted than its quota. What was
admitted is counted in slots of a sixtieth of the window, and given back slot by slot, up to one
slot late. What is refused is not counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from asyncpg import Record

from core.domain.ids import KeyId, UserId
from core.domain.scopes import Scope
from core.store.accounts.api_key_format import ApiKey
from core.store.database import Connection

SLOTS = 60
"""Of a window; the function of the database knows them, too."""


class RouteClass(StrEnum):
    """writes: what starts, spends or changes something. reads: everything else. Each has an
    allowance of its own.
    """

    WRITES = "writes"
    READS = "reads"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """What a key may send in any `window_seconds`, unless it has limits of its own. 0: no limit."""

    writes: int
    reads: int
    window_seconds: int

    def quota(self, route_class: RouteClass) -> int:
        return self.writes if route_class is RouteClass.WRITES else self.reads

    @property
    def slot_ms(self) -> int:
        """Rounded up: a window of slots is never shorter than the window."""
        return -(-self.window_seconds * 1000 // SLOTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Of one class of a key's requests, with the request that was just admitted in it.

    remaining: how many more would be admitted at once. next_seconds: until it is at least one more,
    >= 1.
    """

    route_class: RouteClass
    quota: int
    window_seconds: int
    admitted: bool
    remaining: int
    next_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A key as it is kept, and the state of its allowance; None if there is no limit, or it is not
    this key.

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


ADMIT_REQUEST = "SELECT * FROM admit_request($1, $2, $3, $4, $5)"


async def admit_request(
    conn: Connection, key: ApiKey, route_class: RouteClass, limits: RateLimits
) -> Admission | None:
    """Look a key up, and count one request of it if it is admitted. None: nobody has its prefix.

    conn: outside a transaction (Database.alone): requests of one key would wait for each other's
    COMMIT. Only a request with the right secret of a usable key is counted; that it is right is the
    caller's to check.
    """
    row = await conn.fetchrow(
        ADMIT_REQUEST,
        key.prefix,
        key.secret_sha256,
        route_class,
        limits.quota(route_class),
        limits.slot_ms,
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
        rate=read_rate(row, route_class, limits),
    )


def read_rate(row: Record, route_class: RouteClass, limits: RateLimits) -> Rate | None:
    """Of what the functions of the database answer; None if nothing was counted."""
    if row["used"] is None:
        return None
    free_at_ms = give_back_ms(
        row["used"], row["quota"], newest=row["newest"], slot_ms=limits.slot_ms
    )
    return Rate(
        route_class=route_class,
        quota=row["quota"],
        window_seconds=limits.window_seconds,
        admitted=row["admitted"],
        remaining=max(0, row["quota"] - sum(row["used"])),
        next_seconds=max(1, -(-(free_at_ms - row["now_ms"]) // 1000)),
    )


def give_back_ms(used: Sequence[int], quota: int, *, newest: int, slot_ms: int) -> int:
    """When more will be left than now, and at least one, in milliseconds since 1970: the end of a
    slot's window.

    used: the newest first, at least one request in them. newest: the number of the first.
    """
    left = sum(used)
    for age in range(len(used) - 1, -1, -1):
        left -= used[age]
        if used[age] and left < quota:
            return (newest - age + len(used)) * slot_ms
    raise ValueError("nothing was used")


SET_KEY_RATES = "UPDATE api_keys SET rate_writes = $2, rate_reads = $3 WHERE key_id = $1"
LOCK_KEY_RATES = "SELECT rate_writes, rate_reads FROM api_keys WHERE key_id = $1 FOR UPDATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRates:
    """A key's own limits. None: those of the settings; 0: no limit."""

    writes: int | None
    reads: int | None


async def lock_key_rates(conn: Connection, key_id: KeyId) -> KeyRates:
    """A key's own limits, its row locked until COMMIT. As system. Raises LookupError."""
    row = await conn.fetchrow(LOCK_KEY_RATES, key_id)
    if row is None:
        raise LookupError(f"no key {key_id}")
    return KeyRates(writes=row["rate_writes"], reads=row["rate_reads"])


async def set_key_rates(conn: Connection, key_id: KeyId, rates: KeyRates) -> None:
    """From the next request on; what was admitted before still counts. As system."""
    await conn.execute(SET_KEY_RATES, key_id, rates.writes, rates.reads)
