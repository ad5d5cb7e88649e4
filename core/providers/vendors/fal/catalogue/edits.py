"""fal's models that change a file: cutout, lip-sync, talking head and upscaling."""

from typing import Final

from core.domain.plans import StepKind
from core.domain.prices import Unit
from core.providers.entries import IMAGE, VIDEO, choice, media, number, prompt, seed
from core.providers.models import Constant, Input, InputType, Measure, Model
from core.providers.pricing import entry
from core.providers.vendors.fal.catalogue.jobs import PAGE, READ_ON, long_model, quick_model

_LONGEST_SECONDS: Final = 60
"""Of a file that decides the price; longer files are not taken, so that a hold stays bounded."""
_SOURCE_IMAGE: Final = media("source", "image_url", InputType.IMAGE)
_SOURCE_VIDEO: Final = media("source", "video_url", InputType.VIDEO, seconds=(0, _LONGEST_SECONDS))
_FACE: Final = media("image", "image_url", InputType.IMAGE)
_ONE: Final = Measure(images=1)


def _speech(least: int = 0, most: int = _LONGEST_SECONDS) -> Input:
    return media("audio", "audio_url", InputType.AUDIO, seconds=(least, most))


_COLOURS: Final = (
    "transparent", "black", "white", "gray", "red", "green", "blue", "yellow", "cyan", "magenta",
    "orange",
)  # fmt: skip
_AUDIO_SECONDS: Final = Measure(seconds_of=("audio",))

CUTOUT_MODELS: Final[tuple[Model, ...]] = (
    quick_model(
        "fal-ai/bria/background/remove",
        StepKind.CUTOUT,
        _SOURCE_IMAGE,
        Constant("sync_mode", False),
        outputs=IMAGE,
        prices=(entry(Unit.IMAGE, 18_000_000, PAGE, READ_ON),),
        measure=_ONE,
        usual_seconds=4,
    ),
    quick_model(
        "pixelcut/background-removal",
        StepKind.CUTOUT,
        _SOURCE_IMAGE,
        Constant("output_format", "rgba"),
        Constant("sync_mode", False),
        outputs=IMAGE,
        prices=(entry(Unit.IMAGE, 16_000_000, PAGE, READ_ON),),
        measure=_ONE,
        usual_seconds=4,
    ),
    long_model(
        "pixelcut/video-background-removal",
        StepKind.CUTOUT,
        _SOURCE_VIDEO,
        Constant("background", "transparent"),
        Constant("output_format", "webm_vp9"),
        outputs=VIDEO,
        prices=(entry(Unit.FRAME_BLOCK, 22_000_000, PAGE, READ_ON),),
        measure=Measure(seconds_of=("source",), frames_per_second=60),
        usual_seconds=60,
    ),
    long_model(
        "bria/video/background-removal/v3",
        StepKind.CUTOUT,
        _SOURCE_VIDEO,
        choice(
            "background",
            "background_color",
            _COLOURS,
            "transparent",
            words={colour: colour.capitalize() for colour in _COLOURS},
        ),
        Constant("output_container_and_codec", "webm_vp9"),
        Constant("preserve_audio", True),
        Constant("auto_zoom", False),
        outputs=VIDEO,
        prices=(entry(Unit.SECOND, 50_000_000, PAGE, READ_ON),),
        measure=Measure(seconds_of=("source",)),
        usual_seconds=60,
    ),
)

LIP_SYNC_MODELS: Final[tuple[Model, ...]] = (
    long_model(
        "fal-ai/sync-lipsync/v2",
        StepKind.LIP_SYNC,
        _SOURCE_VIDEO,
        _speech(),
        Constant("model", "lipsync-2"),
        Constant("sync_mode", "cut_off"),  # the output is as long as the shorter of both
        outputs=VIDEO,
        # Its page: $3 per minute of video.
        prices=(entry(Unit.SECOND, 50_000_000, PAGE, READ_ON),),
        measure=Measure(seconds_of=("source", "audio")),
        usual_seconds=90,
    ),
)


def _kling_avatar(tier: str, source: str, *, second_nano_usd: int) -> Model:
    return long_model(
        f"fal-ai/kling-video/ai-avatar/v2/{tier}",
        StepKind.TALKING_HEAD,
        _FACE,
        _speech(2),
        prompt(required=False),
        outputs=VIDEO,
        prices=(entry(Unit.SECOND, second_nano_usd, source, READ_ON),),
        measure=_AUDIO_SECONDS,
        usual_seconds=240,
    )


TALKING_HEAD_MODELS: Final[tuple[Model, ...]] = (
    long_model(
        "veed/fabric-1.0",
        StepKind.TALKING_HEAD,
        _FACE,
        _speech(),
        choice("resolution", "resolution", ("480p", "720p"), "480p"),
        outputs=VIDEO,
        prices=(
            entry(Unit.SECOND, 80_000_000, PAGE, READ_ON, resolution="480p"),
            entry(Unit.SECOND, 150_000_000, PAGE, READ_ON, resolution="720p"),
        ),
        measure=_AUDIO_SECONDS,
        usual_seconds=120,
    ),
    _kling_avatar("pro", PAGE, second_nano_usd=115_000_000),
    _kling_avatar("standard", "third parties that quote " + PAGE, second_nano_usd=56_200_000),
    long_model(
        "fal-ai/bytedance/omnihuman/v1.5",
        StepKind.TALKING_HEAD,
        _FACE,
        _speech(0, 30),  # of 1080p; 720p takes up to 60 s
        choice("resolution", "resolution", ("720p", "1080p"), "1080p"),
        prompt(required=False),
        Constant("turbo_mode", False),
        outputs=VIDEO,
        prices=(entry(Unit.SECOND, 160_000_000, "fal.ai/learn, the model's guide", READ_ON),),
        measure=_AUDIO_SECONDS,
        usual_seconds=240,
    ),
)

UPSCALE_MODELS: Final[tuple[Model, ...]] = (
    quick_model(
        "fal-ai/recraft/upscale/crisp",
        StepKind.UPSCALE,
        _SOURCE_IMAGE,
        Constant("sync_mode", False),
        outputs=IMAGE,
        prices=(entry(Unit.IMAGE, 4_000_000, PAGE, READ_ON),),
        measure=_ONE,
        usual_seconds=15,
    ),
    quick_model(
        "fal-ai/seedvr/upscale/image",
        StepKind.UPSCALE,
        _SOURCE_IMAGE,
        number("scale", "upscale_factor", 1, 10, 2),
        Constant("upscale_mode", "factor"),
        Constant("output_format", "png"),
        Constant("sync_mode", False),
        seed(),
        outputs=IMAGE,
        prices=(entry(Unit.MEGAPIXEL, 1_000_000, PAGE, READ_ON),),  # of the output
        measure=Measure(images=1, pixels_of="source", pixels_most=4096 * 4096, scaled_by="scale"),
        usual_seconds=10,
    ),
)
EDIT_MODELS: Final = (
    *CUTOUT_MODELS,
    *LIP_SYNC_MODELS,
    *TALKING_HEAD_MODELS,
    *UPSCALE_MODELS,
)
