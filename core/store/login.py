"""The check that row security holds for the login of a process."""

import asyncpg

FIND_UNSAFE_ROLE = """
SELECT r.rolname, r.rolsuper, r.rolbypassrls, r.rolname = session_user AS is_login, owned.name AS owned
FROM pg_roles AS r
LEFT JOIN LATERAL (
    SELECT c.relname AS name FROM pg_class AS c
    WHERE c.relowner = r.oid AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
        AND c.oid >= 16384    -- lower ids belong to PostgreSQL itself
    ORDER BY c.relname LIMIT 1
) AS owned ON true
WHERE pg_has_role(session_user, r.oid, 'MEMBER') AND (r.rolsuper OR r.rolbypassrls OR owned.name IS NOT NULL)
ORDER BY is_login DESC, r.rolname
LIMIT 1
"""


class UnsafeLoginError(asyncpg.InvalidAuthorizationSpecificationError):
    """The login could bypass row security. The text is one line for a person."""


async def refuse_unsafe_login(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Check the login of a new connection. Raises UnsafeLoginError.

    The login and every role that it can take must not be a superuser, have BYPASSRLS or own a
    table.
    """
    role = await connection.fetchrow(FIND_UNSAFE_ROLE)
    if role is None:
        return
    if role["rolsuper"]:
        why = "is a superuser"
    elif role["rolbypassrls"]:
        why = "has BYPASSRLS"
    else:
        why = f"owns tables ({role['owned']})"
    who = (
        f"its role {role['rolname']}"
        if role["is_login"]
        else f"its role can become {role['rolname']}, which"
    )
    raise UnsafeLoginError(
        f"{who} {why}: row security would not hold. Use the application's role, not the owner's"
    )
