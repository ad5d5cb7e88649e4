"""Planning of media steps: files and names of outputs, lengths, prices that follow from them."""

from collections.abc import AsyncGenerator
from typing import Any, Final

import pytest

from core.domain.ids import AssetId
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.content import MediaKind
from core.domain.plans import (
    AssetSource,
    OnFailure,
    OperationKind,
    Parameters,
    PlanType,
    Scalar,
    Source,
    StepKind,
    StepOutput,
)
from core.media.operations.port import OperationParameters
from core.media.operations.references import references_in
from core.ordering.errors import FaultCode, FieldError, InvalidFieldsError
from core.ordering.planning.nodes.lengths import speech_seconds
from core.ordering.planning.step_requests import StepRequest
from core.ordering.planning.steps import KnownFile, OutputRequest, PricedPlan, plan_steps
from core.providers.registry import Providers
from tests.providers.wire import OFFLINE, settings
from tests.support.operations import JOIN, STILL, JoinParameters, StillParameters

LIP_SYNC: Final = "fal-ai/sync-lipsync/v2"
SPEECH: Final = "fal-ai/elevenlabs/tts/turbo-v2.5"
OPERATIONS: Final = {JOIN.kind: JOIN, STILL.kind: STILL}
CLIP, SILENT, PICTURE = AssetId("asset_clip"), AssetId("asset_silent"), AssetId("asset_picture")
ASSETS: Final = {
    CLIP: KnownFile(kind=MediaKind.VIDEO, facts=MediaFacts(duration_seconds=6.5, has_audio=True)),
    SILENT: KnownFile(kind=MediaKind.VIDEO, facts=MediaFacts(duration_seconds=3, has_audio=False)),
    PICTURE: KnownFile(kind=MediaKind.IMAGE),
    AssetId("quoted/music"): KnownFile(kind=None, likely_kind=MediaKind.AUDIO),
}


@pytest.fixture
async def catalogue() -> AsyncGenerator[Providers]:
    async with Providers.open(settings(OFFLINE)) as providers:
        yield providers


def paid(name: str, kind: StepKind, *, model: str | None = None, **params: Any) -> StepRequest:
    sources: dict[str, Source] = {
        key: value for key, value in params.items() if not isinstance(value, Scalar)
    }
    values = {key: value for key, value in params.items() if isinstance(value, Scalar)}
    return StepRequest(
        name=name,
        kind=kind,
        model=model,
        parameters=Parameters(values=values, sources=sources),
        path=f"{name}/",
        field_prefix=f"{name}/params/",
        model_field=f"{name}/model",
    )


def media(
    name: str, kind: OperationKind, parameters: OperationParameters, **more: Any
) -> StepRequest:
    references = dict(references_in(parameters))
    return StepRequest(
        name=name,
        kind=kind,
        operation=parameters,
        parameters=Parameters(
            sources={
                pointer: StepOutput(step=each.step)
                if each.step is not None
                else AssetSource(asset=AssetId(each.asset or each.url or ""))
                for pointer, each in references.items()
            }
        ),
        named={pointer: each.output for pointer, each in references.items() if each.output},
        optional=frozenset(pointer for pointer, each in references.items() if each.optional),
        path=f"{name}/",
        field_prefix=f"{name}/params/",
        **more,
    )


def joined(name: str, *items: dict[str, Any], **more: Any) -> StepRequest:
    parameters = JoinParameters.model_validate({"items": [{"media": item} for item in items]})
    return media(name, OperationKind.MERGE, parameters, **more)


def still(name: str, source: dict[str, Any]) -> StepRequest:
    return media(name, OperationKind.POSTER, StillParameters.model_validate({"source": source}))


def plan(catalogue: Providers, *requests: StepRequest, **more: Any) -> PricedPlan:
    return plan_steps(
        catalogue,
        requests,
        plan_type=PlanType.PLAN,
        result_step=None,
        assets=ASSETS,
        operations=OPERATIONS,
        **more,
    )


def faults(catalogue: Providers, *requests: StepRequest, **more: Any) -> dict[str, FieldError]:
    with pytest.raises(InvalidFieldsError) as raised:
        plan(catalogue, *requests, **more)
    assert len({error.field for error in raised.value.errors}) == len(raised.value.errors)
    return {error.field: error for error in raised.value.errors}


def clip(name: str, seconds: int = 5) -> StepRequest:
    return paid(name, StepKind.VIDEO, prompt="a kite", duration_seconds=seconds)


async def test_media_steps_are_free_and_paid_steps_keep_their_price(catalogue: Providers) -> None:
    alone = plan(catalogue, clip("a"))
    film = plan(catalogue, joined("film", {"step": "a"}, {"asset": CLIP}), clip("a"))
    assert [each.step.name for each in film.steps] == ["a", "film"]
    assert film.worst_nano_usd == alone.worst_nano_usd > 0
    step, parameters = film.steps[1].step, film.steps[1].parameters
    assert (step.is_media, step.provider, step.model, step.needs) == (
        True,
        "media",
        "merge",
        ("a",),
    )
    assert step.usual_seconds >= 11
    assert step.deadline_seconds > step.usual_seconds
    assert parameters.sources == {
        "items/0/media": StepOutput(step="a"),
        "items/1/media": AssetSource(asset=CLIP),
    }
    assert parameters.operation == {
        "items": [
            {"media": {"step": "a"}, "volume": 1.0},
            {"media": {"asset": "asset_clip"}, "volume": 1.0},
        ]
    }


async def test_an_address_is_stored_as_its_asset(catalogue: Providers) -> None:
    film = plan(catalogue, joined("film", {"asset": CLIP}, {"url": "quoted/music"}))
    operation = film.steps[0].parameters.operation
    assert operation is not None
    assert "quoted/music" in str(operation)
    assert "url" not in str(operation)
    assert film.made["film"].seconds is not None
    assert film.made["film"].seconds.worst == 6.5 + 600  # the length of the music is not known


async def test_lengths_add_up_along_the_plan(catalogue: Providers) -> None:
    film = plan(
        catalogue,
        clip("a"),
        clip("b", 10),
        joined("both", {"step": "a"}, {"step": "b"}),
        joined("film", {"step": "both"}, {"asset": CLIP}),
    )
    seconds = film.made["film"].seconds
    assert seconds is not None
    assert seconds.expected == 21.5
    assert seconds.worst == pytest.approx(15 * 1.08 + 6.5)
    usual = {new.step.name: new.step.usual_seconds for new in film.steps}
    assert film.eta_seconds == max(usual["a"], usual["b"]) + usual["both"] + usual["film"]


async def test_names_of_outputs_become_numbers(catalogue: Providers) -> None:
    film = plan(
        catalogue,
        joined("film", {"asset": CLIP}),
        still("cover", {"step": "film", "output": "video"}),
        paid("voice", StepKind.AUDIO, model=SPEECH, text="It never asks."),
        joined("end", {"step": "film"}, {"step": "voice", "output": "audio"}),
        outputs=[
            OutputRequest(name="cover", step="cover", field="o/cover"),
            OutputRequest(name="subtitles", step="film", output="srt", field="o/subtitles"),
            OutputRequest(name="words", step="voice", output="words", field="o/words"),
        ],
    )
    assert film.plan.result_step == "end"
    assert film.plan.outputs == {
        "cover": StepOutput(step="cover"),
        "subtitles": StepOutput(step="film", output=1),
        "words": StepOutput(step="voice", output=1),
    }


async def test_wrong_files_and_names_are_all_named_at_once(catalogue: Providers) -> None:
    voice = paid("voice", StepKind.AUDIO, model=SPEECH, text="It never asks.")
    found = faults(
        catalogue,
        voice,
        still("cover", {"step": "voice"}),
        joined("film", {"step": "voice", "output": "srt"}, {"asset": PICTURE}, {"step": "voise"}),
        joined("loud", {"asset": SILENT}),
        joined("foreign", {"asset": "asset_of_another"}),
        joined("after", {"step": "loud"}),
        outputs=[
            OutputRequest(name="x", step="voice", output="video", field="o/x"),
            OutputRequest(name="y", step="cower", field="o/y"),
        ],
    )
    codes = {field: error.code for field, error in found.items()}
    assert codes == {
        "cover/params/source": FaultCode.WRONG_MEDIA,
        "film/params/items/0/media": FaultCode.UNKNOWN_OUTPUT,
        "film/params/items/1/media": FaultCode.WRONG_MEDIA,
        "film/params/items/2/media": FaultCode.UNKNOWN_STEP,
        "loud/params/items/0/volume": FaultCode.INVALID,
        "foreign/params/items/0/media": FaultCode.UNKNOWN_ASSET,
        "o/x": FaultCode.UNKNOWN_OUTPUT,
        "o/y": FaultCode.UNKNOWN_STEP,
        "result": FaultCode.INVALID,
    }
    assert found["cover/params/source"].detail == "must be a video, not audio"
    assert found["film/params/items/0/media"].allowed == ["audio", "words"]
    assert "did you mean 'voice'?" in found["film/params/items/2/media"].detail
    assert "did you mean 'cover'?" in found["o/y"].detail


async def test_output_longer_than_15_minutes_is_refused(catalogue: Providers) -> None:
    long = AssetId("asset_long")
    assets = {long: KnownFile(kind=MediaKind.VIDEO, facts=MediaFacts(duration_seconds=500))}
    with pytest.raises(InvalidFieldsError) as raised:
        plan_steps(
            catalogue,
            [joined("film", {"asset": long}, {"asset": long})],
            plan_type=PlanType.PLAN,
            result_step=None,
            assets=assets,
            operations=OPERATIONS,
        )
    (error,) = raised.value.errors
    assert (error.field, error.code) == ("film/params", FaultCode.OUTPUT_TOO_LONG)


async def test_only_files_that_may_be_left_out_are_optional_needs(catalogue: Providers) -> None:
    film = plan(
        catalogue,
        clip("a"),
        clip("b"),
        clip("c"),
        joined(
            "film",
            {"step": "a", "optional": True},
            {"step": "b", "optional": True},
            {"step": "b"},
            {"step": "c", "optional": True},
            needs=("c",),
            on_failure=OnFailure.CONTINUE,
        ),
    )
    step = film.steps[-1].step
    assert (step.needs, step.optional_needs) == (("a", "b", "c"), ("a",))
    assert step.on_failure is OnFailure.CONTINUE
    found = faults(catalogue, clip("a"), still("cover", {"step": "a", "optional": True}))
    assert "only an item of a list" in found["cover/params/source"].detail


async def test_lip_sync_is_held_at_the_worst_length_of_speech(catalogue: Providers) -> None:
    text = "It never asks where the wind comes from. " * 4

    def film(words: str) -> PricedPlan:
        return plan(
            catalogue,
            paid("voice", StepKind.AUDIO, model=SPEECH, text=words),
            paid(
                "film",
                StepKind.LIP_SYNC,
                model=LIP_SYNC,
                source=AssetSource(asset=CLIP),
                audio=StepOutput(step="voice"),
            ),
        )

    short = film("Hi.").steps[1].quote
    assert short.worst_nano_usd == 3 * 50_000_000  # 3 characters / 8 + 2 seconds, rounded up
    assert short.low_nano_usd == 1 * 50_000_000
    long = film(text).steps[1].quote
    assert long.worst_nano_usd == 7 * 50_000_000  # as long as the shorter file: 6.5 seconds


async def test_speech_that_will_be_too_long_is_refused(
    catalogue: Providers,
) -> None:
    found = faults(
        catalogue,
        paid("voice", StepKind.AUDIO, model=SPEECH, text="word " * 400),
        paid(
            "film",
            StepKind.LIP_SYNC,
            model=LIP_SYNC,
            source=AssetSource(asset=CLIP),
            audio=StepOutput(step="voice"),
        ),
    )
    assert "will last at least 80 seconds" in found["film/params/audio"].detail


def test_speech_lasts_longer_in_dense_scripts_and_at_low_speed() -> None:
    plain, digits = speech_seconds("a" * 300), speech_seconds("a" * 299 + "7")
    assert (plain.low, plain.expected, plain.worst) == (12, 20, 39.5)
    assert digits.worst == 77
    assert digits.expected == plain.expected
    assert speech_seconds("蝶" * 40).worst == 12
    assert speech_seconds("a" * 300, 0.5).expected == 40


async def test_circle_of_media_steps_is_named_in_its_order(catalogue: Providers) -> None:
    found = faults(
        catalogue,
        joined("film", {"step": "subs"}),
        joined("subs", {"step": "film"}),
        still("cover", {"step": "film"}),
    )
    assert found["film/needs"].code is FaultCode.CYCLE
    assert "film → subs → film" in found["film/needs"].detail
