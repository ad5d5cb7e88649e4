"""What an operator sets for /v1: other names of models, and how long files are kept."""

from collections.abc import AsyncGenerator
from datetime import timedelta

import httpx
import pytest

from api.openai.models import checked_aliases
from core.domain.states import ExecutionStatus
from core.platform.settings.api import FileRetentionSettings, OpenAISettings
from tests.api.conftest import Api, TestUser, api_settings, running_api
from tests.support.changes import finish
from tests.support.rows import accept, new_execution
from tests.support.servers import PostgresServer, new_database

MODEL = "fal-ai/veo3.1/lite"
ALIASES = (("sora-2", MODEL), ("sora-2-pro", "wan-video/wan-2.2-t2v-fast"))
DAYS = 30


@pytest.fixture(scope="module")
async def shared_api(
    postgres_server: PostgresServer, template_database: str, temporal_address: str
) -> AsyncGenerator[Api]:
    """Yield an API with these settings."""
    async with new_database(postgres_server, template_database) as database:
        settings = api_settings(database, temporal_address).model_copy(
            update={
                "openai_model_aliases": ALIASES,
                "retention_days_executions": DAYS + 1,
                "retention_days_files": DAYS,
            }
        )
        async with running_api(settings) as api:
            yield api


async def order(user: TestUser, **body: str) -> httpx.Response:
    return await user.http.post("/v1/videos", json={"prompt": "a kite", **body})


async def test_an_alias_orders_its_model_and_the_answer_names_that(api_once: TestUser) -> None:
    answer = await order(api_once, model="sora-2", seconds="8", size="1280x720")
    assert answer.status_code == 200, answer.text
    video = answer.json()
    assert (video["model"], video["seconds"], video["size"]) == (MODEL, "8", "1280x720")
    execution = (await api_once.http.get(f"/api/executions/{video['id']}")).json()
    assert execution["jobs"][-1]["model"] == MODEL


async def test_a_model_without_pictures_has_aliases_too(api_once: TestUser) -> None:
    answer = await order(api_once, model="sora-2-pro")
    assert answer.json()["model"] == "wan-video/wan-2.2-t2v-fast", answer.text


async def test_a_name_that_is_no_alias_is_refused(api_once: TestUser) -> None:
    answer = await order(api_once, model="sora-3")
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "model")
    assert error["code"] == "model_not_found"
    assert error["message"].endswith(", sora-2, sora-2-pro."), "what is allowed"
    assert "wan-video/wan-2.2-t2v-fast" in error["message"], "also models that take no picture"
    answer = await api_once.http.post(
        "/api/generate-video", json={"prompt": "a kite", "videoModel": "sora-2"}
    )
    assert answer.status_code == 422, "aliases are names of /v1 alone"


async def test_models_list_aliases_last(api_once: TestUser) -> None:
    models = (await api_once.http.get("/v1/models")).json()["data"]
    assert [model["id"] for model in models[-2:]] == ["sora-2", "sora-2-pro"]
    assert models[-2]["alias_of"] == MODEL
    assert all(model["alias_of"] is None for model in models[:-2])


@pytest.mark.parametrize("name", ["sora-2", MODEL, MODEL.replace("/", "%2F")])
async def test_a_model_is_found_by_its_name(api_once: TestUser, name: str) -> None:
    answer = await api_once.http.get(f"/v1/models/{name}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["id"] == name.replace("%2F", "/")
    assert (answer.json()["object"], answer.json()["owned_by"]) == ("model", "fal")


async def test_an_unknown_model_is_not_found(api_once: TestUser) -> None:
    answer = await api_once.http.get("/v1/models/sora-3")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("aliases", "words"),
    [
        ({MODEL: "wan-video/wan-2.2-t2v-fast"}, "name of a model"),
        ({"sora-2": "seedance"}, "no video model.*bytedance/seedance-1-pro"),
        ({"sora-2": "black-forest-labs/flux-schnell"}, "no video model"),
    ],
)
async def test_api_refuses_to_start_with_a_wrong_alias(
    shared_api: Api, aliases: dict[str, str], words: str
) -> None:
    with pytest.raises(ValueError, match=f"OPENAI_MODEL_ALIASES: .*{words}"):
        checked_aliases(aliases, shared_api.services.providers)


def test_aliases_are_read_from_a_list() -> None:
    settings = OpenAISettings.model_validate({"openai_model_aliases": " a = b/c , d=e,"})
    assert settings.openai_model_aliases == (("a", "b/c"), ("d", "e"))


@pytest.mark.parametrize("text", ["sora-2", "sora-2=", "=b", "a=b,a=c"])
def test_aliases_in_another_form_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NAME=MODEL"):
        OpenAISettings.model_validate({"openai_model_aliases": text})


@pytest.mark.parametrize(
    ("executions", "files", "kept"), [(None, None, None), (9, None, 9), (None, 8, 8), (7, 8, 7)]
)
def test_files_are_kept_for_the_shorter_time(
    executions: int | None, files: int | None, kept: int | None
) -> None:
    settings = FileRetentionSettings(
        retention_days_executions=executions, retention_days_files=files
    )
    assert settings.files_kept_days == kept


async def test_a_completed_video_expires_with_its_file(shared_api: Api, api_once: TestUser) -> None:
    one = await accept(shared_api.database, new_execution(api_once.user_id))
    path = f"/v1/videos/{one.execution_id}"
    assert (await api_once.http.get(path)).json()["expires_at"] is None, "it has not ended"
    await finish(shared_api.database, one.ref, ExecutionStatus.COMPLETED)
    video = (await api_once.http.get(path)).json()
    lifetime = video["expires_at"] - video["completed_at"]
    assert lifetime == timedelta(days=DAYS).total_seconds()


async def test_a_failed_video_has_no_file_that_expires(shared_api: Api, api_once: TestUser) -> None:
    one = await accept(shared_api.database, new_execution(api_once.user_id))
    await finish(shared_api.database, one.ref, ExecutionStatus.FAILED)
    assert (await api_once.http.get(f"/v1/videos/{one.execution_id}")).json()["expires_at"] is None
