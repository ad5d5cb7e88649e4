"""Parameters of `layers`."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from core.media.operations.film.colors import Color
from core.media.operations.film.pictures import Fit
from core.media.operations.layers.placement import Filling, Placement
from core.media.operations.port import OperationParameters
from core.media.operations.references import OperationModel, Reference

MAX_LAYERS = 20
MAX_TIMELINE_ITEMS = 30
FadeSeconds = Annotated[float, Field(ge=0, le=5)]


class TimelineItem(OperationModel):
    """A part of a timeline. start: how far into a video it begins.

    Without duration, a video lasts to its end, and pictures share the time that is left; 1 s each
    if the timeline decides the film's length.
    """

    media: Reference
    duration: Annotated[float, Field(ge=0.1, le=900)] | None = None
    start: Annotated[float, Field(ge=0, le=900)] = 0


class LayerItem(OperationModel):
    """A video or picture, or several one after the other (`timeline`), on the canvas.

    placement: by default `full` for the first layer and `center` for others. start, end: when it
    is shown, in seconds of the film; a video plays from its beginning. fit: what happens when it
    ends earlier; by default, the first layer is extended and others end. loop: fit `loop`. main:
    decides the length of the film and has sound. volume: makes the sound of another layer audible.
    """

    media: Reference | None = None
    timeline: (
        Annotated[tuple[TimelineItem, ...], Field(min_length=1, max_length=MAX_TIMELINE_ITEMS)]
        | None
    ) = None
    placement: Placement | None = None
    resize: Filling | None = None
    chroma_key: bool = False
    chroma_key_color: Color = "#00ff00"
    similarity: Annotated[float, Field(ge=0.01, le=1)] = 0.25
    blend: Annotated[float, Field(ge=0, le=1)] = 0.05
    opacity: Annotated[float, Field(ge=0, le=1)] = 1
    start: Annotated[float, Field(ge=0, le=900)] = 0
    end: Annotated[float, Field(gt=0, le=900)] | None = None
    main: bool = False
    volume: Annotated[float, Field(ge=0, le=2)] | None = None
    fit: Fit | None = None
    loop: bool = False

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.media is None) == (self.timeline is None):
            raise ValueError("must have either media or timeline")
        if self.end is not None and self.end <= self.start:
            raise ValueError("end must be after start")
        if self.loop and self.fit not in (None, Fit.LOOP):
            raise ValueError("loop is the same as fit loop; give one of the two")
        if self.timeline is not None and self.repeats:
            raise ValueError("a timeline cannot be repeated; give its items a longer duration")
        return self

    @property
    def repeats(self) -> bool:
        return self.loop or self.fit is Fit.LOOP


class LayersParameters(OperationParameters):
    """Layers from the lowest to the highest on one canvas.

    The film lasts `duration`, else as long as the main layer, else the longest timeline, else the
    first layer with a length. width, height, fps: by default those of the first layer.
    """

    items: Annotated[tuple[LayerItem, ...], Field(min_length=1, max_length=MAX_LAYERS)]
    duration: Annotated[float, Field(ge=0.1, le=900)] | None = None
    width: Annotated[int, Field(ge=16, le=4096)] | None = None
    height: Annotated[int, Field(ge=16, le=4096)] | None = None
    fps: Annotated[float, Field(ge=1, le=60)] | None = None
    background: Color = "#000000"
    fade_in: FadeSeconds = 0
    fade_out: FadeSeconds = 0

    @model_validator(mode="after")
    def _one_main(self) -> Self:
        if sum(item.main for item in self.items) > 1:
            raise ValueError("at most one of the items may be main")
        return self
