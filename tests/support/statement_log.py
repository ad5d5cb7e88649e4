"""Every statement that a PostgreSQL server of a test executes, from the server's log."""

import re
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

LOG_PREFIX = "@%p %a@"
"""Marks the first line of a log entry; statements have several lines."""
ENTRY = re.compile(r"^@(\d+) takeone@LOG: +(?:statement|execute [^:]*): (.*)$")


@dataclass(frozen=True, slots=True)
class Statement:
    """A logged statement of the product. connection: the process id of its server process."""

    connection: str
    text: str


@asynccontextmanager
async def logged_statements(
    superuser_dsn: str, log: Path
) -> AsyncGenerator[Callable[[], list[Statement]]]:
    """Log every statement of new and old connections, and yield what returns all so far."""
    owner = await asyncpg.connect(superuser_dsn, timeout=5)
    try:
        await owner.execute(f"ALTER SYSTEM SET log_line_prefix = '{LOG_PREFIX}'")
        await owner.execute("ALTER SYSTEM SET log_statement = 'all'")
        await owner.execute("SELECT pg_reload_conf()")
        yield lambda: _read(log)
        await owner.execute("ALTER SYSTEM RESET log_statement")
        await owner.execute("ALTER SYSTEM RESET log_line_prefix")
        await owner.execute("SELECT pg_reload_conf()")
    finally:
        await owner.close()


def _read(log: Path) -> list[Statement]:
    """Return all statements in their order, with their white space collapsed."""
    found: list[Statement] = []
    connection, text = "", list[str]()
    for line in [*log.read_text(encoding="utf-8", errors="replace").splitlines(), "@"]:
        if not line.startswith("@"):
            text.append(line)
            continue
        if connection:
            found.append(Statement(connection=connection, text=" ".join(" ".join(text).split())))
        first = ENTRY.match(line)
        connection, text = (first.group(1), [first.group(2)]) if first is not None else ("", [])
    return found


def transactions_of(statements: Iterable[Statement]) -> list[tuple[str, ...]]:
    """Return the statements of each transaction, in the order in which they began.

    A statement outside a transaction is one of its own.
    """
    found: list[list[str]] = []
    open_ones: dict[str, list[str]] = {}
    for statement in statements:
        text = statement.text
        if text.startswith("BEGIN") or statement.connection not in open_ones:
            open_ones[statement.connection] = []
            found.append(open_ones[statement.connection])
        transaction = open_ones[statement.connection]
        transaction.append(text)
        if text.startswith(("COMMIT", "ROLLBACK;")) or not transaction[0].startswith("BEGIN"):
            del open_ones[statement.connection]
    return [tuple(transaction) for transaction in found]
