"""Provider keys of users in the API: callbacks of their accounts, models, refusals."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime

import httpx
import pytest
from standardwebhooks import Webhook

from core.domain.failures import FailureCode
from core.domain.ids import JobId, ProviderKeyId, new_job_id
from core.domain.messages.jobs import JobRef, key_scope
from core.platform.crypto.callback_tokens import PURPOSE
from core.store.jobs.sends import begin_send
from core.store.providers.capacity import reset
from core.store.providers.circuit_breaker import trip
from core.store.providers.user_keys import delete_key, put_key
from sandbox.settings import DEFAULT_WEBHOOK_SECRET
from tests.api.conftest import Api, TestUser, api_settings, running_api
from tests.api.walk import Walk
from tests.sandbox.process import Sandbox
from tests.support.servers import PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G5")

ALICE = "r8_own-0123456789#alice"
PATH = "/api/generate-video"
BODY = {
    "prompt": "A paper boat",
    "imageModel": "fal-ai/flux/schnell",
    "videoModel": "bytedance/seedance-1-pro",
}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    sandbox = Sandbox(tmp_path_factory.mktemp("accounts-sandbox"))
    yield sandbox
    sandbox.stop()


@pytest.fixture(scope="module")
async def keyed_api(
    postgres_server: PostgresServer, template_database: str, temporal_address: str, sandbox: Sandbox
) -> AsyncGenerator[Api]:
    """Start an API.

    The settings have the webhook secret of the service's account; others are fetched with users'
    keys.
    """
    async with new_database(postgres_server, template_database) as database:
        at_the_sandbox = {"replicate_base_url": f"{sandbox.url}/replicate"}
        async with running_api(
            api_settings(database, temporal_address).model_copy(update=at_the_sandbox)
        ) as api:
            yield api


@pytest.fixture
async def alice(keyed_api: Api) -> AsyncGenerator[TestUser]:
    user = await keyed_api.new_user()
    async with user.http:
        yield user


async def put(api: Api, user: TestUser, key: str = ALICE) -> ProviderKeyId:
    async with api.database.as_user(user.user_id) as conn:
        return (
            await put_key(conn, api.services.secrets, user.user_id, "replicate", key)
        ).provider_key_id


async def sent_with(api: Api, user: TestUser, key: ProviderKeyId) -> JobId:
    """Return the job of a video that was sent with a key and has no known response."""
    answer = await user.http.post(PATH, json=BODY)
    walk = await Walk.claimed(api.database, user.user_id, answer.json()["executionId"])
    ref = JobRef(
        user_id=user.user_id,
        execution_id=walk.ref.execution_id,
        job_id=walk.jobs["video"],
        generation=1,
    )
    async with api.database.as_user(user.user_id) as conn:
        assert await begin_send(
            conn, ref, 1, {"url": "https://provider.test"}, {"prompt": "x"}, provider_key_id=key
        )
    return ref.job_id


async def call_back(
    api: Api,
    job_id: JobId,
    secret: str,
    key: ProviderKeyId,
    *,
    provider: str = "replicate",
    token: str | None = None,
) -> int:
    now, text = datetime.now(UTC), json.dumps({"id": f"p-{job_id}", "status": "succeeded"})
    headers = {
        "webhook-id": f"msg-{job_id}",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(f"msg-{job_id}", now, text),
    }
    token = token or api.services.tokens.sign("replicate", job_id, 1, key)
    path = f"/callbacks/{provider}/{token}"
    return (await api.http.post(path, content=text, headers=headers)).status_code


def earlier_token(api: Api, job_id: JobId) -> str:
    """Return a token as versions without the provider and the key in it signed them."""
    subject = bytes.fromhex(job_id.removeprefix("job_")) + (1).to_bytes(4, "big")
    key = api.services.secrets.derive_key(PURPOSE)[0]
    mac = hmac.digest(key, subject, hashlib.sha256)[:16]
    return base64.urlsafe_b64encode(subject + mac).decode()


def secret_of(sandbox: Sandbox, key: str) -> str:
    answer = httpx.get(
        f"{sandbox.url}/replicate/v1/webhooks/default/secret",
        headers={"authorization": f"Bearer {key}"},
    )
    secret: str = answer.json()["key"]
    return secret


async def test_callback_is_verified_with_the_account_of_its_send(
    keyed_api: Api, alice: TestUser, sandbox: Sandbox
) -> None:
    key = await put(keyed_api, alice)
    job_id = await sent_with(keyed_api, alice, key)
    theirs, services = secret_of(sandbox, ALICE), "whsec_" + "A" * 32
    assert theirs not in (services, DEFAULT_WEBHOOK_SECRET)
    await put(keyed_api, alice, "r8_new-0123456789#alice-new")
    assert await call_back(keyed_api, job_id, services, key) == 401
    new_secret = secret_of(sandbox, "r8_new-0123456789#alice-new")
    assert await call_back(keyed_api, job_id, new_secret, key) == 401
    assert await call_back(keyed_api, job_id, theirs, key) == 200
    async with keyed_api.database.as_system() as conn:
        assert (
            await conn.fetchval("SELECT state FROM jobs WHERE job_id = $1", job_id) == "submitted"
        )


async def test_callback_for_another_provider_does_not_use_the_key(
    keyed_api: Api, alice: TestUser, sandbox: Sandbox
) -> None:
    """A key is sent only to its own provider, and does not count as a key of another."""
    key = await put(keyed_api, alice)
    job_id = await sent_with(keyed_api, alice, key)
    secret = secret_of(sandbox, ALICE)
    assert await call_back(keyed_api, job_id, secret, key, provider="fal") == 404
    assert await call_back(keyed_api, job_id, secret, key) == 200


async def test_callback_address_of_an_earlier_version_names_no_key(
    keyed_api: Api, alice: TestUser, sandbox: Sandbox
) -> None:
    """The key of such an address is read from the row of its send."""
    key = await put(keyed_api, alice)
    job_id = await sent_with(keyed_api, alice, key)
    token = earlier_token(keyed_api, job_id)
    secret = secret_of(sandbox, ALICE)
    assert await call_back(keyed_api, job_id, DEFAULT_WEBHOOK_SECRET, key, token=token) == 401
    assert await call_back(keyed_api, job_id, secret, key, token=token, provider="fal") == 401
    assert await call_back(keyed_api, job_id, secret, key, token=token) == 200


async def test_callback_of_a_send_with_a_deleted_key_is_404(
    keyed_api: Api, alice: TestUser, sandbox: Sandbox
) -> None:
    key = await put(keyed_api, alice)
    job_id = await sent_with(keyed_api, alice, key)
    async with keyed_api.database.as_user(alice.user_id) as conn:
        await delete_key(conn, alice.user_id, "replicate")
        await conn.execute(
            "WITH gone AS (DELETE FROM secrets WHERE owner_id = $1)"
            " UPDATE provider_keys SET erased_at = now() WHERE provider_key_id = $1",
            key,
        )
    assert await call_back(keyed_api, job_id, secret_of(sandbox, ALICE), key) == 404


async def test_provider_without_a_service_key_needs_a_users_key(
    postgres_server: PostgresServer, template_database: str, temporal_address: str
) -> None:
    async with new_database(postgres_server, template_database) as database:
        without = api_settings(database, temporal_address).model_copy(
            update={"replicate_api_token": None}
        )
        async with running_api(without) as api:
            user, other = await api.new_user(), await api.new_user()
            await put(api, user)
            async with user.http, other.http:
                for one, status in ((user, 202), (other, 422)):
                    models = {
                        model["provider"]
                        for model in (await one.http.get("/api/models")).json()["data"]
                    }
                    assert models == ({"fal", "replicate"} if one is user else {"fal"})
                    assert (await one.http.post("/api/quotes", json=BODY)).status_code == (
                        200 if status == 202 else 422
                    )
                    assert (await one.http.post(PATH, json=BODY)).status_code == status


async def test_request_checks_the_breaker_of_its_own_key(api: Api) -> None:
    users = [await api.new_user() for _ in range(3)]
    mine, theirs = await put(api, users[0]), await put(api, users[1])
    assert mine != theirs
    statuses: list[list[int]] = []
    for scope in (key_scope("replicate", mine), "replicate"):
        async with api.database.as_system() as conn:
            await trip(conn, scope, new_job_id(), FailureCode.PROVIDER_KEY_REFUSED, 401)
        answers = [await user.http.post(PATH, json=BODY) for user in users]
        statuses.append([answer.status_code for answer in answers])
        problem = answers[0].json()
        assert (problem["code"], problem["provider"]) == ("provider_key_refused", "replicate")
        assert mine not in answers[0].text
    assert statuses == [[409, 202, 202], [409, 202, 503]]
    async with api.database.as_system() as conn:
        await reset(conn, key_scope("replicate", mine))
    assert (await users[0].http.post(PATH, json=BODY)).status_code == 202
    for user in users:
        await user.http.aclose()
