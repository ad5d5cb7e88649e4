"""The shift of captions whose words are spoken in an item of a merged film."""

from collections.abc import Mapping

from core.domain.plans import Source, StepKind, StepOutput
from core.media.operations.captions.parameters import CaptionsParameters
from core.media.operations.merge.parameters import ItemType, MergeParameters
from core.media.operations.port import OperationParameters
from core.ordering.planning.step_requests import StepRequest


def with_shift(
    request: StepRequest, earlier: Mapping[str, StepRequest]
) -> OperationParameters | None:
    """Return the parameters of a media step; of captions, with the shift that follows from a merge.

    earlier: the steps that it may use, by name. A shift in the request is kept, and 0 holds where
    the film does not contain the speech exactly once as a sound of its time line.
    """
    captions = request.operation
    if not isinstance(captions, CaptionsParameters) or captions.shift is not None:
        return captions
    sources = request.parameters.sources
    film = _step(sources.get("video"), earlier)
    words = sources.get("words")
    speech = _step(words, earlier)
    if speech is not None and speech.kind is StepKind.TRANSCRIPT:
        words = speech.parameters.sources.get("source")
    if words is None or film is None or not isinstance(film.operation, MergeParameters):
        return captions
    items = [
        item
        for number, item in enumerate(film.operation.items)
        if _is_same(film.parameters.sources.get(f"items/{number}/media"), words)
    ]
    if len(items) != 1 or items[0].loop or items[0].type not in {None, ItemType.AUDIO}:
        return captions
    return captions.model_copy(update={"shift": items[0].offset - items[0].start})


def _step(source: Source | None, earlier: Mapping[str, StepRequest]) -> StepRequest | None:
    return earlier.get(source.step) if isinstance(source, StepOutput) else None


def _is_same(source: Source | None, other: Source) -> bool:
    """Return whether both are one asset or files of one step, as speech and its words are."""
    if isinstance(source, StepOutput) and isinstance(other, StepOutput):
        return source.step == other.step
    return source == other
