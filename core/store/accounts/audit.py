"""The audit log of operator actions: insert-only, written in the transaction of the action."""

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
    """An operator action.

    action: the command ('jobs adopt'). target: the id of the changed object. detail: JSON without
    secrets.
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
    """Add an entry. Call it only if the action changed something. As system."""
    audit_id: int = await conn.fetchval(RECORD, actor, action, target, dict(detail))
    return audit_id


async def list_audit(
    conn: Connection, *, target: str | None = None, limit: int = 100
) -> list[AuditEntry]:
    """List entries, newest first. target: only entries of this object."""
    return [AuditEntry(**dict(row)) for row in await conn.fetch(LIST_AUDIT, target, limit)]
