"""Everything that the stack stores or shows, to be searched for secrets."""

import asyncio
import subprocess
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import aioboto3
import httpx
from google.protobuf.json_format import MessageToDict, ParseDict
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.service import RPCError

from core.platform.temporal.payload_encryption import SealedPayloads
from core.store.recovery.start_memo import unpacked
from deploy.local.servers.postgres import clean_environment, program
from tests.end_to_end.world import World
from tests.support.leaks import unfolded

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

Sink = tuple[str, bytes]
OURS_ALONE = ("local.json", "s3.json")
"""Where the local stack keeps its keys, for its owner to read: the settings of its processes."""


async def collect(
    world: World, answers: Iterable[httpx.Response], workflow_ids: Iterable[str]
) -> list[Sink]:
    """workflow_ids: in addition to those of the world's executions and of their webhooks."""
    delivered = await world.rows(
        "SELECT event_id, delivery FROM webhooks WHERE user_id = $1", world.user.user_id
    )
    deliveries = [f"deliver/{row['event_id']}/{row['delivery']}" for row in delivered]
    client = await world.temporal()
    found = [
        sink
        for one in [*world.ids, *deliveries, *workflow_ids]
        for sink in await _history(client, one)
    ]
    found += await asyncio.to_thread(_database, world)
    found += _logs(world)
    found += [sink async for sink in _objects(world)]
    found += [
        ("webhook", b"\n".join([one.path.encode(), str(one.headers).encode(), one.body]))
        for one in world.receiver.received
    ]
    found += [
        ("answer", str(answer.headers).encode() + b"\n" + answer.content) for answer in answers
    ]
    found += [sink async for sink in _metrics(world)]
    found += _command_lines(world)
    return found


async def _history(client: Client, workflow_id: str) -> list[Sink]:
    """As Temporal has it, and as an operator with the key sees it: what is encrypted must hold no
    secret either.
    """
    handle = client.get_workflow_handle(workflow_id)
    try:
        description = (await handle.describe()).raw_description
    except RPCError:  # its delivery has no workflow of its own, or has not begun yet
        return []
    history = await handle.fetch_history()
    codec = cast("SealedPayloads", client.data_converter.payload_codec)
    sinks = [("history", description.SerializeToString())]
    for event in [*history.events, description]:
        sinks.append(("history", event.SerializeToString()))
        sinks += [
            ("history, decrypted", text)
            for payload in payloads(event)
            for text in _texts(codec.open(payload))
        ]
    return sinks


def payloads(message: Any) -> Iterator[Payload]:
    """Every payload in it, wherever it stands."""
    yield from _payloads(MessageToDict(message))


def _payloads(value: object) -> Iterator[Payload]:
    if isinstance(value, list):
        for item in cast("list[object]", value):
            yield from _payloads(item)
    elif isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        if isinstance(fields.get("metadata"), dict) and "encoding" in fields["metadata"]:
            yield ParseDict(fields, Payload())
            return
        for item in fields.values():
            yield from _payloads(item)


def _texts(payload: Payload) -> Iterator[bytes]:
    yield payload.data
    try:
        yield str(
            unpacked(payload.data.decode().strip('"'))
        ).encode()  # the memo of what was accepted
    except ValueError:
        return


def _database(world: World) -> list[Sink]:
    dumped = subprocess.run(
        [str(program("pg_dump")), f"--dbname={world.owner_dsn}"],
        env=clean_environment(),
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    assert b"COPY public.users" in dumped
    return [("database", part) for part in unfolded(dumped)]


def _logs(world: World) -> list[Sink]:
    files = sorted(world.stack.config.logs.iterdir())
    assert len(files) >= 7, files
    return [(f"log {path.name}", path.read_bytes()) for path in files]


@asynccontextmanager
async def bucket(world: World) -> "AsyncGenerator[tuple[S3Client, str]]":
    environment = world.stack.environment
    async with aioboto3.Session().client(  # pyright: ignore[reportUnknownMemberType] - other services have no stubs
        "s3",
        endpoint_url=environment["S3_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    ) as client:
        yield client, environment["S3_BUCKET"]


async def _objects(world: World) -> AsyncGenerator[Sink]:
    async with bucket(world) as (client, name):
        listed = await client.list_objects_v2(Bucket=name)
        keys = [one.get("Key", "") for one in listed.get("Contents", [])]
        assert len(keys) > 1
        for key in keys:
            kept = await client.get_object(Bucket=name, Key=key)
            yield (
                "object's metadata",
                f"{key} {kept['ResponseMetadata']['HTTPHeaders']} {kept['Metadata']}".encode(),
            )
            async with kept["Body"] as body:
                yield "object", await body.read()


async def _metrics(world: World) -> AsyncGenerator[Sink]:
    ports = world.stack.config.ports
    async with httpx.AsyncClient(trust_env=False) as http:
        for port in (
            ports.api_metrics,
            ports.worker_metrics,
            ports.worker_sdk_metrics,
            ports.temporal_metrics,
        ):
            yield "metrics", (await http.get(f"http://127.0.0.1:{port}/metrics")).content


def _command_lines(world: World) -> list[Sink]:
    """Every user of the machine sees them."""
    parts = ("API", "Worker", "Codec", "Sandbox", "Temporal", "PostgreSQL", "S3")
    paths = [Path(f"/proc/{world.stack.pid_of(part)}/cmdline") for part in parts]
    return [("command line", path.read_bytes()) for path in paths if path.exists()]


def files_of(folder: Path) -> Iterator[Sink]:
    """Everything on disk, but where the keys of the stack itself are kept."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in OURS_ALONE:
            yield f"file {path.relative_to(folder)}", path.read_bytes()
