"""Parameters of `merge`."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from core.media.operations.film.pictures import Fit, Resize
from core.media.operations.port import OperationParameters
from core.media.operations.references import OperationModel, Reference

MAX_ITEMS = 50
MAX_IMAGE_SECONDS = 60.0
DEFAULT_IMAGE_SECONDS = 1.0

FadeSeconds = Annotated[float, Field(ge=0, le=5)]


class ItemType(StrEnum):
    """What an item is used as. AUDIO: the sound of an audio file or of a video."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


class TransitionType(StrEnum):
    """How one clip becomes the next."""

    CUT = "cut"
    FADE = "fade"
    FADE_BLACK = "fade-black"
    FADE_WHITE = "fade-white"
    DISSOLVE = "dissolve"
    WIPE_LEFT = "wipe-left"
    WIPE_RIGHT = "wipe-right"
    WIPE_UP = "wipe-up"
    WIPE_DOWN = "wipe-down"
    SLIDE_LEFT = "slide-left"
    SLIDE_RIGHT = "slide-right"
    SLIDE_UP = "slide-up"
    SLIDE_DOWN = "slide-down"


class ImageMotion(StrEnum):
    """How the camera moves over a still picture."""

    NONE = "none"
    ZOOM_IN = "zoom-in"
    ZOOM_OUT = "zoom-out"
    PAN = "pan"


class Transition(OperationModel):
    """Both clips are seen for `duration` seconds, at most half of the shorter clip."""

    type: TransitionType = TransitionType.FADE
    duration: Annotated[float, Field(ge=0.1, le=2)] = 0.5


class MergeItem(OperationModel):
    """A clip, a picture, or a sound on the time line of the film.

    duration: of a picture (1 s by default); the length to which a video or sound is cut; longer
    than the video: see `fit`. start: how far into the file it begins. offset: when a sound begins
    in the film; negative: the sound begins as if it had started before the film. loop, duck: of a
    sound, which then never makes the film longer; duck: quieter while other sound is audible.
    transition: from this clip to the next, in the place of the plan's.
    """

    media: Reference
    type: ItemType | None = None
    duration: Annotated[float, Field(ge=0.1, le=900)] | None = None
    start: Annotated[float, Field(ge=0, le=900)] = 0
    offset: Annotated[float, Field(ge=-900, le=900)] = 0
    volume: Annotated[float, Field(ge=0, le=2)] = 1
    loop: bool = False
    duck: bool = False
    fade_in: FadeSeconds = 0
    fade_out: FadeSeconds = 0
    transition: Transition | None = None


class MergeParameters(OperationParameters):
    """Clips and pictures one after the other, and sounds on their time line.

    Without a clip or a picture, the result is a sound. width, height, fps: of the film; by default,
    the size of the first clip or picture and the frame rate of the first video. fade_in, fade_out:
    of the whole film, picture and sound.
    """

    items: Annotated[tuple[MergeItem, ...], Field(min_length=1, max_length=MAX_ITEMS)]
    transition: Transition = Transition(type=TransitionType.CUT)
    fit: Fit = Fit.EXTEND
    resize: Resize = Resize.PAD
    image_motion: ImageMotion = ImageMotion.NONE
    width: Annotated[int, Field(ge=16, le=4096)] | None = None
    height: Annotated[int, Field(ge=16, le=4096)] | None = None
    fps: Annotated[float, Field(ge=1, le=60)] | None = None
    fade_in: FadeSeconds = 0
    fade_out: FadeSeconds = 0
