"""Uploads by URL: fetched through the egress guard, and refused with the name of the field."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import pytest

from tests.api.conftest import TestUser
from tests.api.uploading import MIB, content_of, upload, uploading_api
from tests.store.files.conftest import s3 as s3
from tests.store.files.conftest import s3_settings as s3_settings
from tests.store.files.file_server import file_server
from tests.support.media_files import PLAYLISTS, picture
from tests.support.servers import PostgresServer, S3Server, new_database

pytestmark = [pytest.mark.guarantee("G6"), pytest.mark.usefixtures("s3")]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    """A user, a web server with faulty files, and the URL of a picture of `content`."""

    user: TestUser
    server_url: str
    picture_url: str
    content: bytes


@pytest.fixture(scope="module")
async def site(
    postgres_server: PostgresServer, template_database: str, s3_server: S3Server
) -> AsyncGenerator[_Site]:
    storage = urlsplit(s3_server.access.endpoint_url).netloc
    async with (
        new_database(postgres_server, template_database) as database,
        file_server() as files,
        uploading_api(
            database,
            s3_server,
            asset_max_bytes=MIB,
            allowed_private_hosts=(storage, urlsplit(files.url).netloc),
        ) as api,
    ):
        owner, user = await api.new_user(), await api.new_user()
        async with owner.http, user.http:
            asset_id = (await upload(owner, picture("PNG"))).json()["id"]
            answer = await owner.http.get(f"/api/assets/{asset_id}/content")
            yield _Site(
                user=user,
                server_url=files.url,
                picture_url=answer.headers["location"],
                content=picture("PNG"),
            )


async def _post(site: _Site, url: str) -> httpx.Response:
    return await site.user.http.post("/api/assets", json={"url": url})


async def test_file_at_a_url_becomes_an_asset(site: _Site) -> None:
    answer = await _post(site, site.picture_url)

    assert answer.status_code == 201, answer.text
    assert await content_of(site.user, answer.json()["id"]) == site.content
    again = await _post(site, site.picture_url)
    assert (again.status_code, again.json()) == (200, answer.json())


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/status/404", "media_unavailable", "404"),
        ("/status/500", "media_unavailable", "500"),
        ("/short/1000", "media_damaged", "cut off"),
        ("/file/1000", "media_damaged", "cut off"),
        ("/claims/9000000", "media_too_large", "1048576"),
        ("/endless/", "media_too_large", "1048576"),
        ("/gzip-bomb/90000000", "media_too_large", "1048576"),
    ],
)
async def test_bad_file_at_a_url_names_the_field(
    site: _Site, path: str, code: str, words: str
) -> None:
    answer = await _post(site, f"{site.server_url}{path}")
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    (error,) = answer.json()["errors"]
    assert error["field"] == "url"
    assert words in error["detail"]


@pytest.mark.parametrize("name", PLAYLISTS)
async def test_playlist_named_mp4_starts_no_plan(site: _Site, name: str) -> None:
    url = f"{site.server_url}/playlist/{name}/x.mp4"
    assert (await _post(site, url)).json()["code"] == "media_unsupported"
    cut = {"name": "cut", "kind": "trim", "params": {"source": {"url": url}, "duration": 1}}
    paid = {"name": "last", "kind": "image", "params": {"prompt": "a kite"}, "needs": ["cut"]}
    plan = {"version": 1, "steps": [cut, paid], "result": "last"}
    answer = await site.user.http.post("/api/executions", json={"plan": plan})
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == (
        "/plan/steps/0/params/source",
        "media_unsupported",
    )
    assert error["detail"]
    assert (await site.user.http.get("/api/executions")).json()["data"] == []


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/a.png", "http://169.254.169.254/latest", "http://10.0.0.1/a.png"],
)
async def test_private_address_is_not_called(site: _Site, url: str) -> None:
    answer = await _post(site, url)
    assert (answer.status_code, answer.json()["code"]) == (422, "media_unavailable")


@pytest.mark.parametrize("url", ["data:,x", "file:///etc/passwd", "ftp://example.com/a", "x"])
async def test_only_http_urls_are_accepted(site: _Site, url: str) -> None:
    answer = await _post(site, url)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_other_bodies_are_refused(site: _Site) -> None:
    text = await site.user.http.post(
        "/api/assets", content=b"x", headers={"Content-Type": "text/plain"}
    )
    assert (text.status_code, text.json()["code"]) == (415, "unsupported_media_type")
    more = await site.user.http.post("/api/assets", json={"url": site.picture_url, "more": 1})
    assert (more.status_code, more.json()["errors"][0]["field"]) == (422, "more")
