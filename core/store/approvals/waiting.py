"""Approvals that wait for a decision, with the files of their options."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.domain.ids import ExecutionId
from core.domain.money import NanoUsd
from core.store.approvals.decisions import options_from_row
from core.store.approvals.looks import Option
from core.store.database import Connection
from core.store.files.assets import Asset, list_job_assets

LIST_WAITING = """
SELECT a.execution_id, j.step_name, a.options, a.rest, a.opened_at, a.expires_at
FROM approvals AS a JOIN jobs AS j ON j.job_id = a.job_id
WHERE a.execution_id = ANY($1::text[]) AND a.decided_at IS NULL AND j.state = 'waiting'
ORDER BY a.opened_at, j.step_name
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingApproval:
    """An approval without a decision.

    assets: the files of each option, by its step. rest_steps: the paid steps that an approval
    starts; low_nano_usd, expected_nano_usd: what they may cost together, as it was quoted.
    """

    step: str
    options: Sequence[Option]
    assets: Mapping[str, Sequence[Asset]]
    rest_steps: Sequence[str]
    low_nano_usd: NanoUsd
    expected_nano_usd: NanoUsd
    opened_at: datetime
    expires_at: datetime


async def list_waiting(
    conn: Connection, execution_ids: Sequence[ExecutionId]
) -> Mapping[ExecutionId, Sequence[WaitingApproval]]:
    """Return the approvals of these executions that wait, oldest first."""
    waiting: dict[ExecutionId, list[WaitingApproval]] = defaultdict(list)
    if not execution_ids:
        return waiting
    for row in await conn.fetch(LIST_WAITING, execution_ids):
        options, rest = options_from_row(row), row["rest"]
        assets = await list_job_assets(conn, *(option.job_id for option in options))
        waiting[ExecutionId(row["execution_id"])].append(
            WaitingApproval(
                step=row["step_name"],
                options=options,
                assets={
                    option.step: [asset for asset in assets if asset.job_id == option.job_id]
                    for option in options
                },
                rest_steps=rest["steps"],
                low_nano_usd=NanoUsd(rest["low"]),
                expected_nano_usd=NanoUsd(rest["expected"]),
                opened_at=row["opened_at"],
                expires_at=row["expires_at"],
            )
        )
    return waiting
