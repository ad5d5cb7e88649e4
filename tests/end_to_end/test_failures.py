"""Providers that refuse or do not answer: a failure code, a message, the cost, and one payment."""

from typing import Any

import pytest

from tests.end_to_end.world import MODELS, World

IMAGE = {"provider": "fal", "operation": "create"}
VIDEO = {"provider": "replicate", "operation": "create"}


@pytest.mark.parametrize(
    ("fault", "order", "code", "spent"),
    [
        ("refuse", {**IMAGE, "params": {"status": 404}}, "provider_model_unavailable", "0"),
        ("refuse", {**IMAGE, "params": {"status": 422}}, "provider_rejected_input", "0"),
        ("refuse", {**VIDEO, "params": {"status": 422}}, "provider_rejected_input", "0.003"),
        ("moderated", {"provider": "fal"}, "content_moderated", "0.003"),
        ("moderated", {"provider": "replicate"}, "content_moderated", "0.003"),
        (
            "fail_after",
            {"provider": "replicate", "params": {"seconds": 0.2}},
            "provider_failed",
            "0.003",
        ),
        ("empty_output", {"provider": "replicate"}, "provider_empty_output", None),
        (
            "wrong_bytes",
            {"provider": "replicate", "params": {"form": "other_kind"}},
            "output_invalid",
            None,
        ),
    ],
)
async def test_failure_has_a_code_a_sentence_and_what_was_spent(
    world: World, fault: str, order: dict[str, Any], code: str, spent: str | None
) -> None:
    ordered = await world.fault(fault, times=-1, **order)
    execution_id = await world.generate()
    seen = await world.ended(execution_id)
    assert await world.fired(ordered) >= 1
    assert (seen["status"], seen["error"]["code"]) == ("failed", code), seen
    assert seen["result"] is None
    assert spent is None or seen["error"]["spent"] == spent
    assert len(seen["error"]["message"]) > 20
    environment = world.stack.environment
    for secret in (
        environment["FAL_KEY"],
        environment["REPLICATE_API_TOKEN"],
        world.stack.config.sandbox_url,
    ):
        assert secret not in str(seen)
    assert len(await world.bill_of(execution_id)) == len(
        [job for job in seen["jobs"] if job["submittedAt"]]
    )
    await world.check_money(execution_id)
    assert (await world.webhook(execution_id))["type"] == "execution.failed"


async def test_free_transient_failure_is_sent_again_at_most_twice(world: World) -> None:
    """One execution completes with the third send of its video; another fails after the third."""
    message = {"seconds": 0.1, "message": "Prediction interrupted; please retry (code: PA)"}
    twice = await world.fault(
        "fail_after",
        provider="replicate",
        model=MODELS["replicate"]["videoModel"],
        times=2,
        params=message,
    )
    always = await world.fault(
        "fail_after",
        provider="fal",
        model=MODELS["fal"]["imageModel"],
        times=-1,
        params={"seconds": 0.1, "type": "runner_disconnected", "status": 503},
    )
    completes = await world.generate(**MODELS["replicate"])
    fails = await world.generate(**MODELS["fal"])
    completed, failed = await world.ended(completes), await world.ended(fails)
    assert (await world.fired(twice), await world.fired(always)) == (2, 3)
    assert (completed["status"], failed["status"]) == ("completed", "failed"), (completed, failed)
    assert (failed["error"]["code"], failed["error"]["spent"]) == ("provider_failed", "0")
    assert _sends(completed, "video") == [("failed", True), ("failed", True), ("completed", False)]
    assert _sends(failed, "image") == [("failed", True), ("failed", True), ("failed", False)]
    tries = {job["step"]: job["tries"] for job in completed["jobs"] if not job["orphan"]}
    assert tries == {"image": 1, "video": 3}
    await world.check_bought({completes: 4, fails: 3})
    for execution_id in (completes, fails):
        await world.check_money(execution_id)


def _sends(seen: dict[str, Any], step: str) -> list[tuple[str, bool]]:
    """Return the state of each send of a step and whether it is an orphan, the used one last."""
    jobs = [(job["state"], job["orphan"]) for job in seen["jobs"] if job["step"] == step]
    return sorted(jobs, key=lambda job: not job[1])
