"""Settings: the variables of each process, validation and error texts."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.platform.settings.api import PublicAddressSettings
from core.platform.settings.base import EXAMPLE_SECRET, Settings
from core.platform.settings.egress import OutboundSettings
from core.platform.settings.load import describe_settings, load, secret_values
from core.platform.settings.processes import AdminProcess, ApiProcess, MigrateProcess, WorkerProcess
from core.platform.settings.providers import ProviderSettings
from core.platform.settings.stores import DatabaseSettings, StorageSettings
from core.platform.settings.temporal import TemporalSettings
from core.platform.temporal.worker_versions import worker_deployment
from core.platform.urls import callback_base_url, callback_note, checked_url, reach

ROOT = Path(__file__).parents[3]
KEY_A = base64.b64encode(b"a" * 32).decode()
KEY_B = base64.b64encode(b"b" * 32).decode()
COMPLETE = {
    "DATABASE_URL": "postgresql://app:pass-of-db@localhost/takeone",
    "S3_BUCKET": "takeone",
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "aws-secret-value",
    "FAL_KEY": "fal-secret-value",
    "ENCRYPTION_KEYS": f"{KEY_B},{KEY_A}",
}


pytestmark = pytest.mark.usefixtures("env_file_is_read")


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the environment variables and the .env file of the test run."""
    for name in list(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def refusal(settings: type[Settings], capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as stopped:
        load(settings)
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


@pytest.mark.parametrize("process", [ApiProcess, WorkerProcess, AdminProcess, MigrateProcess])
def test_settings_complete_environment_starts_every_process(
    process: type[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, COMPLETE)
    assert isinstance(load(process), process)


def test_settings_defaults_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, COMPLETE)
    api = load(ApiProcess)
    assert (api.api_host, api.api_port, api.public_base_url) == (
        "127.0.0.1",
        8080,
        "http://127.0.0.1:8080",
    )
    assert (api.aws_region, api.cdn_base_url, api.s3_endpoint_url) == ("us-east-1", None, None)
    assert (api.fal_queue_url, api.fal_api_url) == (
        "https://queue.fal.run",
        "https://api.fal.ai/v1",
    )
    assert api.replicate_base_url == "https://api.replicate.com"
    assert api.owner_url.get_secret_value() == COMPLETE["DATABASE_URL"]
    assert api.encryption_key_bytes() == [b"b" * 32, b"a" * 32]
    assert api.allowed_private_hosts == ()


def test_settings_report_each_missing_one_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = refusal(WorkerProcess, capsys)
    named = sorted(line.partition(":")[0] for line in lines)
    assert named == [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "DATABASE_URL",
        "ENCRYPTION_KEYS",
        "REPLICATE_API_TOKEN",
        "S3_BUCKET",
    ]
    assert all("not set" in line for line in lines)
    assert any("FAL_KEY" in line for line in lines)


def test_settings_of_migrations_require_only_the_database(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [line] = refusal(MigrateProcess, capsys)
    assert line.startswith("DATABASE_URL: not set. Set it to: ")
    monkeypatch.setenv("DATABASE_URL", "postgresql://app@localhost/takeone")
    monkeypatch.setenv("DATABASE_OWNER_URL", "postgresql://owner@localhost/takeone")
    assert (
        load(MigrateProcess).owner_url.get_secret_value() == "postgresql://owner@localhost/takeone"
    )


@pytest.mark.parametrize(
    ("name", "build_id", "refused"),
    [
        ("takeone", "1.0", None),
        ("production/takeone", "v1-3f9c", None),  # as the Worker Controller sets them
        ("takeone", "", "TEMPORAL_WORKER_BUILD_ID: not set"),
        ("", "1.0", "TEMPORAL_WORKER_BUILD_ID: set, but"),
        ("take.one", "1.0", "TEMPORAL_DEPLOYMENT_NAME: "),
        ("takeone", "1:0", "TEMPORAL_WORKER_BUILD_ID: "),
    ],
)
def test_settings_of_a_worker_version_are_both_or_neither(
    name: str,
    build_id: str,
    refused: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_all(monkeypatch, COMPLETE)
    assert worker_deployment(load(WorkerProcess)) is None
    versions = {"TEMPORAL_DEPLOYMENT_NAME": name, "TEMPORAL_WORKER_BUILD_ID": build_id}
    set_all(monkeypatch, versions)
    if refused is None:
        deployment = worker_deployment(load(WorkerProcess))
        assert deployment is not None
        assert (deployment.version.deployment_name, deployment.version.build_id) == (name, build_id)
    else:
        (line,) = refusal(WorkerProcess, capsys)
        assert line.startswith(refused)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "mysql://app:planted-secret@localhost/takeone"),
        ("ENCRYPTION_KEYS", "planted-secret"),
        ("ENCRYPTION_KEYS", base64.b64encode(b"planted-secret").decode()),
        ("ENCRYPTION_KEYS", " , "),
        ("API_PORT", "planted-secret"),
        ("API_PORT", "65536"),
        ("METRICS_PORT", "-1"),
        ("PUBLIC_URL", "ftp://planted-secret"),
        ("PUBLIC_URL", "https://planted-secret:99999"),
        ("PUBLIC_URL", "https://example.com/?token=planted-secret"),
        ("S3_ENDPOINT_URL", "localhost:9000"),
        ("S3_BUCKET", "ab"),
        ("LOG_FORMAT", "planted-secret"),
        ("LOG_LEVEL", "planted-secret"),
        ("FAL_HORIZON_SECONDS", "300"),
        ("FAL_HORIZON_SECONDS", "5"),
        ("FAL_IMAGE_HORIZON_SECONDS", "60"),
        ("FAL_IMAGE_START_DEADLINE_SECONDS", "0"),
        ("REPLICATE_HORIZON_SECONDS", "3600"),
        ("REPLICATE_HORIZON_SECONDS", "5"),
    ],
)
def test_settings_error_names_the_variable_without_its_value(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_all(monkeypatch, {**COMPLETE, variable: value})
    [line] = refusal(ApiProcess, capsys)
    assert line.startswith(f"{variable}: ")
    assert "Meaning: " in line
    assert "planted-secret" not in line
    assert base64.b64encode(b"planted-secret").decode() not in line


@pytest.mark.parametrize("process", ["ApiProcess", "WorkerProcess"])
def test_invalid_settings_exit_with_2(process: str, tmp_path: Path) -> None:
    """In a real process: exit code 2, the lines on stderr, no traceback."""
    program = (
        "from core.platform.settings import processes\n"
        "from core.platform.settings.load import load\n"
        f"load(processes.{process})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**COMPLETE, "PYTHONPATH": str(ROOT), "S3_BUCKET": "", "API_PORT": "http"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert sorted(line.partition(":")[0] for line in done.stderr.splitlines()) == [
        "API_PORT",
        "S3_BUCKET",
    ]


def test_settings_of_the_environment_override_the_env_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_text(
        "DATABASE_URL=postgresql://file@localhost/a\nDATABASE_POOL_SIZE=3\nUNKNOWN=1\n"
    )
    assert load(DatabaseSettings).database_url.get_secret_value() == "postgresql://file@localhost/a"
    monkeypatch.setenv("DATABASE_URL", "postgresql://environment@localhost/a")
    settings = load(DatabaseSettings)
    assert settings.database_url.get_secret_value() == "postgresql://environment@localhost/a"
    assert settings.database_pool_size == 3


def test_settings_unreadable_env_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_bytes(b"DATABASE_URL=\xff\xfe\n")
    assert refusal(DatabaseSettings, capsys) == [".env: cannot be read (UnicodeDecodeError)"]


def test_settings_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {**COMPLETE, "CDN_BASE_URL": "", "API_PORT": ""})
    api = load(ApiProcess)
    assert (api.cdn_base_url, api.api_port) == (None, 8080)


@pytest.mark.parametrize("variable", ["FAL_KEY", "REPLICATE_API_TOKEN"])
def test_settings_one_provider_is_enough(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "a-key")
    providers = load(ProviderSettings)
    assert [providers.fal_key is None, providers.replicate_api_token is None] == [
        variable != "FAL_KEY",
        variable != "REPLICATE_API_TOKEN",
    ]


def test_settings_show_no_secret_when_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, COMPLETE)
    worker = load(WorkerProcess)
    text = f"{worker!r} {worker} {worker.model_dump()} {worker.model_dump_json()}"
    for secret in ("pass-of-db", "aws-secret-value", "fal-secret-value", KEY_A, KEY_B):
        assert secret in "".join(secret_values(worker))
        assert secret not in text


def test_password_of_a_url_is_secret_in_both_spellings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver's error may show the password as it decoded it."""
    url = "postgresql://app:p%40ss%2Fword@localhost/takeone"
    set_all(monkeypatch, {**COMPLETE, "DATABASE_URL": url})
    assert {"p%40ss%2Fword", "p@ss/word"} <= set(secret_values(load(WorkerProcess)))


def test_secrets_of_the_example_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = (Path(__file__).parents[3] / ".env.example").read_text()
    names = {line.partition("=")[0] for line in example.splitlines() if EXAMPLE_SECRET in line}
    read = {name.lower() for name in names} & set(WorkerProcess.model_fields)
    assert read >= {"database_url", "database_owner_url", "aws_secret_access_key"}
    for name in read:
        set_all(monkeypatch, COMPLETE)
        url = f"postgresql://app:{EXAMPLE_SECRET}-app@localhost/takeone"
        value = url if name.endswith("_url") else f"{EXAMPLE_SECRET}-key"
        monkeypatch.setenv(name.upper(), value)
        with pytest.raises(SystemExit):
            load(WorkerProcess)
        err = capsys.readouterr().err
        assert err.startswith(f"{name.upper()}: "), err
        assert EXAMPLE_SECRET not in err
        monkeypatch.delenv(name.upper())


def test_settings_private_hosts_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {"ALLOWED_PRIVATE_HOSTS": "localhost:8090, Sandbox:80 ,[::1]:9000"})
    assert load(OutboundSettings).allowed_private_hosts == (
        "localhost:8090",
        "sandbox:80",
        "[::1]:9000",
    )
    assert load(OutboundSettings).outbound_rules().allowed_private_hosts == {
        ("localhost", 8090),
        ("sandbox", 80),
        ("::1", 9000),
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_PRIVATE_HOSTS", "http://localhost"),
        ("ALLOWED_PRIVATE_HOSTS", "localhost"),
        ("ALLOWED_PRIVATE_HOSTS", "127.0.0.1"),
        ("ALLOWED_PRIVATE_HOSTS", "::1"),
        ("ALLOWED_PRIVATE_HOSTS", "[::1]"),
        ("ALLOWED_PRIVATE_HOSTS", "localhost:port"),
        ("ALLOWED_PRIVATE_HOSTS", "localhost:70000"),
        ("ALLOWED_PRIVATE_HOSTS", "10.0.0.0/8"),
        ("ALLOWED_PRIVATE_HOSTS", "127.1:9000"),
        ("EGRESS_PROXY_URL", "https://proxy.example.com"),
        ("EGRESS_PROXY_URL", "proxy.example.com:3128"),
        ("EGRESS_PROXY_URL", "http://proxy.example.com/path"),
    ],
)
def test_settings_reject_unusable_outbound_values(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_all(monkeypatch, {name: value})
    (line,) = refusal(OutboundSettings, capsys)
    assert line.startswith(f"{name}: ")


def test_settings_temporal_environment_includes_the_env_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_text("TEMPORAL_TLS_SERVER_NAME=file\nTEMPORAL_NAMESPACE=file\nOTHER=1\n")
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "environment")
    temporal = load(TemporalSettings)
    assert temporal.temporal_namespace == "environment"
    assert temporal.sdk_environment() == {
        "TEMPORAL_TLS_SERVER_NAME": "file",
        "TEMPORAL_NAMESPACE": "environment",
    }


def test_settings_help_names_every_variable_with_its_meaning() -> None:
    text = describe_settings(WorkerProcess)
    for name, field in WorkerProcess.model_fields.items():
        assert f"  {name.upper()}" in text
        assert field.description
        assert field.description in text
    assert "S3_BUCKET  (required)" in text
    assert "AWS_REGION  [us-east-1]" in text
    assert describe_settings(MigrateProcess).index("DATABASE_URL") > 0
    assert "FAL_KEY" not in describe_settings(MigrateProcess)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("0.0.0.0", "http://127.0.0.1:9000"),
        ("::", "http://127.0.0.1:9000"),
        ("::1", "http://[::1]:9000"),
    ],
)
def test_public_url_default_can_be_called(
    host: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, {"API_HOST": host, "API_PORT": "9000"})
    assert load(PublicAddressSettings).public_base_url == expected


def test_url_slashes_at_the_end_are_dropped() -> None:
    assert checked_url("https://cdn.example.com/a//") == "https://cdn.example.com/a"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:1", "loopback"),
        ("http://api.localhost", "loopback"),
        ("http://127.0.0.2", "loopback"),
        ("http://[::1]:5", "loopback"),
        ("http://0.0.0.0:5", "loopback"),
        ("http://10.1.2.3", "private"),
        ("http://[fd00::1]", "private"),
        ("http://169.254.169.254", "private"),
        ("http://sandbox:8090", "private"),
        ("http://api.default.svc", "private"),
        ("https://api.example.com.", "public"),
        ("https://8.8.8.8", "public"),
    ],
)
def test_reach_of_an_address(url: str, expected: str) -> None:
    assert reach(url) == expected


@pytest.mark.parametrize(
    ("public_url", "provider", "reachable"),
    [
        ("https://api.example.com", "https://queue.fal.run", True),
        ("http://api.example.com", "https://queue.fal.run", False),
        ("http://127.0.0.1:8080", "https://queue.fal.run", False),
        ("https://localhost:8080", "https://queue.fal.run", False),
        ("https://10.0.0.5", "https://queue.fal.run", False),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8090", True),
        ("http://api:8080", "http://sandbox:8090", True),
        ("http://127.0.0.1:8080", "http://sandbox:8090", False),
        ("http://api:8080", "http://127.0.0.1:8090", True),
    ],
)
def test_callback_is_requested_only_at_a_reachable_address(
    public_url: str, provider: str, reachable: bool
) -> None:
    assert callback_base_url(public_url, provider) == (public_url if reachable else None)
    note = callback_note("fal", public_url, provider)
    assert public_url in note
    assert ("by callback" in note) == reachable
    assert "polling" in note


@pytest.mark.parametrize(
    "address",
    [
        "https://account.r2.cloudflarestorage.com/takeone",
        "https://account.r2.cloudflarestorage.com/another",
        "http://minio:9000/takeone/",
        "https://storage.example.com/s3/takeone",
        "https://takeone.s3.eu-west-1.amazonaws.com",
        "https://takeone.nyc3.digitaloceanspaces.com",
    ],
)
@pytest.mark.parametrize("variable", ["S3_ENDPOINT_URL", "S3_PUBLIC_ENDPOINT_URL"])
def test_settings_refuse_an_endpoint_with_the_bucket(
    variable: str,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_all(monkeypatch, {**COMPLETE, variable: address})
    [line] = refusal(WorkerProcess, capsys)
    assert line.startswith(f"{variable}: contains the bucket; ")


@pytest.mark.parametrize(
    "address",
    [
        "https://account.r2.cloudflarestorage.com",
        "https://takeone.example.com",
        "https://project.supabase.co/storage/v1/s3",
    ],
)
def test_settings_accept_an_endpoint_without_the_bucket(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, {**COMPLETE, "S3_ENDPOINT_URL": address})
    assert load(StorageSettings).s3_endpoint_url == address


def test_settings_of_a_role_need_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {"S3_BUCKET": "takeone", "S3_CREDENTIALS": "role"})
    assert load(StorageSettings).aws_access_key_id is None
