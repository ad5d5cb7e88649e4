"""POST /api/plans/import: plans of the Synthome SDK become valid plans, or are refused whole."""

import logging
from collections.abc import AsyncGenerator
from copy import deepcopy
from typing import Any

import pytest
from pydantic import SecretStr

from core.ordering.importing.synthome import OPERATIONS
from tests.api import synthome_plans as plans
from tests.api.conftest import Api, TestUser, api_settings, running_api
from tests.api.synthome_plans import FILES, SCRIBE, WHISPER, clip, job, picture, plan
from tests.providers.wire import ELEVENLABS_KEY
from tests.support.servers import PostgresServer, new_database

IMPORT = "/api/plans/import"


@pytest.fixture(scope="module")
async def shared_api(
    postgres_server: PostgresServer, template_database: str, temporal_address: str
) -> AsyncGenerator[Api]:
    """Yield an API that also offers the speech of Synthome's plans."""
    async with new_database(postgres_server, template_database) as database:
        settings = api_settings(database, temporal_address).model_copy(
            update={
                "elevenlabs_api_key": SecretStr(ELEVENLABS_KEY),
                "elevenlabs_base_url": "http://127.0.0.1:9",
            }
        )
        async with running_api(settings) as api:
            yield api


async def imported(user: TestUser, synthome: Any, **more: Any) -> dict[str, Any]:
    """Return the answer, whose plan is valid as it is."""
    answer = await user.http.post(IMPORT, json={"synthome": synthome, **more})
    assert answer.status_code == 200, answer.text
    quoted = await user.http.post("/api/quotes/executions", json={"plan": answer.json()["plan"]})
    assert quoted.status_code == 200, quoted.text
    return answer.json()


async def refused(user: TestUser, synthome: Any, **more: Any) -> dict[str, dict[str, Any]]:
    """Return the errors by pointer."""
    answer = await user.http.post(IMPORT, json={"synthome": synthome, **more})
    assert answer.status_code == 422, answer.text
    return {error["pointer"]: error for error in answer.json()["errors"]}


def step(answer: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in answer["plan"]["steps"] if each["name"] == name)


def noted(answer: dict[str, Any]) -> dict[str, str]:
    return {note["pointer"]: note["code"] for note in answer["notes"]}


@pytest.mark.parametrize("name", plans.IMPORTED)
async def test_plans_of_the_sdk_become_valid_plans(api_once: TestUser, name: str) -> None:
    answer = await imported(api_once, plans.IMPORTED[name])
    assert {"name", "kind", "params"} <= answer["plan"]["steps"][0].keys()


def test_every_operation_has_a_plan() -> None:
    used = {
        each["type"]
        for made in (*plans.IMPORTED.values(), plans.TRANSCRIBED)
        for each in made["jobs"]
    }
    assert used == set(OPERATIONS)


async def test_markers_become_references_and_dependencies_needs(api_once: TestUser) -> None:
    answer = await imported(api_once, plans.CLIP_OF_A_PICTURE)
    made = step(answer, "job1")
    assert made == {
        "name": "job1",
        "kind": "video",
        "model": plans.SEEDANCE,
        "provider": "replicate",
        "params": {
            "prompt": "fog drifts",
            "duration": 5,
            "image": {"step": "job2"},
            "resolution": "720p",
        },
    }
    assert noted(answer) == {"/synthome/jobs/0/params/sendJobWebhook": "ignored"}
    assert answer["plan"]["result"] == "job1"

    chained = await imported(api_once, plans.LIPS)
    assert step(chained, "job2")["needs"] == ["job1"]
    assert noted(chained) == {
        "/synthome/jobs/0/params/modelId": "renamed",
        "/synthome/jobs/1/dependsOn/0": "order_kept",
        "/synthome/jobs/2/dependsOn/0": "source_chosen",
    }


async def test_merge_keeps_volumes_offsets_and_the_cut_sound(api_once: TestUser) -> None:
    answer = await imported(api_once, plans.SCENES)
    film = step(answer, "job1")["params"]
    assert film["fit"] == "cut"
    assert film["items"][0] == {"media": {"step": "job2"}, "volume": 0.3}
    assert film["items"][2] == {"media": {"url": f"{FILES}/title.png"}, "duration": 2}
    assert film["items"][3] == {"media": {"step": "job4"}, "type": "audio", "offset": 1.5}
    voice = step(answer, "job4")
    assert (voice["model"], voice["params"]["voice"]) == ("eleven_turbo_v2_5", plans.VOICE)
    assert step(answer, "job3")["params"]["cameraFixed"] is True


async def test_operations_inside_parameters_become_steps(api_once: TestUser) -> None:
    answer = await imported(api_once, plans.HEAD_BEFORE_OFFICE)
    head = step(answer, "job3")
    assert (head["kind"], head["params"]) == (
        "talking-head",
        {
            "resolution": "480p",
            "image": {"step": "job3-image"},
            "audio": {"step": "job3-audio"},
        },
    )
    assert step(answer, "job1")["params"]["items"][1]["chromaKeyColor"] == "0x00FF00"
    film = await imported(api_once, plans.NESTED_ITEMS)
    assert [each["name"] for each in film["plan"]["steps"]] == ["job1-video", "job1-image", "job1"]


async def test_placements_become_words_and_percentages(api_once: TestUser) -> None:
    answer = await imported(api_once, plans.LAYERS)
    params = step(answer, "job1")["params"]
    _, host, logo, map_, sequence, stamp, timeline = params["items"]
    assert params["items"][0] == {"media": {"url": f"{FILES}/screen.mp4"}, "main": True}
    assert host["placement"] == "w-1/4 bottom-right"
    assert (logo["placement"], map_["placement"]) == ("bottom-center", "w-1/2 h-1/2 top-left")
    assert (sequence["placement"], len(sequence["timeline"])) == ("full", 2)
    assert stamp["placement"] == {
        "width": "25%",
        "position": {"x": "100%", "y": 40},
        "padding": 20,
    }
    assert timeline["placement"] == "top"
    assert [part["duration"] for part in timeline["timeline"]] == [3, 2]
    assert set(noted(answer).values()) == {"changed"}


async def test_transcript_of_a_video_reads_its_sound(api_once: TestUser) -> None:
    answer = await imported(api_once, plans.TRANSCRIBED, models={WHISPER: SCRIBE})
    assert step(answer, "transcribe-sound")["params"] == {"source": {"step": "final-video"}}
    words = step(answer, "transcribe")
    assert (words["model"], words["params"]) == (SCRIBE, {"source": {"step": "transcribe-sound"}})
    style = step(answer, "subs")["params"]["style"]
    assert style == {"preset": "tiktok", "alignment": 2}
    errors = await refused(api_once, plans.TRANSCRIBED)
    model = errors["/synthome/jobs/1/params/modelId"]
    assert (model["code"], SCRIBE in model["allowed"]) == ("unknown_model", True)
    assert list(errors) == ["/synthome/jobs/1/params/modelId"]


async def test_unused_files_are_named_outputs(api_once: TestUser) -> None:
    answer = await imported(api_once, plans.UNMERGED)
    assert answer["plan"]["result"] == "job3"
    assert answer["plan"]["outputs"] == {"job1": {"step": "job1"}, "job2": {"step": "job2"}}


async def test_names_are_changed_to_valid_different_ones(api_once: TestUser) -> None:
    scenes = [clip("Scene_1", "a"), clip("scene-1", "b"), clip("7", "c"), clip("é" * 60, "d")]
    answer = await imported(api_once, plan(*scenes))
    names = [each["name"] for each in answer["plan"]["steps"]]
    assert names == ["scene-1", "scene-1-2", "step-7", "step"]


async def test_all_reasons_come_at_once_with_their_places(api_once: TestUser) -> None:
    made = plan(
        clip("job1", "", image="_audioJobDependency:job4", duration=40),
        job("job2", "stylize", "job9", strength=1),
        job("job3", "merge", items=[{"type": "video"}, {"url": "_jobDependency:nowhere"}]),
        picture("job4", "a", loras=["x"]),
        job("job5", "reframe", "job1", aspectRatio="2:1", zoom=2),
        job("job6", "layer", layers=[{"media": "ftp://x", "placement": {"width": "iw-20"}}]),
        job("job6", "addSubtitles", videoUrl=f"{FILES}/a.mp4", transcript=f"{FILES}/a.json"),
        job("job8", "generateAudio", modelId="hume/tts", text="Hm.", voice={"name": "Ava"}),
        job("job9", "generate", modelId=plans.SEEDANCE, prompt="x", image={"url": "x"}),
    )
    errors = await refused(api_once, made)
    assert {pointer: error["code"] for pointer, error in errors.items()} == {
        "/synthome/jobs/0/params/prompt": "out_of_range",
        "/synthome/jobs/0/params/duration": "not_supported",
        "/synthome/jobs/0/params/image": "wrong_media",
        "/synthome/jobs/1/type": "not_supported",
        "/synthome/jobs/2/params/items/0": "missing",
        "/synthome/jobs/2/params/items/1/url": "unknown_step",
        "/synthome/jobs/3/params/loras": "invalid",
        "/synthome/jobs/4/params/aspectRatio": "not_supported",
        "/synthome/jobs/4/params/zoom": "unknown_field",
        "/synthome/jobs/5/params/layers/0/placement/width": "not_supported",
        "/synthome/jobs/5/params/layers/0/media": "invalid",
        "/synthome/jobs/6/id": "duplicate_name",
        "/synthome/jobs/6/params/transcript": "not_supported",
        "/synthome/jobs/7/params/modelId": "unknown_model",
        "/synthome/jobs/7/params/voice": "invalid",
        "/synthome/jobs/8/params/image": "invalid",
    }


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/synthome"),
        ({"jobs": []}, "/synthome/jobs"),
        ({"jobs": {}}, "/synthome/jobs"),
        ({"jobs": [1]}, "/synthome/jobs/0"),
        ({"jobs": [{"type": "merge"}]}, "/synthome/jobs/0/id"),
        ({"jobs": [{**clip("a", "b"), "retry": 1}]}, "/synthome/jobs/0/retry"),
        (plan(*(clip(f"j{place}", "x") for place in range(51))), "/synthome/jobs"),
        (plan(clip("a", "b", image="$a")), "/synthome/jobs/0"),
        (plan({**clip("a", "b"), "dependsOn": ["a"]}), "/synthome/jobs/0/dependsOn/0"),
    ],
)
async def test_broken_frame_of_a_plan_is_refused(
    api_once: TestUser, body: dict[str, Any], pointer: str
) -> None:
    assert pointer in await refused(api_once, body)


async def test_more_reasons_than_an_answer_names_are_refused(api_once: TestUser) -> None:
    item = {"url": f"{FILES}/a.mp4", "type": "video", "volume": 9}
    films = [job(f"f{number}", "merge", items=[item] * 4) for number in range(20)]
    stamp = {"media": f"{FILES}/a.png", "placement": {"width": f"iw*{'9' * 5000}"}}
    errors = await refused(api_once, plan(job("l", "layer", layers=[stamp]), *films))
    assert len(errors) == 50


async def test_deep_plans_are_refused(api_once: TestUser) -> None:
    deep: Any = "x"
    for _ in range(60):
        deep = {"a": deep}
    errors = await refused(api_once, plan(clip("a", "b", deep=deep)))
    assert any("too deeply" in error["detail"] for error in errors.values())
    inner: Any = plans.nested(picture("", "x"))
    for _ in range(9):
        inner = {"type": "merge", "params": {"items": [{"operation": inner}]}}
    errors = await refused(api_once, {"jobs": [{**inner, "id": "a"}]})
    assert any("too deeply" in error["detail"] for error in errors.values())


async def test_import_writes_nothing(api: Api, user: TestUser) -> None:
    answer = await user.http.post(IMPORT, json={"synthome": plans.CHAINED})
    assert answer.status_code == 200, answer.text
    async with api.database.as_system() as conn:
        for table in ("executions", "steps", "jobs", "charges", "assets", "ledger_entries"):
            assert await conn.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    accepted = await user.http.post("/api/executions", json={"plan": answer.json()["plan"]})
    assert accepted.status_code == 202, accepted.text


@pytest.mark.guarantee("G6")
async def test_keys_in_a_plan_are_neither_returned_nor_logged(
    api_once: TestUser, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [f"secret-of-a-provider-{number}" for number in range(4)]
    made = deepcopy(plans.SCENES)
    made["jobs"][0]["params"]["apiKey"] = keys[0]
    made["jobs"][1]["params"]["model"] = {"modelId": "x", "options": {"apiKey": keys[1]}}
    options = {"providerApiKeys": {"fal": keys[2]}, "webhook": {"url": "u", "secret": keys[3]}}
    with caplog.at_level(logging.DEBUG):
        answer = await imported(api_once, {"executionPlan": made, "options": options})
        wrong = await api_once.http.post(
            IMPORT, json={"synthome": {**made, "jobs": [*made["jobs"], {"apiKey": keys[0]}]}}
        )
    assert wrong.status_code == 422
    pointers = [pointer for pointer, code in noted(answer).items() if code == "key_refused"]
    assert pointers == [
        "/synthome/executionPlan/jobs/0/params/apiKey",
        "/synthome/executionPlan/jobs/1/params/model/options/apiKey",
        "/synthome/options/providerApiKeys",
    ]
    captured = capsys.readouterr()
    everything = captured.out + captured.err + caplog.text + str(answer) + wrong.text
    assert [key for key in keys if key in everything] == []


@pytest.mark.parametrize("body", [plans.CHAINED, {"plan": plans.CHAINED}, {"executionPlan": {}}])
@pytest.mark.parametrize("path", ["/api/executions", "/api/quotes/executions"])
async def test_foreign_plan_is_sent_to_the_import(
    api_once: TestUser, path: str, body: dict[str, Any]
) -> None:
    answer = await api_once.http.post(path, json=body)
    assert answer.status_code == 422
    assert IMPORT in answer.json()["errors"][0]["detail"]
