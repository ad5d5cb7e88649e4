"""fal's models that make videos of a text, of a start image and of two frames."""

from collections.abc import Mapping

from sandbox.models.common import FLAG, PROMPT, SEED, SOUND, TEXT, choice, number, url
from sandbox.models.fields import Field
from sandbox.models.model import Model
from sandbox.models.prices import Rate

_RATIOS = ("21:9", "16:9", "4:3", "1:1", "3:4", "9:16")
_AUTO_RATIOS = (*_RATIOS, "auto")
_RESOLUTIONS = ("480p", "720p", "1080p")
_SEEDANCE_SEED = Field(kind="integer", role="seed", minimum=-1)
_SEEDANCE_FIELDS: Mapping[str, Field] = {
    "prompt": PROMPT,
    "camera_fixed": FLAG,
    "seed": _SEEDANCE_SEED,
    "enable_safety_checker": FLAG,
}
_SEEDANCE_15_FIELDS = _SEEDANCE_FIELDS | {
    "aspect_ratio": choice("aspect_ratio", _AUTO_RATIOS, "16:9"),
    "resolution": choice("resolution", _RESOLUTIONS, "720p"),
    "duration": choice("duration", tuple(str(n) for n in range(4, 13)), "5"),
    "generate_audio": SOUND,
}
_SEEDANCE_15_RATES = (
    Rate(unit="tokens", nano_usd=2_400, when={"sound": True}),
    Rate(unit="tokens", nano_usd=1_200),
)
_START_AND_END = {"image_url": url("image"), "end_image_url": url("end_image", required=False)}
_KLING_FIELDS: Mapping[str, Field] = {
    "prompt": PROMPT,
    "duration": choice("duration", ("5", "10"), "5"),
    "negative_prompt": TEXT,
    "cfg_scale": number(None, 0.5, 0, 1),
}
_KLING_PRO_RATE = Rate(
    unit="seconds", nano_usd=70_000_000, first_units=5, first_nano_usd=350_000_000
)
_AUDIO = url("audio", required=False, seconds=(3, 30))
_WAN_25_FIELDS: Mapping[str, Field] = {
    "prompt": Field(kind="string", role="prompt", required=True, max_length=800),
    "audio_url": _AUDIO,
    "resolution": choice("resolution", _RESOLUTIONS, "1080p"),
    "duration": choice("duration", ("5", "10"), "5"),
    "negative_prompt": Field(kind="string", max_length=500),
    "seed": SEED,
    "enable_prompt_expansion": FLAG,
    "enable_safety_checker": FLAG,
}
_WAN_25_RATES = (
    Rate(unit="seconds", nano_usd=50_000_000, when={"resolution": "480p"}),
    Rate(unit="seconds", nano_usd=100_000_000, when={"resolution": "720p"}),
    Rate(unit="seconds", nano_usd=150_000_000),
)
_VEO_FIELDS: Mapping[str, Field] = {
    "prompt": PROMPT,
    "duration": choice("duration", ("4s", "6s", "8s"), "8s"),
    "generate_audio": SOUND,
    "negative_prompt": TEXT,
    "seed": SEED,
    "auto_fix": FLAG,
    "safety_tolerance": choice(None, ("1", "2", "3", "4", "5", "6"), "4"),
}
_WIDE_OR_HIGH = choice("aspect_ratio", ("16:9", "9:16"), "16:9")
_ANY_WIDE_OR_HIGH = choice("aspect_ratio", ("auto", "16:9", "9:16"), "auto")
_VEO_RESOLUTION = choice("resolution", ("720p", "1080p", "4k"), "720p")
_HAILUO_FIELDS: Mapping[str, Field] = {
    "prompt": Field(kind="string", role="prompt", required=True, max_length=2000),
    "duration": choice("duration", ("6", "10"), "6"),
    "prompt_optimizer": FLAG,
}
_HAILUO_RATES = (
    Rate(unit="videos", nano_usd=280_000_000, when={"seconds": 6}),
    Rate(unit="videos", nano_usd=560_000_000),
)


def _veo_rates(with_sound: int, without: int, sound_4k: int, silent_4k: int) -> tuple[Rate, ...]:
    """Return rates per second in thousandths of a USD."""
    prices: tuple[tuple[int, dict[str, str | bool]], ...] = (
        (sound_4k, {"resolution": "4k", "sound": True}), (silent_4k, {"resolution": "4k"}),
        (with_sound, {"sound": True}), (without, {}),
    )  # fmt: skip
    return tuple(Rate(unit="seconds", nano_usd=usd * 1_000_000, when=when) for usd, when in prices)


MODELS = (
    Model(
        provider="fal", name="fal-ai/bytedance/seedance/v1/pro/image-to-video", kind="video", output="video",
        also=("seed",), rates=(Rate(unit="tokens", nano_usd=2_500),),
        fields=_SEEDANCE_FIELDS | _START_AND_END | {
            "aspect_ratio": choice("aspect_ratio", _AUTO_RATIOS, "auto"),
            "resolution": choice("resolution", _RESOLUTIONS, "1080p"),
            "duration": choice("duration", tuple(str(n) for n in range(2, 13)), "5"),
        },
    ),
    Model(
        provider="fal", name="fal-ai/bytedance/seedance/v1.5/pro/text-to-video", kind="video", output="video",
        also=("seed",), rates=_SEEDANCE_15_RATES, fields=_SEEDANCE_15_FIELDS,
    ),
    Model(
        provider="fal", name="fal-ai/bytedance/seedance/v1.5/pro/image-to-video", kind="video", output="video",
        also=("seed",), rates=_SEEDANCE_15_RATES, fields=_SEEDANCE_15_FIELDS | _START_AND_END,
    ),
    Model(
        provider="fal", name="fal-ai/kling-video/v2.5-turbo/pro/image-to-video", kind="video", output="video",
        rates=(_KLING_PRO_RATE,),
        fields=_KLING_FIELDS
        | {"image_url": url("image"), "tail_image_url": url("end_image", required=False)},
    ),
    Model(
        provider="fal", name="fal-ai/kling-video/v2.5-turbo/standard/image-to-video", kind="video", output="video",
        rates=(Rate(unit="seconds", nano_usd=42_000_000, first_units=5, first_nano_usd=210_000_000),),
        fields=_KLING_FIELDS | {"image_url": url("image")},
    ),
    Model(
        provider="fal", name="fal-ai/kling-video/v2.5-turbo/pro/text-to-video", kind="video", output="video",
        rates=(_KLING_PRO_RATE,),
        fields=_KLING_FIELDS | {"aspect_ratio": choice("aspect_ratio", ("16:9", "9:16", "1:1"), "16:9")},
    ),
    Model(
        provider="fal", name="fal-ai/wan-25-preview/text-to-video", kind="video", output="video",
        also=("seed", "actual_prompt"), rates=_WAN_25_RATES,
        fields=_WAN_25_FIELDS | {"aspect_ratio": choice("aspect_ratio", ("16:9", "9:16", "1:1"), "16:9")},
    ),
    Model(
        provider="fal", name="fal-ai/wan-25-preview/image-to-video", kind="video", output="video",
        also=("seed", "actual_prompt"), rates=_WAN_25_RATES, fields=_WAN_25_FIELDS | {"image_url": url("image")},
    ),
    Model(
        provider="fal", name="fal-ai/wan/v2.7/image-to-video", kind="video", output="video",
        also=("seed", "actual_prompt"), rates=_WAN_25_RATES[1:],
        fields=_WAN_25_FIELDS | _START_AND_END | {
            "prompt": Field(kind="string", role="prompt", max_length=5000),
            "resolution": choice("resolution", ("720p", "1080p"), "1080p"),
            "duration": choice("duration", tuple(range(2, 16)), 5),
        },
    ),
    Model(
        provider="fal", name="fal-ai/veo3.1/lite", kind="video", output="video",
        rates=(
            Rate(unit="seconds", nano_usd=50_000_000, when={"resolution": "720p", "sound": True}),
            Rate(unit="seconds", nano_usd=30_000_000, when={"resolution": "720p"}),
            Rate(unit="seconds", nano_usd=80_000_000, when={"sound": True}),
            Rate(unit="seconds", nano_usd=50_000_000),
        ),
        fields=_VEO_FIELDS
        | {"aspect_ratio": _WIDE_OR_HIGH, "resolution": choice("resolution", ("720p", "1080p"), "720p")},
    ),
    Model(
        provider="fal", name="fal-ai/veo3.1", kind="video", output="video", rates=_veo_rates(400, 200, 600, 400),
        fields=_VEO_FIELDS | {"aspect_ratio": _WIDE_OR_HIGH, "resolution": _VEO_RESOLUTION},
    ),
    Model(
        provider="fal", name="fal-ai/veo3.1/fast/first-last-frame-to-video", kind="video", output="video",
        rates=_veo_rates(150, 100, 350, 300),
        fields=_VEO_FIELDS | {
            "first_frame_url": url("image"), "last_frame_url": url("end_image"),
            "aspect_ratio": _ANY_WIDE_OR_HIGH, "resolution": _VEO_RESOLUTION,
        },
    ),
    Model(
        provider="fal", name="fal-ai/minimax/hailuo-2.3/standard/text-to-video", kind="video", output="video",
        resolution="768p", rates=_HAILUO_RATES, fields=_HAILUO_FIELDS,
    ),
    Model(
        provider="fal", name="fal-ai/minimax/hailuo-2.3/standard/image-to-video", kind="video", output="video",
        resolution="768p", rates=_HAILUO_RATES, fields=_HAILUO_FIELDS | {"image_url": url("image")},
    ),
)  # fmt: skip
