"""One price from quote to ledger: what is quoted is held, and what is billed is settled at the
price of the quote.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from core.domain.failures import Failure, FailureCode
from core.domain.ids import ExecutionId, JobId, ProviderJobId
from core.domain.messages.executions import ExecutionRef, FinishInput
from core.domain.messages.jobs import JobRef, ProviderHandle
from core.domain.money import nano_usd
from core.domain.plans import StepKind
from core.domain.states import ExecutionStatus, JobState
from core.providers.models import Model
from core.providers.registry import Providers
from core.providers.vendors.elevenlabs.adapter import ElevenLabsProvider
from core.providers.vendors.fal.adapter import FalProvider
from core.providers.vendors.replicate.adapter import ReplicateProvider
from core.store.executions.executions import claim_execution
from core.store.jobs.orphans import record_orphan
from tests.api.conftest import Api, TestUser, api_settings, running_api
from tests.maintenance.test_open_bills import provider_ended
from tests.sandbox.process import FAL, FLUX
from tests.support.activity_harness import ActivityHarness, provider_settings
from tests.support.catalogues import read_models_again
from tests.support.rows import IMAGE, IMAGE_PRICE, VIDEO
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G3")

MODELS = {
    StepKind.IMAGE: ("fal-ai/flux/schnell", "black-forest-labs/flux-schnell"),
    StepKind.VIDEO: ("bytedance/seedance-1-pro", "fal-ai/bytedance/seedance/v1/pro/image-to-video"),
}
FULL_PRICE = {"prompt": "A paper boat", "duration": 2, "resolution": "480p", "aspectRatio": "16:9"}
"""What every model bills in full: at 480p and 16:9 a frame of Seedance has all the pixels that are
held for.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """An API and the activities of a worker on one database, with one user."""

    api: Api
    harness: ActivityHarness
    user: TestUser

    async def quote(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self.user.http.post("/api/quotes", json=body)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def begin(self, body: dict[str, Any]) -> "Begun":
        answer = await self.user.http.post("/api/generate-video", json=body)
        assert answer.status_code == 202, answer.text
        return await self.begun(ExecutionId(answer.json()["executionId"]), generation=1)

    async def begun(self, execution_id: ExecutionId, *, generation: int) -> "Begun":
        ref = ExecutionRef(
            user_id=self.user.user_id, execution_id=execution_id, generation=generation
        )
        async with self.harness.database.as_user(ref.user_id) as conn:
            claimed = await claim_execution(conn, ref)
        jobs = {
            job.step: JobRef(
                user_id=ref.user_id,
                execution_id=execution_id,
                job_id=job.job_id,
                generation=generation,
            )
            for job in claimed.jobs
        }
        return Begun(ref=ref, image=jobs[IMAGE], video=jobs[VIDEO])

    async def answer(self, execution_id: str) -> dict[str, Any]:
        document: dict[str, Any] = (
            await self.user.http.get(f"/api/executions/{execution_id}")
        ).json()
        return document

    async def price(self, job_id: JobId) -> dict[str, Any]:
        """What a job's charge keeps."""
        async with self.harness.database.as_user(self.user.user_id) as conn:
            price: dict[str, Any] = await conn.fetchval(
                "SELECT price FROM charges WHERE job_id = $1", job_id
            )
        return price

    def billed(self, ref: JobRef, handle: ProviderHandle | None) -> int:
        assert handle is not None, ref
        (line,) = (
            line
            for line in self.harness.bill()
            if line["provider_job_id"] == handle.provider_job_id
        )
        amount: int = line["billed_nano_usd"]
        return amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    ref: ExecutionRef
    image: JobRef
    video: JobRef


@pytest.fixture
async def market(harness: ActivityHarness, fresh_database: FreshDatabase) -> AsyncGenerator[Market]:
    async with running_api(api_settings(fresh_database, "127.0.0.1:9")) as api:
        user = await api.new_user()
        async with user.http:
            yield Market(api=api, harness=harness, user=user)


def doubled(models: Sequence[Model]) -> tuple[Model, ...]:
    """A price book of tomorrow."""
    return tuple(
        replace(
            model,
            prices=tuple(
                replace(price, unit_nano_usd=2 * price.unit_nano_usd, read_on="2027-01-01")
                for price in model.prices
            ),
        )
        for model in models
    )


def raise_prices(providers: Providers) -> None:
    for name in providers.names:
        provider = providers.provider(name)
        assert isinstance(provider, FalProvider | ReplicateProvider | ElevenLabsProvider)
        provider.models = doubled(provider.models)
    read_models_again(providers)


@pytest.fixture
async def dearer(harness: ActivityHarness) -> AsyncGenerator[ActivityHarness]:
    """The same worker after a release in which every price has doubled."""
    async with Providers.open(provider_settings(harness.sandbox.url)) as providers:
        raise_prices(providers)
        yield replace(
            harness,
            providers=providers,
            jobs=replace(harness.jobs, providers=providers),
            open_bills=replace(harness.open_bills, providers=providers),
        )


async def run_to_its_end(harness: ActivityHarness, ref: JobRef) -> None:
    await harness.run(harness.jobs.submit, ref)
    assert (await harness.run(harness.jobs.wait, ref)).state is JobState.COMPLETED


async def finish(
    harness: ActivityHarness, one: Begun, code: FailureCode = FailureCode.TERMINATED
) -> None:
    await harness.executions.finish(
        FinishInput(execution=one.ref, status=ExecutionStatus.FAILED, failure=Failure.of(code))
    )


PAIRS = [(image, video) for image in MODELS[StepKind.IMAGE] for video in MODELS[StepKind.VIDEO]]


def test_preferred_models_are_tried(harness: ActivityHarness) -> None:
    for kind, ids in MODELS.items():
        assert [model.id for _, model in harness.providers.models(kind)][:2] == list(ids)


@pytest.mark.parametrize(("image_model", "video_model"), PAIRS)
async def test_quote_equals_hold_and_full_price_settlement(
    market: Market, image_model: str, video_model: str
) -> None:
    body = {**FULL_PRICE, "imageModel": image_model, "videoModel": video_model}
    harness = market.harness
    quote = await market.quote(body)
    one = await market.begin(body)
    held = await market.answer(one.ref.execution_id)
    for ref in (one.image, one.video):
        await run_to_its_end(harness, ref)
        await harness.run(harness.jobs.settle, ref)
    settled = await market.answer(one.ref.execution_id)

    worst = [job["worst"] for job in quote["jobs"]]
    assert [job["cost"]["held"] for job in held["jobs"]] == worst
    assert [job["cost"]["settled"] for job in settled["jobs"]] == worst
    assert quote["worst"] == held["cost"]["held"] == settled["cost"]["settled"]
    assert settled["cost"]["held"] == "0"
    assert nano_usd(quote["worst"]) == sum(line["billed_nano_usd"] for line in harness.bill())


@pytest.mark.parametrize(("image_model", "video_model"), [PAIRS[0], PAIRS[3]])
async def test_later_price_change_does_not_change_the_settlement(
    market: Market, dearer: ActivityHarness, image_model: str, video_model: str
) -> None:
    body = {**FULL_PRICE, "imageModel": image_model, "videoModel": video_model}
    quote = await market.quote(body)
    one = await market.begin(body)
    raise_prices(market.api.services.providers)
    for ref in (one.image, one.video):  # all of it by the new release
        await run_to_its_end(dearer, ref)
        await dearer.run(dearer.jobs.settle, ref)

    cost = (await market.answer(one.ref.execution_id))["cost"]
    assert (cost["settled"], cost["held"]) == (quote["worst"], "0")
    for ref in (one.image, one.video):
        handle = (await dearer.job(ref)).handle
        assert await dearer.charge(ref) == ("settled", market.billed(ref, handle))
    assert nano_usd((await market.quote(body))["worst"]) == 2 * nano_usd(quote["worst"])


@pytest.mark.parametrize("model", MODELS[StepKind.IMAGE])
async def test_late_bill_is_settled_at_the_price_of_its_quote(
    market: Market, dearer: ActivityHarness, model: str
) -> None:
    body = {**FULL_PRICE, "imageModel": model}
    quote = await market.quote(body)
    one = await market.begin(body)
    await market.harness.run(market.harness.jobs.submit, one.image)
    await provider_ended(market.harness)
    await finish(market.harness, one)
    async with asyncio.timeout(15):
        while (await dearer.charge(one.image))[0] == "held":
            await dearer.open_bills.settle()
            await asyncio.sleep(0.1)

    assert await dearer.charge(one.image) == ("settled", nano_usd(quote["jobs"][0]["worst"]))
    assert sum(line["billed_nano_usd"] for line in market.harness.bill()) == nano_usd(
        quote["jobs"][0]["worst"]
    )


async def test_orphan_is_settled_at_its_jobs_price(market: Market, dearer: ActivityHarness) -> None:
    one = await market.begin(FULL_PRICE)
    await run_to_its_end(market.harness, one.image)
    twin = await asyncio.to_thread(
        market.harness.sandbox.client.post,
        f"/fal/queue/{FLUX}",
        json={"prompt": "A paper boat", "image_size": {"width": 1280, "height": 720}},
        headers=FAL,
    )
    handle = ProviderHandle(
        provider="fal", model=FLUX, provider_job_id=ProviderJobId(twin.json()["request_id"])
    )
    await asyncio.to_thread(
        market.harness.sandbox.wait_until,
        lambda: all(line["state"] != "open" for line in market.harness.bill()),
    )
    async with market.harness.database.as_system() as conn:
        orphan_id = await record_orphan(conn, one.image.job_id, 1, handle)
    assert orphan_id is not None
    orphan = replace(one.image, job_id=orphan_id)
    assert await market.price(orphan_id) == await market.price(one.image.job_id)
    async with asyncio.timeout(15):
        while (await dearer.charge(orphan))[0] == "held":
            await dearer.open_bills.settle()
            await asyncio.sleep(0.1)
    assert await dearer.charge(orphan) == ("settled", market.billed(orphan, handle))
    assert market.billed(orphan, handle) == IMAGE_PRICE


async def test_repeated_purchase_is_held_at_the_present_price(market: Market) -> None:
    """And what was bought before keeps its own, should its bill come yet."""
    one = await market.begin(FULL_PRICE)
    market.harness.sandbox.fault("fail_after")
    await market.harness.run(market.harness.jobs.submit, one.image)
    assert (await market.harness.run(market.harness.jobs.wait, one.image)).state is JobState.FAILED
    await market.harness.run(market.harness.jobs.settle, one.image)
    await finish(market.harness, one, FailureCode.PROVIDER_FAILED)
    before = await market.quote(FULL_PRICE)
    raise_prices(market.api.services.providers)

    answer = await market.user.http.post(f"/api/executions/{one.ref.execution_id}/retry")

    assert answer.status_code == 202, answer.text
    assert nano_usd(answer.json()["estimated"]) == 2 * nano_usd(before["worst"])
    again = await market.begun(one.ref.execution_id, generation=2)
    old, new = await market.price(one.image.job_id), await market.price(again.image.job_id)
    assert int(new["unit_nano_usd"]) == 2 * int(old["unit_nano_usd"])
    assert old["read_on"] < new["read_on"]
