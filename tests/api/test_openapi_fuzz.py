"""Requests generated from the OpenAPI document: no 5xx, no undocumented response, no foreign data.

Schemathesis generates them with all its checks: examples, schema boundaries, random values and
sequences along links.
"""

import asyncio
import json
import re
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.platform.crypto.sealing import Sealer
from core.store.accounts.users import insert_api_key, insert_user
from core.store.database import Database
from tests.api.conftest import ENCRYPTION_KEY, NO_LIMITS
from tests.api.processes import Served, served
from tests.support.servers import PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G6")

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "tests/api/schemathesis.toml"
NOWHERE = "http://127.0.0.1:9"
ENVIRONMENT = {
    "LOG_LEVEL": "ERROR",
    "RATE_LIMIT_WRITES": "0",
    "RATE_LIMIT_READS": "0",
    "FAL_API_URL": NOWHERE,
    "FAL_QUEUE_URL": NOWHERE,
    "FAL_JWKS_URL": f"{NOWHERE}/jwks",
    "REPLICATE_BASE_URL": NOWHERE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """folder: for the configuration. kept: ids of the API keys in use, comma separated."""

    api: Served
    keys: tuple[str, ...]
    kept: str
    folder: Path

    def configuration(self) -> Path:
        """Write a Schemathesis configuration with the API's address and two isolated users."""
        headers = [[{"name": "Authorization", "value": f"Bearer {key}"}] for key in self.keys]
        known = [
            {"name": f"user {number}", "fixedHeaders": one} for number, one in enumerate(headers)
        ]
        users, configuration = self.folder / "users.json", self.folder / "schemathesis.toml"
        users.write_text(json.dumps({"auth": known}))
        names = [one["name"] for one in known]
        configuration.write_text(
            f"{CONFIG.read_text()}\n[auth.wfc]\npath = {json.dumps(str(users))}\npeers = {json.dumps(names)}\n"
        )
        return configuration


@pytest.fixture(scope="module")
async def target(
    postgres_server: PostgresServer,
    template_database: str,
    temporal_address: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncGenerator[_Target]:
    async with new_database(postgres_server, template_database) as database:
        async with Database.open(database.application_dsn) as db, db.as_system() as conn:
            users = [
                await insert_user(conn, Sealer([ENCRYPTION_KEY]), name, NO_LIMITS)
                for name in ("Ada", "Bob")
            ]
            made = [await insert_api_key(conn, user.user_id, "test") for user in users]
        keys = tuple(one.key.text for one in made)
        async with served(database, temporal_address, keys[0], **ENVIRONMENT) as api:
            kept = ",".join(one.key_id for one in made)
            yield _Target(api=api, keys=keys, kept=kept, folder=tmp_path_factory.mktemp("fuzz"))


async def _run(target: _Target, *options: str, cancels: int) -> str:
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "schemathesis.cli",
            "--no-color",
            "--config-file",
            str(target.configuration()),
        ),
        *("run", f"{target.api.url}/openapi.json", "--checks", "all", *options),
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "FUZZ_KEPT_KEYS": target.kept, "FUZZ_CANCELS": str(cancels)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    text = out.decode()
    assert process.returncode == 0, text[-20_000:]
    assert target.api.process.returncode is None
    return text


@pytest.mark.timeout(900)  # two minutes on an otherwise idle machine
async def test_described_requests_get_described_answers(target: _Target) -> None:
    """Run four phases with over a thousand requests, which depend on the document alone."""
    said = await _run(target, "--max-examples", "5", cancels=0)

    assert int(re.findall(r"(\d+) generated", said)[0]) > 500


@pytest.mark.long
async def test_described_requests_get_described_answers_in_thousands(target: _Target) -> None:
    await _run(target, "--max-examples", "100", cancels=10)
