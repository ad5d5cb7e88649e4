"""Steps of plans as they are read: the operation's parameters, and the path of each error."""

from typing import Any, cast

import pytest
from pydantic import TypeAdapter, ValidationError

from api.http.problems.documents import validation_problem
from api.orders.plan_steps import MediaStep, PaidStep, step_type
from core.domain.ids import new_asset_id
from core.domain.plans import AssetSource, OnFailure, OperationKind, StepOutput
from core.ordering.assets.sources import UrlSource
from tests.support.operations import JOIN, STILL

_TYPE: Any = step_type({JOIN.kind: JOIN, STILL.kind: STILL})
STEP: TypeAdapter[PaidStep | MediaStep] = TypeAdapter(_TYPE)
STEPS: TypeAdapter[list[PaidStep | MediaStep]] = TypeAdapter(list[_TYPE])  # pyright: ignore[reportInvalidTypeForm] - not static
ITEMS: list[Any] = [
    {"media": {"step": "clip", "optional": True}},
    {"media": {"step": "voice", "output": "audio"}, "volume": 0.5},
    {"media": "https://example.com/music.mp3"},
]


def read(**changes: Any) -> PaidStep | MediaStep:
    film = {"name": "film", "kind": "merge", "params": {"items": ITEMS}, **changes}
    return STEP.validate_python(film)


def problems(*steps: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the errors of these steps by their pointers."""
    body = {"plan": {"steps": list(steps)}}
    with pytest.raises(ValidationError) as raised:
        STEPS.validate_python(list(steps))
    place = ("body", "plan", "steps")
    found = [{**each, "loc": (*place, *each["loc"])} for each in raised.value.errors()]
    errors = cast("list[dict[str, Any]]", validation_problem(found, body).members["errors"])
    return {error["pointer"]: error for error in errors}


def test_media_step_names_its_files_by_their_pointers() -> None:
    step = read(onFailure="continue", needs=["cover"])
    request, files = step.step_request(3), step.files(3)

    path = "plan/steps/3/params/"
    assert files == {
        f"{path}items/0/media": StepOutput(step="clip"),
        f"{path}items/1/media": StepOutput(step="voice"),
        f"{path}items/2/media": UrlSource(url="https://example.com/music.mp3"),
    }
    assert (request.kind, request.field_prefix) == (OperationKind.MERGE, path)
    assert request.named == {"items/1/media": "audio"}
    assert request.optional == {"items/0/media"}
    assert (request.needs, request.on_failure) == (("cover",), OnFailure.CONTINUE)
    assert list(step.faults(3)) == []


def test_files_that_cannot_exist_are_named_by_their_pointers() -> None:
    asset = new_asset_id()
    step = read(
        params={
            "items": [
                {"media": {"asset": "asset_\0"}},
                {"media": "ftp://example.com/a.mp4"},
                {"media": {"asset": asset}},
            ]
        }
    )
    assert [fault.field for fault in step.faults(0)] == [
        "plan/steps/0/params/items/0/media",
        "plan/steps/0/params/items/1/media",
    ]
    assert read(params={"items": [{"media": {"asset": asset}}]}).files(0) == {
        "plan/steps/0/params/items/0/media": AssetSource(asset=asset)
    }


def test_every_error_of_form_has_a_pointer_and_a_code() -> None:
    found = problems(
        {"name": "film", "kind": "merge", "params": {"items": [{"media": {}}, {"volume": 3}]}},
        {
            "name": "cover",
            "kind": "poster",
            "params": {"at": -1, "source": {"step": "film"}, "x": 1},
        },
        {"name": "Empty", "kind": "merge", "params": {"items": []}, "onFailure": "wait"},
        {"name": "other", "kind": "film", "params": {}},
        {"name": "model", "kind": "poster", "params": {"source": {"step": "film"}}, "model": "m"},
        {"kind": "image", "params": {"image": {"step": "film", "output": 51}}},
    )
    assert {pointer: error["code"] for pointer, error in found.items()} == {
        "/plan/steps/0/params/items/0/media": "invalid",
        "/plan/steps/0/params/items/1/media": "missing",
        "/plan/steps/0/params/items/1/volume": "out_of_range",
        "/plan/steps/1/params/at": "out_of_range",
        "/plan/steps/1/params/x": "unknown_field",
        "/plan/steps/2/name": "invalid",
        "/plan/steps/2/params/items": "invalid",
        "/plan/steps/2/onFailure": "not_supported",
        "/plan/steps/3/kind": "invalid",
        "/plan/steps/4/model": "unknown_field",
        "/plan/steps/5/name": "missing",
        "/plan/steps/5/params/image": "invalid",
    }
    assert found["/plan/steps/2/onFailure"]["allowed"] == ["stop", "continue"]
    assert "transcript" in found["/plan/steps/3/kind"]["detail"]


@pytest.mark.parametrize("volume", ["1", True, " 0.5 "])
def test_value_of_a_wrong_type_is_not_converted(volume: object) -> None:
    params = {"items": [ITEMS[0], {**ITEMS[0], "volume": volume}]}
    found = problems({"name": "film", "kind": "merge", "params": params})
    assert "items/1/volume has a value of a wrong type" in found["/plan/steps/0/params"]["detail"]


def test_paid_step_uses_outputs_by_name_or_number() -> None:
    step = read(
        kind="lip-sync",
        params={"source": {"step": "clip", "output": 1}, "audio": {"step": "v", "output": "audio"}},
    )
    assert step.files(0) == {
        "plan/steps/0/params/source": StepOutput(step="clip", output=1),
        "plan/steps/0/params/audio": StepOutput(step="v"),
    }
    assert step.step_request(0).named == {"audio": "audio"}
