"""Planning of steps of any kind: models, files, order, prices, and every fault at once."""

from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from core.domain.alternatives import alternatives_from_json, alternatives_to_json
from core.domain.ids import AssetId
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.content import MediaKind
from core.domain.money import NanoUsd
from core.domain.plans import (
    AssetSource,
    Parameters,
    PlanType,
    Scalar,
    Source,
    StepKind,
    StepOutput,
)
from core.ordering.errors import FieldError, InvalidFieldsError
from core.ordering.planning.nodes.planned import UsedFile, expected_of_file
from core.ordering.planning.quote import quote_again
from core.ordering.planning.retried import StepFiles
from core.ordering.planning.step_requests import StepRequest, end_steps
from core.ordering.planning.steps import KnownFile, OutputRequest, PricedPlan, plan_steps
from core.providers.registry import Providers
from tests.providers.wire import OFFLINE, settings

FAL_VIDEO = "fal-ai/bytedance/seedance/v1/pro/image-to-video"
REPLICATE_VIDEO = "bytedance/seedance-1-pro"
PICTURE = AssetId("asset_picture")
ASSET = AssetSource(asset=PICTURE)
ASSETS = {
    PICTURE: KnownFile(kind=MediaKind.IMAGE, facts=MediaFacts(width=1280, height=720)),
    AssetId("asset_sound"): KnownFile(kind=MediaKind.AUDIO),
}


@pytest.fixture
async def catalogue() -> AsyncGenerator[Providers]:
    async with Providers.open(settings(OFFLINE)) as providers:
        yield providers


def step(
    name: str,
    kind: StepKind,
    *,
    model: str | None = None,
    sources: dict[str, Source] | None = None,
    needs: tuple[str, ...] = (),
    **values: Scalar,
) -> StepRequest:
    return StepRequest(
        name=name,
        kind=kind,
        model=model,
        parameters=Parameters(values={"prompt": "A boat", **values}, sources=sources or {}),
        needs=needs,
        path=f"{name}.",
        field_prefix=f"{name}.",
        model_field=f"{name}.model",
    )


def plan(catalogue: Providers, *requests: StepRequest) -> PricedPlan:
    return plan_steps(
        catalogue,
        requests,
        plan_type=PlanType.GENERATE_VIDEO,
        result_step=requests[-1].name,
        outputs=outputs(*end_steps(requests)),
        assets=ASSETS,
    )


def outputs(*steps: str) -> list[OutputRequest]:
    return [OutputRequest(name=name, step=name, field=f"outputs/{name}") for name in steps]


def faults(catalogue: Providers, *requests: StepRequest) -> dict[str, FieldError]:
    with pytest.raises(InvalidFieldsError) as raised:
        plan(catalogue, *requests)
    return {error.field: error for error in raised.value.errors}


IMAGE, VIDEO = StepKind.IMAGE, StepKind.VIDEO
FROM_A: dict[str, Source] = {"image": StepOutput(step="a")}


async def test_steps_are_ordered_by_what_they_use(catalogue: Providers) -> None:
    planned = plan(
        catalogue,
        step("last", IMAGE, needs=("clip",)),
        step("clip", VIDEO, sources=FROM_A),
        step("a", IMAGE),
    )
    assert [(each.name, each.needs) for each in planned.plan.steps] == [
        ("a", ()),
        ("clip", ("a",)),
        ("last", ("clip",)),
    ]


async def test_steps_side_by_side_take_the_time_of_the_longest(catalogue: Providers) -> None:
    chain = plan(catalogue, step("a", IMAGE), step("clip", VIDEO, sources=FROM_A))
    wide = plan(catalogue, step("b", IMAGE), step("a", IMAGE), step("clip", VIDEO, sources=FROM_A))
    assert wide.deadline_seconds == chain.deadline_seconds
    assert wide.worst_nano_usd == chain.worst_nano_usd + wide.steps[0].quote.worst_nano_usd


async def test_model_is_chosen_by_the_files_of_the_step(catalogue: Providers) -> None:
    planned = plan(
        catalogue,
        step("words", VIDEO),
        step("clip", VIDEO, sources={"image": AssetSource(asset=PICTURE)}),
    )
    for each in planned.steps:
        found = catalogue.find_model(each.step.model)
        assert found is not None
        assert not found[1].needs("image") or each.step.name == "clip"


async def test_every_fault_of_every_step_is_named_at_once(catalogue: Providers) -> None:
    found = faults(
        catalogue,
        step("a", IMAGE, model="missing/model"),
        step("b", VIDEO, model=FAL_VIDEO, resolution="8k", duration_seconds=31, sound=True),
        step("c", VIDEO, sources={"image": AssetSource(asset=AssetId("asset_sound"))}),
        step("d", VIDEO, sources={"image": AssetSource(asset=AssetId("asset_foreign"))}),
        step("e", VIDEO, sources={"image": StepOutput(step="f", output=3)}),
        step("f", IMAGE, aspect_ratio="1:7"),
    )
    assert {name: error.detail for name, error in found.items()} == {
        "a.model": "is not a model that can do this step",
        "b.resolution": "must be one of the values that the model takes: 480p, 720p, 1080p",
        "b.duration": "must be one of the values that the model takes: "
        + ", ".join(map(str, range(2, 13))),
        "b.sound": f"is not an input of {FAL_VIDEO}, which takes prompt, image, resolution, "
        "duration, aspectRatio, endImage, cameraFixed, seed",
        "b.image": "is required",
        "c.image": "must be an image, not audio",
        "d.image": "is not one of your assets",
        "e.image": "names an output that step 'f' does not have",
        "f.aspect_ratio": "must be one of the values that the model takes: "
        "16:9, 4:3, 1:1, 3:4, 9:16, 21:9, 9:21",
    }
    assert found["b.resolution"].allowed == ["480p", "720p", "1080p"]
    assert "fal-ai/flux/schnell" in (found["a.model"].allowed or ())


async def test_names_must_be_unique_known_and_without_a_circle(catalogue: Providers) -> None:
    assert faults(catalogue, step("a", IMAGE), step("a", IMAGE)).keys() == {"a.name"}
    unknown = faults(
        catalogue, step("a", IMAGE), step("b", VIDEO, sources={"image": StepOutput(step="pictre")})
    )
    assert unknown["b.image"].allowed == ["a", "b"]
    assert faults(catalogue, step("a", IMAGE, needs=("b",)))["a.needs"].allowed == ["a"]
    circle = faults(
        catalogue, step("a", IMAGE, needs=("b",)), step("b", IMAGE, needs=("a",)), step("c", IMAGE)
    )
    assert "circle" in circle["a.needs"].detail
    assert faults(catalogue, step("a", IMAGE, needs=("a",))).keys() == {"a.needs"}
    both = faults(catalogue, step("a", IMAGE, needs=("x",)), step("b", IMAGE, model="no/thing"))
    assert both.keys() == {"a.needs", "b.model"}


async def test_result_is_the_only_step_that_no_other_step_uses(catalogue: Providers) -> None:
    chain = (step("a", IMAGE), step("clip", VIDEO, sources=FROM_A))

    def planned(*requests: StepRequest, result: str | None, further: str | None = None) -> str:
        return plan_steps(
            catalogue,
            requests,
            plan_type=PlanType.PLAN,
            result_step=result,
            outputs=outputs(further) if further else (),
        ).plan.result_step

    assert planned(*chain, result=None) == "clip"
    assert planned(*chain, result="a", further="clip") == "a"
    for steps, result, allowed in (
        (chain, "b", ["a", "clip"]),
        ((*chain, step("b", IMAGE)), None, ["clip", "b"]),
    ):
        with pytest.raises(InvalidFieldsError) as raised:
            planned(*steps, result=result)
        (error,) = raised.value.errors
        assert (error.field, error.allowed) == ("result", allowed)


async def test_unpriced_parameters_are_not_sold(
    catalogue: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = catalogue.provider("replicate")
    models = [
        replace(each, prices=each.prices[:1]) if each.id == REPLICATE_VIDEO else each
        for each in provider.models
    ]
    monkeypatch.setattr(provider, "models", tuple(models))
    found = faults(catalogue, step("a", VIDEO, model=REPLICATE_VIDEO, resolution="720p"))
    assert found["a.resolution"].allowed == ["480p"]


FAL_FLUX = "fal-ai/flux/schnell"
KLING = "fal-ai/kling-video/v2.5-turbo/pro/image-to-video"


def listed(request: StepRequest, *models: str) -> StepRequest:
    return replace(request, models=models)


async def test_step_with_alternatives_costs_the_worst_of_them(catalogue: Providers) -> None:
    alone = {
        model: plan(catalogue, step("clip", VIDEO, model=model, sources={"image": ASSET}))
        for model in (FAL_VIDEO, REPLICATE_VIDEO)
    }
    clip = listed(step("clip", VIDEO, sources={"image": ASSET}), REPLICATE_VIDEO, FAL_VIDEO)
    planned = plan(catalogue, clip)
    (new,) = planned.steps
    assert planned.worst_nano_usd == max(each.worst_nano_usd for each in alone.values())
    assert new.quote.price == alone[REPLICATE_VIDEO].steps[0].quote.price
    assert (new.step.provider, new.step.model) == ("replicate", REPLICATE_VIDEO)
    (other,) = new.alternatives
    assert (other.provider, other.model) == ("fal", FAL_VIDEO)
    assert other.price == alone[FAL_VIDEO].steps[0].quote.price
    assert other.worst_nano_usd == alone[FAL_VIDEO].worst_nano_usd
    assert other.parameters(new.parameters) == alone[FAL_VIDEO].steps[0].parameters
    assert planned.deadline_seconds > max(each.deadline_seconds for each in alone.values())


async def test_alternatives_make_the_same_files_and_are_named_once(catalogue: Providers) -> None:
    errors = faults(
        catalogue,
        listed(step("a", IMAGE), FAL_FLUX, FAL_FLUX),
        listed(step("b", IMAGE), FAL_FLUX, "missing/model"),
    )
    assert errors["a.model"].detail == "names a model twice"
    assert errors["b.model"].detail == "is not a model that can do this step"


async def test_alternatives_all_take_the_values_of_the_step(catalogue: Providers) -> None:
    """A value that one of them does not take is an error, and none is dropped."""
    request = step("a", IMAGE, aspect_ratio="9:21")
    errors = faults(catalogue, listed(request, FAL_FLUX, "fal-ai/nano-banana"))
    assert "a.aspect_ratio" in errors


async def test_alternative_has_the_defaults_of_its_own_model(catalogue: Providers) -> None:
    (new,) = plan(
        catalogue, listed(step("clip", VIDEO, sources={"image": ASSET}), FAL_VIDEO, KLING)
    ).steps
    assert new.parameters.values["resolution"] == "720p"
    (kling,) = new.alternatives
    assert kling.parameters(new.parameters).values == {"prompt": "A boat", "duration_seconds": 5}
    assert alternatives_from_json(alternatives_to_json([kling])) == (kling,)


async def test_retry_quotes_the_alternatives_at_todays_prices(catalogue: Providers) -> None:
    clip = listed(step("clip", VIDEO, sources={"image": ASSET}), REPLICATE_VIDEO, FAL_VIDEO)
    (new,) = plan(catalogue, clip).steps
    cheaper = [replace(item, worst_nano_usd=NanoUsd(1)) for item in new.alternatives]
    gone = replace(new.alternatives[0], model="missing/model")
    quoted = quote_again(
        catalogue, new.step, new.parameters, StepFiles(assets=ASSETS), [*cheaper, gone]
    )
    assert quoted == (new.quote, new.alternatives)


async def test_retry_leaves_too_long_a_file_to_the_send(catalogue: Providers) -> None:
    speech = step("a", StepKind.AUDIO, model="fal-ai/kokoro/american-english")
    speech = replace(speech, parameters=Parameters(values={"text": "A boat"}))
    sources: dict[str, Source] = {"image": ASSET, "audio": StepOutput(step="a")}
    head = step("b", StepKind.TALKING_HEAD, model="veed/fabric-1.0", sources=sources)
    head = replace(head, parameters=Parameters(sources=sources))
    _, new = plan(catalogue, speech, head).steps
    quotes: list[NanoUsd] = []
    for facts in (MediaFacts(duration_seconds=1e6), None):
        file = UsedFile(
            source=StepOutput(step="a"),
            expected=expected_of_file(MediaKind.AUDIO, facts),
            facts=facts,
        )
        files = StepFiles(assets=ASSETS, made={StepOutput(step="a"): file} if facts else {})
        quotes.append(quote_again(catalogue, new.step, new.parameters, files, ())[0].worst_nano_usd)
    assert quotes[0] == quotes[1]
