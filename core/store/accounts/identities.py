"""Identities: the users that subjects of OIDC issuers authenticate as."""

from dataclasses import dataclass
from datetime import datetime

from core.domain.ids import UserId
from core.store.accounts.rate_limit import Rate, RateLimits, RouteClass, rate_from_row
from core.store.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A subject of an issuer and its user. A user may have several subjects."""

    issuer: str
    subject: str
    user_id: UserId
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityAdmission:
    """The user of a token. usable: the user is not disabled. rate: None if there is no limit."""

    user_id: UserId
    usable: bool
    rate: Rate | None


ADMIT_IDENTITY = "SELECT * FROM admit_identity($1, $2, $3, $4, $5, $6, $7)"


async def admit_identity(
    conn: Connection,
    issuer: str,
    subject: str,
    user_id: UserId | None,
    route_class: RouteClass,
    limits: RateLimits,
) -> IdentityAdmission | None:
    """Look up the user of a verified token and count one request. None: it authenticates no user.

    conn: outside a transaction, as in core.store.accounts.rate_limit. user_id: the user that the
    token names; None: the user that is linked to the subject.
    """
    row = await conn.fetchrow(
        ADMIT_IDENTITY,
        issuer,
        subject,
        user_id,
        route_class,
        limits.quota(route_class),
        limits.user_factor,
        limits.window,
    )
    if row is None:
        return None
    return IdentityAdmission(
        user_id=UserId(row["user_id"]),
        usable=row["usable"],
        rate=rate_from_row(row, route_class, limits),
    )


INSERT_IDENTITY = """
INSERT INTO identities (issuer, subject, user_id) SELECT $1, $2, user_id FROM users WHERE user_id = $3
ON CONFLICT DO NOTHING
"""
GET_IDENTITY = (
    "SELECT issuer, subject, user_id, created_at FROM identities WHERE issuer = $1 AND subject = $2"
)


async def link_identity(conn: Connection, issuer: str, subject: str, user_id: UserId) -> Identity:
    """Link a subject to a user and return the identity.

    An existing link stays unchanged, so the result may have another user. Repeating is safe. Raises
    LookupError: no such user. As system.
    """
    await conn.execute(INSERT_IDENTITY, issuer, subject, user_id)
    row = await conn.fetchrow(GET_IDENTITY, issuer, subject)
    if row is None:
        raise LookupError(f"no user {user_id}")
    return Identity(**dict(row))


DELETE_IDENTITY = "DELETE FROM identities WHERE issuer = $1 AND subject = $2 RETURNING user_id"


async def unlink_identity(conn: Connection, issuer: str, subject: str) -> UserId | None:
    """Remove a link and return its user; None: there was no link. As system."""
    return await conn.fetchval(DELETE_IDENTITY, issuer, subject)


LIST_IDENTITIES = """
SELECT issuer, subject, user_id, created_at FROM identities WHERE user_id = $1 ORDER BY issuer, subject
"""


async def list_identities(conn: Connection, user_id: UserId) -> list[Identity]:
    return [Identity(**dict(row)) for row in await conn.fetch(LIST_IDENTITIES, user_id)]
