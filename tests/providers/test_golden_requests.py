"""Requests and prices of the first models stay as they were when each had functions of its own."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.domain.messages.jobs import JobReport
from core.domain.states import JobState
from core.providers.models import Model, inputs_from_json, inputs_to_json
from core.providers.port import Provider
from core.providers.registry import Providers
from tests.providers.wire import OFFLINE, settings

GOLDEN = Path(__file__).parent / "golden" / "first_models.jsonl"
CALLBACK_URL = "https://us.example/callbacks/x/token"
LINES: list[dict[str, Any]] = [
    json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()
]


async def found(model_id: str) -> tuple[Provider, Model]:
    async with Providers.open(settings(OFFLINE)) as providers:
        pair = providers.find_model(model_id)
    assert pair is not None
    return pair


@pytest.mark.parametrize("model_id", sorted({line["model"] for line in LINES}))
async def test_stored_inputs_give_the_same_request_and_price(model_id: str) -> None:
    """The inputs are in the form in which earlier versions stored them with a send."""
    provider, model = await found(model_id)
    lines = [line for line in LINES if line["model"] == model_id]
    assert len(lines) > 8
    for line in lines:
        inputs = inputs_from_json(line["inputs"])
        request = provider.create_request(model, inputs, CALLBACK_URL)
        assert (request.url, dict(request.headers)) == (line["url"], line["headers"])
        assert json.dumps(request.body) == line["body"]
        quote = provider.quote(model, inputs)
        assert [
            quote.low_nano_usd,
            quote.expected_nano_usd,
            quote.worst_nano_usd,
        ] == line["quote"], line
        cost = provider.cost(model, inputs, JobReport(state=JobState.COMPLETED, charged=True))
        assert [cost.nano_usd, cost.basis] == line["cost"]


def test_inputs_are_stored_in_the_form_of_earlier_versions() -> None:
    """A worker of the previous version can settle a send of this one, without nulls."""
    for line in LINES:
        plain = line["inputs"]
        assert inputs_to_json(inputs_from_json(plain)) == {
            name: value for name, value in plain.items() if value is not None
        }


@pytest.mark.parametrize(
    "broken", [{"prompt": ["x"]}, {"image": {"url": "x"}}, {"image_url": 1.5j}]
)
def test_malformed_inputs_are_rejected(broken: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        inputs_from_json(broken)
