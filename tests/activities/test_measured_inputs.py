"""A step whose price follows the length of another step's file is sent once that is known."""

from dataclasses import dataclass

import pytest

from core.domain.failures import FailureCode
from core.domain.ids import new_execution_id
from core.domain.media.content import MediaKind
from core.domain.messages.jobs import JobRef, SubmitOutcome
from core.domain.plans import AssetSource, Parameters, PlanType, StepKind, StepOutput
from core.domain.states import JobState
from core.jobs.submission.inputs import MEASURED_WITHIN
from core.ordering.planning.step_requests import StepRequest
from core.ordering.planning.steps import KnownFile, plan_steps
from core.providers.models import inputs_from_json
from core.store.executions.executions import NewExecution
from core.store.money.reports.ledger_check import list_findings
from tests.activities.test_own_inputs import upload_picture
from tests.support.activity_harness import ActivityHarness
from tests.support.rows import IMAGE, VIDEO, accept, new_user

pytestmark = pytest.mark.guarantee("G1", "G3")

SPEECH = "fal-ai/kokoro/american-english"
HEAD = "veed/fabric-1.0"
AGES_JOB = "UPDATE jobs SET ended_at = now() - $2::interval WHERE job_id = $1"
LENGTHEN = (
    "UPDATE assets SET media = jsonb_set(media, '{duration_seconds}', '30') WHERE job_id = $1"
)
SECOND_NANO_USD = 150_000_000
LIMITS = {
    FailureCode.BUDGET_EXCEEDED: (
        "UPDATE users AS u SET monthly_nano_usd_limit = b.held_nano_usd + b.settled_nano_usd + 1 "
        "FROM budgets AS b WHERE b.user_id = u.user_id"
    ),
    FailureCode.SERVICE_BUDGET_EXCEEDED: (
        "UPDATE service_limits SET daily_nano_usd = "
        "(SELECT held_nano_usd + settled_nano_usd + 1 FROM daily_spending)"
    ),
    FailureCode.MAX_COST_EXCEEDED: (
        "UPDATE executions AS e SET max_cost_nano_usd = (SELECT sum(greatest(held_nano_usd, "
        "settled_nano_usd)) FROM charges AS c WHERE c.execution_id = e.execution_id) + 1"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A speech step and the talking head that waits for its file."""

    speech: JobRef
    head: JobRef
    held_nano_usd: int


async def spoken(harness: ActivityHarness, text: str = "A paper boat.") -> Spoken:
    """Order both, and buy the speech."""
    one = await ordered(harness, text)
    await buy(harness, one)
    return one


async def buy(harness: ActivityHarness, one: Spoken) -> None:
    await harness.run(harness.jobs.submit, one.speech)
    await harness.run(harness.jobs.wait, one.speech)
    await harness.run(harness.jobs.settle, one.speech)


async def ordered(harness: ActivityHarness, text: str = "A paper boat.") -> Spoken:
    user_id = await new_user(harness.database)
    face = AssetSource(asset=await upload_picture(harness, user_id))
    priced = plan_steps(
        harness.providers,
        [
            StepRequest(
                name=IMAGE,
                kind=StepKind.AUDIO,
                model=SPEECH,
                parameters=Parameters(values={"text": text}),
            ),
            StepRequest(
                name=VIDEO,
                kind=StepKind.TALKING_HEAD,
                model=HEAD,
                parameters=Parameters(sources={"image": face, "audio": StepOutput(step=IMAGE)}),
            ),
        ],
        plan_type=PlanType.PLAN,
        result_step=VIDEO,
        assets={face.asset: KnownFile(kind=MediaKind.IMAGE)},
    )
    one = await accept(
        harness.database,
        NewExecution(
            execution_id=new_execution_id(),
            user_id=user_id,
            plan=priced.plan,
            steps=priced.steps,
            request={},
            metadata={},
            webhook_url=None,
            webhook_secret=None,
            deadline_seconds=priced.deadline_seconds,
        ),
    )
    held = priced.steps[1].quote.worst_nano_usd
    return Spoken(speech=one.image, head=one.video, held_nano_usd=held)


async def sent_seconds(harness: ActivityHarness, ref: JobRef) -> float | None:
    """Return the length that the send's price follows."""
    async with harness.database.as_user(ref.user_id) as conn:
        inputs = await conn.fetchval("SELECT inputs FROM sends WHERE job_id = $1", ref.job_id)
    facts = inputs_from_json(inputs).media["audio"].facts
    return None if facts is None else facts.duration_seconds


async def test_step_waits_until_the_length_of_its_input_is_known(harness: ActivityHarness) -> None:
    one = await spoken(harness)
    early = await harness.run(harness.jobs.submit, one.head)
    assert early.outcome is SubmitOutcome.NOT_SENT
    assert len(harness.bill()) == 1

    assert (await harness.run(harness.assets.store, one.speech)).failure is None
    assert (await harness.run(harness.jobs.submit, one.head)).outcome is SubmitOutcome.SUBMITTED
    assert (await harness.run(harness.jobs.wait, one.head)).state is JobState.COMPLETED
    await harness.run(harness.jobs.settle, one.head)

    seconds = await sent_seconds(harness, one.head)
    assert seconds is not None
    (line,) = [line for line in harness.bill() if line["model"] == HEAD]
    assert await harness.charge(one.head) == ("settled", line["billed_nano_usd"])
    assert 0 < line["billed_nano_usd"] < one.held_nano_usd


async def test_input_that_is_too_long_is_refused_before_the_send(harness: ActivityHarness) -> None:
    one = await spoken(harness)
    assert (await harness.run(harness.assets.store, one.speech)).failure is None
    await harness.as_owner(
        "UPDATE assets SET media = jsonb_set(media, '{duration_seconds}', '1e6') WHERE job_id = $1",
        one.speech.job_id,
    )

    refused = await harness.run(harness.jobs.submit, one.head)

    assert refused.failure is not None
    assert refused.failure.code is FailureCode.MEDIA_UNSUPPORTED
    assert "seconds" in refused.failure.message
    assert len(harness.bill()) == 1
    assert await harness.charge(one.head) == ("released", 0)


async def test_storage_that_stays_down_does_not_fail_the_step(harness: ActivityHarness) -> None:
    one = await spoken(harness)
    await harness.as_owner(AGES_JOB, one.speech.job_id, MEASURED_WITHIN)

    sent = await harness.run(harness.jobs.submit, one.head)

    assert sent.outcome is SubmitOutcome.SUBMITTED
    assert await sent_seconds(harness, one.head) is None


async def test_hold_is_raised_before_a_longer_input_is_sent(harness: ActivityHarness) -> None:
    one = await spoken(harness)
    assert (await harness.run(harness.assets.store, one.speech)).failure is None
    await harness.as_owner(LENGTHEN, one.speech.job_id)

    sent = await harness.run(harness.jobs.submit, one.head)

    assert sent.outcome is SubmitOutcome.SUBMITTED
    assert one.held_nano_usd < 30 * SECOND_NANO_USD
    async with harness.database.as_user(one.head.user_id) as conn:
        held = await conn.fetchval(
            "SELECT held_nano_usd FROM charges WHERE job_id = $1", one.head.job_id
        )
        budget = await conn.fetchval("SELECT held_nano_usd FROM budgets")
    assert held == budget == 30 * SECOND_NANO_USD
    async with harness.database.as_system() as conn:
        assert await list_findings(conn) == []


@pytest.mark.parametrize("code", LIMITS)
async def test_step_beyond_the_budget_is_stopped_unsent(
    harness: ActivityHarness, code: FailureCode
) -> None:
    one = await spoken(harness)
    assert (await harness.run(harness.assets.store, one.speech)).failure is None
    await harness.as_owner(LENGTHEN, one.speech.job_id)
    await harness.as_owner(LIMITS[code])

    refused = await harness.run(harness.jobs.submit, one.head)

    assert refused.outcome is SubmitOutcome.REFUSED
    assert refused.failure is not None
    assert refused.failure.code is code
    assert len(harness.bill()) == 1
    assert await harness.charge(one.head) == ("released", 0)
    async with harness.database.as_system() as conn:
        assert await list_findings(conn) == []
