"""The shift of captions whose words are spoken in an item of a merged film."""

from typing import Any

import pytest

from core.domain.ids import AssetId
from core.domain.media.content import MediaKind
from core.domain.plans import (
    AssetSource,
    OperationKind,
    Parameters,
    PlanType,
    StepKind,
    StepOutput,
)
from core.media.operations.captions.parameters import CaptionsParameters
from core.media.operations.merge.parameters import MergeParameters
from core.media.operations.port import OperationParameters
from core.media.operations.references import references_in
from core.media.operations.registry import OPERATIONS
from core.ordering.planning.nodes.shifts import with_shift
from core.ordering.planning.step_requests import StepRequest
from core.ordering.planning.steps import KnownFile, plan_steps
from core.providers.registry import Providers
from tests.providers.wire import OFFLINE, settings

SPEECH = "fal-ai/elevenlabs/tts/turbo-v2.5"
VIDEO = {"media": {"asset": "asset_clip"}}
VOICE = {"media": {"step": "voice"}}


def media(name: str, kind: OperationKind, parameters: OperationParameters) -> StepRequest:
    references = dict(references_in(parameters))
    return StepRequest(
        name=name,
        kind=kind,
        operation=parameters,
        parameters=Parameters(
            sources={
                pointer: StepOutput(step=each.step)
                if each.step is not None
                else AssetSource(asset=AssetId(each.asset or ""))
                for pointer, each in references.items()
            }
        ),
        named={pointer: each.output for pointer, each in references.items() if each.output},
    )


def shift_of(items: list[dict[str, Any]], words: str = "voice", **rest: object) -> float | None:
    """Return the shift of captions on a film of a clip and these items."""
    film = MergeParameters.model_validate({"items": [{"media": {"step": "clip"}}, *items]})
    captions = CaptionsParameters.model_validate(
        {"video": {"step": "film"}, "words": {"step": words}, **rest}
    )
    source = Parameters(sources={"source": StepOutput(step="voice")})
    earlier = {
        "voice": StepRequest(name="voice", kind=StepKind.AUDIO, parameters=Parameters()),
        "words": StepRequest(name="words", kind=StepKind.TRANSCRIPT, parameters=source),
        "film": media("film", OperationKind.MERGE, film),
    }
    shifted = with_shift(media("subs", OperationKind.CAPTIONS, captions), earlier)
    assert isinstance(shifted, CaptionsParameters)
    return shifted.shift


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([{**VOICE, "offset": 0.5}], 0.5),
        ([{**VOICE, "offset": -1, "start": 2}], -3),
        ([VOICE, VOICE], None),
        ([{**VOICE, "loop": True}], None),
        ([{**VOICE, "type": "video"}], None),
        ([], None),
    ],
)
def test_words_follow_their_sound_in_the_film(
    items: list[dict[str, Any]], expected: float | None
) -> None:
    assert shift_of(items) == expected


def test_words_of_a_transcript_follow_the_transcribed_sound() -> None:
    assert shift_of([{**VOICE, "offset": 2}], words="words") == 2


async def test_planned_captions_have_the_shift() -> None:
    film = MergeParameters.model_validate({"items": [{**VOICE, "offset": 0.5}, VIDEO]})
    captions = CaptionsParameters.model_validate(
        {"video": {"step": "film"}, "words": {"step": "voice", "output": "words"}}
    )
    speech = Parameters(values={"text": "It never asks."})
    requests = [
        StepRequest(name="voice", kind=StepKind.AUDIO, model=SPEECH, parameters=speech),
        media("film", OperationKind.MERGE, film),
        media("subs", OperationKind.CAPTIONS, captions),
    ]
    async with Providers.open(settings(OFFLINE)) as catalogue:
        plan = plan_steps(
            catalogue,
            requests,
            plan_type=PlanType.PLAN,
            result_step=None,
            assets={AssetId("asset_clip"): KnownFile(kind=MediaKind.VIDEO)},
            operations=OPERATIONS,
        )
    operation = plan.steps[-1].parameters.operation
    assert operation is not None
    assert operation["shift"] == 0.5


def test_shift_of_the_request_is_kept() -> None:
    assert shift_of([{**VOICE, "offset": 2}], shift=0) == 0
