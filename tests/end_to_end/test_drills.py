"""The incidents of docs/how-to/drills.md, ended by exactly the commands of the page."""

import asyncio
import json
import re
import shlex
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any

import pytest

from deploy.local.drill.run import drill
from deploy.local.servers.programs import program
from tests.end_to_end.world import MODELS, World
from tests.support.admin import Ran, run_admin, run_process
from tests.support.defective_release import START
from tests.support.rollout import Rollout

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "drills.md"
SECTION = re.compile(r"^## (.+?)$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:takeone-admin (.+)|(temporal .+))$", re.MULTILINE)
CONTINUED = re.compile(r"\\\n\s*")
NEEDS_SETTINGS = ("backup-check", "recover", "doctor")
"""Commands that read the settings of their environment themselves."""


@dataclass(slots=True)
class Guide:
    """The commands of one section, which have to be run in their order."""

    world: World
    commands: list[str]
    variables: dict[str, str] = field(default_factory=dict[str, str])

    async def run(self, start: str, **variables: str) -> Ran:
        """Run the next command of the page, which starts like this."""
        arguments = self._next(start, variables)
        environment = self.world.stack.environment
        runs = run_process if arguments[0] in NEEDS_SETTINGS else run_admin
        return await runs(
            environment["DATABASE_URL"],
            *arguments,
            more=environment,
            as_text="recover" in arguments,
        )

    async def temporal(self, start: str, **variables: str) -> str:
        """Run the next command of the page, of Temporal's program, and return its output."""
        _, *arguments = self._next(f"temporal {start}", variables)
        names = ("TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE")
        process = await asyncio.create_subprocess_exec(
            str(program("temporal")),
            *arguments,
            env={name: self.world.stack.environment[name] for name in names},
            stdout=PIPE,
            stderr=STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output
        return output.decode()

    def _next(self, start: str, variables: dict[str, str]) -> list[str]:
        self.variables |= variables
        command = self.commands.pop(0)
        assert command.startswith(start), command
        return shlex.split(Template(command).substitute(self.variables))


def guide(world: World, heading: str) -> Guide:
    sections = dict(SECTION.findall(PAGE.read_text(encoding="utf-8")))
    found = COMMAND.findall(CONTINUED.sub("", sections[heading]))
    commands = [ours or temporals for ours, temporals in found]
    return Guide(world, commands, {"USER_ID": world.user.user_id})


@pytest.fixture
async def unlimited(world: World) -> AsyncGenerator[None]:
    """Remove limits and pauses after a failure, so that other tests can continue."""
    yield
    await world.rows("UPDATE service_limits SET daily_nano_usd = NULL RETURNING 1")
    await world.rows("DELETE FROM submit_pauses RETURNING scope")


@pytest.mark.guarantee("G5")
@pytest.mark.timeout(240)
async def test_operator_ends_the_refusal_of_a_provider(world: World) -> None:
    page = guide(world, "A provider refuses the service")
    refusing = await world.fault(
        "refuse", provider="fal", operation="create", params={"status": 402}
    )
    execution_id = await world.generate(**MODELS["fal"])
    await world.until_fired(refusing)

    async def refused() -> bool:
        return bool(await world.rows("SELECT 1 FROM provider_states WHERE tripped_at IS NOT NULL"))

    await world.until_true(refused, "the breaker is not tripped")
    (state,) = [each for each in (await page.run("providers show")).json if not each["accepts"]]
    assert (state["provider"], state["trippedCode"]) == ("fal", "provider_credit_exhausted")
    assert (await page.run("providers reset fal")).json["changed"] is True
    assert all(each["accepts"] for each in (await page.run("providers show")).json)
    assert (await world.until_final(execution_id, seconds=150))["status"] == "completed"
    await world.check_money(execution_id)
    assert page.commands == []


@pytest.mark.guarantee("G1")
async def test_operator_adopts_a_stuck_send(world: World) -> None:
    page = guide(world, "A send is stuck")
    await world.settings(callbacks=False)
    await world.fault("error_5xx_before_accept", provider="fal", operation="list", times=-1)
    execution_id = await world.caught(
        "drop_after_accept", provider="fal", operation="create", body=MODELS["fal"]
    )
    await world.until(execution_id, job="image", state="unknown")
    ours = {row["job_id"] for row in await world.job_rows(execution_id)}
    (case,) = [each for each in (await page.run("jobs list")).json if each["jobId"] in ours]
    shown = (await page.run("jobs show", JOB=case["jobId"])).json
    assert len(shown["sends"]) == 1
    (bought,) = await world.bill_of(execution_id)  # the dashboard of the provider
    adopted = await page.run("jobs adopt", PROVIDER_JOB_ID=bought["provider_job_id"])
    assert adopted.json["outcome"] == "submitted"
    assert case["jobId"] not in {each["jobId"] for each in (await page.run("jobs list")).json}
    assert (await world.until_final(execution_id))["status"] == "completed"
    await world.check_money(execution_id)
    await world.check_bought({execution_id: 2})
    assert page.commands == []


@pytest.mark.guarantee("G5")
@pytest.mark.timeout(180)
async def test_operator_resends_a_lost_webhook(world: World) -> None:
    page = guide(world, "A webhook was lost")
    execution_id = await world.generate()
    first = await world.webhook(execution_id)
    await world.until_final(execution_id)
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    (listed,) = (await page.run("webhooks list", FROM=since)).json
    assert (listed["eventId"], listed["executionId"]) == (first["id"], execution_id)
    counted = (await page.run("webhooks resend")).json
    assert (counted["dryRun"], counted["events"], counted["resent"]) == (True, 1, 0)
    assert (await page.run("webhooks resend")).json["resent"] == 1

    async def came_again() -> bool:
        return len(world.webhooks_of(execution_id)) == 2

    await world.until_true(came_again, "the webhook did not come again", seconds=90)
    assert len(set(world.webhooks_of(execution_id))) == 1
    assert page.commands == []


@pytest.mark.guarantee("G4")
@pytest.mark.usefixtures("unlimited")
async def test_operator_raises_a_full_budget(world: World) -> None:
    page = guide(world, "A budget is full")
    body: dict[str, Any] = {"prompt": "now", "duration": 2, "resolution": "480p"}

    async def order() -> tuple[int, str]:
        answer = await world.api.post("/api/generate-video", json=body)
        if answer.status_code == 202:
            world.ids.append(answer.json()["executionId"])
            return 202, ""
        return answer.status_code, answer.json()["code"]

    await world.rows("UPDATE service_limits SET daily_nano_usd = 1 RETURNING 1")
    await world.rows(
        "UPDATE users SET monthly_nano_usd_limit = 1 WHERE user_id = $1 RETURNING 1",
        world.user.user_id,
    )
    assert await order() == (402, "budget_exceeded")
    assert (await page.run("service show")).json["dailyUsd"] == "0.000000001"
    users = {each["userId"]: each for each in (await page.run("users list")).json}
    assert users[world.user.user_id]["monthlyUsd"] == "0.000000001"
    await world.rows(
        "UPDATE users SET monthly_nano_usd_limit = NULL WHERE user_id = $1 RETURNING 1",
        world.user.user_id,
    )
    assert await order() == (503, "service_budget_exceeded")
    assert (await page.run("service set-daily-limit")).json["dailyUsd"] == "500"
    assert (await page.run("users set-limits")).code == 0
    assert await order() == (202, "")
    assert (await world.until_final(world.ids[-1]))["status"] == "completed"
    assert page.commands == []


@pytest.mark.guarantee("G5")
@pytest.mark.usefixtures("unlimited")
@pytest.mark.timeout(180)
async def test_operator_stops_the_spending_of_a_user(world: World) -> None:
    page = guide(world, "Spending must stop")
    await world.settings(image_seconds=60.0)
    running = await world.generate()
    await world.until(running, job="image", state="submitted")
    assert (await page.run("submits pause")).json["changed"] is True
    (key,) = await world.rows("SELECT key_id FROM api_keys WHERE user_id = $1", world.user.user_id)
    assert (await page.run("keys revoke", KEY_ID=key["key_id"])).code == 0
    stake = (await page.run("executions cancel")).json["matching"]
    assert (stake["executions"], stake["jobsAtProviders"]) == (1, 1)
    assert float(stake["heldUsd"]) > float(stake["sentUsd"]) > 0
    assert (await page.run("executions cancel")).json["cancelled"] == 1

    async def has_ended() -> bool:
        (row,) = await world.rows("SELECT status FROM executions WHERE execution_id = $1", running)
        return row["status"] == "cancelled"

    await world.until_true(has_ended, "it was not cancelled", seconds=120)
    assert (await page.run("submits resume")).json["changed"] is True
    assert (await page.run("ledger check")).json["ok"] is True
    assert page.commands == []


@pytest.mark.long
@pytest.mark.guarantee("G1")
@pytest.mark.timeout(600)
async def test_operator_undoes_a_rollout(world: World) -> None:
    page = guide(world, "A rollout must be undone")
    client = await world.temporal()
    async with Rollout.open(world.stack, client) as rollout:
        await rollout.start("old")
        await rollout.make_current("old")
        await rollout.start("new", command=(sys.executable, "-c", START))
        await rollout.make_current("new")
        stopped = await world.generate()

        async def has_failed() -> bool:
            described = await client.get_workflow_handle(stopped).describe()
            return described.raw_description.pending_workflow_task.attempt > 1

        await world.until_true(has_failed, "no workflow task fails", seconds=90)
        await page.temporal("worker deployment set-current-version", OLD="old", NEW="new")
        await rollout.deployment.until_routed("old")
        after = await world.generate()
        assert (await world.ended(after, seconds=90))["status"] == "completed"

        async def is_listed() -> bool:
            of_new = "TemporalWorkerDeploymentVersion='takeone:new'"
            return (await client.count_workflows(of_new)).count == 1

        await world.until_true(is_listed, "Temporal does not list the execution", seconds=60)
        assert "1" in await page.temporal("workflow count")
        await page.temporal("workflow update-options")
        assert (await world.ended(stopped, seconds=120))["status"] == "completed"
        assert await rollout.builds_of(stopped) == ["new", "old"]
    for execution_id in (stopped, after):
        await world.check_money(execution_id)
    await world.check_bought({stopped: 2, after: 2})
    assert (await page.run("ledger check")).json["ok"] is True
    assert page.commands == []


@pytest.mark.guarantee("G1")
@pytest.mark.usefixtures("unlimited")
@pytest.mark.timeout(300)
async def test_restored_database_is_recovered_by_the_drill(world: World) -> None:
    page = guide(world, "The database was restored")
    said: list[str] = []
    await drill(world.stack, said.append)
    assert said[-1].lstrip().startswith("6 jobs bought, none again"), said
    ran = await page.run("backup-check")
    markers = [each["level"] for each in json.loads(ran.out)["findings"][-1:]]
    assert (ran.code, markers) == (0, ["OK"])
    assert (await page.run("recover")).code == 0  # repeating is safe
    checked = await page.run("ledger check")
    assert checked.json["ok"] is True, checked.out
    assert page.commands == []
