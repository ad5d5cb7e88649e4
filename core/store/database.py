"""Connections and transactions: one for each request or activity; store functions never commit.

Several rows are one parameter: a jsonb array of objects, or arrays of text. The driver looks every
other type of array up in the catalogue, once for each connection, which takes PostgreSQL 20 ms.
"""

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final, Self, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from core.domain.ids import UserId
from core.platform.observability.metrics import DATABASE_POOL_IN_USE, DATABASE_POOL_WAIT, timed
from core.store.login import (
    LoginRefusedError,
    UnsafeLoginError,
    lasting_refusal,
    refuse_unsafe_login,
)

NewConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

APP_ROLE = "takeone_app"
COMMAND_TIMEOUT_SECONDS = 10.0
CONNECT_TIMEOUT_SECONDS = 5.0
ACQUIRE_TIMEOUT_SECONDS = 8.0
"""For a free or a new connection, so that an outage raises an error instead of blocking."""
IDLE_TRANSACTION_SECONDS = 10
"""The server ends a transaction that is idle for this long. A worker that stopped or lost its
network within a transaction would otherwise keep its locks. Our transactions pause for
milliseconds.
"""
DATABASE_DOWN: Final[tuple[type[Exception], ...]] = (
    OSError,  # refused, reset; TimeoutError, too
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # it is being shut down or started
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InterfaceError,  # the connection is closed
    # the server closed an idle connection, which the driver then cannot use
    asyncpg.InternalClientError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""Errors of a transaction while PostgreSQL is unavailable. Nothing was committed, unless COMMIT got
no response.
"""
DATABASE_ERRORS: Final[tuple[type[Exception], ...]] = (*DATABASE_DOWN, asyncpg.PostgresError)
"""Everything that PostgreSQL or its connection may raise, for loops that try again later."""
USER_ID: Final = re.compile(r"(usr_[0-9A-Za-z]{1,64})?")
"""What may stand in SQL text as a user's id. No user has the empty id."""
SET_SYSTEM = "SET LOCAL ROLE takeone_system"
SET_APP = f"SET LOCAL ROLE {APP_ROLE}"
SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL plan_cache_mode = auto"
"""Lists and reports: their plans depend on the values, for example on which filters are set."""


@dataclass(slots=True)
class _Transaction:
    """What a transaction still has to do. last: by order, what runs right before COMMIT."""

    connection: "Connection | None" = None
    last: list[tuple[str, Callable[[Connection], Awaitable[object]]]] = field(
        default_factory=list[tuple[str, Callable[[Connection], Awaitable[object]]]]
    )
    after: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])


_transaction: ContextVar[_Transaction | None] = ContextVar("transaction", default=None)


def after_commit(act: Callable[[], None]) -> None:
    """Call a function after the current transaction commits, for example to count something.

    Applies to the innermost transaction of the task; without one, the function is not called. act:
    must be quick and must not raise.
    """
    transaction = _transaction.get()
    if transaction is not None:
        transaction.after.append(act)


async def last_before_commit(
    conn: Connection, order: str, act: Callable[[Connection], Awaitable[object]]
) -> None:
    """Run a statement on a row that all users share as the last one before COMMIT.

    So the row's lock is held for one round trip, however much the transaction still reads. order:
    the acts of a transaction run in this order, which is therefore the lock order. Outside the
    transactions of `Database` the act runs at once. A rollback to a savepoint does not withdraw
    the act: call this last in a savepoint.
    """
    transaction = _transaction.get()
    if transaction is not None and transaction.connection is conn:
        transaction.last.append((order, act))
    else:
        await act(conn)


def _set_user(user_id: UserId) -> str:
    """Return the statement that limits a transaction to a user's rows.

    The id is part of the text, because a message with several statements has no parameters. Raises
    ValueError for anything that does not look like a user's id.
    """
    if USER_ID.fullmatch(user_id) is None:
        raise ValueError(f"not a user id: {user_id!r}")
    return f"SELECT set_config('takeone.user_id', '{user_id}', true)"


@asynccontextmanager
async def savepoint(conn: Connection) -> AsyncGenerator[None]:
    """Withdraw the statements within if one of them fails; the transaction continues."""
    await conn.execute("SAVEPOINT nested")
    try:
        yield
    except BaseException:
        await conn.execute("ROLLBACK TO SAVEPOINT nested")
        raise
    await conn.execute("RELEASE SAVEPOINT nested")


@asynccontextmanager
async def _transact(
    connecting: AbstractAsyncContextManager[Connection], begin: str, end: str = "COMMIT;"
) -> AsyncGenerator[Connection]:
    """Open a transaction that starts with these statements, sent in one message.

    An error or a cancel ends it as itself, also if the connection is closed. An error of the
    rollback in its place would look like an outage, after which loops continue.
    """
    failed: BaseException | None = None
    try:
        async with connecting as connection:
            try:
                await connection.execute(begin)
                yield connection
            except BaseException as error:
                failed = error
                with suppress(*DATABASE_ERRORS):
                    await connection.execute("ROLLBACK;")
                raise
            await connection.execute(end)
    except Exception as error:
        if failed is not None and error is not failed:
            raise failed from None
        raise


@asynccontextmanager
async def _follow(
    connecting: AbstractAsyncContextManager[Connection], begin: str
) -> AsyncGenerator[Connection]:
    """Open a transaction; run what was registered for its end, unless it raises."""
    transaction = _Transaction()
    outer = _transaction.get()
    _transaction.set(transaction)
    try:
        async with _transact(connecting, begin) as connection:
            transaction.connection = connection
            yield connection
            for _, act in sorted(transaction.last, key=itemgetter(0)):
                await act(connection)
    finally:
        _transaction.set(outer)
    for act in transaction.after:
        act()


@asynccontextmanager
async def among_all_users(conn: Connection) -> AsyncGenerator[None]:
    """Switch a user's transaction to the system role, for state that all users share."""
    await conn.execute(SET_SYSTEM)
    yield
    # Not after an error: the transaction is over then.
    await conn.execute(SET_APP)


async def _prepare_connection(connection: NewConnection) -> None:
    await connection.set_type_codec(
        "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
    )


async def _leave_as_is(_connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Reset nothing when a connection returns to the pool: all settings are local to a transaction.

    The driver still rolls back an open transaction. Its default reset sends four more statements.
    """


class Database:
    """The connection pool of a process; row security limits each transaction to one user."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", dsn: str) -> None:
        self._pool = pool
        self._dsn = dsn

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        dsn: str,
        *,
        max_connections: int = 20,
        generic_plans: bool = True,
        verify: Callable[[NewConnection], Awaitable[None]] | None = None,
    ) -> AsyncGenerator[Self]:
        """Open a pool. Every new connection is checked before use; the errors reach its first user.

        generic_plans: plan each statement once per connection, since planning costs more than the
        short statements of requests and activities. verify: an additional check. Raises
        UnsafeLoginError if row security would not hold.
        """

        async def prepare(connection: NewConnection) -> None:
            await refuse_unsafe_login(connection)
            await _prepare_connection(connection)
            if verify is not None:
                await verify(connection)

        pool = await asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=max_connections,
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            server_settings={
                "role": APP_ROLE,
                "application_name": "takeone",
                "idle_in_transaction_session_timeout": f"{IDLE_TRANSACTION_SECONDS}s",
                "plan_cache_mode": "force_generic_plan" if generic_plans else "auto",
            },
            init=prepare,
            reset=_leave_as_is,
        )
        try:
            yield cls(pool, dsn)
        finally:
            pool.terminate()

    @asynccontextmanager
    async def _acquire(self) -> AsyncGenerator[Connection]:
        """Use a connection of the pool. Raises TimeoutError."""
        with timed(DATABASE_POOL_WAIT):
            connection = await self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS)
        try:
            with DATABASE_POOL_IN_USE.track_inprogress():
                yield connection
        finally:
            await self._pool.release(connection)

    async def refuse_unsafe_login(self) -> None:
        """Check the login at the start of a process. Raises UnsafeLoginError, LoginRefusedError.

        While PostgreSQL is unavailable or has no roles yet, the check is left to the first
        connection.
        """
        try:
            async with self.without_transaction():
                return
        except UnsafeLoginError:
            raise
        except (*DATABASE_DOWN, asyncpg.PostgresError) as error:
            reason = lasting_refusal(error)
            if reason is not None:
                raise LoginRefusedError(reason) from None

    @asynccontextmanager
    async def as_user(self, user_id: UserId) -> AsyncGenerator[Connection]:
        """Open a transaction that sees and changes only this user's rows."""
        begin = f"BEGIN; {_set_user(user_id)}"
        async with _follow(self._acquire(), begin) as connection:
            yield connection

    @asynccontextmanager
    async def reading_as(self, user_id: UserId) -> AsyncGenerator[Connection]:
        """Open a read-only transaction of this user with one snapshot for all reads."""
        begin = f"{SNAPSHOT}; {_set_user(user_id)}"
        async with _transact(self._acquire(), begin) as connection:
            yield connection

    @asynccontextmanager
    async def as_system(self) -> AsyncGenerator[Connection]:
        """Open a transaction that sees all users.

        Only for authentication, callbacks, reconciliation and administration.
        """
        async with _follow(self._acquire(), f"BEGIN; {SET_SYSTEM}") as connection:
            yield connection

    @asynccontextmanager
    async def rehearsing(self) -> AsyncGenerator[Connection]:
        """Open a transaction that sees all users and is rolled back at its end, for dry runs.

        It locks like the real one. What waits for a commit, such as a notification, never happens.
        """
        begin = f"BEGIN; {SET_SYSTEM}"
        async with _transact(self._acquire(), begin, end="ROLLBACK;") as connection:
            yield connection

    @asynccontextmanager
    async def reading_all(self) -> AsyncGenerator[Connection]:
        """Open a read-only transaction over all users with one snapshot for all reads."""
        async with _transact(self._acquire(), f"{SNAPSHOT}; {SET_SYSTEM}") as connection:
            yield connection

    @asynccontextmanager
    async def without_transaction(self) -> AsyncGenerator[Connection]:
        """Open a connection without a transaction; its statements see no user's rows.

        For database functions that set their role themselves: their locks end with the statement,
        not after another round trip.
        """
        async with self._acquire() as connection:
            yield connection

    @asynccontextmanager
    async def listening_connection(self) -> AsyncGenerator["asyncpg.Connection[asyncpg.Record]"]:
        """Open a connection outside the pool, for LISTEN."""
        connection = await asyncpg.connect(
            self._dsn,
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            server_settings={"role": APP_ROLE, "application_name": "takeone-listen"},
        )
        try:
            yield connection
        finally:
            connection.terminate()
