"""Rows that jobs need: a user with limits, and an accepted execution of image → video."""

from dataclasses import dataclass, replace
from decimal import Decimal

from core.domain.ids import ExecutionId, JobId, UserId, new_execution_id
from core.domain.messages.executions import ExecutionRef
from core.domain.messages.jobs import JobRef
from core.domain.money import NanoUsd
from core.domain.plans import Parameters, Plan, PlanType, Scalar, Step, StepKind, StepOutput
from core.domain.prices import Price, Quote, Unit
from core.platform.crypto.sealing import Sealer
from core.store.accounts.users import UserLimits, insert_user
from core.store.database import Connection, Database
from core.store.executions.executions import (
    NewExecution,
    NewStep,
    claim_execution,
    insert_execution,
)

SEALER = Sealer([bytes(range(32))])
IMAGE, VIDEO = "image", "video"
IMAGE_PRICE, VIDEO_PRICE = NanoUsd(3_000_000), NanoUsd(300_000_000)
NO_LIMITS = UserLimits(monthly_videos=None, monthly_nano_usd=None)
IMAGE_MODEL, VIDEO_MODEL = "fal-ai/flux/schnell", "bytedance/seedance-1-pro"
PICTURE = Price(
    unit=Unit.IMAGE,
    unit_nano_usd=Decimal(IMAGE_PRICE),
    source="the price book",
    read_on="2026-11-01",
)
MEGAPIXEL = replace(PICTURE, unit=Unit.MEGAPIXEL)
VIDEO_SECOND = Price(
    unit=Unit.SECOND,
    unit_nano_usd=Decimal(VIDEO_PRICE) / 5,
    source="the price book",
    read_on="2026-11-01",
    when={"resolution": "720p"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An execution with its two waiting jobs and their holds."""

    user_id: UserId
    execution_id: ExecutionId
    image: JobRef
    video: JobRef

    @property
    def ref(self) -> ExecutionRef:
        return ExecutionRef(user_id=self.user_id, execution_id=self.execution_id, generation=1)


def quote_at(nano_usd: NanoUsd, price: Price = PICTURE) -> Quote:
    """Return the quote of a job with exactly this price."""
    return Quote(
        price=price, low_nano_usd=nano_usd, expected_nano_usd=nano_usd, worst_nano_usd=nano_usd
    )


async def new_user(database: Database, limits: UserLimits = NO_LIMITS) -> UserId:
    async with database.as_system() as conn:
        return (await insert_user(conn, SEALER, "somebody", limits)).user_id


def new_execution(
    user_id: UserId,
    *,
    image_model: str = IMAGE_MODEL,
    image_provider: str = "fal",
    deadline_seconds: int = 3600,
    step_seconds: int = 300,
    usual_seconds: int = 1,
    webhook_url: str | None = None,
    seed: int | None = None,
) -> NewExecution:
    image = Step(
        name=IMAGE,
        kind=StepKind.IMAGE,
        provider=image_provider,
        model=image_model,
        deadline_seconds=step_seconds,
        usual_seconds=usual_seconds,
    )
    video = Step(
        name=VIDEO,
        kind=StepKind.VIDEO,
        provider="replicate",
        model=VIDEO_MODEL,
        deadline_seconds=step_seconds,
        usual_seconds=usual_seconds,
        needs=(IMAGE,),
    )
    prompt = "A paper boat"
    values: dict[str, Scalar] = {"prompt": prompt, "aspect_ratio": "16:9"}
    return NewExecution(
        execution_id=new_execution_id(),
        user_id=user_id,
        plan=Plan(type=PlanType.GENERATE_VIDEO, steps=(image, video), result_step=VIDEO),
        steps=(
            NewStep(
                step=image,
                parameters=Parameters(values=values if seed is None else {**values, "seed": seed}),
                quote=quote_at(
                    IMAGE_PRICE, PICTURE if image_provider == "replicate" else MEGAPIXEL
                ),
            ),
            NewStep(
                step=video,
                parameters=Parameters(
                    values={"prompt": prompt, "duration_seconds": 5, "resolution": "720p"},
                    sources={"image": StepOutput(step=IMAGE)},
                ),
                quote=quote_at(VIDEO_PRICE, VIDEO_SECOND),
            ),
        ),
        request={"prompt": prompt},
        metadata={},
        webhook_url=webhook_url,
        webhook_secret=None,
        deadline_seconds=deadline_seconds,
    )


async def accept(database: Database, new: NewExecution, *, claimed: bool = True) -> Accepted:
    """Insert the rows of an accepted execution.

    claimed: a workflow has started it. Raise BudgetExceededError.
    """
    ref = ExecutionRef(user_id=new.user_id, execution_id=new.execution_id, generation=1)
    async with database.as_user(new.user_id) as conn:
        await insert_execution(conn, new)
    async with database.as_user(new.user_id) as conn:
        if claimed:
            await claim_execution(conn, ref)
        rows = await conn.fetch(
            "SELECT step_name, job_id FROM jobs WHERE execution_id = $1", new.execution_id
        )
    jobs = {
        row["step_name"]: JobRef(
            user_id=new.user_id,
            execution_id=new.execution_id,
            job_id=JobId(row["job_id"]),
            generation=1,
        )
        for row in rows
    }
    return Accepted(
        user_id=new.user_id, execution_id=new.execution_id, image=jobs[IMAGE], video=jobs[VIDEO]
    )


async def assert_books_balance(conn: Connection, user_id: UserId) -> None:
    """Check that the ledger, the charges and the budgets agree to the nano-dollar."""
    entries = await conn.fetch(
        "SELECT kind, sum(amount_nano_usd)::bigint AS amount FROM ledger_entries WHERE user_id = $1 GROUP BY kind",
        user_id,
    )
    amount = {row["kind"]: row["amount"] for row in entries}
    held = amount.get("held", 0) - amount.get("settled", 0) - amount.get("released", 0)
    settled = sum(amount.get(kind, 0) for kind in ("settled", "overage", "adjustment", "orphan"))
    charges = await conn.fetchrow(
        "SELECT coalesce(sum(held_nano_usd) FILTER (WHERE state = 'held'), 0)::bigint AS held,"
        " coalesce(sum(settled_nano_usd), 0)::bigint AS settled FROM charges WHERE user_id = $1",
        user_id,
    )
    budget = await conn.fetchrow(
        "SELECT held_nano_usd AS held, settled_nano_usd AS settled FROM budgets WHERE user_id = $1",
        user_id,
    )
    assert charges is not None
    assert tuple(charges) == (held, settled)
    assert budget is None or tuple(budget) == (held, settled)
