"""The decisions of the execution workflow, on a real Temporal server, with stand-ins for what it
orders.
"""

import re
from collections import Counter
from datetime import timedelta

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from core.domain.ids import ExecutionId
from core.domain.messages.executions import CURRENT_PATH
from core.domain.states import ExecutionStatus
from core.ordering.workflow_starts import signal_cancel
from tests.workflows.fake_activities import IMAGE, VIDEO
from tests.workflows.scenarios import REASON, RECORDED, SCENARIOS, Played, Scenario, play
from tests.workflows.settled_scenarios import SETTLED_SCENARIOS
from tests.workflows.stored_histories import fingerprint, newest, stored
from tests.workflows.together_scenarios import RECORDED_TOGETHER, STORES, TOGETHER
from workflows.execution import ExecutionWorkflow

pytestmark = pytest.mark.guarantee("G1", "G5")

ALL = SCENARIOS | TOGETHER
HISTORIES = stored()
LATER_PATH = CURRENT_PATH + 1
TWO_JOBS_EVENTS = 48
"""Of the image → video plan. With the 11 of its delivery: 59."""

CHANGED = """The commands of ExecutionWorkflow differ from the stored history {name!r}.

Running executions would fail to replay if the order changed before the point they have reached.
- Unintended change: restore the order.
- Intended change: raise CURRENT_PATH, keep the old commands for runs of the earlier paths, record
  the new ones (python -m tests.workflows.record_histories), and keep the old files: they must
  replay.
"""


PLAYED: dict[int, Played] = {}


async def played_once(client: Client, scenario: Scenario) -> Played:
    """Play a scenario, or return how it was played for another test here."""
    if id(scenario) not in PLAYED:
        PLAYED[id(scenario)] = await play(client, scenario)
    return PLAYED[id(scenario)]


@pytest.mark.parametrize("name", ALL)
async def test_execution_ends_once_and_as_it_should(skipping_temporal: Client, name: str) -> None:
    scenario = ALL[name]
    played = await played_once(skipping_temporal, scenario)
    stage = played.stage
    if scenario.status is None:
        assert set(stage.calls) == {"claim"}
        return
    (end,) = stage.ends
    assert (end.status, end.failure.code if end.failure else None) == (
        scenario.status,
        scenario.failure,
    ), stage.calls
    description = await played.handle.describe()
    native = WorkflowExecutionStatus.CANCELED
    assert description.status is (
        native if scenario.closed_as_cancelled else WorkflowExecutionStatus.COMPLETED
    )
    if played.outcome is not None:
        assert played.outcome.status is scenario.status
    if name in (*RECORDED, *RECORDED_TOGETHER):
        history = await played.handle.fetch_history()
        same = fingerprint(history) == fingerprint(HISTORIES[newest(name) or name])
        assert same or not scenario.repeatable, CHANGED.format(name=name)


async def test_execution_that_has_begun_goes_before_those_that_have_not(
    skipping_temporal: Client,
) -> None:
    played = await played_once(skipping_temporal, SCENARIOS["happy"])
    history = await played.handle.fetch_history()
    scheduled = [
        event.activity_task_scheduled_event_attributes
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    priorities = [
        one.priority.priority_key for one in scheduled if one.activity_type.name == "submit_job"
    ]
    stores = {
        one.priority.priority_key for one in scheduled if one.activity_type.name == "store_assets"
    }
    image, video = priorities
    assert image > video > max(stores) > 0  # the smallest goes first


@pytest.mark.parametrize("runner", [UnsandboxedWorkflowRunner(), SandboxedWorkflowRunner()])
@pytest.mark.parametrize("name", HISTORIES)
async def test_execution_that_runs_somewhere_can_go_on_with_this_code(
    name: str, runner: WorkflowRunner
) -> None:
    """Histories stored by earlier versions replay as in the worker; in the SDK's sandbox, a clock
    or random number would raise.
    """
    replayer = Replayer(workflows=[ExecutionWorkflow], workflow_runner=runner)
    await replayer.replay_workflow(HISTORIES[name])


async def test_replay_notices_a_history_of_other_commands() -> None:
    """The test above can fail: the history of a refusal does not replay as a success."""
    history = HISTORIES["happy"]
    scheduled = next(
        event
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    )
    original = scheduled.activity_task_scheduled_event_attributes.activity_type.name
    scheduled.activity_task_scheduled_event_attributes.activity_type.name = "find_job"
    try:
        results = await Replayer(workflows=[ExecutionWorkflow]).replay_workflow(
            history, raise_on_replay_failure=False
        )
    finally:
        scheduled.activity_task_scheduled_event_attributes.activity_type.name = original
    assert "find_job" in str(results.replay_failure) or "submit_job" in str(results.replay_failure)


async def test_worker_does_not_continue_a_run_of_a_later_version() -> None:
    """During an upgrade: no version could replay commands of both."""
    history = stored()[newest("happy") or "happy"]
    claimed = next(
        event.marker_recorded_event_attributes
        for event in history.events
        if event.HasField("marker_recorded_event_attributes")
    )
    (claim,) = claimed.details["result"].payloads
    claim.data = re.sub(rb'"path":\d+', b'"path":%d' % LATER_PATH, claim.data)
    replayer = Replayer(workflows=[ExecutionWorkflow])
    result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
    assert f"a later version of the worker (path {LATER_PATH}" in str(result.replay_failure)


@pytest.mark.parametrize("name", ["happy", "native_while_waiting", "unknown_absent_sent"])
async def test_execution_is_deterministic_when_nothing_is_cached(
    skipping_temporal: Client, name: str
) -> None:
    """Each workflow task is a replay of everything before."""
    played = await play(skipping_temporal, SCENARIOS[name], cached=0)
    assert played.stage.status is SCENARIOS[name].status


async def test_execution_buys_each_step_once_and_stores_each_file(
    skipping_temporal: Client,
) -> None:
    played = await played_once(skipping_temporal, SCENARIOS["happy"])
    assert played.stage.sent == {"image": 1, "video": 1}
    calls = Counter(
        call for call in played.stage.calls if not call.startswith(("claim", "settle", "finish"))
    )
    assert calls == Counter(
        f"{activity} {step}" for step in (IMAGE, VIDEO) for activity in ("submit", "wait", "store")
    )
    history = await played.handle.fetch_history()
    ours = [event for event in history.events if not event.worker_may_ignore]
    assert len(ours) <= TWO_JOBS_EVENTS


@pytest.mark.parametrize(
    ("name", "stores"), [("kept", 0), ("kept_and_not_stored", 1), ("all_kept", 0)]
)
async def test_execution_uses_what_the_generation_before_paid_for(
    skipping_temporal: Client, name: str, stores: int
) -> None:
    """A kept step costs one store at most; the step that needs it begins after that."""
    stage = (await played_once(skipping_temporal, SCENARIOS[name])).stage
    calls = [call for call in stage.calls if call.endswith(IMAGE)]
    assert calls == ["store image"] * stores
    assert stage.sent == ({} if name == "all_kept" else {"video": 1})
    assert stage.count("store video") == 1
    if stores:
        assert stage.calls.index("store image") < stage.calls.index("submit video")


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize("name", STORES)
async def test_paid_file_is_stored_with_the_next_or_alone(
    skipping_temporal: Client, name: str
) -> None:
    stage = (await played_once(skipping_temporal, TOGETHER[name])).stage
    assert [call for call in stage.calls if call.startswith("store")] == STORES[name]
    assert stage.calls[-1] == "finish"


async def test_execution_is_not_cancelled_by_an_order_to_another_generation(
    skipping_temporal: Client,
) -> None:
    stage = (await played_once(skipping_temporal, SCENARIOS["signal_of_another_generation"])).stage
    assert (stage.status, stage.count("cancel video")) == (ExecutionStatus.COMPLETED, 0)


async def test_execution_that_was_refused_buys_nothing_else(skipping_temporal: Client) -> None:
    stage = (await played_once(skipping_temporal, SCENARIOS["refused"])).stage
    assert set(stage.calls) == {"claim", "submit image", "finish"}
    assert stage.count("submit image") == 1


@pytest.mark.parametrize("name", ["unknown_found", "unknown_given_up", "submit_lost"])
async def test_execution_never_sends_again_what_may_be_accepted(
    skipping_temporal: Client, name: str
) -> None:
    stage = (await played_once(skipping_temporal, SCENARIOS[name])).stage
    assert stage.sent["video"] == 1
    assert stage.count("find video") == 1


async def test_execution_sends_again_what_was_certainly_not_accepted(
    skipping_temporal: Client,
) -> None:
    stage = (await played_once(skipping_temporal, SCENARIOS["unknown_absent_sent"])).stage
    assert (stage.sent["image"], stage.count("find image")) == (2, 1)


async def test_execution_waits_as_long_as_the_provider_asks(skipping_temporal: Client) -> None:
    played = await played_once(skipping_temporal, SCENARIOS["not_sent_retry_after"])
    assert played.stage.count("submit image") == 3
    description = await played.handle.describe()
    assert description.close_time is not None
    took = description.close_time - description.start_time
    assert timedelta(seconds=600) <= took <= timedelta(seconds=660)


async def test_deferred_execution_submits_again_without_growing_pauses(
    skipping_temporal: Client,
) -> None:
    played = await played_once(skipping_temporal, SCENARIOS["held_back"])
    assert played.stage.count("submit image") == 13
    description = await played.handle.describe()
    assert description.close_time is not None
    assert description.close_time - description.start_time < timedelta(seconds=12 * 1.5 + 30)


IN_SUBMIT = [
    "signal_in_submit",
    "native_in_submit",
    "signal_then_native_in_submit",
    "native_then_signal_in_submit",
]


@pytest.mark.parametrize("name", IN_SUBMIT)
async def test_execution_cancelled_in_a_submit_keeps_what_it_paid_for(
    skipping_temporal: Client, name: str
) -> None:
    """The job is sent once, its id is not lost, and it is cancelled at its provider; the next step
    is never bought.
    """
    stage = (await played_once(skipping_temporal, SCENARIOS[name])).stage
    assert stage.sent == {"image": 1}
    assert (stage.count("cancel image"), stage.count("submit video")) == (1, 0)
    assert stage.count("settle image") >= 1  # a local activity may run again with its workflow task


@pytest.mark.parametrize(
    ("name", "settled", "sent"),
    [
        ("settled_with_the_report", {"image": 0, "video": 0}, 1),
        ("free_failure_settled_with_the_report", {"image": 0, "video": 0}, 3),
        ("settled_within_the_submit", {"image": 0, "video": 0}, 1),
        ("deadline_passed_then_settled", {"image": 1, "video": 0}, 1),
    ],
)
async def test_job_settled_with_its_report_is_not_settled_again(
    skipping_temporal: Client, name: str, settled: dict[str, int], sent: int
) -> None:
    scenario = SETTLED_SCENARIOS[name]
    played = await played_once(skipping_temporal, scenario)
    stage = played.stage
    assert stage.status is scenario.status
    assert {step: min(1, stage.count(f"settle {step}")) for step in settled} == settled
    assert stage.sent["video"] == sent
    if name == "settled_within_the_submit":
        assert (stage.sent["image"], stage.count("wait image")) == (2, 0)


@pytest.mark.parametrize("name", ["signal_while_waiting", "native_while_waiting"])
async def test_execution_cancelled_while_waiting_stops_its_provider(
    skipping_temporal: Client, name: str
) -> None:
    stage = (await played_once(skipping_temporal, SCENARIOS[name])).stage
    assert (stage.count("cancel video"), stage.count("store video")) == (1, 0)
    assert stage.count("settle video") >= 1


async def test_execution_cancelled_before_anything_was_sent_buys_nothing(
    skipping_temporal: Client,
) -> None:
    stage = (await played_once(skipping_temporal, SCENARIOS["signal_at_claim"])).stage
    assert not stage.sent


async def test_native_cancel_at_the_claim_buys_at_most_one_step(
    skipping_temporal: Client,
) -> None:
    """Its first submit may be on the way; then it is cancelled at its provider."""
    stage = (await played_once(skipping_temporal, SCENARIOS["native_at_claim"])).stage
    assert set(stage.sent) <= {"image"}
    assert stage.count("cancel image") == stage.sent.get("image", 0)


@pytest.mark.parametrize(
    "name", ["signal_then_native_in_finish", "cancelled_then_native_in_finish"]
)
async def test_execution_ordered_to_stop_in_its_finish_ends_once(
    skipping_temporal: Client, name: str
) -> None:
    """The server refuses the task that would have closed it: its database steps run again, and
    answer the same.
    """
    stage = (await played_once(skipping_temporal, SCENARIOS[name])).stage
    assert stage.count("finish") >= 2
    assert len(stage.ends) == 1
    assert (stage.count("submit video"), stage.count("store video")) == (
        1,
        1 if stage.status == "completed" else 0,
    )


@pytest.mark.parametrize("name", ["native_at_claim", "native_in_submit", "native_while_waiting"])
async def test_execution_cancelled_natively_commits_the_order_too(
    skipping_temporal: Client, name: str
) -> None:
    """The cancel is in the row, as after a request to the API, whatever happens to the workflow."""
    assert (await played_once(skipping_temporal, SCENARIOS[name])).stage.cancel_reasons[:1] == [
        REASON
    ]


async def test_execution_whose_cancel_came_too_late_keeps_its_result(
    skipping_temporal: Client,
) -> None:
    """The provider finished all the same: it is paid for, so it is stored and delivered."""
    stage = (await played_once(skipping_temporal, SCENARIOS["cancel_loses"])).stage
    assert (stage.status, stage.count("store video")) == (ExecutionStatus.COMPLETED, 1)


async def test_execution_past_the_deadline_of_a_step_stops_its_provider(
    skipping_temporal: Client,
) -> None:
    stage = (await played_once(skipping_temporal, SCENARIOS["deadline_passed"])).stage
    assert (stage.count("cancel video"), stage.count("wait video")) == (1, 2)


async def test_execution_that_has_ended_takes_no_cancel(skipping_temporal: Client) -> None:
    played = await played_once(skipping_temporal, SCENARIOS["happy"])
    assert await signal_cancel(skipping_temporal, ExecutionId(played.handle.id), REASON) is False
    assert await signal_cancel(skipping_temporal, ExecutionId("exec_never_was"), REASON) is False
