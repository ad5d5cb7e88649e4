"""Fixtures with real servers, which start when a test first needs them.

Each starts once per session, unless `make test-up` keeps servers running.
"""

import hashlib
import secrets
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import asyncpg
import pytest

from core.store.migrate import migrate
from deploy.local.servers.postgres import superuser_dsn
from deploy.local.servers.process import Running
from deploy.local.servers.s3 import S3Access
from deploy.local.servers.temporal import NAMESPACE
from tests.support.folders import data_folder
from tests.support.kept_servers import kept_servers
from tests.support.part_servers import PASSWORD, postgres_part, running, s3_part, temporal_part

APPLICATION_ROLE = "takeone"
MIGRATIONS = files("core.store").joinpath("migrations")


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """A PostgreSQL server.

    running: the process, unless it belongs to `make test-up`. A test that kills a server starts its
    own.
    """

    port: int
    running: Running | None = None

    def owner_dsn(self, database: str = "postgres") -> str:
        """Return the address of the superuser, who owns all tables."""
        return superuser_dsn(self.port, PASSWORD, database)

    def application_dsn(self, database: str) -> str:
        """Return the address of the login role of API and worker."""
        return f"postgresql://{APPLICATION_ROLE}:{PASSWORD}@127.0.0.1:{self.port}/{database}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshDatabase:
    """A migrated, empty database of one test.

    `owner_dsn`: superuser; `application_dsn`: the role of API and worker.
    """

    name: str
    owner_dsn: str
    application_dsn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalServer:
    address: str
    namespace: str
    running: Running | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    access: S3Access
    running: Running | None = None

    @property
    def public_url(self) -> str:
        """Return the address prefix of an object for a plain GET."""
        return f"{self.access.endpoint_url}/{self.access.bucket}"


@pytest.fixture(scope="session")
def servers_folder() -> Generator[Path]:
    """Return a folder that PostgreSQL's system user can enter when the tests run as root."""
    with data_folder("takeone-test-") as folder:
        yield folder


@pytest.fixture(scope="session")
async def postgres_server(servers_folder: Path) -> AsyncGenerator[PostgresServer]:
    if (kept := kept_servers()) is not None:
        yield PostgresServer(port=kept.postgres_port)
        return
    async with running(postgres_part(servers_folder)) as started:
        yield PostgresServer(port=int(started.part.address.rpartition(":")[2]), running=started)


@pytest.fixture(scope="session")
async def temporal_server(servers_folder: Path) -> AsyncGenerator[TemporalServer]:
    if (kept := kept_servers()) is not None:
        yield TemporalServer(address=kept.temporal_address, namespace=NAMESPACE)
        return
    async with running(temporal_part(servers_folder)) as started:
        yield TemporalServer(address=started.part.address, namespace=NAMESPACE, running=started)


@pytest.fixture(scope="session")
async def s3_server(servers_folder: Path) -> AsyncGenerator[S3Server]:
    if (kept := kept_servers()) is not None:
        yield S3Server(access=kept.s3_access)
        return
    part, access = s3_part(servers_folder)
    async with running(part) as started:
        yield S3Server(access=access, running=started)


@pytest.fixture(scope="session")
async def template_database(postgres_server: PostgresServer) -> str:
    """Return the name of a migrated, empty database: creating databases from it is quick.

    A kept server keeps one for each state of the migrations.
    """
    name = f"takeone_template_{_migrations_digest()}"
    connection = await asyncpg.connect(postgres_server.owner_dsn())
    try:
        await connection.execute("SELECT pg_advisory_lock(1)")  # released with the connection
        if not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name
        ):
            await connection.execute(f"CREATE DATABASE {name}_new")
            await migrate(
                postgres_server.owner_dsn(f"{name}_new"),
                postgres_server.application_dsn(f"{name}_new"),
            )
            await connection.execute(f"ALTER DATABASE {name}_new RENAME TO {name}")
    finally:
        await connection.close()
    return name


def _migrations_digest() -> str:
    texts = (
        resource.read_bytes()
        for resource in sorted(MIGRATIONS.iterdir(), key=lambda resource: resource.name)
        if resource.is_file()
    )
    return hashlib.sha256(b"".join(texts)).hexdigest()[:12]


@pytest.fixture
async def fresh_database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[FreshDatabase]:
    """Return a migrated, empty database for one test."""
    async with new_database(postgres_server, template_database) as database:
        yield database


@asynccontextmanager
async def new_database(
    server: PostgresServer, template: str = "template1"
) -> AsyncGenerator[FreshDatabase]:
    """Create a database from a template, and drop it at the end with its open connections."""
    name = f"test_{secrets.token_hex(6)}"
    # A copy of the files takes half the processor time of a copy through the write-ahead log.
    await _execute(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    try:
        yield FreshDatabase(
            name=name,
            owner_dsn=server.owner_dsn(name),
            application_dsn=server.application_dsn(name),
        )
    finally:
        await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(server: PostgresServer, statement: str) -> None:
    connection = await asyncpg.connect(server.owner_dsn())
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
