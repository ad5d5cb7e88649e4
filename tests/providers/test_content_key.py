"""Content keys of purchases: equal for equal orders, whatever they are called."""

from dataclasses import replace

import pytest

from core.domain.ids import UserId
from core.domain.plans import Scalar, StepKind
from core.providers.content_key import purchase_key
from core.providers.models import Constant, Input, InputType, Model
from core.providers.registry import Providers
from tests.providers.wire import OFFLINE, settings

USER = UserId("usr_1")


@pytest.fixture
async def model() -> Model:
    async with Providers.open(settings(OFFLINE)) as providers:
        pair = providers.find_model("bytedance/seedance-1-pro")
    assert pair is not None
    return pair[1]


def key(
    model: Model,
    *,
    user_id: UserId = USER,
    provider: str = "replicate",
    files: dict[str, str] | None = None,
    **values: Scalar,
) -> str:
    return purchase_key(user_id, provider, model, {"prompt": "a kite", **values}, files or {})


def test_defaults_count_as_if_they_were_named(model: Model) -> None:
    defaults = {item.name: item.default for item in model.inputs if item.default is not None}
    assert defaults
    complete = purchase_key(USER, "replicate", model, {"prompt": "a kite", **defaults}, {})
    assert complete == key(model)


def test_every_difference_makes_another_key(model: Model) -> None:
    body = (*model.body, Constant("steps", 4))
    keys = [
        key(model),
        key(model, seed=1),
        key(model, seed=2),
        key(model, files={"image": "aa"}),
        key(model, files={"image": "bb"}),
        key(model, user_id=UserId("usr_2")),
        key(model, provider="fal"),
        key(replace(model, id="another")),
        key(replace(model, kind=StepKind.LIP_SYNC)),
        key(replace(model, body=body)),
    ]
    assert len(set(keys)) == len(keys)


def test_whole_numbers_count_in_one_form(model: Model) -> None:
    assert key(model, seed=1.0) == key(model, seed=1)
    assert key(model, seed=True) != key(model, seed=1)


def test_inputs_that_are_not_sent_do_not_count(model: Model) -> None:
    ratio = Input(name="ratio", field="ratio", type=InputType.TEXT, unless="image")
    changed = replace(model, body=(*model.body, ratio))
    files = {"image": "aa"}
    assert key(changed, ratio="16:9", files=files) == key(changed, ratio="1:1", files=files)
    assert key(changed, ratio="16:9") != key(changed, ratio="1:1")
