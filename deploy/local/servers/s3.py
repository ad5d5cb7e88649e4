"""An S3 server (SeaweedFS) from its Python package: one process and one folder."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aioboto3
from aiobotocore.config import AioConfig

from core.store.files.s3_session import s3_session
from deploy.local.servers.process import Part
from deploy.local.servers.programs import program

# One public port, and seven between the server's internal parts.
PORTS = 8
HEALTH_KEY = "health"
PUBLIC_PREFIXES = ("images/", "videos/", "audios/", "transcripts/", "texts/")
"""Of the produced files; the restore marker has another one."""
PUBLIC_POLICY = "read-produced-files"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Access:
    """Address of the server and the credentials for writing.

    Anonymous clients can read a produced file by its address, and nothing else.
    """

    endpoint_url: str
    bucket: str
    access_key_id: str
    secret_access_key: str


def s3(folder: Path, ports: tuple[int, ...], access: S3Access, *, log: Path) -> Part:
    """Return SeaweedFS on 127.0.0.1:ports[0] with its data in `folder`/s3.

    Creates the bucket. `ports`: eight ports.
    """
    data = folder.resolve() / "s3"
    port, port_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = ports
    options = [
        f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false",
        f"-master.port={master}", f"-master.port.grpc={master_grpc}",
        f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}",
        f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}",
        "-s3", f"-s3.port={port}", f"-s3.port.grpc={port_grpc}", f"-s3.config={data / 's3.json'}",
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false", "-s3.autoCreateBucket=false",
        # A single master needs no election, which would add 4 to 22 s to each start.
        "-master.peers=none", "-volume.preStopSeconds=0", "-filer.disableHttp",
        # Many small volumes, no preallocation, and writes accepted even on a nearly full disk.
        "-master.volumeSizeLimitMB=256", "-volume.max=0", "-volume.minFreeSpace=50MiB",
    ]  # fmt: skip
    return Part(
        name="S3",
        command=(str(program("weed")), "-logtostderr=true", "server", *options),
        log=log,
        address=access.endpoint_url,
        # One session for all attempts: a new one takes longer than an attempt.
        ready=partial(_writes, access, s3_session()),
        prepare=partial(_configure, data, access),
        clean=partial(_remove_sockets, ports),
        folder=folder,
        # Its graceful stop takes up to 25 s. Acknowledged writes are already in its files.
        stop_seconds=1.5,
    )


def _configure(data: Path, access: S3Access) -> None:
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = data / "s3.json"
    config.touch(mode=0o600)
    key = {"accessKey": access.access_key_id, "secretKey": access.secret_access_key}
    writer = {
        "name": "takeone",
        "credentials": [key],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    # Not the server's action `Read`, which includes listing of uploads and of their parts.
    statement = {
        "Effect": "Allow",
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{access.bucket}/{prefix}*" for prefix in PUBLIC_PREFIXES],
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    reader = {"name": "anonymous", "policyNames": [PUBLIC_POLICY]}
    identities = {
        "identities": [writer, reader],
        "policies": [{"name": PUBLIC_POLICY, "content": json.dumps(policy)}],
    }
    config.write_text(json.dumps(identities))


def _remove_sockets(ports: tuple[int, ...]) -> None:
    """Remove the Unix sockets that a killed server leaves; their paths are fixed in the program."""
    for port in ports:
        for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 - the server's choice
            socket.unlink(missing_ok=True)


async def _writes(access: S3Access, session: aioboto3.Session) -> None:
    """Raise until a write succeeds: only that shows that all internal parts are connected."""
    async with session.client(  # pyright: ignore[reportUnknownMemberType] - other services have no stubs
        "s3",
        endpoint_url=access.endpoint_url,
        aws_access_key_id=access.access_key_id,
        aws_secret_access_key=access.secret_access_key,
        region_name="us-east-1",
        config=AioConfig(retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=2),
    ) as client:
        listed = await client.list_buckets()
        if access.bucket not in [bucket.get("Name") for bucket in listed.get("Buckets", [])]:
            await client.create_bucket(Bucket=access.bucket)
        await client.put_object(Bucket=access.bucket, Key=HEALTH_KEY, Body=b"ok")
