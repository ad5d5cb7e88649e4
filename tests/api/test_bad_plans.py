"""Each kind of invalid plan: the place, the code and the sentence, and nothing bought or stored."""

from typing import Any, Final

import pytest

from core.ordering.errors import FaultCode
from tests.api.conftest import Api, TestUser

FLUX: Final = "fal-ai/flux/schnell"
SPEECH: Final = "fal-ai/elevenlabs/tts/turbo-v2.5"
TABLES: Final = ("executions", "jobs", "charges", "assets", "ledger_entries")
ROWS: Final = "(SELECT count(*) FROM {})"
Step = dict[str, Any]


def step(name: str, kind: str, model: str | None = None, **params: Any) -> Step:
    return {"name": name, "kind": kind, "params": params} | ({"model": model} if model else {})


def captions(**params: Any) -> Step:
    return step("subs", "captions", video={"step": "clip"}, **params)


def merge(*items: Any, **params: Any) -> Step:
    return step("film", "merge", items=list(items), **params)


PICTURE: Final = step("picture", "image", prompt="a kite")
CLIP: Final = step("clip", "video", prompt="it dances", image={"step": "picture"}, duration=5)
VOICE: Final = step("voice", "audio", SPEECH, text="The wind.")
AT: Final = "plan/steps/2/params"
WORDS: Final = [{"text": "wind", "start": 0, "end": 1}]
CASES: Final[dict[str, tuple[list[Step], str, FaultCode, str]]] = {
    "name of another step": ([PICTURE], "plan/steps/2/name", FaultCode.DUPLICATE_NAME, "picture"),
    "unknown step": (
        [step("x", "poster", source={"step": "clipp"})],
        f"{AT}/source",
        FaultCode.UNKNOWN_STEP,
        "did you mean 'clip'?",
    ),
    "unknown need": (
        [step("x", "poster", source={"step": "clip"}) | {"needs": ["voice"]}],
        "plan/steps/2/needs",
        FaultCode.UNKNOWN_STEP,
        "'voice'",
    ),
    "unknown output": (
        [step("x", "poster", source={"step": "clip", "output": "srt"})],
        f"{AT}/source",
        FaultCode.UNKNOWN_OUTPUT,
        "'clip' does not have",
    ),
    "circle": (
        [
            step("x", "reframe", source={"step": "y"}, aspectRatio="1:1"),
            step("y", "reframe", source={"step": "x"}, aspectRatio="1:1"),
        ],
        "plan/steps/2/needs",
        FaultCode.CYCLE,
        "x → y → x",
    ),
    "itself": (
        [step("x", "reframe", source={"step": "x"}, aspectRatio="1:1")],
        "plan/steps/2/needs",
        FaultCode.CYCLE,
        "x → x",
    ),
    "file of another kind": (
        [step("x", "captions", video={"step": "picture"}, words=WORDS)],
        f"{AT}/video",
        FaultCode.WRONG_MEDIA,
        "must be a video, not an image",
    ),
    "model of another kind": (
        [step("x", "image", "bytedance/seedance-1-pro", prompt="x")],
        "plan/steps/2/model",
        FaultCode.WRONG_MODEL_KIND,
        "is of kind video",
    ),
    "unknown model": (
        [step("x", "image", "flux", prompt="x")],
        "plan/steps/2/model",
        FaultCode.UNKNOWN_MODEL,
        "not a model",
    ),
    "value that is no choice": (
        [step("x", "video", prompt="x", image={"step": "picture"}, duration=15)],
        f"{AT}/duration",
        FaultCode.NOT_SUPPORTED,
        "2, 3, 4",
    ),
    "value out of its range": (
        [step("x", "audio", SPEECH, text="x", speed=3)],
        f"{AT}/speed",
        FaultCode.OUT_OF_RANGE,
        "0.7 to 1.2",
    ),
    "missing value": (
        [step("x", "image", FLUX)],
        f"{AT}/prompt",
        FaultCode.MISSING,
        "is required",
    ),
    "unknown parameter": (
        [step("x", "image", FLUX, prompt="x", style="oil")],
        f"{AT}/style",
        FaultCode.UNKNOWN_FIELD,
        "which takes prompt",
    ),
    "long text": (
        [step("x", "audio", SPEECH, text="x" * 10_001)],
        f"{AT}/text",
        FaultCode.TOO_LONG,
        "10001 characters",
    ),
    "unused paid step": ([VOICE], "plan/steps/2", FaultCode.UNUSED_STEP, "up to 0.00045 USD"),
    "many steps": (
        [{**PICTURE, "name": f"p{number}"} for number in range(49)],
        "plan/steps",
        FaultCode.TOO_MANY_STEPS,
        "at most 50",
    ),
    "long film": (
        [merge(*({"media": {"step": "clip"}, "duration": 90} for _ in range(11)))],
        AT,
        FaultCode.OUTPUT_TOO_LONG,
        "990 s; the longest output is 900 s",
    ),
    "empty list of items": ([merge()], f"{AT}/items", FaultCode.INVALID, "at least 1"),
    "empty list of words": ([captions(words=[])], f"{AT}/words", FaultCode.INVALID, "one word"),
    "empty timeline": (
        [step("x", "layers", items=[{"timeline": []}])],
        f"{AT}/items/0/timeline",
        FaultCode.INVALID,
        "at least 1",
    ),
    "captions without words": ([captions()], f"{AT}/words", FaultCode.MISSING, "is missing"),
    "captions of nothing": (
        [captions(words=WORDS, burn=False, sidecar=[])],
        AT,
        FaultCode.INVALID,
        "burn must be true",
    ),
    "negative offset of a clip": (
        [merge({"media": {"step": "clip"}, "offset": -1})],
        f"{AT}/items/0/offset",
        FaultCode.INVALID,
        "is for sounds",
    ),
    "offset before the beginning": (
        [merge({"media": {"step": "clip"}, "offset": -901})],
        f"{AT}/items/0/offset",
        FaultCode.OUT_OF_RANGE,
        "-900",
    ),
    "negative start": (
        [step("x", "trim", source={"step": "clip"}, start=-1)],
        f"{AT}/start",
        FaultCode.OUT_OF_RANGE,
        "greater than or equal to 0",
    ),
    "end before the start": (
        [step("x", "trim", source={"step": "clip"}, start=2, end=1)],
        AT,
        FaultCode.INVALID,
        "start",
    ),
    "start after the end of the file": (
        [step("x", "trim", source={"step": "clip"}, start=90)],
        f"{AT}/start",
        FaultCode.INVALID,
        "s",
    ),
    "address of another scheme": (
        [step("x", "poster", source={"url": "file:///etc/passwd"})],
        f"{AT}/source",
        FaultCode.INVALID,
        "http",
    ),
    "optional file outside a list": (
        [step("x", "poster", source={"step": "clip", "optional": True})],
        f"{AT}/source",
        FaultCode.INVALID,
        "only an item of a list",
    ),
}


def body(steps: list[Step]) -> dict[str, Any]:
    return {"plan": {"version": 1, "steps": [PICTURE, CLIP, *steps], "result": "clip"}}


@pytest.mark.parametrize("name", CASES)
async def test_invalid_plan_has_a_place_and_buys_nothing(
    shared_api: Api, api_once: TestUser, name: str
) -> None:
    steps, field, code, sentence = CASES[name]
    answer = await api_once.http.post("/api/executions", json=body(steps))
    assert answer.status_code == 422, answer.text
    errors = {error["field"]: error for error in answer.json()["errors"]}
    assert field in errors, errors
    assert (errors[field]["code"], errors[field]["pointer"]) == (code, f"/{field}")
    assert sentence in errors[field]["detail"]
    quoted = await api_once.http.post("/api/quotes/executions", json=body(steps))
    assert quoted.json()["errors"] == answer.json()["errors"]
    async with shared_api.database.as_system() as conn:
        assert await conn.fetchval(f"SELECT {' + '.join(map(ROWS.format, TABLES))}") == 0


def test_every_code_of_a_plan_has_a_case() -> None:
    """Those of stored files, of the price book, of variables and templates are tested with them."""
    elsewhere = {
        FaultCode.UNKNOWN_ASSET,
        FaultCode.UNPRICED,
        FaultCode.UNKNOWN_VARIABLE,
        FaultCode.UNUSED_VARIABLE,
        FaultCode.UNKNOWN_TEMPLATE,
    }
    assert {code for _, _, code, _ in CASES.values()} == set(FaultCode) - elsewhere


async def test_unused_media_step_is_a_warning(api_once: TestUser) -> None:
    cover = step("cover", "poster", source={"step": "clip"})
    quote = (await api_once.http.post("/api/quotes/executions", json=body([cover]))).json()
    (warning,) = quote["warnings"]
    assert (warning["pointer"], warning["code"]) == ("/plan/steps/2", "unused_step")
    used = body([cover])
    used["plan"]["outputs"] = {"cover": {"step": "cover"}}
    quote = (await api_once.http.post("/api/quotes/executions", json=used)).json()
    assert quote["warnings"] == []


async def test_expensive_plan_names_both_amounts(api_once: TestUser) -> None:
    answer = await api_once.http.post("/api/executions", json={**body([]), "maxCost": "0.1"})
    assert (answer.status_code, answer.json()["code"]) == (402, "max_cost_exceeded")
    assert "0.1 USD" in answer.json()["detail"]
    assert "0.303 USD" in answer.json()["detail"]
