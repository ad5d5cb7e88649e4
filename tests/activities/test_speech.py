"""Speech, whose create call delivers the files: paid for once, whatever happens to the answer."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import pytest
from temporalio.testing import ActivityEnvironment

from core.domain.failures import FailureCode
from core.domain.ids import JobId
from core.domain.messages.executions import ExecutionRef
from core.domain.messages.jobs import FindOutcome, JobRef, SubmitJobResult, SubmitOutcome
from core.domain.states import JobState
from core.providers.inputs import complete_inputs
from core.store.executions.executions import claim_execution, insert_execution
from core.store.files.assets import Asset, list_job_assets
from tests.sandbox.process import Sandbox
from tests.support.activity_harness import ActivityHarness, open_harness, polling
from tests.support.rows import new_user
from tests.support.servers import FreshDatabase, S3Server
from tests.support.speech import new_speech

pytestmark = pytest.mark.guarantee("G1", "G2", "G3")

TEXT = "A paper boat crosses the pond, slowly."
LONG = "A paper boat. " * 120
MODEL = "eleven_multilingual_v2"
NAME = "elevenlabs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """An execution with one waiting job."""

    job: JobRef
    held_nano_usd: int


async def speech(harness: ActivityHarness, text: str = TEXT, model_id: str = MODEL) -> Spoken:
    """Accept and claim an execution with one step of speech, held at its quote."""
    pair = harness.providers.find_model(model_id)
    assert pair is not None
    provider, model = pair
    quote = provider.quote(model, complete_inputs(model, {"text": text}, {}))
    new = new_speech(await new_user(harness.database), model, quote, text)
    async with harness.database.as_user(new.user_id) as conn:
        await insert_execution(conn, new)
    async with harness.database.as_user(new.user_id) as conn:
        ref = ExecutionRef(user_id=new.user_id, execution_id=new.execution_id, generation=1)
        await claim_execution(conn, ref)
        job_id = await conn.fetchval(
            "SELECT job_id FROM jobs WHERE execution_id = $1", new.execution_id
        )
    job = JobRef(
        user_id=new.user_id, execution_id=new.execution_id, job_id=JobId(job_id), generation=1
    )
    return Spoken(job=job, held_nano_usd=quote.worst_nano_usd)


async def stored(harness: ActivityHarness, job: JobRef) -> list[tuple[Asset, bytes]]:
    """Store what is not stored, and return the job's files."""
    result = await harness.run(harness.assets.store, job)
    assert result.failure is None
    async with harness.database.as_user(job.user_id) as conn:
        assets = await list_job_assets(conn, job.job_id)
    return [
        (asset, b"".join([chunk async for chunk in harness.objects.read(asset.object_key)]))
        for asset in assets
    ]


async def check_paid_once(harness: ActivityHarness, job: JobRef) -> None:
    """Check that one request was billed, and that the ledger has exactly its bill."""
    (line,) = harness.bill()
    state = await harness.job(job)
    assert state.state is JobState.COMPLETED
    assert state.handle is not None
    assert state.handle.provider_job_id == line["provider_job_id"]
    assert await harness.charge(job) == ("settled", line["billed_nano_usd"])


async def check_files(harness: ActivityHarness, job: JobRef, text: str) -> None:
    files = await stored(harness, job)
    audio, content = files[0]
    assert (audio.kind, audio.content_type) == ("audio", "audio/mpeg")
    assert audio.object_key.startswith("audios/")
    assert len(content) == audio.size_bytes
    assert audio.media is not None
    assert audio.media.duration_seconds is not None
    if len(files) == 2:
        times, plain = files[1]
        assert (times.kind, times.content_type) == ("transcript", "application/json")
        words = json.loads(plain)["words"]
        assert [word["text"] for word in words] == text.split()
        assert all(word["start"] < word["end"] for word in words)
        spoken_seconds = json.loads(plain)["durationSeconds"]
        assert 0 < spoken_seconds <= audio.media.duration_seconds


def file_calls(harness: ActivityHarness) -> int:
    return harness.sandbox.client.get("/__control/call-counts").json()["counts"].get("file", 0)


async def test_answer_is_stored_and_settled_by_the_submit(still: ActivityHarness) -> None:
    job = (await speech(still)).job
    result = await still.run(still.jobs.submit, job)
    assert result.outcome is SubmitOutcome.SUBMITTED
    assert result.settled is not None
    assert result.settled.state is JobState.COMPLETED
    await check_paid_once(still, job)
    await check_files(still, job, TEXT)
    assert len(await stored(still, job)) == 2
    assert file_calls(still) == 0


async def test_long_text_is_streamed_without_word_times(still: ActivityHarness) -> None:
    job = (await speech(still, LONG)).job
    result = await still.run(still.jobs.submit, job)
    assert result.settled is not None
    await check_paid_once(still, job)
    await check_files(still, job, LONG)
    assert len(await stored(still, job)) == 1
    assert (
        still.sandbox.client.get("/__control/requests")
        .json()["requests"][0]["path"]
        .endswith("/stream")
    )


@pytest.mark.parametrize("text", [TEXT, LONG], ids=["timed", "streamed"])
@pytest.mark.parametrize("after", ["head", "middle"])
async def test_cut_body_is_a_failed_download(
    harness: ActivityHarness, after: str, text: str
) -> None:
    fault = harness.sandbox.fault("cut_body", provider=NAME, params={"after": after})
    job = (await speech(harness, text)).job
    result = await harness.run(harness.jobs.submit, job)
    assert (result.outcome, result.settled) == (SubmitOutcome.SUBMITTED, None)
    assert harness.sandbox.fired(fault) == 1
    await ended(harness, job)
    await check_paid_once(harness, job)
    await check_files(harness, job, text)
    assert file_calls(harness) == 1


async def ended(harness: ActivityHarness, job: JobRef) -> None:
    """Wait until the poller has settled the job."""
    async with asyncio.timeout(15):
        while not (await harness.job(job)).state.ended:  # noqa: ASYNC110 - reads the row
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("fault", "params"),
    [
        ("drop_after_accept", {"how": "close"}),
        ("drop_after_accept", {"how": "reset"}),
        ("answer_502_after_accept", {}),
        ("answer_502_after_accept", {"form": "vendor", "status": 500}),
        ("no_id", {}),
    ],
)
async def test_answer_without_a_head_is_found_in_the_history(
    harness: ActivityHarness, fault: str, params: dict[str, object]
) -> None:
    order = harness.sandbox.fault(fault, provider=NAME, params=params)
    job = (await speech(harness)).job
    assert (await harness.run(harness.jobs.submit, job)).outcome is SubmitOutcome.UNKNOWN
    assert harness.sandbox.fired(order) == 1
    assert (await harness.run(harness.jobs.find, job)).outcome is FindOutcome.FOUND
    await ended(harness, job)
    await check_paid_once(harness, job)
    await check_files(harness, job, TEXT)
    assert len(await stored(harness, job)) == 2


async def test_late_history_is_waited_for(harness: ActivityHarness) -> None:
    harness.sandbox.set(history_lag_seconds=2.5)
    harness.sandbox.fault("drop_after_accept", provider=NAME)
    job = (await speech(harness)).job
    assert (await harness.run(harness.jobs.submit, job)).outcome is SubmitOutcome.UNKNOWN
    assert (await harness.run(harness.jobs.find, job)).outcome is FindOutcome.FOUND
    await ended(harness, job)
    await check_paid_once(harness, job)


async def test_cut_body_waits_for_a_late_history(harness: ActivityHarness) -> None:
    harness.sandbox.set(history_lag_seconds=2.5)
    harness.sandbox.fault("cut_body", provider=NAME, params={"after": "middle"})
    job = (await speech(harness)).job
    assert (await harness.run(harness.jobs.submit, job)).settled is None
    await ended(harness, job)
    await check_paid_once(harness, job)
    await check_files(harness, job, TEXT)


async def test_lost_history_item_ends_at_its_exact_cost(still: ActivityHarness) -> None:
    """Its head named the credits; the deadline ends it, and nothing is bought again."""
    lost = still.sandbox.fault("unlisted", provider=NAME)
    still.sandbox.fault("cut_body", provider=NAME)
    job = (await speech(still)).job
    assert (await still.run(still.jobs.submit, job)).settled is None
    assert still.sandbox.fired(lost) == 1
    handle = (await still.job(job)).handle
    assert handle is not None
    provider = still.providers.provider(NAME)
    assert (await provider.status(handle)).state is JobState.SUBMITTED
    sent = parse_qs(urlsplit(handle.urls["history"]).query)["date_after_unix"][0]
    await still.as_owner(
        "UPDATE jobs SET next_look_at = now(), provider_urls = replace(provider_urls::text, $2, $3)::jsonb "
        "WHERE job_id = $1",
        job.job_id,
        sent,
        str(int(sent) - 1000),
    )
    async with polling(still.poller):
        await ended(still, job)
    record = await still.job(job)
    assert record.state is JobState.FAILED
    assert record.failure is not None
    assert record.failure.code is FailureCode.OUTPUT_EXPIRED
    (line,) = still.bill()
    assert await still.charge(job) == ("settled", line["billed_nano_usd"])


async def test_request_that_was_not_accepted_is_sent_again(harness: ActivityHarness) -> None:
    fault = harness.sandbox.fault("drop_before_accept", provider=NAME)
    job = (await speech(harness)).job
    assert (await harness.run(harness.jobs.submit, job)).outcome is SubmitOutcome.UNKNOWN
    assert harness.sandbox.fired(fault) == 1
    assert (await harness.run(harness.jobs.find, job)).outcome is FindOutcome.ABSENT
    assert (await harness.run(harness.jobs.submit, job)).settled is not None
    await check_paid_once(harness, job)


async def test_equal_requests_adopt_one_item_each(harness: ActivityHarness) -> None:
    harness.sandbox.fault("drop_after_accept", provider=NAME, times=2)
    jobs = [(await speech(harness)).job for _ in range(2)]
    for job in jobs:
        assert (await harness.run(harness.jobs.submit, job)).outcome is SubmitOutcome.UNKNOWN
    for job in jobs:
        assert (await harness.run(harness.jobs.find, job)).outcome is FindOutcome.FOUND
        await ended(harness, job)
    handles = [(await harness.job(job)).handle for job in jobs]
    billed = {line["provider_job_id"] for line in harness.bill()}
    assert {handle.provider_job_id for handle in handles if handle} == billed
    assert len(billed) == 2
    for job in jobs:
        assert await harness.charge(job) == ("settled", len(TEXT) * 100_000)


async def test_other_settings_are_not_adopted(harness: ActivityHarness) -> None:
    """Equal text in another voice setting is another purchase."""
    harness.sandbox.speak(TEXT, model_id=MODEL, voice_settings={"speed": 0.8})
    harness.sandbox.fault("drop_before_accept", provider=NAME)
    job = (await speech(harness)).job
    assert (await harness.run(harness.jobs.submit, job)).outcome is SubmitOutcome.UNKNOWN
    finding = asyncio.create_task(harness.run(harness.jobs.find, job))
    await asyncio.sleep(1.5)
    assert not finding.done()
    finding.cancel()
    await asyncio.gather(finding, return_exceptions=True)
    assert (await harness.job(job)).state is JobState.UNKNOWN


async def submitting(
    harness: ActivityHarness, job: JobRef, environment: ActivityEnvironment
) -> "tuple[str, asyncio.Task[SubmitJobResult]]":
    """Begin a submit whose answer is held after its head; wait until its id is committed."""
    fault = harness.sandbox.fault("hold", provider=NAME, params={"stage": "after_head"})
    submit = harness.run(harness.jobs.submit, job, seconds=60, environment=environment)
    task = asyncio.create_task(submit)
    async with asyncio.timeout(30):
        while (await harness.job(job)).state is not JobState.SUBMITTED:  # noqa: ASYNC110 - the row
            await asyncio.sleep(0.02)
    return fault, task


async def test_id_is_committed_before_the_body_arrives(still: ActivityHarness) -> None:
    job = (await speech(still)).job
    fault, task = await submitting(still, job, ActivityEnvironment())
    assert not task.done()
    still.sandbox.client.post("/__control/release", json={"id": fault})
    assert (await task).settled is not None
    await check_paid_once(still, job)


async def test_stop_of_the_worker_leaves_the_body_to_the_poller(still: ActivityHarness) -> None:
    job = (await speech(still)).job
    environment = ActivityEnvironment()
    _, task = await submitting(still, job, environment)
    environment.worker_shutdown()
    async with asyncio.timeout(30):
        result = await task
    assert (result.outcome, result.settled) == (SubmitOutcome.SUBMITTED, None)
    async with polling(still.poller):
        await ended(still, job)
    await check_paid_once(still, job)
    await check_files(still, job, TEXT)


async def test_concurrency_limit_is_waited_for(still: ActivityHarness) -> None:
    fault = still.sandbox.fault(
        "refuse_429", provider=NAME, params={"code": "concurrent_limit_exceeded"}
    )
    job = (await speech(still)).job
    refused = await still.run(still.jobs.submit, job)
    assert still.sandbox.fired(fault) == 1
    assert (refused.outcome, refused.retry_after_seconds) == (SubmitOutcome.NOT_SENT, 2.0)
    paused = await still.run(still.jobs.submit, (await speech(still)).job)
    assert paused.held_back
    assert not still.bill()


@pytest.fixture
async def priced(
    fresh_database: FreshDatabase, harness_sandbox: Sandbox, s3_server: S3Server
) -> AsyncGenerator[ActivityHarness]:
    """Activities of an operator whose plan's credits cost 0.00015 USD."""
    harness_sandbox.reset(elevenlabs_usd_per_credit=0.00015, elevenlabs_discount=0.55)
    async with open_harness(
        fresh_database, harness_sandbox, s3_server, elevenlabs_usd_per_credit="0.00015"
    ) as harness:
        yield harness


@pytest.mark.parametrize(("model_id", "credits_"), [(MODEL, 38), ("eleven_flash_v2_5", 19)])
@pytest.mark.parametrize("cut", [False, True])
async def test_credits_are_settled_as_charged(
    priced: ActivityHarness, model_id: str, credits_: int, *, cut: bool
) -> None:
    if cut:
        priced.sandbox.fault("cut_body", provider=NAME)
    spoken = await speech(priced, model_id=model_id)
    assert spoken.held_nano_usd == credits_ * 150_000
    await priced.run(priced.jobs.submit, spoken.job)
    await ended(priced, spoken.job)
    await check_paid_once(priced, spoken.job)
    (line,) = priced.bill()
    assert line["billed_nano_usd"] < spoken.held_nano_usd
