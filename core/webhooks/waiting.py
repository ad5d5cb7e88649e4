"""An approval that waits for a decision, as the API and webhooks present it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from core.domain.money import NanoUsd, usd_text
from core.store.approvals.waiting import WaitingApproval
from core.store.files.assets import StepAsset
from core.webhooks.asset_links import AssetLinks
from core.webhooks.execution_result import asset_json


def waiting_json(
    approval: WaitingApproval, held: Mapping[str, NanoUsd], links: AssetLinks
) -> dict[str, Any]:
    """Return the step, its options with their files, and the price of what an approval starts.

    held: for each step of the execution. The worst price is what is held for the rest; the low and
    the expected price were quoted for all of it, of which a retry may have kept a part.
    """
    worst = sum(held.get(step, 0) for step in approval.rest_steps)
    return {
        "step": approval.step,
        "options": [
            {
                "step": option.step,
                "jobId": option.job_id,
                "assets": [
                    asset_json(StepAsset(step=option.step, is_result=False, asset=asset), links)
                    for asset in approval.assets[option.step]
                ],
            }
            for option in approval.options
        ],
        "rest": {
            "currency": "USD",
            "steps": list(approval.rest_steps),
            "low": usd_text(min(approval.low_nano_usd, worst)),
            "expected": usd_text(min(approval.expected_nano_usd, worst)),
            "worst": usd_text(worst),
        },
        "openedAt": _timestamp(approval.opened_at),
        "expiresAt": _timestamp(approval.expires_at),
    }


def _timestamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
