"""The Python client's attempts: what is sent again, with which key, and what is raised."""

import json

import httpx
import pytest

from takeone import errors
from takeone._calls import account, orders
from takeone._core.attempts import Attempts
from takeone._core.calls import Answer, Call
from takeone._core.settings import Settings, make_settings
from takeone.models.executions import AcceptedData


def settings(retries: int = 2) -> Settings:
    return make_settings("tko_key", "http://api.test/", 10, retries)


def order(key: str | None = None) -> Call[AcceptedData]:
    return orders.order("generate-video", AcceptedData, key, {"prompt": "a kite"})


def problem(
    status: int, code: str, *, retryable: bool = True, retry_after: str | None = None
) -> Answer:
    document = {
        "title": "A problem",
        "detail": "What to do.",
        "code": code,
        "retryable": retryable,
        "spent": "0.25",
        "requestId": "req_1",
    }
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return Answer(status, httpx.Headers(headers), json.dumps(document).encode())


def key_of(attempts: Attempts) -> str:
    return attempts.request()["headers"]["idempotency-key"]


def test_all_attempts_of_a_call_have_one_key() -> None:
    attempts = Attempts(order(), settings())
    first = key_of(attempts)
    attempts.failed(httpx.ReadError("lost"))
    assert key_of(attempts) == first != key_of(Attempts(order(), settings()))
    assert key_of(Attempts(order("mine"), settings())) == "mine"


def test_reads_have_no_key() -> None:
    assert "idempotency-key" not in Attempts(account.list_models(), settings()).request()["headers"]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpx.ConnectError("refused"), errors.ConnectError),
        (httpx.ReadTimeout("late"), errors.RequestTimeoutError),
        (httpx.RemoteProtocolError("cut"), errors.ConnectionLostError),
    ],
)
def test_transport_failures_are_retried_then_raised_with_the_key(
    failure: httpx.HTTPError, kind: type[errors.CallError]
) -> None:
    attempts = Attempts(order("mine"), settings())
    pauses = [attempts.failed(failure), attempts.failed(failure)]
    assert 0.3 < pauses[0] <= 0.5 < pauses[1] <= 1
    with pytest.raises(kind) as raised:
        attempts.failed(failure)
    assert raised.value.idempotency_key == "mine"
    assert raised.value.__cause__ is failure


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_temporary_problems_are_retried(status: int) -> None:
    assert Attempts(order(), settings()).answered(problem(status, "any")) is not None


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (problem(402, "budget_exceeded", retryable=False), errors.BudgetError),
        (problem(402, "key_spend_limit_exceeded", retryable=False), errors.KeySpendLimitError),
        (problem(402, "max_cost_exceeded", retryable=False), errors.MaxCostError),
        (problem(403, "insufficient_scope", retryable=False), errors.ForbiddenError),
        (problem(404, "not_found", retryable=False), errors.NotFoundError),
        (problem(409, "possible_double_cost"), errors.PossibleDoubleCostError),
        (problem(409, "execution_not_ended"), errors.ConflictError),
        (problem(422, "invalid_request", retryable=False), errors.InvalidRequestError),
        (problem(429, "rate_limited", retry_after="61"), errors.RateLimitError),
        (problem(500, "internal_error", retryable=False), errors.ServerError),
        (problem(503, "provider_not_accepting"), errors.UnavailableError),
        (problem(418, "new_code"), errors.ProblemError),
    ],
)
def test_other_problems_are_raised_at_once(answer: Answer, kind: type[errors.ProblemError]) -> None:
    with pytest.raises(errors.ProblemError) as raised:
        Attempts(order("mine"), settings()).answered(answer)
    error = raised.value
    assert type(error) is kind
    assert (error.idempotency_key, error.request_id, str(error.spent)) == ("mine", "req_1", "0.25")
    assert str(error) == f"A problem. What to do ({error.code})"


def test_retry_after_is_obeyed() -> None:
    attempts = Attempts(order(), settings())
    assert attempts.answered(problem(429, "rate_limited", retry_after="7")) == 7


def test_request_in_progress_is_awaited_beyond_the_retries() -> None:
    attempts = Attempts(order(), settings(retries=0))
    answer = problem(409, "idempotency_in_progress", retry_after="1")
    assert [attempts.answered(answer) for _ in range(30)] == [1.0] * 30


def test_conflict_after_a_lost_answer_raises_the_first_failure() -> None:
    attempts = Attempts(order("mine"), settings())
    attempts.failed(httpx.ReadError("lost"))
    with pytest.raises(errors.ConnectionLostError) as raised:
        attempts.answered(problem(422, "idempotency_conflict", retryable=False))
    assert isinstance(raised.value.__cause__, errors.InvalidRequestError)


def test_new_api_keys_are_not_created_twice() -> None:
    call = account.create_key({"name": "second"})
    with pytest.raises(errors.ConnectionLostError):
        Attempts(call, settings()).failed(httpx.ReadError("lost"))
    with pytest.raises(errors.UnavailableError):
        Attempts(call, settings()).answered(problem(503, "service_unavailable"))


def test_call_that_was_not_processed_is_sent_again() -> None:
    attempts = Attempts(account.create_key({"name": "second"}), settings())
    assert attempts.failed(httpx.ConnectError("refused")) > 0
    assert attempts.answered(problem(429, "rate_limited")) is not None


def test_page_of_a_proxy_is_an_error_with_its_status() -> None:
    answer = Answer(502, httpx.Headers(), b"<html>Bad gateway</html>")
    with pytest.raises(errors.ServerError, match="502") as raised:
        Attempts(order(), settings(retries=0)).answered(answer)
    assert raised.value.code == "unknown"


def test_unusable_success_is_no_result() -> None:
    attempts = Attempts(order("mine"), settings())
    with pytest.raises(errors.UnusableAnswerError) as raised:
        attempts.read(Answer(200, httpx.Headers(), b"<html>"), None)
    assert raised.value.idempotency_key == "mine"


def test_client_needs_a_key_and_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.ConfigurationError, match="TAKEONE_API_KEY"):
        make_settings(None, "http://api.test", 1, 1)
    with pytest.raises(errors.ConfigurationError, match="TAKEONE_BASE_URL"):
        make_settings("tko_key", None, 1, 1)
    monkeypatch.setenv("TAKEONE_API_KEY", "tko_key")
    monkeypatch.setenv("TAKEONE_BASE_URL", "http://api.test")
    made = make_settings(None, None, 1, 1)
    assert made.base_url == "http://api.test"
    assert "tko_key" not in repr(made)
