"""What statements of the store read: their plans, executed and counted."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import asyncpg

from core.store.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """A statement that ran. rows_read: by all scans together, including those a filter removed."""

    sql: str
    milliseconds: float
    rows_read: int
    sequential: tuple[str, ...]


@dataclass(slots=True)
class Explaining:
    """A connection that explains and analyses each statement before it runs it."""

    conn: Connection
    executed: list[Executed] = field(default_factory=list[Executed])

    @classmethod
    def of(cls, conn: Connection) -> tuple["Explaining", Connection]:
        """Return it twice: as itself, and as the connection that store functions accept."""
        explaining = cls(conn)
        return explaining, cast("Connection", explaining)

    async def fetch(self, sql: str, *values: object) -> list[asyncpg.Record]:
        await self._explain(sql, values)
        return await self.conn.fetch(sql, *values)

    async def fetchrow(self, sql: str, *values: object) -> asyncpg.Record | None:
        await self._explain(sql, values)
        return await self.conn.fetchrow(sql, *values)

    async def _explain(self, sql: str, values: Sequence[object]) -> None:
        text = await self.conn.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *values)
        (explained,) = json.loads(text)
        nodes = list(_nodes(explained["Plan"]))
        scans = [node for node in nodes if "Relation Name" in node]
        self.executed.append(
            Executed(
                sql=sql,
                milliseconds=explained["Planning Time"] + explained["Execution Time"],
                rows_read=round(sum(_rows_read(node) for node in scans)),
                sequential=tuple(
                    node["Relation Name"] for node in scans if node["Node Type"] == "Seq Scan"
                ),
            )
        )


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


def _rows_read(node: Mapping[str, Any]) -> float:
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return (node["Actual Rows"] + removed) * node["Actual Loops"]
