"""Plans that use files again: what their quotes expect, and what their answers say was saved."""

from dataclasses import replace
from typing import Any

from core.domain.ids import ExecutionId
from core.domain.media.content import MediaKind
from core.domain.messages.jobs import JobRef, JobReport, Output
from core.domain.money import nano_usd
from core.domain.plans import parameters_from_json
from core.domain.states import JobState
from core.providers.content_key import purchase_key
from core.store.files.assets import insert_asset
from core.store.jobs.reports import report_to_json
from tests.api.conftest import Api, TestUser
from tests.support.media_rows import asset_of_job

SPEECH = "fal-ai/kokoro/american-english"
VOICE: dict[str, Any] = {
    "name": "voice",
    "kind": "audio",
    "model": SPEECH,
    "params": {"text": "A paper boat sets sail."},
}
WORDS: dict[str, Any] = {
    "name": "words",
    "kind": "transcript",
    "params": {"source": {"step": "voice"}},
}
PICTURE: dict[str, Any] = {
    "name": "picture",
    "kind": "image",
    "model": "fal-ai/flux/schnell",
    "params": {"prompt": "a kite", "seed": 7},
}


def _body(**voice: Any) -> dict[str, Any]:
    return {
        "plan": {
            "version": 1,
            "steps": [{**VOICE, **voice}, WORDS, PICTURE],
            "result": "words",
            "outputs": {"picture": {"step": "picture"}},
        }
    }


async def _reuse(user: TestUser, body: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the reuse of each step by the quote of a plan, and the quote."""
    answer = await user.http.post("/api/quotes", json=body)
    assert answer.status_code == 200, answer.text
    quote: dict[str, Any] = answer.json()
    return {job["step"]: job["reuse"] for job in quote["jobs"]}, quote


async def _complete_voice(api: Api, user: TestUser, execution_id: ExecutionId) -> None:
    """Complete the speech of an execution, as if it had been bought and stored."""
    pair = api.services.providers.find_model(SPEECH)
    assert pair is not None
    provider, model = pair
    async with api.database.as_user(user.user_id) as conn:
        row = await conn.fetchrow(
            "SELECT j.job_id, s.parameters FROM jobs AS j JOIN steps AS s ON s.execution_id = j.execution_id"
            " AND s.name = j.step_name WHERE j.execution_id = $1 AND s.name = 'voice'",
            execution_id,
        )
        assert row is not None
        values = parameters_from_json(row["parameters"]).values
        ref = JobRef(
            user_id=user.user_id, execution_id=execution_id, job_id=row["job_id"], generation=1
        )
        report = JobReport(
            state=JobState.COMPLETED, outputs=(Output(url="", kind=MediaKind.AUDIO),)
        )
        await conn.execute(
            "UPDATE jobs SET state = 'completed', content_key = $2, report = $3, saved_nano_usd = 5000000"
            " WHERE job_id = $1",
            ref.job_id,
            purchase_key(user.user_id, provider.name, model, values, {}),
            report_to_json(report),
        )
        await insert_asset(conn, replace(asset_of_job(ref), kind=MediaKind.AUDIO))


async def test_quote_names_the_steps_that_reuse_files(api: Api, user: TestUser) -> None:
    reuse, first = await _reuse(user, _body())
    assert reuse == {"voice": "no", "words": "unknown", "picture": "no"}
    accepted = (await user.http.post("/api/executions", json=_body())).json()
    await _complete_voice(api, user, ExecutionId(accepted["executionId"]))

    reuse, quote = await _reuse(user, _body())
    assert reuse == {"voice": "yes", "words": "no", "picture": "no"}
    voice, before = quote["jobs"][0], first["jobs"][0]
    assert (voice["low"], voice["expected"], voice["worst"]) == ("0", "0", before["worst"])
    assert nano_usd(quote["expected"]) == nano_usd(first["expected"]) - nano_usd(before["expected"])
    assert quote["worst"] == first["worst"]
    for changed in ({"reuse": False}, {"params": {"text": "Another text."}}):
        assert (await _reuse(user, _body(**changed)))[0]["voice"] == "no"
    stranger = await api.new_user()
    async with stranger.http:
        assert (await _reuse(stranger, _body()))[0]["voice"] == "no"

    seen = (await user.http.get(accepted["statusUrl"])).json()
    saved = {job["step"]: job["cost"]["saved"] for job in seen["jobs"]}
    assert saved == {"voice": "0.005", "words": "0", "picture": "0"}
    assert seen["cost"]["saved"] == "0.005"


async def test_pictures_are_reused_only_with_a_seed(api_once: TestUser) -> None:
    unseeded = {**PICTURE, "params": {"prompt": "a kite"}, "reuse": True}
    body = {"plan": {"version": 1, "steps": [unseeded]}}
    answer = await api_once.http.post("/api/executions", json=body)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["field"], error["code"]) == (
        422,
        "plan/steps/0/reuse",
        "missing",
    )
    seeded = {"plan": {"version": 1, "steps": [{**PICTURE, "reuse": True}]}}
    assert (await _reuse(api_once, seeded))[0] == {"picture": "no"}
