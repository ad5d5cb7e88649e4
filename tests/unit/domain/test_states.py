"""The move tables: total, with every state reachable and end states final."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pytest

from core.domain.states import EXECUTION_MOVES, JOB_MOVES, ExecutionStatus, JobState

Moves = Mapping[Any, frozenset[Any]]
TABLES: list[tuple[Moves, StrEnum]] = [
    (EXECUTION_MOVES, ExecutionStatus.QUEUED),
    (JOB_MOVES, JobState.WAITING),
]


def reachable(moves: Moves, start: StrEnum) -> set[Any]:
    found, edge = {start}, [start]
    while edge:
        new = moves[edge.pop()] - found
        found |= new
        edge += new
    return found


@pytest.mark.parametrize(("moves", "start"), TABLES)
def test_moves_are_total_and_reach_every_state(moves: Moves, start: StrEnum) -> None:
    assert set(moves) == set(type(start))
    assert reachable(moves, start) == set(type(start))
    assert all(state not in to for state, to in moves.items())


@pytest.mark.parametrize("state", JobState)
def test_job_that_has_ended_never_moves_again(state: JobState) -> None:
    assert state.ended is (not JOB_MOVES[state])


@pytest.mark.parametrize("state", JobState)
def test_job_can_end_from_every_open_state(state: JobState) -> None:
    open_to_end = reachable(JOB_MOVES, state)
    assert JobState.FAILED in open_to_end or state.ended


def test_job_is_sent_only_from_waiting() -> None:
    """An unknown send is repeated only after the job was found absent at the provider."""
    into_submitting = {state for state, to in JOB_MOVES.items() if JobState.SUBMITTING in to}
    assert into_submitting == {JobState.WAITING}


def test_job_of_unknown_fate_is_never_marked_cancelled() -> None:
    assert JobState.CANCELLED not in JOB_MOVES[JobState.UNKNOWN] | JOB_MOVES[JobState.SUBMITTING]


@pytest.mark.parametrize("status", ExecutionStatus)
def test_ended_execution_is_reopened_only_by_a_retry(status: ExecutionStatus) -> None:
    assert not status.ended or EXECUTION_MOVES[status] <= {ExecutionStatus.QUEUED}


def test_completed_execution_is_final() -> None:
    assert EXECUTION_MOVES[ExecutionStatus.COMPLETED] == frozenset()
