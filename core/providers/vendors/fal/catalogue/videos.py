"""fal's models that make videos from text and images."""

from collections.abc import Mapping
from typing import Final

from core.domain.plans import Scalar, StepKind
from core.domain.prices import Price, Unit
from core.providers.entries import VIDEO, choice, duration, flag, media, prompt, seed, sound, text
from core.providers.models import Constant, Input, InputType, Measure, Model, Pixels
from core.providers.pricing import entry
from core.providers.vendors.fal.catalogue.jobs import PAGE, READ_ON, long_model

# Pixels of a frame in the sizes that Seedance publishes: the smallest, 16:9, the largest, and the
# upper bound for shapes without a published size (21:9, and "auto", which follows the image).
_SEEDANCE_PIXELS: Final[Mapping[str, tuple[int, int, int, int]]] = {
    "480p": (960 * 416, 864 * 480, 864 * 480, 1120 * 480),
    "720p": (1248 * 704, 1248 * 704, 1120 * 832, 1680 * 720),
    "1080p": (2176 * 928, 1920 * 1088, 1920 * 1088, 2528 * 1080),
}
_SEEDANCE_RATIOS: Final = ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9")
_SEEDANCE_MEASURE: Final = Measure(
    seconds_of=("duration_seconds",),
    frames_per_second=24,
    pixels=tuple(
        Pixels(least=least, usual=usual, most=most, when={"resolution": resolution, **shape})
        for resolution, (least, usual, published, bound) in _SEEDANCE_PIXELS.items()
        for most, shape in (
            *(
                (published, {"aspect_ratio": ratio})
                for ratio in _SEEDANCE_RATIOS
                if ratio != "21:9"
            ),
            (bound, dict[str, str]()),
        )
    ),
)
_SECONDS: Final = Measure(seconds_of=("duration_seconds",))
_START: Final = media("image", "image_url", InputType.IMAGE)
_END: Final = media("end_image", "end_image_url", InputType.IMAGE, required=False)
_SHAPES: Final = ("16:9", "9:16", "1:1")
_SHAPE: Final = choice("aspect_ratio", "aspect_ratio", _SHAPES, "16:9")


def _negative(max_length: int | None = None) -> Input:
    return text("negative_prompt", "negative_prompt", max_length=max_length)


SEEDANCE_PRO: Final = long_model(
    "fal-ai/bytedance/seedance/v1/pro/image-to-video",
    StepKind.VIDEO,
    prompt(),
    _START,
    choice("resolution", "resolution", tuple(_SEEDANCE_PIXELS), "720p"),
    duration("duration", tuple(range(2, 13)), 5, template="{}"),
    choice("aspect_ratio", "aspect_ratio", _SEEDANCE_RATIOS, "16:9"),
    _END,
    flag("camera_fixed", "camera_fixed"),
    Constant("enable_safety_checker", True),
    seed(),
    outputs=VIDEO,
    # $2.50 per million tokens; tokens = height x width x frames per second x seconds / 1024.
    prices=(entry(Unit.TOKEN, 2_500, PAGE, "2026-11-22"),),
    measure=_SEEDANCE_MEASURE,
    usual_seconds=60,
)


def _seedance_1_5(task: str, *files: Input) -> Model:
    return long_model(
        f"fal-ai/bytedance/seedance/v1.5/pro/{task}",
        StepKind.VIDEO,
        prompt(),
        *files,
        choice("aspect_ratio", "aspect_ratio", _SEEDANCE_RATIOS, "16:9"),
        choice("resolution", "resolution", tuple(_SEEDANCE_PIXELS), "720p"),
        duration("duration", tuple(range(4, 13)), 5, template="{}"),
        sound(),
        Constant("enable_safety_checker", True),
        seed(),
        outputs=VIDEO,
        prices=(
            entry(Unit.TOKEN, 2_400, PAGE, READ_ON, sound="true"),
            entry(Unit.TOKEN, 1_200, PAGE, READ_ON, sound="false"),
        ),
        measure=_SEEDANCE_MEASURE,
        usual_seconds=90,
    )


def _kling_2_5(task: str, *inputs: Input, second_nano_usd: int) -> Model:
    """Return a model whose page has a price for 5 seconds and the same for each further one."""
    return long_model(
        f"fal-ai/kling-video/v2.5-turbo/{task}",
        StepKind.VIDEO,
        prompt(max_length=2500),
        *inputs,
        duration("duration", (5, 10), 5, template="{}"),
        _negative(),
        outputs=VIDEO,
        prices=(entry(Unit.SECOND, second_nano_usd, PAGE, READ_ON),),
        measure=_SECONDS,
        usual_seconds=120,
    )


def _by_resolution(**nano_usd: int) -> tuple[Price, ...]:
    """Return prices of a second. nano_usd: by resolution, with a leading underscore."""
    return tuple(
        entry(Unit.SECOND, price, PAGE, READ_ON, resolution=name.removeprefix("_"))
        for name, price in nano_usd.items()
    )


_WAN_CONSTANTS: Final = (
    Constant("enable_prompt_expansion", True),
    Constant("enable_safety_checker", True),
)
_WAN_AUDIO: Final = media("audio", "audio_url", InputType.AUDIO, required=False, seconds=(3, 30))


def _wan_2_5(task: str, *inputs: Input) -> Model:
    return long_model(
        f"fal-ai/wan-25-preview/{task}",
        StepKind.VIDEO,
        prompt(max_length=800),
        *inputs,
        _WAN_AUDIO,
        choice("resolution", "resolution", ("480p", "720p", "1080p"), "1080p"),
        duration("duration", (5, 10), 5, template="{}"),
        _negative(500),
        *_WAN_CONSTANTS,
        seed(),
        outputs=VIDEO,
        prices=_by_resolution(_480p=50_000_000, _720p=100_000_000, _1080p=150_000_000),
        measure=_SECONDS,
        usual_seconds=120,
    )


def _by_sound(**nano_usd: tuple[int, int]) -> tuple[Price, ...]:
    """Return prices of a second with and without sound, by resolution."""
    return tuple(
        entry(Unit.SECOND, price, PAGE, READ_ON, resolution=name.removeprefix("_"), sound=flag)
        for name, prices in nano_usd.items()
        for flag, price in zip(("true", "false"), prices, strict=True)
    )


def _veo_3_1(
    task: str,
    *files: Input,
    resolutions: tuple[str, ...],
    prices: tuple[Price, ...],
    usual_seconds: int,
    auto_fix: bool,
) -> Model:
    return long_model(
        f"fal-ai/veo3.1{task}",
        StepKind.VIDEO,
        prompt(),
        *files,
        choice("aspect_ratio", "aspect_ratio", ("16:9", "9:16"), "16:9"),
        duration("duration", (4, 6, 8), 8, template="{}s"),
        choice("resolution", "resolution", resolutions, "720p"),
        sound(),
        _negative(),
        Constant("auto_fix", auto_fix),
        Constant("safety_tolerance", "4"),
        seed(),
        outputs=VIDEO,
        prices=prices,
        measure=_SECONDS,
        usual_seconds=usual_seconds,
    )


def _hailuo(task: str, *files: Input) -> Model:
    lengths: tuple[Scalar, ...] = (6, 10)
    return long_model(
        f"fal-ai/minimax/hailuo-2.3/standard/{task}",
        StepKind.VIDEO,
        prompt(max_length=2000),
        *files,
        duration("duration", lengths, 6, template="{}"),
        Constant("prompt_optimizer", True),
        outputs=VIDEO,
        prices=(
            entry(Unit.VIDEO, 280_000_000, PAGE, READ_ON, duration_seconds="6"),
            entry(Unit.VIDEO, 560_000_000, PAGE, READ_ON, duration_seconds="10"),
        ),
        measure=Measure(videos=1),
        usual_seconds=150,
    )


VIDEO_MODELS: Final[tuple[Model, ...]] = (
    SEEDANCE_PRO,
    _seedance_1_5("text-to-video"),
    _seedance_1_5("image-to-video", _START, _END),
    _kling_2_5("pro/text-to-video", _SHAPE, second_nano_usd=70_000_000),
    _kling_2_5(
        "pro/image-to-video",
        _START,
        media("end_image", "tail_image_url", InputType.IMAGE, required=False),
        second_nano_usd=70_000_000,
    ),
    _kling_2_5("standard/image-to-video", _START, second_nano_usd=42_000_000),
    _wan_2_5("text-to-video", _SHAPE),
    _wan_2_5("image-to-video", _START),
    long_model(
        "fal-ai/wan/v2.7/image-to-video",
        StepKind.VIDEO,
        prompt(max_length=5000),
        _START,
        _END,
        _WAN_AUDIO,
        choice("resolution", "resolution", ("720p", "1080p"), "1080p"),
        duration("duration", tuple(range(2, 16)), 5),
        _negative(500),
        *_WAN_CONSTANTS,
        seed(),
        outputs=VIDEO,
        prices=_by_resolution(_720p=100_000_000, _1080p=150_000_000),
        measure=_SECONDS,
        usual_seconds=120,
    ),
    _veo_3_1(
        "/lite",
        resolutions=("720p", "1080p"),
        prices=_by_sound(_720p=(50_000_000, 30_000_000), _1080p=(80_000_000, 50_000_000)),
        usual_seconds=60,
        auto_fix=True,
    ),
    _veo_3_1(
        "",
        resolutions=("720p", "1080p", "4k"),
        prices=_by_sound(
            _720p=(400_000_000, 200_000_000),
            _1080p=(400_000_000, 200_000_000),
            _4k=(600_000_000, 400_000_000),
        ),
        usual_seconds=120,
        auto_fix=True,
    ),
    _veo_3_1(
        "/fast/first-last-frame-to-video",
        media("image", "first_frame_url", InputType.IMAGE),
        media("end_image", "last_frame_url", InputType.IMAGE),
        resolutions=("720p", "1080p", "4k"),
        prices=_by_sound(
            _720p=(150_000_000, 100_000_000),
            _1080p=(150_000_000, 100_000_000),
            _4k=(350_000_000, 300_000_000),
        ),
        usual_seconds=75,
        auto_fix=False,
    ),
    _hailuo("text-to-video"),
    _hailuo("image-to-video", _START),
)
