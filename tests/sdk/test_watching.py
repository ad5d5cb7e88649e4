"""The Python client's wait: when it follows a stream, when it looks, and when it ends."""

import json
from typing import Any

import httpx
import pytest

from takeone import errors
from takeone._core.answers import problem
from takeone._core.calls import Answer
from takeone._core.settings import make_settings
from takeone._core.streams import Following, Patience
from takeone._core.watching import Watch
from takeone.models.executions import ExecutionData

LOST = errors.ConnectionLostError("cut")
DOWN = errors.ConnectError("refused")


def refusal(status: int, *, retry_after: int | None = None, retryable: bool = True) -> Any:
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    body = json.dumps({"code": "a_code", "retryable": retryable}).encode()
    return problem(Answer(status, httpx.Headers(headers), body))


def following(after: int | None = None, *, resumes: bool = True) -> Following:
    settings = make_settings("tko_key", "http://api.test", 10, 2)
    return Following("/api/executions/exec_1/events", settings, after, resumes=resumes)


def opened(follow: Following, *, status: int = 200, kind: str = "text/event-stream") -> None:
    follow.opened(Answer(status, httpx.Headers({"content-type": kind}), b""))


def execution(**members: Any) -> ExecutionData:
    plain: dict[str, Any] = {
        "id": "exec_1", "type": "video", "status": "running", "generation": 1, "progress": 5,
        "current_job": "clip", "completed_jobs": [], "failed_jobs": [], "jobs": [],
        "waiting_for": [], "result": None, "error": None, "webhook": None, "metadata": {},
        "cost": {"estimated": "1", "held": "1", "settled": "0", "final": False},
        "created_at": "2026-11-30T00:00:00Z", "updated_at": "2026-11-30T00:00:00Z",
    }  # fmt: skip
    return ExecutionData.model_validate(plain | members)


def test_wait_follows_the_stream_first() -> None:
    assert Watch("exec_1", None, 0).streams(0)


@pytest.mark.parametrize("error", [LOST, refusal(503), refusal(502), None], ids=str)
def test_empty_streams_are_opened_again_after_growing_times(error: errors.CallError | None) -> None:
    watch = Watch("exec_1", None, 0)
    looked: list[float] = []
    for _ in range(9):
        watch.stream_ended(following(), error, 0, empty=True)
        looked.append(next(at for at in range(100) if watch.streams(at)))
    assert looked == [0, 2, 4, 8, 16, 32, 60, 60, 60]
    watch.streamed(0)
    watch.stream_ended(following(), error, 0, empty=True)
    assert watch.streams(0)


def test_restarting_service_decides_when_its_stream_is_opened() -> None:
    watch = Watch("exec_1", None, 0)
    for _ in range(2):
        watch.stream_ended(following(), refusal(503, retry_after=5), 0, empty=True)
    assert [watch.streams(at) for at in (4, 5)] == [False, True]


@pytest.mark.parametrize("status", [401, 404, 429])
def test_refused_stream_turns_to_looks_at_once(status: int) -> None:
    watch = Watch("exec_1", None, 0)
    watch.stream_ended(following(), refusal(status), 1, empty=True)
    assert not watch.streams(60)
    assert watch.streams(61)


def test_refused_stream_is_tried_again_at_its_time() -> None:
    watch = Watch("exec_1", None, 0)
    watch.stream_ended(following(), refusal(429, retry_after=300), 0, empty=True)
    assert [watch.streams(at) for at in (299, 300)] == [False, True]


def test_stream_that_a_proxy_keeps_back_is_not_tried_again() -> None:
    watch = Watch("exec_1", None, 0)
    watch.stream_ended(following(), errors.RequestTimeoutError("late"), 45, empty=True)
    assert not watch.streams(10_000)


def test_stream_that_brought_events_is_opened_again() -> None:
    watch = Watch("exec_1", None, 0)
    for at in range(5):
        watch.streamed(at)
        watch.stream_ended(following(), LOST, at, empty=False)
    assert watch.streams(5)


def test_unreachable_service_ends_the_wait_after_five_minutes() -> None:
    watch = Watch("exec_1", None, 0)
    watch.streamed(100)
    watch.stream_ended(following(), DOWN, 400, empty=True)
    with pytest.raises(errors.ConnectError):
        watch.stream_ended(following(), DOWN, 401, empty=True)


def test_look_that_is_refused_ends_the_wait() -> None:
    watch = Watch("exec_1", None, 0)
    watch.missed(refusal(503), 1)
    watch.missed(refusal(429), 1)
    with pytest.raises(errors.NotFoundError):
        watch.missed(refusal(404, retryable=False), 1)


def test_next_look_comes_when_the_service_wants_it() -> None:
    watch = Watch("exec_1", None, 0)
    watch.missed(refusal(429, retry_after=7), 0)
    assert [watch.pause(0) for _ in range(2)] == [7, pytest.approx(0.65)]


def test_refusal_of_a_proxy_without_a_document_is_waited_for() -> None:
    for status in (429, 503):
        bare = problem(Answer(status, httpx.Headers(), b"slow down"))
        Watch("exec_1", None, 0).missed(bare, 1)
    with pytest.raises(errors.ProblemError):
        Watch("exec_1", None, 0).missed(problem(Answer(418, httpx.Headers(), b"")), 1)


def test_look_takes_not_much_longer_than_the_wait() -> None:
    watch = Watch("exec_1", 20, 0)
    assert [watch.look_seconds(at) for at in (0, 12, 19)] == [20, 8, 5]
    settings = make_settings("tko_key", "http://api.test", 60, 2).for_look(watch.look_seconds(12))
    assert (settings.retries, settings.timeout.read) == (0, 8)
    unbounded = make_settings("tko_key", "http://api.test", 60, 2).for_look(
        Watch("exec_1", None, 0).look_seconds(0)
    )
    assert unbounded.timeout.as_dict() == {"connect": 10, "read": 60, "write": 60, "pool": 60}


def test_last_minute_before_the_time_out_is_looked_through() -> None:
    watch = Watch("exec_1", 100, 0)
    assert [watch.streams(at) for at in (0, 39, 40)] == [True, True, False]
    assert not Watch("exec_1", 60, 0).streams(0)


def test_wait_ends_at_its_time_out() -> None:
    watch = Watch("exec_1", 3, 0)
    assert watch.pause(0) == 0.5
    assert watch.pause(2.9) == pytest.approx(0.1)
    with pytest.raises(errors.WaitTimeoutError) as raised:
        watch.pause(3)
    assert raised.value.execution_id == "exec_1"


def test_pauses_between_looks_grow_to_ten_seconds() -> None:
    watch = Watch("exec_1", None, 0)
    pauses = [watch.pause(0) for _ in range(20)]
    assert (pauses[0], pauses[-1]) == (0.5, 10)
    assert pauses == sorted(pauses)


def test_service_decides_when_the_next_stream_is_opened() -> None:
    watch, follow = Watch("exec_1", None, 0), following()
    opened(follow)
    follow.received(b"retry: 3000\n\n")
    watch.stream_ended(follow, None, 1, empty=False)
    assert watch.pause(1) == 3


def test_opened_decision_is_a_change() -> None:
    watch = Watch("exec_1", None, 0)
    assert watch.changed(execution(), 0)
    assert not watch.changed(execution(), 1)
    waiting: dict[str, Any] = {
        "step": "choose", "options": [], "opened_at": "2026-11-30T00:00:00Z",
        "expires_at": "2026-12-01T00:00:00Z",
        "rest": {"steps": [], "low": "0", "expected": "0", "worst": "0"},
    }  # fmt: skip
    assert watch.changed(execution(waiting_for=[waiting]), 2)


def test_next_stream_continues_after_the_last_complete_event() -> None:
    follow = following(after=4)
    assert follow.request()["headers"]["last-event-id"] == "4"
    opened(follow)
    follow.received(b"id: 5\ndata: {}\n\nid: 6\ndata: {")
    assert follow.request()["headers"]["last-event-id"] == "5"
    opened(follow)
    follow.received(b": heartbeat\n\n")
    assert follow.request()["headers"]["last-event-id"] == "5"


def test_stream_of_the_account_does_not_continue() -> None:
    follow = following(resumes=False)
    opened(follow)
    follow.received(b"id: 5\ndata: {}\n\n")
    assert "last-event-id" not in follow.request()["headers"]


def test_stream_without_a_byte_is_lost_after_three_heartbeats() -> None:
    assert following().request()["timeout"].as_dict() == {
        "connect": 10, "read": 45, "write": 10, "pool": 10,
    }  # fmt: skip


def test_no_content_means_that_nothing_follows() -> None:
    follow = following(after=9)
    opened(follow, status=204, kind="")
    assert follow.over


def test_page_of_a_proxy_is_no_stream() -> None:
    with pytest.raises(errors.UnusableAnswerError, match="no stream"):
        opened(following(), kind="text/html")


def test_pauses_between_streams_grow_and_begin_again() -> None:
    follow = following()
    assert [round(follow.pause(), 2) for _ in range(8)] == [
        0.5,
        0.8,
        1.28,
        2.05,
        3.28,
        5.24,
        8.39,
        10,
    ]
    opened(follow)
    follow.received(b":\n")
    assert follow.pause() == 0.5


def test_patience_begins_again_at_each_answer() -> None:
    patience = Patience(0)
    patience.missed(DOWN, 300)
    patience.reached(300)
    patience.missed(DOWN, 600)
    with pytest.raises(errors.ConnectError):
        patience.missed(DOWN, 601)
