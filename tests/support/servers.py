"""Real servers for tests: each starts once per session, when the first test asks for it, and is
stopped by its pid.
"""

import secrets
import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from core.store.migrate import migrate
from deploy.local.ports import free_ports
from deploy.local.postgres import postgres, superuser_dsn
from deploy.local.process import Part, Running, start_ready
from deploy.local.s3 import PORTS, S3Access, s3
from deploy.local.temporal import NAMESPACE, temporal

PASSWORD = "test"
APPLICATION_ROLE = "takeone"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """`running`: its process. A test that kills a server starts one of its own: this one is
    everybody's.
    """

    port: int
    running: Running

    def owner_dsn(self, database: str = "postgres") -> str:
        """Address as the superuser, who owns all tables."""
        return superuser_dsn(self.port, PASSWORD, database)

    def application_dsn(self, database: str) -> str:
        """Address as the login role of api and worker."""
        return f"postgresql://{APPLICATION_ROLE}:{PASSWORD}@127.0.0.1:{self.port}/{database}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshDatabase:
    """A migrated, empty database of one test. `owner_dsn`: superuser; `application_dsn`: what api
    and worker use.
    """

    name: str
    owner_dsn: str
    application_dsn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalServer:
    address: str
    namespace: str
    running: Running


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    access: S3Access
    running: Running

    @property
    def public_url(self) -> str:
        """What goes in front of an object key for a plain GET."""
        return f"{self.access.endpoint_url}/{self.access.bucket}"


@pytest.fixture(scope="session")
def servers_folder() -> Generator[Path]:
    """A folder that PostgreSQL's own system user can enter too, when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="takeone-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
async def postgres_server(servers_folder: Path) -> AsyncGenerator[PostgresServer]:
    async with _running(_postgres(servers_folder)) as running:
        yield PostgresServer(port=int(running.part.address.rpartition(":")[2]), running=running)


@pytest.fixture(scope="session")
async def temporal_server(servers_folder: Path) -> AsyncGenerator[TemporalServer]:
    async with _running(_temporal(servers_folder)) as running:
        yield TemporalServer(address=running.part.address, namespace=NAMESPACE, running=running)


@pytest.fixture(scope="session")
async def s3_server(servers_folder: Path) -> AsyncGenerator[S3Server]:
    ports = free_ports(PORTS)
    access = S3Access(
        endpoint_url=f"http://127.0.0.1:{ports[0]}",
        bucket="takeone-test",
        access_key_id="TESTKEY",
        secret_access_key=secrets.token_hex(16),
    )
    log = servers_folder / "s3.log"
    async with _running(s3(servers_folder, ports, access, log=log)) as running:
        yield S3Server(access=access, running=running)


@pytest.fixture(scope="session")
async def template_database(postgres_server: PostgresServer) -> str:
    """The name of a migrated database that nobody uses; making databases from it is quick."""
    name = "takeone_template"
    await _execute(postgres_server, f"CREATE DATABASE {name}")
    await migrate(postgres_server.owner_dsn(name), postgres_server.application_dsn(name))
    return name


@pytest.fixture
async def fresh_database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[FreshDatabase]:
    """A migrated, empty database for this test alone."""
    async with new_database(postgres_server, template_database) as database:
        yield database


@asynccontextmanager
async def new_database(
    server: PostgresServer, template: str = "template1"
) -> AsyncGenerator[FreshDatabase]:
    """A database made from a template, dropped at the end with whatever is still connected
    to it.
    """
    name = f"test_{secrets.token_hex(6)}"
    await _execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield FreshDatabase(
            name=name,
            owner_dsn=server.owner_dsn(name),
            application_dsn=server.application_dsn(name),
        )
    finally:
        await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def _postgres(folder: Path) -> Part:
    (port,) = free_ports(1)
    return postgres(folder, port, PASSWORD, log=folder / "postgres.log", durable=False)


def _temporal(folder: Path) -> Part:
    port, metrics_port = free_ports(2)
    return temporal(folder, port, None, metrics_port, log=folder / "temporal.log")


@asynccontextmanager
async def _running(part: Part) -> AsyncGenerator[Running]:
    running = await start_ready(part)
    try:
        yield running
    finally:
        await running.stop()


async def _execute(server: PostgresServer, statement: str) -> None:
    connection = await asyncpg.connect(server.owner_dsn())
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
