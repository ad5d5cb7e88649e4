"""The check that row security holds for the login of a process."""

import ssl

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


class LoginRefusedError(Exception):
    """No connection can succeed with this address. The text is one line without parts of it."""


def lasting_refusal(error: Exception) -> str | None:
    """Return one line for an error of a new connection that waiting cannot cure, else None."""
    match error:
        case UnsafeLoginError():
            return str(error)
        case asyncpg.InvalidAuthorizationSpecificationError():
            return (
                "PostgreSQL refused the login. Check the user and the password, and whether "
                "pg_hba.conf admits them from here with this sslmode"
            )
        case asyncpg.InvalidCatalogNameError():
            return "the database does not exist. Create it, or correct its name"
        case asyncpg.UndefinedObjectError() | asyncpg.CantChangeRuntimeParamError():
            return "PostgreSQL does not accept a parameter of the address"
        case ssl.SSLError():
            return (
                "TLS failed. The server's certificate must be valid for its host name and issued "
                "by sslrootcert (system: the public certificate authorities)"
            )
        case asyncpg.ClientConfigurationError():
            return "the driver does not accept a parameter of the address, or lacks sslrootcert"
        case ConnectionError() if "rejected SSL upgrade" in str(error):
            return (
                "the server has no TLS. Enable it there, or use sslmode=prefer on your own network"
            )
        case _:
            return None


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
