"""Deadlines nest, so that a shutdown does not interrupt a paid call."""

import pytest

from core.platform.temporal import policies
from core.webhooks.retry_schedule import RETRY_DELAYS_SECONDS

pytestmark = pytest.mark.guarantee("G1")


def test_policies_deadlines_nest() -> None:
    create = policies.CREATE_CALL_SECONDS
    start_to_close = (
        policies.SUBMIT_START_TO_CLOSE.total_seconds()
        - policies.SLOT_WAIT_SECONDS
        - policies.ANSWER_BODY_SECONDS
        - policies.BRIEF_WAIT_SECONDS
    )  # a shutdown ends the waits
    graceful = policies.GRACEFUL_SHUTDOWN.total_seconds()
    send_within = policies.SEND_WITHIN_SECONDS
    assert send_within < create < start_to_close < graceful < policies.EXIT_SECONDS


def test_policies_paid_call_is_never_retried_by_temporal() -> None:
    assert policies.ONCE.maximum_attempts == 1


def test_policies_transfer_ends_before_its_activity() -> None:
    assert policies.STORE_START_TO_CLOSE.total_seconds() > policies.TRANSFER_SECONDS


def test_policies_stale_upload_is_older_than_any_living_one() -> None:
    assert policies.STALE_UPLOAD > policies.STORE_START_TO_CLOSE


def test_policies_webhooks_are_tried_for_three_days() -> None:
    assert len(RETRY_DELAYS_SECONDS) >= 9
    assert sum(RETRY_DELAYS_SECONDS) >= 72 * 3600


def test_backoff_seconds_last_step_repeats() -> None:
    assert [policies.backoff_seconds((1.0, 5.0), tries) for tries in (1, 2, 3, 99)] == [
        1.0,
        5.0,
        5.0,
        5.0,
    ]
