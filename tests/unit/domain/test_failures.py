"""The closed list of failures and their mapping to Temporal errors."""

from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationErrorCategory

from core.domain.failures import FAILURES, MESSAGE_MAX_CHARS, Acts, Failure, FailureCode
from core.platform.temporal.failures import hand_over, retry_later


def test_failures_table_is_total() -> None:
    assert set(FAILURES) == set(FailureCode)


@pytest.mark.parametrize("code", FailureCode)
def test_failure_has_a_user_facing_sentence(code: FailureCode) -> None:
    sentence = FAILURES[code].sentence
    assert sentence[0].isupper()
    assert sentence.endswith(".")
    assert len(sentence) < MESSAGE_MAX_CHARS // 2
    assert Failure.of(code).message == sentence


def test_sentences_of_failures_are_unique() -> None:
    assert len({kind.sentence for kind in FAILURES.values()}) == len(FAILURES)


def test_failure_that_needs_the_user_is_not_retryable() -> None:
    """Except for what the user revokes with a retry: a cancellation, or a missing choice."""
    retried = {code for code, kind in FAILURES.items() if kind.retryable and kind.acts is Acts.USER}
    assert retried == {
        FailureCode.CANCELLED,
        FailureCode.APPROVAL_EXPIRED,
        FailureCode.APPROVAL_REJECTED,
    }


def test_failure_truncates_external_text() -> None:
    failure = Failure.of(FailureCode.PROVIDER_REJECTED_INPUT, "x" * 10_000)
    assert len(failure.message) == MESSAGE_MAX_CHARS
    assert failure.message.startswith(FAILURES[failure.code].sentence)


@pytest.mark.parametrize("code", FailureCode)
def test_retry_later_never_retries_a_final_failure(code: FailureCode) -> None:
    error = retry_later(Failure.of(code), after_seconds=2.5)
    assert error.type == code.value
    assert error.non_retryable is not FAILURES[code].retryable
    assert error.next_retry_delay == timedelta(seconds=2.5)
    assert error.category is ApplicationErrorCategory.BENIGN


def test_retry_later_without_a_delay_follows_the_policy() -> None:
    assert retry_later(Failure.of(FailureCode.PROVIDER_UNAVAILABLE)).next_retry_delay is None


def test_hand_over_is_retried_at_once() -> None:
    error = hand_over()
    assert not error.non_retryable
    assert error.next_retry_delay is not None
    assert error.next_retry_delay <= timedelta(milliseconds=10)
