"""The product's processes and their environment, free of the caller's keys and addresses."""

import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import httpx

from deploy.local.config import ROOT, Config
from deploy.local.keys import LocalKeys
from deploy.local.servers.postgres import superuser_dsn
from deploy.local.servers.process import Part, PartFailedError
from deploy.local.servers.s3 import S3Access
from deploy.local.servers.temporal import NAMESPACE

APPLICATION_ROLE = "takeone"
BUCKET = "takeone"
# Readiness checks use plain HTTP; reading the public authorities takes longer than a check.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
# Variables that the product, its SDKs or its servers read: each could redirect a local run or spend
# money.
FOREIGN = (
    "AWS_", "FAL_", "REPLICATE_", "ELEVENLABS_", "COG_", "TEMPORAL_", "S3_", "CDN_", "DATABASE_", "SANDBOX_", "PG",
    "API_", "WORKER_", "METRICS_", "SDK_METRICS_", "PUBLIC_URL", "ENCRYPTION_KEYS", "ALLOWED_PRIVATE_HOSTS", "EGRESS_",
    "RATE_LIMIT_", "CODEC_", "USUAL_", "OTEL_",
)  # fmt: skip


def s3_access(config: Config, keys: LocalKeys) -> S3Access:
    return S3Access(
        endpoint_url=f"http://127.0.0.1:{config.ports.s3}",
        bucket=BUCKET,
        access_key_id=keys.s3_access_key_id,
        secret_access_key=keys.s3_secret_access_key,
    )


def product_environment(
    config: Config, keys: LocalKeys, outer: Mapping[str, str]
) -> dict[str, str]:
    """Return the complete settings of the API, the worker and the administration commands."""
    access = s3_access(config, keys)
    login = f"{APPLICATION_ROLE}:{keys.application_password}"
    return without_foreign(outer) | {
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": f"postgresql://{login}@127.0.0.1:{config.ports.postgres}/postgres",
        "DATABASE_OWNER_URL": superuser_dsn(config.ports.postgres, keys.postgres_password),
        "TEMPORAL_ADDRESS": f"127.0.0.1:{config.ports.temporal}",
        "TEMPORAL_NAMESPACE": NAMESPACE,
        "TEMPORAL_UI_URL": config.temporal_ui_url,
        # An empty file, because a profile of the user must not add keys or TLS.
        "TEMPORAL_CONFIG_FILE": str(config.folder / "temporal.toml"),
        "API_HOST": "127.0.0.1",
        "API_PORT": str(config.ports.api),
        "PUBLIC_URL": config.api_url,
        "S3_ENDPOINT_URL": access.endpoint_url,
        "S3_BUCKET": access.bucket,
        "AWS_ACCESS_KEY_ID": access.access_key_id,
        "AWS_SECRET_ACCESS_KEY": access.secret_access_key,
        "AWS_REGION": "us-east-1",
        "CDN_BASE_URL": f"{access.endpoint_url}/{access.bucket}",
        "ENCRYPTION_KEYS": keys.encryption_key,
        "TEMPORAL_ENCRYPT_PAYLOADS": str(config.encrypt_payloads),
        "ALLOWED_PRIVATE_HOSTS": ",".join(_private_hosts(config)),
        # Load tests against the local stack must not be limited.
        "RATE_LIMIT_WRITES": "0",
        "RATE_LIMIT_READS": "0",
        **_provider_environment(config, keys),
    }


def _private_hosts(config: Config) -> list[str]:
    """Return the only services of this machine that webhooks and downloads may reach."""
    hosts = [f"127.0.0.1:{config.ports.demo_webhook}", *config.receivers]
    return hosts if config.live else [f"127.0.0.1:{config.ports.sandbox}", *hosts]


def _provider_environment(config: Config, keys: LocalKeys) -> dict[str, str]:
    if config.live is not None:
        live = {name.upper(): value for name, value in asdict(config.live).items()}
        return {name: value for name, value in live.items() if value}
    expected: dict[str, str] = {}
    if config.sandbox_seconds is not None:
        expected = {
            "USUAL_IMAGE_SECONDS": str(max(1, round(config.sandbox_seconds.image))),
            "USUAL_VIDEO_SECONDS": str(max(1, round(config.sandbox_seconds.video))),
        }
    return {
        **expected,
        "FAL_KEY": keys.sandbox_fal_key,
        "FAL_QUEUE_URL": f"{config.sandbox_url}/fal/queue",
        "FAL_API_URL": f"{config.sandbox_url}/fal/api/v1",
        "FAL_JWKS_URL": f"{config.sandbox_url}/fal/.well-known/jwks.json",
        "ELEVENLABS_API_KEY": keys.sandbox_fal_key,  # the sandbox takes any key for speech
        "ELEVENLABS_BASE_URL": f"{config.sandbox_url}/elevenlabs",
        "REPLICATE_API_TOKEN": keys.sandbox_replicate_token,
        "REPLICATE_BASE_URL": f"{config.sandbox_url}/replicate",
        "REPLICATE_WEBHOOK_SECRET": keys.sandbox_webhook_secret,
    }


def without_foreign(outer: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's environment without variables that could redirect a process.

    Loopback never goes through a proxy.
    """
    kept = {name: value for name, value in outer.items() if not name.upper().startswith(FOREIGN)}
    direct = ",".join(
        filter(None, [outer.get("NO_PROXY") or outer.get("no_proxy"), "127.0.0.1,localhost"])
    )
    return kept | {"NO_PROXY": direct, "no_proxy": direct, "PYTHONUNBUFFERED": "1"}


def sandbox(config: Config, keys: LocalKeys, outer: Mapping[str, str]) -> Part:
    """Return the sandbox process, which stands in for the providers."""
    environment = without_foreign(outer) | {
        "PYTHONPATH": str(ROOT),
        "SANDBOX_PORT": str(config.ports.sandbox),
        "SANDBOX_CONTROL_PORT": str(config.ports.sandbox_control),
        "SANDBOX_DATA_DIR": str(config.folder / "sandbox"),
        "SANDBOX_FAL_KEY": keys.sandbox_fal_key,
        "SANDBOX_REPLICATE_TOKEN": keys.sandbox_replicate_token,
        "SANDBOX_REPLICATE_WEBHOOK_SECRET": keys.sandbox_webhook_secret,
    }
    if config.sandbox_seconds is not None:
        environment |= {
            "SANDBOX_IMAGE_SECONDS": str(config.sandbox_seconds.image),
            "SANDBOX_VIDEO_SECONDS": str(config.sandbox_seconds.video),
        }
    return Part(
        name="Sandbox",
        command=(sys.executable, "-m", "sandbox"),
        environment=environment,
        log=config.logs / "sandbox.log",
        address=config.sandbox_url,
        ready=partial(_ok, f"{config.sandbox_control_url}/health"),
        folder=config.folder,
        stop_seconds=5.0,
    )


def api(config: Config, environment: Mapping[str, str]) -> Part:
    return Part(
        name="API",
        command=(sys.executable, "-m", "api"),
        environment={**environment, "METRICS_PORT": str(config.ports.api_metrics)},
        log=config.logs / "api.log",
        address=config.api_url,
        ready=partial(_ok, f"{config.api_url}/readyz"),
        folder=config.folder,
        stop_seconds=15.0,
    )


def worker(config: Config, environment: Mapping[str, str]) -> Part:
    ports = {
        "METRICS_PORT": str(config.ports.worker_metrics),
        "SDK_METRICS_PORT": str(config.ports.worker_sdk_metrics),
    }
    return Part(
        name="Worker",
        command=(sys.executable, str(ROOT / "worker.py")),
        environment={**environment, **ports},
        log=config.logs / "worker.log",
        address=f"http://127.0.0.1:{config.ports.worker_metrics}/metrics",
        ready=partial(_polls, f"http://127.0.0.1:{config.ports.worker_sdk_metrics}/metrics"),
        folder=config.folder,
        # The worker lets create calls finish, which may take 25 s: aborting one makes its outcome
        # unknown.
        stop_seconds=30.0,
    )


def codec(config: Config, environment: Mapping[str, str]) -> Part:
    """Return the codec process, which decrypts payloads for the Web UI.

    It has the encryption keys and nothing else; any program that reaches loopback may use it.
    """
    ui_port = config.ports.temporal_ui
    settings = {
        "PYTHONPATH": environment["PYTHONPATH"],
        "ENCRYPTION_KEYS": environment["ENCRYPTION_KEYS"],
        "CODEC_PORT": str(config.ports.codec),
        "CODEC_ORIGINS": f"http://127.0.0.1:{ui_port},http://localhost:{ui_port}",
    }
    return Part(
        name="Codec",
        command=(sys.executable, "-m", "api.codec"),
        environment=without_foreign(environment) | settings,
        log=config.logs / "codec.log",
        address=config.codec_url,
        ready=partial(_ok, f"{config.codec_url}/healthz"),
        folder=config.folder,
    )


def operator_console(config: Config, environment: Mapping[str, str]) -> Part:
    """Return the operator's console, which has the settings of the administration commands."""
    port = str(config.ports.operator)
    return Part(
        name="Operator",
        command=(sys.executable, "-m", "cli", "console", "--port", port),
        environment=environment,
        log=config.logs / "operator.log",
        address=config.operator_url,
        ready=partial(_ok, f"{config.operator_url}/session"),
        folder=config.folder,
        stop_seconds=15.0,
    )


def run_tool(config: Config, environment: Mapping[str, str], *arguments: str) -> str:
    """Run a module of the product and return its output.

    Raise PartFailedError with the last line of its output if it fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env=dict(environment),
        cwd=config.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()] or [
            "no reason given"
        ]
        raise PartFailedError(f"{arguments[0]} ended with code {done.returncode}: {lines[-1]}")
    return done.stdout


def make_temporal_config(folder: Path) -> None:
    (folder / "temporal.toml").write_text("", encoding="utf-8")


async def _ok(url: str) -> str:
    async with httpx.AsyncClient(trust_env=False, verify=NO_TLS, timeout=5) as client:
        return (await client.get(url)).raise_for_status().text


async def _polls(sdk_metrics_url: str) -> None:
    """Raise until the worker polls Temporal; its metrics endpoint is up before that."""
    if 'poller_type="workflow_task"' not in await _ok(sdk_metrics_url):
        raise PartFailedError("it does not poll Temporal yet")
