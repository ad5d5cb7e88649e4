"""Executions whose speech and talking head may use the files of earlier purchases."""

from dataclasses import replace

from core.domain.failures import FailureCode
from core.domain.ids import JobId
from core.domain.messages.jobs import PurchaseClaim, SettleJobResult
from core.domain.money import NanoUsd
from core.domain.plans import PlanType
from core.domain.states import JobState
from tests.workflows.fake_activities import IMAGE, PLAN, VIDEO
from tests.workflows.scenarios import CANCELLED, COMPLETED, Scenario, at, signal

REUSING = replace(
    PLAN,
    type=PlanType.PLAN,
    steps=(replace(PLAN.step(IMAGE), reuse=True), replace(PLAN.step(VIDEO), reuse=True)),
)
BOUGHT = PurchaseClaim(source=JobId("job_earlier"))
BUSY = PurchaseClaim(is_busy=True)
GONE = SettleJobResult(state=JobState.WAITING, execution_spent_nano_usd=NanoUsd(0))


def scenario(**answers: list[object]) -> Scenario:
    """Return a scenario. answers: of the calls about the image, by the name of the activity."""
    ordered = {f"{name} {IMAGE}": each for name, each in answers.items()}
    return Scenario(status=COMPLETED, plan=REUSING, answers=ordered)


REUSE_SCENARIOS: dict[str, Scenario] = {
    "reuse_nothing": scenario(),
    "reuse_copied": scenario(claim_purchase=[BOUGHT]),
    "reuse_awaited": scenario(claim_purchase=[BUSY, BUSY, BOUGHT]),
    "reuse_awaited_in_vain": scenario(claim_purchase=[BUSY]),
    "reuse_files_gone": scenario(claim_purchase=[BOUGHT], reuse=[GONE]),
    "reuse_cancelled": replace(
        scenario(claim_purchase=[BUSY] * 100),
        status=CANCELLED,
        failure=FailureCode.CANCELLED,
        breakpoints=(f"claim_purchase {IMAGE}",),
        act=at(f"claim_purchase {IMAGE}", signal),
        repeatable=False,
    ),
}
_BOUGHT_VIDEO = ["claim_purchase video", "submit video"]
CALLS: dict[str, list[str]] = {
    "reuse_nothing": ["claim_purchase image", "submit image", *_BOUGHT_VIDEO],
    "reuse_copied": ["claim_purchase image", "reuse image", *_BOUGHT_VIDEO],
    "reuse_awaited": [*["claim_purchase image"] * 3, "reuse image", *_BOUGHT_VIDEO],
    "reuse_awaited_in_vain": [*["claim_purchase image"] * 2, "submit image", *_BOUGHT_VIDEO],
    "reuse_files_gone": [
        "claim_purchase image",
        "reuse image",
        "claim_purchase image",
        "submit image",
        *_BOUGHT_VIDEO,
    ],
    "reuse_cancelled": ["claim_purchase image"],
}
"""The calls that claim, reuse or buy, in order."""
RECORDED_REUSE = ("reuse_nothing", "reuse_copied", "reuse_awaited", "reuse_files_gone")
"""Scenarios whose histories are stored."""
