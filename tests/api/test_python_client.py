"""The Python client against the API: orders survive lost answers and are bought once."""

import asyncio
from decimal import Decimal

import asyncpg
import httpx
import pytest

from takeone import AsyncTakeone, generate_audio, generate_image, generate_video, merge
from takeone import errors as sdk
from tests.api.conftest import BASE_URL, Api, TestUser
from tests.api.ended import NEVER_SENT, end
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G1")


class LosingTransport(httpx.AsyncBaseTransport):
    """Passes requests on, and loses the answers of the first ones that match.

    lost: how many. A lost answer was complete: the API has processed the request.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, *, path: str, lost: int) -> None:
        self._inner = inner
        self._path = path
        self._left = lost
        self.keys: list[str | None] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        if request.url.path == self._path:
            self.keys.append(request.headers.get("idempotency-key"))
            if self._left > 0:
                await answer.aread()
                self._left -= 1
                raise httpx.ReadError("the answer was lost", request=request)
        return answer


def client_of(
    user: TestUser, transport: httpx.AsyncBaseTransport, retries: int = 2
) -> AsyncTakeone:
    http = httpx.AsyncClient(transport=transport)
    return AsyncTakeone(user.api_key, BASE_URL, http_client=http, retries=retries)


async def count(database: FreshDatabase, table: str) -> int:
    conn = await asyncpg.connect(database.owner_dsn)
    try:
        number: int = await conn.fetchval(f"SELECT count(*) FROM {table}")
    finally:
        await conn.close()
    return number


async def test_order_with_lost_answers_is_accepted_once(
    api: Api, user: TestUser, fresh_database: FreshDatabase
) -> None:
    transport = LosingTransport(api.transport, path="/api/generate-video", lost=2)
    accepted = await client_of(user, transport).executions.generate_video(prompt="a kite")
    assert len(transport.keys) == 3
    assert len(set(transport.keys)) == 1
    assert accepted.replayed
    assert await count(fresh_database, "executions") == 1
    assert (await accepted.refresh()).status == "queued"


async def test_key_of_a_failed_order_finds_the_accepted_execution(
    api: Api, user: TestUser, fresh_database: FreshDatabase
) -> None:
    transport = LosingTransport(api.transport, path="/api/executions", lost=1)
    client = client_of(user, transport, retries=0)
    film = client.compose(generate_image(prompt="a kite"))
    with pytest.raises(sdk.ConnectionLostError) as lost:
        await film.execute(max_cost="0.50")
    again = await film.execute(max_cost="0.50", idempotency_key=lost.value.idempotency_key)
    assert again.replayed
    assert await count(fresh_database, "executions") == 1
    with pytest.raises(sdk.InvalidRequestError) as conflict:
        await film.execute(max_cost="0.40", idempotency_key=lost.value.idempotency_key)
    assert conflict.value.code == "idempotency_conflict"


async def test_retry_with_a_lost_answer_is_one_generation(api: Api, user: TestUser) -> None:
    ended = await end(api.database, user.user_id, NEVER_SENT)
    path = f"/api/executions/{ended.execution_id}/retry"
    transport = LosingTransport(api.transport, path=path, lost=1)
    retried = await client_of(user, transport).executions.retry(ended.execution_id)
    assert (retried.generation, retried.replayed, retried.id) == (2, True, ended.execution_id)
    assert retried.estimated == sum(step.estimated for step in retried.to_pay) > 0


async def test_refused_orders_name_every_field_and_cost_nothing(api: Api, user: TestUser) -> None:
    client = client_of(user, api.transport)
    plan = client.compose(
        merge(generate_video(prompt="a kite", duration=99), generate_audio(text="a", speed=50))
    )
    with pytest.raises(sdk.InvalidRequestError) as refused:
        await plan.quote()
    fields = {error.field for error in refused.value.errors}
    assert {"plan/steps/0/params/duration", "plan/steps/1/params/speed"} <= fields
    assert (refused.value.spent, refused.value.retryable) == (Decimal(0), False)
    assert refused.value.request_id


async def test_maximum_cost_is_an_error_of_its_own(api: Api, user: TestUser) -> None:
    executions = client_of(user, api.transport).executions
    with pytest.raises(sdk.MaxCostError):
        await executions.generate_video(prompt="a kite", max_cost=Decimal("0.000001"))


async def test_lists_follow_their_cursors(api: Api, user: TestUser) -> None:
    client = client_of(user, api.transport)
    made = [
        (await client.executions.generate_image(prompt="a kite", metadata={"n": n})).id
        for n in range(5)
    ]
    listed = [each.id async for each in client.executions.list(limit=2, status=["queued"])]
    assert listed == made[::-1]
    found = [each async for each in client.executions.list(metadata_key="n", metadata_value="3")]
    assert [each.id for each in found] == [made[3]]


async def test_wait_ends_with_the_cancelled_execution(api: Api, user: TestUser) -> None:
    client = client_of(user, api.transport)
    ended = await end(api.database, user.user_id, NEVER_SENT)
    seen: list[str] = []
    with pytest.raises(sdk.ExecutionFailedError) as failed:
        await client.executions.wait(
            ended.execution_id, on_progress=lambda each: seen.append(each.status)
        )
    assert seen == [failed.value.execution.status]
    assert failed.value.execution.id == ended.execution_id


async def test_wait_that_is_over_names_the_execution(api: Api, user: TestUser) -> None:
    client = client_of(user, api.transport)
    accepted = await client.executions.generate_image(prompt="a kite")
    with pytest.raises(sdk.WaitTimeoutError) as over:
        await accepted.wait(timeout=0)
    assert over.value.execution_id == accepted.id
    assert (await accepted.refresh()).status == "queued"


class DownTransport(httpx.AsyncBaseTransport):
    """An API that is unreachable until `up` is set."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.up = asyncio.Event()
        self.refused = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.up.is_set():
            return await self._inner.handle_async_request(request)
        self.refused += 1
        if self.refused == 2:
            self.up.set()
        raise httpx.ConnectError("refused", request=request)


async def test_wait_survives_an_unreachable_service(api: Api, user: TestUser) -> None:
    ended = await end(api.database, user.user_id, NEVER_SENT)
    down = DownTransport(api.transport)
    client = client_of(user, down, retries=0)
    down.up.set()
    execution = await client.executions.get(ended.execution_id)
    down.up.clear()
    seen = await execution.wait(raise_on_failure=False)
    assert (seen.id, down.refused) == (ended.execution_id, 2)


async def test_foreign_execution_is_not_found(api: Api, user: TestUser) -> None:
    other = await api.new_user()
    async with other.http:
        accepted = await client_of(user, api.transport).executions.generate_image(prompt="a kite")
        with pytest.raises(sdk.NotFoundError):
            await client_of(other, api.transport).executions.get(accepted.id)


async def test_account_is_read_and_changed(api: Api, user: TestUser) -> None:
    client = client_of(user, api.transport)
    key = await client.keys.create(name="second", scopes=["read"])
    assert key.api_key not in repr(key)
    assert {each.name for each in await client.keys.list()} == {"test", "second"}
    await client.keys.revoke(key.id)
    models = await client.models.list()
    assert {model.kind for model in models} >= {"image", "video"}
    usage = await client.usage.get()
    assert (usage.usd.settled, usage.usd.limit) == (Decimal(0), None)
    assert "steps" in (await client.plans.schema())["properties"]
    assert (await client.service.live()).status == "ok"
