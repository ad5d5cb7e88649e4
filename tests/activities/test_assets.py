"""What a job produced comes into our storage once, or there is a reason."""

import asyncio
import dataclasses
import hashlib
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.assets import AssetActivities
from core.domain.failures import FailureCode
from core.domain.media.content import StorageUnavailableError
from core.domain.messages.assets import StoreAssetResult
from core.domain.messages.jobs import JobRef
from core.platform.egress.client import Outbound
from core.store.files.assets import Asset, list_job_assets
from core.store.files.deletions import list_queued_files
from core.store.files.object_storage import ObjectStore, StoredObject
from core.store.jobs.jobs import get_job
from tests.support.activity_harness import ActivityHarness

pytestmark = pytest.mark.guarantee("G2")


async def completed(harness: ActivityHarness) -> JobRef:
    image = (await harness.accepted()).image
    await harness.run(harness.jobs.submit, image)
    await harness.run(harness.jobs.wait, image)
    await harness.run(harness.jobs.settle, image)
    return image


def storage_down() -> AbstractAsyncContextManager[ObjectStore]:
    return ObjectStore.open(
        endpoint_url="http://127.0.0.1:9",
        bucket="takeone-test",
        access_key_id="key",
        secret_access_key="secret",
        region="us-east-1",
        cdn_base_url=None,
    )


def status_calls(harness: ActivityHarness) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = harness.sandbox.client.get("/__control/calls").json()["calls"]
    return [call for call in calls if call["operation"] == "status"]


async def test_asset_is_stored_once_under_a_race(harness: ActivityHarness) -> None:
    image = await completed(harness)
    results = await asyncio.gather(*(harness.run(harness.assets.store, image) for _ in range(4)))
    async with harness.database.as_user(image.user_id) as conn:
        (asset,) = await list_job_assets(conn, image.job_id)
    assert {result.asset_id for result in results} == {asset.asset_id}
    async with httpx.AsyncClient(trust_env=False) as client:
        stored = await client.get(await harness.objects.address(asset.object_key))
    assert len(stored.content) == asset.size_bytes > 0
    assert asset.media is not None
    assert asset.media.width


async def test_asset_with_expired_url_is_fetched_by_job_id(
    harness: ActivityHarness,
) -> None:
    image = await completed(harness)
    await harness.as_owner(
        """UPDATE jobs SET report = jsonb_set(report, '{outputs,0,url}', to_jsonb($2::text)) WHERE job_id = $1""",
        image.job_id,
        f"{harness.sandbox.url}/files/gone.jpg",
    )
    assert (await harness.run(harness.assets.store, image)).asset_id is not None


async def test_file_of_a_deleted_execution_is_deleted(harness: ActivityHarness) -> None:
    """A worker that stood still while the user deleted the execution stores a file afterwards."""
    image = await completed(harness)
    await harness.as_owner(
        "UPDATE executions SET deleted_at = now() WHERE execution_id = $1", image.execution_id
    )
    result = await harness.run(harness.assets.store, image)
    assert (result.asset_id, result.failure is not None) == (None, True)
    async with harness.database.as_system() as conn:
        assert await list_job_assets(conn, image.job_id) == []
        queued = await list_queued_files(conn, limit=1000)
        (key,) = await conn.fetch(
            "SELECT object_key FROM file_deletions WHERE execution_id = $1", image.execution_id
        )
    assert key["object_key"] in queued
    assert await harness.objects.head(key["object_key"]) is not None


async def test_asset_of_another_kind_is_a_failure(harness: ActivityHarness) -> None:
    image = await completed(harness)
    order = harness.sandbox.fault("wrong_bytes", params={"form": "other_kind"}, times=-1)
    result = await harness.run(harness.assets.store, image)
    assert harness.sandbox.fired(order) >= 1
    assert result.failure is not None
    assert result.failure.code is FailureCode.OUTPUT_INVALID


NOT_YET = {
    "404": (("refuse", {"status": 404}), FailureCode.OUTPUT_EXPIRED),
    "403": (("refuse", {"status": 403}), FailureCode.OUTPUT_EXPIRED),
    "html": (("wrong_bytes", {"form": "html"}), FailureCode.OUTPUT_INVALID),
    "empty": (("wrong_bytes", {"form": "empty"}), FailureCode.OUTPUT_INVALID),
    "truncated": (("wrong_bytes", {"form": "truncated"}), FailureCode.OUTPUT_INVALID),
}


@pytest.mark.guarantee("G7")
@pytest.mark.parametrize("answer", NOT_YET)
async def test_asset_that_is_not_served_yet_is_fetched_again(
    harness: ActivityHarness, answer: str
) -> None:
    (fault, params), _ = NOT_YET[answer]
    image = await completed(harness)
    # Each try uses the stored URL, and then the URL that the provider returns for the job.
    order = harness.sandbox.fault(fault, operation="file", params=params, times=4)
    tries = Tries()
    for _ in range(2):
        await tries.fail(harness, image, after_seconds=120)
    assert harness.sandbox.fired(order) == 4
    assert (await tries.run(harness, image)).asset_id is not None
    assert len(harness.bill()) == 1


@pytest.mark.guarantee("G7")
@pytest.mark.parametrize("answer", NOT_YET)
async def test_asset_not_served_for_five_minutes_is_a_failure(
    harness: ActivityHarness, answer: str
) -> None:
    (fault, params), code = NOT_YET[answer]
    image = await completed(harness)
    order = harness.sandbox.fault(fault, operation="file", params=params, times=-1)
    tries = Tries()
    await tries.fail(harness, image, after_seconds=299)
    await tries.fail(harness, image, after_seconds=1)
    result = await tries.run(harness, image)
    assert harness.sandbox.fired(order) == 6
    assert result.failure is not None
    assert result.failure.code is code
    assert len(harness.bill()) == 1


async def test_missing_asset_keeps_its_time_during_a_storage_outage(
    harness: ActivityHarness,
) -> None:
    """The five minutes start with the first answer that the file is missing."""
    image = await completed(harness)
    tries = Tries()
    async with storage_down() as down:
        assets: AssetActivities = dataclasses.replace(harness.assets, objects=down)
        await tries.fail(harness, image, after_seconds=3000, assets=assets)
    order = harness.sandbox.fault("refuse", operation="file", params={"status": 404}, times=2)
    await tries.fail(harness, image, after_seconds=1)
    assert harness.sandbox.fired(order) == 2
    assert (await tries.run(harness, image)).asset_id is not None


async def filmed(harness: ActivityHarness) -> JobRef:
    """Return a completed job that produced a video."""
    accepted = await harness.accepted()
    for ref in (accepted.image, accepted.video):
        await harness.run(harness.jobs.submit, ref)
        await harness.run(harness.jobs.wait, ref)
        await harness.run(harness.jobs.settle, ref)
        if ref == accepted.image:
            await harness.run(harness.assets.store, ref)
    return accepted.video


async def the_asset(harness: ActivityHarness, ref: JobRef) -> tuple[Asset, bytes]:
    """Return the row of a job's only file, and the file, which must be the one in the row."""
    async with harness.database.as_user(ref.user_id) as conn:
        (asset,) = await list_job_assets(conn, ref.job_id)
    async with httpx.AsyncClient(trust_env=False) as client:
        served = await client.get(await harness.objects.address(asset.object_key))
    assert served.status_code == 200
    assert len(served.content) == asset.size_bytes
    assert hashlib.sha256(served.content).hexdigest() == asset.sha256
    return asset, served.content


def original_key(asset: Asset) -> str:
    return asset.object_key.replace("-faststart", "")


@pytest.mark.guarantee("G7")
async def test_video_whose_index_is_last_is_stored_with_faststart(
    harness: ActivityHarness,
) -> None:
    video = await filmed(harness)
    order = harness.sandbox.fault("late_index", times=-1)
    await harness.run(harness.assets.store, video)
    asset, content = await the_asset(harness, video)
    assert harness.sandbox.fired(order) == 1
    assert content.index(b"moov") < content.index(b"mdat")
    assert asset.media is not None
    assert asset.media.faststart is True
    assert await harness.objects.head(original_key(asset)) is None
    # Another worker's late try stores nothing else.
    async with harness.database.as_user(video.user_id) as conn:
        job = await get_job(conn, video.job_id)
    assert job.report is not None
    again = await harness.assets._store_output(job, 0, job.report.outputs[0])  # pyright: ignore[reportPrivateUsage]
    assert harness.sandbox.fired(order) == 2
    assert again == asset
    assert await the_asset(harness, video) == (asset, content)
    assert await harness.objects.head(original_key(asset)) is None


@pytest.mark.guarantee("G7")
@pytest.mark.parametrize("failure", [StorageUnavailableError("down"), ValueError(), None])
async def test_video_that_cannot_be_copied_is_stored_as_it_is(
    harness: ActivityHarness, failure: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure is one of the storage, a bug, or a copy that takes too long (None)."""
    tried: list[str] = []

    async def fail(_: object, film: StoredObject, *__: object, **___: object) -> None:
        tried.append(film.key)
        if failure is None:
            await asyncio.Event().wait()
        else:
            raise failure

    monkeypatch.setattr("activities.assets.store_with_index_first", fail)
    if failure is None:
        monkeypatch.setattr("activities.assets.TRANSFER_SECONDS", 2.0)
    video = await filmed(harness)
    order = harness.sandbox.fault("late_index", times=-1)
    await harness.run(harness.assets.store, video)
    asset, content = await the_asset(harness, video)
    assert harness.sandbox.fired(order) == 1
    assert tried == [asset.object_key]
    assert content.index(b"mdat") < content.index(b"moov")
    assert asset.media is not None
    assert asset.media.faststart is False


@pytest.mark.guarantee("G7")
async def test_video_without_index_for_five_minutes_is_a_failure(harness: ActivityHarness) -> None:
    video = await filmed(harness)
    bought = len(harness.bill())
    order = harness.sandbox.fault("wrong_bytes", params={"form": "without_index"}, times=-1)
    tries = Tries()
    await tries.fail(harness, video, after_seconds=300)
    result = await tries.run(harness, video)
    assert harness.sandbox.fired(order) == 4
    assert result.failure is not None
    assert result.failure.code is FailureCode.OUTPUT_INVALID
    assert len(harness.bill()) == bought == 2


@pytest.mark.guarantee("G7")
@pytest.mark.parametrize("copied", [True, False])
async def test_video_found_in_storage_has_its_facts(
    harness: ActivityHarness, copied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was restored from an older backup, and the provider has deleted the file."""
    video = await filmed(harness)
    order = harness.sandbox.fault("late_index")
    with monkeypatch.context() as patch:
        if not copied:
            patch.setattr("activities.assets.store_with_index_first", None)
        await harness.run(harness.assets.store, video)
    assert harness.sandbox.fired(order) == 1
    before, _ = await the_asset(harness, video)
    await harness.as_owner("DELETE FROM assets WHERE job_id = $1", video.job_id)
    gone = harness.sandbox.fault("refuse", operation="file", params={"status": 404}, times=-1)
    await harness.run(harness.assets.store, video)
    assert harness.sandbox.fired(gone) == 2
    after, content = await the_asset(harness, video)
    assert after.media is not None
    assert (after.media.faststart, after.media.width, after.media.codec) == (True, 64, "h264")
    assert content.index(b"moov") < content.index(b"mdat")
    assert (after == before) is copied
    assert "-faststart" in after.object_key
    assert await harness.objects.head(original_key(after)) is None


@pytest.mark.guarantee("G7")
async def test_asset_with_meaningless_encoding_is_stored(harness: ActivityHarness) -> None:
    image = await completed(harness)
    order = harness.sandbox.fault("file_encoding", params={"value": "aws-chunked"})
    assert (await harness.run(harness.assets.store, image)).asset_id is not None
    assert harness.sandbox.fired(order) == 1


class Tries:
    """The tries of one activity, which share heartbeat details as on a Temporal server."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self._details: list[Any] = []

    async def run(
        self, harness: ActivityHarness, image: JobRef, assets: AssetActivities | None = None
    ) -> StoreAssetResult:
        environment = ActivityEnvironment()
        environment.info = dataclasses.replace(
            environment.info,
            current_attempt_scheduled_time=self._now,
            heartbeat_details=self._details,
        )
        environment.on_heartbeat = self._keep
        store = (assets or harness.assets).store
        return await harness.run(store, image, seconds=40, environment=environment)

    async def fail(
        self,
        harness: ActivityHarness,
        image: JobRef,
        *,
        after_seconds: float,
        assets: AssetActivities | None = None,
    ) -> None:
        """Expect a retryable failure; the next try starts this much later."""
        with pytest.raises(ApplicationError) as raised:
            await self.run(harness, image, assets)
        assert not raised.value.non_retryable
        self._now += timedelta(seconds=after_seconds)

    def _keep(self, *details: Any) -> None:
        self._details = list(details)


@pytest.mark.parametrize("status", [403, 404])
async def test_asset_refused_by_its_host_is_fetched_by_job_id(
    harness: ActivityHarness, status: int
) -> None:
    image = await completed(harness)
    order = harness.sandbox.fault("refuse", operation="file", params={"status": status})
    asked = len(status_calls(harness))
    assert (await harness.run(harness.assets.store, image)).asset_id is not None
    assert harness.sandbox.fired(order) == 1
    assert len(status_calls(harness)) == asked + 1
    assert len(harness.bill()) == 1


@pytest.mark.parametrize("job_is_known", [True, False])
async def test_deleted_asset_is_a_failure_and_not_bought_again(
    harness: ActivityHarness, job_is_known: bool
) -> None:
    image = await completed(harness)
    order = harness.sandbox.fault("expired_file", times=-1, params={"status": 410})
    if not job_is_known:
        harness.sandbox.fault("refuse", operation="status", params={"status": 404}, times=-1)
    result = await harness.run(harness.assets.store, image)
    assert harness.sandbox.fired(order) >= 1
    assert result.failure is not None
    assert result.failure.code is FailureCode.OUTPUT_EXPIRED
    assert len(harness.bill()) == 1


@pytest.mark.parametrize("fault", ["error_5xx_before_accept", "status_backwards"])
async def test_asset_whose_job_cannot_be_asked_about_is_tried_again(
    harness: ActivityHarness, fault: str
) -> None:
    """An outage of the provider, or a stale status, does not lose the file."""
    image = await completed(harness)
    harness.sandbox.fault("refuse", operation="file", params={"status": 403})
    more: dict[str, Any] = {} if fault == "status_backwards" else {"operation": "status"}
    order = harness.sandbox.fault(fault, **more)
    with pytest.raises(ApplicationError) as raised:
        await harness.run(harness.assets.store, image)
    assert harness.sandbox.fired(order) == 1
    assert (raised.value.type, raised.value.non_retryable) == ("provider_unavailable", False)
    assert (await harness.run(harness.assets.store, image)).asset_id is not None


async def test_asset_is_fetched_by_job_id_after_storage_outage(
    harness: ActivityHarness,
) -> None:
    """Meanwhile the address has expired: asked for again by id, stored, and nothing
    rendered again.
    """
    image = await completed(harness)
    async with storage_down() as away:
        assets: AssetActivities = dataclasses.replace(harness.assets, objects=away)
        with pytest.raises(ApplicationError):
            await harness.run(assets.store, image, seconds=40)
    order = harness.sandbox.fault("refuse", operation="file", params={"status": 403})
    asked = len(status_calls(harness))
    assert (await harness.run(harness.assets.store, image)).asset_id is not None
    assert harness.sandbox.fired(order) == 1
    assert len(status_calls(harness)) == asked + 1
    assert len(harness.bill()) == 1


@pytest.mark.guarantee("G6")
async def test_asset_at_a_private_address_is_a_failure(
    harness: ActivityHarness,
) -> None:
    """The sandbox is on this machine: where it is not allowed by name, its files are not fetched.
    Then they are.
    """
    image = await completed(harness)
    async with Outbound().client() as strict:
        assets: AssetActivities = dataclasses.replace(harness.assets, downloads=strict)
        result = await harness.run(assets.store, image)
    assert result.failure is not None
    assert result.failure.code is FailureCode.OUTPUT_ADDRESS_REFUSED
    assert "127.0.0.1" not in result.failure.message
    assert (await harness.run(harness.assets.store, image)).asset_id is not None
    assert len(harness.bill()) == 1


@pytest.mark.guarantee("G5")
async def test_asset_is_retried_while_storage_is_down(harness: ActivityHarness) -> None:
    image = await completed(harness)
    async with storage_down() as away:
        assets: AssetActivities = dataclasses.replace(harness.assets, objects=away)
        with pytest.raises(ApplicationError) as raised:
            await harness.run(assets.store, image, seconds=40)
    assert (raised.value.type, raised.value.non_retryable) == ("storage_unavailable", False)
