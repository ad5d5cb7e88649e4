"""core.ordering without HTTP: what a second surface would call."""

from dataclasses import replace

import pytest

from core.domain.ids import ExecutionId
from core.domain.money import NanoUsd
from core.ordering.accept import Order, accept_order
from core.ordering.errors import (
    ExecutionNotFoundError,
    IdempotencyConflictError,
    InvalidFieldsError,
    MaxCostError,
    OrderingError,
)
from core.ordering.idempotency import Answer, IdempotencyKey
from core.ordering.planning.plan import VideoRequest
from core.ordering.planning.quote import quote_order
from core.ordering.retry import QueuedRetry, RetryOrder, retry_execution
from tests.api.conftest import Api, TestUser

REQUEST = VideoRequest(prompt="A paper boat")
KEY = IdempotencyKey(key="order 1042", request_sha256=b"first")


def _render(execution_id: ExecutionId) -> bytes:
    return f"accepted {execution_id}".encode()


def _render_retry(retry: QueuedRetry) -> bytes:
    return str(retry.generation).encode()


async def test_accepted_order_is_replayed_under_its_key(api: Api, user: TestUser) -> None:
    order = Order(user_id=user.user_id, key_id=None, request=REQUEST, idempotency_key=KEY)

    first = await accept_order(api.services.ordering, order, _render)
    again = await accept_order(api.services.ordering, order, _render)

    assert first.body.startswith(b"accepted exec_")
    assert again == Answer(body=first.body, replayed=True)
    other_request = replace(order, idempotency_key=replace(KEY, request_sha256=b"second"))
    with pytest.raises(IdempotencyConflictError):
        await accept_order(api.services.ordering, other_request, _render)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"request": replace(REQUEST, duration_seconds=30)}, InvalidFieldsError),
        ({"webhook_url": "http://127.0.0.1/"}, InvalidFieldsError),
        ({"max_cost_nano_usd": NanoUsd(1)}, MaxCostError),
    ],
)
async def test_refused_order_writes_nothing(
    api: Api, user: TestUser, change: dict[str, object], error: type[OrderingError]
) -> None:
    order = Order(user_id=user.user_id, key_id=None, request=REQUEST, idempotency_key=KEY)

    with pytest.raises(error):
        await accept_order(api.services.ordering, replace(order, **change), _render)

    async with api.database.as_system() as conn:
        for table in ("executions", "idempotency_keys", "ledger_entries"):
            assert await conn.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_max_cost_error_carries_the_quoted_steps(api: Api, user: TestUser) -> None:
    quote = await quote_order(api.services.ordering, user.user_id, REQUEST)
    order = Order(user_id=user.user_id, key_id=None, request=REQUEST, max_cost_nano_usd=NanoUsd(1))

    with pytest.raises(MaxCostError) as raised:
        await accept_order(api.services.ordering, order, _render)

    assert raised.value.steps == quote.worst_costs


async def test_retry_of_an_unknown_execution_is_not_found(api: Api, user: TestUser) -> None:
    order = RetryOrder(user_id=user.user_id, key_id=None, execution_id=ExecutionId("exec_unknown"))

    with pytest.raises(ExecutionNotFoundError):
        await retry_execution(api.services.ordering, order, _render_retry)
