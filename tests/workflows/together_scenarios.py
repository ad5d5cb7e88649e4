"""Every way of an execution whose image file waits to be stored together with the video's."""

from dataclasses import replace
from datetime import timedelta

from temporalio.exceptions import ApplicationError

from core.domain.failures import Failure, FailureCode
from core.domain.ids import AssetId
from core.domain.messages.assets import StoreAssetResult
from core.domain.messages.jobs import SubmitJobResult, SubmitOutcome
from tests.workflows.fake_activities import STORED_TOGETHER
from tests.workflows.scenarios import COMPLETED, FAILED, SCENARIOS, Scenario

TOGETHER: dict[str, Scenario] = {
    f"together_{name}": replace(scenario, plan=STORED_TOGETHER)
    for name, scenario in {
        "happy": SCENARIOS["happy"],
        # By a worker of an earlier version, or because it needs another try.
        "left_out": Scenario(
            status=COMPLETED,
            answers={"store video, image": [StoreAssetResult(asset_id=AssetId("asset_video"))]},
        ),
        "storage_away": Scenario(
            status=FAILED,
            failure=FailureCode.STORAGE_UNAVAILABLE,
            answers={
                "store video, image": [
                    ApplicationError("the storage is away", next_retry_delay=timedelta(hours=2))
                ]
            },
        ),
        "provider_fails": SCENARIOS["provider_fails"],
        "submit_lost": SCENARIOS["submit_lost"],
        "held_back": Scenario(
            status=COMPLETED,
            answers={
                "submit video": [SubmitJobResult(outcome=SubmitOutcome.NOT_SENT, held_back=True)]
            },
        ),
        "free_failure": SCENARIOS["free_failure_sent_again"],
        "refused": Scenario(
            status=FAILED,
            failure=FailureCode.PROVIDER_REJECTED_INPUT,
            answers={
                "submit video": [
                    SubmitJobResult(
                        outcome=SubmitOutcome.REFUSED,
                        failure=Failure.of(FailureCode.PROVIDER_REJECTED_INPUT),
                    )
                ]
            },
        ),
        "input_store_fails": Scenario(
            status=FAILED,
            failure=FailureCode.OUTPUT_EXPIRED,
            answers={
                "store image": [
                    StoreAssetResult(asset_id=None, failure=Failure.of(FailureCode.OUTPUT_EXPIRED))
                ],
                "submit video": [
                    SubmitJobResult(
                        outcome=SubmitOutcome.NOT_SENT,
                        failure=Failure.of(FailureCode.STORAGE_UNAVAILABLE),
                    )
                ]
                * 3,
            },
        ),
        "cancelled": SCENARIOS["signal_while_waiting"],
    }.items()
}
STORES: dict[str, list[str]] = {
    "together_happy": ["store video, image"],
    "together_left_out": ["store video, image", "store image"],
    "together_storage_away": ["store video, image"],
    "together_provider_fails": ["store image"],
    "together_cancelled": ["store image"],
    "together_refused": ["store image"],
    "together_input_store_fails": ["store image"],
    "together_held_back": ["store image", "store video"],
    "together_submit_lost": ["store image", "store video"],
    "together_free_failure": ["store image", "store video"],
}
"""The calls that store files: the image alone if the video is long in coming or never comes."""
RECORDED_TOGETHER = (
    "together_happy",
    "together_left_out",
    "together_submit_lost",
    "together_provider_fails",
    "together_cancelled",
    "together_input_store_fails",
)
"""Scenarios whose histories are stored."""
