"""What was done by hand, in rows that are only ever added to. As system, in the transaction of what
was done.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.store.database import Connection

RECORD = "INSERT INTO audit_log (actor, action, target, detail) VALUES ($1, $2, $3, $4) RETURNING audit_id"
LIST_AUDIT = """
SELECT audit_id, at, actor, action, target, detail FROM audit_log
WHERE $1::text IS NULL OR target = $1
ORDER BY audit_id DESC LIMIT $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """action: the command ('jobs adopt'). target: the id it was done to. detail: JSON; never a
    secret.
    """

    audit_id: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: Mapping[str, Any]


async def record(
    conn: Connection, actor: str, action: str, target: str, detail: Mapping[str, Any]
) -> int:
    """Write down who did what to what. Every call adds an entry: call it only when something was
    changed.
    """
    audit_id: int = await conn.fetchval(RECORD, actor, action, target, dict(detail))
    return audit_id


async def list_audit(
    conn: Connection, *, target: str | None = None, limit: int = 100
) -> list[AuditEntry]:
    """The latest first; target None: of everything."""
    return [AuditEntry(**dict(row)) for row in await conn.fetch(LIST_AUDIT, target, limit)]
