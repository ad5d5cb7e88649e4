"""A cancel at every stage, twice, and racing the end: the provider is asked once, its real cost is
settled, the hold is released to the nano-dollar, and the user receives one end event.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from core.domain.money import nano_usd
from tests.end_to_end.world import ENDED, MODELS, World

pytestmark = pytest.mark.guarantee("G5")

LONG_SECONDS = 600.0
"""Longer than any cancel takes here."""
LIST_LAG_SECONDS = 2.0

Cancels = asyncio.Future[tuple[dict[str, Any], dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the cancel comes, and the expected result.

    order: makes an execution that has come to this stage. lost: what happens to the provider's
    answer to the cancel. bought: provider jobs. asked: whether the provider is asked to end one;
    None: it may be too late for it. last: the end of the last of them on the bill. charged:
    what of it, by provider.
    """

    order: Callable[[World, str], Awaitable[str]]
    lost: dict[str, Any] = field(default_factory=dict[str, Any])
    status: str = "cancelled"
    bought: int = 2
    asked: bool | None = True
    last: str = "canceled"
    charged: dict[str, str] = field(
        default_factory=lambda: {"fal": "nothing", "replicate": "all or nothing"}
    )


async def _submitting(world: World, provider: str, stage: str) -> str:
    await world.settings(image_seconds=LONG_SECONDS)
    image = {"provider": provider, "model": MODELS[provider]["imageModel"]}
    return await world.caught("hold", **image, params={"stage": stage}, body=MODELS[provider])


async def _submitting_unread(world: World, provider: str) -> str:
    """The create call is on the wire, and the provider has not taken it yet."""
    return await _submitting(world, provider, "before_accept")


async def _submitting_accepted(world: World, provider: str) -> str:
    """The provider has the job, and its answer is under way."""
    return await _submitting(world, provider, "after_accept")


async def _unknown(world: World, provider: str) -> str:
    """The answer was lost, no callback comes, the list lags.

    No callback at all: that of an earlier stage's job could otherwise use up the fault.
    """
    await world.settings(image_seconds=0.3, callbacks=False)
    image = {"provider": provider, "model": MODELS[provider]["imageModel"]}
    execution_id = await world.caught("drop_after_accept", **image, body=MODELS[provider])
    await world.until(execution_id, job="image", state="unknown")
    return execution_id


async def _video(world: World, provider: str, *, seconds: float, queue_seconds: float = 0.2) -> str:
    await world.settings(
        image_seconds=0.3, video_seconds=seconds, queue_seconds=queue_seconds, callbacks=True
    )
    execution_id = await world.generate(duration=10, **MODELS[provider])
    await world.until(execution_id, job="video", state="submitted")
    return execution_id


async def _queued_there(world: World, provider: str) -> str:
    return await _video(world, provider, seconds=LONG_SECONDS, queue_seconds=LONG_SECONDS)


async def _running(world: World, provider: str) -> str:
    execution_id = await _video(world, provider, seconds=LONG_SECONDS)
    await asyncio.sleep(0.5)  # out of the provider's queue
    return execution_id


async def _losing(world: World, provider: str) -> str:
    """The cancel will be acknowledged, and the video completes all the same."""
    await world.fault("cancel_loses", provider=provider, model=MODELS[provider]["videoModel"])
    return await _video(world, provider, seconds=10.0)


async def _storing(world: World, provider: str) -> str:
    """Everything is bought; the video drips into our storage."""
    slow = {"chunk_bytes": 512, "seconds_per_chunk": 0.4}
    ordered = await world.fault(
        "slow_file", provider=provider, model=MODELS[provider]["videoModel"], params=slow
    )
    execution_id = await _video(world, provider, seconds=1.0)
    await world.until_fired(ordered)
    return execution_id


async def _ended(world: World, provider: str) -> str:
    execution_id = await _video(world, provider, seconds=1.0)
    await world.ended(execution_id)
    return execution_id


PART = {"fal": "nothing", "replicate": "all"}
WHOLE = {"fal": "all", "replicate": "all"}
STAGES = {
    # First, because it takes longest: the call is given up after ten seconds, all of which are
    # charged.
    "running, never answered": Stage(
        order=_running, lost={"fault": "hang"}, charged={**PART, "replicate": "some"}
    ),
    "submitting, not taken yet": Stage(order=_submitting_unread, bought=1),
    "submitting, taken": Stage(order=_submitting_accepted, bought=1),
    "unknown": Stage(order=_unknown, bought=1, asked=None, last="succeeded", charged=WHOLE),
    "queued at the provider": Stage(order=_queued_there),
    "running": Stage(order=_running, charged=PART),
    "running, refused with 503": Stage(
        order=_running, lost={"fault": "error_5xx_before_accept"}, charged=PART
    ),
    "running, answer lost": Stage(
        order=_running, lost={"fault": "drop_after_accept"}, charged=PART
    ),
    # Before the video that completes in spite of its cancel: its file would use up the slow one.
    "storing": Stage(
        order=_storing, asked=False, status="completed", last="succeeded", charged=WHOLE
    ),
    "running, cancel loses": Stage(
        order=_losing, status="completed", last="succeeded", charged=WHOLE
    ),
    "after the end": Stage(
        order=_ended, asked=False, status="completed", last="succeeded", charged=WHOLE
    ),
}


async def _cancelled_twice(world: World, provider: str, stage: Stage) -> tuple[str, Cancels]:
    """Order an execution up to a stage and start two concurrent cancels of it."""
    execution_id = await stage.order(world, provider)
    ordered = (
        await world.fault(**stage.lost, provider=provider, operation="cancel")
        if stage.lost
        else None
    )
    cancels = asyncio.gather(world.cancel(execution_id), world.cancel(execution_id))
    if stage.order in (_submitting_unread, _submitting_accepted):
        await world.until_cancel_is_committed(execution_id)
        await world.release_held(provider)
    if ordered is not None:
        await world.until_fired(ordered)
    return execution_id, cancels


@pytest.mark.timeout(300)
async def test_cancel_at_every_stage_settles_the_provider_bill(world: World) -> None:
    await world.settings(history_lag_seconds=LIST_LAG_SECONDS)
    orders: dict[tuple[str, str], tuple[str, Cancels]] = {}
    for name, stage in STAGES.items():
        both = await asyncio.gather(
            *(_cancelled_twice(world, provider, stage) for provider in MODELS)
        )
        orders |= {(name, provider): order for provider, order in zip(MODELS, both, strict=True)}
    await asyncio.gather(
        *(world.until_final(execution_id, seconds=120) for execution_id, _ in orders.values())
    )
    for (name, provider), (execution_id, cancels) in orders.items():
        await _check(
            world, execution_id, await cancels, STAGES[name], provider, f"{name}, {provider}"
        )
    await world.check_bought(
        {execution_id: STAGES[name].bought for (name, _), (execution_id, _) in orders.items()}
    )
    await world.check_budget()


async def _check(
    world: World,
    execution_id: str,
    answers: Iterable[dict[str, Any]],
    stage: Stage,
    provider: str,
    name: str,
) -> None:
    seen = await world.get(execution_id)
    assert seen["status"] == stage.status, (name, seen)
    last = (await world.bill_of(execution_id))[-1]
    assert last["state"] == stage.last, (name, last)
    price, billed = last["price_nano_usd"], last["billed_nano_usd"]
    right = {
        "nothing": billed == 0,
        "all or nothing": billed in (0, price),  # by whether the prediction had begun to run
        "some": billed > 0,
        "all": billed == price > 0,
    }
    assert right[stage.charged[provider]], (name, last)
    await _check_truth(world, execution_id, answers, name)
    calls = await _cancel_calls(world, execution_id)
    repeats = 2 if stage.lost else 1
    assert all(count <= repeats for count in calls.values()), (name, calls)
    assert stage.asked in (None, bool(calls)), (name, calls)


async def _check_truth(
    world: World, execution_id: str, answers: Iterable[dict[str, Any]], name: str
) -> None:
    """The money is the bill; what the cancels answered was true; its user receives one end."""
    spent = await world.check_money(execution_id)
    seen = await world.get(execution_id)
    for answer in answers:
        assert nano_usd(answer["spent"]) <= spent, (name, answer)
        if answer["final"]:
            assert answer["status"] == seen["status"], (name, answer)
            assert nano_usd(answer["spent"]) == spent, (name, answer)
            assert nano_usd(answer["released"]) == nano_usd(seen["cost"]["estimated"]) - spent, (
                name,
                answer,
            )
    event = await world.check_one_event(execution_id)
    assert (event["type"], event["cost"]) == (f"execution.{seen['status']}", seen["cost"]), (
        name,
        event,
    )


async def _cancel_calls(world: World, execution_id: str) -> Counter[str]:
    """How often the provider was asked to end each job of an execution."""
    ours = {line["provider_job_id"] for line in await world.bill_of(execution_id)}
    return Counter(
        call["path"] for call in await world.calls("cancel") if ours & set(call["path"].split("/"))
    )


async def test_cancel_before_anything_is_sent_buys_nothing(world: World) -> None:
    with world.stopped("Worker"):
        ids = [await world.generate(**MODELS[provider]) for provider in MODELS]
        answers = await asyncio.gather(*(world.cancel(execution_id) for execution_id in ids * 2))
    for answer in answers:
        assert (answer["status"], answer["spent"], answer["final"]) == ("queued", "0", False)
    for execution_id in ids:
        seen = await world.until_final(execution_id)
        assert (seen["status"], seen["cost"]["settled"]) == ("cancelled", "0")
        await _check_truth(world, execution_id, [await world.cancel(execution_id)], execution_id)
    assert await world.calls("create") == []
    await world.check_bought(dict.fromkeys(ids, 0))
    await world.check_budget()


async def test_cancel_that_races_the_end_reports_the_true_result(world: World) -> None:
    """Each video is cancelled at another moment around its end."""
    await world.settings(video_seconds=3.0)
    offsets = (-1.5, -0.2, -0.07, 0.0, 0.2)
    orders = [
        (await world.generate(**MODELS[provider]), offset)
        for offset in offsets
        for provider in MODELS
    ]

    async def race(execution_id: str, offset: float) -> None:
        await world.until(execution_id, job="video", state="submitted")
        (ends_at,) = [
            job["created_at"] + job["latency_seconds"]
            for job in await world.provider_jobs(execution_id)
            if job["latency_seconds"] > 1
        ]
        await asyncio.sleep(max(0.0, ends_at + offset - datetime.now().timestamp()))  # noqa: DTZ005 - seconds since 1970
        answer = await world.cancel(execution_id)
        seen = await world.until_final(execution_id)
        assert seen["status"] in ("completed", "cancelled")
        await _check_truth(world, execution_id, [answer], f"{offset}")
        states = [line["state"] for line in await world.bill_of(execution_id)]
        assert states[-1] == ("succeeded" if seen["status"] == "completed" else "canceled"), seen
        calls = await _cancel_calls(world, execution_id)
        assert all(count == 1 for count in calls.values()), calls

    await asyncio.gather(*(race(execution_id, offset) for execution_id, offset in orders))
    ends = {(await world.get(execution_id))["status"] for execution_id, _ in orders}
    assert ends == {"completed", "cancelled"}, "one side has always won"
    assert ends <= set(ENDED)
    await world.check_bought({execution_id: 2 for execution_id, _ in orders})
    await world.check_budget()
