"""Prometheus, which reads the metrics of the local stack. It is no Python package."""

import shutil
import ssl
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from deploy.local.config import Config
from deploy.local.servers.process import Part
from deploy.observability.generate import RULES
from deploy.observability.scraping import local_configuration
from deploy.observability.table import Job

MISSING: Final = (
    "Prometheus is not installed, so nothing reads the metrics: install it (Debian and Ubuntu: "
    "apt-get install prometheus), and start again. The rest runs"
)
EVERY_SECONDS: Final = 5
# Its readiness check uses plain HTTP; reading the public authorities takes longer than a check.
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def find_prometheus() -> Path | None:
    """Return the program, or None where it is not installed."""
    program = shutil.which("prometheus")
    return None if program is None else Path(program)


def prometheus(program: Path, config: Config, *, every_seconds: int = EVERY_SECONDS) -> Part:
    """Return the server on the loopback port of `config`, with the rules of deploy/prometheus/."""
    folder = config.folder / "prometheus"
    configuration = folder / "prometheus.json"
    address = f"127.0.0.1:{config.ports.prometheus}"
    ports = {
        Job.API: config.ports.api_metrics,
        Job.WORKER: config.ports.worker_metrics,
        Job.SDK: config.ports.worker_sdk_metrics,
        Job.TEMPORAL: config.ports.temporal_metrics,
    }
    targets = {job: f"127.0.0.1:{port}" for job, port in ports.items()}

    def write_configuration() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        text = local_configuration(targets, rules_file=str(RULES), every_seconds=every_seconds)
        configuration.write_text(text, encoding="utf-8")

    return Part(
        name="Prometheus",
        command=(
            str(program),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--storage.tsdb.retention.time=7d",
            f"--web.listen-address={address}",
            "--log.level=warn",
        ),
        log=config.logs / "prometheus.log",
        address=f"http://{address}/alerts",
        ready=partial(_ready, f"http://{address}/-/ready"),
        prepare=write_configuration,
    )


async def _ready(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False, verify=_NO_TLS, timeout=5) as client:
        (await client.get(url)).raise_for_status()
