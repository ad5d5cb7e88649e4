"""The Temporal server with its Web UI from its Python package, with a SQLite database."""

from functools import partial
from pathlib import Path

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from deploy.local.servers.process import Part
from deploy.local.servers.programs import program

NAMESPACE = "default"
DYNAMIC_CONFIG = {
    "matching.enableFairness": "true",
    # One partition per queue is enough for one machine; it preserves order and lowers latency.
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
    "frontend.WorkflowPauseEnabled": "true",
}


def temporal(
    folder: Path,
    port: int,
    ui_port: int | None,
    metrics_port: int,
    *,
    log: Path,
    codec_url: str | None = None,
) -> Part:
    """Return the server on 127.0.0.1:port with its data in `folder`/temporal.db.

    ui_port: port of the Web UI, None for no Web UI.
    codec_url: the codec endpoint that decrypts payloads for the Web UI.
    """
    options = [
        "--ip=127.0.0.1", f"--port={port}", f"--metrics-port={metrics_port}", f"--namespace={NAMESPACE}",
        f"--db-filename={folder.resolve() / 'temporal.db'}", "--log-level=warn",
        # A write-ahead log without a sync per commit survives a killed process. After a power cut,
        # PostgreSQL is the record.
        "--sqlite-pragma=journal_mode=wal", "--sqlite-pragma=synchronous=1",
    ]  # fmt: skip
    options += (
        ["--headless"] if ui_port is None else [f"--ui-port={ui_port}", "--ui-disable-news-fetch"]
    )
    options += [f"--ui-codec-endpoint={codec_url}"] if codec_url is not None else []
    options += [f"--dynamic-config-value={name}={value}" for name, value in DYNAMIC_CONFIG.items()]
    return Part(
        name="Temporal",
        command=(str(program("temporal")), "server", "start-dev", *options),
        log=log,
        address=f"127.0.0.1:{port}",
        ready=partial(_answers, f"127.0.0.1:{port}"),
        folder=folder,
    )


async def _answers(address: str) -> None:
    client = await Client.connect(address)
    await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=NAMESPACE))
