"""The S3 client follows the settings alone; credentials of roles; addresses for clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiobotocore.session import AioSession
from aiohttp import web

from core.domain.media.content import StorageUnavailableError
from core.store.files.object_storage import ObjectStore
from tests.store.files.bucket import BUCKET

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from types_aiobotocore_s3 import S3Client

ROLE_KEYS = """{"AccessKeyId": "OFTHEROLE", "SecretAccessKey": "secret", "Token": "token-of-the-role",
"Expiration": "2099-01-01T00:00:00Z", "RoleArn": "arn:aws:iam::1:role/takeone"}"""
STS_ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>OFTHEPOD</AccessKeyId>
<SecretAccessKey>secret</SecretAccessKey><SessionToken>token-of-the-pod</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser>
<AssumedRoleId>A:b</AssumedRoleId><Arn>arn:aws:sts::1:assumed-role/takeone/b</Arn></AssumedRoleUser>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


@pytest.fixture
async def role_server() -> AsyncGenerator[str]:
    """Serve an address that answers as the credential endpoint of ECS (GET) and as STS (POST)."""

    async def answer(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.Response(text=ROLE_KEYS, content_type="application/json")
        assert "WebIdentityToken=token-of-the-file" in await request.text()
        return web.Response(text=STS_ANSWER, content_type="text/xml")

    application = web.Application()
    application.router.add_route("*", "/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def signed(**settings: Any) -> tuple[str, dict[str, list[str]]]:
    """Return the host of a presigned link, and its parameters."""
    defaults: dict[str, Any] = {
        "endpoint_url": "http://127.0.0.1:1",
        "bucket": "films",
        "access_key_id": "KEY",
        "secret_access_key": "secret",
        "region": "us-east-1",
        "cdn_base_url": None,
    }
    async with ObjectStore.open(**defaults | settings) as store:
        address = urlsplit(await store.address("one.mp4"))
    return address.netloc, parse_qs(address.query)


@pytest.mark.parametrize(
    "environment",
    [
        {"AWS_PROFILE": "of-another-program"},
        {"AWS_CONFIG_FILE": "{folder}/config"},
        {"AWS_CONFIG_FILE": "{folder}/broken"},
        {"AWS_SHARED_CREDENTIALS_FILE": "{folder}/broken"},
        {"AWS_CA_BUNDLE": "{folder}/missing.pem", "REQUESTS_CA_BUNDLE": "{folder}/missing.pem"},
        {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"},
        {"AWS_MAX_ATTEMPTS": "many"},
        {"AWS_DATA_PATH": "{folder}"},
        {"AWS_DEFAULTS_MODE": "no-such-mode", "AWS_USE_FIPS_ENDPOINT": "true"},
    ],
    ids=lambda environment: next(iter(environment)),
)
async def test_aws_environment_has_no_effect(
    environment: dict[str, str],
    s3: S3Client,
    s3_settings: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "config").write_text(
        "[default]\nendpoint_url = http://127.0.0.1:1\ns3 =\n  addressing_style = virtual\n"
        "  use_accelerate_endpoint = true\nregion = eu-west-1\nuse_fips_endpoint = true\n"
    )
    (tmp_path / "broken").write_text("not a configuration")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(folder=tmp_path))
    assert s3_settings["bucket"] == BUCKET
    async with ObjectStore.open(**s3_settings, cdn_base_url=None) as store:
        await store.check()


async def test_session_token_is_only_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-another-program")
    _, without = await signed()
    _, with_token = await signed(session_token="ours")
    assert "X-Amz-Security-Token" not in without
    assert with_token["X-Amz-Security-Token"] == ["ours"]


async def test_links_name_the_public_endpoint() -> None:
    host, _ = await signed(public_endpoint_url="https://files.example.com")
    assert host == "files.example.com"


async def test_role_of_a_container_gives_the_credentials(
    role_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", role_server)
    _, query = await signed(access_key_id=None, secret_access_key=None)
    assert query["X-Amz-Credential"][0].startswith("OFTHEROLE/")
    assert query["X-Amz-Security-Token"] == ["token-of-the-role"]


async def test_role_of_a_pod_gives_the_credentials(
    role_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    create_client: Any = getattr(AioSession, "create_client")  # noqa: B009 - its overloads have no full types

    def redirected(session: AioSession, service: str, **options: Any) -> Any:
        changed = {"endpoint_url": role_server} if service == "sts" else {}
        return create_client(session, service, **options | changed)

    (tmp_path / "token").write_text("token-of-the-file")
    monkeypatch.setattr(AioSession, "create_client", redirected)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/takeone")
    monkeypatch.setenv("AWS_PROFILE", "of-another-program")
    _, query = await signed(access_key_id=None, secret_access_key=None)
    assert query["X-Amz-Credential"][0].startswith("OFTHEPOD/")


async def test_missing_role_is_reported(
    s3_settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_settings["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_settings["secret_access_key"])
    settings: dict[str, Any] = {**s3_settings, "access_key_id": None, "secret_access_key": None}
    async with ObjectStore.open(**settings, cdn_base_url=None) as store:
        with pytest.raises(StorageUnavailableError, match="S3_CREDENTIALS"):
            await store.check()
