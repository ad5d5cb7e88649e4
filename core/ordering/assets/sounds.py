"""The sound of videos that orders name where sound is needed: extracted once, and stored."""

import asyncio
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from core.domain.ids import AssetId, UserId
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.content import IncompleteError, MediaKind
from core.domain.plans import AssetSource, Source
from core.media.sounds import MAX_MINUTES, SECONDS, NoSoundError, SoundTooLongError
from core.ordering.assets.imports import AssetImporter
from core.ordering.errors import (
    MediaDamagedError,
    MediaRefusedError,
    MediaTooLargeError,
    MediaUnsupportedError,
)
from core.ordering.planning.steps import KnownFile
from core.store.database import Connection
from core.store.files.user_assets import StoredAsset, find_asset, find_sound

SILENT: Final = "The video has no sound."
DAMAGED: Final = "The sound of the video is damaged: it cannot be decoded."
TOO_LONG: Final = (
    f"The sound of the video lasts longer than {MAX_MINUTES} minutes, or needs too much memory or "
    "time to decode. Upload the sound alone."
)
TOO_SLOW: Final = (
    f"The sound of the video was not extracted within {SECONDS:g} seconds. Order again, or upload "
    "the sound alone."
)
_QUOTED: Final = "quoted-sound/"
"""Begins the id of an asset that a quote assumes; no stored asset has such an id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Video:
    """A video that an order names for its sound. sound: None: not extracted yet."""

    video: StoredAsset
    sound: StoredAsset | None


async def extract_sounds(
    importer: AssetImporter,
    user_id: UserId,
    names: Collection[str],
    sources: Mapping[str, Source],
) -> dict[str, Source]:
    """Return the sources, with the sound in place of each video that is named for its sound.

    names: of the sources of which only the sound is used; errors name them as fields. Repeating is
    safe: the same video has one sound. Raises MediaRefusedError, and what an import raises.
    """
    async with importer.database.as_user(user_id) as conn:
        videos = await _videos(conn, user_id, names, sources)
    fields = {item.video.asset_id: name for name, item in videos.items()}  # each video once
    sounds = await asyncio.gather(
        *(_sound(importer, user_id, videos[name], name) for name in fields.values()),
        return_exceptions=True,
    )
    made: dict[AssetId, StoredAsset] = {}
    for video_id, sound in zip(fields, sounds, strict=True):
        if isinstance(sound, BaseException):
            raise sound
        made[video_id] = sound
    replaced = {
        name: AssetSource(asset=made[item.video.asset_id].asset_id) for name, item in videos.items()
    }
    return {**sources, **replaced}


async def assume_sounds(
    conn: Connection, user_id: UserId, names: Collection[str], sources: Mapping[str, Source]
) -> tuple[dict[str, Source], dict[AssetId, KnownFile]]:
    """Return the sources of a quote, for which nothing is extracted, and what it assumes.

    A sound that is not extracted yet is assumed to be as long as its video. Raises
    MediaRefusedError.
    """
    assumed: dict[str, Source] = dict(sources)
    files: dict[AssetId, KnownFile] = {}
    for name, item in (await _videos(conn, user_id, names, sources)).items():
        asset_id = AssetId(f"{_QUOTED}{name}")
        facts = item.video.media if item.sound is None else item.sound.media
        seconds = facts.duration_seconds if facts is not None else None
        files[asset_id] = KnownFile(
            kind=MediaKind.AUDIO, facts=MediaFacts(duration_seconds=seconds, has_audio=True)
        )
        assumed[name] = AssetSource(asset=asset_id)
    return assumed, files


async def _videos(
    conn: Connection, user_id: UserId, names: Collection[str], sources: Mapping[str, Source]
) -> dict[str, _Video]:
    """Return the videos among these sources. What their headers rule out is refused here."""
    videos: dict[str, _Video] = {}
    for name in sorted(names):
        source = sources.get(name)
        if not isinstance(source, AssetSource):
            continue
        video = await find_asset(conn, user_id, source.asset)
        if video is None or video.kind is not MediaKind.VIDEO:
            continue
        facts = video.media or MediaFacts()
        if facts.has_audio is False:
            raise MediaUnsupportedError(SILENT, field=name)
        if (facts.duration_seconds or 0) > 60 * MAX_MINUTES:
            raise MediaTooLargeError(TOO_LONG, field=name)
        sound = await find_sound(conn, user_id, video.sha256)
        videos[name] = _Video(video=video, sound=sound)
    return videos


async def _sound(importer: AssetImporter, user_id: UserId, item: _Video, field: str) -> StoredAsset:
    if item.sound is not None:
        return item.sound
    try:
        with importer.slots.take(user_id):
            async with asyncio.timeout(SECONDS):
                return await _extract(importer, user_id, item.video)
    except TimeoutError:
        raise MediaTooLargeError(TOO_SLOW, field=field) from None
    except NoSoundError:
        raise MediaUnsupportedError(SILENT, field=field) from None
    except SoundTooLongError:
        raise MediaTooLargeError(TOO_LONG, field=field) from None
    except IncompleteError:
        raise MediaDamagedError(DAMAGED, field=field) from None
    except MediaRefusedError as error:
        raise type(error)(error.detail, field=field) from error


async def _extract(importer: AssetImporter, user_id: UserId, video: StoredAsset) -> StoredAsset:
    """Extract and store the sound of a video. Meanwhile, both are on disk."""
    async with importer.sounds.slots:
        with tempfile.TemporaryFile() as file:
            await importer.fetch(video, file)
            async with importer.sounds.extract(file, video.content_type) as sound:
                imported = await importer.import_sound(user_id, sound, sound_of=video.sha256)
                return imported.asset
