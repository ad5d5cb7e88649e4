"""The embedded servers: readiness, and durability of acknowledged data after `kill -9`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aioboto3
import asyncpg
import httpx
import pytest
from temporalio.client import Client

from core.domain.media.content import MediaKind
from core.store.recovery.restore_marker import MARKER_KEY
from deploy.local.ports import free_ports
from deploy.local.servers.postgres import postgres, superuser_dsn
from deploy.local.servers.process import Part, PartFailedError, start_ready
from deploy.local.servers.s3 import PORTS, PUBLIC_PREFIXES, S3Access, s3

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from types_aiobotocore_s3 import S3Client

    from tests.support.servers import FreshDatabase, PostgresServer, S3Server, TemporalServer


async def test_postgres_kill_keeps_committed_rows(servers_folder: Path) -> None:
    (port,) = free_ports(1)
    folder = servers_folder / "killed"
    part = postgres(folder, port, "secret", log=folder / "postgres.log")
    dsn = superuser_dsn(port, "secret")
    running = await start_ready(part)
    try:
        connection = await asyncpg.connect(dsn)
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        await running.kill()
        connection.terminate()
        running = await start_ready(part)
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SELECT number FROM kept") == 7
        assert await connection.fetchval("SHOW max_connections") == "200"
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(superuser_dsn(port, "wrong"))
    finally:
        await running.stop()
    assert running.process.returncode == 0


async def test_fresh_database_is_migrated_and_application_is_no_superuser(
    fresh_database: FreshDatabase,
) -> None:
    owner = await asyncpg.connect(fresh_database.owner_dsn)
    assert await owner.fetchval("SELECT count(*) FROM executions") == 0
    assert await owner.fetchval("SELECT count(*) FROM schema_migrations") >= 1
    await owner.close()
    application = await asyncpg.connect(fresh_database.application_dsn)
    assert (
        await application.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        is False
    )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await application.fetchval("SELECT count(*) FROM executions")
    await application.close()


async def test_fresh_database_of_another_test_is_dropped(postgres_server: PostgresServer) -> None:
    connection = await asyncpg.connect(postgres_server.owner_dsn())
    assert (
        await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'test\\_%'")
        == []
    )
    await connection.close()


async def test_temporal_serves_its_namespace(temporal_server: TemporalServer) -> None:
    client = await Client.connect(temporal_server.address, namespace=temporal_server.namespace)
    found = [
        execution async for execution in client.list_workflows("WorkflowId = 'nobody-has-this-id'")
    ]
    assert (client.namespace, found) == (temporal_server.namespace, [])


async def test_s3_files_are_public_by_address_only(s3_server: S3Server) -> None:
    base = s3_server.public_url
    await put(s3_server.access, "videos/one.mp4", b"0123456789")
    await put(s3_server.access, MARKER_KEY, b"{}")
    async with s3_client(s3_server.access) as s3, httpx.AsyncClient() as anonymous:
        bucket = s3_server.access.bucket
        upload = await s3.create_multipart_upload(Bucket=bucket, Key="videos/two.mp4")
        uploads = await s3.list_multipart_uploads(Bucket=bucket, Prefix="videos/")
        assert len(uploads.get("Uploads", [])) == 1
        part = await anonymous.get(f"{base}/videos/one.mp4", headers={"Range": "bytes=2-4"})
        assert (part.status_code, part.content) == (206, b"234")
        assert part.headers["content-range"] == "bytes 2-4/10"
        assert (await anonymous.head(f"{base}/videos/one.mp4")).status_code == 200
        requests = [
            ("PUT", f"{base}/videos/two.mp4"),
            ("DELETE", f"{base}/videos/one.mp4"),
            ("POST", f"{base}/videos/three.mp4?uploads"),
            ("GET", f"{base}/?list-type=2"),
            ("GET", f"{s3_server.access.endpoint_url}/"),
            ("GET", f"{base}/{MARKER_KEY}"),
            ("HEAD", f"{base}/{MARKER_KEY}"),
            ("GET", f"{base}?uploads"),
            ("GET", f"{base}?uploads&prefix=videos/"),
            ("GET", f"{base}/videos/two.mp4?uploads"),
            ("GET", f"{base}/videos/two.mp4?uploadId={upload['UploadId']}"),
            ("GET", f"{base}/videos/one.mp4?tagging"),
            ("GET", f"{base}/.uploads/"),
            ("GET", f"{base}?location"),
        ]
        answers = [(await anonymous.request(*request)).status_code for request in requests]
        refused = dict(zip(requests, answers, strict=True))
        assert {key: status for key, status in refused.items() if status != 403} == {}
        assert (await anonymous.get(f"{base}/videos/one.mp4")).content == b"0123456789"
        await s3.abort_multipart_upload(
            Bucket=bucket, Key="videos/two.mp4", UploadId=upload["UploadId"]
        )
        await s3.delete_object(Bucket=bucket, Key=MARKER_KEY)


def test_s3_public_prefixes_are_those_of_the_files() -> None:
    assert set(PUBLIC_PREFIXES) == {f"{kind}s/" for kind in MediaKind}


async def test_s3_kill_keeps_objects_and_restarts_quickly(servers_folder: Path) -> None:
    ports = free_ports(PORTS)
    access = S3Access(
        endpoint_url=f"http://127.0.0.1:{ports[0]}",
        bucket="kept",
        access_key_id="KEY",
        secret_access_key="secret-for-a-test",
    )
    folder = servers_folder / "s3-killed"
    part = s3(folder, ports, access, log=folder / "s3.log")
    folder.mkdir()
    running = await start_ready(part)
    try:
        await put(access, "videos/one.mp4", b"x" * 5_000_000)
        await running.kill()
        running = await start_ready(part)
        await put(access, "videos/two.mp4", b"y" * 5_000_000)
        async with httpx.AsyncClient() as client:
            for name, byte in (("one", b"x"), ("two", b"y")):
                got = await client.get(f"{access.endpoint_url}/{access.bucket}/videos/{name}.mp4")
                assert got.content == byte * 5_000_000
    finally:
        await running.stop()


async def test_part_that_ends_at_start_reports_the_reason(tmp_path: Path) -> None:
    async def never() -> None:
        raise ConnectionError

    part = Part(
        name="Broken",
        command=("sh", "-c", "echo no such thing; exit 3"),
        log=tmp_path / "broken.log",
        address="",
        ready=never,
    )
    with pytest.raises(PartFailedError, match="Broken ended with code 3: no such thing"):
        await start_ready(part)


async def put(access: S3Access, key: str, content: bytes) -> None:
    async with s3_client(access) as client:
        await client.put_object(Bucket=access.bucket, Key=key, Body=content)


def s3_client(access: S3Access) -> AbstractAsyncContextManager[S3Client]:
    return aioboto3.Session().client(  # pyright: ignore[reportUnknownMemberType] - other services have no stubs
        "s3",
        endpoint_url=access.endpoint_url,
        aws_access_key_id=access.access_key_id,
        aws_secret_access_key=access.secret_access_key,
        region_name="us-east-1",
    )
