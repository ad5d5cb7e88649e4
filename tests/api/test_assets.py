"""Uploads: what is accepted, converted, refused, deduplicated, limited and deleted."""

import asyncio
import hashlib
import io
import struct
import zlib
from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest
from PIL import Image

from core.domain.media.content import StorageUnavailableError
from core.maintenance.cleanup import Cleanup
from tests.api.conftest import Api, TestUser
from tests.api.uploading import MIB, content_of, upload, uploading_api
from tests.store.files.conftest import s3 as s3
from tests.store.files.conftest import s3_settings as s3_settings
from tests.support.media_files import PLAYLISTS, film, picture, silence, talkie
from tests.support.rows import accept, new_execution
from tests.support.servers import PostgresServer, S3Server, new_database

pytestmark = [pytest.mark.guarantee("G6"), pytest.mark.usefixtures("s3")]

ORIENTATION = 0x0112


@pytest.fixture(scope="module")
async def uploads(
    postgres_server: PostgresServer, template_database: str, s3_server: S3Server
) -> AsyncGenerator[Api]:
    async with (
        new_database(postgres_server, template_database) as database,
        uploading_api(
            database,
            s3_server,
            asset_max_bytes=MIB,
            assets_per_user=3,
            asset_bytes_per_user=2 * MIB,
        ) as api,
    ):
        yield api


@pytest.fixture
async def sender(uploads: Api) -> AsyncGenerator[TestUser]:
    user = await uploads.new_user()
    async with user.http:
        yield user


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)  # pyright: ignore[reportArgumentType] - any option
    return file.getvalue()


def still(mode: str = "RGB", size: tuple[int, int] = (64, 32)) -> Image.Image:
    return Image.new("RGB", size, "red").convert(mode)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return exif


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """Return a small PNG whose picture has 3.6 billion pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", head),
            chunk(b"IDAT", zlib.compress(bytes(100_000))),
            chunk(b"IEND", b""),
        )
    )


AS_IT_IS = {
    "jpeg": (encoded(still(), "JPEG"), "image", "image/jpeg"),
    "png": (encoded(still("RGBA"), "PNG"), "image", "image/png"),
    "webp": (encoded(still(), "WEBP"), "image", "image/webp"),
    "mp4": (talkie(), "video", "video/mp4"),
    "webm": (film("webm", "libvpx"), "video", "video/webm"),
    "mp3": (silence("mp3", "libmp3lame"), "audio", "audio/mpeg"),
    "wav": (silence("wav", "pcm_s16le"), "audio", "audio/wav"),
}
CONVERTED = {
    "cmyk": (encoded(still("CMYK"), "JPEG"), "image/jpeg", (64, 32)),
    "turned jpeg": (encoded(still(), "JPEG", exif=turned()), "image/jpeg", (32, 64)),
    "turned webp": (encoded(still(), "WEBP", exif=turned()), "image/jpeg", (32, 64)),
    "gray": (encoded(still("L"), "PNG"), "image/png", (64, 32)),
    "palette": (encoded(still("P"), "PNG"), "image/png", (64, 32)),
    "16 bits": (encoded(Image.new("I;16", (64, 32), 40_000), "PNG"), "image/png", (64, 32)),
}
FRAMES = {"save_all": True, "append_images": [Image.new("RGB", (64, 32), "blue")]}
REFUSED = {
    "text": (b"<html>not media</html>" * 20, "media_unsupported"),
    "empty": (b"", "media_damaged"),
    "gif": (encoded(still(), "GIF"), "media_unsupported"),
    "animated png": (encoded(still(), "PNG", **FRAMES), "media_unsupported"),
    "animated webp": (encoded(still(), "WEBP", **FRAMES), "media_unsupported"),
    "cut jpeg": (encoded(still(), "JPEG")[:-100], "media_damaged"),
    "cut png": (encoded(still(), "PNG")[:-20], "media_damaged"),
    "cut film": (talkie()[:-200], "media_damaged"),
    "damaged png": (
        encoded(still(), "PNG").replace(b"IDAT", b"IDAT\xff\xff", 1)[:-2],
        "media_damaged",
    ),
    "bomb": (bomb(), "media_too_large"),
    "mp4 of sound": (silence("mp4", "aac"), "media_unsupported"),
    "noise": (b"ID3" + bytes(1000), "media_damaged"),
    **{name: (content, "media_unsupported") for name, content in PLAYLISTS.items()},
    **{
        f"{name} in an mp4": (talkie()[:32] + content, "media_damaged")
        for name, content in PLAYLISTS.items()
    },
    "too many bytes": (silence("wav", "pcm_s16le", seconds=5.5), "media_too_large"),
}


@pytest.mark.parametrize("name", AS_IT_IS)
async def test_readable_media_are_stored_as_they_are(sender: TestUser, name: str) -> None:
    content, kind, content_type = AS_IT_IS[name]

    answer = await upload(sender, content)

    assert answer.status_code == 201, answer.text
    asset = answer.json()
    assert (asset["kind"], asset["contentType"], asset["source"]) == (kind, content_type, "upload")
    assert asset["size"] == len(content)
    assert asset["sha256"] == hashlib.sha256(content).hexdigest()
    assert (asset["width"] is None) == (kind == "audio")
    assert (asset["duration"] is None) == (kind == "image")
    assert await content_of(sender, asset["id"]) == content
    assert (await sender.http.get(f"/api/assets/{asset['id']}")).json() == asset


@pytest.mark.parametrize("name", CONVERTED)
async def test_unusual_pictures_are_converted_to_upright_rgb(sender: TestUser, name: str) -> None:
    content, content_type, size = CONVERTED[name]

    answer = await upload(sender, content)

    assert answer.status_code == 201, answer.text
    asset = answer.json()
    assert (asset["contentType"], (asset["width"], asset["height"])) == (content_type, size)
    stored = await content_of(sender, asset["id"])
    assert asset["sha256"] == hashlib.sha256(stored).hexdigest()
    image = Image.open(io.BytesIO(stored))
    image.load()
    assert (image.mode, image.size) == ("RGB", size)
    assert ORIENTATION not in image.getexif()
    assert (await upload(sender, content)).json() == asset, "the same content is the same asset"


async def test_gray_of_16_bits_keeps_its_brightness(sender: TestUser) -> None:
    asset = (await upload(sender, CONVERTED["16 bits"][0])).json()
    image = Image.open(io.BytesIO(await content_of(sender, asset["id"])))
    assert image.getpixel((0, 0)) == (155, 155, 155)  # of 40,000 in 65,535


@pytest.mark.parametrize("name", REFUSED)
async def test_bad_media_get_a_code_and_leave_nothing(
    uploads: Api, sender: TestUser, name: str
) -> None:
    content, code = REFUSED[name]

    answer = await upload(sender, content)

    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert (await sender.http.get("/api/assets")).json()["data"] == []
    async with uploads.database.as_user(sender.user_id) as conn:
        keys = await conn.fetch("SELECT object_key FROM file_deletions")
    assert [row for row in keys if await uploads.services.objects.head(row["object_key"])] == []


async def test_same_content_is_one_asset_of_each_user(uploads: Api, sender: TestUser) -> None:
    content = silence("wav", "pcm_s16le", seconds=0.1)

    answers = await asyncio.gather(*(upload(sender, content) for _ in range(4)))

    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    other = await uploads.new_user()
    async with other.http:
        foreign = await upload(other, content)
    assert foreign.status_code == 201
    assert foreign.json()["id"] != answers[0].json()["id"]


async def test_uploads_of_a_user_are_limited(sender: TestUser) -> None:
    large = silence("wav", "pcm_s16le", seconds=4)
    assert (await upload(sender, large)).status_code == 201
    assert (await upload(sender, silence("wav", "pcm_s16le", seconds=4.1))).status_code == 201

    beyond = await upload(sender, silence("wav", "pcm_s16le", seconds=4.2))

    assert (beyond.status_code, beyond.json()["code"]) == (409, "asset_limit_reached")
    assert beyond.json()["uploads"]["files"] == 2
    assert (await upload(sender, large)).status_code == 200, "it is there already"
    assert (await upload(sender, picture("PNG"))).status_code == 201
    assert (await upload(sender, picture("JPEG"))).json()["code"] == "asset_limit_reached"


async def test_list_is_paged_and_filtered_by_source(sender: TestUser) -> None:
    ids = [(await upload(sender, picture(form))).json()["id"] for form in ("PNG", "JPEG", "WEBP")]

    first = (await sender.http.get("/api/assets", params={"limit": 2})).json()
    second = (
        await sender.http.get("/api/assets", params={"limit": 2, "cursor": first["nextCursor"]})
    ).json()

    assert [item["id"] for item in first["data"] + second["data"]] == ids[::-1]
    assert second["nextCursor"] is None
    outputs = await sender.http.get("/api/assets", params={"source": "output"})
    assert outputs.json() == {"data": [], "nextCursor": None}


async def test_asset_in_use_is_deleted_after_the_execution(uploads: Api, sender: TestUser) -> None:
    asset_id = (await upload(sender, picture("PNG"))).json()["id"]
    one = await accept(uploads.database, new_execution(sender.user_id))
    async with uploads.database.as_system() as conn:
        await conn.execute(
            "UPDATE steps SET parameters = parameters || jsonb_build_object('image', $2::jsonb)"
            " WHERE execution_id = $1 AND name = 'image'",
            one.execution_id,
            {"asset": asset_id},
        )

    refused = await sender.http.delete(f"/api/assets/{asset_id}")

    assert (refused.status_code, refused.json()["code"]) == (409, "asset_in_use")
    assert refused.json()["executionId"] == one.execution_id
    async with uploads.database.as_system() as conn:
        await conn.execute(
            "UPDATE executions SET status = 'failed', ended_at = now() WHERE execution_id = $1",
            one.execution_id,
        )
    assert (await sender.http.delete(f"/api/assets/{asset_id}")).status_code == 204
    for path in (f"/api/assets/{asset_id}", f"/api/assets/{asset_id}/content"):
        assert (await sender.http.get(path)).status_code == 404
    assert (await sender.http.delete(f"/api/assets/{asset_id}")).status_code == 404


async def test_deleted_file_leaves_object_storage(uploads: Api, sender: TestUser) -> None:
    asset = (await upload(sender, picture("PNG"))).json()
    (key,) = await _keys(uploads, "assets", sender)

    await sender.http.delete(f"/api/assets/{asset['id']}")
    await Cleanup(database=uploads.database, objects=uploads.services.objects).delete_files()

    assert await uploads.services.objects.head(key) is None
    assert await _keys(uploads, "file_deletions", sender) == []


@pytest.mark.parametrize("life", [timedelta(hours=1), timedelta(0)])
async def test_file_of_a_killed_upload_is_deleted_later(
    uploads: Api, sender: TestUser, monkeypatch: pytest.MonkeyPatch, life: timedelta
) -> None:
    """The process ends between the file and its row: only the reserved key names the file."""

    async def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("core.store.files.user_assets.PLACE_LIFE", life)
        patched.setattr("core.ordering.assets.imports.lock_uploads", killed)
        patched.setattr("core.ordering.assets.imports.AssetImporter._delete_unused", killed)
        with pytest.raises(KeyboardInterrupt):
            await upload(sender, picture("PNG"))
    (key,) = await _keys(uploads, "file_deletions", sender)
    assert await uploads.services.objects.head(key) is not None

    await Cleanup(database=uploads.database, objects=uploads.services.objects).delete_files()

    may_continue = bool(life)
    assert (await uploads.services.objects.head(key) is not None) == may_continue
    assert (await _keys(uploads, "file_deletions", sender) != []) == may_continue


async def test_storage_that_fails_midway_is_answered_with_503(
    uploads: Api, sender: TestUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[str] = []

    async def fail(_target: object, *_arguments: object, **_named: object) -> None:
        failed.append("put")
        raise StorageUnavailableError("Object storage is unreachable.")

    with monkeypatch.context() as patched:
        patched.setattr("core.store.files.uploads.Target.put_whole", fail)
        answer = await upload(sender, picture("PNG"))

    assert failed == ["put"]
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert answer.json()["retryable"] is True
    assert answer.headers["Retry-After"]
    assert (await upload(sender, picture("PNG"))).status_code == 201


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
        ("multipart/form-data; boundary=x", b"nonsense"),
        ("multipart/form-data", b"--x--"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\n1\r\n--x--\r\n',
        ),
    ],
)
async def test_body_without_one_file_is_refused(
    sender: TestUser, content_type: str, body: bytes
) -> None:
    answer = await sender.http.post(
        "/api/assets", content=body, headers={"Content-Type": content_type}
    )
    assert (answer.status_code, answer.json()["code"]) in (
        (422, "invalid_request"),
        (422, "media_damaged"),
    ), answer.text


async def test_second_part_and_missing_end_are_refused(sender: TestUser) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%s\r\n'
    file = part % picture("PNG")
    for body in (file + file + b"--x--\r\n", file, file[:-40]):
        answer = await sender.http.post(
            "/api/assets",
            content=body,
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
        assert answer.status_code == 422, answer.text
    assert (await sender.http.get("/api/assets")).json()["data"] == []


async def test_body_above_the_limit_is_refused_before_it_is_read(sender: TestUser) -> None:
    answer = await upload(sender, bytes(2 * MIB))
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


async def _keys(api: Api, table: str, user: TestUser) -> list[str]:
    async with api.database.as_user(user.user_id) as conn:
        return [row["object_key"] for row in await conn.fetch(f"SELECT object_key FROM {table}")]
