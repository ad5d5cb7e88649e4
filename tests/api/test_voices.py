"""Voices of orders: one that the account does not have is refused before anything is held."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from pydantic import SecretStr

from core.ordering.planning import voices
from core.providers.vendors.elevenlabs import adapter
from core.store.providers.user_keys import put_key
from tests.api.conftest import Api, TestUser, api_settings, running_api
from tests.providers.wire import ELEVENLABS_KEY, Line, Wire, serving
from tests.support.servers import PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G3", "G6")

GEORGE, RACHEL, MINE = "JBFqnCBsd6RMkjVDRZzb", "21m00Tcm4TlvDq8ikWAM", "A" * 20
GONE: Final = "G" * 20
HANGS: Final = "H" * 20
OWN_KEY = "sk_own_0123456789abcdef"
MODEL = "eleven_flash_v2_5"
OF_ACCOUNTS = {ELEVENLABS_KEY: {GEORGE, RACHEL, GONE}, OWN_KEY: {GEORGE, MINE}}


async def vendor(line: Line) -> None:
    """Answer reads of voices by the account of their key; for one voice, never."""
    while True:
        request = await line.read()
        voice = request.path.rpartition("/")[2]
        if voice == HANGS:
            await line.read_all()
            return
        if voice in OF_ACCOUNTS[request.key]:
            await line.answer(200, {"voice_id": voice})
        else:
            await line.answer(404, {"detail": {"code": "voice_not_found"}})


@dataclass(frozen=True, slots=True, kw_only=True)
class Voiced:
    """An API, and the vendor that it reads voices from."""

    api: Api
    vendor: Wire


@pytest.fixture(scope="module")
async def voiced(
    postgres_server: PostgresServer, template_database: str, temporal_address: str
) -> AsyncGenerator[Voiced]:
    async with (
        new_database(postgres_server, template_database) as database,
        serving(vendor) as wire,
        running_api(
            api_settings(database, temporal_address).model_copy(
                update={
                    "elevenlabs_api_key": SecretStr(ELEVENLABS_KEY),
                    "elevenlabs_base_url": f"{wire.url}/elevenlabs",
                }
            )
        ) as api,
    ):
        yield Voiced(api=api, vendor=wire)


@pytest.fixture
async def user(voiced: Voiced) -> AsyncGenerator[TestUser]:
    user = await voiced.api.new_user()
    async with user.http:
        yield user


async def _status(user: TestUser, voice: str, **more: Any) -> int:
    body = {"text": "A boat.", "model": MODEL, "voice": voice, **more}
    return (await user.http.post("/api/generate-audio", json=body)).status_code


@pytest.mark.parametrize("route", ["generate-audio", "quotes/generate-audio"])
async def test_unknown_voice_is_refused_with_the_other_errors(user: TestUser, route: str) -> None:
    body = {"text": "A boat.", "model": MODEL, "voice": MINE, "speed": 9}

    refused = await user.http.post(f"/api/{route}", json=body)

    assert refused.status_code == 422, refused.text
    errors = {error["field"]: error["detail"] for error in refused.json()["errors"]}
    assert sorted(errors) == ["speed", "voice"]
    assert MINE in errors["voice"]
    assert (await user.http.get("/api/executions")).json()["data"] == []


async def test_voices_of_every_step_and_model_are_checked(voiced: Voiced, user: TestUser) -> None:
    def step(name: str, voice: str, *models: str) -> dict[str, Any]:
        params = {"text": "A boat.", "voice": voice}
        return {"name": name, "kind": "audio", "models": models, "params": params}

    steps = [
        step("one", RACHEL, MODEL),
        step("two", MINE, "fal-ai/elevenlabs/tts/turbo-v2.5", MODEL),
        step("three", MINE, "fal-ai/elevenlabs/tts/turbo-v2.5", "elevenlabs/v3"),
    ]
    plan = {"version": 1, "steps": steps, "result": "one"}

    refused = await user.http.post("/api/executions", json={"plan": plan})

    fields = [error["field"] for error in refused.json()["errors"]]
    assert "plan/steps/1/params/voice" in fields
    assert not {"plan/steps/0/params/voice", "plan/steps/2/params/voice"} & {*fields}


async def test_known_voice_is_read_once(voiced: Voiced, user: TestUser) -> None:
    assert [await _status(user, GEORGE), await _status(user, GEORGE)] == [202, 202]

    reads = [one for one in voiced.vendor.received if one.path.endswith(GEORGE)]
    assert [(one.method, one.key) for one in reads] == [("GET", ELEVENLABS_KEY)]


async def test_voices_are_those_of_the_users_own_key(voiced: Voiced, user: TestUser) -> None:
    async with voiced.api.database.as_user(user.user_id) as conn:
        await put_key(conn, voiced.api.services.secrets, user.user_id, "elevenlabs", OWN_KEY)

    assert [await _status(user, MINE), await _status(user, RACHEL)] == [202, 422]
    assert {one.key for one in voiced.vendor.received if one.path.endswith(RACHEL)} >= {OWN_KEY}


async def test_read_that_fails_decides_nothing(
    voiced: Voiced, user: TestUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voices, "READ_SECONDS", 0.2)

    assert await _status(user, HANGS) == 202
    assert any(one.path.endswith(HANGS) for one in voiced.vendor.received)


async def test_repeated_order_is_answered_without_its_voice(
    voiced: Voiced, user: TestUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The voice may be gone from the account since the order was accepted."""
    monkeypatch.setattr(adapter, "VOICE_KEPT_SECONDS", 0)
    body = {"text": "A boat.", "model": MODEL, "voice": GONE}
    key = {"Idempotency-Key": "once"}
    first = await user.http.post("/api/generate-audio", json=body, headers=key)
    monkeypatch.setitem(OF_ACCOUNTS, ELEVENLABS_KEY, set[str]())

    again = await user.http.post("/api/generate-audio", json=body, headers=key)

    assert (again.status_code, again.json()) == (202, first.json())
    assert await _status(user, GONE) == 422
