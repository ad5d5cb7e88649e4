"""Connections and transactions. One transaction per request or activity, opened at the edge; nobody
below commits.
"""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from core.domain.ids import UserId
from core.store.login import UnsafeLoginError, refuse_unsafe_login

NewConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

APP_ROLE = "takeone_app"
COMMAND_TIMEOUT_SECONDS = 10.0
CONNECT_TIMEOUT_SECONDS = 5.0
ACQUIRE_TIMEOUT_SECONDS = 8.0
"""For a free connection, or a new one: whoever asks hears of an outage instead of hanging."""
IDLE_TRANSACTION_SECONDS = 10
"""A transaction that stands still for so long is ended by the server: a worker that was stopped
within one, or cut off without a word, would keep its locks until it wakes, and whoever needs
those rows would wait with it. Ours pause for milliseconds.
"""
DATABASE_DOWN: Final[tuple[type[Exception], ...]] = (
    OSError,  # refused, reset; TimeoutError, too
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # it is being shut down or started
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InterfaceError,  # the connection is closed
    # it said goodbye to an idle connection, which the driver then cannot use
    asyncpg.InternalClientError,
    asyncpg.IdleInTransactionSessionTimeoutError,  # we stood still
)
"""What a transaction raises while PostgreSQL cannot be used. Nothing was committed, unless COMMIT
got no answer.
"""
SET_USER = "SELECT set_config('takeone.user_id', $1, true)"
SET_SYSTEM = "SET LOCAL ROLE takeone_system"
SET_APP = f"SET LOCAL ROLE {APP_ROLE}"


_after_commit: ContextVar[list[Callable[[], None]] | None] = ContextVar(
    "after_commit", default=None
)


def after_commit(act: Callable[[], None]) -> None:
    """Have something done when the present transaction has committed, and never if it does not:
    counting, mostly.

    Of several that are open in one task, the innermost. Where none is, nothing is done. act: quick;
    must not raise.
    """
    acts = _after_commit.get()
    if acts is not None:
        acts.append(act)


@asynccontextmanager
async def _collecting_acts() -> AsyncGenerator[None]:
    """Around a transaction: what `after_commit` was given within is done if it did not raise."""
    acts: list[Callable[[], None]] = []
    outer = _after_commit.get()
    _after_commit.set(acts)
    try:
        yield
    finally:
        _after_commit.set(outer)
    for act in acts:
        act()


@asynccontextmanager
async def among_all_users(conn: Connection) -> AsyncGenerator[None]:
    """Within a user's transaction: room is shared with those whose rows this user does not see."""
    await conn.execute(SET_SYSTEM)
    yield
    await conn.execute(
        SET_APP
    )  # after an error there is nothing to go back to: the transaction is over


async def _prepare_connection(connection: NewConnection) -> None:
    await connection.set_type_codec(
        "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
    )


async def _leave_as_is(_connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Nothing to undo between two users of a connection: every statement runs in a transaction, and
    what is set in one is local to it. The driver still rolls back what was left open; its default
    sends four more statements each time.
    """


class Database:
    """The pool of a process. Every transaction says whose rows it may touch; the server holds it to
    that.
    """

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
        verify: Callable[[NewConnection], Awaitable[None]] | None = None,
    ) -> AsyncGenerator["Database"]:
        """verify: asked of every new connection before it is used; what it raises, whoever wanted
        it gets.

        So is that row security holds for it: UnsafeLoginError.
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
            },
            init=prepare,
            reset=_leave_as_is,
        )
        try:
            yield cls(pool, dsn)
        finally:
            pool.terminate()

    async def refuse_unsafe_login(self) -> None:
        """At the start of a process. Raises UnsafeLoginError. What cannot be told now, since
        PostgreSQL is away or has no roles yet, the first connection tells: whoever wants it gets
        that error.
        """
        try:
            async with self.alone():
                return
        except UnsafeLoginError:
            raise
        except (*DATABASE_DOWN, asyncpg.PostgresError):
            return

    @asynccontextmanager
    async def as_user(self, user_id: UserId) -> AsyncGenerator[Connection]:
        """A transaction that sees and touches this user's rows alone."""
        async with (
            _collecting_acts(),
            self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection,
            connection.transaction(),
        ):
            await connection.execute(SET_USER, user_id)
            yield connection

    @asynccontextmanager
    async def reading_as(self, user_id: UserId) -> AsyncGenerator[Connection]:
        """Like `as_user`, for several reads that must fit together: one snapshot, and nothing can
        be written.
        """
        async with (
            self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await connection.execute(SET_USER, user_id)
            yield connection

    @asynccontextmanager
    async def as_system(self) -> AsyncGenerator[Connection]:
        """A transaction that sees all users: authentication, callbacks, the sweep, administration;
        nothing else.
        """
        async with (
            _collecting_acts(),
            self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection,
            connection.transaction(),
        ):
            await connection.execute(SET_SYSTEM)
            yield connection

    @asynccontextmanager
    async def reading_all(self) -> AsyncGenerator[Connection]:
        """Like `as_system`, for reads over everything that must fit together: one snapshot, and
        nothing is written.
        """
        async with (
            self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await connection.execute(SET_SYSTEM)
            yield connection

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[Connection]:
        """A connection outside any transaction: each statement is one by itself, and sees no user's
        rows. For functions of the database that take their role themselves: what such a statement
        locks, no round trip keeps locked.
        """
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
            yield connection

    @asynccontextmanager
    async def listening_connection(self) -> AsyncGenerator["asyncpg.Connection[asyncpg.Record]"]:
        """A connection of its own, outside the pool, for LISTEN and for advisory locks held over
        many transactions.
        """
        connection = await asyncpg.connect(
            self._dsn, server_settings={"role": APP_ROLE, "application_name": "takeone-listen"}
        )
        try:
            yield connection
        finally:
            connection.terminate()
