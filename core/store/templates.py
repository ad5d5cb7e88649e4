"""Templates: plans that users store to run them with values. A template never changes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from core.domain.ids import TemplateId, UserId
from core.domain.money import NanoUsd
from core.store.database import Connection

MAX_TEMPLATES: Final = 200
"""Templates of a user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRange:
    """What a run may cost, as priced when the template was created.

    variables: those that change it.
    """

    low_nano_usd: NanoUsd
    expected_nano_usd: NanoUsd
    worst_nano_usd: NanoUsd
    variables: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedTemplate:
    template_id: TemplateId
    name: str
    price: PriceRange
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTemplate(ListedTemplate):
    """A template. plan: as it was sent."""

    plan: Mapping[str, Any]


class TooManyTemplatesError(Exception):
    """The user has as many templates as are allowed. Roll back."""


# Two requests of a user must not count at the same time.
LOCK_TEMPLATES = "SELECT pg_advisory_xact_lock(hashtextextended('templates ' || $1, 0))"
INSERT_TEMPLATE = """
INSERT INTO templates
    (template_id, user_id, name, plan, low_nano_usd, expected_nano_usd, worst_nano_usd, price_variables)
SELECT $1, $2, $3, $4, $5, $6, $7, $8
WHERE (SELECT count(*) FROM (SELECT FROM templates WHERE user_id = $2 LIMIT $9) AS present) < $9
RETURNING created_at
"""


async def insert_template(
    conn: Connection,
    user_id: UserId,
    template_id: TemplateId,
    *,
    name: str,
    plan: Mapping[str, Any],
    price: PriceRange,
) -> datetime:
    """Store a template and return when. Raises TooManyTemplatesError."""
    await conn.execute(LOCK_TEMPLATES, user_id)
    created_at: datetime | None = await conn.fetchval(
        INSERT_TEMPLATE,
        template_id,
        user_id,
        name,
        json.dumps(plan, ensure_ascii=False),
        price.low_nano_usd,
        price.expected_nano_usd,
        price.worst_nano_usd,
        list(price.variables),
        MAX_TEMPLATES,
    )
    if created_at is None:
        raise TooManyTemplatesError
    return created_at


FIND_TEMPLATE = """
SELECT template_id, name, plan, low_nano_usd, expected_nano_usd, worst_nano_usd, price_variables, created_at
FROM templates WHERE template_id = $1 AND user_id = $2
"""


async def find_template(
    conn: Connection, user_id: UserId, template_id: TemplateId
) -> StoredTemplate | None:
    """Return a template. None: it does not exist, or belongs to another user."""
    row = await conn.fetchrow(FIND_TEMPLATE, template_id, user_id)
    if row is None:
        return None
    listed = _listed(row)
    return StoredTemplate(
        template_id=listed.template_id,
        name=listed.name,
        price=listed.price,
        created_at=listed.created_at,
        plan=json.loads(row["plan"]),
    )


LIST_TEMPLATES = """
SELECT template_id, name, low_nano_usd, expected_nano_usd, worst_nano_usd, price_variables, created_at
FROM templates WHERE user_id = $1 AND ($2::text IS NULL OR template_id < $2)
ORDER BY template_id DESC LIMIT $3
"""


async def list_templates(
    conn: Connection, user_id: UserId, *, before_id: TemplateId | None, limit: int
) -> Sequence[ListedTemplate]:
    """List a user's templates, newest first. before_id: the last id of the previous page."""
    return [_listed(row) for row in await conn.fetch(LIST_TEMPLATES, user_id, before_id, limit)]


DELETE_TEMPLATE = (
    "DELETE FROM templates WHERE template_id = $1 AND user_id = $2 RETURNING template_id"
)


async def delete_template(conn: Connection, user_id: UserId, template_id: TemplateId) -> bool:
    """Delete a template. Return False if it does not exist, or belongs to another user."""
    return await conn.fetchval(DELETE_TEMPLATE, template_id, user_id) is not None


def _listed(row: asyncpg.Record) -> ListedTemplate:
    return ListedTemplate(
        template_id=TemplateId(row["template_id"]),
        name=row["name"],
        price=PriceRange(
            low_nano_usd=NanoUsd(row["low_nano_usd"]),
            expected_nano_usd=NanoUsd(row["expected_nano_usd"]),
            worst_nano_usd=NanoUsd(row["worst_nano_usd"]),
            variables=row["price_variables"],
        ),
        created_at=row["created_at"],
    )
