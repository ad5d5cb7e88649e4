"""`takeone-admin doctor` on real servers, each check with a planted fault."""

import json
import secrets
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import aioboto3
import asyncpg
import pytest
from aiobotocore.config import AioConfig
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client

from cli.doctor.callbacks import check_callbacks
from cli.doctor.database import check_database
from cli.doctor.examination import examine
from cli.doctor.finding import Finding, Level
from cli.doctor.money import check_money
from cli.doctor.providers import check_clocks, check_providers
from cli.doctor.storage import check_storage
from cli.doctor.temporal import check_temporal
from core.domain.money import NanoUsd
from core.platform.crypto.sealing import Sealer
from core.platform.settings.processes import WorkerProcess
from core.store.accounts.users import UserLimits, insert_user
from core.store.database import Database
from core.store.jobs.submit_pauses import ALL, pause
from core.store.money.daily_spending_cap import set_daily_limit
from core.store.recovery.restore_marker import pause_behind
from tests.sandbox.process import Receiver, Sandbox
from tests.support.admin import run_process
from tests.support.servers import FreshDatabase, S3Server, TemporalServer
from tests.support.worker_process import worker_environment

pytestmark = pytest.mark.guarantee("G3")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    server = Sandbox(tmp_path_factory.mktemp("sandbox"))
    yield server
    server.stop()


@pytest.fixture
def environment(
    fresh_database: FreshDatabase,
    temporal_server: TemporalServer,
    s3_server: S3Server,
    sandbox: Sandbox,
) -> dict[str, str]:
    """Return the settings of a worker whose providers are the sandbox."""
    sandbox.reset()
    return worker_environment(
        fresh_database,
        temporal_server,
        s3_server,
        CDN_BASE_URL=s3_server.public_url,
        PUBLIC_URL="http://127.0.0.1:9",  # the default may be the address of another stack
        FAL_QUEUE_URL=f"{sandbox.url}/fal/queue",
        FAL_API_URL=f"{sandbox.url}/fal/api/v1",
        REPLICATE_BASE_URL=f"{sandbox.url}/replicate",
    )


def settings(environment: dict[str, str], **changes: str) -> WorkerProcess:
    """Return the settings with changes; "" removes one."""
    values = {**environment, **changes}
    return WorkerProcess.model_validate(
        {name.lower(): value for name, value in values.items() if value}
    )


def levels(findings: list[Finding]) -> dict[str, Level]:
    """Return the worst level of each check."""
    order = list(Level)
    worst: dict[str, Level] = {}
    for finding in findings:
        worst[finding.check] = max(
            worst.get(finding.check, Level.OK), finding.level, key=order.index
        )
        assert finding.level is Level.OK or finding.action, finding
    return worst


def the(findings: list[Finding], check: str) -> Finding:
    return next(finding for finding in findings if finding.check == check)


async def execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=1) as opened:
        yield opened


async def test_command_reports_every_area_without_buying(
    environment: dict[str, str], fresh_database: FreshDatabase, sandbox: Sandbox
) -> None:
    ran = await run_process(fresh_database.application_dsn, "doctor", more=environment)
    report = json.loads(ran.out)
    found = {each["check"]: each["level"] for each in report["findings"]}
    assert (ran.code, report["ok"], ran.err) == (1, False, "")
    failed = {name for name, level in found.items() if level == "FAIL"}
    assert failed - {"temporal.search_attributes"} == {  # if no test has run a worker yet
        "database.durability",  # the servers of the tests run without fsync
        "callbacks.public_url",  # and no API runs here
        "callbacks.route",
    }, ran.out  # with the reasons
    assert {name.partition(".")[0] for name in found} == {
        "settings", "database", "storage", "temporal", "providers", "clocks", "callbacks", "money",
    }  # fmt: skip
    assert sandbox.bill()["lines"] == []


async def test_wrong_settings_are_lines_of_the_report(
    environment: dict[str, str], fresh_database: FreshDatabase
) -> None:
    wrong = {**environment, "S3_BUCKET": "", "OIDC_ISSUER": "http://example.com"}
    ran = await run_process(fresh_database.application_dsn, "doctor", more=wrong, as_text=True)
    assert ran.code == 1
    assert "FAIL  settings.worker  S3_BUCKET: not set" in ran.out
    assert "FAIL  settings.api     OIDC_ISSUER: must be an https:// address" in ran.out
    assert ran.out.endswith("3 checks: 3 FAIL, 0 WARN\n"), ran.out


async def test_owner_login_fails(
    environment: dict[str, str], fresh_database: FreshDatabase
) -> None:
    found = await check_database(settings(environment, DATABASE_URL=fresh_database.owner_dsn))
    assert levels(found) == {"database.login": Level.FAIL}
    assert "superuser" in the(found, "database.login").text


async def test_missing_migration_fails_and_a_newer_one_warns(
    environment: dict[str, str], fresh_database: FreshDatabase
) -> None:
    check = "database.migrations"
    assert levels(await check_database(settings(environment)))[check] is Level.OK
    later = "INSERT INTO schema_migrations (name) VALUES ('9999_later.sql')"
    await execute(fresh_database.owner_dsn, later)
    assert levels(await check_database(settings(environment)))[check] is Level.WARN
    await execute(fresh_database.owner_dsn, "DELETE FROM schema_migrations WHERE name LIKE '0044%'")
    found = the(await check_database(settings(environment)), check)
    assert (found.level, "0044" in found.text) == (Level.FAIL, True)


async def test_unmigrated_database_and_wrong_address_fail(
    environment: dict[str, str], fresh_database: FreshDatabase
) -> None:
    await execute(fresh_database.owner_dsn, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    found = await check_database(settings(environment))
    assert levels(found) == {"database.migrations": Level.FAIL}
    nowhere = "postgresql://takeone:test@127.0.0.1:9/postgres"
    found = await check_database(settings(environment, DATABASE_URL=nowhere))
    assert levels(found) == {"database.login": Level.FAIL}


async def test_lost_encryption_key_fails(environment: dict[str, str], database: Database) -> None:
    check, limits = "database.encryption_keys", UserLimits(monthly_videos=1, monthly_nano_usd=None)
    async with database.as_system() as conn:
        await insert_user(conn, Sealer(settings(environment).encryption_key_bytes()), "a", limits)
    assert levels(await check_database(settings(environment)))[check] is Level.OK
    async with database.as_system() as conn:
        await insert_user(conn, Sealer([b"x" * 32]), "b", limits)
    found = the(await check_database(settings(environment)), check)
    assert (found.level, found.text[:2]) == (Level.FAIL, "1 ")


async def test_restored_database_fails(environment: dict[str, str], database: Database) -> None:
    async with database.as_system() as conn:
        await pause_behind(conn)
    found = the(await check_database(settings(environment)), "database.restore_marker")
    assert (found.level, found.action) == (Level.FAIL, "run takeone-admin recover")


async def test_storage_of_the_local_stack_is_private_enough(
    environment: dict[str, str],
) -> None:
    found = await check_storage(settings(environment))
    assert set(levels(found).values()) == {Level.OK}, found
    assert "uploads on the CDN" in the(found, "storage.exposure").text


async def _new_bucket(server: S3Server, *, policy_actions: list[str]) -> str:
    """Create a bucket; everyone may do these actions in it."""
    bucket = f"doctor-{secrets.token_hex(6)}"
    async with aioboto3.Session().client(  # pyright: ignore[reportUnknownMemberType] - other services have no stubs
        "s3",
        endpoint_url=server.access.endpoint_url,
        aws_access_key_id=server.access.access_key_id,
        aws_secret_access_key=server.access.secret_access_key,
        region_name="us-east-1",
        config=AioConfig(s3={"addressing_style": "path"}, signature_version="s3v4"),
    ) as client:
        await client.create_bucket(Bucket=bucket)
        if policy_actions:
            arn = f"arn:aws:s3:::{bucket}"
            statement = {
                "Effect": "Allow",
                "Principal": "*",
                "Action": policy_actions,
                "Resource": [arn, f"{arn}/*"],
            }
            policy = {"Version": "2012-10-17", "Statement": [statement]}
            await client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    return bucket


async def test_public_bucket_fails(environment: dict[str, str], s3_server: S3Server) -> None:
    bucket = await _new_bucket(s3_server, policy_actions=["s3:GetObject", "s3:ListBucket"])
    cdn = f"{s3_server.access.endpoint_url}/{bucket}"
    found = await check_storage(settings(environment, S3_BUCKET=bucket, CDN_BASE_URL=cdn))
    assert levels(found)["storage.exposure"] is Level.FAIL
    assert "the restore marker" in the(found, "storage.exposure").text
    assert levels(found)["storage.listing"] is Level.FAIL


async def test_cdn_without_access_fails_and_signed_links_pass(
    environment: dict[str, str], s3_server: S3Server
) -> None:
    bucket = await _new_bucket(s3_server, policy_actions=[])
    cdn = f"{s3_server.access.endpoint_url}/{bucket}"
    found = await check_storage(settings(environment, S3_BUCKET=bucket, CDN_BASE_URL=cdn))
    assert levels(found)["storage.links"] is Level.FAIL
    found = await check_storage(settings(environment, S3_BUCKET=bucket, CDN_BASE_URL=""))
    assert set(levels(found).values()) == {Level.OK}, found
    assert "produced files" in the(found, "storage.exposure").text


async def test_wrong_storage_key_fails(environment: dict[str, str]) -> None:
    found = await check_storage(settings(environment, AWS_SECRET_ACCESS_KEY="wrong"))
    assert levels(found) == {"storage.rights": Level.FAIL}


async def test_namespace_without_attributes_and_unknown_namespace_fail(
    environment: dict[str, str], temporal_server: TemporalServer
) -> None:
    name = f"doctor-{secrets.token_hex(4)}"
    client = await Client.connect(temporal_server.address)
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.FromSeconds(3600)
    await client.workflow_service.register_namespace(request)
    found = await check_temporal(settings(environment, TEMPORAL_NAMESPACE=name))
    assert levels(found)["temporal.workers"] is Level.WARN
    assert levels(found)["temporal.retention"] is Level.WARN
    assert "UserId" in the(found, "temporal.search_attributes").text
    assert levels(found)["temporal.search_attributes"] is Level.FAIL
    long = settings(environment, TEMPORAL_NAMESPACE=name, FAL_HORIZON_SECONDS="7200")
    found = await check_temporal(long)
    assert "FAL_HORIZON_SECONDS (7200 s)" in the(found, "temporal.retention").text
    assert levels(found)["temporal.retention"] is Level.FAIL
    found = await check_temporal(settings(environment, TEMPORAL_NAMESPACE="unknown"))
    assert levels(found) == {"temporal.namespace": Level.FAIL}
    found = await check_temporal(settings(environment, TEMPORAL_ADDRESS="127.0.0.1:9"))
    assert levels(found) == {"temporal.connection": Level.FAIL}


async def test_refused_key_and_unreachable_provider_fail(
    environment: dict[str, str], sandbox: Sandbox
) -> None:
    assert levels(await check_providers(settings(environment)))["providers.key"] is Level.WARN
    refused = sandbox.fault("refuse", provider="fal", operation="list", params={"status": 401})
    found = await check_providers(settings(environment, REPLICATE_BASE_URL="http://127.0.0.1:9"))
    assert sandbox.fired(refused) == 1
    keys = {each.text.split()[0]: each for each in found if each.check == "providers.key"}
    assert (keys["fal"].level, keys["replicate"].level) == (Level.FAIL, Level.FAIL)
    assert "refuses the key" in keys["fal"].text
    assert "unreachable" in keys["replicate"].text


async def test_provider_clock_that_differs_fails(
    environment: dict[str, str], sandbox: Sandbox
) -> None:
    assert set(levels(await check_clocks(settings(environment))).values()) == {Level.OK}
    sandbox.set(clock_behind_seconds=60)
    found = await check_clocks(settings(environment))
    assert levels(found) == {"clocks.machine": Level.OK, "clocks.provider": Level.FAIL}
    assert "-60 s" in the(found, "clocks.provider").text


async def test_callbacks_to_something_else_fail(environment: dict[str, str]) -> None:
    with Receiver() as receiver:
        found = await check_callbacks(settings(environment, PUBLIC_URL=receiver.url))
    assert levels(found) == {"callbacks.public_url": Level.FAIL, "callbacks.route": Level.FAIL}
    assert len(receiver.received) == 2


async def test_remote_provider_without_a_public_address_is_polled(
    environment: dict[str, str],
) -> None:
    remote = {"FAL_QUEUE_URL": "https://queue.fal.example", "REPLICATE_API_TOKEN": ""}
    found = await check_callbacks(settings(environment, **remote))
    assert levels(found)["callbacks.route"] is Level.WARN


async def test_short_horizon_of_a_remote_provider_warns(environment: dict[str, str]) -> None:
    local: dict[str, Any] = {"FAL_HORIZON_SECONDS": "400", "REPLICATE_API_TOKEN": ""}
    assert (
        levels(await check_providers(settings(environment, **local)))["providers.horizons"] == "OK"
    )
    remote = settings(
        environment,
        **local,
        FAL_QUEUE_URL="https://queue.fal.example",
        FAL_API_URL=environment["FAL_API_URL"],
    )
    found = the(await check_providers(remote), "providers.horizons")
    assert (found.level, "FAL_HORIZON_SECONDS is 400 s" in found.text) == (Level.WARN, True)


async def test_missing_limits_and_pauses_warn(
    environment: dict[str, str], database: Database
) -> None:
    ready = settings(environment)
    found = levels(await check_money(ready))
    assert (found["money.daily_limit"], found["money.budgets"]) == (Level.WARN, Level.WARN)
    limits = UserLimits(monthly_videos=None, monthly_nano_usd=NanoUsd(10**9))
    async with database.as_system() as conn:
        await set_daily_limit(conn, NanoUsd(10**9))
        await insert_user(conn, Sealer([bytes(32)]), "a", limits)
    assert set(levels(await check_money(ready)).values()) == {Level.OK}
    async with database.as_system() as conn:
        await pause(conn, ALL, "outage")
    assert "all (outage)" in the(await check_money(ready), "money.pauses").text


async def test_broken_check_does_not_hide_the_others(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = settings(
        environment, COG_MODELS_FILE=str(tmp_path / "none.toml"), COG_WEBHOOK_TOKEN="t" * 20
    )
    found = levels(await examine(broken))
    assert found["providers.check"] is Level.FAIL
    assert found["storage.exposure"] is Level.OK
