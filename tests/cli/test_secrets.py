"""`takeone-admin secrets`: counting and rotating, also after a kill during the rotation."""

import asyncio
import base64
import signal
import sys
from collections.abc import AsyncGenerator

import pytest

from core.domain.ids import UserId, new_user_id
from core.platform.crypto.sealing import Sealer, key_id
from core.store.accounts.audit import list_audit
from core.store.database import Database
from core.store.secrets.secrets import WEBHOOK_SECRET, insert_secret, seal_secret, secret_from_row
from tests.support.admin import run_admin
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G6")

OLD_KEY, NEW_KEY = b"o" * 32, b"n" * 32
OLD, NEW = key_id(OLD_KEY), key_id(NEW_KEY)
USERS = 600
COUNT_DONE = "SELECT count(*) FROM secrets WHERE key_id = $1"


def keys(*newest_first: bytes) -> dict[str, str]:
    return {"ENCRYPTION_KEYS": ",".join(base64.b64encode(key).decode() for key in newest_first)}


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=2) as opened:
        yield opened


async def seed(database: Database, number: int) -> list[UserId]:
    """Insert users whose secrets are encrypted with the old key."""
    sealer = Sealer([OLD_KEY])
    users = [new_user_id() for _ in range(number)]
    secrets = [
        seal_secret(
            sealer, f"whsec_{user_id}", kind=WEBHOOK_SECRET, owner_id=user_id, user_id=user_id
        )
        for user_id in users
    ]
    async with database.as_system() as conn:
        await conn.execute(
            "INSERT INTO users (user_id, name) SELECT u, 'x' FROM unnest($1::text[]) AS u", users
        )
        for secret in secrets:
            await insert_secret(conn, secret)
    return users


async def count_done(database: Database) -> int:
    async with database.as_system() as conn:
        return await conn.fetchval(COUNT_DONE, NEW)


async def test_secrets_are_rotated_and_counted(
    fresh_database: FreshDatabase, database: Database
) -> None:
    url = fresh_database.application_dsn
    await seed(database, 3)

    before = (await run_admin(url, "secrets", "status", more=keys(NEW_KEY, OLD_KEY))).json
    assert before["keys"] == [
        {"keyId": NEW, "configured": True, "sealed": 0},
        {"keyId": OLD, "configured": True, "sealed": 3},
    ]
    assert (before["newest"], before["toRotate"]) == (NEW, 3)
    assert before["kinds"] == [{"kind": "webhook_secret", "keyId": OLD, "sealed": 3}]

    # Without the old key nothing can be re-encrypted; the error names the missing key.
    refused = await run_admin(url, "secrets", "rotate", more=keys(NEW_KEY))
    assert refused.code == 1
    assert f"sealed with key {OLD}" in refused.out
    without = (await run_admin(url, "secrets", "status", more=keys(NEW_KEY))).json
    assert {"keyId": OLD, "configured": False, "sealed": 3} in without["keys"]

    done = (
        await run_admin(url, "secrets", "rotate", "--actor", "Ada", more=keys(NEW_KEY, OLD_KEY))
    ).json
    assert done == {
        "newest": NEW,
        "rotated": {"webhook_secret": 3},
        "left": 0,
        "broken": 0,
        "examples": [],
    }
    after = (await run_admin(url, "secrets", "status", more=keys(NEW_KEY))).json
    assert (after["keys"], after["toRotate"]) == (
        [{"keyId": NEW, "configured": True, "sealed": 3}],
        0,
    )
    again = (await run_admin(url, "secrets", "rotate", more=keys(NEW_KEY))).json
    assert (again["rotated"], again["left"]) == ({}, 0)
    async with database.as_system() as conn:
        by_ada, _ = await list_audit(conn)
    assert (by_ada.actor, by_ada.action, by_ada.target) == ("Ada", "secrets rotate", NEW)
    assert by_ada.detail == {"toRotate": 3}


async def test_killed_rotation_resumes(fresh_database: FreshDatabase, database: Database) -> None:
    users = await seed(database, USERS)
    url, both = fresh_database.application_dsn, keys(NEW_KEY, OLD_KEY)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli",
        "secrets",
        "rotate",
        "--batch",
        "1",
        env={"DATABASE_URL": url, **both},
    )
    async with asyncio.timeout(30):
        while True:
            if await count_done(database) >= 10:
                break
            await asyncio.sleep(0.01)
    process.kill()
    assert await process.wait() == -signal.SIGKILL

    left = (await run_admin(url, "secrets", "status", more=both)).json["toRotate"]
    assert 0 < left <= USERS - 10  # The rotation was killed halfway.
    rest = (await run_admin(url, "secrets", "rotate", more=both)).json
    assert (sum(rest["rotated"].values()), rest["left"]) == (left, 0)
    async with database.as_system() as conn:
        rows = [secret_from_row(row) for row in await conn.fetch("SELECT * FROM secrets")]
    opened = {row.owner_id: row.open(Sealer([NEW_KEY])) for row in rows}
    assert opened == {user_id: f"whsec_{user_id}" for user_id in users}
