"""Providers that misbehave: wrong answers, late answers, throttling and outages.

Each step is bought once, the ledger equals the provider's bill, and retries stay within limits.
"""

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import pytest
from temporalio.client import Client

from core.domain.money import nano_usd
from tests.end_to_end.world import MODELS, World

pytestmark = pytest.mark.guarantee("G5")

MEGABYTE = 1024 * 1024
LEAST_PAUSE_SECONDS = 0.5
"""Between two sends of a job: the first backoff is a second, and jitter may halve it."""
LONGEST_PAUSE_SECONDS = 30
"""A longer Retry-After is probed after this."""
WAITING = 60
HERD = 20
"""Sends to one provider within a second: its limit of ten, twice, because a second that is counted
here may overlap two of the limit. Thirty wait for each provider.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """A fault that one step meets once, and the expected result.

    lines: on the bill. factor: what is billed for the odd step, in hundredths of its price.
    """

    fault: str
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    step: str = "image"
    code: str | None = None
    lines: int = 2
    factor: int = 100
    providers: tuple[str, ...] = ("fal", "replicate")


FAL = ("fal",)
ODDITIES = (
    Oddity(fault="empty_output", code="provider_empty_output", lines=1),
    Oddity(fault="accept_twice", lines=3),
    # fal reports what it bills, Replicate does not.
    Oddity(fault="bill_factor", params={"factor": "0"}, factor=0, providers=FAL),
    Oddity(fault="bill_factor", params={"factor": "0.5"}, factor=50, providers=FAL),
    Oddity(fault="bill_factor", params={"factor": "1.3"}, factor=130, providers=FAL),
    Oddity(fault="bill_factor", params={"factor": "10"}, factor=1000, providers=FAL),
)
WITHOUT_CALLBACKS = (
    Oddity(fault="status_backwards", step="video"),
    Oddity(fault="answer_502_after_accept"),
    Oddity(fault="malformed_json"),
    Oddity(fault="html_answer"),
    Oddity(fault="no_id"),
    Oddity(fault="huge_body", params={"bytes": 10 * MEGABYTE}),
    Oddity(fault="drop_after_accept", params={"how": "reset"}),
    Oddity(fault="drop_after_accept", step="video"),
    # These are sent again a while later, and would meet a fault that was meant for another.
    Oddity(fault="error_5xx_before_accept", step="video"),
    Oddity(fault="drop_before_accept"),
    Oddity(fault="html_answer", params={"accept": False}),
)
"""Polls and look-ups have to do it alone."""


async def _caught(world: World, provider: str, oddity: Oddity) -> str:
    model = MODELS[provider][f"{oddity.step}Model"]
    order = {"provider": provider, "model": model, "params": oddity.params}
    return await world.caught(oddity.fault, **order, body=MODELS[provider])


@pytest.mark.guarantee("G1")
@pytest.mark.timeout(180)
async def test_provider_oddities_cost_what_was_billed_once(world: World) -> None:
    orders: list[tuple[str, Oddity]] = []

    async def order(oddity: Oddity) -> None:
        # Only a job that is asked for twice while it runs can be seen going backwards.
        await world.settings(video_seconds=8.0 if oddity.fault == "status_backwards" else 1.0)
        ids = await asyncio.gather(
            *(_caught(world, provider, oddity) for provider in oddity.providers)
        )
        orders.extend((execution_id, oddity) for execution_id in ids)

    for oddity in ODDITIES:
        await order(oddity)
    await asyncio.gather(*(world.until_final(execution_id) for execution_id, _ in orders))
    await world.settings(callbacks=False)
    for oddity in WITHOUT_CALLBACKS:
        await order(oddity)
    for execution_id, oddity in orders:
        seen = await world.until_final(execution_id, seconds=60)
        assert seen["status"] == ("failed" if oddity.code else "completed"), (oddity, seen)
        assert oddity.code is None or seen["error"]["code"] == oddity.code, (oddity, seen)
        await _check_bill(world, execution_id, oddity)
        await world.check_money(execution_id)
        await world.check_one_event(execution_id)
    await world.check_bought({execution_id: oddity.lines for execution_id, oddity in orders})
    await world.check_budget()


async def _check_bill(world: World, execution_id: str, oddity: Oddity) -> None:
    """The sandbox did bill as ordered; what is more than was held is an overage of its own, a twin
    an orphan.
    """
    lines = await world.bill_of(execution_id)
    odd = lines[0] if oddity.step == "image" else lines[-1]
    assert odd["billed_nano_usd"] * 100 == odd["price_nano_usd"] * oddity.factor, (oddity, odd)
    sql = "SELECT kind, sum(amount_nano_usd) AS amount FROM ledger_entries WHERE execution_id = $1 GROUP BY kind"
    ledger = {row["kind"]: int(row["amount"]) for row in await world.rows(sql, execution_id)}
    more = odd["price_nano_usd"] * max(0, oddity.factor - 100) // 100
    assert ledger.get("overage", 0) == more, (oddity, ledger)
    twin = odd["price_nano_usd"] if oddity.fault == "accept_twice" else 0
    assert ledger.get("orphan", 0) == twin, (oddity, ledger)


@pytest.mark.timeout(180)
async def test_throttled_in_every_spelling_is_sent_again_in_measure(world: World) -> None:
    """Refused by 429: three times with each Retry-After, at both providers, with four executions at
    each.
    """
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    spellings: list[dict[str, str]] = [
        {"retry_after": "0"},
        {"retry_after": "-1"},
        {"retry_after": soon},
        {},
    ]
    # Replicate also states the delay in the message, which counts without a header.
    words = {"message": "Request was throttled. Your rate limit resets in ~1s."}
    storms = [
        await world.fault(
            "refuse_429",
            provider=provider,
            model=models["imageModel"],
            times=3,
            params=spelling | words,
        )
        for spelling in spellings
        for provider, models in MODELS.items()
    ]
    ids = [await world.generate(**models) for _ in range(4) for models in MODELS.values()]
    for execution_id in ids:
        seen = await world.until_final(execution_id, seconds=60)
        assert seen["status"] == "completed", seen
        await world.check_money(execution_id)
        await world.check_one_event(execution_id)
    for storm in storms:
        assert await world.fired(storm) == 3
    creates = Counter((call["provider"], call["model"]) for call in await world.calls("create"))
    assert creates.total() == 2 * len(ids) + 3 * len(storms), creates
    for execution_id in ids:
        pauses = await _pauses(world, execution_id)
        assert min(pauses, default=1.0) > LEAST_PAUSE_SECONDS, pauses
    await world.check_bought(dict.fromkeys(ids, 2))
    await world.check_budget()


async def _pauses(world: World, execution_id: str) -> list[float]:
    """Seconds between two create calls for the same step."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    for call in await world.creates_of(execution_id):
        times[call["model"]].append(datetime.fromisoformat(call["time"]).timestamp())
    return [later - sooner for one in times.values() for sooner, later in pairwise(one)]


async def test_absurd_retry_after_is_limited_and_can_be_cancelled(
    world: World,
) -> None:
    client = await Client.connect(world.stack.environment["TEMPORAL_ADDRESS"])
    for provider, models in MODELS.items():
        storm = {
            "provider": provider,
            "model": models["imageModel"],
            "params": {"retry_after": "1000000000"},
        }
        execution_id = await world.caught("refuse_429", **storm, body=models)
        pauses: list[int] = []

        async def sleeps(execution_id: str = execution_id, pauses: list[int] = pauses) -> bool:
            events = client.get_workflow_handle(execution_id).fetch_history_events()
            pauses[:] = [
                event.timer_started_event_attributes.start_to_fire_timeout.seconds
                async for event in events
                if event.HasField("timer_started_event_attributes")
            ]
            return bool(pauses)

        await world.until_true(sleeps, "the workflow does not wait")
        assert LONGEST_PAUSE_SECONDS / 2 <= pauses[-1] <= LONGEST_PAUSE_SECONDS * 1.5
        assert len(await world.creates_of(execution_id)) == 1
        answer = await world.cancel(execution_id)
        assert (answer["status"], answer["spent"], answer["final"]) == ("cancelled", "0", True)
        await world.check_money(execution_id)
    assert await world.bill() == []


async def test_stuck_for_ever_is_ended_by_its_deadline(world: World) -> None:
    """The deadlines are many minutes, so the rows are made late by hand."""
    ids: list[str] = []
    for provider, models in MODELS.items():
        stuck = {"provider": provider, "model": models["videoModel"]}
        execution_id = await world.caught("stuck", **stuck, body={**models, "duration": 10})
        await world.until(execution_id, job="video", state="submitted")
        ids.append(execution_id)
    await asyncio.sleep(1.0)  # so that Replicate has begun to charge
    for execution_id in ids:
        await world.rows(
            "UPDATE jobs SET deadline_at = now() WHERE execution_id = $1 AND state = 'submitted' RETURNING job_id",
            execution_id,
        )
    for execution_id, charged in zip(ids, (False, True), strict=True):
        seen = await world.until_final(execution_id)
        assert (seen["status"], seen["error"]["code"]) == ("failed", "provider_timed_out"), seen
        last = (await world.bill_of(execution_id))[-1]
        assert (last["state"], last["billed"]) == ("canceled", charged)
        await world.check_money(execution_id)
        await world.check_one_event(execution_id)
    assert Counter(call["provider"] for call in await world.calls("cancel")) == {
        "fal": 1,
        "replicate": 1,
    }
    await world.check_bought(dict.fromkeys(ids, 2))
    await world.check_budget()


@pytest.mark.timeout(180)
async def test_recovered_provider_receives_no_burst_of_requests(world: World) -> None:
    downs = [await world.fault("down", provider=provider) for provider in MODELS]
    batches = [
        asyncio.gather(*(world.generate(**models) for _ in range(WAITING // 2)))
        for models in MODELS.values()
    ]
    ids = [execution_id for batch in batches for execution_id in await batch]
    for down in downs:
        # Three sends each: by then the pauses are long enough to spread what was ordered at once.
        await world.until_fired(down, times=3 * WAITING // 2, seconds=60)
    back_at = datetime.now(UTC)
    for down in downs:
        assert (await world.control.delete(f"/faults/{down}")).is_success
    for execution_id in ids:
        seen = await world.until_final(execution_id, seconds=90)
        assert seen["status"] == "completed", seen
    images = {models["imageModel"] for models in MODELS.values()}
    sends = [
        (call["model"], datetime.fromisoformat(call["time"]))
        for call in await world.calls("create")
        if call["model"] in images
    ]
    after = Counter(
        (model, int((at - back_at).total_seconds())) for model, at in sends if at > back_at
    )
    assert max(after.values(), default=0) <= HERD, sorted(after.items())
    for execution_id in ids:
        await world.check_one_event(execution_id)
        assert nano_usd((await world.get(execution_id))["cost"]["held"]) == 0
    await world.check_bought(dict.fromkeys(ids, 2))
    await world.check_budget()
