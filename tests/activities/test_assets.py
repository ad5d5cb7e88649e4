"""What a job produced comes into our storage once, or there is a reason."""

import asyncio
import dataclasses
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from temporalio.exceptions import ApplicationError

from activities.assets import AssetActivities
from core.domain.failures import FailureCode
from core.domain.messages.jobs import JobRef
from core.platform.egress.client import Outbound
from core.store.files.assets import list_job_assets
from core.store.files.object_storage import ObjectStore
from tests.activities.bench import Bench


async def completed(bench: Bench) -> JobRef:
    image = (await bench.accepted()).image
    await bench.run(bench.jobs.submit, image)
    await bench.run(bench.jobs.wait, image)
    await bench.run(bench.jobs.settle, image)
    return image


def storage_away() -> AbstractAsyncContextManager[ObjectStore]:
    return ObjectStore.open(
        endpoint_url="http://127.0.0.1:9",
        bucket="takeone-test",
        access_key_id="key",
        secret_access_key="secret",
        region="us-east-1",
        cdn_base_url=None,
    )


def status_calls(bench: Bench) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = bench.sandbox.client.get("/__control/calls").json()["calls"]
    return [call for call in calls if call["operation"] == "status"]


async def test_asset_is_stored_once_under_a_race(bench: Bench) -> None:
    image = await completed(bench)
    results = await asyncio.gather(*(bench.run(bench.assets.store, image) for _ in range(4)))
    async with bench.database.as_user(image.user_id) as conn:
        (asset,) = await list_job_assets(conn, image.job_id)
    assert {result.asset_id for result in results} == {asset.asset_id}
    async with httpx.AsyncClient(trust_env=False) as client:
        stored = await client.get(await bench.objects.address(asset.object_key))
    assert len(stored.content) == asset.size_bytes > 0


async def test_asset_whose_address_has_expired_is_fetched_by_the_jobs_id(bench: Bench) -> None:
    image = await completed(bench)
    await bench.as_owner(
        """UPDATE jobs SET report = jsonb_set(report, '{outputs,0,url}', to_jsonb($2::text)) WHERE job_id = $1""",
        image.job_id,
        f"{bench.sandbox.url}/files/gone.jpg",
    )
    assert (await bench.run(bench.assets.store, image)).asset_id is not None


async def test_asset_that_is_not_what_it_says_is_a_failure(bench: Bench) -> None:
    image = await completed(bench)
    order = bench.sandbox.fault("wrong_bytes", params={"form": "html"}, times=-1)
    result = await bench.run(bench.assets.store, image)
    assert bench.sandbox.fired(order) >= 1
    assert result.failure is not None
    assert result.failure.code is FailureCode.OUTPUT_INVALID


@pytest.mark.parametrize("status", [403, 404])
async def test_asset_that_its_host_refuses_is_asked_for_again_by_the_jobs_id(
    bench: Bench, status: int
) -> None:
    image = await completed(bench)
    order = bench.sandbox.fault("refuse", operation="file", params={"status": status})
    asked = len(status_calls(bench))
    assert (await bench.run(bench.assets.store, image)).asset_id is not None
    assert bench.sandbox.fired(order) == 1
    assert len(status_calls(bench)) == asked + 1
    assert len(bench.bill()) == 1


@pytest.mark.parametrize("status", [403, 404, 410])
@pytest.mark.parametrize("job_is_known", [True, False])
async def test_asset_that_is_gone_for_good_is_a_failure_and_never_bought_again(
    bench: Bench, status: int, job_is_known: bool
) -> None:
    image = await completed(bench)
    order = bench.sandbox.fault("expired_file", times=-1, params={"status": status})
    if not job_is_known:
        bench.sandbox.fault("refuse", operation="status", params={"status": 404}, times=-1)
    result = await bench.run(bench.assets.store, image)
    assert bench.sandbox.fired(order) >= 1
    assert result.failure is not None
    assert result.failure.code is FailureCode.OUTPUT_EXPIRED
    assert len(bench.bill()) == 1


@pytest.mark.parametrize("fault", ["error_5xx_before_accept", "status_backwards"])
async def test_asset_whose_job_cannot_be_asked_about_is_tried_again(
    bench: Bench, fault: str
) -> None:
    """A provider that is down, or forgets for a moment that it had finished, has not lost
    the file.
    """
    image = await completed(bench)
    bench.sandbox.fault("refuse", operation="file", params={"status": 403})
    more: dict[str, Any] = {} if fault == "status_backwards" else {"operation": "status"}
    order = bench.sandbox.fault(fault, **more)
    with pytest.raises(ApplicationError) as raised:
        await bench.run(bench.assets.store, image)
    assert bench.sandbox.fired(order) == 1
    assert (raised.value.type, raised.value.non_retryable) == ("provider_unavailable", False)
    assert (await bench.run(bench.assets.store, image)).asset_id is not None


async def test_asset_is_fetched_by_the_jobs_id_after_an_outage_of_the_storage(bench: Bench) -> None:
    """Meanwhile the address has expired: asked for again by id, stored, and nothing
    rendered again.
    """
    image = await completed(bench)
    async with storage_away() as away:
        assets: AssetActivities = dataclasses.replace(bench.assets, objects=away)
        with pytest.raises(ApplicationError):
            await bench.run(assets.store, image, seconds=40)
    order = bench.sandbox.fault("refuse", operation="file", params={"status": 403})
    asked = len(status_calls(bench))
    assert (await bench.run(bench.assets.store, image)).asset_id is not None
    assert bench.sandbox.fired(order) == 1
    assert len(status_calls(bench)) == asked + 1
    assert len(bench.bill()) == 1


async def test_asset_at_a_private_address_is_a_failure_and_not_lost(bench: Bench) -> None:
    """The sandbox is on this machine: where it is not allowed by name, its files are not fetched.
    Then they are.
    """
    image = await completed(bench)
    async with Outbound().client() as strict:
        assets: AssetActivities = dataclasses.replace(bench.assets, downloads=strict)
        result = await bench.run(assets.store, image)
    assert result.failure is not None
    assert result.failure.code is FailureCode.OUTPUT_ADDRESS_REFUSED
    assert "127.0.0.1" not in result.failure.message
    assert (await bench.run(bench.assets.store, image)).asset_id is not None
    assert len(bench.bill()) == 1


async def test_asset_is_tried_again_while_the_storage_is_away(bench: Bench) -> None:
    image = await completed(bench)
    async with storage_away() as away:
        assets: AssetActivities = dataclasses.replace(bench.assets, objects=away)
        with pytest.raises(ApplicationError) as raised:
            await bench.run(assets.store, image, seconds=40)
    assert (raised.value.type, raised.value.non_retryable) == ("storage_unavailable", False)
