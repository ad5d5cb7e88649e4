"""A retry holds the price of a step by the length of another step's file."""

from dataclasses import replace

import pytest

from core.domain.failures import FailureCode
from core.domain.ids import UserId, new_execution_id
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.content import MediaKind
from core.domain.money import NanoUsd, usd_text
from core.domain.plans import Parameters, PlanType, StepKind, StepOutput
from core.domain.states import JobState
from core.ordering.planning.step_requests import StepRequest
from core.ordering.planning.steps import PricedPlan, plan_steps
from core.providers.registry import Providers
from core.store.executions.executions import NewExecution
from core.store.files.assets import insert_asset
from tests.api.conftest import Api, TestUser
from tests.api.ended import NEVER_SENT, NOT_STORED, Left, end
from tests.support.media_rows import asset_of_job
from tests.support.rows import IMAGE, VIDEO

pytestmark = pytest.mark.guarantee("G2", "G4")

MINUTE = 8_000_000
TEXT = "A paper boat. " * 40
"""The speech of it lasts 72 s at most."""
LOST = Left(
    state=JobState.FAILED,
    failure=FailureCode.PROVIDER_FAILED,
    known=True,
    report=JobState.FAILED,
    cost=NanoUsd(0),
)


def transcribed(catalogue: Providers) -> PricedPlan:
    speech = StepRequest(
        name=IMAGE,
        kind=StepKind.AUDIO,
        model="fal-ai/kokoro/american-english",
        parameters=Parameters(values={"text": TEXT}),
    )
    words = StepRequest(
        name=VIDEO,
        kind=StepKind.TRANSCRIPT,
        model="fal-ai/elevenlabs/speech-to-text/scribe-v2",
        parameters=Parameters(sources={"source": StepOutput(step=IMAGE)}),
    )
    return plan_steps(catalogue, [speech, words], plan_type=PlanType.PLAN, result_step=VIDEO)


def new(priced: PricedPlan, user_id: UserId) -> NewExecution:
    return NewExecution(
        execution_id=new_execution_id(),
        user_id=user_id,
        plan=priced.plan,
        steps=priced.steps,
        request={},
        metadata={},
        webhook_url=None,
        webhook_secret=None,
        deadline_seconds=priced.deadline_seconds,
    )


@pytest.mark.parametrize(
    ("speech", "seconds", "minutes"),
    [(NOT_STORED, 5.0, 1), (NOT_STORED, 300.0, 5), (LOST, None, 2)],
    ids=["measured", "measured longer", "planned"],
)
async def test_retry_holds_by_the_length_of_the_file(
    shared_api: Api, api_once: TestUser, speech: Left, seconds: float | None, minutes: int
) -> None:
    user = await shared_api.new_user()
    priced = transcribed(shared_api.services.providers)
    assert priced.steps[1].quote.worst_nano_usd == 2 * MINUTE
    ended = await end(
        shared_api.database,
        user.user_id,
        NEVER_SENT,
        image=speech,
        new=new(priced, user.user_id),
    )
    if seconds is not None:
        asset = replace(
            asset_of_job(ended.image),
            kind=MediaKind.AUDIO,
            media=MediaFacts(duration_seconds=seconds),
        )
        async with shared_api.database.as_system() as conn:
            assert await insert_asset(conn, asset)
    async with user.http:
        answer = await user.http.post(f"/api/executions/{ended.execution_id}/retry")
    assert answer.status_code == 202, answer.text
    due = {item["step"]: item for item in answer.json()["toPay"]}
    assert due[VIDEO]["estimated"] == usd_text(NanoUsd(minutes * MINUTE))
