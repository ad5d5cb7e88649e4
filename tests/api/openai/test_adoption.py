"""Orders over /v1 that the client repeats get the video of the earlier attempt."""

import time

import httpx
import pytest

from core.domain.ids import ExecutionId
from core.ordering.accept import Order, accept_order
from core.ordering.errors import IdempotencyInProgressError
from core.ordering.idempotency import Answer
from core.ordering.planning.plan import VideoRequest
from core.store.accounts.users import insert_api_key
from core.store.executions.unkeyed_orders import (
    ADOPTABLE,
    UnkeyedOrder,
    delete_expired_orders,
    try_lock_fingerprint,
)
from tests.api.conftest import Api, TestUser

pytestmark = pytest.mark.guarantee("G1")

PROMPT = "a red kite"
FINGERPRINT = bytes(32)


@pytest.fixture
async def shopper(shared_api: Api) -> TestUser:
    return await shared_api.new_user()


async def order(
    user: TestUser, count: int | None, *, prompt: str = PROMPT, key: str | None = None
) -> httpx.Response:
    headers = {} if count is None else {"X-Stainless-Retry-Count": str(count)}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    answer = await user.http.post("/v1/videos", files={"prompt": (None, prompt)}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def id_of(answer: httpx.Response) -> str:
    return answer.json()["id"]


async def accept(
    api: Api, user: TestUser, count: int, *, age: float = 0.0, text: str = "{}"
) -> Answer:
    """Accept an order that arrived some seconds ago."""

    def render(_execution_id: ExecutionId) -> bytes:
        return text.encode()

    return await accept_order(
        api.services.ordering,
        Order(
            user_id=user.user_id,
            key_id=user.key_id,
            request=VideoRequest(prompt=PROMPT),
            unkeyed=UnkeyedOrder(
                fingerprint=FINGERPRINT, retry_count=count, arrived=time.monotonic() - age
            ),
        ),
        render,
    )


async def test_first_attempts_are_new_orders(shopper: TestUser) -> None:
    answers = [await order(shopper, count) for count in (0, 0, None, None)]
    assert len({id_of(answer) for answer in answers}) == 4
    assert not any("Idempotent-Replayed" in answer.headers for answer in answers)


async def test_each_repeated_attempt_gets_the_first_video(shopper: TestUser) -> None:
    answers = [await order(shopper, count) for count in (0, 1, 2)]
    assert len({id_of(answer) for answer in answers}) == 1
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [
        None, "true", "true",
    ]  # fmt: skip


async def test_two_equal_orders_that_are_both_repeated_stay_two(shopper: TestUser) -> None:
    first = {id_of(await order(shopper, 0)) for _ in range(2)}
    assert {id_of(await order(shopper, 1)) for _ in range(2)} == first


async def test_a_repeated_attempt_without_an_earlier_one_is_new(shopper: TestUser) -> None:
    ids = {id_of(await order(shopper, count)) for count in (2, 1, 0)}
    assert len(ids) == 3


async def test_another_prompt_or_key_is_another_order(shared_api: Api, shopper: TestUser) -> None:
    async with shared_api.database.as_system() as conn:
        key = await insert_api_key(conn, shopper.user_id, "second")
    first = id_of(await order(shopper, 0))
    assert id_of(await order(shopper, 1, prompt="a blue kite")) != first
    assert id_of(await order(shopper, 1, key=key.key.text)) != first
    assert id_of(await order(shopper, 1)) == first


async def test_an_order_is_forgotten_after_its_time(shared_api: Api, shopper: TestUser) -> None:
    await age_orders(shared_api, shopper)
    first = id_of(await order(shopper, 0))
    await age_orders(shared_api, shopper)
    assert id_of(await order(shopper, 1)) != first
    async with shared_api.database.as_system() as conn:
        assert await delete_expired_orders(conn, limit=100) >= 1
        left = await conn.fetchval(
            "SELECT count(*) FROM unkeyed_orders WHERE user_id = $1", shopper.user_id
        )
    assert left == 1


async def age_orders(api: Api, user: TestUser) -> None:
    """Make the user's orders older than the time for which they are remembered."""
    async with api.database.as_system() as conn:
        rows = await conn.fetch(
            "DELETE FROM unkeyed_orders WHERE user_id = $1 RETURNING *", user.user_id
        )
    async with api.database.as_user(user.user_id) as conn:
        for row in rows:
            await conn.execute(
                "INSERT INTO unkeyed_orders (execution_id, user_id, fingerprint, retry_count, response, created_at) "
                "VALUES ($1, $2, $3, $4, $5, $6)",
                row["execution_id"],
                row["user_id"],
                row["fingerprint"],
                row["retry_count"],
                row["response"],
                row["created_at"] - ADOPTABLE,
            )


async def test_an_attempt_that_was_overtaken_buys_nothing(
    shared_api: Api, shopper: TestUser
) -> None:
    """The first attempt is slow in one process; the second one was accepted by another."""
    second = await accept(shared_api, shopper, 1, text="second")
    assert not second.replayed
    slow = await accept(shared_api, shopper, 0, age=30, text="first")
    assert (slow.body, slow.replayed) == (b"second", True)
    later = await accept(shared_api, shopper, 0, text="another order")
    assert not later.replayed


async def test_an_attempt_overtaken_by_an_adoption_buys_nothing(
    shared_api: Api, shopper: TestUser
) -> None:
    assert not (await accept(shared_api, shopper, 0, text="an equal order before")).replayed
    assert (await accept(shared_api, shopper, 1)).replayed
    slow = await accept(shared_api, shopper, 0, age=30)
    assert (slow.body, slow.replayed) == (b"an equal order before", True)


async def test_attempts_at_once_are_refused_until_one_is_accepted(
    shared_api: Api, shopper: TestUser
) -> None:
    async with shared_api.database.as_user(shopper.user_id) as conn:
        assert await try_lock_fingerprint(conn, shopper.user_id, FINGERPRINT)
        with pytest.raises(IdempotencyInProgressError):
            await accept(shared_api, shopper, 1)
    assert not (await accept(shared_api, shopper, 1)).replayed
