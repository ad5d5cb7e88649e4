"""Derived ids: deterministic, unique, and sorted like their parents."""

from uuid import UUID

from core.domain.ids import (
    ExecutionId,
    JobId,
    derived_asset_id,
    derived_event_id,
    new_execution_id,
    new_job_id,
)


def test_derived_event_id_is_deterministic_for_an_end() -> None:
    execution_id = new_execution_id()
    assert derived_event_id(execution_id, 1) == derived_event_id(ExecutionId(str(execution_id)), 1)
    ids = {
        derived_event_id(one, generation)
        for one in (execution_id, new_execution_id())
        for generation in (1, 2, 11)
    }
    assert len(ids) == 6


def test_derived_ids_are_uuid7_with_the_parents_time() -> None:
    execution_id, job_id = new_execution_id(), new_job_id()
    for derived, parent in (
        (derived_event_id(execution_id, 3), execution_id),
        (derived_asset_id(job_id, 0), job_id),
    ):
        uuid, made = UUID(derived.rpartition("_")[2]), UUID(parent.rpartition("_")[2])
        assert (uuid.version, uuid.variant) == (7, made.variant)
        assert uuid.int >> 80 == made.int >> 80
        assert uuid != made


def test_derived_asset_id_identifies_an_output() -> None:
    job_id = JobId(new_job_id())
    assert derived_asset_id(job_id, 0) != derived_asset_id(job_id, 1)
    assert derived_asset_id(job_id, 0).startswith("asset_")
