"""`make live-check` against the sandbox: its limit, its question, its bill and its recordings."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from deploy.local.live_check.run import Limits, live_check
from deploy.local.servers.process import LocalError
from tests.end_to_end.world import World
from tests.providers.test_live_recordings import check_recording

pytestmark = pytest.mark.guarantee("G3")


def written(folder: Path) -> dict[str, str]:
    """Return the recordings by provider and model."""
    return {
        file.relative_to(folder).as_posix(): file.read_text(encoding="utf-8")
        for file in sorted(folder.rglob("*.json"))
    }


async def test_live_check_buys_nothing_above_its_limit_or_unasked(world: World) -> None:
    asked_for: list[Decimal] = []

    def decline(total: Decimal) -> bool:
        asked_for.append(total)
        return False

    with pytest.raises(LocalError, match="above the limit"):
        await live_check(
            world.stack, Limits(max_usd=Decimal("0.001"), confirm=decline), lambda _: None
        )
    assert asked_for == []
    declined = Limits(max_usd=Decimal(5), confirm=decline)
    assert await live_check(world.stack, declined, lambda _: None) == 1
    assert len(asked_for) == 1
    assert await world.bill() == []


@pytest.mark.timeout(300)
async def test_live_check_compares_the_bill_and_records_what_tests_replay(world: World) -> None:
    said: list[str] = []
    limits = Limits(max_usd=Decimal(5), confirm=lambda total: total <= 5)
    assert await live_check(world.stack, limits, said.append) == 0
    text = "\n".join(said)
    assert "5 jobs: the bill equals the ledger" in text, text
    assert len(await world.bill()) == 5
    recordings = written(world.stack.config.folder / "recordings")
    assert {name.partition("/")[0] for name in recordings} == {"fal", "replicate"}, text
    assert "not recorded: elevenlabs" in text
    secrets = [world.stack.environment[name] for name in ("FAL_KEY", "REPLICATE_API_TOKEN")]
    for content in recordings.values():
        assert not any(secret in content for secret in (*secrets, "/callbacks/"))
        await check_recording(json.loads(content))
    await world.check_books()
