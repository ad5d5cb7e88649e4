"""The models file: what it offers, what it costs, and what is wrong in it."""

from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

from activities.registration import callback_urls
from core.domain.messages.jobs import JobReport
from core.domain.plans import StepKind
from core.domain.states import CostBasis, JobState
from core.platform.settings.base import SettingError
from core.platform.settings.processes import WorkerProcess
from core.platform.settings.providers import ProviderSettings
from core.providers.inputs import InputsError
from core.providers.registry import OWN_KEY_PROVIDERS, Providers
from core.providers.vendors.cog.catalogue import load_models
from tests.cog.models import models_file
from tests.cog.server import TOKEN
from tests.providers.wire import full_inputs

MODEL = """
[[models]]
name = "painter"
kind = "image"
url = "http://10.0.0.7:5000"
usual_seconds = 12
deadline_seconds = 300
constants = { steps = 28 }
inputs = [
    { name = "prompt", required = true },
    { name = "aspect_ratio", field = "ratio", choices = ["16:9", "1:1"], default = "16:9" },
    { name = "seed" },
]
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "models.toml"
    file.write_text(text, encoding="utf-8")
    return file


def settings(file: Path) -> ProviderSettings:
    return ProviderSettings(cog_models_file=file, cog_webhook_token=SecretStr(TOKEN))


async def test_entry_decides_the_request(tmp_path: Path) -> None:
    async with Providers.open(settings(written(tmp_path, MODEL))) as providers:
        ((provider, model),) = providers.models(StepKind.IMAGE)
        request = provider.create_request(model, full_inputs(model), "http://us/callback")
        with pytest.raises(InputsError, match="aspect_ratio must be one of"):
            provider.quote(model, full_inputs(model, aspect_ratio="4:3"))
    assert (model.id, request.method) == ("cog/painter", "PUT")
    assert request.url.startswith("http://10.0.0.7:5000/predictions/painter-")
    assert request.body["input"] == {
        "prompt": "a red kite over a harbour",
        "ratio": "16:9",
        "seed": 811,
        "steps": 28,
    }


async def test_request_has_an_id_of_its_send(tmp_path: Path) -> None:
    async with Providers.open(settings(written(tmp_path, MODEL))) as providers:
        ((provider, model),) = providers.models(StepKind.IMAGE)
        urls = [
            provider.create_request(model, full_inputs(model), f"http://us/{send}").url
            for send in (1, 1, 2)
        ]
        with pytest.raises(ValueError, match="PUBLIC_URL"):
            provider.create_request(model, full_inputs(model), None)
    assert urls[0] == urls[1] != urls[2]


async def test_only_completed_runs_cost_the_operators_price(tmp_path: Path) -> None:
    file = models_file(tmp_path, "http://127.0.0.1:9", deadline_seconds=100)
    completed = JobReport(state=JobState.COMPLETED, run_seconds=1.5, charged=True)
    async with Providers.open(settings(file)) as providers:
        offered = {
            model.id: (provider, model) for provider, model in providers.models(StepKind.IMAGE)
        }
        provider, per_run = offered["cog/painter"]
        _, per_second = offered["cog/held-painter"]
        inputs = full_inputs(per_run)
        quotes = [provider.quote(model, inputs) for model in (per_run, per_second)]
        costs = [provider.cost(model, inputs, completed) for model in (per_run, per_second)]
        for state in (JobState.FAILED, JobState.CANCELLED):
            ended = JobReport(state=state, run_seconds=9.0, charged=False)
            assert provider.cost(per_second, inputs, ended).nano_usd == 0
        unmeasured = provider.cost(per_second, inputs, JobReport(state=JobState.COMPLETED))
    assert [quote.worst_nano_usd for quote in quotes] == [2_000_000, 100 * 100_000]
    assert [cost.nano_usd for cost in costs] == [2_000_000, 150_000]
    assert (unmeasured.nano_usd, unmeasured.basis) == (100_000, CostBasis.ASSUMED)


def test_model_without_a_price_is_free(tmp_path: Path) -> None:
    (served,) = load_models(written(tmp_path, MODEL))
    (price,) = served.model.prices
    assert (price.unit, price.unit_nano_usd) == ("run", Decimal(0))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('name = "painter"', 'name = "Painter"', "models.0.name: "),
        ('kind = "image"', 'kind = "poem"', "models.0.kind: "),
        ("http://10.0.0.7:5000", "10.0.0.7:5000", "models.0.url: must be an http://"),
        ("usual_seconds = 12", "usual_seconds = 0", "models.0.usual_seconds: "),
        ("usual_seconds", "usual", "models.0.usual_seconds: Field required"),
        ("[[models]]", "[[model]]", "models: Field required"),
        ('"1:1"]', "9]", "models.0.inputs.1: 9 is no value of the type text"),
        ('name = "seed"', 'name = "prompt"', "models.0.inputs: two inputs have the same name"),
        ("constants =", "constants", "is not TOML"),
        (MODEL, MODEL + MODEL, "models: two models have the same name"),
    ],
)
def test_problem_in_the_file_is_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in MODEL
    with pytest.raises(SettingError) as raised:
        load_models(written(tmp_path, MODEL.replace(old, new)))
    assert str(raised.value).startswith("COG_MODELS_FILE: ")
    assert problem in str(raised.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read"):
        load_models(tmp_path / "models.toml")


def test_token_of_callbacks_is_required(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="although COG_MODELS_FILE is set"):
        ProviderSettings(cog_models_file=written(tmp_path, MODEL))


def test_unreachable_callbacks_prevent_the_start(tmp_path: Path) -> None:
    """The server is on another machine, and the API on the loopback."""
    file = written(tmp_path, MODEL)
    near = WorkerProcess.model_construct(
        cog_models_file=file,
        cog_webhook_token=SecretStr(TOKEN),
        public_url="http://127.0.0.1:8080",
    )
    with pytest.raises(SettingError, match="Set PUBLIC_URL"):
        callback_urls(near, ("cog",))
    far = near.model_copy(update={"public_url": "http://10.0.0.2:8080"})
    assert callback_urls(far, ("cog",)) == {"cog": "http://10.0.0.2:8080/callbacks/cog"}


async def test_users_have_no_keys_for_own_servers(tmp_path: Path) -> None:
    assert "cog" not in OWN_KEY_PROVIDERS
    everything = settings(written(tmp_path, MODEL)).model_copy(
        update={"fal_key": SecretStr("k:s"), "replicate_api_token": SecretStr("r8_x")}
    )
    async with Providers.open(everything) as providers:
        assert "cog" in providers.names
    async with Providers.open(everything.model_copy(update={"cog_models_file": None})) as without:
        assert "cog" not in without.names
        assert "cog" not in [provider.name for provider, _ in without.models(StepKind.IMAGE)]
