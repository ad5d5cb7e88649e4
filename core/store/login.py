"""Whether row security holds for the login of a process. One that it does not hold for must not
serve.
"""

import asyncpg

FIND_UNSAFE_ROLE = """
SELECT r.rolname, r.rolsuper, r.rolbypassrls, r.rolname = session_user AS is_login, owned.name AS owned
FROM pg_roles AS r
LEFT JOIN LATERAL (
    SELECT c.relname AS name FROM pg_class AS c
    WHERE c.relowner = r.oid AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
        AND c.oid >= 16384    -- below are those that PostgreSQL itself brings
    ORDER BY c.relname LIMIT 1
) AS owned ON true
WHERE pg_has_role(session_user, r.oid, 'MEMBER') AND (r.rolsuper OR r.rolbypassrls OR owned.name IS NOT NULL)
ORDER BY is_login DESC, r.rolname
LIMIT 1
"""


class UnsafeLoginError(asyncpg.InvalidAuthorizationSpecificationError):
    """The login could step around row security. Its text is one line for a person."""


async def refuse_unsafe_login(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Of a connection that was just opened: neither its login nor any role that it can take is a
    superuser, has BYPASSRLS or owns a table. Raises UnsafeLoginError.
    """
    found = await connection.fetchrow(FIND_UNSAFE_ROLE)
    if found is None:
        return
    if found["rolsuper"]:
        why = "is a superuser"
    elif found["rolbypassrls"]:
        why = "has BYPASSRLS"
    else:
        why = f"owns tables ({found['owned']})"
    who = (
        f"its role {found['rolname']}"
        if found["is_login"]
        else f"its role can become {found['rolname']}, which"
    )
    raise UnsafeLoginError(
        f"{who} {why}: row security would not hold. Use the application's role, not the owner's"
    )
