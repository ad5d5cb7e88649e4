"""Replicate's models that make and change videos."""

from typing import Final

from core.domain.plans import StepKind
from core.domain.prices import Price, Unit
from core.providers.entries import choice, duration, flag, media, prompt, seed, sound, text
from core.providers.models import Constant, Input, InputType, Measure, Model
from core.providers.pricing import entry
from core.providers.vendors.replicate.catalogue.jobs import (
    PAGE,
    READ_ON,
    VIDEO_SECONDS,
    video_model,
)

_SECONDS: Final = Measure(seconds_of=("duration_seconds",))
_NEGATIVE: Final = text("negative_prompt", "negative_prompt")
_SEEDANCE_RATIOS: Final = ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "9:21")


def _frame(name: str, field: str, *, needs: str | None = None) -> Input:
    return media(name, field, InputType.IMAGE, required=False, needs=needs)


# With an image these models use the image's shape and ignore aspect_ratio.
def _shape(*ratios: str) -> Input:
    return choice("aspect_ratio", "aspect_ratio", ratios, "16:9", unless="image")


def _by_sound(with_nano_usd: int, without_nano_usd: int, **when: str) -> tuple[Price, ...]:
    return (
        entry(Unit.SECOND, with_nano_usd, PAGE, READ_ON, sound="true", **when),
        entry(Unit.SECOND, without_nano_usd, PAGE, READ_ON, sound="false", **when),
    )


SEEDANCE_PRO: Final = video_model(
    "bytedance/seedance-1-pro",
    StepKind.VIDEO,
    prompt(),
    duration("duration", tuple(range(2, 13)), 5),
    choice("resolution", "resolution", ("480p", "720p", "1080p"), "720p"),
    Constant("fps", 24),
    _shape(*_SEEDANCE_RATIOS),
    _frame("image", "image"),
    _frame("end_image", "last_frame_image", needs="image"),
    flag("camera_fixed", "camera_fixed"),
    seed(),
    prices=(
        entry(Unit.SECOND, 30_000_000, PAGE, READ_ON, resolution="480p"),
        entry(Unit.SECOND, 60_000_000, PAGE, READ_ON, resolution="720p"),
        entry(Unit.SECOND, 150_000_000, PAGE, READ_ON, resolution="1080p"),
    ),
    measure=_SECONDS,
    usual_seconds=60,
)


def _wan_2_2(task: str, *inputs: Input, prices: tuple[int, int]) -> Model:
    """Return a model of 81 frames at 16 a second. prices: of a video in 480p and 720p."""
    return video_model(
        f"wan-video/wan-2.2-{task}-fast",
        StepKind.VIDEO,
        prompt(),
        *inputs,
        choice("resolution", "resolution", ("480p", "720p"), "480p"),
        Constant("num_frames", 81),
        Constant("frames_per_second", 16),
        Constant("interpolate_output", False),
        Constant("go_fast", True),
        seed(),
        prices=(
            entry(Unit.VIDEO, prices[0], PAGE, READ_ON, resolution="480p"),
            entry(Unit.VIDEO, prices[1], PAGE, READ_ON, resolution="720p"),
        ),
        measure=Measure(videos=1),
        usual_seconds=40,
    )


VIDEO_MODELS: Final[tuple[Model, ...]] = (
    SEEDANCE_PRO,
    video_model(
        "bytedance/seedance-1.5-pro",
        StepKind.VIDEO,
        prompt(),
        _frame("image", "image"),
        _frame("end_image", "last_frame_image", needs="image"),
        duration("duration", tuple(range(2, 13)), 5),
        # 720p has no price with a source, so it is not sold.
        choice("resolution", "resolution", ("480p", "720p", "1080p"), "480p"),
        _shape(*_SEEDANCE_RATIOS),
        sound(),
        Constant("fps", 24),
        seed(),
        prices=(
            *_by_sound(25_000_000, 13_000_000, resolution="480p"),
            *_by_sound(120_000_000, 60_000_000, resolution="1080p"),
        ),
        measure=_SECONDS,
        usual_seconds=75,
    ),
    video_model(
        "google/veo-3.1-fast",
        StepKind.VIDEO,
        prompt(),
        _frame("image", "image"),
        _frame("end_image", "last_frame", needs="image"),
        duration("duration", (4, 6, 8), 8),
        choice("resolution", "resolution", ("720p", "1080p"), "1080p"),
        choice("aspect_ratio", "aspect_ratio", ("16:9", "9:16"), "16:9"),
        sound(),
        _NEGATIVE,
        seed(),
        prices=_by_sound(150_000_000, 100_000_000),
        measure=_SECONDS,
        usual_seconds=75,
    ),
    video_model(
        "kwaivgi/kling-v2.6",
        StepKind.VIDEO,
        prompt(),
        _frame("image", "start_image"),
        duration("duration", (5, 10), 5),
        _shape("16:9", "9:16", "1:1"),
        _NEGATIVE,
        sound(),
        prices=_by_sound(140_000_000, 70_000_000),
        measure=_SECONDS,
        usual_seconds=120,
    ),
    video_model(
        "kwaivgi/kling-v2.5-turbo-pro",
        StepKind.VIDEO,
        prompt(),
        _frame("image", "start_image"),
        _frame("end_image", "end_image", needs="image"),
        duration("duration", (5, 10), 5),
        _shape("16:9", "9:16", "1:1"),
        _NEGATIVE,
        prices=(entry(Unit.SECOND, 70_000_000, PAGE, READ_ON),),
        measure=_SECONDS,
        usual_seconds=120,
    ),
    _wan_2_2(
        "t2v",
        choice("aspect_ratio", "aspect_ratio", ("16:9", "9:16"), "16:9"),
        prices=(50_000_000, 100_000_000),
    ),
    _wan_2_2(
        "i2v",
        media("image", "image", InputType.IMAGE),
        _frame("end_image", "last_image"),
        prices=(50_000_000, 110_000_000),
    ),
    video_model(
        "kwaivgi/kling-lip-sync",
        StepKind.LIP_SYNC,
        media("source", "video_url", InputType.VIDEO, seconds=(2, 10)),
        media("audio", "audio_file", InputType.AUDIO, seconds=(0, 60)),
        prices=(entry(Unit.SECOND, 14_000_000, PAGE, READ_ON),),
        measure=Measure(seconds_of=("source",)),
        usual_seconds=90,
        billed=VIDEO_SECONDS,
    ),
    video_model(
        "sync/lipsync-2-pro",
        StepKind.LIP_SYNC,
        media("source", "video", InputType.VIDEO, seconds=(0, 60)),
        media("audio", "audio", InputType.AUDIO, seconds=(0, 60)),
        Constant("sync_mode", "cut_off"),  # the output is as long as the shorter of both
        Constant("temperature", 0.5),
        Constant("active_speaker", False),
        prices=(entry(Unit.SECOND, 83_250_000, PAGE, READ_ON),),
        measure=Measure(seconds_of=("source", "audio")),
        usual_seconds=120,
        billed=VIDEO_SECONDS,
    ),
    video_model(
        "kwaivgi/kling-avatar-v2",
        StepKind.TALKING_HEAD,
        media("image", "image", InputType.IMAGE),
        media("audio", "audio", InputType.AUDIO, seconds=(2, 60)),
        prompt(required=False),
        choice("quality", "mode", ("std", "pro"), "std"),
        prices=(
            entry(Unit.SECOND, 56_000_000, PAGE, READ_ON, quality="std"),
            entry(Unit.SECOND, 110_000_000, PAGE, READ_ON, quality="pro"),
        ),
        measure=Measure(seconds_of=("audio",)),
        usual_seconds=240,
        billed=VIDEO_SECONDS,
    ),
)
