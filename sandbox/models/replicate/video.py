"""Replicate's models that make videos."""

from sandbox.models.common import FLAG, PROMPT, SEED, SOUND, TEXT, choice, url
from sandbox.models.fields import Field
from sandbox.models.model import Model
from sandbox.models.prices import Rate
from sandbox.models.sizes import ASPECT_RATIOS

_IMAGE = url("image", required=False)
_END_IMAGE = url("end_image", required=False)
_RESOLUTIONS = ("480p", "720p", "1080p")
_SEEDANCE_FIELDS = {
    "prompt": PROMPT,
    "image": _IMAGE,
    "last_frame_image": _END_IMAGE,
    "duration": Field(kind="integer", role="duration", default=5, minimum=2, maximum=12),
    "aspect_ratio": choice("aspect_ratio", ASPECT_RATIOS, "16:9"),
    "fps": Field(kind="integer", default=24, minimum=24, maximum=24),
    "camera_fixed": FLAG,
    "seed": SEED,
}
_KLING_FIELDS = {
    "prompt": PROMPT,
    "start_image": _IMAGE,
    "duration": choice("duration", (5, 10), 5),
    "aspect_ratio": choice("aspect_ratio", ("16:9", "9:16", "1:1"), "16:9"),
    "negative_prompt": TEXT,
}
_WAN_FIELDS = {
    "prompt": PROMPT,
    "resolution": choice("resolution", ("480p", "720p"), "480p"),
    "num_frames": Field(kind="integer", default=81, minimum=81, maximum=121),
    "frames_per_second": Field(kind="integer", default=16, minimum=5, maximum=30),
    "interpolate_output": FLAG,
    "go_fast": FLAG,
    "seed": SEED,
}


def _wan_rates(low: int, high: int) -> tuple[Rate, ...]:
    """Return prices per video in thousandths of a USD, at 480p and at 720p."""
    return (
        Rate(unit="videos", nano_usd=low * 1_000_000, when={"resolution": "480p"}),
        Rate(unit="videos", nano_usd=high * 1_000_000),
    )


def _second(nano_usd: int, **when: object) -> Rate:
    return Rate(unit="seconds", nano_usd=nano_usd, when=when)


MODELS = (
    Model(
        provider="replicate", name="bytedance/seedance-1-pro", kind="video", output="video", shape_of_image=True,
        rates=(
            _second(150_000_000, resolution="1080p"), _second(60_000_000, resolution="720p"), _second(30_000_000),
        ),
        fields=_SEEDANCE_FIELDS | {"resolution": choice("resolution", _RESOLUTIONS, "1080p")},
    ),
    Model(
        provider="replicate", name="bytedance/seedance-1.5-pro", kind="video", output="video", shape_of_image=True,
        rates=(
            _second(120_000_000, resolution="1080p", sound=True), _second(60_000_000, resolution="1080p"),
            _second(25_000_000, resolution="480p", sound=True), _second(13_000_000),
        ),
        # 720p has no published price here.
        fields=_SEEDANCE_FIELDS
        | {"resolution": choice("resolution", ("480p", "1080p"), "480p"), "generate_audio": SOUND},
    ),
    Model(
        provider="replicate", name="kwaivgi/kling-v2.5-turbo-pro", kind="video", output="video",
        shape_of_image=True, resolution="1080p", rates=(_second(70_000_000),),
        fields=_KLING_FIELDS | {"end_image": _END_IMAGE},
    ),
    Model(
        provider="replicate", name="kwaivgi/kling-v2.6", kind="video", output="video", shape_of_image=True,
        resolution="1080p", rates=(_second(140_000_000, sound=True), _second(70_000_000)),
        fields=_KLING_FIELDS | {"generate_audio": SOUND},
    ),
    Model(
        provider="replicate", name="google/veo-3.1-fast", kind="video", output="video", shape_of_image=True,
        rates=(_second(150_000_000, sound=True), _second(100_000_000)),
        fields={
            "prompt": PROMPT,
            "image": _IMAGE,
            "last_frame": _END_IMAGE,
            "duration": choice("duration", (4, 6, 8), 8),
            "resolution": choice("resolution", ("720p", "1080p"), "1080p"),
            "aspect_ratio": choice("aspect_ratio", ("16:9", "9:16"), "16:9"),
            "generate_audio": SOUND,
            "negative_prompt": TEXT,
            "seed": SEED,
        },
    ),
    Model(
        provider="replicate", name="wan-video/wan-2.2-t2v-fast", kind="video", output="video", seconds=5,
        rates=_wan_rates(50, 100),
        fields=_WAN_FIELDS | {"aspect_ratio": choice("aspect_ratio", ("16:9", "9:16"), "16:9")},
    ),
    Model(
        provider="replicate", name="wan-video/wan-2.2-i2v-fast", kind="video", output="video", seconds=5,
        rates=_wan_rates(50, 110), fields=_WAN_FIELDS | {"image": url("image"), "last_image": _END_IMAGE},
    ),
)  # fmt: skip
