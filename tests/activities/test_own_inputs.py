"""A step's own file reaches the model by a URL of our storage, or the job fails at no cost."""

import hashlib

import pytest

from core.domain.failures import FailureCode
from core.domain.ids import AssetId, UserId, new_asset_id
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.content import MediaKind
from core.domain.messages.jobs import SubmitOutcome
from core.domain.states import JobState
from core.store.files.user_assets import NewUpload, insert_upload, reserve_key
from tests.store.files.bucket import chunks_of
from tests.support.activity_harness import ActivityHarness
from tests.support.media_files import picture
from tests.support.rows import Accepted

pytestmark = pytest.mark.guarantee("G1", "G3")

PICTURE = picture("PNG")


async def upload_picture(harness: ActivityHarness, user_id: UserId) -> AssetId:
    key = f"uploads/{user_id}.png"
    async with harness.database.as_user(user_id) as conn:
        await reserve_key(conn, user_id, key)
    stored = await harness.objects.put_stream(
        key,
        chunks_of(PICTURE),
        expected=MediaKind.IMAGE,
        max_bytes=len(PICTURE),
        on_progress=lambda _: None,
    )
    new = NewUpload(
        object_key=key,
        kind=MediaKind.IMAGE,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
        content_type=stored.content_type,
        media=MediaFacts(width=64, height=64),
    )
    async with harness.database.as_user(user_id) as conn:
        asset = await insert_upload(conn, user_id, new)
    assert asset is not None
    return asset.asset_id


async def _use(harness: ActivityHarness, one: Accepted, asset_id: AssetId) -> None:
    await harness.as_owner(
        "UPDATE steps SET parameters = parameters || jsonb_build_object('image', $2::jsonb)"
        " WHERE execution_id = $1 AND name = 'video'",
        one.execution_id,
        f'{{"asset": "{asset_id}"}}',
    )


async def test_own_picture_arrives_at_the_model_unchanged(harness: ActivityHarness) -> None:
    one = await harness.accepted()
    await _use(harness, one, await upload_picture(harness, one.user_id))

    submitted = await harness.run(harness.jobs.submit, one.video)

    assert submitted.outcome is SubmitOutcome.SUBMITTED
    assert (await harness.run(harness.jobs.wait, one.video)).state is JobState.COMPLETED
    (record,) = harness.sandbox.jobs()[-1]["fetched"]
    assert record["sha256"] == hashlib.sha256(PICTURE).hexdigest()


async def test_job_without_its_asset_fails_at_no_cost(harness: ActivityHarness) -> None:
    """A recovery may restore an order whose asset was uploaded after the backup."""
    one = await harness.accepted()
    await _use(harness, one, new_asset_id())

    refused = await harness.run(harness.jobs.submit, one.video)

    assert refused.failure is not None
    assert refused.failure.code is FailureCode.ASSET_DELETED
    assert harness.bill() == []
