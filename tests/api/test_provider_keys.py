"""`/api/provider-keys`: store, list, test, delete; a stored key never appears in any output."""

import json
import logging
from collections.abc import AsyncGenerator, Iterator

import httpx
import pytest

from core.domain.ids import ProviderKeyId
from core.domain.scopes import Scope
from core.store.accounts.users import insert_api_key
from core.store.database import Database
from core.store.jobs.sends import begin_send
from core.store.providers.user_keys import current_key, erase_unused, open_key
from tests.api.conftest import NOWHERE, Api, TestUser, api_settings, running_api
from tests.sandbox.process import Sandbox
from tests.support.operator_jobs import REQUEST
from tests.support.rows import accept, new_execution
from tests.support.servers import PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G6")

FAL_KEY = "0a1b2c3d-1111-2222-3333-0a1b2c3d4e5f:canary0123456789canary0123456789"
REPLICATE_TOKEN = "r8_canary0123456789canary0123456789cana"
WRONG = "wrong-but-long-enough-to-be-a-key"
KEYS = {"fal": FAL_KEY, "replicate": REPLICATE_TOKEN}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Start a sandbox that accepts only these keys."""
    arguments = ("--fal-key", FAL_KEY, "--replicate-token", REPLICATE_TOKEN)
    sandbox = Sandbox(tmp_path_factory.mktemp("keyed-sandbox"), *arguments)
    yield sandbox
    sandbox.stop()


@pytest.fixture(scope="module")
async def keyed_api(
    postgres_server: PostgresServer, template_database: str, temporal_address: str, sandbox: Sandbox
) -> AsyncGenerator[Api]:
    async with new_database(postgres_server, template_database) as database:
        providers = {
            "fal_queue_url": f"{sandbox.url}/fal/queue",
            "fal_api_url": f"{sandbox.url}/fal/api/v1",
            "replicate_base_url": f"{sandbox.url}/replicate",
        }
        async with running_api(
            api_settings(database, temporal_address).model_copy(update=providers)
        ) as api:
            yield api


@pytest.fixture
async def ada(keyed_api: Api) -> AsyncGenerator[TestUser]:
    user = await keyed_api.new_user()
    async with user.http:
        yield user


async def put(user: TestUser, provider: str = "fal", key: str = FAL_KEY) -> httpx.Response:
    answer = await user.http.put(f"/api/provider-keys/{provider}", json={"key": key})
    assert answer.status_code == 200, answer.text
    return answer


async def kept(api: Api, user: TestUser, provider: str = "fal") -> str | None:
    """Return the current key in clear, as a purchase would use it."""
    async with api.database.as_user(user.user_id) as conn:
        provider_key_id = await current_key(conn, user.user_id, provider)
        return (
            None
            if provider_key_id is None
            else await open_key(conn, api.services.secrets, provider_key_id)
        )


async def test_provider_key_is_stored_masked_replaced_and_deleted(
    keyed_api: Api, ada: TestUser
) -> None:
    assert (await ada.http.get("/api/provider-keys")).json() == {"data": []}
    first = (await put(ada, key=WRONG)).json()
    assert (first["provider"], first["version"], first["state"]) == ("fal", 1, "current")
    assert (first["hint"], first["openJobs"], first["testOutcome"]) == ("…-key", 0, None)
    second = (await put(ada)).json()
    assert (second["version"], second["hint"]) == (2, "…6789")
    assert await kept(keyed_api, ada) == FAL_KEY
    await put(ada, "replicate", REPLICATE_TOKEN)

    listed = (await ada.http.get("/api/provider-keys")).json()["data"]
    assert [(key["provider"], key["version"]) for key in listed] == [
        ("fal", 2),
        ("replicate", 1),
    ]  # the first is erased
    assert listed[0] == second

    deleted = await ada.http.delete("/api/provider-keys/fal")
    assert (deleted.status_code, deleted.json()) == (
        200,
        {"id": second["id"], "provider": "fal", "erased": True},
    )
    assert await kept(keyed_api, ada) is None
    again = await ada.http.delete("/api/provider-keys/fal")
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


async def test_key_in_use_is_listed_until_its_last_job_ends(keyed_api: Api, ada: TestUser) -> None:
    key_id = ProviderKeyId((await put(ada)).json()["id"])
    one = await accept(keyed_api.database, new_execution(ada.user_id))
    async with keyed_api.database.as_user(ada.user_id) as conn:
        assert await begin_send(conn, one.image, 1, REQUEST, {}, provider_key_id=key_id)

    assert (await ada.http.delete("/api/provider-keys/fal")).json()["erased"] is False
    (listed,) = (await ada.http.get("/api/provider-keys")).json()["data"]
    assert (listed["id"], listed["state"], listed["openJobs"]) == (key_id, "deleted", 1)
    assert (await ada.http.post("/api/provider-keys/fal/test")).status_code == 404
    await _end_job(keyed_api.database, one.image.job_id)
    async with keyed_api.database.as_system() as conn:
        assert await erase_unused(conn) == [key_id]
    assert (await ada.http.get("/api/provider-keys")).json() == {"data": []}


async def _end_job(database: Database, job_id: str) -> None:
    async with database.as_system() as conn:
        await conn.execute(
            "UPDATE jobs SET state = 'failed', ended_at = now() WHERE job_id = $1", job_id
        )
        await conn.execute(
            "UPDATE charges SET state = 'released', ended_at = now() WHERE job_id = $1", job_id
        )


@pytest.mark.parametrize("provider", ["fal", "replicate"])
async def test_key_is_tested_at_its_provider(ada: TestUser, provider: str) -> None:
    for key, outcome in ((KEYS[provider], "accepted"), (WRONG, "refused")):
        key_id = (await put(ada, provider, key)).json()["id"]
        answer = await ada.http.post(f"/api/provider-keys/{provider}/test")
        assert (answer.status_code, answer.json()) == (
            200,
            {"id": key_id, "provider": provider, "outcome": outcome},
        )
        (listed,) = (await ada.http.get("/api/provider-keys")).json()["data"]
        assert listed["testOutcome"] == outcome
        assert listed["testedAt"] is not None


async def test_provider_key_test_reports_an_unreachable_provider(api: Api, user: TestUser) -> None:
    assert NOWHERE == "http://127.0.0.1:9"
    await put(user)
    answer = await user.http.post("/api/provider-keys/fal/test")
    assert (answer.status_code, answer.json()["outcome"]) == (200, "unreachable")


@pytest.mark.parametrize("method", ["put", "post", "delete"])
@pytest.mark.parametrize("provider", ["nobody", "FAL", "fal%2F", "%00"])
async def test_unknown_provider_is_not_found(ada: TestUser, method: str, provider: str) -> None:
    path = f"/api/provider-keys/{provider}" + ("/test" if method == "post" else "")
    answer = await ada.http.request(
        method, path, json={"key": FAL_KEY} if method == "put" else None
    )
    assert answer.status_code == 404
    assert FAL_KEY not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"key": None},
        {"key": "short"},
        {"key": f"{FAL_KEY}\r\nX-Evil: 1"},
        {"key": f" {FAL_KEY}"},
        {"key": f"{FAL_KEY}é"},
        {"key": FAL_KEY * 20},
        {"key": [FAL_KEY]},
        {"key": FAL_KEY, "provider": FAL_KEY},
        {FAL_KEY: FAL_KEY},
    ],
    ids=lambda body: str(len(json.dumps(body))),
)
async def test_wrong_body_is_refused_without_repeating_it(
    keyed_api: Api, ada: TestUser, body: object
) -> None:
    answer = await ada.http.put("/api/provider-keys/fal", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert await kept(keyed_api, ada) is None
    if body != {FAL_KEY: FAL_KEY}:  # the name of a field is no secret
        assert "canary" not in answer.text


@pytest.mark.parametrize(
    "scopes", [{Scope.READ}, {Scope.GENERATE}, {Scope.READ, Scope.GENERATE}], ids=len
)
async def test_provider_keys_need_the_admin_scope(
    keyed_api: Api, ada: TestUser, scopes: set[Scope]
) -> None:
    await put(ada)
    async with keyed_api.database.as_system() as conn:
        key = await insert_api_key(conn, ada.user_id, "less", scopes=scopes)
    headers = {"Authorization": f"Bearer {key.key.text}"}
    for method, path in (("PUT", "/fal"), ("GET", ""), ("POST", "/fal/test"), ("DELETE", "/fal")):
        answer = await keyed_api.http.request(
            method,
            f"/api/provider-keys{path}",
            headers=headers,
            json={"key": WRONG} if method == "PUT" else None,
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope"), method
    assert await kept(keyed_api, ada) == FAL_KEY


async def test_provider_keys_of_other_users_are_invisible(keyed_api: Api, ada: TestUser) -> None:
    await put(ada)
    bob = await keyed_api.new_user()
    async with bob.http:
        assert (await bob.http.get("/api/provider-keys")).json() == {"data": []}
        assert (await bob.http.post("/api/provider-keys/fal/test")).status_code == 404
        assert (await bob.http.delete("/api/provider-keys/fal")).status_code == 404
        await put(bob, key=WRONG)
    assert await kept(keyed_api, ada) == FAL_KEY


async def test_key_is_in_no_answer_and_no_log(
    ada: TestUser, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checks the product's and the libraries' log lines at DEBUG level, before redaction."""
    said = ""
    with caplog.at_level(logging.DEBUG):
        for provider, key in KEYS.items():
            said += (await put(ada, provider, key)).text
            said += (await ada.http.post(f"/api/provider-keys/{provider}/test")).text
            said += (await ada.http.get("/api/provider-keys")).text
            said += (await ada.http.delete(f"/api/provider-keys/{provider}")).text
            assert (
                await ada.http.put(f"/api/provider-keys/{provider}", json={"key": f" {key}"})
            ).status_code == 422
    captured = capsys.readouterr()
    logged = captured.out + captured.err + caplog.text
    assert logged.count("provider_key.tested") >= len(KEYS)  # the log has lines of this request
    assert "send_request_headers" in logged
    assert "canary0123456789" not in said + logged
