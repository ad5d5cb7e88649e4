# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# The types of `av` do not cover packets.
"""Videos as recordings: their sound is extracted once, before the order is accepted."""

import asyncio
import io
import json
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import av
import httpx
import pytest

from core.domain.money import nano_usd
from core.media.sound_program import RefusedError, extract
from core.media.sounds import PROGRAM
from core.ordering.assets import sounds
from tests.api.conftest import Api, TestUser
from tests.api.uploading import content_of, upload, uploading_api
from tests.store.files.conftest import s3 as s3
from tests.store.files.conftest import s3_settings as s3_settings
from tests.support.media_files import film, silence, talkie
from tests.support.servers import PostgresServer, S3Server, new_database

pytestmark = [pytest.mark.guarantee("G3", "G6"), pytest.mark.usefixtures("s3")]

MEDIA_OF = "UPDATE assets SET media = media || $2::jsonb WHERE asset_id = $1"
HELD = "SELECT sum(held_nano_usd)::bigint FROM charges WHERE execution_id = $1"
NAMED = "SELECT parameters FROM steps WHERE execution_id = $1 AND name = $2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    api: Api
    owner_dsn: str

    async def value(self, statement: str, *arguments: object) -> Any:
        """Run a statement as the owner."""
        conn = await asyncpg.connect(self.owner_dsn)
        try:
            return await conn.fetchval(statement, *arguments)
        finally:
            await conn.close()


@pytest.fixture(scope="module")
async def shared(
    postgres_server: PostgresServer,
    template_database: str,
    s3_server: S3Server,
    temporal_address: str,
) -> AsyncGenerator[Shared]:
    async with (
        new_database(postgres_server, template_database) as database,
        uploading_api(database, s3_server, temporal_address=temporal_address) as api,
    ):
        yield Shared(api=api, owner_dsn=database.owner_dsn)


@pytest.fixture
async def user(shared: Shared) -> AsyncGenerator[TestUser]:
    user = await shared.api.new_user()
    async with user.http:
        yield user


async def _uploaded(user: TestUser, content: bytes) -> str:
    asset_id: str = (await upload(user, content)).json()["id"]
    return asset_id


async def _transcribe(user: TestUser, asset_id: str, route: str = "transcribe") -> httpx.Response:
    return await user.http.post(f"/api/{route}", json={"source": {"asset": asset_id}})


async def _sounds(user: TestUser) -> list[dict[str, Any]]:
    listed = await user.http.get("/api/assets", params={"source": "upload"})
    return [item for item in listed.json()["data"] if item["kind"] == "audio"]


def _damaged(content: bytes) -> bytes:
    """Return a film whose second packet of sound is noise."""
    with av.open(io.BytesIO(content), "r") as video:
        packets = [packet for packet in video.demux(video.streams.audio[0]) if packet.size]
    at, size = packets[1].pos, packets[1].size
    assert at is not None
    return content[:at] + b"\x55" * size + content[at + size :]


@pytest.mark.parametrize("form", [("mp4",), ("mov",), ("webm", "libvpx", "libopus")], ids="-".join)
async def test_sound_of_a_video_is_transcribed(
    shared: Shared, user: TestUser, form: tuple[str, ...]
) -> None:
    video_id = await _uploaded(user, talkie(*form))
    first = await _transcribe(user, video_id, "quotes/transcribe")
    assert (first.status_code, await _sounds(user)) == (200, []), "a quote extracts nothing"

    accepted = await _transcribe(user, video_id)

    assert accepted.status_code == 202, accepted.text
    (sound,) = await _sounds(user)
    assert (sound["contentType"], sound["source"]) == ("audio/mpeg", "upload")
    assert 0.15 < sound["duration"] < 0.3
    assert len(await content_of(user, sound["id"])) == sound["size"] < 8_000
    execution_id = accepted.json()["executionId"]
    named = json.loads(await shared.value(NAMED, execution_id, "transcript"))
    assert named["source"] == {"asset": sound["id"]}
    quote = await _transcribe(user, sound["id"], "quotes/transcribe")
    worst = nano_usd(quote.json()["worst"])
    assert nano_usd(first.json()["worst"]) == worst
    assert await shared.value(HELD, execution_id) == worst


async def test_video_has_one_sound(user: TestUser) -> None:
    video_id = await _uploaded(user, talkie())

    answers = await asyncio.gather(*(_transcribe(user, video_id) for _ in range(3)))
    later = await _transcribe(user, video_id)

    assert [answer.status_code for answer in (*answers, later)] == [202] * 4
    assert len(await _sounds(user)) == 1


async def test_price_follows_the_sound_that_was_extracted(shared: Shared, user: TestUser) -> None:
    video_id = await _uploaded(user, talkie())
    await _transcribe(user, video_id)
    (sound,) = await _sounds(user)
    await shared.value(MEDIA_OF, sound["id"], '{"duration_seconds": 61.0}')

    quote, accepted = [
        await _transcribe(user, video_id, route) for route in ("quotes/transcribe", "transcribe")
    ]

    held = await shared.value(HELD, accepted.json()["executionId"])
    by_sound = await _transcribe(user, sound["id"], "quotes/transcribe")
    assert nano_usd(quote.json()["worst"]) == held == nano_usd(by_sound.json()["worst"]) > 0


async def test_video_and_its_sound_are_deleted_one_by_one(shared: Shared, user: TestUser) -> None:
    video_id = await _uploaded(user, talkie())
    execution_id = (await _transcribe(user, video_id)).json()["executionId"]
    (sound,) = await _sounds(user)

    kept = await user.http.delete(f"/api/assets/{sound['id']}")
    assert (kept.status_code, kept.json()["code"]) == (409, "asset_in_use")
    await shared.value(
        "UPDATE executions SET status = 'failed', ended_at = now() WHERE execution_id = $1",
        execution_id,
    )
    assert (await user.http.delete(f"/api/assets/{sound['id']}")).status_code == 204
    assert await _sounds(user) == []
    assert (await _transcribe(user, video_id)).status_code == 202
    assert (await user.http.delete(f"/api/assets/{video_id}")).status_code == 204
    (again,) = await _sounds(user)
    assert again["id"] != sound["id"]


async def test_video_without_usable_sound_is_refused(shared: Shared, user: TestUser) -> None:
    cases = {
        "media_unsupported": await _uploaded(user, film("mp4", "libx264")),
        "media_damaged": await _uploaded(user, _damaged(talkie())),
        "media_too_large": await _uploaded(user, talkie()),
    }
    await shared.value(MEDIA_OF, cases["media_too_large"], '{"duration_seconds": 1801.0}')

    for code, asset_id in cases.items():
        refused = await _transcribe(user, asset_id)
        assert (refused.status_code, refused.json()["code"]) == (422, code), refused.text
        assert [error["field"] for error in refused.json()["errors"]] == ["source"]
    assert await _sounds(user) == []


async def test_slow_extraction_ends_while_the_client_waits(
    user: TestUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    video_id = await _uploaded(user, talkie())
    monkeypatch.setattr(sounds, "SECONDS", 0.0)

    refused = await _transcribe(user, video_id)

    assert (refused.status_code, refused.json()["code"]) == (422, "media_too_large"), refused.text
    assert await _sounds(user) == []


def test_sound_is_limited_whatever_the_headers_state() -> None:
    with pytest.raises(RefusedError, match="too_long"):
        extract(io.BytesIO(talkie()), io.BytesIO(), form="mov", max_seconds=0)


@pytest.mark.parametrize("limit", ["MEMORY_BYTES", "CPU_SECONDS", "OUTPUT_BYTES"])
def test_program_limits_itself(limit: str, tmp_path: Path) -> None:
    """A program with that limit at its least gives up, and nothing remains of it."""
    program = tmp_path / "program.py"
    program.write_text(
        re.sub(f"^{limit}: Final = .*$", f"{limit} = 0", PROGRAM.read_text(), flags=re.M)
    )
    film = tmp_path / "film"
    film.write_bytes(talkie())
    with film.open("rb") as source, (tmp_path / "sound").open("wb") as target:
        ended = subprocess.run(
            [sys.executable, "-I", program, "video/mp4", "60"],
            stdin=source,
            stdout=target,
            stderr=subprocess.PIPE,
            env={},
            check=False,
        )
    assert ended.returncode != 0 or json.loads(ended.stderr) == {"refused": "damaged"}


async def test_plan_takes_the_sound_of_assets_alone(shared: Shared, user: TestUser) -> None:
    video_id = await _uploaded(user, talkie())
    words = {"name": "words", "kind": "transcript", "params": {"source": {"asset": video_id}}}
    plan = {"version": 1, "steps": [words]}
    accepted = await user.http.post("/api/executions", json={"plan": plan})
    assert accepted.status_code == 202, accepted.text
    (sound,) = await _sounds(user)
    named = json.loads(await shared.value(NAMED, accepted.json()["executionId"], "words"))
    assert named["source"] == {"asset": sound["id"]}

    clip = {"name": "clip", "kind": "video", "params": {"prompt": "a kite"}}
    words["params"] = {"source": {"step": "clip"}}
    both = {"version": 1, "steps": [clip, words]}
    refused = await user.http.post("/api/executions", json={"plan": both})
    (error,) = refused.json()["errors"]
    assert error["field"] == "plan/steps/1/params/source"
    assert "must be audio, not a video" in error["detail"]


async def test_foreign_and_plain_recordings_are_as_before(shared: Shared, user: TestUser) -> None:
    other = await shared.api.new_user()
    async with other.http:
        foreign_id = await _uploaded(other, talkie())
    assert (await _transcribe(user, foreign_id)).status_code == 422
    sound_id = await _uploaded(user, silence("mp3", "libmp3lame"))
    assert (await _transcribe(user, sound_id)).status_code == 202
    assert [sound["id"] for sound in await _sounds(user)] == [sound_id]
