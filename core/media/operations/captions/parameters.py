"""The parameters of `captions`."""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, TypeAdapter, WrapValidator, model_validator

from core.media.operations.captions.style import CaptionStyle
from core.media.operations.captions.words import MAX_WORDS, CaptionWord
from core.media.operations.port import OperationParameters
from core.media.operations.references import Reference

Sidecar = Literal["srt", "vtt", "ass"]
MAX_SHIFT_SECONDS: Final = 900

_LIST: Final = TypeAdapter(
    Annotated[tuple[CaptionWord, ...], Field(max_length=MAX_WORDS)],
)


def _reference_or_list(value: object, _handler: Callable[[Any], Any]) -> object:
    """Validate by the form of the value, so that errors concern one form alone."""
    if not isinstance(value, list | tuple):
        return Reference.model_validate(value)
    if not value:  # with min_length, every wrong word would be an error of the list as well
        raise ValueError("must have at least one word")
    return _LIST.validate_python(value)


class CaptionsParameters(OperationParameters):
    """Captions of spoken words, burned into a video and as text files.

    words: a transcript (of a transcript step, of an audio step with word times, or an asset), or a
    list. burn: draw them on the frames; without it only the text files are made. sidecar: these
    text files. shift: seconds that are added to the times of all words. language: of the words, as
    BCP 47; the transcript's own by default.
    """

    video: Reference
    words: Annotated[
        Reference | Annotated[tuple[CaptionWord, ...], Field(min_length=1, max_length=MAX_WORDS)],
        WrapValidator(_reference_or_list),
    ]
    style: CaptionStyle = CaptionStyle()
    burn: bool = True
    sidecar: Annotated[tuple[Sidecar, ...], Field(max_length=3)] = ("srt", "vtt")
    shift: Annotated[float, Field(ge=-MAX_SHIFT_SECONDS, le=MAX_SHIFT_SECONDS)] | None = None
    language: (
        Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}$")] | None
    ) = None

    @model_validator(mode="after")
    def _makes_something(self) -> Self:
        if len(set(self.sidecar)) < len(self.sidecar):
            raise ValueError("sidecar must name each form at most once")
        if not self.burn and not self.sidecar:
            raise ValueError(
                "burn must be true, or sidecar must name at least one of srt, vtt, ass"
            )
        return self
