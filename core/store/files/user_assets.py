"""A user's assets: files that the user uploaded, and the outputs of jobs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import asyncpg

from core.domain.ids import AssetId, ExecutionId, UserId, new_asset_id
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.content import MediaKind
from core.store.database import Connection

PLACE_LIFE: Final = timedelta(hours=1)
"""How long an upload may take until its asset is recorded; its file is deleted after that."""
PLACE_MARGIN: Final = timedelta(minutes=1)
"""Much longer than the transaction that records an asset: its file is not deleted meanwhile."""


class AssetOrigin(StrEnum):
    """Whether the user sent a file or a job produced it."""

    UPLOAD = "upload"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAsset:
    """An asset. execution_id, output_number: of an output; None: an upload."""

    asset_id: AssetId
    execution_id: ExecutionId | None
    output_number: int | None
    kind: MediaKind
    object_key: str
    size_bytes: int
    sha256: str
    content_type: str
    media: MediaFacts | None
    created_at: datetime

    @property
    def origin(self) -> AssetOrigin:
        return AssetOrigin.UPLOAD if self.execution_id is None else AssetOrigin.OUTPUT


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUpload:
    """A file that was stored under a key that `reserve_key` has reserved.

    sound_of: the sha256 of the video whose sound it is.
    """

    object_key: str
    kind: MediaKind
    size_bytes: int
    sha256: str
    content_type: str
    media: MediaFacts
    sound_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadTotals:
    """What a user's uploads add up to."""

    files: int
    bytes: int


RESERVE_KEY = """
INSERT INTO file_deletions (object_key, user_id, requested_at) VALUES ($1, $2, now() + $3::interval)
"""


async def reserve_key(conn: Connection, user_id: UserId, object_key: str) -> None:
    """Have a file deleted unless an asset with its key is recorded within PLACE_LIFE."""
    await conn.execute(RESERVE_KEY, object_key, user_id, PLACE_LIFE)


LOCK_UPLOADS = "SELECT pg_advisory_xact_lock(hashtextextended('uploads/' || $1, 0))"
GET_TOTALS = """
SELECT count(*) AS files, coalesce(sum(size_bytes), 0)::bigint AS bytes FROM assets
WHERE user_id = $1 AND job_id IS NULL
"""


async def get_upload_totals(conn: Connection, user_id: UserId) -> UploadTotals:
    row = await conn.fetchrow(GET_TOTALS, user_id)
    assert row is not None  # noqa: S101 - an aggregate has one row
    return UploadTotals(**dict(row))


_COLUMNS: Final = (
    "asset_id, execution_id, output_number, kind, object_key, size_bytes, sha256, content_type, "
    "media, created_at"
)
FIND_UPLOAD = f"""
SELECT {_COLUMNS} FROM assets WHERE user_id = $1 AND sha256 = $2 AND job_id IS NULL
"""  # noqa: S608 - constants
TAKE_KEY = """
DELETE FROM file_deletions WHERE object_key = $1 AND requested_at > now() + $2::interval RETURNING 1
"""
INSERT_UPLOAD = f"""
INSERT INTO assets (asset_id, user_id, kind, object_key, size_bytes, sha256, content_type, media, sound_of)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING {_COLUMNS}
"""  # noqa: S608 - constants


async def lock_uploads(conn: Connection, user_id: UserId) -> None:
    """Make other uploads of the user wait until COMMIT, so that limits and contents are exact."""
    await conn.execute(LOCK_UPLOADS, user_id)


async def find_upload(conn: Connection, user_id: UserId, sha256: str) -> StoredAsset | None:
    """Return the user's upload with this content."""
    row = await conn.fetchrow(FIND_UPLOAD, user_id, sha256)
    return None if row is None else _asset(row)


FIND_SOUND = f"SELECT {_COLUMNS} FROM assets WHERE user_id = $1 AND sound_of = $2"  # noqa: S608 - constants


async def find_sound(conn: Connection, user_id: UserId, video_sha256: str) -> StoredAsset | None:
    """Return the sound that was extracted from a video with this content."""
    row = await conn.fetchrow(FIND_SOUND, user_id, video_sha256)
    return None if row is None else _asset(row)


async def insert_upload(conn: Connection, user_id: UserId, new: NewUpload) -> StoredAsset | None:
    """Record an upload, under `lock_uploads`. None: it took so long that its file is deleted."""
    if await conn.fetchval(TAKE_KEY, new.object_key, PLACE_MARGIN) is None:
        return None
    row = await conn.fetchrow(
        INSERT_UPLOAD,
        new_asset_id(),
        user_id,
        new.kind,
        new.object_key,
        new.size_bytes,
        new.sha256,
        new.content_type,
        asdict(new.media),
        new.sound_of,
    )
    assert row is not None  # noqa: S101 - INSERT … RETURNING
    return _asset(row)


FIND_ASSET = f"SELECT {_COLUMNS} FROM assets WHERE asset_id = $1 AND user_id = $2"  # noqa: S608 - constants
LIST_ASSETS = f"""
SELECT {_COLUMNS} FROM assets
WHERE user_id = $1 AND asset_id < coalesce($2, 'asset_g') AND ($3::text IS NULL OR ($3 = 'upload') = (job_id IS NULL))
ORDER BY asset_id DESC LIMIT $4
"""  # noqa: S608 - constants


async def find_asset(conn: Connection, user_id: UserId, asset_id: AssetId) -> StoredAsset | None:
    """Return an asset. None: it does not exist, or belongs to another user."""
    row = await conn.fetchrow(FIND_ASSET, asset_id, user_id)
    return None if row is None else _asset(row)


async def list_assets(
    conn: Connection,
    user_id: UserId,
    *,
    before_id: AssetId | None,
    origin: AssetOrigin | None,
    limit: int,
) -> list[StoredAsset]:
    """List a user's assets, newest first. before_id: the last id of the previous page."""
    return [_asset(row) for row in await conn.fetch(LIST_ASSETS, user_id, before_id, origin, limit)]


# For an order that uses the assets: a deletion waits until COMMIT and then finds the order.
LOCK_USED = f"""
SELECT {_COLUMNS} FROM assets WHERE asset_id = ANY($1::text[]) AND user_id = $2 ORDER BY asset_id FOR KEY SHARE
"""  # noqa: S608 - constants


async def lock_used_assets(
    conn: Connection, user_id: UserId, asset_ids: Sequence[AssetId]
) -> dict[AssetId, StoredAsset]:
    """Return a user's assets and keep them until COMMIT. Unknown and foreign ids are missing."""
    assets = [_asset(row) for row in await conn.fetch(LOCK_USED, asset_ids, user_id)]
    return {asset.asset_id: asset for asset in assets}


LOCK_ASSET = f"SELECT {_COLUMNS} FROM assets WHERE asset_id = $1 AND user_id = $2 FOR UPDATE"  # noqa: S608 - constants
# An asset is in use while an open execution has a step whose parameters name it.
FIND_USE = """
SELECT e.execution_id FROM executions AS e JOIN steps AS s ON s.execution_id = e.execution_id
WHERE e.user_id = $1 AND e.status IN ('queued', 'running')
  AND jsonb_path_exists(s.parameters, '$.*.asset ? (@ == $id)', jsonb_build_object('id', $2::text))
LIMIT 1
"""
DELETE_ASSET = """
WITH removed AS (DELETE FROM assets WHERE asset_id = $1 RETURNING object_key, user_id, execution_id)
INSERT INTO file_deletions (object_key, user_id, execution_id)
SELECT object_key, user_id, execution_id FROM removed ON CONFLICT DO NOTHING
"""


async def lock_asset(conn: Connection, user_id: UserId, asset_id: AssetId) -> StoredAsset | None:
    """Return an asset, locked until COMMIT: no order can begin to use it meanwhile."""
    row = await conn.fetchrow(LOCK_ASSET, asset_id, user_id)
    return None if row is None else _asset(row)


async def find_use(conn: Connection, user_id: UserId, asset_id: AssetId) -> ExecutionId | None:
    """Return an open execution that uses an asset."""
    return await conn.fetchval(FIND_USE, user_id, asset_id)


async def delete_asset(conn: Connection, asset_id: AssetId) -> None:
    """Delete an asset that the caller has locked; its file is queued for its deletion."""
    await conn.execute(DELETE_ASSET, asset_id)


def _asset(row: asyncpg.Record) -> StoredAsset:
    plain: dict[str, Any] = dict(row)
    kind, media = MediaKind(plain.pop("kind")), plain.pop("media")
    return StoredAsset(**plain, kind=kind, media=MediaFacts(**media) if media else None)
