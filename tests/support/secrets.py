"""The secrets of an owner, decrypted."""

from core.platform.crypto.sealing import Sealer
from core.store.database import Connection
from core.store.secrets.secrets import secret_from_row

LIST_OF_OWNER = "SELECT * FROM secrets WHERE owner_id = $1 ORDER BY valid_until NULLS FIRST"


async def opened_secrets(conn: Connection, sealer: Sealer, owner_id: str) -> list[str]:
    """Return the current secret of an owner, then the previous one."""
    return [secret_from_row(row).open(sealer) for row in await conn.fetch(LIST_OF_OWNER, owner_id)]
